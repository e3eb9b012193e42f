"""Data sets, each as one `Dataset` of three tables and a card; nothing heavy is imported until a set is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.datasets.movielens import movielens_100k
from instructrec.errors import one_of

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
]


def load(name_or_path: str | Path) -> Dataset:
    """Return a data set by its name, or from a reader's own file.

    Args:
        name_or_path: "movielens-100k", "shop", a path to a `.csv` with the columns user_id, item_id, rating and
            timestamp, or a path to Amazon reviews (`.jsonl`, `.json`, or either with `.gz`).

    Raises:
        InputError: Neither a known name nor a readable file of these kinds.
    """
    name = str(name_or_path)
    if name == "movielens-100k":
        return movielens_100k()
    if name == "shop":
        return shop()
    lower = name.lower()
    if lower.endswith((".jsonl", ".json", ".jsonl.gz", ".json.gz")):
        return amazon_reviews(name)
    if lower.endswith((".csv", ".csv.gz")):
        return from_csv(name)
    raise one_of(
        "data set", name, [*NAMES, "a path to a .csv file", "a path to Amazon reviews (.jsonl or .jsonl.gz)"]
    )


def shop(raw: bool = False) -> Any:
    """Return the simulated bilingual shop: repaired as a `Dataset`, or the behaviour table as its file has it.

    Args:
        raw: True for the behaviour table with its planted defects, see `instructrec.datasets.shop`.

    Raises:
        InputError: The shop's files are there but unreadable.
    """
    from instructrec.datasets.shop import shop as read_shop

    return read_shop(raw=raw)


def from_csv(path: str | Path, **columns: Any) -> Dataset:
    """Return the data set in a reader's own CSV; see `instructrec.datasets.readers.from_csv` for the arguments."""
    from instructrec.datasets.readers import from_csv as read

    return read(path, **columns)


def amazon_reviews(path: str | Path, metadata: str | Path | None = None) -> Dataset:
    """Return the data set in a file of Amazon reviews; see `instructrec.datasets.readers.amazon_reviews`."""
    from instructrec.datasets.readers import amazon_reviews as read

    return read(path, metadata)


def format_card(dataset: Dataset) -> str:
    """Return a data set's card and figures as text; see `instructrec.datasets.cards.format_card`."""
    from instructrec.datasets.cards import format_card as render

    return render(dataset)
