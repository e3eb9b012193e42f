"""Items and users that `mini` never met in training: how far above chance does it rank for them?

    python -m benchmarks.newcomers [--seeds 0 1 2] [--torch]

A tenth of the items of MovieLens-100K and a tenth of the users are drawn; all events of either are taken out of the
training part of leave-last-out, and `mini` is trained on the rest. The items stay in the catalogue with title, year and
genres, as a shop lists what nobody has bought yet; the users ask with their histories, in which new items are left out.

- new items: requests of all users whose target in the test part is a new item; ranked among the new items alone (chance
  is one in so many), and among the whole catalogue, without text, with its category, with category and decade;
- new users: the test part's requests of new users whose target is no new item, beside the requests of the others.

Each figure is a mean over requests and seeds with a 95% bootstrap interval over requests. With `--torch` Keras runs on
PyTorch (`benchmarks.on_torch`), all seeds at a time. Writes benchmarks/results/newcomers.json.
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

from benchmarks.mini import DATA, ndcg
from instructrec import datasets
from instructrec.errors import InputError
from instructrec.evaluation.following_tasks import make_following_tasks
from instructrec.files import atomic_write
from instructrec.models import create
from instructrec.split import SPLITS, Split

RESULTS = Path(__file__).with_name("results") / "newcomers.json"
PROTOCOL, SHARE, K = "leave-last-out", 0.1, 10


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Rank for items and users that mini never met.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--torch", action="store_true", help="Keras on PyTorch, on a GPU where there is one")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    place = "TensorFlow"
    runs: list[dict[str, np.ndarray]]
    if options.torch:
        with multiprocessing.get_context("spawn").Pool(len(options.seeds)) as pool:
            place = f"PyTorch, {pool.map(_on_torch, options.seeds)[0]}"
            runs = pool.map(partial(measured, torch=True), options.seeds, chunksize=1)
    else:
        runs = [measured(seed) for seed in options.seeds]
    figures = {name: [one[name] for one in runs] for name in runs[0]}
    rows = {name: summary(np.concatenate(values)) for name, values in figures.items()}
    for name, row in rows.items():
        print(
            f"{name:<52}{row['mean']:.4f}  [{row['low']:.4f}, {row['high']:.4f}]  {row['requests']} requests"
        )
    note = {"seeds": options.seeds, "protocol": PROTOCOL, "share": SHARE, "on": place}
    with atomic_write(options.out) as handle:
        json.dump({**note, "rows": rows}, handle, indent=1)
        handle.write("\n")
    return 0


def _on_torch(_: int) -> str:
    from benchmarks import on_torch

    return on_torch.installed()


def measured(seed: int, torch: bool = False) -> dict[str, np.ndarray]:
    """Return `measure` of the book's split, after choosing the backend."""
    if torch:
        _on_torch(seed)
    return measure(SPLITS[PROTOCOL](datasets.load(DATA)), seed)


def measure(split: Split, seed: int) -> dict[str, np.ndarray]:
    """Return figures by request, for one draw of newcomers and one training."""
    data = split.train
    rng = np.random.default_rng([seed, 11])
    ids = data.items["item_id"].to_numpy()
    new = rng.random(len(ids)) < SHARE
    new_ids = set(ids[new].tolist())
    users = data.users["user_id"].to_numpy()
    new_users = set(users[rng.random(len(users)) < SHARE].tolist())
    events = data.interactions
    kept = ~events["item_id"].isin(new_ids) & ~events["user_id"].isin(new_users)
    model = create("mini", seed=seed).fit(data.with_interactions(events[kept]))
    model.dataset = data
    requests = split.requests("test")
    histories = [[item for item in one if item not in new_ids] for one in requests.histories]
    targets = np.array([data.item_columns(one)[0] for one in requests.targets])
    met = np.zeros((len(histories), len(ids)), dtype=bool)
    for row, history in zip(met, requests.histories, strict=True):
        row[data.item_columns(history)] = True
    made = make_following_tasks(split, "test", ["stated", "category and era"])
    texts: dict[str, list[Any]] = {"no text": [None] * len(histories)}
    for name, label in (("stated", "its category"), ("category and era", "its category and decade")):
        said: list[str | None] = [None] * len(histories)
        for row, text in zip(made.rows, made.tasks[name].texts, strict=True):
            said[row] = text
        texts[label] = said
    asks_new = new[targets]
    is_new_user = np.array([user in new_users for user in requests.user_ids])
    found: dict[str, np.ndarray] = {}
    for label, said in texts.items():
        scores = np.where(met, -np.inf, model.score(histories, said))
        among = np.where(new, scores, -np.inf)
        found[f"new items among new items, {label}: HR@10"] = hits(among, targets)[asks_new]
        found[f"new items in the catalogue, {label}: HR@10"] = hits(scores, targets)[asks_new]
        known = ~asks_new
        found[f"new users, {label}: NDCG@10"] = ndcg(scores, targets)[known & is_new_user]
        found[f"known users, {label}: NDCG@10"] = ndcg(scores, targets)[known & ~is_new_user]
    n_possible = (new & ~met).sum(axis=1)
    found["new items among new items, chance: HR@10"] = np.minimum(K / n_possible, 1)[asks_new]
    found["new items in the catalogue, chance: HR@10"] = np.minimum(K / (~met).sum(axis=1), 1)[asks_new]
    return found


def hits(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return whether each target is among the first ten, as 0 or 1."""
    own = scores[np.arange(len(targets)), targets]
    return (np.isfinite(own) & ((scores > own[:, None]).sum(axis=1) < K)).astype(float)


def summary(values: np.ndarray, n_draws: int = 2000) -> dict[str, Any]:
    """Return the mean with a 95% bootstrap interval."""
    rng = np.random.default_rng(0)
    draws = values[rng.integers(0, len(values), (n_draws, len(values)))].mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high), "requests": len(values)}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.newcomers: {error}")
