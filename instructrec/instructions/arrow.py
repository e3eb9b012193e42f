"""Instructions as Arrow record batches, for Parquet files. Derived in chapter `instruction-generation`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import fields
from typing import Any

from instructrec.errors import InputError
from instructrec.instructions.json_lines import encoder_of
from instructrec.instructions.schema import Context, Instruction


def schema_of(block: Sequence[Instruction], form: str = "instruction") -> Any:
    """Return the Arrow schema of a form.

    Args:
        block: Instructions that decide whether ids are integers (64 bits) or text.
        form: "instruction", "chat" or "prompt".

    Returns:
        A `pyarrow.Schema`. Only target, sources and circumstances can be null.

    Raises:
        InputError: The form is unknown.
    """
    import pyarrow as pa

    encoder_of(form)
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
    users = [instruction.user_id for instruction in block]
    items = [
        item
        for instruction in block
        for item in (instruction.target, *instruction.history, *instruction.candidates)
        if item is not None
    ]
    user_type, item_type = id_type(users), id_type(items or users)
    types: dict[str, Any] = {
        "user_id": user_type,
        "target": item_type,
        "history": pa.list_(column("element", item_type)),
        "candidates": pa.list_(column("element", item_type)),
        "context": pa.struct([column(field.name, text, True) for field in fields(Context)]),
        "held_out": pa.bool_(),
        "cut": pa.int64(),
    }
    nullable = {"target", "intention_source", "preference_source"}
    return pa.schema(
        [
            column(field.name, types.get(field.name, text), field.name in nullable)
            for field in fields(Instruction)
        ]
    )


def record_batch(block: Sequence[Instruction], schema: Any) -> Any:
    """Return instructions as a `pyarrow.RecordBatch` of a schema of `schema_of`.

    Raises:
        InputError: Ids are of mixed types, or a text is not valid Unicode.
    """
    import pyarrow as pa

    names = schema.names
    try:
        if names == ["messages"]:
            list_type = schema.field("messages").type
            contents = [text for instruction in block for text in (instruction.text, instruction.response)]
            roles = pa.array(["user", "assistant"] * len(block), pa.string())
            messages = pa.StructArray.from_arrays(
                [roles, pa.array(contents, pa.string())], fields=list(list_type.value_type)
            )
            starts = pa.array(range(0, len(contents) + 1, 2), pa.int32())
            return pa.record_batch(
                [pa.ListArray.from_arrays(starts, messages, type=list_type)], schema=schema
            )
        values: dict[str, list[Any]] = {
            name: [getattr(instruction, "text" if name == "prompt" else name) for instruction in block]
            for name in names
        }
        if "context" in values:
            values["context"] = [context.as_dict() for context in values["context"]]
        return pa.record_batch([pa.array(values[field.name], field.type) for field in schema], schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
        raise InputError(
            f"instructions cannot be one table: {error}; ids must all be of one type, as they need not in .jsonl"
        ) from error
