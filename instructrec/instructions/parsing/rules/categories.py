"""Find categories in a request by the lexicon's words for them: "comedies", "科幻片".

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.category_words import own_chinese_names, synonyms
from instructrec.instructions.parsing.fields import CATEGORIES, fields_of
from instructrec.instructions.parsing.rules.spans import Span
from instructrec.wordings.lexicon import normal

_NOUN_AFTER_CATEGORY = "(?:类?(?:电影|影片|片子|片|用品|产品|商品)|类)?"
"""Pattern of a Chinese noun that may follow a category, such as "片" (film); it belongs to the span."""


def category_words(dataset: Dataset) -> dict[str, str]:
    """Return a dictionary from each word for a category, in both languages, to the category, longest words first."""
    field = fields_of(dataset.items, dataset.category_field).get(dataset.category_field)
    if field is None or field.kind != CATEGORIES:
        return {}
    words = synonyms({normal(name): name for name in field.values.values()}, dataset)
    words = {word: name for word, name in words.items() if re.search(r"\w", word)}
    words.pop("unknown", None)
    words.pop("未知", None)
    for word in [word for word in words if word.isascii() and len(word) > 3 and not word.endswith("s")]:
        words.setdefault(f"{word}s", words[word])
    own_names = {normal(word) for word in own_chinese_names(dataset).values()}
    longest_first = sorted(words, key=lambda word: (-len(word), word not in own_names, word))
    return {word: words[word] for word in longest_first}


def any_word(words: dict[str, str]) -> str:
    """Return a regular expression that matches any of the words; an English word only as a whole word."""
    return "|".join(
        rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])" if word.isascii() else re.escape(word)
        for word in words
    )


def category_spans(text: str, words: dict[str, str]) -> list[Span]:
    """Return the spans of the text that name a category.

    Args:
        text: The request, normalised by `wordings.lexicon.normal`.
        words: The category of each word, from `category_words`.
    """
    if not words:
        return []
    pattern = re.compile(f"({any_word(words)}){_NOUN_AFTER_CATEGORY}")
    return [
        Span(match.start(), match.end(), category=words[match[1]])
        for match in pattern.finditer(text)
        if not _is_part_of_star_wars(text, match)
    ]


def _is_part_of_star_wars(text: str, match: re.Match[str]) -> bool:
    """Return whether a match is a word of "star wars", a title that names no category."""
    before, after = text[: match.start()], text[match.end() :]
    return re.match(r"\s+wars?\b", after) is not None or before.endswith("star ")
