"""Quality: each figure on instructions of which the right value is known, and the faults of single ones."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pandas as pd
import pytest

from instructrec.datasets import movielens_100k, shop
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions import Answer, Intention, Preference, Style, TaskForm, build_instructions
from instructrec.instructions.quality.audit import audit
from instructrec.instructions.quality.counting import distinct_n
from instructrec.instructions.quality.facts import DatasetFacts
from instructrec.instructions.quality.faults import estimate_tokens, faults
from instructrec.instructions.quality.measures import (
    PAPER,
    PartFigures,
    beside_paper,
    paper_table,
    part_figures,
    quality_table,
)
from instructrec.instructions.quality.properties import PROPERTIES, parts_of
from tests.instructions.test_audit import matching, queried, ranking, small, tasteful, turned, wishing
from tools.build_book import ROOT

# User 1 of the small data set has met Alien, Heat and Airplane, and Fargo (Crime, Drama) comes next.


@pytest.fixture(scope="module")
def data() -> Dataset:
    return small()


def shares(instruction: object, data: Dataset, **settings: float) -> set[str]:
    """The properties that the only part of an instruction has, but for the one that chance decides."""
    results = [row for row in part_figures([instruction], data, **settings) if row.part != "instruction"]  # type: ignore
    assert len(results) == 1
    return {name for name, count in results[0].properties.items() if count} - {"chance"}


@pytest.mark.parametrize(
    ("taste", "expected"),
    [
        ("above all Crime, never Romance", "named own reflects related"),
        ("above all Comedy", "named own reflects"),
        ("above all Drama", "named related"),
        ("above all Romance", "named"),
        ("above all Crime and Romance", "named reflects related"),
        ("above all Crime, mostly from the 1970s", "named own reflects related"),
        ("above all Crime, mostly from the 1960s", "named reflects related"),
        ("mostly from the 1970s", "own"),
        ("mostly well-known films, at low prices", ""),
        ("films that are scary", "named own reflects knowledge"),
        ("morally grey heroes in crime films", "named own reflects related knowledge"),
        ("films like Heat or Alien, with crime", "named own reflects related"),
        ("偏爱犯罪、喜剧类，多为1970年代的，大多是有名的电影，从不碰爱情类", "named own reflects related"),
        ("偏爱《盗火线》那样烧脑的犯罪片", "named own reflects related knowledge"),
        ("never Crime", ""),
    ],
)
def test_the_properties_of_a_taste(data: Dataset, taste: str, expected: str) -> None:
    language = "zh" if "偏" in taste else "en"
    assert shares(tasteful(taste, language=language), data) == set(expected.split())


@pytest.mark.parametrize(
    ("wish", "form", "expected"),
    [
        ("Crime", "I2", "named own reflects related"),
        ("Drama", "I2", "named reflects related"),
        ("Comedy", "I2", "named own"),
        ("爱情", "I2", "named"),
        ("a clever scheme that goes wrong", "I1", "named own reflects related knowledge"),
        ("an evening for two", "I1", "named knowledge"),
        ("something with bagpipes", "I1", "knowledge"),
        ('genres = "Drama" and not genres = "Crime"', "condition", "named reflects related"),
        ("comedy, no crime", "condition", "named own"),
    ],
)
def test_the_properties_of_an_intention(data: Dataset, wish: str, form: str, expected: str) -> None:
    intention = Intention.I2 if form == "condition" else Intention(form)
    style = Style.PARAMETRIC if form == "condition" else Style.PLAIN
    language = "zh" if wish == "爱情" else "en"
    instruction = wishing(wish, intention=intention, style=style, language=language)
    assert shares(instruction, data) == set(expected.split())
    assert parts_of(instruction) == [("condition" if form == "condition" else "intention", "history", wish)]


def test_how_much_of_the_history_a_taste_must_hold_of(data: Dataset) -> None:
    assert "reflects" in shares(tasteful("above all Crime"), data, history_share=1 / 3)
    assert "reflects" not in shares(tasteful("above all Crime"), data, history_share=0.34)
    assert "reflects" in shares(tasteful("above all Action", history=(3,)), data, history_share=1.0)
    assert "reflects" in shares(tasteful("above all Crime", history=()), data)


def test_parts_in_the_answer_are_measured_by_the_item_that_came_next(data: Dataset) -> None:
    assert shares(turned("above all Crime"), data) == {"named", "own", "reflects", "related"}
    assert shares(queried("Drama"), data) == {"named", "reflects", "related"}
    last = turned("above all Crime", cut=5, history=(1, 3, 7, 5, 9))
    assert shares(last, data) == {"named", "own", "reflects"}  # nothing came next


def test_counts_lengths_and_cells(data: Dataset) -> None:
    instructions = [
        tasteful("above all Crime"),
        tasteful("above all Crime and Comedy"),
        tasteful("偏爱 犯罪类", language="zh"),
        tasteful("above all Drama", preference_source="oracle"),
        wishing("Crime"),
        matching(),
    ]
    figures = part_figures(iter(instructions), data)
    results = {(row.part, row.source): row for row in figures}
    assert list(results) == [
        ("instruction", "all"),
        ("preference", "history"),
        ("preference", "oracle"),
        ("intention", "history"),
    ]
    taste, whole = results["preference", "history"], results["instruction", "all"]
    assert (taste.count, taste.words, taste.characters) == (3, 4.0, 5.0)
    assert math.isnan(results["intention", "history"].characters)
    assert taste.distinct["en", 1] == 5 / 8
    assert taste.distinct["en", 2] == 4 / 6
    assert whole.count == 6
    assert whole.properties == {}
    assert whole.cells["en"] == {
        (Preference.P2, Intention.I0, TaskForm.T2),
        (Preference.P0, Intention.I2, TaskForm.T2),
        (Preference.P1, Intention.I0, TaskForm.T2),
    }
    assert whole.cells["zh"] == {(Preference.P2, Intention.I0, TaskForm.T2)}


def test_distinct_n() -> None:
    assert distinct_n(["a b a", "A c"], 1) == 3 / 5
    assert distinct_n(["a b a", "A c"], 2) == 3 / 3
    assert distinct_n(["喜剧 喜"], 1, "zh") == 2 / 3
    assert math.isnan(distinct_n(["a"], 2))


def test_distinct_n_is_of_a_sample_of_a_fixed_size(data: Dataset) -> None:
    instructions = [tasteful(f"above all Crime {number}") for number in range(400)]
    few = [part_figures(instructions, data, sample_size=50, seed=seed)[1] for seed in (0, 0, 1)]
    assert few[0] == few[1]
    assert few[0].distinct["en", 1] == (3 + 50) / 200
    assert part_figures(instructions, data, sample_size=400)[1].distinct["en", 1] == (3 + 400) / 1600
    samples = [
        part_figures(instructions, data, sample_size=1, seed=seed)[0].distinct["en", 1] for seed in range(3)
    ]
    assert all(share == 7 / 7 for share in samples)  # "My taste: above all Crime 7. What next?"


def test_the_chance_level_is_that_of_random_items(data: Dataset) -> None:
    instructions = [wishing("Drama")] * 3_000  # four of nine films are dramas
    (whole, wish) = part_figures(instructions, data)
    assert wish.share("chance").low < 4 / 9 < wish.share("chance").high
    assert wish.share("related").mean == 1
    assert whole.count == wish.count


def test_the_table_and_the_paper_beside_it(data: Dataset) -> None:
    table = quality_table([tasteful(), tasteful(preference_source="oracle"), wishing(), ranking()], data)
    assert list(table.columns) == [
        "whole text",
        "preference, history",
        "preference, oracle",
        "intention, history",
    ]
    assert table.loc["count", "whole text"] == "4"
    assert table.loc["cells of 36, English", "whole text"] == "3"
    assert table.loc["characters, Chinese", "preference, history"] == "–"
    assert table.loc["related to the target", "preference, history"].startswith("1.000 [0.2")
    paper_rows = paper_table()
    assert set(paper_rows.index) < set(table.index)
    assert paper_rows.attrs["citation"] == PAPER
    combined = beside_paper(table)
    assert combined.shape == (len(table), table.shape[1] + 3)
    assert list(combined.columns)[:3] == ["preference, paper", "preference, history", "preference, oracle"]
    assert combined.loc["distinct-1, English", "preference, paper"] == "–"


def test_the_papers_figures_and_its_key() -> None:
    paper_rows = paper_table()
    assert paper_rows.loc["count"].tolist() == ["151,638", "101,092", "252,730"]
    judged = paper_rows.loc[[PROPERTIES[key] for key in ("own", "knowledge", "reflects", "related")]]
    assert [float(cell.split()[0]) for cell in judged["preference, paper"]] == [0.93, 0.87, 0.88, 0.48]
    assert [float(cell.split()[0]) for cell in judged["intention, paper"]] == [0.90, 0.22, 0.69, 0.69]
    bibliography = ROOT / "book" / "references.bib"
    assert re.search(rf"@\w+{{{PAPER},", bibliography.read_text("utf-8"))


def test_arguments_that_are_refused(data: Dataset) -> None:
    with pytest.raises(InputError, match="history_share is 0; a number above 0"):
        quality_table([], data, history_share=0)
    with pytest.raises(InputError, match="sample_size is 0; a whole number"):
        quality_table([], data, sample_size=0)
    with pytest.raises(InputError, match="unknown data set of an instruction 'elsewhere'"):
        quality_table([matching(dataset="elsewhere")], data)


@pytest.mark.parametrize("source", ["oracle", "history"])
def test_what_the_rules_say_of_their_source_is_what_is_measured(source: str) -> None:
    datasets = [movielens_100k(), shop()]
    instructions = build_instructions(
        datasets, 3_000, source=source, preference_source="history", held_out=None
    )
    results: dict[str, PartFigures] = {row.part: row for row in part_figures(instructions, datasets)}
    assert {len(cells) for cells in results["instruction"].cells.values()} == {36}
    taste, wish = results["preference"], results["intention"]
    assert taste.properties["own"] == taste.count  # history means history
    assert taste.properties["knowledge"] == 0  # rules know nothing of the world
    assert taste.share("related").low > taste.share("chance").high
    assert wish.properties["related"] == wish.properties["reflects"]
    if source == "oracle":
        assert wish.properties["related"] == wish.count
        assert wish.properties["own"] < wish.count
    else:
        assert wish.properties["own"] == wish.count
        assert wish.share("chance").high < wish.share("related").mean < 0.9


# -- faults ----------------------------------------------------------------------------------------------------------


def stated(wish: str, **changes: object) -> object:
    """Reranking with an intention; Fargo is among the candidates."""
    settings = {"intention": Intention.I2, "intention_text": wish, "intention_source": "oracle"}
    return ranking(**{**settings, **changes})


FAULTY = {
    "ambiguous: 3 of 3 candidates fit 'Drama'": stated("Drama"),
    "ambiguous: 2 of 3 candidates fit 'year > 1990'": stated("year > 1990", style=Style.PARAMETRIC),
    "the target does not meet the condition 'genres = \"Comedy\"'": stated(
        'genres = "Comedy"', style=Style.PARAMETRIC
    ),
    "the wish contradicts the target: Comedy against Crime, Drama": wishing("Comedy"),
    "the wish contradicts the target: Romance against Crime, Drama": wishing(
        "an evening for two", intention=Intention.I1
    ),
    "the target is unlike the taste: Crime, Drama against Comedy, Horror": tasteful(
        "above all Horror, Comedy"
    ),
    "preference and intention are at odds over Crime": wishing(
        "Crime", preference=Preference.P2, preference_text="above all Drama, never Crime"
    ),
    "preference and intention are at odds over Drama": wishing(
        "crime, no drama", preference=Preference.P2, preference_text="above all Drama", style=Style.PARAMETRIC
    ),
    "too long: about 514 tokens, 512 can be read": matching(text="长" * 512),
    "a title stands twice among the candidates: 'fargo'": ranking(candidates=(10, 5)),
    "a title stands twice among the candidates: one item": ranking(candidates=(5, 5)),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_fault_is_named(data: Dataset, fault: str) -> None:
    remake = data.items[data.items["item_id"] == 5].assign(item_id=10, title_zh=None)
    more = replace(data, items=pd.concat([data.items, remake], ignore_index=True))
    results = faults(FAULTY[fault], more)  # type: ignore[arg-type]
    assert fault in results
    assert len(results) == (2 if fault.endswith("over Drama") else 1), (
        results
    )  # Fargo is no "crime, no drama" either


@pytest.mark.parametrize(
    "instruction",
    [
        matching(),
        ranking(),
        stated("Crime"),
        stated("Crime, Drama"),
        stated("Drama", intention=Intention.I1),
        stated("Drama", answer=Answer.INTENTION),
        tasteful(),
        wishing("Crime"),
        turned(),
        queried(),
        ranking(language="zh", text="看过《Airplane》《Heat》，选一部：\n1. 卡萨布兰卡\n2. Fargo\n3. 狂宴"),
    ],
    ids=lambda instruction: (
        f"{instruction.intention}-{instruction.task}-{instruction.answer}-{instruction.language}"
    ),
)
def test_a_good_one_has_no_fault(data: Dataset, instruction: object) -> None:
    assert faults(instruction, data) == []  # type: ignore[arg-type]


def test_the_estimate_of_tokens() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("four") == 1
    assert estimate_tokens("fours") == 2
    assert estimate_tokens("看《Heat》吧") == 4 + 1


def test_generated_instructions_have_the_faults_of_their_source() -> None:
    films = movielens_100k()
    facts = DatasetFacts(films)
    oracle = [faults(instruction, facts) for instruction in build_instructions(films, 400, source="oracle")]
    history = [faults(instruction, facts) for instruction in build_instructions(films, 400, source="history")]
    assert not [fault for results in oracle for fault in results if "wish contradicts" in fault]
    assert sum("wish contradicts" in fault for results in history for fault in results) > 20
    assert 0 < sum(bool(results) for results in oracle) < 300
    assert audit(build_instructions(films, 400, source="history"), facts).passed
