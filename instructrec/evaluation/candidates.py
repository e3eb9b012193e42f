"""Which items compete with the targets: the whole catalogue, random negatives, or hard ones.

Derived in chapter `evaluation`. The whole catalogue is the default. Samples of negatives can reverse the order of
models (Krichene and Rendle, KDD 2020) and are here to show just that and to repeat the form of papers' tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from instructrec.errors import InputError
from instructrec.evaluation.target_ranks import best_of, first_fault
from instructrec.models.base import Recommender
from instructrec.split import Requests, Split

WHOLE_CATALOGUE = "whole catalogue"


@dataclass(frozen=True, eq=False)
class Candidates:
    """A rule that says which items are ranked in a request; made by `full_catalogue` and its neighbours.

    Attributes:
        name: The rule in words, such as "9 random negatives".
        n_negatives: Negatives beside the targets; None for all items that are not in the history.
        seed: Seed of random negatives: the same seed gives the same candidates to every model.
        by: The fitted recommender that chooses hard negatives; None where they are random.
    """

    name: str
    n_negatives: int | None = None
    seed: int = 0
    by: Recommender | None = field(default=None, repr=False)

    def mask(self, split: Split, requests: Requests) -> np.ndarray:
        """Return which catalogue items compete in each request, shape (n_requests, n_catalogue), bool.

        Args:
            split: The data in three parts.
            requests: The requests of a part.

        Raises:
            InputError: Fewer unseen items than negatives; hard negatives by a model of another catalogue, or NaN.
        """
        blocks = list(self.blocks(split, requests))
        return np.concatenate([np.ones((0, split.train.n_items), dtype=bool), *blocks])

    def blocks(self, split: Split, requests: Requests, batch: int = 256) -> Iterator[np.ndarray]:
        """Yield the mask of `batch` requests after another; all together are `mask`, whatever the batch.

        Arguments and errors as in `mask`.
        """
        following = self.stream(split, requests)
        for start in range(0, len(requests), batch):
            yield following(min(batch, len(requests) - start))

    def stream(self, split: Split, requests: Requests) -> Callable[[int], np.ndarray]:
        """Return a function that gives the mask of the next n requests, for batches of any size.

        Arguments and errors as in `mask`.
        """
        if self.by is not None:
            check_catalogue(self.by, split)
        rng = np.random.default_rng(self.seed)
        start = 0

        def following(n: int) -> np.ndarray:
            nonlocal start
            rows = slice(start, start + n)
            start += n
            return self._mask(split, requests, rows, rng)

        return following

    def _mask(self, split: Split, requests: Requests, rows: slice, rng: np.random.Generator) -> np.ndarray:
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
                    f"model {self.by.name} returned {scores[fault]} for user {show(user)}, item {show(item)}; "
                    "no hard negatives can be chosen by it"
                )
        columns, starts = columns_of(split, requests.targets[rows])
        for row, allowed in enumerate(mask):
            wanted = columns[starts[row] : starts[row + 1]]
            allowed[wanted] = False
            unseen = np.flatnonzero(allowed)
            if len(unseen) < self.n_negatives:
                raise InputError(
                    f"n_negatives is {self.n_negatives}, but a user has only {len(unseen)} unseen items"
                )
            allowed[:] = False
            if scores is None:
                allowed[rng.choice(unseen, self.n_negatives, replace=False)] = True
            else:
                allowed[unseen[best_of(scores[row, unseen], self.n_negatives)]] = True
            allowed[wanted] = True
        return mask


def full_catalogue() -> Candidates:
    """Let every item of the catalogue compete that is not in the history: full ranking."""
    return Candidates(WHOLE_CATALOGUE)


def random_negatives(n: int, seed: int = 0, name: str | None = None) -> Candidates:
    """Let the targets compete with random unseen items only.

    Args:
        n: Negatives, at least 0, each drawn with equal chance and without repetition.
        seed: Seed of the draws.
        name: Name for tables; "9 random negatives" by default.

    Raises:
        InputError: n is no such number.
    """
    _check_number(n)
    return Candidates(name or f"{n} random negatives", int(n), seed)


def hard_negatives(n: int, by: Recommender, name: str | None = None) -> Candidates:
    """Let the targets compete with the unseen items that a model takes for the best.

    Args:
        n: Negatives, at least 0: those with the highest scores; of equal scores the first in the catalogue.
        by: A fitted recommender; it is asked without an instruction. Measured on its own negatives it looks worse than
            it is, so that a table says whose they are.
        name: Name for tables; "9 hard negatives by sasrec" by default.

    Raises:
        InputError: n is no such number.
    """
    _check_number(n)
    return Candidates(name or f"{n} hard negatives by {by.name}", int(n), by=by)


def columns_of(split: Split, lists: Sequence[Sequence[object]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the catalogue columns of all lists' items in a row, and where each list begins.

    Raises:
        InputError: An item that is not in the catalogue.
    """
    starts = np.concatenate([[0], np.cumsum([len(one) for one in lists], dtype=np.int64)])
    return split.train.item_columns([item for one in lists for item in one]), starts


def check_catalogue(model: Recommender, split: Split) -> None:
    """Refuse a model whose columns are not those of the split.

    Raises:
        InputError: The model was fitted on another catalogue or on another order of it.
    """
    own = getattr(model, "dataset", None)
    if own is not None and not (
        own.items is split.train.items or own.item_numbers.equals(split.train.item_numbers)
    ):
        raise InputError(
            f"model {model.name} was fitted on the {own.n_items} items of {own.name} and is measured on the "
            f"{split.train.n_items} items of {split.train.name}; both must list the same items in the same order"
        )


def show(identifier: object) -> str:
    """Return an id as a reader would write it: a number without NumPy's type, a text in quotes."""
    return repr(identifier.item() if isinstance(identifier, np.generic) else identifier)


def _check_number(n: object) -> None:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
        raise InputError(f"n_negatives is {n!r}; a whole number of at least 0, or None, is accepted")
