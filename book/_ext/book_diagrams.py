"""Render the Mermaid fences of Markdown cells and outputs as diagrams, drawn in the reader's page without a server.

The text alternative of a diagram is the `accTitle: …` and `accDescr: …` of its source, or else the list of its labels.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

NODE_LABEL = re.compile(r"""[\[({|]\s*"?([^\[\](){}|"]+?)"?\s*[\])}|]""")


class diagram(nodes.General, nodes.Element):  # noqa: N801 (docutils names nodes in lower case)
    """A Mermaid diagram with the strings `source` and `alternative`."""


def text_alternative(source: str) -> str:
    """Return the text that a screen reader reads instead of the picture."""
    title = re.search(r"^\s*accTitle\s*:\s*(.+)$", source, re.MULTILINE)
    description = re.search(r"^\s*accDescr\s*(?::\s*(.+)|\{\s*([^}]*)\})", source, re.MULTILINE)
    texts = [title.group(1).strip()] if title else []
    if description:
        texts.append(" ".join((description.group(1) or description.group(2)).split()))
    if texts:
        return ". ".join(text.rstrip(".") for text in texts) + "."
    labels = dict.fromkeys(
        re.sub(r"<br\s*/?>|\s+", " ", label).strip() for label in NODE_LABEL.findall(source)
    )
    return "Diagram: " + "; ".join(label for label in labels if label) + "." if labels else "Diagram."


class MermaidFences(SphinxPostTransform):
    """Replace literal blocks of the language `mermaid` by diagrams, before Sphinx highlights their code."""

    default_priority = 50

    def run(self, **kwargs: Any) -> None:
        if self.app.builder.format != "html":
            return
        for block in list(self.document.findall(nodes.literal_block)):
            if block.get("language") == "mermaid":
                source = block.astext()
                block.replace_self(diagram(source=source, alternative=text_alternative(source)))


def visit_diagram(self: Any, node: diagram) -> None:
    alternative = self.attval(node["alternative"])
    self.body.append(
        f'<div class="book-diagram" role="img" aria-label="{alternative}">'
        f'<pre class="mermaid">{self.encode(node["source"])}</pre></div>\n'
    )
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_lexer("mermaid", TextLexer)
    app.add_node(diagram, html=(visit_diagram, None))
    app.add_post_transform(MermaidFences)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
