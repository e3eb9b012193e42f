"""Repairs for a behaviour log, one a function, and a pipeline that reports what each changed.

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

STRATEGIES = ("mean", "median", "nearest")


@dataclass(frozen=True)
class Step:
    """What one repair did: its name, rows before and after, cells changed, and what to know about it."""

    name: str
    rows_before: int
    rows_after: int
    cells_changed: int = 0
    note: str = ""


@dataclass
class Report:
    """The repairs of a pipeline in order; shows as a table.

    Attributes:
        steps: One `Step` a repair.
    """

    steps: list[Step] = field(default_factory=list)

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

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False)

    def __str__(self) -> str:
        return self.frame().to_string(index=False)


def drop_duplicates(df: pd.DataFrame, keys: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the rows without repeats, the first of each kept.

    Args:
        df: Any table.
        keys: Columns that make two rows the same; all by default. Fewer keys than all drop real events too: a user may
            buy one item twice.

    Raises:
        InputError: A key that is not a column.
    """
    if keys is not None:
        _need(df, keys)
        if not list(keys):
            raise InputError("keys is empty; give at least one column, or leave it out for all")
    return df.drop_duplicates(subset=None if keys is None else list(keys), ignore_index=True)


def impute(
    df: pd.DataFrame, columns: Sequence[str], strategy: str = "mean", n_neighbors: int = 5
) -> pd.DataFrame:
    r"""Fill the gaps of numeric feature columns.

    "mean" and "median" put one number per column: x_ij := mean or median over k of the known x_kj. "nearest" puts the
    mean of the `n_neighbors` rows that are nearest by the Euclidean distance over the columns known in both, scaled up
    for the missing ones, after each column has been standardised (Troyanskaya et al., 2001,
    doi:10.1093/bioinformatics/17.6.520). Done by scikit-learn's `SimpleImputer` and `KNNImputer`. Fit on training rows
    only where the table is to be split: pass those rows alone.

    Args:
        df: Any table.
        columns: Numeric columns to fill; with "nearest" they are also what distance is measured by.
        strategy: "mean", "median" or "nearest".
        n_neighbors: Neighbours for "nearest", at least 1.

    Returns:
        The table with these columns filled, as float64.

    Raises:
        InputError: An id column (the mean of ids is nobody's id), a text column, a column without any number, or an
            unknown strategy.
    """
    if strategy not in STRATEGIES:
        raise one_of("imputation strategy", strategy, STRATEGIES)
    if isinstance(n_neighbors, bool) or not isinstance(n_neighbors, int | np.integer) or n_neighbors < 1:
        raise InputError(f"n_neighbors is {n_neighbors!r}; a whole number of at least 1 is accepted")
    _need(df, columns)
    for name in columns:
        if name == "id" or name.endswith("_id"):
            raise InputError(
                f"column {name!r} holds ids, whose mean is nobody's id; drop rows without an id instead"
            )
        if not pd.api.types.is_numeric_dtype(df[name]) or pd.api.types.is_bool_dtype(df[name]):
            raise InputError(
                f"column {name!r} is of type {df[name].dtype}; numbers are accepted (see to_numbers)"
            )
        known = df[name].astype("float64")
        if known.notna().sum() == 0 or np.isinf(known).any():
            raise InputError(
                f"column {name!r} holds no number or an infinite one; finite numbers are accepted"
            )
    filled = df.copy()
    if not list(columns):
        return filled
    values = df[list(columns)].astype("float64").to_numpy()
    if strategy == "nearest":
        from sklearn.impute import KNNImputer

        centre, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        spread[spread == 0] = 1.0
        result = (
            KNNImputer(n_neighbors=int(n_neighbors)).fit_transform((values - centre) / spread) * spread
            + centre
        )
        # Undoing the scale may move a known value by a rounding error: those stay as they were.
        result = np.where(np.isnan(values), result, values)
    else:
        from sklearn.impute import SimpleImputer

        result = SimpleImputer(strategy=strategy).fit_transform(values)
    filled[list(columns)] = result
    return filled


def drop_unknown_ids(df: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return the events whose user and item are in the tables.

    Args:
        df: Events with `user_id` and `item_id`.
        users: Table with `user_id`.
        items: Table with `item_id`.
    """
    _need(df, ["user_id", "item_id"])
    _need(users, ["user_id"])
    _need(items, ["item_id"])
    known = df["user_id"].isin(users["user_id"]) & df["item_id"].isin(items["item_id"])
    return df[known].reset_index(drop=True)


def sort_by_time(df: pd.DataFrame, column: str = "timestamp") -> pd.DataFrame:
    """Return the rows by time; equal times keep their order, and a row without a time is refused.

    Args:
        df: Any table.
        column: The column of times, numbers or dates.

    Raises:
        InputError: The column is not there or has gaps.
    """
    _need(df, [column])
    if df[column].isna().any():
        raise InputError(
            f"column {column!r} lacks a time in {int(df[column].isna().sum())} rows; drop or fill them"
        )
    return df.sort_values(column, kind="stable", ignore_index=True)


def k_core(df: pd.DataFrame, k: int, user: str = "user_id", item: str = "item_id") -> pd.DataFrame:
    """Return the largest part in which every user and every item has at least k events.

    Dropping a rare item can make a user rare and the other way round, so the two are repeated until nothing changes
    (Seidman, 1983, doi:10.1016/0378-8733(83)90028-X); the result does not depend on which comes first. The InstructRec
    paper uses the 5-core (Zhang et al., 2023, arXiv:2305.07001).

    Args:
        df: Events.
        k: Least number of events, at least 1.
        user: Column of user ids.
        item: Column of item ids.

    Returns:
        The rows that are left, in their order; perhaps none.

    Raises:
        InputError: k below 1 or not whole, or a column that is not there.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k is {k!r}; a whole number of at least 1 is accepted")
    _need(df, [user, item])
    core = df
    while True:
        users = core.groupby(user)[user].transform("size")
        items = core.groupby(item)[item].transform("size")
        keep = (users >= k) & (items >= k)
        if keep.all():
            return core.reset_index(drop=True)
        core = core[keep]


def reindex(df: pd.DataFrame, column: str) -> tuple[pd.DataFrame, pd.Index]:
    """Return the table with a column's ids replaced by 0, 1, …, n-1, and the ids that the numbers stand for.

    An embedding of n rows needs numbers below n; real ids have gaps. `vocabulary[number]` gives the id back, and
    `vocabulary.get_indexer(ids)` the numbers of other ids, -1 for an unknown one.

    Args:
        df: Any table.
        column: The column of ids, none missing.

    Returns:
        The table with the column as int64, and the vocabulary, sorted, shape (n,).

    Raises:
        InputError: The column is not there or has gaps.
    """
    _need(df, [column])
    if df[column].isna().any():
        raise InputError(
            f"column {column!r} lacks an id in {int(df[column].isna().sum())} rows; drop them first"
        )
    codes, vocabulary = pd.factorize(df[column], sort=True)
    return df.assign(**{column: codes.astype(np.int64)}), pd.Index(vocabulary, name=column)


def clean_behavior(
    behavior: pd.DataFrame,
    users: pd.DataFrame,
    items: pd.DataFrame,
    *,
    name: str = "behavior",
    card: DataCard | None = None,
) -> tuple[Dataset, Report]:
    """Repair a shop's raw tables step by step: duplicates, mixed types, unknown ids, prices, order.

    A missing rating stays missing, since nobody knows it: filling it with a mean invents opinions. A missing price is
    looked up, in the item table or among the prices paid for the item, before it is estimated.

    Args:
        behavior: `user_id`, `item_id`, `behavior`, `rating`, `price`, `timestamp` (text or seconds), as read.
        users: Table with `user_id`.
        items: Table with `item_id`, `title`, `category`, `price`, and optionally `title_zh`, `category_zh`, others.
        name: Name of the data set.
        card: Its card.

    Returns:
        The data set, with `behavior` and `price` as further columns of its interactions, and the report.

    Raises:
        InputError: A column is missing, or a time cannot be read.
    """
    _need(behavior, ["user_id", "item_id", "behavior", "rating", "price", "timestamp"])
    _need(items, ["item_id", "title", "category", "price"])
    report = Report()

    def note(
        step: str, before: pd.DataFrame, after: pd.DataFrame, cells: int = 0, text: str = ""
    ) -> pd.DataFrame:
        report.steps.append(Step(step, len(before), len(after), cells, text))
        return after

    log = note("drop exact duplicates", behavior, drop_duplicates(behavior))
    for column in ("rating", "price"):
        numbers, failed = to_numbers(log[column])
        plain = pd.to_numeric(log[column], errors="coerce")
        unread = ", ".join(sorted(set(failed.astype(str)))[:3])
        log = note(
            f"{column} to numbers",
            log,
            log.assign(**{column: numbers}),
            int((numbers.notna() & plain.isna()).sum()) + len(failed),
            f"{len(failed)} without a number ({unread}) became missing" if len(failed) else "",
        )
    log = note("timestamp to seconds", log, log.assign(timestamp=_seconds(log["timestamp"])), _as_text(log))
    log = note("drop unknown ids", log, drop_unknown_ids(log, users, items))
    catalogue, filled = _fill_item_prices(items, log)
    report.steps.append(
        Step("fill item prices", len(items), len(items), filled, "median paid, else of the category")
    )
    gaps = log["price"].isna()
    listed = log["item_id"].map(catalogue.set_index("item_id")["price"])
    log = note(
        "fill event prices", log, log.assign(price=log["price"].fillna(listed)), int(gaps.sum()), "list price"
    )
    late = int((log["timestamp"] < log["timestamp"].cummax()).sum())
    log = note("sort by time", log, sort_by_time(log), 0, f"{late} events stood too late")
    first = ["user_id", "item_id", "rating", "timestamp"]
    log = log[first + [column for column in log.columns if column not in first]]
    return Dataset(
        name, users.reset_index(drop=True), _with_category_tuples(catalogue), log, card=card
    ), report


def _as_text(log: pd.DataFrame) -> int:
    return 0 if pd.api.types.is_numeric_dtype(log["timestamp"]) else len(log)


def _seconds(times: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(times):
        return times.astype("int64")
    read = pd.to_datetime(times, errors="coerce", utc=True, format="ISO8601")
    if read.isna().any():
        row = int(np.argmax(read.isna()))
        raise InputError(
            f"timestamp {times.iloc[row]!r} in row {row}: a date such as 2023-05-11 08:15:30 is accepted"
        )
    return (read - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)


def _fill_item_prices(items: pd.DataFrame, log: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    prices, _ = to_numbers(items["price"])
    paid = items["item_id"].map(log.groupby("item_id")["price"].median())
    of_category = prices.groupby(items["category"]).transform("median")
    return items.assign(price=prices.fillna(paid).fillna(of_category)), int(prices.isna().sum())


def _with_category_tuples(items: pd.DataFrame) -> pd.DataFrame:
    table = items.drop(columns=["category", "category_zh"], errors="ignore").reset_index(drop=True)
    place = list(table.columns).index("title") + 1 + ("title_zh" in table)
    for old, new in (("category_zh", "categories_zh"), ("category", "categories")):
        if old in items:
            table.insert(place, new, pd.Series([(name,) for name in items[old]], dtype=object))
    return table


def _need(df: pd.DataFrame, columns: Iterable[str]) -> None:
    if isinstance(columns, str):
        raise InputError(f"columns is the text {columns!r}; a list of column names is accepted")
    for name in columns:
        if name not in df.columns:
            raise one_of("column", name, df.columns)
