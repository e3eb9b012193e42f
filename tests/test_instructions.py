"""Instructions: templates, generation in two languages, statistics, files."""

from __future__ import annotations

import json
import time
from collections import Counter
from itertools import islice
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
    Context,
    Instruction,
    Intention,
    Preference,
    TaskForm,
    generate,
    load_templates,
    read_jsonl,
    statistics,
    write_jsonl,
    write_parquet,
)
from instructrec.instructions.annotate import Annotator
from instructrec.instructions.generate import contains_title
from instructrec.instructions.lexicon import LANGUAGES, category_names, lexicon

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
    assert len(templates) >= 20
    assert len({template.id for template in templates}) == len(templates)
    assert {template.task for template in templates} == set(TaskForm)
    assert {template.preference for template in templates} == set(Preference)
    assert {template.intention for template in templates} == set(Intention)
    assert {template.kind for template in templates} == {"preference", "intention", "combined"}
    assert any(template.held_out for template in templates)
    wordings = [text for template in templates for text in template.variants]
    assert len(set(wordings)) == len(wordings)


def test_the_languages_offer_the_same_kinds_of_templates() -> None:
    kinds = [
        Counter((one.task, one.preference, one.intention, one.held_out) for one in load_templates(language))
        for language in LANGUAGES
    ]
    assert kinds[0] == kinds[1]


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
    ],
)
def test_a_wrong_template_is_refused_with_its_id_and_file(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(GOOD.replace(old, new), "utf-8")
    with pytest.raises(InputError) as caught:
        load_templates("en", path)
    assert says in str(caught.value)
    assert "'mine'" in str(caught.value)
    assert "own.toml" in str(caught.value)


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
        known = lexicon()["categories"]
        for name in names - {"unknown"}:
            assert known[name.casefold()]["wishes_en"], name
            assert known[name.casefold()]["wishes_zh"], name


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
    dataset = Dataset("four", items[["item_id"]].head(0), items, items.head(0), "genres")
    english, chinese = Annotator(dataset, "en"), Annotator(dataset, "zh")
    assert (
        english.taste([1, 2, 3]) == "above all Horror, Comedy and Drama, mostly from the 1980s, at low prices"
    )
    assert chinese.taste([1, 2]) == "偏爱恐怖、喜剧类，多为1980年代的，价格偏低"
    assert english.taste([4]) == "at high prices"
    assert english.moment(0) == "Thursday night"
    assert chinese.moment(86_400 * 2 + 3_600 * 20) == "周六晚上"


# -- generation ----------------------------------------------------------------------------------------------------


def check(one: Instruction, dataset: Dataset) -> None:
    titles = [Annotator(dataset, language).titles for language in LANGUAGES]
    own = titles[LANGUAGES.index(one.language)]
    check_with(one, dataset, titles, own)


def check_with(one: Instruction, dataset: Dataset, titles: list[dict], own: dict) -> None:
    bare = one.text
    for title in sorted({*own.values()}, key=len, reverse=True):
        if title in bare:
            bare = bare.replace(title, "·")
    assert not any(mark in bare for mark in ("{{", "}}", "{%", "None", "nan", "()", "[]")), one.text
    assert bare == bare.strip()
    assert one.target not in one.history
    if one.task == TaskForm.T2:
        assert one.candidates == ()
        assert one.response == own[one.target]
        assert not any(contains_title(one.text, known[one.target]) for known in titles)
    elif one.task == TaskForm.T3:
        assert one.response == own[one.target]
        assert one.target in one.candidates
        assert one.response in [own[item] for item in one.candidates]
        assert len({own[item] for item in one.candidates}) == len(one.candidates)
    elif one.task == TaskForm.T1:
        assert len(one.candidates) == 2
        assert one.candidates["AB".index(one.response)] == one.target
    else:
        (shown,) = one.candidates
        assert one.response == {"en": ("no", "yes"), "zh": ("否", "是")}[one.language][shown == one.target]
    assert not set(one.candidates) & set(one.history)
    assert (one.intention_source is None) == (one.intention == Intention.I0)
    if one.preference == Preference.P0 and one.intention_source != "history":
        assert one.history == ()
    assert Instruction.from_dict(json.loads(json.dumps(one.as_dict()))) == one


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
    made = list(
        generate(dataset, 12, seed=seed, source=source, held_out=held_out, history_length=history_length)
    )
    assert len(made) == 12
    for one in made:
        check(one, dataset)
        assert len(one.history) <= history_length
        assert held_out is None or one.held_out == held_out


@pytest.mark.parametrize("source", ["oracle", "history"])
@pytest.mark.parametrize("name", ["films", "goods"])
def test_instructions_from_real_data_are_sound(
    name: str, source: str, request: pytest.FixtureRequest
) -> None:
    dataset: Dataset = request.getfixturevalue(name)
    titles = [Annotator(dataset, language).titles for language in LANGUAGES]
    for one in generate(dataset, 150, seed=1, source=source, held_out=None):
        check_with(one, dataset, titles, titles[LANGUAGES.index(one.language)])
        if one.task == TaskForm.T3:
            assert len(one.candidates) == 10


def test_the_history_is_what_came_just_before_the_target(films: Dataset) -> None:
    histories = films.histories()
    for one in generate(films, 200, seed=2):
        if one.history:
            story = list(dict.fromkeys(histories[one.user_id]))
            cut = story.index(one.target)
            assert list(one.history) == story[max(0, cut - 10) : cut]


@pytest.mark.parametrize("source", ["oracle", "history"])
def test_nothing_after_the_cut_is_used(source: str) -> None:
    dataset = tiny(seed=3)
    made = next(iter(generate(dataset, 1, seed=4, source=source)))
    story = dataset.ordered[dataset.ordered["user_id"] == made.user_id]
    cut = int(np.flatnonzero((story["item_id"] == made.target).to_numpy())[0])
    later = story.index[cut + 1 :]
    changed = dataset.interactions.copy()
    changed.loc[later, "item_id"] = np.resize(story.loc[later, "item_id"].to_numpy()[::-1], len(later))
    again = next(iter(generate(dataset.with_interactions(changed), 1, seed=4, source=source)))
    assert again == made


def test_an_intention_from_history_does_not_depend_on_the_target() -> None:
    dataset = tiny(seed=5)
    annotator = Annotator(dataset, "en")
    for one in generate(dataset, 100, ["en"], seed=6, source="history"):
        if one.intention == Intention.I2:
            assert annotator.join(annotator.labels(one.history)) in one.text


def test_the_same_seed_gives_the_same_and_a_shorter_run_is_its_beginning(films: Dataset) -> None:
    long = list(generate(films, 40, seed=7))
    assert long == list(generate(films, 40, seed=7))
    assert long[:10] == list(generate(films, 10, seed=7))
    assert long != list(generate(films, 40, seed=8))
    assert list(generate(films, 0)) == []


def test_languages_tasks_and_contexts_can_be_chosen(films: Dataset) -> None:
    made = list(generate(films, 60, ["zh"], tasks=["T0", TaskForm.T2], context_share=1.0))
    assert {one.language for one in made} == {"zh"}
    assert {one.task for one in made} == {TaskForm.T0, TaskForm.T2}
    assert all(one.context.time and one.text.startswith(one.context.time) for one in made)
    assert not any(one.context.time for one in generate(films, 20, context_share=0.0))


def test_half_of_the_pointwise_answers_are_no(films: Dataset) -> None:
    answers = Counter(one.response for one in generate(films, 1000, ["en"], tasks=["T0"]))
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
        ({"history_length": 0}, "history_length is 0"),
        ({"context_share": 2}, "context_share is 2"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        generate(tiny(), **{"n": 1, **arguments})


def test_data_that_cannot_yield_an_instruction_are_refused() -> None:
    dataset = tiny()
    with pytest.raises(InputError, match="no user with two"):
        generate(dataset.with_interactions(dataset.interactions.iloc[:1]), 1)
    pair = Dataset("pair", dataset.users, dataset.items.head(2), dataset.interactions.head(2), "genres")
    pair = pair.with_interactions(pair.interactions.assign(user_id=0, item_id=[10, 20]))
    with pytest.raises(InputError, match="found no fitting event"):
        list(generate(pair, 1, tasks=["T3"]))


def test_ten_thousand_take_seconds(films: Dataset) -> None:
    start = time.process_time()  # not the clock on the wall: tests may share the machine
    count = sum(1 for _ in generate(films, 10_000))
    assert count == 10_000
    assert time.process_time() - start < 20  # 1.4 s where this was written


# -- statistics and files ------------------------------------------------------------------------------------------


def test_statistics_count_words_in_english_and_characters_in_chinese() -> None:
    made = [
        Instruction(text, "x", TaskForm.T2, Preference.P0, Intention.I2, language, 1, 2)
        for text, language in [
            ("one two three", "en"),
            ("one two three", "en"),
            ("one", "en"),
            ("推荐 一部电影", "zh"),
        ]
    ]
    table = statistics(iter(made)).set_index("language")
    assert table.loc["en", "count"] == 3
    assert table.loc["en", "mean_length"] == pytest.approx(7 / 3)
    assert table.loc["en", "distinct_share"] == pytest.approx(2 / 3)
    assert table.loc["zh", "mean_length"] == 6
    assert list(statistics([]).columns)[-1] == "distinct_share"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    made = list(generate(tiny(), 30))
    assert write_jsonl(iter(made), tmp_path / "a.jsonl") == 30
    assert list(read_jsonl(tmp_path / "a.jsonl")) == made
    assert write_parquet(iter(made), tmp_path / "a.parquet") == 30
    table = pd.read_parquet(tmp_path / "a.parquet")
    assert table["text"].tolist() == [one.text for one in made]
    assert table["target"].tolist() == [one.target for one in made]
    assert [tuple(row) for row in table["candidates"]] == [one.candidates for one in made]
    assert write_parquet([], tmp_path / "none.parquet") == 0
    assert len(pd.read_parquet(tmp_path / "none.parquet")) == 0


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


def test_ids_of_mixed_types_are_no_table(tmp_path: Path) -> None:
    mixed = [
        Instruction("t", "r", TaskForm.T2, Preference.P0, Intention.I2, "en", 1, target)
        for target in (1, "b")
    ]
    with pytest.raises(InputError, match="one type"):
        write_parquet(mixed, tmp_path / "x.parquet")
    assert not list(tmp_path.iterdir())


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
