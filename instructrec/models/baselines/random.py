"""A guess: the floor under every figure in the book."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.models.base import Recommender


class Random(Recommender):
    """Score every item by chance, z(u, i) ~ U(0, 1), the same for the same history and seed.

    Over a catalogue of n items without the history, HR@k is k / n on average. Derived in chapter `evaluation`.
    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        """Make a guesser.

        Args:
            seed: Seed of all draws, at least 0.

        Raises:
            InputError: A seed that is no whole number of at least 0.
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InputError(f"seed is {seed!r}; a whole number of at least 0 is accepted")
        super().__init__(seed=seed)

    def _fit(self, dataset: Dataset) -> None:
        pass

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        scores = np.empty((len(histories), self.dataset.n_items), dtype=np.float32)
        for row, history in zip(scores, histories, strict=True):
            seed = [self.settings["seed"], len(history), *history.tolist()]
            row[:] = np.random.default_rng(seed).random(self.dataset.n_items, dtype=np.float32)
        return scores

    def _arrays(self) -> dict[str, np.ndarray]:
        return {}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        pass
