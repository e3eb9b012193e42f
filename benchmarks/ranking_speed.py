"""Time ranking measures from a score matrix: ours, ranx and LensKit, on the same blocks of scores in one run.

    python -m benchmarks.ranking_speed [--users 100000] [--items 10000] [--repeats 7] [--out FILE]

Each library turns the same float32 scores into HR, NDCG and MRR at 10, in a process of its own (see
benchmarks/peers/README.md), block by block in turns with ours on the same users, warmed up, so that a busy machine
slows both. The making of the scores is not counted. Ways:

- full rows: the library is given every item's score and finds the best itself, by its own classes; LensKit also with
  its metrics called directly, past its collections. This is the same work as ours, and the limit of 10 is about it.
- NumPy cuts: `argpartition` finds the best 10, the library ranks and measures those; for ranx also past its classes,
  with arrays that its compiled code reads. The cut is counted, the library never sees the scores.
- already cut: the same, the cut is not counted. An easier task than ours: a thousandth of the numbers.

A way that is slow gets smaller blocks, and ours is timed on the same. Then ours ranks all users as one stream in a new
process, whose largest memory is read. Writes benchmarks/results/ranking_speed.json. Exit status 1 if ours is below 10
times as fast on full rows, the stream needs more than 1 GB, or two libraries' figures differ by more than 1e-9.
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
TIMES, MEGABYTES, SAME = 10.0, 1000.0, 1e-9
OWN_WAYS = ("full rows", "full rows, classes")
SMALL = {("ranx", "full rows"): 50}  # users a block where a thousand would take many seconds


def main() -> int:
    parser = argparse.ArgumentParser(description="Time ranking measures from a score matrix.")
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
                    users = min(SMALL.get((library, way), options.block), options.block)
                    found = {"library": library, "way": way, "users": users}
                    found |= compare(ask, ask_peer, way, {**sizes, "users": users}, options.repeats)
                    compared.append(found)
                    print(
                        f"{library + ', ' + way:<32}{users:>7}{found['seconds'] * 1e3:>11.1f}"
                        f"{found['ours'] * 1e3:>9.2f}{found['ratio']:>8.1f}{found['lowest']:>8.1f}"
                        f"{found['highest']:>9.1f}",
                        flush=True,
                    )
    with worker(sys.executable, "instructrec") as (ask, _):
        blocks = -(-options.users // options.block)
        whole = ask({**sizes, "way": "full rows", "block": 0, "users": options.block, "blocks": blocks})
    n_users = blocks * options.block
    print(
        f"ours, {n_users:,} users x {options.items:,} items as one stream: {whole['seconds']:.2f} s, "
        f"{whole['peak_mb']:.0f} MB at most"
    )
    gap = max(one["largest_gap"] for one in compared)
    checks = {
        f"at least {TIMES:.0f} times as fast as {one['library']} ({one['way']})": one["ratio"] >= TIMES
        for one in compared
        if one["way"] in OWN_WAYS
    }
    checks[f"{n_users:,} x {options.items:,} within {MEGABYTES:.0f} MB"] = whole["peak_mb"] <= MEGABYTES
    checks["the same figures to 1e-9"] = gap <= SAME
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
            "stream": {"users": n_users, "items": options.items, **whole},
            "compared": compared,
            "checks": checks,
        }
        handle.write(json.dumps(result, indent=1) + "\n")
    return 0 if all(checks.values()) else 1


def compare(ask: Any, ask_peer: Any, way: str, sizes: dict[str, int], repeats: int) -> dict[str, Any]:
    """Time one way of a peer and ours in turns on the same blocks; medians, and the ratio pair by pair."""
    ask({**sizes, "way": "full rows", "block": 0})
    ask_peer({**sizes, "way": way, "block": 0})  # compiled, and every cache warm
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
        "seconds": statistics.median(one["seconds"] for one in theirs),
        "ours": statistics.median(one["seconds"] for one in ours),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "largest_gap": max(gaps),
        "peak_mb": max(one["peak_mb"] for one in theirs),
    }


@contextmanager
def worker(python: str, library: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Start a library's process; yield a function that asks it for one timing, and what it said of itself."""
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
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(what: dict[str, Any]) -> dict[str, Any]:
        process.stdin.write(json.dumps(what) + "\n")  # type: ignore[union-attr]
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
