"""Did the list do what was asked? Satisfaction of a stated constraint, and the worth of a list by true utility.

Derived in chapter `scenarios`. As in `instructrec.evaluation.ranking`, an item that must not be shown carries the score
minus infinity; here equal scores keep the catalogue's order, as `Recommender.recommend` does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from instructrec.errors import InputError


def top_lists(y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the columns of the first k items of each request, best first.

    Args:
        y_pred: Scores, shape (batch, list), higher is better; minus infinity is never shown.
        k: Length of the list that the user sees, at least 1.

    Returns:
        Array of shape (batch, min(k, list)), int64; -1 marks a place that stays empty.

    Raises:
        InputError: Scores that are no matrix or hold NaN, or k below 1.
    """
    scores = np.asarray(y_pred, dtype=float)
    if scores.ndim != 2:
        raise InputError(f"y_pred has shape {scores.shape}; (batch, list) is accepted")
    if np.isnan(scores).any():
        raise InputError("y_pred holds NaN; scores must be numbers (minus infinity leaves an item out)")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k is {k!r}; a whole number of at least 1 is accepted")
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.where(np.isneginf(np.take_along_axis(scores, order, axis=1)), -1, order)


def satisfaction_at_k(satisfied: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the share of the k places that hold an item which meets the instruction.

    satisfaction@k = |{i among the first k : i meets the instruction}| / k. An empty place satisfies nobody, so that a
    filter cannot earn 1 by showing one item only.

    Args:
        satisfied: Which items meet the request's instruction, shape (list,) for all requests or (batch, list).
        y_pred: Scores, shape (batch, list).
        k: Length of the list that the user sees, at least 1.

    Returns:
        Array of shape (batch,), in [0, 1].

    Raises:
        InputError: Shapes that do not go together, or as in `top_lists`.
    """
    lists = top_lists(y_pred, k)
    return (_at(satisfied, y_pred, lists).astype(bool) & (lists >= 0)).sum(axis=1) / k


def list_value(
    utility: ArrayLike, y_pred: ArrayLike, satisfied: ArrayLike | None = None, k: int = 10
) -> np.ndarray:
    """Return what a list is worth to its user, by true utility: log(1 + sum over the list of exp U(u, i)).

    This is the expected utility of the best choice from the list, up to a constant, where choice is a multinomial
    logit and leaving has utility 0 (Small and Rosen, 1981). An empty list is worth 0. Items that do not meet the
    instruction count for nothing where `satisfied` is given.

    Args:
        utility: True utilities, shape (batch, list).
        y_pred: Scores, shape (batch, list).
        satisfied: Which items count, shape (list,) or (batch, list); all by default.
        k: Length of the list that the user sees, at least 1.

    Returns:
        Array of shape (batch,), at least 0, in units of utility.

    Raises:
        InputError: Shapes that do not go together, or as in `top_lists`.
    """
    lists = top_lists(y_pred, k)
    counts = lists >= 0
    if satisfied is not None:
        counts = counts & _at(satisfied, y_pred, lists).astype(bool)
    return np.log1p((np.exp(_at(utility, y_pred, lists)) * counts).sum(axis=1))


def _at(values: ArrayLike, y_pred: ArrayLike, lists: np.ndarray) -> np.ndarray:
    """Return the values of listed items, shape (batch, k); what stands at an empty place has no meaning."""
    array, shape = np.asarray(values), np.shape(y_pred)
    if array.shape not in (shape, shape[1:]):
        raise InputError(
            f"values of shape {array.shape} for scores of shape {shape}; one an item, or one a request and item"
        )
    return np.take_along_axis(np.broadcast_to(array, shape), np.maximum(lists, 0), axis=1)
