"""The pipeline for training, from instructions in memory and in files."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from instructrec.errors import InputError
from instructrec.instructions import export
from instructrec.instructions.json_lines import FORMS
from instructrec.instructions.schema import (
    Instruction,
)
from instructrec.instructions.tf_data import tf_dataset
from tests.instructions.test_export import Tiny, make, write


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = {}
    for form in FORMS:
        for ending in export.ENDINGS:
            paths[form + ending] = write(Tiny(1195), folder / f"{form}{ending}", form=form).path
    return paths


ALL = tuple(field.name for field in fields(Instruction))


def test_every_source_gives_the_same(files: dict[str, Path]) -> None:
    instructions = list(Tiny(1195))
    pairs = [(instruction.text.encode(), instruction.response.encode()) for instruction in instructions]
    sources: list[Any] = [
        Tiny(1195),
        instructions,
        lambda: iter(instructions),
        *files.values(),
        str(files["chat.jsonl"]),
    ]
    for source in sources:
        batches = tf_dataset(source, batch_size=300).as_numpy_iterator()
        read_pairs = [
            pair for batch in batches for pair in zip(batch["text"], batch["response"], strict=True)
        ]
        assert read_pairs == pairs, source


@pytest.mark.parametrize("source", ["plan", "instruction.jsonl", "instruction.parquet"])
def test_every_field_has_its_type_and_shape(files: dict[str, Path], source: str) -> None:
    instructions = list(Tiny(1195))
    dataset = tf_dataset(Tiny(1195) if source == "plan" else files[source], fields=ALL)
    for row, instruction in zip(dataset.as_numpy_iterator(), instructions, strict=True):
        plain = {
            **instruction.as_dict(),
            "target": -1 if instruction.target is None else instruction.target,
            "context": instruction.context.words(instruction.language),
        }
        for name, value in row.items():
            if name in ("history", "candidates"):
                assert value.dtype == "int64"
                assert value.tolist() == plain[name]
            else:
                assert (value.decode() if isinstance(value, bytes) else value) == (plain[name] or type(value)(0)
                    if name in ("cut", "user_id", "held_out", "target") else plain[name] or "")  # fmt: skip
    (batch,) = tf_dataset(instructions[:7], batch_size=10, fields=ALL)
    assert batch["text"].shape == (7,)
    assert batch["history"].to_list() == [list(instruction.history) for instruction in instructions[:7]]


def test_ids_in_words_stay_words() -> None:
    instructions = [make(number, str) for number in range(9)]
    row = next(tf_dataset(instructions, batch_size=9, fields=["target", "history"]).as_numpy_iterator())
    assert row["target"].tolist() == [(instruction.target or "").encode() for instruction in instructions]
    assert tf_dataset([], fields=["target"]).cardinality() == 0
    assert list(tf_dataset(lambda: [], fields=["history", "text"])) == []


def test_ids_of_users_and_of_items_may_be_of_two_types() -> None:
    instructions = [
        replace(
            instruction,
            user_id=number,
            target=None if number < 3 else f"i{number}",
            history=(),
            candidates=("a",),
        )
        for number, instruction in enumerate(Tiny(20))
    ]
    rows = list(
        tf_dataset(instructions, fields=["user_id", "target", "history", "candidates"]).as_numpy_iterator()
    )
    assert [row["user_id"] for row in rows] == list(range(20))
    assert [row["target"] for row in rows[2:4]] == [b"", b"i3"]
    assert [row["candidates"].tolist() for row in rows[:1]] == [[b"a"]]
    swapped = [
        replace(instruction, user_id=f"u{number}", target=number)
        for number, instruction in enumerate(instructions)
    ]
    rows = list(tf_dataset(swapped, fields=["user_id", "target"]).as_numpy_iterator())
    assert [(row["user_id"], row["target"]) for row in rows[:2]] == [(b"u0", 0), (b"u1", 1)]


def test_the_number_of_batches_is_known_where_that_of_instructions_is(files: dict[str, Path]) -> None:
    assert tf_dataset(Tiny(1195), batch_size=100).cardinality() == 12
    assert tf_dataset(files["chat.parquet"], batch_size=100).cardinality() == 12
    assert tf_dataset(files["chat.jsonl"], batch_size=100).cardinality() == -2  # unknown


def test_shuffling_repeats_with_its_seed() -> None:
    def epochs(seed: int) -> list[list[bytes]]:
        dataset = tf_dataset(Tiny(300), shuffle=300, seed=seed, fields=["text"])
        return [[row["text"] for row in dataset.as_numpy_iterator()] for _ in range(2)]

    once = epochs(1)
    assert once == epochs(1)
    assert once[0] != once[1]
    assert once != epochs(2)
    assert (
        sorted(once[0]) == sorted(once[1]) == sorted(instruction.text.encode() for instruction in Tiny(300))
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"fields": ["txt"]}, "unknown field of an instruction 'txt'"),
        ({"fields": "text"}, "a list"),
        ({"fields": []}, "a list"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"shuffle": True}, "shuffle is True"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"source": iter([])}, "cannot be iterated again"),
        ({"source": 3}, "source is int"),
        ({"source": "absent.jsonl"}, "not a file"),
        ({"source": __file__}, "unknown ending"),
    ],
)
def test_a_pipeline_of_wrong_arguments_is_refused(arguments: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        tf_dataset(**{"source": Tiny(3), **arguments})


def test_a_pipeline_of_a_wrong_file_is_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    for name in ("chat.jsonl", "prompt.parquet"):
        with pytest.raises(InputError, match=r"unknown field in .* 'user_id': accepted: text, response"):
            tf_dataset(files[name], fields=["text", "user_id"])
    (tmp_path / "a.parquet").write_text("no table", "utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        tf_dataset(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"other": 1}\n', "utf-8")
    with pytest.raises(InputError, match="has other"):
        tf_dataset(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt": "a"}\n', "utf-8")
    import tensorflow as tf

    with pytest.raises(tf.errors.OpError, match="line 2: holds no prompt and response"):
        list(tf_dataset(tmp_path / "b.jsonl"))
    (tmp_path / "empty.jsonl").write_text("", "utf-8")
    assert list(tf_dataset(tmp_path / "empty.jsonl")) == []


def test_keras_trains_on_a_pipeline() -> None:
    dataset = tf_dataset(Tiny(64), batch_size=16, shuffle=64, fields=["text", "held_out"])
    import keras
    import tensorflow as tf

    words = keras.layers.TextVectorization(max_tokens=50, output_sequence_length=6)
    words.adapt(dataset.map(lambda row: row["text"]))
    model = keras.Sequential(
        [
            keras.layers.Embedding(50, 4),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )
    model.compile("sgd", "binary_crossentropy")
    ready = dataset.map(lambda row: (words(row["text"]), tf.cast(row["held_out"], "float32")))
    history = model.fit(ready, epochs=2, shuffle=False, verbose=0).history
    assert len(history["loss"]) == 2
    assert model.predict(ready, verbose=0).shape == (64, 1)
