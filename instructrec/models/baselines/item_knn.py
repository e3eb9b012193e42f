"""Item kNN: recommend the nearest neighbours of the items in the history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.models.base import Recommender, user_item_matrix
from instructrec.validation import HistoryLength, ModelConfig, NonNegativeFloat, PositiveInt


class ItemKNNConfig(ModelConfig):
    """Settings of `ItemKNN`.

    Attributes:
        k: Number of nearest neighbours stored for each item.
        shrink: Number added to the denominator of the cosine; it lowers the similarity of items with few shared users.
        length: Number of last items of a history that are used; all items by default.
    """

    k: PositiveInt = 200
    shrink: NonNegativeFloat = 10.0
    length: HistoryLength = None


class ItemKNN(Recommender):
    """Score an item by its similarity to the items of the history.

    With X the binary user-item matrix and x_i its columns,

        s(i, j) = x_i · x_j / (|x_i| |x_j| + shrink)        (cosine, shrunk towards 0 for few shared users)
        z(u, i) = sum of s(i, j) over the items j of u's history that are among the k nearest neighbours of i,

    where `length` may limit the history to its last items, since older events predict the next event less well.

    Source: Sarwar, Karypis, Konstan and Riedl, "Item-based collaborative filtering recommendation algorithms", WWW
    2001; shrinkage after Bell and Koren, KDD Cup 2007. Derived in chapter `baselines`.
    """

    name = "item-knn"
    config_class = ItemKNNConfig
    config: ItemKNNConfig
    # A sparse matrix by rows (CSR): row j holds the items that have j among their k nearest neighbours.
    starts: np.ndarray
    neighbours: np.ndarray
    similarities: np.ndarray

    def _fit(self, dataset: Dataset) -> None:
        from scipy import sparse

        matrix = user_item_matrix(dataset)
        n_shared_users = (matrix.T @ matrix).tocsr()
        norms = np.sqrt(n_shared_users.diagonal())
        neighbours: list[np.ndarray] = []
        values: list[np.ndarray] = []
        for item in range(dataset.n_items):
            row = slice(n_shared_users.indptr[item], n_shared_users.indptr[item + 1])
            candidates, shared = n_shared_users.indices[row], n_shared_users.data[row]
            candidates, shared = candidates[candidates != item], shared[candidates != item]
            cosine = shared / (norms[item] * norms[candidates] + self.config.shrink)
            order = np.lexsort((candidates, -cosine))[: self.config.k]
            neighbours.append(candidates[order])
            values.append(cosine[order])
        nearest = sparse.csr_matrix(
            (np.concatenate(values), np.concatenate(neighbours), np.cumsum([0, *map(len, neighbours)])),
            shape=(dataset.n_items, dataset.n_items),
        )
        # In the transpose, row j holds the items whose scores grow if j is in the history.
        by_history = nearest.T.tocsr()
        self.starts = by_history.indptr.astype(np.int64)
        self.neighbours = by_history.indices.astype(np.int32)
        self.similarities = by_history.data.astype(np.float32)

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        scores = np.zeros((len(histories), self.dataset.n_items), dtype=np.float32)
        length = self.config.length
        for row, history in zip(scores, histories, strict=True):
            recent = history if length is None else history[-length:]
            entries = [slice(self.starts[j], self.starts[j + 1]) for j in np.unique(recent)]
            if entries:
                items = np.concatenate([self.neighbours[entry] for entry in entries])
                weights = np.concatenate([self.similarities[entry] for entry in entries])
                row[:] = np.bincount(items, weights=weights, minlength=len(row))
        return scores

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"starts": self.starts, "neighbours": self.neighbours, "similarities": self.similarities}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.starts, self.neighbours = arrays["starts"], arrays["neighbours"]
        self.similarities = arrays["similarities"]
