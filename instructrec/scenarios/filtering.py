"""Any recommender, made to obey stated constraints by filtering, so that the usual evaluation can measure it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions import parse
from instructrec.models.base import Recommender


class FilterByInstruction(Recommender):
    """Score by another recommender; items that do not meet the request's instruction get minus infinity.

    A recommender that follows instructions is told them too.

    An instruction of which nothing is understood filters nothing. This is the strongest simple answer to a stated
    constraint, and what a model that reads instructions has to be compared with. Derived in chapter `scenarios`.
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
        self._masks: dict[str, np.ndarray] = {}
        if hasattr(model, "dataset"):
            self.dataset = model.dataset

    def mask(self, instruction: str | None) -> np.ndarray:
        """Tell which items of the catalogue meet an instruction, shape (n_items,), bool."""
        if instruction is None:
            return np.ones(self.dataset.n_items, dtype=bool)
        if instruction not in self._masks:
            self._masks[instruction] = parse(instruction, self.dataset).mask(self.dataset.items)
        return self._masks[instruction]

    def _fit(self, dataset: Dataset) -> None:
        self._masks = {}
        self.model.fit(dataset)

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        ids = self.dataset.items["item_id"].to_numpy()
        told = instructions if self.model.follows_instructions else None
        scores = self.model.score([list(ids[history]) for history in histories], told)
        return np.where(np.stack([self.mask(text) for text in instructions]), scores, -np.inf)

    def _arrays(self) -> dict[str, np.ndarray]:
        raise InputError(
            "a filtered model is not saved; save the model inside it and wrap it again after loading"
        )

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        raise InputError("a filtered model is not loaded; load the model inside it and wrap it")
