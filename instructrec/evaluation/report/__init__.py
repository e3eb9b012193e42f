"""Create all tables and figures of a comparison from a results file by one call.

Derived in chapter `evaluation`. Every mean and every difference has its interval. A model with several seeds counts
with its mean over the seeds, and its intervals cover users and seeds. The randomisation tests compare each user's mean
over the seeds: they are conditional on the seeds trained, and so is the interval of Kendall's tau.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from instructrec.errors import InputError, one_of
from instructrec.evaluation.metrics import METRICS
from instructrec.evaluation.report.figures import report_figures, save_figure
from instructrec.evaluation.report.formatting import heading, markdown, numeric_table, text_table
from instructrec.evaluation.report.runs import ProtocolRuns
from instructrec.evaluation.report.tables import report_tables
from instructrec.evaluation.results import Results
from instructrec.files import atomic_directory, atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUMMARY = "report.md"
"""Name of the file that holds all tables and links all figures of a saved report."""


@dataclass(frozen=True)
class Report:
    """Tables and figures of a results file.

    Attributes:
        title: The data and the machine, in one line.
        tables: By name, such as "accuracy-leave-last-out"; cells are texts, a mean reads "mean [low, high]".
        numbers: The same tables as numbers: a column with intervals is followed by its `low` and `high`.
        figures: By name, such as "critical-difference-leave-last-out".
        captions: Caption of each table and figure, by name.
    """

    title: str
    tables: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)
    numbers: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)
    figures: dict[str, Figure] = field(default_factory=dict, repr=False)
    captions: dict[str, str] = field(default_factory=dict, repr=False)

    def save(self, out: str | os.PathLike[str]) -> list[Path]:
        """Write everything to a folder, which appears complete or not at all.

        The folder holds a CSV and a Markdown file for each table, a PNG and an SVG for each figure, and `report.md`.

        Args:
            out: A new or an empty folder, or that of an earlier report, which is replaced.

        Returns:
            The files.

        Raises:
            InputError: The folder holds other files or cannot be written.
        """
        folder = check_out(out)
        with atomic_directory(folder) as temporary:
            for name, table in self.tables.items():
                with atomic_write(temporary / f"{name}.csv") as handle:
                    self.numbers[name].to_csv(handle, lineterminator="\n")
                with atomic_write(temporary / f"{name}.md") as handle:
                    handle.write(f"{self.captions[name]}\n\n{markdown(table)}\n")
            for name, figure in self.figures.items():
                save_figure(figure, temporary / name)
            with atomic_write(temporary / SUMMARY) as handle:
                handle.write(self.markdown())
            names = sorted(path.name for path in temporary.iterdir())
        return [folder / name for name in names]

    def markdown(self) -> str:
        """Return `report.md`: captions, tables and links to the figures beside it."""
        parts = [f"# {self.title}"]
        for name, caption in self.captions.items():
            title = heading(name)
            body = markdown(self.tables[name]) if name in self.tables else f"![{title}]({name}.png)"
            parts.append(f"## {title}\n\n{caption}\n\n{body}")
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

    For each protocol: accuracy, metrics beyond accuracy, cost, every pair of models with its test, the spread over
    seeds, and, where targets were ranked against samples, how the order of models changes and the tables in the form
    of the paper's.

    Args:
        results: Results, or the path of their file.
        out: Folder to write everything to, as in `Report.save`; nothing is written by default.
        metric: The name from `evaluation.METRICS` that orders and tests the models, always at 10.
        seed: Seed of intervals and tests.
        part: "valid" or "test".
        figures: Whether to draw figures, which needs matplotlib.

    Returns:
        The tables and figures.

    Raises:
        InputError: No results file or a damaged one, no run on the part, an unknown metric, or a folder that cannot be
            written.
    """
    if metric not in METRICS:
        raise one_of("metric", metric, METRICS)
    if out is not None:
        check_out(out)
    if figures and find_spec("matplotlib") is None:
        raise InputError(
            "figures need matplotlib; install it with `pip install instructrec[draw]`, or pass figures=False"
        )
    loaded = results if isinstance(results, Results) else Results.load(results)
    protocols = [name for name in loaded.protocols if loaded.labels(name, part)]
    if not protocols:
        raise InputError(f"the results hold no run on part {part!r}; measure some first")
    machine = f"{loaded.machine.get('cores')} cores, Python {loaded.machine.get('python')}"
    document = Report(f"{loaded.data}: {len(loaded.runs)} runs on {machine}")
    for protocol in protocols:
        runs = ProtocolRuns(loaded, protocol, part, metric, seed)
        for name, caption, table in report_tables(runs):
            key = f"{name}-{protocol}"
            document.captions[key] = caption
            document.tables[key], document.numbers[key] = text_table(table), numeric_table(table)
        for name, caption, figure in report_figures(runs) if figures else ():
            document.captions[f"{name}-{protocol}"] = caption
            document.figures[f"{name}-{protocol}"] = figure
    if out is not None:
        document.save(out)
    return document


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
