"""Instructions: what they are made of, how they are made, and what they demand of an item."""

from instructrec.instructions.constraint import Constraint
from instructrec.instructions.export import read_jsonl, write_jsonl, write_parquet
from instructrec.instructions.generate import generate, statistics
from instructrec.instructions.parsing import parse
from instructrec.instructions.schema import Context, Instruction, Intention, Preference, TaskForm
from instructrec.instructions.templates import Template, load_templates

__all__ = [
    "Constraint",
    "Context",
    "Instruction",
    "Intention",
    "Preference",
    "TaskForm",
    "Template",
    "generate",
    "load_templates",
    "parse",
    "read_jsonl",
    "statistics",
    "write_jsonl",
    "write_parquet",
]
