"""Measure `mini` on MovieLens-100K: without an instruction, and what it makes of each condition of following.

    python -m benchmarks.mini [--seeds 0 1 2] [--part valid] [--protocol leave-last-out] [--set NAME=VALUE …]

For each seed it trains the tuned SASRec and `mini` on the training part (or reads what an earlier run left under
_build/mini) and asks both the same requests of the whole catalogue, without what the user has met. SASRec is asked
without the instruction and its list is cut to the items that meet it, by the truth and not by the parser: the strongest
simple answer. Prints, a line a condition:

- satisfaction at 10 of `mini`, as a share of what any list could reach, or violation at 10 where something is refused;
- NDCG@10 of `mini` and of SASRec cut, and their ratio, with a 95% bootstrap interval over users of the mean of seeds;
  texts are about the first target of a request, and what is unasked is measured over all of them.

and how often it is right where it is asked for no list: yes or no, A or B, words (see `other_tasks`). With
`--set kinds=[]` it is trained on histories alone and asked nothing: its answers without an instruction are the same.

Writes benchmarks/results/mini.json (with --part test alone), figures and settings by protocol.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from instructrec import datasets
from instructrec.errors import InputError
from instructrec.evaluation.following_tasks import EXTRA_TASKS, TASKS, make_following_tasks
from instructrec.files import atomic_write
from instructrec.instructions.verbalizer import Verbalizer
from instructrec.models import FilteredRecommender, Recommender, create, load, tuned
from instructrec.models.mini import word_vectors
from instructrec.models.mini.model import Mini
from instructrec.models.mini.vocabulary import tokenise
from instructrec.split import SPLITS, Split

RESULTS = Path(__file__).with_name("results") / "mini.json"
KEPT = Path(__file__).parents[1] / "_build" / "mini"
PACKAGE = Path(__file__).parents[1] / "instructrec"
MADE_BY = {
    "models/mini": [
        "augmentation",
        "batches",
        "config",
        "decoders",
        "features",
        "model",
        "packing",
        "trainer",
        "training",
        "vocabulary",
        "word_vectors",
    ],
    "models/neural": ["sasrec", "training"],
    "instructions": [
        "category_words",
        "query_frames",
        "query_generator",
        "query_meanings",
        "templates",
        "verbalizer",
    ],
    "wordings": ["lexicon"],
}
"""The modules that decide what a trained model is; data files beside them count too."""
DATA = "movielens-100k"
K = 10
ASKED_IN = {
    "en": (*TASKS, *EXTRA_TASKS),
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
    runs, others = [], []
    for seed in options.seeds:
        sasrec = trained("sasrec", seed, split, options.protocol)
        model = trained("mini", seed, split, options.protocol, **settings)
        runs.append(measure(model, sasrec, split, options.part, () if settings.get("kinds") == [] else None))
        assert isinstance(model, Mini)
        others.append({} if settings.get("kinds") == [] else other_tasks(model, split, options.part, seed))
    rows = {name: summary([one[name] for one in runs]) for name in runs[0]}
    print(f"{'condition':<22}{'obeyed':>8}{'NDCG@10':>9}{'SASRec cut':>12}{'ratio':>8}  95% interval")
    for name, row in rows.items():
        ratio = ""
        if row["ratio"] is not None:
            low, high = row["interval"]
            ratio = f"{row['ratio']:>8.3f}  [{low:.3f}, {high:.3f}]"
        print(f"{name:<22}{row['obeyed']:>8.3f}{row['ndcg']:>9.4f}{row['sasrec']:>12.4f}{ratio}")
    tasks = {name: float(np.mean([one[name] for one in others])) for name in others[0]}
    print("\n".join(f"{name:<22}{value:>8.3f}" for name, value in tasks.items()))
    if options.part == "test":
        note = {"seeds": options.seeds, "protocol": options.protocol, "settings": model.settings}
        every = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
        every[options.protocol] = {**note, "rows": rows, "tasks": tasks}
        with atomic_write(RESULTS) as handle:
            json.dump(every, handle, indent=1, ensure_ascii=False)
            handle.write("\n")
    return 0


def trained(name: str, seed: int, split: Split, protocol: str, **settings: Any) -> Recommender:
    """Return "sasrec" (tuned) or "mini", trained on a split's training part now or by an earlier call.

    A model is kept in _build/mini, under a digest of its settings and of the code that makes it.
    """
    model = tuned(name, seed=seed) if name == "sasrec" else create(name, seed=seed, **settings)
    made_of = json.dumps(
        [model.settings, protocol, split.train.n_interactions, code_digest(), word_vectors.SHA256]
    ).encode()
    folder = KEPT / f"{name}-{hashlib.sha256(made_of).hexdigest()[:16]}"
    if not folder.is_dir():
        started = time.perf_counter()
        if name == "mini":
            model.fit(split.train, verbose=2)  # type: ignore[call-arg]
        else:
            model.fit(split.train)
        print(f"{name}, seed {seed}: {time.perf_counter() - started:.0f} s of training", flush=True)
        model.save(folder)
    return load(folder)


def measure(
    model: Recommender,
    sasrec: Recommender | None,
    split: Split,
    part: str,
    conditions: tuple[str, ...] | None = None,
) -> dict[str, np.ndarray]:
    """Return, for each condition, three figures a request: obeyed (or violated), NDCG@10, and that of SASRec cut.

    Args:
        model: What is measured.
        sasrec: What is cut; without one its figures mean nothing.
        split: The data.
        part: "valid" or "test".
        conditions: English ones, by name; all, in both languages, by default.

    Returns:
        Arrays of shape (n_requests, 3), NaN where a request is asked nothing.
    """
    requests = split.requests(part)
    histories = requests.histories
    targets = np.array([split.train.item_columns(one)[0] for one in requests.targets])
    seen = np.zeros((len(histories), split.train.n_items), dtype=bool)
    for row, history in zip(seen, histories, strict=True):
        row[split.train.item_columns(history)] = True
    simple = np.where(seen, -np.inf, 0 if sasrec is None else sasrec.score(histories))

    def asked(texts: list[str | None]) -> np.ndarray:
        return np.where(seen, -np.inf, model.score(histories, texts))

    n = len(histories)
    everything = np.ones((n, split.train.n_items), dtype=bool)
    every_target = [split.train.item_columns(one) for one in requests.targets]
    found = {}
    for name, said in (("none", None), ("null", NULL)):
        own = ndcg_of_several(asked([said] * n), every_target)
        found[name] = np.stack([np.ones(n), own, ndcg_of_several(simple, every_target)], axis=1)
    asked_in = ASKED_IN if conditions is None else {"en": tuple(one for one in conditions if one != "none")}
    for language, names in asked_in.items():
        if not names:
            continue
        made = make_following_tasks(split, part, list(names), (language,))
        for name, one in made.tasks.items():
            if name == "none":
                continue
            texts: list[str | None] = [None] * n
            wanted, refused = everything.copy(), np.zeros_like(everything)
            for number, (row, text) in enumerate(zip(made.rows, one.texts, strict=True)):
                texts[row] = text
                if text is not None:
                    wanted[row] = one.wish.masks[one.wish.mask_of_request[number]]
                    if one.forbidden is not None:
                        refused[row] = one.forbidden.masks[one.forbidden.mask_of_request[number]]
            obeyed = wanted if one.forbidden is None else refused
            rows = figures(asked(texts), simple, obeyed, wanted, targets, one.forbidden is not None)
            rows[[text is None for text in texts]] = np.nan
            found[name if language == "en" else f"{name} ({language})"] = rows
    return found


@cache
def code_digest() -> str:
    """Return a digest of what the code of `MADE_BY` does: docstrings, comments and line breaks do not count."""
    found = hashlib.sha256()
    for folder, names in MADE_BY.items():
        for name in names:
            tree = ast.parse((PACKAGE / folder / f"{name}.py").read_text("utf-8"))
            for node in ast.walk(tree):
                body = getattr(node, "body", None)
                if isinstance(body, list):
                    node.body = [one for one in body if not _is_text(one)]  # type: ignore[attr-defined]
            found.update(ast.dump(tree).encode())
        for path in sorted((PACKAGE / folder).rglob("*.toml")):
            found.update(path.read_bytes())
    return found.hexdigest()


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def other_tasks(model: Mini, split: Split, part: str, seed: int, most: int = 200) -> dict[str, float]:
    """Return how often the model is right where it is asked for no list of items.

    - T0: yes or no, of the target and of an unseen item drawn at random, half of the questions each; chance is .5;
    - T1: which of these two;
    - both again with a text that names a category of the target;
    - grammar mask: satisfaction at 10 of what `instructions.parse` understands, filtered by it (known categories,
      conditions, refusals, in both languages);
    - query: which query an item answers, turned round; the share of `most` items whose categories are all named and no
      other, and the same in Chinese;
    - taste: the mean over `most` users of how much the taste in words and that of rules have in common, in words (F1).
    """
    requests = split.requests(part)
    histories = requests.histories
    rng = np.random.default_rng([seed, 13])
    ids = split.train.items["item_id"].to_numpy()
    targets = [one[0] for one in requests.targets]
    others = []
    for history, target in zip(histories, targets, strict=True):
        unseen = np.setdiff1d(ids, [*history, target])
        others.append(unseen[int(rng.integers(len(unseen)))])
    made = make_following_tasks(split, part, ["stated"])
    texts: list[str | None] = [None] * len(histories)
    for row, text in zip(made.rows, made.tasks["stated"].texts, strict=True):
        texts[row] = text
    found: dict[str, float] = {}
    for name, said in (("", None), (" with a category", texts)):
        yes, no = (model.yes_or_no(histories, items, said) for items in (targets, others))
        found[f"T0{name}"] = float(np.mean([*(yes > 0.5), *(no <= 0.5)]))
        first = model.a_or_b(histories, list(zip(targets, others, strict=True)), said)
        found[f"T1{name}"] = float(np.mean(first > 0.5))
    filtered = FilteredRecommender(model)
    masked = []
    for language in ("en", "zh"):
        made = make_following_tasks(split, part, ["stated", "constraints", "negated"], (language,))
        for one in made.tasks.values():
            rows = [row for row, text in zip(made.rows, one.texts, strict=True) if text is not None]
            asked = [text for text in one.texts if text is not None]
            if not asked:
                continue
            scores = filtered.score([histories[row] for row in rows], asked)
            for row, score in zip(rows, scores, strict=True):
                score[split.train.item_columns(histories[row])] = -np.inf
            lists = np.argsort(-scores, axis=1, kind="stable")[:, :K]
            shown = np.isfinite(np.take_along_axis(scores, lists, axis=1))
            meets = one.wish if one.forbidden is None else one.forbidden
            which = [number for number, text in enumerate(one.texts) if text is not None]
            masks = meets.masks[meets.mask_of_request[which]]
            good = np.take_along_axis(masks if one.forbidden is None else ~masks, lists, axis=1)
            masked.append((good & shown).sum() / shown.sum())
    found["grammar mask"] = float(np.mean(masked))
    items = rng.choice(ids, most, replace=False)
    categories = split.train.items.set_index("item_id")[split.train.category_field]
    for language in ("en", "zh"):
        annotator = Verbalizer(split.train, language)
        right = [
            model.answer([], "query", item, language)
            == "".join(spoken(annotator.join(categories[item]), language))
            for item in items
        ]
        found[f"query ({language})"] = float(np.mean(right))
    annotator = Verbalizer(split.train, "en")
    common = []
    for history in histories[:most]:
        own, true = set(model.answer(history).split()), set(tokenise(annotator.taste(history[-20:])))
        common.append(2 * len(own & true) / max(1, len(own) + len(true)))
    found["taste"] = float(np.mean(common))
    return found


def spoken(text: str, language: str) -> list[str]:
    """Return what `Mini.answer` says if it says a text word by word."""
    words = tokenise(text)
    return words if language == "zh" else [" ".join(words)]


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


def ndcg_of_several(scores: np.ndarray, targets: list[np.ndarray]) -> np.ndarray:
    """Return NDCG@10 of requests with any number of targets, as `evaluate` measures it."""
    gains = 1 / np.log2(np.arange(2, K + 2))
    lists = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    shown = np.isfinite(np.take_along_axis(scores, lists, axis=1))
    return np.array(
        [
            (np.isin(row, wanted) & there) @ gains / gains[: len(wanted)].sum()
            for row, there, wanted in zip(lists, shown, targets, strict=True)
        ]
    )


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
