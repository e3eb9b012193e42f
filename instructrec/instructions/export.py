"""Instructions as files: JSON lines or Parquet, written whole or not at all, a batch at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from instructrec.errors import InputError
from instructrec.files import atomic_write
from instructrec.instructions.schema import Instruction

BATCH = 4096


def write_jsonl(instructions: Iterable[Instruction], path: str | os.PathLike[str]) -> int:
    """Write one JSON object a line, UTF-8.

    Args:
        instructions: Any number, streamed.
        path: The file; one that exists is replaced once all is written.

    Returns:
        How many were written.

    Raises:
        InputError: The place cannot be written.
    """
    count = 0
    with atomic_write(path) as handle:
        for one in instructions:
            handle.write(json.dumps(one.as_dict(), ensure_ascii=False) + "\n")
            count += 1
    return count


def write_parquet(instructions: Iterable[Instruction], path: str | os.PathLike[str]) -> int:
    """Write a Parquet table with the columns of `Instruction.as_dict`; ids are integers if all of the first batch are.

    Args:
        instructions: Any number, streamed.
        path: The file; one that exists is replaced once all is written.

    Returns:
        How many were written.

    Raises:
        InputError: The place cannot be written, or ids are of mixed types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = iter(instructions)
    batch = [one.as_dict() for one in islice(stream, BATCH)]
    schema = _schema(batch)
    count = 0
    with atomic_write(path, "wb") as handle, pq.ParquetWriter(handle, schema) as writer:
        while batch:
            try:
                table = pa.Table.from_pylist(batch, schema=schema)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise InputError(
                    f"instructions cannot be one table: {error}; ids must all be of one type"
                ) from error
            writer.write_table(table)
            count += len(batch)
            batch = [one.as_dict() for one in islice(stream, BATCH)]
    return count


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[Instruction]:
    """Read instructions that `write_jsonl` wrote, one by one; blank lines are skipped.

    Args:
        path: The file.

    Yields:
        Instructions.

    Raises:
        InputError: The file cannot be read, or a line is not an instruction: names the line, from 1.
    """
    place = Path(path)
    if not place.is_file():
        raise InputError(
            f"instructions {str(place)!r} are not a file; give a JSON-lines file written by write_jsonl"
        )
    return _lines(place)


def _lines(place: Path) -> Iterator[Instruction]:
    number = 0
    try:
        with place.open(encoding="utf-8") as handle:
            for line in handle:
                number += 1
                if line.strip():
                    yield _instruction(line)
    except UnicodeDecodeError:
        raise InputError(
            f"{str(place)!r} after line {number}: not UTF-8 text; give a JSON-lines file"
        ) from None
    except OSError as error:
        raise InputError(
            f"{str(place)!r} cannot be read: {error.strerror or error}; give a readable file"
        ) from None
    except InputError as error:
        raise InputError(f"{str(place)!r} line {number}: {error}") from None


def _instruction(line: str) -> Instruction:
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error}); one object a line is accepted") from None
    if not isinstance(plain, dict):
        raise InputError(f"holds {type(plain).__name__}; one JSON object a line is accepted")
    return Instruction.from_dict(plain)


def _schema(batch: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    def id_type(values: Iterable[object]) -> Any:
        return pa.int64() if all(isinstance(value, int) for value in values) else pa.string()

    item = id_type(value for row in batch for value in (row["target"], *row["history"], *row["candidates"]))
    text = pa.string()
    return pa.schema(
        [
            ("text", text),
            ("response", text),
            ("task", text),
            ("preference", text),
            ("intention", text),
            ("language", text),
            ("user_id", id_type(row["user_id"] for row in batch)),
            ("target", item),
            ("history", pa.list_(item)),
            ("candidates", pa.list_(item)),
            ("template", text),
            ("intention_source", text),
            ("context", pa.struct([(name, text) for name in ("time", "place", "device", "occasion")])),
            ("held_out", pa.bool_()),
        ]
    )
