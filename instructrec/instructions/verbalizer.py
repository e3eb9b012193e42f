"""Words for histories and targets: titles (P1), taste (P2), a vague wish (I1), categories (I2), a condition.

The paper has a teacher model write P2 and I1; here rules and the lexicon write them, so that anyone can repeat it, and
a model can replace them through `instructions.teacher`. Statements about a moment use only events before it;
statements about the catalogue (how common a category is, which prices are high) use the item table alone. Derived in
chapter `instruction-generation`.
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
from instructrec.wordings import read_wordings
from instructrec.wordings.lexicon import lexicon

Draw = Callable[[], float]
"""A source of random numbers in [0, 1), such as `random.Random(seed).random`."""

WELL_KNOWN_FACTOR = 2.0
"""An item is well known from this multiple of the average item's number of events before the moment."""
LITTLE_KNOWN_FACTOR = 0.5
"""An item is little known below this multiple."""
AVOIDANCE_PROBABILITY = 0.1
"""A category is avoided if equally many random items would all lack it with a probability below this."""
_UNNAMED_CATEGORIES = ("unknown", "未知", "")
_CONTEXT_SHARES = (
    (0.40, ("time",)),
    (0.55, ("time", "place")),
    (0.70, ("device",)),
    (0.85, ("occasion",)),
    (0.95, ("time", "place", "device")),
    (1.00, ("time", "place", "device", "occasion")),
)
"""Circumstances that are stated together, with the cumulative share of the contexts."""


class Popularity:
    """Number of events of each item before a moment.

    Args:
        dataset: Data set whose interactions are counted and whose item table gives the number of items.
    """

    def __init__(self, dataset: Dataset) -> None:
        ordered = dataset.ordered
        self._n_items = max(dataset.n_items, 1)
        self._times: list[int] = ordered["timestamp"].tolist()
        self._times_of: dict[Hashable, list[int]] = {
            item: times.tolist() for item, times in ordered.groupby("item_id", sort=False)["timestamp"]
        }

    def average(self, time: int) -> float:
        """Return the number of events per item of the catalogue before a time in seconds since 1970."""
        return bisect_left(self._times, time) / self._n_items

    def count(self, item: Hashable, time: int) -> int:
        """Return the number of events with an item before a time in seconds since 1970."""
        return bisect_left(self._times_of.get(item, ()), time)


class Verbalizer:
    """Writer of texts about items and histories of a data set, in one language.

    Args:
        dataset: Titles, categories and, where present, years and prices come from its items.
        language: "en" or "zh"; Chinese uses `title_zh` and Chinese category names where there are any.
        popularity: Shared by the verbalizers of a data set; counted anew by default.

    Attributes:
        words: Words of the domain, such as `thing`.
        titles: Title of each item.
        quoted: Title of each item in quotation marks.
        categories: Names of each item's categories, as in the data set.
        all_categories: All of them, sorted.
        category_names: Name of each category in the language.
        years: Year of each item that has one.
        prices: Price of each item that has one.
    """

    def __init__(self, dataset: Dataset, language: str, popularity: Popularity | None = None) -> None:
        self.language = language
        self.words = domain_words(dataset, language)
        self.wordings = read_wordings("verbalizer")[language]
        self._is_film = dataset.category_field == "genres"
        self.titles = _titles(dataset, language)
        quotes: str = self.wordings["quoted_film" if self._is_film else "quoted"]
        self.quoted: dict[Hashable, str] = {
            item: quotes.format(title=title) for item, title in self.titles.items()
        }
        self.categories = _categories(dataset)
        self.all_categories = sorted({name for names in self.categories.values() for name in names})
        self.category_names = category_names(self.all_categories, language, dataset)
        self.category_field = dataset.category_field
        self.years = _numbers_of(dataset, "year")
        self.prices = _numbers_of(dataset, "price")
        self._price_thirds: list[float] = (
            np.quantile(list(self.prices.values()), [1 / 3, 2 / 3]).tolist() if self.prices else []
        )
        self._popularity = popularity
        self._dataset = dataset
        self._shares_without = self._category_shares()
        self._taste_phrases = lexicon()["taste"][language]
        self._well_known: str = self._taste_phrases["well_known"].format(**self.words)
        self._little_known: str = self._taste_phrases["little_known"].format(**self.words)
        self._circumstances = lexicon()["context"][language]

    def history(self, items: Iterable[Hashable]) -> str:
        """Return the titles of a history, oldest first, as one phrase (P1)."""
        if self._is_film and self.language == "zh":
            return "".join([self.quoted[item] for item in items])
        separator: str = self.wordings["title_separator"]
        return separator.join([self.titles[item] for item in items])

    def labels(self, items: Iterable[Hashable], most: int = 2) -> list[str]:
        """Return the most common categories of items, most common first; ties in the order of first occurrence."""
        counts = self._counts(items)
        return sorted(counts, key=counts.__getitem__, reverse=True)[:most]

    def join(self, labels: Iterable[str]) -> str:
        """Return the names of categories as one phrase (I2)."""
        separator: str = self.wordings["category_separator"]
        return separator.join([self.category_names[label] for label in labels])

    def taste(self, items: Sequence[Hashable], time: int | None = None) -> str:
        """Return the taste that a history shows (P2), empty if it shows none.

        Categories: the three most common. Era: the decade of more than half of the items with a year. Popularity:
        well known if at least two thirds of the items were (see `WELL_KNOWN_FACTOR`), little known if at least a third
        were. Price: the third of the catalogue's prices where the median lies. Avoided: up to two common categories of
        the catalogue that none of the items has (see `AVOIDANCE_PROBABILITY`).

        Args:
            items: Item ids, oldest first.
            time: The moment, in seconds since 1970; without it the text does not mention popularity.
        """
        phrases = self._taste_phrases
        counts = self._counts(items)
        parts: list[str] = []
        if counts:
            labels = sorted(counts, key=counts.__getitem__, reverse=True)[:3]
            parts.append(phrases["categories"].format(categories=self._and(labels)))
        decade = self._decade(items)
        if decade is not None:
            parts.append(phrases["era"].format(decade=decade))
        popularity = "" if time is None else self._popularity_phrase(items, time)
        if popularity:
            parts.append(popularity)
        level = self._price_level(items)
        if level is not None:
            parts.append(phrases["prices"][level])
        avoided = self.avoided(counts, len(items)) if counts else []
        if avoided:
            parts.append(phrases["avoided"].format(categories=self._and(avoided)))
        comma: str = self.wordings["comma"]
        return comma.join(parts)

    def avoided(self, present: Container[str], n: int, most: int = 2) -> list[str]:
        """Return common categories that n items lack, the most common of the catalogue first.

        A category counts as avoided if n items drawn at random from the catalogue would all lack it with a probability
        (1 - share)^n below `AVOIDANCE_PROBABILITY`.

        Args:
            present: The categories that the items have.
            n: Number of items.
            most: Maximum number of categories to return.
        """
        avoided: list[str] = []
        for (
            label,
            share_without,
        ) in self._shares_without:  # the most common first, so the first failure ends the search
            if share_without**n >= AVOIDANCE_PROBABILITY or len(avoided) == most:
                break
            if label not in present:
                avoided.append(label)
        return avoided

    def wish(self, label: str, draw: Draw) -> str:
        """Return a vague wish that a category may fulfil, without its name if the lexicon knows the category (I1)."""
        entry = lexicon()["categories"].get(label.casefold(), {})
        wishes = entry.get(f"wishes_{self.language}") or lexicon()["wishes"][self.language]
        wish: str = wishes[int(draw() * len(wishes))]
        return wish.replace("{category}", self.category_names[label])

    def condition(self, labels: Sequence[str], year: float | None, price: float | None, draw: Draw) -> str:
        """Return a condition that `parse` reads, formal or in simple words, and that an item of these attributes meets.

        Args:
            labels: Categories of the item; the condition requires one of them, and at times excludes another category.
            year: Year of the item, or None.
            price: Price of the item, or None.
            draw: Random numbers in [0, 1).
        """
        formal = draw() < 0.5
        label = labels[int(draw() * len(labels))]
        excludable = [name for name in self.all_categories if name not in labels] if draw() < 0.5 else []
        excluded = excludable[int(draw() * len(excludable))] if excludable else None
        decade = int(year) // 10 * 10 if year is not None and draw() < 0.6 else None
        limit = _round_up(price) if price is not None and draw() < 0.6 else None
        if formal:
            return self._formal_condition(label, decade, limit, excluded)
        return self._condition_in_words(label, decade, limit, excluded)

    def _formal_condition(
        self, label: str, decade: int | None, limit: int | None, excluded: str | None
    ) -> str:
        clauses = [f"{self.category_field} = {literal(label)}"]
        if decade is not None:
            clauses.append(f"year in {decade}..{decade + 9}")
        if limit is not None:
            clauses.append(f"price <= {limit}")
        if excluded is not None:
            clauses.append(f"not {self.category_field} = {literal(excluded)}")
        return " and ".join(clauses)

    def _condition_in_words(
        self, label: str, decade: int | None, limit: int | None, excluded: str | None
    ) -> str:
        frames: dict[str, str] = self.wordings["condition"]
        frame = frames["category" if decade is None else "category_decade"]
        clauses = [frame.format(category=self._in_lower_case(label), decade=decade)]
        if limit is not None:
            clauses.append(frames["price"].format(limit=limit))
        if excluded is not None:
            clauses.append(frames["refusal"].format(category=self._in_lower_case(excluded)))
        comma: str = self.wordings["comma"]
        return comma.join(clauses)

    def _in_lower_case(self, label: str) -> str:
        name = self.category_names[label]
        return name.lower() if self.language == "en" else name

    def moment(self, timestamp: int) -> str:
        """Return day of the week and part of the day (UTC) of a time in seconds since 1970."""
        days, seconds = divmod(int(timestamp), 86_400)
        weekday = self.wordings["weekdays"][(days + 3) % 7]
        day_part = next(name for end, name in self.wordings["day_parts"] if seconds // 3_600 < end)
        moment: str = self.wordings["moment"]
        return moment.format(weekday=weekday, day_part=day_part)

    def context(self, timestamp: int, draw: Draw) -> Context:
        """Return circumstances of a request: the time from the log, the others drawn at random without any meaning."""
        number = draw()
        names = next(names for share, names in _CONTEXT_SHARES if number < share)
        values: dict[str, str] = {}
        for name in names:
            if name == "time":
                values[name] = self.moment(timestamp)
            else:
                phrases = self._circumstances[name]
                values[name] = phrases[int(draw() * len(phrases))]
        return Context(**values) if values else NO_CONTEXT

    def opening(self, context: Context) -> str:
        """Return a context as the opening of a text, a phrase with its stop, empty if there is none."""
        words = context.words(self.language)
        if not words:
            return ""
        if self.language == "en":
            words = words[0].upper() + words[1:]
        opening: str = self.wordings["opening"]
        return opening.format(context=words)

    def typical(self, items: Sequence[Hashable]) -> tuple[list[str], float | None, float | None]:
        """Return the two most common categories of items, their median year and their upper median price."""
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

    def _category_shares(self) -> list[tuple[str, float]]:
        """Return each category with the share of the catalogue that lacks it, the most common first."""
        counts = self._counts(self.categories)
        n_items = max(len(self.categories), 1)
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return [(name, 1 - count / n_items) for name, count in ranked]

    def _and(self, labels: Sequence[str]) -> str:
        names = [self.category_names[label] for label in labels]
        separator: str = self.wordings["category_separator"]
        last_separator: str = self.wordings["last_separator"]
        return last_separator.join([separator.join(names[:-1]), names[-1]]) if names[1:] else names[0]

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
        mode = max(counts, key=counts.__getitem__)
        return mode if 2 * counts[mode] > total else None

    def _popularity_phrase(self, items: Sequence[Hashable], time: int) -> str:
        if self._popularity is None:
            self._popularity = Popularity(self._dataset)
        average = self._popularity.average(time)
        if average <= 0:
            return ""
        high, low = WELL_KNOWN_FACTOR * average, LITTLE_KNOWN_FACTOR * average
        counts = [self._popularity.count(item, time) for item in items]
        if 3 * sum([count >= high for count in counts]) >= 2 * len(counts):
            return self._well_known
        if 3 * sum([count < low for count in counts]) >= len(counts):
            return self._little_known
        return ""

    def _price_level(self, items: Iterable[Hashable]) -> int | None:
        """Return the third of the catalogue's prices, 0 to 2, where the items' median price lies."""
        if not self._price_thirds:
            return None
        prices = sorted([self.prices[item] for item in items if item in self.prices])
        if not prices:
            return None
        median = (prices[(len(prices) - 1) // 2] + prices[len(prices) // 2]) / 2
        return bisect_left(self._price_thirds, median)


def decade_words(decade: int, language: str) -> str:
    """Return a decade such as 1990 in words: "1990s"."""
    frame: str = read_wordings("verbalizer")[language]["decade"]
    return frame.format(decade=decade)


def _titles(dataset: Dataset, language: str) -> dict[Hashable, str]:
    """Return each item's title in a language, the original title if there is no translation."""
    items = dataset.items
    originals = items["title"].tolist()
    translations = (
        items["title_zh"].tolist() if language == "zh" and "title_zh" in items.columns else originals
    )
    return {
        item: " ".join(str(translation if _is_text(translation) else original).split())
        for item, original, translation in zip(
            items["item_id"].tolist(), originals, translations, strict=True
        )
    }


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _categories(dataset: Dataset) -> dict[Hashable, tuple[str, ...]]:
    """Return each item's categories without those that mean "unknown"."""
    items, column = dataset.items, dataset.category_field
    ids = items["item_id"].tolist()
    cells = items[column].tolist() if column in items.columns else [()] * len(ids)
    return {
        item: tuple(name for name in cell if str(name).casefold() not in _UNNAMED_CATEGORIES)
        if isinstance(cell, tuple | list)
        else ()
        for item, cell in zip(ids, cells, strict=True)
    }


def _numbers_of(dataset: Dataset, column: str) -> dict[Any, float]:
    if column not in dataset.items.columns:
        return {}
    rows = dataset.items[["item_id", column]].dropna()
    return dict(zip(rows["item_id"].tolist(), rows[column].astype(float).tolist(), strict=True))


def _round_up(price: float) -> int:
    """Return the next price that people would say: up to two leading digits."""
    step = 10 ** max(len(str(int(price))) - 2, 0) * (5 if price >= 10 else 1)
    return int(-(-price // step) * step)
