"""The book's figures: one style, colours that survive colour blindness, Chinese glyphs included."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette (2008), told apart in every common form of colour blindness; yellow is left out, too pale.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#767676"


def use_book_style() -> None:
    """Set matplotlib's defaults for a notebook of the book: size, colours, quiet axes, a font with Chinese glyphs."""
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
            "font.family": ["DejaVu Sans", *_chinese_family()],
            "axes.unicode_minus": False,
        }
    )


def bars_with_intervals(
    table: pd.DataFrame, label: str, ax: Axes | None = None, reference: tuple[str, float] | None = None
) -> Axes:
    """Draw one horizontal bar a row, with its interval.

    Args:
        table: Columns `mean`, `low`, `high`; the index names the bars, first row on top.
        label: The value's axis label, with its unit.
        ax: Where to draw; a new figure by default.
        reference: A name and a value to mark with a dashed line, such as ("chance", 0.1).
    """
    ax = _axes(ax, height=0.42 * len(table) + 1.1)
    names = [str(name) for name in table.index]
    spread = [(table["mean"] - table["low"]).clip(lower=0), (table["high"] - table["mean"]).clip(lower=0)]
    ax.barh(
        names,
        table["mean"],
        xerr=spread,
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
    """Draw what training recorded, a line a series.

    Args:
        history: Values an epoch by name, such as Keras's `History.history`.
        label: The value's axis label.
        ax: Where to draw; a new figure by default.
    """
    ax = _axes(ax)
    for number, (name, values) in enumerate(history.items()):
        ax.plot(range(1, len(values) + 1), values, marker="osD^v"[number % 5], markersize=4, label=name)
    ax.set_xlabel("epoch")
    ax.set_ylabel(label)
    if len(history) > 1:
        ax.legend()
    return ax


def number_grid(table: pd.DataFrame, label: str, ax: Axes | None = None, decimals: int = 2) -> Axes:
    """Draw a table of numbers as coloured cells with the number in each.

    Args:
        table: Numbers; index and columns name the rows and columns.
        label: What the numbers are, with their unit.
        ax: Where to draw; a new figure by default.
        decimals: Digits after the point.
    """
    ax = _axes(ax, height=0.4 * len(table) + 1.2)
    values = table.to_numpy(dtype=float)
    picture = ax.imshow(values, cmap="cividis", aspect="auto")
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
    ax.figure.colorbar(picture, ax=ax, label=label)
    return ax


def reliability_diagram(tables: Mapping[str, pd.DataFrame], ax: Axes | None = None) -> Axes:
    """Draw the observed share of yes against the predicted probability, a line a table; calibrated is the diagonal.

    Args:
        tables: Tables of `evaluation.calibration` by name; empty bins are left out.
        ax: Where to draw; a new figure by default.
    """
    ax = _axes(ax, height=4.2)
    filled = {name: table[table["n"] > 0] for name, table in tables.items()}
    most = max(float(table[["high", "mean_predicted"]].max().max()) for table in filled.values())
    most = min(1.0, 1.05 * most)
    ax.plot([0, most], [0, most], color=GREY, linestyle="--", linewidth=1, label="calibrated")
    for number, (name, table) in enumerate(filled.items()):
        share = table["share_of_yes"]
        ax.errorbar(
            table["mean_predicted"],
            share,
            yerr=[(share - table["low"]).clip(lower=0), (table["high"] - share).clip(lower=0)],
            color=COLOURS[number % len(COLOURS)],
            marker="osD^v"[number % 5],
            markersize=5,
            capsize=3,
            label=name,
        )
    ax.set(
        xlim=(0, most), ylim=(0, most), xlabel="predicted probability of yes", ylabel="observed share of yes"
    )
    ax.set_aspect("equal")
    ax.legend()
    return ax


def critical_difference(
    means: Mapping[str, float] | pd.Series,
    not_apart: Iterable[tuple[str, str]],
    label: str,
    ax: Axes | None = None,
    decimals: int = 3,
) -> Axes:
    """Draw models on one scale and join those that a test did not tell apart, in the manner of Demšar (2006).

    Demšar puts mean ranks over data sets on the scale; here it is the measure itself, and the test is the reader's. A
    bar joins models of which no two were told apart; a model under no bar differs from all others.

    Args:
        means: The models' values; the higher, the better.
        not_apart: Pairs of models that were not told apart.
        label: The value's axis label.
        ax: Where to draw; a new figure by default.
        decimals: Digits after the point of the values.
    """
    names = sorted(means.keys(), key=lambda name: -means[name])
    groups = indifferent_groups(names, not_apart)
    half = (len(names) + 1) // 2
    rows = 0.5 * len(groups) + half
    ax = _axes(ax, height=0.27 * rows + 0.75)
    low, high = means[names[-1]], means[names[0]]
    pad = 0.04 * (high - low) or 0.5
    ax.set(xlim=(low - pad, high + pad), ylim=(rows, 0))
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set_xlabel(label)
    ax.yaxis.set_visible(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.spines["top"].set_visible(True)
    ax.grid(visible=False)
    ax.locator_params(axis="x", nbins=3)
    ax.xaxis.set_major_formatter("{x:g}")
    for number, group in enumerate(groups):
        level = 0.35 + 0.5 * number
        ends = [means[group[-1]] - pad / 4, means[group[0]] + pad / 4]
        ax.plot(ends, [level, level], color=COLOURS[1], linewidth=4, solid_capstyle="butt", zorder=3)
    first = 0.5 * len(groups) + 0.6
    for place, name in enumerate(names):
        right = place < half
        level = first + (place if right else len(names) - 1 - place)
        edge = high + pad if right else low - pad
        ax.plot([means[name], means[name], edge], [0, level, level], color="black", linewidth=0.8, zorder=2)
        for text, away in ((f"{means[name]:.{decimals}f}", 3), (_wrap(name, 16), 38)):
            ax.annotate(
                text,
                (edge, level),
                textcoords="offset points",
                xytext=(away if right else -away, 0),
                ha="left" if right else "right",
                va="center",
                fontsize="small" if "\n" in text else None,
                linespacing=0.9,
                annotation_clip=False,
            )
    return ax


def indifferent_groups(names: Sequence[str], not_apart: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the longest runs of neighbouring models of which no two were told apart, each of two or more.

    Args:
        names: Models, best first.
        not_apart: Pairs of models that were not told apart.
    """
    same = {frozenset(pair) for pair in not_apart}
    groups: list[list[str]] = []
    reached = 0
    for start in range(len(names)):
        stop = start + 1
        while stop < len(names) and all(frozenset((names[stop], one)) in same for one in names[start:stop]):
            stop += 1
        if stop > max(reached, start + 1):
            groups.append(list(names[start:stop]))
            reached = stop
    return groups


def metric_by_k(table: pd.DataFrame, label: str, ax: Axes | None = None) -> Axes:
    """Draw a measure against the length of the list, a line a model with its name at its end.

    Args:
        table: The measure's means; the index is k, the columns name the models.
        label: The measure's axis label.
        ax: Where to draw; a new figure by default.
    """
    ax = _axes(ax, height=max(3.2, 0.23 * table.shape[1] + 1.2))
    ends = []
    for number, name in enumerate(table.columns):
        style = ("-", "--", ":")[number // len(COLOURS) % 3]
        colour = COLOURS[number % len(COLOURS)]
        ax.plot(table.index, table[name], color=colour, linestyle=style, linewidth=1.6)
        ends.append((float(table[name].iloc[-1]), str(name), colour))
    ax.set(xscale="log", xlabel="k, length of the list", ylabel=label, ylim=(0, None))
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500) if table.index.min() <= k <= table.index.max()]
    ax.set_xticks(ticks, [str(k) for k in ticks])
    ax.minorticks_off()
    ax.set_xlim(table.index.min(), table.index.max())
    _name_ends(ax, ends)
    return ax


def rank_changes(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw how the order of models changes from column to column, a line a model; those that move are coloured.

    Args:
        table: The models' values, the higher the better; the index names the models, the columns what is compared.
        ax: Where to draw; a new figure by default.
    """
    ax = _axes(ax, height=0.3 * len(table) + 1.1)
    places = table.rank(ascending=False, method="first").astype(int)
    moved = [name for name in table.index if places.loc[name].nunique() > 1]
    steps = np.arange(table.shape[1])
    for name in table.index:
        number = moved.index(name) if name in moved else None
        colour = GREY if number is None else COLOURS[number % len(COLOURS)]
        style = "-" if number is None else ("-", "--", ":")[number // len(COLOURS) % 3]
        width = 1.2 if number is None else 2.2
        ax.plot(
            steps,
            places.loc[name],
            color=colour,
            linestyle=style,
            linewidth=width,
            marker="o",
            markersize=5,
            clip_on=False,
        )
        for side, step in (("right", steps[0]), ("left", steps[-1])):
            place = places.loc[name].iloc[step]
            for text, away in ((str(place), 7), (_wrap(str(name), 16), 26)):
                ax.annotate(
                    text,
                    (step, place),
                    textcoords="offset points",
                    xytext=(-away if side == "right" else away, 0),
                    ha=side,
                    va="center",
                    fontsize="small" if "\n" in text else None,
                    linespacing=0.9,
                    annotation_clip=False,
                )
    ax.set_ylim(len(table) + 0.5, 0.5)
    ax.set_xlim(-0.03, steps[-1] + 0.03)
    size = "small" if len(steps) < 5 else "x-small"
    ax.set_xticks(steps, [_wrap(str(name), 7) for name in table.columns], fontsize=size)
    ax.yaxis.set_visible(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", length=0, pad=8)
    ax.grid(visible=False)
    return ax


def accuracy_cost(table: pd.DataFrame, label: str, cost: str, ax: Axes | None = None) -> Axes:
    """Draw what a model earns against what it costs, a point a model with its interval and its name.

    Args:
        table: Columns `mean`, `low`, `high` and `cost` (above 0); the index names the models.
        label: The value's axis label.
        cost: The cost's axis label, with its unit; the axis is logarithmic.
        ax: Where to draw; a new figure by default.
    """
    ax = _axes(ax, height=max(3.4, 0.2 * len(table) + 1.6))
    spread = [(table["mean"] - table["low"]).clip(lower=0), (table["high"] - table["mean"]).clip(lower=0)]
    ax.errorbar(
        table["cost"],
        table["mean"],
        yerr=spread,
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
    _name_points(
        ax, [str(name) for name in table.index], table["cost"].to_numpy(), table["mean"].to_numpy(), spread
    )
    return ax


def _name_ends(ax: Axes, ends: list[tuple[float, str, str]], gap: float = 11.5) -> None:
    """Write names right of the axes at the heights of lines' ends, moved apart to `gap` points where they meet."""
    figure = ax.figure
    figure.canvas.draw()
    box = ax.get_window_extent()
    low, high = ax.get_ylim()
    step = gap * figure.dpi / 72 / box.height * (high - low)
    ends = sorted(ends, key=lambda end: end[0])
    heights = _spread([end[0] for end in ends], step)
    x = ax.get_xlim()[1]
    for (value, name, colour), height in zip(ends, heights, strict=True):
        ax.annotate(
            name,
            (x, value),
            xytext=(16, (height - value) / step * gap),
            textcoords="offset points",
            va="center",
            color="black",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 1.2,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def _spread(values: Sequence[float], step: float) -> list[float]:
    """Move ascending values apart, as little as can be, so that neighbours lie at least `step` from each other."""
    blocks: list[tuple[float, int]] = []  # middle and size of runs that touch
    for value in values:
        blocks.append((value, 1))
        while len(blocks) > 1:
            (middle, size), (upper, above) = blocks[-2:]
            if upper - middle >= step * (size + above) / 2:
                break
            # Keep the mean of what the values asked for: shifts within a run cancel.
            joined = (middle * size + upper * above) / (size + above)
            blocks[-2:] = [(joined, size + above)]
    return [middle + step * (number - (size - 1) / 2) for middle, size in blocks for number in range(size)]


def _name_points(
    ax: Axes, names: Sequence[str], x: np.ndarray, y: np.ndarray, spread: Sequence[pd.Series]
) -> None:
    """Write each point's name beside it, where it meets the fewest names, points and intervals."""
    from matplotlib.patheffects import withStroke

    figure = ax.figure
    figure.canvas.draw()
    points = ax.transData.transform(np.column_stack([x, y]))
    bars = [
        ax.transData.transform([(one, value - below), (one, value + above)])
        for one, value, below, above in zip(x, y, spread[0], spread[1], strict=True)
    ]
    taken = [(bar[0][0] - 3, bar[0][1], bar[0][0] + 3, bar[1][1]) for bar in bars]
    taken += [(px - 5, py - 5, px + 5, py + 5) for px, py in points]
    inside = ax.get_window_extent()
    pixels = figure.dpi / 72
    offsets = [
        (dx * reach, dy * reach)
        for reach in (6, 14, 24, 36)
        for dx, dy in ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1.5), (0, -1.5))
    ]
    for number in np.argsort(-y, kind="stable"):
        text = ax.annotate(
            names[number],
            (x[number], y[number]),
            xytext=(0, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
        extent = text.get_window_extent()
        boxes = []
        for dx, dy in offsets:
            left = points[number][0] + dx * pixels - extent.width * (0 if dx > 0 else 1 if dx < 0 else 0.5)
            middle = points[number][1] + dy * pixels
            boxes.append((left, middle - extent.height / 2, left + extent.width, middle + extent.height / 2))
        costs = [
            sum(_overlap(box, other) for other in taken)
            + 20 * max(0.0, inside.x0 - box[0], box[2] - inside.x1, inside.y0 - box[1], box[3] - inside.y1)
            for box in boxes
        ]
        best = int(np.argmin([cost + 0.1 * rank for rank, cost in enumerate(costs)]))
        dx, dy = offsets[best]
        text.remove()
        ax.annotate(
            names[number],
            (x[number], y[number]),
            xytext=(dx, dy),
            textcoords="offset points",
            ha="left" if dx > 0 else "right" if dx < 0 else "center",
            va="center",
            annotation_clip=False,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
            if max(abs(dx), abs(dy)) > 9
            else None,
        )
        taken.append(boxes[best])


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the area that two boxes share, in square pixels."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


def _axes(ax: Axes | None, height: float | None = None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    width = plt.rcParams["figure.figsize"][0]
    return plt.subplots(figsize=(width, height) if height else None, layout="constrained")[1]


def _chinese_family() -> list[str]:
    """Return the name of a font with Chinese glyphs: the pinned one, else one of the system's, else none."""
    from matplotlib import font_manager

    package = find_spec("mplfonts")
    if package is not None and package.origin is not None:
        path = Path(package.origin).parent / "fonts" / "NotoSansCJKsc-Regular.otf"
        if path.is_file():
            font_manager.fontManager.addfont(str(path))
            return [font_manager.FontProperties(fname=str(path)).get_name()]
    installed = {font.name for font in font_manager.fontManager.ttflist}
    wanted = (
        "Noto Sans CJK SC",
        "Noto Sans SC",
        "PingFang SC",
        "Microsoft YaHei",
        "SimHei",
        "WenQuanYi Micro Hei",
    )
    return [name for name in wanted if name in installed][:1]
