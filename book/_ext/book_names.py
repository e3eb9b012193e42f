"""Give the theme's controls accessible names that agree with their visible text, in the HTML itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

SEARCH_BUTTON = re.compile(r'<button [^>]*class="[^"]*\bsearch-button-field\b[^>]*>')
FOLDED_CELL = re.compile(r'<summary aria-label="[^"]*">')
THEME_ICON = re.compile(r'(<i class="theme-switch\b[^>]*?) title="[^"]*"')
CITATION = re.compile(r'(<div class="citation"[^>]*) role="doc-biblioentry"')
LABEL = re.compile(r' (?:title|aria-label)="[^"]*"')


def with_accessible_names(html: str) -> str:
    """Return a page whose controls are named by their visible text."""
    # Without a title or label the visible text, such as "Search Ctrl + K" or "Show code cell source", is the name.
    html = SEARCH_BUTTON.sub(lambda match: LABEL.sub("", match[0]), html)
    html = FOLDED_CELL.sub("<summary>", html)
    # An icon's tooltip is not part of the name of its button.
    html = THEME_ICON.sub(r'\1 aria-hidden="true"', html)
    # The theme marks the bibliography as a list, whose children must be list items.
    return CITATION.sub(r'\1 role="listitem"', html)


def rewrite_pages(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        if "_static" in path.parts:
            continue
        html = path.read_text("utf8")
        if (new_html := with_accessible_names(html)) != html:
            path.write_text(new_html, "utf8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", rewrite_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
