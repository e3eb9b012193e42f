"""Labels of lines and points that do not overlap; matplotlib places none by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

Box = tuple[float, float, float, float]
"""Left, bottom, right and top of a rectangle, in pixels."""
_DIRECTIONS = ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1.5), (0, -1.5))
_LABEL_OFFSETS = [(dx * distance, dy * distance) for distance in (6, 14, 24, 36) for dx, dy in _DIRECTIONS]
"""Candidate offsets of a label from its point, in points, the preferred offset first."""


def label_line_ends(ax: Axes, ends: list[tuple[float, str, str]], gap: float = 11.5) -> None:
    """Write names right of the axes at the heights of the lines' ends, at least `gap` points apart.

    Args:
        ax: The axes.
        ends: Value, name and colour of each line's end.
        gap: Least distance between the centres of two names, in points.
    """
    figure = ax.figure
    figure.canvas.draw()
    low, high = ax.get_ylim()
    step = gap * figure.dpi / 72 / ax.get_window_extent().height * (high - low)
    ends = sorted(ends, key=lambda end: end[0])
    x = ax.get_xlim()[1]
    for (value, name, colour), height in zip(ends, _separate([end[0] for end in ends], step), strict=True):
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


def _separate(values: Sequence[float], step: float) -> np.ndarray:
    """Move ascending values apart, as little as possible, until neighbours are at least `step` from each other.

    Least squares under h[i + 1] - h[i] >= step is an isotonic regression of values[i] - i * step.
    """
    from scipy.optimize import isotonic_regression

    offsets = step * np.arange(len(values))
    return isotonic_regression(np.asarray(values) - offsets).x + offsets


def label_points(
    ax: Axes, names: Sequence[str], x: np.ndarray, y: np.ndarray, errors: Sequence[pd.Series]
) -> None:
    """Write each point's name beside it, where it overlaps least with other names, points and intervals.

    Args:
        ax: The axes, with the points and their intervals drawn.
        names: Name of each point.
        x: Horizontal coordinates, shape (n_points,).
        y: Vertical coordinates, shape (n_points,).
        errors: Length of each interval below and above its point.
    """
    from matplotlib.patheffects import withStroke

    figure = ax.figure
    figure.canvas.draw()
    points = ax.transData.transform(np.column_stack([x, y]))
    below = ax.transData.transform(np.column_stack([x, y - np.asarray(errors[0])]))
    above = ax.transData.transform(np.column_stack([x, y + np.asarray(errors[1])]))
    obstacles: list[Box] = [
        (bottom[0] - 3, bottom[1], bottom[0] + 3, top[1]) for bottom, top in zip(below, above, strict=True)
    ]
    obstacles += [(px - 5, py - 5, px + 5, py + 5) for px, py in points]
    pixels_per_point = figure.dpi / 72
    for number in np.argsort(-y, kind="stable"):
        annotation = {
            "text": names[number],
            "xy": (x[number], y[number]),
            "textcoords": "offset points",
            "va": "center",
            "annotation_clip": False,
            "path_effects": [withStroke(linewidth=2.5, foreground="white")],
        }
        draft = ax.annotate(xytext=(0, 0), **annotation)
        boxes = _label_boxes(points[number], draft.get_window_extent(), pixels_per_point)
        draft.remove()
        costs = [_label_cost(box, obstacles, ax) + 0.1 * rank for rank, box in enumerate(boxes)]
        best = int(np.argmin(costs))
        dx, dy = _LABEL_OFFSETS[best]
        line = {"arrowstyle": "-", "color": "#767676", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
        ax.annotate(
            xytext=(dx, dy),
            ha="left" if dx > 0 else "right" if dx < 0 else "center",
            arrowprops=line if max(abs(dx), abs(dy)) > 9 else None,
            **annotation,
        )
        obstacles.append(boxes[best])


def _label_boxes(point: np.ndarray, extent: Bbox, pixels_per_point: float) -> list[Box]:
    """Return the box of a label of this extent at each of `_LABEL_OFFSETS` from a point in pixels."""
    boxes = []
    for dx, dy in _LABEL_OFFSETS:
        left = point[0] + dx * pixels_per_point - extent.width * (0 if dx > 0 else 1 if dx < 0 else 0.5)
        centre = point[1] + dy * pixels_per_point
        boxes.append((left, centre - extent.height / 2, left + extent.width, centre + extent.height / 2))
    return boxes


def _label_cost(box: Box, obstacles: list[Box], ax: Axes) -> float:
    """Return the area that a label shares with obstacles, plus a penalty for leaving the axes."""
    inside = ax.get_window_extent()
    outside = max(0.0, inside.x0 - box[0], box[2] - inside.x1, inside.y0 - box[1], box[3] - inside.y1)
    return sum(_shared_area(box, obstacle) for obstacle in obstacles) + 20 * outside


def _shared_area(box: Box, other: Box) -> float:
    """Return the area that two boxes share, in square pixels."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
