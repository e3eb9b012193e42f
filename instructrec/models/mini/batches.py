"""The texts that `Mini` is tuned on: what users may ask in front of each event, and questions that words answer.

A text that asks for an item is `<ask> words <answer>`. It is read by itself; it belongs to an event of a history, and
moves what is said there. A question is `<start> <ask> words <answer> words <end>`, where `<start>` stands for the
history and the words behind `<answer>` are learnt. Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from instructrec.instructions.query_frames import QUESTION_KINDS
from instructrec.instructions.query_generator import QueryGenerator
from instructrec.models.mini.packing import padded
from instructrec.models.mini.vocabulary import ANSWER, ASK, END, START, UNKNOWN, Vocabulary
from instructrec.wordings.lexicon import held_out_words

ARBITRARY = 0.3
"""Share of the texts that ask for an item drawn from the whole catalogue, whatever was chosen."""
TRUSTED = 0.5
"""Share of the texts at which the history counts in full; at the others it counts by a share drawn from [0, 1)."""
LONG = 48
"""Texts of more tokens are left out of training, so that a batch of them stays narrow."""
REPLACED = 0.5
"""Share of the words of a paraphrased text that a like word replaces, where there is one."""
LIKE, MOST_LIKE = 0.6, 30
"""A word is like another from this cosine of their vectors, and of so many likest ones one is drawn."""
MOST_NOISE = {True: 8, False: 28}
"""So many words at most are put among those of an English text, and characters among those of a Chinese one."""
COMMON = 4_000
"""Noise is drawn from the words of training, from so many of the commonest words beyond, and from unknown ones."""
CARRIED = 1 / 3
"""Share of the noise that is a sentence around the text (`QueryGenerator.carriers`)."""
CALM = 0.4
"""While tuning settles, like words and noise are so many times as frequent."""


class Text(NamedTuple):
    """A text that asks, or a question with its answer.

    Attributes:
        user: Number of the user's history.
        event: Number in it of the event that the text stands before.
        tokens: What is read.
        meaning: Rows of the sets that an item must be in to meet the text, see `QueryGenerator`; of a question, none.
        trust: How much of what the history says counts, in [0, 1].
        told: Whether the text tells the taste, so that the history is not read.
        answer: The words that answer a question, and `<end>`; empty for a text that asks for an item.
    """

    user: int
    event: int
    tokens: list[int]
    meaning: tuple[int, ...]
    trust: float
    told: bool
    answer: tuple[int, ...]


class TextBatch(NamedTuple):
    """Texts as arrays.

    Attributes:
        token_ids: Shape (batch, length), int32; 0 is padding.
        asking: Numbers of the texts that ask for an item, shape (m,), int32.
        text_places: Numbers in the flattened tokens of their last ones, shape (m,), int32.
        meanings: Rows of the sets that an item must be in to meet them, shape (m, most), int32.
        trust: How much of what the history says counts, shape (m,), float32.
        told: Whether the text tells the taste, shape (m,), bool.
        left_out: Items that do not compete, since the user has met them, shape (m, n_items), bool.
        questions: Whether each text is a question, shape (batch,), bool.
        word_places: Numbers in the flattened tokens where a word of an answer follows, shape (k,), int32.
        words: That word, shape (k,), int32, by `Vocabulary.spoken`.
        rows: The history that each text belongs to, as a number among all events, shape (batch,), int32.
        titled: Which items' titles hold each title word of the batch, shape (k + 1, n_items), float32; the last row
            stands for all other tokens and is 0.
        titling: The row of each token there, shape (batch, length), int32.
    """

    token_ids: np.ndarray
    asking: np.ndarray
    text_places: np.ndarray
    meanings: np.ndarray
    trust: np.ndarray
    told: np.ndarray
    left_out: np.ndarray
    questions: np.ndarray
    word_places: np.ndarray
    words: np.ndarray
    rows: np.ndarray
    titled: np.ndarray
    titling: np.ndarray


class Texts:
    """Makes an epoch's batches of texts, drawn anew each time.

    Args:
        sequences: A user's catalogue columns each, oldest first.
        phrases: Writer of instructions.
        vocabulary: Numbers of the tokens.
        settings: Those of `Mini`.
        vectors: Of all words, shape (n_words, size), in which like words are near; None if there are none.
        titled: Columns of the items whose titles hold a word, by its token, where such words are copied; or None.
    """

    def __init__(
        self,
        sequences: Sequence[np.ndarray],
        phrases: QueryGenerator,
        vocabulary: Vocabulary,
        settings: dict[str, Any],
        vectors: np.ndarray | None = None,
        titled: dict[int, np.ndarray] | None = None,
    ) -> None:
        self.titled = titled or {}
        self.sequences = [one.tolist() for one in sequences]
        self.starts = np.cumsum([0, *map(len, self.sequences)])
        self.phrases, self.vocabulary, self.settings = phrases, vocabulary, settings
        self.n_items = vocabulary.n_items
        self.log_shares = np.concatenate([phrases.log_shares, np.zeros((1, self.n_items), dtype=np.float32)])
        self.anything = len(self.log_shares) - 1
        fixed = {token for text in phrases.function_texts() for token in vocabulary.encode(text)}
        kept_back = _kept_back(vocabulary)
        self._neighbours: dict[int, list[int]] = {}
        if settings["paraphrase"]:
            for token, like in neighbours(vocabulary, vectors).items():
                allowed = [one for one in like if one not in kept_back]
                if token not in fixed and allowed:
                    self._neighbours[token] = allowed
        names, refusals, harmless = (
            {token for text in texts for token in vocabulary.encode(text)}
            for texts in phrases.protected_texts()
        )
        telling = names | (refusals - harmless)
        known = [
            (token, word)
            for token, word in enumerate(vocabulary.words, start=vocabulary.first_word)
            if token not in telling
        ]
        latin = [token for token, word in known if word.isascii()] or [UNKNOWN]
        other = [token for token, word in known if not word.isascii()] or [UNKNOWN]
        common = range(vocabulary.first_more, vocabulary.first_more + min(COMMON, len(vocabulary.more)))
        common_words = [token for token in common if token not in kept_back] or [UNKNOWN]
        self._noise = {True: (latin, common_words, [UNKNOWN]), False: (other, other, [UNKNOWN])}
        self._carriers = {}
        for latin_text, language in ((True, "en"), (False, "zh")):
            spoken = language if language in phrases.languages else phrases.languages[0]
            self._carriers[latin_text] = [
                (vocabulary.encode(before), vocabulary.encode(after))
                for before, after in phrases.carriers(spoken)
            ]

    def epoch(self, number: int) -> list[list[Text]]:
        """Return the texts of an epoch in batches of like length, in a random order.

        Args:
            number: From 0; with the seed it decides all draws.
        """
        settings = self.settings
        settled = settings["tuning_epochs"] - settings["settling_epochs"]
        rng = np.random.default_rng([settings["seed"], 1, number])
        draw = random.Random(int(rng.integers(2**62))).random
        texts: list[Text] = []
        for user, sequence in enumerate(self.sequences):
            for event in range(len(sequence)):
                if draw() < settings["instruction_share"]:
                    if event and draw() < settings["question_share"]:
                        made: Text | None = self._question(user, event, draw)
                    else:
                        made = self._ask(user, event, draw, CALM if number >= settled else 1.0)
                    if made is not None:
                        texts.append(made)
        size = settings["text_batch_size"]
        order = np.argsort([len(text.tokens) + 3 * draw() for text in texts], kind="stable")
        batches = [[texts[at] for at in order[start : start + size]] for start in range(0, len(order), size)]
        return [batches[at] for at in rng.permutation(len(batches))]

    def _ask(self, user: int, event: int, draw: Callable[[], float], often: float) -> Text | None:
        """Return a text in front of an event, with like words in it and noise at times, `often` as often as set."""
        sequence = self.sequences[user]
        item = sequence[event] if draw() >= ARBITRARY else int(draw() * self.n_items)
        phrase = self.phrases.generate(item, sequence[max(0, event - 20) : event], draw)
        if phrase is None:
            return None
        words: Sequence[int] = self.vocabulary.encode(phrase.text)
        if not phrase.literal and draw() < self.settings["paraphrase"] * often:
            words = [self._like(token, draw) if draw() < REPLACED else token for token in words]
        if draw() < self.settings["noise"] * often:
            latin = phrase.text.isascii()
            if draw() < CARRIED:
                before, after = self._carriers[latin][int(draw() * len(self._carriers[latin]))]
                words = [*before, *words, *after]
            elif not phrase.literal:
                words = self._noisy(list(words), self._noise[latin], MOST_NOISE[latin], draw)
        if len(words) > LONG:
            return None
        trust = 1.0 if draw() < TRUSTED else draw()
        meaning = phrase.meaning or (self.anything,)
        return Text(user, event, [ASK, *words, ANSWER], meaning, trust, phrase.states_taste, ())

    @staticmethod
    def _noisy(
        words: list[int], kinds: tuple[list[int], ...], most: int, draw: Callable[[], float]
    ) -> list[int]:
        """Put words that mean nothing here in front of others, behind them, or between them."""
        noise = []
        for _ in range(1 + int(draw() * most)):
            kind = kinds[int(draw() * len(kinds))]
            noise.append(kind[int(draw() * len(kind))])
        if draw() < 0.5:
            cut = int(draw() * (len(noise) + 1))
            return [*noise[:cut], *words, *noise[cut:]]
        for word in noise[:4]:
            words.insert(int(draw() * (len(words) + 1)), word)
        return words

    def _like(self, token: int, draw: Callable[[], float]) -> int:
        """Return a word of like meaning, the same where none is known."""
        like = self._neighbours.get(token)
        return token if like is None else like[int(draw() * len(like))]

    def _question(self, user: int, event: int, draw: Callable[[], float]) -> Text:
        """Return a question about an item, or about the items before, and its answer."""
        phrases, vocabulary = self.phrases, self.vocabulary
        language = phrases.languages[int(draw() * len(phrases.languages))]
        kind = QUESTION_KINDS[int(draw() * len(QUESTION_KINDS))]
        items: dict[str, int] = {}
        if kind == "query":
            items = {"item": int(draw() * self.n_items)}
            said = phrases.verbalizers[language].join(phrases.categories[items["item"]])
        else:
            said = phrases.taste(
                self.sequences[user][max(0, event - self.settings["length"]) : event], language
            )
        answer = (*vocabulary.encode(said), END)
        texts = phrases.questions(language)[kind]
        asked = fill(texts[int(draw() * len(texts))], items, vocabulary)
        return Text(user, event, [START, ASK, *asked, ANSWER, *answer[:-1]], (), 0.0, False, answer)

    def batch(self, texts: Sequence[Text]) -> TextBatch:
        """Return texts as arrays."""
        tokens = padded([text.tokens for text in texts])
        length = tokens.shape[1]
        asking = [number for number, text in enumerate(texts) if not text.answer]
        most = max([len(texts[number].meaning) for number in asking], default=1)
        meanings = np.full((len(asking), most), self.anything, dtype=np.int32)
        left_out = np.zeros((len(asking), self.n_items), dtype=bool)
        for filled, met, number in zip(meanings, left_out, asking, strict=True):
            text = texts[number]
            filled[: len(text.meaning)] = text.meaning
            met[self.sequences[text.user][: text.event]] = True
        answered = [
            (number, len(text.tokens) - len(text.answer), text.answer)
            for number, text in enumerate(texts)
            if text.answer
        ]
        return TextBatch(
            tokens,
            np.array(asking, dtype=np.int32),
            np.array([number * length + len(texts[number].tokens) - 1 for number in asking], dtype=np.int32),
            meanings,
            np.array([texts[number].trust for number in asking], dtype=np.float32),
            np.array([texts[number].told for number in asking], dtype=bool),
            left_out,
            np.array([len(text.answer) > 0 for text in texts], dtype=bool),
            np.array(
                [number * length + first + at for number, first, said in answered for at in range(len(said))],
                dtype=np.int32,
            ),
            np.array(
                [self.vocabulary.spoken(word) for _, _, said in answered for word in said], dtype=np.int32
            ),
            np.array([self.starts[text.user] + text.event for text in texts], dtype=np.int32),
            *self._titles(tokens),
        )

    def _titles(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `titled` and `titling` of a batch."""
        found, numbers = np.unique(tokens, return_inverse=True)
        words = [token for token in found.tolist() if token in self.titled]
        titled = np.zeros((len(words) + 1, self.n_items), dtype=np.float32)
        for row, word in zip(titled, words, strict=False):
            row[self.titled[word]] = 1
        rows = np.full(len(found), len(words), dtype=np.int32)
        rows[np.isin(found, words)] = np.arange(len(words))
        return titled, rows[numbers].reshape(tokens.shape)


def _kept_back(vocabulary: Vocabulary) -> set[int]:
    """Return the words that a test of words never met asks with; no text of training may hold one."""
    tokens = {
        token
        for lists in held_out_words().values()
        for words in lists.values()
        for word in words
        for token in vocabulary.encode(word)
    }
    return tokens - {UNKNOWN}


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
    found = {}
    for number in range(len(vocabulary.words)):
        row = unit @ unit[number]
        row[number] = 0
        best = np.argpartition(-row, MOST_LIKE)[:MOST_LIKE] if len(row) > MOST_LIKE else np.arange(len(row))
        best = best[row[best] >= LIKE]
        if len(best):
            likest = best[np.argsort(-row[best], kind="stable")]
            found[vocabulary.first_word + number] = (vocabulary.first_word + likest).tolist()
    return found


def fill(text: str, items: dict[str, int], vocabulary: Vocabulary) -> list[int]:
    """Return the tokens of a text in which `{name}` stands for an item.

    Args:
        text: Such as "name the category of {item}".
        items: Catalogue column by name.
        vocabulary: Numbers of words and items.
    """
    tokens: list[int] = []
    for number, part in enumerate(text.replace("{", "}").split("}")):
        tokens += [vocabulary.first_item + items[part]] if number % 2 else vocabulary.encode(part)
    return tokens
