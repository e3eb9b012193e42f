"""Templates of instructions: the package's own, files of one's own, and what is refused."""

from __future__ import annotations

import re
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from instructrec.errors import InputError
from instructrec.instructions import (
    Answer,
    Intention,
    Preference,
    Style,
    TaskForm,
    load_templates,
)
from instructrec.wordings.lexicon import LANGUAGES
from tests.instructions.samples import TEMPLATE


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


def test_a_template_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(TEMPLATE, "utf-8")
    (template,) = load_templates("en", path)
    assert template.render({"history": "{{ Alien }}; <Heat>"}) == "After {{ Alien }}; <Heat>?"
    with pytest.raises(InputError, match="'mine'.*history"):
        template.render({})


def test_a_template_may_have_its_wordings_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        TEMPLATE.replace("variants =", "variants.en =") + 'variants.zh = ["看过{{ history }}之后呢？"]\n',
        "utf-8",
    )
    for language, text in (("en", "After Alien?"), ("zh", "看过Alien之后呢？")):
        (template,) = load_templates(language, path)
        assert (template.id, template.language) == (f"{language}-mine", language)
        assert template.render({"history": "Alien"}) == text
    path.write_text(TEMPLATE.replace("variants =", "variants.en ="), "utf-8")
    with pytest.raises(InputError, match=r"'mine' in .*, line 8: variants\.zh is missing"):
        load_templates("zh", path)
    path.write_text(TEMPLATE.replace("variants =", "variants.fr ="), "utf-8")
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
    first = TEMPLATE.replace('"mine"', '"first"')
    path.write_text(first + TEMPLATE.replace(old, new), "utf-8")
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
        TEMPLATE.replace(
            '["After {{ history }}?"]', '[\n  "After {{ history }}?",\n  "{{ history }} {{ titel }}",\n]'
        ),
        "utf-8",
    )
    with pytest.raises(InputError, match="line 10: unknown field 'titel'"):
        load_templates("en", path)


def test_a_template_with_more_than_fields_is_filled_by_jinja(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    wording = "{% if context %}{{ context }}{% else %}Now: {% endif %}after {{ history | upper }}"
    path.write_text(TEMPLATE.replace("After {{ history }}?", wording), "utf-8")
    (template,) = load_templates("en", path)
    assert template.render({"history": "Alien", "context": ""}) == "Now: after ALIEN"
    with pytest.raises(InputError, match="'mine'.*context"):
        template.render({"history": "Alien"})
    path.write_text(
        TEMPLATE.replace("After {{ history }}?", "{% if context %}{{ history }}{% endif %}"), "utf-8"
    )
    (template,) = load_templates("en", path)
    assert template.render({"history": "Alien", "context": "Monday. "}) == "Alien"
    with pytest.raises(InputError, match="'mine' gives an empty text"):
        template.render({"history": "Alien", "context": ""})


def test_a_wrong_template_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    for content in ("", "not toml [", "other = 1", TEMPLATE + TEMPLATE):
        path.write_text(content, "utf-8")
        with pytest.raises(InputError, match=r"own\.toml"):
            load_templates("en", path)
    with pytest.raises(InputError, match="cannot be read"):
        load_templates("en", tmp_path / "absent.toml")
    with pytest.raises(InputError, match="unknown language 'fr'"):
        load_templates("fr")
