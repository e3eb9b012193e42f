"""Tables and figures of a comparison, all made from one results file by one call.

Derived in chapter `evaluation`. Every mean stands with its interval, every difference too. A model of several seeds
counts with the mean over its seeds, and intervals of it and of its differences cover users and seeds. The randomisation
tests compare each user's mean over the seeds: they are conditional on the seeds trained, and so is the interval of
Kendall's tau.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from instructrec.errors import InputError, one_of
from instructrec.evaluation.metrics import METRICS
from instructrec.evaluation.paper import chance, paper_figures, paper_metrics
from instructrec.evaluation.protocol import Evaluation
from instructrec.evaluation.results import WHOLE, Results, Run
from instructrec.evaluation.tables import Pair, all_pairs
from instructrec.files import atomic_directory, atomic_write
from instructrec.split import SPLITS
from instructrec.statistics.intervals import Interval, bootstrap_interval, seeds_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

K = 10
SUMMARY = "report.md"
_WIDTH = 4.8  # inches: half of the pixels are left on a phone, so letters must be large for their figure
_KS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50)
_PAPER = {
    "random-10": (r"9 random negatives", "sequential", 10),
    "hard-10": (r"9 hard negatives by .+", "hard negatives", 10),
    "random-100": (r"99 random negatives", "100 candidates, P1 and I1", 100),
}


@dataclass(frozen=True)
class Report:
    """What a results file says, in tables and figures.

    Attributes:
        title: The data and the machine, in a line.
        tables: By name, such as "accuracy-leave-last-out"; cells as shown, a mean as "mean [low, high]".
        numbers: The same tables as numbers: a column with an interval is followed by its `low` and `high`.
        figures: By name, such as "critical-difference-leave-last-out".
        captions: What each table or figure shows, by name.
    """

    title: str
    tables: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)
    numbers: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)
    figures: dict[str, Figure] = field(default_factory=dict, repr=False)
    captions: dict[str, str] = field(default_factory=dict, repr=False)

    def save(self, out: str | os.PathLike[str]) -> list[Path]:
        """Write everything to a folder, which appears whole or not at all.

        There is a CSV and a Markdown file for each table, a PNG and an SVG for each figure, and `report.md` with all.

        Args:
            out: A new or an empty folder, or that of an earlier report, which is replaced.

        Returns:
            The files.

        Raises:
            InputError: A folder with other files, or a place that cannot be written.
        """
        folder = check_out(out)
        with atomic_directory(folder) as part:
            for name, table in self.tables.items():
                with atomic_write(part / f"{name}.csv") as handle:
                    self.numbers[name].to_csv(handle, lineterminator="\n")
                with atomic_write(part / f"{name}.md") as handle:
                    handle.write(f"{self.captions[name]}\n\n{markdown(table)}\n")
            for name, figure in self.figures.items():
                _save_figure(figure, part / name)
            with atomic_write(part / SUMMARY) as handle:
                handle.write(self.markdown())
            names = sorted(path.name for path in part.iterdir())
        return [folder / name for name in names]

    def markdown(self) -> str:
        """Return `report.md`: captions, tables and the figures beside them."""
        parts = [f"# {self.title}"]
        for name, caption in self.captions.items():
            heading = _heading(name)
            shown = markdown(self.tables[name]) if name in self.tables else f"![{heading}]({name}.png)"
            parts.append(f"## {heading}\n\n{caption}\n\n{shown}")
        return "\n\n".join(parts) + "\n"


def report(
    results: Results | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    metric: str = "NDCG",
    seed: int = 0,
    part: str = "test",
    figures: bool = True,
) -> Report:
    """Make the tables and figures of a results file.

    For each protocol: accuracy, figures beyond accuracy, cost, every pair of models with its test, the spread over
    seeds, and, where targets were ranked against samples, how the order of models changes and the tables in the form
    of the paper's.

    Args:
        results: Results, or the path of their file.
        out: Where to write everything, as in `Report.save`; nothing is written by default.
        metric: The measure, of `evaluation.METRICS`, that orders and tests the models; always at 10.
        seed: Seed of intervals and tests.
        part: "valid" or "test".
        figures: Whether to draw figures, which needs matplotlib.

    Returns:
        The tables and figures.

    Raises:
        InputError: No results file or a damaged one, no run on the part, an unknown measure, or a place that cannot be
            written.
    """
    if metric not in METRICS:
        raise one_of("metric", metric, METRICS)
    if out is not None:
        check_out(out)
    if figures and find_spec("matplotlib") is None:
        raise InputError(
            "figures need matplotlib; install it with `pip install instructrec[draw]`, or leave them out"
        )
    found = results if isinstance(results, Results) else Results.load(results)
    protocols = [name for name in found.protocols if found.labels(name, part)]
    if not protocols:
        raise InputError(f"the results hold no run on part {part!r}; measure some first")
    machine = f"{found.machine.get('cores')} cores, Python {found.machine.get('python')}"
    made = Report(f"{found.data}: {len(found.runs)} runs on {machine}")
    for protocol in protocols:
        bench = _Bench(found, protocol, part, metric, seed)
        for name, caption, table in _tables(bench):
            key = f"{name}-{protocol}"
            made.captions[key] = caption
            made.tables[key], made.numbers[key] = _shown(table), _numbers(table)
        for name, caption, figure in _figures(bench) if figures else ():
            made.captions[f"{name}-{protocol}"] = caption
            made.figures[f"{name}-{protocol}"] = figure
    if out is not None:
        made.save(out)
    return made


def kendall_tau(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how far two sets of values order models alike: 1 all pairs alike, -1 all reversed (Kendall, 1938).

    tau = (pairs ordered alike - pairs ordered reversely) / all pairs; a pair that is tied in either counts for neither.

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


def check_out(out: str | os.PathLike[str]) -> Path:
    """Return the folder of a report.

    Raises:
        InputError: It is a file, or a folder with other files.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{str(folder)!r} is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SUMMARY).is_file():
        raise InputError(
            f"{str(folder)!r} is a folder with other files; give a new folder, or that of a report"
        )
    return folder


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown, its index as the first columns."""
    flat = table.reset_index()
    rows = [[str(name) for name in flat.columns], *flat.astype(str).to_numpy().tolist()]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    right = [pd.api.types.is_numeric_dtype(flat[name]) or _is_figures(flat[name]) for name in flat.columns]
    lines.insert(1, "|" + "|".join("---:" if one else "---" for one in right) + "|")
    return "\n".join(lines)


# -- what the tables are made of -----------------------------------------------------------------------------------


class _Bench:
    """The runs of one protocol, models in falling order of their mean."""

    def __init__(self, results: Results, protocol: str, part: str, metric: str, seed: int) -> None:
        self.results, self.protocol, self.part, self.seed = results, protocol, part, seed
        self.metric = f"{metric}@{K}"
        self.measure = metric
        self.candidates = results.candidates(protocol, part)
        if not self.candidates:
            raise InputError(
                f"the runs on {protocol} share no candidates; measure all models against the same"
            )
        self.main = WHOLE if WHOLE in self.candidates else self.candidates[0]
        self._kept: dict[tuple[str, str, str], np.ndarray] = {}
        self._intervals: dict[tuple[str, str, str], Interval] = {}
        self._tested: dict[str, list[Pair]] = {}
        labels = results.labels(protocol, part)
        self.labels = sorted(labels, key=lambda label: -self.values(label, self.metric).mean())

    def runs(self, label: str) -> list[Run]:
        seeds = self.results.seeds(label, self.protocol, self.part)
        return [self.results.run(label, self.protocol, seed, self.part) for seed in seeds]

    def values(self, label: str, metric: str, candidates: str | None = None) -> np.ndarray:
        """Return a measure of each request, shape (n_seeds, n_requests)."""
        against = candidates or self.main
        key = (label, metric, against)
        if key not in self._kept:
            name, _, k = metric.partition("@")
            self._kept[key] = np.array(
                [METRICS[name].from_ranks(run.ranks[against], int(k)) for run in self.runs(label)]
            )
        return self._kept[key]

    def interval(self, label: str, metric: str, candidates: str | None = None) -> Interval:
        """Return the mean of a measure over users and seeds, with its interval."""
        key = (label, metric, candidates or self.main)
        if key not in self._intervals:
            self._intervals[key] = seeds_interval(self.values(*key), seed=self.seed)
        return self._intervals[key]

    def evaluations(self, against: str) -> list[list[Evaluation]]:
        """Return the models' evaluations, for each model one a seed."""
        options: dict[str, Any] = {"ks": (K,), "metrics": (self.measure,), "part": self.part}
        return [
            [
                self.results.evaluation(label, self.protocol, against, run.seed, **options)
                for run in self.runs(label)
            ]
            for label in self.labels
        ]

    def pairs(self, candidates: str | None = None) -> list[Pair]:
        """Return every pair of models with its test."""
        against = candidates or self.main
        if against not in self._tested:
            self._tested[against] = all_pairs(self.evaluations(against), self.metric, seed=self.seed)
        return self._tested[against]

    @property
    def several_targets(self) -> bool:
        """Whether some request has more than one target, so that recall and MAP say more than HR and MRR."""
        return bool((self.runs(self.labels[0])[0].ranks[self.main].n_targets > 1).any())

    @property
    def n_requests(self) -> int:
        return len(self.runs(self.labels[0])[0])

    @property
    def where(self) -> str:
        return f"{self.results.data}, {self.protocol}, {self.part}, {self.n_requests} requests"


Table = tuple[str, str, pd.DataFrame]
_OVER = "Mean [95% interval] over users; with several seeds over users and seeds."


def _tables(bench: _Bench) -> Iterator[Table]:
    yield _accuracy(bench)
    for make in (_beyond, _cost, _pairs, _seeds, _samples, _reordered):
        made = make(bench)
        if made is not None:
            yield made
    yield from _as_in_the_paper(bench)


def _accuracy(bench: _Bench) -> Table:
    names = ["HR", "NDCG", "MRR", *(["recall", "MAP"] if bench.several_targets else [])]
    metrics = list(dict.fromkeys([*(f"{name}@{K}" for name in names), bench.metric]))
    rows = {label: {metric: bench.interval(label, metric) for metric in metrics} for label in bench.labels}
    return (
        "accuracy",
        f"Accuracy on {bench.where}: targets ranked against the {_against(bench.main)}. {_OVER}",
        _frame(rows),
    )


def _beyond(bench: _Bench) -> Table | None:
    if any(not run.shares or not run.each for label in bench.labels for run in bench.runs(label)):
        return None
    rows = {}
    for label in bench.labels:
        runs = bench.runs(label)
        row: dict[str, Any] = {
            "coverage": float(np.mean([run.shares["coverage"] for run in runs])),
            "Gini of exposure": float(np.mean([run.shares.get("gini", np.nan) for run in runs])),
        }
        for name, shown in (("novelty", "novelty (bits)"), ("diversity", "diversity")):
            values = np.array([run.each[name] for run in runs])
            some = np.isfinite(values).all(axis=0)
            row[shown] = seeds_interval(values[:, some], seed=bench.seed) if some.any() else np.nan
        rows[label] = row
    return (
        "beyond-accuracy",
        f"Beyond accuracy on {bench.where}: lists of {K}. Coverage is the share of the catalogue that is shown to "
        "anybody, Gini the inequality of exposure (0 equal), both of the system as a whole; novelty is the mean "
        f"self-information of the list, diversity 1 - mean likeness of its pairs. {_OVER}",
        _frame(rows),
    )


def _cost(bench: _Bench) -> Table:
    rows = {}
    machines = set()
    for label in bench.labels:
        runs = bench.runs(label)
        machines |= {str(run.machine) for run in runs if run.machine is not None}
        known = [run.parameters for run in runs if run.parameters is not None]
        rows[label] = {
            bench.metric: bench.interval(label, bench.metric),
            **{
                f"{name} (s)": float(np.mean([run.seconds[name] for run in runs]))
                for name in ("fit", "score")
            },
            "parameters": known[0] if known else None,
        }
    note = f" Some ran elsewhere: {'; '.join(sorted(machines))}." if machines else ""
    return (
        "cost",
        f"What accuracy costs on {bench.where}: wall time to fit and to score all requests, mean over seeds, and how "
        f"many floating-point numbers the model keeps.{note}",
        _frame(rows),
    )


def _pairs(bench: _Bench) -> Table | None:
    if len(bench.labels) < 2:
        return None
    pairs = bench.pairs()
    table = pd.DataFrame(
        {
            f"{bench.metric} difference": [pair.difference for pair in pairs],
            "p": [pair.p for pair in pairs],
            "p (Holm)": [pair.p_holm for pair in pairs],
            "told apart": ["yes" if pair.significant else "no" for pair in pairs],
        },
        index=pd.MultiIndex.from_tuples([pair[:2] for pair in pairs], names=["model", "minus"]),
    )
    return (
        "pairs",
        f"Every pair of models on {bench.where}: paired difference [95% interval over users; with several seeds over "
        "users and seeds], p of the paired randomisation test, and p after Holm's correction for all pairs; told apart "
        "where that is below 0.05. A model of several seeds is tested by each user's mean over them: the test is "
        "conditional on the seeds trained, the interval is not.",
        table,
    )


def _seeds(bench: _Bench) -> Table | None:
    several = [label for label in bench.labels if len(bench.runs(label)) > 1]
    if not several:
        return None
    rows = {}
    for label in several:
        means = bench.values(label, bench.metric).mean(axis=1)
        rows[label] = {
            "seeds": len(means),
            bench.metric: bench.interval(label, bench.metric),
            "of users alone": bootstrap_interval(
                bench.values(label, bench.metric).mean(axis=0), seed=bench.seed
            ),
            "sd over seeds": float(means.std(ddof=1)),
            "lowest": float(means.min()),
            "highest": float(means.max()),
        }
    return (
        "seeds",
        f"What the seed of training does on {bench.where}: {bench.metric} over all seeds with an interval that covers "
        "users and seeds, the narrower interval that covers users alone, and the seeds' means.",
        _frame(rows),
    )


def _samples(bench: _Bench) -> Table | None:
    if len(bench.candidates) < 2:
        return None
    places = {name: _places(bench, name) for name in bench.candidates}
    rows: dict[str, dict[str, Any]] = {}
    for label in bench.labels:
        rows[label] = {}
        for name in bench.candidates:
            rows[label][name] = bench.interval(label, bench.metric, name)
            rows[label][f"place, {_short(name)}"] = places[name][label]
    return (
        "samples",
        f"{bench.metric} on {bench.where}, by what the targets are ranked against, and the place that it gives each "
        "model. Compare places, not figures: fewer candidates raise all of them.",
        _frame(rows),
    )


def _reordered(bench: _Bench) -> Table | None:
    others = [name for name in bench.candidates if name != bench.main]
    if not others or len(bench.labels) < 2:
        return None
    whole = _matrix(bench, bench.main)
    n_users = whole.shape[1]
    weights = (
        np.random.default_rng(bench.seed).multinomial(n_users, np.full(n_users, 1 / n_users), size=2000)
        / n_users
    )
    told = {name: _significant(bench, name) for name in bench.candidates}
    rows = {}
    for name in others:
        sample = _matrix(bench, name)
        low, high = np.quantile(kendall_tau(weights @ whole.T, weights @ sample.T), [0.025, 0.975])
        tau = float(kendall_tau(whole.mean(axis=1), sample.mean(axis=1)))
        turned = [
            pair
            for pair in combinations(range(len(bench.labels)), 2)
            if np.sign(np.subtract(*whole.mean(axis=1)[list(pair)]))
            * np.sign(np.subtract(*sample.mean(axis=1)[list(pair)]))
            < 0
        ]
        sure = [pair for pair in turned if _names(bench, pair) in told[bench.main] & told[name]]
        rows[name] = {
            "Kendall's tau": Interval(tau, float(low), float(high)),
            "pairs": len(bench.labels) * (len(bench.labels) - 1) // 2,
            "turned round": len(turned),
            "for certain": len(sure),
            "such as": "; ".join(
                f"{bench.labels[b]} over {bench.labels[a]}" for a, b in (sure or turned)[:2]
            ),
        }
    return (
        "reordered",
        f"How samples reorder models on {bench.where}: agreement of the order by {bench.metric} with that of the "
        f"{_against(bench.main)} (1 the same, -1 reversed) [95% interval over users], how many pairs turn round, and "
        "how many of them for certain: told apart in both, in opposite directions.",
        _frame(rows, "candidates"),
    )


def _as_in_the_paper(bench: _Bench) -> Iterator[Table]:
    metrics = list(paper_metrics())
    if bench.several_targets:  # each of the paper's requests has one
        return
    for form, (pattern, task, n) in _PAPER.items():
        theirs = paper_figures(task)
        for name in bench.candidates:
            if not re.fullmatch(pattern, name):
                continue
            labels = sorted(bench.labels, key=lambda label: -bench.values(label, "NDCG@5", name).mean())
            rows: dict[tuple[str, str], dict[str, Any]] = {
                (label, "here"): {metric: bench.interval(label, metric, name) for metric in metrics}
                for label in labels
            }
            rows[("chance", "here")] = {metric: chance(metric, n) for metric in metrics}
            for _, row in theirs.iterrows():
                rows[(row["model"], "paper")] = {metric: float(row[metric]) for metric in metrics}
            table = pd.DataFrame.from_dict(rows, orient="index", columns=metrics)
            table.index = pd.MultiIndex.from_tuples(list(rows), names=["model", "from"])
            by = (
                ""
                if "hard" not in name
                else "-" + re.sub(r"\W+", "-", name.rpartition(" by ")[2]).strip("-").lower()
            )
            yield (
                f"as-in-the-paper-{form}{by}",
                f'In the form of the paper\'s table, task "{task}": the target ranked against {name}. Rows from here: '
                f"{bench.where}, without instructions, mean [95% interval]. Rows from the paper: as printed there "
                f"(Zhang et al., 2023), on {theirs['data'].iloc[0]}, without intervals. Data, users and negatives "
                "differ: compare the order and the distances within each, never a row here with a row there.",
                table,
            )


def _matrix(bench: _Bench, candidates: str) -> np.ndarray:
    """Return each model's measure of each request, mean over seeds, shape (n_models, n_requests)."""
    return np.array([bench.values(label, bench.metric, candidates).mean(axis=0) for label in bench.labels])


def _places(bench: _Bench, candidates: str) -> dict[str, int]:
    means = _matrix(bench, candidates).mean(axis=1)
    places = pd.Series(-means, index=bench.labels).rank(method="min").astype(int)
    return {label: int(places[label]) for label in bench.labels}


def _significant(bench: _Bench, candidates: str) -> set[frozenset[str]]:
    return {frozenset(pair[:2]) for pair in bench.pairs(candidates) if pair.significant}


def _names(bench: _Bench, pair: Sequence[int]) -> frozenset[str]:
    return frozenset(bench.labels[number] for number in pair)


# -- figures -------------------------------------------------------------------------------------------------------


def _figures(bench: _Bench) -> Iterator[tuple[str, str, Figure]]:
    from instructrec import plotting

    means = pd.DataFrame({label: bench.interval(label, bench.metric)._asdict() for label in bench.labels}).T
    if len(bench.labels) > 1:
        not_apart = [pair[:2] for pair in bench.pairs() if not pair.significant]
        n_bars = len(plotting.indifferent_groups(bench.labels, not_apart))
        yield (
            "critical-difference",
            f"{bench.metric} of all models on {bench.where}. A bar joins models of which no two are told apart by the "
            "paired randomisation test after Holm's correction (plot after Demšar, 2006).",
            _draw(
                lambda ax: plotting.critical_difference(means["mean"], not_apart, bench.metric, ax),
                0.135 * (n_bars + len(means)) + 0.9,
            ),
        )
    yield (
        "intervals",
        f"{bench.metric} with 95% intervals on {bench.where}.",
        _draw(lambda ax: plotting.bars_with_intervals(means, bench.metric, ax), 0.3 * len(means) + 0.9),
    )
    curve = pd.DataFrame(
        {label: [bench.values(label, f"{bench.measure}@{k}").mean() for k in _KS] for label in bench.labels},
        index=_KS,
    )
    yield (
        "by-k",
        f"{bench.measure}@k against the length k of the list on {bench.where}; means.",
        _draw(
            lambda ax: plotting.metric_by_k(curve, f"{bench.measure}@k", ax),
            max(3.2, 0.22 * len(means) + 1.2),
        ),
    )
    seconds = [np.mean([run.seconds["fit"] for run in bench.runs(label)]) for label in bench.labels]
    yield (
        "accuracy-against-cost",
        f"{bench.metric} with 95% intervals on {bench.where} against the time to fit, in seconds (logarithmic; mean "
        "over seeds).",
        _draw(
            lambda ax: plotting.accuracy_cost(
                means.assign(cost=np.maximum(seconds, 1e-4)), bench.metric, "seconds to fit", ax
            ),
            max(3.4, 0.2 * len(means) + 1.4),
        ),
    )
    if len(bench.candidates) > 1 and len(bench.labels) > 1:
        table = pd.DataFrame(
            {
                "all items" if name == WHOLE else _short(name): _matrix(bench, name).mean(axis=1)
                for name in bench.candidates
            },
            index=bench.labels,
        )
        yield (
            "order",
            f"The order of models by {bench.metric} on {bench.where}, by what the targets are ranked against; models "
            "that keep their place are grey.",
            _draw(lambda ax: plotting.rank_changes(table, ax), 0.27 * len(table) + 1.0),
        )


def _draw(draw: Callable[[Axes], Any], height: float) -> Figure:
    """Draw on a figure that no notebook shows by itself, in the book's style, and leave the style as it was."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from instructrec import plotting

    with mpl.rc_context():
        plotting.use_book_style()
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure.subplots())
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # or each saving would move things by a hair
    return figure


def _save_figure(figure: Figure, stem: Path) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": stem.name, "savefig.bbox": "tight"}):
        with atomic_write(stem.with_name(f"{stem.name}.png"), "wb") as handle:
            figure.savefig(handle, format="png", dpi=200, metadata={"Software": None})
        with atomic_write(stem.with_name(f"{stem.name}.svg"), "wb") as handle:
            figure.savefig(handle, format="svg", metadata={"Date": None, "Creator": None})


# -- cells ---------------------------------------------------------------------------------------------------------


def _frame(rows: dict[str, dict[str, Any]], name: str = "model") -> pd.DataFrame:
    columns = list(next(iter(rows.values())))
    data = {column: pd.Series([row[column] for row in rows.values()], dtype=object) for column in columns}
    return pd.DataFrame(data).set_axis(pd.Index(list(rows), name=name), axis=0)


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as texts: intervals, numbers of three places, and an empty cell where there is nothing."""
    return pd.DataFrame(
        {name: [_cell(name, one) for one in table[name]] for name in table.columns}, index=table.index
    )


def _cell(column: str, value: Any) -> str:
    if isinstance(value, Interval | str):
        return str(value)
    if value is None or value != value:
        return ""
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if column.startswith("p") and value < 0.001:
        return "< 0.001"
    if column.endswith("(s)"):
        return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{value:.4f}" if column.startswith("sd") else f"{value:.3f}"


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with each interval as three columns."""
    columns: dict[str, list[Any]] = {}
    for name in table.columns:
        values = list(table[name])
        if not any(isinstance(one, Interval) for one in values):
            columns[name] = values
            continue
        columns[name] = [one.mean if isinstance(one, Interval) else one for one in values]
        columns[f"{name} low"] = [one.low if isinstance(one, Interval) else None for one in values]
        columns[f"{name} high"] = [one.high if isinstance(one, Interval) else None for one in values]
    return pd.DataFrame(columns, index=table.index)


def _is_figures(column: pd.Series) -> bool:
    return all(re.fullmatch(r"(?:< )?-?[\d.,]*(?: \[.*\])?", str(cell)) for cell in column)


def _against(candidates: str) -> str:
    return f"{WHOLE} without the history" if candidates == WHOLE else candidates


def _short(candidates: str) -> str:
    return re.sub(r" negatives\b", "", candidates)


def _heading(name: str) -> str:
    protocol = next(protocol for protocol in SPLITS if name.endswith(protocol))
    return f"{name.removesuffix(f'-{protocol}').replace('-', ' ').capitalize()}: {protocol}"
