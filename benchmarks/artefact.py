"""Make the trained `mini` in data/mini/, or train it again and show that it comes out alike.

    python -m benchmarks.artefact --write     trains, measures and writes the artefact with its card
    python -m benchmarks.artefact             trains again and compares with the figures of the card

The first takes the model that `benchmarks.mini` left of the same settings, seed and code, where there is one.

The model is trained on the training part of leave-last-out of MovieLens-100K, with seed 0 and the settings by default.
Its figures are those of `benchmarks.mini` on the test part. A training on another processor differs in the last bits of
each step, and so in the end by as much as another seed would: the second command ends with 1 where a figure is further
off than TOLERANCE.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.mini import DATA, measure, trained
from instructrec import datasets
from instructrec.errors import InputError
from instructrec.files import atomic_write
from instructrec.models import SHIPPED, create, load
from instructrec.models.base import Recommender
from instructrec.split import SPLITS, Split

PROTOCOL, SEED = "leave-last-out", 0
FIGURES = "figures.json"
TOLERANCE = {"ndcg": 0.012, "obeyed": 0.03}
"""Of NDCG@10, and of satisfaction or violation at 10: twice what seeds differ by (benchmarks/results/mini.json)."""
COMMAND = "python -m benchmarks.artefact --write"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Make the trained mini in data/mini/, or train it again and compare."
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
    """Return NDCG@10 and how far each condition is obeyed, on the test part."""
    rows = measure(model, None, split, "test")
    return {
        name: dict(zip(("obeyed", "ndcg"), np.nanmean(one[:, :2], axis=0).round(4).tolist(), strict=True))
        for name, one in rows.items()
    }


def compare(figures: dict[str, dict[str, float]], shipped: dict[str, dict[str, float]]) -> int:
    """Print figures beside those of the artefact; return 1 if one is further off than `TOLERANCE`, else 0."""
    print(f"{'condition':<24}{'figure':<8}{'artefact':>10}{'here':>8}{'apart':>8}")
    far = 0
    for name, row in shipped.items():
        for figure, value in row.items():
            apart = figures[name][figure] - value
            wrong = abs(apart) > TOLERANCE[figure]
            far += wrong
            mark = f"  more than {TOLERANCE[figure]}" if wrong else ""
            print(f"{name:<24}{figure:<8}{value:>10.4f}{figures[name][figure]:>8.4f}{apart:>+8.4f}{mark}")
    print(f"{far} of {2 * len(shipped)} figures are further apart than the tolerance")
    return 1 if far else 0


def write(model: Recommender, split: Split, folder: Path) -> None:
    """Write model, training note, figures and card; the figures are those of the model as it is read again."""
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
    """Return whether a condition refuses something, so that its share is one of violations."""
    return name.split(" (")[0] in ("contradicting", "negated", "unseen negation")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.artefact: {error}")
