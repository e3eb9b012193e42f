"""Matrix factorisation by the library `implicit`: weighted least squares (ALS) and pairwise ranking (BPR).

The library fits the factors; scoring is NumPy. A request holds a history and no user id, so its user factors are
computed from the history with fixed item factors ("folding in"): known and new users are treated alike, and a saved
model scores without the library.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.models.base import (
    Recommender,
    one_thread,
    user_item_matrix,
)
from instructrec.validation import (
    HistoryLength,
    ModelConfig,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Seed,
)

# Folding in with BPR: sampled negatives, and Newton's method
N_NEGATIVES = 300
NEWTON_STEPS = 30
NEWTON_TOLERANCE = 1e-10
ARMIJO = 1e-4


class ALSConfig(ModelConfig):
    """Settings of `ALS`.

    Attributes:
        factors: Size of the user and item vectors.
        reg: Weight of the squared norms of the factors.
        alpha: Confidence that an interaction adds.
        epochs: Number of alternations over all users and all items.
        length: Read the last `length` items of a history only; the whole history by default.
        seed: Seed of the initial factors.
    """

    factors: PositiveInt = 64
    reg: PositiveFloat = 0.1
    alpha: NonNegativeFloat = 1.0
    epochs: PositiveInt = 15
    length: HistoryLength = None
    seed: Seed = 0


class ALS(Recommender):
    """Score an item by the dot product of user and item factors, fitted by weighted least squares.

    With p_ui = 1 for an interaction and 0 otherwise, and the confidence c_ui = 1 + alpha p_ui, training minimises

        sum over all u, i of c_ui (p_ui - x_u · y_i)²  +  reg (sum |x_u|² + sum |y_i|²),

    alternating over all users and all items; each is a least squares problem that the library solves by three steps of
    conjugate gradients. With the item factors Y fixed, the user factors of a request with history H solve

        (YᵀY + alpha Y_HᵀY_H + reg I) x = (1 + alpha) sum of y_i over H,     z(u, i) = x · y_i.

    Source: Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008; the steps of
    conjugate gradients after Takács, Pilászy and Tikk, RecSys 2011. Derived in chapter `baselines`.
    """

    name = "als"
    config_class = ALSConfig
    config: ALSConfig
    item_factors: np.ndarray

    def _fit(self, dataset: Dataset) -> None:
        matrix = user_item_matrix(dataset)
        matrix.data[:] = 1 + self.config.alpha
        fitted = _fit_by_implicit(
            "als",
            "AlternatingLeastSquares",
            matrix,
            self,
            factors=self.config.factors,
            regularization=self.config.reg,
            iterations=self.config.epochs,
            random_state=self.config.seed,
        )
        self.item_factors = fitted.item_factors  # zeros for an item without interactions

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        factors = self.item_factors.astype(np.float64)
        alpha, length = self.config.alpha, self.config.length
        base = factors.T @ factors + self.config.reg * np.eye(factors.shape[1])
        users = np.zeros((len(histories), factors.shape[1]))
        with one_thread():
            for user, history in zip(users, histories, strict=True):
                seen = factors[_read(history, length)]
                user[:] = np.linalg.solve(base + alpha * seen.T @ seen, (1 + alpha) * seen.sum(axis=0))
        return users @ factors.T

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"item_factors": self.item_factors}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.item_factors = arrays["item_factors"]


class BPRConfig(ModelConfig):
    """Settings of `BPR`.

    Attributes:
        factors: Size of the user and item vectors, besides an item's bias.
        learning_rate: Step size of the gradient descent.
        reg: Weight of the squared norms of the factors.
        epochs: Number of passes; each samples as many pairs as there are events.
        length: Only the last `length` items of a history are positives; all of them by default. Earlier items are not
            negatives either.
        seed: Seed of the initial factors and of the samples.
    """

    factors: PositiveInt = 64
    learning_rate: PositiveFloat = 0.01
    reg: PositiveFloat = 0.01
    epochs: PositiveInt = 100
    length: HistoryLength = None
    seed: Seed = 0


class BPR(Recommender):
    """Score an item by a bias and the dot product of user and item factors, fitted by pairwise ranking.

    With s_ui = x_u · y_i + b_i, i an item of user u (positive) and j any other item (negative), training minimises

        mean over (u, i, j) of -ln σ(s_ui - s_uj)  +  reg / 2 (|x_u|² + |y_i|² + |y_j|² + b_i² + b_j²)

    by stochastic gradient descent. The library samples (u, i) from the events and j by popularity, so that positives
    compete with popular items. With fixed item factors, the user factors of a request with history H are the unique
    minimum of

        mean over i in H and j of -ln σ(x · (y_i - y_j) + b_i - b_j)  +  reg / 2 |x|²,

    found by Newton's method. The mean over j runs over 300 negatives, sampled once after training by popularity and
    shared by all requests, without the items of the history. A request without history is ranked by the biases.

    Source: Rendle, Freudenthaler, Gantner and Schmidt-Thieme, "BPR: Bayesian personalized ranking from implicit
    feedback", UAI 2009, arXiv:1205.2618. Derived in chapter `baselines`.
    """

    name = "bpr"
    config_class = BPRConfig
    config: BPRConfig
    item_factors: np.ndarray
    item_biases: np.ndarray
    negative_items: np.ndarray
    negative_weights: np.ndarray

    def _fit(self, dataset: Dataset) -> None:
        matrix = user_item_matrix(dataset)
        fitted = _fit_by_implicit(
            "bpr",
            "BayesianPersonalizedRanking",
            matrix,
            self,
            factors=self.config.factors,
            learning_rate=self.config.learning_rate,
            regularization=self.config.reg,
            iterations=self.config.epochs,
            random_state=self.config.seed,
        )
        self.item_factors, self.item_biases = (
            fitted.item_factors[:, :-1].copy(),
            fitted.item_factors[:, -1].copy(),
        )
        sample = np.random.default_rng(self.config.seed).choice(matrix.indices, N_NEGATIVES)
        self.negative_items, self.negative_weights = np.unique(sample, return_counts=True)

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        factors, biases = self.item_factors.astype(np.float64), self.item_biases.astype(np.float64)
        length = self.config.length
        users = np.zeros((len(histories), factors.shape[1]))
        with one_thread():
            for user, history in zip(users, histories, strict=True):
                positives = _read(history, length)
                unseen = ~np.isin(self.negative_items, history)
                if len(positives) and unseen.any():
                    negatives, weights = self.negative_items[unseen], self.negative_weights[unseen]
                    user[:] = _pairwise_minimum(
                        factors[positives], factors[negatives], biases[positives], biases[negatives],
                        weights / weights.sum(), self.config.reg,
                    )  # fmt: skip
        return users @ factors.T + biases

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "item_factors": self.item_factors,
            "item_biases": self.item_biases,
            "negative_items": self.negative_items,
            "negative_weights": self.negative_weights,
        }

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.item_factors, self.item_biases = arrays["item_factors"], arrays["item_biases"]
        self.negative_items, self.negative_weights = arrays["negative_items"], arrays["negative_weights"]


def _read(history: np.ndarray, length: int | None) -> np.ndarray:
    """Return the items among the last `length` events of a history, each once."""
    return np.unique(history if length is None else history[-length:])


def _fit_by_implicit(module: str, kind: str, matrix: Any, model: Recommender, **settings: Any) -> Any:
    """Fit a model of `implicit` to a user-item matrix, in one thread, so that the same seed gives the same bits.

    Raises:
        InputError: The library is not installed, or the fit diverged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm's, about notebook widgets
            cpu = import_module(f"implicit.cpu.{module}")
            failed = import_module("implicit.recommender_base").ModelFitError
    except ImportError as error:
        raise InputError(
            f"model {model.name} needs the library implicit ({error}); install it by: "
            "pip install 'instructrec[factors]'"
        ) from error
    try:
        with one_thread():
            fitted = getattr(cpu, kind)(num_threads=1, **settings)
            fitted.fit(matrix, show_progress=False)
    except failed as error:
        fitted = None
        cause: Exception | None = error
    else:
        cause = None
    if fitted is None or not np.isfinite(fitted.item_factors).all():
        raise InputError(
            f"model {model.name} ran off to numbers that are not finite with {model.settings}; "
            "lower the learning_rate or raise reg"
        ) from cause
    return fitted


def _pairwise_minimum(
    positives: np.ndarray,
    negatives: np.ndarray,
    positive_biases: np.ndarray,
    negative_biases: np.ndarray,
    weights: np.ndarray,
    reg: float,
) -> np.ndarray:
    """Return the user factors that minimise BPR's loss with fixed items, by Newton's method.

    Args:
        positives: Factors of the positive items, shape (n, f), float64.
        negatives: Factors of the negative items, shape (m, f).
        positive_biases: Shape (n,).
        negative_biases: Shape (m,).
        weights: Weights of the negatives, shape (m,), with sum 1.
        reg: Weight of the squared norm, above 0, which makes the minimum unique.

    Returns:
        Array of shape (f,).
    """
    pair_weights = weights / len(positives)

    def loss_at(x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and, for each pair, the probability that the negative is ranked above the positive."""
        margin = (positives @ x + positive_biases)[:, None] - (negatives @ x + negative_biases)
        odds = np.exp(np.minimum(-margin, 500.0))
        return float((np.log1p(odds) @ pair_weights).sum() + reg / 2 * x @ x), odds / (1 + odds)

    x = np.zeros(positives.shape[1])
    loss, error = loss_at(x)
    for _ in range(NEWTON_STEPS):
        slope = error * pair_weights
        gradient = reg * x + slope.sum(axis=0) @ negatives - slope.sum(axis=1) @ positives
        curvature = slope * (1 - error)
        cross = positives.T @ curvature @ negatives
        hessian = (
            (positives.T * curvature.sum(axis=1)) @ positives
            + (negatives.T * curvature.sum(axis=0)) @ negatives
            - cross
            - cross.T
        )
        hessian[np.diag_indices_from(hessian)] += reg
        step = np.linalg.solve(hessian, gradient)
        decrement = float(gradient @ step)
        if decrement < NEWTON_TOLERANCE:
            break
        size = 1.0
        while size > 1e-6:
            new_loss, new_error = loss_at(x - size * step)
            if new_loss <= loss - ARMIJO * size * decrement:
                break
            size /= 2
        else:
            break
        x, loss, error = x - size * step, new_loss, new_error
    return x
