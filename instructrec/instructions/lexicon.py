"""The words for categories and wishes, in English and Chinese, from the editable data file `lexicon.toml`."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from instructrec.datasets.dataset import Dataset

LANGUAGES = ("en", "zh")
_ACCENTS = re.compile(r"[\u0300-\u036f]+")
_ARTICLES = "the|an?|les?|la|il|el|das|de[rn]|die"
_ARTICLE_LAST = re.compile(rf"^(.+), ({_ARTICLES})$")
_ARTICLE_FIRST = re.compile(rf"^({_ARTICLES}) (.+)$")


@cache
def lexicon() -> dict[str, Any]:
    """Return the lexicon: `domains`, `wishes`, and `categories` by casefolded name."""
    content = tomllib.loads(Path(__file__).with_name("lexicon.toml").read_text("utf-8"))
    content["categories"] = {name.casefold(): entry for name, entry in content["categories"].items()}
    return content


def domain_words(dataset: Dataset, language: str) -> dict[str, str]:
    """Return what things of the data set are called, and what users do with them: thing, things, take, took."""
    if dataset.category_field == "genres":
        domain = "film"
    elif "price" in dataset.items.columns:
        domain = "product"
    else:
        domain = "item"
    return dict(lexicon()["domains"][domain][language])


def category_names(categories: Iterable[str], language: str, dataset: Dataset) -> dict[str, str]:
    """Return what each category is called in a language: the data set's own word first, then the lexicon's.

    Args:
        categories: Names as in the data set.
        language: "en" or "zh".
        dataset: Its items may have the Chinese names in `category_zh` or `<category_field>_zh`.
    """
    names = list(categories)
    if language == "en":
        return {name: name for name in names}
    own = own_chinese_names(dataset)
    return {
        name: own.get(name) or lexicon()["categories"].get(name.casefold(), {}).get("zh") or name
        for name in names
    }


def own_chinese_names(dataset: Dataset) -> dict[str, str]:
    """Return the Chinese name of each category that the item table gives one for."""
    items = dataset.items
    column = next(
        (name for name in (f"{dataset.category_field}_zh", "category_zh") if name in items.columns),
        None,
    )
    pairs: dict[str, str] = {}
    if column is None or dataset.category_field not in items.columns:
        return pairs
    for names, chinese in zip(items[dataset.category_field], items[column], strict=True):
        if isinstance(names, tuple | list):
            listed = (chinese,) if isinstance(chinese, str) and len(names) == 1 else chinese
            if isinstance(listed, tuple | list) and len(listed) == len(names):
                pairs.update(zip(names, listed, strict=True))
    return pairs


def synonyms(categories: Mapping[str, str], dataset: Dataset) -> dict[str, str]:
    """Return the category that each word stands for, in either language, words in casefolded NFKC form.

    Args:
        categories: The data set's categories by their casefolded names.
        dataset: The data set, for its own Chinese names.
    """
    known = lexicon()["categories"]
    words: dict[str, str] = {}
    for folded, name in categories.items():
        entry = known.get(folded, {})
        for word in (entry.get("zh"), *entry.get("said", ())):
            if word:
                words.setdefault(normal(word), name)
    for name, word in own_chinese_names(dataset).items():
        words[normal(word)] = name
    for name in categories.values():
        words[normal(name)] = name
    return words


def plain(text: str) -> str:
    """Return a text in the form in which titles are sought in it: `normal`, and accents are taken off Latin letters."""
    if text.isascii():
        return text.casefold()
    return normal(_ACCENTS.sub("", unicodedata.normalize("NFKD", text)))


def title_forms(title: str) -> tuple[str, ...]:
    """Return a title as `plain` has it, and with its article at the other end: "the postman", "postman, the"."""
    whole = plain(title)
    moved = _ARTICLE_LAST.sub(r"\2 \1", whole), _ARTICLE_FIRST.sub(r"\2, \1", whole)
    return tuple(dict.fromkeys((whole, *moved)))


def stands_alone(form: str, text: str) -> bool:
    """Tell whether words stand in a text as words of their own: "heat" not in "theatre"; both as `plain` has them.

    Chinese is written without gaps, so there any place counts.
    """
    if form not in text:
        return False
    before = r"(?<![a-z0-9])" if form[:1].isascii() else ""
    after = r"(?![a-z0-9])" if form[-1:].isascii() else ""
    return re.search(before + re.escape(form) + after, text) is not None


def normal(text: str) -> str:
    """Return a text in the form in which words are compared: NFKC, casefolded, straight apostrophes."""
    return unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
