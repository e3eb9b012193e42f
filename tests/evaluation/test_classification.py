"""Scores and probabilities of yes/no answers: against scikit-learn with ties, and against counting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from instructrec.errors import InputError
from instructrec.evaluation import classification as cl

# Tenths, so that most lists hold ties.
probable = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=2, max_size=60)
score_pairs = probable.filter(lambda pairs: len({true for true, _ in pairs}) == 2)


def drawn(seed, n=500, decimals=2):
    """Answers that follow the probabilities, which are cut to `decimals` so that they tie."""
    rng = np.random.default_rng(seed)
    prob = rng.random(n).round(decimals)
    return (rng.random(n) < prob).astype(int), prob


def columns(pairs):
    true, tenths = np.array(pairs).T
    return true, tenths / 10


@given(score_pairs)
def test_the_area_counts_pairs_and_half_of_the_ties(pairs):
    true, score = columns(pairs)
    yes, no = score[true == 1][:, None], score[true == 0]
    by_pairs = ((yes > no) + 0.5 * (yes == no)).mean()
    assert cl.roc_auc(true, score) == pytest.approx(by_pairs, abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 2, 15])
def test_scores_are_judged_as_by_scikit_learn(decimals):
    for seed in range(20):
        true, prob = drawn(seed, decimals=decimals)
        for change in (lambda s: s, lambda s: 1000 * s - 500, np.float32):
            score = change(prob)
            assert cl.roc_auc(true, score) == pytest.approx(sk.roc_auc_score(true, score), abs=1e-9)


def test_the_area_does_not_depend_on_how_many_noes_there_are_but_accuracy_does():
    true, score = drawn(0)
    rare_true = np.concatenate([true, np.repeat(true[true == 0], 9)])
    rare_score = np.concatenate([score, np.repeat(score[true == 0], 9)])
    assert cl.roc_auc(rare_true, rare_score) == pytest.approx(cl.roc_auc(true, score), abs=1e-12)
    assert cl.accuracy(rare_true, rare_score >= 2) > cl.accuracy(true, score >= 2) + 0.3
    assert cl.roc_auc(true, np.zeros(len(true))) == 0.5
    assert cl.roc_auc(true, -score) == pytest.approx(1 - cl.roc_auc(true, score), abs=1e-12)


@given(probable)
def test_probabilities_are_judged_as_by_scikit_learn_and_by_hand(pairs):
    true, prob = columns(pairs)
    assert cl.log_loss(true, prob) == pytest.approx(sk.log_loss(true, prob, labels=[0, 1]), abs=1e-9)
    assert cl.brier_score(true, prob) == pytest.approx(
        sk.brier_score_loss(true, prob, labels=[0, 1], pos_label=1), abs=1e-9
    )
    squares = [(p - y) ** 2 for y, p in zip(true, prob, strict=True)]
    assert cl.brier_score(true, prob) == pytest.approx(sum(squares) / len(squares), abs=1e-12)


def test_log_loss_by_hand_and_what_a_wrong_certainty_costs():
    assert cl.log_loss([1, 0, 0], [0.5, 0.25, 0.0]) == pytest.approx(-(np.log(0.5) + np.log(0.75)) / 3)
    assert cl.log_loss([1], [0.0]) == pytest.approx(52 * np.log(2))
    assert cl.log_loss([0], [1.0]) == pytest.approx(52 * np.log(2))


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("decimals", [1, 2, 15])
def test_calibration_is_scikit_learns_and_loses_no_answer(strategy, decimals):
    for seed in range(20):
        true, prob = drawn(seed, decimals=decimals)
        prob[: 20 * seed] = 0  # a heap of equal probabilities, as an isotonic fit makes
        for n_bins in (1, 5, 10, 17):
            table = cl.calibration(true, prob, n_bins, strategy)
            share, predicted = calibration_curve(true, prob, n_bins=n_bins, strategy=strategy)
            filled = table[table["n"] > 0]
            assert filled["share_of_yes"].to_numpy() == pytest.approx(share, abs=1e-9)
            assert filled["mean_predicted"].to_numpy() == pytest.approx(predicted, abs=1e-9)
            assert table["n"].sum() == len(true)
            assert len(table) == n_bins if strategy == "uniform" else len(table) <= n_bins


@given(probable, st.integers(1, 12))
def test_bins_and_error_by_brute_force(pairs, n_bins):
    true, prob = columns(pairs)
    table = cl.calibration(true, prob, n_bins)
    error = 0.0
    for number, row in table.iterrows():
        inside = (prob > row["above"]) & (prob <= row["up_to"])
        if number == 0:
            inside |= prob == 0
        assert row["n"] == inside.sum()
        if inside.any():
            assert row["mean_predicted"] == pytest.approx(prob[inside].mean(), abs=1e-12)
            assert row["share_of_yes"] == pytest.approx(true[inside].mean(), abs=1e-12)
            error += inside.mean() * abs(true[inside].mean() - prob[inside].mean())
            wilson = binomtest(int(true[inside].sum()), int(inside.sum())).proportion_ci(method="wilson")
            assert (row["low"], row["high"]) == pytest.approx((wilson.low, wilson.high), abs=1e-9)
        else:
            assert np.isnan(row[["mean_predicted", "share_of_yes", "low", "high"]]).all()
    assert cl.expected_calibration_error(true, prob, n_bins) == pytest.approx(error, abs=1e-9)


@given(probable, st.integers(1, 12))
def test_quantile_bins_hold_what_their_bounds_say(pairs, n_bins):
    true, prob = columns(pairs)
    table = cl.calibration(true, prob, n_bins, "quantile")
    assert (table["n"] > 0).all()
    assert table["above"].iloc[0] == prob.min()
    assert table["up_to"].iloc[-1] == prob.max()
    for number, row in table.iterrows():
        lower = prob >= row["above"] if number == 0 else prob > row["above"]
        assert row["n"] == (lower & (prob <= row["up_to"])).sum()


def test_the_error_sees_overconfidence_and_passes_the_overall_share():
    true, prob = drawn(1, n=20_000, decimals=15)
    certain = np.clip(0.5 + 2 * (prob - 0.5), 0, 1)
    assert cl.expected_calibration_error(true, prob) < 0.015
    assert cl.expected_calibration_error(true, certain) > 0.1
    assert cl.expected_calibration_error(true, np.full(len(true), true.mean())) < 1e-9


@pytest.mark.parametrize(
    ("call", "message_part"),
    [
        (lambda: cl.roc_auc([1, 1], [0.1, 0.2]), "y_true holds only 1"),
        (lambda: cl.roc_auc([0, 0], [0.1, 0.2]), "y_true holds only 0"),
        (lambda: cl.roc_auc([0, 1], [0.1, np.nan]), "y_score holds nan"),
        (lambda: cl.roc_auc([0, 1], [0.1, -np.inf]), "y_score holds -inf"),
        (lambda: cl.roc_auc([0, 1], [0.1]), "y_score has shape"),
        (lambda: cl.roc_auc([0, 1], ["a", "b"]), "y_score holds a value that is no number"),
        (lambda: cl.roc_auc([0, 2], [0.1, 0.2]), "y_true holds"),
        (lambda: cl.log_loss([0, 1], [0.1, 1.1]), "y_prob holds 1.1"),
        (lambda: cl.brier_score([0, 1], [-0.1, 1]), "y_prob holds -0.1"),
        (lambda: cl.brier_score([0, 1], [np.nan, 1]), "y_prob holds nan"),
        (lambda: cl.log_loss([], []), "y_true has shape"),
        (lambda: cl.calibration([0, 1], [0, 1], 0), "n_bins is 0"),
        (lambda: cl.calibration([0, 1], [0, 1], True), "n_bins is True"),
        (lambda: cl.expected_calibration_error([0, 1], [0, 1], strategy="equal"), "strategy"),
    ],
)
def test_what_cannot_be_judged_is_named_in_one_line(call, message_part):
    with pytest.raises(InputError, match=message_part) as caught:
        call()
    assert "\n" not in str(caught.value)
