"""The bibliography and the chapters' citations agree: nothing cited is missing, nothing listed is uncited."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest
from pybtex.database import BibliographyData, parse_string

from tools.build_book import ROOT

BIBLIOGRAPHY = ROOT / "book" / "references.bib"
CITATION = re.compile(r"\{cite(?::[\w*]+)?\}`([^`]+)`")
ENTRY = re.compile(r"^@\w+\{\s*([^,\s]+)\s*,", re.MULTILINE)
ARXIV = re.compile(r"\d{4}\.\d{4,5}")
DOI = re.compile(r"10\.\d{4,9}/\S+")


def read_bibliography() -> str:
    return BIBLIOGRAPHY.read_text(encoding="utf8")


@cache
def parsed() -> BibliographyData:
    return parse_string(read_bibliography(), "bibtex")


def prose_of(path: Path) -> str:
    """A page's prose: all of a Markdown page, the Markdown cells of a notebook."""
    text = path.read_text(encoding="utf8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def citations_in(text: str) -> set[str]:
    return {key.strip() for keys in CITATION.findall(text) for key in keys.split(",")}


def cited() -> dict[str, set[str]]:
    """Each cited key with the names of the pages that cite it."""
    pages: dict[str, set[str]] = {}
    for path in sorted([*(ROOT / "book").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]):
        for key in citations_in(prose_of(path)):
            pages.setdefault(key, set()).add(path.name)
    return pages


def test_citations_are_found_in_every_form() -> None:
    text = "See {cite:p}`one2001a, two2002b`, {cite:t}`three2003c` and {cite}`four2004d`; `{term}` is none."
    assert citations_in(text) == {"one2001a", "two2002b", "three2003c", "four2004d"}


def test_each_cited_key_exists() -> None:
    missing = {key: pages for key, pages in cited().items() if key not in parsed().entries}
    assert not missing


def test_each_entry_is_cited() -> None:
    assert sorted(set(parsed().entries) - set(cited())) == []


def test_no_key_stands_twice() -> None:
    keys = [key.lower() for key in ENTRY.findall(read_bibliography())]
    assert sorted({key for key in keys if keys.count(key) > 1}) == []


def test_no_work_stands_twice() -> None:
    titles = [re.sub(r"\W", "", entry.fields["title"]).lower() for entry in parsed().entries.values()]
    assert sorted({title for title in titles if titles.count(title) > 1}) == []


@pytest.mark.parametrize("key", ENTRY.findall(read_bibliography()))
def test_entry_can_be_found(key: str) -> None:
    entry = parsed().entries[key]
    fields = entry.fields
    assert entry.persons.get("author"), "no author"
    assert fields.get("title"), "no title"
    assert re.fullmatch(r"(1[89]|20)\d\d", fields.get("year", "")), "no year"
    assert any(fields.get(name) for name in ("doi", "eprint", "url", "publisher")), (
        "no DOI, arXiv number, address or publisher"
    )
    if "doi" in fields:
        assert DOI.fullmatch(fields["doi"]), (
            "a DOI is written as 10.prefix/suffix, without the resolver's address"
        )
    if "eprint" in fields:
        assert ARXIV.fullmatch(fields["eprint"]), "an arXiv number has the form 2305.07001"
        assert fields.get("url") == f"https://arxiv.org/abs/{fields['eprint']}"
        assert fields["year"] >= f"20{fields['eprint'][:2]}", "older than its arXiv number"
