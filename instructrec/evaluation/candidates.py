"""Chooses the candidates that targets are ranked against: the whole catalogue, random negatives or hard negatives.

Derived in chapter `evaluation`. The whole catalogue is the default. Samples of negatives can reverse the order of
models (Krichene and Rendle, KDD 2020); they are here to show that and to reproduce the form of papers' tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from instructrec.errors import InputError
from instructrec.evaluation.target_ranks import first_fault
from instructrec.models.base import Recommender
from instructrec.split import Requests, Split
from instructrec.validation import NonNegativeInt, check_value

WHOLE_CATALOGUE = "whole catalogue"
"""Name of the candidates of full ranking, in results files and on the command line, too."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """A rule that chooses the items ranked in a request.

    `full_catalogue`, `random_negatives` and `hard_negatives` return one.

    Attributes:
        name: The rule in words, such as "9 random negatives".
        n_negatives: Number of negatives beside the targets; None for all items outside the history.
        seed: Seed of random negatives: the same seed gives the same candidates to every model.
        by: The fitted recommender that chooses hard negatives; None for random ones.
    """

    name: str
    n_negatives: int | None = None
    seed: int = 0
    by: Recommender | None = field(default=None, repr=False)

    def mask(self, split: Split, requests: Requests) -> np.ndarray:
        """Return which catalogue items are candidates of each request, shape (n_requests, n_items), bool.

        Args:
            split: The data in three parts.
            requests: The requests of a part.

        Raises:
            InputError: Fewer unseen items than negatives; or the model that chooses hard negatives has another
                catalogue or returns NaN.
        """
        blocks = list(self.blocks(split, requests))
        return np.concatenate([np.ones((0, split.train.n_items), dtype=bool), *blocks])

    def blocks(self, split: Split, requests: Requests, batch: int = 256) -> Iterator[np.ndarray]:
        """Yield the masks of `batch` requests at a time; concatenated they equal `mask`, whatever the batch size.

        Arguments and errors as in `mask`.
        """
        next_mask = self.stream(split, requests)
        for start in range(0, len(requests), batch):
            yield next_mask(min(batch, len(requests) - start))

    def stream(self, split: Split, requests: Requests) -> Callable[[int], np.ndarray]:
        """Return a function that returns the mask of the next n requests, for batches of any size.

        Arguments and errors as in `mask`.
        """
        if self.by is not None:
            check_catalogue(self.by, split)
        rng = np.random.default_rng(self.seed)
        start = 0

        def next_mask(n: int) -> np.ndarray:
            nonlocal start
            rows = slice(start, start + n)
            start += n
            return self._mask(split, requests, rows, rng)

        return next_mask

    def _mask(self, split: Split, requests: Requests, rows: slice, rng: np.random.Generator) -> np.ndarray:
        """Return which items compete: all unseen items, or targets and negatives; shape (n_rows, n_items), bool."""
        histories = requests.histories[rows]
        mask = np.ones((len(histories), split.train.n_items), dtype=bool)
        columns, starts = columns_of(split, histories)
        mask[np.repeat(np.arange(len(mask)), np.diff(starts)), columns] = False
        if self.n_negatives is None:
            return mask
        scores = None
        if self.by is not None:
            scores = np.asarray(self.by.score(histories))
            fault = first_fault(scores)
            if fault is not None:
                user, item = requests.user_ids[rows.start + fault[0]], split.train.item_numbers[fault[1]]
                raise InputError(
                    f"model {self.by.name} returned {scores[fault]} for user {format_id(user)}, "
                    f"item {format_id(item)}; no hard negatives can be chosen by it"
                )
        columns, starts = columns_of(split, requests.targets[rows])
        for row, allowed in enumerate(mask):
            targets = columns[starts[row] : starts[row + 1]]
            allowed[targets] = False
            unseen = np.flatnonzero(allowed)
            if len(unseen) < self.n_negatives:
                raise InputError(
                    f"n_negatives is {self.n_negatives}, but a user has only {len(unseen)} unseen items"
                )
            allowed[:] = False
            if scores is None:
                allowed[rng.choice(unseen, self.n_negatives, replace=False)] = True
            else:
                best_first = np.argsort(-scores[row, unseen], kind="stable")
                allowed[unseen[best_first[: self.n_negatives]]] = True
            allowed[targets] = True
        return mask


def full_catalogue() -> Candidates:
    """Rank the targets against all items of the catalogue outside the history (full ranking)."""
    return Candidates(WHOLE_CATALOGUE)


def random_negatives(n: int, seed: int = 0, name: str | None = None) -> Candidates:
    """Rank the targets against random unseen items only.

    Args:
        n: Number of negatives, at least 0, drawn uniformly without replacement.
        seed: Seed of the draws.
        name: Name for tables; "9 random negatives" by default.

    Raises:
        InputError: n is no whole number of at least 0.
    """
    n = check_value("n_negatives", n, NonNegativeInt)
    return Candidates(name or f"{n} random negatives", n, seed)


def hard_negatives(n: int, by: Recommender, name: str | None = None) -> Candidates:
    """Rank the targets against the unseen items that a model scores highest.

    Args:
        n: Number of negatives, at least 0; of equal scores the first in the catalogue is chosen.
        by: A fitted recommender, which scores without an instruction. Evaluated on its own negatives it looks worse
            than it is; therefore the name says whose negatives they are.
        name: Name for tables; "9 hard negatives by sasrec" by default.

    Raises:
        InputError: n is no whole number of at least 0.
    """
    n = check_value("n_negatives", n, NonNegativeInt)
    return Candidates(name or f"{n} hard negatives by {by.name}", n, by=by)


def columns_of(split: Split, lists: Sequence[Sequence[object]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the catalogue columns of all lists' items in one array, and where each list begins.

    Raises:
        InputError: An item that is not in the catalogue.
    """
    starts = np.concatenate([[0], np.cumsum([len(items) for items in lists], dtype=np.int64)])
    return split.train.item_columns([item for items in lists for item in items]), starts


def check_catalogue(model: Recommender, split: Split) -> None:
    """Check that a model scores the items of the split, in their order.

    Raises:
        InputError: The model was fitted on another catalogue or on another order of it.
    """
    fitted_on = getattr(model, "dataset", None)
    if fitted_on is not None and not (
        fitted_on.items is split.train.items or fitted_on.item_numbers.equals(split.train.item_numbers)
    ):
        raise InputError(
            f"model {model.name} was fitted on the {fitted_on.n_items} items of {fitted_on.name} and is measured on "
            f"the {split.train.n_items} items of {split.train.name}; both must list the same items in the same order"
        )


def format_id(identifier: object) -> str:
    """Return an id for a message: a number without its NumPy type, a text in quotes."""
    return repr(identifier.item() if isinstance(identifier, np.generic) else identifier)
