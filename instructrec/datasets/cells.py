"""Read numbers from cells of a table that hold text."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from instructrec.errors import InputError

_NUMBER = r"(?<![\d.])([-+]?\d+(?:,\d{3})*(?:\.\d+)?)(?![\d.])"


def to_numbers(series: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return a column of mixed types as numbers, and the cells that hold no single number.

    A cell is a number if it holds exactly one: "4 stars", "5星", "¥129.00" and "1,299元" do; "not rated" and "3-5" do
    not, and become missing.

    Args:
        series: Numbers, text, or both, with gaps.

    Returns:
        The numbers (float64, same index), and the unchanged cells that are no numbers.

    Raises:
        InputError: The column is boolean.
    """
    if pd.api.types.is_bool_dtype(series):
        raise InputError(
            f"column {series.name!r} holds yes or no; numbers, or text with numbers, are accepted"
        )
    if pd.api.types.is_numeric_dtype(series):
        return series.astype("float64"), series.iloc[:0]
    text = series.where(series.isna(), series.astype(str).str.strip()).astype(object)
    values = pd.Series(
        [_one_number(cell) for cell in text], index=series.index, name=series.name, dtype="float64"
    )
    return values, series[series.notna() & values.isna()]


def _one_number(cell: object) -> float:
    numbers = re.findall(_NUMBER, cell) if isinstance(cell, str) else []
    return float(numbers[0].replace(",", "")) if len(numbers) == 1 else np.nan
