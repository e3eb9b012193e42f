"""Short ways to ask for an item, drawn anew in each epoch: by category, era, title word, wish, refusal, taste.

Where `plan` writes whole instructions of the paper's kinds for export, this writes what a user types in the middle of a
conversation, more than a hundred thousand texts a second. Each text is true of the item that comes next (an oracle): a
category is one of its own, a refused category one that it lacks. What a text means is told with it, as the set of items
that meet it, with how likely each of them makes the text: one of three categories is named in a third of the cases. The
frames are in the editable data file `query_frames.toml`, and those of the templates that are not held out serve too.
Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions.category_words import domain_words, synonyms
from instructrec.instructions.parsing.constraint import POPULARITY, column_name, literal
from instructrec.instructions.schema import Answer, Intention, Preference, Style, TaskForm
from instructrec.instructions.templates import load_templates
from instructrec.instructions.verbalizer import Draw, Verbalizer
from instructrec.wordings import read_wordings
from instructrec.wordings.lexicon import lexicon, normal

LANGUAGES = ("en", "zh")
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
"""The kinds of phrases and how often each is tried; one that says nothing of an item gives way to another."""
MAX_TITLES_PER_WORD = 25
"""A title word is asked for if at most so many titles have it."""
WELL_KNOWN_POPULARITY, LITTLE_KNOWN_POPULARITY = 0.85, 0.5
"""Above which popularity an item is called well known, and below which little known (see `Dataset.popularity`)."""
QUESTION_KINDS = ("query", "taste")
GRAMMAR_SHARE = 0.6
"""Share of the texts that are put together from parts, where the rest fills whole frames."""
CATEGORY_FIRST_SHARE = 0.3
"""Share of the texts put together from parts that begin with what they name ("horror is not for me"), if any."""
TEMPLATE_FRAME_WEIGHT = 3
"""A frame of the templates is drawn so many times as often as one of this module's."""
LOG_ZERO = -1e9
"""The log likelihood of a text at an item that does not meet it."""
_WORD = re.compile(r"[^\W\d_]{3,}")
_STOP = frozenset(
    [
        "the",
        "and",
        "from",
        "with",
        "for",
        "las",
        "les",
        "des",
        "der",
        "die",
        "das",
        "una",
        "los",
        "del",
        "you",
        "your",
        "who",
        "that",
        "this",
        "his",
        "her",
    ]
)
_WEEK = 7 * 86_400
_FRAMES_OF = {
    (Preference.P0, Intention.I1): ("wish", "wish"),
    (Preference.P0, Intention.I2): ("category", "category"),
    (Preference.P2, Intention.I0): ("taste_told", ""),
    (Preference.P2, Intention.I1): ("taste_wish", "wish"),
    (Preference.P2, Intention.I2): ("taste_category", "category"),
}
"""Which templates give frames of which kind, and what stands for the intention."""


@cache
def query_frames() -> dict[str, dict[str, list[str]]]:
    """Return the frames of `query_frames.toml` by language and kind."""
    return read_wordings("query_frames")


def title_words(titles: Iterable[str], rare: int = MAX_TITLES_PER_WORD) -> list[tuple[str, ...]]:
    """Return the words of each title by which it can be asked for: of three letters or more, in few titles.

    Args:
        titles: Titles, such as "Star Wars".
        rare: In at most so many titles.
    """
    found = [
        tuple(dict.fromkeys(word for word in _WORD.findall(title.lower()) if word not in _STOP))
        for title in titles
    ]
    counts: dict[str, int] = {}
    for words in found:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    return [tuple(word for word in words if counts[word] <= rare) for words in found]


def question_text(dataset: Dataset, question: str, language: str) -> str:
    """Return the first text of a question, with {item} in it where it is about an item.

    Args:
        dataset: What its things are called comes from there.
        question: One of `QUESTION_KINDS`.
        language: "en" or "zh".
    """
    return query_frames()[language][question][0].format(**domain_words(dataset, language), item="{item}")


def check_languages(languages: Sequence[str]) -> None:
    """Refuse what is no list of "en", "zh" or both.

    Raises:
        InputError: It is none.
    """
    if isinstance(languages, str) or not languages:
        raise InputError(f'languages is {languages!r}; a list of "en", "zh" or both is accepted')
    for language in languages:
        if language not in LANGUAGES:
            raise one_of("language", language, LANGUAGES)


class Query(NamedTuple):
    """What a user types, and what it means.

    Attributes:
        text: In English or Chinese.
        meaning: Rows of `QueryGenerator.meanings`; an item meets the text if it is in all of these sets.
        literal: Each word has to be taken as it stands: no like word could be put in its place, and no noise beside it.
        states_taste: It tells the taste that the history shows, for a user whose history is not read.
    """

    text: str
    meaning: tuple[int, ...]
    literal: bool = False
    states_taste: bool = False


class QueryGenerator:
    """Writes what a user may ask when a given item is what they choose next.

    Args:
        dataset: Items with titles; categories and years where there are any.
        languages: "en", "zh" or both.
        kinds: Names from `KIND_SHARES`; all by default.
        context_share: Share of the texts that open with circumstances, which mean nothing for the choice.

    Attributes:
        meanings: Sets of items, shape (n_meanings, n_items), bool.
        log_shares: How likely each item makes it that a text means this, up to a constant: -log of how many of the
            item's categories or title words could have been named, `LOG_ZERO` outside the set; the same shape, float32.

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
        one = self.verbalizers[self.languages[0]]
        ids = dataset.items["item_id"].tolist()
        self._ids = ids
        self.all_categories = one.all_categories
        self.categories = [one.categories[item] for item in ids]
        self.decades = [int(one.years[item]) // 10 * 10 if item in one.years else None for item in ids]
        self.title_words = title_words(dataset.items["title"].tolist())
        self._field = column_name(dataset.category_field)
        self._popularity_of = _popularity(dataset)
        self.middle = float(np.round(np.median(self._popularity_of), 3)) if ids else 0.0
        self.frames = {language: self._all_frames(language) for language in self.languages}
        self.names = {language: self._all_names(dataset, language) for language in self.languages}
        self._numbers: dict[tuple[str, object], int] = {}
        self.meanings, self.log_shares = self._all_meanings()
        makers: dict[str, Callable[[str, int, Sequence[int], Draw], Query | None]] = {
            "category": self._category,
            "era": self._era,
            "category and era": self._category_era,
            "title": self._title,
            "wish": self._wish,
            "refusal": self._refusal,
            "category and refusal": self._category_refusal,
            "condition": self._condition,
            "popularity": self._popularity,
            "null": self._null,
            "taste": self._taste,
            "taste and category": self._taste_category,
            "taste and wish": self._taste_wish,
        }
        chosen = [kind for kind in KIND_SHARES if kinds is None or kind in kinds]
        self._makers = [makers[kind] for kind in chosen]
        shares = [KIND_SHARES[kind] for kind in chosen]
        self._shares = (np.cumsum(shares) / sum(shares)).tolist()

    def generate(self, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        """Return a text that asks for an item, None if none of the kinds says anything of it.

        Args:
            item: Its catalogue column.
            met: Columns of what the user has met lately; a refusal is drawn from their categories where it can be.
            draw: Random numbers in [0, 1).
        """
        language = self.languages[int(draw() * len(self.languages))]
        for _ in range(8):
            at = draw()
            made = next(make for make, share in zip(self._makers, self._shares, strict=True) if at <= share)(
                language, item, met, draw
            )
            if made is not None:
                break
        else:
            return None
        if draw() < self.context_share:
            annotator = self.verbalizers[language]
            opening = annotator.opening(annotator.context(int(draw() * _WEEK), draw))
            return made._replace(text=opening + made.text)
        return made

    def questions(self, language: str) -> dict[str, list[str]]:
        """Return the texts that ask for words, by kind, `query` and `taste`; {item} stands for an item."""
        return {kind: self.frames[language][kind] for kind in QUESTION_KINDS}

    def carriers(self, language: str) -> list[tuple[str, str]]:
        """Return sentences in which any text may stand, each as what is in front of it and what is behind.

        `texts` leaves them out: a vocabulary is not made for their words, as for none that users say unforeseen.
        """
        return [
            (before, after)
            for before, _, after in (
                frame.partition("{text}") for frame in query_frames()["carriers"][language]
            )
        ]

    def descriptions(self) -> list[list[str]]:
        """Return what describes each item: names of its categories in all languages, its decade, words of its title."""
        return [
            [
                *(one.category_names[name] for one in self.verbalizers.values() for name in categories),
                *([] if decade is None else [self._decade("en", decade)]),
                *words,
            ]
            for categories, decade, words in zip(self.categories, self.decades, self.title_words, strict=True)
        ]

    def taste(self, items: Sequence[int], language: str) -> str:
        """Return the taste that items show, in words (P2).

        Args:
            items: Catalogue columns.
            language: One of `languages`.
        """
        return self.verbalizers[language].taste([self._ids[item] for item in items])

    def texts(self) -> list[str]:
        """Return texts that hold every word which `generate` can write, title words left out, for a vocabulary."""
        found: list[str] = []
        for language in self.languages:
            annotator = self.verbalizers[language]
            found += [*self._bare_frames(language), *self._parts(language)]
            for own, others in self.names[language].values():
                found += [own, *others]
            for category in self.all_categories:
                entry = lexicon()["categories"].get(category.casefold(), {})
                found += entry.get(f"wishes_{language}") or lexicon()["wishes"][language]
            found += _strings(lexicon()["taste"][language])
            for part in lexicon()["context"][language].values():
                found += part
            found += [annotator.moment(hour * 3_600) for hour in range(0, 168, 3)]
            found += [self._decade(language, decade) for decade in self.decades if decade is not None]
        found += [f"{self._field} {POPULARITY} year in not and = < >= .. {literal(self.middle)}"]
        found += [f"{decade}..{decade + 9}" for decade in self.decades if decade is not None]
        return list(dict.fromkeys(found))

    def _parts(self, language: str, *names: str) -> list[str]:
        """Return parts of the grammar, bare."""
        words = self.verbalizers[language].words
        grammar = query_frames()[f"grammar_{language}"]
        return [part.format(**words, decade=" ") for name in names or grammar for part in grammar[name]]

    def protected_texts(self) -> tuple[list[str], list[str], list[str]]:
        """Return what may not be put among other words by chance: names of categories, and frames that refuse.

        The third list holds words of the second that may: by themselves they refuse nothing.
        """
        names = [
            text for names in self.names.values() for own, others in names.values() for text in (own, *others)
        ]
        refusals = [
            frame.format(**self.verbalizers[language].words, category=" ", other=" ")
            for language in self.languages
            for kind in ("refusal", "category_refusal")
            for frame in self.frames[language][kind]
        ]
        refusals += [
            part
            for language in self.languages
            for name in ("refuse", "refused")
            if name in query_frames()[f"grammar_{language}"]
            for part in self._parts(language, name)
        ]
        harmless = [text for language in self.languages for text in query_frames()["harmless"][language]]
        return names, refusals, harmless

    def function_texts(self) -> list[str]:
        """Return the frames without what stands in them: their words say how something is asked, not what."""
        return [
            text
            for language in self.languages
            for text in (*self._bare_frames(language), *self._parts(language))
        ]

    def _bare_frames(self, language: str) -> list[str]:
        slots = dict.fromkeys(("category", "other", "decade", "word", "wish", "item", "taste"), " ")
        words = self.verbalizers[language].words
        return [
            frame.format(**words, **slots) for listed in self.frames[language].values() for frame in listed
        ]

    # -- kinds: each returns a text that is true of the item, and what it means; None if it has nothing to say ----

    def _category(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        known = self.categories[item]
        if not known:
            return None
        if len(known) > 1 and draw() < 0.3:
            several = known if draw() < 0.5 else _pair(known, draw)
            text = self._wanted("category", language, draw, self.verbalizers[language].join(several))
            return Query(text, tuple([self._numbers["category", one] for one in several]))
        one = known[int(draw() * len(known))]
        text = self._wanted("category", language, draw, self._name(language, one, draw))
        return Query(text, (self._numbers["category", one],))

    def _era(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        decade = self.decades[item]
        if decade is None:
            return None
        text = self._fill("era", language, draw, decade=self._decade(language, decade))
        return Query(text, (self._numbers["decade", decade],))

    def _category_era(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        decade, one = self.decades[item], self._one(item, draw)
        if decade is None or one is None:
            return None
        words = {"decade": self._decade(language, decade), "category": self._name(language, one, draw)}
        meaning = (self._numbers["category", one], self._numbers["decade", decade])
        if draw() < GRAMMAR_SHARE:
            era = self._joined(language, draw, "era", decade=words["decade"])
            category = words["category"]
            what, after = (f"{category}", f"{era}") if language == "en" else (f"{era}{category}", "")
            return Query(self._composed(language, draw, what, after=after), meaning)
        return Query(self._fill("category_era", language, draw, **words), meaning)

    def _title(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        words = self.title_words[item]
        if not words:
            return None
        word = words[int(draw() * len(words))]
        if draw() < GRAMMAR_SHARE / 2:
            called = self._joined(language, draw, "called")
            thing = self.verbalizers[language].words["thing"]
            what = f"{thing} {called} {word}" if language == "en" else f"{called}{word}的{thing}"
            text = self._composed(language, draw, what, after=" ")
            return Query(text, (self._numbers["word", word],), True)
        return Query(self._fill("title", language, draw, word=word), (self._numbers["word", word],), True)

    def _wish(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        one = self._one(item, draw)
        if one is None:
            return None
        wish = self.verbalizers[language].wish(one, draw)
        return Query(self._wanted("wish", language, draw, wish), (self._numbers["category", one],))

    def _refusal(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        other = self._lacking(item, met, draw)
        if other is None:
            return None
        name = self._name(language, other, draw)
        if draw() < GRAMMAR_SHARE:
            text = self._composed(language, draw, name, "refuse")
        else:
            text = self._fill("refusal", language, draw, category=name)
        return Query(text, (self._numbers["not", other],))

    def _category_refusal(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        one, other = self._one(item, draw), self._lacking(item, met, draw)
        if one is None or other is None:
            return None
        words = {"category": self._name(language, one, draw), "other": self._name(language, other, draw)}
        meaning = (self._numbers["category", one], self._numbers["not", other])
        if draw() < GRAMMAR_SHARE:
            wanted = self._composed(language, draw, words["category"])
            refused = self._composed(language, draw, words["other"], "refuse")
            but = self._joined(language, draw, "but")
            return Query(
                f"{wanted}{but}{refused}" if language == "zh" else f"{wanted} {but} {refused}", meaning
            )
        return Query(self._fill("category_refusal", language, draw, **words), meaning)

    def _condition(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        one, decade = self._one(item, draw), self.decades[item]
        clauses: list[str] = []
        meaning: list[int] = []
        if one is not None and draw() < 0.9:
            clauses.append(f"{self._field} = {literal(one)}")
            meaning.append(self._numbers["category", one])
        if decade is not None and draw() < 0.7:
            clauses.append(f"year in {decade}..{decade + 9}")
            meaning.append(self._numbers["decade", decade])
        if draw() < 0.7:
            sign = ">=" if self._popularity_of[item] >= self.middle else "<"
            clauses.append(f"{POPULARITY} {sign} {literal(self.middle)}")
            meaning.append(self._numbers[sign, self.middle])
        if draw() < 0.2:
            other = self._lacking(item, met, draw)
            if other is not None:
                clauses.append(f"not {self._field} = {literal(other)}")
                meaning.append(self._numbers["not", other])
        return Query(" and ".join(clauses), tuple(meaning), True) if clauses else None

    def _popularity(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        known = self._popularity_of[item]
        if known >= WELL_KNOWN_POPULARITY:
            return Query(
                self._fill("well_known", language, draw), (self._numbers[">=", WELL_KNOWN_POPULARITY],)
            )
        if known < LITTLE_KNOWN_POPULARITY:
            return Query(
                self._fill("little_known", language, draw), (self._numbers["<", LITTLE_KNOWN_POPULARITY],)
            )
        return None

    def _null(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query:
        if draw() < GRAMMAR_SHARE:
            words = self.verbalizers[language].words
            anything = self._joined(language, draw, "anything", **words)
            return Query(self._composed(language, draw, anything, after=" "), (), True)
        return Query(self._fill("null", language, draw), (), True)

    def _taste(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        taste = self.taste(met, language)
        return (
            Query(self._fill("taste_told", language, draw, taste=taste), (), states_taste=True)
            if taste
            else None
        )

    def _taste_category(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        taste, one = self.taste(met, language), self._one(item, draw)
        if not taste or one is None:
            return None
        words = {"taste": taste, "category": self._name(language, one, draw)}
        text = self._fill("taste_category", language, draw, **words)
        return Query(text, (self._numbers["category", one],), states_taste=True)

    def _taste_wish(self, language: str, item: int, met: Sequence[int], draw: Draw) -> Query | None:
        taste, one = self.taste(met, language), self._one(item, draw)
        if not taste or one is None:
            return None
        words = {"taste": taste, "wish": self.verbalizers[language].wish(one, draw)}
        text = self._fill("taste_wish", language, draw, **words)
        return Query(text, (self._numbers["category", one],), states_taste=True)

    def _wanted(self, kind: str, language: str, draw: Draw, what: str) -> str:
        """Return a text that asks for something, put together from parts or in a frame of its kind."""
        if draw() >= GRAMMAR_SHARE:
            return self._fill(kind, language, draw, **{kind: what})
        if kind == "wish":
            return self._composed(language, draw, what, after=" ")
        return self._composed(language, draw, what)

    def _composed(self, language: str, draw: Draw, what: str, asks: str = "ask", after: str = "") -> str:
        """Return a plain request put together from parts.

        Args:
            language: One of `languages`.
            draw: Random numbers in [0, 1).
            what: What is asked for or refused.
            asks: "ask" or "refuse".
            after: What follows in place of a noun; a space for nothing, before it nor behind.
        """
        grammar = query_frames()[f"grammar_{language}"]

        def part(name: str) -> str:
            listed = grammar[name]
            return listed[int(draw() * len(listed))].format(**self.verbalizers[language].words)

        wanted = asks == "ask"
        before = part("before") if wanted and after != " " else ""
        named = (before, what, after.strip() or part("after") * (after != " "))
        said: tuple[str, ...]
        behind = "wanted" if wanted else "refused"
        if behind in grammar and draw() < CATEGORY_FIRST_SHARE:
            said = (part("opening"), *named, part(behind))
        else:
            said = (part("opening"), part(asks), *named, part("closing" if wanted else "end"))
        return ("" if language == "zh" else " ").join(one for one in said if one)

    def _joined(self, language: str, draw: Draw, name: str, **values: str) -> str:
        """Return one part of the grammar, filled."""
        listed = query_frames()[f"grammar_{language}"][name]
        return listed[int(draw() * len(listed))].format(**values)

    # -- parts of texts ----------------------------------------------------------------------------------------

    def _fill(self, kind: str, language: str, draw: Draw, **values: str) -> str:
        listed = self.frames[language][kind]
        return listed[int(draw() * len(listed))].format(**self.verbalizers[language].words, **values)

    def _name(self, language: str, category: str, draw: Draw) -> str:
        """Return a name of a category: its own, or in two of five cases another word."""
        own, others = self.names[language][category]
        return others[int(draw() * len(others))] if others and draw() < 0.4 else own

    def _one(self, item: int, draw: Draw) -> str | None:
        known = self.categories[item]
        return known[int(draw() * len(known))] if known else None

    def _lacking(self, item: int, met: Sequence[int], draw: Draw) -> str | None:
        """Return a category that an item lacks, one of what was met in three of four cases."""
        has = self.categories[item]
        if met and draw() < 0.75:
            for _ in range(4):
                one = self._one(met[int(draw() * len(met))], draw)
                if one is not None and one not in has:
                    return one
        for _ in range(8 if self.all_categories else 0):
            one = self.all_categories[int(draw() * len(self.all_categories))]
            if one not in has:
                return one
        return None

    @staticmethod
    def _decade(language: str, decade: int) -> str:
        return f"{decade}s" if language == "en" else f"{decade}年代"

    # -- what there is to say ----------------------------------------------------------------------------------

    def _all_frames(self, language: str) -> dict[str, list[str]]:
        """Return this file's frames and those of the templates for training that state nothing but the intention."""
        known = {kind: list(listed) for kind, listed in query_frames()[language].items()}
        for kind in QUESTION_KINDS:
            known[kind] = [
                text.format(**self.verbalizers[language].words, item="{item}") for text in known[kind]
            ]
        words = {name: f"{{{name}}}" for name in self.verbalizers[language].words}
        for template in load_templates(language):
            if (
                template.held_out
                or (template.task, template.style, template.answer) != (TaskForm.T2, Style.PLAIN, Answer.ITEM)
                or (template.preference, template.intention) not in _FRAMES_OF
            ):
                continue
            kind, slot = _FRAMES_OF[template.preference, template.intention]
            fields = {**words, "context": "", "intention": f"{{{slot}}}", "preference": "{taste}"}
            rendered = [template.render(fields, variant) for variant in range(len(template.variants))]
            known[kind] += TEMPLATE_FRAME_WEIGHT * rendered
        return known

    def _all_names(self, dataset: Dataset, language: str) -> dict[str, tuple[str, list[str]]]:
        """Return each category's own name in a language, and its other words."""
        names = self.verbalizers[language].category_names
        others: dict[str, list[str]] = {name: [] for name in self.all_categories}
        for word, name in synonyms({normal(name): name for name in self.all_categories}, dataset).items():
            if word.isascii() == (language == "en") and word not in (normal(name), normal(names[name])):
                others[name].append(word)
        return {name: (names[name], others[name]) for name in self.all_categories}

    def _all_meanings(self) -> tuple[np.ndarray, np.ndarray]:
        n_items = len(self.categories)
        popularity = np.array(self._popularity_of)
        sets: dict[tuple[str, object], np.ndarray] = {}
        for kind, members in (
            ("category", self.categories),
            ("decade", [() if decade is None else (decade,) for decade in self.decades]),
            ("word", self.title_words),
        ):
            for column, values in enumerate(members):
                for value in values:
                    sets.setdefault((kind, value), np.zeros(n_items, dtype=bool))[column] = True
        for name in self.all_categories:
            sets["not", name] = ~sets["category", name]
        for bound in dict.fromkeys((self.middle, WELL_KNOWN_POPULARITY, LITTLE_KNOWN_POPULARITY)):
            sets[">=", bound], sets["<", bound] = popularity >= bound, popularity < bound
        self._numbers = {key: number for number, key in enumerate(sets)}
        several = {
            "category": np.array([max(1, len(one)) for one in self.categories]),
            "word": np.array([max(1, len(one)) for one in self.title_words]),
        }
        shares = [
            np.where(members, -np.log(several.get(kind, np.ones(n_items))), LOG_ZERO)
            for (kind, _), members in sets.items()
        ]
        return np.stack(list(sets.values())), np.stack(shares).astype(np.float32)


def _strings(entry: dict[str, str | list[str]]) -> list[str]:
    """Return the texts of a part of the lexicon, names in brackets taken out."""
    texts = [text for value in entry.values() for text in ([value] if isinstance(value, str) else value)]
    return [re.sub(r"{.*?}", " ", text) for text in texts]


def _popularity(dataset: Dataset) -> list[float]:
    if POPULARITY in dataset.items.columns:
        return [float(value) for value in dataset.items[POPULARITY]]
    counted = dataset.popularity
    return [counted[item] for item in dataset.items["item_id"].tolist()]


def _pair(known: Sequence[str], draw: Draw) -> list[str]:
    first = int(draw() * len(known))
    second = (first + 1 + int(draw() * (len(known) - 1))) % len(known)
    return [known[first], known[second]]
