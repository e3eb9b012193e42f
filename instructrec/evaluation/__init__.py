"""Metrics, evaluation protocols, experiments, and tables and figures of their results.

Derived in chapter `evaluation`; the baselines' results are in chapter `baselines`.
"""

from instructrec.evaluation.beyond_accuracy import (
    category_vectors,
    coverage,
    diversity,
    gini,
    novelty,
    users_of_items,
)
from instructrec.evaluation.candidates import Candidates, full_catalogue, hard_negatives, random_negatives
from instructrec.evaluation.classification import (
    accuracy,
    brier_score,
    calibration,
    confusion,
    expected_calibration_error,
    f1,
    log_loss,
    precision,
    recall,
    roc_auc,
)
from instructrec.evaluation.comparison import (
    Pair,
    all_pairs,
    compare,
    compare_with,
    difference_over_seeds,
    over_seeds,
    pairs_table,
    seed_mean,
)
from instructrec.evaluation.experiment import ModelSpec, run_experiment
from instructrec.evaluation.following import FollowingEvaluation, compare_following, evaluate_following
from instructrec.evaluation.metrics import (
    METRICS,
    RankingMetric,
    average_precision,
    hit_rate,
    metric,
    mrr,
    ndcg,
    precision_at_k,
    recall_at_k,
)
from instructrec.evaluation.paper import chance, paper_figures, paper_metrics, paper_tasks
from instructrec.evaluation.pointwise import (
    ProbabilityEvaluation,
    calibrate,
    evaluate_probabilities,
    evaluate_yes_no,
)
from instructrec.evaluation.protocol import (
    Evaluation,
    evaluate,
    evaluate_lists,
    evaluate_many,
    evaluate_scores,
)
from instructrec.evaluation.report import Report, report
from instructrec.evaluation.results import Results, Run
from instructrec.evaluation.target_ranks import TargetRanks, rank_blocks, target_ranks
from instructrec.statistics.intervals import (
    Interval,
    bootstrap_interval,
    paired_difference,
    seeds_difference,
    seeds_interval,
)
from instructrec.statistics.significance import holm, randomisation_test

__all__ = [
    "METRICS",
    "Candidates",
    "Evaluation",
    "FollowingEvaluation",
    "Interval",
    "ModelSpec",
    "Pair",
    "ProbabilityEvaluation",
    "RankingMetric",
    "Report",
    "Results",
    "Run",
    "TargetRanks",
    "accuracy",
    "all_pairs",
    "average_precision",
    "bootstrap_interval",
    "brier_score",
    "calibrate",
    "calibration",
    "category_vectors",
    "chance",
    "compare",
    "compare_following",
    "compare_with",
    "confusion",
    "coverage",
    "difference_over_seeds",
    "diversity",
    "evaluate",
    "evaluate_following",
    "evaluate_lists",
    "evaluate_many",
    "evaluate_probabilities",
    "evaluate_scores",
    "evaluate_yes_no",
    "full_catalogue",
    "expected_calibration_error",
    "f1",
    "gini",
    "hard_negatives",
    "hit_rate",
    "holm",
    "log_loss",
    "metric",
    "mrr",
    "ndcg",
    "novelty",
    "over_seeds",
    "paired_difference",
    "paper_figures",
    "paper_metrics",
    "pairs_table",
    "paper_tasks",
    "precision",
    "precision_at_k",
    "random_negatives",
    "randomisation_test",
    "rank_blocks",
    "recall",
    "recall_at_k",
    "report",
    "roc_auc",
    "run_experiment",
    "seed_mean",
    "seeds_difference",
    "seeds_interval",
    "target_ranks",
    "users_of_items",
]
