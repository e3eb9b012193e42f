"""The InstructRec paper's own figures, to stand beside ours (Zhang et al., 2023, arXiv:2305.07001).

Theirs are of other data and other models: Amazon reviews and a language model of three billion weights. What can be
compared is the form of a table and the order and distance of models in it, never a figure with a figure.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from instructrec.errors import InputError, one_of


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
    """Return the figures that the paper reports.

    Args:
        task: A name of `paper_tasks()`; all by default.

    Returns:
        A row a model and task: `task`, `model`, `data`, `candidates` and a column a metric. The paper has no intervals.

    Raises:
        InputError: An unknown task.
    """
    tasks = [one for one in _paper()["tasks"] if task in (None, one["name"])]
    if not tasks:
        raise one_of("task of the paper", task, paper_tasks(), most=len(paper_tasks()))
    rows = [
        {"task": one["name"], "model": model, "data": one["data"], "candidates": one["candidates"]}
        | dict(zip(paper_metrics(), values, strict=True))
        for one in tasks
        for model, *values in one["rows"]
    ]
    return pd.DataFrame(rows)


def of_each(above: np.ndarray, level: np.ndarray, n_candidates: int) -> dict[str, np.ndarray]:
    """Return the paper's metrics of each request, ties sharing their places.

    Args:
        above: How many candidates score higher than the target, shape (n,).
        level: How many score as the target does, itself included, shape (n,).
        n_candidates: Of a request, the target included.

    Returns:
        By metric, an array of shape (n,).
    """
    found = {}
    for metric in paper_metrics():
        kind, _, k = metric.partition("@")
        gains = np.zeros(n_candidates)
        gains[: int(k)] = 1 if kind == "HR" else 1 / np.log2(np.arange(len(gains[: int(k)])) + 2)
        total = np.concatenate([[0], gains.cumsum()])
        found[metric] = (total[above + level] - total[above]) / level
    return found


def chance(metric: str, n_candidates: int) -> float:
    """Return what a guess earns where one of n candidates is right, each at every rank with equal chance.

    HR@k = k / n and NDCG@k = sum_{r<=k} 1 / (n log2(r + 1)), with k at most n.

    Args:
        metric: "HR@k" or "NDCG@k", such as "NDCG@5".
        n_candidates: Candidates, the right one included, at least 1.

    Raises:
        InputError: Another metric, or no candidate.
    """
    name, _, k = metric.partition("@")
    if name not in ("HR", "NDCG") or not k.isdecimal() or int(k) < 1:
        raise InputError(f"metric is {metric!r}; HR@k or NDCG@k such as NDCG@5 is accepted")
    if n_candidates < 1:
        raise InputError(f"n_candidates is {n_candidates!r}; a whole number of at least 1 is accepted")
    ranks = np.arange(1, min(int(k), n_candidates) + 1)
    gain = np.ones(len(ranks)) if name == "HR" else 1 / np.log2(ranks + 1)
    return float(gain.sum() / n_candidates)
