"""Pandera schemas of a user's own files; a failure becomes an error of one line that names the position and the value.

Imported only when such a file is read, since pandera takes a second to load.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from instructrec.errors import InputError

MISSING = ("NA", "N/A", "NaN", "nan", "null", "None")
FILLED = "an id, not an empty cell"
NUMBER = "a number such as 4 or 3.5, or an empty cell"
STARS = "a number from 0 to 5"
TIME = "seconds since 1970 such as 1684000000, or a date such as 2023-05-11 08:15:30"


def events_schema(
    user_id: str, item_id: str, rating: str | None, timestamp: str | None
) -> pa.DataFrameSchema:
    """Return the schema of a table of events whose cells are text.

    Args:
        user_id: Column of users, without gaps.
        item_id: Column of items, without gaps.
        rating: Column of ratings, numbers or gaps; None if there is no such column.
        timestamp: Column of times, seconds or dates, without gaps; None if there is no such column.
    """
    columns = {user_id: _column(FILLED, _is_filled), item_id: _column(FILLED, _is_filled)}
    if rating is not None:
        columns[rating] = _column(NUMBER, lambda cells: cells.isna() | _numbers(cells).notna())
    if timestamp is not None:
        columns[timestamp] = _column(TIME, lambda cells: seconds(cells).notna())
    return pa.DataFrameSchema(columns)


def reviews_schema(user: str, item: str, rating: str, time: str) -> pa.DataFrameSchema:
    """Return the schema of Amazon reviews: users and items without gaps, 0 to 5 stars, a time.

    Args:
        user: Key of the reviewer.
        item: Key of the product.
        rating: Key of the stars.
        time: Key of the time.
    """
    return pa.DataFrameSchema(
        {
            user: _column(FILLED, _is_filled),
            item: _column(FILLED, _is_filled),
            rating: _column(STARS, lambda cells: _numbers(cells).between(0, 5)),
            time: _column(TIME, lambda cells: seconds(cells).notna()),
        }
    )


def check(table: pd.DataFrame, schema: pa.DataFrameSchema, source: str) -> None:
    """Check a table whose index holds the line numbers of its file.

    Args:
        table: Cells as read.
        schema: The schema.
        source: Name of the file, for the message.

    Raises:
        InputError: A cell is wrong; the message names file, line, column, value, the number of further errors, and
            what is accepted.
    """
    try:
        schema.validate(table, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        first = cases.loc[cases["index"].astype("int64").idxmin()]
        line, column = int(first["index"]), str(first["column"])
        empty = table[column].isna().at[line]
        value = "an empty cell" if empty else repr(table.at[line, column])[:60]
        more = cases["index"].nunique() - 1
        raise InputError(
            f"{source!r}, line {line}, column {column!r}: {value}{f' (and {more} more)' if more else ''}; "
            f"accepted: {first['check']}"
        ) from errors


def seconds(cells: pd.Series) -> pd.Series:
    """Return times as seconds since 1970-01-01 UTC (float64), missing where a cell is neither a number nor a date.

    Numbers from 100,000,000,000 on are read as milliseconds, as in the Amazon reviews of 2023.

    Args:
        cells: Numbers, text with numbers, or text with ISO dates.
    """
    numbers = _numbers(cells)
    numbers = numbers.where(numbers.between(0, 1e14))
    numbers = numbers.where(~(numbers >= 1e11), numbers // 1000)
    text_times = cells[
        numbers.isna() & cells.map(lambda cell: isinstance(cell, str) and not _is_plain_number(cell))
    ]
    if len(text_times):
        dates = pd.to_datetime(text_times, errors="coerce", utc=True, format="ISO8601")
        dates = dates.dropna()
        numbers.loc[dates.index] = ((dates - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)).astype(
            "float64"
        )
    return numbers


def _numbers(cells: pd.Series) -> pd.Series:
    """Return the finite numbers among the cells (float64), missing elsewhere."""
    numbers = pd.Series(pd.to_numeric(cells, errors="coerce"), index=cells.index, dtype="float64")
    return numbers.where(np.isfinite(numbers))


def _is_plain_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_filled(cells: pd.Series) -> pd.Series:
    return cells.notna() & ~cells.astype(str).str.strip().isin(["", *MISSING])


def _column(accepted: str, passes: object) -> pa.Column:
    return pa.Column(None, pa.Check(passes, error=accepted, ignore_na=False), nullable=True)
