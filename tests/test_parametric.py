"""Instructions as conditions and as simple words: what they mean, and that any text is answered in one line."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.datasets.dataset import Dataset
from instructrec.datasets.storage import catalogue_from_json, catalogue_to_json
from instructrec.errors import InputError
from instructrec.instructions import Constraint, parse
from instructrec.instructions.constraint import (
    CATEGORIES,
    NUMBER,
    TEXT,
    All,
    Between,
    Compare,
    Node,
    Not,
    OneOf,
    Some,
    conjunction,
    constrain,
    disjunction,
    negation,
    popularity_of,
)
from instructrec.instructions.parametric import looks_parametric, parse_parametric

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
GENRES = ("Horror", "Comedy", "Sci-Fi", "War", "Drama")


def met(text: str, dataset: Dataset = FILMS) -> list[int]:
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
        ("popularity > 0.5", [2, 3, 4]),
        ("popularity = 1", []),
    ],
)
def test_conditions_choose_the_items_they_say(text: str, items: list[int]) -> None:
    assert met(text) == items


def test_a_missing_value_satisfies_neither_a_comparison_nor_its_negation() -> None:
    for text in ("year > 1900", "year != 1922", "genre != Horror", "year in (1922, 1984)"):
        assert 6 not in met(text)
        assert 6 not in met(f"not ({text})")
    assert 6 in met('year > 1900 or brand = "Yan\'s"')
    assert 6 not in met('not (year > 1900 and brand = "Yan\'s")')


def test_an_item_of_no_category_is_known_to_be_in_none() -> None:
    bare = Dataset("bare", FILMS.users, ITEMS.assign(genres=[("Horror",), *[()] * 5]), EVENTS, "genres")
    assert met("not genre = Horror", bare) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "column", "says"),
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
        ("year > 1 @", 10, "unexpected '@'"),
        ("__import__('os').system('x') = 1", 11, "unexpected"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_column(text: str, column: int, says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, FILMS)
    message = str(caught.value)
    assert f", column {column}: " in message
    assert says in message
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
    assert len(met("year > 1 or " * 300 + "year > 1")) == 5
    assert len(met("not " * 900 + "year > 1")) == 5


def test_popularity_is_the_share_of_other_items_with_fewer_events() -> None:
    assert popularity_of(FILMS) == {1: 0.2, 2: 0.8, 3: 0.8, 4: 0.6, 5: 0.2, 6: 0.0}


def test_popularity_needs_a_column_or_interactions() -> None:
    silent = FILMS.with_interactions(EVENTS.iloc[:0])
    assert met("genre = Comedy and not year > 1984", silent) == [3]
    with pytest.raises(InputError, match="popularity is unknown"):
        parse("popularity > 0.5", silent)
    assert parse("popular comedy", silent).describe()["ignored"] == "popular"
    own = Dataset(
        "own", FILMS.users, ITEMS.assign(popularity=[0.9, 0, 0, 0, 0, 0]), EVENTS.iloc[:0], "genres"
    )
    assert met("popularity > 0.5", own) == [1]


def test_a_saved_catalogue_keeps_the_popularity_that_its_interactions_told() -> None:
    saved = catalogue_from_json(catalogue_to_json(FILMS))
    assert met("popularity > 0.5", saved) == met("popularity > 0.5", FILMS) == [2, 3, 4]


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
    both = parse("popularity > 0.5", FILMS) & parse("no war", FILMS)
    assert ITEMS.loc[both.mask(ITEMS), "item_id"].tolist() == [2, 3]
    assert str(both) == 'popularity > 0.5 and not genres = "War"'
    assert (Constraint() & Constraint()).mask(ITEMS).all()


def test_a_mask_over_other_columns_is_refused() -> None:
    with pytest.raises(InputError, match="needs the column 'year'"):
        parse("year > 1990", FILMS).mask(ITEMS[["item_id", "title"]])


# -- simple words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("no horror, after 1990, popular", 'not genres = "Horror" and year > 1990 and popularity >= 0.75'),
        ("funny sci-fi from the 80s", 'genres = "Comedy" and genres = "Sci-Fi" and year in 1980..1989'),
        ("便宜的科幻片", 'genres = "Sci-Fi" and price <= 55.5'),
        ("不要恐怖片", 'not genres = "Horror"'),
        (
            "不要恐怖片和战争片，要热门的",
            'not genres = "Horror" and not genres = "War" and popularity >= 0.75',
        ),
        ("除了恐怖片都行", 'not genres = "Horror"'),
        ("特别好看的喜剧", 'genres = "Comedy"'),
        ("九十年代的剧情片", 'genres = "Drama" and year in 1990..1999'),
        ("上世纪80年代以前的战争片", 'genres = "War" and year < 1980'),
        ("1990年以后的科幻片", 'genres = "Sci-Fi" and year > 1990'),
        ("comedy or drama", 'genres in ("Comedy", "Drama")'),
        ("comedies and dramas", 'genres in ("Comedy", "Drama")'),
        ("comedy and sci-fi", 'genres = "Comedy" and genres = "Sci-Fi"'),
        (
            "I don't want horror or war but comedy",
            'genres = "Comedy" and not genres = "Horror" and not genres = "War"',
        ),
        ("I love comedies but hate horror", 'genres = "Comedy" and not genres = "Horror"'),
        ("anything but horror", 'not genres = "Horror"'),
        ("not too popular", "not popularity >= 0.75"),
        ("obscure dramas", 'genres = "Drama" and popularity <= 0.25'),
        ("between 1980 and 1990", "year in 1980..1990"),
        ("since 1990", "year >= 1990"),
        ("before the eighties", "year < 1980"),
        ("under 100 yuan", "price < 100"),
        ("at most $60", "price <= 60"),
        ("一百五十元以内的喜剧", 'genres = "Comedy" and price <= 150'),
        ("50到100元", "price in 50..100"),
        ("about 100 yuan", "price in 80..120"),
        ("the 1970s or 1980s", "year in 1970..1979 or year in 1980..1989"),
        ("1970s-1990s war", 'genres = "War" and year in 1970..1999'),
        ("neither horror nor war", 'not genres = "Horror" and not genres = "War"'),
        ("不恐怖的喜剧", 'genres = "Comedy" and not genres = "Horror"'),
        ("没有暴力的喜剧", 'genres = "Comedy"'),
        ("我想看恐怖片，不要老的", 'genres = "Horror" and not year <= 1984'),
        ("a comedy like Alien (1979)", 'genres = "Comedy"'),
    ],
)
def test_simple_words_are_understood(text: str, canonical: str) -> None:
    constraint = parse(text, FILMS)
    assert str(constraint) == canonical
    assert parse(str(constraint), FILMS) == Constraint(constraint.expression)


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


# -- properties ----------------------------------------------------------------------------------------------------


def numbers() -> st.SearchStrategy[float]:
    return st.one_of(
        st.sampled_from([1922.0, 1984.0, 55.5, 0.5]),
        st.floats(-1e9, 1e9),
        st.floats(allow_nan=False, allow_infinity=False),
    )


def leaves() -> st.SearchStrategy[Node]:
    column = st.sampled_from(["year", "price", "popularity"])
    sign = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
    names = {"genres": GENRES, "brand": ("Acme", "Zeta", "Yan's"), "title": tuple(ITEMS["title"])}
    named = [
        st.one_of(
            st.builds(
                Compare, st.just(name), st.just(kind), st.sampled_from(["=", "!="]), st.sampled_from(values)
            ),
            st.lists(st.sampled_from(values), min_size=1, unique=True).map(
                lambda chosen, name=name, kind=kind: OneOf(name, kind, tuple(chosen))
            ),
        )
        for (name, values), kind in zip(names.items(), (CATEGORIES, TEXT, TEXT), strict=True)
    ]
    return st.one_of(
        st.builds(Compare, column, st.just(NUMBER), sign, numbers()),
        st.builds(
            lambda name, values: OneOf(name, NUMBER, tuple(values)),
            column,
            st.lists(numbers(), min_size=1, max_size=3, unique=True),
        ),
        st.builds(lambda name, ends: Between(name, *sorted(ends)), column, st.tuples(numbers(), numbers())),
        *named,
    )


def expressions() -> st.SearchStrategy[Node]:
    return st.recursive(
        leaves(),
        lambda inner: st.one_of(
            inner.map(negation),
            st.lists(inner, min_size=2, max_size=3).map(conjunction),
            st.lists(inner, min_size=2, max_size=3).map(disjunction),
        ),
        max_leaves=8,
    )


def truth(node: Node, row: dict, popularity: dict) -> bool | None:
    """Kleene's logic, a row at a time: the reference that the masks must agree with."""
    if isinstance(node, Not):
        inner = truth(node.part, row, popularity)
        return None if inner is None else not inner
    if isinstance(node, All | Some):
        truths = [truth(part, row, popularity) for part in node.parts]
        decisive = isinstance(node, Some)
        return decisive if decisive in truths else None if None in truths else not decisive
    value = popularity[row["item_id"]] if node.column == "popularity" else row[node.column]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(node, Between):
        return node.low <= value <= node.high
    if isinstance(node, Compare) and node.kind == NUMBER and node.op not in ("=", "!="):
        return {
            "<": value < node.value,
            "<=": value <= node.value,
            ">": value > node.value,
            ">=": value >= node.value,
        }[node.op]
    wanted = node.values if isinstance(node, OneOf) else (node.value,)
    if node.kind != NUMBER:
        wanted = {str(one).lower() for one in wanted}
        value = {one.lower() for one in (value if node.kind == CATEGORIES else [value])}
    found = bool(wanted & value) if node.kind != NUMBER else value in wanted
    return not found if isinstance(node, Compare) and node.op == "!=" else found


@settings(max_examples=120, deadline=None)
@given(expressions())
def test_text_and_conditions_are_one(expression: Node) -> None:
    constraint = constrain(expression, FILMS)
    mask = constraint.mask(ITEMS)
    popularity = popularity_of(FILMS)
    expected = [truth(expression, row, popularity) is True for row in ITEMS.to_dict("records")]
    assert mask.dtype == bool
    assert mask.tolist() == expected
    text = str(constraint)
    if len(text) <= 4000:
        again = parse(text, FILMS)
        assert str(again) == text
        assert (again.mask(ITEMS) == mask).all()
    json.dumps(constraint.describe(), allow_nan=False)


PIECES = [
    "year",
    "genre",
    "title",
    "(",
    ")",
    "and",
    "or",
    "not",
    "in",
    "between",
    "..",
    ",",
    "<",
    ">=",
    "=",
    "!=",
    "1990",
]
PIECES += [
    '"x"',
    "'",
    '"',
    "Horror",
    "科幻",
    "popular",
    "no",
    "不要",
    "from",
    "80s",
    "元",
    "100",
    "便宜",
    "$",
    "，",
    "-",
]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join)))
def test_any_text_is_understood_or_refused_in_one_line(text: str) -> None:
    try:
        constraint = parse(text, FILMS)
    except InputError as refusal:
        constraint, message = Constraint(), str(refusal)
    else:
        message = ""
    assert "\n" not in message
    assert constraint.mask(ITEMS).shape == (len(ITEMS),)
    json.dumps(constraint.describe(), allow_nan=False)
    if constraint:
        assert (parse(str(constraint), FILMS).mask(ITEMS) == constraint.mask(ITEMS)).all()


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
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


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
