"""Instructions as conditions: "popularity > 0.5 and price < 100", read by a grammar and never evaluated as code.

The grammar is the data file `grammar.lark`. Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions.category_words import synonyms
from instructrec.instructions.parsing.constraint import (
    CATEGORIES,
    NUMBER,
    POPULARITY,
    Between,
    Compare,
    Constraint,
    Field,
    Node,
    OneOf,
    backquoted,
    conjunction,
    constrain,
    disjunction,
    fields_of,
    negation,
)
from instructrec.wordings.lexicon import normal

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

LONGEST = 4000
DEEPEST = 50

_ALIASES = {
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
_SAME = {"==": "=", "<>": "!=", "≠": "!=", "≤": "<=", "≥": ">="}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
_WIDE = str.maketrans("＜＞＝！（），、＆｜＋－．　", "<>=!(),,&|+-. ")
_QUOTED = re.compile(  # the grammar's STRING and QUOTED; an apostrophe within a name opens none
    r"\"(?:\\[\s\S]|[^\"\\])*\"|＂(?:\\[\s\S]|[^＂\\])*＂|[“”](?:\\[\s\S]|[^“”\\])*[“”]|`(?:\\[\s\S]|[^`\\])*`"
    r"|(?<![\w'’-])(?:'(?:\\[\s\S]|[^'\\])*'|[‘’](?:\\[\s\S]|[^‘’\\])*[‘’])"
)
_MEMBERSHIP = re.compile(
    r"(?<![\w-])([^\W\d][\w-]*)\s+(?:not\s+)?(?:in\s*\(|in\s+[-+]?[\d.]+(?:e[-+]?\d+)?\s*\.\.|between\s+[-+]?\d)",
    re.IGNORECASE,
)
_EXPECTED = {
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
    """Tell whether a text is written as conditions: it has an operator, or a field followed by "in" or "between"."""
    plain = text.translate(_WIDE)
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
        for found in _MEMBERSHIP.finditer(plain)
        for name in (found[1], re.split("[或且非]者?", found[1])[-1])
    )


def parse_parametric(text: str, dataset: Dataset) -> Constraint:
    """Read conditions over the columns of the catalogue.

    Comparisons are = != < <= > >=; `in (…)` is membership, `in a..b` and `between a and b` are ranges with both ends
    included; `and`, `or`, `not` and parentheses join them. `genre` and `category` mean membership in the category
    column, in English or Chinese. Names and values ignore case; a name that is not a plain word, such as
    `release date`, stands in backquotes, and a value may stand in quotes. A missing value satisfies neither a
    comparison nor its negation.

    Args:
        text: The conditions, such as "popularity > 0.5 and price < 100".
        dataset: The data set whose items are meant.

    Returns:
        The constraint; `str` of it is read back as an equal one.

    Raises:
        InputError: Names the column in the text, from 1, of the first mistake and what would be accepted there.
    """
    if not text.strip():
        raise InputError(
            "instruction is empty; give conditions such as 'year >= 1990 and not genre = Horror'"
        )
    if len(text) > LONGEST:
        raise InputError(
            f"instruction has {len(text)} characters; at most {LONGEST} are accepted as conditions"
        )
    plain = _narrow(text)
    try:
        _check_brackets(plain)
        return constrain(_Reader(dataset).node(_tree(plain)), dataset)
    except _Mistake as mistake:
        shown = text if len(text) <= 80 else text[:77] + "..."
        raise InputError(f"instruction {shown!r}, column {mistake.position + 1}: {mistake.message}") from None


class _Mistake(Exception):
    """Something in the text that cannot be read: at which position, from 0, and why."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(position, message)
        self.position, self.message = position, message


def _narrow(text: str) -> str:
    """Return the text with its full-width signs as ASCII, except within quotes; each character keeps its place."""
    parts: list[str] = []
    end = 0
    for quoted in _QUOTED.finditer(text):
        parts += [text[end : quoted.start()].translate(_WIDE), quoted[0]]
        end = quoted.end()
    return "".join(parts) + text[end:].translate(_WIDE)


class _Reader:
    """Turns the grammar's tree into conditions, looking each name up among the fields."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.fields = fields_of(dataset.items, dataset.category_field)
        self.names = _names(self.fields, dataset)

    def node(self, tree: Tree[Token]) -> Node:
        return getattr(self, f"_{tree.data}")(tree.children)

    def _either(self, parts: list[Any]) -> Node:
        return disjunction([self.node(part) for part in parts])

    def _both(self, parts: list[Any]) -> Node:
        joined = conjunction([self.node(part) for part in parts])
        assert joined is not None
        return joined

    def _negated(self, parts: list[Any]) -> Node:
        inner = self.node(parts[-1])
        return negation(inner) if len(parts) % 2 == 0 else inner

    def _compare(self, parts: list[Any]) -> Node:
        name, op, value = parts
        return self._condition(self._field(name), op, value)

    def _chain(self, parts: list[Any]) -> Node:
        low, first, name, second, high = parts
        found = self._field(name)
        both = [self._condition(found, first, low, mirrored=True)]
        if second is not None:
            both.append(self._condition(found, second, high))
        joined = conjunction(both)
        assert joined is not None
        return joined

    def _one_of(self, parts: list[Any]) -> Node:
        name, inverse, *values = parts
        found = self._field(name)
        member = OneOf(
            found.column,
            found.kind,
            tuple(dict.fromkeys(self._value(found, value) for value in values)),
        )
        return negation(member) if inverse is not None else member

    def _between(self, parts: list[Any]) -> Node:
        name, inverse, low, high = parts
        found = self._field(name)
        if found.kind != NUMBER:
            raise self._error(name, f"{found.column} holds names, not numbers; use = != or in (…)")
        ends = [self._number(found, low), self._number(found, high)]
        if ends[0] > ends[1]:
            raise self._error(low, f"the range {low}..{high} is empty; give the smaller number first")
        inside = Between(found.column, *ends)
        return negation(inside) if inverse is not None else inside

    def _condition(self, found: Field, op: Token, value: Token, mirrored: bool = False) -> Node:
        sign = _SAME.get(str(op), str(op))
        if found.kind != NUMBER and sign not in ("=", "!="):
            raise self._error(
                op,
                f"{found.column} holds names, which have no order; use = != or in (…)",
            )
        return Compare(
            found.column,
            found.kind,
            _MIRRORED[sign] if mirrored else sign,
            self._value(found, value),
        )

    def _field(self, name: Token) -> Field:
        found = _field_of(str(name), self.fields, self.names)
        if found is None:
            raise self._error(name, str(one_of("field", _unquoted(name), self._accepted_fields(), most=12)))
        return found

    def _accepted_fields(self) -> list[str]:
        columns = [column for column in self.fields if column != self.dataset.category_field]
        return [self.dataset.category_field, *columns]

    def _value(self, found: Field, token: Token) -> float | str:
        if found.kind == NUMBER:
            return self._number(found, token)
        word = _unquoted(token)
        known = found.values.get(word.casefold())
        if known is None and found.kind == CATEGORIES:
            known = synonyms(found.values, self.dataset).get(normal(word))
        if known is None:
            known = next((value for value in found.values.values() if normal(value) == normal(word)), None)
        if known is None:
            kind = "genre" if found.column == "genres" else found.column
            raise self._error(token, str(one_of(kind, word, found.values.values(), most=25)))
        return known

    def _number(self, found: Field, token: Token) -> float:
        number = float(token) if token.type == "NUMBER" else math.nan
        if not math.isfinite(number):
            raise self._error(
                token,
                f"{found.column} is a number and {token} is not; give one such as 0.5 or 1995",
            )
        return number

    def _error(self, token: Token, message: str) -> _Mistake:
        return _Mistake(token.start_pos or 0, message)


def _field_of(name: str, fields: Mapping[str, Field], names: Mapping[str, Field]) -> Field | None:
    """Return the field of a name, in backquotes or not: the column of exactly this name first, then in any case."""
    if name.startswith("`"):
        name = _unescaped(name)
    return fields.get(name) or names.get(name.casefold()) or names.get(normal(name))


def _names(fields: Mapping[str, Field], dataset: Dataset) -> dict[str, Field]:
    names = {column.casefold(): found for column, found in fields.items()}
    for alias in _CATEGORY_ALIASES:
        if dataset.category_field in fields:
            names.setdefault(alias, fields[dataset.category_field])
    for alias, column in _ALIASES.items():
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
            raise _Mistake(
                len(text.rstrip()),
                f"the text ends too early; accepted here: {expected}",
            ) from None
        position = error.token.start_pos or 0
        raise _Mistake(
            position,
            f"unexpected {str(error.token)!r}; accepted here: {expected}",
        ) from None
    except UnexpectedCharacters as error:
        position = error.pos_in_stream or 0
        expected = _expected(error.allowed or set())
        if text[position] in "\"'＂“”‘’`":
            kind = "name" if text[position] == "`" else "value"
            raise _Mistake(
                position, f"a quoted {kind} that is never closed; close it with the same mark"
            ) from None
        raise _Mistake(position, f"unexpected {text[position]!r}; accepted here: {expected}") from None
    except UnexpectedInput as error:
        raise _Mistake(
            error.pos_in_stream or 0,
            "not a condition; write such as 'year > 1990'",
        ) from None


def _expected(terminals: Any) -> str:
    return ", ".join(sorted({_EXPECTED.get(str(name), str(name).lower()) for name in terminals}))


def _check_brackets(text: str) -> None:
    opened: list[int] = []
    bare = _QUOTED.sub(lambda found: "_" * len(found[0]), text)
    for position, character in enumerate(bare):
        if character == "(":
            opened.append(position)
            if len(opened) > DEEPEST:
                raise _Mistake(
                    position,
                    f"more than {DEEPEST} nested parentheses; write it flatter",
                )
        elif character == ")":
            if not opened:
                raise _Mistake(
                    position,
                    "a ')' that no '(' opens; remove it or open one before",
                )
            opened.pop()
    if opened:
        raise _Mistake(opened[-1], "a '(' that is never closed; add the ')'")


def _unquoted(token: Token) -> str:
    return _unescaped(str(token)) if token.type in ("STRING", "QUOTED") else str(token)


def _unescaped(quoted: str) -> str:
    return re.sub(r"\\([\s\S])", r"\1", quoted[1:-1])
