"""Create the trained `mini` of data/mini/, or train it again and compare the figures.

    python -m benchmarks.artefact --write     trains, measures and writes the artefact with its card
    python -m benchmarks.artefact             trains again and compares with the figures of the card

The first uses the model that `benchmarks.mini` has stored for the same settings, seed and code, if there is one.

The model is trained on the training part of leave-last-out of MovieLens-100K, with seed 0 and the settings by default.
Its figures are those of `benchmarks.mini` on the test part. A training on another processor differs in the last bits of
each step, and at the end by as much as one with another seed: the second command ends with status 1 if a figure differs
by more than TOLERANCE.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.common import DATA, following_figures, trained
from instructrec import datasets
from instructrec.errors import InputError
from instructrec.files import atomic_write
from instructrec.models import SHIPPED, create, load
from instructrec.models.base import Recommender
from instructrec.split import SPLITS, Split

PROTOCOL, SEED = "leave-last-out", 0
FIGURES = "figures.json"
TOLERANCE = {"ndcg": 0.012, "obeyed": 0.03}
"""Of NDCG@10, and of satisfaction or violation at 10: twice the difference between seeds (results/mini.json)."""
COMMAND = "python -m benchmarks.artefact --write"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Create the trained mini of data/mini/, or train it again and compare."
    )
    parser.add_argument(
        "--write", action="store_true", help="write the artefact instead of comparing with it"
    )
    options = parser.parse_args(arguments)
    folder = SHIPPED["mini"]
    split = SPLITS[PROTOCOL](datasets.load(DATA))
    if options.write:
        write(trained("mini", SEED, split, PROTOCOL), split, folder)
        print(f"wrote {folder}")
        return 0
    model = create("mini", seed=SEED)
    started = time.perf_counter()
    model.fit(split.train, verbose=2)  # type: ignore[call-arg]
    print(f"{time.perf_counter() - started:.0f} s of training")
    shipped = json.loads((folder / FIGURES).read_text("utf-8"))
    figures = figures_of(model, split)
    return compare(figures, shipped["figures"])


def figures_of(model: Recommender, split: Split) -> dict[str, dict[str, float]]:
    """Return NDCG@10 and satisfaction (or violation) at 10 of each task, on the test part."""
    figures = following_figures(model, None, split, "test")
    return {
        name: dict(zip(("obeyed", "ndcg"), np.nanmean(rows[:, :2], axis=0).round(4).tolist(), strict=True))
        for name, rows in figures.items()
    }


def compare(figures: dict[str, dict[str, float]], shipped: dict[str, dict[str, float]]) -> int:
    """Print figures beside those of the artefact; return 1 if any differs by more than `TOLERANCE`, else 0."""
    print(f"{'task':<24}{'figure':<8}{'artefact':>10}{'here':>8}{'apart':>8}")
    n_differences = 0
    for name, row in shipped.items():
        for figure, value in row.items():
            difference = figures[name][figure] - value
            is_too_large = abs(difference) > TOLERANCE[figure]
            n_differences += is_too_large
            mark = f"  more than {TOLERANCE[figure]}" if is_too_large else ""
            print(
                f"{name:<24}{figure:<8}{value:>10.4f}{figures[name][figure]:>8.4f}{difference:>+8.4f}{mark}"
            )
    print(f"{n_differences} of {2 * len(shipped)} figures are further apart than the tolerance")
    return 1 if n_differences else 0


def write(model: Recommender, split: Split, folder: Path) -> None:
    """Write model, training note, figures and card; the figures are those of the model after it is loaded again."""
    model.save(folder, catalogue=False)
    loaded = load(folder)
    figures = figures_of(loaded, split)
    with atomic_write(folder / "training.json") as handle:
        json.dump({"model": "mini", "data": DATA, "protocol": PROTOCOL}, handle, indent=2)
        handle.write("\n")
    with atomic_write(folder / FIGURES) as handle:
        json.dump({"command": COMMAND, "figures": figures}, handle, indent=1, ensure_ascii=False)
        handle.write("\n")
    with atomic_write(folder / "README.md") as handle:
        handle.write(card(loaded, figures, (folder / "arrays.npz").stat().st_size))


def card(model: Recommender, figures: dict[str, dict[str, float]], size: int) -> str:
    """Return the card of the artefact."""
    rows = "\n".join(
        f"| {name} | {row['obeyed']:.3f}{' (violation)' if is_refusal(name) else ''} | {row['ndcg']:.3f} |"
        for name, row in figures.items()
    )
    n_parameters = model.n_parameters  # type: ignore[attr-defined]
    text = Path(__file__).with_name("mini_card.md").read_text("utf-8")
    return text.format(command=COMMAND, n_parameters=n_parameters, megabytes=size / 1e6, rows=rows)


def is_refusal(name: str) -> bool:
    """Return whether a task refuses something, so that its figure is a violation."""
    return name.split(" (")[0] in ("contradicting", "negated", "unseen negation")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.artefact: {error}")
