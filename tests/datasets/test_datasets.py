"""The data sets: every source gives the same tables, every bad file one line, every planted defect is there."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from instructrec import datasets
from instructrec.datasets import (
    Dataset,
    amazon_reviews,
    format_card,
    from_csv,
    load,
    movielens,
    movielens_100k,
)
from instructrec.datasets import bilingual_shop as shop_module
from instructrec.datasets.simulator import simulate
from instructrec.errors import InputError

HEADER = "user_id,item_id,rating,timestamp\n"
TABLES = ("users", "items", "interactions")
needs_wheel = pytest.mark.skipif(find_spec("recbole") is None, reason="the MovieLens wheel is not installed")

# One film a row: the title of the archive; title, year of the wheel; what both must become; genres.
FILMS = [
    (1, "Toy Story (1995)", "Toy Story", "1995", "Toy Story", 1995, ("Animation", "Children's", "Comedy")),
    (2, "Misérables, Les (1995)", "Misérables, Les", "1995", "Les Misérables", 1995, ("Drama", "Musical")),
    (3, "Hate (Haine, La) (1995)", "Hate (Haine, La)", "1995", "Hate (La Haine)", 1995, ("Drama",)),
    (4, "Star Maker, The (Uomo delle stelle, L') (1995)", "Star Maker, The (Uomo delle stelle, L')", "1995",
     "The Star Maker (L'Uomo delle stelle)", 1995, ("Drama",)),
    (5, "Shadow and Light (1996) ", "Shadow and Light", "1996", "Shadow and Light", 1996, ("Documentary",)),
    (6, "Land Before Time III (1995) (V)", "Land Before Time III (1995)", "V", "Land Before Time III", 1995,
     ("Animation", "Children's")),
    (7, "Good, The Bad and The Ugly, The (1966)", "Good, The Bad and The Ugly, The", "1966",
     "The Good, The Bad and The Ugly", 1966, ("Action", "Western")),
    (8, "Paris, Texas (1984)", "Paris, Texas", "1984", "Paris, Texas", 1984, ("Drama",)),
    (9, "2001: A Space Odyssey (1968)", "2001: A Space Odyssey", "1968", "2001: A Space Odyssey", 1968,
     ("Drama", "Film-Noir", "Sci-Fi")),
    (267, "unknown", "unkonwn", "unkonwn", "unknown", None, ("unknown",)),
]  # fmt: skip
PEOPLE = [(1, 24, "M", "technician", "85711"), (2, 53, "F", "other", "T8H1N")]
RATINGS = [(2, 1, 3, 881250949), (1, 267, 5, 881250949), (1, 2, 1, 878887116), (2, 9, 4, 891717742)]


def write_archive(path, films=FILMS):
    """Write a zip in GroupLens's own format: latin-1, bars, a flag for each of the 19 genres, no headers."""
    lines = []
    for number, title, _, _, _, year, genres in films:
        date, link = (f"01-Jan-{year}", f"http://us.imdb.com/M/title-exact?{number}") if year else ("", "")
        flags = "|".join(str(int(genre in genres)) for genre in movielens.GENRES)
        lines.append(f"{number}|{title}|{date}||{link}|{flags}\n")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-100k/u.item", "".join(lines).encode("latin-1"))
        archive.writestr("ml-100k/u.user", "".join("|".join(map(str, row)) + "\n" for row in PEOPLE))
        archive.writestr("ml-100k/u.data", "".join("\t".join(map(str, row)) + "\n" for row in RATINGS))
    return path


def write_atomic_files(folder):
    """Write the same rows in the wheel's format."""

    def write(kind, header, rows):
        text = "".join("\t".join(map(str, row)) + "\n" for row in [header, *rows])
        (folder / f"ml-100k.{kind}").write_text(text, "utf-8")

    write(
        "user", ["user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"], PEOPLE
    )
    write(
        "item",
        ["item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"],
        [(film[0], film[2], film[3], " ".join(film[6])) for film in FILMS],
    )
    write("inter", ["user_id:token", "item_id:token", "rating:float", "timestamp:float"], RATINGS)
    return folder


def assert_same(first: Dataset, second: Dataset):
    for name in TABLES:
        assert_frame_equal(getattr(first, name), getattr(second, name))


@pytest.fixture
def no_wheel(monkeypatch):
    monkeypatch.setattr(movielens, "find_spec", lambda name: None)
    monkeypatch.delenv(movielens.ZIP_VARIABLE, raising=False)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(movielens, "urlopen", refuse)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small archive that passes for the official one."""
    path = write_archive(tmp_path / "ml-100k.zip")
    monkeypatch.setattr(movielens, "ZIP_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    return path


# -- MovieLens -------------------------------------------------------------------------------------------------------


def test_archive_and_wheel_formats_give_the_same_tables(tmp_path):
    archive = movielens.read_archive(write_archive(tmp_path / "small.zip"))
    wheel = movielens.read_atomic_files(write_atomic_files(tmp_path))
    for one, other in zip(archive, wheel, strict=True):
        assert_frame_equal(one, other)
    users, items, interactions = archive
    assert items["title"].tolist() == [film[4] for film in FILMS]
    assert items["year"].tolist()[:-1] == [film[5] for film in FILMS[:-1]]
    assert items["year"].isna().tolist() == [False] * 9 + [True]
    assert items["genres"].tolist() == [film[6] for film in FILMS]
    assert str(items["year"].dtype) == "Int64"
    assert users.to_numpy().tolist() == [list(row[:4]) for row in PEOPLE]
    assert interactions.to_numpy().tolist() == [list(row) for row in RATINGS]
    assert interactions.dtypes.astype(str).tolist() == ["int64", "int64", "float64", "int64"]


def test_archive_by_argument_by_variable_and_from_the_cache(
    archive, tmp_path, monkeypatch, no_wheel, no_network
):
    cache = tmp_path / "cache"
    by_argument = movielens_100k(cache=cache, zip_path=archive)
    assert [path.name for path in cache.iterdir()] == [movielens.CACHE_FILE]
    from_cache = movielens_100k("cache", cache=cache)
    monkeypatch.setenv(movielens.ZIP_VARIABLE, str(archive))
    by_variable = movielens_100k(cache=False)
    assert_same(by_argument, from_cache)
    assert_same(by_argument, by_variable)


def test_download_shows_progress_checks_and_caches(archive, tmp_path, monkeypatch, no_wheel, capsys):
    class Answer(io.BytesIO):
        headers = {"Content-Length": str(archive.stat().st_size)}

    monkeypatch.setattr(movielens, "urlopen", lambda url, timeout: Answer(archive.read_bytes()))
    downloaded = movielens_100k(cache=tmp_path / "cache")
    output = capsys.readouterr()
    assert output.out == ""
    assert "100%" in output.err
    assert_same(downloaded, movielens_100k("cache", cache=tmp_path / "cache"))


def test_cut_download_is_refused_and_leaves_nothing(archive, tmp_path, monkeypatch, no_wheel):
    class Answer(io.BytesIO):
        headers = {}

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(movielens.tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(movielens, "urlopen", lambda url, timeout: Answer(archive.read_bytes()[:-7]))
    with pytest.raises(
        InputError, match=rf"ml-100k.zip.*expected md5 {movielens.ZIP_MD5}, found [0-9a-f]{{32}}"
    ):
        movielens_100k("download", cache=tmp_path / "cache")
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "cache").exists()


def test_no_source_names_all_three(tmp_path, no_wheel, no_network):
    with pytest.raises(InputError) as caught:
        movielens_100k(cache=tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "recbole==1.2.1",
        "INSTRUCTREC_ML100K_ZIP",
        movielens.ZIP_URL,
        "no route to host",
        str(tmp_path),
    ):
        assert part in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"nonsense", "cut", "flip"])
def test_damaged_cache_is_rebuilt_with_a_warning(damage, archive, tmp_path, no_wheel, no_network, capsys):
    good = movielens_100k(cache=tmp_path, zip_path=archive)
    file = tmp_path / movielens.CACHE_FILE
    content = file.read_bytes()
    flipped = content[:500] + bytes([content[500] ^ 1]) + content[501:]
    file.write_bytes({"cut": content[:-20], "flip": flipped}.get(damage, damage))
    with pytest.raises(InputError, match="damaged"):
        movielens_100k("cache", cache=tmp_path)
    capsys.readouterr()
    assert_same(good, movielens_100k(cache=tmp_path, zip_path=archive))
    warning = capsys.readouterr().err
    assert warning.startswith("warning: cache")
    assert warning.count("\n") == 1
    assert file.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_only_a_warning(archive, tmp_path, no_wheel, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert movielens_100k(cache=blocked / "cache", zip_path=archive).n_items == len(FILMS)
    assert "no cache kept" in capsys.readouterr().err


def test_wrong_archives(tmp_path, archive):
    (tmp_path / "other.zip").write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match="other.zip.*expected md5"):
        movielens_100k("zip", cache=False, zip_path=tmp_path / "other.zip")
    with pytest.raises(InputError, match="not an archive of MovieLens-100K"):
        movielens.read_archive(tmp_path / "other.zip")
    with pytest.raises(InputError, match="is not a file"):
        movielens_100k("zip", cache=False, zip_path=tmp_path / "none.zip")
    with pytest.raises(InputError, match="unknown source.*'tape'.*wheel"):
        movielens_100k("tape")


def test_damaged_wheel_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "recbole" / "dataset_example" / "ml-100k"
    folder.mkdir(parents=True)
    write_atomic_files(folder)
    spec = type("Spec", (), {"origin": str(tmp_path / "recbole" / "__init__.py")})
    monkeypatch.setattr(movielens, "find_spec", lambda name: spec)
    with pytest.raises(InputError, match="ml-100k.user.*expected sha256"):
        movielens_100k("wheel", cache=False)


@needs_wheel
def test_movielens_from_the_wheel_is_the_known_data_set(tmp_path):
    data = movielens_100k("wheel", cache=tmp_path)
    assert (data.n_users, data.n_items, data.n_interactions) == (943, 1682, 100_000)
    assert data.interactions.iloc[0].tolist() == [196, 242, 3, 881250949]
    assert data.interactions.iloc[-1].tolist() == [12, 203, 3, 879959583]
    assert data.interactions.groupby("user_id").size().min() == 20
    assert not data.interactions.duplicated(["user_id", "item_id"]).any()
    items = data.items.set_index("item_id")
    assert items.loc[50, "title"] == "Star Wars"
    assert items.loc[1412, ["title", "year"]].tolist() == [
        "Land Before Time III: The Time of the Great Giving",
        1995,
    ]
    assert items["year"].isna().sum() == 1
    assert items.loc[267, "title"] == "unknown"
    assert items["genres"].map(lambda names: "unknown" in names).sum() == 2
    assert items["genres"].map(lambda names: list(names) == sorted(names, key=movielens.GENRES.index)).all()
    assert len({genre for names in items["genres"] for genre in names}) == 19
    assert not items["title"].str.contains(r", (?:The|A|An)\b(?:\)|$)").any()
    assert_same(data, movielens_100k("cache", cache=tmp_path))


@needs_wheel
def test_the_whole_wheel_written_as_an_archive_gives_the_same_tables(tmp_path):
    """The official format, filled with every real row, titles turned back: nothing is lost on the way."""
    folder = os.path.join(os.path.dirname(find_spec("recbole").origin), "dataset_example", "ml-100k")
    films = []
    with open(os.path.join(folder, "ml-100k.item"), encoding="utf-8") as handle:
        for line in handle.read().splitlines()[1:]:
            number, title, year, names = line.split("\t")
            full = "unknown" if year == "unkonwn" else f"{title} ({year})"
            films.append((number, full, None, None, None, year, names.split(" ")))
    assert_frame_equal(
        movielens.read_archive(write_archive(tmp_path / "whole.zip", films))[1],
        movielens.read_atomic_files(folder)[1],
    )


def test_light_paths_import_nothing_heavy():
    program = (
        "import sys\nfrom instructrec.datasets import load, movielens_100k, shop\nshop(); load('shop')\n"
        "print([m for m in ('tensorflow', 'keras', 'pandera', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- the shop --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raw():
    return shop_module.shop_tables()


@pytest.fixture(scope="module")
def clean():
    return datasets.shop()


def test_shop_regenerates_to_the_committed_bytes(tmp_path):
    shop_module.write_shop(tmp_path)
    for name in shop_module.FILES:
        written = (tmp_path / name).read_bytes()
        assert b"\r" not in written
        assert written == (shop_module.FOLDER / name).read_bytes(), (
            f"{name} is out of step with the simulator"
        )
    assert sum(path.stat().st_size for path in shop_module.FOLDER.iterdir()) < 2_000_000


def test_another_seed_gives_another_shop(raw):
    other = shop_module.simulate_shop(seed=1)["user_behavior_data"]
    assert other["item_id"].tolist()[:50] != raw["user_behavior_data"]["item_id"].tolist()[:50]


def test_every_planted_defect_is_there_in_the_stated_number(raw):
    log, users, items = raw["user_behavior_data"], raw["users"], raw["items"]
    rating, price = log["rating"].astype("str"), log["price"].astype("str")
    times = pd.to_datetime(log["timestamp"])
    once = log[~log.duplicated()]
    found = {
        "exact duplicates": log.duplicated().sum(),
        "purchases without a rating": (once["rating"].isna() & (once["behavior"] == "purchase")).sum(),
        "events without a price": log["price"].isna().sum(),
        "ratings as text, such as '4 stars' or '5星'": rating.str.fullmatch(r"[1-5]( stars|星)").sum(),
        "purchases rated 'not rated'": (rating == "not rated").sum(),
        "prices as text, such as '¥129.00' or '129.00元'": price.str.contains("[¥元]").sum(),
        "events of unknown users": (~log["user_id"].isin(users["user_id"])).sum(),
        "events of unknown items": (~log["item_id"].isin(items["item_id"])).sum(),
        "events out of time order": (times < times.cummax()).sum(),
        "items without a price": items["price"].isna().sum(),
    }
    assert found == shop_module.DEFECTS
    assert (log.loc[log["rating"].notna(), "behavior"] == "purchase").all()


def test_the_shops_read_me_states_the_same_numbers():
    text = (shop_module.FOLDER / "README.md").read_text("utf-8")
    for count in shop_module.DEFECTS.values():
        assert f"| {count} |" in text or f"{count} products" in text


def test_shop_is_repaired_and_bilingual(clean, raw):
    items, log = clean.items, clean.interactions
    lost = sum(shop_module.DEFECTS[name] for name in
               ("exact duplicates", "events of unknown users", "events of unknown items"))  # fmt: skip
    assert len(log) == len(raw["user_behavior_data"]) - lost
    assert clean.category_field == "categories"
    assert items["categories"].map(type).eq(tuple).all()
    assert 10 <= len({name for names in items["categories"] for name in names}) <= 12
    assert items["title_zh"].str.contains(r"[\u4e00-\u9fff]").all()
    assert items["title"].is_unique
    assert items["popularity"].between(0, 1).all()
    assert items["price"].gt(0).all()
    assert log["price"].gt(0).all()
    assert log["timestamp"].is_monotonic_increasing
    assert log["rating"].dropna().isin([1, 2, 3, 4, 5]).all()
    assert log["user_id"].isin(clean.users["user_id"]).all()
    assert log["item_id"].isin(items["item_id"]).all()
    assert clean.users["user_id"].max() >= clean.n_users, "ids must have gaps, or the chapter's trap is gone"


def test_a_shop_without_its_files_is_simulated_alike(raw, monkeypatch, tmp_path):
    monkeypatch.setattr(shop_module, "FOLDER", tmp_path / "none")
    for name, table in shop_module.shop_tables().items():
        assert_frame_equal(table, raw[name])
    with pytest.raises(InputError, match=r"users.csv.*writes it again"):
        shop_module.shop_tables(tmp_path)


def test_truth_explains_the_choices(clean):
    truth = datasets.shop_truth()
    assert np.allclose(truth.tastes.sum(axis=1), 1)
    assert truth.utility.index.tolist() == clean.users["user_id"].tolist()
    assert truth.utility.columns.tolist() == clean.items["item_id"].tolist()
    log = clean.interactions
    ranks = truth.utility.rank(axis=1, ascending=False, pct=True).to_numpy()
    chosen = ranks[
        truth.utility.index.get_indexer(log["user_id"]), truth.utility.columns.get_indexer(log["item_id"])
    ]
    assert np.median(chosen) < 0.2, "users should choose what they like"
    users, items = clean.users["user_id"].tolist()[:3], clean.items["item_id"].tolist()[5:9]
    assert truth.true_utility(users, items).shape == (3, 4)
    assert truth.true_utility(users, items)[2, 1] == truth.utility.loc[users[2], items[1]]
    assert truth.true_utility().shape == (clean.n_users, clean.n_items)
    with pytest.raises(InputError, match="no simulated item 1"):
        truth.true_utility(items=[1])


def test_simulator_follows_its_seed_and_refuses_nonsense():
    items = pd.DataFrame({"item_id": range(40), "category": ["a", "b"] * 20, "price": np.arange(1.0, 41.0)})
    first, again = (simulate(items, range(30), seed=3) for _ in range(2))
    assert_frame_equal(first.events, again.events)
    assert_frame_equal(first.truth.utility, again.truth.utility)
    assert first.events["timestamp"].is_monotonic_increasing
    rated = first.events["rating"].notna()
    assert (rated == (first.events["behavior"] == "purchase")).all()
    assert (
        not first.events[first.events.groupby("user_id")["item_id"].transform("size") <= 40]
        .duplicated(["user_id", "item_id"])
        .any()
    )
    for settings in (
        {"n_shown": 41},
        {"stay": 1.5},
        {"concentration": 0},
        {"behaviors": ()},
        {"events_per_user": 1},
    ):
        with pytest.raises(InputError):
            simulate(items, range(30), **settings)
    with pytest.raises(InputError, match="'category'"):
        simulate(items.drop(columns="category"), range(30))


# -- a reader's own files --------------------------------------------------------------------------------------------

GOOD = '{"reviewerID":"A","asin":"B","overall":5.0,"unixReviewTime":5}\n'
BAD_FILES = {
    "empty": ("a.csv", "", "is empty"),
    "a byte order mark only": ("a.csv", "\ufeff", "is empty"),
    "wide spaces only": ("a.jsonl", "\u3000\n", "is empty"),
    "spaces only": ("a.csv", "  \n \n", "is empty"),
    "header only": ("a.csv", HEADER, "a header and no rows"),
    "header and blank lines": ("a.csv", HEADER + "\n\n", "a header and no rows"),
    "binary": ("a.csv", b"\x89PNG\r\n\x00\x00", "binary"),
    "not UTF-8": ("a.csv", (HEADER + "1,2,3,4\n1,café,3,4\n").encode("latin-1"), "line 3: byte 0xe9"),
    "UTF-16": ("a.csv", HEADER.encode("utf-16"), "binary"),
    "other columns": ("a.csv", "user,item,rating,timestamp\n1,2,3,4\n", "'user_id': did you mean user"),
    "no time": ("a.csv", "user_id,item_id,rating\n1,2,3\n", "'timestamp'.*user_id, item_id, rating"),
    "semicolons": ("a.csv", HEADER.replace(",", ";") + "1;2;3;4\n", "'user_id'"),
    "a column twice": ("a.csv", "user_id,item_id,rating,rating\n1,2,3,4\n", "'rating' twice"),
    "text in rating": ("a.csv", HEADER + "1,2,3,4\n1,2,4 stars,5\n1,2,x,5\n",
                       r"line 3, column 'rating': '4 stars' \(and 1 more\); accepted: a number"),
    "endless rating": ("a.csv", HEADER + "1,2,inf,4\n", "column 'rating': 'inf'"),
    "a day in words": ("a.csv", HEADER + "1,2,3,yesterday\n", "column 'timestamp': 'yesterday'; accepted: seconds"),
    "time before 1970": ("a.csv", HEADER + "1,2,3,-5\n", "column 'timestamp': '-5'"),
    "no time in a row": ("a.csv", HEADER + "1,2,3,\n", "column 'timestamp': an empty cell"),
    "no user in a row": ("a.csv", HEADER + ",2,3,4\n", "line 2, column 'user_id': an empty cell"),
    "a user that is no number": ("a.csv", HEADER + "1,2,3,4\nNaN,2,3,4\n",
                                 "line 3, column 'user_id': 'NaN'; accepted: an id"),
    "blank item": ("a.csv", HEADER + "\n1,  ,3,4\n", "line 3, column 'item_id': an empty cell"),
    "a cell too many": ("a.csv", HEADER + "1,2,3,4\n1,2,3,4,5\n", "line 3: 5 cells; 4 are accepted"),
    "a cell too few": ("a.csv", HEADER + "1,2\n", "line 2: 2 cells"),
    "a quote left open": ("a.csv", HEADER + '1,"2,3,4\n', "line 2: not a CSV"),
    "line after a long cell": ("a.csv", HEADER + '1,"2\n2",3,4\n1,2,x,4\n', "line 4, column 'rating': 'x'"),
    "not gzip": ("a.csv.gz", b"abc", "not a whole gzip"),
    "cut gzip": ("a.csv.gz", gzip.compress(HEADER.encode() * 50)[:-9], "not a whole gzip"),
    "JSON list": ("a.jsonl", "[1]\n", "line 1: a list"),
    "not JSON": ("a.jsonl", GOOD + "\n{oops\n", "line 3: '{oops' is not JSON"),
    "nested too deep": ("a.jsonl", "[" * 100_000, "line 1: .* is not JSON"),
    "other keys": ("a.jsonl", '{"who":1}\n', "line 1: the keys who .*reviewerID"),
    "nine stars": ("a.jsonl", GOOD + GOOD.replace("5.0", "9"), "line 2, column 'overall': 9; accepted: a number"),
    "no item": ("a.jsonl", GOOD.replace('"B"', "null"), "line 1, column 'asin': an empty cell"),
    "a list for a time": ("a.jsonl", GOOD.replace(":5}", ":[5]}"), r"column 'unixReviewTime': '\[5\]'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_ends_in_one_line(case, tmp_path):
    name, content, expected = BAD_FILES[case]
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=expected) as caught:
        load(file)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert len(str(caught.value)) - len(str(tmp_path)) < 300


def test_places_that_are_no_file(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no file .*none.csv"):
        load(tmp_path / "none.csv")
    with pytest.raises(InputError, match="cannot read .*: File name too long"):
        load(tmp_path / ("a" * 300 + ".csv"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        load(tmp_path / "folder.csv")
    with pytest.raises(InputError, match="unknown data set 'movielens': did you mean movielens-100k"):
        load("movielens")
    file = tmp_path / "locked.csv"
    file.write_text(HEADER + "1,2,3,4\n")

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(InputError, match="cannot read .*locked.csv': Permission denied"):
        load(file)


def test_from_csv_reads_numbers_dates_and_gaps(tmp_path):
    file = tmp_path / "mine.csv.gz"
    rows = "7,30,4.5,1684000000\n5,10,,2023-05-11 08:15:30\n\n7,10,N/A,1684000000123\n"
    rows += "5,30,2,2023-05-11T08:15:30+08:00\n"
    file.write_bytes(gzip.compress(("\ufeff" + HEADER + rows).encode()))
    data = load(file)
    assert data.name == "mine"
    assert data.users["user_id"].tolist() == [5, 7]
    assert data.items["item_id"].tolist() == [10, 30]
    assert data.items["title"].tolist() == ["10", "30"]
    assert data.items["categories"].tolist() == [(), ()]
    assert data.interactions["rating"].isna().tolist() == [False, True, True, False]
    assert data.interactions["timestamp"].tolist() == [1684000000, 1683792930, 1684000000, 1683764130]
    assert data.interactions.dtypes.astype(str).tolist() == ["int64", "int64", "float64", "int64"]


def test_from_csv_with_other_names_and_no_rating(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("who,what,name\nann,007,Bond\nbob,7,Seven\nann,7,\n")
    data = from_csv(file, user_id="who", item_id="what", rating=None, timestamp=None, title="name")
    assert data.titles == {"007": "Bond", "7": "Seven"}
    assert data.interactions["rating"].tolist() == [1.0] * 3
    assert data.histories() == {"ann": ["007", "7"], "bob": ["7"]}


def test_from_csv_with_items(tmp_path):
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    events.write_text(HEADER + "1,2,3,4\n")
    items.write_text("item_id,title,categories,price\n1,One,A|B,9.5\n2,,,\n")
    data = from_csv(events, items=items)
    assert data.items["categories"].tolist() == [("A", "B"), ()]
    assert data.items["title"].tolist() == ["One", "2"]
    assert data.items["price"].tolist()[0] == 9.5
    items.write_text("item_id,title\n1,One\n")
    with pytest.raises(InputError, match="item .*2.*not in .*items.csv"):
        from_csv(events, items=items)
    items.write_text("item_id,title\n2,One\n2,Two\n")
    with pytest.raises(InputError, match="twice"):
        from_csv(events, items=items)


def test_events_and_items_may_write_ids_as_numbers_and_as_text(tmp_path):
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    events.write_text(HEADER + "1,2,3,4\n1,7,3,5\n")
    items.write_text("item_id,title\n7,Seven\n2,Two\nB00,Other\n")
    data = from_csv(events, items=items)
    assert data.titles == {"7": "Seven", "2": "Two", "B00": "Other"}
    assert data.histories() == {1: ["2", "7"]}
    assert data.item_columns(["2", "7"]).tolist() == [1, 0]


def test_categories_of_a_table_may_be_arrays(tmp_path):
    """Reading Parquet gives arrays."""
    events = tmp_path / "events.csv"
    events.write_text(HEADER + "1,2,3,4\n")
    items = pd.DataFrame({"item_id": [2], "title": ["Two"], "categories": [np.array(["A", "B"])]})
    assert from_csv(events, items=items).items["categories"].tolist() == [("A", "B")]


def test_reviews_may_hold_other_line_separators_and_broken_emoji(tmp_path):
    file = tmp_path / "reviews.jsonl"
    review = GOOD.replace("}", ',"reviewText":"one\u2028two\x85three \\ud83d \\ud83d\\ude00"}')
    file.write_text(review + GOOD, encoding="utf-8")
    data = load(file)
    assert data.interactions["review"].tolist() == ["one\u2028two\x85three ? 😀", ""]


def test_the_raw_shop_is_refused_by_its_first_bad_cell():
    with pytest.raises(
        InputError, match=r"user_behavior_data.csv', line \d+, column 'rating': '\d stars'.*209 more"
    ):
        from_csv(shop_module.FOLDER / "user_behavior_data.csv")


def test_amazon_reviews_of_2018_with_metadata_of_2014(tmp_path):
    reviews = [
        {
            "reviewerID": "U2",
            "asin": "B2",
            "overall": 4.0,
            "unixReviewTime": 20,
            "reviewText": "fine",
            "summary": "ok",
        },
        {"reviewerID": "U1", "asin": "B1", "overall": 5, "unixReviewTime": 10},
    ]
    file, metadata = tmp_path / "reviews.json.gz", tmp_path / "meta.json"
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, reviews)).encode()))
    metadata.write_text(
        "{'asin': 'B1', 'title': 'Salt &amp; Pepper', 'categories': [['Food', 'Spices']], 'price': 12.5}\n"
        + json.dumps({"asin": "B2", "title": "Two", "category": ["Food"], "price": "$3.99", "brand": "X"})
        + '\n{"asin": "B9", "title": "Nobody reviewed it"}\n'
    )
    data = amazon_reviews(file, metadata)
    assert data.interactions["review"].tolist() == ["fine", ""]
    assert data.items["item_id"].tolist() == ["B1", "B2"]
    assert data.items["title"].tolist() == ["Salt & Pepper", "Two"]
    assert data.items["categories"].tolist() == [("Food", "Spices"), ("Food",)]
    assert data.items["price"].tolist() == [12.5, 3.99]
    assert amazon_reviews(file).items["title"].tolist() == ["B1", "B2"]
    metadata.write_text('{"asin": "B9"}\n')
    with pytest.raises(InputError, match="none of the reviewed"):
        amazon_reviews(file, metadata)


def test_amazon_reviews_of_2023_have_milliseconds(tmp_path):
    file = tmp_path / "All_Beauty.jsonl"
    review = {
        "user_id": "A",
        "parent_asin": "P",
        "asin": "Q",
        "rating": 5.0,
        "timestamp": 1588687728923,
        "text": "x",
    }
    file.write_text(json.dumps(review) + "\n")
    data = load(file)
    assert data.interactions["timestamp"].tolist() == [1588687728]
    assert data.interactions["item_id"].tolist() == ["P"]


def test_cards(clean):
    card = format_card(clean)
    assert "17,021" in card
    assert "exact duplicates: 240" in card
    assert max(map(len, card.splitlines())) <= 88
    bare = Dataset("bare", clean.users, clean.items, clean.interactions)
    assert format_card(bare).startswith("bare\n====\n")
