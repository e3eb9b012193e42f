"""Instructions one by one. Derived in chapter `instruction-generation`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.instruction_dataset import build_instructions
from instructrec.instructions.schema import Instruction


def generate(
    datasets: Dataset | Sequence[Dataset],
    n: int,
    languages: Sequence[str] = ("en", "zh"),
    seed: int = 0,
    source: str = "oracle",
    **options: Any,
) -> Iterator[Instruction]:
    """Make instructions one by one, the same for the same arguments; time is linear in n, memory constant.

    Args:
        datasets: See `build_instructions`, as for all arguments.
        n: Number of instructions.
        languages: One or both of "en" and "zh".
        seed: Seed of every draw.
        source: Where intentions come from: "oracle" or "history".
        **options: Further arguments of `build_instructions`.

    Yields:
        Instructions.

    Raises:
        InputError: An argument is not acceptable, or the data set has too few interactions or items.
    """
    instructions = build_instructions(datasets, n, languages, seed, source, **options)
    instructions.prepare()
    return iter(instructions)
