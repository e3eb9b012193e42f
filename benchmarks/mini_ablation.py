"""Ablation of `mini`: each part is removed or reduced, and the others are trained as before.

    python -m benchmarks.mini_ablation [--only PART] [--rows NAME …] [--seeds 0 1 2] [--torch] [--processes 1]

Trains on the training part of leave-last-out of MovieLens-100K and measures on the VALIDATION part (choices are made
there). Parts of the training on histories are measured by NDCG@10 without an instruction, with three seeds; parts of
tuning by NDCG@10 and satisfaction@10 in some tasks, with the first of the seeds and a third of the epochs
(`SHORT_TUNING`), in all rows alike. Every figure has a 95% bootstrap interval over users of the mean of seeds. With
`--torch` Keras runs on PyTorch, on a GPU if there is one (`benchmarks.on_torch`), in the given number of processes.

Writes benchmarks/results/mini_ablation.json; a row that the file holds already is not trained again, and neither is, on
the CPU, a model that `benchmarks.mini` has stored.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import DATA, following_figures, trained
from instructrec import datasets
from instructrec.errors import InputError, one_of
from instructrec.files import atomic_write
from instructrec.models import create
from instructrec.models.mini.model import Mini
from instructrec.split import SPLITS
from instructrec.statistics import bootstrap_interval

RESULTS = Path(__file__).with_name("results") / "mini_ablation.json"
HISTORY: dict[str, dict[str, Any]] = {
    "as it is": {},
    "one target a row": {"packed": False},
    "words alone, no item tokens": {"item_tokens": False},
    "item tokens alone, no words": {"describe_items": False},
    "history of 5": {"length": 5},
    "history of 10": {"length": 10},
    "history of 20": {"length": 20},
    "history of 100": {"length": 100},
    "width 16": {"hidden_size": 16, "intermediate_size": 32},
    "width 32": {"hidden_size": 32, "intermediate_size": 64},
    "width 64": {"hidden_size": 64, "intermediate_size": 128},
    "width 256": {"hidden_size": 256, "intermediate_size": 512},
    "one layer": {"n_layers": 1},
    "four layers": {"n_layers": 4},
}
SHORT_TUNING: dict[str, Any] = {"tuning_epochs": 8, "final_epochs_without_dropout": 3}
TEXTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "a tenth of the texts": {"instruction_share": 0.05},
    "a third of the texts": {"instruction_share": 0.16},
    "categories alone": {"kinds": ["category"]},
    "no wishes": {
        "kinds": [
            "category",
            "era",
            "category and era",
            "title",
            "refusal",
            "category and refusal",
            "condition",
            "null",
        ]
    },
    "English alone": {"languages": ["en"]},
    "no noise": {"noise": 0.0},
    "no like words": {"paraphrase": 0.0},
    "no word vectors": {"word_vectors": False},
    "words alone, no item tokens": {"item_tokens": False},
    "item tokens alone, no words": {"describe_items": False, "copies": ["words"]},
    "titles not copied": {"copies": ["words"]},
    "nothing copied": {"copies": []},
}
VARIANTS = {"texts": TEXTS, "history": HISTORY}
TASKS = ("none", "stated", "unseen wording", "vague wish", "negated", "title word", "new words")


class Training(NamedTuple):
    """One training: the part, its row's name, the settings, and whether to use PyTorch."""

    part: str
    name: str
    settings: dict[str, Any]
    torch: bool


class Result(NamedTuple):
    """Result of a training: number of parameters, figures of each request by task, and backend with device."""

    training: Training
    n_parameters: int
    figures: dict[str, np.ndarray]
    device: str


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Remove parts of mini.")
    parser.add_argument("--only", choices=["history", "texts"])
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="rows by name, such as 'width 64'")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--torch", action="store_true", help="Keras on PyTorch, on a GPU where there is one")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.processes < 1:
        raise InputError(
            f"argument --processes: {options.processes} given; a whole number of at least 1 is accepted"
        )
    names = [*HISTORY, *TEXTS]
    for name in options.rows or ():
        if name not in names:
            raise one_of("row", name, names, most=len(names))
    rows: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
    trainings = [
        training
        for part in ("texts", "history")
        if options.only in (None, part)
        for training in _missing(part, rows, options.rows, _seeds(part, options.seeds), options.torch)
    ]
    results: dict[str, list[Result]] = {}
    for result in _results(trainings, options.processes):
        part, name = result.training.part, result.training.name
        key, seeds = f"{part}: {name}", _seeds(part, options.seeds)
        results.setdefault(key, []).append(result)
        if len(results[key]) < len(seeds):
            continue
        rows[key] = _row(results[key], seeds)
        print(key, line(rows[key]["rows"]), flush=True)
        order = [f"{part}: {name}" for part, variants in VARIANTS.items() for name in variants]
        with atomic_write(options.out) as handle:
            json.dump({key: rows[key] for key in order if key in rows}, handle, indent=1)
            handle.write("\n")
    return 0


def _seeds(part: str, seeds: list[int]) -> list[int]:
    """Return the seeds of a part: tuning takes the first only."""
    return seeds if part == "history" else seeds[:1]


def _missing(
    part: str, rows: dict[str, Any], names: list[str] | None, seeds: list[int], torch: bool
) -> list[Training]:
    """Return the trainings of a part whose rows the results do not hold with these settings and seeds."""
    trainings: list[Training] = []
    for name, changed in VARIANTS[part].items():
        settings = {**changed, **(SHORT_TUNING if part == "texts" else {"kinds": []})}
        row = rows.get(f"{part}: {name}", {})
        stored = _of_part(part, row.get("settings", {})), row.get("seeds")
        if names and name not in names:
            continue
        if stored != (_of_part(part, Mini(**settings).settings), seeds):
            trainings += [Training(part, name, {**settings, "seed": seed}, torch) for seed in seeds]
    return trainings


def _row(results: list[Result], seeds: list[int]) -> dict[str, Any]:
    """Return the row of a variant from the results of its seeds."""
    last = results[-1]
    return {
        "settings": Mini(**{**last.training.settings, "seed": 0}).settings,
        "seeds": seeds,
        "parameters": last.n_parameters,
        "on": last.device,
        "rows": {
            task: summary(np.mean([result.figures[task] for result in results], axis=0))
            for task in last.figures
        },
    }


def _of_part(part: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that determine a part: the training on histories does not depend on those of tuning."""
    tuning = (
        "tuning_epochs",
        "final_epochs_without_dropout",
        "text_",
        "instruction_share",
        "question_share",
        "noise",
        "paraphrase",
        "copies",
        "copy_dropout",
    )
    return {
        name: value for name, value in settings.items() if part != "history" or not name.startswith(tuning)
    }


def _results(trainings: list[Training], processes: int) -> Iterator[Result]:
    """Yield the result of each training; several processes or another backend need processes of their own."""
    if processes == 1 and not any(training.torch for training in trainings):
        yield from map(train, trainings)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(train, trainings)


def train(training: Training) -> Result:
    """Train a model and measure it."""
    device = f"TensorFlow, {platform.machine()} CPU"
    if training.torch:
        from benchmarks import on_torch

        device = f"PyTorch, {on_torch.installed()}"
    split = SPLITS["leave-last-out"](datasets.load(DATA))
    if training.torch:
        model = create("mini", **training.settings).fit(split.train)
    else:
        model = trained("mini", split=split, protocol="leave-last-out", **training.settings)
    tasks = () if training.part == "history" else TASKS
    figures = following_figures(model, None, split, "valid", tasks)
    assert isinstance(model, Mini)
    return Result(training, model.n_parameters, figures, device)


def summary(figures: np.ndarray) -> dict[str, list[float]]:
    """Return mean, low and high of the share obeyed and of NDCG@10 over the requests with an instruction."""
    figures = figures[~np.isnan(figures[:, 1])]
    intervals = {}
    for name, values in (("obeyed", figures[:, 0]), ("ndcg", figures[:, 1])):
        interval = bootstrap_interval(values[~np.isnan(values)])
        intervals[name] = [round(bound, 4) for bound in interval]
    return intervals


def line(rows: dict[str, dict[str, list[float]]]) -> str:
    """Return the means of a row as one line."""
    return "; ".join(f"{name} {row['obeyed'][0]:.3f} {row['ndcg'][0]:.4f}" for name, row in rows.items())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.mini_ablation: {error}")
