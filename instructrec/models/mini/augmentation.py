"""Paraphrases and noise for the instructions that `Mini` is tuned on.

A paraphrase replaces words by similar words. Noise inserts words that say nothing about items, or puts a carrier
sentence around the instruction. Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from instructrec.instructions.query_generator import QueryGenerator
from instructrec.instructions.verbalizer import Draw
from instructrec.models.mini.vocabulary import UNKNOWN, Vocabulary
from instructrec.wordings.lexicon import held_out_words

REPLACED_WORD_SHARE = 0.5
"""Share of the words of a paraphrased instruction that are replaced, among the words that have similar words."""
MIN_SIMILARITY, MAX_NEIGHBOURS = 0.6, 30
"""Minimum cosine of the vectors of similar words, and maximum number of similar words that a paraphrase draws from."""
MAX_ENGLISH_NOISE, MAX_CHINESE_NOISE = 8, 28
"""Maximum number of words inserted into an English text, and of characters inserted into a Chinese one."""
MAX_INSERTIONS = 4
"""Maximum number of noise words inserted between words; noise in front of a text and behind it may be longer."""
N_COMMON_WORDS = 4_000
"""Number of common out-of-vocabulary words in the noise, beside words of the training texts and `<unknown>`."""
CARRIER_SHARE = 1 / 3
"""Share of noisy instructions with a carrier sentence (`QueryGenerator.carriers`) instead of noise words."""


class Augmentation:
    """Paraphrases and noise for encoded instructions.

    Args:
        generator: Query generator; its names, refusals and function words are neither replaced nor inserted.
        vocabulary: Token ids.
        vectors: Word vectors, shape (n_words, size), by which similar words are found; without them, a paraphrase
            replaces nothing.
    """

    def __init__(
        self, generator: QueryGenerator, vocabulary: Vocabulary, vectors: np.ndarray | None = None
    ) -> None:
        excluded = _held_out_token_ids(vocabulary)
        fixed = _encoded(generator.function_texts(), vocabulary)
        self.similar_words: dict[int, list[int]] = {}
        for token_id, neighbours in nearest_words(vocabulary, vectors).items():
            allowed = [neighbour for neighbour in neighbours if neighbour not in excluded]
            if token_id not in fixed and allowed:
                self.similar_words[token_id] = allowed
        english, chinese = _harmless_words(generator, vocabulary)
        common = range(
            vocabulary.first_oov, vocabulary.first_oov + min(N_COMMON_WORDS, len(vocabulary.oov_words))
        )
        common_words = [token_id for token_id in common if token_id not in excluded] or [UNKNOWN]
        self.noise_words = {
            "en": (english, common_words, [UNKNOWN]),
            "zh": (chinese, chinese, [UNKNOWN]),
        }
        self._carriers = {
            language: [
                (vocabulary.encode(before), vocabulary.encode(after))
                for before, after in generator.carriers(
                    language if language in generator.languages else generator.languages[0]
                )
            ]
            for language in ("en", "zh")
        }

    def paraphrase(self, token_ids: Sequence[int], draw: Draw) -> list[int]:
        """Return token ids in which about half of the words that have similar words are replaced by one of these."""
        return [
            self._similar(token_id, draw) if draw() < REPLACED_WORD_SHARE else token_id
            for token_id in token_ids
        ]

    def _similar(self, token_id: int, draw: Draw) -> int:
        """Return a random similar word; the word itself if it has none."""
        similar = self.similar_words.get(token_id)
        return token_id if similar is None else similar[int(draw() * len(similar))]

    def add_noise(self, token_ids: Sequence[int], language: str, literal: bool, draw: Draw) -> list[int]:
        """Return the token ids of an instruction with a carrier sentence around it, or with noise words.

        Args:
            token_ids: Token ids of the instruction.
            language: "en" or "zh".
            literal: Insert no noise words, because the instruction asks for its exact words, such as a title.
            draw: Function that returns random numbers in [0, 1).
        """
        if draw() < CARRIER_SHARE:
            carriers = self._carriers[language]
            before, after = carriers[int(draw() * len(carriers))]
            return [*before, *token_ids, *after]
        return list(token_ids) if literal else self._with_noise_words(list(token_ids), language, draw)

    def _with_noise_words(self, token_ids: list[int], language: str, draw: Draw) -> list[int]:
        """Return token ids with noise words in front of and behind the instruction, or between its words."""
        sources = self.noise_words[language]
        max_words = MAX_ENGLISH_NOISE if language == "en" else MAX_CHINESE_NOISE
        noise = []
        for _ in range(1 + int(draw() * max_words)):
            source = sources[int(draw() * len(sources))]
            noise.append(source[int(draw() * len(source))])
        if draw() < 0.5:
            cut = int(draw() * (len(noise) + 1))
            return [*noise[:cut], *token_ids, *noise[cut:]]
        for token_id in noise[:MAX_INSERTIONS]:
            token_ids.insert(int(draw() * (len(token_ids) + 1)), token_id)
        return token_ids


def nearest_words(vocabulary: Vocabulary, vectors: np.ndarray | None) -> dict[int, list[int]]:
    """Return the nearest words of each word of the training texts, by the cosine of their vectors.

    Args:
        vocabulary: Token ids.
        vectors: Word vectors, shape (n_words, size), zeros for a word without one; or None.

    Returns:
        Up to `MAX_NEIGHBOURS` token ids with a cosine of at least `MIN_SIMILARITY`, the nearest first, for each token
        id that has any.
    """
    if vectors is None:
        return {}
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms > 0, norms, 1)
    nearest = {}
    for row in range(len(vocabulary.words)):
        cosines = unit @ unit[row]
        cosines[row] = 0
        best = np.arange(len(cosines))
        if len(cosines) > MAX_NEIGHBOURS:
            best = np.argpartition(-cosines, MAX_NEIGHBOURS)[:MAX_NEIGHBOURS]
        best = best[cosines[best] >= MIN_SIMILARITY]
        if len(best):
            ordered = best[np.argsort(-cosines[best], kind="stable")]
            nearest[vocabulary.first_word + row] = (vocabulary.first_word + ordered).tolist()
    return nearest


def _harmless_words(generator: QueryGenerator, vocabulary: Vocabulary) -> tuple[list[int], list[int]]:
    """Return the English and the Chinese words of the training texts that name no category and refuse nothing."""
    names, refusals, harmless = (_encoded(texts, vocabulary) for texts in generator.protected_texts())
    protected = names | (refusals - harmless)
    allowed = [
        (token_id, word)
        for token_id, word in enumerate(vocabulary.words, start=vocabulary.first_word)
        if token_id not in protected
    ]
    english = [token_id for token_id, word in allowed if word.isascii()]
    chinese = [token_id for token_id, word in allowed if not word.isascii()]
    return english or [UNKNOWN], chinese or [UNKNOWN]


def _held_out_token_ids(vocabulary: Vocabulary) -> set[int]:
    """Return the words held out for tests with unseen words; no training instruction may contain them."""
    words = (word for lists in held_out_words().values() for words in lists.values() for word in words)
    return _encoded(words, vocabulary) - {UNKNOWN}


def _encoded(texts: Iterable[str], vocabulary: Vocabulary) -> set[int]:
    """Return the token ids that occur in some texts."""
    return {token_id for text in texts for token_id in vocabulary.encode(text)}
