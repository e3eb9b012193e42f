"""Counts and lengths of instructions and of their parts, in one pass.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import pandas as pd

from instructrec.instructions.schema import Instruction, Intention, Preference, TaskForm
from instructrec.wordings.lexicon import LANGUAGES, normal

_COLUMNS = ["task", "preference", "intention", "language", "count", "mean_length", "distinct_share"]


def statistics(instructions: Iterable[Instruction]) -> pd.DataFrame:
    """Count instructions by task, preference, intention and language; reads a stream once.

    Keeps a digest of eight bytes per text, to count the distinct texts.

    Args:
        instructions: Any number of instructions.

    Returns:
        One row for each task, preference, intention and language that occurs, with `count`, `mean_length` (of the text:
        words in English, characters other than spaces in Chinese) and `distinct_share` (distinct texts / texts).
    """
    lengths: dict[tuple[str, str, str, str], int] = {}
    digests: dict[tuple[str, str, str, str], array[int]] = {}
    for instruction in instructions:
        key = (
            instruction.task.value,
            instruction.preference.value,
            instruction.intention.value,
            instruction.language,
        )
        digest = blake2b(instruction.text.encode(), digest_size=8).digest()
        lengths[key] = lengths.get(key, 0) + text_length(instruction)
        digests.setdefault(key, array("Q")).append(int.from_bytes(digest, "little"))
    rows = [
        (
            *key,
            len(digests[key]),
            length / len(digests[key]),
            len(np.unique(np.frombuffer(digests[key], dtype=np.uint64))) / len(digests[key]),
        )
        for key, length in sorted(lengths.items())
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def text_length(instruction: Instruction) -> int:
    """Return the length of an instruction's text: words in English, characters other than spaces in Chinese."""
    return length_in(instruction.text, instruction.language)


def length_in(text: str, language: str) -> int:
    """Return the length of a text: words in English, characters other than spaces in Chinese."""
    words = text.split()
    return sum(map(len, words)) if language == "zh" else len(words)


def distinct_n(texts: Iterable[str], n: int, language: str = "en") -> float:
    """Return distinct-n: distinct n-grams / n-grams, of words or of Chinese characters; NaN without any n-gram.

    Source: Li et al., 2016, arXiv:1510.03055.

    Args:
        texts: The texts.
        n: Length of an n-gram, at least 1.
        language: "en" or "zh".
    """
    distinct: set[tuple[str, ...]] = set()
    n_grams = 0
    for text in texts:
        pieces = "".join(normal(text).split()) if language == "zh" else normal(text).split()
        grams = list(zip(*(pieces[start:] for start in range(n)), strict=False))
        distinct.update(grams)
        n_grams += len(grams)
    return len(distinct) / n_grams if n_grams else math.nan


class PartTally:
    """Counts of one kind of part, such as the preferences derived from the history; memory stays bounded.

    Args:
        sample_size: Maximum number of texts per language in the sample for distinct-n.
        seed: Seed of the sample.

    Attributes:
        count: Number of parts.
        properties: Number of parts that have each property.
        cells: The combinations of preference, intention and task that occur, by language.
        samples: A uniform sample of the texts, by language.
        draw: Draws a random number in [0, 1), from the stream that the sample uses too.
    """

    def __init__(self, sample_size: int, seed: str) -> None:
        self.count = 0
        self.properties: dict[str, int] = {}
        self.cells: dict[str, set[tuple[Preference, Intention, TaskForm]]] = {
            language: set() for language in LANGUAGES
        }
        self.samples: dict[str, list[str]] = {language: [] for language in LANGUAGES}
        self.draw = random.Random(seed).random
        self._sample_size = sample_size
        self._lengths = dict.fromkeys(LANGUAGES, 0)
        self._counts = dict.fromkeys(LANGUAGES, 0)

    def add(self, text: str, instruction: Instruction) -> None:
        """Count one part of an instruction."""
        language = instruction.language
        self.count += 1
        self._counts[language] += 1
        self._lengths[language] += length_in(text, language)
        self.cells[language].add((instruction.preference, instruction.intention, instruction.task))
        sample = self.samples[language]
        if len(sample) < self._sample_size:
            sample.append(text)
        else:  # reservoir sampling: each text so far is in the sample with the same probability (Vitter, 1985)
            index = int(self.draw() * self._counts[language])
            if index < self._sample_size:
                sample[index] = text

    def count_properties(self, names: Iterable[str]) -> None:
        """Count the properties that a part has."""
        for name in names:
            self.properties[name] = self.properties.get(name, 0) + 1

    def mean_length(self, language: str) -> float:
        """Return the mean length of the texts in a language, in words or Chinese characters; NaN without any text."""
        return self._lengths[language] / self._counts[language] if self._counts[language] else math.nan
