"""Instructions: what they are made of, how they are made, and what they demand of an item."""

from instructrec.instructions.constraint import Constraint
from instructrec.instructions.parsing import parse

__all__ = ["Constraint", "parse"]
