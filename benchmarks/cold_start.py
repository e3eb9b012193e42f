"""Time a cold answer: a new process, a saved model, one recommendation.

    python benchmarks/cold_start.py [--data movielens-100k] [--repeat 5] [--three-tower DIR]

Prints a line a model: the median and the slowest wall-clock seconds of `python -m instructrec recommend`. Exit status 1
if a median is above its limit. The three-tower model is trained for one epoch, since its weights do not change its
time, unless a saved one is given.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMITS = {"random": 1.0, "most-popular": 1.0, "item-knn": 1.0, "three-tower": 3.0}


def main() -> int:
    parser = argparse.ArgumentParser(description="Time a cold answer of each model.")
    parser.add_argument("--data", default="movielens-100k")
    parser.add_argument("--history", default="1,50")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--three-tower", metavar="DIR", help="a saved model, to save the training")
    options = parser.parse_args()
    over = []
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'model':<14}{'median s':>10}{'slowest s':>11}{'limit s':>9}")
        for name, limit in LIMITS.items():
            saved = str(Path(folder) / name)
            if name == "three-tower" and options.three_tower:
                saved = options.three_tower
            else:
                quick = ["--set", "epochs=1"] if name == "three-tower" else []
                run("train", "--model", name, "--data", options.data, "--out", saved, *quick)
            words = [
                "recommend",
                "--model",
                saved,
                "--data",
                options.data,
                "--history",
                options.history,
                "--json",
            ]
            times = [run(*words) for _ in range(options.repeat)]
            print(f"{name:<14}{statistics.median(times):>10.2f}{max(times):>11.2f}{limit:>9.1f}", flush=True)
            if statistics.median(times) > limit:
                over.append(name)
    print(f"over a limit: {', '.join(over)}" if over else "every model is within its limit")
    return 1 if over else 0


def run(*words: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "instructrec", *words], check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
