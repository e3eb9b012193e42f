"""Measure time and memory of writing instructions to a file, on one core.

    python benchmarks/instructions.py [--sizes N …] [--repeat 3] [--workers 1 2 3] [--out FILE]

Runs `python -m instructrec generate --data movielens-100k shop`, a new process each time, bound to one core if the
system can do that. Checks that every number of workers writes the same bytes, and that a larger file begins with the
bytes of a smaller one. Writes every figure to benchmarks/results/instructions.json, which the book plots. The exit
status is 1 if a limit is missed: 252,730 instructions within 20 s, 500 MB for any size. The largest size needs some
3 GB of disk for a few minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from instructrec.files import atomic_write, digest

PAPER_SIZE = 252_730
"""Number of instructions in the paper (Zhang et al., 2023, arXiv:2305.07001)."""
SIZES = (10_000, 50_000, PAPER_SIZE, 1_000_000, 2_500_000)
MAX_SECONDS, MAX_MEGABYTES = 20.0, 500.0
PREFIX_BYTES = 1_000_000
RESULTS = Path(__file__).parent / "results" / "instructions.json"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure time and memory of writing instructions.")
    parser.add_argument("--data", nargs="+", default=["movielens-100k", "shop"])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--repeat", type=int, default=3, help="runs of each size of up to the paper's")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs, prefixes, leaks = measure_sizes(options.data, options.sizes, options.repeat, Path(folder))
        digests = {
            workers: digest_with_workers(options.data, workers, Path(folder)) for workers in options.workers
        }
    checks = {
        "the same bytes for any number of workers": len(set(digests.values())) == 1,
        "a larger file begins with a smaller one's bytes": len(set(prefixes)) == 1,
        f"peak memory below {MAX_MEGABYTES:.0f} MB": all(run["peak_mb"] < MAX_MEGABYTES for run in runs),
    }
    for run in runs:
        if run["n"] == PAPER_SIZE:
            checks[f"{PAPER_SIZE} within {MAX_SECONDS:.0f} s"] = run["slowest"] <= MAX_SECONDS
    if leaks is not None:
        checks[f"no leak in {PAPER_SIZE}"] = not any(leaks.values())
    for name, holds in checks.items():
        print(f"{'yes' if holds else 'NO':<4}{name}")
    document = {
        "machine": machine(),
        "command": "python benchmarks/instructions.py",
        "data": options.data,
        "runs": runs,
        "leaks": leaks,
        "checks": checks,
    }
    with atomic_write(options.out) as handle:
        handle.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return 0 if all(checks.values()) else 1


def measure_sizes(
    data: list[str], sizes: list[int], repeat: int, folder: Path
) -> tuple[list[dict[str, Any]], list[bytes], dict[str, int] | None]:
    """Write files of each size; return the figures, the first bytes of each file, and the leaks at the paper's size."""
    runs: list[dict[str, Any]] = []
    prefixes: list[bytes] = []
    leaks: dict[str, int] | None = None
    path = folder / "instructions.jsonl"
    print(f"{'instructions':>12}{'seconds':>9}{'µs each':>9}{'peak MB':>9}{'file MB':>9}", flush=True)
    for size in sorted(sizes):
        figures = [generate(data, size, path, core=True) for _ in range(repeat if size <= PAPER_SIZE else 1)]
        times, peaks = zip(*figures, strict=True)
        run = {
            "n": size,
            "seconds": round(statistics.median(times), 2),
            "slowest": round(max(times), 2),
            "peak_mb": round(max(peaks), 1),
            "file_mb": round(path.stat().st_size / 1e6, 1),
        }
        runs.append(run)
        print(
            f"{size:>12}{run['seconds']:>9.2f}{run['seconds'] / size * 1e6:>9.1f}"
            f"{run['peak_mb']:>9.1f}{run['file_mb']:>9.1f}",
            flush=True,
        )
        with path.open("rb") as handle:
            prefixes.append(handle.read(PREFIX_BYTES))
        if size == PAPER_SIZE:
            leaks = look_for_leaks(data, path)
        path.unlink()
    return runs, prefixes, leaks


def digest_with_workers(data: list[str], workers: int, folder: Path) -> str:
    """Return the digest of a file that several processes wrote."""
    path = folder / f"workers{workers}.jsonl"
    seconds, _ = generate(data, 20_500, path, core=False, workers=workers)
    sha256 = digest(path)
    print(f"{workers} workers: {seconds:.2f} s, sha256 {sha256[:16]}", flush=True)
    return sha256


def look_for_leaks(data: list[str], path: Path) -> dict[str, int]:
    """Audit a file; return the number of leaks of each kind."""
    from instructrec import datasets
    from instructrec.instructions import read_jsonl
    from instructrec.instructions.quality.audit import audit
    from instructrec.split import leave_last_out

    report = audit(read_jsonl(path), [leave_last_out(datasets.load(name)).train for name in data])
    print(f"audited {report.n}: {dict(report.leaks)}", flush=True)
    return {str(kind): int(count) for kind, count in report.leaks.items()}


def generate(data: list[str], size: int, path: Path, *, core: bool, workers: int = 1) -> tuple[float, float]:
    """Run the command; return its wall-clock time in seconds and its peak resident memory in MB."""
    arguments = ["generate", "--data", *data, "--n", str(size), "--out", str(path), "--workers", str(workers)]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "instructrec", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=bind_to_one_core if core else None,
    )
    assert process.stderr is not None
    messages = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"the command failed: {messages.decode(errors='replace').strip()[-500:]}")
    unit = 1 if platform.system() == "Darwin" else 1024
    return seconds, usage.ru_maxrss * unit / 1e6


def bind_to_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
