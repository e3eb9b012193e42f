"""Finds differences that a table shows without their intervals."""

import re
from collections.abc import Sequence

import pandas as pd

_NAMES_A_DIFFERENCE = re.compile(r"\b(?:differences?|minus|leads?|gains?|gaps?)\b", re.IGNORECASE)
_NUMBER = r"[-+−]?\d[\d,]*(?:\.\d+)?"
_WITH_INTERVAL = re.compile(rf"(?:{_NUMBER} \[(?:{_NUMBER}, {_NUMBER}|nan, nan)\])?")


def bare_differences(table: pd.DataFrame) -> list[str]:
    """Return the columns and rows whose label names a difference and that hold a number without its interval.

    A cell may be empty or read "mean [low, high]", both ends "nan" where one user leaves no interval.
    """
    columns = [str(label) for label, cells in table.items() if _is_bare(label, list(cells))]
    rows = zip(table.index, table.itertuples(index=False), strict=True)
    return columns + [str(label) for label, cells in rows if _is_bare(label, list(cells))]


def _is_bare(label: object, cells: Sequence[object]) -> bool:
    texts = ["" if cell is None or cell is pd.NA or cell != cell else str(cell) for cell in cells]
    return bool(_NAMES_A_DIFFERENCE.search(str(label))) and not all(map(_WITH_INTERVAL.fullmatch, texts))
