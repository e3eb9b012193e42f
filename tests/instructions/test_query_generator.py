"""Queries of `QueryGenerator`: true of their item, of the kinds and languages that are set."""

from __future__ import annotations

import random

import numpy as np
import pytest

from instructrec.errors import InputError
from instructrec.instructions.query_frames import CATEGORY_FIRST_SHARE, QUESTION_KINDS, query_frames
from instructrec.instructions.query_generator import KIND_SHARES, LANGUAGES, QueryGenerator, title_words
from instructrec.models.mini.features import training_words
from instructrec.models.mini.vocabulary import tokenise
from tests.models.mini import conftest
from tests.models.mini.conftest import GENRES

films = conftest.films


@pytest.mark.parametrize("kind", KIND_SHARES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_kind_of_query_is_true_of_its_item(films, kind, language):
    generator = QueryGenerator(films, [language], [kind])
    draw = random.Random(0).random
    results = [
        (item, generator.generate(item, [1, 2, 30], draw)) for item in range(films.n_items) for _ in range(10)
    ]
    queries = [(item, query) for item, query in results if query is not None]
    assert queries
    for item, query in queries:
        assert query.text
        assert all(generator.meanings[number, item] for number in query.meaning)
        assert bool(query.meaning) == (kind not in ("null", "taste"))
        assert query.states_taste == kind.startswith("taste")


def test_an_item_of_several_categories_makes_each_of_them_less_likely(films):
    generator = QueryGenerator(films)
    assert generator.log_shares.shape == generator.meanings.shape
    assert ((generator.log_shares > -10) == generator.meanings).all()
    for name in GENRES:
        row = generator.log_shares[generator._numbers["category", name]]
        for column in np.flatnonzero(row > -10):
            assert np.exp(row[column]) == pytest.approx(1 / len(generator.categories[column]))


def test_a_query_means_what_its_words_say(films):
    generator = QueryGenerator(films, ["en"], ["category and refusal"], context_share=0)
    draw = random.Random(1).random
    for _ in range(200):
        query = generator.generate(int(draw() * films.n_items), [], draw)
        names = [
            name
            for name in GENRES
            if {name.lower(), *generator.names["en"][name][1]} & set(tokenise(query.text))
        ]
        assert len(query.meaning) == 2
        meets = generator.meanings[list(query.meaning)].all(axis=0)
        for column in np.flatnonzero(meets):
            assert set(generator.categories[column]) & set(names or GENRES)


def test_the_vocabulary_holds_every_word_of_the_queries(films):
    generator = QueryGenerator(films)
    words = set(training_words(films, LANGUAGES))
    draw = random.Random(2).random
    for _ in range(3000):
        query = generator.generate(int(draw() * films.n_items), [3, 17], draw)
        assert set(tokenise(query.text)) <= words, query.text


def test_title_words_are_rare_and_long():
    words = title_words(["The Big Heat", "Heat", "Up", "The Big Sleep"], max_titles=1)
    assert words == [(), (), (), ("sleep",)]
    assert title_words(["Big Heat (1953)"]) == [("big", "heat")]


def test_some_queries_begin_with_the_category(films):
    generator, draw = QueryGenerator(films), random.Random(0).random
    grammar, words = query_frames()["grammar_en"], generator.verbalizers["en"].words
    assert not set(grammar["wanted"]) & {*grammar["refused"], *grammar["refuse"]}
    for asks, name in (("ask", "wanted"), ("refuse", "refused")):
        ends = tuple(part.format(**words) for part in grammar[name])
        assert len(ends) == len(set(ends)) > 40
        texts = [generator.frames["en"].compose("horror", draw, refuse=asks == "refuse") for _ in range(2000)]
        behind = sum(text.endswith(ends) for text in texts) / len(texts)
        assert (
            CATEGORY_FIRST_SHARE * 0.8 < behind < CATEGORY_FIRST_SHARE + 0.35
        )  # some of these end other texts too


def test_frames_are_the_same_kinds_in_both_languages():
    english, chinese = (query_frames()[language] for language in LANGUAGES)
    assert list(english) == list(chinese)
    assert set(QUESTION_KINDS) <= set(english)
    for texts in (*english.values(), *chinese.values()):
        assert len(texts) == len(set(texts)) >= 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"languages": ["fr"]}, "unknown language 'fr'"),
        ({"kinds": ["genre"]}, "unknown kind of query 'genre'"),
    ],
)
def test_unknown_languages_and_kinds_are_refused(films, arguments, message):
    with pytest.raises(InputError, match=message):
        QueryGenerator(films, **arguments)
