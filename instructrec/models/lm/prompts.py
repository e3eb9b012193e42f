"""Prompts that a language model answers with a list of titles, and the examples that it is tuned on.

A message holds what the paper's instructions hold (Zhang et al., 2023, arXiv:2305.07001): the history as titles (P1) or
no history (P0), a request (I1, I2) or none (I0). The answer lists the items chosen next, a title on each line: one
message teaches as many choices as the answer has lines, packed as `mini` packs its sequences. Derived in chapter
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

FULL_HISTORY_SHARE = 0.5
"""Share of training prompts that show the longest history allowed; the others are truncated at random."""
LOOKAHEAD_FACTOR = 4
"""With a request, answers are searched among the next `LOOKAHEAD_FACTOR * max_lines` events of the user."""
QUERY_HISTORY = 20
"""Number of last events of a user from which a request is generated."""


class PromptWriter:
    """Writer of messages and answers for the items of a data set.

    Args:
        dataset: Items with titles.
        max_history: Number of titles of a history that a message shows, the last ones (20 in the paper).
    """

    def __init__(self, dataset: Dataset, max_history: int = 20) -> None:
        self.titles: list[str] = dataset.items["title"].astype(str).tolist()
        self.words = domain_words(dataset, "en")
        self.max_history = max_history

    def message(
        self, history: Sequence[int], request: str | None = None, candidates: Sequence[int] = ()
    ) -> str:
        """Return the message of a request.

        Args:
            history: Catalogue columns, oldest first.
            request: The user's request in words, if any.
            candidates: Columns to choose from, in the order of the prompt; by default the prompt lists none.
        """
        history_titles = [self.titles[item] for item in history[-self.max_history :]]
        candidate_titles = [self.titles[item] for item in candidates]
        return list_prompt(history_titles, request, candidate_titles, **self.words)

    def line(self, item: int) -> str:
        """Return the line of an answer that names an item."""
        return self.titles[item] + "\n"

    def answer(self, items: Sequence[int]) -> str:
        """Return the answer that lists items."""
        return "".join(map(self.line, items))


def list_prompt(
    history: Sequence[str],
    request: str | None = None,
    candidates: Sequence[str] = (),
    things: str = "films",
    took: str = "watched",
    take: str = "watch",
    **_: str,
) -> str:
    """Return an instruction to list the items that come next.

    Args:
        history: Titles, oldest first; all are shown.
        request: The user's request in words, if any.
        candidates: Titles to choose from; by default the prompt lists none.
        things: Plural noun for the items.
        took: Verb in the past tense for the user's interactions.
        take: Infinitive of the verb.
    """
    frames = read_wordings("list_prompt")["en"]
    words = {"things": things, "took": took, "take": take}
    prompt = ""
    if history:
        prompt += frames["history"].format(titles="\n".join(history), **words)
    if request:
        prompt += frames["request"].format(request=request)
    if candidates:
        prompt += frames["candidates"].format(titles="\n".join(candidates), **words)
    return prompt + str(frames["task"].format(**words))


def draw_examples(
    sequences: Sequence[Sequence[int]],
    writer: PromptWriter,
    queries: QueryGenerator,
    max_lines: int,
    instruction_share: float,
    seed: int,
    number: int,
) -> list[tuple[str, str]]:
    """Draw training examples: a message, and as its answer the items that the user chose next.

    Without requests, each event is in at most one answer. With a request, the answer lists the next choices that meet
    it.

    Args:
        sequences: Catalogue columns that each user chose, oldest first.
        writer: Writer of messages and answers.
        queries: Generator of requests.
        max_lines: Largest number of lines of an answer.
        instruction_share: Share of the examples that have a request.
        seed: Seed of all draws.
        number: Number of this pass over the sequences, from 0; each pass has its own draws.

    Returns:
        Pairs of message and answer, those of a user one after the other.
    """
    draw = random.Random(int(np.random.default_rng([seed, number]).integers(2**62))).random
    examples: list[tuple[str, str]] = []
    for sequence in sequences:
        stop = -int(draw() * max_lines)
        while stop < len(sequence):
            start, stop = max(stop, 0), stop + max_lines
            full_history = draw() < FULL_HISTORY_SHARE
            n_history = writer.max_history if full_history else int(draw() * (writer.max_history + 1))
            history = sequence[max(0, start - n_history) : start]
            targets, request = sequence[start:stop], None
            if draw() < instruction_share:
                recent_items = sequence[max(0, start - QUERY_HISTORY) : start]
                query = queries.generate(sequence[start], recent_items, draw)
                if query is not None:
                    request = query.text
                    history = [] if query.states_taste else history
                    mask = np.all(queries.meanings[list(query.meaning)], axis=0, keepdims=True)[0]
                    upcoming = sequence[start : start + LOOKAHEAD_FACTOR * max_lines]
                    targets = [item for item in upcoming if mask[item]][:max_lines]
            examples.append((writer.message(history, request), writer.answer(targets)))
    return examples
