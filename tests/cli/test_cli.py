"""The command line as scripts use it: its output on each stream, and its light imports."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from instructrec import cli, models
from instructrec.cli.common import PROTOCOLS
from instructrec.cli.evaluate import TASKS
from instructrec.cli.generate import reproducing_command
from instructrec.datasets.readers import from_csv
from instructrec.split import SPLITS


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = [(user, 100 + int(item)) for user in range(1, 41) for item in rng.permutation(25)[:8]]
    table = pd.DataFrame(rows, columns=["user_id", "item_id"]).assign(rating=4.0, timestamp=range(len(rows)))
    path = tmp_path_factory.mktemp("data") / "events.csv"
    table.to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def saved(csv, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("models") / "knn")
    assert cli.main(["train", "--model", "item-knn", "--data", csv, "--out", folder, "--set", "k=5"]) == 0
    return folder


@pytest.fixture
def run(capsys):
    def run(*words):
        status = cli.main(list(map(str, words)))
        out, err = capsys.readouterr()
        assert status == 0, err
        return out

    return run


def test_recommend_as_json(run, saved, csv):
    out = run("recommend", "--model", saved, "--data", csv, "--history", "100,101", "--n", 3, "--json")
    answer = json.loads(out)
    assert set(answer) == {"instruction", "parsed", "items"}
    assert answer["instruction"] is None
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3]
    assert {"rank", "item_id", "title", "score"} <= set(answer["items"][0])
    expected = models.load(saved).recommend([100, 101], n=3)
    assert [item["item_id"] for item in answer["items"]] == expected["item_id"].tolist()


def test_recommend_reports_the_parsed_conditions(run, csv):
    answer = json.loads(
        run(
            *("recommend", "--model", "most-popular", "--data", csv, "--newcomer", "--json", "--n", 25),
            *("--instruction", "popularity > 0.5"),
        )
    )
    assert answer["parsed"]["conditions"] == [{"field": "popularity", "op": ">", "value": 0.5}]
    assert 0 < len(answer["items"]) < 25


def test_requests_are_answered_in_order(run, saved, csv, tmp_path):
    lines = [
        {"user": 3, "n": None},
        {"history": [100], "n": 2},
        {"history": "101, 102", "candidates": ["103", 104]},
    ]
    file = tmp_path / "requests.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    words = ("recommend", "--model", saved, "--data", csv, "--requests", file)
    answers = json.loads(run(*words, "--json"))
    assert [len(answer["items"]) for answer in answers] == [10, 2, 2]
    assert {item["item_id"] for item in answers[2]["items"]} == {103, 104}
    seen = set(from_csv(csv).history(3))
    assert not seen & {item["item_id"] for item in answers[0]["items"]}
    assert len(run(*words).split("\n\n")) == 3


@pytest.mark.parametrize("task", TASKS)
def test_evaluate(run, saved, csv, task):
    words = ("evaluate", "--model", saved, "--data", csv, "--task", task, "--k", 5)
    document = json.loads(run(*words, "--json"))
    assert document["n_requests"] == 40
    for row in document["metrics"].values():
        assert 0 <= row["low"] <= row["mean"] <= row["high"] <= 1
    table = run(*words)
    assert all(name in table for name in document["metrics"])


def test_a_random_ranking_of_ten_candidates_is_not_always_a_hit(run, csv):
    document = json.loads(run("evaluate", "--model", "random", "--data", csv, "--task", "sampled", "--json"))
    assert 0.2 < document["metrics"]["HR@5"]["mean"] < 0.8


@pytest.mark.parametrize("name", ["random", "most-popular", "item-knn"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_model_given_by_name_is_fitted_first(run, csv, name, protocol):
    document = json.loads(run("evaluate", "--model", name, "--data", csv, "--protocol", protocol, "--json"))
    assert document["protocol"] == protocol
    assert document["n_requests"] > 0


def test_the_protocols_are_those_of_the_split():
    assert tuple(SPLITS) == PROTOCOLS


@pytest.mark.parametrize("command", ["train", "evaluate", "compare", "recommend"])
def test_help_lists_the_registries(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    text = " ".join(capsys.readouterr().out.replace("-\n", "-").split())
    assert all(f"{kind}: " in text for kind in ("models", "data sets"))
    assert set(models.NAMES) <= set(text.replace(",", "").split())


def test_train_notes_its_data_and_protocol(run, csv, tmp_path):
    words = ("train", "--model", "most-popular", "--data", csv, "--out", tmp_path / "model")
    document = json.loads(run(*words, "--json"))
    assert document["model"] == "most-popular"
    note = json.loads((tmp_path / "model" / "training.json").read_text())
    assert note["protocol"] == "leave-last-out"
    run(*words)  # a saved model may be replaced
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_written_tables_equal_those_read_back(run, csv, tmp_path):
    document = json.loads(run("data", csv, "--out", tmp_path, "--json"))
    assert document["figures"]["users"] == 40
    reread = from_csv(tmp_path / "interactions.csv", items=tmp_path / "items.csv")
    pd.testing.assert_frame_equal(reread.interactions, from_csv(csv).interactions)
    assert "interactions" in run("data", csv)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_generate(run, tmp_path, ending):
    file = tmp_path / f"instructions.{ending}"
    document = json.loads(run("generate", "--data", "shop", "--n", 40, "--out", file, "--seed", 1, "--json"))
    assert document["n"] == 40
    assert sum(row["count"] for row in document["statistics"]) == 40
    assert file.stat().st_size > 0


def records(file):
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_generate_from_several_data_sets_in_any_number_of_processes(run, tmp_path):
    words = ["generate", "--data", "shop", "movielens-100k", "--n", 2500, "--json"]
    single = json.loads(run(*words, "--out", tmp_path / "one.jsonl"))
    parallel = json.loads(run(*words, "--out", tmp_path / "two.jsonl", "--workers", 2))
    assert single["sha256"] == parallel["sha256"]
    assert {record["dataset"] for record in records(tmp_path / "one.jsonl")} == {"shop", "movielens-100k"}
    card = (tmp_path / "one.card.md").read_text("utf-8")
    assert "python -m instructrec generate --data shop movielens-100k --n 2500 --out one.jsonl" in card
    assert single["sha256"] in card
    assert str(tmp_path) not in card


def test_generate_respects_its_options(run, csv, tmp_path):
    file = tmp_path / "made.jsonl"
    words = ["generate", "--data", "shop", "--n", 60, "--out", file, "--languages", "zh"]
    run(*words, "--source", "history", "--tasks", "T2,T3", "--styles", "plain", "--wordings", "held-out")
    generated = records(file)
    assert {record["language"] for record in generated} == {"zh"}
    assert {record["task"] for record in generated} == {"T2", "T3"}
    assert {record["style"] for record in generated} == {"plain"}
    assert {record["held_out"] for record in generated} == {True}
    assert {record["intention_source"] for record in generated} == {"history", None}
    run(*words, "--form", "chat")
    for record in records(file):
        assert [turn["role"] for turn in record["messages"]] == ["user", "assistant"]
    run(*words, "--form", "prompt")
    assert all(set(record) == {"prompt", "response"} for record in records(file))
    own = tmp_path / "own.toml"
    own.write_text(
        "[[template]]\n"
        'id = "mine"\nkind = "preference"\ntask = "T2"\npreference = "P1"\nintention = "I0"\n'
        'variants = ["接着{{ history }}呢？"]\n',
        "utf-8",
    )
    run(*words, "--templates", f"zh={own}")
    assert {record["template"] for record in records(file)} == {"mine"}
    assert "--languages zh --templates zh=own.toml\n" in (tmp_path / "made.card.md").read_text("utf-8")


def test_the_command_on_a_card_is_a_valid_shell_command():
    teacher = [
        "--teacher",
        "http://name:secret@host/v1",
        "--teacher-model",
        "m",
        "--teacher-cache",
        "/d/t.sqlite",
    ]
    words = ["generate", "--data", "/a/my log.csv", "--n", "1", "--out", "/b/it's.jsonl"]
    words += ["--templates", "en=/c/a b.toml", *teacher]
    command = reproducing_command(cli.build_parser().parse_args(words))
    assert shlex.split(command) == [
        *[
            "python",
            "-m",
            "instructrec",
            "generate",
            "--data",
            "my log.csv",
            "--n",
            "1",
            "--out",
            "it's.jsonl",
        ],
        *["--seed", "0", "--templates", "en=a b.toml", "--teacher", "URL", "--teacher-model", "m"],
        *["--teacher-cache", "t.sqlite"],
    ]


def test_three_tower_shows_progress_on_stderr_only(csv, tmp_path, capsys):
    words = ["train", "--model", "three-tower", "--data", csv, "--out", str(tmp_path / "model"), "--json"]
    assert cli.main([*words, "--set", "epochs=1", "--set", "length=3", "--set", "n_negatives=2"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["settings"]["epochs"] == 1
    assert "loss" in err
    assert cli.main(["recommend", "--model", str(tmp_path / "model"), "--data", csv, "--newcomer"]) == 0


def shell(*words, **options):
    command = [sys.executable, "-m", "instructrec", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **options)


@pytest.mark.parametrize("name", ["most-popular", "item-knn"])
def test_a_light_model_imports_no_heavy_library(name, csv, saved, tmp_path):
    out = str(tmp_path / "model")
    assert cli.main(["train", "--model", name, "--data", csv, "--out", out]) == 0
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    process = shell("recommend", "--model", out, "--data", csv, "--history", "100", "--json", env=environment)
    assert process.returncode == 0
    assert json.loads(process.stdout)["items"]
    imported = {line.rsplit("|", 1)[-1].strip() for line in process.stderr.splitlines()}
    assert "pandas" in imported
    assert not {"tensorflow", "keras", "matplotlib", "sklearn"} & imported


def test_a_closed_pipe_is_quiet(saved, csv):
    command = f"{sys.executable} -m instructrec recommend --model {saved} --data {csv} --history 100 | true"
    process = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert process.stderr == ""


def test_interrupted_by_the_user(tmp_path, csv):
    out = tmp_path / "out" / "instructions.jsonl"
    words = ["generate", "--data", "shop", "--n", "1000000", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "instructrec", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell lets its background processes ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    end = time.monotonic() + 600
    while not (out.parent.is_dir() and any(out.parent.iterdir())) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("instructrec: interrupted")
    assert "Traceback" not in stderr
    assert list(out.parent.iterdir()) == []
