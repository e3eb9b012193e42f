"""Measures against scikit-learn and by hand; the protocol against tiny worlds whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from instructrec import evaluation as ev
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.models.base import Recommender
from instructrec.split import leave_last_out

answers = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


@given(answers)
def test_yes_no_measures_equal_scikit_learn(pairs):
    true, pred = map(list, zip(*pairs, strict=True))
    assert ev.accuracy(true, pred) == pytest.approx(sk.accuracy_score(true, pred), abs=1e-12)
    for ours, theirs in [
        (ev.precision, sk.precision_score),
        (ev.recall, sk.recall_score),
        (ev.f1, sk.f1_score),
    ]:
        assert ours(true, pred) == pytest.approx(theirs(true, pred, zero_division=0), abs=1e-12)


def test_predicting_the_majority_is_accurate_and_useless():
    true = [0] * 11 + [1]
    assert ev.accuracy(true, [0] * 12) == pytest.approx(11 / 12)
    assert ev.recall(true, [0] * 12) == ev.f1(true, [0] * 12) == 0


@pytest.mark.parametrize("bad", [([0, 1], [1]), ([], []), ([0, 2], [0, 1]), ([[0]], [[1]])])
def test_yes_no_measures_refuse_what_is_not_yes_or_no(bad):
    with pytest.raises(InputError):
        ev.accuracy(*bad)


def test_ranking_measures_by_hand():
    relevant = [[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    scores = [[4, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1]]
    assert ev.hit_rate(relevant, scores, 2).tolist() == [1, 0, 0]
    assert ev.mrr(relevant, scores, 4).tolist() == [0.5, 0.25, 0]
    assert ev.precision_at_k(relevant, scores, 4).tolist() == [0.5, 0.25, 0]
    assert ev.recall_at_k(relevant, scores, 2).tolist() == [0.5, 0, 0]
    dcg, best = 1 / np.log2(3) + 1 / np.log2(5), 1 + 1 / np.log2(3)
    assert ev.ndcg(relevant, scores, 4).tolist() == pytest.approx([dcg / best, 1 / np.log2(5), 0])


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_ndcg_equals_scikit_learn_where_no_scores_tie(seed, k):
    rng = np.random.default_rng(seed)
    relevant, scores = rng.random((5, 12)) < 0.3, rng.permuted(np.tile(np.arange(12.0), (5, 1)), axis=1)
    relevant[:, 0] = True
    theirs = [sk.ndcg_score([r], [s], k=k) for r, s in zip(relevant, scores, strict=True)]
    assert ev.ndcg(relevant, scores, k) == pytest.approx(theirs, abs=1e-9)


def test_equal_scores_earn_nothing():
    relevant, same = [[1, 0, 0, 0]], [[0.5] * 4]
    assert ev.hit_rate(relevant, same, 3).tolist() == [0]
    assert ev.mrr(relevant, same, 4).tolist() == [0.25]


def test_an_item_left_out_is_never_a_hit():
    assert ev.hit_rate([[1, 0]], [[-np.inf, 1.0]], 2).tolist() == [0]


@pytest.mark.parametrize(
    "call", [([[1, 0]], [[np.nan, 1]], 1), ([[1, 0]], [[1.0]], 1), ([[1, 0]], [[1, 2]], 0)]
)
def test_ranking_measures_refuse_bad_input(call):
    with pytest.raises(InputError):
        ev.ndcg(*call)


def test_the_bootstrap_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(200):
        low_to_high = ev.bootstrap_interval(rng.random(80), n_resamples=300, seed=trial)
        inside += low_to_high.low <= 0.5 <= low_to_high.high
    assert 0.88 <= inside / 200 <= 0.99


def test_a_paired_difference_sees_what_two_intervals_cannot():
    base = np.random.default_rng(0).random(200)
    difference = ev.paired_difference(base + 0.01, base)
    assert difference.low > 0
    with pytest.raises(InputError):
        ev.paired_difference([1, 2], [1])


class Oracle(Recommender):
    """Scores item j by j, or as told."""

    name = "oracle"

    def _fit(self, dataset):
        pass

    def _score(self, histories, instructions):
        scores = np.tile(np.arange(self.dataset.n_items, dtype=float), (len(histories), 1))
        for row, text in enumerate(instructions):
            if text == "reverse":
                scores[row] *= -1
            if text == "nan":
                scores[row] = np.nan
        return scores

    def _arrays(self):
        return {}

    def _restore(self, arrays):
        pass


@pytest.fixture
def world():
    """Five users who all end on item 7 of 8, after items 0, 1, 2."""
    rows = [(u, i, 5.0, t) for u in range(5) for t, i in enumerate([0, 1, 2, 7])]
    interactions = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    items = pd.DataFrame(
        {"item_id": range(8), "title": [f"t{i}" for i in range(8)], "categories": [("c",)] * 8}
    )
    return leave_last_out(Dataset("world", pd.DataFrame({"user_id": range(5)}), items, interactions))


def test_full_ranking_leaves_the_history_out_and_finds_the_target(world):
    model = Oracle().fit(world.train)
    result = ev.evaluate(model, world, ks=(1, 5))
    assert result.per_user["HR@1"].tolist() == [1] * 5
    assert result.summary().loc["HR@1", "mean"] == 1
    worst = ev.evaluate(model, world, ks=(4, 5), instructions=["reverse"] * 5)
    # 8 items less a history of 3: the target is the last of 5.
    assert worst.per_user["HR@4"].tolist() == [0] * 5
    assert worst.per_user["HR@5"].tolist() == [1] * 5


def test_samples_hold_the_target_and_that_many_negatives_and_depend_on_the_seed_only(world):
    from instructrec.evaluation.protocol import candidate_mask

    requests = world.requests("test")
    mask = candidate_mask(world, requests, 3, seed=4)
    assert mask.sum(axis=1).tolist() == [4] * 5
    assert mask[:, 7].all()
    assert not mask[:, :3].any()
    assert (mask == candidate_mask(world, requests, 3, seed=4)).all()
    with pytest.raises(InputError):
        candidate_mask(world, requests, 6, seed=4)


@pytest.mark.parametrize(
    "bad",
    [
        {"instructions": ["nan"] * 5},
        {"instructions": ["x"]},
        {"metrics": ["AUC"]},
        {"metrics": []},
        {"ks": ()},
        {"n_negatives": -1},
        {"part": "train"},
    ],
)
def test_an_evaluation_that_makes_no_sense_is_refused(world, bad):
    with pytest.raises(InputError):
        ev.evaluate(Oracle().fit(world.train), world, **bad)


def test_tables_give_intervals_and_refuse_other_requests(world):
    model = Oracle().fit(world.train)
    good, bad = (
        ev.evaluate(model, world, label="up"),
        ev.evaluate(model, world, instructions=["reverse"] * 5, label="down"),
    )
    table = ev.compare([good, bad])
    assert table.loc["up", "HR@10"] == "1.000 [1.000, 1.000]"
    assert ev.compare_with(bad, [good], "NDCG@10").loc["up", "differs"] == "yes"
    with pytest.raises(InputError):
        ev.compare([good, ev.evaluate(model, world, n_negatives=2)])


def test_a_table_never_drops_a_model_of_the_same_name(world):
    one = ev.evaluate(Oracle().fit(world.train), world)
    with pytest.raises(InputError, match="two evaluations are named 'oracle'.*label"):
        ev.compare([one, one])
    with pytest.raises(InputError, match="two evaluations are named"):
        ev.compare_with(one, [one, one], "HR@10")
    with pytest.raises(InputError, match="empty list"):
        ev.compare([])


@pytest.mark.parametrize("bad", [{"confidence": 95}, {"confidence": 0.0}, {"n_resamples": 0}])
def test_an_interval_needs_a_coverage_and_resamples(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        ev.bootstrap_interval([1.0, 2.0], **bad)
