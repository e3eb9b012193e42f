"""The tables of a report, each with its name and caption; cells are numbers, intervals or texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from instructrec.evaluation.beyond_accuracy import LIST_METRICS
from instructrec.evaluation.comparison import pairs_table
from instructrec.evaluation.metrics import reported_metrics
from instructrec.evaluation.paper import chance, paper_figures, paper_metrics
from instructrec.evaluation.report.formatting import candidates_in_words, make_table, short_candidates
from instructrec.evaluation.report.runs import K, ProtocolRuns
from instructrec.statistics import Interval, bootstrap_interval, seeds_interval

Table = tuple[str, str, pd.DataFrame]
"""Name, caption and cells."""

_OVER_USERS_AND_SEEDS = "Mean [95% interval] over users; with several seeds over users and seeds."
_PAPER_FORMS = {
    "random-10": (r"9 random negatives", "sequential", 10),
    "hard-10": (r"9 hard negatives by .+", "hard negatives", 10),
    "random-100": (r"99 random negatives", "100 candidates, P1 and I1", 100),
}
"""By form: the candidates of ours that fit it, the paper's task of that form, and its number of candidates."""


def report_tables(runs: ProtocolRuns) -> Iterator[Table]:
    """Yield the tables that the runs of a protocol allow."""
    yield _accuracy(runs)
    for make in (_beyond_accuracy, _cost, _pairs, _seeds, _samples, _reordered):
        table = make(runs)
        if table is not None:
            yield table
    yield from _as_in_the_paper(runs)


def kendall_tau(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how similarly two sets of values order models: 1 all pairs alike, -1 all reversed (Kendall, 1938).

    tau = (concordant pairs - discordant pairs) / all pairs; a pair that is tied in either set counts for neither.

    Args:
        first: Values, shape (..., n_models), at least two models.
        second: Values of the same models, of the same shape.

    Returns:
        Array of shape (...,), in [-1, 1].
    """
    pairs = list(combinations(range(first.shape[-1]), 2))
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    signs = np.sign(first[..., left] - first[..., right]) * np.sign(second[..., left] - second[..., right])
    return signs.mean(axis=-1)


def _accuracy(runs: ProtocolRuns) -> Table:
    names = reported_metrics(runs.several_targets)
    metrics = list(dict.fromkeys([*(f"{name}@{K}" for name in names), runs.metric]))
    rows = {label: {metric: runs.interval(label, metric) for metric in metrics} for label in runs.labels}
    return (
        "accuracy",
        f"Accuracy on {runs.description}: targets ranked against the {candidates_in_words(runs.main_candidates)}. "
        f"{_OVER_USERS_AND_SEEDS}",
        make_table(rows),
    )


def _beyond_accuracy(runs: ProtocolRuns) -> Table | None:
    by_run = [run.list_metrics for label in runs.labels for run in runs.runs(label)]
    metrics = {
        name: metric
        for name, metric in LIST_METRICS.items()
        if (all if metric.per_request else any)(name in values for values in by_run)
    }
    if not all(by_run):
        return None
    rows: dict[str, dict[str, Any]] = {}
    for label in runs.labels:
        rows[label] = {}
        for name, metric in metrics.items():
            values = [run.list_metrics.get(name, np.nan) for run in runs.runs(label)]
            cell = _over_seeds(np.array(values), runs.seed) if metric.per_request else float(np.mean(values))
            rows[label][metric.label] = cell
    explanations = " ".join(metric.caption for metric in metrics.values())
    return (
        "beyond-accuracy",
        f"Beyond accuracy on {runs.description}: lists of {K}. {explanations} {_OVER_USERS_AND_SEEDS}",
        make_table(rows),
    )


def _over_seeds(values: np.ndarray, seed: int) -> Interval | float:
    """Return the interval of values of shape (n_seeds, n_requests) over the requests where all seeds have one."""
    defined = np.isfinite(values).all(axis=0)
    return seeds_interval(values[:, defined], seed=seed) if defined.any() else np.nan


def _cost(runs: ProtocolRuns) -> Table:
    rows = {}
    machines = set()
    for label in runs.labels:
        of_label = runs.runs(label)
        machines |= {str(run.machine) for run in of_label if run.machine is not None}
        parameters = [run.parameters for run in of_label if run.parameters is not None]
        rows[label] = {
            runs.metric: runs.interval(label, runs.metric),
            "fit (s)": float(np.mean([run.seconds["fit"] for run in of_label])),
            "score (s)": float(np.mean([run.seconds["score"] for run in of_label])),
            "parameters": parameters[0] if parameters else None,
        }
    note = f" Some ran elsewhere: {'; '.join(sorted(machines))}." if machines else ""
    return (
        "cost",
        f"Cost on {runs.description}: wall time to fit the model and to score all requests, mean over seeds, and the "
        f"number of floating-point numbers that the model stores.{note}",
        make_table(rows),
    )


def _pairs(runs: ProtocolRuns) -> Table | None:
    if len(runs.labels) < 2:
        return None
    return (
        "pairs",
        f"Every pair of models on {runs.description}: paired difference [95% interval over users; with several seeds "
        "over users and seeds], p of the paired randomisation test, and p after Holm's correction for all pairs; "
        "significant if that is below 0.05. A model of several seeds is tested by each user's mean over them: the test "
        "is conditional on the seeds trained, the interval is not.",
        pairs_table(runs.pairs(), runs.metric),
    )


def _seeds(runs: ProtocolRuns) -> Table | None:
    rows = {}
    for label in runs.labels:
        values = runs.values(label, runs.metric)
        if len(values) < 2:
            continue
        means = values.mean(axis=1)
        rows[label] = {
            "seeds": len(means),
            runs.metric: runs.interval(label, runs.metric),
            "over users alone": bootstrap_interval(values.mean(axis=0), seed=runs.seed),
            "sd over seeds": float(means.std(ddof=1)),
            "lowest": float(means.min()),
            "highest": float(means.max()),
        }
    if not rows:
        return None
    return (
        "seeds",
        f"Effect of the training seed on {runs.description}: {runs.metric} over all seeds with an interval over users "
        "and seeds, the narrower interval over users alone, and the spread of the seeds' means.",
        make_table(rows),
    )


def _samples(runs: ProtocolRuns) -> Table | None:
    if len(runs.candidates) < 2:
        return None
    ranks = {name: runs.model_ranks(name) for name in runs.candidates}
    rows: dict[str, dict[str, Any]] = {label: {} for label in runs.labels}
    for label, row in rows.items():
        for name in runs.candidates:
            row[name] = runs.interval(label, runs.metric, name)
            row[f"rank, {short_candidates(name)}"] = ranks[name][label]
    return (
        "samples",
        f"{runs.metric} on {runs.description} for each set of candidates, and the rank of each model. Compare ranks, "
        "not values: fewer candidates raise all values.",
        make_table(rows),
    )


def _reordered(runs: ProtocolRuns) -> Table | None:
    samples = [name for name in runs.candidates if name != runs.main_candidates]
    if not samples or len(runs.labels) < 2:
        return None
    main = runs.seed_means(runs.main_candidates)
    n_users = main.shape[1]
    rng = np.random.default_rng(runs.seed)
    weights = rng.multinomial(n_users, np.full(n_users, 1 / n_users), size=2000) / n_users
    rows = {}
    for name in samples:
        values = runs.seed_means(name)
        low, high = np.quantile(kendall_tau(weights @ main.T, weights @ values.T), [0.025, 0.975])
        tau = float(kendall_tau(main.mean(axis=1), values.mean(axis=1)))
        reversed_pairs = _reversed_pairs(runs.labels, main.mean(axis=1), values.mean(axis=1))
        in_both = runs.significant_pairs(runs.main_candidates) & runs.significant_pairs(name)
        significant = [pair for pair in reversed_pairs if frozenset(pair) in in_both]
        rows[name] = {
            "Kendall's tau": Interval(tau, float(low), float(high)),
            "pairs": len(runs.labels) * (len(runs.labels) - 1) // 2,
            "reversed": len(reversed_pairs),
            "significantly": len(significant),
            "such as": "; ".join(f"{b} over {a}" for a, b in (significant or reversed_pairs)[:2]),
        }
    return (
        "reordered",
        f"How samples reorder models on {runs.description}: agreement of the order by {runs.metric} with that of the "
        f"{candidates_in_words(runs.main_candidates)} (1 the same, -1 reversed) [95% interval over users], the number "
        "of pairs in reverse order, and how many of them significantly: with a significant difference in both, of "
        "opposite sign.",
        make_table(rows, "candidates"),
    )


def _reversed_pairs(labels: list[str], first: np.ndarray, second: np.ndarray) -> list[tuple[str, str]]:
    """Return the pairs of labels that two sets of means order differently."""
    return [
        (labels[a], labels[b])
        for a, b in combinations(range(len(labels)), 2)
        if np.sign(first[a] - first[b]) * np.sign(second[a] - second[b]) < 0
    ]


def _as_in_the_paper(runs: ProtocolRuns) -> Iterator[Table]:
    if runs.several_targets:  # each of the paper's requests has one target
        return
    for form, (pattern, task, n_candidates) in _PAPER_FORMS.items():
        for name in runs.candidates:
            if re.fullmatch(pattern, name):
                chooser = name.rpartition(" by ")[2] if "hard" in name else ""
                suffix = "-" + re.sub(r"\W+", "-", chooser).strip("-").lower() if chooser else ""
                caption, table = _paper_form(runs, name, task, n_candidates)
                yield f"as-in-the-paper-{form}{suffix}", caption, table


def _paper_form(
    runs: ProtocolRuns, candidates: str, task: str, n_candidates: int
) -> tuple[str, pd.DataFrame]:
    """Return caption and table of our models, chance and the paper's models on candidates of one form."""
    metrics = list(paper_metrics())
    paper = paper_figures(task)
    labels = sorted(runs.labels, key=lambda label: -runs.values(label, "NDCG@5", candidates).mean())
    rows: dict[tuple[str, str], dict[str, Any]] = {
        (label, "here"): {metric: runs.interval(label, metric, candidates) for metric in metrics}
        for label in labels
    }
    rows[("chance", "here")] = {metric: chance(metric, n_candidates) for metric in metrics}
    for _, row in paper.iterrows():
        rows[(row["model"], "paper")] = {metric: float(row[metric]) for metric in metrics}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=metrics)
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["model", "from"])
    caption = (
        f'In the form of the paper\'s table, task "{task}": the target ranked against {candidates}. Rows from here: '
        f"{runs.description}, without instructions, mean [95% interval]. Rows from the paper: as printed there (Zhang "
        f"et al., 2023), on {paper['data'].iloc[0]}, without intervals. Data, users and negatives differ: compare the "
        "order and the distances within each, never a row here with a row there."
    )
    return caption, table
