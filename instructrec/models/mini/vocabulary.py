"""Tokens of the language model `mini`: control tokens, one token an item, and words.

Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

CONTROLS = ("<pad>", "<start>", "<ask>", "<answer>", "<end>", "<unknown>")
PAD, START, ASK, ANSWER, END, UNKNOWN = range(len(CONTROLS))
LONGEST = 48
"""The most tokens of an instruction that are read, the first ones."""
_TOKEN = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+|<=|>=|[<>=]")


def tokenise(text: str) -> list[str]:
    """Return the tokens of a text: words and numbers in lower case, Chinese by character, signs of comparison."""
    return _TOKEN.findall(text.lower())


class Vocabulary:
    """Numbers for control tokens, items, words that training knows, and more words, in this order.

    Attributes:
        n_items: How many items.
        words: Words that training knows.
        more: Words that only their vectors say something of.
    """

    def __init__(self, n_items: int, words: Sequence[str], more: Sequence[str] = ()) -> None:
        self.n_items = n_items
        self.words, self.more = list(words), list(more)
        self.first_item = len(CONTROLS)
        self.first_word = self.first_item + n_items
        self.first_more = self.first_word + len(words)
        self._numbers = {word: number for number, word in enumerate([*words, *more], start=self.first_word)}
        self._encode = lru_cache(100_000)(self._encode_text)

    def __len__(self) -> int:
        return self.first_word + len(self._numbers)

    @property
    def n_words(self) -> int:
        """Number of all words."""
        return len(self._numbers)

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the numbers of a text's tokens, at most `LONGEST`.

        A word that is not known is read without an "s" at its end, or else as `<unknown>`.
        """
        return self._encode(text)

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return tuple([self._number(token) for token in tokenise(text)[:LONGEST]])

    def _number(self, token: str) -> int:
        known = self._numbers.get(token)
        return self._numbers.get(token.removesuffix("s"), UNKNOWN) if known is None else known

    def spoken(self, token: int) -> int:
        """Return the number of a control token or word among those alone, without items."""
        return token if token < self.first_item else token - self.n_items

    def tokens(self, numbers: Sequence[int]) -> list[str]:
        """Return tokens by number, an item as `<item COLUMN>`."""
        all_words = [*self.words, *self.more]
        return [
            CONTROLS[number]
            if number < self.first_item
            else f"<item {number - self.first_item}>"
            if number < self.first_word
            else all_words[number - self.first_word]
            for number in map(int, numbers)
        ]
