"""The book's figures: one style, colours for all forms of colour vision, and a font with Chinese glyphs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from instructrec.plotting.labels import label_line_ends, label_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of Okabe and Ito (2008) without yellow, for all common forms of colour vision."""
GREY = "#767676"
_LINE_STYLES = ("-", "--", ":")
_MARKERS = "osD^v"
_K_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "PingFang SC",
    "Microsoft YaHei",
    "SimHei",
    "WenQuanYi Micro Hei",
)
"""Fonts with Chinese glyphs of the common operating systems, in order of preference."""


def use_book_style() -> None:
    """Set matplotlib's defaults for a chapter: size, colours, light axes and a font with Chinese glyphs."""
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update(
        {
            "figure.figsize": (6.4, 3.6),
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "savefig.bbox": "tight",
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.titlesize": "medium",
            "axes.titlelocation": "left",
            "grid.color": "#DDDDDD",
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "font.family": ["DejaVu Sans", *_chinese_font()],
            "axes.unicode_minus": False,
        }
    )


def bars_with_intervals(
    table: pd.DataFrame, label: str, ax: Axes | None = None, reference: tuple[str, float] | None = None
) -> Axes:
    """Draw one horizontal bar per row, with its interval.

    Args:
        table: Columns `mean`, `low`, `high`; the index names the bars, the first row is on top.
        label: Axis label of the values, with their unit.
        ax: Axes to draw on; those of a new figure by default.
        reference: A name and a value, marked with a dashed line, such as ("chance", 0.1).
    """
    ax = ax or new_axes(height=0.42 * len(table) + 1.1)
    ax.barh(
        [str(name) for name in table.index],
        table["mean"],
        xerr=_error_lengths(table["mean"], table),
        color=COLOURS[5],
        error_kw={"ecolor": "black", "capsize": 3},
        height=0.6,
    )
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(label)
    if reference is not None:
        ax.axvline(reference[1], color=COLOURS[1], linestyle="--", linewidth=1)
        ax.annotate(
            reference[0],
            (reference[1], 1.0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            xytext=(3, 3),
            color=COLOURS[1],
        )
    return ax


def learning_curve(
    history: Mapping[str, Sequence[float]], label: str = "loss", ax: Axes | None = None
) -> Axes:
    """Draw the values recorded in training, one line per series.

    Args:
        history: Values per epoch by name of the series, such as Keras's `History.history`.
        label: Axis label of the values.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = ax or new_axes()
    for number, (name, values) in enumerate(history.items()):
        ax.plot(
            range(1, len(values) + 1),
            values,
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            label=name,
        )
    ax.set_xlabel("epoch")
    ax.set_ylabel(label)
    if len(history) > 1:
        ax.legend()
    return ax


def number_grid(table: pd.DataFrame, label: str, ax: Axes | None = None, decimals: int = 2) -> Axes:
    """Draw a table of numbers as a heatmap with the number in each cell.

    Args:
        table: Numbers; index and columns name the rows and columns.
        label: Label of the colour bar: the quantity with its unit.
        ax: Axes to draw on; those of a new figure by default.
        decimals: Digits after the decimal point.
    """
    ax = ax or new_axes(height=0.4 * len(table) + 1.2)
    values = table.to_numpy(dtype=float)
    image = ax.imshow(values, cmap="cividis", aspect="auto")
    middle = (values.max() + values.min()) / 2
    for (row, column), value in np.ndenumerate(values):
        ax.text(
            column,
            row,
            f"{value:.{decimals}f}",
            ha="center",
            va="center",
            fontsize="small",
            color="black" if value > middle else "white",
        )
    ax.set_xticks(range(table.shape[1]), [str(name) for name in table.columns])
    ax.set_yticks(range(table.shape[0]), [str(name) for name in table.index])
    ax.grid(visible=False)
    ax.figure.colorbar(image, ax=ax, label=label)
    return ax


def reliability_diagram(tables: Mapping[str, pd.DataFrame], ax: Axes | None = None) -> Axes:
    """Draw the observed share of yes against the predicted probability, one line per table; the diagonal is calibrated.

    Args:
        tables: Tables of `evaluation.calibration` by name; empty bins are not drawn.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = ax or new_axes(height=4.2)
    filled = {name: table[table["n"] > 0] for name, table in tables.items()}
    highest = max(float(table[["high", "mean_predicted"]].max().max()) for table in filled.values())
    limit = min(1.0, 1.05 * highest)
    ax.plot([0, limit], [0, limit], color=GREY, linestyle="--", linewidth=1, label="calibrated")
    for number, (name, table) in enumerate(filled.items()):
        ax.errorbar(
            table["mean_predicted"],
            table["share_of_yes"],
            yerr=_error_lengths(table["share_of_yes"], table),
            color=COLOURS[number % len(COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            capsize=3,
            label=name,
        )
    ax.set(
        xlim=(0, limit),
        ylim=(0, limit),
        xlabel="predicted probability of yes",
        ylabel="observed share of yes",
    )
    ax.set_aspect("equal")
    ax.legend()
    return ax


def critical_difference(
    means: Mapping[str, float] | pd.Series,
    insignificant_pairs: Iterable[tuple[str, str]],
    label: str,
    ax: Axes | None = None,
    decimals: int = 3,
) -> Axes:
    """Draw models on one scale and join those without a significant difference, after Demšar (2006).

    The scale of Demšar shows mean ranks over data sets; this scale shows the metric itself, and the caller chooses the
    test. A bar joins models of which no two differ significantly; a model under no bar differs from all others.

    Args:
        means: The models' values; the higher, the better.
        insignificant_pairs: Pairs of models whose difference is not significant.
        label: Axis label of the values.
        ax: Axes to draw on; those of a new figure by default.
        decimals: Digits after the decimal point of the values.
    """
    names = sorted(means.keys(), key=lambda name: -means[name])
    groups = insignificant_groups(names, insignificant_pairs)
    n_right = (len(names) + 1) // 2
    rows = 0.5 * len(groups) + n_right
    ax = ax or new_axes(height=0.27 * rows + 0.75)
    low, high = means[names[-1]], means[names[0]]
    pad = 0.04 * (high - low) or 0.5
    ax.set(xlim=(low - pad, high + pad), ylim=(rows, 0))
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set_xlabel(label)
    _hide_vertical_axis(ax)
    ax.spines["top"].set_visible(True)
    ax.locator_params(axis="x", nbins=3)
    ax.xaxis.set_major_formatter("{x:g}")
    for number, group in enumerate(groups):
        level = 0.35 + 0.5 * number
        ends = [means[group[-1]] - pad / 4, means[group[0]] + pad / 4]
        ax.plot(ends, [level, level], color=COLOURS[1], linewidth=4, solid_capstyle="butt", zorder=3)
    top = 0.5 * len(groups) + 0.6
    for rank, name in enumerate(names):
        is_right = rank < n_right
        level = top + (rank if is_right else len(names) - 1 - rank)
        edge = high + pad if is_right else low - pad
        ax.plot([means[name], means[name], edge], [0, level, level], color="black", linewidth=0.8, zorder=2)
        _label_beside(ax, f"{means[name]:.{decimals}f}", (edge, level), 3 if is_right else -3)
        _label_beside(ax, _wrap(name, 16), (edge, level), 38 if is_right else -38)
    return ax


def insignificant_groups(
    names: Sequence[str], insignificant_pairs: Iterable[tuple[str, str]]
) -> list[list[str]]:
    """Return the longest runs of neighbouring models of which no two differ significantly, each of two or more models.

    Args:
        names: Models, best first.
        insignificant_pairs: Pairs of models whose difference is not significant.
    """
    insignificant = {frozenset(pair) for pair in insignificant_pairs}
    groups: list[list[str]] = []
    last_stop = 0
    for start in range(len(names)):
        stop = start + 1
        while stop < len(names) and all(
            frozenset((names[stop], name)) in insignificant for name in names[start:stop]
        ):
            stop += 1
        if stop > max(last_stop, start + 1):
            groups.append(list(names[start:stop]))
            last_stop = stop
    return groups


def metric_by_k(table: pd.DataFrame, label: str, ax: Axes | None = None) -> Axes:
    """Draw a metric against the length of the list, one line per model with its name at the end.

    Args:
        table: Means of the metric; the index is k, the columns name the models.
        label: Axis label of the metric.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = ax or new_axes(height=max(3.2, 0.23 * table.shape[1] + 1.2))
    ends = []
    for number, name in enumerate(table.columns):
        colour, style = _colour_and_style(number)
        ax.plot(table.index, table[name], color=colour, linestyle=style, linewidth=1.6)
        ends.append((float(table[name].iloc[-1]), str(name), colour))
    ax.set(xscale="log", xlabel="k, length of the list", ylabel=label, ylim=(0, None))
    ticks = [k for k in _K_TICKS if table.index.min() <= k <= table.index.max()]
    ax.set_xticks(ticks, [str(k) for k in ticks])
    ax.minorticks_off()
    ax.set_xlim(table.index.min(), table.index.max())
    label_line_ends(ax, ends)
    return ax


def rank_changes(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw how the order of models changes from column to column, one line per model; only changing ranks are coloured.

    Args:
        table: The models' values, the higher the better; the index names the models, the columns the conditions.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = ax or new_axes(height=0.3 * len(table) + 1.1)
    ranks = table.rank(ascending=False, method="first").astype(int)
    changing = [name for name in table.index if ranks.loc[name].nunique() > 1]
    steps = np.arange(table.shape[1])
    for name in table.index:
        colour, style, width = GREY, "-", 1.2
        if name in changing:
            (colour, style), width = _colour_and_style(changing.index(name)), 2.2
        (line,) = ax.plot(steps, ranks.loc[name], marker="o", markersize=5, clip_on=False)
        line.set(color=colour, linestyle=style, linewidth=width)
        for step, side in ((steps[0], -1), (steps[-1], 1)):
            rank = ranks.loc[name].iloc[step]
            _label_beside(ax, str(rank), (step, rank), 7 * side)
            _label_beside(ax, _wrap(str(name), 16), (step, rank), 26 * side)
    ax.set_ylim(len(table) + 0.5, 0.5)
    ax.set_xlim(-0.03, steps[-1] + 0.03)
    size = "small" if len(steps) < 5 else "x-small"
    ax.set_xticks(steps, [_wrap(str(name), 7) for name in table.columns], fontsize=size)
    _hide_vertical_axis(ax)
    ax.tick_params(axis="x", length=0, pad=8)
    return ax


def accuracy_cost(table: pd.DataFrame, label: str, cost: str, ax: Axes | None = None) -> Axes:
    """Draw a metric against a cost, one point per model with its interval and its name.

    Args:
        table: Columns `mean`, `low`, `high` and `cost` (above 0); the index names the models.
        label: Axis label of the metric.
        cost: Axis label of the cost, with its unit; the axis is logarithmic.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = ax or new_axes(height=max(3.4, 0.2 * len(table) + 1.6))
    errors = _error_lengths(table["mean"], table)
    ax.errorbar(
        table["cost"],
        table["mean"],
        yerr=errors,
        fmt="o",
        color=COLOURS[0],
        ecolor=COLOURS[5],
        elinewidth=1.2,
        markersize=5,
    )
    ax.set(xscale="log", xlabel=cost, ylabel=label)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.margins(x=0.12)
    ax.set_ylim(0, None)
    names = [str(name) for name in table.index]
    label_points(ax, names, table["cost"].to_numpy(), table["mean"].to_numpy(), errors)
    return ax


def new_axes(height: float | None = None) -> Axes:
    """Return the axes of a new figure of the book's width.

    Args:
        height: Height of the figure in inches; matplotlib's default if None.
    """
    import matplotlib.pyplot as plt

    width = plt.rcParams["figure.figsize"][0]
    return plt.subplots(figsize=(width, height) if height else None, layout="constrained")[1]


def _error_lengths(centre: pd.Series, table: pd.DataFrame) -> list[pd.Series]:
    """Return the distances from the centre down to `low` and up to `high`, both at least 0."""
    return [(centre - table["low"]).clip(lower=0), (table["high"] - centre).clip(lower=0)]


def _colour_and_style(number: int) -> tuple[str, str]:
    """Return the colour and the line style of a line; the style changes once all colours are used."""
    return COLOURS[number % len(COLOURS)], _LINE_STYLES[number // len(COLOURS) % len(_LINE_STYLES)]


def _hide_vertical_axis(ax: Axes) -> None:
    ax.yaxis.set_visible(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.grid(visible=False)


def _label_beside(ax: Axes, text: str, point: tuple[float, float], offset: float) -> None:
    """Write a text right of a point, or left of it for a negative offset; the offset is in points."""
    ax.annotate(
        text,
        point,
        textcoords="offset points",
        xytext=(offset, 0),
        ha="left" if offset > 0 else "right",
        va="center",
        fontsize="small" if "\n" in text else None,
        linespacing=0.9,
        annotation_clip=False,
    )


def _wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


def _chinese_font() -> list[str]:
    """Return the name of a font with Chinese glyphs: the pinned font, else an installed font, else no name."""
    from matplotlib import font_manager

    package = find_spec("mplfonts")
    if package is not None and package.origin is not None:
        path = Path(package.origin).parent / "fonts" / "NotoSansCJKsc-Regular.otf"
        if path.is_file():
            font_manager.fontManager.addfont(str(path))
            return [font_manager.FontProperties(fname=str(path)).get_name()]
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in _CHINESE_FONTS if name in installed][:1]
