"""The words for categories and wishes, in English and Chinese, from the editable data file `lexicon.toml`."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

from instructrec.wordings import read_wordings

LANGUAGES = ("en", "zh")
_ACCENTS = re.compile(r"[\u0300-\u036f]+")
_ARTICLES = "the|an?|les?|la|il|el|das|de[rn]|die"
_ARTICLE_LAST = re.compile(rf"^(.+), ({_ARTICLES})$")
_ARTICLE_FIRST = re.compile(rf"^({_ARTICLES}) (.+)$")


@cache
def lexicon() -> dict[str, Any]:
    """Return the lexicon: `domains`, `wishes`, and `categories` by casefolded name."""
    content = read_wordings("lexicon")
    categories = {name.casefold(): entry for name, entry in content["categories"].items()}
    return {**content, "categories": categories}


def held_out_words() -> dict[str, dict[str, list[str]]]:
    """Return the words of each genre that no training text may hold, in lower case, by "validation" and "test"."""
    return read_wordings("held_out_words")


def plain(text: str) -> str:
    """Return a text in the form in which titles are searched: `normal`, without accents on Latin letters."""
    if text.isascii():
        return text.casefold()
    return normal(_ACCENTS.sub("", unicodedata.normalize("NFKD", text)))


def title_forms(title: str) -> tuple[str, ...]:
    """Return a title as `plain` has it, and with its article at the other end: "the postman", "postman, the"."""
    form = plain(title)
    moved = _ARTICLE_LAST.sub(r"\2 \1", form), _ARTICLE_FIRST.sub(r"\2, \1", form)
    return tuple(dict.fromkeys((form, *moved)))


def stands_alone(form: str, text: str) -> bool:
    """Return whether a text contains a form as whole words, so not "heat" in "theatre"; both normalised by `plain`.

    Chinese is written without gaps, so every occurrence counts.
    """
    if form not in text:
        return False
    before = r"(?<![a-z0-9])" if form[:1].isascii() else ""
    after = r"(?![a-z0-9])" if form[-1:].isascii() else ""
    return re.search(before + re.escape(form) + after, text) is not None


def normal(text: str) -> str:
    """Return a text in the form in which words are compared: NFKC, casefolded, straight apostrophes."""
    return unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
