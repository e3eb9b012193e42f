"""Tune every baseline on MovieLens-100K, equally hard, and write down every trial.

    python -m benchmarks.tuning [--models a b …] [--out FILE] [--no-winners]

Each model gets 12 trials, the combinations of its grid below, cheap or not: fitted on the training part of the
leave-last-out split, measured by NDCG@10 on the validation part over the whole catalogue. The record is
benchmarks/results/tuning.json, written after each trial; a second call goes on where the first was cut off. The
winners go to instructrec/models/tuned.json, from which `models.tuned(NAME)` makes them.

A grid whose winner lay at its edge was moved, with as many trials; the trials of the grids before stand in the record
as `earlier` and take no part. random and most-popular have no settings.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from instructrec import datasets
from instructrec.errors import InputError
from instructrec.evaluation.tuning import Search, Tuning, read_tunings, search
from instructrec.files import atomic_write
from instructrec.models import TUNED
from instructrec.split import leave_last_out

RESULTS = Path(__file__).with_name("results") / "tuning.json"
DATA = "movielens-100k"
TRIALS = 12
LENGTHS = [None, 10, 3]

SASREC: dict[str, list[Any]] = {
    "length": [10, 20, 40],
    "dropout": [0.2],
    "learning_rate": [0.002, 0.004, 0.006, 0.008],
    "epochs": [15],
}
TWO_TOWER: dict[str, list[Any]] = {"length": [3, 5, 10, 20], "temperature": [0.05, 0.07, 0.1]}

GRIDS: dict[str, dict[str, list[Any]]] = {
    "recently-popular": {"days": [7, 14, 21, 30, 45, 60, 75, 90, 105, 120, 150, 180]},
    "item-knn": {"k": [200, 800], "length": [None, 10, 5, 3, 2, 1]},
    "ease": {"reg": [600, 1500, 4000, 10000], "length": LENGTHS},
    "als": {"factors": [8, 16, 32, 64], "length": LENGTHS},
    "bpr": {"epochs": [200, 400], "length": [None, 10, 5, 3, 2, 1]},
    "three-tower": {
        "interaction": ["mlp"],
        "length": [10],
        "learning_rate": [0.005, 0.01, 0.02],
        "epochs": [4, 6, 8, 10],
    },
    "two-tower": TWO_TOWER,
    "sasrec": SASREC,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Tune every baseline on MovieLens-100K.")
    parser.add_argument("--models", nargs="+", default=list(GRIDS), choices=list(GRIDS), metavar="MODEL")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--no-winners", action="store_true", help="leave the package's tuned.json as it is")
    options = parser.parse_args()
    try:
        split = leave_last_out(datasets.load(DATA))
        for name in options.models:
            found = search(Search(name, GRIDS[name]), None, split, path=options.out, progress=True)
            show(found)
        if not options.no_winners:
            write_winners(read_tunings(options.out))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def show(found: Tuning) -> None:
    seconds = sum(trial.seconds for trial in found.trials)
    print(f"\n{found.model}: {len(found.trials)} trials, {seconds:.0f} s of fitting")
    print(found.table().to_string(), flush=True)
    for setting, value in found.edges().items():
        print(f"the winner's {setting}={value} lies at the edge of the grid")


def winners_of(tunings: dict[str, Tuning]) -> dict[str, dict[str, Any]]:
    """Return the winning settings of the searches that have ended, by model."""
    return {
        name: one.winner.settings
        for name, one in sorted(tunings.items())
        if len(one.trials) == one.n_combinations
    }


def write_winners(tunings: dict[str, Tuning]) -> None:
    """Write the winners to the package."""
    with atomic_write(TUNED) as handle:
        handle.write(json.dumps({DATA: winners_of(tunings)}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
