"""Measure every baseline on MovieLens-100K, tuned, by three protocols and against five sets of candidates.

    python -m benchmarks.baselines [--models LABEL …] [--protocols …] [--seeds 0 1 …] [--out FILE] [--report FOLDER]

Settings are the winners of benchmarks/tuning.py ("tuned"), chosen on the validation part of leave-last-out; item-knn
and ease also stand with the book's settings, which read the whole history. random and most-popular have no settings.
Leave-last-out ranks the target against the whole catalogue, 9 and 99 random negatives, and 9 and 99 hard negatives:
the unseen items that the untuned item-knn scores highest, so that no tuned model meets its own favourites. global-time
and random-holdout rank against the whole catalogue.

Writes benchmarks/results/baselines.json after each model, goes on where it was cut off, and makes tables and figures
under _build/report. Prints the seconds of the leave-last-out table with one seed (fit, score and measure of all its
models); exit status 1 if they pass 10 minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from instructrec import datasets
from instructrec.errors import InputError, one_of
from instructrec.evaluation.candidates import WHOLE_CATALOGUE
from instructrec.evaluation.experiment import ModelSpec, run_experiment
from instructrec.evaluation.results import Results
from instructrec.models import tuned_settings
from instructrec.split import SPLITS

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results") / "baselines.json"
REPORT = ROOT / "_build" / "report"
DATA = "movielens-100k"
LIMIT = 600.0
FIRST = "leave-last-out"
HARD = "item-knn"
CANDIDATES = (
    WHOLE_CATALOGUE,
    *(f"{n} random negatives" for n in (9, 99)),
    *(f"{n} hard negatives by {HARD}" for n in (9, 99)),
)
# label: (model, whether with the settings of its search)
MODELS = {
    "random": ("random", False),
    "most-popular": ("most-popular", False),
    "recently-popular": ("recently-popular", True),
    HARD: ("item-knn", False),
    "item-knn tuned": ("item-knn", True),
    "ease": ("ease", False),
    "ease tuned": ("ease", True),
    "als": ("als", True),
    "bpr": ("bpr", True),
    "three-tower": ("three-tower", True),
    "two-tower": ("two-tower", True),
    "sasrec": ("sasrec", True),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure every baseline on MovieLens-100K.")
    parser.add_argument(
        "--models",
        nargs="+",
        default=list(MODELS),
        metavar="LABEL",
        help=f"{', '.join(MODELS)}; {HARD}, which chooses the hard negatives, always takes part",
    )
    parser.add_argument("--protocols", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of models with chance")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    try:
        entries = chosen(options.models)
        dataset = datasets.load(DATA)
        seeds = tuple(options.seeds)
        if FIRST in options.protocols:
            run_experiment(entries, dataset, options.out, (FIRST,), CANDIDATES, seeds)
        others = tuple(name for name in options.protocols if name != FIRST)
        if others:
            run_experiment(entries, dataset, options.out, others, (WHOLE_CATALOGUE,), seeds)
        from instructrec.evaluation.report import report

        report(options.out, options.report)
        print(f"tables and figures: {options.report}")
        if FIRST not in options.protocols:
            return 0
        seconds = seconds_of_table(Results.load(options.out), {entry.label for entry in entries}, seeds[0])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{FIRST}, one seed, {len(entries)} models: {seconds:.0f} s (limit {LIMIT:.0f} s)")
    return 0 if seconds <= LIMIT else 1


def chosen(labels: list[str]) -> list[ModelSpec]:
    """Return the models of some labels, in the order of the table.

    Raises:
        InputError: An unknown label, or a model that was not tuned.
    """
    for label in labels:
        if label not in MODELS:
            raise one_of("model", label, MODELS, most=len(MODELS))
    return [
        ModelSpec(label, name, tuned_settings(name, DATA) if tuned else {})
        for label, (name, tuned) in MODELS.items()
        if label in labels or label == HARD
    ]


def seconds_of_table(results: Results, labels: set[str], seed: int) -> float:
    """Return what the leave-last-out runs of one seed took together."""
    return sum(
        sum(one.seconds.values())
        for one in results.runs
        if one.label in labels and one.protocol == FIRST and one.part == "test" and one.seed in (None, seed)
    )


if __name__ == "__main__":
    sys.exit(main())
