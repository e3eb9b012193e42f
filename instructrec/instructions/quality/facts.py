"""Facts of the interactions and the item table, with which audit and quality table compare instructions.

Nothing here comes from the code that makes instructions. `DatasetFacts` is read from the raw tables. Derived in chapter
`instruction-generation`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions.parsing import parse
from instructrec.instructions.quality.category_reader import (
    CACHE_SIZE,
    NAMELESS,
    CategoryMentions,
    CategoryReader,
)
from instructrec.instructions.quality.text_search import single_spaced
from instructrec.instructions.schema import Instruction
from instructrec.wordings.lexicon import title_forms

_CACHED_MASKS = 64


class UserTimeline(NamedTuple):
    """One user's log, with each item at its first interaction.

    Attributes:
        items: The distinct items in the order of their first interaction.
        times: The time of each first interaction, in seconds since 1970.
        positions: The position of each item in `items`.
        categories: For each category, the position of the first item that has it.
        decades: For each decade, the position of the first item from it.
    """

    items: list[Hashable]
    times: list[int]
    positions: dict[Hashable, int]
    categories: dict[str, int]
    decades: dict[int, int]


class DatasetFacts:
    """The facts of one data set against which instructions are held.

    Args:
        dataset: Items and interactions; the part that the instructions were made from, and no more.

    Attributes:
        dataset: The data set.
        titles: The titles of each item in every language, casefolded.
        categories: The categories of each item.
        category_sets: The categories of each item, in catalogue order.
        decades: The decade of each item with a year, such as 1980.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._titles_by_language = _titles_by_language(dataset)
        self._original_titles = self._titles_by_language.pop("")
        item_ids = dataset.items["item_id"].tolist()
        languages = (self._original_titles, *self._titles_by_language.values())
        self.titles: dict[Hashable, tuple[str, ...]] = {
            item: tuple(dict.fromkeys(titles[item] for titles in languages if item in titles))
            for item in item_ids
        }
        self.categories = _categories_by_item(dataset)
        self.category_sets = list(self.categories.values())
        self.decades = _decades_by_item(dataset)
        self._title_forms: dict[Hashable, tuple[str, ...]] = {}
        self._timelines: dict[Hashable, UserTimeline] = {}
        self._cached_mentions = lru_cache(maxsize=CACHE_SIZE)(self._mentions)
        self._cached_matches = lru_cache(maxsize=_CACHED_MASKS)(self._matches)

    @cached_property
    def _first_times(self) -> dict[Hashable, dict[Hashable, int]]:
        """For each user, the time of the first interaction with each item, in the order of the log."""
        first_times: dict[Hashable, dict[Hashable, int]] = {}
        log = self.dataset.ordered
        for user, item, time in zip(
            log["user_id"].tolist(), log["item_id"].tolist(), log["timestamp"].tolist(), strict=True
        ):
            if item in self.titles:
                first_times.setdefault(user, {}).setdefault(item, time)
        return first_times

    def timeline(self, user: Hashable) -> UserTimeline | None:
        """Return a user's log, None for a user without interactions."""
        timeline = self._timelines.get(user)
        if timeline is None and user in self._first_times:
            first_times = self._first_times[user]
            items = list(first_times)
            categories: dict[str, int] = {}
            decades: dict[int, int] = {}
            for position, item in enumerate(items):
                for name in self.categories[item]:
                    categories.setdefault(name, position)
                if item in self.decades:
                    decades.setdefault(self.decades[item], position)
            positions = {item: position for position, item in enumerate(items)}
            timeline = UserTimeline(items, list(first_times.values()), positions, categories, decades)
            self._timelines[user] = timeline
        return timeline

    def title_forms(self, item: Hashable) -> tuple[str, ...]:
        """Return all spellings of an item's titles, see `lexicon.title_forms`; empty for an unknown item."""
        forms = self._title_forms.get(item)
        if forms is None:
            spellings = [form for title in self.titles.get(item, ()) for form in title_forms(title)]
            forms = self._title_forms[item] = tuple(dict.fromkeys(spellings))
        return forms

    def displayed_title(self, item: Hashable, language: str) -> str:
        """Return the title by which texts in a language call an item, casefolded; empty for an unknown item."""
        titles = self._titles_by_language.get(language, self._original_titles)
        return titles.get(item) or self._original_titles.get(item, "")

    @cached_property
    def name_reader(self) -> CategoryReader:
        """A reader of the categories' own names, in both languages."""
        return CategoryReader(self.dataset, synonyms=False, wishes=False)

    @cached_property
    def wish_reader(self) -> CategoryReader:
        """A reader of the categories' own names and of the lexicon's wishes."""
        return CategoryReader(self.dataset, synonyms=False)

    @cached_property
    def reader(self) -> CategoryReader:
        """A reader of all words that the lexicon has for a category: names, synonyms, wishes."""
        return CategoryReader(self.dataset)

    def condition_mentions(self, condition: str) -> CategoryMentions:
        """Return the categories that a condition asks for and those that it refuses, as `parse` understands it."""
        return self._cached_mentions(condition)

    def matching_items(self, condition: str) -> frozenset[Hashable]:
        """Return the ids of the items that satisfy a condition."""
        return self._cached_matches(condition)

    def _mentions(self, condition: str) -> CategoryMentions:
        desired: set[str] = set()
        avoided: set[str] = set()
        for description in parse(condition, self.dataset).describe()["conditions"]:
            _collect_categories(description, self.dataset.category_field, desired, avoided)
        return CategoryMentions(frozenset(desired), frozenset(avoided), frozenset(), False)

    def _matches(self, condition: str) -> frozenset[Hashable]:
        mask = parse(condition, self.dataset).mask(self.dataset.items)
        return frozenset(self.dataset.items["item_id"][mask].tolist())


class FactsByDataset:
    """The facts of several data sets, by their names.

    Args:
        datasets: One data set, several with different names, or facts that were computed before.

    Raises:
        InputError: No data set, or two with the same name.
    """

    def __init__(self, datasets: Dataset | Sequence[Dataset] | DatasetFacts) -> None:
        if isinstance(datasets, DatasetFacts):
            self._by_name = {datasets.dataset.name: datasets}
            return
        sources = [datasets] if isinstance(datasets, Dataset) else list(datasets)
        if not sources:
            raise InputError(
                "datasets is empty; the data sets that the instructions were made from are needed"
            )
        names = [dataset.name for dataset in sources]
        if len(set(names)) < len(names):
            raise InputError(f"datasets holds one name twice: {', '.join(names)}; give each data set once")
        self._by_name = {dataset.name: DatasetFacts(dataset) for dataset in sources}

    def of(self, instruction: Instruction) -> DatasetFacts:
        """Return the facts of an instruction's data set; an instruction without a data set belongs to the only one.

        Raises:
            InputError: The data set is not among these.
        """
        name = instruction.dataset
        if not name and len(self._by_name) == 1:
            return next(iter(self._by_name.values()))
        if name not in self._by_name:
            raise one_of("data set of an instruction", name, self._by_name)
        return self._by_name[name]


def _titles_by_language(dataset: Dataset) -> dict[str, dict[Hashable, str]]:
    """Return each item's title by language, casefolded; "" is the language of the column `title`."""
    items = dataset.items
    return {
        str(column).removeprefix("title").removeprefix("_"): {
            item: single_spaced(title).casefold()
            for item, title in zip(items["item_id"].tolist(), items[column].tolist(), strict=True)
            if isinstance(title, str) and title.strip()
        }
        for column in items.columns
        if str(column) == "title" or str(column).startswith("title_")
    }


def _categories_by_item(dataset: Dataset) -> dict[Hashable, frozenset[str]]:
    items, field = dataset.items, dataset.category_field
    rows = items[field].tolist() if field in items.columns else [()] * len(items)
    return {
        item: frozenset(name for name in names if name.casefold() not in NAMELESS)
        if isinstance(names, tuple | list)
        else frozenset()
        for item, names in zip(items["item_id"].tolist(), rows, strict=True)
    }


def _decades_by_item(dataset: Dataset) -> dict[Hashable, int]:
    if "year" not in dataset.items.columns:
        return {}
    dated = dataset.items[["item_id", "year"]].dropna()
    return {
        item: int(year) // 10 * 10
        for item, year in zip(dated["item_id"].tolist(), dated["year"].tolist(), strict=True)
    }


def _collect_categories(
    description: Mapping[str, object], field: str, desired: set[str], avoided: set[str]
) -> None:
    """Add the categories of a condition, as `Constraint.describe` returns it, to the two sets."""
    if "not" in description:
        _collect_categories(description["not"], field, avoided, desired)  # type: ignore[arg-type]
    for operand in (*description.get("all", ()), *description.get("any", ())):  # type: ignore[misc]
        _collect_categories(operand, field, desired, avoided)
    if description.get("field") == field:
        value = description["value"]
        names = value if isinstance(value, list | tuple) else (value,)
        (avoided if description["op"] == "!=" else desired).update(map(str, names))
