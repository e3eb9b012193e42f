"""Items by popularity: the baseline that every personalised model has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.models.base import Recommender


class MostPopular(Recommender):
    """Score an item by its number of users, z(u, i) = |{v : (v, i) in the interactions}|.

    The list is the same for every user, without the items of the history. Derived in chapter `evaluation`.
    """

    name = "most-popular"
    counts: np.ndarray

    def _fit(self, dataset: Dataset) -> None:
        self._count(dataset, dataset.interactions)

    def _count(self, dataset: Dataset, events: pd.DataFrame) -> None:
        pairs = events[["user_id", "item_id"]].drop_duplicates()
        columns = dataset.item_columns(pairs["item_id"])
        self.counts = np.bincount(columns, minlength=dataset.n_items).astype(np.float32)

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        return np.tile(self.counts, (len(histories), 1))

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.counts = arrays["counts"]
