"""Instructions built one by one: sound, without a leak, by rules and by a teacher."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.datasets.dataset import Dataset
from instructrec.instructions import (
    Answer,
    Instruction,
    Intention,
    Preference,
    Style,
    TaskForm,
    build_instructions,
    generate,
    load_templates,
)
from instructrec.instructions.builder import TASTE_LENGTH
from instructrec.instructions.teacher import AnnotationRequest
from instructrec.instructions.verbalizer import Verbalizer
from instructrec.wordings.lexicon import LANGUAGES, lexicon
from tests.instructions.samples import contains_title, tiny


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
    again = dataset.items.assign(  # every film a second time, worded differently
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
