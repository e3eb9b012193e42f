"""Readers of a user's own files: events in a CSV, and the Amazon reviews that the InstructRec paper uses."""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from instructrec.datasets.cells import to_numbers
from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.datasets.schemas import MISSING, check, events_schema, reviews_schema, seconds
from instructrec.errors import InputError, one_of
from instructrec.files import digest

PathLike = str | os.PathLike[str]
REVIEW_KEYS = (
    ("reviewerID", "asin", "overall", "unixReviewTime", "reviewText", "summary"),
    ("user_id", "parent_asin", "rating", "timestamp", "text", "title"),
)
"""Keys of user, item, stars, time, text and headline, in the files of 2014 and 2018 and in those of 2023."""


def from_csv(
    path: PathLike,
    *,
    user_id: str = "user_id",
    item_id: str = "item_id",
    rating: str | None = "rating",
    timestamp: str | None = "timestamp",
    title: str | None = None,
    items: PathLike | pd.DataFrame | None = None,
    name: str | None = None,
) -> Dataset:
    """Read a CSV of events, checked by a schema.

    Args:
        path: UTF-8 text with a header, optionally gzipped (`.gz`).
        user_id: Column of users.
        item_id: Column of items.
        rating: Column of ratings, gaps allowed; None if the events alone are the signal (each is rated 1).
        timestamp: Column of seconds or milliseconds since 1970, or of ISO dates (UTC unless stated otherwise); None
            if the file is in order of time (events are numbered 0, 1, …).
        title: Column of item titles; without one, and without `items`, the title is the id.
        items: A table of items, or a CSV of them, with `item_id`, `title` and optionally `categories` (names separated
            by "|"); other columns are kept.
        name: Name of the data set, by default the file's.

    Returns:
        The data set; ids are int64 if every id is a whole number, text otherwise; items are in order of id.

    Raises:
        InputError: The file cannot be read or a cell is wrong; the message names file, line and column.
    """
    file = Path(path)
    table = _read_csv(file)
    for column in filter(None, (user_id, item_id, rating, timestamp, title)):
        if column not in table.columns:
            raise one_of(f"column of {str(file)!r}", column, table.columns)
    for column in filter(None, (rating, timestamp)):
        cells = table[column].str.strip()
        table[column] = cells.mask(cells.isin(MISSING))
    check(table, events_schema(user_id, item_id, rating, timestamp), str(file))
    interactions = pd.DataFrame(
        {
            "user_id": _ids(table[user_id]),
            "item_id": _ids(table[item_id]),
            "rating": 1.0 if rating is None else pd.to_numeric(table[rating]).astype("float64"),
            "timestamp": np.arange(len(table))
            if timestamp is None
            else seconds(table[timestamp]).astype("int64"),
        }
    ).reset_index(drop=True)
    if items is not None:
        catalogue, interactions = _own_items(items, interactions, str(file))
    else:
        titles = pd.Series(dtype=object)
        if title is not None:
            pairs = pd.DataFrame({"item_id": interactions["item_id"], "title": table[title].to_numpy()})
            titles = pairs.dropna().drop_duplicates("item_id").set_index("item_id")["title"]
        catalogue = _catalogue(np.unique(interactions["item_id"].to_numpy()), titles.to_dict(), {})
    return Dataset(
        name or file.name.removesuffix(".gz").removesuffix(".csv"),
        _users(interactions),
        catalogue,
        interactions,
        card=DataCard(
            title=file.name,
            summary="Events read from a CSV of the reader's own.",
            source=f"{file.name}, SHA-256 {digest(file)}",
            licence="Whatever the file's owner says.",
        ),
    )


def amazon_reviews(path: PathLike, metadata: PathLike | None = None) -> Dataset:
    """Read a file of Amazon reviews, one JSON object per line, checked by a schema.

    The files of 2014 (McAuley et al., 2015, doi:10.1145/2766462.2767755) and 2018 (Ni et al., 2019,
    doi:10.18653/v1/D19-1018) have `reviewerID, asin, overall, unixReviewTime, reviewText`; those of 2023 (Hou et al.,
    2024, arXiv:2403.03952) have `user_id, parent_asin, rating, timestamp` in milliseconds, `title`, `text`. For the
    paper's 5-core apply `instructrec.preprocess.k_core`.

    Args:
        path: Reviews, `.json` or `.jsonl`, optionally with `.gz`.
        metadata: The products' file of the same year, with titles, categories, brand and price; without it the
            title is the product's id.

    Returns:
        The data set, with the text of a review in `interactions["review"]` and its headline in `["summary"]`; users and
        items in order of id; items have `title`, `categories`, and with metadata `brand` and `price` (dollars).

    Raises:
        InputError: The file cannot be read or a line is wrong; the message names file, line and key.
    """
    file = Path(path)
    rows = dict(_json_lines(file))
    first = next(iter(rows.values()))
    keys = next((keys for keys in REVIEW_KEYS if {keys[0], keys[2]} <= first.keys()), None)
    if keys is None:
        raise InputError(
            f"{str(file)!r}, line {next(iter(rows))}: the keys {', '.join(map(str, first))[:120]} are not those of an "
            f"Amazon review; accepted: {', '.join(REVIEW_KEYS[0][:4])} or {', '.join(REVIEW_KEYS[1][:4])}"
        )
    user, item, stars, time, text, headline = keys
    table = pd.DataFrame(
        [[_scalar(row.get(key)) for key in keys] for row in rows.values()],
        index=list(rows),
        columns=list(keys),
        dtype=object,
    )
    check(table, reviews_schema(user, item, stars, time), str(file))
    interactions = pd.DataFrame(
        {
            "user_id": table[user].astype(str),
            "item_id": table[item].astype(str),
            "rating": pd.to_numeric(table[stars]).astype("float64"),
            "timestamp": seconds(table[time]).astype("int64"),
            "review": table[text].fillna("").astype(str),
            "summary": table[headline].fillna("").astype(str),
        }
    ).reset_index(drop=True)
    item_ids = np.unique(interactions["item_id"].to_numpy(dtype=object))
    titles, columns = ({}, {}) if metadata is None else _products(Path(metadata), set(item_ids))
    return Dataset(
        file.name.split(".")[0],
        _users(interactions),
        _catalogue(item_ids, titles, columns),
        interactions,
        card=DataCard(
            title=f"Amazon reviews: {file.name}",
            summary="Product reviews with stars, time and text, as published for research by McAuley's group at UCSD.",
            source=f"{file.name}, SHA-256 {digest(file)}",
            licence="For research; see the terms of the page that the file was fetched from.",
            citation=(
                "Jianmo Ni, Jiacheng Li, Julian McAuley. 2019. Justifying Recommendations using Distantly-Labeled "
                "Reviews and Fine-Grained Aspects. EMNLP-IJCNLP. doi:10.18653/v1/D19-1018"
            ),
            caveats=("A review is written after the purchase, and most purchases are never reviewed.",),
        ),
    )


# -- reading text ----------------------------------------------------------------------------------------------------


def _read_bytes(file: Path) -> bytes:
    """Return the content of a file, unpacked if its name ends in .gz."""
    try:
        if file.is_dir():
            raise InputError(f"{str(file)!r} is a folder; a file is accepted")
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"no file {str(file)!r}; give the path of an existing file") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{str(file)!r} is not a whole gzip file ({error}); fetch it again") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read {str(file)!r}: {reason}; give a readable file") from error
    if not content.strip():
        raise InputError(f"{str(file)!r} is empty; at least one event is needed")
    if b"\0" in content[:8192]:
        raise InputError(f"{str(file)!r} is a binary file; text in UTF-8 is accepted")
    return content


def _read_text(file: Path) -> str:
    content = _read_bytes(file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{str(file)!r}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error
    if not text.strip():
        raise InputError(f"{str(file)!r} is empty; at least one event is needed")
    return text


def _read_csv(file: Path) -> pd.DataFrame:
    """Return the cells as text, empty cells missing; the index holds the line numbers of the file."""
    reader = csv.reader(io.StringIO(_read_text(file), newline=""), strict=True)
    rows, lines, line = [], [], 1
    try:
        header = next(reader)
        start = reader.line_num + 1
        for row in reader:
            line, start = start, reader.line_num + 1
            if any(cell.strip() for cell in row):
                if len(row) != len(header):
                    raise InputError(
                        f"{str(file)!r}, line {line}: {len(row)} cells; {len(header)} are accepted"
                    )
                rows.append([cell if cell.strip() else None for cell in row])
                lines.append(line)
    except csv.Error as error:
        raise InputError(
            f"{str(file)!r}, line {reader.line_num}: not a CSV ({error}); cells divided by commas are accepted"
        ) from error
    repeated = [name for number, name in enumerate(header) if name in header[:number]]
    if repeated:
        raise InputError(f"{str(file)!r} has the column {repeated[0]!r} twice; each name once is accepted")
    if not rows:
        raise InputError(f"{str(file)!r} has a header and no rows; at least one event is needed")
    return pd.DataFrame(rows, index=lines, columns=header, dtype=object)


def _json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line numbers and objects; the product files of 2014 hold Python literals instead of JSON."""
    # Only a line feed ends a line: `str.splitlines` would also split at U+2028 within a review.
    for number, line in enumerate(_read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            value = _literal(line)
            if value is None:
                raise InputError(
                    f"{str(file)!r}, line {number}: {line[:60]!r} is not JSON ({error}); one object a line is accepted"
                ) from error
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise InputError(f"{str(file)!r}, line {number}: a {kind}; one JSON object a line is accepted")
        yield number, _storable(value) if r"\ud" in line.lower() else value


def _storable(value: Any) -> Any:
    """Return a JSON value with "?" in place of lone surrogates (halves of an emoji), which cannot be encoded."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_storable(part) for part in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(part) for key, part in value.items()}
    return value


def _literal(line: str) -> Any:
    if not line.lstrip().startswith("{"):
        return None
    try:
        return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


# -- building tables -------------------------------------------------------------------------------------------------


def _ids(cells: pd.Series) -> np.ndarray:
    text = cells.astype(str).str.strip()
    if text.str.fullmatch(r"0|-?[1-9]\d{0,17}").all():
        return text.astype("int64").to_numpy()
    return text.to_numpy(dtype=object)


def _users(interactions: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"user_id": np.unique(interactions["user_id"].to_numpy())})


def _catalogue(
    item_ids: np.ndarray, titles: Mapping[Any, str], columns: Mapping[str, Mapping[Any, Any]]
) -> pd.DataFrame:
    ids = item_ids.tolist()
    categories = columns.get("categories", {})
    table = pd.DataFrame(
        {
            "item_id": item_ids,
            "title": [str(titles.get(number) or number) for number in ids],
            "categories": pd.Series([categories.get(number, ()) for number in ids], dtype=object),
        }
    )
    if "brand" in columns:
        table["brand"] = [columns["brand"].get(number) for number in ids]
    if "price" in columns:
        table["price"], _ = to_numbers(
            pd.Series([columns["price"].get(number) for number in ids], dtype=object)
        )
    return table


def _own_items(
    items: PathLike | pd.DataFrame, interactions: pd.DataFrame, source: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the catalogue, and the events with ids of the catalogue's type."""
    if isinstance(items, pd.DataFrame):
        table, origin = items.reset_index(drop=True), "items"
    else:
        table, origin = _read_csv(Path(items)).reset_index(drop=True), str(items)
        for name in table.columns.difference(["item_id", "title", "title_zh", "categories", "category"]):
            numbers = pd.to_numeric(table[name], errors="coerce")
            if numbers.notna().sum() == table[name].notna().sum() > 0:
                table[name] = numbers
    for name in ("item_id", "title"):
        if name not in table.columns:
            raise one_of(f"column of {origin!r}", name, table.columns)
    if not isinstance(items, pd.DataFrame):
        table["item_id"] = _ids(table["item_id"])
    repeated = table["item_id"].duplicated()
    if repeated.any() or table["item_id"].isna().any():
        bad = table["item_id"][repeated | table["item_id"].isna()].iloc[0]
        raise InputError(f"{origin!r} has the item_id {bad!r} twice or empty; each item once is accepted")
    if len({pd.api.types.is_integer_dtype(frame["item_id"]) for frame in (table, interactions)}) == 2:
        # Only one of the two files has integer ids, so the ids of both become text.
        table, interactions = (frame.astype({"item_id": str}) for frame in (table, interactions))
    unknown = interactions[~interactions["item_id"].isin(table["item_id"])]
    if len(unknown):
        raise InputError(
            f"{source!r} has the item {unknown['item_id'].iloc[0]!r}, which is not in {origin!r} (and "
            f"{unknown['item_id'].nunique() - 1} more items); every item of an event must be listed there"
        )
    table["title"] = table["title"].where(table["title"].notna(), table["item_id"].astype(str))
    cells = (
        table["categories"] if "categories" in table else table.get("category", pd.Series(index=table.index))
    )
    table["categories"] = pd.Series([_names(cell) for cell in cells], index=table.index, dtype=object)
    return table.drop(columns=["category"], errors="ignore"), interactions


def _names(cell: Any) -> tuple[str, ...]:
    if isinstance(cell, str):
        return tuple(name.strip() for name in cell.split("|") if name.strip())
    return tuple(str(name) for name in cell) if isinstance(cell, tuple | list | np.ndarray) else ()


def _products(file: Path, item_ids: set[str]) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    titles: dict[str, str] = {}
    columns: dict[str, dict[str, Any]] = {"categories": {}, "brand": {}, "price": {}}
    for number, row in _json_lines(file):
        product = row.get("asin", row.get("parent_asin"))
        if product is None:
            raise InputError(
                f"{str(file)!r}, line {number}: no key 'asin' or 'parent_asin'; accepted: one of the two"
            )
        product = str(product)
        if product not in item_ids or product in titles:
            continue
        titles[product] = re.sub(r"\s+", " ", unescape(str(row.get("title") or product))).strip()
        names = _flat(
            row.get("categories") or row.get("category") or row.get("main_category") or row.get("main_cat")
        )
        columns["categories"][product] = tuple(dict.fromkeys(unescape(name) for name in names))
        columns["brand"][product] = row.get("brand") or row.get("store")
        columns["price"][product] = row.get("price")
    if not titles:
        raise InputError(
            f"{str(file)!r} describes none of the reviewed products; give the metadata of the same file"
        )
    return titles, columns


def _flat(value: Any) -> Iterable[str]:
    if isinstance(value, list):
        return [name for part in value for name in _flat(part)]
    return [] if value is None else [str(value)]


def _scalar(value: Any) -> Any:
    """Return a cell that a table can hold: objects and lists become text, which the schema then checks."""
    return json.dumps(value) if isinstance(value, dict | list) else value
