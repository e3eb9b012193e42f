"""Measure `mini` on MovieLens-100K: without an instruction, and what it makes of each condition of following.

    python -m benchmarks.mini [--seeds 0 1 2] [--part valid] [--protocol leave-last-out] [--set NAME=VALUE …]

For each seed it trains the tuned SASRec and `mini` on the training part and asks both the same requests of the whole
catalogue, without what the user has met. SASRec is asked without the instruction and its list is cut to the items that
meet it, by the truth and not by the parser: the strongest simple answer. Prints, a line a condition:

- satisfaction at 10 of `mini`, as a share of what any list could reach, or violation at 10 where something is refused;
- NDCG@10 of `mini` and of SASRec cut, and their ratio, with a 95% bootstrap interval over users of the mean of seeds.

Writes benchmarks/results/mini.json (with --part test alone), figures, settings and seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from instructrec import datasets
from instructrec.errors import InputError
from instructrec.evaluation.conditions import CONDITIONS, MORE_CONDITIONS, make_conditions
from instructrec.files import atomic_write
from instructrec.models import Recommender, create, tuned
from instructrec.split import SPLITS, Split

RESULTS = Path(__file__).with_name("results") / "mini.json"
DATA = "movielens-100k"
K = 10
ASKED_IN = {
    "en": (*CONDITIONS, *MORE_CONDITIONS),
    "zh": ("stated", "unseen wording", "vague wish", "negated", "unseen negation"),
}
NULL = "recommend something that I would enjoy"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure mini beside SASRec filtered.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--part", choices=["valid", "test"], default="test")
    parser.add_argument("--protocol", choices=list(SPLITS), default="leave-last-out")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of mini")
    options = parser.parse_args(arguments)
    settings = {}
    for pair in options.set:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"argument --set: {pair!r} given; NAME=VALUE such as epochs=5 is accepted")
        settings[name] = json.loads(value)
    split = SPLITS[options.protocol](datasets.load(DATA))
    runs, seconds = [], []
    for seed in options.seeds:
        started = time.perf_counter()
        sasrec = tuned("sasrec", seed=seed).fit(split.train)
        between = time.perf_counter()
        model = create("mini", seed=seed, **settings)
        model.fit(split.train, verbose=2)  # type: ignore[call-arg]
        seconds.append({"sasrec": between - started, "mini": time.perf_counter() - between})
        runs.append(measure(model, sasrec, split, options.part))
        print(f"seed {seed}: {seconds[-1]['mini']:.0f} s", flush=True)
    rows = {name: summary([one[name] for one in runs]) for name in runs[0]}
    print(f"{'condition':<22}{'obeyed':>8}{'NDCG@10':>9}{'SASRec cut':>12}{'ratio':>8}  95% interval")
    for name, row in rows.items():
        ratio = ""
        if row["ratio"] is not None:
            low, high = row["interval"]
            ratio = f"{row['ratio']:>8.3f}  [{low:.3f}, {high:.3f}]"
        print(f"{name:<22}{row['obeyed']:>8.3f}{row['ndcg']:>9.4f}{row['sasrec']:>12.4f}{ratio}")
    if options.part == "test":
        note = {"seeds": options.seeds, "protocol": options.protocol, "settings": model.settings}
        with atomic_write(RESULTS) as handle:
            json.dump({**note, "seconds": seconds, "rows": rows}, handle, indent=1, ensure_ascii=False)
            handle.write("\n")
    return 0


def measure(model: Recommender, sasrec: Recommender, split: Split, part: str) -> dict[str, np.ndarray]:
    """Return, for each condition, three figures a request: obeyed (or violated), NDCG@10, and that of SASRec cut.

    Returns:
        Arrays of shape (n_requests, 3), NaN where a request is asked nothing.
    """
    requests = split.requests(part)
    histories = requests.histories
    targets = np.array([split.train.item_columns(one)[0] for one in requests.targets])
    seen = np.zeros((len(histories), split.train.n_items), dtype=bool)
    for row, history in zip(seen, histories, strict=True):
        row[split.train.item_columns(history)] = True
    simple = np.where(seen, -np.inf, sasrec.score(histories))

    def asked(texts: list[str | None]) -> np.ndarray:
        return np.where(seen, -np.inf, model.score(histories, texts))

    n = len(histories)
    everything = np.ones((n, split.train.n_items), dtype=bool)
    found = {
        name: figures(asked(texts), simple, everything, everything, targets)
        for name, texts in (("none", [None] * n), ("null", [NULL] * n))
    }
    for language, names in ASKED_IN.items():
        made = make_conditions(split, part, list(names), (language,))
        for name, one in made.asked.items():
            if name == "none":
                continue
            texts: list[str | None] = [None] * n
            wanted, refused = everything.copy(), np.zeros_like(everything)
            for number, (row, text) in enumerate(zip(made.rows, one.texts, strict=True)):
                texts[row] = text
                if text is not None:
                    wanted[row] = one.wanted.masks[one.wanted.which[number]]
                    if one.refused is not None:
                        refused[row] = one.refused.masks[one.refused.which[number]]
            obeyed = wanted if one.refused is None else refused
            rows = figures(asked(texts), simple, obeyed, wanted, targets, one.refused is not None)
            rows[[text is None for text in texts]] = np.nan
            found[name if language == "en" else f"{name} ({language})"] = rows
    return found


def figures(
    scores: np.ndarray,
    simple: np.ndarray,
    obeyed: np.ndarray,
    wanted: np.ndarray,
    targets: np.ndarray,
    violated: bool = False,
) -> np.ndarray:
    """Return shares of the first ten in `obeyed`, NDCG@10, and NDCG@10 of the simple scores cut to `wanted`."""
    lists = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    hits = np.take_along_axis(obeyed, lists, axis=1).sum(axis=1)
    possible = np.minimum((obeyed & ~np.isneginf(scores)).sum(axis=1), K)
    share = hits / K if violated else np.where(possible > 0, hits / np.maximum(possible, 1), np.nan)
    cut = np.where(wanted, simple, -np.inf)
    return np.stack([share, ndcg(scores, targets), ndcg(cut, targets)], axis=1)


def ndcg(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    own = scores[np.arange(len(targets)), targets]
    rank = (scores > own[:, None]).sum(axis=1)
    return np.where(np.isfinite(own) & (rank < K), 1 / np.log2(rank + 2.0), 0.0)


def summary(runs: list[np.ndarray], n_draws: int = 2000) -> dict[str, Any]:
    """Return means over requests and seeds, and the ratio's interval over users."""
    mean = np.mean(runs, axis=0)
    mean = mean[~np.isnan(mean[:, 1])]
    rng = np.random.default_rng(0)
    draws = mean[rng.integers(0, len(mean), (n_draws, len(mean)))][:, :, 1:].mean(axis=1)
    obeyed, own, simple = np.nanmean(mean, axis=0)
    compares = bool(
        (draws[:, 1] > 0).all()
    )  # SASRec cut to what the target fails, as a contradiction does, has 0
    low, high = np.quantile(draws[:, 0] / draws[:, 1], [0.025, 0.975]) if compares else (0.0, 0.0)
    return {
        "requests": len(mean),
        "obeyed": float(obeyed),
        "ndcg": float(own),
        "sasrec": float(simple),
        "ratio": float(own / simple) if compares else None,
        "interval": [float(low), float(high)] if compares else None,
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.mini: {error}")
