"""What accuracy does not see: how much of the catalogue is shown, how evenly, how new and how varied the lists are.

Derived in chapter `evaluation`. Lists are catalogue columns, shape (n_requests, k), first place first; -1 is an empty
place. Coverage and Gini describe a system and are one number; novelty and diversity are one number a request, ready for
an interval.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError

_BLOCK = 4096


def coverage(lists: ArrayLike, n_items: int) -> float:
    """Return the share of the catalogue that anybody is shown, |union of the lists| / n_items (Herlocker et al., 2004).

    It grows with the number of requests and with k, so compare systems on the same requests only.

    Args:
        lists: Catalogue columns shown, shape (n_requests, k), int; -1 is an empty place.
        n_items: Size of the catalogue, at least 1.

    Returns:
        The share, in [0, 1].

    Raises:
        InputError: Lists of another shape or type, a column outside the catalogue, or an item twice in a list.
    """
    return float(np.count_nonzero(_exposure(lists, n_items)) / n_items)


def gini(lists: ArrayLike, n_items: int) -> float:
    """Return how unevenly the places are shared out among all items: the Gini coefficient of exposure.

    G = sum_j (2j - n - 1) x_j / (n sum_j x_j), where x_1 <= ... <= x_n count the places of each of the n = n_items
    items, those never shown included (Gini, 1912; for recommenders Fleder and Hosanagar, 2009). Every place counts
    alike, wherever it stands in its list. Arguments as in `coverage`.

    Returns:
        0 where all items are shown equally often, 1 - 1/n where one item has every place.

    Raises:
        InputError: As in `coverage`, or not one item shown.
    """
    exposure = np.sort(_exposure(lists, n_items))
    if exposure[-1] == 0:
        raise InputError("lists show no item; a Gini coefficient needs at least one place that is filled")
    weight = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float(weight @ exposure / (n_items * exposure.sum()))


def novelty(lists: ArrayLike, counts: ArrayLike, n_users: int) -> np.ndarray:
    """Return for each request how little known its items are: the mean self-information of the list, in bits.

    mean_i -log2 p(i), where p(i) = counts_i / n_users is the share of users who had met the item in training (Zhou et
    al., 2010; Vargas and Castells, 2011). An item that nobody had met counts as met by one user: it is as new as the
    rarest, log2(n_users) bits, and not infinitely new. Empty places count for nothing.

    Args:
        lists: Catalogue columns shown, shape (n_requests, k), int; -1 is an empty place.
        counts: How many users had met each item, shape (n_items,), such as `users_of_items(split.train)`.
        n_users: How many users there are, at least as many as any count.

    Returns:
        Array of shape (n_requests,), in [0, log2(n_users)]; NaN for a request that is shown nothing.

    Raises:
        InputError: Lists as in `coverage`, or counts that are none or exceed n_users.
    """
    met = np.asarray(counts)
    if met.ndim != 1 or met.dtype.kind not in "iuf" or not ((met >= 0) & (met <= n_users)).all():
        raise InputError(
            f"counts of shape {met.shape} and n_users {n_users!r}; one number an item in 0..n_users is accepted"
        )
    columns = _checked(lists, len(met))
    _positive("n_users", n_users)
    bits = np.log2(n_users) - np.log2(np.maximum(met.astype(float), 1))
    shown = columns >= 0
    with np.errstate(invalid="ignore"):
        return np.where(shown, bits[columns], 0).sum(axis=1) / shown.sum(axis=1)


def diversity(lists: ArrayLike, features: ArrayLike) -> np.ndarray:
    """Return for each request how unlike each other its items are: 1 - mean pairwise similarity.

    The mean of 1 - cos(f_i, f_j) over the m (m - 1) / 2 pairs of the m items shown (Smyth and McClave, 2001; as
    intra-list similarity Ziegler et al., 2005). An item without features (a zero vector) is like no other.

    Args:
        lists: Catalogue columns shown, shape (n_requests, k), int; -1 is an empty place.
        features: A vector an item, shape (n_items, n_features), such as `category_vectors(dataset)`.

    Returns:
        Array of shape (n_requests,), in [0, 1] where no feature is negative (up to 2 otherwise); NaN for a request
        that is shown fewer than two items, which make no pair.

    Raises:
        InputError: Lists as in `coverage`, or features that are no matrix of finite numbers.
    """
    vectors = np.asarray(features, dtype=float)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise InputError(
            f"features of shape {vectors.shape}; a matrix (n_items, n_features) of finite numbers is accepted"
        )
    columns = _checked(lists, len(vectors))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    # The last row is what column -1, an empty place, takes: nothing.
    unit = np.vstack([unit, np.zeros(unit.shape[1])])
    squared = (unit**2).sum(axis=1)
    pairs = (columns >= 0).sum(axis=1) * ((columns >= 0).sum(axis=1) - 1.0)
    # |sum of vectors|^2 holds each pair's similarity twice, and each item's with itself once.
    total = np.concatenate(
        [
            (unit[rows].sum(axis=1) ** 2).sum(axis=1) - squared[rows].sum(axis=1)
            for rows in np.split(columns, range(_BLOCK, len(columns), _BLOCK))
        ]
    )
    similarity = np.divide(total, pairs, out=np.full(len(columns), np.nan), where=pairs > 0)
    return np.maximum(1 - similarity, 0)


def users_of_items(dataset: Dataset) -> np.ndarray:
    """Return how many users met each item, in catalogue order, shape (n_items,), int64; for `novelty`."""
    pairs = dataset.interactions[["user_id", "item_id"]].drop_duplicates()
    return np.bincount(dataset.item_columns(pairs["item_id"]), minlength=dataset.n_items)


def category_vectors(dataset: Dataset) -> np.ndarray:
    """Return 1 where an item is of a category, shape (n_items, n_categories), float; for `diversity`.

    Items in catalogue order, categories in the order of their names.
    """
    of_item = dataset.items[dataset.category_field]
    names = {name: place for place, name in enumerate(sorted({name for names in of_item for name in names}))}
    vectors = np.zeros((len(of_item), len(names)))
    for row, categories in enumerate(of_item):
        vectors[row, [names[name] for name in categories]] = 1
    return vectors


def _exposure(lists: ArrayLike, n_items: int) -> np.ndarray:
    """Return how many places each item has, shape (n_items,), int64."""
    _positive("n_items", n_items)
    columns = _checked(lists, n_items)
    return np.bincount(columns[columns >= 0], minlength=n_items)


def _positive(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} is {value!r}; a whole number of at least 1 is accepted")


def _checked(lists: ArrayLike, n_items: int) -> np.ndarray:
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
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        row = int(twice.any(axis=1).argmax())
        raise InputError(
            f"list {row} shows column {ordered[row, 1:][twice[row]][0]} twice; show an item once"
        )
    return columns
