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
    check_length,
    check_number,
    check_seed,
    check_whole,
    one_thread,
    user_item_matrix,
)

# BPR's fold-in: wrong items drawn to stand for all, and Newton's method
N_WRONG = 300
NEWTON_STEPS = 30
NEWTON_TOLERANCE = 1e-10
ARMIJO = 1e-4


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
    item_factors: np.ndarray

    def __init__(
        self,
        factors: int = 64,
        reg: float = 0.1,
        alpha: float = 1.0,
        epochs: int = 15,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        """Make an untrained model.

        Args:
            factors: Numbers kept for each user and each item.
            reg: Weight of the factors' squared size, above 0.
            alpha: What having met an item adds to the confidence, at least 0.
            epochs: Rounds over all users and all items.
            length: Read the last `length` items of a history only, at least 1; the whole history by default.
            seed: Of the factors before the first round.

        Raises:
            InputError: A setting out of its range.
        """
        check_whole("factors", factors)
        check_number("reg", reg, above=0)
        check_number("alpha", alpha)
        check_whole("epochs", epochs)
        check_length(length)
        check_seed(seed)
        super().__init__(factors=factors, reg=reg, alpha=alpha, epochs=epochs, length=length, seed=seed)

    def _fit(self, dataset: Dataset) -> None:
        matrix = user_item_matrix(dataset)
        matrix.data[:] = 1 + self.settings["alpha"]
        fitted = _fit_by_implicit(
            "als",
            "AlternatingLeastSquares",
            matrix,
            self,
            factors=self.settings["factors"],
            regularization=self.settings["reg"],
            iterations=self.settings["epochs"],
            random_state=self.settings["seed"],
        )
        self.item_factors = fitted.item_factors  # zeros for an item that nobody met

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        factors = self.item_factors.astype(np.float64)
        alpha, length = self.settings["alpha"], self.settings["length"]
        base = factors.T @ factors + self.settings["reg"] * np.eye(factors.shape[1])
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
    item_factors: np.ndarray
    item_biases: np.ndarray
    wrong_items: np.ndarray
    wrong_weights: np.ndarray

    def __init__(
        self,
        factors: int = 64,
        learning_rate: float = 0.01,
        reg: float = 0.01,
        epochs: int = 100,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        """Make an untrained model.

        Args:
            factors: Numbers kept for each user and each item, besides an item's bias.
            learning_rate: Step of the gradient descent, above 0.
            reg: Weight of the factors' squared size, above 0.
            epochs: Passes; each draws as many pairs as there are events.
            length: Let the last `length` items of a history only win, at least 1; all of them by default. What was met
                before is still not among the wrong items.
            seed: Of the factors before the first pass and of all draws.

        Raises:
            InputError: A setting out of its range.
        """
        check_whole("factors", factors)
        check_number("learning_rate", learning_rate, above=0)
        check_number("reg", reg, above=0)
        check_whole("epochs", epochs)
        check_length(length)
        check_seed(seed)
        super().__init__(
            factors=factors, learning_rate=learning_rate, reg=reg, epochs=epochs, length=length, seed=seed
        )

    def _fit(self, dataset: Dataset) -> None:
        matrix = user_item_matrix(dataset)
        fitted = _fit_by_implicit(
            "bpr",
            "BayesianPersonalizedRanking",
            matrix,
            self,
            factors=self.settings["factors"],
            learning_rate=self.settings["learning_rate"],
            regularization=self.settings["reg"],
            iterations=self.settings["epochs"],
            random_state=self.settings["seed"],
        )
        self.item_factors, self.item_biases = (
            fitted.item_factors[:, :-1].copy(),
            fitted.item_factors[:, -1].copy(),
        )
        drawn = np.random.default_rng(self.settings["seed"]).choice(matrix.indices, N_WRONG)
        self.wrong_items, self.wrong_weights = np.unique(drawn, return_counts=True)

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        factors, biases = self.item_factors.astype(np.float64), self.item_biases.astype(np.float64)
        length = self.settings["length"]
        users = np.zeros((len(histories), factors.shape[1]))
        with one_thread():
            for user, history in zip(users, histories, strict=True):
                right = _read(history, length)
                free = ~np.isin(self.wrong_items, history)
                if len(right) and free.any():
                    wrong = self.wrong_items[free]
                    user[:] = _pairwise_minimum(
                        factors[right], factors[wrong], biases[right], biases[wrong],
                        self.wrong_weights[free] / self.wrong_weights[free].sum(), self.settings["reg"],
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
