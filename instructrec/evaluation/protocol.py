"""One evaluation for every recommender: ask, rank, measure user by user.

Derived in chapter `evaluation`. The default ranks over the whole catalogue; samples of negatives can reverse the
order of models (Krichene and Rendle, KDD 2020) and are here to show just that and to compare with papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from instructrec.errors import InputError
from instructrec.evaluation.intervals import bootstrap_interval
from instructrec.evaluation.ranking import METRICS
from instructrec.models.base import Recommender
from instructrec.split import Requests, Split


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model.

    Attributes:
        model: Name of the model.
        per_user: One row a request: `user_id` and a column a metric, such as "NDCG@10".
        protocol: Split, part and candidates, in words.
    """

    model: str
    per_user: pd.DataFrame = field(repr=False)
    protocol: str

    @property
    def metrics(self) -> list[str]:
        """Names of the metric columns."""
        return [name for name in self.per_user.columns if name != "user_id"]

    def summary(self, seed: int = 0) -> pd.DataFrame:
        """Return a row a metric with `mean`, `low` and `high` of the 95% bootstrap interval over users."""
        rows = {name: bootstrap_interval(self.per_user[name], seed=seed)._asdict() for name in self.metrics}
        return pd.DataFrame(rows).T


def evaluate(
    model: Recommender,
    split: Split,
    part: str = "test",
    ks: Sequence[int] = (10,),
    instructions: Sequence[str | None] | None = None,
    n_negatives: int | None = None,
    seed: int = 0,
    metrics: Sequence[str] = ("HR", "NDCG", "MRR"),
    label: str | None = None,
    batch: int = 256,
) -> Evaluation:
    """Measure a fitted recommender on a part of a split.

    Args:
        model: A recommender fitted on `split.train`.
        split: The data in three parts.
        part: "valid" or "test".
        ks: List lengths.
        instructions: One text or None for each request of `split.requests(part)`; none by default.
        n_negatives: Rank the targets against this many random unseen items; the whole catalogue without the history
            by default.
        seed: Seed of the random negatives: the same seed gives the same candidates to every model.
        metrics: Names from `evaluation.METRICS`.
        label: Name for tables; the model's own by default.
        batch: Requests scored at a time.

    Returns:
        An `Evaluation`.

    Raises:
        InputError: Lists of unequal length, unknown metrics or none, or scores that are not numbers.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise InputError(f"unknown metric {unknown[0]!r}; accepted: {', '.join(METRICS)}")
    if len(ks) == 0 or len(metrics) == 0:
        raise InputError(f"ks is {ks!r} and metrics is {metrics!r}; at least one of each is needed")
    requests = split.requests(part)
    if len(requests) == 0:
        raise InputError(f"part {part!r} of the {split.protocol} split holds no request; split more data")
    if instructions is not None and len(instructions) != len(requests):
        raise InputError(
            f"{len(instructions)} instructions for {len(requests)} requests; give one each, or None"
        )
    allowed = candidate_mask(split, requests, n_negatives, seed)
    columns: dict[str, list[np.ndarray]] = {f"{name}@{k}": [] for k in ks for name in metrics}
    for start in range(0, len(requests), batch):
        rows = slice(start, start + batch)
        scores = np.array(
            model.score(requests.histories[rows], None if instructions is None else instructions[rows]),
            dtype=float,
        )
        if np.isnan(scores).any():
            raise InputError(f"model {model.name} returned NaN scores; nothing can be ranked by them")
        scores[~allowed[rows]] = -np.inf
        relevant = relevance(split, requests.targets[rows])
        for k in ks:
            for name in metrics:
                columns[f"{name}@{k}"].append(METRICS[name](relevant, scores, k))
    per_user = pd.DataFrame({"user_id": requests.user_ids})
    per_user = per_user.assign(**{name: np.concatenate(parts) for name, parts in columns.items()})
    against = "whole catalogue" if n_negatives is None else f"{n_negatives} random negatives"
    return Evaluation(label or model.name, per_user, f"{split.protocol}, {part}, {against}")


def relevance(split: Split, targets: Sequence[Sequence[object]]) -> np.ndarray:
    """Return a 0/1 matrix of shape (n_requests, n_catalogue): which items each user went on to choose."""
    matrix = np.zeros((len(targets), split.train.n_items), dtype=bool)
    for row, items in enumerate(targets):
        matrix[row, split.train.item_columns(items)] = True
    return matrix


def candidate_mask(split: Split, requests: Requests, n_negatives: int | None, seed: int) -> np.ndarray:
    """Return which catalogue items compete in each request, shape (n_requests, n_catalogue), bool.

    Args:
        split: The data in three parts.
        requests: The requests of a part.
        n_negatives: Random unseen items beside the targets; None keeps all items that are not in the history.
        seed: Seed of the draw.

    Raises:
        InputError: Fewer unseen items than negatives, or a number of negatives that is none.
    """
    if n_negatives is not None and n_negatives < 0:
        raise InputError(
            f"n_negatives is {n_negatives!r}; a whole number of at least 0, or None, is accepted"
        )
    mask = np.ones((len(requests), split.train.n_items), dtype=bool)
    rng = np.random.default_rng(seed)
    for row, (history, targets) in enumerate(zip(requests.histories, requests.targets, strict=True)):
        mask[row, split.train.item_columns(history)] = False
        if n_negatives is None:
            continue
        wanted = split.train.item_columns(targets)
        mask[row, wanted] = False
        unseen = np.flatnonzero(mask[row])
        if len(unseen) < n_negatives:
            raise InputError(f"n_negatives is {n_negatives}, but a user has only {len(unseen)} unseen items")
        mask[row] = False
        mask[row, rng.choice(unseen, n_negatives, replace=False)] = True
        mask[row, wanted] = True
    return mask
