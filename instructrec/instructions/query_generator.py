"""Generate short training queries that a user might type before choosing a given item, new in each epoch.

`build_instructions` writes complete instructions of the paper's kinds for export; this module writes queries as users
type them in the middle of a conversation, more than a hundred thousand per second. Each query is true of the next item
(an oracle): a category is one of its own, a refused category one that it lacks. With each text comes its meaning: the
set of items that meet it, and how likely each of them makes the text. (One of three categories is named in a third of
the cases.) The frames are in the editable data file `query_frames.toml`; templates that are not held out serve as
frames too. Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions.category_words import synonyms
from instructrec.instructions.parsing.constraint import column_name, literal
from instructrec.instructions.parsing.fields import POPULARITY
from instructrec.instructions.query_frames import GRAMMAR_SHARE, QUESTION_KINDS, QueryFrames, query_frames
from instructrec.instructions.query_meanings import log_shares_of, sets_of_items
from instructrec.instructions.verbalizer import Draw, Verbalizer, decade_words
from instructrec.wordings.lexicon import LANGUAGES, lexicon, normal

KIND_SHARES = {
    "category": 0.22,
    "era": 0.04,
    "category and era": 0.14,
    "title": 0.10,
    "wish": 0.19,
    "refusal": 0.16,
    "category and refusal": 0.07,
    "condition": 0.10,
    "popularity": 0.03,
    "null": 0.12,
    "taste": 0.05,
    "taste and category": 0.04,
    "taste and wish": 0.03,
}
"""The kinds of queries and how often each is tried; a kind that does not apply to an item is replaced by another."""
MAX_TITLES_PER_WORD = 25
"""A title word is requested only if at most this many titles contain it."""
WELL_KNOWN_POPULARITY, LITTLE_KNOWN_POPULARITY = 0.85, 0.5
"""Popularity from which an item is called well known, and below which little known (see `Dataset.popularity`)."""
SYNONYM_SHARE = 0.4
"""Share of the mentions of a category with synonyms that use a synonym."""
_KIND_ATTEMPTS = 8
_TITLE_WORD = re.compile(r"[^\W\d_]{3,}")
_WEEK = 7 * 86_400


def title_words(titles: Iterable[str], max_titles: int = MAX_TITLES_PER_WORD) -> list[tuple[str, ...]]:
    """Return the words of each title by which it can be requested: of three letters or more, in few titles.

    Args:
        titles: Titles, such as "Star Wars".
        max_titles: Maximum number of titles that may contain a word.
    """
    ignored = query_frames()["title_words"]["ignored"]
    words_of = [
        tuple(dict.fromkeys(word for word in _TITLE_WORD.findall(title.lower()) if word not in ignored))
        for title in titles
    ]
    counts: dict[str, int] = {}
    for words in words_of:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    return [tuple(word for word in words if counts[word] <= max_titles) for words in words_of]


def check_languages(languages: Sequence[str]) -> None:
    """Check a list of languages.

    Raises:
        InputError: It is empty, a text, or holds an unknown language.
    """
    if isinstance(languages, str) or not languages:
        raise InputError(f'languages is {languages!r}; a list of "en", "zh" or both is accepted')
    for language in languages:
        if language not in LANGUAGES:
            raise one_of("language", language, LANGUAGES)


class Query(NamedTuple):
    """A text that a user types, and its meaning.

    Attributes:
        text: In English or Chinese.
        meaning: Rows of `QueryGenerator.meanings`; an item meets the text if it is in all of these sets.
        literal: Whether each word matters as it stands: no similar word may replace it and no noise may surround it.
        states_taste: Whether the text states the taste of the history, for a user whose history is not read.
    """

    text: str
    meaning: tuple[int, ...]
    literal: bool = False
    states_taste: bool = False


class QueryGenerator:
    """Generator of queries of users whose next choice is a given item.

    Args:
        dataset: Items with titles; categories and years where there are any.
        languages: "en", "zh" or both.
        kinds: Names from `KIND_SHARES`; all by default.
        context_share: Share of the texts that open with circumstances, which mean nothing for the choice.

    Attributes:
        meanings: Sets of items, shape (n_meanings, n_items), bool.
        log_shares: Log likelihood of each meaning at each item up to a constant, shape (n_meanings, n_items), float32:
            -log of the number of the item's categories or title words that could have been named, -1e9 outside the set.

    Raises:
        InputError: An unknown language or kind.
    """

    def __init__(
        self,
        dataset: Dataset,
        languages: Sequence[str] = LANGUAGES,
        kinds: Sequence[str] | None = None,
        context_share: float = 0.1,
    ) -> None:
        check_languages(languages)
        for kind in kinds or ():
            if kind not in KIND_SHARES:
                raise one_of("kind of query", kind, KIND_SHARES, most=len(KIND_SHARES))
        self.languages = tuple(languages)
        self.context_share = context_share
        self.verbalizers = {language: Verbalizer(dataset, language) for language in self.languages}
        verbalizer = self.verbalizers[self.languages[0]]
        self._ids = dataset.items["item_id"].tolist()
        self.all_categories = verbalizer.all_categories
        self.categories = [verbalizer.categories[item] for item in self._ids]
        years = verbalizer.years
        self.decades = [int(years[item]) // 10 * 10 if item in years else None for item in self._ids]
        self.title_words = title_words(dataset.items["title"].tolist())
        self._category_column = column_name(dataset.category_field)
        self._popularity = _popularity(dataset)
        self._median_popularity = float(np.round(np.median(self._popularity), 3)) if self._ids else 0.0
        self.frames = {language: QueryFrames(self.verbalizers[language]) for language in self.languages}
        self.names = {language: self._all_names(dataset, language) for language in self.languages}
        bounds = (self._median_popularity, WELL_KNOWN_POPULARITY, LITTLE_KNOWN_POPULARITY)
        sets = sets_of_items(self.categories, self.decades, self.title_words, self._popularity, bounds)
        self._numbers = {meaning: number for number, meaning in enumerate(sets)}
        self.meanings = np.stack(list(sets.values()))
        self.log_shares = log_shares_of(sets, self.categories, self.title_words)
        writers: dict[str, Callable[[str, int, Sequence[int], Draw], Query | None]] = {
            "category": self._category,
            "era": self._era,
            "category and era": self._category_and_era,
            "title": self._title,
            "wish": self._wish,
            "refusal": self._refusal,
            "category and refusal": self._category_and_refusal,
            "condition": self._condition,
            "popularity": self._popularity_query,
            "null": self._null,
            "taste": self._taste,
            "taste and category": self._taste_and_category,
            "taste and wish": self._taste_and_wish,
        }
        chosen = [kind for kind in KIND_SHARES if kinds is None or kind in kinds]
        shares = [KIND_SHARES[kind] for kind in chosen]
        self._writers = [writers[kind] for kind in chosen]
        self._cumulative_shares = (np.cumsum(shares) / sum(shares)).tolist()

    def generate(self, item: int, recent_items: Sequence[int], draw: Draw) -> Query | None:
        """Return a query for an item, None if none of the kinds says anything of it.

        Args:
            item: Catalogue column of the item.
            recent_items: Columns of the user's last items; a refusal is drawn from their categories if possible.
            draw: Random numbers in [0, 1).
        """
        language = self.languages[int(draw() * len(self.languages))]
        for _ in range(_KIND_ATTEMPTS):
            number = draw()
            write = next(
                write
                for write, share in zip(self._writers, self._cumulative_shares, strict=True)
                if number <= share
            )
            query = write(language, item, recent_items, draw)
            if query is not None:
                break
        else:
            return None
        if draw() < self.context_share:
            verbalizer = self.verbalizers[language]
            opening = verbalizer.opening(verbalizer.context(int(draw() * _WEEK), draw))
            return query._replace(text=opening + query.text)
        return query

    def taste(self, items: Sequence[int], language: str) -> str:
        """Return the taste that items show, in words (P2).

        Args:
            items: Catalogue columns.
            language: One of `languages`.
        """
        return self.verbalizers[language].taste([self._ids[item] for item in items])

    # -- texts for vocabularies and noise ----------------------------------------------------------------------

    def questions(self, language: str) -> dict[str, list[str]]:
        """Return the texts that ask for words, by kind (`query` and `taste`); `{item}` is the slot for an item."""
        return {kind: self.frames[language].by_kind[kind] for kind in QUESTION_KINDS}

    def carriers(self, language: str) -> list[tuple[str, str]]:
        """Return sentences into which any text fits, each as the text before and the text after.

        `texts` excludes them: users write words that no vocabulary foresees, and these sentences stand for them.
        """
        return [
            (before, after)
            for before, _, after in (
                carrier.partition("{text}") for carrier in query_frames()["carriers"][language]
            )
        ]

    def descriptions(self) -> list[list[str]]:
        """Return words for each item: names of its categories in all languages, its decade, words of its title."""
        return [
            [
                *(
                    verbalizer.category_names[name]
                    for verbalizer in self.verbalizers.values()
                    for name in categories
                ),
                *([] if decade is None else [decade_words(decade, "en")]),
                *words,
            ]
            for categories, decade, words in zip(self.categories, self.decades, self.title_words, strict=True)
        ]

    def texts(self) -> list[str]:
        """Return texts with every word that `generate` can write except title words, for a vocabulary."""
        texts: list[str] = []
        for language in self.languages:
            verbalizer, frames = self.verbalizers[language], self.frames[language]
            texts += [*frames.bare_frames(), *frames.bare_parts()]
            for name, alternatives in self.names[language].values():
                texts += [name, *alternatives]
            for category in self.all_categories:
                entry = lexicon()["categories"].get(category.casefold(), {})
                texts += entry.get(f"wishes_{language}") or lexicon()["wishes"][language]
            texts += _strings(lexicon()["taste"][language])
            for circumstances in lexicon()["context"][language].values():
                texts += circumstances
            texts += [verbalizer.moment(hour * 3_600) for hour in range(0, 168, 3)]
            texts += [decade_words(decade, language) for decade in self.decades if decade is not None]
        median = literal(self._median_popularity)
        texts += [f"{self._category_column} {POPULARITY} year in not and = < >= .. {median}"]
        texts += [f"{decade}..{decade + 9}" for decade in self.decades if decade is not None]
        return list(dict.fromkeys(texts))

    def protected_texts(self) -> tuple[list[str], list[str], list[str]]:
        """Return texts whose words must not be inserted as noise: names of categories, and frames that refuse.

        The third list holds words of the second that may be inserted: by themselves they refuse nothing.
        """
        names = [
            text
            for names in self.names.values()
            for name, alternatives in names.values()
            for text in (name, *alternatives)
        ]
        refusals = [text for language in self.languages for text in self.frames[language].bare_refusals()]
        harmless = [text for language in self.languages for text in query_frames()["harmless"][language]]
        return names, refusals, harmless

    def function_texts(self) -> list[str]:
        """Return the frames with empty slots: their words express the form of a request, not its content."""
        return [
            text for frames in self.frames.values() for text in (*frames.bare_frames(), *frames.bare_parts())
        ]

    # -- kinds of queries: each returns a text that is true of the item and its meaning, or None ---------------

    def _category(self, language: str, item: int, recent_items: Sequence[int], draw: Draw) -> Query | None:
        categories = self.categories[item]
        if not categories:
            return None
        if len(categories) > 1 and draw() < 0.3:
            several = categories if draw() < 0.5 else _pair(categories, draw)
            joined = self.verbalizers[language].join(several)
            text = self.frames[language].request("category", joined, draw)
            return Query(text, tuple([self._numbers["category", category] for category in several]))
        category = categories[int(draw() * len(categories))]
        name = self._name(language, category, draw)
        text = self.frames[language].request("category", name, draw)
        return Query(text, (self._numbers["category", category],))

    def _era(self, language: str, item: int, recent_items: Sequence[int], draw: Draw) -> Query | None:
        decade = self.decades[item]
        if decade is None:
            return None
        text = self.frames[language].fill("era", draw, decade=decade_words(decade, language))
        return Query(text, (self._numbers["decade", decade],))

    def _category_and_era(
        self, language: str, item: int, recent_items: Sequence[int], draw: Draw
    ) -> Query | None:
        decade, category = self.decades[item], self._random_category(item, draw)
        if decade is None or category is None:
            return None
        frames, when = self.frames[language], decade_words(decade, language)
        name = self._name(language, category, draw)
        meaning = (self._numbers["category", category], self._numbers["decade", decade])
        if draw() < GRAMMAR_SHARE:
            era = frames.part("era", draw, decade=when)
            if language == "en":
                return Query(frames.compose(name, draw, suffix=era), meaning)
            return Query(frames.compose(f"{era}{name}", draw), meaning)
        return Query(frames.fill("category_era", draw, decade=when, category=name), meaning)

    def _title(self, language: str, item: int, recent_items: Sequence[int], draw: Draw) -> Query | None:
        words = self.title_words[item]
        if not words:
            return None
        frames, word = self.frames[language], words[int(draw() * len(words))]
        meaning = (self._numbers["word", word],)
        if draw() < GRAMMAR_SHARE / 2:
            verbalizer = self.verbalizers[language]
            phrase = verbalizer.wordings["titled"].format(
                called=frames.part("called", draw), word=word, thing=verbalizer.words["thing"]
            )
            return Query(frames.compose(phrase, draw, complete=True), meaning, literal=True)
        return Query(frames.fill("title", draw, word=word), meaning, literal=True)

    def _wish(self, language: str, item: int, recent_items: Sequence[int], draw: Draw) -> Query | None:
        category = self._random_category(item, draw)
        if category is None:
            return None
        wish = self.verbalizers[language].wish(category, draw)
        text = self.frames[language].request("wish", wish, draw)
        return Query(text, (self._numbers["category", category],))

    def _refusal(self, language: str, item: int, recent_items: Sequence[int], draw: Draw) -> Query | None:
        category = self._category_to_refuse(item, recent_items, draw)
        if category is None:
            return None
        frames, name = self.frames[language], self._name(language, category, draw)
        if draw() < GRAMMAR_SHARE:
            text = frames.compose(name, draw, refuse=True)
        else:
            text = frames.fill("refusal", draw, category=name)
        return Query(text, (self._numbers["not", category],))

    def _category_and_refusal(
        self, language: str, item: int, recent_items: Sequence[int], draw: Draw
    ) -> Query | None:
        category = self._random_category(item, draw)
        refused_category = self._category_to_refuse(item, recent_items, draw)
        if category is None or refused_category is None:
            return None
        frames, name = self.frames[language], self._name(language, category, draw)
        refused_name = self._name(language, refused_category, draw)
        meaning = (self._numbers["category", category], self._numbers["not", refused_category])
        if draw() < GRAMMAR_SHARE:
            request = frames.compose(name, draw)
            refusal = frames.compose(refused_name, draw, refuse=True)
            return Query(frames.connect(request, frames.part("but", draw), refusal), meaning)
        return Query(frames.fill("category_refusal", draw, category=name, other=refused_name), meaning)

    def _condition(self, language: str, item: int, recent_items: Sequence[int], draw: Draw) -> Query | None:
        category, decade = self._random_category(item, draw), self.decades[item]
        clauses: list[str] = []
        meaning: list[int] = []
        if category is not None and draw() < 0.9:
            clauses.append(f"{self._category_column} = {literal(category)}")
            meaning.append(self._numbers["category", category])
        if decade is not None and draw() < 0.7:
            clauses.append(f"year in {decade}..{decade + 9}")
            meaning.append(self._numbers["decade", decade])
        if draw() < 0.7:
            median = self._median_popularity
            sign = ">=" if self._popularity[item] >= median else "<"
            clauses.append(f"{POPULARITY} {sign} {literal(median)}")
            meaning.append(self._numbers[sign, median])
        if draw() < 0.2:
            refused_category = self._category_to_refuse(item, recent_items, draw)
            if refused_category is not None:
                clauses.append(f"not {self._category_column} = {literal(refused_category)}")
                meaning.append(self._numbers["not", refused_category])
        return Query(" and ".join(clauses), tuple(meaning), literal=True) if clauses else None

    def _popularity_query(
        self, language: str, item: int, recent_items: Sequence[int], draw: Draw
    ) -> Query | None:
        popularity, frames = self._popularity[item], self.frames[language]
        if popularity >= WELL_KNOWN_POPULARITY:
            return Query(frames.fill("well_known", draw), (self._numbers[">=", WELL_KNOWN_POPULARITY],))
        if popularity < LITTLE_KNOWN_POPULARITY:
            return Query(frames.fill("little_known", draw), (self._numbers["<", LITTLE_KNOWN_POPULARITY],))
        return None

    def _null(self, language: str, item: int, recent_items: Sequence[int], draw: Draw) -> Query:
        frames = self.frames[language]
        if draw() < GRAMMAR_SHARE:
            return Query(frames.compose(frames.part("anything", draw), draw, complete=True), (), literal=True)
        return Query(frames.fill("null", draw), (), literal=True)

    def _taste(self, language: str, item: int, recent_items: Sequence[int], draw: Draw) -> Query | None:
        taste = self.taste(recent_items, language)
        if not taste:
            return None
        return Query(self.frames[language].fill("taste_told", draw, taste=taste), (), states_taste=True)

    def _taste_and_category(
        self, language: str, item: int, recent_items: Sequence[int], draw: Draw
    ) -> Query | None:
        taste, category = self.taste(recent_items, language), self._random_category(item, draw)
        if not taste or category is None:
            return None
        name = self._name(language, category, draw)
        text = self.frames[language].fill("taste_category", draw, taste=taste, category=name)
        return Query(text, (self._numbers["category", category],), states_taste=True)

    def _taste_and_wish(
        self, language: str, item: int, recent_items: Sequence[int], draw: Draw
    ) -> Query | None:
        taste, category = self.taste(recent_items, language), self._random_category(item, draw)
        if not taste or category is None:
            return None
        wish = self.verbalizers[language].wish(category, draw)
        text = self.frames[language].fill("taste_wish", draw, taste=taste, wish=wish)
        return Query(text, (self._numbers["category", category],), states_taste=True)

    # -- parts of texts ----------------------------------------------------------------------------------------

    def _name(self, language: str, category: str, draw: Draw) -> str:
        """Return a random name of a category: its own, or a synonym in `SYNONYM_SHARE` of the cases."""
        name, synonyms_of_it = self.names[language][category]
        if synonyms_of_it and draw() < SYNONYM_SHARE:
            return synonyms_of_it[int(draw() * len(synonyms_of_it))]
        return name

    def _random_category(self, item: int, draw: Draw) -> str | None:
        categories = self.categories[item]
        return categories[int(draw() * len(categories))] if categories else None

    def _category_to_refuse(self, item: int, recent_items: Sequence[int], draw: Draw) -> str | None:
        """Return a category that an item lacks, one of the recent items' in three of four cases."""
        categories = self.categories[item]
        if recent_items and draw() < 0.75:
            for _ in range(4):
                recent_item = recent_items[int(draw() * len(recent_items))]
                category = self._random_category(recent_item, draw)
                if category is not None and category not in categories:
                    return category
        for _ in range(8 if self.all_categories else 0):
            category = self.all_categories[int(draw() * len(self.all_categories))]
            if category not in categories:
                return category
        return None

    def _all_names(self, dataset: Dataset, language: str) -> dict[str, tuple[str, list[str]]]:
        """Return each category's own name in a language, and its synonyms."""
        names = self.verbalizers[language].category_names
        alternatives: dict[str, list[str]] = {name: [] for name in self.all_categories}
        folded = {normal(name): name for name in self.all_categories}
        for word, name in synonyms(folded, dataset).items():
            if word.isascii() == (language == "en") and word not in (normal(name), normal(names[name])):
                alternatives[name].append(word)
        return {name: (names[name], alternatives[name]) for name in self.all_categories}


def _strings(entry: dict[str, str | list[str]]) -> list[str]:
    """Return the texts of a part of the lexicon with their slots empty."""
    texts = [text for value in entry.values() for text in ([value] if isinstance(value, str) else value)]
    return [re.sub(r"{.*?}", " ", text) for text in texts]


def _popularity(dataset: Dataset) -> list[float]:
    """Return the popularity of each item: the data set's own column if there is one."""
    if POPULARITY in dataset.items.columns:
        return [float(value) for value in dataset.items[POPULARITY]]
    popularity = dataset.popularity
    return [popularity[item] for item in dataset.items["item_id"].tolist()]


def _pair(values: Sequence[str], draw: Draw) -> list[str]:
    """Return two different values."""
    first = int(draw() * len(values))
    second = (first + 1 + int(draw() * (len(values) - 1))) % len(values)
    return [values[first], values[second]]
