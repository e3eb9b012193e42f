"""The audit: every kind of leak is caught where it is planted, and what leaks nothing passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
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
)
from instructrec.instructions.quality.audit import (
    LEAKS,
    MAX_EXAMPLES,
    audit,
    future_proof,
    without_future,
)
from instructrec.instructions.quality.facts import DatasetFacts
from instructrec.instructions.verbalizer import Verbalizer


def small() -> Dataset:
    """Nine films in two languages; user 1 meets 1, 3, 7, 5, 9, the third and the fourth in one second, 1 twice."""
    items = pd.DataFrame(
        [
            (1, "Alien", "异形", ("Sci-Fi", "Horror"), 1979),
            (2, "Aliens", "异形续集", ("Sci-Fi", "Action"), 1986),
            (3, "Heat", "盗火线", ("Crime", "Action"), 1995),
            (4, "Big", "长大", ("Comedy",), 1988),
            (5, "Fargo", "冰血暴", ("Crime", "Drama"), 1996),
            (6, "Casablanca", "卡萨布兰卡", ("Drama", "Romance"), 1942),
            (7, "Airplane", None, ("Comedy",), 1980),
            (8, "The Theatre", "剧场", ("Drama",), 1990),
            (9, "Big Night", "狂宴", ("Comedy", "Drama"), 1996),
        ],
        columns=["item_id", "title", "title_zh", "genres", "year"],
    )
    events = [(1, 1, 100), (1, 3, 200), (2, 6, 250), (1, 7, 300), (1, 5, 300), (2, 8, 300), (1, 1, 350)]
    events += [(1, 9, 400), (2, 4, 500)]
    interactions = pd.DataFrame(events, columns=["user_id", "item_id", "timestamp"]).assign(rating=np.nan)
    return Dataset("small", pd.DataFrame({"user_id": [1, 2]}), items, interactions, "genres")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return small()


def matching(**changes: Any) -> Instruction:
    """A clean instruction: user 1 is to be offered Fargo, the fourth film, after the first three."""
    instruction = Instruction(
        text="I have watched Alien; Heat; Airplane. What next?",
        response="Fargo",
        task=TaskForm.T2,
        preference=Preference.P1,
        intention=Intention.I0,
        language="en",
        user_id=1,
        target=5,
        history=(1, 3, 7),
        template="mine",
        dataset="small",
        preference_source="history",
        cut=3,
    )
    return replace(instruction, **changes)


def ranking(**changes: Any) -> Instruction:
    text = "After Alien; Heat; Airplane, which one?\n1. Casablanca\n2. Fargo\n3. Big Night"
    return matching(**{"text": text, "task": TaskForm.T3, "candidates": (6, 5, 9), **changes})


def tasteful(taste: str = "above all Crime and Comedy, never Romance", **changes: Any) -> Instruction:
    changes = {"preference": Preference.P2, "preference_text": taste, **changes}
    return matching(**{"text": f"My taste: {taste}. What next?", **changes})


def wishing(wish: str = "Crime", **changes: Any) -> Instruction:
    stated = {"intention": Intention.I2, "intention_text": wish, "intention_source": "history"}
    plain = {"preference": Preference.P0, "preference_source": None, "text": f"Something like this: {wish}."}
    return matching(**{**plain, **stated, **changes})


def turned(taste: str = "above all Crime and Comedy", **changes: Any) -> Instruction:
    asked = {"text": "What taste do Alien; Heat; Airplane show?", "target": None, "answer": Answer.PREFERENCE}
    return tasteful(taste, **{**asked, "style": Style.TURNED_ROUND, "response": taste, **changes})


def queried(wish: str = "Crime, Drama", **changes: Any) -> Instruction:
    asked = {"text": 'Which query leads to "Fargo"?', "target": None, "candidates": (5,), "history": ()}
    turned_round = {"answer": Answer.INTENTION, "style": Style.TURNED_ROUND, "intention_source": "oracle"}
    return wishing(wish, **{**asked, **turned_round, "response": wish, **changes})


CLEAN = {
    "matching": matching(),
    "ranking": ranking(),
    "Chinese, with one title that is shown in English": ranking(
        language="zh", text="看过《异形》《盗火线》《Airplane》，选一部：\n1. 卡萨布兰卡\n2. 冰血暴\n3. 狂宴"
    ),
    "a candidate's title within another's": ranking(
        text="Which one?\n1. Big Night\n2. Big", candidates=(9, 4), user_id=2, target=4, cut=2, history=(6,)
    ),
    "a longer word that begins like the title": matching(
        text="After the theatre?", target=3, cut=1, history=(1,)
    ),
    "no to the item shown": matching(text='Is "Casablanca" right?', task=TaskForm.T0, candidates=(6,)),
    "what is avoided": tasteful(),
    "what is avoided, in Chinese": tasteful("偏爱犯罪、喜剧类，从不碰爱情类", language="zh"),
    "an oracle's taste": tasteful("above all Drama", preference_source="oracle"),
    "categories before the cut": wishing("Crime, Comedy"),
    "an oracle's categories": wishing("Crime, Drama", intention_source="oracle"),
    "a wish": wishing("a clever scheme that goes wrong", intention=Intention.I1),
    "a condition": wishing('genres = "Crime" and not genres = "Romance"', style=Style.PARAMETRIC),
    "a condition in words": wishing("crime, no romance", style=Style.PARAMETRIC),
    "turned round": turned(),
    "a query": queried(),
    "the first request of all": matching(text="Anything?", target=1, cut=0, history=()),
    "the words of a drawn circumstance": queried(
        "Drama",
        text='In a drama class: which query leads to "Fargo"?',
        context=Context(place="In a drama class"),
    ),
}
PLANTED = [
    ("moment", matching(user_id=99)),
    ("moment", matching(cut=9)),
    ("moment", matching(cut=5)),
    ("moment", turned(cut=6)),
    ("moment", matching(target=6)),
    ("history", matching(history=(1, 3, 5))),
    ("history", matching(history=(1, 9))),
    ("history", matching(history=(1, 404))),
    ("history", turned(history=(1, 5))),
    ("candidates", ranking(candidates=(6, 5, 3))),
    ("title", matching(text="I have watched Alien; Heat; Fargo. What next?")),
    ("title", matching(text="Not FARGO, please.")),
    ("title", matching(text="《冰血暴》那样的？")),
    ("title", matching(text="After Fargo Forever?")),
    ("title", ranking(text="After Fargo, which one?\n1. Casablanca\n2. Fargo\n3. Big Night")),
    ("title", ranking(text="After 冰血暴, which one?\n1. Casablanca\n2. Fargo\n3. Big Night")),
    ("title", matching(text='Like Fargo: is "Casablanca" right?', task=TaskForm.T0, candidates=(6,))),
    ("title", turned(text="What taste do Alien; Heat; Fargo show?")),
    ("title", queried(text='Which query leads to "Fargo", that is, 冰血暴?')),
    ("title in words", turned("above all Crime, such as Fargo")),
    ("title in words", turned("偏爱《冰血暴》那样的犯罪类", language="zh")),
    ("title in words", queried("the one called Fargo", intention=Intention.I1)),
    ("answer", turned(text="Above all crime and comedy: what taste do Alien and Heat show?")),
    ("answer", queried(text='Which query leads to "Fargo"? Crime,  drama?')),
    ("answer", turned("")),
    (
        "answer",
        tasteful(answer=Answer.REASONED_ITEM, style=Style.CHAIN_OF_THOUGHT),
    ),
    ("preference source", tasteful("above all Crime and Romance")),
    ("preference source", tasteful("偏爱犯罪、爱情类", language="zh")),
    ("preference source", tasteful("never Comedy but Romance")),
    ("intention source", wishing("Crime, Drama")),
    ("intention source", wishing("犯罪、剧情", language="zh")),
    ("intention source", wishing("an evening for two", intention=Intention.I1)),
    ("intention source", wishing('genres = "Romance" or genres = "Crime"', style=Style.PARAMETRIC)),
    ("intention source", wishing("不要犯罪的爱情片", style=Style.PARAMETRIC, language="zh")),
    ("held out", matching(held_out=True)),
    ("held out", matching(template="en-int-i2-t2-held")),
]


@pytest.mark.parametrize("name", CLEAN)
def test_what_leaks_nothing_passes(data: Dataset, name: str) -> None:
    result = audit([CLEAN[name]], data)
    assert result.passed, result.examples
    assert result.n == 1


@pytest.mark.parametrize(
    ("kind", "instruction"), PLANTED, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(PLANTED)]
)
def test_a_planted_leak_is_caught_as_what_it_is(data: Dataset, kind: str, instruction: Instruction) -> None:
    result = audit([*CLEAN.values(), instruction], data)
    assert {name for name, count in result.leaks.items() if count} == {kind}, result.examples
    assert result.leaks[kind] == 1
    assert not result.passed
    (example,) = result.examples[kind]
    assert example.startswith(
        f"number {len(CLEAN) + 1} ({instruction.template}, user {instruction.user_id}): "
    )


def test_every_kind_is_planted_and_none_of_the_clean_ones_goes_unchecked(data: Dataset) -> None:
    assert {kind for kind, _ in PLANTED} == set(LEAKS)
    table = audit(CLEAN.values(), data).table()
    assert list(table.index) == list(LEAKS)
    assert (table["checked"] > 0).all()
    assert (table["leaks"] == 0).all()
    assert (table["example"] == "").all()


@given(
    st.integers(0, 50), st.sampled_from(["Fargo", "fargo", "FARGO", "冰血暴"]), st.sampled_from(" \n\"'(《-")
)
def test_a_title_is_found_at_any_position(position: int, title: str, mark: str) -> None:
    data = FACTS
    for instruction in (matching(), ranking()):
        text = instruction.text[:position] + mark + title + mark + instruction.text[position:]
        assert audit([replace(instruction, text=text)], data).leaks["title"] == 1


FACTS = DatasetFacts(small())


@pytest.mark.parametrize(
    "spelling", ["Ｔｈｅ Ｔｈｅａｔｒｅ", "theatre, the", "the théâtre", "THE  THEATRE", "剧场"]
)
def test_a_title_is_found_however_it_is_said(spelling: str) -> None:
    log = FACTS.dataset.interactions.assign(timestamp=range(len(FACTS.dataset.interactions)))
    data = FACTS.dataset.with_interactions(log)
    instructions = [
        instruction
        for instruction in build_instructions(data, 300, tasks=["T2"], source="history")
        if instruction.target == 8
    ]
    assert instructions
    for instruction in instructions[:5]:
        assert audit([instruction], data).passed
        assert audit([replace(instruction, text=f"{instruction.text} {spelling}")], data).leaks["title"] == 1


def test_a_stream_is_read_once_and_few_examples_are_kept(data: Dataset) -> None:
    def stream() -> Iterator[Instruction]:
        for _ in range(50):
            yield matching(target=6)

    result = audit(stream(), data)
    assert result.n == result.leaks["moment"] == 50
    assert len(result.examples["moment"]) == MAX_EXAMPLES
    assert audit(iter(()), data).passed


def test_instructions_of_several_data_sets(data: Dataset) -> None:
    other = replace(small(), name="other")
    with pytest.raises(InputError, match=r"unknown data set of an instruction 'elsewhere'.*small, other"):
        audit([matching(dataset="elsewhere")], [data, other])
    with pytest.raises(InputError, match="one name twice"):
        audit([], [data, data])
    with pytest.raises(InputError, match="datasets is empty"):
        audit([], [])
    assert audit([matching(), matching(dataset="other")], [data, other]).passed
    assert audit([matching(dataset="")], data).passed


def test_templates_of_ones_own_say_what_is_held_out(data: Dataset) -> None:
    template = next(iter(build_instructions([data], 1, languages=["en"], held_out=True).templates["en"]))
    own = replace(template, id="mine")
    assert audit([matching(held_out=True)], data, templates=[own]).passed
    assert audit([matching()], data, templates=[own]).leaks["held out"] == 1


@pytest.mark.parametrize("source", ["oracle", "history"])
def test_what_is_generated_leaks_nothing(source: str) -> None:
    datasets = [movielens_100k(), shop()]
    instructions = build_instructions(
        datasets, 2_000, source=source, preference_source=source, held_out=None, seed=3
    )
    result = audit(instructions, datasets)
    assert result.passed, result.examples
    assert result.n == 2_000
    kinds = set(LEAKS) - {f"{part} source" for part in ("preference", "intention") if source == "oracle"}
    assert {kind for kind, count in result.checked.items() if count > 100} == kinds


def test_a_generated_instruction_that_is_tampered_with_is_caught() -> None:
    goods = shop()
    titles = goods.items.set_index("item_id")["title_zh"]
    facts = DatasetFacts(goods)
    for instruction in build_instructions(goods, 300, languages=["zh"], tasks=["T2", "T3"], styles=["plain"]):
        tampered = replace(instruction, text=f"{instruction.text}\n（比如{titles[instruction.target]}）")
        assert audit([tampered], facts).leaks["title"] == 1, tampered.text


# -- the future ------------------------------------------------------------------------------------------------------


def test_without_future_keeps_the_past_and_the_choice(data: Dataset) -> None:
    past = without_future(data, matching()).interactions
    assert list(zip(past["user_id"], past["item_id"], strict=True)) == [
        (1, 1),
        (1, 3),
        (2, 6),
        (1, 7),
        (1, 5),
    ]
    scrambled = without_future(data, matching(), "scramble").interactions
    assert len(scrambled) == data.n_interactions
    pd.testing.assert_frame_equal(scrambled.head(5), past.reset_index(drop=True))
    assert (scrambled["timestamp"].iloc[5:] >= 300).all()
    assert not scrambled.equals(without_future(data, matching(), "scramble", seed=1).interactions)
    again = without_future(data, matching(target=9, cut=4, history=(1, 3, 7, 5))).interactions
    assert len(again) == 8  # the second event with item 1 is no second item, and it lies before the choice
    with pytest.raises(InputError, match="'delete' or 'scramble' is accepted"):
        without_future(data, matching(), "burn")
    with pytest.raises(InputError, match="cut 9 of user 1, who has 5 items"):
        without_future(data, matching(cut=9))


def verbalized(instruction: Instruction, known: Dataset) -> tuple[str, str]:
    """What the rules say of an instruction's history: its titles, and the taste that they show at its moment."""
    timeline = DatasetFacts(known).timeline(instruction.user_id)
    assert timeline is not None
    verbalizer = Verbalizer(known, instruction.language)
    taste = verbalizer.taste(instruction.history, timeline.times[instruction.cut])
    return verbalizer.history(instruction.history), taste


def test_what_uses_the_future_is_not_future_proof(data: Dataset) -> None:
    assert not future_proof(lambda known: known.n_interactions, data, matching())
    assert not future_proof(lambda known: known.popularity[9], data, matching())
    assert future_proof(lambda known: len(known.items), data, matching())
    assert future_proof(lambda known: verbalized(matching(), known), data, matching())


@pytest.mark.parametrize("load", [movielens_100k, shop])
def test_tastes_and_histories_are_told_without_the_future(load: Any) -> None:
    dataset = load()
    n_compared = 0
    for instruction in build_instructions(
        dataset, 12, styles=["plain", "turned_round"], tasks=["T2", "T3"], seed=5
    ):
        if instruction.preference == Preference.P0:
            continue
        titles, taste = verbalized(instruction, dataset)
        if instruction.preference == Preference.P2:
            assert taste == instruction.preference_text
        else:
            assert titles in instruction.text
        assert future_proof(
            lambda known, instruction=instruction: verbalized(instruction, known), dataset, instruction
        )  # type: ignore[misc]
        n_compared += 1
    assert n_compared >= 4
