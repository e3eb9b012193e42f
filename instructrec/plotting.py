"""The book's figures: one style, colours that survive colour blindness, Chinese glyphs included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
