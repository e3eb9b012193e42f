"""How sure a mean over users is: the bootstrap, over users and over paired differences.

Derived in chapter `evaluation`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from instructrec.errors import InputError


class Interval(NamedTuple):
    """A mean with its interval.

    Attributes:
        mean: The mean of the values.
        low: Lower end.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_interval(
    values: ArrayLike, confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean of a value a user and its percentile bootstrap interval (Efron, 1979).

    Args:
        values: One value a user, shape (n_users,), such as NDCG@10.
        confidence: Coverage of the interval, in (0, 1).
        n_resamples: How often the users are drawn anew with replacement.
        seed: Seed of the draws.

    Raises:
        InputError: No value, a value that is not a number, a coverage outside (0, 1), or no resample.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence!r}; a number between 0 and 1 is accepted")
    if n_resamples < 1:
        raise InputError(f"n_resamples is {n_resamples!r}; a whole number of at least 1 is accepted")
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise InputError(
            f"values of shape {array.shape} for an interval; a list of at least one number is accepted"
        )
    rng = np.random.default_rng(seed)
    means = np.array([array[rng.integers(0, array.size, array.size)].mean() for _ in range(n_resamples)])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(array.mean()), float(low), float(high))


def paired_difference(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return the mean of `first` - `second`, user by user, with its bootstrap interval.

    Args:
        first: One value a user, shape (n_users,).
        second: The other model's values of the same users in the same order, shape (n_users,).
        confidence: Coverage of the interval, in (0, 1).
        seed: Seed of the draws.

    Raises:
        InputError: Unequal lengths.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape:
        raise InputError(
            f"{a.shape} values against {b.shape}; a paired difference needs the same users in both"
        )
    return bootstrap_interval(a - b, confidence=confidence, seed=seed)
