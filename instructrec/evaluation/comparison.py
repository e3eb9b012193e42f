"""Compare models on the same requests, with an interval for every mean and every difference.

Derived in chapter `evaluation`.
"""

from __future__ import annotations

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
    """The comparison of two models on the same requests.

    Attributes:
        first: Name of the model with the higher mean (of equal means, the model that came first).
        second: Name of the other model.
        difference: Mean of first minus second, user by user, with its bootstrap interval, which covers users and, for
            models with several seeds, seeds.
        p: p-value of the paired randomisation test on each user's mean over the seeds; it is conditional on the seeds
            trained.
        p_holm: p-value after Holm's correction for all pairs that are tested together.
        significant: Whether `p_holm` is below the level of significance.
    """

    first: str
    second: str
    difference: Interval
    p: float
    p_holm: float
    significant: bool


def compare(evaluations: Sequence[Evaluation], seed: int = 0) -> pd.DataFrame:
    """Return one row per model and one column per metric; each cell reads "mean [low, high]", 95% over users.

    Args:
        evaluations: Evaluations of models on the same requests.
        seed: Seed of the bootstrap.

    Raises:
        InputError: There is no evaluation, the requests differ, or two evaluations have the same name.
    """
    _check_same_requests(evaluations)
    _check_names(evaluations)
    return pd.DataFrame(
        {
            evaluation.model: {
                name: str(bootstrap_interval(evaluation.per_user[name], seed=seed))
                for name in evaluation.metrics
            }
            for evaluation in evaluations
        }
    ).T.rename_axis("model")


def compare_with(base: Evaluation, models: Sequence[Evaluation], metric: str, seed: int = 0) -> pd.DataFrame:
    """Return each model's paired difference from a base model, with its interval and whether the two differ.

    The interval belongs to one difference alone. Whether a model "differs" is tested for each model, so the column
    uses the paired randomisation test with Holm's correction for all models: "yes" if the corrected p-value is below
    0.05. Among many models an interval may therefore exclude zero although the model does not differ; and with
    fewer than six users no difference can be significant, since no pattern of so few signs is rare enough.

    Args:
        base: The model to compare with.
        models: Evaluations of other models on the same requests.
        metric: A column of the evaluations, such as "NDCG@10".
        seed: Seed of the bootstrap and of the permutations.

    Returns:
        One row per model, in the order given; columns "METRIC minus BASE" as "mean [low, high]" and "differs" as yes or
        no.

    Raises:
        InputError: The requests differ, an evaluation lacks the metric, or two models have the same name.
    """
    _check_same_requests([base, *models])
    _check_names(models)
    if metric not in base.metrics:
        raise InputError(f"unknown metric {metric!r}; accepted: {', '.join(base.metrics)}")
    for model in models:
        _check_metric(model, metric)
    if not models:
        return pd.DataFrame({}).T.rename_axis("model")
    base_values = base.per_user[metric].to_numpy(dtype=float)
    values = [model.per_user[metric].to_numpy(dtype=float) for model in models]
    p_values = holm(sign_flip_p_values(np.column_stack([row - base_values for row in values]), seed=seed))
    rows = {
        model.model: {
            f"{metric} minus {base.model}": str(paired_difference(row, base_values, seed=seed)),
            "differs": "yes" if p < 0.05 else "no",
        }
        for model, row, p in zip(models, values, p_values, strict=True)
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

    The interval belongs to one pair alone. Whether a difference is significant depends on the corrected p-value, so
    among many pairs an interval may exclude zero although the difference is not significant.

    A model with a random seed may be given with several seeds. Its intervals then cover users and seeds, like those of
    `difference_over_seeds`. The test compares each user's means over the seeds and flips the signs of users alone: it
    is conditional on the seeds trained and says nothing about other seeds, so a difference may be significant although
    its interval contains zero.

    Args:
        evaluations: Evaluations of at least two models on the same requests; for each model one evaluation, or a list
            with one evaluation per seed, all with the same name.
        metric: A column of the evaluations, such as "NDCG@10".
        seed: Seed of the bootstrap and of the permutations.
        level: Level of significance, in (0, 1): the probability that any pair is significant if no two models differ.
        n_permutations: Number of random sign flips of the users' differences.

    Returns:
        A `Pair` for every two models, in the order of the models sorted by descending mean.

    Raises:
        InputError: There are fewer than two models, the requests differ, two models have the same name, the seeds of a
            model have different names, a metric is missing, the level is outside (0, 1), or there is no permutation.
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level!r}; a number between 0 and 1 is accepted")
    groups = [[group] if isinstance(group, Evaluation) else group for group in evaluations]
    models = [group[0] if len(group) == 1 else seed_mean(group) for group in groups]
    _check_same_requests(models)
    _check_names(models)
    if len(models) < 2:
        raise InputError(f"evaluations holds only {models[0].model!r}; a pair needs at least two")
    values = [_by_seed(group, metric) for group in groups]
    means = [by_seed.mean(axis=0) for by_seed in values]
    best_first = sorted(range(len(models)), key=lambda index: -means[index].mean())
    pairs = list(combinations(best_first, 2))
    differences = np.column_stack([means[a] - means[b] for a, b in pairs])
    p_values = sign_flip_p_values(differences, n_permutations, seed)
    intervals = seeds_differences(values, pairs, seed=seed)
    return [
        Pair(models[a].model, models[b].model, interval, float(p), float(adjusted), bool(adjusted < level))
        for (a, b), interval, p, adjusted in zip(pairs, intervals, p_values, holm(p_values), strict=True)
    ]


def pairs_table(pairs: Sequence[Pair], metric: str) -> pd.DataFrame:
    """Return `all_pairs` as a table.

    Args:
        pairs: The pairs.
        metric: The metric that they compare, such as "NDCG@10".

    Returns:
        One row per pair, indexed by `model` (the higher mean) and `minus`; columns "METRIC difference" as `Interval`,
        "p" and "p (Holm)" as numbers, "significant" as yes or no.
    """
    return pd.DataFrame(
        {
            f"{metric} difference": [pair.difference for pair in pairs],
            "p": [pair.p for pair in pairs],
            "p (Holm)": [pair.p_holm for pair in pairs],
            "significant": ["yes" if pair.significant else "no" for pair in pairs],
        },
        index=pd.MultiIndex.from_tuples([pair[:2] for pair in pairs], names=["model", "minus"]),
    )


def over_seeds(
    groups: Sequence[Sequence[Evaluation]], metrics: Sequence[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Return one row per model: its mean over seeds with an interval over users and seeds, and the spread of the seeds.

    The interval is `statistics.seeds_interval`; the spread is the standard deviation of the seeds' means
    (n_seeds - 1 in the denominator). A model with one seed has the interval over its users and no spread.

    Args:
        groups: For each model its evaluations, one per seed, all with the same name and on the same requests.
        metrics: Columns of the evaluations; all columns of the first evaluation by default.
        seed: Seed of the bootstrap.

    Returns:
        A table indexed by `model`: "seeds", their number; for each metric the metric as "mean [low, high]" and
        "METRIC sd over seeds" as a number, missing (NaN) for one seed.

    Raises:
        InputError: There is no group or a group is empty, the requests differ, a group has several names, two groups
            have the same name, or a metric is missing.
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
            spread = float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else np.nan
            row[f"{metric} sd over seeds"] = spread
        rows[mean.model] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def difference_over_seeds(
    first: Sequence[Evaluation], second: Sequence[Evaluation], metric: str, seed: int = 0
) -> Interval:
    """Return the mean of `first` - `second` with an interval over users and over the seeds of both models.

    Args:
        first: The evaluations of a model, one per seed.
        second: The evaluations of another model on the same requests; the number of seeds may differ.
        metric: A column of the evaluations, such as "NDCG@10".
        seed: Seed of the bootstrap.

    Raises:
        InputError: No evaluation, evaluations of different requests, several names among the seeds of a model, or a
            missing metric.
    """
    _check_same_requests([seed_mean(first), seed_mean(second)])
    return seeds_difference(_by_seed(first, metric), _by_seed(second, metric), seed=seed)


def seed_mean(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return one evaluation of a model with several seeds: each user's value is the mean over the seeds.

    Args:
        evaluations: The evaluations of a model, one per seed, all with the same name and on the same requests.

    Raises:
        InputError: No evaluation, evaluations of different requests, several names, or unequal metrics.
    """
    _check_same_requests(evaluations)
    first = evaluations[0]
    for evaluation in evaluations[1:]:
        if evaluation.model != first.model:
            raise InputError(
                f"seeds of one model are named {first.model!r} and {evaluation.model!r}; give both one name by "
                "evaluate(..., label=...)"
            )
        for metric in first.metrics:
            _check_metric(evaluation, metric)
    per_user = first.per_user[["user_id"]].assign(
        **{metric: _by_seed(evaluations, metric).mean(axis=0) for metric in first.metrics}
    )
    return Evaluation(first.model, per_user, first.protocol)


def _by_seed(evaluations: Sequence[Evaluation], metric: str) -> np.ndarray:
    """Return a metric of each seed and user, shape (n_seeds, n_users)."""
    for evaluation in evaluations:
        _check_metric(evaluation, metric)
    return np.array([evaluation.per_user[metric].to_numpy(dtype=float) for evaluation in evaluations])


def _check_metric(evaluation: Evaluation, metric: str) -> None:
    if metric not in evaluation.metrics:
        raise InputError(
            f"{evaluation.model} was not measured by {metric!r}; accepted: {', '.join(evaluation.metrics)}"
        )


def _check_same_requests(evaluations: Sequence[Evaluation]) -> None:
    """Check that there is an evaluation, and that all evaluations are of the same requests."""
    if not evaluations:
        raise InputError("evaluations is an empty list; at least one is needed")
    first = evaluations[0]
    for evaluation in evaluations[1:]:
        if evaluation.protocol != first.protocol or not evaluation.per_user["user_id"].equals(
            first.per_user["user_id"]
        ):
            raise InputError(
                f"{first.model} was measured on {first.protocol}, {evaluation.model} on "
                f"{evaluation.protocol} or on other users; a table compares models on the same requests"
            )


def _check_names(evaluations: Sequence[Evaluation]) -> None:
    names = [evaluation.model for evaluation in evaluations]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise InputError(
            f"two evaluations are named {duplicate!r}; give them different names by evaluate(..., label=...)"
        )
