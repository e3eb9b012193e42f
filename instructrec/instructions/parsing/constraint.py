"""What an instruction demands of an item, as a small logical expression over the catalogue's columns.

A comparison with a missing value is neither true nor false (Kleene's three-valued logic): it is never satisfied, and
neither is its negation, so that "not year > 1990" does not let an undated film in. An item without any category is
known to be in none. Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError

NUMBER, TEXT, CATEGORIES = "number", "text", "categories"
POPULARITY = "popularity"
RESERVED = ("and", "or", "not", "in", "between")
_PLAIN = re.compile(r"(?!非)(?:(?![或且]|并且)[^\W\d])(?:(?![或且]|并且)\w)*")

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Compare:
    """One column against one value, such as `price < 100` or `genres = "Horror"` (is one of its genres)."""

    column: str
    kind: str
    op: str
    value: float | str

    def __str__(self) -> str:
        return f"{column_name(self.column)} {self.op} {literal(self.value)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the condition as JSON takes it."""
        return {"field": self.column, "op": self.op, "value": _plain(self.value)}


@dataclass(frozen=True)
class OneOf:
    """One column against several values: `genres in ("Comedy", "Drama")`."""

    column: str
    kind: str
    values: tuple[float | str, ...]

    def __str__(self) -> str:
        return f"{column_name(self.column)} in ({', '.join(literal(value) for value in self.values)})"

    def as_dict(self) -> dict[str, Any]:
        """Return the condition as JSON takes it."""
        return {
            "field": self.column,
            "op": "in",
            "value": [_plain(value) for value in self.values],
        }


@dataclass(frozen=True)
class Between:
    """A number column within a range, both ends included: `year in 1990..1999`."""

    column: str
    low: float
    high: float

    def __str__(self) -> str:
        return f"{column_name(self.column)} in {literal(self.low)}..{literal(self.high)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the condition as JSON takes it."""
        return {
            "field": self.column,
            "op": "range",
            "value": [_plain(self.low), _plain(self.high)],
        }


@dataclass(frozen=True)
class Not:
    """The negation of a part."""

    part: Node

    def __str__(self) -> str:
        return f"not {_bracketed(self.part, All, Some)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the condition as JSON takes it."""
        return {"not": self.part.as_dict()}


@dataclass(frozen=True)
class All:
    """Every part holds."""

    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " and ".join(_bracketed(part, All, Some) for part in self.parts)

    def as_dict(self) -> dict[str, Any]:
        """Return the condition as JSON takes it."""
        return {"all": [part.as_dict() for part in self.parts]}


@dataclass(frozen=True)
class Some:
    """At least one part holds."""

    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " or ".join(_bracketed(part, Some) for part in self.parts)

    def as_dict(self) -> dict[str, Any]:
        """Return the condition as JSON takes it."""
        return {"any": [part.as_dict() for part in self.parts]}


Node = Compare | OneOf | Between | Not | All | Some


@dataclass(frozen=True)
class Constraint:
    """What an instruction demands of items; empty where nothing was understood, and then every item passes.

    Attributes:
        expression: The condition, or None for no condition.
        ignored: The words of the instruction that were not understood.
        popularity: Popularity of each item id in [0, 1], where the catalogue has no such column of its own.
    """

    expression: Node | None = None
    ignored: str = ""
    popularity: Mapping[Hashable, float] | None = field(default=None, compare=False, repr=False)

    def mask(self, items: pd.DataFrame) -> np.ndarray:
        """Tell which items meet the constraint.

        Args:
            items: Rows of a catalogue, with the columns that the constraint names.

        Returns:
            Boolean array of shape (len(items),); all True for an empty constraint.

        Raises:
            InputError: A column is missing.
        """
        if self.expression is None:
            return np.ones(len(items), dtype=bool)
        return self._truth(self.expression, items)[0]

    def describe(self) -> dict[str, Any]:
        """Return what was understood, ready for JSON.

        Returns:
            `conditions`, a list that must all hold, each {"field", "op", "value"}, {"not": …}, {"any": […]} or
            {"all": […]}; `text`, the same in the parametric language; `ignored`, the words left over.
        """
        parts = self.expression.parts if isinstance(self.expression, All) else (self.expression,)
        conditions = [] if self.expression is None else [part.as_dict() for part in parts if part is not None]
        return {"conditions": conditions, "text": str(self), "ignored": self.ignored}

    def __and__(self, other: Constraint) -> Constraint:
        """Return the constraint that both hold."""
        both = [part.expression for part in (self, other) if part.expression is not None]
        return Constraint(
            conjunction(both),
            " ".join(text for text in (self.ignored, other.ignored) if text),
            self.popularity if self.popularity is not None else other.popularity,
        )

    def __bool__(self) -> bool:
        return self.expression is not None

    def __str__(self) -> str:
        return "" if self.expression is None else str(self.expression)

    # -- three-valued truth: which rows are true, which are false; a row in neither is unknown -------------------

    def _truth(self, node: Node, items: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(node, Not):
            true, false = self._truth(node.part, items)
            return false, true
        if isinstance(node, All | Some):
            truths = [self._truth(part, items) for part in node.parts]
            every, some = (0, 1) if isinstance(node, All) else (1, 0)
            joined = np.logical_and.reduce([pair[every] for pair in truths])
            other = np.logical_or.reduce([pair[some] for pair in truths])
            return (joined, other) if isinstance(node, All) else (other, joined)
        values = self._column(node.column, items)
        if isinstance(node, Between):
            numbers = _numbers(values)
            true = (numbers >= node.low) & (numbers <= node.high)
            return true, ~true & ~np.isnan(numbers)
        if node.kind == NUMBER:
            numbers = _numbers(values)
            true = (
                np.isin(numbers, np.array(node.values, dtype=float))
                if isinstance(node, OneOf)
                else _OPERATORS[node.op](numbers, node.value)
            ) & ~np.isnan(numbers)
            return true, ~true & ~np.isnan(numbers)
        wanted = {
            str(value).casefold() for value in (node.values if isinstance(node, OneOf) else (node.value,))
        }
        rows = values.tolist()
        known = np.fromiter((not _missing(row) for row in rows), dtype=bool, count=len(rows))
        if node.kind == CATEGORIES:
            found = (
                not _missing(row) and any(str(name).casefold() in wanted for name in row) for row in rows
            )
        else:
            found = (not _missing(row) and str(row).casefold() in wanted for row in rows)
        hit = np.fromiter(found, dtype=bool, count=len(rows))
        miss = known & ~hit
        return (miss, hit) if isinstance(node, Compare) and node.op == "!=" else (hit, miss)

    def _column(self, name: str, items: pd.DataFrame) -> pd.Series:
        if name in items.columns:
            return items[name]
        if name == POPULARITY and self.popularity is not None:
            return items["item_id"].map(self.popularity)
        accepted = ", ".join(str(column) for column in items.columns)
        raise InputError(
            f"the constraint {str(self)!r} needs the column {name!r}; these items have {accepted}"
        )


@dataclass(frozen=True)
class Field:
    """A column that an instruction can name.

    Attributes:
        column: The column's name.
        kind: "number", "text" or "categories".
        values: Every value, for text and categories, by its casefolded form.
    """

    column: str
    kind: str
    values: Mapping[str, str] = field(default_factory=dict)


def fields_of(items: pd.DataFrame, category_field: str) -> dict[str, Field]:
    """Return the fields that instructions may name, by column name, with popularity, which may have to be computed."""
    found: dict[str, Field] = {}
    for column in items.columns:
        kind = _kind(items[column])
        if kind is None and column == category_field:
            kind = CATEGORIES
        if kind is not None:
            found[str(column)] = Field(
                str(column),
                kind,
                {} if kind == NUMBER else _Values(items[column], kind),
            )
    found.setdefault(POPULARITY, Field(POPULARITY, NUMBER))
    return found


def constrain(expression: Node | None, dataset: Dataset, ignored: str = "") -> Constraint:
    """Return the constraint of an expression, with the popularity of items where it is named and no column holds it.

    Raises:
        InputError: Popularity is named and cannot be known.
    """
    needs = POPULARITY not in dataset.items.columns and POPULARITY in columns_of(expression)
    return Constraint(expression, ignored, dataset.popularity if needs else None)


def columns_of(node: Node | None) -> set[str]:
    """Return the names of the columns that an expression needs."""
    if node is None:
        return set()
    if isinstance(node, Not):
        return columns_of(node.part)
    if isinstance(node, All | Some):
        return set().union(*(columns_of(part) for part in node.parts))
    return {node.column}


def conjunction(parts: list[Node]) -> Node | None:
    """Return the expression that all parts hold: None for no part, the part itself for one; nested ones are merged."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, All) else (part,))]
    return None if not flat else flat[0] if len(flat) == 1 else All(tuple(flat))


def disjunction(parts: list[Node]) -> Node:
    """Return the expression that one of the parts holds; nested ones are merged."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, Some) else (part,))]
    return flat[0] if len(flat) == 1 else Some(tuple(flat))


def negation(part: Node) -> Node:
    """Return the negation of a part; two negations cancel."""
    return part.part if isinstance(part, Not) else Not(part)


def column_name(column: str) -> str:
    """Return the name of a column as the parametric language writes it: in backquotes where it is not a plain word."""
    plain = _PLAIN.fullmatch(column) is not None and column.lower() not in RESERVED
    return column if plain else backquoted(column)


def backquoted(column: str) -> str:
    """Return the name of a column in backquotes."""
    return "`" + column.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(value: float | str) -> str:
    """Return a value as the parametric language writes it."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(_plain(value))


class _Values(Mapping[str, str]):
    """The distinct values of a column, casefolded to as written, gathered when first looked at."""

    def __init__(self, column: pd.Series, kind: str) -> None:
        self._source = (column, kind)
        self._found: dict[str, str] | None = None

    @property
    def _all(self) -> dict[str, str]:
        if self._found is None:
            column, kind = self._source
            rows = [row for row in column.tolist() if not _missing(row)]
            names = (
                [str(name) for row in rows for name in row]
                if kind == CATEGORIES
                else [str(row) for row in rows]
            )
            self._found = {name.casefold(): name for name in sorted(set(names), reverse=True)}
            self._found = dict(reversed(self._found.items()))
        return self._found

    def __getitem__(self, key: str) -> str:
        return self._all[key]

    def __iter__(self) -> Any:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def _kind(column: pd.Series) -> str | None:
    if pd.api.types.is_bool_dtype(column.dtype):
        return TEXT
    if pd.api.types.is_numeric_dtype(column.dtype):
        return NUMBER
    first = next((value for value in column.tolist() if not _missing(value)), None)
    if isinstance(first, tuple | list | set | frozenset):
        return CATEGORIES
    if isinstance(first, str | bool | np.bool_):
        return TEXT
    return NUMBER if isinstance(first, int | float) else None


def _missing(value: Any) -> bool:
    return (
        value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))
    )


def _numbers(values: pd.Series) -> np.ndarray:
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)


def _plain(value: float | str) -> float | int | str:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _bracketed(node: Node, *kinds: type) -> str:
    return f"({node})" if isinstance(node, kinds) else str(node)
