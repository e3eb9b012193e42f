"""Turn a table of numbers and intervals into text cells, numeric columns and Markdown."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from instructrec.evaluation.candidates import WHOLE_CATALOGUE
from instructrec.split import SPLITS
from instructrec.statistics import Interval


def make_table(rows: dict[Any, dict[str, Any]], index_name: str = "model") -> pd.DataFrame:
    """Return a table of objects (intervals, numbers, texts) from its rows by label."""
    columns = list(next(iter(rows.values())))
    cells = {column: pd.Series([row[column] for row in rows.values()], dtype=object) for column in columns}
    return pd.DataFrame(cells).set_axis(pd.Index(list(rows), name=index_name), axis=0)


def text_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text: intervals, numbers of three decimals, and an empty cell for a missing value."""
    return pd.DataFrame(
        {name: [format_cell(name, value) for value in table[name]] for name in table.columns},
        index=table.index,
    )


def format_cell(column: str, value: Any) -> str:
    """Return the text of a cell; the column's name decides how many decimals a number has."""
    if isinstance(value, Interval | str):
        return str(value)
    if value is None or value != value:
        return ""
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if column.startswith("p") and value < 0.001:
        return "< 0.001"
    if column.endswith("(s)"):
        return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{value:.4f}" if column.startswith("sd") else f"{value:.3f}"


def numeric_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as numbers: a column of intervals becomes three, the mean, `low` and `high`."""
    columns: dict[str, list[Any]] = {}
    for name in table.columns:
        values = list(table[name])
        is_interval = [isinstance(value, Interval) for value in values]
        if not any(is_interval):
            columns[name] = values
            continue
        for suffix, end in (("", "mean"), (" low", "low"), (" high", "high")):
            columns[name + suffix] = [
                getattr(value, end) if interval else (None if suffix else value)
                for value, interval in zip(values, is_interval, strict=True)
            ]
    return pd.DataFrame(columns, index=table.index)


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown, its index as the first columns, columns of numbers aligned to the right."""
    flat = table.reset_index()
    rows = [[str(name) for name in flat.columns], *flat.astype(str).to_numpy().tolist()]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    is_numeric = [
        pd.api.types.is_numeric_dtype(flat[name]) or _holds_numbers(flat[name]) for name in flat.columns
    ]
    lines.insert(1, "|" + "|".join("---:" if numeric else "---" for numeric in is_numeric) + "|")
    return "\n".join(lines)


def candidates_in_words(candidates: str) -> str:
    """Return the name of candidates for a sentence."""
    return f"{WHOLE_CATALOGUE} without the history" if candidates == WHOLE_CATALOGUE else candidates


def short_candidates(candidates: str) -> str:
    """Return the name of candidates for a column: "9 random" for "9 random negatives"."""
    return re.sub(r" negatives\b", "", candidates)


def heading(name: str) -> str:
    """Return the heading of a table or a figure: "Beyond accuracy: global-time"."""
    protocol = next(protocol for protocol in SPLITS if name.endswith(protocol))
    return f"{name.removesuffix(f'-{protocol}').replace('-', ' ').capitalize()}: {protocol}"


def _holds_numbers(column: pd.Series) -> bool:
    return all(re.fullmatch(r"(?:< )?-?[\d.,]*(?: \[.*\])?", str(cell)) for cell in column)
