"""Add the term's definition to links of the role {term}; `glossary.js` shows it on hover and on keyboard focus."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

MAX_CHARACTERS = 400


def definitions_in(document: nodes.document) -> dict[str, str]:
    """Return the text of each definition in a page's glossaries, by the id of its term."""
    texts: dict[str, str] = {}
    for glossary in document.findall(addnodes.glossary):
        for item in glossary.findall(nodes.definition_list_item):
            text = " ".join(" ".join(part.astext() for part in item.findall(nodes.definition)).split())
            if len(text) > MAX_CHARACTERS:
                text = text[:MAX_CHARACTERS].rsplit(" ", 1)[0] + " …"
            for term in item.findall(nodes.term):
                texts.update(dict.fromkeys(term["ids"], text))
    return texts


def definitions(app: Sphinx) -> dict[str, str]:
    """Return the definitions of all terms in the book by id, cached for the build."""
    if not hasattr(app, "book_definitions"):
        pages = {page for _, _, kind, page, _, _ in app.env.get_domain("std").get_objects() if kind == "term"}
        texts: dict[str, str] = {}
        for page in sorted(pages):
            texts.update(definitions_in(app.env.get_doctree(page)))
        app.book_definitions = texts  # type: ignore[attr-defined]
    return app.book_definitions  # type: ignore[attr-defined]


def add_definitions(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Give each link to a term its definition as the link's title."""
    for inline in document.findall(nodes.inline):
        if "std-term" not in inline.get("classes", []) or not isinstance(inline.parent, nodes.reference):
            continue
        link = inline.parent
        target = link.get("refid") or link.get("refuri", "").rpartition("#")[2]
        text = definitions(app).get(target)
        if text:
            link["reftitle"] = text
            link["classes"].append("book-term")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", add_definitions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
