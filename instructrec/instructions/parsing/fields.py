"""List the columns of an item table that an instruction can name, with their kinds and values.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

NUMBER, TEXT, CATEGORIES = "number", "text", "categories"
"""Kinds of fields: a number, a text, or a collection of category names in each cell."""
POPULARITY = "popularity"
"""Name of the field for an item's popularity."""


@dataclass(frozen=True)
class Field:
    """A column that an instruction can name.

    Attributes:
        column: The column's name.
        kind: "number", "text" or "categories".
        values: The distinct values of a text or category column, as written in the table, by their casefolded form;
            empty for numbers.
    """

    column: str
    kind: str
    values: Mapping[str, str] = field(default_factory=dict)


def fields_of(items: pd.DataFrame, category_field: str) -> dict[str, Field]:
    """Return the fields that instructions may name, by column name.

    Popularity is always included, since it can be computed from the interactions if no column contains it.

    Args:
        items: The item table.
        category_field: Name of the category column.
    """
    fields: dict[str, Field] = {}
    for column in items.columns:
        kind = _kind(items[column])
        if kind is None and column == category_field:
            kind = CATEGORIES
        if kind is not None:
            values = {} if kind == NUMBER else _DistinctValues(items[column], kind)
            fields[str(column)] = Field(str(column), kind, values)
    fields.setdefault(POPULARITY, Field(POPULARITY, NUMBER))
    return fields


def is_missing(value: Any) -> bool:
    """Return whether a cell of an item table is empty: None, NaN, NA or NaT."""
    return (
        value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))
    )


class _DistinctValues(Mapping[str, str]):
    """The distinct values of a column by their casefolded form, computed on first use."""

    def __init__(self, column: pd.Series, kind: str) -> None:
        self._column, self._kind = column, kind

    @cached_property
    def _by_folded(self) -> dict[str, str]:
        cells = [cell for cell in self._column.tolist() if not is_missing(cell)]
        if self._kind == CATEGORIES:
            names = {str(name) for cell in cells for name in cell}
        else:
            names = {str(cell) for cell in cells}
        # of several names with the same casefolded form, the first in sorted order is used
        by_folded = {name.casefold(): name for name in sorted(names, reverse=True)}
        return dict(reversed(by_folded.items()))

    def __getitem__(self, key: str) -> str:
        return self._by_folded[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_folded)

    def __len__(self) -> int:
        return len(self._by_folded)


def _kind(column: pd.Series) -> str | None:
    """Return the kind of a column, by its dtype or its first value; None if it cannot be a field."""
    if pd.api.types.is_bool_dtype(column.dtype):
        return TEXT
    if pd.api.types.is_numeric_dtype(column.dtype):
        return NUMBER
    first = next((value for value in column.tolist() if not is_missing(value)), None)
    if isinstance(first, tuple | list | set | frozenset):
        return CATEGORIES
    if isinstance(first, str | bool | np.bool_):
        return TEXT
    return NUMBER if isinstance(first, int | float) else None
