"""Intervals, paired tests and corrections for multiple comparisons.

Derived in chapter `evaluation`.
"""

from instructrec.statistics.intervals import (
    Interval,
    bootstrap_interval,
    paired_difference,
    seeds_difference,
    seeds_differences,
    seeds_interval,
)
from instructrec.statistics.proportions import wilson_interval
from instructrec.statistics.significance import holm, randomisation_test, sign_flip_p_values

__all__ = [
    "Interval",
    "bootstrap_interval",
    "holm",
    "paired_difference",
    "randomisation_test",
    "seeds_difference",
    "seeds_differences",
    "seeds_interval",
    "sign_flip_p_values",
    "wilson_interval",
]
