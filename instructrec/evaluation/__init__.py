"""Every number in the book comes from here: measures, protocols, intervals and tables."""

from instructrec.evaluation.classification import accuracy, confusion, f1, precision, recall
from instructrec.evaluation.intervals import Interval, bootstrap_interval, paired_difference
from instructrec.evaluation.protocol import Evaluation, evaluate
from instructrec.evaluation.ranking import METRICS, hit_rate, mrr, ndcg, precision_at_k, recall_at_k
from instructrec.evaluation.tables import compare, compare_with

__all__ = [
    "METRICS",
    "Evaluation",
    "Interval",
    "accuracy",
    "bootstrap_interval",
    "compare",
    "compare_with",
    "confusion",
    "evaluate",
    "f1",
    "hit_rate",
    "mrr",
    "ndcg",
    "paired_difference",
    "precision",
    "precision_at_k",
    "recall",
    "recall_at_k",
]
