"""The runs of one protocol in a results file, with the metrics, intervals and tests that tables and figures share."""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd

from instructrec.errors import InputError
from instructrec.evaluation.candidates import WHOLE_CATALOGUE
from instructrec.evaluation.comparison import Pair, all_pairs
from instructrec.evaluation.metrics import parse_metric
from instructrec.evaluation.results import Results, Run
from instructrec.statistics import Interval, seeds_interval

K = 10
"""List length of the metrics in tables."""


class ProtocolRuns:
    """The runs of one protocol and part, models ordered by falling mean of the main metric.

    Attributes:
        metric: Metric that orders and tests the models, such as "NDCG@10".
        metric_name: Name of the main metric without its list length.
        candidates: Names of the candidates that all runs share.
        main_candidates: The candidates of most tables: the whole catalogue if the runs have it.
        labels: Labels of the models, best first.
    """

    def __init__(self, results: Results, protocol: str, part: str, metric_name: str, seed: int) -> None:
        self.results, self.protocol, self.part, self.seed = results, protocol, part, seed
        self.metric_name, self.metric = metric_name, f"{metric_name}@{K}"
        self.candidates = results.candidates(protocol, part)
        if not self.candidates:
            raise InputError(
                f"the runs on {protocol} share no candidates; measure all models against the same"
            )
        has_catalogue = WHOLE_CATALOGUE in self.candidates
        self.main_candidates = WHOLE_CATALOGUE if has_catalogue else self.candidates[0]
        self._values = cache(self._compute_values)
        self._interval = cache(self._compute_interval)
        self._pairs = cache(self._compute_pairs)
        labels = results.labels(protocol, part)
        self.labels = sorted(labels, key=lambda label: -self.values(label, self.metric).mean())

    def runs(self, label: str) -> list[Run]:
        """Return the runs of a model, one for each seed."""
        seeds = self.results.seeds(label, self.protocol, self.part)
        return [self.results.run(label, self.protocol, seed, self.part) for seed in seeds]

    def values(self, label: str, metric: str, candidates: str | None = None) -> np.ndarray:
        """Return a metric of each request, shape (n_seeds, n_requests)."""
        return self._values(label, metric, candidates or self.main_candidates)

    def interval(self, label: str, metric: str, candidates: str | None = None) -> Interval:
        """Return the mean of a metric over users and seeds, with its interval."""
        return self._interval(label, metric, candidates or self.main_candidates)

    def seed_means(self, candidates: str) -> np.ndarray:
        """Return the main metric of each request, mean over seeds, shape (n_models, n_requests)."""
        return np.array([self.values(label, self.metric, candidates).mean(axis=0) for label in self.labels])

    def model_ranks(self, candidates: str) -> dict[str, int]:
        """Return the rank of each model by the main metric; models of equal means share the better rank."""
        means = self.seed_means(candidates).mean(axis=1)
        ranks = pd.Series(-means).rank(method="min").astype(int)
        return dict(zip(self.labels, ranks.tolist(), strict=True))

    def pairs(self, candidates: str | None = None) -> list[Pair]:
        """Return every pair of models with its test."""
        return self._pairs(candidates or self.main_candidates)

    def significant_pairs(self, candidates: str) -> set[frozenset[str]]:
        """Return the pairs of labels that differ significantly."""
        return {frozenset(pair[:2]) for pair in self.pairs(candidates) if pair.significant}

    @cached_property
    def several_targets(self) -> bool:
        """Whether some request has more than one target, so that recall and MAP say more than HR and MRR."""
        return bool((self.runs(self.labels[0])[0].ranks[self.main_candidates].n_targets > 1).any())

    @property
    def description(self) -> str:
        """Data, protocol, part and number of requests, for captions."""
        n_requests = len(self.runs(self.labels[0])[0])
        return f"{self.results.data}, {self.protocol}, {self.part}, {n_requests} requests"

    def _compute_values(self, label: str, metric: str, candidates: str) -> np.ndarray:
        function, k = parse_metric(metric)
        return np.array([function.from_ranks(run.ranks[candidates], k) for run in self.runs(label)])

    def _compute_interval(self, label: str, metric: str, candidates: str) -> Interval:
        return seeds_interval(self.values(label, metric, candidates), seed=self.seed)

    def _compute_pairs(self, candidates: str) -> list[Pair]:
        options: dict[str, Any] = {"ks": (K,), "metrics": (self.metric_name,), "part": self.part}
        evaluations = [
            [
                self.results.evaluation(label, self.protocol, candidates, run.seed, **options)
                for run in self.runs(label)
            ]
            for label in self.labels
        ]
        return all_pairs(evaluations, self.metric, seed=self.seed)
