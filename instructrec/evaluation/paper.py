"""The results that the InstructRec paper reports, to print beside ours (Zhang et al., 2023, arXiv:2305.07001).

They are of other data and other models: Amazon reviews and a language model of three billion weights. Compare the form
of a table and the order and distances of the models in it, never one number with another.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from instructrec.errors import one_of
from instructrec.evaluation.metrics import parse_metric
from instructrec.evaluation.target_ranks import TargetRanks
from instructrec.validation import PositiveInt, check_value


@cache
def _paper() -> dict[str, Any]:
    return tomllib.loads(files("instructrec.evaluation").joinpath("paper.toml").read_text("utf-8"))


def paper_tasks() -> tuple[str, ...]:
    """Return the names of the paper's tasks, such as "sequential"."""
    return tuple(task["name"] for task in _paper()["tasks"])


def paper_metrics() -> tuple[str, ...]:
    """Return the metrics of the paper's tables: HR@1, HR@3, HR@5, NDCG@3 and NDCG@5."""
    return tuple(_paper()["metrics"])


def paper_figures(task: str | None = None) -> pd.DataFrame:
    """Return the results that the paper reports.

    Args:
        task: A name of `paper_tasks()`; all by default.

    Returns:
        One row per model and task: `task`, `model`, `data`, `candidates` and a column for each metric. The paper
        reports no intervals.

    Raises:
        InputError: An unknown task.
    """
    tasks = [entry for entry in _paper()["tasks"] if task in (None, entry["name"])]
    if not tasks:
        raise one_of("task of the paper", task, paper_tasks(), most=len(paper_tasks()))
    rows = [
        {"task": entry["name"], "model": model, "data": entry["data"], "candidates": entry["candidates"]}
        | dict(zip(paper_metrics(), values, strict=True))
        for entry in tasks
        for model, *values in entry["rows"]
    ]
    return pd.DataFrame(rows)


def expected_metrics(n_better: np.ndarray, n_tied: np.ndarray, n_candidates: int) -> dict[str, np.ndarray]:
    """Return the paper's metrics of each request, in expectation over the orders of tied candidates.

    A language model gives many titles the same score, and the tables in the form of the paper's take the mean over all
    orders of them instead of the rule of `instructrec.evaluation.target_ranks`.

    Args:
        n_better: Number of candidates that score higher than the target, shape (n,).
        n_tied: Number of candidates with the target's score, itself included, shape (n,).
        n_candidates: Number of candidates of a request, the target included.

    Returns:
        By metric, an array of shape (n,).
    """
    values = {}
    for metric in paper_metrics():
        total = np.concatenate([[0], _gains_by_rank(metric, n_candidates).cumsum()])
        values[metric] = (total[n_better + n_tied] - total[n_better]) / n_tied
    return values


def chance(metric: str, n_candidates: int) -> float:
    """Return the expected metric of a random order of n candidates, one of them relevant.

    The relevant candidate has every rank with the same probability, so HR@k = k / n and
    NDCG@k = sum_{r<=k} 1 / (n log2(r + 1)), with k at most n.

    Args:
        metric: A metric of `evaluation.METRICS` at a list length, such as "NDCG@5".
        n_candidates: Number of candidates, the relevant one included, at least 1.

    Raises:
        InputError: An unknown metric, or no candidate.
    """
    check_value("n_candidates", n_candidates, PositiveInt)
    k = min(parse_metric(metric)[1], n_candidates)
    return float(_gains_by_rank(metric, n_candidates)[:k].sum() / n_candidates)


def _gains_by_rank(metric: str, n_candidates: int) -> np.ndarray:
    """Return the metric of a request whose one target has rank 1, 2, …, n, shape (n_candidates,)."""
    function, k = parse_metric(metric)
    return function.from_ranks(TargetRanks.from_lists([[rank] for rank in range(1, n_candidates + 1)]), k)
