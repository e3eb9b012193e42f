"""The figures of benchmarks/mini.py, on lists that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import mini, mini_ablation, mini_cost, newcomers, on_torch, paper_tables
from instructrec import datasets, models, split
from instructrec.errors import InputError
from instructrec.evaluation import evaluate


def test_figures_of_a_list():
    scores = np.array([[-np.inf, *range(20, 0, -1)]])
    wanted = np.zeros((1, 21), dtype=bool)
    wanted[0, [0, 2, 3, 15]] = (
        True  # column 0 was met before: three can be shown, two are among the first ten
    )
    share, own, simple = mini.figures(scores, scores, wanted, wanted, np.array([3]))[0]
    assert share == pytest.approx(2 / 3)
    assert own == pytest.approx(1 / np.log2(4))
    assert simple == pytest.approx(1 / np.log2(3))
    violation = mini.figures(scores, scores, wanted, ~wanted, np.array([1]), violated=True)[0, 0]
    assert violation == pytest.approx(0.2)


def test_what_is_unasked_is_measured_as_the_book_measures_it():
    shop = datasets.load("shop")
    parts = split.SPLITS["global-time"](shop)
    model = models.create("most-popular").fit(parts.train)
    requests = parts.requests("test")
    assert max(map(len, requests.targets)) > 1
    scores = np.array(model.score(requests.histories))
    for row, history in zip(scores, requests.histories, strict=True):
        row[parts.train.item_columns(history)] = -np.inf
    targets = [parts.train.item_columns(one) for one in requests.targets]
    found = mini.ndcg_of_several(scores, targets).mean()
    assert found == pytest.approx(evaluate(model, parts).per_user["NDCG@10"].mean(), abs=0.01)  # ties
    assert found > 0


def test_a_summary_is_a_ratio_of_means_over_the_requests_that_are_asked():
    rows = np.array([[1.0, 0.5, 0.25], [0.5, 0.5, 0.75], [np.nan, np.nan, np.nan]])
    found = mini.summary([rows, rows])
    assert found["requests"] == 2
    assert (found["obeyed"], found["ndcg"], found["sasrec"]) == (0.75, 0.5, 0.5)
    assert found["ratio"] == 1
    assert found["interval"][0] == pytest.approx(2 / 3)
    assert found["interval"][1] == pytest.approx(2)


def test_nothing_is_compared_with_nothing():
    found = mini.summary([np.array([[1.0, 0.5, 0.0], [0.5, 0.5, 0.0]])])
    assert found["ratio"] is found["interval"] is None


def test_the_papers_metrics_share_places_of_ties():
    scores = np.array([[3.0, 2.0, 1.0, 0.0], [1.0, 1.0, 0.0, 5.0]])
    allowed = np.array([[True, True, True, True], [True, True, True, False]])
    found = paper_tables.figures(scores, allowed, np.array([1, 0]))
    assert found["HR@1"] == pytest.approx((0 + 0.5) / 2)
    assert found["HR@3"] == 1
    assert found["NDCG@3"] == pytest.approx((1 / np.log2(3) + (1 + 1 / np.log2(3)) / 2) / 2)


def test_newcomers_are_hit_only_where_they_can_be():
    scores = np.array([[*range(20), -np.inf], [*range(20), -np.inf]], dtype=float)
    assert newcomers.hits(scores, np.array([10, 9])).tolist() == [1, 0]
    assert newcomers.hits(scores, np.array([20, 19])).tolist() == [0, 1]
    found = newcomers.summary(np.array([0.0, 1.0] * 50))
    assert found["low"] < found["mean"] == 0.5 < found["high"]
    assert found["requests"] == 100


def test_an_ablation_has_intervals_of_both_figures():
    rows = np.array([[1.0, 0.5, 0.0], [np.nan, 0.7, 0.0], [np.nan, np.nan, np.nan]])
    found = mini_ablation.summary(rows)
    assert found["obeyed"] == [1, 1, 1]
    mean, low, high = found["ndcg"]
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
    ("arguments", "says"),
    [
        (["--processes", "0"], "argument --processes: 0 given"),
        (["--rows", "width 65"], "unknown row 'width 65'"),
    ],
)
def test_an_ablation_refuses_what_it_cannot_do(arguments, says):
    with pytest.raises(InputError, match=says):
        mini_ablation.main(arguments)


def test_grown_data_are_the_same_users_again():
    shop = datasets.load("shop")
    grown = mini_cost.grown(shop, 3)
    assert grown.n_interactions == 3 * shop.n_interactions
    assert grown.n_users == 3 * shop.n_users
    first = shop.interactions["user_id"].iloc[0]
    assert grown.history(first + 20_000) == shop.history(first)
