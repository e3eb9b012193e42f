"""What the log and the words themselves say: the ruler that the audit and the table of quality measure with.

Nothing here comes from the makers of instructions. `Evidence` is read off the raw tables, and `Reader` finds categories
and decades in any sentence by the lexicon, so that rules and a teacher model are measured alike. Derived in chapter
`instruction-generation`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions.category_words import category_names, synonyms
from instructrec.instructions.parsing import parse
from instructrec.instructions.schema import Instruction
from instructrec.wordings.lexicon import LANGUAGES, lexicon, normal, title_forms

NAMELESS = frozenset({"unknown", "未知", ""})
_LATIN = "0-9a-z\u00c0-\u024f"
_CACHED = 8_192


class Story(NamedTuple):
    """One user's log.

    Attributes:
        items: The different items in the order of first meeting.
        times: The time of each first meeting, in seconds since 1970.
        places: The place of each item in `items`.
        categories: The place of the first item of each category.
        decades: The place of the first item of each decade.
    """

    items: list[Hashable]
    times: list[int]
    places: dict[Hashable, int]
    categories: dict[str, int]
    decades: dict[int, int]


class Evidence:
    """The facts that instructions from one data set are held against.

    Args:
        dataset: Items and interactions; the part that the instructions were made from, and no more.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        items = dataset.items
        ids = items["item_id"].tolist()
        by_language = {
            str(name).removeprefix("title").removeprefix("_"): {
                item: clean(title).casefold()
                for item, title in zip(ids, items[name].tolist(), strict=True)
                if isinstance(title, str) and title.strip()
            }
            for name in items.columns
            if str(name) == "title" or str(name).startswith("title_")
        }
        self._original = by_language.pop("")
        self._shown = by_language
        self.titles: dict[Hashable, tuple[str, ...]] = {
            item: tuple(
                dict.fromkeys(
                    titles[item] for titles in (self._original, *by_language.values()) if item in titles
                )
            )
            for item in ids
        }
        """The titles of an item in every language, casefolded."""
        self._forms: dict[Hashable, tuple[str, ...]] = {}
        field = dataset.category_field
        named = items[field].tolist() if field in items.columns else [()] * len(ids)
        self.categories: dict[Hashable, frozenset[str]] = {
            item: frozenset(name for name in names if name.casefold() not in NAMELESS)
            if isinstance(names, tuple | list)
            else frozenset()
            for item, names in zip(ids, named, strict=True)
        }
        self.kinds = list(self.categories.values())
        """The categories of each item, in catalogue order."""
        self.decades: dict[Hashable, int] = {}
        if "year" in items.columns:
            known = items[["item_id", "year"]].dropna()
            self.decades = {
                item: int(year) // 10 * 10
                for item, year in zip(known["item_id"].tolist(), known["year"].tolist(), strict=True)
            }
        self._log: dict[Hashable, dict[Hashable, int]] = {}
        ordered = dataset.ordered
        for user, item, time in zip(
            ordered["user_id"].tolist(),
            ordered["item_id"].tolist(),
            ordered["timestamp"].tolist(),
            strict=True,
        ):
            if item in self.titles:
                self._log.setdefault(user, {}).setdefault(item, time)
        self._stories: dict[Hashable, Story] = {}
        self._stated = lru_cache(maxsize=_CACHED)(self._understand)
        self._admitted = lru_cache(maxsize=64)(self._meeting)  # sets as large as the catalogue

    def story(self, user: Hashable) -> Story | None:
        """Return a user's log, None for a user without one."""
        found = self._stories.get(user)
        if found is None and user in self._log:
            met = self._log[user]
            items = list(met)
            categories: dict[str, int] = {}
            decades: dict[int, int] = {}
            for place, item in enumerate(items):
                for name in self.categories[item]:
                    categories.setdefault(name, place)
                if item in self.decades:
                    decades.setdefault(self.decades[item], place)
            places = {item: place for place, item in enumerate(items)}
            found = self._stories[user] = Story(items, list(met.values()), places, categories, decades)
        return found

    def forms(self, item: Hashable) -> tuple[str, ...]:
        """Return the titles of an item as they may be said, see `title_forms`; none of an unknown item."""
        found = self._forms.get(item)
        if found is None:
            listed = [form for title in self.titles.get(item, ()) for form in title_forms(title)]
            found = self._forms[item] = tuple(dict.fromkeys(listed))
        return found

    def shown(self, item: Hashable, language: str) -> str:
        """Return the title by which an item is shown in a language, casefolded; empty for an unknown item."""
        return self._shown.get(language, self._original).get(item) or self._original.get(item, "")

    @cached_property
    def names(self) -> Reader:
        """A reader of categories' own names, in both languages."""
        return Reader(self.dataset, said=False, wishes=False)

    @cached_property
    def wishes(self) -> Reader:
        """A reader of categories' own names and of the lexicon's wishes."""
        return Reader(self.dataset, said=False)

    @cached_property
    def words(self) -> Reader:
        """A reader of everything that the lexicon knows of a category: names, other words for it, wishes."""
        return Reader(self.dataset)

    def stated(self, condition: str) -> Reading:
        """Return the categories that a condition asks for and those that it refuses, as `parse` understands it."""
        return self._stated(condition)

    def admits(self, condition: str) -> frozenset[Hashable]:
        """Return the ids of the items that meet a condition."""
        return self._admitted(condition)

    def _understand(self, condition: str) -> Reading:
        wanted: set[str] = set()
        avoided: set[str] = set()
        for part in parse(condition, self.dataset).describe()["conditions"]:
            _collect(part, self.dataset.category_field, wanted, avoided)
        return Reading(frozenset(wanted), frozenset(avoided), frozenset(), False)

    def _meeting(self, condition: str) -> frozenset[Hashable]:
        mask = parse(condition, self.dataset).mask(self.dataset.items)
        return frozenset(self.dataset.items["item_id"][mask].tolist())


class Reading(NamedTuple):
    """What a sentence was found to say.

    Attributes:
        wanted: Categories that it names with favour.
        avoided: Categories that it names as not wanted.
        decades: Decades that it names with favour, such as 1980.
        wished: Whether it puts a category in words that are not the category's name.
    """

    wanted: frozenset[str]
    avoided: frozenset[str]
    decades: frozenset[int]
    wished: bool


class Reader:
    """Finds categories and decades in sentences, English or Chinese or mixed, whoever wrote them.

    A refusal ("never", "hardly any", "除了", "从不") reaches to the end of its clause: in English to a full stop, a
    "but" or a word of favour, in Chinese to the comma. Longer words win over shorter ones within them.

    Args:
        dataset: Its categories are looked for, by their names in both languages.
        said: Whether the lexicon's other words for a category count.
        wishes: Whether the lexicon's wishes count.
    """

    def __init__(self, dataset: Dataset, said: bool = True, wishes: bool = True) -> None:
        field = dataset.category_field
        rows = dataset.items[field].tolist() if field in dataset.items.columns else []
        every = sorted({name for row in rows if isinstance(row, tuple | list) for name in row})
        every = [name for name in every if name.casefold() not in NAMELESS]
        named = {
            normal(word): name
            for language in LANGUAGES
            for name, word in category_names(every, language, dataset).items()
        }
        self._words: dict[str, str] = dict(named)
        known = lexicon()
        if said:
            others = synonyms({normal(name): name for name in every}, dataset)
            self._words.update((word, name) for word, name in others.items() if name in every)
        if wishes:
            for name in every:
                entry = known["categories"].get(name.casefold(), {})
                for language in LANGUAGES:
                    for wish in entry.get(f"wishes_{language}", ()):
                        self._words.setdefault(normal(wish), name)
        # a plural is said of what has one: "comedy and westerns"; wishes end as they stand
        for word in [word for word in named if word.isascii() and len(word) > 3 and not word.endswith("s")]:
            self._words.setdefault(f"{word}s", named[word])
        self._own = {*named, *(f"{word}s" for word in named)}
        latin = [word for word in self._words if word[:1].isascii()]
        other = [word for word in self._words if not word[:1].isascii()]
        parts = [
            rf"(?<![{_LATIN}])(?P<no>{_NOT_EN})(?![{_LATIN}])",
            rf"(?P<zhno>{_NOT_ZH})",
            rf"(?<![{_LATIN}])(?P<but>{_BUT_EN})(?![{_LATIN}])|(?P<stop>{_STOPS})",
            r"(?<!\d)(?P<decade>(?:18|19|20)\d0)(?:'?s\b|年代)|(?<!\d)'?(?P<short>[2-9]0)(?:s\b|年代)",
        ]
        words = []
        if latin:
            words.append(rf"(?<![{_LATIN}])(?:{trie(latin)})(?![{_LATIN}])")
        if other:
            words.append(trie(other))
        if words:
            parts.insert(0, f"(?P<word>{'|'.join(words)})")
        self._pattern = re.compile("|".join(parts))
        self.read = lru_cache(maxsize=_CACHED)(self._read)
        self.rest = lru_cache(maxsize=_CACHED)(self._rest)

    def _read(self, text: str) -> Reading:
        wanted: set[str] = set()
        avoided: set[str] = set()
        decades: set[int] = set()
        wished = negated = chinese = False
        clause: list[str] = []
        said_since = True  # whether a category follows the refusal; in "恐怖片看得很少" it went before
        for match in self._pattern.finditer(normal(text)):
            kind, found = match.lastgroup, match[0]
            if kind == "word":
                name = self._words[found]
                (avoided if negated else wanted).add(name)
                if not negated:
                    clause.append(name)
                    wished = wished or found not in self._own
                said_since = True
            elif kind in ("no", "zhno"):
                negated, chinese, said_since = True, kind == "zhno", False
            elif kind == "decade" or kind == "short":
                if not negated:
                    decades.add(int(match["decade"] or 1900 + int(match["short"])))
            else:
                if chinese and not said_since:
                    avoided.update(clause)
                clause = []
                if chinese or found != ",":  # "never horror, war or westerns" reaches over its commas
                    negated = chinese = False
        if chinese and not said_since:
            avoided.update(clause)
        return Reading(frozenset(wanted - avoided), frozenset(avoided), frozenset(decades), wished)

    def _rest(self, text: str) -> str:
        """Return a sentence without the categories, decades and figures that it names."""
        return re.sub(r"\d+(?:\.\d+)?", " ", self._pattern.sub(" ", normal(text)))


def _collect(part: Mapping[str, object], field: str, wanted: set[str], avoided: set[str]) -> None:
    if "not" in part:
        _collect(part["not"], field, avoided, wanted)  # type: ignore[arg-type]
    for inner in (*part.get("all", ()), *part.get("any", ())):  # type: ignore[misc]
        _collect(inner, field, wanted, avoided)
    if part.get("field") == field:
        value = part["value"]
        side = avoided if part["op"] == "!=" else wanted
        side.update(str(one) for one in (value if isinstance(value, list | tuple) else (value,)))


# What refuses what follows it, and what ends a refusal.
_NOT_EN = (
    r"(?:never|hardly(?: any| ever)?|rarely|seldom|scarcely(?: any)?|almost no|barely(?: any)?|no|not(?! only)|don't|"
    r"doesn't|without|avoids?|avoiding|dislikes?|hates?|stays? away from|steers? clear of|except(?: for)?|excluding|"
    r"anything but|other than|least of all|nothing)(?: (?:really|much|likes?|loves?|enjoys?|prefers?|favou?rs?))*"
)
_BUT_EN = r"but|however|above all|mostly|mainly|likes?|loves?|enjoys?|prefers?|favou?rs?|instead|rather"
_NOT_ZH = (
    "几乎不看?|几乎没有|从来?不看?|从未|很少|极少|甚少|少有|鲜有|不太?喜欢|不太?爱|不看|不碰|不要|不选|不买|没有|避开|回避|避免|"
    "讨厌|排除|除了|敬而远之|不感兴趣|不(?![错少同仅只断过限论])"
)
_STOPS = r"[,.;:!?\n。]|但是?|然而|而|偏爱|喜欢|主要|多为|尤其"


def trie(words: Iterable[str]) -> str:
    """Return a pattern that matches the longest of many literal words, in time that hardly depends on their number."""
    root: dict[str, dict] = {}
    for word in words:
        node = root
        for character in word:
            node = node.setdefault(character, {})
        node[""] = {}
    return _branch(root)


def _branch(node: dict[str, dict]) -> str:
    ends = "" in node
    parts: list[str] = []
    for character, below in sorted((pair for pair in node.items() if pair[0]), key=lambda pair: pair[0]):
        run = character  # a chain without branches is written in one go
        while len(below) == 1 and "" not in below:
            ((following, below),) = below.items()
            run += following
        parts.append(re.escape(run) + _branch(below))
    if not parts:
        return ""
    either = parts[0] if len(parts) == 1 and not ends else f"(?:{'|'.join(parts)})"
    return f"{either}?" if ends else either


def clean(text: str) -> str:
    """Return a text with every run of white space as one space."""
    return " ".join(text.split())


@lru_cache(maxsize=_CACHED // 2)
def _bounded(words: str) -> re.Pattern[str]:
    pattern = re.escape(words)
    if re.match(f"[{_LATIN}]", words):
        pattern = rf"(?<![{_LATIN}])" + pattern
    if re.match(f"[{_LATIN}]", words[-1:]):
        pattern += rf"(?![{_LATIN}])"
    return re.compile(pattern)


def stands_in(words: str, text: str) -> bool:
    """Tell whether words stand in a text as words of their own; both are given casefolded.

    Latin letters and digits on either side make it another word ("heat" does not stand in "theatre"); Chinese
    is written without gaps, so there any place counts.
    """
    return words in text and _bounded(words).search(text) is not None


def without(text: str, words: str) -> str:
    """Return a text with the first place cut out where words stand as words of their own."""
    return _bounded(words).sub("\n", text, count=1) if words in text else text


class Library:
    """The evidence of several data sets, by their names.

    Args:
        datasets: One data set or several of different names.

    Raises:
        InputError: None is given, or two of one name.
    """

    def __init__(self, datasets: Dataset | Sequence[Dataset] | Evidence | Library) -> None:
        if isinstance(datasets, Evidence):
            self.all = {datasets.dataset.name: datasets}
        elif isinstance(datasets, Library):
            self.all = datasets.all
        else:
            listed = [datasets] if isinstance(datasets, Dataset) else list(datasets)
            self.all = {one.name: Evidence(one) for one in listed}
            if not listed:
                raise InputError(
                    "datasets is empty; the data sets that the instructions were made from are needed"
                )
            if len(self.all) < len(listed):
                names = ", ".join(one.name for one in listed)
                raise InputError(f"datasets holds one name twice: {names}; give each data set once")
        self._only = next(iter(self.all.values())) if len(self.all) == 1 else None

    def of(self, one: Instruction) -> Evidence:
        """Return the evidence of an instruction's data set; one that names none belongs to the only data set there is.

        Raises:
            InputError: The data set is not among those given.
        """
        found = self.all.get(one.dataset)
        if found is None and not one.dataset:
            found = self._only
        if found is None:
            raise one_of("data set of an instruction", one.dataset, self.all)
        return found
