"""Instructions as a `tf.data` pipeline, streamed from a plan, a file or anything that can be gone through again.

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

CHUNK = 1000
NAMES = tuple(one.name for one in fields_of(Instruction))
ID_FIELDS = ("user_id", "target")
LIST_FIELDS = ("history", "candidates")
NO_ITEM = -1
Row = Mapping[str, Any]


def tf_dataset(
    source: str | os.PathLike[str] | Iterable[Instruction] | Callable[[], Iterable[Instruction]],
    *,
    batch_size: int | None = None,
    shuffle: int | None = None,
    seed: int = 0,
    fields: Sequence[str] = ("text", "response"),
) -> Any:
    """Return a `tf.data.Dataset` of instructions, read again in each epoch, never held whole.

    Args:
        source: A plan, a list or any other iterable that can be gone through again; a function that returns an
            iterable; or a `.jsonl`, `.jsonl.gz` or `.parquet` file of form "instruction", or, for text and response,
            of any form.
        batch_size: Elements a batch; None for single elements.
        shuffle: Size of the buffer that elements are drawn from, in instructions; None keeps the order.
        seed: Seed of the shuffling: each epoch has another order, the same ones in each run.
        fields: Fields of `Instruction`.

    Returns:
        Elements are dictionaries with a tensor for each field. Shapes of single elements, where B is put before in
        batches (the last one may be smaller):

        - texts (and None as an empty text, enums as their values, the context as a phrase): (), string
        - `user_id`: (), int64 if the first instruction's user has a whole number as id, else string
        - `target`: (), int64 if the first item named is a whole number, else string; no target is -1 or an empty text
        - `history`, `candidates`: (length,), of the type of `target`; in batches a `tf.RaggedTensor` (B, None)
        - `cut`: (), int64; `held_out`: (), bool

    Raises:
        InputError: A field is unknown or the file has it not, an argument is not acceptable, the source cannot be gone
            through again, the file cannot be read, or TensorFlow is not installed. A mistake deep in a file is met only
            while the pipeline runs: TensorFlow's error then bears the message.
    """
    names = _names(fields)
    for name, value in (("batch_size", batch_size), ("shuffle", shuffle)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise InputError(f"{name} is {value!r}; a whole number of at least 1, or None, is accepted")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise InputError(f"seed is {seed!r}; a whole number is accepted")
    rows = _rows(source, names)
    whole = _whole_ids(rows, names)

    quiet_keras()
    import tensorflow as tf

    types = {name: _type(name, whole, tf) for name in names}

    def spec(name: str) -> Any:
        if name in LIST_FIELDS:
            return tf.RaggedTensorSpec(shape=(None, None), dtype=types[name], row_splits_dtype=tf.int64)
        return tf.TensorSpec(shape=(None,), dtype=types[name])

    def chunks() -> Iterator[dict[str, Any]]:
        stream = iter(rows())
        while chunk := list(islice(stream, CHUNK)):
            yield {
                name: _tensor(name, [row[name] for row in chunk], name in whole, types[name], tf)
                for name in names
            }

    # A chunk at a time crosses from Python to TensorFlow, since the crossing costs more than an instruction does.
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
    if isinstance(fields, str) or not fields:
        raise InputError(f"fields is {fields!r}; a list with one or more of {', '.join(NAMES)} is accepted")
    for name in fields:
        if name not in NAMES:
            raise one_of("field of an instruction", name, NAMES, most=len(NAMES))
    return list(dict.fromkeys(fields))


def _rows(source: Any, names: Sequence[str]) -> Callable[[], Iterable[Row]]:
    """Return a function that goes through the source from its beginning; each row holds the fields and `user_id`."""
    if isinstance(source, str | os.PathLike):
        return _file_rows(Path(source), names)
    if callable(source):
        again = source
    elif isinstance(source, Iterable) and not isinstance(source, Iterator):
        again = source.__iter__
    else:
        raise InputError(
            f"source is {type(source).__name__}, which cannot be gone through again; a plan, a list, a function that "
            "returns an iterable, or the path of a .jsonl or .parquet file is accepted"
        )
    return lambda: (_values(one, names) for one in again())


def _file_rows(place: Path, names: Sequence[str]) -> Callable[[], Iterable[Row]]:
    if not place.is_file():
        raise InputError(
            f"instructions {str(place)!r} are not a file; give a .jsonl or .parquet file of instructions"
        )
    if place.suffix == ".parquet":
        columns = _parquet(place).schema_arrow.names
        _check_form(place, columns, names)
        return lambda: _parquet_rows(place, columns, names)
    if not place.name.endswith((".jsonl", ".jsonl.gz")):
        raise one_of("ending of a file of instructions", place.name, (".jsonl", ".jsonl.gz", ".parquet"))
    first = next(read_lines(place, dict), None)
    if first is None:
        return lambda: ()
    _check_form(place, list(first), names)
    return lambda: read_lines(place, _line_maker(list(first), names))


def _check_form(place: Path, columns: Sequence[str], names: Sequence[str]) -> None:
    if "text" in columns:
        held: Sequence[str] = columns
    elif "messages" in columns or "prompt" in columns:
        held = ("text", "response")
    else:
        raise InputError(
            f"{str(place)!r} has {', '.join(columns) or 'no columns'}; a file written by write_instructions is accepted"
        )
    for name in names:
        if name not in held:
            raise one_of(f"field in {str(place)!r}", name, held, most=len(NAMES))


def _line_maker(columns: Sequence[str], names: Sequence[str]) -> Callable[[dict[str, Any]], Row]:
    if "text" in columns:
        return lambda plain: _values(Instruction.from_dict(plain), names)
    return _pair


def _values(one: Instruction, names: Sequence[str]) -> Row:
    row = {name: getattr(one, name) for name in (*names, "user_id")}
    if "context" in row:
        row["context"] = one.context.words(one.language)
    return row


def _pair(plain: Mapping[str, Any]) -> Row:
    try:
        if "messages" in plain:
            asked, answered = plain["messages"]
            pair = {"text": asked["content"], "response": answered["content"]}
        else:
            pair = {"text": plain["prompt"], "response": plain["response"]}
    except (KeyError, TypeError, ValueError):
        pair = {}
    if not pair or not all(isinstance(text, str) for text in pair.values()):
        raise InputError("holds no prompt and response, and no two messages, in texts; these are accepted")
    return pair


def _parquet(place: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(place)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{str(place)!r} cannot be read: {error}; give a Parquet file of instructions"
        ) from None


def _parquet_rows(place: Path, columns: Sequence[str], names: Sequence[str]) -> Iterator[Row]:
    plain = "text" in columns
    wanted = [*dict.fromkeys([*names, "user_id", "language"])] if plain else list(columns)
    with _parquet(place) as file:
        for batch in file.iter_batches(CHUNK, columns=wanted):
            for row in batch.to_pylist():
                if plain and "context" in row:
                    row["context"] = Context(**row["context"]).words(row["language"])
                yield row if plain else _pair(row)


def _count(source: Any) -> int | None:
    """Return how many instructions there are where that is known without going through them."""
    if isinstance(source, str | os.PathLike):
        return _parquet(Path(source)).metadata.num_rows if Path(source).suffix == ".parquet" else None
    if isinstance(source, list | tuple):
        return len(source)
    n = getattr(source, "n", None)
    return n if isinstance(n, int) and hasattr(source, "identity") else None


def _whole_ids(rows: Callable[[], Iterable[Row]], names: Sequence[str]) -> set[str]:
    """Return the fields whose ids are whole numbers, by the first user and by the first item of a chunk."""
    asked = [name for name in names if name in (*ID_FIELDS, *LIST_FIELDS)]
    if not asked:
        return set()
    first = list(islice(rows(), CHUNK if asked != ["user_id"] else 1))
    users = isinstance(next((row["user_id"] for row in first), None), int)
    found = (
        item
        for row in first
        for name in asked
        if name != "user_id"
        for item in (row[name] if name in LIST_FIELDS else (row[name],))
        if item is not None
    )
    item = next(found, None)
    items = users if item is None else isinstance(item, int)
    return {name for name in asked if (users if name == "user_id" else items)}


def _type(name: str, whole: set[str], tf: Any) -> Any:
    if name in (*ID_FIELDS, *LIST_FIELDS):
        return tf.int64 if name in whole else tf.string
    return {"cut": tf.int64, "held_out": tf.bool}.get(name, tf.string)


def _tensor(name: str, values: list[Any], whole: bool, kind: Any, tf: Any) -> Any:
    if name in LIST_FIELDS:
        flat = _ids([item for listed in values for item in listed], whole)
        lengths = np.array([len(listed) for listed in values], dtype=np.int64)
        return tf.RaggedTensor.from_row_lengths(tf.constant(flat, kind), lengths)
    if name in ID_FIELDS:
        return _ids(values, whole)
    if name in ("cut", "held_out"):
        return np.array(values, dtype=np.int64 if name == "cut" else bool)
    return _texts([value or "" for value in values])


def _ids(values: list[Hashable], whole: bool) -> np.ndarray:
    if not whole:
        return _texts(["" if value is None else str(value) for value in values])
    for value in values:
        if value is not None and not isinstance(value, int):
            raise InputError(
                f"id {value!r} is no whole number as the first id is; ids of one type are accepted"
            )
    return np.array([NO_ITEM if value is None else value for value in values], dtype=np.int64)


def _texts(values: list[str]) -> np.ndarray:
    made = np.empty(len(values), dtype=object)
    made[:] = [value.encode() for value in values]
    return made
