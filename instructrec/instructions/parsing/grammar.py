"""Instructions as conditions: "popularity > 0.5 and price < 100", read by a grammar and never evaluated as code.

The grammar is the data file `grammar.lark`. Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions.category_words import synonyms
from instructrec.instructions.parsing.constraint import (
    Between,
    Compare,
    Constraint,
    In,
    Node,
    backquoted,
    conjunction,
    constrain,
    disjunction,
    negation,
)
from instructrec.instructions.parsing.fields import CATEGORIES, NUMBER, POPULARITY, Field, fields_of
from instructrec.wordings.lexicon import normal

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

MAX_CHARACTERS = 4000
MAX_NESTING = 50

_COLUMN_ALIASES = {
    "popularity": POPULARITY,
    "流行度": POPULARITY,
    "热度": POPULARITY,
    "price": "price",
    "价格": "price",
    "year": "year",
    "年份": "year",
    "title": "title",
    "标题": "title",
    "brand": "brand",
    "品牌": "brand",
}
_CATEGORY_ALIASES = (
    "genre",
    "genres",
    "category",
    "categories",
    "类型",
    "类别",
    "分类",
)
_OPERATOR_ALIASES = {"==": "=", "<>": "!=", "≠": "!=", "≤": "<=", "≥": ">="}
_MIRRORED_OPERATORS = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
_FULL_WIDTH_TO_ASCII = str.maketrans("＜＞＝！（），、＆｜＋－．　", "<>=!(),,&|+-. ")
_QUOTED = re.compile(  # the grammar's STRING and QUOTED; an apostrophe within a name does not start a quotation
    r"\"(?:\\[\s\S]|[^\"\\])*\"|＂(?:\\[\s\S]|[^＂\\])*＂|[“”](?:\\[\s\S]|[^“”\\])*[“”]|`(?:\\[\s\S]|[^`\\])*`"
    r"|(?<![\w'’-])(?:'(?:\\[\s\S]|[^'\\])*'|[‘’](?:\\[\s\S]|[^‘’\\])*[‘’])"
)
_NAME_BEFORE_IN = re.compile(
    r"(?<![\w-])([^\W\d][\w-]*)\s+(?:not\s+)?(?:in\s*\(|in\s+[-+]?[\d.]+(?:e[-+]?\d+)?\s*\.\.|between\s+[-+]?\d)",
    re.IGNORECASE,
)
_TERMINAL_NAMES = {
    "COMPARE": "= != < <= > >=",
    "NUMBER": "a number",
    "STRING": "a quoted value",
    "NAME": "a name",
    "QUOTED": "a name",
    "NOT": "not",
    "_IN": "in",
    "_BETWEEN": "between",
    "_AND": "and",
    "_OR": "or",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "__ANON_0": "..",
    "$END": "the end",
}


def looks_parametric(text: str, dataset: Dataset) -> bool:
    """Return whether a text is written as conditions: it has an operator, or a field followed by "in" or "between"."""
    plain = text.translate(_FULL_WIDTH_TO_ASCII)
    if re.search(r"[<>=≠≤≥]", plain):
        return True
    fields = fields_of(dataset.items, dataset.category_field)
    if "`" in plain and any(
        re.search(
            rf"{re.escape(backquoted(column))}\s+(?:not\s+|!\s*|非\s*)?(?:in|between)\b", text, re.IGNORECASE
        )
        for column in fields
    ):
        return True
    names = _names(fields, dataset)
    return any(
        _field_of(name, fields, names) is not None
        for match in _NAME_BEFORE_IN.finditer(plain)
        for name in (match[1], re.split("[或且非]者?", match[1])[-1])
    )


def parse_parametric(text: str, dataset: Dataset) -> Constraint:
    """Parse conditions on the columns of the catalogue.

    Comparisons are = != < <= > >=; `in (…)` is membership; `in a..b` and `between a and b` are ranges with both ends
    included; `and`, `or`, `not` and parentheses combine them. `genre` and `category`, in English or Chinese, mean
    membership in the category column. Names and values ignore case; a name that is not a plain word, such as
    `release date`, stands in backquotes, and a value may stand in quotes. A missing value satisfies neither a
    comparison nor its negation.

    Args:
        text: The conditions, such as "popularity > 0.5 and price < 100".
        dataset: The data set whose items the conditions apply to.

    Returns:
        The constraint; parsing its `str` gives an equal constraint.

    Raises:
        InputError: A syntax error or an unknown name; the message gives its position in the text, counted from 1, and
            what would be accepted there.
    """
    if not text.strip():
        raise InputError(
            "instruction is empty; give conditions such as 'year >= 1990 and not genre = Horror'"
        )
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"instruction has {len(text)} characters; at most {MAX_CHARACTERS} are accepted as conditions"
        )
    plain = _narrow(text)
    try:
        _check_brackets(plain)
        return constrain(_TreeReader(dataset).node(_tree(plain)), dataset)
    except _SyntaxMistake as mistake:
        excerpt = text if len(text) <= 80 else text[:77] + "..."
        raise InputError(
            f"instruction {excerpt!r}, column {mistake.position + 1}: {mistake.message}"
        ) from None


class _SyntaxMistake(Exception):
    """A syntax error or an unknown name, with its position in the text, counted from 0."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(position, message)
        self.position, self.message = position, message


def _narrow(text: str) -> str:
    """Return the text with full-width signs as ASCII, except within quotes; no character changes its position."""
    parts: list[str] = []
    end = 0
    for quoted in _QUOTED.finditer(text):
        parts += [text[end : quoted.start()].translate(_FULL_WIDTH_TO_ASCII), quoted[0]]
        end = quoted.end()
    return "".join(parts) + text[end:].translate(_FULL_WIDTH_TO_ASCII)


class _TreeReader:
    """Converts the grammar's tree into conditions; each method `_name` reads the rule `name` of the grammar."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.fields = fields_of(dataset.items, dataset.category_field)
        self.names = _names(self.fields, dataset)

    def node(self, tree: Tree[Token]) -> Node:
        return getattr(self, f"_{tree.data}")(tree.children)

    def _disjunction(self, children: list[Any]) -> Node:
        return disjunction([self.node(child) for child in children])

    def _conjunction(self, children: list[Any]) -> Node:
        return _conjunction_of([self.node(child) for child in children])

    def _negation(self, children: list[Any]) -> Node:
        operand = self.node(children[-1])
        return negation(operand) if len(children) % 2 == 0 else operand

    def _compare(self, children: list[Any]) -> Node:
        name, op, value = children
        return self._comparison(self._field(name), op, value)

    def _chain(self, children: list[Any]) -> Node:
        low, first, name, second, high = children
        field = self._field(name)
        comparisons = [self._comparison(field, first, low, mirrored=True)]
        if second is not None:
            comparisons.append(self._comparison(field, second, high))
        return _conjunction_of(comparisons)

    def _membership(self, children: list[Any]) -> Node:
        name, inverse, *tokens = children
        field = self._field(name)
        values = dict.fromkeys(self._value(field, token) for token in tokens)
        membership = In(field.column, field.kind, tuple(values))
        return negation(membership) if inverse is not None else membership

    def _between(self, children: list[Any]) -> Node:
        name, inverse, low, high = children
        field = self._field(name)
        if field.kind != NUMBER:
            raise self._error(name, f"{field.column} holds names, not numbers; use = != or in (…)")
        bounds = [self._number(field, low), self._number(field, high)]
        if bounds[0] > bounds[1]:
            raise self._error(low, f"the range {low}..{high} is empty; give the smaller number first")
        between = Between(field.column, *bounds)
        return negation(between) if inverse is not None else between

    def _comparison(self, field: Field, op: Token, value: Token, mirrored: bool = False) -> Node:
        sign = _OPERATOR_ALIASES.get(str(op), str(op))
        if field.kind != NUMBER and sign not in ("=", "!="):
            raise self._error(op, f"{field.column} holds names, which have no order; use = != or in (…)")
        sign = _MIRRORED_OPERATORS[sign] if mirrored else sign
        return Compare(field.column, field.kind, sign, self._value(field, value))

    def _field(self, name: Token) -> Field:
        field = _field_of(str(name), self.fields, self.names)
        if field is None:
            raise self._error(name, str(one_of("field", _unquoted(name), self._accepted_fields(), most=12)))
        return field

    def _accepted_fields(self) -> list[str]:
        columns = [column for column in self.fields if column != self.dataset.category_field]
        return [self.dataset.category_field, *columns]

    def _value(self, field: Field, token: Token) -> float | str:
        if field.kind == NUMBER:
            return self._number(field, token)
        word = _unquoted(token)
        value = field.values.get(word.casefold())
        if value is None and field.kind == CATEGORIES:
            value = synonyms(field.values, self.dataset).get(normal(word))
        if value is None:
            value = next((name for name in field.values.values() if normal(name) == normal(word)), None)
        if value is None:
            kind = "genre" if field.column == "genres" else field.column
            raise self._error(token, str(one_of(kind, word, field.values.values(), most=25)))
        return value

    def _number(self, field: Field, token: Token) -> float:
        number = float(token) if token.type == "NUMBER" else math.nan
        if not math.isfinite(number):
            raise self._error(
                token,
                f"{field.column} is a number and {token} is not; give one such as 0.5 or 1995",
            )
        return number

    def _error(self, token: Token, message: str) -> _SyntaxMistake:
        return _SyntaxMistake(token.start_pos or 0, message)


def _conjunction_of(comparisons: list[Node]) -> Node:
    node = conjunction(comparisons)
    assert node is not None
    return node


def _field_of(name: str, fields: Mapping[str, Field], names: Mapping[str, Field]) -> Field | None:
    """Return the field of a name, in backquotes or not: the column of exactly this name first, then in any case."""
    if name.startswith("`"):
        name = _unescaped(name)
    return fields.get(name) or names.get(name.casefold()) or names.get(normal(name))


def _names(fields: Mapping[str, Field], dataset: Dataset) -> dict[str, Field]:
    names = {column.casefold(): field for column, field in fields.items()}
    for alias in _CATEGORY_ALIASES:
        if dataset.category_field in fields:
            names.setdefault(alias, fields[dataset.category_field])
    for alias, column in _COLUMN_ALIASES.items():
        if column in fields:
            names.setdefault(alias, fields[column])
    return names


@cache
def _grammar() -> Lark:
    from lark import Lark

    text = Path(__file__).with_name("grammar.lark").read_text("utf-8")
    return Lark(text, parser="lalr", maybe_placeholders=True)


def _tree(text: str) -> Tree[Token]:
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

    try:
        return _grammar().parse(text)
    except UnexpectedToken as error:
        expected = _expected(error.accepts or error.expected)
        if error.token.type == "$END":
            message = f"the text ends too early; accepted here: {expected}"
            raise _SyntaxMistake(len(text.rstrip()), message) from None
        message = f"unexpected {str(error.token)!r}; accepted here: {expected}"
        raise _SyntaxMistake(error.token.start_pos or 0, message) from None
    except UnexpectedCharacters as error:
        raise _unexpected_character(text, error.pos_in_stream or 0, error.allowed or set()) from None
    except UnexpectedInput as error:
        raise _SyntaxMistake(
            error.pos_in_stream or 0, "not a condition; write such as 'year > 1990'"
        ) from None


def _unexpected_character(text: str, position: int, allowed: Iterable[str]) -> _SyntaxMistake:
    character = text[position]
    if character in "\"'＂“”‘’`":
        kind = "name" if character == "`" else "value"
        return _SyntaxMistake(position, f"a quoted {kind} that is never closed; close it with the same mark")
    return _SyntaxMistake(position, f"unexpected {character!r}; accepted here: {_expected(allowed)}")


def _expected(terminals: Iterable[str]) -> str:
    return ", ".join(sorted({_TERMINAL_NAMES.get(str(name), str(name).lower()) for name in terminals}))


def _check_brackets(text: str) -> None:
    opened: list[int] = []
    bare = _QUOTED.sub(lambda match: "_" * len(match[0]), text)
    for position, character in enumerate(bare):
        if character == "(":
            opened.append(position)
            if len(opened) > MAX_NESTING:
                raise _SyntaxMistake(
                    position,
                    f"more than {MAX_NESTING} nested parentheses; write it flatter",
                )
        elif character == ")":
            if not opened:
                raise _SyntaxMistake(
                    position,
                    "a ')' that no '(' opens; remove it or open one before",
                )
            opened.pop()
    if opened:
        raise _SyntaxMistake(opened[-1], "a '(' that is never closed; add the ')'")


def _unquoted(token: Token) -> str:
    return _unescaped(str(token)) if token.type in ("STRING", "QUOTED") else str(token)


def _unescaped(quoted: str) -> str:
    return re.sub(r"\\([\s\S])", r"\1", quoted[1:-1])
