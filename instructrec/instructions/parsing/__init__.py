"""Parsing of instructions: conditions by a grammar, simple words in English or Chinese by rules."""

from __future__ import annotations

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions.parsing.constraint import Constraint
from instructrec.instructions.parsing.grammar import looks_parametric, parse_parametric
from instructrec.instructions.parsing.rules import parse_keywords


def parse(text: str, dataset: Dataset) -> Constraint:
    """Parse an instruction: as conditions if it is written as such, else as simple words in English or Chinese.

    Args:
        text: Text such as "year >= 1990 and not genre = Horror", "no horror, after 1990, popular" or "便宜的科幻片".
        dataset: The data set whose items are requested; its interactions, if any, determine popularity.

    Returns:
        The constraint; where nothing was understood, one that every item satisfies, with the text under "ignored".

    Raises:
        InputError: An empty text, or conditions with a mistake.
    """
    if not isinstance(text, str):
        raise InputError(f"instruction is {text!r}; a text is accepted")
    if not text.strip():
        raise InputError(
            "instruction is empty; give conditions such as 'year >= 1990' or words such as 'no horror'"
        )
    return (
        parse_parametric(text, dataset) if looks_parametric(text, dataset) else parse_keywords(text, dataset)
    )
