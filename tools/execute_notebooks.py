"""Execute notebooks from top to bottom, in place, and leave them in the form in which the book keeps them.

    python -m tools.execute_notebooks                      every chapter
    python -m tools.execute_notebooks book/faq.ipynb …     these
    python -m tools.execute_notebooks --normalise […]      do not execute, only bring into the book's form
    python -m tools.execute_notebooks --stamp […]          do not execute; note that the stored outputs are valid

The form: kernel `python3` and no other notebook metadata, no timings, nothing of standard error, cell ids kept. A cell
that is meant to fail carries the tag `raises-exception`. Each line says how long a notebook took and its peak memory.
The checksum of the executed code cells goes to book/executed.json (see tools/build_book.py).
"""

from __future__ import annotations

import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tools.build_book import note_executed

ROOT = Path(__file__).resolve().parent.parent
CELL_TIMEOUT = 1800
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT_CELL_METADATA = {"tags", "mystnb"}


def is_kept(output: dict[str, Any]) -> bool:
    return not (output["output_type"] == "stream" and output["name"] == "stderr")


def normalise(notebook: Any) -> None:
    """Bring a notebook into the book's form, in place."""
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in KEPT_CELL_METADATA}
        if cell.cell_type != "code":
            cell.pop("attachments", None)
            continue
        cell.outputs = [output for output in cell.outputs if is_kept(output)]
        for output in cell.outputs:
            if output["output_type"] == "error":
                output["traceback"] = [line.replace(str(ROOT), ".") for line in output["traceback"]]
            output.get("metadata", {}).pop("execution", None)


def write(notebook: Any, path: Path) -> None:
    import nbformat

    nbformat.validate(notebook)
    text = nbformat.writes(notebook)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text if text.endswith("\n") else text + "\n", encoding="utf8")
    unfinished.replace(path)


def execute(path: Path) -> tuple[float, float]:
    """Execute one notebook in its own folder; seconds taken and the kernel's peak memory in GB."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    started = time.monotonic()
    NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": path.parent}},
    ).execute()
    seconds = time.monotonic() - started
    normalise(notebook)
    write(notebook, path)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return seconds, peak / (1e9 if sys.platform == "darwin" else 1e6)


def normalise_file(path: Path) -> None:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    before = nbformat.writes(notebook)
    normalise(notebook)
    if nbformat.writes(notebook) != before:
        write(notebook, path)
        print(f"{path}: normalised")


def main(arguments: list[str]) -> int:
    only_normalise = "--normalise" in arguments
    names = [argument for argument in arguments if not argument.startswith("-")]
    paths = [Path(name).resolve() for name in names] or sorted((ROOT / "book").glob("*.ipynb"))
    missing = [name for name in names if not Path(name).is_file()]
    if missing:
        print(f"error: no such notebook: {', '.join(missing)}", file=sys.stderr)
        return 2
    if "--stamp" in arguments:
        note_executed({os.path.relpath(path, ROOT): None for path in paths})
        return 0
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    failed = []
    for path in paths:
        shown = os.path.relpath(path, ROOT)
        if only_normalise:
            normalise_file(path)
            continue
        print(f"{shown}: executing …", flush=True)
        with ProcessPoolExecutor(
            max_workers=1
        ) as pool:  # a process each, so that the peak memory is the notebook's own
            try:
                seconds, gigabytes = pool.submit(execute, path).result()
                print(f"{shown}: {seconds:.1f} s, peak memory {gigabytes:.2f} GB", flush=True)
                if path.is_relative_to(ROOT / "book"):
                    note_executed({shown: seconds})
            except Exception as error:  # whatever a cell raised: say so, leave the file as it was, go on
                failed.append(shown)
                print(f"{shown}: FAILED, file left as it was\n{error}", file=sys.stderr, flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
