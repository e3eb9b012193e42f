"""Tables of models side by side; never a mean or a difference without its interval."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from instructrec.errors import InputError
from instructrec.evaluation.protocol import Evaluation
from instructrec.statistics.intervals import (
    Interval,
    bootstrap_interval,
    paired_difference,
    seeds_difference,
    seeds_differences,
    seeds_interval,
)
from instructrec.statistics.significance import holm, sign_flip_p_values


class Pair(NamedTuple):
    """Two models on the same requests.

    Attributes:
        first: Name of the model with the higher mean (of equal ones, the one that came first).
        second: Name of the other.
        difference: Mean of first minus second, user by user, with its bootstrap interval: for other users, and for
            other seeds of a model that was given with several.
        p: Of the paired randomisation test on each user's mean over the seeds; it takes the seeds that were trained as
            given.
        p_holm: The same, corrected for all pairs that were tested together.
        significant: Whether `p_holm` is below the level.
    """

    first: str
    second: str
    difference: Interval
    p: float
    p_holm: float
    significant: bool


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
    """Return each model's paired difference from a base model, with its interval and whether the two differ.

    The interval is of one difference by itself. Whether it "differs" is asked once for each of the others, so that
    comes from the paired randomisation test with Holm's correction for all of them: "yes" where the corrected p-value
    is below 0.05. Of many models one may have an interval that excludes zero and not differ; and with fewer than six
    users nothing can differ, since no order of so few signs is rare enough.

    Args:
        base: The model to compare with.
        others: Figures of other models on the same requests.
        metric: A column of the evaluations, such as "NDCG@10".
        seed: Seed of the bootstrap and of the permutations.

    Returns:
        A row a model, in the order given; columns "METRIC minus BASE" as "mean [low, high]" and "differs" as yes or no.

    Raises:
        InputError: The evaluations are of different requests, lack the metric, or two of the others have one name.
    """
    _check_same_requests([base, *others])
    _check_names(others)
    if metric not in base.metrics:
        raise InputError(f"unknown metric {metric!r}; accepted: {', '.join(base.metrics)}")
    for one in others:
        _check_metric(one, metric)
    if not others:
        return pd.DataFrame({}).T.rename_axis("model")
    values = [one.per_user[metric].to_numpy(dtype=float) for one in (base, *others)]
    p_values = holm(sign_flip_p_values(np.column_stack([one - values[0] for one in values[1:]]), seed=seed))
    rows = {
        one.model: {
            f"{metric} minus {base.model}": str(paired_difference(own, values[0], seed=seed)),
            "differs": "yes" if p < 0.05 else "no",
        }
        for one, own, p in zip(others, values[1:], p_values, strict=True)
    }
    return pd.DataFrame(rows).T.rename_axis("model")


def all_pairs(
    evaluations: Sequence[Evaluation | Sequence[Evaluation]],
    metric: str,
    seed: int = 0,
    level: float = 0.05,
    n_permutations: int = 10_000,
) -> list[Pair]:
    """Return every pair of models, tested by randomisation and corrected for the number of pairs (Holm, 1979).

    The interval is of one pair by itself; whether two models are told apart is up to the corrected p-value, so of many
    pairs one whose interval excludes zero may still not be told apart.

    A model with chance may be given with several seeds. Its intervals then cover users and seeds, as those of
    `difference_over_seeds`. The test compares each user's means over the seeds and flips the signs of users alone: it
    is conditional on the seeds trained and says nothing of others, so that two models may be told apart whose interval
    holds zero. Derived in chapter `evaluation`.

    Args:
        evaluations: Figures of at least two models on the same requests; for each model its evaluation, or a list of
            them, one a seed and all of one name.
        metric: A column of the evaluations, such as "NDCG@10".
        seed: Seed of the bootstrap and of the permutations.
        level: Chance, in (0, 1), that any of the pairs is told apart where no pair differs.
        n_permutations: How often the signs of the users' differences are drawn.

    Returns:
        A `Pair` for each two models, in the order of the evaluations sorted by falling mean.

    Raises:
        InputError: Fewer than two models, evaluations of different requests, two models of one name or one of several,
            a metric that one lacks, a level outside (0, 1), or no permutation.
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level!r}; a number between 0 and 1 is accepted")
    groups = [[one] if isinstance(one, Evaluation) else one for one in evaluations]
    models = [one[0] if len(one) == 1 else seed_mean(one) for one in groups]
    _check_same_requests(models)
    _check_names(models)
    if len(models) < 2:
        raise InputError(f"evaluations holds only {models[0].model!r}; a pair needs at least two")
    values = [_by_seed(one, metric) for one in groups]
    means = [one.mean(axis=0) for one in values]
    best_first = sorted(range(len(models)), key=lambda place: -means[place].mean())
    pairs = list(combinations(best_first, 2))
    differences = np.column_stack([means[a] - means[b] for a, b in pairs])
    p_values = sign_flip_p_values(differences, n_permutations, seed)
    intervals = seeds_differences(values, pairs, seed=seed)
    return [
        Pair(models[a].model, models[b].model, interval, float(p), float(adjusted), bool(adjusted < level))
        for (a, b), interval, p, adjusted in zip(pairs, intervals, p_values, holm(p_values), strict=True)
    ]


def compare_all(
    evaluations: Sequence[Evaluation | Sequence[Evaluation]],
    metric: str,
    seed: int = 0,
    level: float = 0.05,
    n_permutations: int = 10_000,
) -> pd.DataFrame:
    """Return `all_pairs` as a table: the difference with its interval, p, p after Holm, and told apart or not.

    Args:
        evaluations: As in `all_pairs`.
        metric: A column of the evaluations, such as "NDCG@10".
        seed: Seed of the bootstrap and of the permutations.
        level: Chance, in (0, 1), that any of the pairs is told apart where no pair differs.
        n_permutations: How often the signs of the users' differences are drawn.

    Returns:
        A row a pair, indexed by `model` (the higher mean) and `minus`; columns "METRIC difference" as
        "mean [low, high]", "p" and "p (Holm)" as numbers, "told apart" as yes or no.

    Raises:
        InputError: As `all_pairs`.
    """
    pairs = all_pairs(evaluations, metric, seed, level, n_permutations)
    return pd.DataFrame(
        {
            f"{metric} difference": [str(pair.difference) for pair in pairs],
            "p": [pair.p for pair in pairs],
            "p (Holm)": [pair.p_holm for pair in pairs],
            "told apart": ["yes" if pair.significant else "no" for pair in pairs],
        },
        index=pd.MultiIndex.from_tuples([pair[:2] for pair in pairs], names=["model", "minus"]),
    )


def over_seeds(
    groups: Sequence[Sequence[Evaluation]], metrics: Sequence[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Return a row a model: its mean over seeds with an interval for users and seeds, and how far the seeds spread.

    The interval is `intervals.seeds_interval`; the spread is the standard deviation of the seeds' means
    (n_seeds - 1 in the denominator). A model of one seed has the interval of its users and no spread.

    Args:
        groups: For each model its evaluations, one a seed, all of one name and all on the same requests.
        metrics: Columns of the evaluations; all of the first one's by default.
        seed: Seed of the bootstrap.

    Returns:
        A table indexed by `model`: "seeds", how many; for each metric the metric as "mean [low, high]" and
        "METRIC sd over seeds" as a number, missing (NaN) for one seed.

    Raises:
        InputError: No group or an empty one, evaluations of different requests, a group of several names, two groups
            of one name, or a metric that one lacks.
    """
    means = [seed_mean(group) for group in groups]
    _check_same_requests(means)
    _check_names(means)
    rows = {}
    for group, mean in zip(groups, means, strict=True):
        row: dict[str, object] = {"seeds": len(group)}
        for metric in means[0].metrics if metrics is None else metrics:
            values = _by_seed(group, metric)
            row[metric] = str(seeds_interval(values, seed=seed))
            several = len(values) > 1
            row[f"{metric} sd over seeds"] = float(values.mean(axis=1).std(ddof=1)) if several else np.nan
        rows[mean.model] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def difference_over_seeds(
    first: Sequence[Evaluation], second: Sequence[Evaluation], metric: str, seed: int = 0
) -> Interval:
    """Return the mean of `first` - `second` with an interval for other users and for other seeds of both models.

    Args:
        first: The evaluations of one model, one a seed.
        second: Those of another model on the same requests; the number of seeds may differ.
        metric: A column of the evaluations, such as "NDCG@10".
        seed: Seed of the bootstrap.

    Raises:
        InputError: No evaluation, evaluations of different requests, several names among the seeds of a model, or a
            metric that one lacks.
    """
    _check_same_requests([seed_mean(first), seed_mean(second)])
    return seeds_difference(_by_seed(first, metric), _by_seed(second, metric), seed=seed)


def seed_mean(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return one evaluation whose value of each user is the mean over the seeds of a model, to test or draw it as one.

    Args:
        evaluations: The evaluations of one model, one a seed, all of one name and all on the same requests.

    Raises:
        InputError: No evaluation, evaluations of different requests, several names, or unequal metrics.
    """
    _check_same_requests(evaluations)
    first = evaluations[0]
    for other in evaluations[1:]:
        if other.model != first.model:
            raise InputError(
                f"seeds of one model are named {first.model!r} and {other.model!r}; give both one name by "
                "evaluate(..., label=...)"
            )
        for metric in first.metrics:
            _check_metric(other, metric)
    per_user = first.per_user[["user_id"]].assign(
        **{metric: _by_seed(evaluations, metric).mean(axis=0) for metric in first.metrics}
    )
    return Evaluation(first.model, per_user, first.protocol)


def bare_differences(table: pd.DataFrame) -> list[str]:
    """Return the columns and rows of a table that name a difference and hold one without its interval.

    A column or row names a difference if "difference", "minus", "lead", "gain" or "gap" is a word of its name; "minus"
    as the name of an index level is none. A cell is well where it is empty or reads "mean [low, high]", both ends "nan"
    where one user leaves no interval.

    Args:
        table: Any table that is to be shown.
    """
    words = re.compile(r"\b(?:differences?|minus|leads?|gains?|gaps?)\b", re.IGNORECASE)
    number = r"[-+−]?\d[\d,]*(?:\.\d+)?"
    whole = re.compile(rf"(?:{number} \[(?:{number}, {number}|nan, nan)\])?")

    def bare(label: object, cells: Sequence[object]) -> bool:
        shown = ["" if cell is None or cell is pd.NA or cell != cell else str(cell) for cell in cells]
        return bool(words.search(str(label))) and not all(whole.fullmatch(cell) for cell in shown)

    columns = [str(label) for label, cells in table.items() if bare(label, list(cells))]
    rows = zip(table.index, table.itertuples(index=False), strict=True)
    return columns + [str(label) for label, cells in rows if bare(label, list(cells))]


def _by_seed(evaluations: Sequence[Evaluation], metric: str) -> np.ndarray:
    """Values of shape (n_seeds, n_users)."""
    for one in evaluations:
        _check_metric(one, metric)
    return np.array([one.per_user[metric].to_numpy(dtype=float) for one in evaluations])


def _check_metric(evaluation: Evaluation, metric: str) -> None:
    if metric not in evaluation.metrics:
        raise InputError(
            f"{evaluation.model} was not measured by {metric!r}; accepted: {', '.join(evaluation.metrics)}"
        )


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
