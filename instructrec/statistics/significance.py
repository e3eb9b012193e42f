"""Whether two models differ: a paired randomisation test, and a correction for multiple comparisons.

Derived in chapter `evaluation`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from instructrec.errors import InputError

_BLOCK_SIZE = 2_000_000
"""Number of signs held in memory at a time, 16 MB of float64."""


def randomisation_test(
    first: ArrayLike, second: ArrayLike, n_permutations: int = 10_000, seed: int = 0
) -> float:
    """Return the two-sided p-value of the hypothesis that the two models are exchangeable, by random sign flips.

    If the models are exchangeable, each user's difference d_u is as likely to have the other sign. With T the mean of
    d_u and T* the mean after each sign is flipped with probability 1/2,

        p = (1 + #{|T*| >= |T|}) / (1 + n_permutations).

    The observed signs count as one of the permutations, so that p is never 0 and the test keeps its level (Edgington,
    Randomization Tests, 1980; for rankings Smucker, Allan and Carterette, CIKM 2007). It assumes nothing about the
    distribution of d_u. Users with d_u = 0 carry no evidence; if all d_u are 0, p is 1.

    Derived in chapter `evaluation`.

    Args:
        first: One value per user, shape (n_users,).
        second: The other model's values of the same users in the same order, shape (n_users,).
        n_permutations: Number of random sign vectors; p is at least 1 / (1 + n_permutations).
        seed: Seed of the sign flips.

    Raises:
        InputError: The shapes differ, there is no value, a value is not finite, or there is no permutation.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape:
        raise InputError(f"{a.shape} values against {b.shape}; a paired test needs the same users in both")
    if a.ndim != 1 or a.size == 0 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(f"values of shape {a.shape} for a test; a list of at least one number is accepted")
    return float(sign_flip_p_values((a - b)[:, None], n_permutations, seed)[0])


def sign_flip_p_values(differences: np.ndarray, n_permutations: int = 10_000, seed: int = 0) -> np.ndarray:
    """Return the p-value of `randomisation_test` for each column of differences; all columns share the sign flips.

    Args:
        differences: One row per user and one column per comparison, shape (n_users, n_comparisons), float.
        n_permutations: Number of random sign vectors.
        seed: Seed of the sign flips; a column's p-value does not depend on the other columns.

    Returns:
        P-values, shape (n_comparisons,), float64.

    Raises:
        InputError: `n_permutations` is below 1.
    """
    if n_permutations < 1:
        raise InputError(f"n_permutations is {n_permutations!r}; a whole number of at least 1 is accepted")
    d = np.asarray(differences, dtype=float)
    n_users = len(d)
    total, scale = d.sum(axis=0), np.abs(d).sum(axis=0)
    # Sums that differ by rounding only count as equal: the tolerance is 1e-10 of the largest possible sum.
    threshold = np.abs(total) - 1e-10 * scale
    as_large = np.zeros(d.shape[1], dtype=np.int64)
    rng = np.random.default_rng(seed)
    # Whole 32-bit words, so that the flips do not depend on the block size.
    n_bytes = 4 * -(-n_users // 32)
    step = max(1, _BLOCK_SIZE // n_users)
    for start in range(0, n_permutations, step):
        rows = min(step, n_permutations - start)
        bits = rng.integers(0, 256, (rows, n_bytes), dtype=np.uint8)
        positive = np.unpackbits(bits, axis=1, count=n_users).astype(float)
        # With signs 2 * positive - 1, the flipped sum is twice the sum of the positive terms minus the total.
        as_large += (np.abs(2 * (positive @ d) - total) >= threshold).sum(axis=0)
    return (1 + as_large) / (1 + n_permutations)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return p-values corrected for multiple comparisons; the correction controls the family-wise error rate.

    With the m p-values in ascending order, p_(1) <= ... <= p_(m), the corrected p-value is
    max over j <= i of (m - j + 1) p_(j), at most 1 (Holm, Scandinavian Journal of Statistics 1979). It is valid for
    any dependence between the tests and never larger than Bonferroni's m p. Derived in chapter `evaluation`.

    Args:
        p_values: One p-value per comparison, shape (n_comparisons,).

    Returns:
        Corrected p-values in the input's order, shape (n_comparisons,), float64.

    Raises:
        InputError: A value is outside [0, 1], or the argument is no list of numbers.
    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p_values is {p_values!r}; a list of numbers between 0 and 1 is accepted")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted
