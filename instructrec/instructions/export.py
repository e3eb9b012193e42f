"""Instructions as files: JSON lines or Parquet, in the forms of `json_lines`, written completely or not at all.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

import orjson

from instructrec.errors import one_of
from instructrec.files import atomic_write
from instructrec.instructions.arrow import record_batch, schema_of
from instructrec.instructions.data_card import Tally, data_card
from instructrec.instructions.json_lines import encode, encoder_of
from instructrec.instructions.schema import Instruction

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
BATCH_SIZE = 4096
"""Number of instructions that `write_jsonl` and `write_parquet` hold in memory at a time."""
BLOCKS_PER_ROW_GROUP = 16
"""Number of blocks in a row group of the Parquet files of `write_instructions`."""
_GZIP_LEVEL = 6


class BlockSource(Protocol):
    """Source of `write_instructions`, such as an `InstructionDataset`: blocks that can be built in any process."""

    @property
    def n(self) -> int:
        """Number of instructions."""

    def block(self, number: int, /) -> list[Instruction]:
        """Return the instructions of one block."""

    def identity(self) -> dict[str, Any]:
        """Return everything that the instructions depend on, in types that JSON has."""

    def blocks(self, workers: int = 1, finish: Any = None) -> Generator[Any, None, None]:
        """Yield `finish(block)` of each block, in order."""


@dataclass(frozen=True)
class ExportedFile:
    """A file that `write_instructions` wrote.

    Attributes:
        path: The file.
        n: Number of instructions.
        bytes: Size of the file.
        sha256: Digest of the file, hexadecimal.
        tally: Number of instructions of each kind: `tally.by("task", "language")`.
        card: The data card beside the file, or None.
    """

    path: Path
    n: int
    bytes: int
    sha256: str
    tally: Tally
    card: Path | None = None


# -- streams -------------------------------------------------------------------------------------------------------


def write_jsonl(
    instructions: Iterable[Instruction], path: str | os.PathLike[str], form: str = "instruction"
) -> int:
    """Write one JSON object per line in UTF-8, compressed if the path ends in `.gz`.

    Args:
        instructions: Any number, read as a stream.
        path: The file; an existing file is replaced once everything is written.
        form: "instruction", "chat" or "prompt", as in `encode`.

    Returns:
        The number of instructions written.

    Raises:
        InputError: The form is unknown, or the file or an instruction cannot be written.
    """
    encoder_of(form)
    compress = Path(path).suffix == ".gz"
    count = 0
    with atomic_write(path, "wb") as handle:
        for batch in _batches(instructions):
            handle.write(_compressed(encode(batch, form), compress))
            count += len(batch)
        if not count:
            handle.write(_compressed(b"", compress))
    return count


def write_parquet(
    instructions: Iterable[Instruction], path: str | os.PathLike[str], form: str = "instruction"
) -> int:
    """Write a Parquet table whose ids are integers if all ids of the first batch are, else text.

    Args:
        instructions: Any number, read as a stream.
        path: The file; an existing file is replaced once everything is written.
        form: "instruction": the columns of `Instruction.as_dict`, lists and the context nested; "chat": one column
            `messages`, a list of `role` and `content`; "prompt": `prompt` and `response`.

    Returns:
        The number of instructions written.

    Raises:
        InputError: The form is unknown, the file cannot be written, or ids are of mixed types.
    """
    import pyarrow.parquet as pq

    encoder_of(form)
    stream = _batches(instructions)
    batch = next(stream, [])
    schema = schema_of(batch, form)
    count = 0
    with atomic_write(path, "wb") as handle, pq.ParquetWriter(handle, schema) as writer:
        while batch:
            writer.write_batch(record_batch(batch, schema))
            count += len(batch)
            batch = next(stream, [])
    return count


def _batches(instructions: Iterable[Instruction]) -> Iterator[list[Instruction]]:
    stream = iter(instructions)
    while batch := list(islice(stream, BATCH_SIZE)):
        yield batch


def _compressed(data: bytes, compress: bool) -> bytes:
    # Each block is a gzip member of its own, so that processes can compress blocks in parallel; readers join members.
    # The gzip header contains no time, so that the bytes are the same in each run.
    return gzip.compress(data, _GZIP_LEVEL, mtime=0) if compress else data


# -- instruction datasets ------------------------------------------------------------------------------------------


def write_instructions(
    instructions: BlockSource,
    path: str | os.PathLike[str],
    *,
    form: str = "instruction",
    workers: int = 1,
    card: bool = True,
    progress: bool = True,
    command: str | None = None,
) -> ExportedFile:
    """Write an instruction dataset to a file, with a data card beside it.

    Everything is written to a temporary file beside `path`, which takes its place at the end: an interruption, an error
    or a full disk leaves the earlier file as it was, and nothing else.

    Args:
        instructions: The instructions, usually an `InstructionDataset`.
        path: The file; its ending `.jsonl`, `.jsonl.gz` or `.parquet` decides the format.
        form: "instruction", "chat" or "prompt", as in `encode` and `write_parquet`.
        workers: Number of processes that make and encode the instructions; the bytes do not depend on it.
        card: Whether to write `<stem>.card.md`.
        progress: Whether to show the progress on standard error.
        command: The command line that the user typed, for the card.

    Raises:
        InputError: An argument is not acceptable, or the file or the instructions cannot be written.
    """
    encoder_of(form)
    target = Path(path)
    ending = next(
        (ending for ending in ENDINGS if target.name.removesuffix(ending) not in ("", target.name)), None
    )
    if ending is None:
        raise one_of("ending of a file of instructions", target.name, ENDINGS)
    with atomic_write(target, "wb") as handle, _progress_bar(instructions.n, progress) as bar:
        file = _HashingWriter(handle)
        if ending == ".parquet":
            tally = _write_row_groups(file, instructions, form, workers, bar.update)
        else:
            tally = _write_lines(file, instructions, form, ending.endswith(".gz"), workers, bar.update)
        handle.flush()
        card_path = target.with_name(target.name.removesuffix(ending) + ".card.md") if card else None
        exported = ExportedFile(target, instructions.n, file.size, file.sha256.hexdigest(), tally, card_path)
        if card_path is not None:
            # write the card first: if the disk is full, the earlier file remains
            with atomic_write(card_path) as card_handle:
                card_handle.write(_card(instructions, exported, form, command))
    return exported


class _HashingWriter(io.RawIOBase):
    """A file that counts and hashes the bytes written to it."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self.size = 0
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._handle.write(data)
        self.sha256.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size


def _write_lines(
    file: _HashingWriter,
    instructions: BlockSource,
    form: str,
    compress: bool,
    workers: int,
    show_progress: Callable[[int], object],
) -> Tally:
    """Write the blocks as JSON lines and return their tally."""
    tally = Tally()
    if not instructions.n:
        file.write(_compressed(b"", compress))  # a compressed file without content is not empty
    encode_block = partial(_block_lines, form=form, compress=compress)
    with contextlib.closing(instructions.blocks(workers, encode_block)) as blocks:
        for data, block_tally in blocks:
            file.write(data)
            tally = tally.plus(block_tally)
            show_progress(block_tally.total())
    return tally


def _write_row_groups(
    file: _HashingWriter,
    instructions: BlockSource,
    form: str,
    workers: int,
    show_progress: Callable[[int], object],
) -> Tally:
    """Write the blocks as a Parquet table and return their tally."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = schema_of(instructions.block(0) if instructions.n else [], form)
    tally = Tally()
    with (
        pq.ParquetWriter(file, schema) as writer,
        contextlib.closing(instructions.blocks(workers, partial(_block_columns, schema=schema))) as blocks,
    ):
        batches = []
        for batch, block_tally in blocks:
            batches.append(batch)
            tally = tally.plus(block_tally)
            show_progress(block_tally.total())
            if len(batches) == BLOCKS_PER_ROW_GROUP:
                writer.write_table(pa.Table.from_batches(batches))
                batches.clear()
        if batches:
            writer.write_table(pa.Table.from_batches(batches))
    return tally


def _block_lines(block: list[Instruction], form: str, compress: bool) -> tuple[bytes, Tally]:
    return _compressed(encode(block, form), compress), Tally.of(block)


def _block_columns(block: list[Instruction], schema: Any) -> tuple[Any, Tally]:
    return record_batch(block, schema), Tally.of(block)


def _progress_bar(n: int, progress: bool) -> Any:
    from tqdm import tqdm

    interval = 0.5 if sys.stderr.isatty() else 10.0  # seconds; a log file needs few lines
    return tqdm(total=n, unit=" instructions", file=sys.stderr, disable=not progress, mininterval=interval)


def _card(instructions: BlockSource, exported: ExportedFile, form: str, command: str | None) -> str:
    """Return the data card of an exported file."""
    example = encode(instructions.block(0)[:1], form) if instructions.n else b"{}"
    return data_card(
        file=exported.path.name,
        form=form,
        tally=exported.tally,
        size=exported.bytes,
        sha256=exported.sha256,
        identity=instructions.identity(),
        datasets=getattr(instructions, "datasets", ()),
        example=orjson.loads(example),
        command=command,
    )
