"""Instruction datasets: blocks, workers, identity and arguments; statistics and files."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions import (
    Context,
    Instruction,
    Intention,
    Preference,
    TaskForm,
    build_instructions,
    generate,
    read_jsonl,
    statistics,
    write_jsonl,
    write_parquet,
)
from instructrec.instructions.instruction_dataset import BLOCK
from tests.instructions.samples import TEMPLATE, tiny
from tools.build_book import ROOT


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
    path.write_text(TEMPLATE, "utf-8")
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
