"""Matrix factorisation by the library `implicit`: weighted least squares (ALS) and pairwise ranking (BPR).

The library fits the factors; scoring is NumPy. A request carries a history and no user number, so that its user factors
are found from the history with the items' factors fixed ("folded in"): known users and newcomers are treated alike, and
a saved model scores where the library is not installed.
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

# BPR's fold-in: wrong items drawn to stand for all, and Newton's method
N_WRONG = 300
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
    """Score an item by the product of a user's and an item's factors, fitted by weighted least squares.

    With p_ui = 1 where u met i and 0 elsewhere, and the confidence c_ui = 1 + alpha p_ui, training lowers

        sum over all u, i of c_ui (p_ui - x_u · y_i)²  +  reg (sum |x_u|² + sum |y_i|²),

    in turn for all users and all items, each a least squares problem, which the library solves by three steps of
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
        self.item_factors = fitted.item_factors  # zeros for an item that nobody met

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        factors = self.item_factors.astype(np.float64)
        alpha, length = self.config.alpha, self.config.length
        base = factors.T @ factors + self.config.reg * np.eye(factors.shape[1])
        users = np.zeros((len(histories), factors.shape[1]))
        with one_thread():
            for user, history in zip(users, histories, strict=True):
                met = factors[_read(history, length)]
                user[:] = np.linalg.solve(base + alpha * met.T @ met, (1 + alpha) * met.sum(axis=0))
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
    """Score an item by a bias and the product of a user's and an item's factors, fitted so that what was met wins.

    With s_ui = x_u · y_i + b_i, i an item that u met and j one that u did not, training lowers

        mean over (u, i, j) of -ln σ(s_ui - s_uj)  +  reg / 2 (|x_u|² + |y_i|² + |y_j|² + b_i² + b_j²)

    by stochastic gradient descent. The library draws (u, i) among the events and j as often as it was met, so that the
    right item has to win against popular ones. With the items fixed, the user factors of a request with history H
    are the one minimum of

        mean over i in H and j of -ln σ(x · (y_i - y_j) + b_i - b_j)  +  reg / 2 |x|²,

    found by Newton's method. The mean over j runs over 300 wrong items, drawn once after training as training draws
    them and the same for all requests, without those of the history. A request without history is ranked by the biases.

    Source: Rendle, Freudenthaler, Gantner and Schmidt-Thieme, "BPR: Bayesian personalized ranking from implicit
    feedback", UAI 2009, arXiv:1205.2618. Derived in chapter `baselines`.
    """

    name = "bpr"
    config_class = BPRConfig
    config: BPRConfig
    item_factors: np.ndarray
    item_biases: np.ndarray
    wrong_items: np.ndarray
    wrong_weights: np.ndarray

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
        drawn = np.random.default_rng(self.config.seed).choice(matrix.indices, N_WRONG)
        self.wrong_items, self.wrong_weights = np.unique(drawn, return_counts=True)

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        factors, biases = self.item_factors.astype(np.float64), self.item_biases.astype(np.float64)
        length = self.config.length
        users = np.zeros((len(histories), factors.shape[1]))
        with one_thread():
            for user, history in zip(users, histories, strict=True):
                right = _read(history, length)
                free = ~np.isin(self.wrong_items, history)
                if len(right) and free.any():
                    wrong = self.wrong_items[free]
                    user[:] = _pairwise_minimum(
                        factors[right], factors[wrong], biases[right], biases[wrong],
                        self.wrong_weights[free] / self.wrong_weights[free].sum(), self.config.reg,
                    )  # fmt: skip
        return users @ factors.T + biases

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "item_factors": self.item_factors,
            "item_biases": self.item_biases,
            "wrong_items": self.wrong_items,
            "wrong_weights": self.wrong_weights,
        }

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.item_factors, self.item_biases = arrays["item_factors"], arrays["item_biases"]
        self.wrong_items, self.wrong_weights = arrays["wrong_items"], arrays["wrong_weights"]


def _read(history: np.ndarray, length: int | None) -> np.ndarray:
    """Return the items among the last `length` events of a history, each once."""
    return np.unique(history if length is None else history[-length:])


def _fit_by_implicit(module: str, kind: str, matrix: Any, model: Recommender, **settings: Any) -> Any:
    """Return `implicit`'s model of a user-item matrix; one thread, so that the same seed gives the same bits.

    Raises:
        InputError: The library is not installed, or the fit ran off to numbers that are not finite.
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
    right: np.ndarray,
    wrong: np.ndarray,
    right_biases: np.ndarray,
    wrong_biases: np.ndarray,
    weights: np.ndarray,
    reg: float,
) -> np.ndarray:
    """Return the user factors that minimise BPR's criterion with fixed items, by Newton's method.

    Args:
        right: Factors of the items that should win, shape (n, f), float64.
        wrong: Factors of the items that should lose, shape (m, f).
        right_biases: Shape (n,).
        wrong_biases: Shape (m,).
        weights: Of the wrong items, shape (m,), sum 1.
        reg: Weight of the squared size, above 0, which makes the minimum the only one.

    Returns:
        Array of shape (f,).
    """
    share = weights / len(right)

    def at(x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the criterion and, for each pair, the probability that the wrong item wins."""
        lead = (right @ x + right_biases)[:, None] - (wrong @ x + wrong_biases)
        odds = np.exp(np.minimum(-lead, 500.0))
        return float((np.log1p(odds) @ share).sum() + reg / 2 * x @ x), odds / (1 + odds)

    x = np.zeros(right.shape[1])
    value, lost = at(x)
    for _ in range(NEWTON_STEPS):
        pull = lost * share
        gradient = reg * x + pull.sum(axis=0) @ wrong - pull.sum(axis=1) @ right
        bend = pull * (1 - lost)
        cross = right.T @ bend @ wrong
        hessian = (
            (right.T * bend.sum(axis=1)) @ right + (wrong.T * bend.sum(axis=0)) @ wrong - cross - cross.T
        )
        hessian[np.diag_indices_from(hessian)] += reg
        step = np.linalg.solve(hessian, gradient)
        decrement = float(gradient @ step)
        if decrement < NEWTON_TOLERANCE:
            break
        size = 1.0
        while size > 1e-6:
            new_value, new_lost = at(x - size * step)
            if new_value <= value - ARMIJO * size * decrement:
                break
            size /= 2
        else:
            break
        x, value, lost = x - size * step, new_value, new_lost
    return x
