"""Count the names that the package binds, and fail when too many of them are pronouns or participles.

    python -m tools.check_names              the share, and each place where such a name is bound, if there are too many
    python -m tools.check_names --list       each place in any case
    python -m tools.check_names --figures    files, lines, and the length of functions too

A name such as `found` or `told` does not say what it holds; `mask`, `row` or `token_ids` does. Counted is every place
that binds a name: assignments, loop and comprehension variables, parameters, `with`, `except`, and the walrus.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRONOUNS = frozenset(
    """
    one ones other others every each both some same what which whole rest these those theirs
    asked drawn found given held kept known listed made met named said shown
    sought spoken taken told turned wanted written
    """.split()  # noqa: SIM905 - a list of strings is harder to read
)
"""Names that say nothing of what they hold."""
MAX_SHARE = 0.005
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def bindings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each name that a module binds, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name, node.lineno


def function_lengths(tree: ast.AST) -> Iterator[int]:
    """Yield the number of lines of each function, without its docstring and decorators."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            yield (node.end_lineno or 0) - first.lineno + 1


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def print_figures(root: Path) -> None:
    """Print files and lines of the package, tests and benchmarks, and how long the package's functions are."""
    for folder in ("instructrec", "tests", "benchmarks", "tools"):
        files = python_files(root / folder)
        n_lines = sum(len(path.read_text("utf-8").splitlines()) for path in files)
        print(f"{folder}: {len(files)} files, {n_lines} lines of Python")
    trees = [ast.parse(path.read_text("utf-8")) for path in python_files(root / "instructrec")]
    lengths = sorted(length for tree in trees for length in function_lengths(tree))
    tenth = lengths[int(0.9 * (len(lengths) - 1))]
    print(f"functions: {len(lengths)}, median {statistics.median(lengths):g} lines, 90th percentile {tenth}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Count the names that the package binds.")
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--list", action="store_true", help="list each place in any case")
    parser.add_argument(
        "--figures", action="store_true", help="print files, lines and lengths of functions too"
    )
    options = parser.parse_args(arguments)
    n_names, places = 0, []
    for path in python_files(options.root / "instructrec"):
        for name, line in bindings(ast.parse(path.read_text("utf-8"))):
            n_names += 1
            if name in PRONOUNS:
                places.append(f"{path.relative_to(options.root)}:{line}: {name}")
    share = len(places) / max(n_names, 1)
    if options.list or share >= MAX_SHARE:
        print("\n".join(places))
    print(
        f"pronouns: {len(places)} of {n_names} names bound, {share:.2%} (below {MAX_SHARE:.2%} is accepted)"
    )
    if options.figures:
        print_figures(options.root)
    return int(share >= MAX_SHARE)


if __name__ == "__main__":
    sys.exit(main())
