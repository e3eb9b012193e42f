"""How sure a mean over users is: the bootstrap, over users, over paired differences and over seeds.

Derived in chapter `evaluation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from instructrec.errors import InputError

# Draws of users that are kept for the next interval of as many users: at most this many numbers, 32 MB.
_KEEP = 8_000_000
# Numbers that are handled at a time.
_BLOCK = 500_000


class Interval(NamedTuple):
    """A mean with its interval.

    Attributes:
        mean: The mean of the values.
        low: Lower end; NaN where one user alone was measured, who tells nothing of others.
        high: Upper end, likewise.
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

    One user drawn again and again is always the same one: such an interval would be of width zero, the surest of all.
    Its ends are NaN instead, and it reads "0.500 [nan, nan]".

    Args:
        values: One value a user, shape (n_users,), such as NDCG@10.
        confidence: Coverage of the interval, in (0, 1).
        n_resamples: How often the users are drawn anew with replacement.
        seed: Seed of the draws.

    Raises:
        InputError: No value, a value that is not a number, a coverage outside (0, 1), or no resample.
    """
    _check_settings(confidence, n_resamples)
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise InputError(
            f"values of shape {array.shape} for an interval; a list of at least one number is accepted"
        )
    if array.size < 2:
        return Interval(float(array.mean()), np.nan, np.nan)
    blocks = _draws(seed, array.size, n_resamples)
    means = np.concatenate([array.take(drawn).mean(axis=1) for drawn in blocks])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(array.mean()), float(low), float(high))


def paired_difference(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return the mean of `first` - `second`, user by user, with its bootstrap interval (NaN ends for one user).

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


def seeds_interval(
    values: ArrayLike, confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean over seeds and users with an interval for other users and other seeds alike.

    The same users meet every seed, so seeds and users cross: each resample draws n_seeds seeds and n_users users, both
    with replacement, and takes the mean of the rows and columns drawn (the pigeonhole bootstrap; Owen, Annals of
    Applied Statistics 2007). A handful of seeds makes that too narrow in two ways, which are put right:

    - resampling S seeds gives (S - 1) / S of their variance, so deviations from the mean over seeds grow by the root
      of S / (S - 1);
    - the variance is itself known from few seeds, so the interval grows by t(df) / z, the quantiles of Student's and
      of the normal distribution, with Satterthwaite's degrees of freedom (Biometrics Bulletin 1946):
      df = (v_u + v_s)^2 / (v_u^2 / (n - 1) + v_s^2 / (S - 1)), v_u the variance of the mean that comes from n users,
      v_s the one from S seeds. Where users decide, this is 1; where two seeds decide, it is 6.5.

    Simulated with three seeds or more, it covers the truth 93 to 97 times of 100 whoever decides, users or seeds; with
    two seeds that alone decide, 88 times. One seed leaves nothing to resample: the interval is `bootstrap_interval` of
    its users and covers no other seed. One user leaves nothing either, and the ends are NaN.

    Derived in chapter `evaluation`.

    Args:
        values: One value for each seed and user, shape (n_seeds, n_users), users in the same order.
        confidence: Coverage of the interval, in (0, 1).
        n_resamples: How often seeds and users are drawn anew.
        seed: Seed of the draws.

    Raises:
        InputError: No value, seeds of unequally many users, a value that is not a number, a coverage outside (0, 1),
            or no resample.
    """
    return _crossed([_seeds_by_users(values)], [[(0, 1.0)]], confidence, n_resamples, seed)[0]


def seeds_difference(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean of `first` - `second` over users and over the seeds of both, with an interval for all three.

    Users are paired, seeds are not: each resample draws users once for both models, and seeds for each model. The
    interval is made as in `seeds_interval`. Derived in chapter `evaluation`.

    Args:
        first: One value for each seed and user, shape (n_seeds, n_users).
        second: The other model's values of the same users in the same order, shape (n_other_seeds, n_users).
        confidence: Coverage of the interval, in (0, 1).
        n_resamples: How often seeds and users are drawn anew.
        seed: Seed of the draws.

    Raises:
        InputError: As `seeds_interval`, or the two are of unequally many users.
    """
    return seeds_differences([first, second], [(0, 1)], confidence, n_resamples, seed)[0]


def seeds_differences(
    models: Sequence[ArrayLike],
    pairs: Sequence[tuple[int, int]],
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """Return `seeds_difference` of many pairs of models; users are drawn once for all, so that many cost little more.

    Args:
        models: For each model one value for each seed and user, shape (n_seeds, n_users); the number of seeds may
            differ from model to model.
        pairs: Places in `models` of the first and the second of each difference.
        confidence: Coverage of each interval, in (0, 1).
        n_resamples: How often seeds and users are drawn anew.
        seed: Seed of the draws.

    Raises:
        InputError: As `seeds_difference`.
    """
    arrays = [_seeds_by_users(one) for one in models]
    for other in arrays[1:]:
        if other.shape[1] != arrays[0].shape[1]:
            raise InputError(
                f"{arrays[0].shape[1]} users against {other.shape[1]}; a paired difference needs the same users in both"
            )
    return _crossed(arrays, [[(a, 1.0), (b, -1.0)] for a, b in pairs], confidence, n_resamples, seed)


def _crossed(
    models: Sequence[np.ndarray],
    sums: Sequence[Sequence[tuple[int, float]]],
    confidence: float,
    n_resamples: int,
    seed: int,
) -> list[Interval]:
    """Means of signed sums of models, each (n_seeds, n_users); users are resampled together, seeds apart.

    A sum is given by the places of its models and their signs.
    """
    _check_settings(confidence, n_resamples)
    n_users = models[0].shape[1]
    means = [model.mean(axis=0) for model in models]
    by_user = [np.sum([sign * means[place] for place, sign in one], axis=0) for one in sums]
    if n_users < 2:
        return [Interval(float(one.mean()), np.nan, np.nan) for one in by_user]
    several = sorted({place for one in sums for place, _ in one if len(models[place]) > 1})
    wide = [number for number, one in enumerate(sums) if any(place in several for place, _ in one)]
    if wide:
        table = [by_user[number][:, None] for number in wide] + [_deviations(models[n]).T for n in several]
        columns = np.concatenate(table, axis=1)
        drawn = np.concatenate(
            [_counts(rows, n_users) @ columns for rows in _draws(seed, n_users, n_resamples)]
        )
        parts = np.split(drawn, np.cumsum([one.shape[1] for one in table])[:-1], axis=1)
        of_sum, of_model = (
            dict(zip(wide, parts, strict=False)),
            dict(zip(several, parts[len(wide) :], strict=True)),
        )
    found = []
    for number, (one, values) in enumerate(zip(sums, by_user, strict=True)):
        if number not in wide:
            found.append(bootstrap_interval(values, confidence, n_resamples, seed))
            continue
        # A stream beside that of the users: the users drawn are those of `bootstrap_interval`.
        rng = np.random.default_rng([seed, 1])
        total = of_sum[number][:, 0]
        variances, freedoms = [values.var(ddof=1) / n_users], [n_users - 1]
        for place, sign in one:
            if place not in several:
                continue
            n_seeds = len(models[place])
            weights = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), n_resamples) / n_seeds
            total = total + sign * (of_model[place] * weights).sum(axis=1)
            variances.append(models[place].mean(axis=1).var(ddof=1) / n_seeds)
            freedoms.append(n_seeds - 1)
        low, high = np.quantile(total / n_users, [(1 - confidence) / 2, (1 + confidence) / 2])
        mean, wider = float(values.mean()), _student_over_normal(variances, freedoms, confidence)
        found.append(Interval(mean, mean + wider * float(low - mean), mean + wider * float(high - mean)))
    return found


def _deviations(model: np.ndarray) -> np.ndarray:
    """How far each seed lies from the mean over seeds, grown by what a handful of seeds shows too little of."""
    n_seeds = len(model)
    return (model - model.mean(axis=0)) * np.sqrt(n_seeds / (n_seeds - 1))


def _student_over_normal(variances: Sequence[float], freedoms: Sequence[int], confidence: float) -> float:
    """Quantile of Student's t over that of the normal distribution, at Satterthwaite's degrees of freedom."""
    from scipy.special import ndtri, stdtrit

    known = [(v, df) for v, df in zip(variances, freedoms, strict=True) if v > 0]
    if not known:
        return 1.0
    total = sum(v for v, _ in known)
    df = 1 / sum((v / total) ** 2 / df for v, df in known)
    upper = (1 + confidence) / 2
    return float(stdtrit(df, upper) / ndtri(upper))


def _draws(seed: int, size: int, n_resamples: int) -> Iterator[np.ndarray]:
    """Blocks of resamples, each a row of `size` places in [0, size): the same rows however they are blocked."""
    if isinstance(seed, int) and size * n_resamples <= _KEEP:
        kept = _kept_draws(seed, size, n_resamples)
        step = max(1, _BLOCK // size)
        for start in range(0, n_resamples, step):
            yield kept[start : start + step]
    else:
        yield from _new_draws(seed, size, n_resamples)


@lru_cache(maxsize=2)
def _kept_draws(seed: int, size: int, n_resamples: int) -> np.ndarray:
    kept = np.concatenate([block.astype(np.int32) for block in _new_draws(seed, size, n_resamples)])
    kept.flags.writeable = False
    return kept


def _new_draws(seed: int, size: int, n_resamples: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // size)
    for start in range(0, n_resamples, step):
        yield rng.integers(0, size, (min(step, n_resamples - start), size))


def _counts(drawn: np.ndarray, size: int) -> np.ndarray:
    """How often each place occurs in each row of `drawn`, shape (n_rows, size), float64."""
    places = drawn.astype(np.int64) + size * np.arange(len(drawn))[:, None]
    return np.bincount(places.ravel(), minlength=len(drawn) * size).reshape(len(drawn), size).astype(float)


def _seeds_by_users(values: ArrayLike) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=float)
    except ValueError:
        raise InputError(
            "the seeds have unequally many users; one value for each seed and user is accepted"
        ) from None
    if array.ndim != 2 or array.size == 0 or not np.isfinite(array).all():
        raise InputError(
            f"values of shape {array.shape} over seeds; numbers of shape (n_seeds, n_users) are accepted"
        )
    return array


def _check_settings(confidence: float, n_resamples: int) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence!r}; a number between 0 and 1 is accepted")
    if n_resamples < 1:
        raise InputError(f"n_resamples is {n_resamples!r}; a whole number of at least 1 is accepted")
