"""Bad input, from files and the command line: one line on standard error, status 2, no partial file."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instructrec import cli, files
from instructrec.datasets import movielens
from instructrec.errors import InputError

EVENTS = "user_id,item_id,rating,timestamp\n" + "".join(
    f"{user},{10 * (1 + (user + step) % 6)},4,{step}\n" for user in range(1, 9) for step in range(4)
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in a new folder with a valid CSV file, a model trained on it, and invalid files."""
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text(EVENTS)
    Path("empty.csv").write_text("")
    Path("header.csv").write_text(EVENTS.split("\n")[0] + "\n")
    Path("columns.csv").write_text(EVENTS.replace("item_id", "thing"))
    Path("types.csv").write_text(EVENTS.replace(",4,", ",much,", 1))
    Path("times.csv").write_text(EVENTS + "9,10,4,someday\n")
    Path("ragged.csv").write_text(EVENTS + "9,10,4,5,6,7\n")
    Path("binary.csv").write_bytes(bytes(range(256)) * 8)
    Path("empty.jsonl").write_text("")
    Path("broken.jsonl").write_text('{"user": 1}\n{"user": \n')
    Path("list.jsonl").write_text('{"user": 1}\n[1, 2]\n')
    Path("key.jsonl").write_text('{"usr": 1}\n')
    Path("both.jsonl").write_text('{"user": 1, "history": [10]}\n')
    Path("unknown.jsonl").write_text('{"user": 1}\n{"user": 99}\n')
    Path("newcomer.jsonl").write_text('{"history": []}\n')
    Path("n.jsonl").write_text('{"user": 1, "n": "many"}\n')
    Path("history.jsonl").write_text('{"history": {"a": 1}}\n')
    Path("null.jsonl").write_text('{"user": null}\n')
    Path("latin.jsonl").write_bytes('{"user": 1, "instruction": "café"}\n'.encode("latin-1"))
    Path("folder").mkdir()
    Path("folder", "precious.txt").write_text("mine")
    assert cli.main(["train", "--model", "item-knn", "--data", "good.csv", "--out", "saved"]) == 0
    for name in ("header", "json", "arrays", "missing", "kind", "format", "settings"):
        shutil.copytree("saved", f"bad-{name}")
    Path("bad-header", "model.json").write_text("{")
    Path("bad-json", "model.json").write_text("[]")
    Path("bad-arrays", "arrays.npz").write_bytes(Path("saved", "arrays.npz").read_bytes()[:-50])
    Path("bad-missing", "items.json").unlink()
    header = json.loads(Path("saved", "model.json").read_text())
    for name, change in (
        ("kind", {"model": "oracle"}),
        ("format", {"format": 9}),
        ("settings", {"settings": {"q": 1}}),
    ):
        Path(f"bad-{name}", "model.json").write_text(json.dumps(header | change))
    return tmp_path


RECOMMEND = "recommend --data good.csv"
ASK = f"{RECOMMEND} --model saved"
CASES: dict[str, tuple[Any, str]] = {
    # data sets
    "missing file": ("data nowhere.csv", "nowhere.csv"),
    "empty file": ("data empty.csv", "empty.csv"),
    "header only": ("evaluate --model random --data header.csv", "header"),
    "wrong columns": ("data columns.csv", "item_id"),
    "wrong type of rating": ("data types.csv", "much"),
    "wrong type of time": ("data times.csv", "someday"),
    "too many cells": ("data ragged.csv", "ragged.csv"),
    "binary file": ("data binary.csv", "binary.csv"),
    "a folder for a file": ("data folder.csv/", "folder.csv"),
    "unknown data": ("data movielens-1m", "did you mean movielens-100k"),
    "unknown data, saved model": ("recommend --model saved --data nope --history 10", "nope"),
    # the words
    "no command": ("", "COMMAND"),
    "unknown command": ("recomend", "recomend"),
    "unknown option": (f"{ASK} --history 10 --top 3", "--top"),
    "abbreviated option": (f"{ASK} --hist 10", "--history"),
    "option without a value": (f"{ASK} --history", "--history"),
    "no model": (f"{RECOMMEND} --history 10", "--model"),
    "unknown task": ("evaluate --model random --data good.csv --task magic", "ranking"),
    "as many hits as candidates": (
        "evaluate --model random --data good.csv --task sampled --k 10",
        "from 1 to 9",
    ),
    "unknown protocol": ("evaluate --model random --data good.csv --protocol magic", "global-time"),
    # requests
    "unknown user": (f"{ASK} --user 99", "99"),
    "unknown item": (f"{ASK} --history 10,77", "77"),
    "unknown candidate": (f"{ASK} --history 10 --candidates 20,78", "78"),
    "no candidate": (f"{ASK} --history 10 --candidates ,", "candidates is empty"),
    "empty history": ([*ASK.split(), "--history", ""], "--newcomer"),
    "user and history": (f"{ASK} --history 10 --user 1", "--user"),
    "neither user nor history": (ASK, "--history"),
    "n zero": (f"{ASK} --history 10 --n 0", "at least 1"),
    "n negative": (f"{ASK} --history 10 --n=-3", "-3"),
    "n no whole number": (f"{ASK} --history 10 --n 2.5", "2.5"),
    "n of two signs": ([*ASK.split(), "--history", "10", "--n=+-3"], "at least 1"),
    "n above the catalogue": (f"{ASK} --history 10 --n 1000", "from 1 to 6"),
    "empty instruction": ([*ASK.split(), "--history", "10", "--instruction", " "], "instruction is empty"),
    "impossible instruction": (
        [*ASK.split(), "--history", "10", "--instruction", "popularity > 0.5 and popularity < 0.4"],
        "no item",
    ),
    "malformed grammar": (
        [*ASK.split(), "--history", "10", "--instruction", "popularity > and ("],
        "popularity >",
    ),
    "unknown field": (
        [*ASK.split(), "--history", "10", "--instruction", "colour = 3 and popularity > 0"],
        "colour",
    ),
    "instruction not UTF-8": ([*ASK.split(), "--history", "10", "--instruction", "caf\udce9"], "UTF-8"),
    "no requests file": (f"{ASK} --requests nowhere.jsonl", "nowhere.jsonl"),
    "empty requests file": (f"{ASK} --requests empty.jsonl", "empty.jsonl"),
    "requests: broken line": (f"{ASK} --requests broken.jsonl", "line 2"),
    "requests: no object": (f"{ASK} --requests list.jsonl", "line 2"),
    "requests: unknown key": (f"{ASK} --requests key.jsonl", "did you mean user"),
    "requests: no user": (f"{ASK} --requests null.jsonl", "exactly one"),
    "requests: user and history": (f"{ASK} --requests both.jsonl", "exactly one"),
    "requests: unknown user": (f"{ASK} --requests unknown.jsonl", "line 2"),
    "requests: empty history": (f"{ASK} --requests newcomer.jsonl", "history is empty"),
    "requests: n in words": (f"{ASK} --requests n.jsonl", "many"),
    "requests: odd history": (f"{ASK} --requests history.jsonl", "history is"),
    "requests: Latin-1": (f"{ASK} --requests latin.jsonl", "UTF-8"),
    "requests and instruction": (f"{ASK} --requests n.jsonl --instruction x", "--instruction"),
    # models
    "unknown model": (f"{RECOMMEND} --model most-populer --history 10", "did you mean most-popular"),
    "setting of a language model": (
        "train --model smollm2 --data good.csv --out new --set rank=0",
        "rank is 0",
    ),
    "file of a language model": (
        "train --model smollm2 --data good.csv --out new --set path=no.gguf",
        "no.gguf",
    ),
    "a folder that is no model": (f"{RECOMMEND} --model folder --history 10", "folder"),
    "a name too long for a model": (f"{RECOMMEND} --model {'a' * 300} --history 10", "File name too long"),
    "a file that is no model": (f"{RECOMMEND} --model good.csv --history 10", "good.csv"),
    "damaged header": (f"{RECOMMEND} --model bad-header --history 10", "model.json"),
    "header of another shape": (f"{RECOMMEND} --model bad-json --history 10", "model.json"),
    "truncated arrays": (f"{RECOMMEND} --model bad-arrays --history 10", "arrays.npz"),
    "catalogue missing": (f"{RECOMMEND} --model bad-missing --history 10", "items.json"),
    "model of unknown kind": (f"{RECOMMEND} --model bad-kind --history 10", "oracle"),
    "format of another version": (f"{RECOMMEND} --model bad-format --history 10", "format"),
    "settings of another version": (f"{RECOMMEND} --model bad-settings --history 10", "bad-settings"),
    "model of other data": ("recommend --model saved --data shop --user 1", "catalogue"),
    "unknown setting": ("train --model item-knn --data good.csv --out new --set kk=3", "did you mean k"),
    "setting without a value": ("train --model item-knn --data good.csv --out new --set k", "NAME=VALUE"),
    "setting out of range": ("train --model item-knn --data good.csv --out new --set k=0", "k is 0"),
    "other training than evaluation": (
        "evaluate --model saved --data good.csv --protocol global-time",
        "leave-last-out",
    ),
    # outputs
    "n negative to generate": ("generate --data shop --n=-1 --out new.jsonl", "at least 0"),
    "unknown language": ("generate --data shop --n 3 --languages fr --out new.jsonl", "fr"),
    "unknown format": ("generate --data shop --n 3 --out new.xlsx", ".parquet"),
    "unknown form of task": ("generate --data shop --n 3 --tasks T9 --out new.jsonl", "T0, T1, T2, T3"),
    "unknown style": ("generate --data shop --n 3 --styles rhyme --out new.jsonl", "turned_round"),
    "unknown source": ("generate --data shop --n 3 --source guess --out new.jsonl", "oracle"),
    "unknown form": ("generate --data shop --n 3 --form csv --out new.jsonl", "prompt"),
    "no worker": ("generate --data shop --n 3 --workers 0 --out new.jsonl", "at least 1"),
    "templates without a language": (
        "generate --data shop --n 3 --templates own.toml --out new.jsonl",
        "LANGUAGE=FILE",
    ),
    "templates of an unknown language": (
        "generate --data shop --n 3 --templates fr=own.toml --out new.jsonl",
        "language of templates 'fr'",
    ),
    "no templates file": (
        "generate --data shop --n 3 --templates en=nowhere.toml --out new.jsonl",
        "nowhere",
    ),
    "one data set of two unknown": ("generate --data shop shoop --n 3 --out new.jsonl", "did you mean shop"),
    "a teacher without a model": (
        "generate --data shop --n 3 --teacher http://x --out new.jsonl",
        "--teacher-model",
    ),
    "a teacher's model alone": ("generate --data shop --n 3 --teacher-model m --out new.jsonl", "--teacher"),
    "a teacher without an address": (
        "generate --data shop --n 3 --teacher nonsense --teacher-model m --out new.jsonl",
        "nonsense",
    ),
    "output onto a folder": ("generate --data shop --n 3 --out folder.jsonl", "folder.jsonl"),
    "output below a file": ("generate --data shop --n 3 --out good.csv/new.jsonl", "good.csv"),
    "a name too long for tables": (f"data good.csv --out {'a' * 300}", "File name too long"),
    "a name too long for a new model": (
        f"train --model random --data good.csv --out {'a' * 300}",
        "File name too long",
    ),
    "setting of another type": (
        "train --model three-tower --data good.csv --out new --set learning_rate=fast",
        "learning_rate is 'fast'",
    ),
    "tables onto a file": ("data good.csv --out good.csv", "good.csv"),
    "model onto a file": ("train --model random --data good.csv --out good.csv", "good.csv"),
    "model onto other files": ("train --model random --data good.csv --out folder", "other files"),
}


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("case", CASES)
def test_command_line(here, case, capsys):
    words, excerpt = CASES[case]
    if "folder.jsonl" in excerpt:
        Path("folder.jsonl").mkdir()
    before = tree(here)
    capsys.readouterr()
    status = cli.main(words.split() if isinstance(words, str) else words)
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.endswith("…")]  # progress comes first
    assert status == 2, err
    assert out == ""
    assert len(lines) == 1, err
    assert lines[0].startswith("instructrec: error: ")
    assert excerpt in lines[0]
    assert tree(here) == before


def test_corrupted_download(tmp_path):
    archive = tmp_path / "ml-100k.zip"
    archive.write_bytes(b"PK" + bytes(1000))
    with pytest.raises(InputError) as caught:
        movielens.movielens_100k("zip", cache=tmp_path / "cache", zip_path=archive)
    assert len(str(caught.value).splitlines()) == 1
    assert "ml-100k.zip" in str(caught.value)
    assert not list(tmp_path.glob("cache/*"))


def test_disk_full_while_saving(here, monkeypatch, capsys):
    def raise_disk_full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = tree(here)
    capsys.readouterr()
    monkeypatch.setattr(files.os, "fsync", raise_disk_full)
    for words in (
        "train --model random --data good.csv --out saved",
        "generate --data shop --n 2 --out new.jsonl",
        "data good.csv --out tables/",
    ):
        assert cli.main(words.split()) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "No space left" in err.splitlines()[-1]
    shutil.rmtree(here / "tables")
    assert tree(here) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_standard_output_full(here):
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "instructrec", *f"{ASK} --history 10 --json".split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
        )
    assert process.returncode == 2
    assert len(process.stderr.splitlines()) == 1
    assert "standard output" in process.stderr


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(here, capsys):
    Path("locked").mkdir(mode=0o500)
    capsys.readouterr()
    assert cli.main(["train", "--model", "random", "--data", "good.csv", "--out", "locked/model"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_process_prints_one_line(here):
    process = subprocess.run(
        [sys.executable, "-m", "instructrec", *f"{ASK} --user 99".split()],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
    )
    assert (process.returncode, process.stdout, len(process.stderr.splitlines())) == (2, "", 1)


def accept_interrupts():
    """Accept SIGINT, which a shell lets its background processes ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_killed_in_the_middle_of_a_write(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    code = (
        "import sys, time; from instructrec.files import atomic_write\n"
        f"with atomic_write({str(target)!r}) as handle:\n"
        "    handle.write('half'); handle.flush(); print('writing', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    for stop in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            preexec_fn=accept_interrupts,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(stop)
        process.communicate(timeout=600)
        assert target.read_text() == "old"
        if stop is signal.SIGINT:
            assert list(tmp_path.iterdir()) == [target]


def test_interrupted_training_leaves_the_old_model(here, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    before = tree(here)
    capsys.readouterr()
    monkeypatch.setattr(np, "savez_compressed", interrupted)
    assert cli.main(["train", "--model", "random", "--data", "good.csv", "--out", "saved"]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert tree(here) == before
