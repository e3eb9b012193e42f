"""Metrics of yes/no answers, and of the scores and probabilities behind them.

Accuracy, precision, recall and F1 describe the answers; ROC AUC the order of the scores; log loss, the Brier score and
calibration the probabilities. Derived in chapter `evaluation`, which shows why accuracy alone is uninformative if one
answer is much more common than the other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from instructrec.errors import InputError, one_of
from instructrec.statistics import wilson_interval
from instructrec.validation import PositiveInt, check_value


def confusion(y_true: ArrayLike, y_pred: ArrayLike) -> dict[str, int]:
    """Count the four outcomes of yes/no answers.

    Args:
        y_true: True answers, shape (n,), values 0 or 1 (or booleans).
        y_pred: Predicted answers, shape (n,), values 0 or 1.

    Returns:
        The counts `tp`, `fp`, `fn`, `tn`.

    Raises:
        InputError: Unequal lengths, no answer at all, or a value other than 0 and 1.
    """
    true, pred = _binary("y_true", y_true), _binary("y_pred", y_pred)
    if true.shape != pred.shape:
        raise InputError(f"y_true has {len(true)} values and y_pred has {len(pred)}; give one answer each")
    return {
        "tp": int(np.sum(true & pred)),
        "fp": int(np.sum(~true & pred)),
        "fn": int(np.sum(true & ~pred)),
        "tn": int(np.sum(~true & ~pred)),
    }


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the share of correct answers, (TP + TN) / (TP + FP + FN + TN), in [0, 1]. Arguments as in `confusion`."""
    count = confusion(y_true, y_pred)
    return (count["tp"] + count["tn"]) / sum(count.values())


def precision(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return TP / (TP + FP), the share of predicted yeses that are true, in [0, 1]; 0 if none is predicted.

    Arguments as in `confusion`.
    """
    count = confusion(y_true, y_pred)
    return _ratio(count["tp"], count["tp"] + count["fp"])


def recall(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return TP / (TP + FN), the share of true yeses that are predicted, in [0, 1]; 0 if there is none.

    Arguments as in `confusion`.
    """
    count = confusion(y_true, y_pred)
    return _ratio(count["tp"], count["tp"] + count["fn"])


def f1(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN) (van Rijsbergen, 1979).

    Arguments as in `confusion`.
    """
    count = confusion(y_true, y_pred)
    return _ratio(2 * count["tp"], 2 * count["tp"] + count["fp"] + count["fn"])


YES_NO_METRICS: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
}
"""The metrics of yes/no answers by name; each is called as `metric(y_true, y_pred)`."""


def roc_auc(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return the area under the ROC curve: the probability that a random yes scores above a random no.

    AUC = (#{(p, n): s_p > s_n} + 1/2 #{(p, n): s_p = s_n}) / (n_yes n_no) over all pairs of a yes p and a no n: the
    statistic of Mann and Whitney (1947), interpreted as an area by Hanley and McNeil (1982). By this definition a tied
    pair counts as one half; the rule for ties in rankings is stated in `instructrec.evaluation.target_ranks`. Chance is
    1/2 whatever the share of yeses, so a common answer cannot make the AUC look good.

    Args:
        y_true: True answers, shape (n,), values 0 or 1, at least one of each.
        y_score: Scores, shape (n,), higher for yes: probabilities or any comparable scores.

    Returns:
        The area, in [0, 1].

    Raises:
        InputError: The lengths differ, all answers are the same, or a score is NaN or infinite.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*checked_scores(y_true, y_score)))


def log_loss(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the mean negative log-likelihood of the answers, in nats (Good, 1952): the binary cross-entropy.

    -mean(y ln p + (1 - y) ln(1 - p)). A wrong answer with certainty would cost infinity; p is clipped to
    [2^-52, 1 - 2^-52], as in scikit-learn, so it costs 36 nats.

    Args:
        y_true: True answers, shape (n,), values 0 or 1.
        y_prob: Probability of yes, shape (n,), in [0, 1].

    Raises:
        InputError: Unequal lengths, no answer at all, or a probability outside [0, 1].
    """
    true, prob = _checked_probabilities(y_true, y_prob)
    return float(np.mean(log_losses(true, prob)))


def log_losses(true: np.ndarray, prob: np.ndarray) -> np.ndarray:
    """Return the log loss of each answer in nats, shape (n,); `true` holds booleans, `prob` probabilities of yes."""
    epsilon = np.finfo(float).eps
    clipped = np.clip(prob, epsilon, 1 - epsilon)
    return -np.where(true, np.log(clipped), np.log1p(-clipped))


def brier_score(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the mean squared error of the probabilities, mean((p - y)^2), in [0, 1]; lower is better (Brier, 1950).

    Arguments and errors as in `log_loss`.
    """
    true, prob = _checked_probabilities(y_true, y_prob)
    return float(np.mean((prob - true) ** 2))


def calibration(
    y_true: ArrayLike, y_prob: ArrayLike, n_bins: int = 10, strategy: str = "uniform"
) -> pd.DataFrame:
    """Compare predicted probabilities with observed shares, bin by bin: the table behind a reliability diagram.

    Probabilities are calibrated if a share p of the answers with probability p is yes (Murphy and Winkler, 1977; for
    networks Guo et al., 2017). Bin b holds the probabilities in (above, up_to]; the first bin includes its lower
    bound.

    Args:
        y_true: True answers, shape (n,), values 0 or 1.
        y_prob: Probability of yes, shape (n,), in [0, 1].
        n_bins: Number of bins, at least 1.
        strategy: "uniform" for bins of equal width, "quantile" for bins of about equal size, which rare yeses need.

    Returns:
        One row per bin: bounds `above` and `up_to`, `mean_predicted`, `share_of_yes`, the 95% interval of that share
        `low` and `high` (Wilson, 1927, as if the answers were independent), and the number of answers `n`. An empty
        bin of equal width has n = 0 and NaN elsewhere; if many probabilities are equal, quantiles coincide and there
        are fewer than n_bins rows.

    Raises:
        InputError: As in `log_loss`, n_bins below 1, or another strategy.
    """
    true, prob = _checked_probabilities(y_true, y_prob)
    check_value("n_bins", n_bins, PositiveInt)
    if strategy not in ("uniform", "quantile"):
        raise one_of("strategy", strategy, ["uniform", "quantile"])
    edges = np.linspace(0, 1, n_bins + 1)
    if strategy == "quantile":
        edges = np.percentile(prob, 100 * edges)
    bin_of_answer = np.searchsorted(edges[1:-1], prob)
    n = np.bincount(bin_of_answer, minlength=len(edges) - 1)
    n_yes = np.bincount(bin_of_answer, true, minlength=len(n))
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(bin_of_answer, prob, minlength=len(n)) / n
        share = n_yes / n
    intervals = [wilson_interval(int(yes), int(count)) for yes, count in zip(n_yes, n, strict=True)]
    table = pd.DataFrame(
        {
            "above": edges[:-1],
            "up_to": edges[1:],
            "mean_predicted": predicted,
            "share_of_yes": share,
            "low": [interval.low for interval in intervals],
            "high": [interval.high for interval in intervals],
            "n": n,
        }
    )
    if strategy == "quantile":
        table = table[table["n"] > 0].reset_index(drop=True)
    return table.rename_axis("bin")


def expected_calibration_error(
    y_true: ArrayLike, y_prob: ArrayLike, n_bins: int = 10, strategy: str = "uniform"
) -> float:
    """Return the expected calibration error, ECE = sum_b (n_b / n) |share_b - predicted_b|, in [0, 1].

    Naeini, Cooper and Hauskrecht (2015); Guo et al. (2017). It depends on the bins and rises with their number, so
    compare only values of the same bins. A value of 0 does not mean that the probabilities are useful: predicting the
    overall share of yes for every answer is calibrated.
    Arguments and errors as in `calibration`.
    """
    table = calibration(y_true, y_prob, n_bins, strategy)
    gap = (table["share_of_yes"] - table["mean_predicted"]).abs()
    return float((gap * table["n"]).sum() / table["n"].sum())


def checked_scores(y_true: ArrayLike, y_score: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return `y_true` as booleans and `y_score` as float64, each of shape (n,); errors as in `roc_auc`."""
    true, score = _paired(y_true, "y_score", y_score)
    if not np.isfinite(score).all():
        not_finite = score[~np.isfinite(score)][0]
        raise InputError(
            f"y_score holds {not_finite}; finite numbers are accepted (exclude items without a score)"
        )
    if true.all() or not true.any():
        raise InputError(
            f"y_true holds only {int(true[0])}; at least one 0 and one 1 are needed for a ROC curve"
        )
    return true, score


def _checked_probabilities(y_true: ArrayLike, y_prob: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return `y_true` as booleans and `y_prob` as float64; check that the probabilities are in [0, 1]."""
    true, prob = _paired(y_true, "y_prob", y_prob)
    outside = ~((prob >= 0) & (prob <= 1))
    if outside.any():
        raise InputError(f"y_prob holds {prob[outside][0]}; probabilities in [0, 1] are accepted")
    return true, prob


def _paired(y_true: ArrayLike, name: str, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return `y_true` as booleans and `values` as float64; check that there is one value for each answer."""
    true = _binary("y_true", y_true)
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} holds a value that is no number ({error}); a list of numbers is accepted"
        ) from error
    if array.shape != true.shape:
        raise InputError(
            f"{name} has shape {array.shape}, y_true {true.shape}; give one number for each answer"
        )
    return true, array


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else 0.0


def _binary(name: str, values: ArrayLike) -> np.ndarray:
    """Return zeros and ones as an array of booleans, shape (n,); check that there is no other value."""
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{name} has shape {array.shape}; a list of at least one 0 or 1 is accepted")
    if not np.isin(array, (0, 1)).all():
        invalid = array[~np.isin(array, (0, 1))][0]
        raise InputError(
            f"{name} holds {invalid!r}; only 0 and 1 are accepted (apply a threshold to probabilities first)"
        )
    return array.astype(bool)
