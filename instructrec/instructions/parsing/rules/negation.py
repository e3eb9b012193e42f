"""Negation: which spans of a request are refused.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from instructrec.instructions.parsing.rules.spans import Span

_REFUSAL_BEFORE = re.compile(
    r"\b(?:do not|don't|does not|doesn't|never|please no)(?: (?:want|like|show|recommend|need|give|enjoy|suggest))?"
    r"(?: me| to see| to watch)?\b"
    r"|\b(?:neither|nor|less(?! than)|fewer|(?:any|every)thing but|all but|other than|rather than|instead of|apart from"
    r"|aside from|sick of|tired of|enough of|no more|(?<!why )not(?! (?:only|just|merely)\b)|except(?: for)?|without"
    r"|excluding|exclude|avoid|skip|omit|minus|leave out|rule out|can't|cannot|hate|dislike"
    r"|nothing(?! but)|isn't|aren't|non?)\b"
    r"|(?<!要)不要|(?<!想)不想(?:再)?(?:看|要|买)?|不看|不买|不需要|不考虑|不喜欢|不爱|不含|(?<!是)不是|(?<!有)没有|讨厌|拒绝|排除|避免|去掉|跳过"
    r"|除(?!非)了?|受够了|看[腻够]了|少一?[点些]"
    r"|(?:千万)?(?<!特)(?<!区)别(?:给我|推荐|再|是|要|来)*(?![的致具人])|(?<!除)非(?![论常洲])|不(?=太|那么|$)|无(?![论聊])"
)
_REFUSAL_BEHIND = re.compile(  # "恐怖片不要", "除恐怖片外", "horror-free"
    r"-free\b"
    r"|\s*的?(?:统统|一律|全都?|都|也|就)*"
    r"(?:(?:不要|不看|不想看|不想要|不喜欢|不爱看?|不买|不行|不考虑|不感兴趣|没有?兴趣|免谈|算了|看?腻了|看够了)了?"
    r"(?=\s*(?:$|[,.;:!?。\n]))|除外|[以之]外|外(?=的|都|,|$))"
)
_REFUSES_NEXT_WORD_ONLY = ("non", "不", "无", "非")
_ALSO_WANTED = re.compile(r"[^。;]{0,12}?[还也](?:想|要|喜欢|有)")  # after 除了…: besides, not except
_LIST_SEPARATOR = re.compile(r"\s*(?:[、/和跟与及或]|或者|以及|还有)\s*")
_CLAUSE_BREAK = re.compile(
    r"[,.;:!?\n。;!?]|\b(?:but|however|want|give|show|prefer|like|love)\b|但|而|想|要|来点|来些|喜欢"
)
_BETWEEN_REFUSAL_AND_SPAN = re.compile(
    r"(?:\s|\b(?:too|very|so|that|overly|anything|something|from|in|of|made|released|the|any|be|really)\b"
    r"|太|很|那么|这么|过于|特别|的)*"
)
_BETWEEN_LIST_ELEMENTS = re.compile(
    r"(?:\s|\b(?:or|and|nor|any|movies?|films?|ones?|items?|products?|stuff|too|very|so|either|an?|the|some)\b|[/、和或与跟及的片类]|以及|电影|还是|者)*"
)


class Mention(NamedTuple):
    """A span in its context.

    Attributes:
        span: The span.
        gap: The text between the span and the one before, without words that refuse the one before.
        gap_start: Position of the gap's first character.
        negated: Whether the span is refused.
        refusal: Start and end of the words that refuse it, None without such words of its own.
    """

    span: Span
    gap: str
    gap_start: int
    negated: bool
    refusal: tuple[int, int] | None


def find_mentions(text: str, spans: Sequence[Span]) -> Iterator[Mention]:
    """Yield each span with the text before it, and whether it is refused.

    A refusal reaches to the end of its list: "no horror or war" refuses both.

    Args:
        text: The request, normalised.
        spans: Spans of the text, in their order.
    """
    refused_from_behind = _refused_from_behind(text, spans)
    gap_start, in_refused_list = 0, False
    for number, span in enumerate(spans):
        gap = text[gap_start : span.start]
        refusal: tuple[int, int] | None = None
        next_start = span.end
        if number in refused_from_behind:
            next_start = refused_from_behind[number]
            refusal, negated = (span.end, next_start), True
        elif (negator := _negator_before(text, gap, span)) is not None:
            refusal = _refusal_region(negator, gap, gap_start, span)
            negated = refusal is not None
        else:
            negated = (
                in_refused_list and span.category is not None and spans[number - 1].category is not None
            ) and (is_list_gap(gap) and gap.strip() != "的")
        yield Mention(span, gap, gap_start, negated, refusal)
        gap_start, in_refused_list = next_start, negated and number not in refused_from_behind


def is_list_gap(gap: str) -> bool:
    """Return whether a text between two categories holds nothing but words that join them."""
    return _BETWEEN_LIST_ELEMENTS.fullmatch(gap) is not None


def _negator_before(text: str, gap: str, span: Span) -> re.Match[str] | None:
    """Return the last words in the gap that may refuse the span."""
    negator = max(_REFUSAL_BEFORE.finditer(gap), key=lambda match: match.start(), default=None)
    if negator is not None and negator[0][0] == "除" and _ALSO_WANTED.match(text, span.end):
        return None
    return negator


def _refusal_region(negator: re.Match[str], gap: str, gap_start: int, span: Span) -> tuple[int, int] | None:
    """Return start and end of the words that refuse a span, None if the negator does not reach it."""
    between = gap[negator.end() :]
    is_near = _BETWEEN_REFUSAL_AND_SPAN.fullmatch(between) is not None or (
        negator[0] == "non" and between == "-"
    )
    if is_near:
        return gap_start + negator.start(), span.start
    if span.category is not None and _reaches_category(negator[0], between):
        return gap_start + negator.start(), gap_start + negator.end()
    return None


def _reaches_category(negator: str, between: str) -> bool:
    """Return whether a refusal reaches a category over the words between them."""
    if negator in _REFUSES_NEXT_WORD_ONLY or between.startswith("-"):
        return False  # "non-toxic toys", "no-nonsense crime" and "无糖食品" refuse no category
    if negator in ("没有", "不含", "without") and "的" in between:
        return False  # "没有暴力的动画", cartoons without violence, does not refuse cartoons
    return _CLAUSE_BREAK.search(between) is None and _is_short(between)


def _is_short(text: str) -> bool:
    return len(text.split()) <= 4 and sum("\u4e00" <= character <= "\u9fff" for character in text) <= 6


def _refused_from_behind(text: str, spans: Sequence[Span]) -> dict[int, int]:
    """Return the indices of the spans that words behind them refuse, with the end of those words.

    In "恐怖片和歌舞片都不要" the words behind the second category refuse both.
    """
    refused: dict[int, int] = {}
    for number, span in enumerate(spans):
        refusal = _REFUSAL_BEHIND.match(text, span.end)
        if refusal is None:
            continue
        refused[number] = refusal.end()
        for earlier in range(number - 1, -1, -1):
            left, right = spans[earlier], spans[earlier + 1]
            if left.category is None or right.category is None:
                break
            if _LIST_SEPARATOR.fullmatch(text[left.end : right.start]) is None:
                break
            refused[earlier] = left.end
    return refused
