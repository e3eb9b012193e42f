"""Splits: nothing is lost, nothing comes back from the future, ties keep the order of the file."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from instructrec.datasets import Dataset
from instructrec.errors import InputError
from instructrec.split import SPLITS, leave_last_out, random_holdout, split_global_time

ROWS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 8), st.integers(0, 12)), min_size=12, max_size=80)


def dataset(rows) -> Dataset:
    interactions = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    # The row number as rating tells two otherwise equal events apart.
    interactions.insert(2, "rating", np.arange(len(rows), dtype=float))
    return Dataset(
        "small",
        pd.DataFrame({"user_id": sorted(set(interactions["user_id"]))}),
        pd.DataFrame({"item_id": range(1, 9), "title": list("abcdefgh"), "categories": [()] * 8}),
        interactions,
    )


def parts(split):
    return split.train.interactions, split.valid, split.test


@given(ROWS, st.sampled_from(sorted(SPLITS)))
@settings(max_examples=120, deadline=None)
def test_every_event_is_in_exactly_one_part(rows, name):
    split = SPLITS[name](dataset(rows))
    assert split.protocol == name
    assert Counter(pd.concat(parts(split))["rating"]) == Counter(float(n) for n in range(len(rows)))
    assert split.train.items.shape == (8, 3)


@given(ROWS)
@settings(max_examples=100, deadline=None)
def test_leave_last_out_hides_the_two_last_events_of_each_user(rows):
    data = dataset(rows)
    train, valid, test = parts(leave_last_out(data))
    for user, own in data.interactions.groupby("user_id"):
        in_order = own.sort_values(["timestamp", "rating"])["rating"].tolist()
        found = [part.loc[part["user_id"] == user, "rating"].tolist() for part in (train, valid, test)]
        expected = [in_order, [], []] if len(own) < 3 else [in_order[:-2], in_order[-2:-1], in_order[-1:]]
        assert found == expected


@given(ROWS, st.floats(0.05, 0.4), st.floats(0.05, 0.4))
@settings(max_examples=100, deadline=None)
def test_global_time_lets_nothing_of_the_future_into_the_past(rows, valid_share, test_share):
    train, valid, test = parts(split_global_time(dataset(rows), valid_share, test_share))
    assert len(test) > 0
    assert valid["timestamp"].max() < test["timestamp"].min() or valid.empty
    assert train.empty or train["timestamp"].max() < min(valid["timestamp"].min(), np.inf) or valid.empty
    assert train.empty or train["timestamp"].max() < test["timestamp"].min()


@given(ROWS, st.sampled_from(sorted(SPLITS)), st.sampled_from(["valid", "test"]))
@settings(max_examples=120, deadline=None)
def test_requests_hold_known_events_in_order_and_ask_for_new_items(rows, name, part):
    data = dataset(rows)
    split = SPLITS[name](data)
    requests = split.requests(part)
    train, valid, test = parts(split)
    known = train if part == "valid" else pd.concat([train, valid])
    asked = valid if part == "valid" else test
    assert len(requests) == len(requests.user_ids) == len(requests.histories) == len(requests.targets)
    assert len(set(requests.user_ids)) == len(requests)
    for user, history, targets in zip(requests.user_ids, requests.histories, requests.targets, strict=True):
        own = known[known["user_id"] == user].sort_values(["timestamp", "rating"])
        assert history == own["item_id"].tolist()
        assert targets
        assert len(set(targets)) == len(targets)
        assert not set(targets) & set(history)
        assert set(targets) == set(asked.loc[asked["user_id"] == user, "item_id"]) - set(history)
    skipped = set(asked["user_id"]) - set(requests.user_ids)
    for user in skipped:
        met = set(known.loc[known["user_id"] == user, "item_id"])
        assert set(asked.loc[asked["user_id"] == user, "item_id"]) <= met


def test_a_tie_between_training_and_validation_keeps_the_order_of_the_file():
    split = random_holdout(dataset([(1, item, 100) for item in range(1, 9)]), valid=0.3, test=0.3, seed=1)
    assert [len(part) > 0 for part in parts(split)] == [True] * 3
    assert (
        split.train.interactions["item_id"].max() > split.valid["item_id"].min()
    )  # file order mixes the two
    (history,) = split.requests("test").histories
    assert history == sorted(history)


def test_ties_keep_the_order_of_the_file_not_of_ids():
    # The ids fall while the file goes on: a sort by id would reverse the order.
    split = leave_last_out(dataset([(1, item, 100) for item in (8, 5, 2, 1)]))
    assert split.train.interactions["item_id"].tolist() == [8, 5]
    assert split.valid["item_id"].tolist() == [2]
    assert split.test["item_id"].tolist() == [1]
    requests = split.requests("test")
    assert (requests.histories, requests.targets) == ([[8, 5, 2]], [[1]])


def test_time_beats_the_order_of_the_file():
    split = leave_last_out(dataset([(1, 1, 300), (1, 2, 100), (1, 3, 200)]))
    assert [part["item_id"].tolist() for part in parts(split)] == [[2], [3], [1]]


def test_short_histories_stay_in_training():
    split = leave_last_out(dataset([(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 2), (2, 3, 3)]))
    assert split.test["user_id"].tolist() == [2]
    assert split.train.interactions["user_id"].tolist().count(1) == 2


def test_events_of_one_moment_are_not_divided():
    train, valid, test = parts(
        split_global_time(dataset([(1, 1, t) for t in [1] * 6 + [2] * 6 + [3] * 6]), 0.3, 0.3)
    )
    assert [part["timestamp"].unique().tolist() for part in (train, valid, test)] == [[1], [2], [3]]


def test_random_holdout_follows_its_seed_and_shares():
    rows = [(1 + n % 5, 1 + n % 8, n) for n in range(2000)]
    first, again = (random_holdout(dataset(rows), 0.2, 0.1, seed=4) for _ in range(2))
    other = random_holdout(dataset(rows), 0.2, 0.1, seed=5)
    assert first.test.equals(again.test)
    assert not first.test.equals(other.test)
    assert len(first.test) == pytest.approx(200, abs=50)
    assert len(first.valid) == pytest.approx(400, abs=70)


@given(ROWS, st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_random_holdout_draws_by_event_not_by_its_place_in_time(rows, seed):
    """The draw belongs to the row of the file, so that the order in time cannot decide who is hidden."""
    data = dataset(rows)
    assume(data.n_interactions > 3)
    later = data.with_interactions(data.interactions.assign(timestamp=-data.interactions["timestamp"]))
    one, two = random_holdout(data, 0.2, 0.2, seed), random_holdout(later, 0.2, 0.2, seed)
    assert set(one.test["rating"]) == set(two.test["rating"])


@pytest.mark.parametrize(
    "shares", [(0, 0.1), (0.1, 0), (0.5, 0.5), (-0.1, 0.2), (0.1, 1.0), (float("nan"), 0.1)]
)
@pytest.mark.parametrize("split", [split_global_time, random_holdout])
def test_impossible_shares_are_refused(split, shares):
    with pytest.raises(InputError, match="their sum below 1"):
        split(dataset([(1, 1, n) for n in range(10)]), *shares)


def test_unknown_part_is_refused():
    with pytest.raises(InputError, match="'train'.*valid, test"):
        leave_last_out(dataset([(1, 1, n) for n in range(10)])).requests("train")


def renamed(data: Dataset, names: dict, order) -> Dataset:
    """The same events with other item ids and another order of the catalogue."""
    items = data.items.assign(item_id=data.items["item_id"].map(names)).iloc[order].reset_index(drop=True)
    interactions = data.interactions.assign(item_id=data.interactions["item_id"].map(names))
    return Dataset("renamed", data.users, items, interactions)


@given(ROWS, st.sampled_from(sorted(SPLITS)), st.permutations(range(1, 9)), st.permutations(range(8)))
@settings(max_examples=80, deadline=None)
def test_neither_ids_nor_the_order_of_the_catalogue_decide_a_tie(rows, name, ids, order):
    # Two or three moments in all, so that nearly every event is tied with others.
    data = dataset([(user, item, time % 3) for user, item, time in rows])
    other = renamed(data, dict(zip(range(1, 9), ids, strict=True)), list(order))
    one, two = parts(SPLITS[name](data)), parts(SPLITS[name](other))
    for first, second in zip(one, two, strict=True):
        assert first["rating"].tolist() == second["rating"].tolist()


@given(ROWS, st.sampled_from(sorted(SPLITS)))
@settings(max_examples=80, deadline=None)
def test_equal_times_keep_the_order_of_the_file_in_every_part(rows, name):
    split = SPLITS[name](dataset([(user, item, time % 3) for user, item, time in rows]))
    for part in (*parts(split), split.before_test):
        positions = list(
            zip(part["timestamp"], part["rating"], strict=True)
        )  # the rating is the row of the file
        assert positions == sorted(positions)
    if name == "leave-last-out":  # of tied events the last of the file is hidden, then the one before
        both = split.valid.merge(split.test, on="user_id")
        earlier = both["timestamp_x"] < both["timestamp_y"]
        tied = both["timestamp_x"] == both["timestamp_y"]
        assert (earlier | (tied & (both["rating_x"] < both["rating_y"]))).all()
