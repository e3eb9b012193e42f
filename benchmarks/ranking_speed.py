"""Time ranking metrics from a score matrix: ours, ranx and LensKit, on the same blocks of scores in one run.

    python -m benchmarks.ranking_speed [--users 100000] [--items 10000] [--repeats 7] [--out FILE]

Each library turns the same float32 scores into HR, NDCG and MRR at 10, in its own process (see
benchmarks/peers/README.md), after a warm-up, block by block and in turns with ours on the same users, so that load on
the machine slows both. Generating the scores does not count. Ways:

- full rows: the library gets every item's score and finds the best itself, by its own classes; LensKit also with its
  metrics called directly, without its collections. This is the same work as ours, and the limit of 10 applies to it.
- NumPy cuts: `argpartition` finds the best 10, and the library ranks and evaluates these; for ranx also without its
  classes, with arrays for its compiled code. The cut counts; the library never sees the scores.
- already cut: the same, but the cut does not count. An easier task than ours: a thousandth of the numbers.

A slow way gets smaller blocks, and ours is timed on the same blocks. Then ours ranks all users as one stream in a new
process, whose peak memory is read. Writes benchmarks/results/ranking_speed.json. Exit status 1 if ours is less than 10
times as fast on full rows, the stream needs more than 1 GB, or the metrics of two libraries differ by more than 1e-9.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import CannotMake, python_of
from instructrec.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results") / "ranking_speed.json"
MIN_SPEEDUP, MAX_MEGABYTES, TOLERANCE = 10.0, 1000.0, 1e-9
COMPARABLE_WAYS = ("full rows", "full rows, classes")
"""The ways that do the same work as ours."""
SMALL_BLOCKS = {("ranx", "full rows"): 50}
"""Users per block where a thousand would take many seconds."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Time ranking metrics from a score matrix.")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--block", type=int, default=1_000, help="users a block")
    parser.add_argument("--targets", type=int, default=1, help="right items a user")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    try:
        metrics = python_of("metrics")
    except CannotMake as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sizes = {"items": options.items, "targets": options.targets, "seed": options.seed}
    compared: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    print(
        f"{'':<32}{'users':>7}{'theirs ms':>11}{'ours ms':>9}{'ratio':>8}{'lowest':>8}{'highest':>9}",
        flush=True,
    )
    with worker(sys.executable, "instructrec") as (ask, hello):
        versions["numpy"] = hello["numpy"]
        for library in ("ranx", "lenskit"):
            with worker(str(metrics), library) as (ask_peer, hello):
                versions[library] = hello["version"]
                for way in hello["ways"]:
                    users = min(SMALL_BLOCKS.get((library, way), options.block), options.block)
                    comparison = {"library": library, "way": way, "users": users}
                    comparison |= compare(ask, ask_peer, way, {**sizes, "users": users}, options.repeats)
                    compared.append(comparison)
                    print(
                        f"{library + ', ' + way:<32}{users:>7}{comparison['seconds'] * 1e3:>11.1f}"
                        f"{comparison['ours'] * 1e3:>9.2f}{comparison['ratio']:>8.1f}{comparison['lowest']:>8.1f}"
                        f"{comparison['highest']:>9.1f}",
                        flush=True,
                    )
    with worker(sys.executable, "instructrec") as (ask, _):
        blocks = -(-options.users // options.block)
        stream = ask({**sizes, "way": "full rows", "block": 0, "users": options.block, "blocks": blocks})
    n_users = blocks * options.block
    print(
        f"ours, {n_users:,} users x {options.items:,} items as one stream: {stream['seconds']:.2f} s, "
        f"{stream['peak_mb']:.0f} MB at most"
    )
    gap = max(comparison["largest_gap"] for comparison in compared)
    checks = {
        f"at least {MIN_SPEEDUP:.0f} times as fast as {comparison['library']} ({comparison['way']})": comparison[
            "ratio"
        ]
        >= MIN_SPEEDUP
        for comparison in compared
        if comparison["way"] in COMPARABLE_WAYS
    }
    checks[f"{n_users:,} x {options.items:,} within {MAX_MEGABYTES:.0f} MB"] = (
        stream["peak_mb"] <= MAX_MEGABYTES
    )
    checks["the same figures to 1e-9"] = gap <= TOLERANCE
    for name, holds in checks.items():
        print(f"{'yes' if holds else 'NO':<4}{name}")
    words = [word for word in sys.argv[1:] if word not in ("--out", str(options.out))]
    with atomic_write(options.out) as handle:
        result = {
            "command": " ".join(["python -m benchmarks.ranking_speed", *words]),
            "machine": machine(),
            "versions": versions,
            "block": {"users": options.block, **sizes, "type": "float32", "measures": "HR, NDCG, MRR at 10"},
            "repeats": options.repeats,
            "stream": {"users": n_users, "items": options.items, **stream},
            "compared": compared,
            "checks": checks,
        }
        handle.write(json.dumps(result, indent=1) + "\n")
    return 0 if all(checks.values()) else 1


def compare(ask: Any, ask_peer: Any, way: str, sizes: dict[str, int], repeats: int) -> dict[str, Any]:
    """Time one way of a peer and ours in turns on the same blocks; return medians and the ratios of the pairs."""
    ask({**sizes, "way": "full rows", "block": 0})
    ask_peer({**sizes, "way": way, "block": 0})  # compiles code and warms all caches
    ours, theirs = [], []
    for block in range(1, repeats + 1):
        order = [("ours", ask, "full rows"), ("theirs", ask_peer, way)]
        for who, how, its_way in order if block % 2 else reversed(order):
            (ours if who == "ours" else theirs).append(how({**sizes, "way": its_way, "block": block}))
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(theirs, ours, strict=True)]
    gaps = [
        abs(first - second)
        for a, b in zip(theirs, ours, strict=True)
        for first, second in zip(a["figures"], b["figures"], strict=True)
    ]
    return {
        "seconds": statistics.median(timing["seconds"] for timing in theirs),
        "ours": statistics.median(timing["seconds"] for timing in ours),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "largest_gap": max(gaps),
        "peak_mb": max(timing["peak_mb"] for timing in theirs),
    }


@contextmanager
def worker(python: str, library: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Start a library's process; yield a function that requests one timing, and the library's first message."""
    process = subprocess.Popen(
        [python, "-W", "ignore", str(ROOT / "benchmarks" / "peers" / "speed.py"), library],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def read() -> dict[str, Any]:
        line = process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            sys.exit(
                f"error: the process of {library} ended with status {process.wait()}; its message is above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(question: dict[str, Any]) -> dict[str, Any]:
        process.stdin.write(json.dumps(question) + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        return read()

    try:
        yield ask, read()
    finally:
        process.stdin.close()
        process.wait()


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
