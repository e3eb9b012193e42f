"""What the same users are asked under each condition of a test of instruction following, and which items meet it.

The truth about items comes from the catalogue's columns, never from `instructions.parse`, so that a model that uses
the parser is tested too. Derived in chapter `evaluation`; the measures are in `instructrec.evaluation.following`.
`TASKS` are asked by default, `EXTRA_TASKS` only by name.
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
from instructrec.wordings import read_wordings
from instructrec.wordings.lexicon import held_out_words, normal, stands_alone

TASKS = {
    "none": "no instruction; the wish is the one of `stated`, so that the row says how often it is met unasked",
    "stated": "one category of the target, drawn at random (an oracle), in the wordings of `ThreeTower`'s training",
    "unseen wording": "the same category in a wording that is held out of the templates for training",
    "other words": "the same category by another word ('funny' for Comedy) in the wordings of `stated`",
    "vague wish": "the same wish without any word for the category, in a held-out wording",
    "shuffled": "the text of `stated` of another request",
    "contradicting": "the category of `stated` is refused ('no Comedy'), though the target has it",
    "negated": "a category is refused that the target lacks, drawn from what the history holds",
    "unseen negation": "the same refusal in idioms that the rules of `instructions.parse` do not know",
    "constraints": "several conditions at once, each met by the target, in the parametric language",
}
EXTRA_TASKS = {
    "category and era": "the category of `stated` and the target's decade, both at once",
    "title word": "a word of the target's title, drawn at random from those that few titles have",
    "new words": "the category of `stated` by an English word that no text for training holds",
}


@dataclass(frozen=True)
class Wanted:
    """Which items meet what each request asks.

    Attributes:
        masks: Distinct sets of items, shape (n_masks, n_items), bool.
        which: Row of `masks` for each request, shape (n_requests,), int64; -1 where nothing can be asked.
    """

    masks: np.ndarray = field(repr=False)
    which: np.ndarray = field(repr=False)

    @property
    def stated(self) -> np.ndarray:
        """Which requests ask at all, shape (n_requests,), bool."""
        return self.which >= 0

    def share(self, lists: np.ndarray) -> np.ndarray:
        """Return the share of each list's places that hold such an item, NaN where nothing is asked.

        Args:
            lists: Catalogue columns, shape (n_requests, k); -1 marks an empty place.
        """
        hit = self.masks[np.maximum(self.which, 0)[:, None], np.maximum(lists, 0)] & (lists >= 0)
        return np.where(self.stated, hit.mean(axis=1), np.nan)

    def possible(self, allowed: np.ndarray, k: int) -> np.ndarray:
        """Return the highest share that any list of k can reach, NaN where nothing is asked.

        Args:
            allowed: Items that may be shown, shape (n_requests, n_items), bool.
            k: Length of the list.
        """
        counts = [
            np.count_nonzero(self.masks[which] & row) for which, row in zip(self.which, allowed, strict=True)
        ]
        return np.where(self.stated, np.minimum(counts, k) / k, np.nan)


@dataclass(frozen=True)
class Asked:
    """The requests under one condition.

    Attributes:
        texts: One a request, None where nothing is asked.
        wanted: Which items meet the wish.
        refused: Which items a negation forbids, None where nothing is negated.
        parts: Which items meet each of several constraints, by the constraint's column.
    """

    texts: list[str | None]
    wanted: Wanted
    refused: Wanted | None = None
    parts: dict[str, Wanted] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditions:
    """The same requests under every condition.

    Attributes:
        rows: Numbers of the requests among `split.requests(part)`, shape (n,): those whose first target has a category.
        asked: What is asked, by condition; "none" comes first.
    """

    rows: np.ndarray = field(repr=False)
    asked: dict[str, Asked]


def make_following_tasks(
    split: Split,
    part: str = "test",
    conditions: Sequence[str] | None = None,
    languages: Sequence[str] = ("en",),
    n_requests: int | None = None,
    seed: int = 0,
) -> Conditions:
    """Write what each request asks under each condition.

    A request's wish is about its first target, so a text that is followed helps to find it: an oracle, fit to test
    whether a model obeys and not how well it guesses. The same seed names the same categories in every language.

    Args:
        split: The data in three parts.
        part: "valid" or "test".
        conditions: Names from `TASKS` and `EXTRA_TASKS`; by default all of `TASKS` that some request of
            these data can state. "new words" draws from other words for "valid" than for "test".
        languages: "en", "zh" or both; with both each request is put in one of them, drawn evenly.
        n_requests: Ask this many requests, drawn at random; all by default.
        seed: Seed of all draws.

    Raises:
        InputError: Unknown names, a number that is none, or data of which nothing can be asked.
    """
    names = _checked(conditions, languages, n_requests, seed)
    writer = _Writer(split, part, tuple(languages), n_requests, seed)
    asked: dict[str, Asked] = {"none": writer.none()}
    for name in names:
        if name == "none":
            continue
        made = writer.makers[name]()
        if made.wanted.stated.any():
            asked[name] = made
        elif conditions is not None:
            raise InputError(
                f"condition {name!r} can be stated of no request of {split.train.name} in {', '.join(languages)}; "
                "leave it out"
            )
    return Conditions(writer.rows, asked)


def _checked(
    conditions: Sequence[str] | None, languages: Sequence[str], n_requests: int | None, seed: int
) -> list[str]:
    names = list(TASKS if conditions is None else [conditions] if isinstance(conditions, str) else conditions)
    for name in names:
        if name not in TASKS and name not in EXTRA_TASKS:
            accepted = [*TASKS, *EXTRA_TASKS]
            raise one_of("condition", name, accepted, most=len(accepted))
    check_languages(languages)
    if n_requests is not None and not _whole(n_requests, 1):
        raise InputError(f"n_requests is {n_requests!r}; a whole number of at least 1, or None, is accepted")
    if not _whole(seed, 0):
        raise InputError(f"seed is {seed!r}; a whole number of at least 0 is accepted")
    return names


def _whole(value: object, least: int) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | np.integer) and int(value) >= least


class _Writer:
    """Draws what each request wishes, once, and puts it into words condition by condition."""

    def __init__(
        self, split: Split, part: str, languages: tuple[str, ...], n_requests: int | None, seed: int
    ) -> None:
        self.data, self.part, self.seed, self.languages = split.train, part, seed, languages
        requests = split.requests(part)
        self.in_language = {language: Verbalizer(self.data, language) for language in languages}
        plain = self.in_language[languages[0]]
        self.categories = plain.all_categories
        number = {name: row for row, name in enumerate(self.categories)}
        self.of_item = {item: [number[name] for name in names] for item, names in plain.categories.items()}
        self.masks = np.zeros((len(self.categories), self.data.n_items), dtype=bool)
        for column, item in enumerate(self.data.items["item_id"].tolist()):
            self.masks[self.of_item[item], column] = True
        first = [targets[0] for targets in requests.targets]
        rows = [row for row, target in enumerate(first) if self.of_item[target]]
        if not rows:
            raise InputError(
                f"part {part!r} of the {split.protocol} split of {self.data.name} has no target with a category in "
                f"{self.data.category_field!r}; following cannot be tested without"
            )
        draw = self._stream("category")
        self.named = [
            self.of_item[target][int(at * len(self.of_item[target]))] if self.of_item[target] else -1
            for target, at in zip(first, draw.random(len(first)), strict=True)
        ]
        draw = self._stream("refused")
        self.refused = [
            self._lacking(target, history, at)
            for target, history, at in zip(first, requests.histories, draw.random(len(first)), strict=True)
        ]
        draw = self._stream("language")
        self.language = [languages[int(at * len(languages))] for at in draw.random(len(first))]
        self.n = len(first)
        if n_requests is not None and n_requests < len(rows):
            rows = sorted(self._stream("requests").choice(rows, n_requests, replace=False).tolist())
        self.rows, self.targets = np.array(rows), [first[row] for row in rows]
        named = np.array([self.named[row] for row in rows])
        refused = np.array([self.refused[row] for row in rows])
        self.wish = Wanted(self.masks, named)
        self.own = (Wanted(~self.masks, named), Wanted(self.masks, named))
        self.other = (Wanted(~self.masks, refused), Wanted(self.masks, refused))
        self.makers: dict[str, Callable[[], Asked]] = {
            "stated": self.stated,
            "unseen wording": lambda: self._held_out(Intention.I2),
            "other words": self.other_words,
            "vague wish": lambda: self._held_out(Intention.I1),
            "shuffled": self.shuffled,
            "contradicting": lambda: self._refusal("contradicting", self.named, self.own, "refusal"),
            "negated": lambda: self._refusal("negated", self.refused, self.other, "refusal"),
            "unseen negation": lambda: self._refusal(
                "unseen negation", self.refused, self.other, "unseen_refusal"
            ),
            "constraints": self.constraints,
            "category and era": self.category_and_era,
            "title word": self.title_word,
            "new words": self.new_words,
        }

    def _stream(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose.encode()])

    def _draws(self, purpose: str) -> Iterator[tuple[int, float]]:
        """Give each request that is asked its number and a random number of its own, whoever else is asked."""
        drawn = self._stream(purpose).random(self.n)
        return ((row, drawn[row]) for row in self.rows.tolist())

    def _lacking(self, target: Hashable, history: Sequence[Hashable], at: float) -> int:
        """Return a category that the target lacks, drawn from the history's, else from all; -1 if none."""
        has = set(self.of_item[target])
        found = [one for item in history for one in self.of_item[item] if one not in has]
        found = found or [one for one in range(len(self.categories)) if one not in has]
        return found[int(at * len(found))] if found else -1

    def _name(self, row: int, category: int) -> str:
        return self.in_language[self.language[row]].category_names[self.categories[category]]

    # -- the conditions ----------------------------------------------------------------------------------------

    def none(self) -> Asked:
        return Asked([None] * len(self.rows), self.wish)

    def stated(self) -> Asked:
        texts: list[str | None] = []
        for row, at in self._draws("stated"):
            name = self._name(row, self.named[row])
            texts.append(self._fill("category", row, at, category=name))
        return Asked(texts, self.wish)

    def other_words(self) -> Asked:
        said = {
            language: _other_words(self.data, annotator) for language, annotator in self.in_language.items()
        }
        texts: list[str | None] = []
        for (row, at), (_, word) in zip(self._draws("stated"), self._draws("other words"), strict=True):
            words = said[self.language[row]][self.categories[self.named[row]]]
            texts.append(
                self._fill("category", row, at, category=words[int(word * len(words))]) if words else None
            )
        known = np.array([text is not None for text in texts])
        return Asked(texts, Wanted(self.masks, np.where(known, self.wish.which, -1)))

    def shuffled(self) -> Asked:
        stated = self.stated()
        if len(self.rows) < 2:
            return Asked([None] * len(self.rows), Wanted(self.masks, np.full(len(self.rows), -1)))
        order = self._stream("shuffled").permutation(len(self.rows))
        source = np.empty_like(order)
        source[order] = np.roll(order, 1)  # a shift of a random order gives nobody their own text
        return Asked([stated.texts[one] for one in source], Wanted(self.masks, self.wish.which[source]))

    def constraints(self) -> Asked:
        texts: list[str | None] = []
        numbers = _number_columns(self.data)
        found: dict[str, dict[str, tuple[int, np.ndarray]]] = {
            name: {} for name in (self.data.category_field, *numbers)
        }
        whole: dict[str, tuple[int, np.ndarray]] = {}
        which: dict[str, list[int]] = {name: [] for name in found}
        every: list[int] = []
        columns = self.data.item_columns(self.targets)
        for row, column in zip(self.rows.tolist(), columns.tolist(), strict=True):
            named = self.named[row]
            category = f"{column_name(self.data.category_field)} = {literal(self.categories[named])}"
            clauses = {self.data.category_field: (category, self.masks[named])}
            for name, values in numbers.items():
                if not np.isnan(values[column]):
                    text, mask = _half(name, values, values[column])
                    if not mask[~np.isnan(values)].all():  # a condition that all items meet says nothing
                        clauses[name] = (text, mask)
            for name in found:
                which[name].append(_number_of(found[name], *clauses[name]) if name in clauses else -1)
            text = " and ".join(clause for clause, _ in clauses.values())
            every.append(
                _number_of(whole, text, np.logical_and.reduce([mask for _, mask in clauses.values()]))
            )
            texts.append(text)
        parts = {name: self._wanted(found[name], which[name]) for name in found if found[name]}
        return Asked(texts, self._wanted(whole, every), parts=parts)

    def category_and_era(self) -> Asked:
        texts: list[str | None] = []
        decades: dict[str, tuple[int, np.ndarray]] = {}
        both: dict[str, tuple[int, np.ndarray]] = {}
        which: list[tuple[int, int, int]] = []
        years = _number_columns(self.data).get("year", np.full(self.data.n_items, np.nan))
        columns = self.data.item_columns(self.targets).tolist()
        for (row, at), column in zip(self._draws("category and era"), columns, strict=True):
            if np.isnan(years[column]):
                texts.append(None)
                which.append((-1, -1, -1))
                continue
            named, (era, mask) = self.named[row], _half("year", years, years[column])
            texts.append(
                self._fill(
                    "category_era",
                    row,
                    at,
                    category=self._name(row, named),
                    decade=int(years[column]) // 10 * 10,
                )
            )
            whole = _number_of(both, f"{named} and {era}", self.masks[named] & mask)
            which.append((named, _number_of(decades, era, mask), whole))
        in_category, in_decade, in_both = (list(numbers) for numbers in zip(*which, strict=True))
        parts = {
            self.data.category_field: Wanted(self.masks, np.array(in_category)),
            "year": self._wanted(decades, in_decade),
        }
        return Asked(texts, self._wanted(both, in_both), parts=parts)

    def title_word(self) -> Asked:
        from instructrec.instructions.query_generator import title_words

        words = title_words(self.data.items["title"].tolist())
        columns_of: dict[str, list[int]] = {}
        for column, listed in enumerate(words):
            for word in listed:
                columns_of.setdefault(word, []).append(column)
        texts: list[str | None] = []
        found: dict[str, tuple[int, np.ndarray]] = {}
        which: list[int] = []
        columns = self.data.item_columns(self.targets).tolist()
        draws = zip(self._draws("title frame"), self._draws("title word"), columns, strict=True)
        for (row, at), (_, drawn), column in draws:
            if not words[column]:
                texts.append(None)
                which.append(-1)
                continue
            word = words[column][int(drawn * len(words[column]))]
            texts.append(self._fill("title_word", row, at, word=word))
            mask = np.zeros(self.data.n_items, dtype=bool)
            mask[columns_of[word]] = True
            which.append(_number_of(found, word, mask))
        return Asked(texts, self._wanted(found, which))

    def new_words(self) -> Asked:
        listed = {"valid": "validation", "test": "test"}[self.part]
        texts: list[str | None] = []
        for (row, at), (_, drawn) in zip(self._draws("stated"), self._draws("new words"), strict=True):
            words = held_out_words().get(self.categories[self.named[row]].casefold(), {}).get(listed, [])
            said = self.language[row] == "en" and len(words) > 0
            texts.append(
                self._fill("category", row, at, category=words[int(drawn * len(words))]) if said else None
            )
        known = np.array([text is not None for text in texts])
        return Asked(texts, Wanted(self.masks, np.where(known, self.wish.which, -1)))

    def _refusal(
        self,
        purpose: str,
        categories: list[int],
        sets: tuple[Wanted, Wanted],
        frames: str,
    ) -> Asked:
        texts: list[str | None] = []
        for row, at in self._draws(purpose):
            known = categories[row] >= 0
            texts.append(
                self._fill(frames, row, at, category=self._name(row, categories[row])) if known else None
            )
        return Asked(texts, sets[0], sets[1])

    def _held_out(self, intention: Intention) -> Asked:
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
        wish = self._stream(f"wish {intention}").random(self.n)
        for row, at in self._draws(f"held out {intention}"):
            language, category = self.language[row], self.categories[self.named[row]]
            annotator = self.in_language[language]
            template, variant = templates[language][int(at * len(templates[language]))]
            said = annotator.category_names[category]
            if intention == Intention.I1:
                said = annotator.wish(category, partial(float, wish[row]))
            texts.append(template.render({**annotator.words, "context": "", "intention": said}, variant))
        return Asked(texts, self.wish)

    def _fill(self, kind: str, row: int, at: float, **values: object) -> str:
        """Return a request in a frame of a kind, such as "refusal", drawn by a number in [0, 1)."""
        language = self.language[row]
        frames: list[str] = read_wordings("request_frames")[kind][language]
        return frames[int(at * len(frames))].format(**values, **domain_words(self.data, language))

    def _wanted(self, found: dict[str, tuple[int, np.ndarray]], which: list[int]) -> Wanted:
        """Return the sets found, numbered in their order; they may be none."""
        masks = np.array([mask for _, mask in found.values()], dtype=bool)
        return Wanted(masks.reshape(len(found), self.data.n_items), np.array(which))


def _other_words(dataset: Dataset, annotator: Verbalizer) -> dict[str, list[str]]:
    """Return the lexicon's other words for each category in the annotator's language, none that holds its name."""
    words: dict[str, list[str]] = {name: [] for name in annotator.all_categories}
    for word, name in synonyms({normal(name): name for name in annotator.all_categories}, dataset).items():
        in_language = word.isascii() == (annotator.language == "en")
        if in_language and not any(
            stands_alone(normal(own), word) for own in (name, annotator.category_names[name])
        ):
            words[name].append(word)
    return words


def _number_columns(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return year, price and popularity of the items, as far as they are known, shape (n_items,), float."""
    fields = fields_of(dataset.items, dataset.category_field)
    found: dict[str, np.ndarray] = {}
    for name in ("year", "price", POPULARITY):
        if name in dataset.items.columns and name in fields and fields[name].kind == NUMBER:
            found[name] = dataset.items[name].to_numpy(dtype=float, na_value=np.nan)
    if POPULARITY not in dataset.items.columns:
        counted = dataset.popularity
        found[POPULARITY] = np.array([counted[item] for item in dataset.items["item_id"].tolist()])
    return found


def _half(name: str, values: np.ndarray, value: float) -> tuple[str, np.ndarray]:
    """Return a condition that a value meets, with the items that meet it: the decade, or a half of the catalogue."""
    if name == "year":
        decade = int(value) // 10 * 10
        return f"{name} in {decade}..{decade + 9}", (values >= decade) & (values <= decade + 9)
    middle = float(np.round(np.nanmedian(values), 3))
    if value >= middle:
        return f"{name} >= {literal(middle)}", values >= middle
    return f"{name} < {literal(middle)}", values < middle


def _number_of(found: dict[str, tuple[int, np.ndarray]], text: str, mask: np.ndarray) -> int:
    return found.setdefault(text, (len(found), mask))[0]
