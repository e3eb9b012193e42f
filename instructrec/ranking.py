"""The list that a user sees: the items with the highest scores, and the rule that orders equal scores.

Items with equal scores keep the catalogue's order in every list that the package shows. A metric must not reward this
accident: `instructrec.evaluation.target_ranks` ranks a target below all items with the same score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from instructrec.errors import InputError
from instructrec.validation import PositiveInt, check_value


def top_k(scores: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the columns of the k highest scores of each request, best first.

    Args:
        scores: Shape (batch, list), higher is better; an item with the score minus infinity is never listed.
        k: Length of the list that the user sees, at least 1.

    Returns:
        Array of shape (batch, min(k, list)), int64; -1 marks a position that stays empty.

    Raises:
        InputError: The scores are no matrix or hold NaN, or k is below 1.
    """
    matrix = np.asarray(scores, dtype=float)
    if matrix.ndim != 2:
        raise InputError(f"y_pred has shape {matrix.shape}; (batch, list) is accepted")
    if np.isnan(matrix).any():
        raise InputError("y_pred holds NaN; scores must be numbers (minus infinity leaves an item out)")
    check_value("k", k, PositiveInt)
    columns = np.argsort(-matrix, axis=1, kind="stable")[:, :k]
    return np.where(np.isneginf(np.take_along_axis(matrix, columns, axis=1)), -1, columns)
