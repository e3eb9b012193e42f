"""Run all parts of the test suite, two at a time where they are single-threaded, and sum up how each of them ended.

    python -m tools.run_tests            all parts; a failure in one does not keep the others from running
    python -m tools.run_tests --times    the slowest tests and notebooks too

A part is a target of the Makefile. The exit status is 0 only if every part succeeded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# Each stage starts when the one before has ended; its lanes run beside each other, the parts of a lane in turn.
STAGES = (
    (("lint", "types"), ("test-html",)),
    (("test-package",),),
    (("test-notebooks",),),
)


class Result(NamedTuple):
    """How a part ended."""

    part: str
    status: int
    seconds: float


def run_part(part: str, capture: bool, print_lock: threading.Lock) -> Result:
    """Run a part; captured output is printed in one piece when the part has ended."""
    started = time.monotonic()
    process = subprocess.run(
        ["make", part],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.STDOUT if capture else None,
    )
    seconds = time.monotonic() - started
    with print_lock:
        if capture:
            sys.stdout.write(process.stdout.decode("utf8", "replace"))
        print(
            f"== {part}: {'passed' if process.returncode == 0 else 'FAILED'}, {seconds:.0f} s ==", flush=True
        )
    return Result(part, process.returncode, seconds)


def run_stage(lanes: tuple[tuple[str, ...], ...]) -> list[Result]:
    """Run the lanes beside each other and return the results of their parts."""
    results: list[Result] = []
    print_lock = threading.Lock()

    def run_lane(parts: tuple[str, ...]) -> None:
        for part in parts:
            results.append(run_part(part, len(lanes) > 1, print_lock))

    names = " and ".join(", ".join(parts) for parts in lanes)
    print(f"== running {names} ==", flush=True)
    threads = [threading.Thread(target=run_lane, args=(parts,)) for parts in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def main(arguments: list[str]) -> int:
    if "--times" in arguments:
        os.environ["PYTEST_ADDOPTS"] = f"{os.environ.get('PYTEST_ADDOPTS', '')} --durations=25".strip()
    results = [result for lanes in STAGES for result in run_stage(lanes)]
    print("\npart             result     seconds")
    for part, status, seconds in results:
        print(f"{part:<16} {'passed' if status == 0 else 'FAILED':<8} {seconds:>9.0f}")
    print(f"{'all parts':<16} {'':<8} {sum(result.seconds for result in results):>9.0f}")
    return int(any(result.status for result in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
