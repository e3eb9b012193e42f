"""What holds of every instruction, condition, wish and template, tried on examples that nobody thought of.

`make prove` tries 10,000 examples of each property, the usual run 100; the profiles are in conftest.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions import Context, Instruction, Intention, Preference, TaskForm, parse
from instructrec.instructions.category_words import synonyms
from instructrec.instructions.parsing.constraint import (
    And,
    Between,
    Compare,
    In,
    Node,
    Not,
    Or,
    column_name,
    conjunction,
    constrain,
    disjunction,
    literal,
    negation,
)
from instructrec.instructions.parsing.fields import CATEGORIES, NUMBER, TEXT, fields_of
from instructrec.instructions.parsing.grammar import parse_parametric
from instructrec.instructions.schema import Answer, Style
from instructrec.instructions.templates import TEMPLATES_FILE, Template, _environment, load_templates
from tests.instructions.test_parsing import EVENTS, FILMS, ITEMS, REQUESTS

Result = TypeVar("Result")


def attempt(call: Callable[[], Result]) -> Result | str:
    """Return what a call returns, or the one line in which it refuses; any other exception is a failure."""
    try:
        return call()
    except InputError as refusal:
        message = str(refusal)
    assert len(message.splitlines()) == 1
    return message


# -- the schema ----------------------------------------------------------------------------------------------------

ids = st.one_of(st.integers(), st.text(max_size=8))
words = st.text(max_size=12)
sources = st.sampled_from([None, "oracle", "history"])
contexts = st.builds(Context, *[st.none() | words] * 4)


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    answer = draw(st.sampled_from(Answer))
    in_words = answer not in (Answer.ITEM, Answer.REASONED_ITEM)
    return Instruction(
        text=draw(words),
        response=draw(words),
        task=draw(st.sampled_from(TaskForm)),
        preference=draw(st.sampled_from(Preference)),
        intention=draw(st.sampled_from(Intention)),
        language=draw(st.sampled_from(["en", "zh"])),
        user_id=draw(ids),
        target=draw(st.none() | ids if in_words else ids),
        history=tuple(draw(st.lists(ids, max_size=3))),
        candidates=tuple(draw(st.lists(ids, max_size=3))),
        template=draw(words),
        intention_source=draw(sources),
        context=draw(contexts),
        held_out=draw(st.booleans()),
        dataset=draw(words),
        style=draw(st.sampled_from(Style)),
        answer=answer,
        preference_source=draw(sources),
        preference_text=draw(words),
        intention_text=draw(words),
        annotator=draw(words),
        cut=draw(st.integers(0, 10**6)),
    )


@given(instructions())
def test_every_instruction_comes_back_from_json(instruction: Instruction) -> None:
    again = Instruction.from_dict(json.loads(json.dumps(instruction.as_dict())))
    assert again == instruction
    assert again.sources == instruction.sources
    assert [type(value) for value in (again.task, again.style, again.answer)] == [TaskForm, Style, Answer]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
ENUMS = {"task": TaskForm, "preference": Preference, "intention": Intention, "style": Style, "answer": Answer}
TEXTS = {"text", "response", "template", "dataset", "preference_text", "intention_text", "annotator"}


def fits(name: str, value: Any) -> bool:
    """Say what kind of value a key takes, apart from the package's own checks."""

    def is_id(value: Any) -> bool:
        return type(value) in (str, int)

    if name in ENUMS:
        return isinstance(value, str) and value in {accepted.value for accepted in ENUMS[name]}
    if name in TEXTS or name == "language":
        return isinstance(value, str)
    if name in ("preference_source", "intention_source"):
        return value is None or value in ("oracle", "history")
    if name in ("history", "candidates"):
        return isinstance(value, list) and all(is_id(item) for item in value)
    if name == "context":
        names = {"time", "place", "device", "occasion"}
        return value is None or (
            isinstance(value, dict)
            and set(value) <= names
            and all(text is None or isinstance(text, str) for text in value.values())
        )
    if name == "held_out":
        return isinstance(value, bool)
    if name == "cut":
        return type(value) is int and value >= 0
    return is_id(value)


@st.composite
def broken_instructions(draw: st.DrawFn) -> dict[Any, Any]:
    plain: dict[Any, Any] = draw(instructions()).as_dict()
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["lacks", "unknown", "wrong"]))
        if kind == "lacks":
            needed = ["text", "response", "task", "preference", "intention", "language", "user_id", "target"]
            plain.pop(draw(st.sampled_from(needed)), None)
        elif kind == "unknown":
            key = draw(st.text(max_size=6) | st.integers() | st.none())
            plain.setdefault(key, draw(json_values))
            assume(len(plain) > 22 or key not in plain or not fits(str(key), plain[key]))
        else:
            name = draw(st.sampled_from(sorted(str(key) for key in Instruction.__slots__)))
            value = draw(json_values)
            assume(not fits(name, value) and (name != "target" or value is not None))
            plain[name] = value
    return plain


@given(broken_instructions())
def test_every_broken_instruction_is_refused_in_one_line(plain: dict[Any, Any]) -> None:
    with pytest.raises(InputError) as caught:
        Instruction.from_dict(plain)
    assert "\n" not in str(caught.value)


@given(json_values)
def test_what_is_no_instruction_at_all_is_refused(value: Any) -> None:
    with pytest.raises(InputError):
        Instruction.from_dict(value)


# -- conditions ----------------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.sampled_from([1922.0, 1984.0, 55.5, 0.5]),
    st.floats(-1e9, 1e9),
    st.floats(allow_nan=False, allow_infinity=False),
)
# Signs that mean something in a condition, so that names and values hold them as they are.
awkward = st.text(
    st.sampled_from("\"'“”‘’`\\＂＝=（)，、,或且非 not in\n%{}<é") | st.characters(codec="utf-8"), max_size=8
)


# the same and nothing else, so that even a hundred examples hold each of them
signs_only = st.lists(st.sampled_from([*"\"'“”‘’`\\＂＝（）、，＋", "或", "且", "x", " "]), max_size=6).map(
    "".join
)


def leaves(dataset: Dataset) -> st.SearchStrategy[Node]:
    strategies: list[st.SearchStrategy[Node]] = []
    for column, field_type in fields_of(dataset.items, dataset.category_field).items():
        if field_type.kind == NUMBER:
            signs = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
            strategies += [
                st.builds(Compare, st.just(column), st.just(NUMBER), signs, numbers),
                st.lists(numbers, min_size=1, max_size=3, unique=True).map(
                    lambda chosen, column=column: In(column, NUMBER, tuple(chosen))
                ),
                st.tuples(numbers, numbers).map(lambda ends, column=column: Between(column, *sorted(ends))),
            ]
        elif field_type.values:
            values = st.sampled_from(list(field_type.values.values()))
            signs = st.sampled_from(["=", "!="])
            strategies += [
                st.builds(Compare, st.just(column), st.just(field_type.kind), signs, values),
                st.lists(values, min_size=1, max_size=3, unique=True).map(
                    lambda chosen, column=column, kind=field_type.kind: In(column, kind, tuple(chosen))
                ),
            ]
    return st.one_of(strategies)


def expressions(dataset: Dataset) -> st.SearchStrategy[Node]:
    return st.recursive(
        leaves(dataset),
        lambda inner: st.one_of(
            inner.map(negation),
            st.lists(inner, min_size=2, max_size=3).map(conjunction),
            st.lists(inner, min_size=2, max_size=3).map(disjunction),
        ),
        max_leaves=8,
    )


FILM_EXPRESSIONS = expressions(FILMS)


@st.composite
def catalogues(draw: st.DrawFn) -> Dataset:
    """Return five items whose columns and values have any names."""
    items = pd.DataFrame({"item_id": range(1, 6), "title": [draw(awkward) for _ in range(5)]})
    used_names = {"item_id", "title", "popularity"}
    rows = {
        NUMBER: st.none() | st.floats(-1e6, 1e6),
        TEXT: st.none() | awkward,
        CATEGORIES: st.none() | st.lists(awkward, max_size=3).map(tuple),
    }
    columns = draw(
        st.lists(st.tuples(awkward, st.sampled_from([NUMBER, TEXT, CATEGORIES])), min_size=1, max_size=3)
    )
    for column, kind in columns:
        if column not in used_names:
            used_names.add(column)
            values = [draw(rows[kind]) for _ in range(5)]
            items[column] = pd.Series(values, dtype=float if kind == NUMBER else object)
    field = draw(st.sampled_from([*map(str, items.columns), "genres"]))
    return Dataset("any", pd.DataFrame({"user_id": [1, 2, 3]}), items, EVENTS, category_field=field)


def truth(node: Node, row: dict[Any, Any], popularity: dict[Any, float]) -> bool | None:
    """Kleene's logic, a row at a time: the reference that the masks must agree with."""
    if isinstance(node, Not):
        inner = truth(node.operand, row, popularity)
        return None if inner is None else not inner
    if isinstance(node, And | Or):
        truths = [truth(part, row, popularity) for part in node.operands]
        decisive = isinstance(node, Or)
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
    accepted: Any = node.values if isinstance(node, In) else (node.value,)
    if node.kind != NUMBER:
        accepted = {str(name).casefold() for name in accepted}
        value = {name.casefold() for name in (value if node.kind == CATEGORIES else [value])}
    meets = bool(accepted & value) if node.kind != NUMBER else value in accepted
    return not meets if isinstance(node, Compare) and node.op == "!=" else meets


def check(expression: Node, dataset: Dataset) -> None:
    """Check that an expression, its text and a loop over the rows choose the same items."""
    constraint = constrain(expression, dataset)
    mask = constraint.mask(dataset.items)
    popularity: Any = dataset.popularity
    rows = dataset.items.to_dict("records")
    assert mask.dtype == bool
    assert mask.tolist() == [truth(expression, row, popularity) is True for row in rows]
    json.dumps(constraint.describe(), allow_nan=False)
    text = str(constraint)
    if len(text) <= 4000:
        for read in (parse, parse_parametric):
            again = read(text, dataset)
            assert str(again) == text
            assert (again.mask(dataset.items) == mask).all()


@given(FILM_EXPRESSIONS)
def test_text_and_conditions_are_one(expression: Node) -> None:
    check(expression, FILMS)


@given(st.data())
def test_columns_and_values_of_any_name_can_be_written(data: st.DataObject) -> None:
    dataset = data.draw(catalogues())
    check(data.draw(leaves(dataset) | leaves(dataset).map(negation)), dataset)


def quoted(value: str, marks: str) -> str:
    escaped = re.sub(r"([\\" + re.escape("".join(set(marks) | {"“", "”", "‘", "’"})) + r"])", r"\\\1", value)
    return marks[0] + escaped + marks[-1]


@given(
    awkward | signs_only,
    awkward | signs_only,
    st.sampled_from(['""', "''", "“”", "‘’", "””", "＂＂"]),
    st.booleans(),
)
def test_every_way_of_quoting_a_value_means_that_value(
    column: str, value: str, marks: str, in_list: bool
) -> None:
    assume(column not in ("item_id", "title"))
    items = ITEMS[["item_id", "title"]].assign(**{column: [value, *["another one"] * 5]})
    assume(value.casefold() != "another one")
    dataset = Dataset("any", FILMS.users, items, EVENTS, category_field="genres")
    words = quoted(value, marks)
    text = f"{column_name(column)} in ({words})" if in_list else f"{column_name(column)} = {words}"
    assert parse(text, dataset).mask(items).tolist() == [True, *[False] * 5], text
    if re.fullmatch(r"[a-z]+", value) and value not in ("and", "or", "not", "in", "between"):
        assert parse(text.replace(words, value), dataset).mask(items).tolist() == [True, *[False] * 5]
    assert literal(value) == quoted(value, '""') or set(value) & set("“”‘’")


FORMS = {
    "=": ["=", "==", "＝", "＝="],
    "!=": ["!=", "<>", "≠", "！＝"],
    "<": ["<", "＜"],
    "<=": ["<=", "≤", "＜＝"],
    ">": [">", "＞"],
    ">=": [">=", "≥", "＞="],
    "and": [" and ", " AND ", "&", "&&", "＆＆", "且", " 并且 ", "并且"],
    "or": [" or ", " Or ", "|", "||", "｜｜", "或", "或者", " 或 "],
    "not": [" not ", "!", "！", "非", " 非 "],
    "year": ["year", "YEAR", "年份", "ｙｅａｒ", "`year`"],
    "price": ["price", "价格", "Price"],
    "popularity": ["popularity", "热度", "流行度"],
    "genres": ["genres", "genre", "category", "类型", "类别", "分类"],
    "brand": ["brand", "品牌", "`brand`"],
    "title": ["title", "标题"],
    "item_id": ["item_id"],
    "Horror": ["Horror", "horror", "恐怖", "“恐怖”", "'scary'"],
    "Comedy": ["Comedy", "喜剧", "“Comedy”"],
    "Sci-Fi": ["Sci-Fi", "科幻", '"science fiction"', "ｓｃｉ-ｆｉ"],
    "War": ["War", "战争", "＂war＂"],
    "Drama": ["Drama", "剧情"],
    "(": ["(", "（", " ( "],
    ")": [")", "）", " ) "],
    ",": [",", "，", "、", ", ", " ， "],
    "..": ["..", "．．", " .. "],
    "in": [" in ", " IN ", "　in　"],
    " ": ["", " ", "　", "\n"],
}
MIRRORED = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
WIDE_DIGITS = str.maketrans("0123456789.-+", "０１２３４５６７８９．－＋")


@st.composite
def spoken(draw: st.DrawFn, node: Node, inner: bool = False) -> str:
    """Return one of the many ways to write an expression."""

    def form(name: str) -> str:
        return draw(st.sampled_from(FORMS.get(name, [name])))

    def value(entry: float | str) -> str:
        if not isinstance(entry, str):
            text = literal(entry)
            return text.translate(WIDE_DIGITS) if draw(st.booleans()) else text
        return form(entry) if entry in FORMS else quoted(entry, draw(st.sampled_from(['""', "''", "“”"])))

    if isinstance(node, And | Or):
        sign = "and" if isinstance(node, And) else "or"
        text = draw(spoken(node.operands[0], True))
        for part in node.operands[1:]:
            text += form(sign) + draw(spoken(part, True))
        return form("(") + text + form(")") if inner or draw(st.booleans()) else text
    if isinstance(node, Not):
        return form("not") + draw(spoken(node.operand, True))
    if isinstance(node, Between):
        low, high = value(node.low), value(node.high)
        if draw(st.booleans()):
            return f"{form(node.column)} between {low} and {high}"
        return form(node.column) + form("in") + low + form("..") + high
    if isinstance(node, In):
        text = form(",").join(value(item) for item in node.values)
        return form(node.column) + form("in") + form("(") + text + form(")")
    if node.kind == NUMBER and draw(st.booleans()):
        return value(node.value) + form(" ") + form(MIRRORED[node.op]) + form(" ") + form(node.column)
    return form(node.column) + form(" ") + form(node.op) + form(" ") + value(node.value)


@given(FILM_EXPRESSIONS, st.data())
def test_chinese_words_and_full_width_signs_mean_the_same(expression: Node, data: st.DataObject) -> None:
    text = data.draw(spoken(expression))
    assume(len(text) <= 4000)
    assert str(parse_parametric(text, FILMS)) == str(expression), text
    assert str(parse(text, FILMS)) == str(expression), text


PIECES = [
    *"()<>=!|&,'\"`“’（）＝，、非且或\\",
    "year",
    "genre",
    "title",
    "and",
    "or",
    "not",
    "in",
    "between",
    "..",
    ">=",
    "!=",
]
PIECES += [
    "1990",
    "1e3",
    '"x"',
    "Horror",
    "科幻",
    "类型",
    "popular",
    "no",
    "不要",
    "from",
    "80s",
    "元",
    "100",
    "便宜",
    "$",
    "-",
]
PIECES += [
    "under",
    "nor",
    "but",
    "not too",
    "以外",
    "都不要",
    "或更早",
    "or later",
    "budget",
    "预算",
    "万",
    "九十年代",
    "老",
    "old",
]
SAYINGS = [
    text for domain in ("films", "goods") for language in ("en", "zh") for text in REQUESTS[domain][language]
]


@st.composite
def damaged(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """Return a text in which up to three stretches were lost, doubled or replaced."""
    text = draw(texts)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 6)))
        put = draw(st.sampled_from(["", text[start:end] * 2, *PIECES]) | st.text(max_size=3))
        text = text[:start] + put + text[end:]
    return text


any_text = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=10).map("".join),
    damaged(FILM_EXPRESSIONS.map(str)),
    damaged(st.sampled_from(SAYINGS)),
)


@given(any_text)
def test_any_condition_is_read_or_refused_at_a_column_within_it(text: str) -> None:
    assume(len(text) <= 4000)
    constraint = attempt(lambda: parse_parametric(text, FILMS))
    if not isinstance(constraint, str):
        assert str(parse_parametric(str(constraint), FILMS)) == str(constraint)
    elif not text.strip():
        assert "empty" in constraint
    else:
        excerpt = text if len(text) <= 80 else text[:77] + "..."
        start = " ".join(f"instruction {excerpt!r}, column".split()) + " "
        assert constraint.startswith(start)
        column = re.match(r"(\d+): \S", constraint[len(start) :])
        assert column is not None
        assert 1 <= int(column[1]) <= len(text) + 1


# -- simple words --------------------------------------------------------------------------------------------------


@given(any_text)
def test_any_wish_is_understood_or_refused_in_one_line(text: str) -> None:
    constraint = attempt(lambda: parse(text, FILMS))
    if isinstance(constraint, str):
        return
    mask = constraint.mask(ITEMS)
    assert mask.shape == (len(ITEMS),)
    json.dumps(constraint.describe(), allow_nan=False)
    if not constraint:
        assert mask.all()
        assert constraint.ignored == text.strip()
    elif len(str(constraint)) <= 4000:
        assert (parse(str(constraint), FILMS).mask(ITEMS) == mask).all()


NAMES = [
    "Action",
    "Children's",
    "Comedy",
    "Documentary",
    "Drama",
    "Film-Noir",
    "Horror",
    "Musical",
    "Sci-Fi",
    "War",
]
PAIRS = [(first, second) for first in NAMES for second in NAMES if first <= second]
MANY = Dataset(
    "many",
    pd.DataFrame({"user_id": [1, 2, 3]}),
    pd.DataFrame(
        {
            "item_id": range(len(PAIRS)),
            "title": [f"Film {number}" for number in range(len(PAIRS))],
            "genres": [tuple(dict.fromkeys(pair)) for pair in PAIRS],
            "year": np.linspace(1930, 1999, len(PAIRS)).round(),
            "price": np.linspace(10, 400, len(PAIRS)).round(),
        }
    ),
    EVENTS,
    category_field="genres",
)
WORDS = {
    name: sorted(
        word
        for word, meant in synonyms({name.casefold(): name for name in NAMES}, MANY).items()
        if meant == name
    )
    for name in NAMES
}
REFUSALS = {
    "en": [
        "no {}",
        "not {}",
        "without {}",
        "anything but {}",
        "except {}",
        "I don't like {}",
        "never {}",
        "{}-free",
    ]
    + [
        "please no {} films",
        "avoid {} movies",
        "I hate {}",
        "not too {}",
        "less {}",
        "neither {} nor {}",
        "no {} or {}",
    ],
    "zh": [
        "不要{}",
        "不要{}片",
        "不想看{}",
        "除了{}",
        "除{}外",
        "{}以外的",
        "讨厌{}",
        "别给我推荐{}",
        "{}不要",
        "{}片就算了",
    ]
    + ["不要{}和{}", "{}和{}都不要", "非{}片", "没有{}的", "既不要{}也不要{}"],
}
OTHERS = {
    "en": [
        "{}",
        "some {}",
        "{} or {}",
        "from the 90s",
        "before 1980",
        "popular",
        "cheap",
        "under 100 yuan",
        "not from 1994",
    ],
    "zh": ["{}", "来点{}", "{}或{}", "90年代的", "1980年以前", "热门", "便宜", "100元以下", "不要1994年的"],
}
JOINS = {"en": [", ", "; ", " but ", ". "], "zh": ["，", "；", "。", "，但", "，而且"]}


@given(st.data(), st.sampled_from(["en", "zh"]))
def test_no_item_of_a_refused_category_is_admitted(data: st.DataObject, language: str) -> None:
    refused: set[str] = set()

    def category() -> str:
        name = data.draw(st.sampled_from(NAMES))
        chosen.add(name)
        fitting = [word for word in WORDS[name] if word.isascii() == (language == "en")]
        return data.draw(st.sampled_from(fitting))

    clauses: list[str] = []
    for kind in data.draw(st.lists(st.sampled_from([REFUSALS, OTHERS]), min_size=1, max_size=4)):
        chosen: set[str] = set()
        pattern = data.draw(st.sampled_from(kind[language]))
        clauses.append(re.sub(r"\{\}", lambda _: category(), pattern))
        refused |= chosen if kind is REFUSALS else set()
    text = clauses[0]
    for clause in clauses[1:]:
        text += data.draw(st.sampled_from(JOINS[language])) + clause
    constraint = parse(text, MANY)
    mask = constraint.mask(MANY.items)
    admitted = {name for row in MANY.items.loc[mask, "genres"] for name in row}
    assert not admitted & refused, (text, str(constraint))
    for name in refused:
        assert f'not genres = "{name}"' in str(constraint), text


# -- templates -----------------------------------------------------------------------------------------------------

FIELDS = [
    "thing",
    "things",
    "take",
    "took",
    "context",
    "measure",
    "history",
    "preference",
    "intention",
    "item",
]
FIELDS += ["item_a", "item_b", "candidates", "title"]
hostile = st.text(st.sampled_from("{}%#\"'\\\n\r \t$《》恐🎬{{%") | st.characters(codec="utf-8"), max_size=12)
hostile |= st.lists(
    st.sampled_from(
        [
            "{{",
            "}}",
            "{%",
            "%}",
            "{#",
            "{0}",
            "{history}",
            "%s",
            "{{ title }}",
            '"',
            "'",
            "\n",
            "恐怖",
            "🎬",
            "x",
        ]
    ),
    max_size=5,
).map("".join)
field_texts = st.fixed_dictionaries(dict.fromkeys(FIELDS, hostile))
PACKAGED = [template for language in ("en", "zh") for template in load_templates(language)]
WORDINGS = [(template, number) for template in PACKAGED for number in range(len(template.variants))]


def by_jinja(wording: str, fields: dict[str, str]) -> str:
    return str(_environment().from_string(wording).render(fields)).strip()


@given(st.sampled_from(WORDINGS), field_texts)
def test_a_template_is_filled_in_as_jinja_fills_it_in(
    wording: tuple[Template, int], fields: dict[str, str]
) -> None:
    template, number = wording
    text = template.render(fields, number)
    assert text == by_jinja(template.variants[number], fields)
    for name in template.fields:
        assert fields[name].strip() in text
    answer = template.respond(fields)
    assert answer == by_jinja(template.response, fields)


HEAD = """
[[template]]
id = "one"
kind = "combined"
task = "T2"
preference = "P2"
intention = "I2"
style = "chain_of_thought"
answer = "reasoned_item"
"""
JINJA = [
    "{{ history }}",
    "{{history}}",
    "{{- intention -}}",
    "{{ intention }}",
    "{{ history | upper }}",
    "{{ things }}",
]
JINJA += [
    "{% if context %}{{ context }}{% endif %}",
    "{% if context %}",
    "{% endif %}",
    "{# note #}",
    "{{",
    "}}",
    "{%",
    "%}",
]
JINJA += [
    "{% raw %}{{ x }}{% endraw %}",
    "{{ history | nope }}",
    "{{ history.__class__ }}",
    "{{ history + 1 }}",
    "{{ nope }}",
]
JINJA += [
    "{{ history[0] }}",
    "{% set x = history %}{{ x }}",
    "{{ '{{' }}",
    "{",
    "}",
    "\n",
    "  ",
    "{{ take ~ took }}",
    "%s",
    "{0}",
]
JINJA += [
    "{{ history * 2 }}",
    "{% for one in history %}{{ one }}{% endfor %}",
    "{{ history / 0 }}",
    "{{ history is nope }}",
]
wordings = st.lists(st.sampled_from(JINJA) | st.text(max_size=5), max_size=6).map(
    lambda parts: "{{ history }}: {{ intention }}" + "".join(parts)
)


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates") / "own.toml"


def toml_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@given(wordings, field_texts)
def test_any_wording_is_filled_in_as_jinja_would_or_refused_with_its_line(
    own_file: Path, wording: str, fields: dict[str, str]
) -> None:
    response = "{{ preference }}: {{ title }}"
    own_file.write_text(
        f"{HEAD}response = {toml_text(response)}\nvariants = [{toml_text(wording)}]\n", "utf-8"
    )
    loaded = attempt(lambda: load_templates("en", own_file))
    if isinstance(loaded, str):
        assert re.search(r"template 'one' in '.*own\.toml', line \d+: ", loaded)
        return
    (template,) = loaded
    given_fields = {name: text for name, text in fields.items() if name != "measure"}
    try:
        expected = by_jinja(wording, given_fields)
    except Exception:  # as when the first letter of an empty text is asked for
        with pytest.raises(InputError, match="template 'one'"):
            template.render(given_fields)
    else:
        assert template.render(given_fields) == expected
    assert template.respond(fields) == f"{fields['preference']}: {fields['title']}".strip()


BLOCKS = TEMPLATES_FILE.read_text("utf-8").split("\n[[template]]\n")[1:10:3]
BASE = ["[[template]]\n" + block.split("\n\n")[0] for block in BLOCKS]
OTHER_VALUES = [
    "0",
    "true",
    '""',
    "[]",
    '"T0"',
    '"T3"',
    '"P0"',
    '"P2"',
    '"I0"',
    '"I1"',
    '"x"',
    "[1]",
    '["x"]',
    "{}",
    "1979-05-27",
]
OTHER_VALUES += [
    '["{{ nope }}"]',
    '["{{"]',
    "nan",
    "'''\n[[template]]\n'''",
    '[["x"]]',
    "inf",
    '"related"',
    '"both"',
    '"item"',
]


@st.composite
def damaged_files(draw: st.DrawFn) -> str:
    lines = "\n\n".join(BASE).split("\n")
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["value", "drop", "double", "swap", "line"]))
        if kind == "value" and " = " in lines[number]:
            lines[number] = lines[number].split(" = ")[0] + " = " + draw(st.sampled_from(OTHER_VALUES))
        elif kind == "drop" and len(lines) > 1:
            lines.pop(number)
        elif kind == "double":
            lines.insert(number, lines[number])
        elif kind == "swap":
            lines[number], lines[0] = lines[0], lines[number]
        else:
            extra = [
                "style = 'related'",
                "held_out = 3",
                "[other]",
                "x = 1",
                "[[template]]",
                "answer = 'both'",
                "[template.x]",
            ]
            lines.insert(number, draw(st.sampled_from(extra) | st.text(max_size=8)))
    return "\n".join(lines)


@given(st.one_of(damaged_files(), damaged(st.just("\n\n".join(BASE)))))
def test_any_file_of_templates_is_read_or_refused_with_its_name_and_line(
    own_file: Path, content: str
) -> None:
    own_file.write_bytes(content.encode("utf-8"))
    templates = attempt(lambda: load_templates("en", own_file))
    if isinstance(templates, str):
        assert "own.toml" in templates
        location = re.search(r"line (\d+)|end of document", templates)
        assert location is not None, templates
        assert location[1] is None or 1 <= int(location[1]) <= len(content.splitlines()) + 1
    else:
        assert all(template.variants for template in templates)
