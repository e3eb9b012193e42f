"""Properties of a part of an instruction: its claims, and whether the interactions support them.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from instructrec.instructions.category_words import domain_words
from instructrec.instructions.quality.category_reader import CategoryMentions
from instructrec.instructions.quality.facts import DatasetFacts, UserTimeline
from instructrec.instructions.schema import Instruction, Intention, Preference, Style
from instructrec.wordings.lexicon import lexicon, normal

PART_KINDS = ("preference", "intention", "condition")
PROPERTIES = {
    "named": "names a category",
    "own": "from the user's own data",
    "knowledge": "adds world knowledge",
    "reflects": "reflects what is stated",
    "related": "related to the target",
    "chance": "related to a random item",
}
"""The properties of a part, each with its row in the table of quality; see `quality_table`."""

_ENGLISH_WORD = re.compile(r"[a-z][a-z'’-]*")
_FUNCTION_WORDS = frozenset(
    """a about above after all also am an and any are as at be because been before being but by can could did do does
    especially for from had has have he her him his i if in into is it its just like likes liked love loves made mainly
    many me more most mostly much my never no not of often on one ones only or other others our own rather really she
    since so some someone something sometimes such taste than that the their them then there these they this those to
    too user usually very was watch watched we were what when where which while who whose will with without would you
    your prefer prefers preferred preference enjoy enjoys enjoyed fan favour favours favourite favourites""".split()  # noqa: SIM905
)
"""English words that carry no meaning by themselves."""
_FUNCTION_PHRASES = frozenset(
    """偏爱 喜欢 用户 多为 大多 主要 尤其 年代 从不 很少 最爱 爱看 常看 看过 买过 类型 作品 影片 电影 商品 一些 一点
    这位 他们 以及 的 类 片 和 与 也 都 是 不 看 买 选 常 最 很 为 等 或 及 对 在 有 了 着 更""".split()  # noqa: SIM905
)
"""Chinese words that carry no meaning by themselves."""


class Part(NamedTuple):
    """A part of an instruction that is in words.

    Attributes:
        kind: "preference" (P2), "intention" (I1, I2) or "condition" (style parametric).
        source: Source of the part: "oracle" or "history".
        text: Text of the part.
    """

    kind: str
    source: str
    text: str


def parts_of(instruction: Instruction) -> list[Part]:
    """Return the parts of an instruction that are in words."""
    parts = []
    if instruction.preference == Preference.P2 and instruction.preference_text:
        source = instruction.preference_source or "history"
        parts.append(Part("preference", source, instruction.preference_text))
    if instruction.intention != Intention.I0 and instruction.intention_text:
        kind = "condition" if instruction.style == Style.PARAMETRIC else "intention"
        source = instruction.intention_source or "oracle"
        parts.append(Part(kind, source, instruction.intention_text))
    return parts


def mentions_in(text: str, kind: str, facts: DatasetFacts) -> CategoryMentions:
    """Return the categories and decades that a part mentions.

    Args:
        text: Text of the part.
        kind: One of `PART_KINDS`.
        facts: The facts of the data set.
    """
    return facts.condition_mentions(text) if kind == "condition" else facts.reader.read(text)


def properties_of(
    part: Part,
    instruction: Instruction,
    facts: DatasetFacts,
    timeline: UserTimeline,
    history_share: float,
    random_number: float,
) -> Iterable[str]:
    """Yield the names of the properties that a part has, see `quality_table`.

    Args:
        part: The part.
        instruction: The instruction that it belongs to.
        facts: The facts of the instruction's data set.
        timeline: The log of the instruction's user.
        history_share: Share of the history in which a category must occur for a preference to reflect it, in (0, 1].
        random_number: Chooses the random item that the part is compared with, in [0, 1).
    """
    mentions = mentions_in(part.text, part.kind, facts)
    cut, desired = instruction.cut, mentions.desired
    next_categories: frozenset[str] = frozenset()
    if cut < len(timeline.items):
        next_categories = facts.categories[timeline.items[cut]]
    if desired:
        yield "named"
    if _is_from_own_data(mentions, timeline, cut):
        yield "own"
    if not desired.isdisjoint(next_categories):
        yield "related"
        if part.kind != "preference":
            yield "reflects"
    if not desired.isdisjoint(facts.category_sets[int(random_number * len(facts.category_sets))]):
        yield "chance"
    if part.kind == "preference" and desired:
        history: Sequence[Hashable] = instruction.history or timeline.items[:cut]
        counts = Counter(
            name for item in history for name in facts.categories.get(item, ()) if name in desired
        )
        if counts and max(counts.values()) >= history_share * len(history):
            yield "reflects"
    if mentions.paraphrased or (
        part.kind != "condition" and _adds_knowledge(part.text, instruction, facts, timeline)
    ):
        yield "knowledge"


def _is_from_own_data(mentions: CategoryMentions, timeline: UserTimeline, cut: int) -> bool:
    """Return whether all that a part mentions with favour occurs among the user's items before the cut."""
    if not mentions.desired and not mentions.decades:
        return False
    return all(timeline.categories.get(name, cut) < cut for name in mentions.desired) and all(
        timeline.decades.get(decade, cut) < cut for decade in mentions.decades
    )


def _adds_knowledge(text: str, instruction: Instruction, facts: DatasetFacts, timeline: UserTimeline) -> bool:
    """Return whether words carry meaning beyond titles, categories and the data's own fields."""
    words = _meaningful_words(facts, text, instruction.language)
    if not words:
        return False
    titles = " ".join(title for item in timeline.items[: instruction.cut + 1] for title in facts.titles[item])
    if instruction.language == "zh":
        return any(word not in titles for word in words)
    return not words <= set(_ENGLISH_WORD.findall(titles))


def _meaningful_words(facts: DatasetFacts, text: str, language: str) -> frozenset[str]:
    remainder = facts.reader.remainder(text)
    field_words = _field_words(facts, language)
    if language == "zh":
        for phrase in field_words:
            remainder = remainder.replace(phrase, " ")
        runs = re.findall("[\u4e00-\u9fff]+|[a-z]{3,}", remainder)
        return frozenset(run for run in runs if len(run) > 1)
    words = _ENGLISH_WORD.findall(remainder)
    return frozenset(word for word in words if word not in field_words and len(word) > 1)


@lru_cache(maxsize=8)
def _field_words(facts: DatasetFacts, language: str) -> tuple[str, ...] | frozenset[str]:
    """Return the words for the data's own fields: the domain's, and those that express era, popularity and price."""
    phrases: list[str] = []
    for phrase in lexicon().get("taste", {}).get(language, {}).values():
        phrases.extend(phrase if isinstance(phrase, list) else [phrase])
    words = list(domain_words(facts.dataset, language).values())
    if language == "zh":
        pieces = [piece for phrase in phrases for piece in re.split(r"\{\w+\}", normal(phrase)) if piece]
        return tuple(sorted({*pieces, *words, *_FUNCTION_PHRASES}, key=len, reverse=True))
    pieces = [re.sub(r"\{\w+\}", " ", normal(phrase)) for phrase in phrases]
    columns = [str(name).replace("_", " ") for name in facts.dataset.items.columns]
    return _FUNCTION_WORDS | frozenset(
        _ENGLISH_WORD.findall(" ".join((*pieces, *map(normal, words), *columns)))
    )
