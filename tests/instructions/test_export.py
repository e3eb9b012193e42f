"""Instructions as files: forms, interruptions and data cards."""

from __future__ import annotations

import gzip
import json
import pickle
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from instructrec.datasets import shop
from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.errors import InputError
from instructrec.instructions import export
from instructrec.instructions.data_card import KEY_FIELDS
from instructrec.instructions.export import write_instructions, write_jsonl, write_parquet
from instructrec.instructions.instruction_dataset import build_instructions
from instructrec.instructions.json_lines import FORMS, encode, read_jsonl
from instructrec.instructions.schema import (
    Answer,
    Context,
    Instruction,
    Intention,
    Preference,
    Style,
    TaskForm,
)

TEXTS = ('say "it"\n\\', "请推荐一部电影", "\u2028 line\u2029", "😀 \x00 end", "a, b: {c}")
BLOCK = 10


def make(number: int, ids: type = int) -> Instruction:
    """An instruction that is a function of its number, with texts that are awkward to write."""
    draw = random.Random(number)
    words = draw.random() < 0.3
    return Instruction(
        text=f"{draw.choice(TEXTS)} {number}",
        response=draw.choice(TEXTS),
        task=draw.choice(list(TaskForm)),
        preference=draw.choice(list(Preference)),
        intention=draw.choice(list(Intention)),
        language=draw.choice(["en", "zh"]),
        user_id=ids(number),
        target=None if words else ids(draw.randrange(1000)),
        history=tuple(ids(draw.randrange(1000)) for _ in range(draw.randrange(4))),
        candidates=tuple(ids(draw.randrange(1000)) for _ in range(draw.randrange(3))),
        template="en-pref-p1-t2",
        intention_source=draw.choice([None, "oracle", "history"]),
        context=Context(time=draw.choice([None, "周五晚上"]), place="at home" if number % 2 else None),
        held_out=draw.random() < 0.5,
        dataset="tiny",
        style=draw.choice(list(Style)),
        answer=Answer.PREFERENCE if words else Answer.ITEM,
        preference_source=draw.choice([None, "oracle", "history"]),
        preference_text=draw.choice(TEXTS),
        intention_text=draw.choice(TEXTS),
        annotator="rules",
        cut=draw.randrange(50),
    )


def travelled(thing: Any) -> Any:
    """What arrives in another process."""
    return pickle.loads(pickle.dumps(thing))


class Tiny:
    """A source of the instructions 0 to n - 1; `stop` is a block and the error raised before it."""

    def __init__(self, n: int, seed: int = 0, stop: tuple[int, type[BaseException]] | None = None) -> None:
        self.n, self.seed, self.stop = n, seed, stop
        self.started: list[int] = []
        card = DataCard("Tiny films", "Invented.", "here", "Research use; no redistribution.", "Nobody, 2026")
        empty = pd.DataFrame({"user_id": []})
        self.datasets = (Dataset("tiny", empty, empty, empty, "genres", card),)

    @property
    def n_blocks(self) -> int:
        return -(-self.n // BLOCK)

    def identity(self) -> dict[str, Any]:
        return {"n": self.n, "seed": self.seed, "why": "a | b\nc"}

    def block(self, i: int) -> list[Instruction]:
        return [make(number + 1000 * self.seed) for number in range(i * BLOCK, min(self.n, (i + 1) * BLOCK))]

    def blocks(self, workers: int = 1, finish: Any = None) -> Iterator[Any]:
        for i in range(self.n_blocks):
            if self.stop and self.stop[0] == i:
                raise self.stop[1]("stopped")
            self.started.append(i)
            yield finish(self.block(i)) if workers == 1 else travelled(travelled(finish)(self.block(i)))

    def __iter__(self) -> Iterator[Instruction]:
        return (instruction for i in range(self.n_blocks) for instruction in self.block(i))


def write(source: Any, path: Path, **options: Any) -> export.ExportedFile:
    return write_instructions(source, path, **{"progress": False, "card": False, **options})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- forms ---------------------------------------------------------------------------------------------------------

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_id = st.one_of(st.integers(-(2**63), 2**64 - 1), _text)
_instructions = st.builds(
    Instruction,
    text=_text,
    response=_text,
    task=st.sampled_from(TaskForm),
    preference=st.sampled_from(Preference),
    intention=st.sampled_from(Intention),
    language=_text,
    user_id=_id,
    target=_id,
    history=st.lists(_id, max_size=4).map(tuple),
    candidates=st.lists(_id, max_size=4).map(tuple),
    template=_text,
    intention_source=st.sampled_from([None, "oracle", "history"]),
    context=st.builds(Context, *[st.none() | _text] * 4),
    held_out=st.booleans(),
    dataset=_text,
    style=st.sampled_from(Style),
    answer=st.sampled_from(Answer),
    preference_source=st.sampled_from([None, "oracle", "history"]),
    preference_text=_text,
    intention_text=_text,
    annotator=_text,
    cut=st.integers(0, 1000),
)


@given(st.lists(_instructions, max_size=3))
def test_a_line_is_the_instruction_and_nothing_else(instructions: list[Instruction]) -> None:
    lines = encode(instructions).split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == [instruction.as_dict() for instruction in instructions]
    assert [list(json.loads(line)) for line in lines] == [
        list(instruction.as_dict()) for instruction in instructions
    ]
    assert [Instruction.from_dict(orjson.loads(line)) for line in lines] == instructions


@given(_instructions)
def test_the_forms_for_tuning_hold_the_two_texts_alone(instruction: Instruction) -> None:
    assert json.loads(encode([instruction], "prompt")) == {
        "prompt": instruction.text,
        "response": instruction.response,
    }
    assert json.loads(encode([instruction], "chat")) == {
        "messages": [
            {"role": "user", "content": instruction.text},
            {"role": "assistant", "content": instruction.response},
        ]
    }


@pytest.mark.parametrize(
    "wrong", [{"text": "half \ud83d"}, {"user_id": 2**64}, {"target": object()}, {"history": (3 + 1j,)}]
)
def test_what_json_cannot_hold_is_refused(tmp_path: Path, wrong: dict) -> None:
    instructions = [make(1), replace(make(2), **wrong)]
    for put in (write_jsonl, write_parquet):
        with pytest.raises(InputError) as caught:
            put(instructions, tmp_path / "x.jsonl")
        assert len(str(caught.value).splitlines()) == 1
        assert names(tmp_path) == []
    with pytest.raises(InputError, match="'en-pref-p1-t2' for user"):
        encode(instructions)


@pytest.mark.parametrize("put", [write_jsonl, write_parquet])
def test_another_form_is_refused(tmp_path: Path, put: Any) -> None:
    with pytest.raises(InputError, match="unknown form 'chats': did you mean chat"):
        put([], tmp_path / "x.jsonl", form="chats")
    with pytest.raises(InputError, match="accepted: instruction, chat, prompt"):
        put([], tmp_path / "x.jsonl", form=["chat"])
    assert names(tmp_path) == []


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_lines_are_read_back(tmp_path: Path, ending: str) -> None:
    instructions = [make(number) for number in range(50)]
    path = tmp_path / f"a{ending}"
    assert write_jsonl(iter(instructions), path) == 50
    assert list(read_jsonl(path)) == instructions
    before = path.read_bytes()
    assert write_jsonl(instructions, path) == 50
    assert path.read_bytes() == before
    assert write_jsonl([], path) == 0
    assert list(read_jsonl(path)) == []
    assert names(tmp_path) == [path.name]


def test_a_compressed_file_bears_no_time_and_a_cut_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    write_jsonl([make(number) for number in range(50)], path)
    content = path.read_bytes()
    assert content[4:8] == bytes(4)
    assert gzip.decompress(content) == encode([make(number) for number in range(50)])
    path.write_bytes(content[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        list(read_jsonl(path))
    path.write_bytes(b"not compressed")
    with pytest.raises(InputError, match="cannot be read"):
        list(read_jsonl(path))


@pytest.mark.parametrize("line", ["{", '{"text": 1,}', "nul", '"text"', "3", "[" * 5000, '{"a": "\x01"}'])
def test_the_fast_reader_has_the_words_of_the_standard_one(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(line + "\n", "utf-8")
    with pytest.raises(InputError) as caught:
        list(read_jsonl(path))
    try:
        says = f"holds {type(json.loads(line + chr(10))).__name__}; one JSON object a line is accepted"
    except (ValueError, RecursionError) as error:
        says = f"not JSON ({error}); one object a line is accepted"
    assert str(caught.value) == f"{str(path)!r} line 1: {says}"


def test_a_whole_number_of_any_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({**make(1).as_dict(), "user_id": 2**70}) + "\n", "utf-8")
    assert next(read_jsonl(path)).user_id == 2**70


# -- Parquet -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [int, str])
def test_a_table_has_a_column_for_every_field(tmp_path: Path, ids: type) -> None:
    instructions = [make(number, ids) for number in range(50)]
    assert write_parquet(iter(instructions), tmp_path / "a.parquet") == 50
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == [field.name for field in fields(Instruction)]
    assert table.to_pylist() == [instruction.as_dict() for instruction in instructions]
    item = pa.int64() if ids is int else pa.string()
    assert table.schema.field("user_id").type == table.schema.field("target").type == item
    assert table.schema.field("history").type.value_type == item
    assert {field.name for field in table.schema if field.nullable} == {
        "target",
        "intention_source",
        "preference_source",
    }
    assert table["target"].null_count == sum(instruction.target is None for instruction in instructions) > 0


def test_tables_of_the_forms_for_tuning(tmp_path: Path) -> None:
    instructions = [make(number) for number in range(50)]
    for form in ("chat", "prompt"):
        assert write_parquet(instructions, tmp_path / form, form=form) == 50
        rows = pq.read_table(tmp_path / form).to_pylist()
        assert rows == [json.loads(line) for line in encode(instructions, form).splitlines()]
    assert write_parquet([], tmp_path / "chat", form="chat") == 0
    kind = pq.read_schema(tmp_path / "chat").field("messages").type
    assert kind.value_type == pa.struct(
        [pa.field("role", pa.string(), False), pa.field("content", pa.string(), False)]
    )


def test_the_kind_of_ids_is_known_without_any_item(tmp_path: Path) -> None:
    bare = replace(make(1, str), target=None, history=(), candidates=())
    late = [bare] * export.BATCH_SIZE + [make(2, str)]
    assert write_parquet(late, tmp_path / "a.parquet") == len(late)
    with pytest.raises(InputError, match="one type"):
        write_parquet([make(1), make(2, str)], tmp_path / "b.parquet")
    assert names(tmp_path) == ["a.parquet"]


# -- instruction datasets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 195])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", export.ENDINGS)
def test_instructions_are_written_completely(tmp_path: Path, ending: str, form: str, n: int) -> None:
    path = tmp_path / "new" / f"a.b{ending}"
    exported = write(Tiny(n), path, form=form, card=True)
    content = path.read_bytes()
    assert (exported.path, exported.n, exported.bytes) == (path, n, len(content))
    assert exported.sha256 == sha256(content).hexdigest()
    assert exported.tally.total() == n
    assert names(path.parent) == sorted([path.name, "a.b.card.md"])
    expected = [json.loads(line) for line in encode(list(Tiny(n)), form).splitlines()]
    if ending == ".parquet":
        assert pq.read_table(path).to_pylist() == expected
    else:
        lines = gzip.decompress(content) if ending.endswith(".gz") else content
        assert lines == encode(list(Tiny(n)), form)
    assert write(Tiny(n), tmp_path / f"c{ending}", form=form).sha256 == exported.sha256


def test_large_tables_have_few_row_groups(tmp_path: Path) -> None:
    n = BLOCK * (export.BLOCKS_PER_ROW_GROUP + 1)
    write(Tiny(n), tmp_path / "a.parquet")
    assert pq.ParquetFile(tmp_path / "a.parquet").metadata.num_row_groups == 2


def test_the_tally_counts_every_kind(tmp_path: Path) -> None:
    tally = write(Tiny(195), tmp_path / "a.jsonl").tally
    frame = pd.DataFrame([instruction.as_dict() for instruction in Tiny(195)])
    assert tally.by("task") == {(str(key),): count for key, count in frame["task"].value_counts().items()}
    assert sum(tally.by(*KEY_FIELDS).values()) == 195
    assert tally.by("held_out")[(True,)] == frame["held_out"].sum()
    assert list(tally.by("language")) == [("en",), ("zh",)]
    with pytest.raises(InputError, match="unknown field of the tally 'kind'"):
        tally.by("kind")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", export.ENDINGS)
def test_blocks_may_come_from_other_processes(tmp_path: Path, ending: str, form: str) -> None:
    alone = write(Tiny(195), tmp_path / f"a{ending}", form=form)
    shared = write(Tiny(195), tmp_path / f"b{ending}", form=form, workers=2)
    assert (shared.sha256, shared.tally) == (alone.sha256, alone.tally)


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    instructions = build_instructions(shop(), 2100, seed=3)
    alone = write(instructions, tmp_path / "a.jsonl")
    shared = write(instructions, tmp_path / "b.jsonl", workers=2)
    assert (shared.sha256, shared.tally) == (alone.sha256, alone.tally)
    assert list(read_jsonl(tmp_path / "b.jsonl")) == list(instructions)


@pytest.mark.parametrize(
    ("name", "says"),
    [("a.csv", "unknown ending"), (".jsonl", "unknown ending"), ("folder.jsonl", "Is a directory")],
)
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    source = Tiny(5)
    with pytest.raises(InputError, match=says):
        write(source, tmp_path / name)
    assert source.started == []
    assert names(tmp_path) == ["folder.jsonl"]
    with pytest.raises(InputError, match="unknown form"):
        write(source, tmp_path / "a.jsonl", form="table")


def test_progress_is_shown_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_instructions(Tiny(20), tmp_path / "a.jsonl")
    output = capsys.readouterr()
    assert "20/20" in output.err
    assert output.out == ""
    write(Tiny(20), tmp_path / "a.jsonl")
    assert capsys.readouterr().err == ""


# -- interruptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, RuntimeError])
@pytest.mark.parametrize("stop_before", [0, 30])
@pytest.mark.parametrize("ending", export.ENDINGS)
def test_an_interrupted_run_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, ending: str, stop_before: int, error: type
) -> None:
    path = tmp_path / f"a{ending}"
    path.write_text("old", "utf-8")
    with pytest.raises(error):
        write(Tiny(400, stop=(stop_before, error)), path, card=True)
    assert path.read_text("utf-8") == "old"
    assert names(tmp_path) == [path.name]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("ending", export.ENDINGS)
@pytest.mark.parametrize("size", [0, 10, 20_000])
def test_a_full_disk_leaves_the_old_file_alone(tmp_path: Path, ending: str, size: int) -> None:
    path = tmp_path / f"a{ending}"
    path.write_text("old", "utf-8")
    with largest_file(size), pytest.raises(InputError, match="cannot write .*free space") as caught:
        write(Tiny(5000), path, card=True)
    assert len(str(caught.value).splitlines()) == 1
    assert path.read_text("utf-8") == "old"
    assert names(tmp_path) == [path.name]


def test_a_disk_too_full_for_the_card_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old", "utf-8")
    with largest_file(3000), pytest.raises(InputError, match="cannot write .*card"):
        write(Tiny(1), path, card=True)
    assert path.read_text("utf-8") == "old"
    assert names(tmp_path) == ["a.jsonl"]


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(InputError, match="cannot write"):
        write(Tiny(5), tmp_path / "file" / "a.jsonl")
    with pytest.raises(InputError, match="cannot write"):
        write(Tiny(5), tmp_path / ("x" * 240 + ".jsonl"))
    assert names(tmp_path) == ["file"]


# -- data card -----------------------------------------------------------------------------------------------------


def test_the_card_of_a_teachers_words_asks_for_its_replies(tmp_path: Path) -> None:
    class Taught(Tiny):
        def identity(self) -> dict[str, Any]:
            return {**super().identity(), "annotator": {"model": "m"} if self.seed else "rules"}

    for seed, needed in ((0, "data and templates give"), (1, "templates and replies of the teacher give")):
        exported = write(Taught(10, seed), tmp_path / "a.jsonl", card=True)
        assert needed in exported.card.read_text("utf-8")


def test_the_card_says_what_the_file_is(tmp_path: Path) -> None:
    exported = write(Tiny(1195), tmp_path / "a.jsonl", card=True, command="make it")
    assert exported.card == tmp_path / "a.card.md"
    text = exported.card.read_text("utf-8")
    _, header, body = text.split("---\n", 2)
    head = yaml.safe_load(header)
    assert head["language"] == ["en", "zh"]
    assert head["license"] == "other"
    assert head["task_categories"] == ["text-generation"]
    assert head["size_categories"] == ["1K<n<10K"]
    assert head["configs"][0]["data_files"] == "a.jsonl"
    assert "Tiny films" in head["pretty_name"]
    for phrase in (exported.sha256, "1,195 instructions", "Not to be published", "Nobody, 2026", "make it"):
        assert phrase in body
    assert '| `why` | `"a \\| b\\nc"` |' in body
    for (task, style), count in exported.tally.by("task", "style").items():
        assert f"| {task} | {style} | {count:,} |" in body
    for name in (field.name for field in fields(Instruction)):
        assert f"| `{name}` |" in body
    assert str(tmp_path) not in text
    assert write(Tiny(1195), tmp_path / "a.jsonl", card=True, command="make it").card.read_text() == text


def test_the_card_of_free_data_says_so(tmp_path: Path) -> None:
    exported = write(build_instructions(shop(), 30), tmp_path / "a.jsonl", card=True, form="chat")
    text = exported.card.read_text("utf-8")
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "apache-2.0"
    assert "Not to be published" not in text
    assert "| `messages` |" in text
    assert "user_id" not in text
