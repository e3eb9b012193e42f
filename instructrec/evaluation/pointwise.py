"""Evaluate a recommender as a classifier: will this user choose this item, yes or no?

The article asks this question. A score answers only which of two items is better: it has no unit, and scores are
comparable within a request only (`Recommender.score`). There are two ways from scores to answers. `evaluate_yes_no`
answers yes to every score above the median of the request's unseen items. `evaluate_probabilities` brings the scores of
all requests to one scale and turns them into probabilities by a curve that is fitted on the validation part and
evaluated on the test part. Derived in chapter `evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from instructrec.errors import InputError, one_of
from instructrec.evaluation.classification import (
    YES_NO_METRICS,
    brier_score,
    checked_scores,
    log_loss,
    log_losses,
    roc_auc,
)
from instructrec.evaluation.protocol import Evaluation, candidate_mask, relevance
from instructrec.models.base import Recommender
from instructrec.split import Split
from instructrec.statistics import Interval
from instructrec.validation import PositiveInt, check_value


@dataclass(frozen=True)
class ProbabilityEvaluation:
    """Probabilities of a model that a user chooses an item, with the true answers.

    Attributes:
        model: Name of the model.
        table: One row per answer: `request` (number of the request), `user_id`, `y_true` (0 or 1), `score` (on the
            chosen scale) and `y_prob`, the calibrated probability of yes.
        protocol: Split, part, candidates, scale and method, in words.
    """

    model: str
    table: pd.DataFrame = field(repr=False)
    protocol: str

    def summary(self, confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
        """Return ROC AUC, log loss and Brier score over all answers, one row each: `mean`, `low`, `high`.

        The interval is the percentile bootstrap over requests (Efron, 1979): the answers of a request depend on each
        other and are resampled together.

        Args:
            confidence: Coverage of the intervals, in (0, 1).
            n_resamples: Number of resamples of the requests with replacement, at least 1.
            seed: Seed of the draws.

        Raises:
            InputError: `confidence` is outside (0, 1), or `n_resamples` is below 1.
        """
        if not 0 < confidence < 1 or n_resamples < 1:
            raise InputError(
                f"confidence is {confidence!r} and n_resamples {n_resamples!r}; a number in (0, 1) and a whole number "
                "of at least 1 are accepted"
            )
        true, score, prob = (self.table[name].to_numpy() for name in ("y_true", "score", "y_prob"))
        request = self.table["request"].to_numpy()
        level = np.unique(score, return_inverse=True)[1]
        loss = log_losses(true == 1, prob)
        n_requests = int(request.max()) + 1
        n, losses, squares = (
            np.bincount(request, weights, minlength=n_requests)
            for weights in (None, loss, (prob - true) ** 2)
        )
        rng = np.random.default_rng(seed)
        draws = np.empty((n_resamples, 3))
        for number in range(n_resamples):
            weight = np.bincount(rng.integers(0, n_requests, n_requests), minlength=n_requests)
            area = _weighted_auc(level, true, weight[request])
            draws[number] = area, weight @ losses / (weight @ n), weight @ squares / (weight @ n)
        low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
        means = (roc_auc(true, score), log_loss(true, prob), brier_score(true, prob))
        rows = [
            Interval(mean, *bounds) for mean, *bounds in zip(means, low.tolist(), high.tolist(), strict=True)
        ]
        return pd.DataFrame(
            rows, index=pd.Index(["ROC AUC", "log loss", "Brier"]), columns=list(Interval._fields)
        )

    def per_request(self) -> Evaluation:
        """Return the metrics request by request, for paired differences of two models.

        "ROC AUC" is the area within the request, (sum of the yeses' ranks - n_yes (n_yes + 1) / 2) / (n_yes n_no) with
        tied scores at their mean rank; it does not depend on the scale. Log loss (nats) and Brier score are means over
        the request's answers.
        """
        true, prob = self.table["y_true"].to_numpy(), self.table["y_prob"].to_numpy()
        by_request = self.table["request"].to_numpy()
        rank = self.table.groupby("request")["score"].rank().to_numpy()
        rows = pd.DataFrame(
            {
                "yes": true,
                "no": 1 - true,
                "rank": rank * true,
                "log loss": log_losses(true == 1, prob),
                "Brier": (prob - true) ** 2,
            }
        ).groupby(by_request)
        total, mean = rows.sum(), rows.mean()
        area = (total["rank"] - total["yes"] * (total["yes"] + 1) / 2) / (total["yes"] * total["no"])
        users = self.table.groupby("request")["user_id"].first()
        per_user = pd.DataFrame(
            {"user_id": users, "ROC AUC": area, "log loss": mean["log loss"], "Brier": mean["Brier"]}
        )
        return Evaluation(self.model, per_user.reset_index(drop=True), self.protocol)


def evaluate_yes_no(model: Recommender, split: Split, part: str = "test", seed: int = 0) -> pd.DataFrame:
    """Evaluate yes/no answers about each request's first target and one random unseen item.

    The answer is yes if the item scores above the median of all items that the user has not seen, so any model can be
    evaluated, whatever the scale of its scores. Half of the true answers are yes.

    Args:
        model: A recommender fitted on `split.train`.
        split: The data in three parts.
        part: "valid" or "test".
        seed: Seed of the random items and of the bootstrap.

    Returns:
        One row for each metric of `classification.YES_NO_METRICS`, with `mean`, `low` and `high` of its 95% bootstrap
        interval over users (1,000 resamples).

    Raises:
        InputError: The part has no requests, or a user has seen every item.
    """
    requests = split.requests(part)
    if len(requests) == 0:
        raise InputError(f"part {part!r} of the {split.protocol} split holds no request; split more data")
    unseen = candidate_mask(split, requests, None, seed)
    rng = np.random.default_rng(seed)
    answers = np.zeros((len(requests), 2), dtype=bool)
    for start in range(0, len(requests), 256):
        scores = model.score(requests.histories[start : start + 256])
        for row, row_scores in enumerate(scores, start=start):
            targets = split.train.item_columns(requests.targets[row])
            negatives = np.setdiff1d(np.flatnonzero(unseen[row]), targets)
            if len(negatives) == 0:
                raise InputError(
                    f"user {requests.user_ids[row]!r} has seen every item; yes-no needs an unseen one"
                )
            questions = [targets[0], rng.choice(negatives)]
            answers[row] = row_scores[questions] > np.median(row_scores[unseen[row]])
    truth = np.zeros_like(answers)
    truth[:, 0] = True
    resamples = [rng.integers(0, len(answers), len(answers)) for _ in range(1000)]
    rows = {}
    for name, metric in YES_NO_METRICS.items():
        resampled = [metric(truth[users].ravel(), answers[users].ravel()) for users in resamples]
        low, high = np.quantile(resampled, [0.025, 0.975])
        rows[name] = {"mean": metric(truth.ravel(), answers.ravel()), "low": float(low), "high": float(high)}
    return pd.DataFrame.from_dict(rows, orient="index")


def evaluate_probabilities(
    model: Recommender,
    split: Split,
    method: str = "platt",
    n_negatives: int | None = 11,
    seed: int = 0,
    scale: str = "request",
    label: str | None = None,
    batch: int = 256,
) -> ProbabilityEvaluation:
    """Evaluate a fitted recommender's probabilities of yes, calibrated on validation and computed on test.

    Each request's targets are the yeses; random unseen items, or all of them, are the noes. A probability is
    valid for this mixture only: with eleven noes for each yes, one answer in twelve is yes in any case.

    Args:
        model: A recommender fitted on `split.train`.
        split: The data in three parts.
        method: "platt" or "isotonic", see `calibrate`.
        n_negatives: Number of random unseen items per request; None for all unseen items of the catalogue.
        seed: Seed of the random items: the same seed asks every model the same questions.
        scale: "request" subtracts from each score the mean of the request's unseen items and divides by their standard
            deviation, so that scores of different requests are comparable; "raw" uses the scores as they are.
        label: Name for tables; the model's own by default.
        batch: Number of requests scored at a time.

    Returns:
        The `ProbabilityEvaluation` on test. An item whose score is minus infinity gets the lowest finite score of its
        request.

    Raises:
        InputError: A part has no requests, there is no negative, a score is NaN or plus infinity, or the method or
            scale is unknown.
    """
    if scale not in ("request", "raw"):
        raise one_of("scale", scale, ["request", "raw"])
    if n_negatives is not None:
        check_value("n_negatives", n_negatives, PositiveInt)
    valid = _questions(model, split, "valid", n_negatives, seed, scale, batch)
    probability = calibrate(valid["y_true"], valid["score"], method)
    test = _questions(model, split, "test", n_negatives, seed, scale, batch)
    against = "all unseen items" if n_negatives is None else f"{n_negatives} random negatives"
    return ProbabilityEvaluation(
        label or model.name,
        test.assign(y_prob=probability(test["score"])),
        f"{split.protocol}, test, {against}, scale {scale}, {method} on valid",
    )


def calibrate(
    y_true: ArrayLike, y_score: ArrayLike, method: str = "platt"
) -> Callable[[ArrayLike], np.ndarray]:
    """Fit the curve from a score to the probability of yes, and return it as a function.

    "platt" is the maximum-likelihood sigmoid p = 1 / (1 + exp(-(a s + b))) for the targets (n_yes + 1) / (n_yes + 2) of
    a yes and 1 / (n_no + 2) of a no; these replace 1 and 0 so that a small sample does not lead to certainty (Platt,
    1999). "isotonic" is the non-decreasing step function of least squared error (Zadrozny and Elkan, 2002), clipped to
    the same two targets; it needs more answers, and it ties scores whose order the data do not support. Fit the curve
    on other answers than those that you evaluate.

    Args:
        y_true: True answers, shape (n,), values 0 or 1, at least one of each.
        y_score: Scores that are comparable over all answers, shape (n,), finite.
        method: "platt" or "isotonic".

    Returns:
        A function from scores, shape (m,), to probabilities, shape (m,), float64.

    Raises:
        InputError: As in `roc_auc`, or the method is unknown.
    """
    if method not in ("platt", "isotonic"):
        raise one_of("method of calibration", method, ["platt", "isotonic"])
    true, score = checked_scores(y_true, y_score)
    n_yes, n_no = int(true.sum()), int((~true).sum())
    no_target, yes_target = 1 / (n_no + 2), (n_yes + 1) / (n_yes + 2)
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        steps = IsotonicRegression(y_min=no_target, y_max=yes_target, out_of_bounds="clip").fit(score, true)
        return lambda scores: np.asarray(steps.predict(np.asarray(scores, dtype=float)))
    from scipy.special import expit
    from sklearn.linear_model import LogisticRegression

    # A target t is a yes of weight t and a no of weight 1 - t. The solver converges faster on standardised scores.
    mean, deviation = score.mean(), score.std() or 1.0
    target = np.where(true, yes_target, no_target)
    duplicated = np.tile((score - mean) / deviation, 2)[:, None]
    sigmoid = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    sigmoid.fit(duplicated, np.repeat([1, 0], len(score)), sample_weight=np.concatenate([target, 1 - target]))
    slope, shift = float(sigmoid.coef_[0, 0]), float(sigmoid.intercept_[0])
    return lambda scores: expit(slope * (np.asarray(scores, dtype=float) - mean) / deviation + shift)


def _questions(
    model: Recommender, split: Split, part: str, n_negatives: int | None, seed: int, scale: str, batch: int
) -> pd.DataFrame:
    """Return the questions of a part: `request`, `user_id`, `y_true` and `score`, one row per question."""
    requests = split.requests(part)
    if len(requests) == 0:
        raise InputError(f"part {part!r} of the {split.protocol} split holds no request; split more data")
    is_question = candidate_mask(split, requests, n_negatives, seed)
    unseen = candidate_mask(split, requests, None, seed)
    parts = []
    for start in range(0, len(requests), batch):
        rows = slice(start, start + batch)
        scores = _finite(model, np.array(model.score(requests.histories[rows]), dtype=float), unseen[rows])
        if scale == "request":
            scores = _standardised(scores, unseen[rows])
        is_target = relevance(split, requests.targets[rows])
        request, column = np.nonzero(is_question[rows])
        parts.append(
            pd.DataFrame(
                {
                    "request": request + start,
                    "y_true": is_target[request, column].astype(int),
                    "score": scores[request, column],
                }
            )
        )
    table = pd.concat(parts, ignore_index=True)
    users = pd.Series(requests.user_ids)
    table.insert(1, "user_id", users.iloc[table["request"]].to_numpy())
    return table


def _finite(model: Recommender, scores: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Return the scores, with minus infinity replaced by the lowest finite score of the request's unseen items."""
    if np.isnan(scores).any() or np.isposinf(scores).any():
        kind = "NaN" if np.isnan(scores).any() else "infinite"
        raise InputError(
            f"model {model.name} returned {kind} scores; probabilities cannot be computed from them"
        )
    lowest = np.min(scores, axis=1, initial=np.inf, where=unseen & np.isfinite(scores))
    lowest = np.where(np.isfinite(lowest), lowest, 0.0)
    return np.where(np.isneginf(scores), lowest[:, None], scores)


def _standardised(scores: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Return the scores standardised by mean and standard deviation of the unseen items; 0 if all are equal."""
    mean = scores.mean(axis=1, where=unseen, keepdims=True)
    deviation = scores.std(axis=1, where=unseen, keepdims=True)
    # Scores are float32 numbers, so the mean of equal scores is exact in float64 and their deviation is 0.
    return np.divide(scores - mean, deviation, out=np.zeros_like(scores), where=deviation > 0)


def _weighted_auc(level: np.ndarray, true: np.ndarray, weight: np.ndarray) -> float:
    """Return the ROC AUC of weighted answers; `level` numbers the distinct scores from 0 in ascending order."""
    yes = np.bincount(level, weight * true)
    no = np.bincount(level, weight * (1 - true))
    return float(yes @ (np.cumsum(no) - no / 2) / (yes.sum() * no.sum()))
