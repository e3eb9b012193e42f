"""Spans of a request, and the rules that find conditions in it.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from instructrec.instructions.parsing.constraint import Node


@dataclass(frozen=True)
class Span:
    """A part of the text that expresses a condition or a category.

    Attributes:
        start: Position of its first character.
        end: Position behind its last character.
        condition: The condition, None for a category.
        category: The category, as the data set spells it, None for a condition.
    """

    start: int
    end: int
    condition: Node | None = None
    category: str | None = None


class Rule(NamedTuple):
    """A pattern, and the condition that a match of it expresses."""

    pattern: re.Pattern[str]
    condition: Callable[[re.Match[str]], Node]


def rule(pattern: str, condition: Callable[[re.Match[str]], Node]) -> Rule:
    """Return the rule of a regular expression."""
    return Rule(re.compile(pattern), condition)


def condition_spans(text: str, rules: Iterable[Rule]) -> list[Span]:
    """Return the spans of all matches; a stretch that one rule has matched is hidden from the later rules."""
    spans: list[Span] = []
    for pattern, condition in rules:
        spans += [Span(match.start(), match.end(), condition(match)) for match in pattern.finditer(text)]
        text = pattern.sub(lambda match: "\0" * len(match[0]), text)
    return spans
