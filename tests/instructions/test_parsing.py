"""Instructions as conditions and as simple words: what they mean, and that any text is answered in one line."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from instructrec.datasets.dataset import Dataset
from instructrec.datasets.storage import catalogue_from_json, catalogue_to_json
from instructrec.errors import InputError
from instructrec.instructions import Constraint, parse
from instructrec.instructions.category_words import category_names, synonyms
from instructrec.instructions.parsing.fields import fields_of
from instructrec.instructions.parsing.grammar import looks_parametric, parse_parametric

ITEMS = pd.DataFrame(
    {
        "item_id": [1, 2, 3, 4, 5, 6],
        "title": [
            "Nosferatu",
            "Laugh Track",
            'The "Quoted" \\ One',
            "Star Crossing",
            "Quiet Field",
            "Undated",
        ],
        "genres": [("Horror",), ("Comedy",), ("Comedy", "Sci-Fi"), ("Sci-Fi", "War"), ("Drama",), None],
        "year": [1922.0, 1985.0, 1984.0, 1994.0, 1997.0, np.nan],
        "price": [20.0, 55.5, 99.0, 150.0, 300.0, np.nan],
        "brand": ["Acme", "acme", "Zeta", None, "Zeta", "Yan's"],
    }
)
EVENTS = pd.DataFrame(
    {
        "user_id": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3],
        "item_id": [1, 2, 3, 2, 3, 4, 2, 3, 4, 5],
        "rating": 4.0,
        "timestamp": np.arange(10, dtype=np.int64) * 100_000,
    }
)
FILMS = Dataset("tiny", pd.DataFrame({"user_id": [1, 2, 3]}), ITEMS, EVENTS, category_field="genres")


def matching_ids(text: str, dataset: Dataset = FILMS) -> list[int]:
    return dataset.items.loc[parse(text, dataset).mask(dataset.items), "item_id"].tolist()


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("year > 1990", [4, 5]),
        ("YEAR<=1985", [1, 2, 3]),
        ("1984 <= year < 1994", [2, 3]),
        ("1990 > year", [1, 2, 3]),
        ("year in 1984..1985", [2, 3]),
        ("year between 1984 and 1985 and price < 60", [2]),
        ("year in (1922, 1997)", [1, 5]),
        ("year in 1e-3..1.93e3", [1]),
        ("genre = comedy", [2, 3]),
        ("genre = 科幻", [3, 4]),
        ('category in ("science fiction", War)', [3, 4]),
        ("类型 = 喜剧 且 年份 >= 1985", [2]),
        ("genre = Comedy or genre = Sci-Fi and year > 1990", [2, 3, 4]),
        ("(genre = Comedy or genre = Sci-Fi) and year > 1990", [4]),
        ("not not genre = Horror", [1]),
        ("genre not in (Comedy, Sci-Fi)", [1, 5]),
        ("brand = ACME", [1, 2]),
        ("brand != Zeta", [1, 2, 6]),
        ("brand = Yan's", [6]),
        ('title = "the \\"quoted\\" \\\\ one"', [3]),
        ("price ≥ 99 && ! year ＝ 1997", [3, 4]),
        ("年份＞1990且类型＝科幻", [4]),
        ("类型 in （喜剧、科幻）或非价格<100", [2, 3, 4, 5]),
        ("ｙｅａｒ ＞ １９９０", [4, 5]),
        ("title = “Laugh Track” or title = ‘Undated’", [2, 6]),
        ("brand = Yan’s", [6]),
        ("`year` in 1990..1999", [4, 5]),
        ("popularity > 0.5", [2, 3, 4]),
        ("popularity = 1", []),
    ],
)
def test_conditions_choose_the_items_they_say(text: str, items: list[int]) -> None:
    assert matching_ids(text) == items


def test_a_missing_value_satisfies_neither_a_comparison_nor_its_negation() -> None:
    for text in ("year > 1900", "year != 1922", "genre != Horror", "year in (1922, 1984)"):
        assert 6 not in matching_ids(text)
        assert 6 not in matching_ids(f"not ({text})")
    assert 6 in matching_ids('year > 1900 or brand = "Yan\'s"')
    assert 6 not in matching_ids('not (year > 1900 and brand = "Yan\'s")')


def test_an_item_of_no_category_is_known_to_be_in_none() -> None:
    bare = Dataset("bare", FILMS.users, ITEMS.assign(genres=[("Horror",), *[()] * 5]), EVENTS, "genres")
    assert matching_ids("not genre = Horror", bare) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "column", "excerpt"),
    [
        ("yeer > 3", 1, "did you mean year"),
        ("year > 1990 and gnre = War", 17, "unknown field 'gnre'"),
        ("genre = Horor", 9, "did you mean Horror"),
        ("genre in (War, Jazz)", 16, "unknown genre 'Jazz': accepted: Comedy, Drama"),
        ('year > "x"', 8, "year is a number"),
        ("year > 1e999", 8, "year is a number"),
        ("genre > War", 7, "use = != or in"),
        ("genre in 1..2", 1, "holds names"),
        ("year in 5..1", 9, "empty"),
        ("(year > 1", 1, "never closed"),
        ("year > 1)", 9, "no '(' opens"),
        ("(" * 60 + "year > 1" + ")" * 60, 51, "nested"),
        ("year >", 7, "ends too early"),
        ("year > 1 year", 10, "accepted here: and, or, the end"),
        ("year > 1 or or", 13, "unexpected 'or'"),
        ("= 3", 1, "unexpected '='"),
        ("genre = 'x", 9, "never closed"),
        ("类型 ＝ “恐怖", 6, "never closed"),
        ("`year > 3", 1, "a quoted name that is never closed"),
        ("`release date` > 3", 1, "unknown field 'release date'"),
        ("年份 ＞ 1990 且 类形 = 喜剧", 13, "unknown field '类形'"),
        ("year > 1 @", 10, "unexpected '@'"),
        ("__import__('os').system('x') = 1", 11, "unexpected"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_column(text: str, column: int, excerpt: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, FILMS)
    message = str(caught.value)
    assert f", column {column}: " in message
    assert excerpt in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="empty"):
        parse(text, FILMS)
    with pytest.raises(InputError, match="empty"):
        parse_parametric(text, FILMS)


def test_a_very_long_condition_is_refused() -> None:
    with pytest.raises(InputError, match="at most 4000"):
        parse("year > 1 or " * 1000 + "year > 1", FILMS)
    assert len(matching_ids("year > 1 or " * 300 + "year > 1")) == 5
    assert len(matching_ids("not " * 900 + "year > 1")) == 5


def test_popularity_is_the_share_of_other_items_with_fewer_events() -> None:
    assert FILMS.popularity == {1: 0.2, 2: 0.8, 3: 0.8, 4: 0.6, 5: 0.2, 6: 0.0}


def test_popularity_needs_a_column_or_interactions() -> None:
    silent = FILMS.with_interactions(EVENTS.iloc[:0])
    assert matching_ids("genre = Comedy and not year > 1984", silent) == [3]
    with pytest.raises(InputError, match="popularity is unknown"):
        parse("popularity > 0.5", silent)
    assert parse("popular comedy", silent).describe()["ignored"] == "popular"
    own = Dataset(
        "own", FILMS.users, ITEMS.assign(popularity=[0.9, 0, 0, 0, 0, 0]), EVENTS.iloc[:0], "genres"
    )
    assert matching_ids("popularity > 0.5", own) == [1]


def test_a_saved_catalogue_keeps_the_popularity_that_its_interactions_told() -> None:
    saved = catalogue_from_json(catalogue_to_json(FILMS))
    assert matching_ids("popularity > 0.5", saved) == matching_ids("popularity > 0.5", FILMS) == [2, 3, 4]


def test_a_constraint_tells_what_it_demands() -> None:
    described = parse(
        "genre in (War, Comedy) and not year > 1990 and (price < 60 or price > 200)", FILMS
    ).describe()
    assert json.loads(json.dumps(described)) == {
        "conditions": [
            {"field": "genres", "op": "in", "value": ["War", "Comedy"]},
            {"not": {"field": "year", "op": ">", "value": 1990}},
            {
                "any": [
                    {"field": "price", "op": "<", "value": 60},
                    {"field": "price", "op": ">", "value": 200},
                ]
            },
        ],
        "text": 'genres in ("War", "Comedy") and not year > 1990 and (price < 60 or price > 200)',
        "ignored": "",
    }


def test_two_constraints_join() -> None:
    joined = parse("popularity > 0.5", FILMS) & parse("no war", FILMS)
    assert ITEMS.loc[joined.mask(ITEMS), "item_id"].tolist() == [2, 3]
    assert str(joined) == 'popularity > 0.5 and not genres = "War"'
    assert (Constraint() & Constraint()).mask(ITEMS).all()


def test_a_mask_over_other_columns_is_refused() -> None:
    with pytest.raises(InputError, match="needs the column 'year'"):
        parse("year > 1990", FILMS).mask(ITEMS[["item_id", "title"]])


# -- simple words --------------------------------------------------------------------------------------------------


REQUESTS = tomllib.loads(Path(__file__).with_name("requests.toml").read_text("utf-8"))


@pytest.mark.parametrize(("text", "conditions"), REQUESTS["tiny"].items())
def test_requests_for_the_tiny_catalogue(text: str, conditions: str) -> None:
    check_request(text, conditions, FILMS)


@pytest.mark.parametrize(("text", "conditions"), (REQUESTS["films"]["en"] | REQUESTS["films"]["zh"]).items())
def test_requests_for_films(films: Dataset, text: str, conditions: str) -> None:
    check_request(text, conditions, films)


@pytest.mark.parametrize(("text", "conditions"), (REQUESTS["goods"]["en"] | REQUESTS["goods"]["zh"]).items())
def test_requests_for_goods(goods: Dataset, text: str, conditions: str) -> None:
    check_request(text, conditions, goods)


def check_request(text: str, conditions: str, dataset: Dataset) -> None:
    constraint = parse(text, dataset)
    assert str(constraint) == conditions
    assert parse(conditions, dataset) == Constraint(constraint.expression)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (
            'popularity > 0.5 and genre != "Horror"',
            lambda row: row.popularity > 0.5 and "Horror" not in row.genres,
        ),
        (
            "genre in (War, Western) and year < 1960",
            lambda row: {"War", "Western"} & {*row.genres} and row.year < 1960,
        ),
        (
            "not (genre = Drama or year in 1990..1999)",
            lambda row: "Drama" not in row.genres and not 1990 <= row.year <= 1999,
        ),
        ("1960 <= year < 1970", lambda row: 1960 <= row.year < 1970),
        ("year not between 1930 and 1997", lambda row: not 1930 <= row.year <= 1997),
        (
            "类型=科幻且年份>1990或非 年份>=1940",
            lambda row: "Sci-Fi" in row.genres and row.year > 1990 or row.year < 1940,
        ),
    ],
)
def test_conditions_on_films_agree_with_a_loop_over_the_rows(
    films: Dataset, text: str, holds: Callable[[Any], bool]
) -> None:
    dated = films.items.dropna(subset="year")
    dated = dated.assign(popularity=dated["item_id"].map(films.popularity))
    expected = [bool(holds(row)) for row in dated.itertuples()]
    assert 0 < sum(expected) < len(dated)
    assert parse(text, films).mask(dated).tolist() == expected


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (
            'popularity > 0.5 and price < 100 and category != "Books"',
            lambda row: row.popularity > 0.5 and row.price < 100 and "Books" not in row.categories,
        ),
        (
            "100 <= price < 200 or rating_mean >= 4.5",
            lambda row: 100 <= row.price < 200 or row.rating_mean >= 4.5,
        ),
        (
            "价格 in 50..100 且 类别 in （玩具，图书）",
            lambda row: 50 <= row.price <= 100 and {"Toys", "Books"} & {*row.categories},
        ),
        ("not sales > 20 and not price > 50", lambda row: row.sales <= 20 and row.price <= 50),
        ("brand in (Nuanjia, 'shanye')", lambda row: row.brand in ("Nuanjia", "Shanye")),
    ],
)
def test_conditions_on_goods_agree_with_a_loop_over_the_rows(
    goods: Dataset, text: str, holds: Callable[[Any], bool]
) -> None:
    expected = [bool(holds(row)) for row in goods.items.itertuples()]
    assert 0 < sum(expected) < len(expected)
    assert parse(text, goods).mask(goods.items).tolist() == expected


# {a} and {b} are two categories as each language names them, {A} and {B} the conditions that they stand for.
PATTERNS = {
    "en": [
        ("{a}", "{A}"),
        ("no {a}", "not {A}"),
        ("anything but {a}", "not {A}"),
        ("{a}, no {b}", "{A} and not {B}"),
        ("{a} but no {b}", "{A} and not {B}"),
        ("{a} without {b}", "{A} and not {B}"),
        ("neither {a} nor {b}", "not {A} and not {B}"),
        ("no {a} or {b}", "not {A} and not {B}"),
    ],
    "zh": [
        ("{a}", "{A}"),
        ("{a}类", "{A}"),
        ("不要{a}", "not {A}"),
        ("{a}不要", "not {A}"),
        ("除了{a}都行", "not {A}"),
        ("除{a}外", "not {A}"),
        ("{a}，不要{b}", "{A} and not {B}"),
        ("{a}类，不要{b}类", "{A} and not {B}"),
        ("不要{a}和{b}", "not {A} and not {B}"),
        ("既不要{a}也不要{b}", "not {A} and not {B}"),
    ],
}
FILM_PATTERNS = {
    "en": [
        ("{a}, from the 1980s", "{A} and year in 1980..1989"),
        ("{a}, from the 1990s, no {b}", "{A} and not {B} and year in 1990..1999"),
        ("{a}, after 1990", "{A} and year > 1990"),
        ("{a}, before 1970", "{A} and year < 1970"),
        ("{a} from 1990 to 1995", "{A} and year in 1990..1995"),
        ("an old {a}", "{A} and year <= 1992"),
        ("popular {a}, no {b}", "{A} and not {B} and popularity >= 0.75"),
    ],
    "zh": [
        ("{a}片", "{A}"),
        ("{a}电影", "{A}"),
        ("90年代的{a}，不要{b}", "{A} and not {B} and year in 1990..1999"),
        ("{a}片，1980年代，不要{b}片", "{A} and not {B} and year in 1980..1989"),
        ("1990年以后的{a}", "{A} and year > 1990"),
        ("1970年以前的{a}", "{A} and year < 1970"),
        ("1990到1995年的{a}", "{A} and year in 1990..1995"),
        ("老{a}", "{A} and year <= 1992"),
        ("热门的{a}，不要{b}", "{A} and not {B} and popularity >= 0.75"),
    ],
}
GOODS_PATTERNS = {
    "en": [
        ("{a}, under 100 yuan", "{A} and price < 100"),
        ("{a} over 100 yuan, no {b}", "{A} and not {B} and price > 100"),
        ("{a} from 50 to 100 yuan", "{A} and price in 50..100"),
        ("cheap {a}", "{A} and price <= 69"),
        ("{a}, popular, no {b}", "{A} and not {B} and popularity >= 0.75"),
    ],
    "zh": [
        ("100元以下的{a}", "{A} and price <= 100"),
        ("{a}类，100元以上，不要{b}", "{A} and not {B} and price >= 100"),
        ("价格在50到100之间的{a}", "{A} and price in 50..100"),
        ("便宜的{a}", "{A} and price <= 69"),
        ("热门的{a}，不要{b}", "{A} and not {B} and popularity >= 0.75"),
    ],
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("lower", [False, True])
def test_every_category_is_understood_in_what_a_generator_would_say_of_it(
    films: Dataset, goods: Dataset, language: str, lower: bool
) -> None:
    for dataset, patterns in ((films, FILM_PATTERNS), (goods, GOODS_PATTERNS)):
        names = sorted({name for row in dataset.items[dataset.category_field] for name in row} - {"unknown"})
        words = category_names(names, language, dataset)
        for number, name in enumerate(names):
            previous = names[number - 1]
            a, b = (words[word].lower() if lower else words[word] for word in (name, previous))
            conditions = [f'{dataset.category_field} = "{word}"' for word in (name, previous)]
            for request, meaning in [*PATTERNS[language], *patterns[language]]:
                constraint = parse(request.format(a=a, b=b), dataset)
                assert str(constraint) == meaning.format(A=conditions[0], B=conditions[1]), request
                assert not constraint.ignored, request


def test_every_word_for_a_category_can_be_refused(films: Dataset, goods: Dataset) -> None:
    for dataset in (films, goods):
        names = fields_of(dataset.items, dataset.category_field)[dataset.category_field].values
        for word, name in synonyms(names, dataset).items():
            if name == "unknown":
                continue
            for request in (
                ("no {}", "please no {} for me") if word.isascii() else ("不要{}", "{}就算了", "别推荐{}片")
            ):
                constraint = parse(request.format(word), dataset)
                assert str(constraint) == f'not {dataset.category_field} = "{name}"', request.format(word)


@pytest.mark.parametrize(
    "text", ["recommend something similar to my history", "随便看看", "🎬", "Star Wars again"]
)
def test_words_that_say_nothing_let_every_item_pass(text: str) -> None:
    constraint = parse(text, FILMS)
    assert not constraint
    assert constraint.mask(ITEMS).all()
    assert constraint.describe() == {"conditions": [], "text": "", "ignored": text}


def test_what_is_not_understood_is_reported() -> None:
    assert parse("a comedy with dinosaurs please", FILMS).describe()["ignored"] == "dinosaurs"


def test_words_are_read_without_loading_the_grammar_or_templates() -> None:
    code = (
        "import sys, pandas as pd\n"
        "from instructrec.instructions import parse\n"
        "from instructrec.datasets.dataset import Dataset\n"
        "none = pd.DataFrame({'user_id': [], 'item_id': [], 'rating': [], 'timestamp': []})\n"
        "items = pd.DataFrame({'item_id': [1], 'title': ['x'], 'genres': [('War',)]})\n"
        "assert str(parse('no war', Dataset('t', none[['user_id']], items, none, 'genres')))\n"
        "assert not {'lark', 'jinja2', 'tensorflow', 'pandera', 'sklearn'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


def test_a_long_word_is_read_in_a_time_that_grows_with_its_length() -> None:
    """Where a name is looked for from each letter of a word, 200,000 letters take minutes."""
    dataset = Dataset("goods", pd.DataFrame(), ITEMS, pd.DataFrame())
    assert not looks_parametric("a" * 200_000, dataset)
    assert not looks_parametric("a-" * 100_000, dataset)
    assert looks_parametric("not year in 1990..1999", dataset)


def test_a_number_too_large_for_a_float_still_makes_json() -> None:
    dataset = Dataset("goods", pd.DataFrame(), ITEMS, pd.DataFrame())
    understood = parse(f"under {'9' * 400} yuan", dataset)
    assert understood
    assert json.dumps(understood.describe(), allow_nan=False)
