"""From a history and a target to words: titles (P1), taste (P2), a vague wish (I1), categories (I2).

The paper has a teacher model write P2 and I1; here rules and the lexicon do, so that anyone can repeat it without one.
Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.lexicon import category_names, domain_words, lexicon

_NAMELESS = ("unknown", "未知", "")
_WEEKDAYS = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "zh": ("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
}
_HOURS = {
    "en": ((6, "night"), (12, "morning"), (18, "afternoon"), (24, "evening")),
    "zh": ((6, "深夜"), (12, "上午"), (18, "下午"), (24, "晚上")),
}
_PRICE_LEVELS = {
    "en": ("at low prices", "at middling prices", "at high prices"),
    "zh": ("价格偏低", "价格适中", "价格偏高"),
}


class Annotator:
    """Describes items and histories of one data set in one language.

    Args:
        dataset: Titles, categories and, where present, years and prices come from its items.
        language: "en" or "zh"; Chinese uses `title_zh` and Chinese category names where there are any.
    """

    def __init__(self, dataset: Dataset, language: str) -> None:
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
        every = {name for names in self.categories.values() for name in names}
        self.names = category_names(sorted(every), language, dataset)
        self._years = _numbers_of(dataset, "year")
        self._prices = _numbers_of(dataset, "price")
        self._price_bounds = (
            np.quantile(list(self._prices.values()), [1 / 3, 2 / 3]) if self._prices else None
        )

    def title(self, item: Hashable) -> str:
        """Return the title of an item."""
        return self.titles[item]

    def history(self, items: Sequence[Hashable]) -> str:
        """Return the titles of a history, oldest first, as one phrase (P1)."""
        titles = [self.titles[item] for item in items]
        if self.language == "zh":
            return (
                "".join(f"《{title}》" for title in titles)
                if self.words["thing"] == "电影"
                else "、".join(titles)
            )
        return "; ".join(titles)

    def labels(self, items: Sequence[Hashable], most: int = 2) -> list[str]:
        """Return the commonest categories of items, commonest first, the earliest met first among equals."""
        counts = Counter(name for item in items for name in self.categories[item])
        return [name for name, _ in counts.most_common(most)]

    def join(self, labels: Sequence[str]) -> str:
        """Return the names of categories as one phrase (I2)."""
        names = [self.names[label] for label in labels]
        return "、".join(names) if self.language == "zh" else ", ".join(names)

    def taste(self, items: Sequence[Hashable]) -> str:
        """Return the taste that a history shows: categories, era, price level (P2); empty if it shows none."""
        parts: list[str] = []
        labels = self.labels(items, most=3)
        if labels:
            names = [self.names[label] for label in labels]
            if self.language == "zh":
                parts.append(f"偏爱{'、'.join(names)}类")
            else:
                parts.append(
                    "above all "
                    + (" and ".join([", ".join(names[:-1]), names[-1]]) if names[1:] else names[0])
                )
        decade = self._decade(items)
        if decade is not None:
            parts.append(f"多为{decade}年代的" if self.language == "zh" else f"mostly from the {decade}s")
        level = self._price_level(items)
        if level is not None:
            parts.append(_PRICE_LEVELS[self.language][level])
        return ("，" if self.language == "zh" else ", ").join(parts)

    def wish(self, label: str, rng: np.random.Generator) -> str:
        """Return a vague wish that a category may fulfil, without naming it where the lexicon knows it (I1)."""
        entry = lexicon()["categories"].get(label.casefold(), {})
        wishes = entry.get(f"wishes_{self.language}") or lexicon()["wishes"][self.language]
        chosen: str = wishes[int(rng.integers(len(wishes)))]
        return chosen.replace("{category}", self.names[label])

    def moment(self, timestamp: int) -> str:
        """Return day of the week and part of the day (UTC) of a time in seconds since 1970."""
        days, seconds = divmod(int(timestamp), 86_400)
        day = _WEEKDAYS[self.language][(days + 3) % 7]
        part = next(name for end, name in _HOURS[self.language] if seconds // 3_600 < end)
        return f"{day}{part}" if self.language == "zh" else f"{day} {part}"

    def _decade(self, items: Sequence[Hashable]) -> int | None:
        decades = [int(self._years[item]) // 10 * 10 for item in items if item in self._years]
        if not decades:
            return None
        decade, count = Counter(decades).most_common(1)[0]
        return decade if 2 * count > len(decades) else None

    def _price_level(self, items: Sequence[Hashable]) -> int | None:
        prices = [self._prices[item] for item in items if item in self._prices]
        if not prices or self._price_bounds is None:
            return None
        return int(np.searchsorted(self._price_bounds, float(np.median(prices))))


def _numbers_of(dataset: Dataset, column: str) -> dict[Any, float]:
    if column not in dataset.items.columns:
        return {}
    known = dataset.items[["item_id", column]].dropna()
    return dict(zip(known["item_id"].tolist(), known[column].astype(float).tolist(), strict=True))


def _clean(title: object) -> str:
    return " ".join(str(title).split())
