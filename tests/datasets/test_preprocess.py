"""Repairs: each does its one thing, refuses misuse, and reports what it changed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from instructrec.datasets import shop_tables
from instructrec.errors import InputError
from instructrec.preprocess import (
    clean_behavior,
    drop_duplicates,
    drop_unknown_ids,
    impute,
    k_core,
    reindex,
    sort_by_time,
    to_numbers,
)

EVENTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


def events(pairs):
    return pd.DataFrame(pairs, columns=["user_id", "item_id"])


def test_duplicates_by_all_columns_or_by_keys():
    table = pd.DataFrame({"user_id": [1, 1, 1], "item_id": [5, 5, 5], "timestamp": [10, 10, 99]})
    assert drop_duplicates(table)["timestamp"].tolist() == [10, 99]
    assert drop_duplicates(table, ["user_id", "item_id"])["timestamp"].tolist() == [10]
    assert len(table) == 3
    with pytest.raises(InputError, match="unknown column 'user'"):
        drop_duplicates(table, ["user"])
    with pytest.raises(InputError, match="keys is empty"):
        drop_duplicates(table, [])
    with pytest.raises(InputError, match="a list of column names"):
        drop_duplicates(table, "user_id")


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("4", 4), ("4 stars", 4), ("5星", 5), ("¥129.00", 129), ("129.50元", 129.5), ("$1,299", 1299), ("-3.5", -3.5),
        (" 7 ", 7), (8, 8), (2.5, 2.5), ("not rated", None), ("3-5", None), ("1.2.3", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_to_numbers_takes_one_number_a_cell(cell, number):
    values, failed = to_numbers(pd.Series([cell, "1"], dtype=object))
    assert values.dtype == "float64"
    assert values.iloc[1] == 1
    if number is None:
        assert np.isnan(values.iloc[0])
        assert len(failed) == (cell is not None)
    else:
        assert values.iloc[0] == number
        assert failed.empty


def test_to_numbers_leaves_numbers_and_refuses_yes_or_no():
    values, failed = to_numbers(pd.Series([1, 2], index=[7, 9]))
    assert values.tolist() == [1.0, 2.0]
    assert values.index.tolist() == [7, 9]
    assert failed.empty
    with pytest.raises(InputError, match="yes or no"):
        to_numbers(pd.Series([True, False]))


def test_mean_and_median():
    table = pd.DataFrame({"price": [1.0, 2.0, np.nan, 9.0], "title": list("abcd")})
    assert impute(table, ["price"], "mean")["price"].tolist() == [1, 2, 4, 9]
    assert impute(table, ["price"], "median")["price"].tolist() == [1, 2, 2, 9]
    assert table["price"].isna().sum() == 1
    assert impute(table, ["price"])["title"].tolist() == list("abcd")


def test_nearest_looks_at_like_rows_whatever_the_unit():
    # Two groups by `size`; the huge unit of `sales` would decide everything without standardising.
    table = pd.DataFrame(
        {
            "size": [1.0, 1.1, 0.9, 9.0, 9.1, 8.9],
            "sales": [5e6, 1e6, 9e6, 5e6, 1e6, 9e6],
            "price": [10.0, 11.0, np.nan, 90.0, np.nan, 89.0],
        }
    )
    filled = impute(table, ["size", "sales", "price"], "nearest", n_neighbors=1)
    assert filled["price"].iloc[2] == pytest.approx(10.0)
    assert filled["price"].iloc[4] == pytest.approx(90.0)
    known = table["price"].notna()
    assert filled.loc[known, "price"].equals(table.loc[known, "price"])
    assert filled[["size", "sales"]].equals(table[["size", "sales"]])


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        (["user_id"], {}, "nobody's id"),
        (["title"], {}, "to_numbers"),
        (["gone"], {}, "unknown column 'gone'"),
        (["empty"], {}, "no number"),
        (["endless"], {}, "infinite"),
        (["flag"], {}, "type bool"),
        (["price"], {"strategy": "mode"}, "unknown imputation strategy 'mode'.*mean, median, nearest"),
        (["price"], {"strategy": "nearest", "n_neighbors": 0}, "n_neighbors is 0"),
        (["price"], {"strategy": "nearest", "n_neighbors": True}, "n_neighbors is True"),
    ],
)
def test_impute_refuses(columns, options, expected):
    table = pd.DataFrame(
        {
            "user_id": [1, 2],
            "title": ["a", "b"],
            "empty": [np.nan, np.nan],
            "endless": [1.0, np.inf],
            "flag": [True, False],
            "price": [1.0, np.nan],
        }
    )
    with pytest.raises(InputError, match=expected):
        impute(table, columns, **options)


def test_unknown_ids_and_order():
    log = pd.DataFrame({"user_id": [1, 9, 1, 2], "item_id": [5, 5, 8, 6], "timestamp": [3, 1, 1, 1]})
    known = drop_unknown_ids(log, pd.DataFrame({"user_id": [1, 2]}), pd.DataFrame({"item_id": [5, 6]}))
    assert known["timestamp"].tolist() == [3, 1]
    assert sort_by_time(log)["item_id"].tolist() == [5, 8, 6, 5], "equal times keep the order of the file"
    with pytest.raises(InputError, match="lacks a time in 1 rows"):
        sort_by_time(log.assign(timestamp=[1, None, 2, 3]))


def test_k_core_is_repeated_until_nothing_changes():
    # Dropping item 3 (one event) leaves user 3 with one, dropping user 3 leaves item 2 with one, and so on.
    chain = events([(1, 1), (1, 2), (2, 1), (2, 0), (1, 0), (3, 2), (3, 3)])
    assert k_core(chain, 2).to_numpy().tolist() == [[1, 1], [2, 1], [2, 0], [1, 0]]
    assert k_core(chain, 1).equals(chain)
    assert len(k_core(chain, 5)) == 0
    for k in (0, -1, 2.5, "2", True):
        with pytest.raises(InputError, match="whole number of at least 1"):
            k_core(chain, k)


@given(EVENTS, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_k_core_is_the_largest_such_part(pairs, k):
    table = events(pairs)
    core = k_core(table, k)
    for column in ("user_id", "item_id"):
        assert (core.groupby(column).size() >= k).all()
    assert k_core(core, k).equals(core)
    shuffled = k_core(table.sample(frac=1, random_state=0), k)
    assert sorted(map(tuple, shuffled.to_numpy())) == sorted(map(tuple, core.to_numpy()))
    if k > 1:
        assert len(core) <= len(k_core(table, k - 1))


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=50))
@settings(max_examples=60, deadline=None)
def test_reindex_is_contiguous_and_turns_back(ids):
    table = pd.DataFrame({"item_id": ids})
    numbered, vocabulary = reindex(table, "item_id")
    assert sorted(set(numbered["item_id"])) == list(range(len(set(ids))))
    assert vocabulary[numbered["item_id"]].tolist() == ids
    assert vocabulary.is_monotonic_increasing


def test_reindex_of_text_and_gaps():
    numbered, vocabulary = reindex(pd.DataFrame({"asin": ["b", "a", "b"]}), "asin")
    assert numbered["asin"].tolist() == [1, 0, 1]
    assert vocabulary.get_indexer(["a", "z"]).tolist() == [0, -1]
    with pytest.raises(InputError, match="lacks an id in 1 rows"):
        reindex(pd.DataFrame({"asin": ["b", None]}), "asin")


def test_the_pipeline_repairs_the_shop_and_reports_it():
    tables = shop_tables()
    before = {name: table.copy() for name, table in tables.items()}
    data, report = clean_behavior(tables["user_behavior_data"], tables["users"], tables["items"])
    for name, table in tables.items():
        assert_frame_equal(table, before[name])
    steps = report.frame().set_index("step")
    assert steps.loc["drop exact duplicates", "rows dropped"] == 240
    assert steps.loc["rating to numbers", "cells changed"] == 150 + 60
    assert "60 without a number (not rated)" in steps.loc["rating to numbers", "note"]
    assert steps.loc["price to numbers", "cells changed"] == 260
    assert steps.loc["drop unknown ids", "rows dropped"] == 45 + 55
    assert steps.loc["fill item prices", "cells changed"] == 14
    assert steps.loc["fill event prices", "cells changed"] == 500
    assert "320 events" in steps.loc["sort by time", "note"]
    assert steps["rows after"].iloc[-1] == data.n_interactions
    assert "<table" in report._repr_html_()
    assert "drop unknown ids" in str(report)


def test_a_looked_up_price_is_near_what_was_paid():
    tables = shop_tables()
    data, _ = clean_behavior(tables["user_behavior_data"], tables["users"], tables["items"])
    listed = tables["items"].set_index("item_id")["price"]
    missing = listed.index[listed.isna()]
    paid = data.interactions[data.interactions["item_id"].isin(missing)].groupby("item_id")["price"].max()
    found = data.items.set_index("item_id").loc[missing, "price"]
    assert (found == paid).all(), "most people pay the list price, which is the highest"


def test_the_pipeline_refuses_what_it_cannot_read():
    tables = shop_tables()
    log = tables["user_behavior_data"].head(50)
    with pytest.raises(InputError, match="unknown column 'timestamp'"):
        clean_behavior(log.drop(columns="timestamp"), tables["users"], tables["items"])
    with pytest.raises(InputError, match="timestamp 'soon'"):
        clean_behavior(log.assign(timestamp="soon"), tables["users"], tables["items"])
