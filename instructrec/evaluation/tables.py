"""Tables of models side by side; never a mean without its interval."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from instructrec.errors import InputError
from instructrec.evaluation.intervals import bootstrap_interval, paired_difference
from instructrec.evaluation.protocol import Evaluation


def compare(evaluations: Sequence[Evaluation], seed: int = 0) -> pd.DataFrame:
    """Return a row a model and a column a metric; each cell reads "mean [low, high]", 95% over users.

    Args:
        evaluations: Figures of models on the same requests.
        seed: Seed of the bootstrap.

    Raises:
        InputError: No evaluation, evaluations of different requests, or two of one name.
    """
    _check_same_requests(evaluations)
    _check_names(evaluations)
    return pd.DataFrame(
        {
            one.model: {name: str(bootstrap_interval(one.per_user[name], seed=seed)) for name in one.metrics}
            for one in evaluations
        }
    ).T.rename_axis("model")


def compare_with(base: Evaluation, others: Sequence[Evaluation], metric: str, seed: int = 0) -> pd.DataFrame:
    """Return each model's paired difference from a base model, with its interval and whether it excludes zero.

    Args:
        base: The model to compare with.
        others: Figures of other models on the same requests.
        metric: A column of the evaluations, such as "NDCG@10".
        seed: Seed of the bootstrap.

    Raises:
        InputError: The evaluations are of different requests, lack the metric, or two of the others have one name.
    """
    _check_same_requests([base, *others])
    _check_names(others)
    if metric not in base.metrics:
        raise InputError(f"unknown metric {metric!r}; accepted: {', '.join(base.metrics)}")
    rows = {}
    for one in others:
        interval = paired_difference(one.per_user[metric], base.per_user[metric], seed=seed)
        told_apart = interval.low > 0 or interval.high < 0
        rows[one.model] = {
            f"{metric} minus {base.model}": str(interval),
            "differs": "yes" if told_apart else "no",
        }
    return pd.DataFrame(rows).T.rename_axis("model")


def _check_same_requests(evaluations: Sequence[Evaluation]) -> None:
    if not evaluations:
        raise InputError("evaluations is an empty list; at least one is needed")
    first = evaluations[0]
    for other in evaluations[1:]:
        if other.protocol != first.protocol or not other.per_user["user_id"].equals(
            first.per_user["user_id"]
        ):
            raise InputError(
                f"{first.model} was measured on {first.protocol}, {other.model} on {other.protocol} or on other users; "
                "a table compares models on the same requests"
            )


def _check_names(evaluations: Sequence[Evaluation]) -> None:
    names = [one.model for one in evaluations]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two evaluations are named {twice!r}; tell them apart by evaluate(..., label=...)")
