"""How sure an observed share is."""

from __future__ import annotations

import math

from instructrec.statistics.intervals import Interval


def wilson_interval(n_successes: int, n_trials: int, confidence: float = 0.95) -> Interval:
    """Return an observed share with its Wilson score interval, which stays within [0, 1].

    Computed by `scipy.stats.binomtest`. Source: Wilson, Journal of the American Statistical Association 1927.

    Args:
        n_successes: Number of trials with the property.
        n_trials: Number of trials; for 0 the share and both ends are NaN.
        confidence: Coverage of the interval, in (0, 1).
    """
    from scipy.stats import binomtest

    if not n_trials:
        return Interval(math.nan, math.nan, math.nan)
    bounds = binomtest(n_successes, n_trials).proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(n_successes / n_trials, float(bounds.low), float(bounds.high))
