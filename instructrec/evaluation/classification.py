"""Accuracy, precision, recall and F1 of yes/no answers, as the article names them.

Derived in chapter `evaluation`, which shows why accuracy alone says nothing where one answer is common.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from instructrec.errors import InputError


def confusion(y_true: ArrayLike, y_pred: ArrayLike) -> dict[str, int]:
    """Count the four outcomes of yes/no answers.

    Args:
        y_true: What happened, shape (n,), values 0 or 1 (or booleans).
        y_pred: What was answered, shape (n,), values 0 or 1.

    Returns:
        The counts `tp`, `fp`, `fn`, `tn`.

    Raises:
        InputError: Unequal lengths, no answer at all, or a value other than 0 and 1.
    """
    true, pred = _binary("y_true", y_true), _binary("y_pred", y_pred)
    if true.shape != pred.shape:
        raise InputError(f"y_true has {len(true)} values and y_pred has {len(pred)}; give one answer each")
    return {
        "tp": int(np.sum(true & pred)),
        "fp": int(np.sum(~true & pred)),
        "fn": int(np.sum(true & ~pred)),
        "tn": int(np.sum(~true & ~pred)),
    }


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the share of right answers, (TP + TN) / (TP + FP + FN + TN), in [0, 1]. Arguments as in `confusion`."""
    count = confusion(y_true, y_pred)
    return (count["tp"] + count["tn"]) / sum(count.values())


def precision(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return TP / (TP + FP): how many of the yeses were right; 0 where nothing was answered with yes.

    Arguments as in `confusion`.
    """
    count = confusion(y_true, y_pred)
    return _ratio(count["tp"], count["tp"] + count["fp"])


def recall(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return TP / (TP + FN): how many of the true yeses were found; 0 where there are none.

    Arguments as in `confusion`.
    """
    count = confusion(y_true, y_pred)
    return _ratio(count["tp"], count["tp"] + count["fn"])


def f1(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN) (van Rijsbergen, 1979).

    Arguments as in `confusion`.
    """
    count = confusion(y_true, y_pred)
    return _ratio(2 * count["tp"], 2 * count["tp"] + count["fp"] + count["fn"])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _binary(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{name} has shape {array.shape}; a list of at least one 0 or 1 is accepted")
    if not np.isin(array, (0, 1)).all():
        wrong = array[~np.isin(array, (0, 1))][0]
        raise InputError(
            f"{name} holds {wrong!r}; only 0 and 1 are accepted (cut probabilities at a threshold first)"
        )
    return array.astype(bool)
