"""Names of the items and categories of a data set in English and Chinese.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from instructrec.datasets.dataset import Dataset
from instructrec.wordings.lexicon import lexicon, normal


def domain_words(dataset: Dataset, language: str) -> dict[str, str]:
    """Return the words for items of the data set and for what users do with them: thing, things, take, took."""
    if dataset.category_field == "genres":
        domain = "film"
    elif "price" in dataset.items.columns:
        domain = "product"
    else:
        domain = "item"
    return dict(lexicon()["domains"][domain][language])


def category_names(categories: Iterable[str], language: str, dataset: Dataset) -> dict[str, str]:
    """Return the name of each category in a language: the data set's own name, else the lexicon's.

    Args:
        categories: Names as in the data set.
        language: "en" or "zh".
        dataset: Data set whose items may have Chinese names of categories in `category_zh` or `<category_field>_zh`.
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
    """Return the Chinese names of categories that the item table gives."""
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
            chinese_names = (chinese,) if isinstance(chinese, str) and len(names) == 1 else chinese
            if isinstance(chinese_names, tuple | list) and len(chinese_names) == len(names):
                pairs.update(zip(names, chinese_names, strict=True))
    return pairs


def synonyms(categories: Mapping[str, str], dataset: Dataset) -> dict[str, str]:
    """Return the category of each word for a category, in both languages, words in casefolded NFKC form.

    Args:
        categories: The data set's categories by their casefolded names.
        dataset: The data set, for its own Chinese names.
    """
    entries = lexicon()["categories"]
    words: dict[str, str] = {}
    for folded, name in categories.items():
        entry = entries.get(folded, {})
        for word in (entry.get("zh"), *entry.get("said", ())):
            if word:
                words.setdefault(normal(word), name)
    for name, word in own_chinese_names(dataset).items():
        words[normal(word)] = name
    for name in categories.values():
        words[normal(name)] = name
    return words
