"""Rules for prices: "under 100 yuan", "预算100到200元", "cheap".

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.parsing.constraint import Between, Compare, Node
from instructrec.instructions.parsing.fields import NUMBER
from instructrec.instructions.parsing.rules.numbers import (
    AMOUNT,
    CURRENCY,
    CURRENCY_BEFORE,
    MAX_AMOUNT,
    amount,
    column_quantile,
)
from instructrec.instructions.parsing.rules.spans import Rule, rule

CHEAP_QUANTILE, EXPENSIVE_QUANTILE = 0.25, 0.75
"""Shares of the catalogue's prices that bound "cheap" from above and "expensive" from below."""
AROUND = 0.2
"""How far a price "around 100" may deviate, as a share of it."""

_SIGNED_AMOUNT = rf"{CURRENCY_BEFORE}({AMOUNT})\s*{CURRENCY}?"
_MONEY = rf"(?:[¥$]\s*({AMOUNT})|({AMOUNT})\s*{CURRENCY})"
_BELOW = (
    r"(?:under|below|less than|cheaper than|not more than|no more than|at most|up to|within|max(?:imum)?|"
    r"不超过|不高于|不多于|(?<!不)低于|(?<!不)少于|最多|不到|(?<!不)小于|便宜过)"
)
_ABOVE = (
    r"(?:over|above|more than|at least|from|min(?:imum)?|不低于|不少于|"
    r"(?<!不)高于|(?<!不)超过|(?<!不)多于|大于|至少)"
)
_AT_MOST = frozenset(
    ("at most", "up to", "within", "not more than", "no more than", "max", "maximum")
    + ("不超过", "不高于", "不多于", "最多")
)
"""The words of `_BELOW` that include the amount itself."""
_MORE_THAN = frozenset(("over", "above", "more than", "高于", "超过", "多于", "大于"))
"""The words of `_ABOVE` that exclude the amount itself."""
_TO = r"\s*(?:and|to|-|–|~|到|至)\s*"
_BUDGET = r"(?:\bbudget\b\s*(?:is|of|:|around|about|up to|under)?|预算(?:是|为|在|大[约概]|不超过|:)?)\s*"
_CHEAP = (
    r"\b(?:cheap(?:er|est)?|inexpensive|affordable|budget|low[- ]priced|bargains?)\b"
    r"|便宜|实惠|平价|低价|廉价|性价比高?"
)
_NOT_EXPENSIVE = r"不贵|不太贵"
_EXPENSIVE = (
    r"\b(?:expensive|luxury|luxurious|premium|high[- ]end|pricey|costly)\b"
    r"|昂贵|高档|高端|奢侈|奢华|(?<![珍宝名])贵"
)
_PRICE_NAME = r"(?:价格|价位|售价|预算|\bbudget\b|\bpriced?\b|\bcosts?\b|\bcosting\b)\s*(?:is|在|为|是|:)?\s*"
_BARE_AMOUNT = rf"({AMOUNT})(?![\d年])"
_BARE_BELOW = "under|below|less than|cheaper than|at most|up to|低于|少于|小于|不超过|最多"
_BARE_ABOVE = "over|above|more than|at least|高于|超过|多于|大于|至少"


def price_rules(dataset: Dataset) -> list[Rule]:
    """Return the rules for prices with a currency or a word that means a price, the most specific first."""
    return [
        # Atomic, so that "预算100到200元" is not cut short to 预算10.
        rule(
            rf"(?>{_BUDGET}{_SIGNED_AMOUNT}(?:左右|上下|以内|之内|以下)?)(?!{_TO}{CURRENCY_BEFORE}\d)",
            lambda match: _price("<=", amount(match[1])),
        ),
        rule(
            rf"(?:{_BUDGET})?(?:between|from)?\s*[¥$]\s*({AMOUNT}){_TO}[¥$]?\s*({AMOUNT})", _between_amounts
        ),
        rule(
            rf"(?:{_BUDGET})?(?:between\s+|from\s+)?({AMOUNT})\s*{CURRENCY}?{_TO}"
            rf"({AMOUNT})\s*{CURRENCY}(?:之间)?",
            _between_amounts,
        ),
        rule(
            rf"({_BELOW})\s*{_MONEY}",
            lambda match: _price("<=" if match[1] in _AT_MOST else "<", amount(match[2] or match[3])),
        ),
        rule(
            rf"({_ABOVE})\s*{_MONEY}",
            lambda match: _price(">" if match[1] in _MORE_THAN else ">=", amount(match[2] or match[3])),
        ),
        rule(
            rf"{_SIGNED_AMOUNT}(?:以下|以内|之内|之下|\s*(?:or|and) (?:less|under|below|cheaper|lower)\b)",
            lambda match: _price("<=", amount(match[1])),
        ),
        rule(
            rf"{CURRENCY_BEFORE}({AMOUNT})\s*{CURRENCY}(?:以上|之上|起|\s*(?:or|and) (?:more|over|above|up)\b)",
            lambda match: _price(">=", amount(match[1])),
        ),
        rule(rf"(?:around|about|roughly|大约|大概|差不多)\s*{_MONEY}(?:左右)?|{_MONEY}左右", _around),
        rule(_NOT_EXPENSIVE, lambda _: _price("<", column_quantile(dataset, "price", EXPENSIVE_QUANTILE))),
        rule(_CHEAP, lambda _: _price("<=", column_quantile(dataset, "price", CHEAP_QUANTILE))),
        rule(_EXPENSIVE, lambda _: _price(">=", column_quantile(dataset, "price", EXPENSIVE_QUANTILE))),
    ]


def bare_price_rules() -> list[Rule]:
    """Return the rules for amounts without a currency, which are tried after the years."""
    return [
        rule(
            rf"\b(?:between|from)\s+({AMOUNT})\s+(?:and|to)\s+({AMOUNT})(?![\d.]|\s*(?:%|stars?|years?|minutes?))"
            rf"|(?:{_PRICE_NAME})({AMOUNT})\s*(?:-|–|~|到|至|to)\s*({AMOUNT})(?:之间)?"
            rf"|({AMOUNT})\s*(?:-|–|~|到|至)\s*({AMOUNT})之间",
            _between_amounts,
        ),
        rule(
            rf"({_BARE_BELOW})\s*{_BARE_AMOUNT}",
            lambda match: _price("<=" if match[1] in _AT_MOST else "<", amount(match[2])),
        ),
        rule(
            rf"({_BARE_ABOVE})\s*{_BARE_AMOUNT}",
            lambda match: _price(">" if match[1] in _MORE_THAN else ">=", amount(match[2])),
        ),
    ]


def _price(op: str, value: float) -> Node:
    return Compare("price", NUMBER, op, value)


def _between_amounts(match: re.Match[str]) -> Node:
    low, high = sorted(amount(text) for text in match.groups() if text)
    return Between("price", low, high)


def _around(match: re.Match[str]) -> Node:
    middle = next(amount(text) for text in match.groups() if text)
    high = min(round(middle * (1 + AROUND), 2), MAX_AMOUNT)
    return Between("price", round(middle * (1 - AROUND), 2), high)
