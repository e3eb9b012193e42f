"""MovieLens-100K from a local cache, a pinned wheel, or GroupLens's own archive: three sources, the same tables.

GroupLens does not allow redistribution, so the data are fetched and never part of this repository. The archive has
`Title (Year)` in one latin-1 field and a flag per genre; the wheel has separate title, year and genre names. Both are
brought to one form (`title_and_year`, `GENRES`), so that nothing downstream depends on the source.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.errors import InputError, one_of
from instructrec.files import atomic_write, digest

ZIP_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
ZIP_MD5 = "0e33842e24a9c977be4e0107933c0723"
ZIP_VARIABLE = "INSTRUCTREC_ML100K_ZIP"
CACHE_VARIABLE = "INSTRUCTREC_CACHE"
CACHE_FILE = "movielens-100k.v1.tables"
WHEEL = "recbole==1.2.1"
WHEEL_SHA256 = {
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
}
GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
ARTICLES = ("The", "An", "A", "Les", "Le", "La", "L'", "Il", "El", "Das", "Der", "Die", "Det", "O")
SOURCES = ("auto", "cache", "wheel", "zip", "download")
CARD = DataCard(
    title="MovieLens-100K",
    summary=(
        "100,000 ratings of 1 to 5 stars that 943 people gave to 1,682 films on the MovieLens site from September 1997 "
        "to April 1998; each person rated at least 20. Collected by GroupLens Research, University of Minnesota."
    ),
    source=f"{ZIP_URL} (MD5 {ZIP_MD5}), or the copy inside the Python wheel {WHEEL} (each file checked by SHA-256)",
    licence=(
        "Research use with acknowledgement; no redistribution and no commercial use without permission "
        "from GroupLens. Fetched by the reader, never part of this repository."
    ),
    citation=(
        "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
        "ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. doi:10.1145/2827872"
    ),
    caveats=(
        (
            "Ratings were entered in sittings, many of them within one second: the order of a history is the order in "
            "which the site listed the films as much as the order in which they were watched. Ties keep file order."
        ),
        "Everyone has at least 20 ratings, so that nobody here is a newcomer.",
        (
            "18 films appear twice under one title and year with different ids; one item (267) is called 'unknown' and "
            "has no year; two items have the genre 'unknown'."
        ),
        "Titles are shown as read aloud: 'Matrix, The' of the file becomes 'The Matrix'.",
        "Age, gender and occupation are what people wrote about themselves in 1997; zip codes are excluded.",
    ),
)

Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]
PathLike = str | os.PathLike[str]


def movielens_100k(
    source: str = "auto", cache: PathLike | bool | None = None, zip_path: PathLike | None = None
) -> Dataset:
    """Return MovieLens-100K; every source gives the same tables.

    "auto" tries the local cache, then the installed wheel (`pip install --no-deps recbole==1.2.1`, read without
    importing it), then a local copy of GroupLens's archive, then a download of it. Described in chapter
    `preprocessing`; Harper and Konstan, 2015, doi:10.1145/2827872.

    Args:
        source: "auto", or one of "cache", "wheel", "zip", "download" alone.
        cache: Folder of the parsed tables; by default the environment variable INSTRUCTREC_CACHE, else the
            user's cache folder. False disables the cache.
        zip_path: A local `ml-100k.zip`; by default the environment variable INSTRUCTREC_ML100K_ZIP.

    Returns:
        A `Dataset`: users `user_id, age` (int64), `gender, occupation` (text); items `item_id` (int64), `title`,
        `year` (Int64, one missing), `genres` (tuple of text, in the order of `GENRES`); interactions `user_id, item_id`
        (int64), `rating` (float64), `timestamp` (int64, seconds), in file order.

    Raises:
        InputError: No source is available, or the requested one is damaged.
    """
    if source not in SOURCES:
        raise one_of("source of movielens-100k", source, SOURCES)
    folder = None if cache is False else cache_folder(None if cache is True else cache)
    archive = zip_path if zip_path is not None else os.environ.get(ZIP_VARIABLE) or None
    readers: dict[str, Callable[[], Tables]] = {
        "cache": lambda: _from_cache(folder),
        "wheel": _from_wheel,
        "zip": lambda: _from_zip(archive),
        "download": _from_download,
    }
    reasons = []
    for name, read in readers.items():
        if source not in ("auto", name):
            continue
        try:
            tables = read()
        except _SourceMissing as absence:
            reasons.append(str(absence))
        except InputError as error:
            if source != "auto":
                raise
            reasons.append(str(error))
            print(f"warning: {error}", file=sys.stderr)
        else:
            if name != "cache" and folder is not None:
                _to_cache(folder, tables)
            users, items, interactions = tables
            return Dataset("movielens-100k", users, items, interactions, category_field="genres", card=CARD)
    raise InputError(
        f"cannot get movielens-100k ({'; '.join(reasons)}): accepted is any of an installed wheel "
        f"(pip install --no-deps {WHEEL}), {ZIP_VARIABLE}=path/to/ml-100k.zip, or a connection to {ZIP_URL}"
    )


def cache_folder(folder: PathLike | None = None) -> Path:
    """Return the folder for cached tables: `folder`, else INSTRUCTREC_CACHE, else the user's cache folder."""
    if folder is not None:
        return Path(folder)
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    home = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    if home:
        return Path(home) / "instructrec"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "instructrec"


def title_and_year(full_title: str) -> tuple[str, int | None]:
    """Return the title, its article in front, and the year from the archive's `Title, The (Original title) (Year)`.

    >>> title_and_year("Hate (Haine, La) (1995)")
    ('Hate (La Haine)', 1995)
    """
    match = re.fullmatch(r"(.*?)\s*\((\d{4})\)(?:\s*\(V\))?", full_title.strip())
    title, year = (match[1], int(match[2])) if match else (full_title.strip(), None)
    return re.sub(r"[^()]+", lambda part: _article_first(part[0]), title), year


def _article_first(name: str) -> str:
    body, comma, article = name.rstrip().rpartition(", ")
    if not comma or article not in ARTICLES:
        return name
    joined = f"{article}{body.lstrip()}" if article.endswith("'") else f"{article} {body.lstrip()}"
    return name[: len(name) - len(name.lstrip())] + joined + name[len(name.rstrip()) :]


def read_archive(path: PathLike) -> Tables:
    """Return the tables of an archive in GroupLens's format; the checksum is not verified.

    Args:
        path: A zip file that holds `ml-100k/u.user`, `u.item` (latin-1) and `u.data`.

    Raises:
        InputError: The file is no such archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text = {
                name: archive.read(f"ml-100k/{name}").decode("latin-1")
                for name in ("u.user", "u.item", "u.data")
            }
        users = [line.split("|") for line in text["u.user"].splitlines()]
        items = [line.split("|") for line in text["u.item"].splitlines() if line]
        flags = [[genre for genre, flag in zip(GENRES, row[5:], strict=True) if flag == "1"] for row in items]
        return (
            _users_table(users),
            _items_table((row[0], row[1], genres) for row, genres in zip(items, flags, strict=True)),
            _interactions_table(io.StringIO(text["u.data"]), header=None),
        )
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{str(path)!r} is not an archive of MovieLens-100K ({type(error).__name__}: {error}); "
            f"accepted: ml-100k.zip from {ZIP_URL}, MD5 {ZIP_MD5}"
        ) from error


def read_atomic_files(folder: PathLike) -> Tables:
    """Return the tables of a folder in the wheel's format: `ml-100k.user`, `ml-100k.item`, `ml-100k.inter`."""
    folder = Path(folder)
    users, items = (
        [
            line.split("\t")
            for line in (folder / f"ml-100k.{kind}").read_text("utf-8").splitlines()[1:]
            if line
        ]
        for kind in ("user", "item")
    )
    return (
        _users_table(users),
        _items_table(
            (number, _whole_title(title, year), names.split(" ")) for number, title, year, names in items
        ),
        _interactions_table(folder / "ml-100k.inter", header=0),
    )


def _whole_title(title: str, year: str) -> str:
    """Return the archive's title: the wheel took the last brackets for the year and misspelt item 267."""
    return "unknown" if year == "unkonwn" else f"{title} ({year})"


def _users_table(rows: Iterable[list[str]]) -> pd.DataFrame:
    fields = [row[:4] for row in rows if row != [""]]
    table = pd.DataFrame(fields, columns=["user_id", "age", "gender", "occupation"])
    return table.astype({"user_id": "int64", "age": "int64"})


def _items_table(rows: Iterable[tuple[str, str, Iterable[str]]]) -> pd.DataFrame:
    numbers, titles, years, genres = [], [], [], []
    for number, full_title, names in rows:
        title, year = title_and_year(full_title)
        numbers.append(int(number))
        titles.append(title)
        years.append(year)
        genres.append(tuple(sorted(names, key=GENRES.index)))
    return _items_frame(numbers, titles, pd.array(years, dtype="Int64"), genres)


def _items_frame(numbers: Any, titles: Any, years: Any, genres: list[tuple[str, ...]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "item_id": np.asarray(numbers, dtype=np.int64),
            "title": titles,
            "year": years,
            "genres": pd.Series(genres, dtype=object),
        }
    )


def _interactions_table(source: Any, header: int | None) -> pd.DataFrame:
    columns = ["user_id", "item_id", "rating", "timestamp"]
    table = pd.read_csv(source, sep="\t", header=header, names=columns)
    return table.astype({"user_id": "int64", "item_id": "int64", "rating": "float64", "timestamp": "int64"})


class _SourceMissing(Exception):
    """A source that is not available; the next source is tried."""


def _from_wheel() -> Tables:
    package = find_spec("recbole")
    if package is None or package.origin is None:
        raise _SourceMissing(f"wheel {WHEEL} not installed")
    folder = Path(package.origin).parent / "dataset_example" / "ml-100k"
    for name, expected in WHEEL_SHA256.items():
        if not (folder / name).is_file():
            raise _SourceMissing(f"installed recbole has no {name}; {WHEEL} has")
        _check(folder / name, "sha256", expected)
    return read_atomic_files(folder)


def _from_zip(path: PathLike | None) -> Tables:
    if path is None:
        raise _SourceMissing(f"{ZIP_VARIABLE} not set")
    if not Path(path).is_file():
        raise InputError(f"MovieLens archive {str(path)!r} is not a file; accepted: a copy of {ZIP_URL}")
    _check(Path(path), "md5", ZIP_MD5)
    return read_archive(path)


def _from_download() -> Tables:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "ml-100k.zip"
        try:
            _download(target)
        except (OSError, URLError) as error:
            raise _SourceMissing(f"download failed: {getattr(error, 'reason', error)}") from error
        _check(target, "md5", ZIP_MD5)
        return read_archive(target)


def _download(target: Path) -> None:
    with urlopen(ZIP_URL, timeout=30) as answer, open(target, "wb") as handle:
        total = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while chunk := answer.read(1 << 16):
            handle.write(chunk)
            done += len(chunk)
            share = f"{done / total:4.0%}" if total else f"{done:,} bytes"
            print(f"\rfetching {ZIP_URL}: {share}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)


def _check(path: Path, algorithm: str, expected: str) -> None:
    checksum = digest(path, algorithm)
    if checksum != expected:
        raise InputError(
            f"{str(path)!r} is damaged or another file: expected {algorithm} {expected}, found {checksum}"
        )


def _to_cache(folder: Path, tables: Tables) -> None:
    """Write the tables to the cache, with a checksum; a failure prints a warning."""
    users, items, interactions = tables
    arrays = {f"user.{name}": _plain_array(users[name]) for name in users.columns}
    arrays |= {f"item.{name}": _plain_array(items[name]) for name in ("item_id", "title")}
    arrays["item.year"] = items["year"].fillna(-1).to_numpy(dtype=np.int64)
    arrays["item.genres"] = np.array([[genre in names for genre in GENRES] for names in items["genres"]])
    arrays |= {f"event.{name}": interactions[name].to_numpy() for name in interactions.columns}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    body = buffer.getvalue()
    try:
        with atomic_write(folder / CACHE_FILE, "wb") as handle:
            handle.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    except InputError as error:
        print(f"warning: no cache kept: {error}", file=sys.stderr)


def _plain_array(column: pd.Series) -> np.ndarray:
    return column.to_numpy() if column.dtype.kind in "if" else column.to_numpy(dtype=str)


def _from_cache(folder: Path | None) -> Tables:
    """Return the tables from the cache after a check of its checksum."""
    path = None if folder is None else folder / CACHE_FILE
    if path is None or not path.is_file():
        raise _SourceMissing("no cache" if folder is None else f"no cache in {str(folder)!r}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read cache {str(path)!r}: {error.strerror}; delete it or give a folder"
        ) from error
    head, _, body = content.partition(b"\n")
    checksum = hashlib.sha256(body).hexdigest()
    if head.decode("latin-1") != checksum:
        expected = head[:64].decode("latin-1")
        raise InputError(
            f"cache {str(path)!r} is damaged: expected sha256 {expected}, found {checksum}; delete it"
        )
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        part = {name: arrays[name] for name in arrays.files}
    years = part["item.year"]
    genres = [tuple(GENRES[number] for number in np.flatnonzero(row)) for row in part["item.genres"]]
    return (
        pd.DataFrame({name: part[f"user.{name}"] for name in ("user_id", "age", "gender", "occupation")}),
        _items_frame(
            part["item.item_id"], part["item.title"], pd.arrays.IntegerArray(years, years < 0), genres
        ),
        pd.DataFrame({name: part[f"event.{name}"] for name in ("user_id", "item_id", "rating", "timestamp")}),
    )
