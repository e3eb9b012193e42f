"""The trained `mini` in data/mini: whole, small, without MovieLens's text, and what the command line makes of it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from benchmarks import artefact
from instructrec import datasets, models
from instructrec.cli import main
from instructrec.errors import InputError
from instructrec.models import SHIPPED
from instructrec.split import leave_last_out

FOLDER = SHIPPED["mini"]


@pytest.fixture(scope="module")
def movies():
    return datasets.movielens_100k()


@pytest.fixture(scope="module")
def mini():
    return models.load(FOLDER)


def test_it_is_small_and_holds_no_text_of_movielens(movies):
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000
    assert sorted(path.name for path in FOLDER.iterdir()) == [
        "README.md",
        "arrays.npz",
        "figures.json",
        "model.json",
        "training.json",
    ]
    with np.load(FOLDER / "arrays.npz", allow_pickle=False) as arrays:
        words = set(arrays["words"].tolist())
    rare = {"shawshank", "fargo", "toy", "trainspotting", "gump", "casablanca"}
    assert rare <= {
        word for title in movies.items["title"] for word in title.lower().replace(",", " ").split()
    }
    assert not rare & words


def test_its_settings_are_the_defaults():
    header = json.loads((FOLDER / "model.json").read_text("utf-8"))
    assert header["settings"] == models.create("mini").settings


def test_it_follows_instructions(mini, movies):
    parts = leave_last_out(movies)
    genres = dict(zip(movies.items["item_id"], movies.items["genres"], strict=True))
    for text, genre in (
        ("a western please", "Western"),
        ("推荐一部恐怖片", "Horror"),
        ("something scary", "Horror"),
    ):
        items = mini.recommend(parts.train.history(1), text, n=10)["item_id"]
        assert np.mean([genre in genres[item] for item in items]) >= 0.9
    refused = mini.recommend(parts.train.history(1), "no drama", n=10)["item_id"]
    assert not any("Drama" in genres[item] for item in refused)


def test_the_card_shows_the_stored_figures():
    figures = json.loads((FOLDER / "figures.json").read_text("utf-8"))["figures"]
    card = (FOLDER / "README.md").read_text("utf-8")
    table = card[card.index("| task |") :].partition("\n\n")[0]
    _, _, *lines = [line.strip("| ").split(" | ") for line in table.splitlines()]
    rows = {name: (obeyed.removesuffix(" (violation)"), ndcg) for name, obeyed, ndcg in lines}
    assert rows == {name: (f"{row['obeyed']:.3f}", f"{row['ndcg']:.3f}") for name, row in figures.items()}


def test_another_catalogue_or_a_damaged_file_is_refused(tmp_path, monkeypatch, movies):
    copy = tmp_path / "mini"
    shutil.copytree(FOLDER, copy)
    upper = movies.items.assign(title=movies.items["title"].str.upper())
    with monkeypatch.context() as patch:
        changed = type(movies)(movies.name, movies.users, upper, movies.interactions, category_field="genres")
        patch.setattr(datasets, "load", lambda name: changed)
        with pytest.raises(InputError, match="other items than movielens-100k"):
            models.load(copy)
    (copy / "arrays.npz").write_bytes((copy / "arrays.npz").read_bytes()[:-1])
    with pytest.raises(InputError, match="damaged"):
        models.load(copy)


def test_the_command_line_loads_it_by_its_name(capsys):
    words = ["recommend", "--model", "mini", "--data", "movielens-100k", "--history", "50,181"]
    assert main([*words, "--instruction", "no action", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["items"]) == 10
    assert not any("Action" in item["genres"] for item in answer["items"])


def test_it_is_not_evaluated_on_its_training_events(capsys):
    words = ["evaluate", "--model", "mini", "--data", "movielens-100k", "--protocol", "global-time"]
    assert main(words) == 2
    assert "trained with --protocol leave-last-out" in capsys.readouterr().err


def test_figures_beyond_the_tolerance_fail(capsys):
    shipped = {"none": {"obeyed": 1.0, "ndcg": 0.13}, "stated": {"obeyed": 0.99, "ndcg": 0.3}}
    assert artefact.compare(shipped, shipped) == 0
    assert artefact.compare({**shipped, "none": {"obeyed": 1.0, "ndcg": 0.1}}, shipped) == 1
    assert "1 of 4 figures" in capsys.readouterr().out
