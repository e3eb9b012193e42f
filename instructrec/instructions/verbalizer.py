"""From a history and a target to words: titles (P1), taste (P2), a vague wish (I1), categories (I2), a condition.

The paper has a teacher model write P2 and I1; here rules and the lexicon do, so that anyone can repeat it without one,
and `instructions.teacher` is the door for a model. Whatever is said of a moment uses only events before it; what is
said of the catalogue (how common a category is, what is dear) uses the item table alone. Derived in chapter
`instruction-generation`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.category_words import category_names, domain_words
from instructrec.instructions.parsing.constraint import literal
from instructrec.instructions.schema import NO_CONTEXT, Context
from instructrec.wordings.lexicon import lexicon

Draw = Callable[[], float]
"""A source of random numbers in [0, 1), such as `random.Random(seed).random`."""

WELL_KNOWN_FACTOR = 2.0
"""An item is well known from this multiple of the average item's number of events before the moment."""
LITTLE_KNOWN_FACTOR = 0.5
"""An item is little known below this multiple."""
AVOIDANCE_PROBABILITY = 0.1
"""A category is avoided if so many random items of the catalogue would miss it with less than this probability."""
_NAMELESS = ("unknown", "未知", "")
_WEEKDAYS = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "zh": ("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
}
_HOURS = {
    "en": ((6, "night"), (12, "morning"), (18, "afternoon"), (24, "evening")),
    "zh": ((6, "深夜"), (12, "上午"), (18, "下午"), (24, "晚上")),
}
# which circumstances are stated together, and how often
_CONTEXTS = (
    (0.40, ("time",)),
    (0.55, ("time", "place")),
    (0.70, ("device",)),
    (0.85, ("occasion",)),
    (0.95, ("time", "place", "device")),
    (1.00, ("time", "place", "device", "occasion")),
)


class Popularity:
    """How often items had been chosen before a moment, from the events before that moment alone.

    Args:
        dataset: Its interactions count, its item table says how many items there are.
    """

    def __init__(self, dataset: Dataset) -> None:
        ordered = dataset.ordered
        self._n_items = max(dataset.n_items, 1)
        self._all: list[int] = ordered["timestamp"].tolist()
        self._of: dict[Hashable, list[int]] = {
            item: times.tolist() for item, times in ordered.groupby("item_id", sort=False)["timestamp"]
        }

    def average(self, time: int) -> float:
        """Return the number of events an item before a time in seconds since 1970, over the whole catalogue."""
        return bisect_left(self._all, time) / self._n_items

    def count(self, item: Hashable, time: int) -> int:
        """Return the number of events with an item before a time in seconds since 1970."""
        return bisect_left(self._of.get(item, ()), time)


class Verbalizer:
    """Describes items and histories of one data set in one language.

    Args:
        dataset: Titles, categories and, where present, years and prices come from its items.
        language: "en" or "zh"; Chinese uses `title_zh` and Chinese category names where there are any.
        popularity: Shared by annotators of one data set; counted anew by default.
    """

    def __init__(self, dataset: Dataset, language: str, popularity: Popularity | None = None) -> None:
        self.language = language
        self.words = domain_words(dataset, language)
        items = dataset.items
        ids = items["item_id"].tolist()
        originals = items["title"].tolist()
        local = items["title_zh"].tolist() if language == "zh" and "title_zh" in items.columns else originals
        self.titles: dict[Hashable, str] = {
            item: _clean(translated if isinstance(translated, str) and translated.strip() else title)
            for item, title, translated in zip(ids, originals, local, strict=True)
        }
        self.quoted: dict[Hashable, str] = {item: self._quote(title) for item, title in self.titles.items()}
        listed = (
            items[dataset.category_field].tolist()
            if dataset.category_field in items.columns
            else [()] * len(ids)
        )
        self.categories: dict[Hashable, tuple[str, ...]] = {
            item: tuple(name for name in names if str(name).casefold() not in _NAMELESS)
            if isinstance(names, tuple | list)
            else ()
            for item, names in zip(ids, listed, strict=True)
        }
        self.all_categories = sorted({name for names in self.categories.values() for name in names})
        self.category_names = category_names(self.all_categories, language, dataset)
        self.category_field = dataset.category_field
        self.years = _numbers_of(dataset, "year")
        self.prices = _numbers_of(dataset, "price")
        self._price_bounds: list[float] = (
            np.quantile(list(self.prices.values()), [1 / 3, 2 / 3]).tolist() if self.prices else []
        )
        self._popularity = popularity
        self._dataset = dataset
        self._common = self._common_categories()
        self._phrases = lexicon()["taste"][language]
        self._well_known = self._phrases["well_known"].format(**self.words)
        self._little_known = self._phrases["little_known"].format(**self.words)
        self._context = lexicon()["context"][language]

    def title(self, item: Hashable) -> str:
        """Return the title of an item."""
        return self.titles[item]

    def history(self, items: Iterable[Hashable]) -> str:
        """Return the titles of a history, oldest first, as one phrase (P1)."""
        if self.language == "en":
            return "; ".join([self.titles[item] for item in items])
        if self.words["thing"] == "电影":
            return "".join([self.quoted[item] for item in items])
        return "、".join([self.titles[item] for item in items])

    def labels(self, items: Iterable[Hashable], most: int = 2) -> list[str]:
        """Return the commonest categories of items, commonest first, the earliest met first among equals."""
        counts = self._counts(items)
        return sorted(counts, key=counts.__getitem__, reverse=True)[:most]

    def join(self, labels: Iterable[str]) -> str:
        """Return the names of categories as one phrase (I2)."""
        return ("、" if self.language == "zh" else ", ").join(
            [self.category_names[label] for label in labels]
        )

    def taste(self, items: Sequence[Hashable], time: int | None = None) -> str:
        """Return the taste that a history shows (P2), empty if it shows none.

        Categories: the three commonest. Era: the decade of more than half of the items whose year is known. Popularity:
        well known if at least two thirds of the items were (see `WELL_KNOWN_FACTOR`), little known if at least a third
        were. Price: the third of the catalogue's prices where the median lies. Avoided: up to two common categories of
        the catalogue of which there is none (see `AVOIDANCE_PROBABILITY`).

        Args:
            items: Item ids, oldest first.
            time: The moment, in seconds since 1970; popularity is left out without one.
        """
        phrases = self._phrases
        counts = self._counts(items)
        parts: list[str] = []
        if counts:
            labels = sorted(counts, key=counts.__getitem__, reverse=True)[:3]
            parts.append(phrases["categories"].format(categories=self._and(labels)))
        decade = self._decade(items)
        if decade is not None:
            parts.append(phrases["era"].format(decade=decade))
        if time is not None:
            known = self._fame(items, time)
            if known:
                parts.append(known)
        level = self._price_level(items)
        if level is not None:
            parts.append(phrases["prices"][level])
        if counts:
            avoided = self.avoided(counts, len(items))
            if avoided:
                parts.append(phrases["avoided"].format(categories=self._and(avoided)))
        return ("，" if self.language == "zh" else ", ").join(parts)

    def avoided(self, present: Container[str], n: int, most: int = 2) -> list[str]:
        """Return the common categories that n items lack, the commonest of the catalogue first.

        One counts as avoided if n items drawn at random from the catalogue would all lack it with a probability
        (1 - share)^n below `AVOIDANCE_PROBABILITY`.

        Args:
            present: The categories that the items have.
            n: How many items.
            most: How many to return at most.
        """
        found: list[str] = []
        for label, lacking in self._common:  # the commonest first, so the first that fails ends it
            if lacking**n >= AVOIDANCE_PROBABILITY or len(found) == most:
                break
            if label not in present:
                found.append(label)
        return found

    def wish(self, label: str, draw: Draw) -> str:
        """Return a vague wish that a category may fulfil, without naming it where the lexicon knows it (I1)."""
        entry = lexicon()["categories"].get(label.casefold(), {})
        wishes = entry.get(f"wishes_{self.language}") or lexicon()["wishes"][self.language]
        chosen: str = wishes[int(draw() * len(wishes))]
        return chosen.replace("{category}", self.category_names[label])

    def condition(self, labels: Sequence[str], year: float | None, price: float | None, draw: Draw) -> str:
        """Return a condition that `parse` reads, formal or in simple words, that an item of these attributes meets.

        Args:
            labels: Categories of the item; one is asked for, and one that is not among them excluded at times.
            year: Its year, or None.
            price: Its price, or None.
            draw: Random numbers in [0, 1).
        """
        formal = draw() < 0.5
        wanted = labels[int(draw() * len(labels))]
        excluded = [label for label in self.all_categories if label not in labels] if draw() < 0.5 else []
        unwanted = excluded[int(draw() * len(excluded))] if excluded else None
        decade = int(year) // 10 * 10 if year is not None and draw() < 0.6 else None
        limit = _round_up(price) if price is not None and draw() < 0.6 else None
        if formal:
            clauses = [f"{self.category_field} = {literal(wanted)}"]
            if decade is not None:
                clauses.append(f"year in {decade}..{decade + 9}")
            if limit is not None:
                clauses.append(f"price <= {limit}")
            if unwanted is not None:
                clauses.append(f"not {self.category_field} = {literal(unwanted)}")
            return " and ".join(clauses)
        if self.language == "zh":
            clauses = [
                self.category_names[wanted]
                if decade is None
                else f"{decade}年代的{self.category_names[wanted]}"
            ]
            if limit is not None:
                clauses.append(f"不超过{limit}元")
            if unwanted is not None:
                clauses.append(f"不要{self.category_names[unwanted]}")
            return "，".join(clauses)
        clauses = [self.category_names[wanted].lower()]
        if decade is not None:
            clauses.append(f"from the {decade}s")
        if limit is not None:
            clauses.append(f"at most {limit} yuan")
        if unwanted is not None:
            clauses.append(f"no {self.category_names[unwanted].lower()}")
        return ", ".join(clauses)

    def moment(self, timestamp: int) -> str:
        """Return day of the week and part of the day (UTC) of a time in seconds since 1970."""
        days, seconds = divmod(int(timestamp), 86_400)
        day = _WEEKDAYS[self.language][(days + 3) % 7]
        part = next(name for end, name in _HOURS[self.language] if seconds // 3_600 < end)
        return f"{day}{part}" if self.language == "zh" else f"{day} {part}"

    def context(self, timestamp: int, draw: Draw) -> Context:
        """Return circumstances of a request: its time from the log, and others that are drawn and mean nothing."""
        kind = draw()
        parts = next(parts for below, parts in _CONTEXTS if kind < below)
        found: dict[str, str] = {}
        for name in parts:
            if name == "time":
                found[name] = self.moment(timestamp)
            else:
                listed = self._context[name]
                found[name] = listed[int(draw() * len(listed))]
        return Context(**found) if found else NO_CONTEXT

    def opening(self, context: Context) -> str:
        """Return a context as it opens a text: a phrase and its stop, or nothing."""
        words = context.words(self.language)
        return (
            "" if not words else f"{words}，" if self.language == "zh" else f"{words[0].upper()}{words[1:]}. "
        )

    def typical(self, items: Sequence[Hashable]) -> tuple[list[str], float | None, float | None]:
        """Return the two commonest categories of items, the year in their middle and the price in their middle."""
        years = sorted(self.years[item] for item in items if item in self.years)
        prices = sorted(self.prices[item] for item in items if item in self.prices)
        return (
            self.labels(items),
            years[len(years) // 2] if years else None,
            prices[len(prices) // 2] if prices else None,
        )

    def _counts(self, items: Iterable[Hashable]) -> dict[str, int]:
        counts: dict[str, int] = {}
        categories = self.categories
        for item in items:
            for name in categories[item]:
                counts[name] = counts.get(name, 0) + 1
        return counts

    def _common_categories(self) -> list[tuple[str, float]]:
        """Return each category with the share of the catalogue that lacks it, the commonest first."""
        counts = self._counts(self.categories)
        n_items = max(len(self.categories), 1)
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return [(name, 1 - count / n_items) for name, count in ranked]

    def _and(self, labels: Sequence[str]) -> str:
        names = [self.category_names[label] for label in labels]
        if self.language == "zh":
            return "、".join(names)
        return " and ".join([", ".join(names[:-1]), names[-1]]) if names[1:] else names[0]

    def _decade(self, items: Iterable[Hashable]) -> int | None:
        years = self.years
        if not years:
            return None
        counts: dict[int, int] = {}
        total = 0
        for item in items:
            year = years.get(item)
            if year is not None:
                decade = int(year) // 10 * 10
                counts[decade] = counts.get(decade, 0) + 1
                total += 1
        if not total:
            return None
        best = max(counts, key=counts.__getitem__)
        return best if 2 * counts[best] > total else None

    def _fame(self, items: Sequence[Hashable], time: int) -> str:
        if self._popularity is None:
            self._popularity = Popularity(self._dataset)
        average = self._popularity.average(time)
        if average <= 0:
            return ""
        high, low = WELL_KNOWN_FACTOR * average, LITTLE_KNOWN_FACTOR * average
        counts = [self._popularity.count(item, time) for item in items]
        if 3 * sum([count >= high for count in counts]) >= 2 * len(counts):
            return str(self._well_known)
        if 3 * sum([count < low for count in counts]) >= len(counts):
            return str(self._little_known)
        return ""

    def _price_level(self, items: Iterable[Hashable]) -> int | None:
        if not self._price_bounds:
            return None
        prices = sorted([self.prices[item] for item in items if item in self.prices])
        if not prices:
            return None
        middle = (prices[(len(prices) - 1) // 2] + prices[len(prices) // 2]) / 2
        return bisect_left(self._price_bounds, middle)

    def _quote(self, title: str) -> str:
        if self.language == "en":
            return f'"{title}"'
        return f"《{title}》" if self.words["thing"] == "电影" else f"“{title}”"


def _numbers_of(dataset: Dataset, column: str) -> dict[Any, float]:
    if column not in dataset.items.columns:
        return {}
    known = dataset.items[["item_id", column]].dropna()
    return dict(zip(known["item_id"].tolist(), known[column].astype(float).tolist(), strict=True))


def _round_up(price: float) -> int:
    """Return the next price that people would say: up to two leading digits."""
    step = 10 ** max(len(str(int(price))) - 2, 0) * (5 if price >= 10 else 1)
    return int(-(-price // step) * step)


def _clean(title: object) -> str:
    return " ".join(str(title).split())
