"""Tasks that test instruction following: the text of each request in each task, and the items that satisfy it.

Which items satisfy a request follows from the catalogue's columns, never from `instructions.parse`, so that models that
use the parser can be tested, too. `TASKS` are used by default, `EXTRA_TASKS` only by name. Derived in chapter
`evaluation`; the metrics are in `instructrec.evaluation.following`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions import load_templates
from instructrec.instructions.category_words import domain_words, synonyms
from instructrec.instructions.parsing.constraint import column_name, literal
from instructrec.instructions.parsing.fields import NUMBER, POPULARITY, fields_of
from instructrec.instructions.query_generator import check_languages
from instructrec.instructions.schema import Answer, Intention, Preference, Style, TaskForm
from instructrec.instructions.verbalizer import Verbalizer
from instructrec.split import Split
from instructrec.validation import NonNegativeInt, PositiveInt, check_value
from instructrec.wordings import read_wordings
from instructrec.wordings.lexicon import held_out_words, normal, stands_alone

TASKS = {
    "none": "no instruction; satisfaction is that of the wish of `stated`, met without an instruction",
    "stated": "one category of the target, drawn at random (an oracle), in the wordings of `ThreeTower`'s training",
    "unseen wording": "the same category in a wording that is held out of the templates for training",
    "other words": "the same category by another word ('funny' for Comedy) in the wordings of `stated`",
    "vague wish": "the same wish without any word for the category, in a held-out wording",
    "shuffled": "the text of `stated` of another request",
    "contradicting": "the category of `stated` is refused ('no Comedy'), though the target has it",
    "negated": "a category is refused that the target lacks, drawn from the categories of the history",
    "unseen negation": "the same refusal in idioms that the rules of `instructions.parse` do not know",
    "constraints": "several constraints at once, each met by the target, in the parametric language",
}
"""The tasks by name, in the order of tables."""
EXTRA_TASKS = {
    "category and era": "the category of `stated` and the target's decade, both at once",
    "title word": "a word of the target's title, drawn at random from those that few titles have",
    "new words": "the category of `stated` by an English word that no text for training holds",
}
"""Further tasks, used only by name."""


@dataclass(frozen=True)
class ItemSets:
    """A set of items for each request; requests share equal sets.

    Attributes:
        masks: Distinct sets of items, shape (n_masks, n_items), bool.
        mask_of_request: Row of `masks` for each request, shape (n_requests,), int64; -1 where nothing can be asked.
    """

    masks: np.ndarray = field(repr=False)
    mask_of_request: np.ndarray = field(repr=False)

    @property
    def stated(self) -> np.ndarray:
        """Which requests ask anything, shape (n_requests,), bool."""
        return self.mask_of_request >= 0

    def share(self, lists: np.ndarray) -> np.ndarray:
        """Return the share of each list's positions that hold an item of the set, NaN where nothing is asked.

        Args:
            lists: Catalogue columns, shape (n_requests, k); -1 marks an empty position.
        """
        rows = np.maximum(self.mask_of_request, 0)[:, None]
        hits = self.masks[rows, np.maximum(lists, 0)] & (lists >= 0)
        return np.where(self.stated, hits.mean(axis=1), np.nan)

    def possible(self, allowed: np.ndarray, k: int) -> np.ndarray:
        """Return the highest share that any list of k can reach, NaN where nothing is asked.

        Args:
            allowed: Items that may be shown, shape (n_requests, n_items), bool.
            k: Length of the list.
        """
        counts = [
            np.count_nonzero(self.masks[number] & row)
            for number, row in zip(self.mask_of_request, allowed, strict=True)
        ]
        return np.where(self.stated, np.minimum(counts, k) / k, np.nan)

    def restricted_to(self, texts: Sequence[str | None]) -> ItemSets:
        """Return the same sets for the requests that have a text."""
        has_text = np.array([text is not None for text in texts])
        return ItemSets(self.masks, np.where(has_text, self.mask_of_request, -1))


@dataclass(frozen=True)
class FollowingTask:
    """The requests of one task.

    Attributes:
        texts: One per request, None where nothing is asked.
        wish: The items that satisfy each request.
        forbidden: The items that a negation forbids; None for a task without negations.
    """

    texts: list[str | None]
    wish: ItemSets
    forbidden: ItemSets | None = None


@dataclass(frozen=True)
class FollowingTasks:
    """The same requests in every task.

    Attributes:
        rows: Numbers of the requests among `split.requests(part)`, shape (n,): those whose first target has a category.
        tasks: The tasks by name; "none" comes first.
    """

    rows: np.ndarray = field(repr=False)
    tasks: dict[str, FollowingTask]


def make_following_tasks(
    split: Split,
    part: str = "test",
    tasks: Sequence[str] | None = None,
    languages: Sequence[str] = ("en",),
    n_requests: int | None = None,
    seed: int = 0,
) -> FollowingTasks:
    """Write the text of each request in each task.

    A request's wish describes its first target, so following the text helps to find the target. This oracle tests
    whether a model obeys, not how well it guesses. The same seed draws the same categories in every language.

    Args:
        split: The data in three parts.
        part: "valid" or "test".
        tasks: Names from `TASKS` and `EXTRA_TASKS`; by default all of `TASKS` that some request of these data can
            state. "new words" draws from other words for "valid" than for "test".
        languages: "en", "zh" or both; with both each request is put in one of them, drawn evenly.
        n_requests: Use this many requests, drawn at random; all by default.
        seed: Seed of all draws.

    Raises:
        InputError: Unknown names, a number out of range, or data for which a named task can state nothing.
    """
    names = _check_arguments(tasks, languages, n_requests, seed)
    writer = _TaskWriter(split, part, tuple(languages), n_requests, seed)
    tasks_by_name: dict[str, FollowingTask] = {"none": writer.none()}
    for name in names:
        if name == "none":
            continue
        task = writer.makers[name]()
        if task.wish.stated.any():
            tasks_by_name[name] = task
        elif tasks is not None:
            raise InputError(
                f"task {name!r} can be stated of no request of {split.train.name} in {', '.join(languages)}; "
                "omit it"
            )
    return FollowingTasks(writer.rows, tasks_by_name)


def _check_arguments(
    tasks: Sequence[str] | None, languages: Sequence[str], n_requests: int | None, seed: int
) -> list[str]:
    names = list(TASKS if tasks is None else [tasks] if isinstance(tasks, str) else tasks)
    for name in names:
        if name not in TASKS and name not in EXTRA_TASKS:
            accepted = [*TASKS, *EXTRA_TASKS]
            raise one_of("task of following", name, accepted, most=len(accepted))
    check_languages(languages)
    if n_requests is not None:
        check_value("n_requests", n_requests, PositiveInt)
    check_value("seed", seed, NonNegativeInt)
    return names


class _MaskCollector:
    """Numbers distinct sets of items by the text that describes them."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items
        self.numbers: dict[str, int] = {}
        self.masks: list[np.ndarray] = []

    def number(self, text: str, mask: np.ndarray) -> int:
        """Return the number of a set, adding the set when its text is new."""
        if text not in self.numbers:
            self.numbers[text] = len(self.masks)
            self.masks.append(mask)
        return self.numbers[text]

    def item_sets(self, mask_of_request: list[int]) -> ItemSets:
        masks = np.array(self.masks, dtype=bool).reshape(len(self.masks), self.n_items)
        return ItemSets(masks, np.array(mask_of_request))


class _TaskWriter:
    """Draw the wish of each request once, and word it for each task.

    Every purpose has its own random stream over all requests, so what a request asks in one task depends neither on
    the other tasks nor on which requests are used.
    """

    def __init__(
        self, split: Split, part: str, languages: tuple[str, ...], n_requests: int | None, seed: int
    ) -> None:
        self.data, self.part, self.seed, self.languages = split.train, part, seed, languages
        requests = split.requests(part)
        self.verbalizers = {language: Verbalizer(self.data, language) for language in languages}
        verbalizer = self.verbalizers[languages[0]]
        self.categories = verbalizer.all_categories
        number = {name: row for row, name in enumerate(self.categories)}
        self.of_item = {
            item: [number[name] for name in names] for item, names in verbalizer.categories.items()
        }
        self.masks = np.zeros((len(self.categories), self.data.n_items), dtype=bool)
        for column, item in enumerate(self.data.items["item_id"].tolist()):
            self.masks[self.of_item[item], column] = True
        targets = [request_targets[0] for request_targets in requests.targets]
        rows = [row for row, target in enumerate(targets) if self.of_item[target]]
        if not rows:
            raise InputError(
                f"part {part!r} of the {split.protocol} split of {self.data.name} has no target with a category in "
                f"{self.data.category_field!r}; following cannot be tested without"
            )
        self.n_requests = len(targets)
        self.wished_category = [
            self.of_item[target][int(draw * len(self.of_item[target]))] if self.of_item[target] else -1
            for target, draw in zip(targets, self._random("category"), strict=True)
        ]
        self.refused_category = [
            self._lacking_category(target, history, draw)
            for target, history, draw in zip(
                targets, requests.histories, self._random("refused"), strict=True
            )
        ]
        self.language = [languages[int(draw * len(languages))] for draw in self._random("language")]
        if n_requests is not None and n_requests < len(rows):
            rows = sorted(self._stream("requests").choice(rows, n_requests, replace=False).tolist())
        self.rows, self.targets = np.array(rows), [targets[row] for row in rows]
        self.wish = ItemSets(self.masks, np.array(self.wished_category)[rows])
        self.makers: dict[str, Callable[[], FollowingTask]] = {
            "stated": self.stated,
            "unseen wording": lambda: self._held_out(Intention.I2),
            "other words": self.other_words,
            "vague wish": lambda: self._held_out(Intention.I1),
            "shuffled": self.shuffled,
            "contradicting": lambda: self._refusal("contradicting", self.wished_category, "refusal"),
            "negated": lambda: self._refusal("negated", self.refused_category, "refusal"),
            "unseen negation": lambda: self._refusal(
                "unseen negation", self.refused_category, "unseen_refusal"
            ),
            "constraints": self.constraints,
            "category and era": self.category_and_era,
            "title word": self.title_word,
            "new words": self.new_words,
        }

    def _stream(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose.encode()])

    def _random(self, purpose: str) -> np.ndarray:
        """Return a random number in [0, 1) for each request of the part, used or not."""
        return self._stream(purpose).random(self.n_requests)

    def _draws(self, purpose: str) -> Iterator[tuple[int, float]]:
        """Yield the number of each request that is used, and its random number."""
        draws = self._random(purpose)
        return ((row, draws[row]) for row in self.rows.tolist())

    def _lacking_category(self, target: Hashable, history: Sequence[Hashable], draw: float) -> int:
        """Return a category that the target lacks, drawn from the history's, else from all; -1 if none."""
        of_target = set(self.of_item[target])
        lacking = [
            category for item in history for category in self.of_item[item] if category not in of_target
        ]
        lacking = lacking or [
            category for category in range(len(self.categories)) if category not in of_target
        ]
        return lacking[int(draw * len(lacking))] if lacking else -1

    def _name(self, row: int, category: int) -> str:
        return self.verbalizers[self.language[row]].category_names[self.categories[category]]

    def _fill(self, kind: str, row: int, draw: float, **values: object) -> str:
        """Return a request in a frame of a kind, such as "refusal", chosen by a number in [0, 1)."""
        language = self.language[row]
        frames: list[str] = read_wordings("request_frames")[kind][language]
        return frames[int(draw * len(frames))].format(**values, **domain_words(self.data, language))

    # -- the tasks ---------------------------------------------------------------------------------------------

    def none(self) -> FollowingTask:
        return FollowingTask([None] * len(self.rows), self.wish)

    def stated(self) -> FollowingTask:
        texts: list[str | None] = [
            self._fill("category", row, draw, category=self._name(row, self.wished_category[row]))
            for row, draw in self._draws("stated")
        ]
        return FollowingTask(texts, self.wish)

    def other_words(self) -> FollowingTask:
        words = {
            language: _other_words(self.data, verbalizer) for language, verbalizer in self.verbalizers.items()
        }
        return self._stated_by_word(
            "other words",
            lambda row: words[self.language[row]][self.categories[self.wished_category[row]]],
        )

    def new_words(self) -> FollowingTask:
        part = {"valid": "validation", "test": "test"}[self.part]

        def words_of(row: int) -> list[str]:
            if self.language[row] != "en":
                return []
            category = self.categories[self.wished_category[row]].casefold()
            return held_out_words().get(category, {}).get(part, [])

        return self._stated_by_word("new words", words_of)

    def _stated_by_word(self, purpose: str, words_of: Callable[[int], list[str]]) -> FollowingTask:
        """State the category by one of other words; a request without such a word asks nothing."""
        texts: list[str | None] = []
        for (row, draw), (_, word_draw) in zip(self._draws("stated"), self._draws(purpose), strict=True):
            words = words_of(row)
            word = words[int(word_draw * len(words))] if words else None
            texts.append(self._fill("category", row, draw, category=word) if word else None)
        return FollowingTask(texts, self.wish.restricted_to(texts))

    def shuffled(self) -> FollowingTask:
        stated = self.stated()
        if len(self.rows) < 2:
            return FollowingTask([None], self.wish.restricted_to([None]))
        order = self._stream("shuffled").permutation(len(self.rows))
        source = np.empty_like(order)
        source[order] = np.roll(order, 1)  # a shift of a random order gives no request its own text
        texts = [stated.texts[number] for number in source]
        return FollowingTask(texts, ItemSets(self.masks, self.wish.mask_of_request[source]))

    def constraints(self) -> FollowingTask:
        field_name, numbers = self.data.category_field, _number_columns(self.data)
        collector = _MaskCollector(self.data.n_items)
        set_numbers: list[int] = []
        texts: list[str | None] = []
        columns = self.data.item_columns(self.targets)
        for row, column in zip(self.rows.tolist(), columns.tolist(), strict=True):
            category = self.wished_category[row]
            clause = f"{column_name(field_name)} = {literal(self.categories[category])}"
            clauses = [(clause, self.masks[category])]
            for name, values in numbers.items():
                if not np.isnan(values[column]):
                    text, mask = _range_around(name, values, values[column])
                    if not mask[~np.isnan(values)].all():  # a constraint that all items satisfy says nothing
                        clauses.append((text, mask))
            text = " and ".join(clause for clause, _ in clauses)
            mask = np.logical_and.reduce([mask for _, mask in clauses])
            set_numbers.append(collector.number(text, mask))
            texts.append(text)
        return FollowingTask(texts, collector.item_sets(set_numbers))

    def category_and_era(self) -> FollowingTask:
        texts: list[str | None] = []
        collector = _MaskCollector(self.data.n_items)
        set_numbers: list[int] = []
        years = _number_columns(self.data).get("year", np.full(self.data.n_items, np.nan))
        columns = self.data.item_columns(self.targets).tolist()
        for (row, draw), column in zip(self._draws("category and era"), columns, strict=True):
            if np.isnan(years[column]):
                texts.append(None)
                set_numbers.append(-1)
                continue
            category, decade = self.wished_category[row], int(years[column]) // 10 * 10
            text, mask = _range_around("year", years, years[column])
            name = self._name(row, category)
            texts.append(self._fill("category_era", row, draw, category=name, decade=decade))
            set_numbers.append(collector.number(f"{category} and {text}", self.masks[category] & mask))
        return FollowingTask(texts, collector.item_sets(set_numbers))

    def title_word(self) -> FollowingTask:
        from instructrec.instructions.query_generator import title_words

        words = title_words(self.data.items["title"].tolist())
        columns_of: dict[str, list[int]] = {}
        for column, title in enumerate(words):
            for word in title:
                columns_of.setdefault(word, []).append(column)
        texts: list[str | None] = []
        collector = _MaskCollector(self.data.n_items)
        set_numbers: list[int] = []
        columns = self.data.item_columns(self.targets).tolist()
        draws = zip(self._draws("title frame"), self._draws("title word"), columns, strict=True)
        for (row, draw), (_, word_draw), column in draws:
            if not words[column]:
                texts.append(None)
                set_numbers.append(-1)
                continue
            word = words[column][int(word_draw * len(words[column]))]
            texts.append(self._fill("title_word", row, draw, word=word))
            mask = np.zeros(self.data.n_items, dtype=bool)
            mask[columns_of[word]] = True
            set_numbers.append(collector.number(word, mask))
        return FollowingTask(texts, collector.item_sets(set_numbers))

    def _refusal(self, purpose: str, categories: list[int], frames: str) -> FollowingTask:
        """Refuse a category of each request, -1 for none, in frames of a kind."""
        texts: list[str | None] = []
        for row, draw in self._draws(purpose):
            category = categories[row]
            name = self._name(row, category) if category >= 0 else None
            texts.append(self._fill(frames, row, draw, category=name) if name else None)
        refused = np.array(categories)[self.rows]
        return FollowingTask(texts, ItemSets(~self.masks, refused), ItemSets(self.masks, refused))

    def _held_out(self, intention: Intention) -> FollowingTask:
        """State the category (I2) or a vague wish for it (I1) in the templates that are held out of training."""
        templates = {
            language: [
                (template, variant)
                for template in load_templates(language)
                if template.held_out
                and (template.task, template.preference, template.intention)
                == (TaskForm.T2, Preference.P0, intention)
                and (template.style, template.answer) == (Style.PLAIN, Answer.ITEM)
                for variant in range(len(template.variants))
            ]
            for language in self.languages
        }
        texts: list[str | None] = []
        wish_draws = self._random(f"wish {intention}")
        for row, draw in self._draws(f"held out {intention}"):
            language, category = self.language[row], self.categories[self.wished_category[row]]
            verbalizer = self.verbalizers[language]
            template, variant = templates[language][int(draw * len(templates[language]))]
            wording = verbalizer.category_names[category]
            if intention == Intention.I1:
                wording = verbalizer.wish(category, partial(float, wish_draws[row]))
            texts.append(template.render({**verbalizer.words, "context": "", "intention": wording}, variant))
        return FollowingTask(texts, self.wish)


def _other_words(dataset: Dataset, verbalizer: Verbalizer) -> dict[str, list[str]]:
    """Return the lexicon's other words for each category in the verbalizer's language, none that holds its name."""
    names = verbalizer.all_categories
    words: dict[str, list[str]] = {name: [] for name in names}
    for word, name in synonyms({normal(name): name for name in names}, dataset).items():
        in_language = word.isascii() == (verbalizer.language == "en")
        own_names = (name, verbalizer.category_names[name])
        if in_language and not any(stands_alone(normal(own), word) for own in own_names):
            words[name].append(word)
    return words


def _number_columns(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return year, price and popularity of the items, as far as they are known, shape (n_items,), float."""
    fields = fields_of(dataset.items, dataset.category_field)
    columns: dict[str, np.ndarray] = {}
    for name in ("year", "price", POPULARITY):
        if name in dataset.items.columns and name in fields and fields[name].kind == NUMBER:
            columns[name] = dataset.items[name].to_numpy(dtype=float, na_value=np.nan)
    if POPULARITY not in dataset.items.columns:
        popularity = dataset.popularity
        columns[POPULARITY] = np.array([popularity[item] for item in dataset.items["item_id"].tolist()])
    return columns


def _range_around(name: str, values: np.ndarray, value: float) -> tuple[str, np.ndarray]:
    """Return a constraint that a value meets and the items that meet it: its decade, or its half of the catalogue."""
    if name == "year":
        decade = int(value) // 10 * 10
        return f"{name} in {decade}..{decade + 9}", (values >= decade) & (values <= decade + 9)
    middle = float(np.round(np.nanmedian(values), 3))
    if value >= middle:
        return f"{name} >= {literal(middle)}", values >= middle
    return f"{name} < {literal(middle)}", values < middle
