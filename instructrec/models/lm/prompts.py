"""Instructions that a language model answers with a list of titles, and the examples that it is tuned on.

A message holds what the paper's instructions hold (Zhang et al., 2023, arXiv:2305.07001): the history as titles (P1) or
none (P0), what is asked for (I1, I2) or nothing (I0). The answer is the items chosen next, a title on each line: one
message teaches as many choices as the answer has lines, packed as `mini`'s conversations are. Derived in chapter
`language-model`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.category_words import domain_words
from instructrec.instructions.query_generator import QueryGenerator
from instructrec.wordings import read_wordings

FULL = 0.5
"""Share of the examples that tell as much of the history as a request may; the others tell less."""
AHEAD = 4
"""An answer to what is asked for is looked for among so many times the events that an answer has lines."""


class Listing:
    """Writes messages and answers for the items of a data set.

    Args:
        dataset: Items with titles.
        most: How many titles of a history are told, the last ones (20 in the paper).
    """

    def __init__(self, dataset: Dataset, most: int = 20) -> None:
        self.titles: list[str] = dataset.items["title"].astype(str).tolist()
        self.words = domain_words(dataset, "en")
        self.most = most

    def message(self, history: Sequence[int], wish: str | None = None, candidates: Sequence[int] = ()) -> str:
        """Return the instruction of a request.

        Args:
            history: Catalogue columns, oldest first.
            wish: What is asked for in words, if anything.
            candidates: Columns to choose from, in the order in which they are told; none leaves them untold.
        """
        told, choices = (
            [self.titles[item] for item in items] for items in (history[-self.most :], candidates)
        )
        return listing_prompt(told, wish, choices, **self.words)

    def line(self, item: int) -> str:
        """Return what an answer says of an item."""
        return self.titles[item] + "\n"

    def answer(self, items: Sequence[int]) -> str:
        """Return the answer that lists items."""
        return "".join(map(self.line, items))


def listing_prompt(
    history: Sequence[str],
    wish: str | None = None,
    candidates: Sequence[str] = (),
    things: str = "films",
    took: str = "watched",
    take: str = "watch",
    **_: str,
) -> str:
    """Return an instruction to list what comes next.

    Args:
        history: Titles, oldest first, all of which are told.
        wish: What is asked for in words, if anything.
        candidates: Titles to choose from, if they are told.
        things: What the items are.
        took: What the user did with those of the history.
        take: What the user does with one.
    """
    frames = read_wordings("list_prompt")["en"]
    words = {"things": things, "took": took, "take": take}
    prompt = ""
    if history:
        prompt += frames["history"].format(titles="\n".join(history), **words)
    if wish:
        prompt += frames["request"].format(request=wish)
    if candidates:
        prompt += frames["candidates"].format(titles="\n".join(candidates), **words)
    return prompt + str(frames["task"].format(**words))


def examples(
    sequences: Sequence[Sequence[int]],
    listing: Listing,
    phrases: QueryGenerator,
    lines: int,
    instruction_share: float,
    seed: int,
    number: int,
) -> list[tuple[str, str]]:
    """Draw examples: a message, and as its answer what was chosen next.

    Each event is in at most one answer of those that nothing is asked for in front of. Where a text asks, the answer
    lists the next choices that meet it.

    Args:
        sequences: Catalogue columns that each user chose, oldest first.
        listing: Writer of messages.
        phrases: Writer of what is asked for.
        lines: Most lines of an answer.
        instruction_share: Share of the examples in which something is asked for.
        seed: Of all draws.
        number: Of the drawing, from 0.

    Returns:
        Pairs of message and answer, those of a user behind each other.
    """
    draw = random.Random(int(np.random.default_rng([seed, number]).integers(2**62))).random
    made: list[tuple[str, str]] = []
    for sequence in sequences:
        at = -int(draw() * lines)
        while at < len(sequence):
            start, at = max(at, 0), at + lines
            told = listing.most if draw() < FULL else int(draw() * (listing.most + 1))
            history = sequence[max(0, start - told) : start]
            chosen, wish = sequence[start:at], None
            if draw() < instruction_share:
                phrase = phrases.generate(sequence[start], sequence[max(0, start - 20) : start], draw)
                if phrase is not None:
                    wish = phrase.text
                    history = [] if phrase.states_taste else history
                    meets = np.all(phrases.meanings[list(phrase.meaning)], axis=0, keepdims=True)[0]
                    later = sequence[start : start + AHEAD * lines]
                    chosen = [item for item in later if meets[item]][:lines]
            made.append((listing.message(history, wish), listing.answer(chosen)))
    return made
