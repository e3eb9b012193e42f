"""Figures of the benchmarks of `mini`, on lists that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import common, mini, mini_ablation, mini_cost, newcomers, on_torch, paper_tables
from instructrec import datasets, models, split
from instructrec.errors import InputError
from instructrec.evaluation import evaluate


def test_figures_of_a_list():
    scores = np.array([[-np.inf, *range(20, 0, -1)]])
    wish = np.zeros((1, 21), dtype=bool)
    wish[0, [0, 2, 3, 15]] = True  # column 0 is excluded: three can be shown, two are among the first ten
    share, ndcg, filtered = common.list_figures(scores, scores, wish, None, np.array([3]))[0]
    assert share == pytest.approx(2 / 3)
    assert ndcg == pytest.approx(1 / np.log2(4))
    assert filtered == pytest.approx(1 / np.log2(3))
    violation = common.list_figures(scores, scores, ~wish, wish, np.array([1]))[0, 0]
    assert violation == pytest.approx(0.2)


def test_ndcg_without_an_instruction_is_that_of_evaluate():
    shop = datasets.load("shop")
    parts = split.SPLITS["global-time"](shop)
    model = models.create("most-popular").fit(parts.train)
    requests = parts.requests("test")
    assert max(map(len, requests.targets)) > 1
    scores = np.array(model.score(requests.histories))
    scores[common.seen_items(parts.train, requests.histories)] = -np.inf
    targets = [parts.train.item_columns(items) for items in requests.targets]
    ndcg = common.ndcg(scores, targets).mean()
    assert ndcg == pytest.approx(evaluate(model, parts).per_user["NDCG@10"].mean())
    assert ndcg > 0


def test_a_summary_is_a_ratio_of_means_over_requests_with_an_instruction():
    rows = np.array([[1.0, 0.5, 0.25], [0.5, 0.5, 0.75], [np.nan, np.nan, np.nan]])
    figures = mini.summary([rows, rows])
    assert figures["requests"] == 2
    assert (figures["obeyed"], figures["ndcg"], figures["sasrec"]) == (0.75, 0.5, 0.5)
    assert figures["ratio"] == 1
    assert figures["interval"][0] == pytest.approx(2 / 3)
    assert figures["interval"][1] == pytest.approx(2)


def test_a_ratio_to_zero_is_none():
    figures = mini.summary([np.array([[1.0, 0.5, 0.0], [0.5, 0.5, 0.0]])])
    assert figures["ratio"] is figures["interval"] is None


def test_the_papers_metrics_share_places_of_ties():
    scores = np.array([[3.0, 2.0, 1.0, 0.0], [1.0, 1.0, 0.0, 5.0]])
    allowed = np.array([[True, True, True, True], [True, True, True, False]])
    figures = paper_tables.figures(scores, allowed, np.array([1, 0]))
    assert figures["HR@1"] == pytest.approx((0 + 0.5) / 2)
    assert figures["HR@3"] == 1
    assert figures["NDCG@3"] == pytest.approx((1 / np.log2(3) + (1 + 1 / np.log2(3)) / 2) / 2)


def test_newcomers_are_hit_only_where_they_can_be():
    scores = np.array([[*range(20), -np.inf], [*range(20), -np.inf]], dtype=float)
    assert newcomers.hit_rate(scores, np.array([10, 9])).tolist() == [1, 0]
    assert newcomers.hit_rate(scores, np.array([20, 19])).tolist() == [0, 1]
    figures = newcomers.summary(np.array([0.0, 1.0] * 50))
    assert figures["low"] < figures["mean"] == 0.5 < figures["high"]
    assert figures["requests"] == 100


def test_an_ablation_has_intervals_of_both_figures():
    rows = np.array([[1.0, 0.5, 0.0], [1.0, 0.7, 0.0], [np.nan, 0.6, 0.0], [np.nan] * 3])
    figures = mini_ablation.summary(rows)
    assert figures["obeyed"] == [1, 1, 1]
    mean, low, high = figures["ndcg"]
    assert low < mean == 0.6 < high


def test_all_variants_of_the_ablation_can_be_made():
    for variants in (mini_ablation.HISTORY, mini_ablation.TEXTS):
        for changed in variants.values():
            models.create("mini", **changed)


def test_a_backend_is_chosen_before_any_model_is_made():
    from instructrec.backend import quiet_keras

    quiet_keras()
    with pytest.raises(InputError, match="Keras is imported already"):
        on_torch.installed()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes", "0"], "argument --processes: 0 given"),
        (["--rows", "width 65"], "unknown row 'width 65'"),
    ],
)
def test_an_ablation_refuses_what_it_cannot_do(arguments, message):
    with pytest.raises(InputError, match=message):
        mini_ablation.main(arguments)


def test_grown_data_are_the_same_users_again():
    shop = datasets.load("shop")
    grown = mini_cost.grown(shop, 3)
    assert grown.n_interactions == 3 * shop.n_interactions
    assert grown.n_users == 3 * shop.n_users
    first = shop.interactions["user_id"].iloc[0]
    assert grown.history(first + 20_000) == shop.history(first)
