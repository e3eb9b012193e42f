"""Set-up, the Makefile and the README do what they say. Nothing here uses the network."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import build_book, fetch_assets
from tools.build_book import ROOT
from tools.execute_notebooks import normalise

README = (ROOT / "README.md").read_text(encoding="utf8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf8")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600)


# ---- the Makefile -------------------------------------------------------------------------------------------------


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE))


def test_help_lists_every_target_and_says_what_it_does() -> None:
    listed = dict(re.findall(r"^  make (\S+)\s+(\S.*)$", make("help").stdout, re.MULTILINE))
    assert set(listed) == targets()
    assert {"help", "book", "test", "lab", "clean", "execute", "lint", "types", "lock"} <= set(listed)


def test_a_file_named_like_a_target_does_not_stop_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for target in targets():
        (tmp_path / target).touch()
        planned = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True)
        assert planned.returncode == 0, planned.stderr
        assert "up to date" not in planned.stdout, target


def test_plain_make_says_what_there_is() -> None:
    assert re.search(r"^  make book +build the HTML book", make().stdout, re.MULTILINE)


def test_continuous_integration_calls_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()


def test_clean_keeps_the_environment() -> None:
    planned = make("--dry-run", "clean").stdout
    assert "_build" in planned
    assert not re.search(r"rm -rf[^\n]*\.venv", planned)


# ---- set-up -------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied_set_up(tmp_path: Path) -> Path:
    for name in ("tools/set_up.sh", "requirements.txt", "requirements-data.txt", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def set_up(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "tools/set_up.sh"], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


def test_no_fitting_python_is_one_clear_line(copied_set_up: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "cat", "dirname", "flock"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")  # a launcher whose Python is not there
    (tools / "python3").chmod(0o755)
    done = set_up(copied_set_up, PATH=str(tools))
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("[set-up] error: no Python 3.11, 3.12 or 3.13 found; install one, or name it:")
    assert not (copied_set_up / ".venv").exists()


def test_a_python_that_was_named_has_to_fit(copied_set_up: Path) -> None:
    done = set_up(copied_set_up, PATH=os.environ["PATH"], PYTHON="/bin/false")
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        == "[set-up] error: PYTHON=/bin/false is not a Python 3.11, 3.12 or 3.13 that runs"
    )


def test_a_set_up_that_is_complete_does_nothing() -> None:
    if not (ROOT / ".venv" / ".package-stamp").exists():
        pytest.skip("these tests do not run in the environment that set-up makes")
    done = set_up(ROOT, PATH=os.environ["PATH"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ---- the JavaScript packages --------------------------------------------------------------------------------------


def archive(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "package-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def pin_for(path: Path, *files: str) -> dict[str, Any]:
    return {
        "version": "1.0.0",
        "integrity": fetch_assets.integrity_of(path),
        "into": "vendor/package",
        "files": files,
    }


def test_an_archive_is_unpacked_whole(tmp_path: Path) -> None:
    path = archive(tmp_path, {"package/a.js": b"a", "package/fonts/b.woff": b"b", "package/not-wanted": b"c"})
    pin = pin_for(path, "a.js", "fonts/*")
    assert not fetch_assets.is_complete(pin, tmp_path)
    (tmp_path / "vendor" / ".unpacking-interrupted").mkdir(parents=True)
    fetch_assets.unpack(path, pin, tmp_path)
    assert fetch_assets.is_complete(pin, tmp_path)
    assert [p.name for p in (tmp_path / "vendor").iterdir()] == ["package"]
    placed = {p.relative_to(tmp_path).as_posix() for p in (tmp_path / "vendor").rglob("*") if p.is_file()}
    assert placed == {"vendor/package/a.js", "vendor/package/fonts/b.woff", "vendor/package/.integrity"}


def test_a_corrupted_archive_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = archive(tmp_path, {"package/a.js": b"a"})
    pin = pin_for(path, "a.js")
    path.write_bytes(path.read_bytes()[:-4] + b"evil")
    with pytest.raises(fetch_assets.AssetError, match="expected sha512-.*, found sha512-") as refusal:
        fetch_assets.unpack(path, pin, tmp_path)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "vendor").exists()


def test_an_archive_without_a_wanted_file_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = archive(tmp_path, {"package/a.js": b"a"})
    with pytest.raises(fetch_assets.AssetError, match="no file matches 'b.js'"):
        fetch_assets.unpack(path, pin_for(path, "a.js", "b.js"), tmp_path)
    assert list((tmp_path / "vendor").iterdir()) == []


def test_an_archive_cannot_write_outside(tmp_path: Path) -> None:
    path = archive(tmp_path, {"package/../../../evil.js": b"a"})
    with pytest.raises(fetch_assets.AssetError, match="lies outside the archive"):
        fetch_assets.unpack(path, pin_for(path, "*evil.js"), tmp_path)
    assert not list(tmp_path.rglob("evil.js"))


def test_another_checksum_makes_the_package_anew(tmp_path: Path) -> None:
    path = archive(tmp_path, {"package/a.js": b"a"})
    pin = pin_for(path, "a.js")
    fetch_assets.unpack(path, pin, tmp_path)
    assert not fetch_assets.is_complete({**pin, "integrity": "sha512-other"}, tmp_path)
    (tmp_path / "vendor/package/left-over.js").write_text("old")
    fetch_assets.unpack(path, pin, tmp_path)
    assert not (tmp_path / "vendor/package/left-over.js").exists()


def test_fetching_does_nothing_when_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("asked for npm although nothing is missing")

    monkeypatch.setattr(fetch_assets, "find_npm", refuse)
    monkeypatch.setattr(fetch_assets, "is_complete", lambda pin: True)
    assert fetch_assets.main() == 0


def test_a_failed_fetch_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch_assets, "is_complete", lambda pin: False)
    monkeypatch.setattr(fetch_assets, "find_npm", lambda: "false")
    assert fetch_assets.main() == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert errors == ["[assets] error: npm could not fetch mathjax@3.2.2: npm gave no reason"]


def test_every_asset_is_pinned_and_ignored_by_git() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for pin in json.loads((ROOT / "tools" / "assets.lock.json").read_text()).values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", pin["version"])
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", pin["integrity"])
        assert any(pin["into"].startswith(line) for line in ignored if line.endswith("vendor/"))


# ---- the build ----------------------------------------------------------------------------------------------------


def test_the_digest_sees_contents_and_names_and_skips_what_tools_leave(tmp_path: Path) -> None:
    (tmp_path / "book" / "__pycache__").mkdir(parents=True)
    (tmp_path / "book" / "a").write_text("1")
    first = build_book.digest_of(["book", "absent"], tmp_path)
    (tmp_path / "book" / "__pycache__" / "x.pyc").write_text("x")
    assert build_book.digest_of(["book", "absent"], tmp_path) == first
    (tmp_path / "book" / "a").write_text("2")
    second = build_book.digest_of(["book", "absent"], tmp_path)
    (tmp_path / "book" / "a").rename(tmp_path / "book" / "b")
    assert len({first, second, build_book.digest_of(["book", "absent"], tmp_path)}) == 3


def code_cell(source: str, tags: list[str] | None = None, outputs: list[str] | None = None) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "metadata": {"tags": tags or []}, "outputs": outputs or []}


def test_the_checksum_of_a_notebook_sees_code_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"

    def digest(*cells: dict[str, Any]) -> str:
        path.write_text(json.dumps({"cells": cells}))
        return build_book.code_digest(path)

    text = {"cell_type": "markdown", "source": "prose", "metadata": {}}
    same = {
        digest(code_cell("1")),
        digest(code_cell("1", ["hide-input"], ["2"])),
        digest(text, code_cell("1")),
    }
    assert len(same) == 1
    assert digest(code_cell("2")) not in same
    assert digest(code_cell("1", ["raises-exception"])) not in same
    assert digest(code_cell("1"), code_cell("")) not in same


def test_only_an_edited_notebook_is_executed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text(
        "root: book/a\nparts:\n- chapters:\n  - file: book/b\n  - file: book/c\n"
    )
    for name in "ab":
        (tmp_path / "book" / f"{name}.ipynb").write_text(json.dumps({"cells": [code_cell(name)]}))
    (tmp_path / "book" / "c.md").write_text("# No code")
    assert build_book.edited_notebooks(tmp_path) == ["book/a.ipynb", "book/b.ipynb"]
    build_book.note_executed({"book/a.ipynb": 1.26, "book/b.ipynb": 2.0}, tmp_path)
    assert build_book.edited_notebooks(tmp_path) == []
    (tmp_path / "book" / "b.ipynb").write_text(json.dumps({"cells": [code_cell("edited")]}))
    assert build_book.edited_notebooks(tmp_path) == ["book/b.ipynb"]
    build_book.note_executed({"book/b.ipynb": None}, tmp_path)
    entries = build_book.read_executed(tmp_path)
    assert {name: entry["seconds"] for name, entry in entries.items()} == {
        "book/a.ipynb": 1.3,
        "book/b.ipynb": 2.0,
    }


def test_stored_notebooks_keep_no_timings_and_no_standard_error() -> None:
    import nbformat

    notebook = nbformat.v4.new_notebook(metadata={"widgets": {}})
    cell = nbformat.v4.new_code_cell(
        "1", metadata={"execution": {"t": "1"}, "tags": ["x"], "collapsed": True}
    )
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="noise"),
        nbformat.v4.new_output("stream", name="stdout", text="kept"),
    ]
    notebook.cells = [cell]
    normalise(notebook)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert "widgets" not in notebook.metadata
    assert notebook.cells[0].metadata == {"tags": ["x"]}
    assert [output["text"] for output in notebook.cells[0].outputs] == ["kept"]


# ---- one setting for the repository's address -----------------------------------------------------------------------


def repository_options(address: str) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        from book_repository import theme_options
    finally:
        sys.path.pop(0)
    return theme_options(address, "main")


def test_without_an_address_nothing_is_shown() -> None:
    options = repository_options("")
    assert options["launch_buttons"] == {}
    assert not any(options[f"use_{kind}_button"] for kind in ("repository", "edit_page", "issues"))


def test_with_an_address_everything_is_shown() -> None:
    options = repository_options("https://github.com/someone/book/")
    assert options["repository_url"] == "https://github.com/someone/book"
    assert set(options["launch_buttons"]) == {"binderhub_url", "colab_url", "notebook_interface"}
    assert all(options[f"use_{kind}_button"] for kind in ("repository", "edit_page", "issues"))


def test_colab_only_where_it_can_open_the_repository() -> None:
    assert "colab_url" not in repository_options("https://gitlab.com/someone/book")["launch_buttons"]


def test_the_address_is_set_in_one_place() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))
    assert config["repository"] == {"url": ""}
    assert config["launch_buttons"] == {}
    assert isinstance(config["sphinx"]["config"]["book_repository"], str)


@pytest.mark.slow
@pytest.mark.parametrize("address", ["", "https://github.com/someone/book"])
def test_buttons_in_built_pages(tmp_path: Path, address: str) -> None:
    book = tmp_path / "book"
    book.mkdir()
    for name in ("_ext", "_static"):
        shutil.copytree(
            ROOT / "book" / name, book / name, ignore=shutil.ignore_patterns("vendor", "__pycache__")
        )
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))
    config["sphinx"]["config"]["book_repository"] = address
    (book / "references.bib").touch()
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    notebook = {
        "cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# A page"}],
        "metadata": {},
    }
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (book / "index.ipynb").write_text(
        json.dumps({**notebook, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})
    )
    jupyter_book = Path(sys.executable).parent / "jupyter-book"
    subprocess.run(
        [str(jupyter_book), "build", "."], cwd=tmp_path, check=True, capture_output=True, timeout=600
    )
    page = (tmp_path / "_build" / "html" / "book" / "index.html").read_text("utf8")
    for link in (
        "mybinder.org/v2/gh/someone/book",
        "colab.research.google.com",
        "/issues/new",
        "/edit/main/book/index",
    ):
        assert (link in page) is bool(address), link


# ---- the README -----------------------------------------------------------------------------------------------------


def test_the_first_snippet_runs() -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"item_id +title +score +rank", done.stdout)
    assert len(done.stdout.strip().splitlines()) == 6


def test_the_commands_of_the_readme_run() -> None:
    commands = re.findall(r"^    \.venv/bin/python (-m instructrec recommend .*)$", README, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run(
            [sys.executable, *shlex.split(command)], cwd=ROOT, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr


def test_the_readme_names_what_is_there() -> None:
    for name in re.findall(r"^\| `([a-z]+)/` \|", README, re.MULTILINE):
        assert (ROOT / name).is_dir(), name
    for target in re.findall(r"`make ([a-z0-9-]+)`|^    make ([a-z0-9-]+)", README, re.MULTILINE):
        assert "".join(target) in targets()
    for link in re.findall(r"\]\(([A-Za-z.-]+)\)", README):
        assert (ROOT / link).is_file(), link
