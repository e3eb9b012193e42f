"""What `mini` owes to its parts: each is taken away or turned down, and the rest trained as before.

    python -m benchmarks.mini_ablation [--only PART] [--rows NAME …] [--seeds 0 1 2] [--torch] [--processes 1]

Trains on the training part of leave-last-out of MovieLens-100K and measures on the VALIDATION part (choices are made
there). Parts of the first training are measured by NDCG@10 without a text, with three seeds; tuning by NDCG@10 and
satisfaction@10 under some conditions, with the first of the seeds and a third of the epochs (`SHORT`), in all rows
alike.
Every figure has a 95% bootstrap interval over users of the mean of seeds. With `--torch` Keras runs on PyTorch, on a
GPU where there is one (`benchmarks.on_torch`), in as many processes as are asked for.

Writes benchmarks/results/mini_ablation.json; a row that is there already is not trained again, nor on the CPU a model
that `benchmarks.mini` left.
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

from benchmarks.mini import DATA, measure, trained
from instructrec import datasets
from instructrec.errors import InputError, one_of
from instructrec.files import atomic_write
from instructrec.models import create
from instructrec.models.mini.model import Mini
from instructrec.split import SPLITS

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
SHORT: dict[str, Any] = {"tuning_epochs": 8, "final_epochs_without_dropout": 3}
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
TASKS = ("none", "stated", "unseen wording", "vague wish", "negated", "title word", "new words")


class Task(NamedTuple):
    """One training: the part, its row's name, the settings, and the device it is to use."""

    part: str
    name: str
    settings: dict[str, Any]
    torch: bool


class Done(NamedTuple):
    """What came of it: parameters, figures a request by condition, and where it ran."""

    task: Task
    parameters: int
    rows: dict[str, np.ndarray]
    place: str


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Take parts of mini away.")
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
    found: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
    tasks = []
    for part, variants, seeds in (
        ("texts", TEXTS, options.seeds[:1]),
        ("history", HISTORY, options.seeds),
    ):
        for name, changed in variants.items():
            settings = {**changed, **(SHORT if part == "texts" else {"kinds": []})}
            row = found.get(f"{part}: {name}", {})
            if options.rows and name not in options.rows:
                continue
            there = _of_part(part, row.get("settings", {})), row.get("seeds")
            if options.only in (None, part) and there != (_of_part(part, Mini(**settings).settings), seeds):
                tasks += [Task(part, name, {**settings, "seed": seed}, options.torch) for seed in seeds]
    runs: dict[str, list[Done]] = {}
    for done in _trained(tasks, options.processes):
        part, name = done.task.part, done.task.name
        key = f"{part}: {name}"
        listed = runs.setdefault(key, [])
        listed.append(done)
        seeds = options.seeds if part == "history" else options.seeds[:1]
        if len(listed) < len(seeds):
            continue
        rows = {label: summary(np.mean([one.rows[label] for one in listed], axis=0)) for label in done.rows}
        settings = Mini(**{**done.task.settings, "seed": 0}).settings
        found[key] = {
            "settings": settings,
            "seeds": seeds,
            "parameters": done.parameters,
            "on": done.place,
            "rows": rows,
        }
        print(key, line(rows), flush=True)
        order = [
            f"{part}: {name}"
            for part, rows_of in (("texts", TEXTS), ("history", HISTORY))
            for name in rows_of
        ]
        with atomic_write(options.out) as handle:
            json.dump({key: found[key] for key in order if key in found}, handle, indent=1)
            handle.write("\n")
    return 0


def _of_part(part: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that decide a part: those of tuning are nothing to the training on histories."""
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


def _trained(tasks: list[Task], processes: int) -> Iterator[Done]:
    """Give what comes of each task, in processes of their own if there are to be several or another backend."""
    if processes == 1 and not any(task.torch for task in tasks):
        yield from map(train, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(train, tasks)


def train(task: Task) -> Done:
    """Train a model and measure it."""
    place = f"TensorFlow, {platform.machine()} CPU"
    if task.torch:
        from benchmarks import on_torch

        place = f"PyTorch, {on_torch.installed()}"
    split = SPLITS["leave-last-out"](datasets.load(DATA))
    if task.torch:
        model = create("mini", **task.settings).fit(split.train)
    else:
        model = trained("mini", split=split, protocol="leave-last-out", **task.settings)
    rows = measure(model, None, split, "valid", () if task.part == "history" else TASKS)
    assert isinstance(model, Mini)
    return Done(task, model.n_parameters, rows, place)


def summary(rows: np.ndarray, n_draws: int = 2000) -> dict[str, list[float]]:
    """Return mean, low and high of the share obeyed and of NDCG@10."""
    rows = rows[~np.isnan(rows[:, 1])]
    draws = np.random.default_rng(0).integers(0, len(rows), (n_draws, len(rows)))
    found = {}
    for name, values in (("obeyed", rows[:, 0]), ("ndcg", rows[:, 1])):
        values = values[~np.isnan(values)]
        low, high = np.quantile(values[draws % len(values)].mean(axis=1), [0.025, 0.975])
        found[name] = [round(float(one), 4) for one in (values.mean(), low, high)]
    return found


def line(rows: dict[str, dict[str, list[float]]]) -> str:
    """Return a line for the eye."""
    return "; ".join(f"{name} {row['obeyed'][0]:.3f} {row['ndcg'][0]:.4f}" for name, row in rows.items())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.mini_ablation: {error}")
