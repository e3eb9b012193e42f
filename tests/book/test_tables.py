"""No table in the outputs of the book's notebooks shows a difference without its interval."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd

from tests.differences import bare_differences
from tools.build_book import ROOT

BOOK = ROOT / "book"


class Tables(HTMLParser):
    """The tables of a cell's output as pandas writes them, spans of rows and columns filled in."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.frames: list[pd.DataFrame] = []
        self.rows: list[tuple[bool, list[list]]] = []
        self.head, self.cell = False, None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        span = dict(attrs)
        if tag == "table":
            self.rows = []
        elif tag in ("thead", "tbody"):
            self.head = tag == "thead"
        elif tag == "tr":
            self.rows.append((self.head, []))
        elif tag in ("th", "td") and self.rows:
            self.cell = [tag, "", int(span.get("colspan") or 1), int(span.get("rowspan") or 1)]
            self.rows[-1][1].append(self.cell)

    def handle_data(self, data):
        if self.cell is not None:
            self.cell[1] += data.strip()

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self.cell = None
        elif tag == "table":
            self.frames.append(self._frame())

    def _frame(self) -> pd.DataFrame:
        heads, body, below = [], [], {}
        for is_head, row in self.rows:
            filled, cells = [], iter(row)
            while True:
                left, cell = below.get(len(filled), (0, None))
                if left:
                    below[len(filled)] = left - 1, cell
                    filled.append(cell)
                elif (new := next(cells, None)) is None:
                    break
                else:
                    for _ in range(new[2]):
                        below[len(filled)] = new[3] - 1, (new[0], new[1])
                        filled.append((new[0], new[1]))
            (heads if is_head else body).append(filled)
        n_index = sum(kind == "th" for kind, _ in body[0]) if body else 0
        columns = [
            " ".join(filter(None, names))
            for names in zip(*[[t for _, t in row] for row in heads], strict=True)
        ]
        return pd.DataFrame(
            [[text for _, text in row[n_index:]] for row in body],
            index=[" ".join(text for _, text in row[:n_index]) for row in body],
            columns=columns[n_index:] if body else columns,
        )


def shown_tables(folder: Path = BOOK) -> list[tuple[str, pd.DataFrame]]:
    """Every table in the outputs of a folder's notebooks."""
    return [
        (path.name, frame)
        for path in sorted(folder.glob("*.ipynb"))
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", [])
        if "<table" in (html := "".join(output.get("data", {}).get("text/html", [])))
        for frame in Tables(html).frames
    ]


def test_the_scan_reads_a_table_as_it_was_written():
    index = pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")], names=["model", "minus"])
    cells = {"NDCG@10 difference": ["0.1 [0.0, 0.2]", "0.2 [0.1, 0.3]"], "significant": ["no", "yes"]}
    table = pd.DataFrame(cells, index=index)
    (read,) = Tables(table.to_html()).frames
    assert read.columns.tolist() == table.columns.tolist()
    assert read.index.tolist() == [" ".join(pair) for pair in table.index]
    assert read["NDCG@10 difference"].tolist() == table["NDCG@10 difference"].tolist()
    two = pd.DataFrame({("NDCG@10", "a"): [1], ("NDCG@10", "minus b"): [0.5]})
    (read,) = Tables(two.to_html()).frames
    assert bare_differences(read) == ["NDCG@10 minus b"]


def test_no_table_of_the_book_shows_a_difference_without_its_interval():
    shown = shown_tables()
    with_difference = [name for name, frame in shown if " minus " in " ".join(map(str, frame.columns))]
    assert len(shown) > 50
    assert with_difference
    assert bare_tables(shown) == []


def bare_tables(shown: list[tuple[str, pd.DataFrame]]) -> list[tuple[str, list[str]]]:
    return [(name, bare) for name, frame in shown if (bare := bare_differences(frame))]


def test_a_bare_difference_in_a_notebook_is_seen(tmp_path):
    tables = [pd.DataFrame({"a minus b": [cell]}).to_html() for cell in ("0.1 [0.0, 0.2]", "0.1")]
    for name, table in zip(("whole", "bare"), tables, strict=True):
        cell = {"outputs": [{"data": {"text/html": ["<div>", table, "</div>"]}}]}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": [{}, cell]}), encoding="utf-8")
    assert bare_tables(shown_tables(tmp_path)) == [("bare.ipynb", ["a minus b"])]
