"""Random scores: the lower bound of every figure in the book."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.models.base import Recommender
from instructrec.validation import ModelConfig, NonNegativeInt


class RandomConfig(ModelConfig):
    """Settings of `Random`.

    Attributes:
        seed: Seed of all random draws.
    """

    seed: NonNegativeInt = 0


class Random(Recommender):
    """Score every item at random, z(u, i) ~ U(0, 1); the same history and seed give the same scores.

    With n candidates, HR@k is k / n on average. Derived in chapter `evaluation`.
    """

    name = "random"
    config_class = RandomConfig
    config: RandomConfig

    def _fit(self, dataset: Dataset) -> None:
        pass

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        scores = np.empty((len(histories), self.dataset.n_items), dtype=np.float32)
        for row, history in zip(scores, histories, strict=True):
            seed = [self.config.seed, len(history), *history.tolist()]
            row[:] = np.random.default_rng(seed).random(self.dataset.n_items, dtype=np.float32)
        return scores

    def _arrays(self) -> dict[str, np.ndarray]:
        return {}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        pass
