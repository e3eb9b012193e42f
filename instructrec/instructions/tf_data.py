"""Stream instructions as a `tf.data` pipeline from an instruction dataset, a file or any other reusable source.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields as fields_of
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from instructrec.backend import quiet_keras
from instructrec.errors import InputError, one_of
from instructrec.instructions.json_lines import read_lines
from instructrec.instructions.schema import Context, Instruction
from instructrec.validation import PositiveInt, WholeNumber, check_value

CHUNK_SIZE = 1000
"""Number of instructions passed from Python to TensorFlow at once; each pass costs more than an instruction does."""
FIELD_NAMES = tuple(field.name for field in fields_of(Instruction))
ID_FIELDS = ("user_id", "target")
"""Fields with one id."""
LIST_FIELDS = ("history", "candidates")
"""Fields with a list of item ids."""
NO_ITEM = -1
"""Value of `target` for an instruction without a target, if ids are whole numbers."""
Row = Mapping[str, Any]


def tf_dataset(
    source: str | os.PathLike[str] | Iterable[Instruction] | Callable[[], Iterable[Instruction]],
    *,
    batch_size: int | None = None,
    shuffle: int | None = None,
    seed: int = 0,
    fields: Sequence[str] = ("text", "response"),
) -> Any:
    """Return a `tf.data.Dataset` of instructions that is read again in each epoch and is never completely in memory.

    Args:
        source: An instruction dataset, a list or any other iterable that can be iterated again; a function that returns
            an iterable; or a `.jsonl`, `.jsonl.gz` or `.parquet` file of form "instruction", or, for text and response,
            of any form.
        batch_size: Instructions per batch; None for single elements.
        shuffle: Size of the shuffle buffer in instructions; None keeps the order.
        seed: Seed of the shuffling: the order differs from epoch to epoch and is the same in each run.
        fields: Fields of `Instruction`.

    Returns:
        Dictionaries with a tensor for each field. These are the shapes of single elements; batches have one more axis
        in front (the last batch may be smaller):

        - texts (None as an empty text, enums as their values, the context as a phrase): (), string
        - `user_id`: (), int64 if the first instruction's user id is a whole number, else string
        - `target`: (), int64 if the first item id is a whole number, else string; no target is -1 or an empty text
        - `history`, `candidates`: (length,), of the type of `target`; in batches a `tf.RaggedTensor` (B, None)
        - `cut`: (), int64; `held_out`: (), bool

    Raises:
        InputError: A field is unknown or absent from the file, an argument is invalid, the source cannot be iterated
            again, the file cannot be read, or TensorFlow is not installed. A mistake further down in a file is found
            only while the pipeline runs: then TensorFlow raises an error that contains the message.
    """
    names = _names(fields)
    for name, value in (("batch_size", batch_size), ("shuffle", shuffle)):
        if value is not None:
            check_value(name, value, PositiveInt)
    check_value("seed", seed, WholeNumber)
    rows = _rows(source, names)
    integer_fields = _integer_fields(rows, names)

    quiet_keras()
    import tensorflow as tf

    types = {name: _type(name, integer_fields, tf) for name in names}

    def spec(name: str) -> Any:
        if name in LIST_FIELDS:
            return tf.RaggedTensorSpec(shape=(None, None), dtype=types[name], row_splits_dtype=tf.int64)
        return tf.TensorSpec(shape=(None,), dtype=types[name])

    def chunks() -> Iterator[dict[str, Any]]:
        stream = iter(rows())
        while chunk := list(islice(stream, CHUNK_SIZE)):
            yield {
                name: _tensor(name, [row[name] for row in chunk], name in integer_fields, types[name], tf)
                for name in names
            }

    dataset = tf.data.Dataset.from_generator(chunks, output_signature={name: spec(name) for name in names})
    dataset = dataset.unbatch()
    if any(name in LIST_FIELDS for name in names):
        dataset = dataset.map(
            lambda row: {
                name: tf.ensure_shape(row[name], (None,) if name in LIST_FIELDS else ()) for name in row
            }
        )
    count = _count(source)
    if count is not None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    if shuffle is not None:
        dataset = dataset.shuffle(shuffle, seed=int(seed), reshuffle_each_iteration=True)
    if batch_size is not None:
        dataset = dataset.ragged_batch(batch_size)
    return dataset.prefetch(2)


def _names(fields: Sequence[str]) -> list[str]:
    """Return the distinct names of the fields; check that each is a field of `Instruction`."""
    if isinstance(fields, str) or not fields:
        raise InputError(
            f"fields is {fields!r}; a list with one or more of {', '.join(FIELD_NAMES)} is accepted"
        )
    for name in fields:
        if name not in FIELD_NAMES:
            raise one_of("field of an instruction", name, FIELD_NAMES, most=len(FIELD_NAMES))
    return list(dict.fromkeys(fields))


def _rows(source: Any, names: Sequence[str]) -> Callable[[], Iterable[Row]]:
    """Return a function that iterates over the source from its start; each row holds the fields and `user_id`."""
    if isinstance(source, str | os.PathLike):
        return _file_rows(Path(source), names)
    if callable(source):
        iterate = source
    elif isinstance(source, Iterable) and not isinstance(source, Iterator):
        iterate = source.__iter__
    else:
        raise InputError(
            f"source is {type(source).__name__}, which cannot be iterated again; an instruction dataset, a list, a "
            "function that returns an iterable, or the path of a .jsonl or .parquet file is accepted"
        )
    return lambda: (_values(instruction, names) for instruction in iterate())


def _file_rows(path: Path, names: Sequence[str]) -> Callable[[], Iterable[Row]]:
    """Return a function that iterates over the rows of a file from its start."""
    if not path.is_file():
        raise InputError(
            f"instructions {str(path)!r} are not a file; give a .jsonl or .parquet file of instructions"
        )
    if path.suffix == ".parquet":
        columns = _parquet(path).schema_arrow.names
        _check_form(path, columns, names)
        return lambda: _parquet_rows(path, columns, names)
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise one_of("ending of a file of instructions", path.name, (".jsonl", ".jsonl.gz", ".parquet"))
    first = next(read_lines(path, dict), None)
    if first is None:
        return lambda: ()
    _check_form(path, list(first), names)
    return lambda: read_lines(path, _line_converter(list(first), names))


def _check_form(path: Path, columns: Sequence[str], names: Sequence[str]) -> None:
    """Check that a file with these columns contains the fields."""
    if "text" in columns:
        available: Sequence[str] = columns
    elif "messages" in columns or "prompt" in columns:
        available = ("text", "response")
    else:
        raise InputError(
            f"{str(path)!r} has {', '.join(columns) or 'no columns'}; a file written by write_instructions is accepted"
        )
    for name in names:
        if name not in available:
            raise one_of(f"field in {str(path)!r}", name, available, most=len(FIELD_NAMES))


def _line_converter(columns: Sequence[str], names: Sequence[str]) -> Callable[[dict[str, Any]], Row]:
    if "text" in columns:
        return lambda content: _values(Instruction.from_dict(content), names)
    return _pair


def _values(instruction: Instruction, names: Sequence[str]) -> Row:
    """Return fields of an instruction and its `user_id`, the context in words."""
    row = {name: getattr(instruction, name) for name in (*names, "user_id")}
    if "context" in row:
        row["context"] = instruction.context.words(instruction.language)
    return row


def _pair(content: Mapping[str, Any]) -> Row:
    """Return text and response of a record of form "chat" or "prompt"."""
    try:
        if "messages" in content:
            question, reply = content["messages"]
            pair = {"text": question["content"], "response": reply["content"]}
        else:
            pair = {"text": content["prompt"], "response": content["response"]}
    except (KeyError, TypeError, ValueError):
        pair = {}
    if not pair or not all(isinstance(text, str) for text in pair.values()):
        raise InputError("holds no prompt and response, and no two messages, in texts; these are accepted")
    return pair


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{str(path)!r} cannot be read: {error}; give a Parquet file of instructions"
        ) from None


def _parquet_rows(path: Path, columns: Sequence[str], names: Sequence[str]) -> Iterator[Row]:
    has_fields = "text" in columns
    used_columns = [*dict.fromkeys([*names, "user_id", "language"])] if has_fields else list(columns)
    with _parquet(path) as file:
        for batch in file.iter_batches(CHUNK_SIZE, columns=used_columns):
            for row in batch.to_pylist():
                if has_fields and "context" in row:
                    row["context"] = Context(**row["context"]).words(row["language"])
                yield row if has_fields else _pair(row)


def _count(source: Any) -> int | None:
    """Return the number of instructions if it is known without reading them, else None."""
    if isinstance(source, str | os.PathLike):
        return _parquet(Path(source)).metadata.num_rows if Path(source).suffix == ".parquet" else None
    if isinstance(source, list | tuple):
        return len(source)
    n = getattr(source, "n", None)
    return n if isinstance(n, int) and hasattr(source, "identity") else None


def _integer_fields(rows: Callable[[], Iterable[Row]], names: Sequence[str]) -> set[str]:
    """Return the fields whose ids are whole numbers, decided by the first user and the first item of a chunk."""
    id_names = [name for name in names if name in (*ID_FIELDS, *LIST_FIELDS)]
    if not id_names:
        return set()
    first_rows = list(islice(rows(), CHUNK_SIZE if id_names != ["user_id"] else 1))
    has_integer_users = isinstance(next((row["user_id"] for row in first_rows), None), int)
    items = (
        item
        for row in first_rows
        for name in id_names
        if name != "user_id"
        for item in (row[name] if name in LIST_FIELDS else (row[name],))
        if item is not None
    )
    first_item = next(items, None)
    has_integer_items = has_integer_users if first_item is None else isinstance(first_item, int)
    return {name for name in id_names if (has_integer_users if name == "user_id" else has_integer_items)}


def _type(name: str, integer_fields: set[str], tf: Any) -> Any:
    """Return the TensorFlow dtype of a field."""
    if name in (*ID_FIELDS, *LIST_FIELDS):
        return tf.int64 if name in integer_fields else tf.string
    return {"cut": tf.int64, "held_out": tf.bool}.get(name, tf.string)


def _tensor(name: str, values: list[Any], are_integers: bool, dtype: Any, tf: Any) -> Any:
    """Return a chunk of a field's values as an array, or as a ragged tensor if they are lists."""
    if name in LIST_FIELDS:
        items = _ids([item for row_items in values for item in row_items], are_integers)
        lengths = np.array([len(row_items) for row_items in values], dtype=np.int64)
        return tf.RaggedTensor.from_row_lengths(tf.constant(items, dtype), lengths)
    if name in ID_FIELDS:
        return _ids(values, are_integers)
    if name in ("cut", "held_out"):
        return np.array(values, dtype=np.int64 if name == "cut" else bool)
    return _texts([value or "" for value in values])


def _ids(values: list[Hashable], are_integers: bool) -> np.ndarray:
    """Return ids as int64 or as encoded texts; a missing id is -1 or an empty text."""
    if not are_integers:
        return _texts(["" if value is None else str(value) for value in values])
    for value in values:
        if value is not None and not isinstance(value, int):
            raise InputError(
                f"id {value!r} is not a whole number, but the first id is; ids of one type are accepted"
            )
    return np.array([NO_ITEM if value is None else value for value in values], dtype=np.int64)


def _texts(values: list[str]) -> np.ndarray:
    """Return texts in UTF-8 as an array of bytes objects."""
    array = np.empty(len(values), dtype=object)
    array[:] = [value.encode() for value in values]
    return array
