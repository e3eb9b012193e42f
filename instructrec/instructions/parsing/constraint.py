"""An instruction's conditions on items, as a small logical expression over the catalogue's columns.

An expression is a tree of six kinds of node: `Compare`, `In` and `Between` test one column; `Not`, `And` and `Or` join
them. `Constraint` holds the tree, the words that were not understood, and the mask of the items that qualify.

A comparison with a missing value is neither true nor false (Kleene's three-valued logic): it is never satisfied, and
neither is its negation, so that "not year > 1990" does not let an undated film in. An item without any category is
known to be in none. Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions.parsing.fields import CATEGORIES, NUMBER, POPULARITY, is_missing

RESERVED = ("and", "or", "not", "in", "between")
_PLAIN_NAME = re.compile(r"(?!非)(?:(?![或且]|并且)[^\W\d])(?:(?![或且]|并且)\w)*")

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Truth(NamedTuple):
    """The rows for which a condition is true, and those for which it is false; a row in neither is unknown.

    Attributes:
        true: Boolean array of shape (n_items,).
        false: Boolean array of shape (n_items,).
    """

    true: np.ndarray
    false: np.ndarray

    def negated(self) -> Truth:
        """Return the truth of the negation."""
        return Truth(self.false, self.true)


ReadColumn = Callable[[str], pd.Series]
"""Function from the name of a column to its values."""


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
        """Return the condition as a dictionary that JSON can represent."""
        return {"field": self.column, "op": self.op, "value": _json_value(self.value)}

    def truth(self, read_column: ReadColumn) -> Truth:
        """Return where the condition is true, and where false."""
        column = read_column(self.column)
        if self.kind == NUMBER:
            numbers = _to_numbers(column)
            return _known_truth(_OPERATORS[self.op](numbers, self.value), numbers)
        truth = _name_truth(column, self.kind, (self.value,))
        return truth.negated() if self.op == "!=" else truth


@dataclass(frozen=True)
class In:
    """One column against several values: `genres in ("Comedy", "Drama")`."""

    column: str
    kind: str
    values: tuple[float | str, ...]

    def __str__(self) -> str:
        return f"{column_name(self.column)} in ({', '.join(literal(value) for value in self.values)})"

    def as_dict(self) -> dict[str, Any]:
        """Return the condition as a dictionary that JSON can represent."""
        return {"field": self.column, "op": "in", "value": [_json_value(value) for value in self.values]}

    def truth(self, read_column: ReadColumn) -> Truth:
        """Return where the condition is true, and where false."""
        column = read_column(self.column)
        if self.kind == NUMBER:
            numbers = _to_numbers(column)
            return _known_truth(np.isin(numbers, np.array(self.values, dtype=float)), numbers)
        return _name_truth(column, self.kind, self.values)


@dataclass(frozen=True)
class Between:
    """A number column within a range, both ends included: `year in 1990..1999`."""

    column: str
    low: float
    high: float

    def __str__(self) -> str:
        return f"{column_name(self.column)} in {literal(self.low)}..{literal(self.high)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the condition as a dictionary that JSON can represent."""
        return {
            "field": self.column,
            "op": "range",
            "value": [_json_value(self.low), _json_value(self.high)],
        }

    def truth(self, read_column: ReadColumn) -> Truth:
        """Return where the condition is true, and where false."""
        numbers = _to_numbers(read_column(self.column))
        return _known_truth((numbers >= self.low) & (numbers <= self.high), numbers)


@dataclass(frozen=True)
class Not:
    """The negation of a condition."""

    operand: Node

    def __str__(self) -> str:
        return f"not {_bracketed(self.operand, And, Or)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the condition as a dictionary that JSON can represent."""
        return {"not": self.operand.as_dict()}

    def truth(self, read_column: ReadColumn) -> Truth:
        """Return where the condition is true, and where false."""
        return self.operand.truth(read_column).negated()


@dataclass(frozen=True)
class And:
    """A conjunction: all operands hold."""

    operands: tuple[Node, ...]

    def __str__(self) -> str:
        return " and ".join(_bracketed(operand, And, Or) for operand in self.operands)

    def as_dict(self) -> dict[str, Any]:
        """Return the condition as a dictionary that JSON can represent."""
        return {"all": [operand.as_dict() for operand in self.operands]}

    def truth(self, read_column: ReadColumn) -> Truth:
        """Return where the condition is true, and where false."""
        true, false = zip(*(operand.truth(read_column) for operand in self.operands), strict=True)
        return Truth(np.logical_and.reduce(true), np.logical_or.reduce(false))


@dataclass(frozen=True)
class Or:
    """A disjunction: at least one operand holds."""

    operands: tuple[Node, ...]

    def __str__(self) -> str:
        return " or ".join(_bracketed(operand, Or) for operand in self.operands)

    def as_dict(self) -> dict[str, Any]:
        """Return the condition as a dictionary that JSON can represent."""
        return {"any": [operand.as_dict() for operand in self.operands]}

    def truth(self, read_column: ReadColumn) -> Truth:
        """Return where the condition is true, and where false."""
        true, false = zip(*(operand.truth(read_column) for operand in self.operands), strict=True)
        return Truth(np.logical_or.reduce(true), np.logical_and.reduce(false))


Node = Compare | In | Between | Not | And | Or


@dataclass(frozen=True)
class Constraint:
    """The conditions of an instruction; empty where nothing was understood, and then every item qualifies.

    Attributes:
        expression: The condition, or None for no condition.
        ignored: The words of the instruction that were not understood.
        popularity: Popularity of each item id in [0, 1], where the catalogue has no such column of its own.
    """

    expression: Node | None = None
    ignored: str = ""
    popularity: Mapping[Hashable, float] | None = field(default=None, compare=False, repr=False)

    def mask(self, items: pd.DataFrame) -> np.ndarray:
        """Return which items satisfy the constraint.

        Args:
            items: Rows of a catalogue, with the columns that the constraint names.

        Returns:
            Boolean array of shape (len(items),); all True for an empty constraint.

        Raises:
            InputError: A column is missing.
        """
        if self.expression is None:
            return np.ones(len(items), dtype=bool)
        return self.expression.truth(lambda name: self._column(name, items)).true

    def describe(self) -> dict[str, Any]:
        """Return what was understood, ready for JSON.

        Returns:
            `conditions`, a list that must all hold, each {"field", "op", "value"}, {"not": …}, {"any": […]} or
            {"all": […]}; `text`, the same in the parametric language; `ignored`, the words that were not understood.
        """
        operands = self.expression.operands if isinstance(self.expression, And) else (self.expression,)
        conditions = [operand.as_dict() for operand in operands if operand is not None]
        return {"conditions": conditions, "text": str(self), "ignored": self.ignored}

    def __and__(self, other: Constraint) -> Constraint:
        """Return the conjunction of two constraints."""
        expressions = [side.expression for side in (self, other) if side.expression is not None]
        return Constraint(
            conjunction(expressions),
            " ".join(text for text in (self.ignored, other.ignored) if text),
            self.popularity if self.popularity is not None else other.popularity,
        )

    def __bool__(self) -> bool:
        return self.expression is not None

    def __str__(self) -> str:
        return "" if self.expression is None else str(self.expression)

    def _column(self, name: str, items: pd.DataFrame) -> pd.Series:
        if name in items.columns:
            return items[name]
        if name == POPULARITY and self.popularity is not None:
            return items["item_id"].map(self.popularity)
        accepted = ", ".join(str(column) for column in items.columns)
        raise InputError(
            f"the constraint {str(self)!r} needs the column {name!r}; these items have {accepted}"
        )


def constrain(expression: Node | None, dataset: Dataset, ignored: str = "") -> Constraint:
    """Return the constraint of an expression, with the items' popularity where the expression needs it.

    Args:
        expression: The condition, or None for no condition.
        dataset: Data set whose interactions determine popularity if its items have no such column.
        ignored: The words that were not understood.

    Raises:
        InputError: The expression needs popularity, and the data set has neither column nor interactions for it.
    """
    needs = POPULARITY not in dataset.items.columns and POPULARITY in _columns_of(expression)
    return Constraint(expression, ignored, dataset.popularity if needs else None)


def conjunction(operands: list[Node]) -> Node | None:
    """Return the conjunction: None for no operand, a single operand as it is; nested conjunctions are merged."""
    flat = [
        inner
        for operand in operands
        for inner in (operand.operands if isinstance(operand, And) else (operand,))
    ]
    return None if not flat else flat[0] if len(flat) == 1 else And(tuple(flat))


def disjunction(operands: list[Node]) -> Node:
    """Return the disjunction of at least one operand; nested disjunctions are merged."""
    flat = [
        inner
        for operand in operands
        for inner in (operand.operands if isinstance(operand, Or) else (operand,))
    ]
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def negation(operand: Node) -> Node:
    """Return the negation of a condition; two negations cancel."""
    return operand.operand if isinstance(operand, Not) else Not(operand)


def column_name(column: str) -> str:
    """Return the name of a column as the parametric language writes it: in backquotes where it is not a plain word."""
    plain = _PLAIN_NAME.fullmatch(column) is not None and column.lower() not in RESERVED
    return column if plain else backquoted(column)


def backquoted(column: str) -> str:
    """Return the name of a column in backquotes."""
    return "`" + column.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(value: float | str) -> str:
    """Return a value as the parametric language writes it."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(_json_value(value))


def _columns_of(node: Node | None) -> set[str]:
    """Return the names of the columns that an expression needs."""
    if node is None:
        return set()
    if isinstance(node, Not):
        return _columns_of(node.operand)
    if isinstance(node, And | Or):
        return set().union(*(_columns_of(operand) for operand in node.operands))
    return {node.column}


def _known_truth(true: np.ndarray, numbers: np.ndarray) -> Truth:
    """Return the truth of a numeric condition: unknown where the number is missing."""
    present = ~np.isnan(numbers)
    return Truth(true & present, ~true & present)


def _name_truth(column: pd.Series, kind: str, values: tuple[float | str, ...]) -> Truth:
    """Return where a name, or a category of an item, is among the values; upper and lower case are equal."""
    accepted = {str(value).casefold() for value in values}
    cells = column.tolist()
    present = np.array([not is_missing(cell) for cell in cells], dtype=bool)
    hits = np.array(
        [
            not is_missing(cell)
            and any(str(name).casefold() in accepted for name in (cell if kind == CATEGORIES else (cell,)))
            for cell in cells
        ],
        dtype=bool,
    )
    return Truth(hits, present & ~hits)


def _to_numbers(column: pd.Series) -> np.ndarray:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)


def _json_value(value: float | str) -> float | int | str:
    """Return a whole number as an int, so that 1990.0 reads 1990."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _bracketed(node: Node, *kinds: type) -> str:
    return f"({node})" if isinstance(node, kinds) else str(node)
