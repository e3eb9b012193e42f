"""Instructions as files: JSON lines or Parquet in three forms, written whole or not at all, a block at a time.

The forms are "instruction" (every field of `Instruction`), "chat" (a user's message and the assistant's, as a chat
model is tuned on, nothing personal beside them) and "prompt" (the same as a pair).

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Protocol, Self, TypeVar

import orjson

from instructrec import __version__
from instructrec.errors import InputError, one_of
from instructrec.files import atomic_write
from instructrec.instructions.data_card import Tally, data_card
from instructrec.instructions.schema import Context, Instruction

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FORMS = ("instruction", "chat", "prompt")
ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
BATCH = 4096
ROW_GROUP_BLOCKS = 16
NOTE_SECONDS = 2.0
LAYOUT = (
    1  # raised whenever the same plan would give other bytes, so that no half of an old file is gone on with
)
_COMPRESSION = 6

T = TypeVar("T")


class BlockSource(Protocol):
    """What `write_instructions` needs of a plan: blocks that depend on nothing but the plan and their number."""

    @property
    def n(self) -> int:
        """How many instructions there are."""

    @property
    def n_blocks(self) -> int:
        """How many blocks there are."""

    def block(self, i: int, /) -> list[Instruction]:
        """Return the instructions of block i."""

    def identity(self) -> dict[str, Any]:
        """Return everything that the instructions depend on, as JSON takes it."""

    def blocks(self, workers: int = 1, start: int = 0, finish: Any = None) -> Iterator[Any]:
        """Yield `finish(block)` of each block from `start` on, in order."""


@dataclass(frozen=True)
class Written:
    """What `write_instructions` wrote.

    Attributes:
        path: The file.
        n: Number of instructions.
        bytes: Size of the file.
        sha256: Digest of the file, hexadecimal.
        tally: How many instructions there are of each kind: `tally.by("task", "language")`.
        resumed: How many of the instructions were taken over from an interrupted run.
        card: The data card beside the file, or None.
    """

    path: Path
    n: int
    bytes: int
    sha256: str
    tally: Tally
    resumed: int = 0
    card: Path | None = None


# -- one instruction as bytes --------------------------------------------------------------------------------------


def encode(block: Sequence[Instruction], form: str = "instruction") -> bytes:
    """Return instructions as JSON lines: UTF-8, one object a line, a line end after each.

    Args:
        block: Any number of instructions.
        form: "instruction": the fields of `Instruction.as_dict`; "chat": `{"messages": [{"role": "user", "content":
            text}, {"role": "assistant", "content": response}]}`; "prompt": `{"prompt": text, "response": response}`.

    Returns:
        The lines, the same bytes for equal instructions.

    Raises:
        InputError: The form is unknown, or an instruction holds what JSON cannot.
    """
    try:
        return b"".join(list(map(_encoder(form), block)))
    except TypeError:
        return b"".join(_encoded(one, _encoder(form)) for one in block)


def _encoder(form: str) -> Callable[[Instruction], bytes]:
    try:
        return _ENCODERS[form]
    except (KeyError, TypeError):
        raise one_of("form", form, FORMS) from None


def _encode_instruction(one: Instruction) -> bytes:
    return orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE)  # the same as of one.as_dict(), but faster


def _encode_chat(one: Instruction) -> bytes:
    messages = [{"role": "user", "content": one.text}, {"role": "assistant", "content": one.response}]
    return orjson.dumps({"messages": messages}, option=orjson.OPT_APPEND_NEWLINE)


def _encode_prompt(one: Instruction) -> bytes:
    return orjson.dumps({"prompt": one.text, "response": one.response}, option=orjson.OPT_APPEND_NEWLINE)


_ENCODERS: dict[str, Callable[[Instruction], bytes]] = {
    "instruction": _encode_instruction,
    "chat": _encode_chat,
    "prompt": _encode_prompt,
}


def _encoded(one: Instruction, encoder: Callable[[Instruction], bytes]) -> bytes:
    try:
        return encoder(one)
    except TypeError as error:
        raise InputError(
            f"an instruction of template {one.template!r} for user {one.user_id!r} cannot be written ({error}); "
            "ids that are texts or whole numbers of 64 bits, and texts of whole characters, are accepted"
        ) from None


# -- streams -------------------------------------------------------------------------------------------------------


def write_jsonl(
    instructions: Iterable[Instruction], path: str | os.PathLike[str], form: str = "instruction"
) -> int:
    """Write one JSON object a line, UTF-8; compressed where the path ends in `.gz`.

    Args:
        instructions: Any number, streamed.
        path: The file; one that exists is replaced once all is written.
        form: "instruction", "chat" or "prompt", as in `encode`.

    Returns:
        How many were written.

    Raises:
        InputError: The form is unknown, the place cannot be written, or an instruction cannot.
    """
    _encoder(form)
    packed = Path(path).suffix == ".gz"
    count = 0
    with atomic_write(path, "wb") as handle:
        for batch in _batches(instructions):
            handle.write(_pack(encode(batch, form), packed))
            count += len(batch)
        if not count:
            handle.write(_pack(b"", packed))
    return count


def write_parquet(
    instructions: Iterable[Instruction], path: str | os.PathLike[str], form: str = "instruction"
) -> int:
    """Write a Parquet table; ids are integers if all of the first batch are, else text.

    Args:
        instructions: Any number, streamed.
        path: The file; one that exists is replaced once all is written.
        form: "instruction": the columns of `Instruction.as_dict`, lists and the context nested; "chat": one column
            `messages`, a list of `role` and `content`; "prompt": `prompt` and `response`.

    Returns:
        How many were written.

    Raises:
        InputError: The form is unknown, the place cannot be written, or ids are of mixed types.
    """
    import pyarrow.parquet as pq

    _encoder(form)
    stream = _batches(instructions)
    batch = next(stream, [])
    schema = parquet_schema(batch, form)
    count = 0
    with atomic_write(path, "wb") as handle, pq.ParquetWriter(handle, schema) as writer:
        while batch:
            writer.write_batch(_record_batch(batch, schema))
            count += len(batch)
            batch = next(stream, [])
    return count


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[Instruction]:
    """Read instructions that `write_jsonl` or `write_instructions` wrote, one by one; blank lines are skipped.

    Args:
        path: The file, of form "instruction"; decompressed where it ends in `.gz`.

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
    return read_lines(place, Instruction.from_dict)


def read_lines(place: Path, make: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    """Read a file of JSON lines, one object a line.

    Args:
        place: The file.
        make: What becomes of the object of a line.

    Yields:
        What `make` gives.

    Raises:
        InputError: The file cannot be read, a line is not an object, or `make` refuses it: names the line, from 1.
    """
    number = 0
    try:
        with _opened(place) as handle:
            for line in handle:
                number += 1
                if line.strip():
                    yield _parsed(line, make)
    except UnicodeDecodeError:
        raise InputError(
            f"{str(place)!r} after line {number}: not UTF-8 text; give a JSON-lines file"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(place)!r} cannot be read: {reason}; give a readable file") from None
    except InputError as error:
        raise InputError(f"{str(place)!r} line {number}: {error}") from None


def _opened(place: Path) -> IO[str]:
    if place.suffix == ".gz":
        return gzip.open(place, "rt", encoding="utf-8")
    return place.open(encoding="utf-8")


def _parsed(line: str, make: Callable[[dict[str, Any]], T]) -> T:
    # The fast reader first. What it or `make` refuses is read again by the standard one, which has the clearer words,
    # and which keeps whole numbers of more than 64 bits.
    try:
        return make(orjson.loads(line))
    except (ValueError, AttributeError):
        pass
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error}); one object a line is accepted") from None
    if not isinstance(plain, dict):
        raise InputError(f"holds {type(plain).__name__}; one JSON object a line is accepted")
    return make(plain)


def _batches(instructions: Iterable[Instruction]) -> Iterator[list[Instruction]]:
    stream = iter(instructions)
    while batch := list(islice(stream, BATCH)):
        yield batch


def _pack(data: bytes, packed: bool) -> bytes:
    # Each block is a gzip member of its own, which readers join: blocks can be compressed side by side, and an
    # interrupted file can be gone on with. No time in the header, so that the bytes are the same each time.
    return gzip.compress(data, _COMPRESSION, mtime=0) if packed else data


# -- Parquet -------------------------------------------------------------------------------------------------------


def parquet_schema(block: Sequence[Instruction], form: str = "instruction") -> Any:
    """Return the Arrow schema of a form, every column of `Instruction` named.

    Args:
        block: Instructions that decide whether ids are integers (64 bits) or text.
        form: "instruction", "chat" or "prompt".

    Returns:
        A `pyarrow.Schema`. Only target, sources and circumstances can be missing.

    Raises:
        InputError: The form is unknown.
    """
    import pyarrow as pa

    _encoder(form)
    text = pa.string()

    def column(name: str, kind: Any = text, nullable: bool = False) -> Any:
        return pa.field(name, kind, nullable=nullable)

    def id_type(values: Iterable[Hashable]) -> Any:
        return pa.int64() if all(isinstance(value, int) for value in values) else text

    if form == "prompt":
        return pa.schema([column("prompt"), column("response")])
    if form == "chat":
        message = pa.struct([column("role"), column("content")])
        return pa.schema([column("messages", pa.list_(column("element", message)))])
    users = [one.user_id for one in block]
    items = [
        item for one in block for item in (one.target, *one.history, *one.candidates) if item is not None
    ]
    user, item = id_type(users), id_type(items or users)
    kinds: dict[str, Any] = {
        "user_id": user,
        "target": item,
        "history": pa.list_(column("element", item)),
        "candidates": pa.list_(column("element", item)),
        "context": pa.struct([column(one.name, text, True) for one in fields(Context)]),
        "held_out": pa.bool_(),
        "cut": pa.int64(),
    }
    missing = {"target", "intention_source", "preference_source"}
    return pa.schema(
        [column(one.name, kinds.get(one.name, text), one.name in missing) for one in fields(Instruction)]
    )


def _record_batch(block: Sequence[Instruction], schema: Any) -> Any:
    import pyarrow as pa

    names = schema.names
    try:
        if names == ["messages"]:
            kind = schema.field("messages").type
            words = [text for one in block for text in (one.text, one.response)]
            roles = pa.array(["user", "assistant"] * len(block), pa.string())
            parts = pa.StructArray.from_arrays(
                [roles, pa.array(words, pa.string())], fields=list(kind.value_type)
            )
            starts = pa.array(range(0, len(words) + 1, 2), pa.int32())
            return pa.record_batch([pa.ListArray.from_arrays(starts, parts, type=kind)], schema=schema)
        values: dict[str, list[Any]] = {
            name: [getattr(one, "text" if name == "prompt" else name) for one in block] for name in names
        }
        if "context" in values:
            values["context"] = [one.as_dict() for one in values["context"]]
        return pa.record_batch([pa.array(values[one.name], one.type) for one in schema], schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
        raise InputError(
            f"instructions cannot be one table: {error}; ids must all be of one type, as they need not in .jsonl"
        ) from error


# -- plans ---------------------------------------------------------------------------------------------------------


def write_instructions(
    plan: BlockSource,
    path: str | os.PathLike[str],
    *,
    form: str = "instruction",
    workers: int = 1,
    card: bool = True,
    progress: bool = True,
    command: str | None = None,
) -> Written:
    """Write the instructions of a plan, and a data card beside them; an interrupted run goes on where it stopped.

    The file comes into being as `.<name>.part` beside its place and is moved there once it is whole, so that an earlier
    file stays until then. For JSON lines, `.<name>.part.json` notes every two seconds how far it is; a later call with
    the same plan, form and path, after an interruption, a kill or an error, goes on from there to the same bytes.
    Another plan or a damaged note starts over, and so does Parquet, whose table of contents stands at its end. A full
    disk leaves nothing behind but the earlier file.

    Args:
        plan: What to write.
        path: The file; its ending `.jsonl`, `.jsonl.gz` or `.parquet` decides the format.
        form: "instruction", "chat" or "prompt", as in `encode` and `write_parquet`.
        workers: How many processes make and encode the instructions; the bytes do not depend on it.
        card: Whether to write `<stem>.card.md`.
        progress: Whether to show the progress on standard error.
        command: What was typed, for the card.

    Returns:
        What was written.

    Raises:
        InputError: An argument is not acceptable, the place cannot be written, another run is writing there, or the
            plan cannot be carried out.
    """
    _encoder(form)
    target = Path(path)
    ending = next((one for one in ENDINGS if target.name.endswith(one) and target.name != one), None)
    if ending is None:
        raise one_of("ending of a file of instructions", target.name, ENDINGS)
    identity = plan.identity()
    with _Part(target) as part, _bar(plan.n, progress) as bar:
        if ending == ".parquet":
            resumed, tally = 0, _parquet_into(part, plan, form, workers, bar.update)
            sha256 = part.digest()
        else:
            resumed, done = _lines_into(
                part, plan, _key(identity, form, ending), form, ending, workers, bar.update
            )
            tally, sha256 = done.tally, done.hash.hexdigest()
        beside = target.with_name(target.name.removesuffix(ending) + ".card.md") if card else None
        written = Written(target, plan.n, part.size(), sha256, tally, resumed, beside)
        if beside is None:
            part.move()
        else:
            text = _card(plan, written, identity, form, command)
            try:
                with atomic_write(beside) as handle:
                    handle.write(text)
                    handle.flush()  # a disk that is too full for the card shows before the file takes its place
                    part.move()
            except InputError as error:
                raise _DiskError(str(error)) from error
    return written


class _DiskError(InputError):
    """The place cannot be written: nothing is kept there."""


@contextlib.contextmanager
def _disk(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _DiskError(
            f"cannot write {str(target)!r}: {error.strerror or error}; give a path in a writable folder with free space"
        ) from error


@dataclass(frozen=True)
class _Done:
    """How far a file of lines is; a new one after each block, so that an interruption never sees half of a step."""

    blocks: int
    size: int
    hash: Any
    tally: Tally

    def plus(self, data: bytes, counts: Tally) -> _Done:
        further = self.hash.copy()
        further.update(data)
        return _Done(self.blocks + 1, self.size + len(data), further, self.tally.plus(counts))


class _Part:
    """The unfinished file and its note, both hidden beside the target; only one process at a time holds them."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.part")
        self.note_path = target.with_name(f".{target.name}.part.json")
        self.new_note_path = target.with_name(f".{target.name}.part.json.new")
        self.noted = False

    def __enter__(self) -> Self:
        with _disk(self.target):
            self.target.parent.mkdir(parents=True, exist_ok=True)
            if self.target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if len(os.fsencode(self.new_note_path.name)) > 255:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            self.handle = self._locked()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        # What was noted stays after an interruption, for the next call; after a full disk nothing does.
        if error is not None and (isinstance(error, _DiskError) or not self.noted):
            for path in (self.path, self.note_path, self.new_note_path):
                with contextlib.suppress(OSError):
                    path.unlink()
        with contextlib.suppress(OSError):  # the last bytes may not fit the disk either
            self.handle.close()

    def _locked(self) -> io.BufferedRandom:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        while True:
            handle = os.fdopen(os.open(self.path, flags, 0o666), "r+b")
            if fcntl is None:
                return handle
            try:
                # of this open file, not of the process as lockf's: two threads shut each other out as well
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.close()
                raise InputError(
                    f"another run is writing {str(self.target)!r}; wait for its end, or give another path"
                ) from None
            except OSError:
                return handle  # a file system without locks
            # the other run may have moved the file to its place between the opening and the lock
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle.fileno()), os.stat(self.path)):
                    return handle
            handle.close()

    def write(self, data: bytes) -> None:
        with _disk(self.target):
            self.handle.write(data)

    def digest(self) -> str:
        """Return the SHA-256 of what is written, hexadecimal."""
        with _disk(self.target):
            self.handle.seek(0)
            return hashlib.file_digest(self.handle, "sha256").hexdigest()

    def size(self) -> int:
        with _disk(self.target):
            return self.handle.seek(0, os.SEEK_END)

    def empty(self) -> None:
        with _disk(self.target):
            self.handle.seek(0)
            self.handle.truncate()
            self.note_path.unlink(missing_ok=True)

    def note(self, key: str, done: _Done) -> None:
        """Record how far the file is, after the bytes are on the disk."""
        content = {
            "key": key,
            "blocks": done.blocks,
            "bytes": done.size,
            "sha256": done.hash.hexdigest(),
            "counts": [[*kind, count, done.tally.lengths[kind]] for kind, count in done.tally.counts.items()],
        }
        with _disk(self.target):
            self._sync(self.handle)
            with open(self.new_note_path, "wb") as handle:
                handle.write(json.dumps(content, ensure_ascii=False).encode())
                self._sync(handle)
            self.new_note_path.replace(self.note_path)
            self.noted = True

    def resume(self, key: str) -> _Done:
        """Return how far an earlier run with the same key came and cut the file there, or empty it."""
        start = _Done(0, 0, hashlib.sha256(), Tally())
        try:
            note = json.loads(self.note_path.read_bytes())
            counts = {tuple(kind): int(count) for *kind, count, _ in note["counts"]}
            lengths = {tuple(kind): int(length) for *kind, _, length in note["counts"]}
            if note["key"] == key and min(note["blocks"], note["bytes"]) >= 0:
                left = note["bytes"]
                while left and (data := self.handle.read(min(left, 1 << 20))):
                    start.hash.update(data)
                    left -= len(data)
                if not left and start.hash.hexdigest() == note["sha256"]:
                    with _disk(self.target):
                        self.handle.truncate(note["bytes"])
                        self.handle.seek(note["bytes"])
                    self.noted = True
                    return _Done(note["blocks"], note["bytes"], start.hash, Tally(counts, lengths))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass  # none, or damaged: from the start
        self.empty()
        return _Done(0, 0, hashlib.sha256(), Tally())

    def move(self) -> None:
        """Move the whole file to its place."""
        with _disk(self.target):
            self._sync(self.handle)
            if fcntl is None:
                self.handle.close()  # Windows moves no open file
            self.path.replace(self.target)
            self.noted = True  # nothing to clear away any more: what has this name now is another run's
            for path in (self.note_path, self.new_note_path):
                path.unlink(missing_ok=True)

    @staticmethod
    def _sync(handle: IO[bytes]) -> None:
        handle.flush()
        os.fsync(handle.fileno())


def _lines_into(
    part: _Part,
    plan: BlockSource,
    key: str,
    form: str,
    ending: str,
    workers: int,
    show: Callable[[int], object],
) -> tuple[int, _Done]:
    """Write the lines of a plan; return how many an earlier run had written, and the end."""
    packed = ending.endswith(".gz")
    done = part.resume(key)
    resumed = done.tally.total()
    show(resumed)
    noted = time.monotonic()
    try:
        if not plan.n:
            empty = _pack(b"", packed)  # which is a file of some bytes where it is compressed
            part.write(empty)
            done = done.plus(empty, Tally())
        with contextlib.closing(
            _finished(plan, workers, done.blocks, partial(_block_lines, form=form, packed=packed))
        ) as blocks:
            for data, counts in blocks:
                part.write(data)
                done = done.plus(data, counts)
                show(counts.total())
                if time.monotonic() - noted >= NOTE_SECONDS:
                    part.note(key, done)
                    noted = time.monotonic()
    except _DiskError:
        raise
    except BaseException:
        if done.blocks:
            part.note(key, done)
        raise
    return resumed, done


def _parquet_into(
    part: _Part, plan: BlockSource, form: str, workers: int, show: Callable[[int], object]
) -> Tally:
    import pyarrow as pa
    import pyarrow.parquet as pq

    part.empty()
    schema = parquet_schema(plan.block(0) if plan.n else [], form)
    tally = Tally()
    waiting: list[Any] = []
    with _disk(part.target):
        writer = pq.ParquetWriter(part.handle, schema)
    try:
        with contextlib.closing(
            _finished(plan, workers, 0, partial(_block_columns, schema=schema))
        ) as blocks:
            for batch, counts in blocks:
                waiting.append(batch)
                tally = tally.plus(counts)
                show(counts.total())
                if len(waiting) == ROW_GROUP_BLOCKS:
                    with _disk(part.target):
                        writer.write_table(pa.Table.from_batches(waiting))
                    waiting.clear()
        with _disk(part.target):
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting))
            writer.close()
    except BaseException:
        with contextlib.suppress(Exception):
            writer.close()
        raise
    return tally


def _finished(
    plan: BlockSource, workers: int, start: int, finish: Callable[..., T]
) -> Generator[T, None, None]:
    if start < plan.n_blocks:
        yield from plan.blocks(workers, start, finish)


def _block_lines(block: list[Instruction], form: str, packed: bool) -> tuple[bytes, Tally]:
    return _pack(encode(block, form), packed), Tally.of(block)


def _block_columns(block: list[Instruction], schema: Any) -> tuple[Any, Tally]:
    return _record_batch(block, schema), Tally.of(block)


def _key(identity: Mapping[str, Any], form: str, ending: str) -> str:
    whole = {"version": __version__, "layout": LAYOUT, "plan": identity, "form": form, "ending": ending}
    # keys unsorted: the order of languages and of data sets counts, since draws choose among them by their places
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def _bar(n: int, progress: bool) -> Any:
    from tqdm import tqdm

    pause = 0.5 if sys.stderr.isatty() else 10.0  # a log file needs no line every half second
    return tqdm(total=n, unit=" instructions", file=sys.stderr, disable=not progress, mininterval=pause)


def _card(
    plan: BlockSource, written: Written, identity: Mapping[str, Any], form: str, command: str | None
) -> str:
    example = encode(plan.block(0)[:1], form) if plan.n else b"{}"
    return data_card(
        file=written.path.name,
        form=form,
        tally=written.tally,
        size=written.bytes,
        sha256=written.sha256,
        identity=identity,
        datasets=getattr(plan, "datasets", ()),
        example=orjson.loads(example),
        command=command,
    )
