"""Counting instructions by what they are made of, in one pass and in bounded memory.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b
from typing import Self

import numpy as np
import pandas as pd

from instructrec.instructions.schema import Instruction

_COLUMNS = ["task", "preference", "intention", "language", "count", "mean_length", "distinct_share"]


class Statistics:
    """Counts that grow with each instruction; two of them can be added up, such as those of two processes.

    Keeps eight bytes a text, a digest, to tell how many are different.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str, str], list[int]] = {}
        self._texts: dict[tuple[str, str, str, str], array[int]] = {}

    def __len__(self) -> int:
        return sum(count for count, _ in self._counts.values())

    def add(self, one: Instruction) -> None:
        """Count one instruction."""
        key = (one.task.value, one.preference.value, one.intention.value, one.language)
        text = one.text
        length = text_length(one)
        tally = self._counts.get(key)
        if tally is None:
            tally = self._counts[key] = [0, 0]
            self._texts[key] = array("Q")
        tally[0] += 1
        tally[1] += length
        digest = blake2b(text.encode(), digest_size=8).digest()
        self._texts[key].append(int.from_bytes(digest, "little"))

    def update(self, instructions: Iterable[Instruction]) -> Self:
        """Count each of many, and return the statistics."""
        for one in instructions:
            self.add(one)
        return self

    def merge(self, other: Statistics) -> None:
        """Add another's counts to these."""
        for key, (count, length) in other._counts.items():
            tally = self._counts.setdefault(key, [0, 0])
            tally[0] += count
            tally[1] += length
            self._texts.setdefault(key, array("Q")).extend(other._texts[key])

    def table(self) -> pd.DataFrame:
        """Return one row for each task, preference, intention and language, see `statistics`."""
        rows = [
            (
                *key,
                count,
                length / count,
                len(np.unique(np.frombuffer(self._texts[key], dtype=np.uint64))) / count,
            )
            for key, (count, length) in sorted(self._counts.items())
        ]
        return pd.DataFrame(rows, columns=_COLUMNS)


def text_length(one: Instruction) -> int:
    """Return the length of an instruction's text: words in English, characters other than spaces in Chinese."""
    words = one.text.split()
    return sum(map(len, words)) if one.language == "zh" else len(words)


def statistics(instructions: Iterable[Instruction]) -> pd.DataFrame:
    """Count instructions by what they are made of; reads a stream once.

    Args:
        instructions: Any number of instructions.

    Returns:
        One row for each task, preference, intention and language that occurs, with `count`, `mean_length` (of the text:
        words in English, characters other than spaces in Chinese) and `distinct_share` (different texts / texts).
    """
    return Statistics().update(instructions).table()
