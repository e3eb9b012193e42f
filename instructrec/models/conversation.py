"""Histories as conversations, packed into rows for training, and the texts that ask for what comes next in them.

A conversation is

    <start> item item item …

where at the start and at each item the next item is learnt, so that a row of twenty items gives twenty targets in one
pass. It may end with a question, `<ask> words <answer>`, to which `<yes>` or `<no>`, `<a>` or `<b>`, or words up to
`<end>` are the answer. A text that asks for an item, `<ask> words <answer>` too, is read by itself; it belongs to a
place of a conversation, and moves what is said there. Derived in chapter `keras-implementation`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from instructrec.instructions.phrases import QUESTIONS, Phrases
from instructrec.models.vocabulary import ANSWER, ASK, END, NO, START, UNKNOWN, YES, A, B, Vocabulary

BATCH_WIDTH = 8
"""Rows and texts are padded to a multiple of so many tokens."""
ARBITRARY = 0.3
"""Share of the texts that ask for an item drawn from the whole catalogue, whatever was chosen."""
LONG = 30
"""Texts of more tokens are left out of training, so that a batch of them stays narrow."""
NOISE = 4
"""So many words at most are put among those of a text where it gets noise; half of them are unknown ones."""
REPLACED = 0.5
"""Share of the words of a paraphrased text that a like word replaces, where there is one."""
LIKE, MOST_LIKE = 0.5, 8
"""A word is like another from this cosine of their vectors, and of so many likest ones one is drawn."""


class Ask(NamedTuple):
    """A text that asks for what comes next.

    Attributes:
        place: Number of the target of its row that it belongs to.
        tokens: From `<ask>` to `<answer>`.
        meaning: Rows of the sets that an item must be in to meet the text, see `Phrases`.
        true: Whether it is true of the item that was chosen.
    """

    place: int
    tokens: list[int]
    meaning: tuple[int, ...]
    true: bool


class Row(NamedTuple):
    """Some events of one user.

    Attributes:
        user: Number of the user's history.
        tokens: What is read.
        places: Number of the token behind which each item follows.
        events: Number in the user's history of each item that follows.
        asks: Texts that belong to these places.
        word_places: Number of the token behind which each word of an answer follows.
        words: These words, and control tokens.
    """

    user: int
    tokens: list[int]
    places: list[int]
    events: list[int]
    asks: list[Ask]
    word_places: list[int]
    words: list[int]


class Batch(NamedTuple):
    """Rows as arrays.

    Attributes:
        token_ids: Shape (batch, length), int32; 0 is padding.
        item_places: Numbers in the flattened tokens where an item follows, shape (n,), int32.
        items: The item's column, shape (n,), int32.
        left_out: Items that do not compete there, since the user has met them, shape (n, n_items), bool.
        text_ids: Tokens of the texts, shape (m, text_length), int32; 0 is padding.
        text_places: Numbers in the flattened `text_ids` of their last tokens, shape (m,), int32.
        asked: Number among the n places of the one that a text belongs to, shape (m,), int32.
        true: 1 for a text that is true of the item chosen there, else 0, shape (m,), float32.
        meanings: Rows of the sets that an item must be in to meet the text, shape (m, most), int32.
        word_places: Numbers in the flattened tokens where a word or a control token follows, shape (k,), int32.
        words: That token, shape (k,), int32, by `Vocabulary.spoken`.
    """

    token_ids: np.ndarray
    item_places: np.ndarray
    items: np.ndarray
    left_out: np.ndarray
    text_ids: np.ndarray
    text_places: np.ndarray
    asked: np.ndarray
    true: np.ndarray
    meanings: np.ndarray
    word_places: np.ndarray
    words: np.ndarray


class Conversations:
    """Makes an epoch's batches: the same histories each time, with other instructions, in other rows and another order.

    Args:
        sequences: A user's catalogue columns each, oldest first.
        phrases: Writer of instructions, None for none at all.
        vocabulary: Numbers of the tokens.
        settings: Those of `Mini`.
        vectors: Of all words, shape (n_words, size), in which like words are near; None if there are none.
    """

    def __init__(
        self,
        sequences: Sequence[np.ndarray],
        phrases: Phrases | None,
        vocabulary: Vocabulary,
        settings: dict[str, Any],
        vectors: np.ndarray | None = None,
    ) -> None:
        self.sequences = [one.tolist() for one in sequences]
        self.phrases, self.vocabulary, self.settings = phrases, vocabulary, settings
        self.n_items = vocabulary.n_items
        everything = np.ones((1, self.n_items), dtype=bool)
        self.meanings = everything if phrases is None else np.concatenate([phrases.meanings, everything])
        self._anything = len(self.meanings) - 1
        self._neighbours = neighbours(vocabulary, vectors) if settings["paraphrase"] else {}

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
            row = Row(user, [START], [], [], [], [], [])
            end = min(len(sequence), start + length)
            for event in range(start, end):
                row.places.append(len(row.tokens) - 1)
                row.events.append(event)
                if self.phrases is not None and draw() < settings["instruction_share"]:
                    self._ask(row, sequence, event, draw)
                if draw() >= settings["forgetting"]:
                    row.tokens.append(self.vocabulary.first_item + sequence[event])
            if self.phrases is not None and end < len(sequence) and draw() < settings["question_share"]:
                self._question(row, sequence, start, end, draw)
            else:
                del row.tokens[row.places[-1] + 1 :]  # nothing is learnt behind it
            rows.append(row)
            start, length = end, settings["length"]
        return rows

    def _ask(self, row: Row, sequence: list[int], event: int, draw: Callable[[], float]) -> None:
        """Give the last place of a row a text, with like words in it and noise at times."""
        true = draw() >= ARBITRARY
        item = sequence[event] if true else int(draw() * self.n_items)
        phrase = self.phrases.ask(item, sequence[max(0, event - 20) : event], draw)  # type: ignore[union-attr]
        if phrase is None:
            return
        words: Sequence[int] = self.vocabulary.encode(phrase.text)
        if not phrase.literal and draw() < self.settings["paraphrase"]:
            words = [self._like(token, draw) if draw() < REPLACED else token for token in words]
        if draw() < self.settings["noise"]:
            noisy = list(words)
            for _ in range(1 + int(draw() * NOISE)):
                any_word = self.vocabulary.first_word + int(draw() * self.vocabulary.n_words)
                noisy.insert(int(draw() * (len(noisy) + 1)), UNKNOWN if draw() < 0.5 else any_word)
            words = noisy
        if len(words) > LONG:
            return
        meaning = phrase.meaning or (self._anything,)
        row.asks.append(Ask(len(row.places) - 1, [ASK, *words, ANSWER], meaning, true))

    def _like(self, token: int, draw: Callable[[], float]) -> int:
        """Return a word of like meaning, the same where none is known."""
        like = self._neighbours.get(token)
        return token if like is None else like[int(draw() * len(like))]

    def _question(
        self, row: Row, sequence: list[int], start: int, end: int, draw: Callable[[], float]
    ) -> None:
        """End a row with a question about the item that comes next, or about the items before, and its answer."""
        phrases, vocabulary = self.phrases, self.vocabulary
        assert phrases is not None
        language = phrases.languages[int(draw() * len(phrases.languages))]
        item, other = sequence[end], int(draw() * self.n_items)
        first = draw() < 0.5
        kind = QUESTIONS[int(draw() * len(QUESTIONS))]
        items = {"item": item}
        if kind == "yes_or_no":
            items, answer = {"item": item if first else other}, [YES if first else NO]
        elif kind == "a_or_b":
            pair = (item, other) if first else (other, item)
            items, answer = dict(zip(("item_a", "item_b"), pair, strict=True)), [A if first else B]
        elif kind == "query":
            said = phrases.annotators[language].join(phrases.categories[item])
            answer = [*vocabulary.encode(said), END]
        else:
            answer = [*vocabulary.encode(phrases.taste(sequence[start:end], language)), END]
        texts = phrases.questions(language)[kind]
        row.tokens.extend((ASK, *fill(texts[int(draw() * len(texts))], items, vocabulary), ANSWER))
        for token in answer:
            row.word_places.append(len(row.tokens) - 1)
            row.words.append(token)
            row.tokens.append(token)
        row.tokens.pop()

    def batch(self, rows: Sequence[Row]) -> Batch:
        """Return rows as arrays."""
        tokens = _padded([row.tokens for row in rows])
        length = tokens.shape[1]
        n_places = np.cumsum([0, *(len(row.places) for row in rows)])
        asks = [
            (first + ask.place, ask) for first, row in zip(n_places, rows, strict=False) for ask in row.asks
        ]
        texts = _padded([ask.tokens for _, ask in asks])
        most = max([len(ask.meaning) for _, ask in asks], default=1)
        meanings = np.full((len(asks), most), self._anything, dtype=np.int32)
        for filled, (_, ask) in zip(meanings, asks, strict=True):
            filled[: len(ask.meaning)] = ask.meaning
        left_out = np.zeros((n_places[-1], self.n_items), dtype=bool)
        for first, row in zip(n_places, rows, strict=False):
            history, met = self.sequences[row.user], 0
            for number, event in enumerate(row.events, start=first):
                left_out[number : first + len(row.events), history[met:event]] = True
                met = event
            targets = [history[event] for event in row.events]
            left_out[np.arange(first, first + len(targets)), targets] = False  # an item may be met twice
        return Batch(
            tokens,
            _flat([row.places for row in rows], length),
            np.array(
                [self.sequences[row.user][event] for row in rows for event in row.events], dtype=np.int32
            ),
            left_out,
            texts,
            _flat([[len(ask.tokens) - 1] for _, ask in asks], texts.shape[1]),
            np.array([place for place, _ in asks], dtype=np.int32),
            np.array([ask.true for _, ask in asks], dtype=np.float32),
            meanings,
            _flat([row.word_places for row in rows], length),
            np.array([self.vocabulary.spoken(word) for row in rows for word in row.words], dtype=np.int32),
        )


def _padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Return lists of tokens as one array, zeros behind each."""
    length = -(-max(map(len, rows), default=1) // BATCH_WIDTH) * BATCH_WIDTH
    padded = np.zeros((len(rows), length), dtype=np.int32)
    for filled, row in zip(padded, rows, strict=True):
        filled[: len(row)] = row
    return padded


def _flat(places: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """Return places in rows as places in the rows laid end to end."""
    return np.array(
        [number * length + one for number, row in enumerate(places) for one in row], dtype=np.int32
    )


def neighbours(vocabulary: Vocabulary, vectors: np.ndarray | None) -> dict[int, list[int]]:
    """Return the likest words of each word of training, by the cosine of their vectors.

    Args:
        vocabulary: Numbers of the words.
        vectors: Of all words, zeros for one without; shape (n_words, size), or None.

    Returns:
        Up to `MOST_LIKE` tokens of a cosine of at least `LIKE` for each token that has any, the likest first.
    """
    if vectors is None:
        return {}
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)
    n_known = len(vocabulary.words)
    cosines = unit[:n_known] @ unit.T
    cosines[np.arange(n_known), np.arange(n_known)] = 0
    found = {}
    for number, row in enumerate(cosines):
        best = np.argpartition(-row, MOST_LIKE)[:MOST_LIKE] if len(row) > MOST_LIKE else np.arange(len(row))
        best = best[row[best] >= LIKE]
        if len(best):
            likest = best[np.argsort(-row[best], kind="stable")]
            found[vocabulary.first_word + number] = (vocabulary.first_word + likest).tolist()
    return found


def fill(text: str, items: dict[str, int], vocabulary: Vocabulary) -> list[int]:
    """Return the tokens of a text in which `{name}` stands for an item.

    Args:
        text: Such as "would I like {item}".
        items: Catalogue column by name.
        vocabulary: Numbers of words and items.
    """
    tokens: list[int] = []
    for number, part in enumerate(text.replace("{", "}").split("}")):
        tokens += [vocabulary.first_item + items[part]] if number % 2 else vocabulary.encode(part)
    return tokens
