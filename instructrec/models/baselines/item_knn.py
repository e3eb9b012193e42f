"""Item-based nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.models.base import Recommender, user_item_matrix
from instructrec.validation import HistoryLength, ModelConfig, NonNegativeFloat, PositiveInt


class ItemKNNConfig(ModelConfig):
    """Settings of `ItemKNN`.

    Attributes:
        k: Neighbours kept for each item.
        shrink: Added to the cosine's denominator.
        length: Read the last `length` items of a history only; the whole history by default.
    """

    k: PositiveInt = 200
    shrink: NonNegativeFloat = 10.0
    length: HistoryLength = None


class ItemKNN(Recommender):
    """Score an item by its similarity to the items of the history.

    With X the 0/1 user-item matrix and x_i its columns,

        s(i, j) = x_i · x_j / (|x_i| |x_j| + shrink)        (cosine, shrunk towards 0 for few shared users)
        z(u, i) = sum of s(i, j) over the items j of u's history that are among the k nearest neighbours of i,

    where `length` may limit the history to its last items, since old events predict the next one less well.

    Source: Sarwar, Karypis, Konstan and Riedl, "Item-based collaborative filtering recommendation algorithms", WWW
    2001; shrinkage after Bell and Koren, KDD Cup 2007. Derived in chapter `baselines`.
    """

    name = "item-knn"
    config_class = ItemKNNConfig
    config: ItemKNNConfig
    starts: np.ndarray
    neighbours: np.ndarray
    similarities: np.ndarray

    def _fit(self, dataset: Dataset) -> None:
        from scipy import sparse

        matrix = user_item_matrix(dataset)
        together = (matrix.T @ matrix).tocsr()
        norms = np.sqrt(together.diagonal())
        neighbours: list[np.ndarray] = []
        values: list[np.ndarray] = []
        for item in range(dataset.n_items):
            part = slice(together.indptr[item], together.indptr[item + 1])
            candidates, shared = together.indices[part], together.data[part]
            candidates, shared = candidates[candidates != item], shared[candidates != item]
            cosine = shared / (norms[item] * norms[candidates] + self.config.shrink)
            order = np.lexsort((candidates, -cosine))[: self.config.k]
            neighbours.append(candidates[order])
            values.append(cosine[order])
        nearest = sparse.csr_matrix(
            (np.concatenate(values), np.concatenate(neighbours), np.cumsum([0, *map(len, neighbours)])),
            shape=(dataset.n_items, dataset.n_items),
        )
        # In the transpose, row j lists the items that have j among their neighbours: the scores that j adds to.
        by_history = nearest.T.tocsr()
        self.starts = by_history.indptr.astype(np.int64)
        self.neighbours = by_history.indices.astype(np.int32)
        self.similarities = by_history.data.astype(np.float32)

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        scores = np.zeros((len(histories), self.dataset.n_items), dtype=np.float32)
        length = self.config.length
        for row, history in zip(scores, histories, strict=True):
            read = history if length is None else history[-length:]
            parts = [slice(self.starts[j], self.starts[j + 1]) for j in np.unique(read)]
            if parts:
                touched = np.concatenate([self.neighbours[part] for part in parts])
                weights = np.concatenate([self.similarities[part] for part in parts])
                row[:] = np.bincount(touched, weights=weights, minlength=len(row))
        return scores

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"starts": self.starts, "neighbours": self.neighbours, "similarities": self.similarities}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.starts, self.neighbours = arrays["starts"], arrays["neighbours"]
        self.similarities = arrays["similarities"]
