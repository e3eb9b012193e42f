"""Repairs of an interaction log, one per function, and the pipeline that cleans a shop's tables and reports on it.

Derived in chapter `preprocessing`. No function changes its argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from instructrec.datasets.cells import to_numbers
from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.errors import InputError, one_of


@dataclass(frozen=True)
class CleaningStep:
    """Record of a repair: its name, the rows before and after, the number of cells changed, and a note."""

    name: str
    rows_before: int
    rows_after: int
    cells_changed: int = 0
    note: str = ""


@dataclass
class CleaningReport:
    """The repairs of a pipeline in order; shown as a table.

    Attributes:
        steps: One `CleaningStep` per repair.
    """

    steps: list[CleaningStep] = field(default_factory=list)

    def frame(self) -> pd.DataFrame:
        """Return the steps as a table: step, rows before, rows after, rows dropped, cells changed, note."""
        return pd.DataFrame(
            {
                "step": [step.name for step in self.steps],
                "rows before": [step.rows_before for step in self.steps],
                "rows after": [step.rows_after for step in self.steps],
                "rows dropped": [step.rows_before - step.rows_after for step in self.steps],
                "cells changed": [step.cells_changed for step in self.steps],
                "note": [step.note for step in self.steps],
            }
        )

    def add(
        self, name: str, before: pd.DataFrame, after: pd.DataFrame, cells: int = 0, note: str = ""
    ) -> pd.DataFrame:
        """Add a step that turned the table `before` into `after`, and return `after`."""
        self.steps.append(CleaningStep(name, len(before), len(after), cells, note))
        return after

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False)

    def __str__(self) -> str:
        return self.frame().to_string(index=False)


def drop_duplicates(df: pd.DataFrame, keys: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the table without duplicate rows; the first of each is kept.

    Args:
        df: Any table.
        keys: Columns that identify a row; all by default. Fewer columns drop real events too: a user may buy the same
            item twice.

    Raises:
        InputError: A key is not a column, or there is no key.
    """
    if keys is not None:
        check_columns(df, keys)
        if not list(keys):
            raise InputError("keys is empty; give at least one column, or omit it for all")
    return df.drop_duplicates(subset=None if keys is None else list(keys), ignore_index=True)


def drop_unknown_ids(df: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return the events whose user and item are in the tables.

    Args:
        df: Events with `user_id` and `item_id`.
        users: Table with `user_id`.
        items: Table with `item_id`.

    Raises:
        InputError: A column is missing.
    """
    check_columns(df, ["user_id", "item_id"])
    check_columns(users, ["user_id"])
    check_columns(items, ["item_id"])
    in_tables = df["user_id"].isin(users["user_id"]) & df["item_id"].isin(items["item_id"])
    return df[in_tables].reset_index(drop=True)


def sort_by_time(df: pd.DataFrame, column: str = "timestamp") -> pd.DataFrame:
    """Return the rows in order of time; rows with equal times keep their order.

    Args:
        df: Any table.
        column: The column of times, numbers or dates.

    Raises:
        InputError: The column is missing or has gaps.
    """
    check_columns(df, [column])
    if df[column].isna().any():
        raise InputError(
            f"column {column!r} lacks a time in {int(df[column].isna().sum())} rows; drop or fill them"
        )
    return df.sort_values(column, kind="stable", ignore_index=True)


def clean_behavior(
    behavior: pd.DataFrame,
    users: pd.DataFrame,
    items: pd.DataFrame,
    *,
    name: str = "behavior",
    card: DataCard | None = None,
) -> tuple[Dataset, CleaningReport]:
    """Clean a shop's raw tables step by step: duplicates, mixed types, unknown ids, prices, order.

    A missing rating stays missing: filling it with a mean would invent an opinion. A missing price is looked up in the
    item table or among the prices paid for the item before it is estimated.

    Args:
        behavior: `user_id`, `item_id`, `behavior`, `rating`, `price`, `timestamp` (text or seconds), as read.
        users: Table with `user_id`.
        items: Table with `item_id`, `title`, `category`, `price`; optionally `title_zh`, `category_zh` and others.
        name: Name of the data set.
        card: Data card of the data set.

    Returns:
        The data set, whose interactions also have the columns `behavior` and `price`, and the report.

    Raises:
        InputError: A column is missing, or a time cannot be read.
    """
    check_columns(behavior, ["user_id", "item_id", "behavior", "rating", "price", "timestamp"])
    check_columns(items, ["item_id", "title", "category", "price"])
    report = CleaningReport()
    log = report.add("drop exact duplicates", behavior, drop_duplicates(behavior))
    for column in ("rating", "price"):
        log = _with_numbers(log, column, report)
    log = report.add(
        "timestamp to seconds", log, log.assign(timestamp=_seconds(log["timestamp"])), _n_text_times(log)
    )
    log = report.add("drop unknown ids", log, drop_unknown_ids(log, users, items))
    catalogue, n_filled = _fill_item_prices(items, log)
    report.add("fill item prices", items, items, n_filled, "median paid, else of the category")
    n_gaps = int(log["price"].isna().sum())
    list_prices = log["item_id"].map(catalogue.set_index("item_id")["price"])
    log = report.add(
        "fill event prices", log, log.assign(price=log["price"].fillna(list_prices)), n_gaps, "list price"
    )
    n_late = int((log["timestamp"] < log["timestamp"].cummax()).sum())
    log = report.add("sort by time", log, sort_by_time(log), 0, f"{n_late} events stood too late")
    first = ["user_id", "item_id", "rating", "timestamp"]
    log = log[first + [column for column in log.columns if column not in first]]
    items = _with_category_tuples(catalogue)
    return Dataset(name, users.reset_index(drop=True), items, log, card=card), report


def _with_numbers(log: pd.DataFrame, column: str, report: CleaningReport) -> pd.DataFrame:
    numbers, failures = to_numbers(log[column])
    parsed_by_pandas = pd.to_numeric(log[column], errors="coerce")
    n_changed = int((numbers.notna() & parsed_by_pandas.isna()).sum()) + len(failures)
    examples = ", ".join(sorted(set(failures.astype(str)))[:3])
    note = f"{len(failures)} without a number ({examples}) became missing" if len(failures) else ""
    return report.add(f"{column} to numbers", log, log.assign(**{column: numbers}), n_changed, note)


def _n_text_times(log: pd.DataFrame) -> int:
    return 0 if pd.api.types.is_numeric_dtype(log["timestamp"]) else len(log)


def _seconds(times: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(times):
        return times.astype("int64")
    dates = pd.to_datetime(times, errors="coerce", utc=True, format="ISO8601")
    if dates.isna().any():
        row = int(np.argmax(dates.isna()))
        raise InputError(
            f"timestamp {times.iloc[row]!r} in row {row}: a date such as 2023-05-11 08:15:30 is accepted"
        )
    return (dates - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)


def _fill_item_prices(items: pd.DataFrame, log: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    prices, _ = to_numbers(items["price"])
    median_paid = items["item_id"].map(log.groupby("item_id")["price"].median())
    median_of_category = prices.groupby(items["category"]).transform("median")
    filled = items.assign(price=prices.fillna(median_paid).fillna(median_of_category))
    return filled, int(prices.isna().sum())


def _with_category_tuples(items: pd.DataFrame) -> pd.DataFrame:
    """Return the items with `categories` (and `categories_zh`), tuples of one name each, behind the titles."""
    table = items.drop(columns=["category", "category_zh"], errors="ignore").reset_index(drop=True)
    position = list(table.columns).index("title") + 1 + ("title_zh" in table)
    for old, new in (("category_zh", "categories_zh"), ("category", "categories")):
        if old in items:
            table.insert(position, new, pd.Series([(name,) for name in items[old]], dtype=object))
    return table


def check_columns(df: pd.DataFrame, columns: Iterable[str]) -> None:
    """Check that a table has the columns.

    Raises:
        InputError: A column is missing, or `columns` is a single text.
    """
    if isinstance(columns, str):
        raise InputError(f"columns is the text {columns!r}; a list of column names is accepted")
    for name in columns:
        if name not in df.columns:
            raise one_of("column", name, df.columns)
