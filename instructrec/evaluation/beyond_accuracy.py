"""Metrics beyond accuracy: how much of the catalogue is shown, how evenly, how new and how varied the lists are.

Derived in chapter `evaluation`. Lists hold catalogue columns, shape (n_requests, k), first position first; -1 is an
empty position. Coverage and Gini describe all lists together by one number; novelty and diversity give one number per
request, which has an interval. An entry in `LIST_METRICS` adds a metric to experiments, results files and reports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.validation import PositiveInt, check_value

_BLOCK_ROWS = 4096
"""Number of lists whose vectors are in memory at once."""


def coverage(lists: ArrayLike, n_items: int) -> float:
    """Return the share of the catalogue shown in any list, |union of the lists| / n_items (Herlocker et al., 2004).

    It grows with the number of requests and with k, so compare systems on the same requests only.

    Args:
        lists: Catalogue columns shown, shape (n_requests, k), int; -1 is an empty position.
        n_items: Size of the catalogue, at least 1.

    Returns:
        The share, in [0, 1].

    Raises:
        InputError: The lists have another shape or type, a column is outside the catalogue, or a list repeats an item.
    """
    return float(np.count_nonzero(_exposure(lists, n_items)) / n_items)


def gini(lists: ArrayLike, n_items: int) -> float:
    """Return the Gini coefficient of exposure: how unequally often items are shown.

    G = sum_j (2j - n - 1) x_j / (n sum_j x_j), where x_1 <= ... <= x_n count how often each of the n = n_items items is
    shown, those never shown included (Gini, 1912; for recommenders Fleder and Hosanagar, 2009). Every position of a
    list counts the same. Arguments as in `coverage`.

    Returns:
        0 if all items are shown equally often, 1 - 1/n if one item fills every position.

    Raises:
        InputError: As in `coverage`, or the lists show no item.
    """
    exposure = np.sort(_exposure(lists, n_items))
    if exposure[-1] == 0:
        raise InputError("lists show no item; a Gini coefficient needs at least one position that is filled")
    weight = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float(weight @ exposure / (n_items * exposure.sum()))


def novelty(lists: ArrayLike, counts: ArrayLike, n_users: int) -> np.ndarray:
    """Return the novelty of each request's list: the mean self-information of its items, in bits.

    mean_i -log2 p(i), where p(i) = counts_i / n_users is the share of users with an interaction with the item in
    training (Zhou et al., 2010; Vargas and Castells, 2011). An item without interactions counts as one with a single
    user: its novelty is log2(n_users) bits instead of infinity. Empty positions do not count.

    Args:
        lists: Catalogue columns shown, shape (n_requests, k), int; -1 is an empty position.
        counts: Number of users of each item, shape (n_items,), such as `users_of_items(split.train)`.
        n_users: Number of users, at least as high as any count.

    Returns:
        Array of shape (n_requests,), in [0, log2(n_users)]; NaN for a request with an empty list.

    Raises:
        InputError: As in `coverage`, or the counts are not numbers in 0..n_users.
    """
    n_of_item = np.asarray(counts)
    if (
        n_of_item.ndim != 1
        or n_of_item.dtype.kind not in "iuf"
        or not ((n_of_item >= 0) & (n_of_item <= n_users)).all()
    ):
        raise InputError(
            f"counts of shape {n_of_item.shape} and n_users {n_users!r}; one number an item in 0..n_users is accepted"
        )
    columns = _check_lists(lists, len(n_of_item))
    check_value("n_users", n_users, PositiveInt)
    bits = np.log2(n_users) - np.log2(np.maximum(n_of_item.astype(float), 1))
    is_filled = columns >= 0
    with np.errstate(invalid="ignore"):
        return np.where(is_filled, bits[columns], 0).sum(axis=1) / is_filled.sum(axis=1)


def diversity(lists: ArrayLike, features: ArrayLike) -> np.ndarray:
    """Return the diversity of each request's list: 1 - mean pairwise similarity of its items.

    The mean of 1 - cos(f_i, f_j) over the m (m - 1) / 2 pairs of the m items shown (Smyth and McClave, 2001; as
    intra-list similarity Ziegler et al., 2005). An item without features (a zero vector) is similar to no other.

    Args:
        lists: Catalogue columns shown, shape (n_requests, k), int; -1 is an empty position.
        features: A vector for each item, shape (n_items, n_features), such as `category_vectors(dataset)`.

    Returns:
        Array of shape (n_requests,), in [0, 1] if no feature is negative (up to 2 otherwise); NaN for a list of fewer
        than two items, which has no pair.

    Raises:
        InputError: As in `coverage`, or the features are not a matrix of finite numbers.
    """
    vectors = np.asarray(features, dtype=float)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise InputError(
            f"features of shape {vectors.shape}; a matrix (n_items, n_features) of finite numbers is accepted"
        )
    columns = _check_lists(lists, len(vectors))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    # Column -1, an empty position, takes the last row: a zero vector.
    unit = np.vstack([unit, np.zeros(unit.shape[1])])
    squared = (unit**2).sum(axis=1)
    pairs = (columns >= 0).sum(axis=1) * ((columns >= 0).sum(axis=1) - 1.0)
    # |sum of vectors|^2 contains each pair's similarity twice and each item's similarity with itself once.
    total = np.concatenate(
        [
            (unit[rows].sum(axis=1) ** 2).sum(axis=1) - squared[rows].sum(axis=1)
            for rows in np.split(columns, range(_BLOCK_ROWS, len(columns), _BLOCK_ROWS))
        ]
    )
    similarity = np.divide(total, pairs, out=np.full(len(columns), np.nan), where=pairs > 0)
    return np.maximum(1 - similarity, 0)


def users_of_items(dataset: Dataset) -> np.ndarray:
    """Return the number of users of each item, in catalogue order, shape (n_items,), int64; for `novelty`."""
    pairs = dataset.interactions[["user_id", "item_id"]].drop_duplicates()
    return np.bincount(dataset.item_columns(pairs["item_id"]), minlength=dataset.n_items)


def category_vectors(dataset: Dataset) -> np.ndarray:
    """Return the category indicators of each item, shape (n_items, n_categories), 0 or 1, float; for `diversity`.

    Items are in catalogue order, categories in the order of their names.
    """
    of_item = dataset.items[dataset.category_field]
    number = {
        name: column for column, name in enumerate(sorted({name for names in of_item for name in names}))
    }
    vectors = np.zeros((len(of_item), len(number)))
    for row, categories in enumerate(of_item):
        vectors[row, [number[name] for name in categories]] = 1
    return vectors


@dataclass(frozen=True, eq=False)
class TrainingStatistics:
    """Statistics of a training part that the metrics of lists need.

    Attributes:
        n_items: Size of the catalogue.
        n_users: Number of users with an interaction; a split by time also lists users without.
        users_of_items: Number of users of each item, see the function `users_of_items`.
        category_vectors: Category indicators of each item, see the function `category_vectors`.
    """

    n_items: int
    n_users: int
    users_of_items: np.ndarray
    category_vectors: np.ndarray

    @classmethod
    def of(cls, train: Dataset) -> TrainingStatistics:
        """Compute the statistics of a training part."""
        n_users = train.interactions["user_id"].nunique()
        return cls(train.n_items, n_users, users_of_items(train), category_vectors(train))


@dataclass(frozen=True)
class ListMetric:
    """A metric of recommended lists, with its name and caption in reports.

    Attributes:
        label: Name in tables.
        caption: A sentence that explains it below a table.
        per_request: Whether the metric gives one number per request; otherwise one number for all lists together.
        compute: Function from lists of catalogue columns and the training statistics to this number or array.
    """

    label: str
    caption: str
    per_request: bool
    compute: Callable[[np.ndarray, TrainingStatistics], Any]


LIST_METRICS = {
    "coverage": ListMetric(
        "coverage",
        "Coverage is the share of the catalogue that is shown to anybody.",
        False,
        lambda lists, train: coverage(lists, train.n_items),
    ),
    "gini": ListMetric(
        "Gini of exposure",
        "Gini is the inequality of exposure, 0 if all items are shown equally often.",
        False,
        lambda lists, train: gini(lists, train.n_items) if (lists >= 0).any() else None,
    ),
    "novelty": ListMetric(
        "novelty (bits)",
        "Novelty is the mean self-information of a list.",
        True,
        lambda lists, train: novelty(lists, train.users_of_items, train.n_users),
    ),
    "diversity": ListMetric(
        "diversity",
        "Diversity is 1 - the mean similarity of a list's pairs.",
        True,
        lambda lists, train: diversity(lists, train.category_vectors),
    ),
}
"""The metrics of lists by their name in results files; `compute` returns None where the metric is undefined."""


def list_metrics(lists: np.ndarray, train: TrainingStatistics) -> dict[str, Any]:
    """Return every metric of `LIST_METRICS` that is defined for these lists, by name."""
    values = {name: metric.compute(lists, train) for name, metric in LIST_METRICS.items()}
    return {name: value for name, value in values.items() if value is not None}


def _exposure(lists: ArrayLike, n_items: int) -> np.ndarray:
    """Return how often each item is shown, shape (n_items,), int64."""
    check_value("n_items", n_items, PositiveInt)
    columns = _check_lists(lists, n_items)
    return np.bincount(columns[columns >= 0], minlength=n_items)


def _check_lists(lists: ArrayLike, n_items: int) -> np.ndarray:
    """Return the lists as an array; check its shape, type and range, and that no list repeats an item."""
    columns = np.asarray(lists)
    if columns.ndim != 2 or columns.dtype.kind not in "iu" or columns.size == 0:
        raise InputError(
            f"lists have shape {columns.shape} and type {columns.dtype}; whole numbers (n_requests, k) are accepted"
        )
    outside = (columns < -1) | (columns >= n_items)
    if outside.any():
        row = int(outside.any(axis=1).argmax())
        raise InputError(
            f"list {row} holds column {columns[row][outside[row]][0]}; -1 (empty) to {n_items - 1} are accepted"
        )
    ordered = np.sort(columns, axis=1)
    is_repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if is_repeated.any():
        row = int(is_repeated.any(axis=1).argmax())
        raise InputError(
            f"list {row} shows column {ordered[row, 1:][is_repeated[row]][0]} twice; show an item once"
        )
    return columns
