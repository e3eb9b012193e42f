"""Measure `mini` on MovieLens-100K: without an instruction, and how it follows each kind of instruction.

    python -m benchmarks.mini [--seeds 0 1 2] [--part valid] [--protocol leave-last-out] [--set NAME=VALUE …]

For each seed it trains the tuned SASRec and `mini` on the training part (or reads what an earlier run left under
_build/mini) and gives both the same requests over the whole catalogue, without the items that the user has seen. SASRec
gets no instruction; its list is filtered to the items that meet the instruction, by their true attributes and not by
the parser: the strongest simple baseline. Prints, a line a task:

- satisfaction at 10 of `mini`, as a share of the highest that any list could reach, or violation at 10 if the
  instruction refuses something;
- NDCG@10 of `mini` and of SASRec filtered, and their ratio, with a 95% bootstrap interval over users of the mean of
  seeds; instructions are about the first target of a request, and NDCG without one is measured over all targets.

and its accuracy in tasks without a list: yes or no, A or B, words (see `other_tasks`). With `--set kinds=[]` it is
trained on histories only and gets no instructions: its answers without an instruction are the same.

Writes benchmarks/results/mini.json (with --part test only), figures and settings by protocol.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import DATA, K, following_figures, instructions_of, seen_items, trained
from instructrec import datasets
from instructrec.errors import InputError
from instructrec.evaluation.following_tasks import make_following_tasks
from instructrec.files import atomic_write
from instructrec.instructions.verbalizer import Verbalizer
from instructrec.models import FilteredRecommender
from instructrec.models.mini.model import Mini
from instructrec.models.mini.vocabulary import tokenise
from instructrec.ranking import top_k
from instructrec.split import SPLITS, Requests, Split

RESULTS = Path(__file__).with_name("results") / "mini.json"
N_QUESTIONS = 200
"""Number of items, and of users, that are asked about in words."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure mini beside SASRec filtered.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--part", choices=["valid", "test"], default="test")
    parser.add_argument("--protocol", choices=list(SPLITS), default="leave-last-out")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of mini")
    options = parser.parse_args(arguments)
    settings = _settings(options.set)
    histories_only = settings.get("kinds") == []
    split = SPLITS[options.protocol](datasets.load(DATA))
    figures, accuracies = [], []
    for seed in options.seeds:
        sasrec = trained("sasrec", seed, split, options.protocol)
        model = trained("mini", seed, split, options.protocol, **settings)
        assert isinstance(model, Mini)
        figures.append(following_figures(model, sasrec, split, options.part, () if histories_only else None))
        accuracies.append({} if histories_only else other_tasks(model, split, options.part, seed))
    rows = {name: summary([run[name] for run in figures]) for name in figures[0]}
    tasks = {name: float(np.mean([run[name] for run in accuracies])) for name in accuracies[0]}
    _print(rows, tasks)
    if options.part == "test":
        note = {"seeds": options.seeds, "protocol": options.protocol, "settings": model.settings}
        results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
        results[options.protocol] = {**note, "rows": rows, "tasks": tasks}
        with atomic_write(RESULTS) as handle:
            json.dump(results, handle, indent=1, ensure_ascii=False)
            handle.write("\n")
    return 0


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Return settings of `mini` from NAME=VALUE pairs, values in JSON."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"argument --set: {pair!r} given; NAME=VALUE such as epochs=5 is accepted")
        settings[name] = json.loads(value)
    return settings


def _print(rows: dict[str, dict[str, Any]], tasks: dict[str, float]) -> None:
    print(f"{'task':<22}{'obeyed':>8}{'NDCG@10':>9}{'filtered':>12}{'ratio':>8}  95% interval")
    for name, row in rows.items():
        ratio = ""
        if row["ratio"] is not None:
            low, high = row["interval"]
            ratio = f"{row['ratio']:>8.3f}  [{low:.3f}, {high:.3f}]"
        print(f"{name:<22}{row['obeyed']:>8.3f}{row['ndcg']:>9.4f}{row['sasrec']:>12.4f}{ratio}")
    print("\n".join(f"{name:<22}{value:>8.3f}" for name, value in tasks.items()))


def other_tasks(model: Mini, split: Split, part: str, seed: int) -> dict[str, float]:
    """Return the model's accuracy in tasks without a list of items.

    - T0: yes or no, for the target and for a random unseen item, half of the questions each; chance is .5;
    - T1: which of these two;
    - both again with an instruction that names a category of the target;
    - grammar mask: satisfaction at 10 of what `instructions.parse` understands, filtered by it (categories, conditions,
      refusals, in both languages);
    - query: which query an item answers; the share of `N_QUESTIONS` items whose categories are named exactly, in either
      language;
    - taste: the mean F1 over `N_QUESTIONS` users of the words that the taste in words shares with that of the rules.
    """
    requests = split.requests(part)
    rng = np.random.default_rng([seed, 13])
    ids = split.train.items["item_id"].to_numpy()
    targets = [items[0] for items in requests.targets]
    negatives = []
    for history, target in zip(requests.histories, targets, strict=True):
        unseen = np.setdiff1d(ids, [*history, target])
        negatives.append(unseen[int(rng.integers(len(unseen)))])
    stated = make_following_tasks(split, part, ["stated"])
    texts = instructions_of(stated, "stated", len(requests.histories))
    accuracies: dict[str, float] = {}
    for name, instructions in (("", None), (" with a category", texts)):
        yes, no = (model.yes_or_no(requests.histories, items, instructions) for items in (targets, negatives))
        accuracies[f"T0{name}"] = float(np.mean([*(yes > 0.5), *(no <= 0.5)]))
        pairs = list(zip(targets, negatives, strict=True))
        accuracies[f"T1{name}"] = float(np.mean(model.a_or_b(requests.histories, pairs, instructions) > 0.5))
    accuracies["grammar mask"] = _filtered_satisfaction(model, split, part)
    items = rng.choice(ids, N_QUESTIONS, replace=False)
    for language in ("en", "zh"):
        accuracies[f"query ({language})"] = _query_accuracy(model, split, items, language)
    accuracies["taste"] = _taste_f1(model, split, requests)
    return accuracies


def _filtered_satisfaction(model: Mini, split: Split, part: str) -> float:
    """Return the mean satisfaction at 10 of the model filtered by the parsed instructions."""
    filtered, histories = FilteredRecommender(model), split.requests(part).histories
    shares = []
    for language in ("en", "zh"):
        tasks = make_following_tasks(split, part, ["stated", "constraints", "negated"], (language,))
        for task in tasks.tasks.values():
            numbers = [number for number, text in enumerate(task.texts) if text is not None]
            if not numbers:
                continue
            own = [histories[tasks.rows[number]] for number in numbers]
            scores = np.array(filtered.score(own, [task.texts[number] for number in numbers]))
            scores[seen_items(split.train, own)] = -np.inf
            lists = top_k(scores, K)
            sets = task.wish if task.forbidden is None else task.forbidden
            masks = sets.masks[sets.mask_of_request[numbers]]
            obeys = np.take_along_axis(
                masks if task.forbidden is None else ~masks, np.maximum(lists, 0), axis=1
            )
            shares.append((obeys & (lists >= 0)).sum() / (lists >= 0).sum())
    return float(np.mean(shares))


def _query_accuracy(model: Mini, split: Split, items: np.ndarray, language: str) -> float:
    """Return the share of the items whose categories the model names exactly."""
    categories = split.train.items.set_index("item_id")[split.train.category_field]
    verbalizer = Verbalizer(split.train, language)
    separator = "" if language == "zh" else " "
    return float(
        np.mean(
            [
                model.answer([], "query", item, language)
                == separator.join(tokenise(verbalizer.join(categories[item])))
                for item in items
            ]
        )
    )


def _taste_f1(model: Mini, split: Split, requests: Requests) -> float:
    """Return the mean F1 of the words of the model's description of a taste and of that of the rules."""
    verbalizer = Verbalizer(split.train, "en")
    scores = []
    for history in requests.histories[:N_QUESTIONS]:
        answer, truth = set(model.answer(history).split()), set(tokenise(verbalizer.taste(history[-20:])))
        scores.append(2 * len(answer & truth) / max(1, len(answer) + len(truth)))
    return float(np.mean(scores))


def summary(runs: Sequence[np.ndarray], n_resamples: int = 2000) -> dict[str, Any]:
    """Return means over requests and seeds, and the ratio of the NDCGs with its bootstrap interval over users.

    A ratio whose denominator is 0 in some resample (a task that no target meets) is None.
    """
    mean = np.mean(runs, axis=0)
    mean = mean[~np.isnan(mean[:, 1])]
    rng = np.random.default_rng(0)
    resamples = mean[rng.integers(0, len(mean), (n_resamples, len(mean)))][:, :, 1:].mean(axis=1)
    obeyed, ndcg, sasrec = np.nanmean(mean, axis=0)
    has_ratio = bool((resamples[:, 1] > 0).all())
    interval = np.quantile(resamples[:, 0] / resamples[:, 1], [0.025, 0.975]).tolist() if has_ratio else None
    return {
        "requests": len(mean),
        "obeyed": float(obeyed),
        "ndcg": float(ndcg),
        "sasrec": float(sasrec),
        "ratio": float(ndcg / sasrec) if has_ratio else None,
        "interval": interval,
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.mini: {error}")
