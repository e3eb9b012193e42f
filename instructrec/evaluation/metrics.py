"""Measures of a ranked list, one value a request; called alike: `(y_true, y_pred, k)`.

Derived in chapter `evaluation`. Items of equal score are ranked with the wrong ones first, so that a model that gives
every item the same score earns nothing. Items that must not be ranked carry the score minus infinity. All go through
`instructrec.evaluation.target_ranks`, which large matrices of scores should be given to directly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from instructrec.errors import InputError
from instructrec.evaluation.target_ranks import TargetRanks, as_scores, check_k, target_ranks


def hit_rate(y_true: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Tell for each request whether a relevant item is among the first k: HR@k = 1[some relevant item ranks <= k].

    Args:
        y_true: Relevance, shape (batch, list), values 0 or 1.
        y_pred: Scores, shape (batch, list), higher is better.
        k: Length of the list that the user sees, at least 1.

    Returns:
        Array of shape (batch,), values 0 or 1.

    Raises:
        InputError: Shapes differ, a score is NaN or plus infinity, or k is below 1.
    """
    return _ranks(y_true, y_pred, k).metric("HR", k)


def precision_at_k(y_true: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the share of the first k that is relevant, sum_{r<=k} rel_r / k (Herlocker et al., 2004).

    Places of a list shorter than k count as wrong. Arguments as in `hit_rate`.
    """
    return _ranks(y_true, y_pred, k).metric("precision", k)


def recall_at_k(y_true: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the share of the relevant items found among the first k, sum_{r<=k} rel_r / R; 0 where R = 0.

    R is the number of all relevant items, also where R > k (Herlocker et al., 2004). Arguments as in `hit_rate`.
    """
    return _ranks(y_true, y_pred, k).metric("recall", k)


def mrr(y_true: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the reciprocal rank of the first relevant item, 0 beyond rank k (Voorhees, 1999).

    Arguments as in `hit_rate`.
    """
    return _ranks(y_true, y_pred, k).metric("MRR", k)


def ndcg(y_true: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the normalised discounted cumulative gain at k (Järvelin and Kekäläinen, 2002).

    DCG@k = sum_{r<=k} rel_r / log2(r + 1), divided by the DCG of the best possible order; 0 without relevant items.
    Arguments as in `hit_rate`.
    """
    return _ranks(y_true, y_pred, k).metric("NDCG", k)


def average_precision(y_true: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the average precision at k; its mean over requests is MAP@k (Buckley and Voorhees, 2000).

    AP@k = sum_{r<=k} rel_r · precision@r / R with R the number of all relevant items, also where R > k, so that 1 is
    out of reach then; some libraries divide by min(R, k) instead. 0 where R = 0. With one relevant item it is `mrr`.
    Arguments as in `hit_rate`.
    """
    return _ranks(y_true, y_pred, k).metric("MAP", k)


METRICS = {
    "HR": hit_rate,
    "NDCG": ndcg,
    "MRR": mrr,
    "precision": precision_at_k,
    "recall": recall_at_k,
    "MAP": average_precision,
}


def _ranks(y_true: ArrayLike, y_pred: ArrayLike, k: int) -> TargetRanks:
    """Return the ranks of the relevant items. Arguments and errors as in `hit_rate`."""
    true, pred = np.asarray(y_true, dtype=bool), np.asarray(y_pred)
    if true.ndim != 2 or true.shape != pred.shape:
        raise InputError(
            f"y_true has shape {true.shape} and y_pred {pred.shape}; two equal (batch, list) are accepted"
        )
    pred = as_scores(pred)
    if np.isnan(pred).any():
        raise InputError("y_pred holds NaN; scores must be numbers (minus infinity leaves an item out)")
    check_k(k)
    return target_ranks(pred, [np.flatnonzero(row) for row in true])
