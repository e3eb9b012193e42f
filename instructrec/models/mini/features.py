"""Compute the vocabulary of `mini` and the fixed features of its tokens from the catalogue and from word vectors.

Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.query_generator import QueryGenerator, title_words
from instructrec.models.mini.config import MiniConfig
from instructrec.models.mini.vocabulary import Vocabulary, tokenise
from instructrec.models.mini.word_vectors import word_vectors


class TokenFeatures(NamedTuple):
    """Fixed features from which token embeddings are computed.

    Attributes:
        item_words: Training words that describe each item, as indices in `Vocabulary.words`, shape (n_items, n), int32;
            padded with the number of training words. None if items are not described.
        word_vectors: Vectors of the training words and of the out-of-vocabulary words, shape (n_words, size),
            float32; None without word vectors.
    """

    item_words: np.ndarray | None
    word_vectors: np.ndarray | None


def title_tokens(dataset: Dataset) -> list[set[str]]:
    """Return the tokens of the words of each item's title; a saved model computes them from its catalogue."""
    words_by_item = title_words(dataset.items["title"].tolist())
    return [{token for word in words for token in tokenise(word)} for words in words_by_item]


def training_words(dataset: Dataset, languages: Sequence[str]) -> list[str]:
    """Return the training words, sorted: the words of all generated queries in some languages, and of titles."""
    texts = QueryGenerator(dataset, languages).texts()
    return sorted({token for text in texts for token in tokenise(text)}.union(*title_tokens(dataset)))


def build_vocabulary(dataset: Dataset, words: Sequence[str], config: MiniConfig) -> Vocabulary:
    """Return the vocabulary of a data set; words with a vector that are not in `words` are out-of-vocabulary words."""
    oov_words: list[str] = []
    if config.word_vectors:
        in_training = set(words)
        oov_words = [word for word in word_vectors().words if word not in in_training]
    return Vocabulary(dataset.n_items, words, oov_words)


def title_columns(dataset: Dataset, vocabulary: Vocabulary) -> dict[int, np.ndarray]:
    """Return the catalogue columns of the items whose titles contain a word, by the word's token id."""
    columns_by_token: dict[int, list[int]] = {}
    for column, tokens in enumerate(title_tokens(dataset)):
        for token in tokens:
            columns_by_token.setdefault(vocabulary.encode(token)[0], []).append(column)
    return {token_id: np.array(columns) for token_id, columns in columns_by_token.items()}


def token_features(generator: QueryGenerator, vocabulary: Vocabulary, config: MiniConfig) -> TokenFeatures:
    """Return the features of the tokens of a vocabulary.

    Args:
        generator: Query generator of the data set, which has the descriptions of the items.
        vocabulary: Token ids.
        config: Settings of `Mini`.
    """
    return TokenFeatures(
        _item_words(generator, vocabulary) if config.describe_items else None,
        word_vectors().of([*vocabulary.words, *vocabulary.oov_words]) if config.word_vectors else None,
    )


def _item_words(generator: QueryGenerator, vocabulary: Vocabulary) -> np.ndarray:
    """Return the training words that describe each item, see `TokenFeatures.item_words`."""
    indices = {word: index for index, word in enumerate(vocabulary.words)}
    words_by_item = [
        list(dict.fromkeys(indices[token] for text in texts for token in tokenise(text) if token in indices))
        for texts in generator.descriptions()
    ]
    n_columns = max(map(len, words_by_item), default=1) or 1
    table = np.full((len(words_by_item), n_columns), len(vocabulary.words), dtype=np.int32)
    for row, words in zip(table, words_by_item, strict=True):
        row[: len(words)] = words
    return table
