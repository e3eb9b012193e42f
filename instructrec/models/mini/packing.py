"""Histories as token sequences, packed into rows for training.

A history is the sequence

    <start> item item item …

At the start and at each item the target is the next item, so that a row of twenty items gives twenty targets in one
forward pass. Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from instructrec.models.mini.config import MiniConfig
from instructrec.models.mini.vocabulary import START, Vocabulary

T = TypeVar("T")
PADDING_MULTIPLE = 8
"""Token sequences are padded to a multiple of this length."""
LENGTH_JITTER = 4
"""Rows are sorted by their length plus a random number below this one, so that batches of like length differ."""


class HistoryRow(NamedTuple):
    """Consecutive events of one user.

    Attributes:
        user: Number of the user's history.
        token_ids: Input tokens.
        positions: Position of the token after which each target follows.
        events: Number of each target in the user's history.
    """

    user: int
    token_ids: list[int]
    positions: list[int]
    events: list[int]


class HistoryBatch(NamedTuple):
    """Rows as arrays.

    Attributes:
        token_ids: Input tokens, shape (batch, length), int32; 0 is padding.
        positions: Positions in the flattened tokens after which a target follows, shape (n_targets,), int32.
        targets: Catalogue column of each target, shape (n_targets,), int32.
        excluded: Items excluded from the softmax, because the user has interacted with them before or nobody ever has,
            shape (n_targets, n_items), bool.
    """

    token_ids: np.ndarray
    positions: np.ndarray
    targets: np.ndarray
    excluded: np.ndarray


class PackedHistories:
    """Batches of histories: each epoch has the same events, cut into other rows and in another order.

    Args:
        sequences: Catalogue columns of each user, oldest first.
        vocabulary: Token ids.
        config: Settings of `Mini`.
    """

    def __init__(self, sequences: Sequence[np.ndarray], vocabulary: Vocabulary, config: MiniConfig) -> None:
        self.sequences = [sequence.tolist() for sequence in sequences]
        self.vocabulary, self.config = vocabulary, config
        self.unseen = unseen_items(self.sequences, vocabulary.n_items)

    def epoch(self, number: int) -> list[list[HistoryRow]]:
        """Return the rows of an epoch in batches of similar length, in random order.

        Args:
            number: Number of the epoch, from 0; together with the seed it determines all random draws.
        """
        rng = np.random.default_rng([self.config.seed, number])
        draw = random.Random(int(rng.integers(2**62))).random
        rows: list[HistoryRow] = []
        for user in rng.permutation(len(self.sequences)).tolist():
            rows += self._rows(user, int(rng.integers(1, self.config.length + 1)), draw)
        lengths = [len(row.token_ids) + LENGTH_JITTER * draw() for row in rows]
        return batches_of_similar_length(rows, lengths, self.config.batch_size, rng)

    def _rows(self, user: int, first_length: int, draw: Callable[[], float]) -> list[HistoryRow]:
        """Cut a history into rows; the first has a random length, so that each epoch cuts at other events."""
        config, sequence = self.config, self.sequences[user]
        rows: list[HistoryRow] = []
        start, length = 0, first_length
        while start < len(sequence):
            row = HistoryRow(user, [START], [], [])
            end = min(len(sequence), start + length)
            for event in range(start, end):
                row.positions.append(len(row.token_ids) - 1)
                row.events.append(event)
                if draw() >= config.item_dropout:
                    row.token_ids.append(self.vocabulary.first_item + sequence[event])
            if not config.packed:
                del row.positions[:-1], row.events[:-1]
            del row.token_ids[row.positions[-1] + 1 :]  # no target follows these tokens
            rows.append(row)
            start, length = end, config.length
        return rows

    def batch(self, rows: Sequence[HistoryRow]) -> HistoryBatch:
        """Return rows as arrays."""
        token_ids = pad([row.token_ids for row in rows])
        length = token_ids.shape[1]
        first_targets = np.cumsum([0, *(len(row.events) for row in rows)])
        excluded = np.tile(self.unseen, (first_targets[-1], 1))
        targets = [[self.sequences[row.user][event] for event in row.events] for row in rows]
        for first, row, columns in zip(first_targets, rows, targets, strict=False):
            history, n_seen = self.sequences[row.user], 0
            for number, event in enumerate(row.events, start=first):
                excluded[number : first + len(columns), history[n_seen:event]] = True
                n_seen = event
            # A target competes even if the user has interacted with it before.
            excluded[np.arange(first, first + len(columns)), columns] = False
        positions = [
            number * length + position for number, row in enumerate(rows) for position in row.positions
        ]
        return HistoryBatch(
            token_ids,
            np.array(positions, dtype=np.int32),
            np.array([column for columns in targets for column in columns], dtype=np.int32),
            excluded,
        )


def unseen_items(sequences: Sequence[Sequence[int]], n_items: int) -> np.ndarray:
    """Return a mask of the items without interactions, shape (n_items,), bool.

    They are excluded from the softmax of training; otherwise the model would learn that new items are never chosen.
    """
    unseen = np.ones(n_items, dtype=bool)
    for sequence in sequences:
        unseen[list(sequence)] = False
    return unseen


def batches_of_similar_length(
    examples: Sequence[T], lengths: Sequence[float], batch_size: int, rng: np.random.Generator
) -> list[list[T]]:
    """Sort examples by length, cut them into batches, and shuffle the batches."""
    order = np.argsort(lengths, kind="stable")
    starts = range(0, len(order), batch_size)
    batches = [[examples[number] for number in order[start : start + batch_size]] for start in starts]
    return [batches[number] for number in rng.permutation(len(batches))]


def pad(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Return token sequences as one array padded with zeros at the end, shape (n, length), int32."""
    length = -(-max(map(len, sequences), default=1) // PADDING_MULTIPLE) * PADDING_MULTIPLE
    token_ids = np.zeros((len(sequences), length), dtype=np.int32)
    for row, sequence in zip(token_ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return token_ids
