"""What `mini` owes to its parts: each is taken away or turned down, and the rest trained as before, more shortly.

    python -m benchmarks.mini_ablation [--only history|texts] [--seeds 0]

Trains on the training part of leave-last-out of MovieLens-100K and measures on the VALIDATION part (choices are made
there), with the epochs in EPOCHS. Parts of the first training are measured by NDCG@10 without a text; tuning by
NDCG@10 and satisfaction@10 under some conditions. Every figure has a 95% bootstrap interval over users; the seed is the
same for all rows, so that rows differ by what they name and by the luck of one training each.

Writes benchmarks/results/mini_ablation.json; a row that is there already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mini import DATA, measure
from instructrec import datasets
from instructrec.errors import InputError
from instructrec.files import atomic_write
from instructrec.models import create
from instructrec.split import SPLITS

RESULTS = Path(__file__).with_name("results") / "mini_ablation.json"
EPOCHS = {"epochs": 15, "tuning_epochs": 6}
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
    "no word vectors": {"word_vectors": False},
    "words alone, no item tokens": {"item_tokens": False},
    "item tokens alone, no words": {"describe_items": False},
}
CONDITIONS = ("none", "stated", "unseen wording", "vague wish", "negated", "title word", "new words")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Take parts of mini away.")
    parser.add_argument("--only", choices=["history", "texts"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args(arguments)
    split = SPLITS["leave-last-out"](datasets.load(DATA))
    found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    for part, variants in (("history", HISTORY), ("texts", TEXTS)):
        if options.only not in (None, part):
            continue
        for name, changed in variants.items():
            for seed in options.seeds:
                key = f"{part}: {name}, seed {seed}"
                settings = {**EPOCHS, **changed, **({"kinds": []} if part == "history" else {}), "seed": seed}
                if found.get(key, {}).get("settings") == settings:
                    continue
                model = create("mini", **settings)
                started = time.perf_counter()
                model.fit(split.train)
                seconds = time.perf_counter() - started
                rows = measure(model, None, split, "valid", () if part == "history" else CONDITIONS)
                found[key] = {
                    "settings": settings,
                    "seconds": round(seconds, 1),
                    "parameters": model.n_parameters,  # type: ignore[attr-defined]
                    "rows": {label: summary(one) for label, one in rows.items()},
                }
                print(key, f"{seconds:.0f} s", line(found[key]["rows"]), flush=True)
                with atomic_write(RESULTS) as handle:
                    json.dump(found, handle, indent=1)
                    handle.write("\n")
    return 0


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
