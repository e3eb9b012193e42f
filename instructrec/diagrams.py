"""Mermaid diagrams that show in JupyterLab and in the HTML book, offline.

The package mermaid-py builds the graph. Its class `Mermaid` would let a web service draw it; this module passes the
script to the reader's page instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from instructrec.errors import InputError

if TYPE_CHECKING:
    from mermaid.graph import Graph

DIRECTIONS = ("LR", "TB", "RL", "BT")


class Diagram:
    """A Mermaid graph that a notebook shows as a picture.

    Args:
        graph: A graph of mermaid-py, such as `mermaid.flowchart.FlowChart`.
        title: Name of the diagram in a few words, for screen readers.
        description: Content of the diagram in one sentence, for screen readers.
    """

    def __init__(self, graph: Graph, title: str, description: str) -> None:
        self.graph = graph
        self.title = title
        self.description = description

    @property
    def script(self) -> str:
        """The diagram in Mermaid's language, with its title and description for screen readers."""
        lines = self.graph.script.strip().split("\n")
        start = lines.index("---", 1) + 1 if lines[0] == "---" else 0
        kind, *body = lines[start:]
        accessible = [f"\taccTitle: {_one_line(self.title)}", f"\taccDescr: {_one_line(self.description)}"]
        return "\n".join([kind, *accessible, *body])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/markdown": f"```mermaid\n{self.script}\n```", "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"<Diagram {self.title}: {self.description}>"


def flowchart(
    nodes: Mapping[str, str],
    links: Sequence[tuple[str, str] | tuple[str, str, str]],
    title: str,
    description: str,
    direction: str = "LR",
    shapes: Mapping[str, str] | None = None,
) -> Diagram:
    """Return a diagram of boxes and arrows.

    Args:
        nodes: Label of each node by an ASCII name; labels may be in any language and contain `<br>`.
        links: Pairs (from, to), or triples (from, to, label of the arrow).
        title: Name of the diagram in a few words, for screen readers.
        description: Content of the diagram in one sentence, for screen readers.
        direction: "LR", "TB", "RL" or "BT".
        shapes: mermaid-py's name of a node's shape by node, such as "round-edge", "cylindrical", "rhombus".

    Raises:
        InputError: A name that is not lower-case ASCII, a link to or a shape of an unknown node, or an unknown
            direction.
    """
    from mermaid.flowchart import FlowChart, Link, Node

    shapes = shapes or {}
    for name in nodes:
        if not (name.isascii() and name.isidentifier() and name == name.lower()):
            raise InputError(
                f"node name {name!r}; lower-case ASCII letters, digits and _ are accepted (labels are free)"
            )
    for name in [end for link in links for end in link[:2]] + list(shapes):
        if name not in nodes:
            raise InputError(f"a link or shape names {name!r}; nodes are: {', '.join(nodes)}")
    if direction not in DIRECTIONS:
        raise InputError(f"direction {direction!r}; accepted: {', '.join(DIRECTIONS)}")
    boxes = {name: Node(name, label, shape=shapes.get(name, "normal")) for name, label in nodes.items()}
    arrows = [
        Link(boxes[link[0]], boxes[link[1]], message=link[2] if len(link) == 3 else "") for link in links
    ]
    return Diagram(FlowChart(title, list(boxes.values()), arrows, direction), title, description)


def _one_line(text: str) -> str:
    return " ".join(text.split())
