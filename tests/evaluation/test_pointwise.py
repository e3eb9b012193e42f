"""Probabilities from scores: the curve against an optimiser and scikit-learn, the answers in worlds that are known."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from instructrec import evaluation as ev
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.evaluation.pointwise import calibrate, evaluate_probabilities, evaluate_yes_no
from instructrec.models.base import Recommender
from instructrec.split import leave_last_out


def drawn(seed, n=4000, slope=1.7, shift=-0.6):
    """Scores, and answers that are yes with the probability of a sigmoid of the score."""
    rng = np.random.default_rng(seed)
    score = rng.normal(50, 10, n).round(1)
    prob = 1 / (1 + np.exp(-(slope * (score - 50) / 10 + shift)))
    return (rng.random(n) < prob).astype(int), score, prob


def test_platt_minimises_the_cross_entropy_of_platts_targets():
    true, score, _ = drawn(0, n=60)
    target = np.where(true == 1, (true.sum() + 1) / (true.sum() + 2), 1 / ((1 - true).sum() + 2))

    def cost(at):
        z = at[0] * (score - 50) / 10 + at[1]
        return (np.logaddexp(0, z) - target * z).sum()

    slope, shift = minimize(cost, [0.0, 0.0], tol=1e-10).x
    expected = 1 / (1 + np.exp(-(slope * (score - 50) / 10 + shift)))
    assert calibrate(true, score)(score) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_fitted_curve_finds_the_true_probabilities_of_new_answers(method):
    probability = calibrate(*drawn(1)[:2], method)
    true, score, truth = drawn(2)
    values = probability(score)
    assert np.abs(values - truth).mean() < 0.03
    assert ev.expected_calibration_error(true, values) < 0.03
    assert ev.brier_score(true, values) < ev.brier_score(true, np.full(len(true), true.mean())) - 0.05


def test_isotonic_is_scikit_learns_between_platts_targets():
    true, score, _ = drawn(3, n=200)
    plain = IsotonicRegression(out_of_bounds="clip").fit(score, true).predict(score)
    least, most = 1 / ((1 - true).sum() + 2), (true.sum() + 1) / (true.sum() + 2)
    assert calibrate(true, score, "isotonic")(score) == pytest.approx(np.clip(plain, least, most), abs=1e-9)
    assert calibrate(true, score, "isotonic")([-1e9, 1e9]).tolist() == pytest.approx([least, most])


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_scores_that_separate_or_say_nothing_end_in_no_certainty(method):
    certain = calibrate([0, 0, 1], [1.0, 2.0, 3.0], method)([0.0, 9.0])
    assert (certain > 0).all()
    assert (certain < 1).all()
    equal = calibrate([0, 0, 0, 1] * 100, np.full(400, 7.0), method)([7.0])
    assert equal == pytest.approx(0.25, abs=0.01)


class Told(Recommender):
    """Scores every item as `tell(user's first item, items)` says."""

    name = "told"

    def __init__(self, tell):
        super().__init__()
        self.tell = tell

    def _fit(self, dataset):
        pass

    def _score(self, histories, instructions):
        return np.array([self.tell(int(h[0]), np.arange(self.dataset.n_items)) for h in histories])

    def _arrays(self):
        return {}

    def _restore(self, arrays):
        pass


N_USERS, N_ITEMS = 80, 30


@pytest.fixture(scope="module")
def world():
    """Each user starts on one of the first ten items and twice goes on to any of the last ten."""
    rng = np.random.default_rng(0)
    rows = [
        (user, item, 5.0, time)
        for user in range(N_USERS)
        for time, item in enumerate([user % 10, *rng.choice(np.arange(20, 30), 2, replace=False)])
    ]
    interactions = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    items = pd.DataFrame({"item_id": range(N_ITEMS), "title": "t", "categories": [("c",)] * N_ITEMS})
    return leave_last_out(Dataset("w", pd.DataFrame({"user_id": range(N_USERS)}), items, interactions))


def told(world, tell):
    return Told(tell).fit(world.train)


def test_every_target_is_asked_once_among_its_negatives_and_seeds_decide_which(world):
    model = told(world, lambda first, items: items.astype(float))
    answers = evaluate_probabilities(model, world, n_negatives=4, batch=7)
    assert answers.table.groupby("request").size().tolist() == [5] * N_USERS
    assert answers.table.groupby("user_id")["y_true"].sum().tolist() == [1] * N_USERS
    again = evaluate_probabilities(model, world, n_negatives=4, batch=1000)
    pd.testing.assert_frame_equal(answers.table, again.table)
    different = evaluate_probabilities(model, world, n_negatives=4, seed=1)
    assert not answers.table["score"].equals(different.table["score"])
    all_unseen = evaluate_probabilities(model, world, n_negatives=None)
    # 30 items less the two that the user had met.
    assert all_unseen.table.groupby("request").size().tolist() == [28] * N_USERS
    assert answers.protocol == "leave-last-out, test, 4 random negatives, scale request, platt on valid"


def test_the_scale_of_a_request_makes_scores_of_two_requests_compare(world):
    model = told(world, lambda first, items: 10.0**first * (items + 100 * first))
    raw, scaled = (evaluate_probabilities(model, world, scale=scale) for scale in ("raw", "request"))
    plain = evaluate_probabilities(told(world, lambda first, items: items.astype(float)), world)
    assert raw.summary().loc["ROC AUC", "mean"] < 0.7
    assert scaled.summary().loc["ROC AUC", "mean"] > 0.8
    # The unseen items differ by request, hence nearly.
    assert scaled.table["score"].to_numpy() == pytest.approx(plain.table["score"].to_numpy(), abs=1e-4)
    # Within a request the scale changes nothing.
    inside = [entry.per_request().per_user["ROC AUC"].to_numpy() for entry in (raw, scaled)]
    assert inside[0] == pytest.approx(inside[1], abs=1e-12)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_probabilities_are_calibrated_on_test_and_better_than_the_share(world, method):
    answers = evaluate_probabilities(told(world, lambda first, items: (items >= 20) * 1.0), world, method)
    true, prob = answers.table["y_true"], answers.table["y_prob"]
    assert ev.expected_calibration_error(true, prob) < 0.04
    assert ev.log_loss(true, prob) < ev.log_loss(true, np.full(len(true), 1 / 12)) - 0.05


def test_the_curve_is_fitted_on_validation_and_does_not_see_the_test(world):
    class TurnsRound(Told):
        def _score(self, histories, instructions):
            # One item is known before validation, two before the test.
            return np.array([np.arange(N_ITEMS) * (1.0 if len(h) == 1 else -1.0) for h in histories])

    answers = evaluate_probabilities(TurnsRound(None).fit(world.train), world)
    true, prob = answers.table["y_true"], answers.table["y_prob"]
    assert answers.summary().loc["ROC AUC", "mean"] < 0.3
    assert ev.log_loss(true, prob) > ev.log_loss(true, np.full(len(true), 1 / 12)) + 0.05


def test_a_model_without_opinion_answers_with_the_share(world):
    answers = evaluate_probabilities(
        told(world, lambda first, items: np.full(N_ITEMS, 1e6 / 7 + 0.1 * first)), world
    )
    assert answers.table["score"].eq(0).all()
    assert answers.table["y_prob"].to_numpy() == pytest.approx(1 / 12, abs=0.002)
    assert answers.summary().loc["ROC AUC"].tolist() == [0.5] * 3


def test_summaries_are_the_measures_and_hold_them(world):
    answers = evaluate_probabilities(told(world, lambda first, items: (items % 7) + items / 10), world)
    true, score, prob = (answers.table[name] for name in ("y_true", "score", "y_prob"))
    summary = answers.summary(n_resamples=300)
    expected = [ev.roc_auc(true, score), ev.log_loss(true, prob), ev.brier_score(true, prob)]
    assert summary["mean"].tolist() == pytest.approx(expected, abs=1e-12)
    assert ((summary["low"] < summary["mean"]) & (summary["mean"] < summary["high"])).all()
    of_each = answers.per_request()
    assert len(of_each.per_user) == N_USERS
    entry = answers.table[answers.table["request"] == 5]
    by_hand = [
        ev.roc_auc(entry["y_true"], entry["score"]),
        ev.log_loss(entry["y_true"], entry["y_prob"]),
        ev.brier_score(entry["y_true"], entry["y_prob"]),
    ]
    row = of_each.per_user[of_each.per_user["user_id"] == entry["user_id"].iloc[0]]
    assert row[["ROC AUC", "log loss", "Brier"]].iloc[0].tolist() == pytest.approx(by_hand, abs=1e-12)


def test_the_interval_is_the_bootstrap_over_whole_requests(world):
    answers = evaluate_probabilities(told(world, lambda first, items: (items % 7) + items / 10), world)
    summary = answers.summary(n_resamples=40, seed=3)
    rng, groups = np.random.default_rng(3), dict(list(answers.table.groupby("request")))
    values = []
    for _ in range(40):
        drawn_anew = pd.concat([groups[request] for request in rng.integers(0, N_USERS, N_USERS)])
        true, score, prob = (drawn_anew[name] for name in ("y_true", "score", "y_prob"))
        values.append([ev.roc_auc(true, score), ev.log_loss(true, prob), ev.brier_score(true, prob)])
    low, high = np.quantile(values, [0.025, 0.975], axis=0)
    assert summary["low"].tolist() == pytest.approx(low, abs=1e-9)
    assert summary["high"].tolist() == pytest.approx(high, abs=1e-9)


def test_an_item_left_out_counts_as_the_least_liked(world):
    def rated(least):
        # What was met before is rated lowest of all, and never asked for.
        return lambda first, items: np.where(items == first, -99.0, np.where(items < 15, least, items))

    with_least, left_out = told(world, rated(15.0)), told(world, rated(-np.inf))
    for scale in ("raw", "request"):
        pd.testing.assert_frame_equal(
            evaluate_probabilities(left_out, world, scale=scale).table,
            evaluate_probabilities(with_least, world, scale=scale).table,
        )


@pytest.mark.parametrize(
    ("call", "message_part"),
    [
        (lambda w: evaluate_probabilities(told(w, lambda f, i: i * np.nan), w), "told returned NaN"),
        (lambda w: evaluate_probabilities(told(w, lambda f, i: i + np.inf), w), "told returned infinite"),
        (lambda w: evaluate_probabilities(told(w, lambda f, i: i), w, "sigmoid"), "method of calibration"),
        (lambda w: evaluate_probabilities(told(w, lambda f, i: i), w, scale="user"), "scale"),
        (lambda w: evaluate_probabilities(told(w, lambda f, i: i), w, n_negatives=0), "n_negatives is 0"),
        (
            lambda w: evaluate_probabilities(told(w, lambda f, i: i), w).summary(confidence=95),
            "confidence is 95",
        ),
        (
            lambda w: evaluate_probabilities(told(w, lambda f, i: i), w).summary(n_resamples=0),
            "n_resamples 0",
        ),
        (lambda w: calibrate([1, 1], [1.0, 2.0]), "y_true holds only 1"),
    ],
)
def test_what_cannot_be_answered_is_named_in_one_line(world, call, message_part):
    with pytest.raises(InputError, match=message_part) as caught:
        call(world)
    assert "\n" not in str(caught.value)


def test_yes_no_says_yes_above_the_median_of_the_unseen_items(world):
    """A model that ranks by item number: the target and one random item, against the median of what was not seen."""
    table = evaluate_yes_no(told(world, lambda first, items: 1.0 * items), world, seed=4)
    requests = world.requests("test")
    rng = np.random.default_rng(4)
    yes = []
    for history, targets in zip(requests.histories, requests.targets, strict=True):
        columns = world.train.item_columns(history)
        unseen = np.setdiff1d(np.arange(world.train.n_items), columns)
        target = world.train.item_columns(targets)[0]
        different = rng.choice(np.setdiff1d(unseen, world.train.item_columns(targets)))
        items = world.train.items["item_id"].to_numpy()
        yes.append([items[column] > np.median(items[unseen]) for column in (target, different)])
    answers, truth = np.ravel(yes), np.tile([True, False], len(yes))
    for name in ("accuracy", "precision", "recall", "f1"):
        assert table.loc[name, "mean"] == getattr(ev, name)(truth, answers)
        assert table.loc[name, "low"] <= table.loc[name, "mean"] <= table.loc[name, "high"]
