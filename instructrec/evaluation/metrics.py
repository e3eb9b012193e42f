"""Metrics of a ranked list, one value per request, and the registry from which all other modules read them.

Derived in chapter `evaluation`. A metric is one function with one line above it:

    @metric("depth")
    def depth(ranks: TargetRanks, k: int) -> np.ndarray:
        \"\"\"Return the rank of the first relevant item among the first k, and k + 1 beyond, in ranks.\"\"\"
        return np.where(ranks.first_within(k), ranks.best, k + 1.0)

The function turns the ranks of each request's targets into one value per request. The decorator registers it in
`METRICS` and replaces it by a `RankingMetric`, which is called with relevance and scores as all metrics are:
`depth(y_true, y_pred, k)`. From then on `evaluate(..., metrics=["depth"])`, `compare`, `report`, `tuning.search`,
results files and the command line know the metric by its name.

Items of equal score are ranked by the rule of `instructrec.evaluation.target_ranks`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from instructrec.errors import InputError, one_of
from instructrec.evaluation.target_ranks import TargetRanks, as_scores, target_ranks
from instructrec.validation import PositiveInt, check_value

Reported = Literal["always", "with several targets", "by name"]
"""Where a metric appears unless others are asked for: in every evaluation and report; in reports on requests of several
targets, too; or only where it is named."""

_ARGUMENTS = """

Args:
    y_true: Relevance, shape (batch, list), values 0 or 1.
    y_pred: Scores, shape (batch, list), higher is better; minus infinity excludes an item.
    k: Length of the list that the user sees, at least 1.

Returns:
    Array of shape (batch,), float64.

Raises:
    InputError: Shapes differ, a score is NaN or plus infinity, or k is below 1.
"""


class RankingMetric:
    """A registered metric of ranked lists, called as `metric(y_true, y_pred, k=10)`.

    Attributes:
        name: Name in tables, in results files and on the command line, such as "NDCG".
        reported: Where the metric appears unless others are asked for.
    """

    def __init__(
        self, name: str, formula: Callable[[TargetRanks, int], np.ndarray], reported: Reported
    ) -> None:
        self.name, self.reported = name, reported
        self.__name__, self.__module__ = formula.__name__, formula.__module__
        self.__doc__ = (inspect.getdoc(formula) or "") + _ARGUMENTS
        self._formula = formula

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
        """Return the metric of each request, shape (batch,), float64."""
        relevance, scores = np.asarray(y_true, dtype=bool), np.asarray(y_pred)
        if relevance.ndim != 2 or relevance.shape != scores.shape:
            raise InputError(
                f"y_true has shape {relevance.shape} and y_pred {scores.shape}; two equal (batch, list) are accepted"
            )
        scores = as_scores(scores)
        if np.isnan(scores).any():
            raise InputError("y_pred holds NaN; scores must be numbers (minus infinity excludes an item)")
        check_value("k", k, PositiveInt)
        return self.from_ranks(target_ranks(scores, [np.flatnonzero(row) for row in relevance]), k)

    def from_ranks(self, ranks: TargetRanks, k: int = 10) -> np.ndarray:
        """Return the metric of each request from known ranks, shape (n_requests,), float64.

        Args:
            ranks: The ranks of each request's targets.
            k: Length of the list that the user sees, at least 1.

        Raises:
            InputError: k is below 1.
        """
        return self._formula(ranks, check_value("k", k, PositiveInt))

    def __repr__(self) -> str:
        return f"<metric {self.name}>"


METRICS: dict[str, RankingMetric] = {}
"""All registered metrics by name, in the order in which they were registered."""


def metric(
    name: str, reported: Reported = "by name"
) -> Callable[[Callable[[TargetRanks, int], np.ndarray]], RankingMetric]:
    """Register the function below as a metric.

    Args:
        name: Name in tables, in results files and on the command line; without "@", which a list length follows.
        reported: Where the metric appears unless others are asked for.

    Raises:
        InputError: The name is empty, holds "@" or is registered already.
    """
    if not name or "@" in name or name in METRICS:
        raise InputError(
            f"metric is named {name!r}; a new name without '@' is accepted, other than {', '.join(METRICS)}"
        )

    def register(formula: Callable[[TargetRanks, int], np.ndarray]) -> RankingMetric:
        METRICS[name] = RankingMetric(name, formula, reported)
        return METRICS[name]

    return register


def reported_metrics(several_targets: bool = False) -> tuple[str, ...]:
    """Return the names of the metrics that are reported unless others are asked for.

    Args:
        several_targets: Whether to add the metrics that say more where requests have several targets.
    """
    kinds = ("always", "with several targets") if several_targets else ("always",)
    return tuple(name for name, entry in METRICS.items() if entry.reported in kinds)


def metric_columns(ranks: TargetRanks, metrics: Sequence[str], ks: Sequence[int]) -> dict[str, np.ndarray]:
    """Return each metric at each list length, one value per request, by names such as "NDCG@10".

    Args:
        ranks: The ranks of each request's targets.
        metrics: Names from `METRICS`.
        ks: List lengths.

    Raises:
        InputError: As in `check_metrics`.
    """
    check_metrics(metrics, ks)
    return {f"{name}@{k}": METRICS[name].from_ranks(ranks, k) for k in ks for name in metrics}


def check_metrics(metrics: Sequence[str], ks: Sequence[int]) -> None:
    """Check names of metrics and list lengths.

    Raises:
        InputError: No name or no length, an unknown name, or a length below 1.
    """
    if len(ks) == 0 or len(metrics) == 0:
        raise InputError(f"ks is {ks!r} and metrics is {metrics!r}; at least one of each is needed")
    for name in metrics:
        if name not in METRICS:
            raise one_of("metric", name, METRICS)
    for k in ks:
        check_value("k", k, PositiveInt)


def parse_metric(text: object) -> tuple[RankingMetric, int]:
    """Return the metric and the list length of a name such as "NDCG@10".

    Raises:
        InputError: An unknown metric, or no list length of 1 to 999,999.
    """
    name, _, length = text.rpartition("@") if isinstance(text, str) else ("", "", "")
    if name not in METRICS or not length.isdecimal() or not 1 <= int(length) <= 999_999:
        raise one_of("metric", text, [f"{name}@10" for name in METRICS])
    return METRICS[name], int(length)


@metric("HR", reported="always")
def hit_rate(ranks: TargetRanks, k: int) -> np.ndarray:
    """Return 1 if some relevant item is among the first k, else 0: HR@k = 1[some relevant item ranks <= k]."""
    return ranks.first_within(k).astype(float)


@metric("NDCG", reported="always")
def ndcg(ranks: TargetRanks, k: int) -> np.ndarray:
    """Return the normalised discounted cumulative gain at k (Järvelin and Kekäläinen, 2002), in [0, 1].

    DCG@k = sum_{r<=k} rel_r / log2(r + 1), divided by the DCG of the best possible order; 0 without relevant items.
    """
    hits = ranks.within(k)
    gains = np.zeros(len(ranks.ranks))
    gains[hits] = 1.0 / np.log2(ranks.ranks[hits] + 1)
    n_reachable = np.minimum(ranks.n_targets, k)
    discounts = 1.0 / np.log2(np.arange(2, n_reachable.max(initial=0) + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[n_reachable]
    return np.divide(ranks.sum_by_request(gains, hits), ideal, out=np.zeros(len(ranks)), where=ideal > 0)


@metric("MRR", reported="always")
def mrr(ranks: TargetRanks, k: int) -> np.ndarray:
    """Return the reciprocal rank of the first relevant item, 0 beyond rank k (Voorhees, 1999), in [0, 1]."""
    return ranks.first_within(k) / np.maximum(ranks.best, 1)


@metric("precision")
def precision_at_k(ranks: TargetRanks, k: int) -> np.ndarray:
    """Return the share of the first k that is relevant, sum_{r<=k} rel_r / k (Herlocker et al., 2004).

    Positions beyond the end of a list shorter than k count as irrelevant.
    """
    return ranks.sum_by_request(None, ranks.within(k)) / k


@metric("recall", reported="with several targets")
def recall_at_k(ranks: TargetRanks, k: int) -> np.ndarray:
    """Return the share of the relevant items that rank among the first k, sum_{r<=k} rel_r / R; 0 where R = 0.

    R is the number of all relevant items, also where R > k (Herlocker et al., 2004).
    """
    return ranks.sum_by_request(None, ranks.within(k)) / np.maximum(ranks.n_targets, 1)


@metric("MAP", reported="with several targets")
def average_precision(ranks: TargetRanks, k: int) -> np.ndarray:
    """Return the average precision at k; its mean over requests is MAP@k (Buckley and Voorhees, 2000).

    AP@k = sum_{r<=k} rel_r · precision@r / R with R the number of all relevant items, also where R > k, so that 1 is
    out of reach then; some libraries divide by min(R, k) instead. 0 where R = 0. With one relevant item it is `mrr`.
    """
    hits = ranks.within(k)
    n_relevant_so_far = np.arange(1, len(ranks.ranks) + 1) - np.repeat(ranks.starts[:-1], ranks.n_targets)
    precision = n_relevant_so_far / np.maximum(ranks.ranks, 1)
    return ranks.sum_by_request(precision, hits) / np.maximum(ranks.n_targets, 1)
