"""Histories as conversations, packed into rows for training.

A conversation is

    <start> item item item …

where at the start and at each item the next item is learnt, so that a row of twenty items gives twenty targets in one
pass. Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from instructrec.models.mini.vocabulary import START, Vocabulary

BATCH_WIDTH = 8
"""Rows and texts are padded to a multiple of so many tokens."""


class Row(NamedTuple):
    """Some events of one user.

    Attributes:
        user: Number of the user's history.
        tokens: What is read.
        places: Number of the token behind which each item follows.
        events: Number in the user's history of each item that follows.
    """

    user: int
    tokens: list[int]
    places: list[int]
    events: list[int]


class Batch(NamedTuple):
    """Rows as arrays.

    Attributes:
        token_ids: Shape (batch, length), int32; 0 is padding.
        item_places: Numbers in the flattened tokens where an item follows, shape (n,), int32.
        items: The item's column, shape (n,), int32.
        left_out: Items that do not compete there, since the user has met them or nobody has, shape (n, n_items), bool.
    """

    token_ids: np.ndarray
    item_places: np.ndarray
    items: np.ndarray
    left_out: np.ndarray


class Conversations:
    """Makes an epoch's batches: the same histories each time, in other rows and another order.

    Args:
        sequences: A user's catalogue columns each, oldest first.
        vocabulary: Numbers of the tokens.
        settings: Those of `Mini`.
    """

    def __init__(
        self, sequences: Sequence[np.ndarray], vocabulary: Vocabulary, settings: dict[str, Any]
    ) -> None:
        self.sequences = [one.tolist() for one in sequences]
        self.vocabulary, self.settings = vocabulary, settings
        self.n_items = vocabulary.n_items
        self.never = never_met(self.sequences, vocabulary.n_items)

    def epoch(self, number: int) -> list[list[Row]]:
        """Return the rows of an epoch in batches of like length, in a random order.

        Args:
            number: From 0; with the seed it decides all draws.
        """
        rng = np.random.default_rng([self.settings["seed"], number])
        draw = random.Random(int(rng.integers(2**62))).random
        rows: list[Row] = []
        for user in rng.permutation(len(self.sequences)).tolist():
            rows += self._rows(user, int(rng.integers(1, self.settings["length"] + 1)), draw)
        size = self.settings["batch_size"]
        order = np.argsort([len(row.tokens) + 4 * draw() for row in rows], kind="stable")
        batches = [[rows[at] for at in order[start : start + size]] for start in range(0, len(order), size)]
        return [batches[at] for at in rng.permutation(len(batches))]

    def _rows(self, user: int, first_length: int, draw: Callable[[], float]) -> list[Row]:
        """Cut a history into rows; the first is shorter by chance, so that each epoch cuts elsewhere."""
        settings, sequence = self.settings, self.sequences[user]
        rows: list[Row] = []
        start, length = 0, first_length
        while start < len(sequence):
            row = Row(user, [START], [], [])
            end = min(len(sequence), start + length)
            for event in range(start, end):
                row.places.append(len(row.tokens) - 1)
                row.events.append(event)
                if draw() >= settings["forgetting"]:
                    row.tokens.append(self.vocabulary.first_item + sequence[event])
            if not settings["packed"]:
                del row.places[:-1], row.events[:-1]
            del row.tokens[row.places[-1] + 1 :]  # nothing is learnt behind it
            rows.append(row)
            start, length = end, settings["length"]
        return rows

    def batch(self, rows: Sequence[Row]) -> Batch:
        """Return rows as arrays."""
        tokens = padded([row.tokens for row in rows])
        n_places = np.cumsum([0, *(len(row.places) for row in rows)])
        left_out = np.tile(self.never, (n_places[-1], 1))
        for first, row in zip(n_places, rows, strict=False):
            history, met = self.sequences[row.user], 0
            for number, event in enumerate(row.events, start=first):
                left_out[number : first + len(row.events), history[met:event]] = True
                met = event
            targets = [history[event] for event in row.events]
            left_out[np.arange(first, first + len(targets)), targets] = False  # an item may be met twice
        return Batch(
            tokens,
            flat([row.places for row in rows], tokens.shape[1]),
            np.array(
                [self.sequences[row.user][event] for row in rows for event in row.events], dtype=np.int32
            ),
            left_out,
        )


def never_met(sequences: Sequence[Sequence[int]], n_items: int) -> np.ndarray:
    """Return which items no history holds, shape (n_items,), bool.

    They do not compete in training: it would teach that what is new is never chosen.
    """
    never = np.ones(n_items, dtype=bool)
    for sequence in sequences:
        never[list(sequence)] = False
    return never


def padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Return lists of tokens as one array, zeros behind each, int32."""
    length = -(-max(map(len, rows), default=1) // BATCH_WIDTH) * BATCH_WIDTH
    found = np.zeros((len(rows), length), dtype=np.int32)
    for filled, row in zip(found, rows, strict=True):
        filled[: len(row)] = row
    return found


def flat(places: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """Return places in rows as places in the rows laid end to end, int32."""
    return np.array(
        [number * length + one for number, row in enumerate(places) for one in row], dtype=np.int32
    )
