"""Every number in the book comes from here: measures, protocols, intervals and tables."""

from instructrec.evaluation.classification import accuracy, confusion, f1, precision, recall
from instructrec.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    paired_difference,
    seeds_difference,
    seeds_interval,
)
from instructrec.evaluation.protocol import Evaluation, evaluate
from instructrec.evaluation.ranking import METRICS, hit_rate, mrr, ndcg, precision_at_k, recall_at_k
from instructrec.evaluation.significance import holm, randomisation_test
from instructrec.evaluation.tables import (
    Pair,
    all_pairs,
    bare_differences,
    compare,
    compare_all,
    compare_with,
    difference_over_seeds,
    over_seeds,
    seed_mean,
)

__all__ = [
    "METRICS",
    "Evaluation",
    "Interval",
    "Pair",
    "accuracy",
    "all_pairs",
    "bare_differences",
    "bootstrap_interval",
    "compare",
    "compare_all",
    "compare_with",
    "confusion",
    "difference_over_seeds",
    "evaluate",
    "f1",
    "hit_rate",
    "holm",
    "mrr",
    "ndcg",
    "over_seeds",
    "paired_difference",
    "precision",
    "precision_at_k",
    "randomisation_test",
    "recall",
    "recall_at_k",
    "seed_mean",
    "seeds_difference",
    "seeds_interval",
]
