"""Rules for years: "since 1990", "the early 80s", "老片"; and years that "or" or "to" joins.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeGuard

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.parsing.constraint import Between, Compare, Node, Or, disjunction
from instructrec.instructions.parsing.fields import NUMBER
from instructrec.instructions.parsing.rules.categories import any_word
from instructrec.instructions.parsing.rules.numbers import CHINESE_DIGITS, CURRENCY, YEAR, column_quantile
from instructrec.instructions.parsing.rules.spans import Rule, rule

OLD_QUANTILE, RECENT_QUANTILE = 0.25, 0.75
"""Shares of the catalogue's years that bound "old" from above and "recent" from below."""

_DECADES = {
    "twenties": 20,
    "thirties": 30,
    "forties": 40,
    "fifties": 50,
    "sixties": 60,
    "seventies": 70,
    "eighties": 80,
    "nineties": 90,
}
_YEAR = rf"({YEAR})"
_EARLIER = r"(?:before|older than|earlier than|prior to|pre)[\s-]*(?:the\s+)?"
_LATER = r"(?:after|later than|newer than|post)[\s-]*(?:the\s+)?"
_IN = r"(?:\b(?:in|from|of)\s+)?"
_TO = r"\s*(?:and|to|through|-|–|~|到|至)\s*"
_NO_YEAR_FOLLOWS = r"(?!\s+(?:the\b|'?\d))"
_DECADE = (
    rf"(?P<before>\b(?:{_EARLIER}|{_LATER}|since(?:\s+the)?\s+))?(?:\bthe\s+)?(?:\b(?:early|mid|late)[\s-]+)?"
    rf"(?:\b(?P<full>(?:18|19|20)\d0)'?s\b|(?<!\d)'?(?P<short>\d0)'?s\b|\b(?P<word>{'|'.join(_DECADES)})\b"
    r"|(?:上个?世纪|二十世纪|20世纪)?(?:(?P<zhfull>(?:18|19|20)\d0)|(?P<zhshort>(?<!\d)\d0)|(?P<zhword>[二三四五六七八九])十)年代)"
    r"(?:初期?|早期|中期|中|末期?|后期)?"
    r"(?P<after>以前|之前|前|以后|之后|后|以来|起"
    rf"|\s+onwards?\b|\s+(?:or|and)\s+(?:later|newer|onwards?|earlier|older|before)\b{_NO_YEAR_FOLLOWS})?"
)

_ONLY_TO = re.compile(r"\s*(?:to|through|-|–|~|到|至)\s*")
_ONLY_OR = re.compile(r"\s*(?:or|and|nor|或者?|和|还是|[/,、,])\s*(?:(?:in|from|the)\s+)*")


def year_rules(dataset: Dataset, words: dict[str, str]) -> list[Rule]:
    """Return the rules for years, the most specific first.

    Args:
        dataset: The data set; its years say what is old and what is recent.
        words: The words for categories, before which "old" and "new" mean the year.
    """
    category = any_word(words) or r"(?!)"
    return [
        rule(rf"(?:\b(?:between|from)\s+)?{_YEAR}\s*年?{_TO}{_YEAR}\s*年?(?:之间|间)?", _between_years),
        rule(
            rf"{_IN}{_YEAR}\s*(?:or|and) (?:later|newer|after|onwards?|up|more recent)\b{_NO_YEAR_FOLLOWS}",
            _compare(">="),
        ),
        rule(rf"{_IN}{_YEAR}\s*(?:or|and) (?:earlier|older|before)\b{_NO_YEAR_FOLLOWS}", _compare("<=")),
        rule(_DECADE, _decade_condition),
        rule(rf"\b(?:until|up to|(?:no|not) (?:later|newer) than)\s+{_YEAR}", _compare("<=")),
        rule(rf"\b(?:no|not) (?:earlier|older) than\s+{_YEAR}", _compare(">=")),
        rule(rf"\b{_LATER}{_YEAR}", _compare(">")),
        rule(rf"\bsince\s+{_YEAR}|\bfrom\s+({YEAR})\s+on(?:wards?)?\b", _compare(">=")),
        rule(rf"\b{_EARLIER}{_YEAR}", _compare("<")),
        rule(rf"{_YEAR}\s*年?\s*(?:[及或](?:以前|之前|更早)|为止)", _compare("<=")),
        rule(rf"{_YEAR}\s*年?\s*(?:以前|之前|前)", _compare("<")),
        rule(rf"{_YEAR}\s*年?\s*(?:[及或](?:以后|之后|更晚)|以来|起|开始)", _compare(">=")),
        rule(rf"{_YEAR}\s*年?\s*(?:以后|之后|后)", _compare(">")),
        rule(rf"{_IN}(?<!\(){_YEAR}(?:\s*年)?(?!\s*{CURRENCY})", _compare("=")),
        rule(
            rf"\b(?:recent|latest|newest|newer(?! than)|new (?=movies?|films?|releases?|ones?|{category}))"
            r"|新片|新电影|最新|新出|近年|近几年|最近(?!看)",
            lambda _: _year(">=", column_quantile(dataset, "year", RECENT_QUANTILE)),
        ),
        rule(
            rf"\b(?:classics?|vintage|old[- ]fashioned|(?:old|older) (?=movies?|films?|ones?|hollywood|{category})"
            r"|(?<!years[ -])(?<!year[ -])(?<!how )(?:old|older)(?=\s*(?:$|[,.;!?]|\b(?:but|and|n?or)\b)))"
            rf"|老(?:片|电影|的|旧|一[点些]|(?={category}|$|[,.但又而]))|旧片|早期|古老|经典|怀旧|年代久远",
            lambda _: _year("<=", column_quantile(dataset, "year", OLD_QUANTILE)),
        ),
    ]


def joined_years(previous: Node | None, current: Node, gap: str, after_between: bool) -> Node | None:
    """Return the condition of two joined years, such as "the 1970s or 1980s"; None if they are not joined.

    Args:
        previous: The condition before, a year, a decade or a disjunction of such; None for another span.
        current: The condition after.
        gap: The text between the two.
        after_between: Whether "between" stands before the first; then "and" means "to".
    """
    if not isinstance(current, Between | Compare) or current.column != "year":
        return None
    is_range = _ONLY_TO.fullmatch(gap) is not None or (after_between and gap.strip() == "and")
    if isinstance(previous, Between) and isinstance(current, Between) and is_range:
        return Between("year", min(previous.low, current.low), max(previous.high, current.high))
    before = previous.operands if isinstance(previous, Or) else (previous,)
    alternatives: list[Node] = [node for node in (*before, current) if _is_year_or_range(node)]
    if len(alternatives) == len(before) + 1 and _ONLY_OR.fullmatch(gap):
        return disjunction(alternatives)
    return None


def _is_year_or_range(node: Node | None) -> TypeGuard[Compare | Between]:
    if isinstance(node, Compare) and node.op != "=":
        return False
    return isinstance(node, Compare | Between) and node.column == "year"


def _year(op: str, value: float) -> Node:
    return Compare("year", NUMBER, op, value)


def _compare(op: str) -> Callable[[re.Match[str]], Node]:
    """Return the comparison with the year of a match, its first group that matched."""
    return lambda match: _year(op, next(float(text) for text in match.groups() if text))


def _between_years(match: re.Match[str]) -> Node:
    low, high = sorted((float(match[1]), float(match[2])))
    return Between("year", low, high)


def _decade_condition(match: re.Match[str]) -> Node:
    start = _first_year(match)
    before, after = match["before"], match["after"]
    if before and re.match(r"before|older|earlier|prior|pre", before) or after in ("以前", "之前", "前"):
        return _year("<", start)
    if before and before.startswith("since") or after in ("以来", "起"):
        return _year(">=", start)
    if after and after[0].isspace():  # in English: "and later", "or earlier"
        is_later = re.search(r"later|newer|onwards?", after) is not None
        return _year(">=", start) if is_later else _year("<=", start + 9)
    if before or after:
        return _year(">", start + 9)
    return Between("year", start, start + 9)


def _first_year(match: re.Match[str]) -> float:
    """Return the first year of a decade: of the 20th century if it has no century, or of the 21st before the 20s."""
    full = match["full"] or match["zhfull"]
    if full:
        return float(full)
    if match["word"]:
        return 1900.0 + _DECADES[match["word"]]
    if match["zhword"]:
        return 1900.0 + 10 * CHINESE_DIGITS[match["zhword"]]
    short = int(match["short"] or match["zhshort"])
    return float(1900 + short if short >= 20 else 2000 + short)
