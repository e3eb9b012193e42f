"""Run every notebook of the book again and compare each output with the stored one, strictly (nbval).

    python -m tools.check_notebooks                     every chapter
    python -m tools.check_notebooks book/faq.ipynb …    these

Two notebooks run at a time, the longest first, each with one thread: two threads each would wait for one another.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tools.build_book import ROOT, read_executed

OPTIONS = (
    "--nbval",
    "--nbval-sanitize-with=tests/nbval-sanitize.cfg",
    "--nbval-cell-timeout=1800",
    "--nbval-kernel-startup-timeout=120",
    "--no-header",
    "-p", "no:cacheprovider",
    "-p", "no:randomly",
    "--numprocesses=2",
    "--dist=loadfile",
    "--override-ini=console_output_style=count",
)  # fmt: skip


THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
"""Variables that libraries read for their number of threads; kernels inherit them."""


class NotebookTimes:
    """A pytest plug-in that adds up how long each notebook's cells took, and which notebooks had a failure."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: Any) -> None:
        notebook = report.nodeid.split("::")[0]
        self.seconds[notebook] += report.duration
        if report.failed:
            self.failed.add(notebook)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("seconds per notebook")
        for name, seconds in sorted(self.seconds.items()):
            terminalreporter.write_line(f"{seconds:7.1f}  {name}{'  FAILED' if name in self.failed else ''}")


def main(arguments: list[str]) -> int:
    notebooks = arguments or [str(p.relative_to(ROOT)) for p in sorted((ROOT / "book").glob("*.ipynb"))]
    if not notebooks:
        print("error: no notebook in book/", file=sys.stderr)
        return 1
    os.environ.update({variable: "1" for variable in THREADS if variable not in os.environ})
    seconds = {name: entry["seconds"] for name, entry in read_executed().items()}
    notebooks.sort(key=lambda name: -seconds.get(str(Path(name)), 0.0))
    return int(pytest.main([*OPTIONS, *(str(Path(name)) for name in notebooks)], plugins=[NotebookTimes()]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
