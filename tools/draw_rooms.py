"""Draw the map of the package in CONTRIBUTING.md from the import contract in pyproject.toml.

    python -m tools.draw_rooms           write the diagram
    python -m tools.draw_rooms --check   fail if the diagram in CONTRIBUTING.md is not the one that would be written

Each room is labelled with the first line of its docstring, so that the map says what the code says.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- map: written by tools/draw_rooms.py -->", "<!-- end of the map -->"
WIDTH = 60


def layers(root: Path = ROOT) -> list[list[str]]:
    """Return the rooms of each layer, the top layer first."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["type"] == "layers"]
    return [[room.strip() for room in layer.split("|")] for layer in contract["layers"]]


def purpose(room: str, root: Path = ROOT) -> str:
    """Return the first line of a room's docstring, without its full stop."""
    module = root / "instructrec" / f"{room}.py"
    source = module if module.is_file() else root / "instructrec" / room / "__init__.py"
    docstring = ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""
    first = docstring.split("\n")[0].rstrip(".").replace('"', "'").replace("`", "")
    return wrap(first)


def wrap(text: str) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > WIDTH:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)


def diagram(root: Path = ROOT) -> str:
    """Return the Mermaid fence: one box per room, an arrow from each layer to the one below."""
    rows = layers(root)
    lines = ["```mermaid", "flowchart TB"]
    for number, rooms in enumerate(rows):
        lines.append(f'  subgraph layer{number}[" "]')
        lines += [f'    {room}["<b>{room}</b><br>{purpose(room, root)}"]' for room in rooms]
        lines.append("  end")
    lines += [f"  layer{number} --> layer{number + 1}" for number in range(len(rows) - 1)]
    return "\n".join([*lines, "```"])


def with_map(text: str, root: Path = ROOT) -> str:
    """Return the text of CONTRIBUTING.md with the present diagram between its marks."""
    pattern = re.compile(re.escape(START) + r".*?" + re.escape(END), re.DOTALL)
    return pattern.sub(lambda _: f"{START}\n{diagram(root)}\n{END}", text)


def main(arguments: list[str]) -> int:
    path = ROOT / "CONTRIBUTING.md"
    text = path.read_text("utf-8")
    drawn = with_map(text)
    if "--check" in arguments:
        if drawn != text or START not in text:
            print("CONTRIBUTING.md: the map is out of date; run python -m tools.draw_rooms", file=sys.stderr)
            return 1
        return 0
    path.write_text(drawn, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
