"""The figures of a report, each with its name and caption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from instructrec.evaluation.candidates import WHOLE_CATALOGUE
from instructrec.evaluation.report.formatting import short_candidates
from instructrec.evaluation.report.runs import ProtocolRuns
from instructrec.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 4.8
"""Width in inches; a phone shows half of the pixels, so letters must be large for their figure."""
_CURVE_KS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50)
"""List lengths of the figure of a metric by k."""


def report_figures(runs: ProtocolRuns) -> Iterator[tuple[str, str, Figure]]:
    """Yield name, caption and figure of every figure that the runs of a protocol allow."""
    means = pd.DataFrame({label: runs.interval(label, runs.metric)._asdict() for label in runs.labels}).T
    if len(runs.labels) > 1:
        yield _critical_difference(runs, means)
    yield _intervals(runs, means)
    yield _by_k(runs)
    yield _accuracy_against_cost(runs, means)
    if len(runs.candidates) > 1 and len(runs.labels) > 1:
        yield _order(runs)


def save_figure(figure: Figure, stem: Path) -> None:
    """Write a figure as PNG and SVG, the same bytes each time.

    Args:
        figure: The figure.
        stem: Path of the files without their suffixes.

    Raises:
        InputError: The files cannot be written.
    """
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": stem.name, "savefig.bbox": "tight"}):
        with atomic_write(stem.with_name(f"{stem.name}.png"), "wb") as handle:
            figure.savefig(handle, format="png", dpi=200, metadata={"Software": None})
        with atomic_write(stem.with_name(f"{stem.name}.svg"), "wb") as handle:
            figure.savefig(handle, format="svg", metadata={"Date": None, "Creator": None})


def _critical_difference(runs: ProtocolRuns, means: pd.DataFrame) -> tuple[str, str, Figure]:
    from instructrec import plotting

    insignificant = [pair[:2] for pair in runs.pairs() if not pair.significant]
    n_bars = len(plotting.insignificant_groups(runs.labels, insignificant))
    return (
        "critical-difference",
        f"{runs.metric} of all models on {runs.description}. A bar joins models of which no two differ significantly "
        "by the paired randomisation test after Holm's correction (plot after Demšar, 2006).",
        _draw(
            lambda ax: plotting.critical_difference(means["mean"], insignificant, runs.metric, ax),
            0.135 * (n_bars + len(means)) + 0.9,
        ),
    )


def _intervals(runs: ProtocolRuns, means: pd.DataFrame) -> tuple[str, str, Figure]:
    from instructrec import plotting

    return (
        "intervals",
        f"{runs.metric} with 95% intervals on {runs.description}.",
        _draw(lambda ax: plotting.bars_with_intervals(means, runs.metric, ax), 0.3 * len(means) + 0.9),
    )


def _by_k(runs: ProtocolRuns) -> tuple[str, str, Figure]:
    from instructrec import plotting

    curves = pd.DataFrame(
        {
            label: [runs.values(label, f"{runs.metric_name}@{k}").mean() for k in _CURVE_KS]
            for label in runs.labels
        },
        index=_CURVE_KS,
    )
    return (
        "by-k",
        f"{runs.metric_name}@k against the list length k on {runs.description}; means.",
        _draw(
            lambda ax: plotting.metric_by_k(curves, f"{runs.metric_name}@k", ax),
            max(3.2, 0.22 * len(runs.labels) + 1.2),
        ),
    )


def _accuracy_against_cost(runs: ProtocolRuns, means: pd.DataFrame) -> tuple[str, str, Figure]:
    from instructrec import plotting

    seconds = [np.mean([run.seconds["fit"] for run in runs.runs(label)]) for label in runs.labels]
    with_cost = means.assign(cost=np.maximum(seconds, 1e-4))
    return (
        "accuracy-against-cost",
        f"{runs.metric} with 95% intervals on {runs.description} against the time to fit, in seconds (logarithmic; "
        "mean over seeds).",
        _draw(
            lambda ax: plotting.accuracy_cost(with_cost, runs.metric, "seconds to fit", ax),
            max(3.4, 0.2 * len(means) + 1.4),
        ),
    )


def _order(runs: ProtocolRuns) -> tuple[str, str, Figure]:
    from instructrec import plotting

    table = pd.DataFrame(
        {
            "all items" if name == WHOLE_CATALOGUE else short_candidates(name): runs.seed_means(name).mean(
                axis=1
            )
            for name in runs.candidates
        },
        index=runs.labels,
    )
    return (
        "order",
        f"The order of models by {runs.metric} on {runs.description} for each set of candidates; models that keep "
        "their rank are grey.",
        _draw(lambda ax: plotting.rank_changes(table, ax), 0.27 * len(table) + 1.0),
    )


def _draw(draw: Callable[[Axes], Any], height: float) -> Figure:
    """Draw in the book's style on a figure that no notebook shows by itself; the global style stays as it was."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from instructrec import plotting

    with mpl.rc_context():
        plotting.use_book_style()
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure.subplots())
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # otherwise each saving would move the axes a little
    return figure
