"""Tune every baseline on MovieLens-100K with comparable effort, and record every trial.

    python -m benchmarks.tuning [--models a b …] [--out FILE] [--no-winners] [--ablation]

Each model is fitted with the combinations of its grid below on the training part of the leave-last-out split, and
evaluated by NDCG@10 on the validation part over the whole catalogue. The networks get 12 trials each. The simple
models, which fit in seconds, get 36, so that no network leads because it was tuned more. All history lengths get the
same trials of the other settings, so that the best trials of the lengths can be compared. The record is
benchmarks/results/tuning.json, written after each trial; a second call continues an interrupted search. The winners go
to instructrec/models/tuned.json, from which `models.tuned(NAME)` creates them.

A grid whose winner lay at its edge was replaced by another with as many trials; the trials of replaced grids are in the
record as `earlier` and cannot win. random and most-popular have no settings.

`--ablation` runs an ablation of SASRec's winner instead: its initialisation from cosines and the exclusion of seen
items from the softmax, each with and without, for as many epochs and for twice as many;
benchmarks/results/ablation.json.
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
from instructrec.models import TUNED, tuned_settings
from instructrec.split import leave_last_out

RESULTS = Path(__file__).with_name("results") / "tuning.json"
ABLATION = RESULTS.with_name("ablation.json")
DATA = "movielens-100k"
LENGTHS = [None, 10, 3, 2]

GRIDS: dict[str, dict[str, list[Any]]] = {
    "recently-popular": {"days": [7, 14, 21, 30, 45, 60, 75, 90, 105, 120, 150, 180]},
    "item-knn": {"k": [100, 200, 400], "shrink": [3, 10, 30], "length": LENGTHS},
    "ease": {"reg": [30, 100, 300, 1000, 3000, 10000], "length": [None, 20, 10, 5, 3, 2]},
    "als": {"factors": [16, 32, 64], "alpha": [0.5, 1, 2], "length": [None, 20, 10, 5]},
    "bpr": {"learning_rate": [0.00125, 0.0025, 0.005], "epochs": [200, 400, 800], "length": [None, 5, 3, 2]},
    "three-tower": {
        "interaction": ["mlp"],
        "length": [10],
        "learning_rate": [0.005, 0.01, 0.02],
        "epochs": [4, 6, 8, 10],
    },
    "two-tower": {"length": [3, 5, 10, 20], "temperature": [0.05, 0.07, 0.1]},
    "sasrec": {
        "length": [10, 20, 40],
        "dropout": [0.2],
        "learning_rate": [0.002, 0.004, 0.006, 0.008],
        "epochs": [15],
    },
}
TRIALS = {name: 36 if name in ("item-knn", "ease", "als", "bpr") else 12 for name in GRIDS}


def main() -> int:
    parser = argparse.ArgumentParser(description="Tune every baseline on MovieLens-100K.")
    parser.add_argument("--models", nargs="+", default=list(GRIDS), choices=list(GRIDS), metavar="MODEL")
    parser.add_argument("--out", type=Path, help="the record (default: in benchmarks/results)")
    parser.add_argument("--ablation", action="store_true", help="run an ablation of SASRec's winner instead")
    parser.add_argument("--no-winners", action="store_true", help="do not write the package's tuned.json")
    options = parser.parse_args()
    try:
        split = leave_last_out(datasets.load(DATA))
        grids = {"sasrec": ablation_grid()} if options.ablation else GRIDS
        record = options.out or (ABLATION if options.ablation else RESULTS)
        for name in grids if options.ablation else options.models:
            show(search(Search(name, grids[name]), None, split, path=record, progress=True))
        if not options.no_winners and not options.ablation:
            write_winners(read_tunings(record))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def ablation_grid() -> dict[str, list[Any]]:
    """Return the grid around SASRec's winner: both starts, seen items in or out, its epochs and twice as many."""
    winner = tuned_settings("sasrec")
    fixed = {name: [value] for name, value in winner.items() if name != "epochs"}
    switches = {"start": ["svd", "random"], "exclude_seen": [True, False]}
    return {**fixed, **switches, "epochs": [winner["epochs"], 2 * winner["epochs"]]}


def show(tuning: Tuning) -> None:
    seconds = sum(trial.seconds for trial in tuning.trials)
    print(f"\n{tuning.model}: {len(tuning.trials)} trials, {seconds:.0f} s of fitting")
    print(tuning.table().to_string(), flush=True)
    for setting, value in tuning.edges().items():
        print(f"the winner's {setting}={value} lies at the edge of the grid")


def winners_of(tunings: dict[str, Tuning]) -> dict[str, dict[str, Any]]:
    """Return the winning settings of the finished searches, by model."""
    return {
        name: tuning.winner.settings
        for name, tuning in sorted(tunings.items())
        if len(tuning.trials) == tuning.n_combinations
    }


def write_winners(tunings: dict[str, Tuning]) -> None:
    """Write the winners to the package."""
    with atomic_write(TUNED) as handle:
        handle.write(json.dumps({DATA: winners_of(tunings)}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
