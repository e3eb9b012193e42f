"""Time the parts of the package that have to be quick, on an idle machine.

    python -m benchmarks.timings [--repeats 5] [--out FILE]

Takes the least processor time of several runs of each task, compares it with a limit and writes every figure to
benchmarks/results/timings.json. Exit status 1 if a task is over its limit. No test measures time, because a test must
also pass beside other work.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from instructrec.datasets import movielens_100k, shop
from instructrec.files import atomic_write
from instructrec.instructions import build_instructions, generate
from instructrec.instructions.export import encode
from instructrec.instructions.quality.audit import audit
from instructrec.instructions.quality.facts import DatasetFacts
from instructrec.statistics import seeds_differences

RESULTS = Path(__file__).with_name("results") / "timings.json"


class Task(NamedTuple):
    """Something to time: its name, the limit in seconds, and the function that does it once."""

    name: str
    limit: float
    run: Callable[[], object]


def tasks(cache: Path) -> list[Task]:
    """Make every input, so that only the task itself is timed."""
    goods, films = shop(), movielens_100k("cache", cache=cache)
    instructions = list(build_instructions(goods, 5_000))
    facts = DatasetFacts(goods)
    audit(instructions[:1_000], facts)
    rng = np.random.default_rng(0)
    models = [rng.random((3, 943)) for _ in range(12)]
    pairs = list(itertools.combinations(range(12), 2))
    return [
        Task("encode 1,000 instructions", 0.006, lambda: encode(instructions[:1_000])),
        Task("audit 5,000 instructions", 1.0, lambda: audit(instructions, facts)),
        Task("generate 10,000 instructions", 20.0, lambda: sum(1 for _ in generate(films, 10_000))),
        Task("read MovieLens-100K from the cache", 0.5, lambda: movielens_100k("cache", cache=cache)),
        Task("compare 12 models of three seeds", 3.0, lambda: seeds_differences(models, pairs)),
    ]


def least_seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the least processor time of several runs."""
    spent = []
    for _ in range(repeats):
        started = time.process_time()
        run()
        spent.append(time.process_time() - started)
    return min(spent)


def main() -> int:
    parser = argparse.ArgumentParser(description="Time the parts of the package that have to be quick.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        movielens_100k(cache=folder)
        for task in tasks(Path(folder)):
            seconds = least_seconds(task.run, options.repeats)
            rows.append({"task": task.name, "seconds": round(seconds, 6), "limit": task.limit})
            print(f"{seconds:10.6f} s  (at most {task.limit} s)  {task.name}", flush=True)
    with atomic_write(options.out) as handle:
        handle.write(json.dumps(rows, indent=1) + "\n")
    return int(any(row["seconds"] > row["limit"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
