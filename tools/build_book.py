"""Build the HTML book with warnings as errors, from clean pages, and only when something has changed.

    python -m tools.build_book             build, or say that the book is up to date
    python -m tools.build_book --force     build the pages again
    python -m tools.build_book --execute   build the pages again and execute every notebook

A page shows the stored outputs of its notebook if the notebook's code cells are those that were executed: their
checksum is in book/executed.json, which `make execute` writes. A notebook whose code was edited since is executed for
the page. Three things that Jupyter Book does not do by itself:

- It executes every notebook that its cache does not hold. Notebooks with valid outputs are put into the cache first.
- An incremental build does not repeat the warnings of pages that it skips, so pages are built from nothing.
- A build can succeed without output, so each page of the table of contents has to exist afterwards.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
HTML = BUILD / "html"
CACHE = BUILD / ".jupyter_cache"
STAMP = BUILD / ".book-stamp"
EXECUTED = "book/executed.json"

BOOK_INPUTS = (
    "book",
    "_config.yml",
    "_toc.yml",
    "tools/build_book.py",
    "tools/assets.lock.json",
    "requirements.txt",
)
IGNORED = {"__pycache__", ".ipynb_checkpoints", "cache", ".DS_Store"}


def say(message: str) -> None:
    print(f"[book] {message}", file=sys.stderr, flush=True)


def files_under(names: Iterable[str], root: Path = ROOT) -> Iterator[Path]:
    """Every file in these files and folders, in a fixed order, without what tools leave behind."""
    for name in names:
        start = root / name
        if start.is_file():
            yield start
        for path in sorted(start.rglob("*")) if start.is_dir() else ():
            if path.is_file() and not IGNORED.intersection(path.relative_to(root).parts):
                yield path


def digest_of(names: Iterable[str], root: Path = ROOT) -> str:
    """One checksum over the names and the contents of these files and folders."""
    digest = hashlib.sha256()
    for path in files_under(names, root):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def pages(root: Path = ROOT) -> list[str]:
    """The pages that the table of contents names, without suffix, in reading order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf8"))
    chapters = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *chapters]


def source_of(page: str, root: Path = ROOT) -> Path | None:
    candidates = (root / f"{page}{suffix}" for suffix in (".ipynb", ".md"))
    return next((path for path in candidates if path.is_file()), None)


def code_digest(notebook: Path) -> str:
    """Return a checksum over the sources of a notebook's code cells and the tags that change their execution."""
    cells = json.loads(notebook.read_text(encoding="utf8"))["cells"]
    executed = [
        ["".join(cell["source"]), "raises-exception" in cell["metadata"].get("tags", [])]
        for cell in cells
        if cell["cell_type"] == "code"
    ]
    return hashlib.sha256(json.dumps(executed).encode()).hexdigest()


def read_executed(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Return the checksum and the seconds of each executed notebook, by its path from the root."""
    path = root / EXECUTED
    return json.loads(path.read_text(encoding="utf8")) if path.exists() else {}


def note_executed(seconds: dict[str, float | None], root: Path = ROOT) -> None:
    """Note that the stored outputs of these notebooks are those of their present code cells.

    Args:
        seconds: How long each notebook took, by its path from the root; None keeps the figure of its last execution.
        root: The project's folder.
    """
    entries = read_executed(root)
    for name, duration in seconds.items():
        kept_seconds = entries.get(name, {}).get("seconds", 0.0)
        entries[name] = {
            "sha256": code_digest(root / name),
            "seconds": kept_seconds if duration is None else round(duration, 1),
        }
    entries = {name: entries[name] for name in sorted(entries) if (root / name).is_file()}
    unfinished = root / f"{EXECUTED}.unfinished"
    unfinished.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf8")
    unfinished.replace(root / EXECUTED)


def edited_notebooks(root: Path = ROOT) -> list[str]:
    """Return the notebooks of the book whose code cells are not those that gave the stored outputs."""
    entries = read_executed(root)
    names = [f"{page}.ipynb" for page in pages(root) if (root / f"{page}.ipynb").is_file()]
    return [name for name in names if entries.get(name, {}).get("sha256") != code_digest(root / name)]


def fill_cache(execute: bool) -> list[str]:
    """Leave in the execution cache the notebooks whose stored outputs are valid; return those to be executed.

    Args:
        execute: Leave nothing in the cache, so that all notebooks are executed.
    """
    from jupyter_cache import get_cache

    names = [f"{page}.ipynb" for page in pages() if (ROOT / f"{page}.ipynb").is_file()]
    to_execute = names if execute else edited_notebooks()
    shutil.rmtree(CACHE, ignore_errors=True)
    cache = get_cache(CACHE)
    for name in names:
        if name not in to_execute:
            seconds = read_executed()[name]["seconds"]
            cache.cache_notebook_file(str(ROOT / name), data={"execution_seconds": seconds}, overwrite=True)
    return to_execute


def missing_pages() -> list[str]:
    return [page for page in pages() if not (HTML / f"{page}.html").is_file()]


def run_jupyter_book() -> int:
    jupyter_book = Path(sys.executable).parent / "jupyter-book"
    command = [str(jupyter_book), "build", ".", "--path-output", ".", "--warningiserror", "--keep-going"]
    return subprocess.run(command, cwd=ROOT).returncode


def main(arguments: list[str]) -> int:
    absent = [page for page in pages() if source_of(page) is None]
    if absent:
        print(f"[book] error: _toc.yml names pages that do not exist: {', '.join(absent)}", file=sys.stderr)
        return 1
    stamp = digest_of(BOOK_INPUTS)
    up_to_date = STAMP.exists() and STAMP.read_text() == stamp and not missing_pages()
    if up_to_date and not {"--force", "--execute"} & set(arguments):
        say(f"up to date: open {HTML.relative_to(ROOT)}/index.html")
        return 0
    started = time.monotonic()
    STAMP.unlink(missing_ok=True)
    for leftover in (HTML, BUILD / ".doctrees", BUILD / "jupyter_execute"):
        shutil.rmtree(leftover, ignore_errors=True)
    if to_execute := fill_cache("--execute" in arguments):
        say(f"executing {len(to_execute)} notebooks that were edited: {', '.join(to_execute)}")
    if run_jupyter_book():
        print(
            "[book] error: the build failed or warned; see above, and _build/html/reports for tracebacks",
            file=sys.stderr,
        )
        return 1
    if missing := missing_pages():
        print(f"[book] error: the build made no page for {', '.join(missing)}", file=sys.stderr)
        return 1
    STAMP.write_text(stamp)
    say(f"built in {time.monotonic() - started:.0f} s: open {HTML.relative_to(ROOT)}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
