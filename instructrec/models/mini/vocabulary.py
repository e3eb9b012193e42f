"""Tokens of the language model `mini`: control tokens, one token per item, and words.

Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

CONTROL_TOKENS = ("<pad>", "<start>", "<ask>", "<answer>", "<end>", "<unknown>")
PAD, START, ASK, ANSWER, END, UNKNOWN = range(len(CONTROL_TOKENS))
"""Token ids of the control tokens."""
MAX_TOKENS = 48
"""Maximum number of tokens of a text; longer texts are truncated."""
_TOKEN = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+|<=|>=|[<>=]")


def tokenise(text: str) -> list[str]:
    """Split a text into tokens: words and numbers in lower case, single Chinese characters, comparison signs."""
    return _TOKEN.findall(text.lower())


class Vocabulary:
    """Map texts to token ids: control tokens, items, training words and out-of-vocabulary words, in this order.

    Attributes:
        n_items: Number of items.
        words: Words of the training texts, which have trained embeddings.
        oov_words: Words that occur in no training text and are embedded by their SmolLM2 vectors only.
        first_item: Id of the first item.
        first_word: Id of the first training word.
        first_oov: Id of the first out-of-vocabulary word.
    """

    def __init__(self, n_items: int, words: Sequence[str], oov_words: Sequence[str] = ()) -> None:
        self.n_items = n_items
        self.words, self.oov_words = list(words), list(oov_words)
        self.first_item = len(CONTROL_TOKENS)
        self.first_word = self.first_item + n_items
        self.first_oov = self.first_word + len(words)
        self._ids = {word: number for number, word in enumerate([*words, *oov_words], start=self.first_word)}
        self._encode = lru_cache(100_000)(self._encode_text)

    def __len__(self) -> int:
        return self.first_word + len(self._ids)

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text, at most `MAX_TOKENS`; results are cached.

        A word that is not in the vocabulary is looked up without a final "s", then replaced by `<unknown>`.
        """
        return self._encode(text)

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return tuple([self._token_id(token) for token in tokenise(text)[:MAX_TOKENS]])

    def _token_id(self, token: str) -> int:
        token_id = self._ids.get(token)
        return self._ids.get(token.removesuffix("s"), UNKNOWN) if token_id is None else token_id

    def output_id(self, token_id: int) -> int:
        """Return the output row of a control token or word; the output layer for words has no rows for items."""
        return token_id if token_id < self.first_item else token_id - self.n_items

    def input_id(self, output_id: int) -> int:
        """Return the token id of a row of the output layer for words; the inverse of `output_id`."""
        return output_id if output_id < self.first_item else output_id + self.n_items

    def tokens(self, token_ids: Sequence[int]) -> list[str]:
        """Return the text of each token id, for an item `<item COLUMN>` with its catalogue column."""
        all_words = [*self.words, *self.oov_words]
        return [
            CONTROL_TOKENS[token_id]
            if token_id < self.first_item
            else f"<item {token_id - self.first_item}>"
            if token_id < self.first_word
            else all_words[token_id - self.first_word]
            for token_id in map(int, token_ids)
        ]
