"""Preparation of data: the repairs of `datasets.cleaning`, imputation, k-core filtering and reindexing.

Derived in chapter `preprocessing`. No function changes its argument.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from instructrec.datasets.cells import to_numbers
from instructrec.datasets.cleaning import (
    CleaningReport,
    check_columns,
    clean_behavior,
    drop_duplicates,
    drop_unknown_ids,
    sort_by_time,
)
from instructrec.errors import InputError, one_of
from instructrec.validation import PositiveInt, check_value

STRATEGIES = ("mean", "median", "nearest")
__all__ = [
    "STRATEGIES",
    "CleaningReport",
    "clean_behavior",
    "drop_duplicates",
    "drop_unknown_ids",
    "impute",
    "k_core",
    "reindex",
    "sort_by_time",
    "to_numbers",
]


def impute(
    df: pd.DataFrame, columns: Sequence[str], strategy: str = "mean", n_neighbors: int = 5
) -> pd.DataFrame:
    r"""Fill the gaps of numeric feature columns, by scikit-learn's `SimpleImputer` or `KNNImputer`.

    "mean" and "median" fill each column with one number: x_ij := mean or median over k of the observed x_kj. "nearest"
    fills with the mean of the `n_neighbors` nearest rows, by the Euclidean distance over the columns observed in both,
    scaled up for missing columns, after each column is standardised (Troyanskaya et al., 2001,
    doi:10.1093/bioinformatics/17.6.520). If the table is split later, pass the training rows only.

    Args:
        df: Any table.
        columns: Numeric columns to fill; "nearest" also measures the distance on them.
        strategy: "mean", "median" or "nearest".
        n_neighbors: Number of neighbours for "nearest", at least 1.

    Returns:
        The table with these columns filled, as float64.

    Raises:
        InputError: An id column (a mean of ids identifies nobody), a text column, a column without any number, or an
            unknown strategy.
    """
    if strategy not in STRATEGIES:
        raise one_of("imputation strategy", strategy, STRATEGIES)
    n_neighbors = check_value("n_neighbors", n_neighbors, PositiveInt)
    _check_features(df, columns)
    filled = df.copy()
    if not list(columns):
        return filled
    values = df[list(columns)].astype("float64").to_numpy()
    filled[list(columns)] = (
        _impute_by_neighbours(values, n_neighbors) if strategy == "nearest" else _impute_by(values, strategy)
    )
    return filled


def _check_features(df: pd.DataFrame, columns: Sequence[str]) -> None:
    """Check that the columns exist and are features, not ids."""
    check_columns(df, columns)
    for name in columns:
        if name == "id" or name.endswith("_id"):
            raise InputError(
                f"column {name!r} holds ids, whose mean is nobody's id; drop rows without an id instead"
            )
        if not pd.api.types.is_numeric_dtype(df[name]) or pd.api.types.is_bool_dtype(df[name]):
            raise InputError(
                f"column {name!r} is of type {df[name].dtype}; numbers are accepted (see to_numbers)"
            )
        numbers = df[name].astype("float64")
        if numbers.notna().sum() == 0 or np.isinf(numbers).any():
            raise InputError(
                f"column {name!r} holds no number or an infinite one; finite numbers are accepted"
            )


def _impute_by(values: np.ndarray, strategy: str) -> np.ndarray:
    from sklearn.impute import SimpleImputer

    return SimpleImputer(strategy=strategy).fit_transform(values)


def _impute_by_neighbours(values: np.ndarray, n_neighbors: int) -> np.ndarray:
    from sklearn.impute import KNNImputer

    mean, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    scale[scale == 0] = 1.0
    imputed = KNNImputer(n_neighbors=n_neighbors).fit_transform((values - mean) / scale) * scale + mean
    # Undoing the scaling may change an observed value by a rounding error, so observed values are restored.
    return np.where(np.isnan(values), imputed, values)


def k_core(df: pd.DataFrame, k: int, user: str = "user_id", item: str = "item_id") -> pd.DataFrame:
    """Return the largest subset of events in which every user and every item has at least k events.

    Dropping a rare item can make a user rare and vice versa, so both are repeated until nothing changes (Seidman,
    1983, doi:10.1016/0378-8733(83)90028-X); the result does not depend on the order. The InstructRec paper uses the
    5-core (Zhang et al., 2023, arXiv:2305.07001).

    Args:
        df: Events.
        k: Minimum number of events, at least 1.
        user: Column of user ids.
        item: Column of item ids.

    Returns:
        The remaining rows in their order; there may be none.

    Raises:
        InputError: k is not a whole number of at least 1, or a column is missing.
    """
    check_value("k", k, PositiveInt)
    check_columns(df, [user, item])
    core = df
    while True:
        user_counts = core.groupby(user)[user].transform("size")
        item_counts = core.groupby(item)[item].transform("size")
        keep = (user_counts >= k) & (item_counts >= k)
        if keep.all():
            return core.reset_index(drop=True)
        core = core[keep]


def reindex(df: pd.DataFrame, column: str) -> tuple[pd.DataFrame, pd.Index]:
    """Return the table with a column's ids replaced by 0, 1, …, n-1, and the ids by these numbers.

    An embedding with n rows needs numbers below n, and real ids have gaps. `vocabulary[number]` gives the id back, and
    `vocabulary.get_indexer(ids)` the numbers of other ids, -1 for an unknown id.

    Args:
        df: Any table.
        column: The column of ids, without gaps.

    Returns:
        The table with the column as int64, and the sorted vocabulary, shape (n,).

    Raises:
        InputError: The column is missing or has gaps.
    """
    check_columns(df, [column])
    if df[column].isna().any():
        raise InputError(
            f"column {column!r} lacks an id in {int(df[column].isna().sum())} rows; drop them first"
        )
    codes, vocabulary = pd.factorize(df[column], sort=True)
    return df.assign(**{column: codes.astype(np.int64)}), pd.Index(vocabulary, name=column)
