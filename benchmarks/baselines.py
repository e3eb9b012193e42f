"""Evaluate every baseline on MovieLens-100K, tuned, by three protocols and against five sets of candidates.

    python -m benchmarks.baselines [--models LABEL …] [--protocols …] [--seeds 0 1 …] [--out FILE] [--report FOLDER]

Settings are the winners of benchmarks/tuning.py ("tuned"), chosen on the validation part of leave-last-out; item-knn
and ease also run with the book's settings, which read the whole history. random and most-popular have no settings.
Leave-last-out ranks the target against the whole catalogue, 9 and 99 random negatives, and 9 and 99 hard negatives:
the unseen items that the untuned item-knn scores highest, so no tuned model is evaluated on its own negatives.
global-time and random-holdout rank against the whole catalogue.

Writes benchmarks/results/baselines.json after each model, continues an interrupted run, and makes tables and figures
under _build/report. Prints the seconds of the leave-last-out table with one seed (fit, score and measure of all its
models); exit status 1 if they exceed 10 minutes.
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
MAX_SECONDS = 600.0
MAIN_PROTOCOL = "leave-last-out"
CHOOSER = "item-knn"
"""The model that chooses the hard negatives."""
CANDIDATES = (
    WHOLE_CATALOGUE,
    *(f"{n} random negatives" for n in (9, 99)),
    *(f"{n} hard negatives by {CHOOSER}" for n in (9, 99)),
)
MODELS = {
    "random": ("random", False),
    "most-popular": ("most-popular", False),
    "recently-popular": ("recently-popular", True),
    CHOOSER: ("item-knn", False),
    "item-knn tuned": ("item-knn", True),
    "ease": ("ease", False),
    "ease tuned": ("ease", True),
    "als": ("als", True),
    "bpr": ("bpr", True),
    "three-tower": ("three-tower", True),
    "two-tower": ("two-tower", True),
    "sasrec": ("sasrec", True),
}
"""By label: the model, and whether it has the settings of its search."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Evaluate every baseline on MovieLens-100K.")
    parser.add_argument(
        "--models",
        nargs="+",
        default=list(MODELS),
        metavar="LABEL",
        help=f"{', '.join(MODELS)}; {CHOOSER}, which chooses the hard negatives, is always included",
    )
    parser.add_argument("--protocols", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of models with chance")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    try:
        models = select_models(options.models)
        dataset = datasets.load(DATA)
        seeds = tuple(options.seeds)
        if MAIN_PROTOCOL in options.protocols:
            run_experiment(models, dataset, options.out, (MAIN_PROTOCOL,), CANDIDATES, seeds)
        further_protocols = tuple(name for name in options.protocols if name != MAIN_PROTOCOL)
        if further_protocols:
            run_experiment(models, dataset, options.out, further_protocols, (WHOLE_CATALOGUE,), seeds)
        from instructrec.evaluation.report import report

        report(options.out, options.report)
        print(f"tables and figures: {options.report}")
        if MAIN_PROTOCOL not in options.protocols:
            return 0
        seconds = seconds_of_table(Results.load(options.out), {entry.label for entry in models}, seeds[0])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{MAIN_PROTOCOL}, one seed, {len(models)} models: {seconds:.0f} s (limit {MAX_SECONDS:.0f} s)")
    return 0 if seconds <= MAX_SECONDS else 1


def select_models(labels: list[str]) -> list[ModelSpec]:
    """Return the models with these labels, in the order of the table.

    Raises:
        InputError: An unknown label, or a model without tuned settings.
    """
    for label in labels:
        if label not in MODELS:
            raise one_of("model", label, MODELS, most=len(MODELS))
    return [
        ModelSpec(label, name, tuned_settings(name, DATA) if tuned else {})
        for label, (name, tuned) in MODELS.items()
        if label in labels or label == CHOOSER
    ]


def seconds_of_table(results: Results, labels: set[str], seed: int) -> float:
    """Return the seconds of the leave-last-out runs of one seed together."""
    return sum(
        sum(run.seconds.values())
        for run in results.runs
        if run.label in labels
        and run.protocol == MAIN_PROTOCOL
        and run.part == "test"
        and run.seed in (None, seed)
    )


if __name__ == "__main__":
    sys.exit(main())
