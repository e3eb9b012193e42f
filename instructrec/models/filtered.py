"""Any recommender, restricted to the items that meet the conditions of the instruction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.models.base import Recommender


class FilteredRecommender(Recommender):
    """Score by another recommender; items that do not meet the instruction's conditions get minus infinity.

    `Recommender.recommend` filters one list in the same way; this wrapper lets the usual evaluation measure it. A model
    that follows instructions gets the instruction too. An instruction without a recognised condition filters nothing.
    The wrapper is the strongest simple answer to a stated condition, and the baseline of every model that reads
    instructions. Derived in chapter `scenarios`.
    """

    name = "filtered"
    follows_instructions = True

    def __init__(self, model: Recommender) -> None:
        """Wrap a recommender.

        Args:
            model: The recommender that scores, fitted or not.
        """
        super().__init__()
        self.model = model
        self._masks: dict[str | None, np.ndarray] = {}
        if hasattr(model, "dataset"):
            self.dataset = model.dataset

    def condition_mask(self, instruction: str | None) -> np.ndarray:
        """Return which items meet the conditions that an instruction states, shape (n_items,), bool; cached."""
        if instruction not in self._masks:
            self._masks[instruction] = super().condition_mask(instruction)
        return self._masks[instruction]

    def _fit(self, dataset: Dataset) -> None:
        self._masks = {}
        self.model.fit(dataset)

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        ids = self.dataset.items["item_id"].to_numpy()
        texts = instructions if self.model.follows_instructions else None
        scores = self.model.score([list(ids[history]) for history in histories], texts)
        return np.where(np.stack([self.condition_mask(text) for text in instructions]), scores, -np.inf)

    def _arrays(self) -> dict[str, np.ndarray]:
        raise InputError(
            "a filtered model is not saved; save the model inside it and wrap it again after loading"
        )

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        raise InputError("a filtered model is not loaded; load the model inside it and wrap it")
