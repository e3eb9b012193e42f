"""The chapters' notebooks have the form that the book needs. Their outputs are compared by `make test` (nbval)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tools.build_book import ROOT, edited_notebooks, pages, source_of

NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
MOST_CODE_LINES = 120
MOST_BYTES = 2_000_000
MACHINE_PATH = re.compile(
    r"(?<![\w./~-])(?:/(?:home|root|Users|work|tmp|opt|usr|var|private|mnt|srv)/[\w.~-]+|[A-Z]:\\\\?Users)"
)
HIDDEN = {"remove-cell", "remove-input", "hide-input", "hide-cell"}
FRAME_OPENING = "What you will be able to do"
FRAME_HEADINGS = ("Exercises", "Check yourself", "Summary")
# Pages that are looked things up in, not worked through
WITHOUT_FRAME = {"faq", "glossary"}
EXPECTED_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def text_of(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf8"))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def markdown_of(notebook: dict[str, Any]) -> str:
    return "\n\n".join(
        text_of(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"
    )


def tags_of(cell: dict[str, Any]) -> set[str]:
    return set(cell["metadata"].get("tags", []))


def outputs_of(notebook: dict[str, Any]) -> list[tuple[int, dict[str, Any], dict[str, Any]]]:
    return [(n, cell, out) for n, cell in enumerate(code_cells(notebook), 1) for out in cell["outputs"]]


def not_executed_in_order(notebook: dict[str, Any]) -> list[str]:
    counts = [cell["execution_count"] for cell in code_cells(notebook) if text_of(cell["source"]).strip()]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"execution counts are {counts}"]


def unexpected_errors(notebook: dict[str, Any]) -> list[str]:
    return [
        f"code cell {n} fails without the tag raises-exception: {out['ename']}: {out['evalue']}"
        for n, cell, out in outputs_of(notebook)
        if out["output_type"] == "error" and "raises-exception" not in tags_of(cell)
    ]


def errors_that_do_not_happen(notebook: dict[str, Any]) -> list[str]:
    return [
        f"code cell {n} has the tag raises-exception and does not fail"
        for n, cell in enumerate(code_cells(notebook), 1)
        if "raises-exception" in tags_of(cell)
        and not any(o["output_type"] == "error" for o in cell["outputs"])
    ]


def images_without_alternative(notebook: dict[str, Any]) -> list[str]:
    return [
        f"code cell {n} shows an image and has no metadata mystnb.image.alt"
        for n, cell, out in outputs_of(notebook)
        if any(kind.startswith("image/") for kind in out.get("data", {}))
        and not cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "").strip()
    ]


def machine_paths(notebook: dict[str, Any]) -> list[str]:
    found = []
    for n, _, out in outputs_of(notebook):
        texts = [text_of(out.get("text", "")), *out.get("traceback", [])]
        texts += [text_of(v) for k, v in out.get("data", {}).items() if k.startswith("text/")]
        found += [f"code cell {n} shows the path {m.group()}" for m in map(MACHINE_PATH.search, texts) if m]
    return found


def too_much_code(notebook: dict[str, Any]) -> list[str]:
    lines = [
        line
        for cell in code_cells(notebook)
        if not tags_of(cell) & HIDDEN
        for line in text_of(cell["source"]).splitlines()
        if line.strip()
    ]
    return (
        [f"{len(lines)} visible lines of code; at most {MOST_CODE_LINES}"]
        if len(lines) > MOST_CODE_LINES
        else []
    )


def kept_standard_error(notebook: dict[str, Any]) -> list[str]:
    return [
        f"code cell {n} keeps standard error" for n, _, o in outputs_of(notebook) if o.get("name") == "stderr"
    ]


def missing_frame(notebook: dict[str, Any]) -> list[str]:
    text = markdown_of(notebook)
    opening = re.search(r"^:{3,}\{admonition\}\s+" + FRAME_OPENING + r"\s*$", text, re.MULTILINE)
    absent = [] if opening else [f"an admonition titled {FRAME_OPENING!r}"]
    absent += [
        f"the heading '## {h}'" for h in FRAME_HEADINGS if not re.search(rf"^## {h}\s*$", text, re.MULTILINE)
    ]
    return [f"has no {part}" for part in absent]


def other_metadata(notebook: dict[str, Any]) -> list[str]:
    problems = (
        [] if notebook["metadata"] == EXPECTED_METADATA else [f"notebook metadata is {notebook['metadata']}"]
    )
    extra = {key for cell in notebook["cells"] for key in cell["metadata"]} - {"tags", "mystnb"}
    return problems + ([f"cells carry the metadata {sorted(extra)}"] if extra else [])


CHECKS = (
    not_executed_in_order,
    unexpected_errors,
    errors_that_do_not_happen,
    images_without_alternative,
    machine_paths,
    too_much_code,
    kept_standard_error,
    other_metadata,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form(path: Path, check: Any) -> None:
    assert check(load(path)) == []


@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if p.stem not in WITHOUT_FRAME], ids=lambda path: path.stem
)
def test_frame(path: Path) -> None:
    assert missing_frame(load(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_size(path: Path) -> None:
    assert path.stat().st_size < MOST_BYTES


def test_every_page_has_a_source_and_every_source_a_page() -> None:
    named = pages()
    assert [page for page in named if source_of(page) is None] == []
    in_book = {f"book/{p.stem}" for pattern in ("*.ipynb", "*.md") for p in (ROOT / "book").glob(pattern)}
    assert in_book == set(named)


def test_stored_outputs_are_those_of_the_code() -> None:
    assert edited_notebooks() == [], "run make execute on these"


BROKEN = {
    not_executed_in_order: {"execution_count": 7},
    unexpected_errors: {"outputs": [{"output_type": "error", "ename": "E", "evalue": "v", "traceback": []}]},
    errors_that_do_not_happen: {"metadata": {"tags": ["raises-exception"]}},
    images_without_alternative: {"outputs": [{"output_type": "display_data", "data": {"image/png": ""}}]},
    machine_paths: {
        "outputs": [{"output_type": "stream", "name": "stdout", "text": "read /home/someone/file"}]
    },
    too_much_code: {"source": "x = 1\n" * (MOST_CODE_LINES + 1)},
    kept_standard_error: {"outputs": [{"output_type": "stream", "name": "stderr", "text": "x"}]},
    other_metadata: {"metadata": {"collapsed": True}},
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_each_check_can_fail(check: Any) -> None:
    sound = {"cell_type": "code", "source": "x = 1", "execution_count": 1, "metadata": {}, "outputs": []}
    assert check({"cells": [sound], "metadata": EXPECTED_METADATA}) == []
    assert check({"cells": [{**sound, **BROKEN[check]}], "metadata": EXPECTED_METADATA}) != []


def test_missing_frame_can_fail() -> None:
    assert len(missing_frame({"cells": [{"cell_type": "markdown", "source": "# Title"}]})) == 4
