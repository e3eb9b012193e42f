"""Instructions: their schema, their generation, and the conditions that they state about items."""

from instructrec.instructions.export import write_instructions, write_jsonl, write_parquet
from instructrec.instructions.generate import generate
from instructrec.instructions.instruction_dataset import InstructionDataset, build_instructions
from instructrec.instructions.json_lines import read_jsonl
from instructrec.instructions.parsing import parse
from instructrec.instructions.parsing.constraint import Constraint
from instructrec.instructions.quality.counting import statistics
from instructrec.instructions.schema import (
    Answer,
    Context,
    Instruction,
    Intention,
    Preference,
    Style,
    TaskForm,
)
from instructrec.instructions.templates import Template, load_templates

__all__ = [
    "Answer",
    "Constraint",
    "Context",
    "Instruction",
    "Intention",
    "InstructionDataset",
    "Preference",
    "Style",
    "TaskForm",
    "Template",
    "generate",
    "load_templates",
    "parse",
    "build_instructions",
    "read_jsonl",
    "statistics",
    "write_jsonl",
    "write_parquet",
    "write_instructions",
]
