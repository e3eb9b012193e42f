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
from tests.differences import bare_differences

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
    relevant, equal_scores = [[1, 0, 0, 0]], [[0.5] * 4]
    assert ev.hit_rate(relevant, equal_scores, 3).tolist() == [0]
    assert ev.mrr(relevant, equal_scores, 4).tolist() == [0.25]


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


def test_one_user_leaves_no_interval():
    for found in (
        ev.bootstrap_interval([0.5]),
        ev.seeds_interval([[0.25], [0.75]]),
        ev.seeds_difference([[0.5], [1.5]], [[0.5]]),
        ev.paired_difference([0.75], [0.25]),
    ):
        assert str(found) == "0.500 [nan, nan]"
    assert str(ev.bootstrap_interval([0.5, 0.5])) == "0.500 [0.500, 0.500]"


def figures(name, values):
    """A model of which each user's value is known."""
    return ev.Evaluation(name, pd.DataFrame({"user_id": range(len(values)), "m": values}), "here")


def test_with_one_user_nothing_differs():
    table = ev.compare_with(figures("base", [0.25]), [figures("other", [0.75])], "m")
    assert table.loc["other"].tolist() == ["0.500 [nan, nan]", "no"]
    assert bare_differences(table) == []
    (pair,) = ev.all_pairs([figures("base", [0.25]), figures("other", [0.75])], "m")
    assert (pair.p, pair.significant, str(pair.difference)) == (1.0, False, "0.500 [nan, nan]")
    assert ev.compare([figures("base", [0.25])]).loc["base", "m"] == "0.250 [nan, nan]"


def test_whether_a_model_differs_is_corrected_for_how_many_are_asked():
    rng = np.random.default_rng(0)
    base = figures("base", rng.random(80))
    own = base.per_user["m"]
    noise = rng.normal(0, 0.1, 80)
    barely = figures("barely", own + noise - noise.mean() + 0.027)
    rivals = [figures(f"same {n}", own + rng.normal(0, 0.1, 80)) for n in range(9)]
    alone = ev.compare_with(base, [barely], "m")
    among = ev.compare_with(base, [*rivals, barely, figures("far", own + noise + 0.2)], "m")
    p = ev.randomisation_test(barely.per_user["m"], own)
    assert 0.005 < p < 0.05
    assert ev.paired_difference(barely.per_user["m"], own).low > 0
    assert alone.loc["barely", "differs"] == "yes"
    assert among.loc["barely", "differs"] == "no"
    assert among.loc["far", "differs"] == "yes"
    assert among.loc["barely", "m minus base"] == alone.loc["barely", "m minus base"]
    assert among.columns.tolist() == ["m minus base", "differs"]
    assert among.index.tolist() == [*(f"same {n}" for n in range(9)), "barely", "far"]
    with pytest.raises(InputError, match="other was not measured by 'm'"):
        ev.compare_with(base, [ev.Evaluation("other", base.per_user[["user_id"]], "here")], "m")


def test_a_pair_of_several_seeds_has_an_interval_for_users_and_seeds():
    rng = np.random.default_rng(1)
    users = rng.random(150)
    nets = {
        name: [figures(name, users + lead + 0.1 * luck + rng.normal(0, 0.05, 150)) for luck in (-1, 0, 1)]
        for name, lead in (("net", 0.05), ("other net", 0.0))
    }
    alone = figures("knn", users - 0.02 + rng.normal(0, 0.05, 150))
    pairs = ev.all_pairs([nets["net"], nets["other net"], alone, [figures("ease", users)]], "m", seed=2)
    assert len(pairs) == 6
    seeds = {**nets, "knn": [alone], "ease": [figures("ease", users)]}
    for pair in pairs:
        expected = ev.difference_over_seeds(seeds[pair.first], seeds[pair.second], "m", seed=2)
        assert pair.difference == pytest.approx(expected, abs=1e-12)
        means = [ev.seed_mean(seeds[name]).per_user["m"] for name in pair[:2]]
        assert pair.p == ev.randomisation_test(*means, seed=2)
        if {pair.first, pair.second} & set(nets):  # over users alone every one of these is narrow
            over_users = ev.paired_difference(*means, seed=2)
            assert pair.difference.low < over_users.low - 0.05 < over_users.high + 0.05 < pair.difference.high
    one_seed_alone = [nets["net"], nets["other net"], alone, figures("ease", users)]
    assert ev.all_pairs(one_seed_alone, "m", seed=2) == pairs
    with pytest.raises(InputError, match="seeds of one model are named 'net' and 'other net'"):
        ev.all_pairs([[nets["net"][0], nets["other net"][0]], alone], "m")


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


def test_complete_lists_of_a_small_catalogue_are_measured_at_any_k(world):
    everything = [[7, 6, 5, 4, 3]] * 5  # all that is not in the history of three
    found = ev.evaluate_lists(everything, world, ks=(1, 10), metrics=list(ev.METRICS))
    own = ev.evaluate(Oracle().fit(world.train), world, ks=(1, 10), metrics=list(ev.METRICS))
    pd.testing.assert_frame_equal(found.per_user, own.per_user)
    assert found.lists.shape == (5, 10)
    # Some lists may end early where the longest holds all that there is.
    assert ev.evaluate_lists([*everything[1:], [6]], world).per_user["HR@10"].tolist() == [1, 1, 1, 1, 0]
    cut = [[7, 6, 5, 4]] * 5
    with pytest.raises(InputError, match="lists of at most 4 items; metrics at 10 need longer ones"):
        ev.evaluate_lists(cut, world)
    assert ev.evaluate_lists(cut, world, ks=(4,)).per_user["HR@4"].tolist() == [1] * 5


def test_one_complete_list_does_not_excuse_the_lists_that_were_cut_off():
    """One user has seen all but two items; the lists of the others end at two as well, with more left to show."""
    rows = [(0, i, 5.0, i) for i in range(7)] + [
        (u, i, 5.0, t) for u in range(1, 5) for t, i in enumerate([0, 1, 7])
    ]
    interactions = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    items = pd.DataFrame({"item_id": range(8), "title": [f"t{i}" for i in range(8)], "categories": [()] * 8})
    split = leave_last_out(Dataset("w", pd.DataFrame({"user_id": range(5)}), items, interactions))
    assert split.requests("test").user_ids[-1] == 0
    with pytest.raises(InputError, match="at most 2 items"):
        ev.evaluate_lists([*[[7, 6]] * 4, [6, 7]], split)
    assert ev.evaluate_lists([*[[7]] * 4, [6, 7]], split).per_user["HR@10"].tolist() == [1] * 5


def test_lists_that_are_all_empty_find_nothing(world):
    found = ev.evaluate_lists([[]] * 5, world, metrics=list(ev.METRICS))
    assert (found.per_user.drop(columns="user_id") == 0).all(axis=None)
    assert (found.lists == -1).all()
    assert found.ranks.to_lists() == [[0]] * 5


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
    # five users who agree: no more than 2 of 2^5 orders of signs, so that p is at least 0.0625
    assert ev.compare_with(bad, [good], "NDCG@10").loc["up"].tolist() == ["0.613 [0.613, 0.613]", "no"]
    with pytest.raises(InputError):
        ev.compare([good, ev.evaluate(model, world, n_negatives=2)])


def test_a_table_never_drops_a_model_of_the_same_name(world):
    entry = ev.evaluate(Oracle().fit(world.train), world)
    with pytest.raises(InputError, match="two evaluations are named 'oracle'.*label"):
        ev.compare([entry, entry])
    with pytest.raises(InputError, match="two evaluations are named"):
        ev.compare_with(entry, [entry, entry], "HR@10")
    with pytest.raises(InputError, match="empty list"):
        ev.compare([])


@pytest.mark.parametrize("bad", [{"confidence": 95}, {"confidence": 0.0}, {"n_resamples": 0}])
def test_an_interval_needs_a_coverage_and_resamples(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        ev.bootstrap_interval([1.0, 2.0], **bad)
