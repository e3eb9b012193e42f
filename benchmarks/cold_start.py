"""Time a recommendation of a saved model in a new process.

    python benchmarks/cold_start.py [--data movielens-100k] [--repeat 5] [--three-tower DIR]

Prints one line per model: the median and the slowest wall-clock time of `python -m instructrec recommend`, in seconds.
Exit status 1 if a median exceeds its limit. The three-tower model is trained for one epoch, since the weights do not
change the time, unless a saved model is given.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAX_SECONDS = {"random": 1.0, "most-popular": 1.0, "item-knn": 1.0, "three-tower": 3.0}
"""Limit of the median time by model."""


def main() -> int:
    """Time each model and return the exit status."""
    parser = argparse.ArgumentParser(description="Time a recommendation of each model in a new process.")
    parser.add_argument("--data", default="movielens-100k")
    parser.add_argument("--history", default="1,50")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--three-tower", metavar="DIR", help="a saved model, instead of training")
    options = parser.parse_args()
    over_limit = []
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'model':<14}{'median s':>10}{'slowest s':>11}{'limit s':>9}")
        for name, limit in MAX_SECONDS.items():
            model = str(Path(folder) / name)
            if name == "three-tower" and options.three_tower:
                model = options.three_tower
            else:
                settings = ["--set", "epochs=1"] if name == "three-tower" else []
                run("train", "--model", name, "--data", options.data, "--out", model, *settings)
            request = ["--model", model, "--data", options.data, "--history", options.history, "--json"]
            times = [run("recommend", *request) for _ in range(options.repeat)]
            print(f"{name:<14}{statistics.median(times):>10.2f}{max(times):>11.2f}{limit:>9.1f}", flush=True)
            if statistics.median(times) > limit:
                over_limit.append(name)
    print(f"over a limit: {', '.join(over_limit)}" if over_limit else "all models are within their limits")
    return 1 if over_limit else 0


def run(*words: str) -> float:
    """Run a command of the package and return its wall-clock time in seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "instructrec", *words], check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
