"""EASE: a linear item-to-item model in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.models.base import (
    Recommender,
    history_matrix,
    one_thread,
    user_item_matrix,
)
from instructrec.validation import HistoryLength, ModelConfig, PositiveFloat


class EASEConfig(ModelConfig):
    """Settings of `EASE`.

    Attributes:
        reg: L2 regularisation, added to the diagonal of XᵀX; larger values shrink the weights.
        length: Number of last items of a history that are used; all items by default.
    """

    reg: PositiveFloat = 250.0
    length: HistoryLength = None


class EASE(Recommender):
    """Score an item by a weighted sum over the history, with the weights that best reconstruct each row of X.

    With X the binary user-item matrix, the weights B minimise

        |X - X B|² + reg |B|²     subject to     B_jj = 0     (an item must not predict itself),

    whose solution needs no iteration:

        P = (XᵀX + reg I)⁻¹,     B = I - P diag(1 / P_jj),     z(u, i) = sum of B_ji over the items j of u's history.

    Source: Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019, arXiv:1905.03375. Time grows with
    the cube and memory with the square of the number of items. Derived in chapter `baselines`.
    """

    name = "ease"
    config_class = EASEConfig
    config: EASEConfig
    weights: np.ndarray

    def _fit(self, dataset: Dataset) -> None:
        from scipy import linalg

        matrix = user_item_matrix(dataset).astype(np.float64)
        # An item without interactions has only zeros in XᵀX, so its weights are 0: excluding it saves time.
        used = np.flatnonzero(np.diff(matrix.tocsc().indptr))
        gram = (matrix[:, used].T @ matrix[:, used]).toarray()
        gram[np.diag_indices_from(gram)] += self.config.reg
        with one_thread():
            inverse = linalg.inv(gram, overwrite_a=True, check_finite=False)
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        self.weights = np.zeros((dataset.n_items, dataset.n_items), dtype=np.float32)
        self.weights[np.ix_(used, used)] = weights

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        matrix = history_matrix(histories, self.dataset.n_items, self.config.length)
        return np.asarray(matrix @ self.weights)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.weights = arrays["weights"]
