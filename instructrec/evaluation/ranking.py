"""Measures of a ranked list, one value a request; called alike: `(y_true, y_pred, k)`.

Derived in chapter `evaluation`. Items of equal score are ranked with the wrong ones first, so that a model that gives
every item the same score earns nothing. Items that must not be ranked carry the score minus infinity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from instructrec.errors import InputError


def hit_rate(y_true: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Tell for each request whether a relevant item is among the first k: HR@k = 1[some relevant item ranks <= k].

    Args:
        y_true: Relevance, shape (batch, list), values 0 or 1.
        y_pred: Scores, shape (batch, list), higher is better.
        k: Length of the list that the user sees, at least 1.

    Returns:
        Array of shape (batch,), values 0 or 1.

    Raises:
        InputError: Shapes differ, a score is NaN, or k is below 1.
    """
    return relevance_by_rank(y_true, y_pred, k).any(axis=1).astype(float)


def precision_at_k(y_true: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the share of the first k that is relevant, sum_{r<=k} rel_r / k. Arguments as in `hit_rate`."""
    return relevance_by_rank(y_true, y_pred, k).sum(axis=1) / k


def recall_at_k(y_true: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the share of the relevant items found among the first k; 0 where there are none.

    Arguments as in `hit_rate`.
    """
    relevant = np.asarray(y_true, dtype=bool).sum(axis=1)
    return relevance_by_rank(y_true, y_pred, k).sum(axis=1) / np.maximum(relevant, 1)


def mrr(y_true: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the reciprocal rank of the first relevant item, 0 beyond rank k (Voorhees, 1999).

    Arguments as in `hit_rate`.
    """
    found = relevance_by_rank(y_true, y_pred, k)
    return np.where(found.any(axis=1), 1.0 / (found.argmax(axis=1) + 1), 0.0)


def ndcg(y_true: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the normalised discounted cumulative gain at k (Järvelin and Kekäläinen, 2002).

    DCG@k = sum_{r<=k} rel_r / log2(r + 1), divided by the DCG of the best possible order; 0 without relevant items.
    Arguments as in `hit_rate`.
    """
    found = relevance_by_rank(y_true, y_pred, k)
    discount = 1.0 / np.log2(np.arange(2, found.shape[1] + 2))
    relevant = np.asarray(y_true, dtype=bool).sum(axis=1)
    best = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(relevant, found.shape[1])]
    return np.divide(found @ discount, best, out=np.zeros(len(found)), where=best > 0)


METRICS = {"HR": hit_rate, "NDCG": ndcg, "MRR": mrr, "precision": precision_at_k, "recall": recall_at_k}


def relevance_by_rank(y_true: ArrayLike, y_pred: ArrayLike, k: int) -> np.ndarray:
    """Return the relevance of the items at ranks 1 to k, shape (batch, min(k, list)), bool.

    Arguments and errors as in `hit_rate`.
    """
    true, pred = np.asarray(y_true, dtype=bool), np.asarray(y_pred, dtype=float)
    if true.ndim != 2 or true.shape != pred.shape:
        raise InputError(
            f"y_true has shape {true.shape} and y_pred {pred.shape}; two equal (batch, list) are accepted"
        )
    if np.isnan(pred).any():
        raise InputError("y_pred holds NaN; scores must be numbers (minus infinity leaves an item out)")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k is {k!r}; a whole number of at least 1 is accepted")
    order = np.lexsort((true, -pred), axis=1)[:, :k]
    ranked = np.take_along_axis(true, order, axis=1)
    return ranked & np.isfinite(np.take_along_axis(pred, order, axis=1))
