"""Whether two models differ at all: a paired randomisation test, and its correction for many comparisons.

Derived in chapter `evaluation`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from instructrec.errors import InputError

# Signs that are drawn and multiplied at a time: 16 MB of float64.
_BLOCK = 2_000_000


def randomisation_test(
    first: ArrayLike, second: ArrayLike, n_permutations: int = 10_000, seed: int = 0
) -> float:
    """Return the two-sided p-value of "the two models are exchangeable on each user", by random flips of sign.

    Were the models exchangeable, each user's difference d_u would as well have had the other sign. With T the mean of
    d_u and T* the mean after each sign is flipped by a coin of its own,

        p = (1 + #{|T*| >= |T|}) / (1 + n_permutations),

    the observed order counted among the permutations, so that p is never 0 and the test never says "differ" too often
    (Edgington, Randomization Tests, 1980; for rankings Smucker, Allan and Carterette, CIKM 2007). It asks nothing of
    the distribution of d_u. Users on whom the two are equal carry no evidence; where that is all, p is 1.

    Derived in chapter `evaluation`.

    Args:
        first: One value a user, shape (n_users,).
        second: The other model's values of the same users in the same order, shape (n_users,).
        n_permutations: How often all signs are drawn; p is at least 1 / (1 + n_permutations).
        seed: Seed of the draws.

    Raises:
        InputError: Unequal lengths, no value, a value that is not a number, or no permutation.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape:
        raise InputError(f"{a.shape} values against {b.shape}; a paired test needs the same users in both")
    if a.ndim != 1 or a.size == 0 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(f"values of shape {a.shape} for a test; a list of at least one number is accepted")
    return float(sign_flip_p_values((a - b)[:, None], n_permutations, seed)[0])


def sign_flip_p_values(differences: np.ndarray, n_permutations: int = 10_000, seed: int = 0) -> np.ndarray:
    """Return the p-value of `randomisation_test` for each column of differences, all by the same flips.

    Args:
        differences: One row a user and one column a comparison, shape (n_users, n_comparisons), float.
        n_permutations: How often all signs are drawn.
        seed: Seed of the draws; a column's p-value does not depend on which others stand beside it.

    Returns:
        P-values, shape (n_comparisons,), float64.

    Raises:
        InputError: No permutation.
    """
    if n_permutations < 1:
        raise InputError(f"n_permutations is {n_permutations!r}; a whole number of at least 1 is accepted")
    d = np.asarray(differences, dtype=float)
    n_users = len(d)
    total, scale = d.sum(axis=0), np.abs(d).sum(axis=0)
    # Sums that are equal but for rounding count as equal: 1e-10 of the largest sum there could be.
    least = np.abs(total) - 1e-10 * scale
    as_large = np.zeros(d.shape[1], dtype=np.int64)
    rng = np.random.default_rng(seed)
    # Whole words of 32 bits: the generator then goes on where it was, and the flips do not depend on the blocks.
    n_bytes = 4 * -(-n_users // 32)
    step = max(1, _BLOCK // n_users)
    for start in range(0, n_permutations, step):
        rows = min(step, n_permutations - start)
        bits = rng.integers(0, 256, (rows, n_bytes), dtype=np.uint8)
        kept = np.unpackbits(bits, axis=1, count=n_users).astype(float)
        # Signs are 2 * kept - 1: the flipped sum is twice what is kept less everything.
        as_large += (np.abs(2 * (kept @ d) - total) >= least).sum(axis=0)
    return (1 + as_large) / (1 + n_permutations)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return p-values corrected for how many there are, so that any false "differ" at all stays below the level.

    With the m p-values in ascending order, p_(1) <= ... <= p_(m), the corrected one is
    max over j <= i of (m - j + 1) p_(j), at most 1 (Holm, Scandinavian Journal of Statistics 1979). It holds
    however the tests depend on each other, and never says less than Bonferroni's m p. Derived in chapter `evaluation`.

    Args:
        p_values: One p-value a comparison, shape (n_comparisons,).

    Returns:
        Corrected p-values in the order given, shape (n_comparisons,), float64.

    Raises:
        InputError: A value outside [0, 1], or not a list of numbers.
    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p_values is {p_values!r}; a list of numbers between 0 and 1 is accepted")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted
