"""New items and users: how far above chance does `mini` rank for them?

    python -m benchmarks.newcomers [--seeds 0 1 2] [--torch]

A tenth of the items of MovieLens-100K and a tenth of the users are drawn; all events of either are removed from the
training part of leave-last-out, and `mini` is trained on the remaining ones. The items stay in the catalogue with
title, year and genres, as a shop lists products that nobody has bought yet; the new users have histories, without the
new items.

- new items: requests of all users whose target in the test part is a new item; ranked among the new items only, and
  among the whole catalogue, without an instruction, with its category, with its category and decade;
- new users: the test part's requests of new users whose target is no new item, beside those of the other users.

Each figure is a mean over requests and seeds with a 95% bootstrap interval over requests. With `--torch` Keras runs on
PyTorch (`benchmarks.on_torch`), all seeds at the same time. Writes benchmarks/results/newcomers.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import DATA, K, instructions_of, ndcg, seen_items
from instructrec import datasets
from instructrec.errors import InputError
from instructrec.evaluation import METRICS, target_ranks
from instructrec.evaluation.following_tasks import make_following_tasks
from instructrec.files import atomic_write
from instructrec.models import create
from instructrec.split import SPLITS, Split
from instructrec.statistics import bootstrap_interval

RESULTS = Path(__file__).with_name("results") / "newcomers.json"
PROTOCOL, SHARE = "leave-last-out", 0.1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Rank for new items and users.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--torch", action="store_true", help="Keras on PyTorch, on a GPU where there is one")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    backend = "TensorFlow"
    runs: list[dict[str, np.ndarray]]
    if options.torch:
        with multiprocessing.get_context("spawn").Pool(len(options.seeds)) as pool:
            backend = f"PyTorch, {pool.map(_on_torch, options.seeds)[0]}"
            runs = pool.map(partial(figures_of_seed, torch=True), options.seeds, chunksize=1)
    else:
        runs = [figures_of_seed(seed) for seed in options.seeds]
    figures = {name: [run[name] for run in runs] for name in runs[0]}
    rows = {name: summary(np.concatenate(values)) for name, values in figures.items()}
    for name, row in rows.items():
        print(
            f"{name:<52}{row['mean']:.4f}  [{row['low']:.4f}, {row['high']:.4f}]  {row['requests']} requests"
        )
    note = {"seeds": options.seeds, "protocol": PROTOCOL, "share": SHARE, "on": backend}
    with atomic_write(options.out) as handle:
        json.dump({**note, "rows": rows}, handle, indent=1)
        handle.write("\n")
    return 0


def _on_torch(_: int) -> str:
    from benchmarks import on_torch

    return on_torch.installed()


def figures_of_seed(seed: int, torch: bool = False) -> dict[str, np.ndarray]:
    """Return `newcomer_figures` of the book's split, after the choice of the backend."""
    if torch:
        _on_torch(seed)
    return newcomer_figures(SPLITS[PROTOCOL](datasets.load(DATA)), seed)


def newcomer_figures(split: Split, seed: int) -> dict[str, np.ndarray]:
    """Return figures by request, for one draw of new items and users and one training."""
    data, requests = split.train, split.requests("test")
    rng = np.random.default_rng([seed, 11])
    ids = data.items["item_id"].to_numpy()
    is_new = rng.random(len(ids)) < SHARE
    new_ids = set(ids[is_new].tolist())
    users = data.users["user_id"].to_numpy()
    new_users = set(users[rng.random(len(users)) < SHARE].tolist())
    events = data.interactions
    in_training = ~events["item_id"].isin(new_ids) & ~events["user_id"].isin(new_users)
    model = create("mini", seed=seed).fit(data.with_interactions(events[in_training]))
    model.dataset = data
    histories = [[item for item in history if item not in new_ids] for history in requests.histories]
    targets = np.array([data.item_columns(items)[0] for items in requests.targets])
    seen = seen_items(data, requests.histories)
    has_new_target = is_new[targets]
    is_new_user = np.array([user in new_users for user in requests.user_ids])
    figures: dict[str, np.ndarray] = {}
    for label, texts in _instructions(split, len(histories)).items():
        scores = np.where(seen, -np.inf, model.score(histories, texts))
        new_scores = np.where(is_new, scores, -np.inf)
        figures[f"new items among new items, {label}: HR@10"] = hit_rate(new_scores, targets)[has_new_target]
        figures[f"new items in the catalogue, {label}: HR@10"] = hit_rate(scores, targets)[has_new_target]
        values = ndcg(scores, targets)
        figures[f"new users, {label}: NDCG@10"] = values[~has_new_target & is_new_user]
        figures[f"known users, {label}: NDCG@10"] = values[~has_new_target & ~is_new_user]
    for label, candidates in (("among new items", is_new & ~seen), ("in the catalogue", ~seen)):
        chance = np.minimum(K / candidates.sum(axis=1), 1)
        figures[f"new items {label}, chance: HR@10"] = chance[has_new_target]
    return figures


def _instructions(split: Split, n_requests: int) -> dict[str, list[str | None]]:
    """Return the instruction of each request by kind."""
    tasks = make_following_tasks(split, "test", ["stated", "category and era"])
    return {
        "no text": [None] * n_requests,
        "its category": instructions_of(tasks, "stated", n_requests),
        "its category and decade": instructions_of(tasks, "category and era", n_requests),
    }


def hit_rate(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return whether each target is among the first ten, as 0 or 1."""
    return METRICS["HR"].from_ranks(target_ranks(scores, targets), K)


def summary(values: np.ndarray) -> dict[str, Any]:
    """Return the mean with a 95% bootstrap interval, and the number of requests."""
    return {**bootstrap_interval(values)._asdict(), "requests": len(values)}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.newcomers: {error}")
