"""Time and weigh the making of instructions, written to a file, on one core.

    python benchmarks/instructions.py [--sizes N …] [--repeat 3] [--workers 1 2 3] [--out FILE]

Runs `python -m instructrec generate --data movielens-100k shop`, a new process each time, bound to one core where the
system can do that. Checks that every number of workers writes the same bytes, and that a larger file begins with a
smaller one's bytes. Writes every figure to benchmarks/results/instructions.json, which the book plots. Exit status 1
if a limit is missed: 252,730 instructions within 20 s, 500 MB for any size. The largest size needs some 3 GB
of disk for a few minutes.
"""

from __future__ import annotations

import argparse
import hashlib
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

PAPER = 252_730  # instructions in the paper
SIZES = (10_000, 50_000, PAPER, 1_000_000, 2_500_000)
SECONDS, MEGABYTES = 20.0, 500.0
RESULTS = Path(__file__).parent / "results" / "instructions.json"


def main() -> int:
    parser = argparse.ArgumentParser(description="Time and weigh the making of instructions.")
    parser.add_argument("--data", nargs="+", default=["movielens-100k", "shop"])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--repeat", type=int, default=3, help="runs of each size of up to the paper's")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    runs: list[dict[str, Any]] = []
    begins: dict[int, bytes] = {}
    leaks: dict[str, int] | None = None
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'instructions':>12}{'seconds':>9}{'µs each':>9}{'peak MB':>9}{'file MB':>9}", flush=True)
        for size in sorted(options.sizes):
            path = Path(folder) / "instructions.jsonl"
            times, peaks = [], []
            for _ in range(options.repeat if size <= PAPER else 1):
                seconds, peak = generate(options.data, size, path, core=True)
                times.append(seconds)
                peaks.append(peak)
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
                begins[size] = handle.read(1_000_000)
            if size == PAPER:
                leaks = look_for_leaks(options.data, path)
            path.unlink()
        digests = {}
        for workers in options.workers:
            path = Path(folder) / f"workers{workers}.jsonl"
            seconds, _ = generate(options.data, 20_500, path, core=False, workers=workers)
            with path.open("rb") as handle:
                digests[workers] = hashlib.file_digest(handle, "sha256").hexdigest()
            print(f"{workers} workers: {seconds:.2f} s, sha256 {digests[workers][:16]}", flush=True)
    same = len(set(digests.values())) == 1
    prefix = len(set(begins.values())) == 1
    within = [run for run in runs if run["n"] == PAPER]
    checks = {
        "the same bytes for any number of workers": same,
        "a larger file begins with a smaller one's bytes": prefix,
        f"peak memory below {MEGABYTES:.0f} MB": all(run["peak_mb"] < MEGABYTES for run in runs),
    }
    for run in within:
        checks[f"{PAPER} within {SECONDS:.0f} s"] = run["slowest"] <= SECONDS
    if leaks is not None:
        checks[f"no leak in {PAPER}"] = not any(leaks.values())
    for name, holds in checks.items():
        print(f"{'yes' if holds else 'NO':<4}{name}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps(
            {
                "machine": machine(),
                "command": "python benchmarks/instructions.py",
                "data": options.data,
                "runs": runs,
                "leaks": leaks,
                "checks": checks,
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n",
        "utf-8",
    )
    return 0 if all(checks.values()) else 1


def look_for_leaks(data: list[str], path: Path) -> dict[str, int]:
    """Audit a whole file; return how many leaks of each kind there are."""
    from instructrec import datasets
    from instructrec.instructions import read_jsonl
    from instructrec.instructions.quality.audit import audit
    from instructrec.split import leave_last_out

    found = audit(read_jsonl(path), [leave_last_out(datasets.load(name)).train for name in data])
    print(f"audited {found.n}: {dict(found.leaks)}", flush=True)
    return {str(kind): int(count) for kind, count in found.leaks.items()}


def generate(data: list[str], size: int, path: Path, *, core: bool, workers: int = 1) -> tuple[float, float]:
    """Run the command; return its wall-clock seconds and its largest resident memory in MB."""
    words = ["generate", "--data", *data, "--n", str(size), "--out", str(path), "--workers", str(workers)]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "instructrec", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=bind_to_one_core if core else None,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"the command failed: {said.decode(errors='replace').strip()[-500:]}")
    unit = 1 if platform.system() == "Darwin" else 1024
    return seconds, usage.ru_maxrss * unit / 1e6


def bind_to_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
