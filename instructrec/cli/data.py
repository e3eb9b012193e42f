"""`python -m instructrec data`: fetch and prepare a data set, and print its card."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from instructrec.cli.common import (
    CommandParser,
    Subparsers,
    add_command,
    print_json,
    print_progress,
    print_result,
)
from instructrec.errors import InputError

if TYPE_CHECKING:
    from instructrec.datasets.dataset import Dataset


def add_parser(subparsers: Subparsers[CommandParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers, "data", run, "Fetch and prepare a data set, and print its card.", ("data sets",)
    )
    parser.add_argument("name", metavar="NAME", help="a data set's name, or a path to a CSV file")
    parser.add_argument("--out", metavar="DIR", help="write users.csv, items.csv and interactions.csv here")


def run(options: argparse.Namespace) -> None:
    """Print the card of a data set, and write its tables if a folder is given."""
    from instructrec import datasets

    dataset = datasets.load(options.name)
    paths = [] if options.out is None else [str(path) for path in _write_tables(dataset, Path(options.out))]
    if options.json:
        card = dataset.card
        print_json(
            {
                "name": dataset.name,
                "figures": dataset.describe().to_dict(),
                "card": None if card is None else dict(vars(card)),
                "written": paths,
            }
        )
        return
    print_result(datasets.format_card(dataset))
    for path in paths:
        print_progress(f"wrote {path}")


def _write_tables(dataset: Dataset, folder: Path) -> list[Path]:
    """Write the three tables as CSV files, entries of a list separated by "|", and return their paths."""
    from instructrec.files import atomic_write

    if folder.exists() and not folder.is_dir():
        raise InputError(f"argument --out: {str(folder)!r} is a file; give a folder")
    paths = []
    for name in ("users", "items", "interactions"):
        table = getattr(dataset, name)
        flat_columns = {
            column: ["|".join(value) if isinstance(value, tuple) else value for value in table[column]]
            for column in table.columns
            if table[column].map(lambda value: isinstance(value, tuple)).any()
        }
        paths.append(folder / f"{name}.csv")
        with atomic_write(paths[-1]) as handle:
            table.assign(**flat_columns).to_csv(handle, index=False, lineterminator="\n")
    return paths
