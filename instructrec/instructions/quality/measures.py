"""How good instructions are, measured from their words: a table beside the paper's, and the faults of single ones.

In the paper, people judged 100 preferences and 100 intentions (Zhang et al., 2023, arXiv:2305.07001). Here every part
is measured by one ruler, whoever wrote it, rules or a teacher: the lexicon finds the categories that its words name,
and the log says whether they hold. A ruler sees only what the lexicon knows: praise of a director is invisible to it,
and a word such as "family" counts as a category even where it means something else. Derived in chapter
`instruction-generation`.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions.category_words import domain_words
from instructrec.instructions.quality.facts import Evidence, Library, Reading, Story
from instructrec.instructions.schema import Answer, Instruction, Intention, Preference, Style, TaskForm
from instructrec.wordings.lexicon import LANGUAGES, lexicon, normal

if TYPE_CHECKING:
    from instructrec.statistics.intervals import Interval

PAPER = "zhang2023instructrec"
"""Key of the paper in the book's bibliography."""
PARTS = ("preference", "intention", "condition")
N_CELLS = len(Preference) * len(Intention) * len(TaskForm)
SHARES = {
    "named": "names a category",
    "own": "from the user's own data",
    "knowledge": "adds world knowledge",
    "reflects": "reflects what is stated",
    "related": "related to the target",
    "chance": "related to a random item",
}
"""What is given as a share, with its row in the table."""
COUNT = "count"
WORDS, CHARACTERS = "words, English", "characters, Chinese"
CELLS = {language: f"cells of {N_CELLS}, {name}" for language, name in (("en", "English"), ("zh", "Chinese"))}
SAMPLE = 2_000
LONGEST = 512
"""Tokens that the paper's model can read."""

_LATIN_TOKEN = 4.0
_CJK = re.compile("[\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]")
_WORD = re.compile(r"[a-z][a-z'’-]*")


def _split(words: str) -> frozenset[str]:
    return frozenset(words.split())


# words that say nothing by themselves
_FUNCTION_WORDS = _split(
    """a about above after all also am an and any are as at be because been before being but by can could did do does
    especially for from had has have he her him his i if in into is it its just like likes liked love loves made mainly
    many me more most mostly much my never no not of often on one ones only or other others our own rather really she
    since so some someone something sometimes such taste than that the their them then there these they this those to
    too user usually very was watch watched we were what when where which while who whose will with without would you
    your prefer prefers preferred preference enjoy enjoys enjoyed fan favour favours favourite favourites"""
)
_FUNCTION_PHRASES = _split(
    """偏爱 喜欢 用户 多为 大多 主要 尤其 年代 从不 很少 最爱 爱看 常看 看过 买过 类型 作品 影片 电影 商品 一些 一点
    这位 他们 以及 的 类 片 和 与 也 都 是 不 看 买 选 常 最 很 为 等 或 及 对 在 有 了 着 更"""
)


@dataclass(frozen=True)
class Figures:
    """The figures of one kind of part, such as preferences said to come from the history.

    Attributes:
        part: "preference" (P2), "intention" (I1, I2), "condition" (style parametric), or "instruction", the whole text.
        source: "oracle", "history", or "all".
        count: How many.
        words: Mean number of words of the English ones, NaN without any.
        characters: Mean number of characters, other than spaces, of the Chinese ones, NaN without any.
        distinct: Distinct-n by language and n, of a sample, see `quality`.
        shares: How many have each property of `SHARES`; empty for the whole text.
        cells: The cells (preference, intention, task) that occur, by language.
    """

    part: str
    source: str
    count: int
    words: float
    characters: float
    distinct: dict[tuple[str, int], float]
    shares: dict[str, int]
    cells: dict[str, frozenset[tuple[Preference, Intention, TaskForm]]]

    def share(self, name: str) -> Interval:
        """Return a share with its 95% Wilson interval.

        Args:
            name: A key of `SHARES`.
        """
        return wilson(self.shares[name], self.count)


def figures(
    instructions: Iterable[Instruction],
    datasets: Dataset | Sequence[Dataset] | Evidence,
    *,
    share: float = 1 / 3,
    sample: int = SAMPLE,
    seed: int = 0,
) -> list[Figures]:
    """Measure instructions, as `quality` does, and return numbers rather than a table.

    Args:
        instructions: Any number of instructions.
        datasets: The data that they were made from.
        share: The share of the history that a category must hold of for a preference to reflect it, in (0, 1].
        sample: Texts of each kind and language that distinct-n is computed from, at least 1.
        seed: Seed of the sample.

    Raises:
        InputError: An argument is not acceptable, or an instruction names a data set that is not given.
    """
    if not 0 < share <= 1:
        raise InputError(f"share is {share!r}; a number above 0 and at most 1 is accepted")
    if isinstance(sample, bool) or not isinstance(sample, int) or sample < 1:
        raise InputError(f"sample is {sample!r}; a whole number of at least 1 is accepted")
    library = Library(datasets)
    tallies: dict[tuple[str, str], _Tally] = {}
    for one in instructions:
        evidence = library.of(one)
        _tally(tallies, "instruction", "all", sample, seed).add(one.text, one)
        story = evidence.story(one.user_id)
        for part, source, text in parts(one):
            tally = _tally(tallies, part, source, sample, seed)
            tally.add(text, one)
            if story is not None:
                for name in _properties(one, part, text, evidence, story, share, tally.draw):
                    tally.shares[name] += 1
    order = {name: number for number, name in enumerate(("instruction", *PARTS))}
    return [tallies[key].figures(*key) for key in sorted(tallies, key=lambda key: (order[key[0]], key[1]))]


def quality(
    instructions: Iterable[Instruction],
    datasets: Dataset | Sequence[Dataset] | Evidence,
    *,
    share: float = 1 / 3,
    sample: int = SAMPLE,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure instructions and their parts from the words alone, reading a stream once in bounded memory.

    What is measured of each preference (P2), intention (I1, I2) and condition (style parametric) that is in words,
    whether it stands in the text or in the answer, by where it comes from:

    - `count`; mean length in words (English) or characters other than spaces (Chinese).
    - distinct-n = different n-grams / n-grams (Li et al., 2016, arXiv:1510.03055), of words or of Chinese characters,
      over a uniform reservoir sample of `sample` texts of each language, since the figure falls with the number of
      texts. The same stream and seed give the same sample.
    - cells: how many of the 36 combinations of preference, intention and task occur, in the whole of the instructions.
    - names a category: a category, or other words for one, was found at all and named with favour.
    - from the user's own data: it names a category or a decade, and every one that it names with favour occurs among
      the items that the user had met before the cut.
    - adds world knowledge: it says something beyond the titles of the user's items, names of categories, and the
      data's own fields: a wish or another word of the lexicon, or any other word that carries meaning.
    - reflects what is stated: for a preference, a category that it names holds of at least `share` of the history; for
      an intention or condition, of the item that came next.
    - related to the target: a category that it names is one of the item's that came next. For an intention that is
      the same as to reflect it.
    - related to a random item: the same of an item drawn from the catalogue with equal chances, the level to beat.

    The paper's shares are people's judgement of 100 samples each. They saw meaning where this sees words, and judged
    whether a preference fits a user as a whole, where this asks for one category that holds. Compare them in kind, not
    in the second digit.

    Args:
        instructions: Any number of instructions.
        datasets: The data that they were made from.
        share: The share of the history that a category must hold of for a preference to reflect it, in (0, 1].
        sample: Texts of each kind and language that distinct-n is computed from.
        seed: Seed of the sample.

    Returns:
        A row a measure and a column a kind, such as "preference, history"; shares read "mean [low, high]" with 95%
        Wilson intervals; what cannot be is "–".

    Raises:
        InputError: An argument is not acceptable, or an instruction names a data set that is not given.
    """
    found = figures(instructions, datasets, share=share, sample=sample, seed=seed)
    columns: dict[str, dict[str, str]] = {}
    for one in found:
        name = "whole text" if one.part == "instruction" else f"{one.part}, {one.source}"
        column = {COUNT: f"{one.count:,}", WORDS: _number(one.words), CHARACTERS: _number(one.characters)}
        for language, label in (("en", "English"), ("zh", "Chinese")):
            for n in (1, 2):
                value = one.distinct.get((language, n), math.nan)
                column[f"distinct-{n}, {label}"] = _number(value, 3)
        for language, row in CELLS.items():
            column[row] = "–" if one.shares else str(len(one.cells[language]))
        for key, row in SHARES.items():
            column[row] = str(one.share(key)) if one.shares else "–"
        columns[name] = column
    return pd.DataFrame(columns).rename_axis("measure")


def paper() -> pd.DataFrame:
    """Return what the paper says of its instructions, in the rows of `quality` (its Tables 2 and 3).

    Its 23.5 words are the mean over preferences and intentions together, its 41.4 words that of its 39 templates. The
    shares are of 100 judged samples each, here with the Wilson interval that so few leave. `attrs["citation"]` is the
    key in the book's bibliography.

    Returns:
        Columns "preference, paper", "intention, paper" and "whole text, paper"; "–" where the paper does not say.
    """
    judged = 100
    counts = {"preference": 151_638, "intention": 101_092}
    agreed = {
        "preference": {"own": 93, "knowledge": 87, "reflects": 88, "related": 48},
        "intention": {"own": 90, "knowledge": 22, "reflects": 69, "related": 69},
    }
    columns = {
        f"{part}, paper": {
            COUNT: f"{counts[part]:,}",
            WORDS: _number(23.5),
            **{SHARES[key]: str(wilson(number, judged)) for key, number in agreed[part].items()},
        }
        for part in counts
    }
    columns["whole text, paper"] = {COUNT: f"{sum(counts.values()):,}", WORDS: _number(41.4)}
    rows = [COUNT, WORDS, *(SHARES[key] for key in agreed["preference"])]
    table = pd.DataFrame(columns).reindex(rows).fillna("–").rename_axis("measure")
    table.attrs["citation"] = PAPER
    return table


def beside_paper(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `quality` with the paper's columns beside its own, part by part.

    Args:
        table: What `quality` returned.
    """
    theirs = paper()
    joined = pd.concat([theirs.reindex(table.index), table], axis=1).fillna("–")
    first = ("preference", "intention", "condition", "whole text")
    order = sorted(joined.columns, key=lambda name: first.index(str(name).split(",")[0]))
    joined = joined[order]
    joined.attrs["citation"] = PAPER
    return joined


def wilson(hits: int, n: int, z: float = 1.959964) -> Interval:
    """Return a share with its Wilson score interval (Wilson, 1927), which stays within [0, 1]; NaN of nothing.

    Args:
        hits: How many have the property.
        n: Of how many.
        z: Quantile of the normal distribution; 1.96 for 95%.
    """
    from instructrec.statistics.intervals import Interval  # here, since that package imports the models

    if not n:
        return Interval(math.nan, math.nan, math.nan)
    mean, spread = hits / n, z * z / n
    middle = (mean + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (mean * (1 - mean) + spread / 4)) / (1 + spread)
    return Interval(mean, max(0.0, middle - half), min(1.0, middle + half))


def parts(one: Instruction) -> list[tuple[str, str, str]]:
    """Return the parts of an instruction that are in words: what each is, where it comes from, its text."""
    found = []
    if one.preference == Preference.P2 and one.preference_text:
        found.append(("preference", one.preference_source or "history", one.preference_text))
    if one.intention != Intention.I0 and one.intention_text:
        part = "condition" if one.style == Style.PARAMETRIC else "intention"
        found.append((part, one.intention_source or "oracle", one.intention_text))
    return found


def faults(one: Instruction, dataset: Dataset | Evidence, longest: int = LONGEST) -> list[str]:
    """Return the faults of an instruction that can be measured, each a sentence; none is proof of a good one.

    Looked for: several candidates that fit what is asked for; an intention or condition that the target does not meet;
    a taste that shares no category with the target; a taste and an intention of which one refuses what the other
    names; a text and answer that are too long; a title that stands twice among the candidates. An English title within
    a Chinese text is no fault.

    Args:
        one: The instruction.
        dataset: The data that it was made from.
        longest: The most tokens of text and answer, by the estimate of `tokens`; the paper's model reads 512.
    """
    evidence = dataset if isinstance(dataset, Evidence) else _evidence(dataset)
    found: list[str] = []
    story = evidence.story(one.user_id)
    target = one.target
    if target is None and story is not None and one.cut < len(story.items):
        target = story.items[one.cut]
    theirs = evidence.categories.get(target, frozenset())
    condition = one.style == Style.PARAMETRIC and bool(one.intention_text)
    wish, taste = _reading(one, "intention", evidence), _reading(one, "preference", evidence)
    meeting = evidence.admits(one.intention_text) if condition else None
    if one.answer in (Answer.ITEM, Answer.REASONED_ITEM) and one.task in (TaskForm.T1, TaskForm.T3):
        fitting = [
            item
            for item in one.candidates
            if (
                item in meeting
                if meeting is not None
                else wish.wanted <= evidence.categories.get(item, set())
            )
        ]
        if one.intention == Intention.I2 and (wish.wanted or condition) and len(fitting) > 1:
            found.append(
                f"ambiguous: {len(fitting)} of {len(one.candidates)} candidates fit {one.intention_text!r}"
            )
    if meeting is not None:
        if target is not None and target not in meeting:
            found.append(f"the target does not meet the condition {one.intention_text!r}")
    elif wish.wanted and theirs and wish.wanted.isdisjoint(theirs):
        found.append(f"the wish contradicts the target: {_listed(wish.wanted)} against {_listed(theirs)}")
    if taste.wanted and theirs and taste.wanted.isdisjoint(theirs):
        found.append(f"the target is unlike the taste: {_listed(theirs)} against {_listed(taste.wanted)}")
    clash = (wish.wanted & taste.avoided) | (wish.avoided & taste.wanted)
    if clash:
        found.append(f"preference and intention are at odds over {_listed(clash)}")
    length = tokens(one.text) + tokens(one.response)
    if length > longest:
        found.append(f"too long: about {length} tokens, {longest} can be read")
    titles = Counter(evidence.shown(item, one.language) for item in dict.fromkeys(one.candidates))
    twice = [title for title, count in titles.items() if count > 1 and title]
    if twice or len(set(one.candidates)) < len(one.candidates):
        found.append(
            f"a title stands twice among the candidates: {', '.join(map(repr, twice)) or 'one item'}"
        )
    return found


def tokens(text: str) -> int:
    """Return an estimate of a text's length in tokens: one a Chinese character, one for every four others.

    The rule of thumb of English subword vocabularies; what a model really reads only its own tokenizer knows.
    """
    chinese = len(_CJK.findall(text))
    return chinese + math.ceil((len(text) - chinese) / _LATIN_TOKEN)


# -- properties of a part --------------------------------------------------------------------------------------------


def _reading(one: Instruction, part: str, evidence: Evidence) -> Reading:
    if part == "preference":
        return evidence.words.read(one.preference_text)
    if one.style == Style.PARAMETRIC and one.intention_text:
        return evidence.stated(one.intention_text)
    return evidence.words.read(one.intention_text)


def _properties(
    one: Instruction,
    part: str,
    text: str,
    evidence: Evidence,
    story: Story,
    share: float,
    draw: Callable[[], float],
) -> Iterable[str]:
    reading = evidence.stated(text) if part == "condition" else evidence.words.read(text)
    cut, wanted = one.cut, reading.wanted
    theirs: frozenset[str] = frozenset()
    if cut < len(story.items):
        theirs = evidence.categories[story.items[cut]]
    if wanted:
        yield "named"
    if (wanted or reading.decades) and (
        all(story.categories.get(name, cut) < cut for name in wanted)
        and all(story.decades.get(decade, cut) < cut for decade in reading.decades)
    ):
        yield "own"
    if not wanted.isdisjoint(theirs):
        yield "related"
        if part != "preference":
            yield "reflects"
    if not wanted.isdisjoint(evidence.kinds[int(draw() * len(evidence.kinds))]):
        yield "chance"
    if part == "preference" and wanted:
        history: Sequence[Hashable] = one.history or story.items[:cut]
        holding = Counter(
            name for item in history for name in evidence.categories.get(item, ()) if name in wanted
        )
        if holding and max(holding.values()) >= share * len(history):
            yield "reflects"
    if reading.wished or (part != "condition" and _adds(text, one, evidence, story)):
        yield "knowledge"


def _adds(text: str, one: Instruction, evidence: Evidence, story: Story) -> bool:
    """Tell whether words carry meaning beyond titles, categories and the data's own fields."""
    rest = _meaning(evidence, text, one.language)
    if not rest:
        return False
    titles = " ".join(title for item in story.items[: one.cut + 1] for title in evidence.titles[item])
    if one.language == "zh":
        return any(run not in titles for run in rest)
    return not rest <= set(_WORD.findall(titles))


def _meaning(evidence: Evidence, text: str, language: str) -> frozenset[str]:
    rest = evidence.words.rest(text)
    plain = _plain(evidence, language)
    if language == "zh":
        for phrase in plain:
            rest = rest.replace(phrase, " ")
        runs = re.findall("[\u4e00-\u9fff]+|[a-z]{3,}", rest)
        return frozenset(run for run in runs if len(run) > 1)
    return frozenset(word for word in _WORD.findall(rest) if word not in plain and len(word) > 1)


@lru_cache(maxsize=8)
def _plain(evidence: Evidence, language: str) -> tuple[str, ...] | frozenset[str]:
    """Return the words for the data's own fields: the domain's, and those in which era, fame and price are told."""
    phrases = lexicon().get("taste", {}).get(language, {})
    told: list[str] = []
    for phrase in phrases.values():
        told.extend(phrase if isinstance(phrase, list) else [phrase])
    words = list(domain_words(evidence.dataset, language).values())
    columns = [str(name).replace("_", " ") for name in evidence.dataset.items.columns]
    if language == "zh":
        pieces = [piece for phrase in told for piece in re.split(r"\{\w+\}", normal(phrase)) if piece]
        return tuple(sorted({*pieces, *words, *_FUNCTION_PHRASES}, key=len, reverse=True))
    pieces = [re.sub(r"\{\w+\}", " ", normal(phrase)) for phrase in told]
    return _FUNCTION_WORDS | frozenset(_WORD.findall(" ".join((*pieces, *map(normal, words), *columns))))


# -- counting --------------------------------------------------------------------------------------------------------


class _Tally:
    """Counts of one kind of part; memory does not grow with the number of parts."""

    def __init__(self, sample: int, seed: str) -> None:
        self.count = 0
        self.length = dict.fromkeys(LANGUAGES, 0)
        self.number = dict.fromkeys(LANGUAGES, 0)
        self.shares: dict[str, int] = dict.fromkeys(SHARES, 0)
        self.cells: dict[str, set[tuple[Preference, Intention, TaskForm]]] = {
            name: set() for name in LANGUAGES
        }
        self._sample = sample
        self._kept: dict[str, list[str]] = {name: [] for name in LANGUAGES}
        self.draw = random.Random(seed).random

    def add(self, text: str, one: Instruction) -> None:
        language = one.language
        words = text.split()
        self.count += 1
        self.number[language] += 1
        self.length[language] += sum(map(len, words)) if language == "zh" else len(words)
        self.cells[language].add((one.preference, one.intention, one.task))
        kept = self._kept[language]
        if len(kept) < self._sample:
            kept.append(text)
        else:  # reservoir: each of the texts so far is kept with the same probability (Vitter, 1985)
            place = int(self.draw() * self.number[language])
            if place < self._sample:
                kept[place] = text

    def figures(self, part: str, source: str) -> Figures:
        return Figures(
            part,
            source,
            self.count,
            self.length["en"] / self.number["en"] if self.number["en"] else math.nan,
            self.length["zh"] / self.number["zh"] if self.number["zh"] else math.nan,
            {
                (language, n): distinct(kept, n, language)
                for language, kept in self._kept.items()
                for n in (1, 2)
                if kept
            },
            {} if part == "instruction" else dict(self.shares),
            {language: frozenset(cells) for language, cells in self.cells.items()},
        )


def distinct(texts: Iterable[str], n: int, language: str = "en") -> float:
    """Return distinct-n: different n-grams / n-grams, of words or of Chinese characters; NaN without any.

    Args:
        texts: The texts.
        n: Length of an n-gram, at least 1.
        language: "en" or "zh".
    """
    seen: set[tuple[str, ...]] = set()
    total = 0
    for text in texts:
        pieces = (
            [one for one in normal(text) if not one.isspace()] if language == "zh" else normal(text).split()
        )
        grams = list(zip(*(pieces[start:] for start in range(n)), strict=False))
        seen.update(grams)
        total += len(grams)
    return len(seen) / total if total else math.nan


def _tally(tallies: dict[tuple[str, str], _Tally], part: str, source: str, sample: int, seed: int) -> _Tally:
    found = tallies.get((part, source))
    if found is None:
        found = tallies[part, source] = _Tally(sample, f"{seed} {part} {source}")
    return found


def _number(value: float, digits: int = 1) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


_RECENT: dict[int, Evidence] = {}  # by the data set's identity, which the evidence keeps alive


def _evidence(dataset: Dataset) -> Evidence:
    found = _RECENT.get(id(dataset))
    if found is None:
        found = Evidence(dataset)
        if len(_RECENT) >= 2:
            del _RECENT[next(iter(_RECENT))]
        _RECENT[id(dataset)] = found
    return found
