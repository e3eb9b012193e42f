"""Build the HTML book with warnings as errors, from clean pages, and only when something has changed.

    python -m tools.build_book            build, or say that the book is up to date
    python -m tools.build_book --force    build the pages again (outputs of unchanged notebooks come from the cache)

Three things that Jupyter Book does not do by itself:

- An incremental build does not warn again about pages that it does not read again, so pages are built from nothing.
- The cache of executed notebooks looks at the code cells alone. It is emptied here when what they import has changed:
  the package, the data, the locked versions. A notebook whose cells' metadata has changed leaves the cache too.
- A build can end well and have made nothing, so each page of the table of contents has to be there afterwards.
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

import yaml

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
HTML = BUILD / "html"
CACHE = BUILD / ".jupyter_cache"
STAMP = BUILD / ".book-stamp"
CACHE_KEY = BUILD / ".jupyter_cache_key"
CELL_KEYS = BUILD / ".cell_metadata_keys.json"

EXECUTION_INPUTS = ("instructrec", "data", "requirements.txt", "requirements-data.txt")
BOOK_INPUTS = (
    "book",
    "_config.yml",
    "_toc.yml",
    "tools/build_book.py",
    "tools/assets.lock.json",
    *EXECUTION_INPUTS,
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


def cell_metadata_key(notebook: Path) -> str:
    """A checksum over the code cells and their metadata, outputs left out."""
    cells = json.loads(notebook.read_text(encoding="utf8"))["cells"]
    seen = [[cell["source"], cell["metadata"]] for cell in cells if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def prepare_cache() -> None:
    """Leave in the execution cache only what the present package, data and cell metadata would give again."""
    key = digest_of(EXECUTION_INPUTS)
    if CACHE.exists() and (not CACHE_KEY.exists() or CACHE_KEY.read_text() != key):
        say(
            "the package, the data or the locked versions have changed: every notebook will be executed again"
        )
        shutil.rmtree(CACHE)
        CELL_KEYS.unlink(missing_ok=True)
    BUILD.mkdir(exist_ok=True)
    CACHE_KEY.write_text(key)

    notebooks = {
        page: source for page in pages() if (source := source_of(page)) and source.suffix == ".ipynb"
    }
    now = {page: cell_metadata_key(source) for page, source in notebooks.items()}
    before = json.loads(CELL_KEYS.read_text()) if CELL_KEYS.exists() else {}
    changed = [page for page in now if now[page] != before.get(page)]
    if CACHE.exists() and changed:
        from jupyter_cache import get_cache

        cache = get_cache(CACHE)
        for page in changed:
            try:
                record = cache.match_cache_file(str(notebooks[page]))
            except KeyError:
                continue
            cache.remove_cache(record.pk)
    CELL_KEYS.write_text(json.dumps(now, indent=1))


def remember_outputs(seconds: dict[str, float]) -> None:
    """Put notebooks whose stored outputs have just been reproduced (by nbval) into the execution cache.

    Args:
        seconds: how long each notebook took, by its path from the root; only these are put in.
    """
    from jupyter_cache import get_cache

    prepare_cache()
    cache = get_cache(CACHE)
    for name, duration in seconds.items():
        path = ROOT / name
        cache.cache_notebook_file(str(path), data={"execution_seconds": duration}, overwrite=True)


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
    if up_to_date and "--force" not in arguments:
        say(f"up to date: open {HTML.relative_to(ROOT)}/index.html")
        return 0
    started = time.monotonic()
    STAMP.unlink(missing_ok=True)
    for leftover in (HTML, BUILD / ".doctrees", BUILD / "jupyter_execute"):
        shutil.rmtree(leftover, ignore_errors=True)
    prepare_cache()
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
