"""Data sets, each as one `Dataset` of three tables and a card; nothing heavy is imported until a set is asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.datasets.movielens import movielens_100k
from instructrec.errors import one_of

if TYPE_CHECKING:
    from instructrec.datasets.bilingual_shop import shop, shop_raw, shop_tables, shop_truth
    from instructrec.datasets.cards import format_card
    from instructrec.datasets.readers import amazon_reviews, from_csv

NAMES = ("movielens-100k", "shop")
__all__ = [
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
_HOME = {
    "amazon_reviews": "readers",
    "format_card": "cards",
    "from_csv": "readers",
    "shop": "bilingual_shop",
    "shop_raw": "bilingual_shop",
    "shop_tables": "bilingual_shop",
    "shop_truth": "bilingual_shop",
}


def load(name_or_path: str | Path) -> Dataset:
    """Return a data set by its name, or from a reader's own file.

    Args:
        name_or_path: "movielens-100k", "shop", a path to a `.csv` (or `.csv.gz`) with the columns user_id, item_id,
            rating and timestamp, or a path to Amazon reviews (`.jsonl`, `.json`, or either with `.gz`).

    Raises:
        InputError: Neither a known name nor a readable file of these kinds.
    """
    name = str(name_or_path)
    if name == "movielens-100k":
        return movielens_100k()
    if name == "shop":
        return import_module("instructrec.datasets.bilingual_shop").shop()
    lower = name.lower()
    if lower.endswith((".jsonl", ".json", ".jsonl.gz", ".json.gz")):
        return import_module("instructrec.datasets.readers").amazon_reviews(name)
    if lower.endswith((".csv", ".csv.gz")):
        return import_module("instructrec.datasets.readers").from_csv(name)
    raise one_of(
        "data set", name, [*NAMES, "a path to a .csv file", "a path to Amazon reviews (.jsonl or .jsonl.gz)"]
    )


def __getattr__(name: str) -> Any:
    """Import a function's module when it is first asked for: pandera alone would cost half a second."""
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
