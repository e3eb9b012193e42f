"""The figure that the scenarios share: a measure against a setting, with its interval.

Used in chapter `scenarios`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from instructrec.errors import InputError
from instructrec.evaluation import Interval
from instructrec.plotting import COLOURS, GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def curves_with_intervals(
    settings: Sequence[float],
    curves: Mapping[str, Sequence[Interval]],
    xlabel: str,
    ylabel: str,
    reference: tuple[str, float] | None = None,
    level: tuple[str, float] | None = None,
    log: bool = True,
) -> Axes:
    """Draw a line and the band of its intervals for each curve.

    Args:
        settings: Values of the setting, ascending.
        curves: An interval a setting, by the curve's name.
        xlabel: Name of the setting, with its unit.
        ylabel: Name of the measure, with its unit.
        reference: A name and a setting to mark with a dashed line.
        level: A name and a value of the measure to mark with a dashed line.
        log: Draw the settings on a logarithmic axis, each marked.

    Raises:
        InputError: A curve of another length than the settings.
    """
    import matplotlib.pyplot as plt

    for name, found in curves.items():
        if len(found) != len(settings):
            raise InputError(
                f"curve {name!r} has {len(found)} points for {len(settings)} settings; give one each"
            )
    ax = plt.subplots(layout="constrained")[1]
    for number, (name, found) in enumerate(curves.items()):
        colour = COLOURS[(0, 2, 3, 4)[number % 4]]
        ax.fill_between(settings, [f.low for f in found], [f.high for f in found], color=colour, alpha=0.2)
        ax.plot(settings, [f.mean for f in found], color=colour, marker="osD^"[number % 4], label=name)
    if reference is not None:
        ax.axvline(reference[1], color=COLOURS[1], linestyle="--", label=reference[0])
    if level is not None:
        ax.axhline(level[1], color=GREY, linestyle="--", label=level[0])
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        ax.set(xscale="log", xticks=settings, xticklabels=[str(setting) for setting in settings])
        ax.minorticks_off()
    else:
        ax.xaxis.get_major_locator().set_params(integer=True)
    ax.figure.legend(loc="outside upper left", ncols=2)
    return ax
