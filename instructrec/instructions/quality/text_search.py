"""Search for whole words and phrases in a text.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

LATIN = "0-9a-z\u00c0-\u024f"
"""Latin letters and digits, as the inside of a character class."""
_CACHED_PATTERNS = 4_096


def single_spaced(text: str) -> str:
    """Return a text with every run of white space as one space."""
    return " ".join(text.split())


def occurs_in(phrase: str, text: str) -> bool:
    """Return whether a phrase occurs in a text as whole words; both must be casefolded.

    A Latin letter or digit next to it makes another word ("heat" does not occur in "theatre"); Chinese is written
    without spaces, so there any occurrence counts.
    """
    return phrase in text and _whole_words(phrase).search(text) is not None


def without_first(text: str, phrase: str) -> str:
    """Return a text without the first occurrence of a phrase as whole words."""
    return _whole_words(phrase).sub("\n", text, count=1) if phrase in text else text


@lru_cache(maxsize=_CACHED_PATTERNS)
def _whole_words(phrase: str) -> re.Pattern[str]:
    pattern = re.escape(phrase)
    if re.match(f"[{LATIN}]", phrase):
        pattern = rf"(?<![{LATIN}])" + pattern
    if re.match(f"[{LATIN}]", phrase[-1:]):
        pattern += rf"(?![{LATIN}])"
    return re.compile(pattern)


def trie_pattern(words: Iterable[str]) -> str:
    """Return a pattern that matches the longest of many literal words, in time that hardly depends on their number."""
    root: dict[str, dict] = {}
    for word in words:
        node = root
        for character in word:
            node = node.setdefault(character, {})
        node[""] = {}
    return _branch_pattern(root)


def _branch_pattern(node: dict[str, dict]) -> str:
    may_end = "" in node
    branches: list[str] = []
    for character, child in sorted((pair for pair in node.items() if pair[0]), key=lambda pair: pair[0]):
        run = character  # a chain without branches becomes one literal
        while len(child) == 1 and "" not in child:
            ((following, child),) = child.items()
            run += following
        branches.append(re.escape(run) + _branch_pattern(child))
    if not branches:
        return ""
    pattern = branches[0] if len(branches) == 1 and not may_end else f"(?:{'|'.join(branches)})"
    return f"{pattern}?" if may_end else pattern
