"""`python -m instructrec report`: make the tables and figures of a results file."""

from __future__ import annotations

import argparse
from pathlib import Path

from instructrec.cli.common import (
    CommandParser,
    Subparsers,
    add_command,
    add_part_option,
    print_json,
    print_progress,
    print_result,
    report_records,
    report_text,
)


def add_parser(subparsers: Subparsers[CommandParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers, "report", run, "Make the tables and figures of a results file.", ("metrics",)
    )
    parser.add_argument("results", metavar="RESULTS", help="a file that compare has written")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for CSV, Markdown, PNG and SVG files"
    )
    parser.add_argument(
        "--metric",
        default="NDCG",
        metavar="NAME",
        help="the metric that orders and tests the models, at 10 (default: %(default)s)",
    )
    add_part_option(parser)


def run(options: argparse.Namespace) -> None:
    """Write the tables and figures, and print the tables of accuracy."""
    from instructrec.evaluation.report import SUMMARY, report

    result = report(options.results, options.out, metric=options.metric, part=options.part)
    paths = [str(path) for path in sorted(Path(options.out).iterdir())]
    if options.json:
        print_json({"title": result.title, "tables": report_records(result), "written": paths})
        return
    print_result(report_text(result, "accuracy"))
    print_progress(
        f"wrote {len(result.tables)} tables and {len(result.figures)} figures: {Path(options.out) / SUMMARY}"
    )
