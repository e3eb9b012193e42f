"""Instructions as JSON lines: encoded in three forms and read back.

The forms are "instruction" (every field of `Instruction`), "chat" (a user's message and the assistant's, as a chat
model is tuned on, without any personal data) and "prompt" (the same as a pair).

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import orjson

from instructrec.errors import InputError, one_of
from instructrec.instructions.schema import Instruction

FORMS = ("instruction", "chat", "prompt")

T = TypeVar("T")


def encode(block: Sequence[Instruction], form: str = "instruction") -> bytes:
    """Return instructions as JSON lines: UTF-8, one object per line, each with a line end.

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
        return b"".join(list(map(encoder_of(form), block)))
    except TypeError:
        return b"".join(_encode_checked(instruction, encoder_of(form)) for instruction in block)


def encoder_of(form: str) -> Callable[[Instruction], bytes]:
    """Return the function that encodes one instruction in a form.

    Raises:
        InputError: The form is unknown.
    """
    try:
        return _ENCODERS[form]
    except (KeyError, TypeError):
        raise one_of("form", form, FORMS) from None


def _encode_instruction(instruction: Instruction) -> bytes:
    # the same bytes as for instruction.as_dict(), but faster
    return orjson.dumps(instruction, option=orjson.OPT_APPEND_NEWLINE)


def _encode_chat(instruction: Instruction) -> bytes:
    messages = [
        {"role": "user", "content": instruction.text},
        {"role": "assistant", "content": instruction.response},
    ]
    return orjson.dumps({"messages": messages}, option=orjson.OPT_APPEND_NEWLINE)


def _encode_prompt(instruction: Instruction) -> bytes:
    pair = {"prompt": instruction.text, "response": instruction.response}
    return orjson.dumps(pair, option=orjson.OPT_APPEND_NEWLINE)


_ENCODERS: dict[str, Callable[[Instruction], bytes]] = {
    "instruction": _encode_instruction,
    "chat": _encode_chat,
    "prompt": _encode_prompt,
}


def _encode_checked(instruction: Instruction, encoder: Callable[[Instruction], bytes]) -> bytes:
    try:
        return encoder(instruction)
    except TypeError as error:
        raise InputError(
            f"an instruction of template {instruction.template!r} for user {instruction.user_id!r} cannot be written "
            f"({error}); ids that are texts or whole numbers of 64 bits, and texts of whole characters, are accepted"
        ) from None


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[Instruction]:
    """Read instructions one by one from a file of `write_jsonl` or `write_instructions`, skipping blank lines.

    Args:
        path: The file, of form "instruction"; it is decompressed if its name ends in `.gz`.

    Yields:
        Instructions.

    Raises:
        InputError: The file cannot be read, or a line is not an instruction: names the line, from 1.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"instructions {str(file)!r} are not a file; give a JSON-lines file written by write_jsonl"
        )
    return read_lines(file, Instruction.from_dict)


def read_lines(path: Path, convert: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    """Read a file of JSON lines, one object per line.

    Args:
        path: The file.
        convert: Function that is applied to the object of each line.

    Yields:
        The results of `convert`.

    Raises:
        InputError: The file cannot be read, a line is not an object, or `convert` refuses it: names the line, from 1.
    """
    number = 0
    try:
        with _open_text(path) as handle:
            for line in handle:
                number += 1
                if line.strip():
                    yield _convert_line(line, convert)
    except UnicodeDecodeError:
        raise InputError(
            f"{str(path)!r} after line {number}: not UTF-8 text; give a JSON-lines file"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)!r} cannot be read: {reason}; give a readable file") from None
    except InputError as error:
        raise InputError(f"{str(path)!r} line {number}: {error}") from None


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _convert_line(line: str, convert: Callable[[dict[str, Any]], T]) -> T:
    # The standard reader is the fallback of the fast one: its error messages are clearer, and it keeps whole numbers of
    # more than 64 bits.
    try:
        return convert(orjson.loads(line))
    except (ValueError, AttributeError):
        pass
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error}); one object a line is accepted") from None
    if not isinstance(content, dict):
        raise InputError(f"holds {type(content).__name__}; one JSON object a line is accepted")
    return convert(content)
