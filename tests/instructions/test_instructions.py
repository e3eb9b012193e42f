"""Instructions: templates, generation in two languages, statistics, files."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.datasets import movielens_100k, shop
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions import (
    Answer,
    Context,
    Instruction,
    Intention,
    Preference,
    Style,
    TaskForm,
    build_instructions,
    generate,
    load_templates,
    parse,
    read_jsonl,
    statistics,
    write_jsonl,
    write_parquet,
)
from instructrec.instructions.builder import TASTE_LENGTH
from instructrec.instructions.category_words import category_names
from instructrec.instructions.instruction_dataset import BLOCK
from instructrec.instructions.teacher import AnnotationRequest
from instructrec.instructions.verbalizer import Popularity, Verbalizer
from instructrec.wordings.lexicon import LANGUAGES, lexicon, plain, stands_alone, title_forms
from tools.build_book import ROOT

GENRES = ("Comedy", "Horror", "Sci-Fi", "Drama", "Unheard Of")


def tiny(n_items: int = 30, n_users: int = 6, events: int = 12, seed: int = 0) -> Dataset:
    """A small film data set with awkward titles, missing years and repeated events."""
    rng = np.random.default_rng(seed)
    items = pd.DataFrame(
        {
            "item_id": np.arange(1, n_items + 1) * 10,
            "title": [f"Tale {{{{ {number} }}}} of \"Q\" & 'R'" for number in range(n_items)],
            "title_zh": [f"故事第{number}集" if number % 3 else None for number in range(n_items)],
            "genres": [tuple(rng.choice(GENRES, rng.integers(0, 3), replace=False)) for _ in range(n_items)],
            "year": np.where(rng.random(n_items) < 0.2, np.nan, rng.integers(1930, 2000, n_items)),
        }
    )
    rows = n_users * events
    interactions = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(n_users), events),
            "item_id": rng.choice(items["item_id"], rows),
            "rating": np.nan,
            "timestamp": rng.integers(800_000_000, 900_000_000, rows),
        }
    )
    return Dataset("tiny", pd.DataFrame({"user_id": np.arange(n_users)}), items, interactions, "genres")


def contains_title(text: str, title: str) -> bool:
    """Whether a title stands in a text as words of its own, whatever its case, width, accents and article."""
    return any(stands_alone(form, plain(text)) for form in title_forms(title))


@pytest.fixture(scope="module")
def films() -> Dataset:
    return movielens_100k()


@pytest.fixture(scope="module")
def goods() -> Dataset:
    return shop()


# -- templates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_templates_cover_every_task_preference_and_intention(language: str) -> None:
    templates = load_templates(language)
    assert sum(not template.held_out for template in templates) >= 39
    assert len({template.id for template in templates}) == len(templates)
    assert {template.task for template in templates} == set(TaskForm)
    assert {template.preference for template in templates} == set(Preference)
    assert {template.intention for template in templates} == set(Intention)
    assert {template.kind for template in templates} == {"preference", "intention", "combined", "context"}
    assert {template.style for template in templates} == set(Style)
    assert {template.answer for template in templates} == set(Answer)
    assert any(template.held_out for template in templates)
    wordings = [text for template in templates for text in template.variants]
    assert len(set(wordings)) == len(wordings)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_spread_is_at_least_the_papers(language: str) -> None:
    """17 about preference, 9 about intention, 13 combined; see the module's list of kinds."""
    count: Counter[tuple[str, str]] = Counter()
    for template in load_templates(language):
        if not template.held_out:
            plain = template.style == Style.PLAIN
            count[template.kind, template.task.value if plain else template.style.value] += 1
    paper = {
        ("preference", "T2"): 7,
        ("preference", "T3"): 5,
        ("preference", "T0"): 2,
        ("preference", "chain_of_thought"): 1,
        ("preference", "turned_round"): 2,
        ("intention", "T2"): 4,
        ("intention", "T3"): 3,
        ("intention", "turned_round"): 2,
        ("combined", "T2"): 4,
        ("combined", "T3"): 4,
        ("combined", "turned_round"): 3,
        ("combined", "related"): 2,
    }
    assert sum(paper.values()) == 39
    assert not {kind: (count[kind], least) for kind, least in paper.items() if count[kind] < least}
    assert all(count[kind, "T1"] for kind in ("preference", "intention", "combined"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_cell_of_the_format_has_a_template(language: str) -> None:
    cells = {
        (template.preference, template.intention, template.task)
        for template in load_templates(language)
        if not template.held_out
    }
    assert cells == set(product(Preference, Intention, TaskForm))


GOOD = """
[[template]]
id = "mine"
kind = "preference"
task = "T2"
preference = "P1"
intention = "I0"
variants = ["After {{ history }}?"]
"""


def test_a_template_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(GOOD, "utf-8")
    (template,) = load_templates("en", path)
    assert template.render({"history": "{{ Alien }}; <Heat>"}) == "After {{ Alien }}; <Heat>?"
    with pytest.raises(InputError, match="'mine'.*history"):
        template.render({})


def test_a_template_may_have_its_wordings_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        GOOD.replace("variants =", "variants.en =") + 'variants.zh = ["看过{{ history }}之后呢？"]\n', "utf-8"
    )
    for language, text in (("en", "After Alien?"), ("zh", "看过Alien之后呢？")):
        (template,) = load_templates(language, path)
        assert (template.id, template.language) == (f"{language}-mine", language)
        assert template.render({"history": "Alien"}) == text
    path.write_text(GOOD.replace("variants =", "variants.en ="), "utf-8")
    with pytest.raises(InputError, match=r"'mine' in .*, line 8: variants\.zh is missing"):
        load_templates("zh", path)
    path.write_text(GOOD.replace("variants =", "variants.fr ="), "utf-8")
    with pytest.raises(InputError, match="line 8: unknown language of variants 'fr'"):
        load_templates("en", path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{{ history }}", "{{ history }} {{ titel }}", "unknown field 'titel'"),
        ("{{ history }}", "{{ history }} {{ candidates }}", "unknown field 'candidates'"),
        ("{{ history }}", "nothing", "never names {{ history }}"),
        ("{{ history }}", "{{ history", "Jinja2 text is accepted"),
        ('"P1"', '"P7"', "unknown Preference 'P7'"),
        ('"P1"', '"P0"', "kind 'preference' does not go with P0 and I0"),
        ('"T2"', '"T9"', "unknown TaskForm 'T9'"),
        ('kind = "preference"', 'kind = "taste"', "unknown kind 'taste'"),
        ('kind = "preference"', 'sort = "preference"', "unknown key 'sort'"),
        ('kind = "preference"\n', "", "kind is missing"),
        ('variants = ["After {{ history }}?"]', "variants = []", "at least one wording"),
        ("variants =", 'style = "funny"\nvariants =', "unknown Style 'funny'"),
        ("variants =", 'answer = "preference"\nvariants =', "style plain does not go with answer preference"),
        (
            "variants =",
            'answer = "preference"\nstyle = "turned_round"\nvariants =',
            "answer preference is in words; preference P2 is accepted",
        ),
        (
            'preference = "P1"\nintention = "I0"\nvariants =',
            'preference = "P2"\nintention = "I0"\nanswer = "reasoned_item"\nstyle = "chain_of_thought"\nvariants =',
            "response is missing",
        ),
        ("variants =", 'style = "parametric"\nvariants =', "intention I2 is accepted"),
        ("variants =", 'response = "{{ item }}"\nvariants =', "unknown field 'item'"),
    ],
)
def test_a_wrong_template_is_refused_with_its_id_file_and_line(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    path = tmp_path / "own.toml"
    first = GOOD.replace('"mine"', '"first"')
    path.write_text(first + GOOD.replace(old, new), "utf-8")
    with pytest.raises(InputError) as caught:
        load_templates("en", path)
    message = str(caught.value)
    assert says in message
    assert "template 'mine'" in message
    assert "own.toml" in message
    assert "\n" not in message
    line = int(re.search(r"line (\d+): ", message)[1])
    assert len(first.splitlines()) < line <= len(path.read_text("utf-8").splitlines())


def test_the_line_of_an_unknown_field_is_that_of_its_wording(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        GOOD.replace(
            '["After {{ history }}?"]', '[\n  "After {{ history }}?",\n  "{{ history }} {{ titel }}",\n]'
        ),
        "utf-8",
    )
    with pytest.raises(InputError, match="line 10: unknown field 'titel'"):
        load_templates("en", path)


def test_a_template_with_more_than_fields_is_filled_by_jinja(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    wording = "{% if context %}{{ context }}{% else %}Now: {% endif %}after {{ history | upper }}"
    path.write_text(GOOD.replace("After {{ history }}?", wording), "utf-8")
    (template,) = load_templates("en", path)
    assert template.render({"history": "Alien", "context": ""}) == "Now: after ALIEN"
    with pytest.raises(InputError, match="'mine'.*context"):
        template.render({"history": "Alien"})
    path.write_text(GOOD.replace("After {{ history }}?", "{% if context %}{{ history }}{% endif %}"), "utf-8")
    (template,) = load_templates("en", path)
    assert template.render({"history": "Alien", "context": "Monday. "}) == "Alien"
    with pytest.raises(InputError, match="'mine' gives an empty text"):
        template.render({"history": "Alien", "context": ""})


def test_a_wrong_template_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    for content in ("", "not toml [", "other = 1", GOOD + GOOD):
        path.write_text(content, "utf-8")
        with pytest.raises(InputError, match=r"own\.toml"):
            load_templates("en", path)
    with pytest.raises(InputError, match="cannot be read"):
        load_templates("en", tmp_path / "absent.toml")
    with pytest.raises(InputError, match="unknown language 'fr'"):
        load_templates("fr")


# -- words ---------------------------------------------------------------------------------------------------------


def test_every_category_has_a_chinese_name_and_wishes(films: Dataset, goods: Dataset) -> None:
    for dataset in (films, goods):
        names = {name for row in dataset.items[dataset.category_field] for name in row}
        assert len(names) >= 12
        chinese = category_names(names, "zh", dataset)
        assert all("\u4e00" <= word[0] <= "\u9fff" for word in chinese.values())
        entries = lexicon()["categories"]
        for name in names - {"unknown"}:
            assert entries[name.casefold()]["wishes_en"], name
            assert entries[name.casefold()]["wishes_zh"], name


def test_a_wish_never_names_its_category() -> None:
    for name, entry in lexicon()["categories"].items():
        assert not any(contains_title(wish, name) for wish in entry["wishes_en"]), name
        assert not any(entry["zh"] in wish for wish in entry["wishes_zh"]), name


def test_a_taste_is_told_in_words() -> None:
    items = pd.DataFrame(
        {
            "item_id": [1, 2, 3, 4],
            "title": list("abcd"),
            "genres": [("Horror", "Comedy"), ("Horror",), ("Drama",), ("unknown",)],
            "year": [1981, 1984, 1995, np.nan],
            "price": [1.0, 2.0, 30.0, 40.0],
        }
    )
    events = pd.DataFrame({"user_id": [], "item_id": [], "timestamp": []}, dtype="int64")
    dataset = Dataset("four", items[["item_id"]].head(0), items, events, "genres")
    english, chinese = Verbalizer(dataset, "en"), Verbalizer(dataset, "zh")
    assert (
        english.taste([1, 2, 3]) == "above all Horror, Comedy and Drama, mostly from the 1980s, at low prices"
    )
    assert chinese.taste([1, 2]) == "偏爱恐怖、喜剧类，多为1980年代的，价格偏低"
    assert english.taste([4]) == "at high prices"
    assert english.taste([1, 2, 3], time=0) == english.taste(
        [1, 2, 3]
    )  # no event yet, nothing is known or not
    assert english.moment(0) == "Thursday night"
    assert chinese.moment(86_400 * 2 + 3_600 * 20) == "周六晚上"


def popular(n_users: int) -> Dataset:
    """Ten items of two genres; item 1 chosen by every user at second 100 x number, the rest by nobody."""
    items = pd.DataFrame(
        {
            "item_id": np.arange(1, 11),
            "title": [f"t{number}" for number in range(10)],
            "genres": [("Drama",)] * 8 + [("War",)] * 2,
        }
    )
    events = pd.DataFrame(
        {
            "user_id": np.arange(n_users),
            "item_id": 1,
            "rating": np.nan,
            "timestamp": 100 * np.arange(n_users),
        }
    )
    return Dataset("popular", events[["user_id"]], items, events, "genres")


def test_popularity_is_that_of_the_moment() -> None:
    annotator = Verbalizer(popular(50), "en")
    assert "mostly well-known films" in annotator.taste([1], time=1000)
    assert "often little-known films" in annotator.taste([2], time=1000)
    assert "known" not in annotator.taste([1], time=0)  # before the first event
    counted = Popularity(popular(50))
    assert counted.count(1, 1000) == 10  # the event at that second itself does not count
    assert counted.average(1000) == 1.0


def test_what_a_long_history_lacks_is_avoided() -> None:
    annotator = Verbalizer(popular(1), "en")
    # 80% of the catalogue is Drama: two items without it happen by chance with .04, one with .2
    assert annotator.taste([9, 10]) == "above all War, never Drama"
    assert annotator.taste([9]) == "above all War"
    # War is a fifth: .8^10 = .107 is not below .1, .8^11 is
    assert "never" not in annotator.taste([1] * 10)
    assert annotator.taste([1] * 11).endswith("never War")


@pytest.mark.parametrize("name", ["films", "goods"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_condition_is_read_back_and_admits_its_item(
    name: str, language: str, request: pytest.FixtureRequest
) -> None:
    dataset: Dataset = request.getfixturevalue(name)
    annotator = Verbalizer(dataset, language)
    draw = random.Random(1).random
    seen = set()
    for row, item in enumerate(dataset.items["item_id"].tolist()):
        if annotator.categories[item]:
            labels = annotator.categories[item]
            text = annotator.condition(labels, annotator.years.get(item), annotator.prices.get(item), draw)
            constraint = parse(text, dataset)
            assert constraint.mask(dataset.items)[row], (text, str(constraint))
            assert not constraint.describe()["ignored"], (text, constraint.describe())
            seen.add(text)
    assert len(seen) > 100


# -- generation ----------------------------------------------------------------------------------------------------


def check(instruction: Instruction, dataset: Dataset) -> None:
    titles = [Verbalizer(dataset, language).titles for language in LANGUAGES]
    own = titles[LANGUAGES.index(instruction.language)]
    check_with(instruction, dataset, titles, own)


def check_with(instruction: Instruction, dataset: Dataset, titles: list[dict], own: dict) -> None:
    bare = instruction.text
    for title in sorted({*own.values()}, key=len, reverse=True):
        if title in bare:
            bare = bare.replace(title, "·")
    assert not any(mark in bare for mark in ("{{", "}}", "{%", "None", "nan", "()", "[]")), instruction.text
    assert bare == bare.strip()
    assert instruction.target not in instruction.history
    words = instruction.answer not in (Answer.ITEM, Answer.REASONED_ITEM)
    assert (instruction.target is None) == words
    if words:
        assert instruction.task == TaskForm.T2
        assert instruction.response not in instruction.text
        if instruction.answer in (Answer.PREFERENCE, Answer.BOTH):
            assert instruction.preference_text in instruction.response
        if instruction.answer in (Answer.INTENTION, Answer.BOTH):
            assert instruction.intention_text in instruction.response
        assert all(own[item] in instruction.text for item in instruction.candidates)
    elif instruction.task == TaskForm.T2:
        assert instruction.candidates == ()
        assert instruction.response.endswith(own[instruction.target])
        assert instruction.answer == Answer.REASONED_ITEM or instruction.response == own[instruction.target]
        assert not any(
            contains_title(instruction.text, titles_in_language[instruction.target])
            for titles_in_language in titles
        )
    elif instruction.task == TaskForm.T3:
        assert instruction.response.endswith(own[instruction.target])
        assert instruction.target in instruction.candidates
        assert len({own[item] for item in instruction.candidates}) == len(instruction.candidates)
    elif instruction.task == TaskForm.T1:
        assert len(instruction.candidates) == 2
        assert instruction.candidates["AB".index(instruction.response)] == instruction.target
    else:
        (shown_item,) = instruction.candidates
        assert (
            instruction.response
            == {"en": ("no", "yes"), "zh": ("否", "是")}[instruction.language][
                shown_item == instruction.target
            ]
        )
    assert not set(instruction.candidates) & set(instruction.history)
    assert (instruction.intention_source is None) == (instruction.intention == Intention.I0)
    assert (instruction.preference_source is None) == (instruction.preference == Preference.P0)
    assert bool(instruction.intention_text) == (instruction.intention != Intention.I0)
    assert bool(instruction.preference_text) == (instruction.preference == Preference.P2)
    assert set(instruction.sources) <= {"preference", "intention", "time", "place", "device", "occasion"}
    if instruction.preference == Preference.P0 and instruction.intention_source != "history":
        assert instruction.history == ()
    if instruction.preference == Preference.P0 and instruction.intention == Intention.I0:
        assert instruction.context.words(instruction.language)
    assert Instruction.from_dict(json.loads(json.dumps(instruction.as_dict()))) == instruction


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 5),
    st.integers(0, 10_000),
    st.sampled_from(["oracle", "history"]),
    st.sampled_from([False, True, None]),
    st.integers(1, 15),
)
def test_any_instruction_is_sound(
    data_seed: int, seed: int, source: str, held_out: bool | None, history_length: int
) -> None:
    dataset = tiny(seed=data_seed)
    instructions = list(
        generate(dataset, 12, seed=seed, source=source, held_out=held_out, history_length=history_length)
    )
    assert len(instructions) == 12
    texts = {
        template.id: template.variants[0] for language in LANGUAGES for template in load_templates(language)
    }
    for instruction in instructions:
        check(instruction, dataset)
        assert len(instruction.history) <= max(history_length, TASTE_LENGTH)
        assert (
            len(instruction.history) <= history_length or "{{ history }}" not in texts[instruction.template]
        )
        assert held_out is None or instruction.held_out == held_out


@pytest.mark.parametrize("source", ["oracle", "history"])
@pytest.mark.parametrize("name", ["films", "goods"])
def test_instructions_from_real_data_are_sound(
    name: str, source: str, request: pytest.FixtureRequest
) -> None:
    dataset: Dataset = request.getfixturevalue(name)
    titles = [Verbalizer(dataset, language).titles for language in LANGUAGES]
    for instruction in generate(dataset, 150, seed=1, source=source, held_out=None):
        check_with(instruction, dataset, titles, titles[LANGUAGES.index(instruction.language)])
        if instruction.task == TaskForm.T3:
            assert len(instruction.candidates) == 10


def test_the_history_is_what_came_just_before_the_target(films: Dataset) -> None:
    histories = films.histories()
    for instruction in generate(films, 200, seed=2):
        story = list(dict.fromkeys(histories[instruction.user_id]))
        if instruction.target is not None:
            assert story[instruction.cut] == instruction.target
        if instruction.history:
            assert (
                list(instruction.history)
                == story[instruction.cut - len(instruction.history) : instruction.cut]
            )
            titles = instruction.preference == Preference.P1
            assert len(instruction.history) == min(
                instruction.cut, 10 if titles else len(instruction.history)
            )


@pytest.mark.parametrize("source", ["oracle", "history"])
def test_nothing_after_the_cut_is_used(source: str) -> None:
    dataset = tiny(seed=3)
    instruction = next(iter(generate(dataset, 1, seed=4, source=source)))
    story = dataset.ordered[dataset.ordered["user_id"] == instruction.user_id]
    chosen = list(dict.fromkeys(story["item_id"]))[instruction.cut]
    cut = int(np.flatnonzero((story["item_id"] == chosen).to_numpy())[0])
    later = story.index[cut + 1 :]
    changed = dataset.interactions.copy()
    changed.loc[later, "item_id"] = np.resize(story.loc[later, "item_id"].to_numpy()[::-1], len(later))
    again = next(iter(generate(dataset.with_interactions(changed), 1, seed=4, source=source)))
    assert again == instruction


def test_an_intention_from_history_does_not_depend_on_the_target() -> None:
    dataset = tiny(seed=5)
    annotator = Verbalizer(dataset, "en")
    for instruction in generate(dataset, 100, ["en"], seed=6, source="history"):
        if instruction.intention == Intention.I2 and instruction.style != Style.PARAMETRIC:
            assert instruction.intention_text == annotator.join(annotator.labels(instruction.history))


def test_an_oracle_preference_looks_at_the_target(films: Dataset) -> None:
    annotator = Verbalizer(films, "en")
    options = {"seed": 8, "tasks": ["T2"], "styles": ["plain"], "preference_source": "oracle"}
    instructions = [
        instruction
        for instruction in generate(films, 300, ["en"], **options)
        if instruction.preference != Preference.P0
    ]
    assert {instruction.preference_source for instruction in instructions} == {"oracle"}
    akin = [
        all(
            set(annotator.categories[item]) & set(annotator.categories[instruction.target])
            for item in instruction.history
        )
        for instruction in instructions
        if instruction.preference == Preference.P1
    ]
    assert np.mean(akin) > 0.9  # all but those whose history has nothing akin
    times = films.ordered.drop_duplicates(["user_id", "item_id"]).set_index(["user_id", "item_id"])[
        "timestamp"
    ]
    counted = [instruction for instruction in instructions if instruction.preference == Preference.P2]
    assert len(counted) > 50
    for instruction in counted:
        moment = int(times[instruction.user_id, instruction.target])
        assert instruction.preference_text == annotator.taste(
            [*instruction.history, instruction.target], moment
        )
    honest = [
        annotator.taste(instruction.history, int(times[instruction.user_id, instruction.target]))
        for instruction in counted
    ]
    assert honest != [instruction.preference_text for instruction in counted]


def test_an_intention_from_history_looks_past_titles_picked_for_the_target(films: Dataset) -> None:
    options = {"seed": 8, "source": "history", "preference_source": "oracle", "styles": ["plain"]}
    annotator = Verbalizer(films, "en")
    histories = films.histories()
    instructions = [
        instruction
        for instruction in generate(films, 1500, ["en"], **options)
        if (instruction.preference, instruction.intention) == (Preference.P1, Intention.I2)
    ]
    assert len(instructions) > 50
    for instruction in instructions:
        story = list(dict.fromkeys(histories[instruction.user_id]))
        lately = story[max(0, instruction.cut - 10) : instruction.cut]
        assert instruction.intention_text == annotator.join(annotator.labels(lately))
        assert set(lately) <= set(instruction.history) <= set(story[: instruction.cut])


@pytest.mark.parametrize(
    ("title", "text", "stands"),
    [
        ("Heat", "films like HEAT.", True),
        ("Heat", "the theatre", False),
        ("Ｈｅａｔ", "films like heat", True),
        ("Heat", "films like Ｈｅａｔ", True),
        ("Les Misérables", "a night of Les Miserables", True),
        ("Misérables, Les", "a night of les misérables", True),
        ("The Postman", "Postman, The; Babe", True),
        ("Postman, The", "after the postman came", True),
        ("Postman, The", "a postman", False),
        ("Schindler's List", "schindler’s list", True),
        ("大话西游", "我看过《大话西游》", True),
        ("Up", "《Up》", True),
    ],
)
def test_a_title_is_known_whatever_its_case_width_accents_and_article(
    title: str, text: str, stands: bool
) -> None:
    assert contains_title(text, title) == stands


def test_no_other_form_of_the_targets_title_stands_in_a_text() -> None:
    dataset = tiny()
    again = dataset.items.assign(  # every film a second time, said otherwise
        item_id=dataset.items["item_id"] + 1,
        title=[f"{title}, The".upper() for title in dataset.items["title"]],
    )
    first = dataset.items.assign(title=[f"The {title}" for title in dataset.items["title"]])
    log = dataset.interactions.assign(
        item_id=dataset.interactions["item_id"] + dataset.interactions.index % 2
    )
    doubled = Dataset("both", dataset.users, pd.concat([first, again], ignore_index=True), log, "genres")
    titles = dict(zip(doubled.items["item_id"], doubled.items["title"], strict=True))
    instructions = [
        instruction
        for instruction in generate(doubled, 600, ["en"], tasks=["T2"])
        if instruction.target is not None
    ]
    assert len(instructions) > 200
    assert not any(
        contains_title(instruction.text, titles[instruction.target]) for instruction in instructions
    )


def test_a_wish_that_is_a_title_is_not_asked_for_beside_it() -> None:
    wishes = lexicon()["categories"]["war"]["wishes_en"]
    items = pd.DataFrame(
        {
            "item_id": range(1, len(wishes) + 1),
            "title": [wish.title() for wish in wishes],
            "genres": [("War",)] * len(wishes),
        }
    )
    events = pd.DataFrame(
        {"user_id": 1, "item_id": items["item_id"], "rating": np.nan, "timestamp": items["item_id"]}
    )
    war = Dataset("war", events[["user_id"]].head(1), items, events, "genres")
    instructions = [
        instruction
        for instruction in generate(war, 200, ["en"], styles=["turned_round"])
        if instruction.intention == "I1"
    ]
    assert instructions
    assert not [
        instruction.text
        for instruction in instructions
        if instruction.response.casefold() in instruction.text.casefold()
    ]


def test_a_wish_behind_an_item_is_asked_for_only_of_an_oracle(films: Dataset) -> None:
    def asked(source: str) -> set[str]:
        instructions = generate(films, 400, ["en"], source=source, styles=["turned_round"])
        return {instruction.answer.value for instruction in instructions}

    assert asked("oracle") == {"preference", "intention", "both"}
    assert asked("history") == {"preference"}


class Parrot:
    """A teacher that answers every other request, by what it was asked."""

    model = "parrot"

    def __init__(self) -> None:
        self.asked: list[AnnotationRequest] = []

    def annotate(self, requests: list[AnnotationRequest]) -> list[str | None]:
        self.asked += requests
        return [self.reply(request) for request in requests]

    @staticmethod
    def reply(request: AnnotationRequest) -> str | None:
        words = "+".join((*request.titles[:1], *request.categories[:1]))
        return None if len(words) % 2 else f"{request.kind} <{words}>"

    def identity(self) -> dict[str, str]:
        return {"model": self.model}


def test_a_teacher_writes_tastes_and_wishes_and_the_rules_the_rest(films: Dataset) -> None:
    teacher = Parrot()
    instructions = list(build_instructions(films, 400, seed=9, teacher=teacher))
    assert len(teacher.asked) == len(set(teacher.asked))  # nothing is asked twice
    assert not any(
        str(instruction.user_id) in request.titles
        for instruction in instructions
        for request in teacher.asked
    )
    by_rules = list(build_instructions(films, 400, seed=9))
    assert {instruction.annotator for instruction in instructions} == {
        "rules",
        "parrot",
        "rules+parrot",
        "parrot+rules",
    }
    for instruction in instructions:
        taste = instruction.preference_text.startswith("taste <")
        wish = instruction.intention_text.startswith("wish <")
        assert ("parrot" in instruction.annotator) == (taste or wish)
        assert not wish or instruction.intention == Intention.I1
        text = (
            instruction.response
            if instruction.answer in (Answer.PREFERENCE, Answer.INTENTION)
            else instruction.text
        )
        assert not taste or instruction.preference_text in f"{instruction.text}\n{instruction.response}"
        assert not wish or instruction.intention_text in f"{instruction.text}\n{instruction.response}", text
    assert [instruction.template for instruction in instructions[:200]] == [
        instruction.template for instruction in by_rules[:200]
    ]
    assert instructions == list(build_instructions(films, 400, seed=9, teacher=teacher))
    assert build_instructions(films, 1, teacher=teacher).identity() != build_instructions(films, 1).identity()


def test_a_teacher_is_told_what_it_must_not_say(films: Dataset) -> None:
    teacher = Parrot()
    instructions = list(build_instructions(films, 200, ["en"], seed=9, source="history", teacher=teacher))
    titles = {
        films.titles[instruction.target] for instruction in instructions if instruction.target is not None
    }
    assert titles & {title for request in teacher.asked for title in request.forbidden}
    for request in teacher.asked:
        assert not set(request.titles) & set(request.forbidden)


def test_several_data_sets_share_by_their_events(films: Dataset, goods: Dataset) -> None:
    count = Counter(instruction.dataset for instruction in generate([films, goods], 4000, seed=3))
    share = goods.n_interactions / (goods.n_interactions + films.n_interactions)
    assert count["shop"] / 4000 == pytest.approx(share, abs=0.03)


def test_the_same_seed_gives_the_same_and_a_shorter_run_is_its_beginning(films: Dataset) -> None:
    long = list(generate(films, 40, seed=7))
    assert long == list(generate(films, 40, seed=7))
    assert long[:10] == list(generate(films, 10, seed=7))
    assert long != list(generate(films, 40, seed=8))
    assert list(generate(films, 0)) == []


def test_any_number_of_workers_makes_the_same(films: Dataset) -> None:
    dataset = build_instructions(films, 2 * BLOCK + 500, seed=7)
    alone = list(dataset)
    assert [instruction for block in dataset.blocks(workers=2) for instruction in block] == alone
    assert list(dataset.blocks(finish=len)) == [BLOCK, BLOCK, 500]
    assert pickle.loads(pickle.dumps(dataset)).block(2) == alone[2 * BLOCK :]
    with pytest.raises(InputError, match="workers is 0"):
        dataset.blocks(workers=0)
    for number in (-1, 3, 0.5):
        with pytest.raises(InputError, match=f"block is {number}"):
            dataset.block(number)


def _die(block: list[Instruction]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_told_in_one_line(films: Dataset) -> None:
    with pytest.raises(InputError, match="one of 2 workers ended early"):
        list(build_instructions(films, 3 * BLOCK).blocks(workers=2, finish=_die))


def test_a_script_that_its_workers_cannot_import_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "careless.py"  # no `if __name__ == "__main__":`
    script.write_text(
        "from instructrec.datasets import shop\nfrom instructrec.instructions import build_instructions\n"
        "print(sum(1 for _ in build_instructions(shop(), 5000).blocks(workers=2)))\n"
    )
    root = str(ROOT)
    environment = {**os.environ, "PYTHONPATH": root, "TMPDIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, str(script)], cwd=root, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 1
    assert "InputError: one of 2 workers ended early" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["careless.py"]


def test_the_workers_of_a_killed_run_end_and_clear_up(tmp_path: Path) -> None:
    script = (
        "from instructrec.datasets import shop\nfrom instructrec.instructions import build_instructions\n"
        "for _ in build_instructions(shop(), 10_000_000).blocks(workers=2, finish=len): print('made', flush=True)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    root = ROOT
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, env=environment, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"made\n"
        assert list(tmp_path.iterdir())
        run.kill()
        run.stdout.read()  # to the end: the workers, who hold it too, are gone
    assert list(tmp_path.iterdir()) == []


def test_an_identity_tells_instruction_datasets_apart(films: Dataset, goods: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(GOOD, "utf-8")
    instruction_datasets = [
        build_instructions(films, 10),
        build_instructions(films, 11),
        build_instructions(films, 10, seed=1),
        build_instructions(films, 10, ["zh", "en"]),
        build_instructions(films, 10, source="history"),
        build_instructions(films, 10, preference_source="oracle"),
        build_instructions(films, 10, context_share=0),
        build_instructions(films, 10, history_length=3),
        build_instructions(films, 10, held_out=True),
        build_instructions(goods, 10),
        build_instructions([films, goods], 10),
        build_instructions(films, 10, ["en"], templates={"en": path}),
        build_instructions(films.with_interactions(films.interactions.iloc[1:]), 10),
    ]
    identities = [json.dumps(dataset.identity()) for dataset in instruction_datasets]
    assert len(set(identities)) == len(instruction_datasets)
    assert json.dumps(build_instructions(films, 10).identity()) == identities[0]
    (own,) = {instruction.template for instruction in instruction_datasets[-2]}
    assert own == "mine"
    assert pickle.loads(pickle.dumps(instruction_datasets[-2])).block(0) == instruction_datasets[-2].block(0)


def test_languages_tasks_and_contexts_can_be_chosen(films: Dataset) -> None:
    instructions = list(generate(films, 60, ["zh"], tasks=["T0", TaskForm.T2], context_share=1.0))
    assert {instruction.language for instruction in instructions} == {"zh"}
    assert {instruction.task for instruction in instructions} == {TaskForm.T0, TaskForm.T2}
    circumstances = [
        text for instruction in instructions for text in instruction.context.as_dict().values() if text
    ]
    assert len(circumstances) >= 60
    assert all(instruction.context.words("zh") in instruction.text for instruction in instructions)
    plain = generate(films, 60, context_share=0.0)
    stated = {
        bool(instruction.context.words())
        for instruction in plain
        if (instruction.preference, instruction.intention) != ("P0", "I0")
    }
    assert stated == {False}


def test_half_of_the_pointwise_answers_are_no(films: Dataset) -> None:
    answers = Counter(instruction.response for instruction in generate(films, 1000, ["en"], tasks=["T0"]))
    assert abs(answers["yes"] - 500) < 80  # five standard deviations


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"n": -1}, "n is -1"),
        ({"n": 1.5}, "n is 1.5"),
        ({"n": True}, "n is True"),
        ({"languages": "en"}, "a list"),
        ({"languages": []}, "a list"),
        ({"languages": ["fr"]}, "unknown language 'fr'"),
        ({"source": "guess"}, "unknown source 'guess'"),
        ({"tasks": ["T8"]}, "unknown TaskForm 'T8'"),
        ({"tasks": []}, "no template"),
        ({"styles": ["rhyme"]}, "unknown Style 'rhyme'"),
        ({"preference_source": "guess"}, "unknown preference_source 'guess'"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"datasets": []}, "datasets is empty"),
        ({"history_length": 0}, "history_length is 0"),
        ({"context_share": 2}, "context_share is 2"),
        ({"context_share": "much"}, "context_share is 'much'"),
        ({"history_length": 2.5}, "history_length is 2.5"),
        ({"history_length": "5"}, "history_length is '5'"),
        ({"held_out": "yes"}, "held_out is 'yes'"),
        ({"languages": 3}, "languages is 3"),
        ({"tasks": "T2"}, "tasks is 'T2'"),
        ({"styles": 2}, "styles is 2"),
        ({"datasets": None}, "datasets is None"),
        ({"datasets": "shop"}, "datasets is 'shop'"),
        ({"datasets": [tiny(), tiny(1)]}, "datasets holds 'tiny' twice"),
        ({"templates": "mine.toml"}, "templates is 'mine.toml'"),
        ({"languages": ["en"], "templates": {"zh": "mine.toml"}}, "unknown language of templates 'zh'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        generate(**{"datasets": tiny(), "n": 1, **arguments})


def test_data_that_cannot_yield_an_instruction_are_refused() -> None:
    dataset = tiny()
    with pytest.raises(InputError, match="no user with two"):
        generate(dataset.with_interactions(dataset.interactions.iloc[:1]), 1)
    pair = Dataset("pair", dataset.users, dataset.items.head(2), dataset.interactions.head(2), "genres")
    pair = pair.with_interactions(pair.interactions.assign(user_id=0, item_id=[10, 20]))
    with pytest.raises(InputError, match="found no fitting event"):
        list(generate(pair, 1, tasks=["T3"]))


def test_data_without_categories_yield_what_needs_none() -> None:
    dataset = tiny()
    bare = replace(dataset, items=dataset.items.drop(columns=["genres", "year"]))
    instructions = list(generate(bare, 100))
    assert {instruction.intention for instruction in instructions} == {Intention.I0}
    assert {instruction.preference for instruction in instructions} == {Preference.P0, Preference.P1}
    with pytest.raises(InputError, match="no categories"):
        generate(bare, 1, styles=["related"])


# -- statistics and files ------------------------------------------------------------------------------------------


def test_statistics_count_words_in_english_and_characters_in_chinese() -> None:
    instructions = [
        Instruction(text, "x", TaskForm.T2, Preference.P0, Intention.I2, language, 1, 2)
        for text, language in [
            ("one two three", "en"),
            ("one two three", "en"),
            ("one", "en"),
            ("推荐 一部电影", "zh"),
        ]
    ]
    table = statistics(iter(instructions)).set_index("language")
    assert table.loc["en", "count"] == 3
    assert table.loc["en", "mean_length"] == pytest.approx(7 / 3)
    assert table.loc["en", "distinct_share"] == pytest.approx(2 / 3)
    assert table.loc["zh", "mean_length"] == 6
    assert list(statistics([]).columns)[-1] == "distinct_share"


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, write) -> None:
    path = tmp_path / "out"
    path.write_text("old", "utf-8")

    def broken():
        yield from islice(generate(tiny(), 5), 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(broken(), path)
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="cannot write"):
        write(generate(tiny(), 1), tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "holds list"),
        ("{}", "lacks intention"),
        ({"task": "T9"}, "unknown TaskForm 'T9'"),
        ({"extra": 1}, "unknown key of an instruction 'extra'"),
        ({"text": 3}, "text of an instruction is 3"),
        ({"target": None}, "target of an instruction is None"),
        ({"history": "1,2"}, "history of an instruction"),
        ({"context": {"weather": "rain"}}, "context of an instruction"),
        ({"context": {"time": 3}}, "time of a context is 3"),
        ({"intention_source": "teacher"}, "unknown intention_source"),
        ({"held_out": "no"}, "held_out of an instruction"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str | dict, says: str) -> None:
    good = next(iter(generate(tiny(), 1))).as_dict()
    wrong = line if isinstance(line, str) else json.dumps({**good, **line})
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(good) + "\n\n" + wrong + "\n", "utf-8")
    reader = read_jsonl(path)
    assert next(reader).as_dict() == good
    with pytest.raises(InputError, match="line 3: ") as caught:
        next(reader)
    assert says in str(caught.value)


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a file"):
        list(read_jsonl(tmp_path / "absent.jsonl"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="not UTF-8"):
        list(read_jsonl(tmp_path / "binary"))


def test_a_context_is_a_phrase() -> None:
    context = Context(time="Friday evening", place="at home")
    assert context.words() == "Friday evening, at home"
    assert Context().words("zh") == ""
