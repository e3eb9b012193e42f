"""The paper's tables on MovieLens-100K: `mini` among 10 and 100 candidates, beside what the paper reports.

    python -m benchmarks.paper_tables [--seeds 0 1 2]

The tasks are those of Zhang et al., 2023, arXiv:2305.07001: the next item from the history (P1), from what is asked
alone (product search), from both (P1 with I1 or I2), and from a taste in words with what is asked (P2 with I1 or I2,
for which the paper has no table); among the target and 9 random negatives, 9 hard ones (those that SASRec ranks first),
or 99 random ones. Where the paper gives history and taste in words (P1 and P2), `mini` gets the taste in words alone,
which is harder. I1 is a vague wish, I2 a category, both from the target (an oracle), as the paper's are. Most popular
and SASRec read histories and no instruction.

Writes benchmarks/results/paper_tables.json: HR@1, 3, 5 and NDCG@3, 5 of each seed, and the mean.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import DATA, trained
from instructrec import datasets
from instructrec.errors import InputError
from instructrec.evaluation.candidates import Candidates, hard_negatives, random_negatives
from instructrec.evaluation.following_tasks import make_following_tasks
from instructrec.evaluation.paper import expected_metrics, paper_figures, paper_metrics
from instructrec.files import atomic_write
from instructrec.instructions.verbalizer import Verbalizer
from instructrec.models import Recommender, create
from instructrec.split import SPLITS, Split

RESULTS = Path(__file__).with_name("results") / "paper_tables.json"
PROTOCOL = "leave-last-out"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The paper's tables on MovieLens-100K.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args(arguments)
    split = SPLITS[PROTOCOL](datasets.load(DATA))
    popular = create("most-popular").fit(split.train)
    runs = []
    for seed in options.seeds:
        sasrec, mini = (trained(name, seed, split, PROTOCOL) for name in ("sasrec", "mini"))
        runs.append(tables(split, {"most-popular": popular, "sasrec": sasrec}, mini, seed))
    keys = ["task", "model"]
    mean = pd.concat(runs).groupby(keys, sort=False)[list(paper_metrics())].mean().reset_index()
    paper = paper_figures()[["task", "model", *paper_metrics()]]
    print(mean.round(4).to_string(index=False))
    print("\nthe paper's own, of other data\n")
    print(paper.to_string(index=False))
    note = {
        "protocol": PROTOCOL,
        "part": "test",
        "seeds": options.seeds,
        "rows": mean.round(5).to_dict("records"),
        "runs": [run.round(5).to_dict("records") for run in runs],
    }
    with atomic_write(RESULTS) as handle:
        json.dump(note, handle, indent=1)
        handle.write("\n")
    return 0


def tables(split: Split, plain: dict[str, Recommender], mini: Recommender, seed: int) -> pd.DataFrame:
    """Return a row for each task and model: `task`, `model` and the paper's metrics."""
    requests = split.requests("test")
    histories = requests.histories
    empty: list[list[object]] = [[] for _ in histories]
    following = make_following_tasks(split, "test", ["stated", "vague wish"])
    category, wish = (following.tasks[name].texts for name in ("stated", "vague wish"))
    assert len(category) == len(histories)
    verbalizer = Verbalizer(split.train, "en")
    taste = [f"my taste: {verbalizer.taste(history[-20:])}" for history in histories]
    random9, random99 = random_negatives(9, seed), random_negatives(99, seed)
    hard9 = hard_negatives(9, plain["sasrec"])
    none = [None] * len(histories)
    tasks: list[tuple[str, Candidates, list, list]] = [
        ("sequential", random9, histories, none),
        ("product search", random9, empty, category),
        ("personalised search, P1 and P2", random9, empty, taste),
        ("personalised search, P1 and I1", random9, histories, wish),
        ("personalised search, P1 and I2", random9, histories, category),
        ("personalised search, P2 and I1", random9, empty, joined(taste, wish)),
        ("personalised search, P2 and I2", random9, empty, joined(taste, category)),
        ("hard negatives", hard9, histories, none),
        ("100 candidates, P1 and I1", random99, histories, wish),
    ]
    targets = np.array([split.train.item_columns(items)[0] for items in requests.targets])
    rows = []
    for task, candidates, inputs, texts in tasks:
        allowed = candidates.mask(split, requests)
        for name, model in {**plain, "mini": mini}.items():
            scores = model.score(histories if name != "mini" else inputs, texts if name == "mini" else None)
            rows.append({"task": task, "model": name, **figures(scores, allowed, targets)})
    return pd.DataFrame(rows)


def joined(tastes: list[str], wishes: list[str]) -> list[str]:
    """Return one text each of a taste in words and the wish after it."""
    return [f"{taste}; {wish}" for taste, wish in zip(tastes, wishes, strict=True)]


def figures(scores: np.ndarray, allowed: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return the paper's metrics of the targets among the candidates, the mean over the orders of tied candidates."""
    target_scores = scores[np.arange(len(targets)), targets][:, None]
    n_better = (allowed & (scores > target_scores)).sum(axis=1)
    n_tied = (allowed & (scores == target_scores)).sum(axis=1)
    metrics = expected_metrics(n_better, n_tied, int(allowed.sum(axis=1).max()))
    return {metric: float(values.mean()) for metric, values in metrics.items()}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.paper_tables: {error}")
