"""Data sets, each a `Dataset` of three tables and a card; a reader's module is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.errors import one_of

if TYPE_CHECKING:
    from instructrec.datasets.bilingual_shop import shop, shop_raw, shop_tables, shop_truth
    from instructrec.datasets.cards import format_card
    from instructrec.datasets.movielens import movielens_100k
    from instructrec.datasets.readers import amazon_reviews, from_csv

DATA_SETS = {
    "movielens-100k": "movielens.movielens_100k",
    "shop": "bilingual_shop.shop",
}
"""Module and function behind each name; one line registers a data set."""
NAMES = tuple(DATA_SETS)
_FILE_READERS = {
    "readers.amazon_reviews": (".jsonl", ".json", ".jsonl.gz", ".json.gz"),
    "readers.from_csv": (".csv", ".csv.gz"),
}
_OTHER_FUNCTIONS = (
    "cards.format_card",
    "bilingual_shop.shop_raw",
    "bilingual_shop.shop_tables",
    "bilingual_shop.shop_truth",
)
_MODULES = {
    function: module
    for module, function in (
        path.split(".") for path in (*DATA_SETS.values(), *_FILE_READERS, *_OTHER_FUNCTIONS)
    )
}
__all__ = [
    "DATA_SETS",
    "NAMES",
    "DataCard",
    "Dataset",
    "amazon_reviews",
    "format_card",
    "from_csv",
    "load",
    "movielens_100k",
    "shop",
    "shop_raw",
    "shop_tables",
    "shop_truth",
]


def load(name_or_path: str | Path) -> Dataset:
    """Return a data set by its name, or read a user's own file.

    Args:
        name_or_path: A name of `NAMES`, a path to a `.csv` (or `.csv.gz`) with the columns user_id, item_id, rating and
            timestamp, or a path to Amazon reviews (`.jsonl`, `.json`, or either with `.gz`).

    Raises:
        InputError: Neither a known name nor a readable file of these kinds.
    """
    name = str(name_or_path)
    if name in DATA_SETS:
        return _function(DATA_SETS[name])()
    for path, endings in _FILE_READERS.items():
        if name.lower().endswith(endings):
            return _function(path)(name)
    raise one_of(
        "data set", name, [*NAMES, "a path to a .csv file", "a path to Amazon reviews (.jsonl or .jsonl.gz)"]
    )


def _function(path: str) -> Any:
    module, function = path.split(".")
    return getattr(import_module(f"{__name__}.{module}"), function)


def __getattr__(name: str) -> Any:
    """Import a function's module when the function is first used: pandera alone costs half a second."""
    if name in _MODULES:
        return _function(f"{_MODULES[name]}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
