"""The figure that the scenarios share: a metric against a setting, with its interval.

Used in chapter `scenarios`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from instructrec.errors import InputError
from instructrec.plotting import COLOURS, GREY, new_axes
from instructrec.statistics.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CURVE_COLOURS = [COLOURS[number] for number in (0, 2, 3, 4)]
_MARKERS = "osD^"


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
        curves: For each curve's name, one interval for each setting.
        xlabel: Name of the setting, with its unit.
        ylabel: Name of the metric, with its unit.
        reference: A name and a setting, marked with a vertical dashed line.
        level: A name and a value of the metric, marked with a horizontal dashed line.
        log: Draw the settings on a logarithmic axis, with a tick at each.

    Raises:
        InputError: The length of a curve differs from the number of settings.
    """
    for name, intervals in curves.items():
        if len(intervals) != len(settings):
            raise InputError(
                f"curve {name!r} has {len(intervals)} points for {len(settings)} settings; give one each"
            )
    ax = new_axes()
    for number, (name, intervals) in enumerate(curves.items()):
        colour = _CURVE_COLOURS[number % len(_CURVE_COLOURS)]
        low, high = [interval.low for interval in intervals], [interval.high for interval in intervals]
        ax.fill_between(settings, low, high, color=colour, alpha=0.2)
        means = [interval.mean for interval in intervals]
        ax.plot(settings, means, color=colour, marker=_MARKERS[number % len(_MARKERS)], label=name)
    if reference is not None:
        ax.axvline(reference[1], color=COLOURS[1], linestyle="--", label=reference[0])
    if level is not None:
        ax.axhline(level[1], color=GREY, linestyle="--", label=level[0])
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        ax.set(xscale="log", xticks=settings, xticklabels=[str(setting) for setting in settings])
        ax.minorticks_off()
    else:
        ax.locator_params(axis="x", integer=True)
    ax.figure.legend(loc="outside upper left", ncols=2)
    return ax
