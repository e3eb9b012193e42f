"""Tune SmolLM2 on MovieLens-100K, and measure what tuning it gave: the figures of chapter `language-model`.

    python -m benchmarks.smollm2 tune [--share 1 0.5 0.25]    tunes on all users, on a half, on a quarter of them
    python -m benchmarks.smollm2 measure [--only PART …]      asks every model; goes on where it was cut off
    python -m benchmarks.smollm2 artefact                     writes the model tuned on all users to data/smollm2/

Everything is trained on the training part of leave-last-out and measured on its test part. A request has ten
candidates: the target, and 9 random items or the 9 that SASRec ranks first (hard negatives), none of them met before.

- ways: how the untuned model is asked best, on 200 users of the validation part: by the likelihood of a title among all
  texts or among the catalogue's titles, as a sum or per token. The best way is the one that `results` asks by.
- results: the history alone (P1, I0), with a vague wish (P1, I1), with a category (P1, I2), both from the target as the
  paper's are; for the tuned model also a category alone (P0, I2) and history with the taste in words (P1 and P2, I0).
  SmolLM2 zero-shot, few-shot (three answered requests of other users in front), tuned on all, on half and on a quarter
  of the users; most popular, SASRec and the shipped `mini`. Each figure is over all users, with a 95% interval.
- order: the candidates listed in the prompt, in five orders. How the target's place moves its chance, how often the
  first choice changes, and what the mean over the orders gives.
- transfer: the model tuned on films among the products of the simulated shop, beside the untuned one.
- cost: seconds of a request that comes alone, ten candidates and the whole catalogue, and size, of each model.
- contamination: how many titles of the catalogue the untuned model completes from their first words, and how many rows
  of the data set's file of films it goes on with.

Tuned models are kept in _build/smollm2. Writes benchmarks/results/smollm2.json, and for `results` the scores of every
candidate to benchmarks/results/smollm2_scores/, a file a model and condition: those that are there and of the same
model are not measured again, unless `--anew` is given. For other candidates, delete that folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import trained
from instructrec import datasets
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.evaluation.candidates import Candidates, hard_negatives, random_negatives
from instructrec.evaluation.following_tasks import make_following_tasks
from instructrec.evaluation.paper import expected_metrics
from instructrec.files import atomic_write, digest
from instructrec.instructions.verbalizer import Verbalizer
from instructrec.models import SHIPPED, Recommender, create, load
from instructrec.models.lm.smollm2 import SmolLM2, find_weights
from instructrec.split import SPLITS, Requests, Split
from instructrec.statistics.intervals import bootstrap_interval

RESULTS = Path(__file__).with_name("results") / "smollm2.json"
SCORES = RESULTS.with_name("smollm2_scores")
KEPT = Path(__file__).parents[1] / "_build" / "smollm2"
DATA, PROTOCOL, SEED = "movielens-100k", "leave-last-out", 0
SHARES = {"1": "tuned", "0.5": "tuned on half", "0.25": "tuned on a quarter"}
UNTUNED: dict[str, dict[str, Any]] = {"zero-shot": {"shots": 0}, "few-shot": {"shots": 3}}
TASKS = ("P1, I0", "P1, I1", "P1, I2")
MORE = ("P0, I2", "P1 and P2, I0")
PAIRS = (
    ("tuned", "zero-shot"),
    ("few-shot", "zero-shot"),
    ("tuned on half", "tuned on a quarter"),
    ("tuned", "tuned on half"),
    ("tuned", "sasrec"),
    ("mini", "sasrec"),
    ("mini", "tuned"),
)
"""Models whose HR@1 is divided, the first by the second."""
NEGATIVES = {"random": slice(1, 10), "hard": slice(10, 19)}
"""Columns of the candidates beside the target, which is the first."""
WAYS_USERS = 200
ORDERS, ORDER_USERS = 5, 200
RESAMPLES = 2000
COSTED, WARMING, COSTED_WHOLE = 30, 5, 5
"""Requests that are timed alone, those before them that are not counted, and those of the whole catalogue."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Tune SmolLM2 and measure what that gave.")
    parser.add_argument("what", choices=["tune", "measure", "artefact"])
    parser.add_argument("--share", nargs="+", choices=list(SHARES), default=list(SHARES))
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    names = [*UNTUNED, *SHARES.values()]
    parser.add_argument(
        "--models", nargs="+", choices=names, default=names, help="forms of SmolLM2 in `results`"
    )
    parser.add_argument("--anew", action="store_true", help="measure scores again that are there")
    options = parser.parse_args(arguments)
    split = SPLITS[PROTOCOL](datasets.load(DATA))
    if options.what == "tune":
        for share in options.share:
            note("tuning", SHARES[share], tune(split, share))
    elif options.what == "artefact":
        artefact(split)
    else:
        for part in options.only:
            print(part, flush=True)
            made = results(split, options.models, options.anew) if part == "results" else PARTS[part](split)
            note(part, None, made)
            print(json.dumps(made, indent=1), flush=True)
    return 0


def note(part: str, name: str | None, made: Any) -> None:
    """Put what was measured into the file of results."""
    found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    if name is None:
        found[part] = made
    else:
        found.setdefault(part, {})[name] = made
    with atomic_write(RESULTS) as handle:
        json.dump(found, handle, indent=1)
        handle.write("\n")


# -- tuning --------------------------------------------------------------------------------------------------------


def tune(split: Split, share: str) -> dict[str, Any]:
    """Tune on a share of the users, keep the model, and return what that took."""
    model = SmolLM2(user_share=float(share), seed=SEED)
    examples = model.examples(split.train)
    folder = KEPT / share
    folder.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    model.fit(split.train, verbose=1, checkpoint=KEPT / f"{share}.checkpoint")
    seconds = time.perf_counter() - started
    model.save(folder)
    language_model = model.language_model
    tokens = sum(
        len(language_model.encode(language_model.chat(message))) + len(language_model.encode(answer))
        for message, answer in examples
    )
    made = {
        "seconds": round(seconds, 1),
        "gigabytes at most": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 1),
        "examples": len(examples),
        "titles": sum(answer.count("\n") for _, answer in examples),
        "tokens": tokens,
        "trained": language_model.n_trainable,
        "parameters": language_model.n_parameters,
        "megabytes": round((folder / "arrays.npz").stat().st_size / 1e6, 2),
        "settings": model.settings,
    }
    print(json.dumps(made, indent=1), flush=True)
    return made


def artefact(split: Split) -> None:
    """Write the model tuned on all users to data/smollm2/ with its card, without the films."""
    found = json.loads(RESULTS.read_text("utf-8"))
    model, folder = tuned_model("1", split), SHIPPED["smollm2"]
    model.save(folder, catalogue=False)
    with atomic_write(folder / "training.json") as handle:
        json.dump({"model": "smollm2", "data": DATA, "protocol": PROTOCOL}, handle, indent=2)
        handle.write("\n")
    rows = {(row["condition"], row["negatives"], row["model"]): row for row in found["results"]["rows"]}
    table = "\n".join(
        f"| {condition} | {negatives} | "
        + " | ".join(
            f"{rows[condition, negatives, name]['HR@1'][0]:.3f}"
            for name in ("zero-shot", "tuned", "most-popular", "sasrec", "mini")
        )
        + " |"
        for condition in TASKS
        for negatives in NEGATIVES
    )
    card = Path(__file__).with_name("smollm2_card.md").read_text("utf-8")
    with atomic_write(folder / "README.md") as handle:
        facts = {"table": table, "users": found["results"]["users"], "times": times(found["cost"])}
        handle.write(card.format(**{**found["tuning"]["tuned"], **facts}))
    print(f"wrote {folder}")


def times(cost: dict[str, Any]) -> float:
    """Return how many times as long as of `mini` a request of ten candidates takes of the tuned model."""
    seconds = {name: row["seconds, ten candidates"] for name, row in cost["models"].items()}
    return float(seconds["tuned"] / seconds["mini"])


def tuned_model(share: str, split: Split) -> SmolLM2:
    """Return the model that was tuned on a share of the users; of all of them, the one in data/ if none is newer.

    Raises:
        InputError: It was not tuned yet.
    """
    folder = folder_of(share)
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is not there; run `python -m benchmarks.smollm2 tune` first")
    model = load(folder)
    assert isinstance(model, SmolLM2)
    return model


def folder_of(share: str) -> Path:
    """Return where the model is that was tuned on a share of the users."""
    return SHIPPED["smollm2"] if share == "1" and not (KEPT / share).is_dir() else KEPT / share


# -- results -------------------------------------------------------------------------------------------------------


def results(split: Split, names: Sequence[str], anew: bool = False) -> dict[str, Any]:
    """Return the figures of each condition, kind of negatives and model.

    Args:
        split: The data.
        names: Forms of SmolLM2.
        anew: Measure what is there already.
    """
    requests = split.requests("test")
    candidates, texts, histories = asked(split)
    scores: dict[tuple[str, str], np.ndarray] = {}
    others = {
        "most-popular": create("most-popular").fit(split.train),
        "sasrec": trained("sasrec", SEED, split, PROTOCOL),
        "mini": load(SHIPPED["mini"]),
    }
    for name, model in others.items():
        for condition in TASKS:
            given = model.score(histories[condition], texts[condition])
            scores[name, condition] = np.take_along_axis(given, candidates, axis=1)
    for name in names:
        for condition in (*TASKS, *(MORE if name == "tuned" else ())):
            path = scores_of(name, condition)
            weights = digest_of(name)
            if anew or not (path.is_file() and is_of(path, candidates, weights)):
                made = language_scores(name, split, candidates, histories[condition], texts[condition])
                marks = {"candidates": np.array(content_digest(candidates)), "model": np.array(weights)}
                with atomic_write(path, "wb") as handle:
                    np.savez_compressed(handle, scores=made, **marks)  # type: ignore[arg-type]
            with np.load(path) as arrays:
                scores[name, condition] = arrays["scores"]
    rows = []
    hits: dict[tuple[str, str, str], np.ndarray] = {}
    for (name, condition), given in scores.items():
        for negatives, columns in NEGATIVES.items():
            own = per_user(given[:, :1], given[:, columns])
            hits[condition, negatives, name] = own["HR@1"]
            rows.append(
                {
                    "condition": condition,
                    "negatives": negatives,
                    "model": name,
                    **{metric: interval(values) for metric, values in own.items()},
                }
            )
    order = {key: number for number, key in enumerate([*TASKS, *MORE])}
    rows.sort(key=lambda row: (order[str(row["condition"])], row["negatives"] != "random"))
    ratios = [
        {
            "condition": condition,
            "negatives": negatives,
            "of": of,
            "to": to,
            "ratio": ratio(hits[condition, negatives, of], hits[condition, negatives, to]),
        }
        for condition in TASKS
        for negatives in NEGATIVES
        for of, to in PAIRS
        if {of, to} <= {one[0] for one in scores}
    ]
    differences = [
        {
            "of": of,
            "to": to,
            "negatives": negatives,
            "model": name,
            "HR@1": interval(hits[of, negatives, name] - hits[to, negatives, name]),
        }
        for name in ("tuned", "mini", "zero-shot")
        for negatives in NEGATIVES
        for of, to in (
            ("P1, I1", "P1, I0"),
            ("P1, I2", "P1, I0"),
            ("P1 and P2, I0", "P1, I0"),
            ("P1, I2", "P0, I2"),
        )
        if {(of, negatives, name), (to, negatives, name)} <= set(hits)
    ]
    return {
        "users": len(requests),
        "seed": SEED,
        "rows": rows,
        "ratios": ratios,
        "differences": differences,
    }


def asked(split: Split) -> tuple[np.ndarray, dict[str, list[str | None]], dict[str, list[list[Any]]]]:
    """Return the candidates of each request, (n, 19), and texts and histories by condition.

    Candidates are those that were drawn when there are any: a SASRec that is trained on another machine ranks others
    first.
    """
    requests = split.requests("test")
    path = SCORES / "candidates.npz"
    if path.is_file():
        with np.load(path) as arrays:
            candidates = arrays["candidates"].astype(np.int64)
        if not np.array_equal(candidates[:, 0], targets_of(split, requests)):
            raise InputError(f"{str(path)!r} is of other targets; delete it to draw anew")
    else:
        hard = hard_negatives(9, trained("sasrec", SEED, split, PROTOCOL))
        candidates = np.concatenate(
            [
                targets_and(random_negatives(9, SEED), split, requests),
                targets_and(hard, split, requests)[:, 1:],
            ],
            axis=1,
        )
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path, "wb") as handle:
            np.savez_compressed(handle, candidates=candidates.astype(np.int16))  # type: ignore[arg-type]
    made = make_following_tasks(split, "test", ["stated", "vague wish"])
    annotator = Verbalizer(split.train, "en")
    taste = [f"my taste: {annotator.taste(history[-20:])}" for history in requests.histories]
    texts: dict[str, list[str | None]] = {
        "P1, I0": [None] * len(requests),
        "P1, I1": list(made.tasks["vague wish"].texts),
        "P1, I2": list(made.tasks["stated"].texts),
        "P0, I2": list(made.tasks["stated"].texts),
        "P1 and P2, I0": list(taste),
    }
    histories = {
        name: [[] if name.startswith("P0") else list(one) for one in requests.histories] for name in texts
    }
    return candidates, texts, histories


def targets_of(split: Split, requests: Requests) -> np.ndarray:
    """Return the catalogue column of the first target of each request."""
    return np.array([split.train.item_columns(one[:1])[0] for one in requests.targets])


def targets_and(negatives: Candidates, split: Split, requests: Requests) -> np.ndarray:
    """Return the target of each request in front of its negatives, catalogue columns, (n_requests, 1 + n_negatives)."""
    targets = targets_of(split, requests)
    mask = negatives.mask(split, requests)
    mask[np.arange(len(targets)), targets] = False
    return np.concatenate([targets[:, None], np.array([np.flatnonzero(row) for row in mask])], axis=1)


def language_scores(
    name: str,
    split: Split,
    candidates: np.ndarray,
    histories: Sequence[Sequence[Any]],
    texts: Sequence[str | None],
) -> np.ndarray:
    """Return what a form of SmolLM2 gives the candidates."""
    model = language_recommender(name, split)
    assert model.language_model
    ids = split.train.items["item_id"].to_numpy()
    print(f"{name}: {len(candidates)} requests", flush=True)
    return model.score_candidates(histories, ids[candidates].tolist(), texts)


def scores_of(name: str, condition: str) -> Path:
    """Return the file of the scores that a form of SmolLM2 gives under a condition."""
    return SCORES / f"{name.replace(' ', '-')}_{condition.replace(', ', '-').replace(' ', '-')}.npz"


def digest_of(name: str) -> str:
    """Return the digest of what tuning gave a form of SmolLM2, empty for an untuned one and one that is not here."""
    for share, said in SHARES.items():
        if said == name and (folder := folder_of(share)).is_dir():
            return digest(folder / "arrays.npz")
    return ""


def is_of(path: Path, candidates: np.ndarray, model: str) -> bool:
    """Return whether a file of scores is of these candidates, and of this model if that is here."""
    with np.load(path) as arrays:
        same = str(arrays["candidates"]) == content_digest(candidates)
        return same and model in ("", str(arrays["model"]))


def content_digest(candidates: np.ndarray) -> str:
    """Return the digest of candidates' numbers."""
    return hashlib.sha256(candidates.astype(np.int32).tobytes()).hexdigest()


def language_recommender(name: str, split: Split) -> SmolLM2:
    """Return a form of SmolLM2 by its name in the tables."""
    if name in UNTUNED:  # per token and among all tokens: the better of four ways on validation
        return SmolLM2(epochs=0, closed=False, per_token=True, seed=SEED, **UNTUNED[name]).fit(split.train)
    return tuned_model(next(share for share, said in SHARES.items() if said == name), split)


def per_user(own: np.ndarray, others: np.ndarray) -> dict[str, np.ndarray]:
    """Return the paper's metrics of each request, ties shared: targets' scores (n, 1), those of negatives (n, 9)."""
    above, level = (others > own).sum(axis=1), (others == own).sum(axis=1) + 1
    return expected_metrics(above, level, others.shape[1] + 1)


def interval(values: np.ndarray) -> list[float]:
    """Return a mean with the ends of its interval."""
    found = bootstrap_interval(values)
    return [round(float(one), 5) for one in (found.mean, found.low, found.high)]


def ratio(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Return the ratio of two means with its percentile bootstrap interval, users drawn for both at once."""
    rng = np.random.default_rng(SEED)
    rows = rng.integers(0, len(first), (RESAMPLES, len(first)))
    drawn = first[rows].mean(axis=1) / second[rows].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [round(float(one), 4) for one in (first.mean() / second.mean(), low, high)]


# -- ways of asking ------------------------------------------------------------------------------------------------


def ways(split: Split) -> dict[str, Any]:
    """Return HR@1 of the untuned model on validation, by four readings of a title's likelihood."""
    requests = split.requests("valid")
    users = np.sort(np.random.default_rng(SEED).permutation(len(requests))[:WAYS_USERS])
    candidates = targets_and(random_negatives(9, SEED), split, requests)[users]
    ids = split.train.items["item_id"].to_numpy()
    histories = [requests.histories[user] for user in users]
    found = {}
    for closed in (False, True):
        model = SmolLM2(epochs=0, closed=closed, seed=SEED).fit(split.train)
        sums = model.score_candidates(histories, ids[candidates].tolist())
        lengths = np.array(
            [len(model.language_model.encode(one + "\n")) for one in split.train.items["title"]]
        )
        for name, scores in (("sum", sums), ("per token", sums / lengths[candidates])):
            among = "the catalogue's titles" if closed else "all texts"
            found[f"{name}, among {among}"] = interval(per_user(scores[:, :1], scores[:, 1:])["HR@1"])
    return {"users": len(users), "HR@1": found}


# -- the order of candidates ---------------------------------------------------------------------------------------


def order(split: Split) -> dict[str, Any]:
    """Return how much the order of candidates in the prompt decides, and what their mean over orders gives."""
    candidates, _, histories = asked(split)
    rng = np.random.default_rng(SEED)
    users = np.sort(rng.permutation(len(candidates))[:ORDER_USERS])
    ten = candidates[users, :10]
    orders = np.stack([rng.permuted(np.tile(np.arange(10), (len(users), 1)), axis=1) for _ in range(ORDERS)])
    found = {}
    for name in ("zero-shot", "tuned"):
        model = language_recommender(name, split)
        columns = [split.train.item_columns(histories["P1, I0"][user]).tolist() for user in users]
        ids = split.train.items["item_id"].to_numpy()
        untold = model.score_candidates([histories["P1, I0"][user] for user in users], ids[ten].tolist())
        scores = np.empty((ORDERS, len(users), 10), dtype=np.float32)
        for number, places in enumerate(orders):
            told = np.take_along_axis(ten, places, axis=1)
            given = model.score_listed(columns, told)
            np.put_along_axis(scores[number], places, given, axis=1)
        first = scores.argmax(axis=2)
        place = np.argmax(orders == 0, axis=2)  # where the target stands in the prompt
        hit = first == 0
        chosen = np.take_along_axis(orders.argsort(axis=2), first[:, :, None], axis=2)[:, :, 0]
        found[name] = {
            "not listed": interval(per_user(untold[:, :1], untold[:, 1:])["HR@1"]),
            "one order": interval(hit.mean(axis=0)),
            "mean of orders": interval(
                per_user(scores.mean(axis=0)[:, :1], scores.mean(axis=0)[:, 1:])["HR@1"]
            ),
            "first choice changes": round(
                float(np.mean([(first[a] != first[b]).mean() for a in range(ORDERS) for b in range(a)])), 4
            ),
            "HR@1 by the target's place": [round(float(hit[place == at].mean()), 4) for at in range(10)],
            "chosen place": [round(float((chosen == at).mean()), 4) for at in range(10)],
        }
    return {"users": len(users), "orders": ORDERS, **found}


# -- another domain ------------------------------------------------------------------------------------------------


def transfer(split: Split) -> dict[str, Any]:
    """Return HR@1 among ten products of the shop, by the untuned model and by the one that was tuned on films."""
    shop = SPLITS[PROTOCOL](datasets.load("shop"))
    requests = shop.requests("test")
    candidates = targets_and(random_negatives(9, SEED), shop, requests)
    ids = shop.train.items["item_id"].to_numpy()
    hits = {}
    for name in ("zero-shot", "tuned"):
        model = language_recommender(name, split).onto(shop.train)
        scores = model.score_candidates(requests.histories, ids[candidates].tolist())
        hits[name] = per_user(scores[:, :1], scores[:, 1:])["HR@1"]
    popular = create("most-popular").fit(shop.train)
    scores = popular.score_candidates(requests.histories, ids[candidates].tolist())
    hits["most-popular"] = per_user(scores[:, :1], scores[:, 1:])["HR@1"]
    return {
        "users": len(requests),
        "HR@1": {name: interval(values) for name, values in hits.items()},
        "tuned - zero-shot": interval(hits["tuned"] - hits["zero-shot"]),
    }


# -- contamination -------------------------------------------------------------------------------------------------


def contamination(split: Split) -> dict[str, Any]:
    """Return how much of the catalogue the untuned model knows by heart."""
    model = SmolLM2(epochs=0, closed=False).fit(split.train).language_model
    items = split.train.items
    titles = items["title"].astype(str).tolist()
    words = [title.split() for title in titles]
    several = [row for row, one in enumerate(words) if len(one) > 1]
    halves = [(len(words[row]) + 1) // 2 for row in several]
    prompts = [f'The film "{" ".join(words[row][:half])}' for row, half in zip(several, halves, strict=True)]
    rests = [f' {" ".join(words[row][half:])}"' for row, half in zip(several, halves, strict=True)]
    completed = model.would_say(prompts, rests)
    rng = np.random.default_rng(SEED)
    others = rng.permutation(len(rests))
    control = model.would_say(prompts, [rests[row] for row in others])
    counts = split.train.interactions["item_id"].value_counts()
    known = items["item_id"].map(counts).fillna(0).to_numpy()[several]
    popular = known >= np.quantile(known, 0.9)
    lines = rows_of(split.train)
    shown = 5
    heads = [
        "".join(lines[at - shown : at]) + lines[at].split("|")[0] + "|" for at in range(shown, len(lines))
    ]
    tails = [lines[at].split("|")[1] for at in range(shown, len(lines))]
    recalled = model.would_say(heads, tails)
    return {
        "titles of several words": len(several),
        "completed": interval(completed.astype(float)),
        "completed, the tenth met most": interval(completed[popular].astype(float)),
        "control: another title's rest": interval(control.astype(float)),
        "rows": len(tails),
        "rows recalled": interval(recalled.astype(float)),
        "examples": [
            prompts[row].removeprefix("The film ") + " …" + rests[row]
            for row in np.flatnonzero(completed)[:12]
        ],
    }


def rows_of(dataset: Dataset) -> list[str]:
    """Return the first two fields of each line of MovieLens's file of films, `id|title (year)`, in its spelling.

    The file puts articles last, as in `Usual Suspects, The (1995)`, and goes on with dates, addresses and flags.
    """
    return [
        f"{row.item_id}|{article_last(row.title)} ({row.year})\n"
        for row in dataset.items.sort_values("item_id").itertuples()
    ]


def article_last(title: str) -> str:
    """Return a title with its article behind a comma, as libraries sort them."""
    first, _, rest = title.partition(" ")
    return f"{rest}, {first}" if first in ("The", "A", "An") and rest else title


# -- cost ----------------------------------------------------------------------------------------------------------


def cost(split: Split) -> dict[str, Any]:
    """Return what a request costs that comes alone: median seconds on two threads, and megabytes of weights."""
    candidates, texts, histories = asked(split)
    ids = split.train.items["item_id"].to_numpy()
    models: dict[str, Recommender] = {
        "most-popular": create("most-popular").fit(split.train),
        "sasrec": trained("sasrec", SEED, split, PROTOCOL),
        "mini": load(SHIPPED["mini"]),
        **{name: language_recommender(name, split) for name in (*UNTUNED, "tuned")},
    }
    found = {}
    for name, model in models.items():
        ten, whole = [], []
        for row in range(COSTED + WARMING):
            history, text = histories["P1, I2"][row], texts["P1, I2"][row]
            started = time.perf_counter()
            model.score_candidates([history], [ids[candidates[row, :10]].tolist()], [text])
            ten.append(time.perf_counter() - started)
        for row in range(COSTED_WHOLE + 1):
            started = time.perf_counter()
            model.score([histories["P1, I2"][row]], [texts["P1, I2"][row]])
            whole.append(time.perf_counter() - started)
        numbers = sum(array.nbytes for array in model._arrays().values() if array.dtype.kind == "f")
        if isinstance(model, SmolLM2):
            numbers += find_weights().stat().st_size
        found[name] = {
            "seconds, ten candidates": round(float(np.median(ten[WARMING:])), 5),
            "seconds, whole catalogue": round(float(np.median(whole[1:])), 5),
            "megabytes": round(numbers / 1e6, 2),
        }
        print(name, found[name], flush=True)
    return {"requests": COSTED, "models": found}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "ways": ways,
    "results": results,
    "order": order,
    "transfer": transfer,
    "contamination": contamination,
    "cost": cost,
}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.smollm2: {error}")
