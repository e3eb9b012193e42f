"""Compute our metrics by other libraries on random data with ties; write tests/peer_figures.json.

    python -m benchmarks.peers.golden

Creates the environments `metrics` (ranx, LensKit) and `rectools` if they do not exist.
tests/evaluation/test_against_peers.py generates the same data and compares without the libraries. They break ties in
different ways, so they get lists in the order of our rule (irrelevant items first), without excluded items.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

KS = (1, 3, 5, 10, 20, 100)
ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "tests" / "peer_figures.json"
PEERS = {"ranx": "metrics", "lenskit": "metrics", "rectools": "rectools"}


def random_data(seed: int = 20261124) -> dict[str, np.ndarray]:
    """Return random scores with ties, relevance, and recommended lists.

    Args:
        seed: Seed of `np.random.default_rng`.

    Returns:
        `scores` (48, 60), 13 different values and minus infinity, some rows nearly all of it; `relevant` (48, 60),
        bool, 1 to about 30 per row, some at minus infinity; `lists` (48, 10), columns of a catalogue of 40, -1 is an
        empty position; `full_lists`, the same without empty positions; `met` (80, 40), bool, the interactions;
        `features` (40, 6), 0 or 1, no row of zeros.
    """
    rng = np.random.default_rng(seed)
    n, size, catalogue = 48, 60, 40
    scores = rng.integers(0, 13, (n, size)) / 4 - 1
    share = rng.choice([0.02, 0.1, 0.5], n)
    relevant = rng.random((n, size)) < share[:, None]
    relevant[np.arange(n), rng.integers(0, size, n)] = True
    left_out = rng.random((n, size)) < rng.choice([0, 0.3, 0.93], n)[:, None]
    left_out[np.arange(n), rng.integers(0, size, n)] = False
    scores[left_out] = -np.inf
    # unequal popularity: the square makes the first items frequent
    full_lists = np.array(
        [rng.permutation(catalogue)[np.argsort(rng.random(catalogue) ** 2)][:10] for _ in range(n)]
    )
    full_lists = np.where(
        rng.random((n, 1)) < 0.5, full_lists, np.array([rng.permutation(20)[:10] for _ in range(n)])
    )
    lists = full_lists.copy()
    lists[np.arange(10) >= rng.integers(1, 11, n)[:, None]] = -1
    interactions = rng.random((80, catalogue)) < np.linspace(0.6, 0, catalogue)
    interactions[np.arange(80), rng.integers(0, 5, 80)] = True
    features = (rng.random((catalogue, 6)) < 0.4).astype(np.int64)
    features[np.arange(catalogue), rng.integers(0, 6, catalogue)] = 1
    return {
        "scores": scores,
        "relevant": relevant,
        "lists": lists,
        "full_lists": full_lists,
        "met": interactions,
        "features": features,
    }


def fingerprint(data: dict[str, np.ndarray]) -> str:
    """Return a digest of the arrays' values, which tells changed data from changed results."""
    parts = [f"{name} {array.tolist()}" for name, array in sorted(data.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def ranking(scores: np.ndarray, relevant: np.ndarray) -> list[int]:
    """Return the columns of one row by our rule: higher scores first, irrelevant items first among equal scores."""
    order = np.lexsort((relevant, -scores))
    return [int(column) for column in order if scores[column] > -np.inf]


def ranx(data: dict[str, np.ndarray]) -> dict[str, list[float]]:
    from ranx import Qrels, Run, evaluate

    names = {
        "HR": "hit_rate",
        "NDCG": "ndcg",
        "MRR": "mrr",
        "precision": "precision",
        "recall": "recall",
        "MAP": "map",
    }
    rows = [f"{row:03d}" for row in range(len(data["scores"]))]
    qrels = {
        row: {f"i{column}": 1 for column in np.flatnonzero(line)}
        for row, line in zip(rows, data["relevant"], strict=True)
    }
    run = {}
    for row, scores, relevant in zip(rows, data["scores"], data["relevant"], strict=True):
        columns = ranking(scores, relevant)
        run[row] = {f"i{column}": float(len(columns) - position) for position, column in enumerate(columns)}
    runs = Run(run)
    evaluate(Qrels(qrels), runs, [f"{name}@{k}" for name in names.values() for k in KS])
    return {
        f"{ours}@{k}": [float(runs.scores[f"{theirs}@{k}"][row]) for row in rows]
        for ours, theirs in names.items()
        for k in KS
    }


def lenskit(data: dict[str, np.ndarray]) -> dict[str, Any]:
    from lenskit.data import ItemList
    from lenskit.metrics.ranking import (
        NDCG,
        AveragePrecision,
        Hit,
        ListGini,
        LogRankWeight,
        Precision,
        Recall,
        RecipRank,
    )

    def discounted(k: int) -> NDCG:
        return NDCG(
            k, weight=LogRankWeight(offset=1)
        )  # 1 / log2(rank + 1); its default discounts rank 2 no more than 1

    classes = {"HR": Hit, "NDCG": discounted, "MRR": RecipRank, "precision": Precision, "recall": Recall}
    classes["MAP"] = AveragePrecision
    figures: dict[str, Any] = {f"{name}@{k}": [] for name in classes for k in KS}
    for scores, relevant in zip(data["scores"], data["relevant"], strict=True):
        ordered = ItemList(item_ids=np.array(ranking(scores, relevant)), ordered=True)
        test = ItemList(item_ids=np.flatnonzero(relevant))
        for name, metric in classes.items():
            for k in KS:
                figures[f"{name}@{k}"].append(float(metric(k).measure_list(ordered, test)))
    nothing = ItemList(item_ids=np.array([0]))
    for lists in ("lists", "full_lists"):
        metric = ListGini(items=len(data["features"]))
        item_lists = [ItemList(item_ids=line[line >= 0], ordered=True) for line in data[lists]]
        figures[f"gini of {lists}"] = float(
            metric.global_aggregate([metric.measure_list(item_list, nothing) for item_list in item_lists])
        )
    return figures


def rectools(data: dict[str, np.ndarray]) -> dict[str, Any]:
    import pandas as pd
    from rectools import Columns
    from rectools.metrics import CatalogCoverage, IntraListDiversity, MeanInvUserFreq
    from rectools.metrics.distances import PairwiseDistanceCalculator
    from scipy.spatial.distance import cosine

    class Cosine(PairwiseDistanceCalculator):
        def _get_distances_for_item_pairs(self, items_0: Any, items_1: Any) -> np.ndarray:
            vectors = data["features"].astype(float)
            return np.array([cosine(vectors[i], vectors[j]) for i, j in zip(items_0, items_1, strict=True)])

    users, items = np.nonzero(data["met"])
    interactions = pd.DataFrame({Columns.User: users, Columns.Item: items})
    figures: dict[str, Any] = {}
    for lists in ("lists", "full_lists"):
        row, position = np.nonzero(data[lists] >= 0)
        recommendations = pd.DataFrame(
            {Columns.User: row, Columns.Item: data[lists][row, position], Columns.Rank: position + 1}
        )
        new = MeanInvUserFreq(k=10).calc_per_user(recommendations, interactions)
        varied = IntraListDiversity(k=10, distance_calculator=Cosine()).calc_per_user(recommendations)
        figures[f"novelty of {lists}"] = [float(value) for value in new.sort_index()]
        figures[f"diversity of {lists}"] = [float(value) for value in varied.sort_index()]
        catalogue = np.arange(len(data["features"]))
        figures[f"coverage of {lists}"] = float(
            CatalogCoverage(k=10, normalize=True).calc(recommendations, catalogue)
        )
    return figures


def main() -> int:
    if sys.argv[1:]:  # in a peer's environment
        from importlib.metadata import version

        peer, source = sys.argv[1:]
        with np.load(source) as stored:
            data = {name: stored[name] for name in stored.files}
        print(json.dumps({"version": version(peer), "figures": globals()[peer](data)}))
        return 0
    from benchmarks.peers.environments import CannotMake, python_of
    from instructrec.files import atomic_write

    data = random_data()
    document: dict[str, Any] = {
        "command": "python -m benchmarks.peers.golden",
        "data_sha256": fingerprint(data),
    }
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "data.npz"
        np.savez(source, **data)  # type: ignore[arg-type]
        for peer, environment in PEERS.items():
            try:
                python = python_of(environment)
            except CannotMake as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            done = subprocess.run(
                [python, "-W", "ignore", __file__, peer, source],
                stdout=subprocess.PIPE,
                text=True,
                cwd=folder,
            )
            if done.returncode:
                print(f"error: {peer} failed; its message is above", file=sys.stderr)
                return 1
            document[peer] = json.loads(done.stdout.splitlines()[-1])
            print(f"{peer} {document[peer]['version']}: {len(document[peer]['figures'])} metrics")
    with atomic_write(FIGURES) as handle:
        text = json.dumps(document, indent=1)
        handle.write(_one_line_a_list(text) + "\n")
    return 0


def _one_line_a_list(text: str) -> str:
    """Put the numbers of a list on one line, so that a diff shows which metric differs."""
    import re

    return re.sub(r"\[\s+([^\[\]]*?)\s+\]", lambda match: "[" + re.sub(r"\s+", " ", match[1]) + "]", text)


if __name__ == "__main__":
    sys.exit(main())
