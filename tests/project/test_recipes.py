"""The recipes of CONTRIBUTING.md, followed word by word in a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import draw_rooms
from tools.build_book import ROOT

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
MAX_LINES = 12


def recipe(title: str) -> str:
    """Return the text of one recipe."""
    return re.search(rf"^### {title}\n(.*?)(?=^##)", CONTRIBUTING, re.MULTILINE | re.DOTALL)[1]


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Return location and content of each code block; its first line names the location."""
    return re.findall(r"^```\w+\n# ([^\n]+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def follow(title: str, folder: Path) -> None:
    """Do in a folder what a recipe says."""
    blocks = code_blocks(recipe(title))
    assert blocks
    for location, content in blocks:
        if new_file := re.fullmatch(r"new file: (\S+)", location):
            assert not (folder / new_file[1]).exists()
            (folder / new_file[1]).write_text(content, "utf-8")
        elif end := re.fullmatch(r"at the end of (\S+)", location):
            path = folder / end[1]
            path.write_text(f"{path.read_text('utf-8')}\n\n{content}", "utf-8")
        else:
            after = re.fullmatch(r"after this line of (\S+): (.+)", location)
            path = folder / after[1]
            text = path.read_text("utf-8")
            assert text.count(f"{after[2]}\n") == 1
            path.write_text(text.replace(f"{after[2]}\n", f"{after[2]}\n{content}"), "utf-8")


class Copy:
    """A copy of the package in a folder, with its command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(
            ROOT / "instructrec", folder / "instructrec", ignore=shutil.ignore_patterns("__pycache__")
        )
        (folder / "data").symlink_to(ROOT / "data")

    def run(self, *words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        done = subprocess.run(
            [sys.executable, "-m", "instructrec", *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def compare_and_report(self, data: str, models: str) -> str:
        """Return all text of a report on some models."""
        self.run("compare", "--data", data, "--models", models, "--out", "results.json")
        self.run("report", "results.json", "--out", "report")
        return "".join(
            path.read_text("utf-8")
            for path in (self.folder / "report").rglob("*")
            if path.suffix in (".md", ".csv", ".html")
        )


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_model(copy: Copy, events_csv: Path) -> None:
    data = str(events_csv)
    follow("Add a model", copy.folder)
    for command in ("train", "evaluate", "compare", "recommend"):
        assert "newest" in copy.run(command, "--help"), command
    report = json.loads(copy.run("evaluate", "--model", "newest", "--data", data, "--json"))
    assert "newest" in json.dumps(report)
    assert "newest" in copy.compare_and_report(data, "newest,random")
    copy.run("train", "--model", "newest", "--data", data, "--out", "saved")
    answer = json.loads(copy.run("recommend", "--model", "saved", "--data", data, "--newcomer", "--json"))
    assert answer["items"][0]["item_id"] == 124  # the last of the catalogue


def test_a_metric(copy: Copy, events_csv: Path) -> None:
    data = str(events_csv)
    follow("Add a metric", copy.folder)
    assert "depth" in copy.run("evaluate", "--help")
    assert "depth" in copy.run("compare", "--help")
    assert "depth@10" in copy.run("evaluate", "--model", "random", "--data", data, "--json")
    assert "depth@10" in copy.compare_and_report(data, "most-popular,random")


def test_a_wording(copy: Copy) -> None:
    follow("Add a wording", copy.folder)
    copy.run("generate", "--data", "shop", "--n", "4000", "--out", "made.jsonl")
    made = [json.loads(line) for line in (copy.folder / "made.jsonl").read_text("utf-8").splitlines()]
    texts = [entry["text"] for entry in made if entry["template"] in ("en-example", "zh-example")]
    assert any("An example" in text for text in texts)
    assert any("举个例子" in text for text in texts)


def test_a_data_set(copy: Copy) -> None:
    follow("Add a data set", copy.folder)
    for command in ("data", "generate", "evaluate", "compare"):
        assert "garden" in copy.run(command, "--help"), command
    assert "12" in copy.run("data", "garden")
    assert "NDCG@10" in copy.run("evaluate", "--model", "most-popular", "--data", "garden", "--json")
    assert "garden" in copy.compare_and_report("garden", "most-popular,random")
    copy.run("generate", "--data", "garden", "--n", "50", "--out", "made.jsonl")
    assert len((copy.folder / "made.jsonl").read_text("utf-8").splitlines()) == 50


@pytest.mark.parametrize("title", re.findall(r"^### (Add .*)$", CONTRIBUTING, re.MULTILINE))
def test_a_recipe_is_short(title: str) -> None:
    blocks = [content for _, content in code_blocks(recipe(title))]
    lines = "".join(blocks or re.findall(r"^\d\. .*\n", recipe(title), re.MULTILINE)).splitlines()
    assert 0 < len([line for line in lines if line.strip()]) <= MAX_LINES


def test_the_map_is_that_of_the_contract() -> None:
    assert draw_rooms.START in CONTRIBUTING
    assert draw_rooms.with_map(CONTRIBUTING) == CONTRIBUTING
    rooms = [room for layer in draw_rooms.layers() for room in layer]
    assert {"cli", "models", "datasets", "errors"} <= set(rooms)
    assert all(f"<b>{room}</b>" in CONTRIBUTING for room in rooms)
