"""The adapters in data/smollm2: whole, small, without MovieLens's text, and what they make SmolLM2 answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import smollm2
from instructrec import datasets, models
from instructrec.cli import main
from instructrec.files import digest
from instructrec.models import SHIPPED
from instructrec.models.lm.smollm2 import SmolLM2
from instructrec.split import leave_last_out

pytest.importorskip("keras_hub")
pytest.importorskip("gguf")
FOLDER = SHIPPED["smollm2"]


def test_it_is_small_and_holds_no_text_of_movielens():
    names = ["README.md", "arrays.npz", "model.json", "training.json"]
    assert sorted(path.name for path in FOLDER.iterdir()) == names
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8_000_000
    with np.load(FOLDER / "arrays.npz", allow_pickle=False) as arrays:
        texts = [name for name in arrays.files if arrays[name].dtype.kind not in "f"]
        assert texts == ["shots"]
        assert json.loads(str(arrays["shots"])) == []


def test_its_settings_are_those_by_default():
    header = json.loads((FOLDER / "model.json").read_text("utf-8"))
    assert header["settings"] == models.create("smollm2").settings


def test_its_card_says_what_was_measured():
    results = json.loads(smollm2.RESULTS.read_text("utf-8"))
    text = (FOLDER / "README.md").read_text("utf-8")
    assert text == smollm2.card(results)
    row = next(
        row
        for row in results["results"]["rows"]
        if (row["condition"], row["negatives"], row["model"]) == ("P1, I2", "hard", "tuned")
    )
    [line] = [line for line in text.splitlines() if line.startswith("| P1, I2 | hard |")]
    assert line.split(" | ")[3] == f"{row['HR@1'][0]:.3f}"


def test_figures_are_those_of_the_scores_that_lie_beside_them():
    rows = json.loads(smollm2.RESULTS.read_text("utf-8"))["results"]["rows"]
    weights = digest(FOLDER / "arrays.npz")
    checked = 0
    for row in rows:
        path = smollm2.scores_of(row["model"], row["condition"])
        if row["model"] in (*smollm2.UNTUNED, *smollm2.SHARES.values()):
            with np.load(path) as arrays:
                scores, of = arrays["scores"], str(arrays["model"])
            assert of == weights or row["model"] != "tuned"
            own = smollm2.per_user(scores[:, :1], scores[:, smollm2.NEGATIVES[row["negatives"]]])
            for metric, values in own.items():
                assert abs(values.mean() - row[metric][0]) < 1e-4
            checked += 1
    assert checked >= 12


@pytest.mark.slow
def test_it_finds_what_comes_next_more_often_than_chance_does(shipped):
    parts = leave_last_out(datasets.movielens_100k())
    requests = parts.requests("test")
    rng = np.random.default_rng(0)
    items = parts.train.items["item_id"].to_numpy()
    histories, candidates = [], []
    for row in rng.permutation(len(requests))[:20]:
        unseen = np.setdiff1d(items, requests.histories[row] + requests.targets[row])
        histories.append(requests.histories[row])
        candidates.append([requests.targets[row][0], *rng.choice(unseen, size=9, replace=False)])
    first = shipped.score_candidates(histories, candidates).argmax(axis=1) == 0
    assert first.mean() > 0.3  # a tenth by chance; of all users it is above a half


def test_the_command_line_means_it_by_its_name(shipped, capsys, monkeypatch):
    adapted = shipped.language_model
    monkeypatch.setattr(SmolLM2, "language_model", property(lambda model: adapted))
    words = ["recommend", "--model", "smollm2", "--data", "movielens-100k", "--history", "50,181"]
    assert main([*words, "--candidates", "172,1,288,96", "--instruction", "something scary", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["item_id"] == 288  # Scream


def test_it_is_not_measured_on_what_it_was_trained_on(capsys):
    words = ["evaluate", "--model", "smollm2", "--data", "movielens-100k", "--protocol", "global-time"]
    assert main(words) == 2
    assert "trained with --protocol leave-last-out" in capsys.readouterr().err
