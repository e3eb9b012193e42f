"""Tune SmolLM2 on MovieLens-100K and measure the effect: the figures of chapter `language-model`.

    python -m benchmarks.smollm2 tune [--share 1 0.5 0.25]    tunes on all users, on a half, on a quarter of them
    python -m benchmarks.smollm2 measure [--only PART …]      asks every model; resumes where it was interrupted
    python -m benchmarks.smollm2 artefact                     writes the model tuned on all users to data/smollm2/

Everything is trained on the training part of leave-last-out and measured on its test part. A request has ten
candidates: the target, and 9 random items or the 9 that SASRec ranks first (hard negatives); no negative is in
the history.

- ways: four ways to score a title by the untuned model, on 200 users of the validation part: likelihood among all texts
  or among the catalogue's titles, as a sum or per token. `results` uses the best of them.
- results: the history alone (P1, I0), with a vague wish (P1, I1), with a category (P1, I2), both from the target as the
  paper's are; for the tuned model also a category alone (P0, I2) and history with the taste in words (P1 and P2, I0).
  SmolLM2 zero-shot, few-shot (after three answered requests of other users), tuned on all, on half and on a quarter of
  the users; most popular, SASRec and the shipped `mini`. Each figure is over all users, with a 95% interval.
- order: the candidates listed in the prompt, in five orders: how the target's position changes its chance, how often
  the first choice changes, and the figure for the mean over the orders.
- transfer: the model tuned on films among the products of the simulated shop, beside the untuned one.
- cost: seconds for a single request, of ten candidates and of the whole catalogue, and the size of each model.
- contamination: how many titles of the catalogue the untuned model completes from their first words, and how many rows
  of the data set's file of films it recites.

Tuned models are saved in _build/smollm2. Writes benchmarks/results/smollm2.json and, for `results`, the scores of every
candidate to benchmarks/results/smollm2_scores/, a file for each model and condition. Files of the same model and
candidates are not measured again, unless `--anew` is given. For other candidates, delete that folder.
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
TUNED_MODELS = Path(__file__).parents[1] / "_build" / "smollm2"
DATA, PROTOCOL, SEED = "movielens-100k", "leave-last-out", 0
SHARES = {"1": "tuned", "0.5": "tuned on half", "0.25": "tuned on a quarter"}
UNTUNED: dict[str, dict[str, Any]] = {"zero-shot": {"shots": 0}, "few-shot": {"shots": 3}}
TASKS = ("P1, I0", "P1, I1", "P1, I2")
TUNED_TASKS = ("P0, I2", "P1 and P2, I0")
RATIOS = (
    ("tuned", "zero-shot"),
    ("few-shot", "zero-shot"),
    ("tuned on half", "tuned on a quarter"),
    ("tuned", "tuned on half"),
    ("tuned", "sasrec"),
    ("mini", "sasrec"),
    ("mini", "tuned"),
)
"""Pairs of models: the HR@1 of the first is divided by that of the second."""
NEGATIVES = {"random": slice(1, 10), "hard": slice(10, 19)}
"""Columns of the negatives; column 0 is the target."""
WAYS_USERS = 200
ORDERS, ORDER_USERS = 5, 200
RESAMPLES = 2000
TIMED_REQUESTS, WARMUP_REQUESTS, TIMED_CATALOGUES = 30, 5, 5
"""Requests of ten candidates that are timed, those before them that are not, and requests of the whole catalogue."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Tune SmolLM2 and measure the effect.")
    parser.add_argument("command", choices=["tune", "measure", "artefact"])
    parser.add_argument("--share", nargs="+", choices=list(SHARES), default=list(SHARES))
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    names = [*UNTUNED, *SHARES.values()]
    parser.add_argument(
        "--models", nargs="+", choices=names, default=names, help="forms of SmolLM2 in `results`"
    )
    parser.add_argument("--anew", action="store_true", help="measure existing scores again")
    options = parser.parse_args(arguments)
    split = SPLITS[PROTOCOL](datasets.load(DATA))
    if options.command == "tune":
        for share in options.share:
            write_figures("tuning", SHARES[share], tune(split, share))
    elif options.command == "artefact":
        artefact(split)
    else:
        for part in options.only:
            print(part, flush=True)
            figures = (
                results(split, options.models, options.anew) if part == "results" else PARTS[part](split)
            )
            write_figures(part, None, figures)
            print(json.dumps(figures, indent=1), flush=True)
    return 0


def write_figures(part: str, name: str | None, figures: Any) -> None:
    """Write the figures of a part, or of one model in it, to the file of results; the other parts stay."""
    content: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    if name is None:
        content[part] = figures
    else:
        content.setdefault(part, {})[name] = figures
    with atomic_write(RESULTS) as handle:
        json.dump(content, handle, indent=1)
        handle.write("\n")


# -- tuning --------------------------------------------------------------------------------------------------------


def tune(split: Split, share: str) -> dict[str, Any]:
    """Tune on a share of the users, save the model, and return time, memory and sizes."""
    model = SmolLM2(user_share=float(share), seed=SEED)
    examples = model.examples(split.train)
    folder = TUNED_MODELS / share
    folder.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    model.fit(split.train, verbose=1, checkpoint=TUNED_MODELS / f"{share}.checkpoint")
    seconds = time.perf_counter() - started
    model.save(folder)
    language_model = model.language_model
    tokens = sum(
        len(language_model.encode(language_model.chat(message))) + len(language_model.encode(answer))
        for message, answer in examples
    )
    figures = {
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
    print(json.dumps(figures, indent=1), flush=True)
    return figures


def artefact(split: Split) -> None:
    """Write the model tuned on all users to data/smollm2/ with its card, without the films."""
    model, folder = tuned_model("1", split), SHIPPED["smollm2"]
    model.save(folder, catalogue=False)
    with atomic_write(folder / "training.json") as handle:
        json.dump({"model": "smollm2", "data": DATA, "protocol": PROTOCOL}, handle, indent=2)
        handle.write("\n")
    with atomic_write(folder / "README.md") as handle:
        handle.write(card(json.loads(RESULTS.read_text("utf-8"))))
    print(f"wrote {folder}")


def card(figures: dict[str, Any]) -> str:
    """Return the card of data/smollm2/.

    Args:
        figures: Content of the file of results.
    """
    rows = {(row["condition"], row["negatives"], row["model"]): row for row in figures["results"]["rows"]}
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
    text = Path(__file__).with_name("smollm2_card.md").read_text("utf-8")
    facts = {"table": table, "users": figures["results"]["users"], "times": times(figures["cost"])}
    return text.format(**{**figures["tuning"]["tuned"], **facts})


def times(cost: dict[str, Any]) -> float:
    """Return the ratio of the tuned model's seconds for a request of ten candidates to those of `mini`."""
    seconds = {name: row["seconds, ten candidates"] for name, row in cost["models"].items()}
    return float(seconds["tuned"] / seconds["mini"])


def tuned_model(share: str, split: Split) -> SmolLM2:
    """Return the model that was tuned on a share of the users.

    Raises:
        InputError: No model was tuned on this share yet.
    """
    folder = folder_of(share)
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is not there; run `python -m benchmarks.smollm2 tune` first")
    model = load(folder)
    assert isinstance(model, SmolLM2)
    return model


def folder_of(share: str) -> Path:
    """Return the folder of the model tuned on a share of the users; for all users, data/smollm2 if none is newer."""
    return (
        SHIPPED["smollm2"] if share == "1" and not (TUNED_MODELS / share).is_dir() else TUNED_MODELS / share
    )


# -- results -------------------------------------------------------------------------------------------------------


def results(split: Split, names: Sequence[str], anew: bool = False) -> dict[str, Any]:
    """Return the figures of each condition, kind of negatives and model.

    Args:
        split: The data.
        names: Forms of SmolLM2.
        anew: Measure existing scores again.
    """
    requests = split.requests("test")
    candidates, texts, histories = test_requests(split)
    scores: dict[tuple[str, str], np.ndarray] = {}
    rivals = {
        "most-popular": create("most-popular").fit(split.train),
        "sasrec": trained("sasrec", SEED, split, PROTOCOL),
        "mini": load(SHIPPED["mini"]),
    }
    for name, model in rivals.items():
        for condition in TASKS:
            all_scores = model.score(histories[condition], texts[condition])
            scores[name, condition] = np.take_along_axis(all_scores, candidates, axis=1)
    for name in names:
        for condition in (*TASKS, *(TUNED_TASKS if name == "tuned" else ())):
            path = scores_of(name, condition)
            weights = digest_of(name)
            if anew or not (path.is_file() and is_of(path, candidates, weights)):
                new_scores = language_scores(name, split, candidates, histories[condition], texts[condition])
                digests = {"candidates": np.array(content_digest(candidates)), "model": np.array(weights)}
                with atomic_write(path, "wb") as handle:
                    np.savez_compressed(handle, scores=new_scores, **digests)  # type: ignore[arg-type]
            with np.load(path) as arrays:
                scores[name, condition] = arrays["scores"]
    rows = []
    hits: dict[tuple[str, str, str], np.ndarray] = {}
    for (name, condition), values in scores.items():
        for negatives, columns in NEGATIVES.items():
            metrics = per_user(values[:, :1], values[:, columns])
            hits[condition, negatives, name] = metrics["HR@1"]
            rows.append(
                {
                    "condition": condition,
                    "negatives": negatives,
                    "model": name,
                    **{metric: interval(of_users) for metric, of_users in metrics.items()},
                }
            )
    order = {key: number for number, key in enumerate([*TASKS, *TUNED_TASKS])}
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
        for of, to in RATIOS
        if {of, to} <= {name for name, _ in scores}
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


def test_requests(split: Split) -> tuple[np.ndarray, dict[str, list[str | None]], dict[str, list[list[Any]]]]:
    """Return the candidates of each request, (n, 19), and texts and histories by condition.

    The candidates are read from their file if it exists: a SASRec that is trained on another machine ranks other items
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
    following = make_following_tasks(split, "test", ["stated", "vague wish"])
    annotator = Verbalizer(split.train, "en")
    taste = [f"my taste: {annotator.taste(history[-20:])}" for history in requests.histories]
    texts: dict[str, list[str | None]] = {
        "P1, I0": [None] * len(requests),
        "P1, I1": list(following.tasks["vague wish"].texts),
        "P1, I2": list(following.tasks["stated"].texts),
        "P0, I2": list(following.tasks["stated"].texts),
        "P1 and P2, I0": list(taste),
    }
    histories = {
        name: [[] if name.startswith("P0") else list(history) for history in requests.histories]
        for name in texts
    }
    return candidates, texts, histories


def targets_of(split: Split, requests: Requests) -> np.ndarray:
    """Return the catalogue column of the first target of each request."""
    return np.array([split.train.item_columns(targets[:1])[0] for targets in requests.targets])


def targets_and(negatives: Candidates, split: Split, requests: Requests) -> np.ndarray:
    """Return catalogue columns of each request's target, then its negatives, shape (n_requests, 1 + n_negatives)."""
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
    """Return the scores of the candidates by a form of SmolLM2."""
    model = language_recommender(name, split)
    assert model.language_model
    ids = split.train.items["item_id"].to_numpy()
    print(f"{name}: {len(candidates)} requests", flush=True)
    return model.score_candidates(histories, ids[candidates].tolist(), texts)


def scores_of(name: str, condition: str) -> Path:
    """Return the file of the scores that a form of SmolLM2 gives under a condition."""
    return SCORES / f"{name.replace(' ', '-')}_{condition.replace(', ', '-').replace(' ', '-')}.npz"


def digest_of(name: str) -> str:
    """Return the digest of a form's adapters; empty for an untuned form and one whose model is not on this machine."""
    for share, form in SHARES.items():
        if form == name and (folder := folder_of(share)).is_dir():
            return digest(folder / "arrays.npz")
    return ""


def is_of(path: Path, candidates: np.ndarray, model: str) -> bool:
    """Return whether a file of scores is of these candidates and this model; an empty digest matches every model."""
    with np.load(path) as arrays:
        same = str(arrays["candidates"]) == content_digest(candidates)
        return same and model in ("", str(arrays["model"]))


def content_digest(candidates: np.ndarray) -> str:
    """Return the digest of an array of candidates."""
    return hashlib.sha256(candidates.astype(np.int32).tobytes()).hexdigest()


def language_recommender(name: str, split: Split) -> SmolLM2:
    """Return a form of SmolLM2 by its name in the tables."""
    if name in UNTUNED:  # per token and among all tokens: the better of four ways on validation
        return SmolLM2(epochs=0, constrained=False, per_token=True, seed=SEED, **UNTUNED[name]).fit(
            split.train
        )
    return tuned_model(next(share for share, form in SHARES.items() if form == name), split)


def per_user(targets: np.ndarray, negatives: np.ndarray) -> dict[str, np.ndarray]:
    """Return the paper's metrics of each request, ties shared.

    Args:
        targets: Scores of the targets, shape (n, 1).
        negatives: Scores of the negatives, shape (n, n_negatives).

    Returns:
        By metric, an array of shape (n,).
    """
    n_better, n_tied = (negatives > targets).sum(axis=1), (negatives == targets).sum(axis=1) + 1
    return expected_metrics(n_better, n_tied, negatives.shape[1] + 1)


def interval(values: np.ndarray) -> list[float]:
    """Return a mean with the ends of its interval."""
    result = bootstrap_interval(values)
    return [round(float(bound), 5) for bound in (result.mean, result.low, result.high)]


def ratio(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Return the ratio of two means with its percentile bootstrap interval, users drawn for both at once."""
    rng = np.random.default_rng(SEED)
    rows = rng.integers(0, len(first), (RESAMPLES, len(first)))
    ratios = first[rows].mean(axis=1) / second[rows].mean(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return [round(float(bound), 4) for bound in (first.mean() / second.mean(), low, high)]


# -- ways of asking ------------------------------------------------------------------------------------------------


def ways(split: Split) -> dict[str, Any]:
    """Return HR@1 of the untuned model on validation, by four ways to score a title."""
    requests = split.requests("valid")
    users = np.sort(np.random.default_rng(SEED).permutation(len(requests))[:WAYS_USERS])
    candidates = targets_and(random_negatives(9, SEED), split, requests)[users]
    ids = split.train.items["item_id"].to_numpy()
    histories = [requests.histories[user] for user in users]
    figures = {}
    for constrained in (False, True):
        model = SmolLM2(epochs=0, constrained=constrained, seed=SEED).fit(split.train)
        sums = model.score_candidates(histories, ids[candidates].tolist())
        lengths = np.array(
            [len(model.language_model.encode(title + "\n")) for title in split.train.items["title"]]
        )
        for name, scores in (("sum", sums), ("per token", sums / lengths[candidates])):
            among = "the catalogue's titles" if constrained else "all texts"
            figures[f"{name}, among {among}"] = interval(per_user(scores[:, :1], scores[:, 1:])["HR@1"])
    return {"users": len(users), "HR@1": figures}


# -- the order of candidates ---------------------------------------------------------------------------------------


def order(split: Split) -> dict[str, Any]:
    """Return the effect of the order of candidates in the prompt, and the figures for the mean over orders."""
    candidates, _, histories = test_requests(split)
    rng = np.random.default_rng(SEED)
    users = np.sort(rng.permutation(len(candidates))[:ORDER_USERS])
    ten = candidates[users, :10]
    orders = np.stack([rng.permuted(np.tile(np.arange(10), (len(users), 1)), axis=1) for _ in range(ORDERS)])
    figures = {}
    for name in ("zero-shot", "tuned"):
        model = language_recommender(name, split)
        columns = [split.train.item_columns(histories["P1, I0"][user]).tolist() for user in users]
        ids = split.train.items["item_id"].to_numpy()
        unlisted = model.score_candidates([histories["P1, I0"][user] for user in users], ids[ten].tolist())
        scores = np.empty((ORDERS, len(users), 10), dtype=np.float32)
        for number, positions in enumerate(orders):
            listed_scores = model.score_listed(columns, np.take_along_axis(ten, positions, axis=1))
            np.put_along_axis(scores[number], positions, listed_scores, axis=1)
        first = scores.argmax(axis=2)
        position = np.argmax(orders == 0, axis=2)  # of the target in the prompt
        hit = first == 0
        chosen = np.take_along_axis(orders.argsort(axis=2), first[:, :, None], axis=2)[:, :, 0]
        figures[name] = {
            "not listed": interval(per_user(unlisted[:, :1], unlisted[:, 1:])["HR@1"]),
            "one order": interval(hit.mean(axis=0)),
            "mean of orders": interval(
                per_user(scores.mean(axis=0)[:, :1], scores.mean(axis=0)[:, 1:])["HR@1"]
            ),
            "first choice changes": round(
                float(np.mean([(first[a] != first[b]).mean() for a in range(ORDERS) for b in range(a)])), 4
            ),
            "HR@1 by the target's place": [
                round(float(hit[position == number].mean()), 4) for number in range(10)
            ],
            "chosen place": [round(float((chosen == number).mean()), 4) for number in range(10)],
        }
    return {"users": len(users), "orders": ORDERS, **figures}


# -- another domain ------------------------------------------------------------------------------------------------


def transfer(split: Split) -> dict[str, Any]:
    """Return HR@1 among ten products of the shop, by the untuned model and by the one that was tuned on films."""
    shop = SPLITS[PROTOCOL](datasets.load("shop"))
    requests = shop.requests("test")
    candidates = targets_and(random_negatives(9, SEED), shop, requests)
    ids = shop.train.items["item_id"].to_numpy()
    hits = {}
    for name in ("zero-shot", "tuned"):
        model = language_recommender(name, split).with_catalogue(shop.train)
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
    """Return how much of the catalogue the untuned model has memorised."""
    model = SmolLM2(epochs=0, constrained=False).fit(split.train).language_model
    items = split.train.items
    titles = items["title"].astype(str).tolist()
    words = [title.split() for title in titles]
    long_titles = [row for row, title_words in enumerate(words) if len(title_words) > 1]
    halves = [(len(words[row]) + 1) // 2 for row in long_titles]
    prompts = [
        f'The film "{" ".join(words[row][:half])}' for row, half in zip(long_titles, halves, strict=True)
    ]
    endings = [f' {" ".join(words[row][half:])}"' for row, half in zip(long_titles, halves, strict=True)]
    completed = model.greedy_matches(prompts, endings)
    rng = np.random.default_rng(SEED)
    shuffled = rng.permutation(len(endings))
    control = model.greedy_matches(prompts, [endings[row] for row in shuffled])
    counts = split.train.interactions["item_id"].value_counts()
    n_users = items["item_id"].map(counts).fillna(0).to_numpy()[long_titles]
    popular = n_users >= np.quantile(n_users, 0.9)
    lines = rows_of(split.train)
    n_context = 5
    heads = [
        "".join(lines[at - n_context : at]) + lines[at].split("|")[0] + "|"
        for at in range(n_context, len(lines))
    ]
    tails = [lines[at].split("|")[1] for at in range(n_context, len(lines))]
    recalled = model.greedy_matches(heads, tails)
    return {
        "titles of several words": len(long_titles),
        "completed": interval(completed.astype(float)),
        "completed, the tenth met most": interval(completed[popular].astype(float)),
        "control: another title's rest": interval(control.astype(float)),
        "rows": len(tails),
        "rows recalled": interval(recalled.astype(float)),
        "examples": [
            prompts[row].removeprefix("The film ") + " …" + endings[row]
            for row in np.flatnonzero(completed)[:12]
        ],
    }


def rows_of(dataset: Dataset) -> list[str]:
    """Return the first two fields of each line of MovieLens's file of films, `id|title (year)`, in its spelling.

    The file puts articles last, as in `Usual Suspects, The (1995)`, and continues with dates, addresses and flags.
    """
    return [
        f"{row.item_id}|{article_last(row.title)} ({row.year})\n"
        for row in dataset.items.sort_values("item_id").itertuples()
    ]


def article_last(title: str) -> str:
    """Return a title with its article at the end after a comma, as libraries sort titles."""
    first, _, remainder = title.partition(" ")
    return f"{remainder}, {first}" if first in ("The", "A", "An") and remainder else title


# -- cost ----------------------------------------------------------------------------------------------------------


def cost(split: Split) -> dict[str, Any]:
    """Return the cost of a single request: median seconds on two threads, and megabytes of weights."""
    candidates, texts, histories = test_requests(split)
    ids = split.train.items["item_id"].to_numpy()
    models: dict[str, Recommender] = {
        "most-popular": create("most-popular").fit(split.train),
        "sasrec": trained("sasrec", SEED, split, PROTOCOL),
        "mini": load(SHIPPED["mini"]),
        **{name: language_recommender(name, split) for name in (*UNTUNED, "tuned")},
    }
    figures = {}
    for name, model in models.items():
        ten_seconds, catalogue_seconds = [], []
        for row in range(TIMED_REQUESTS + WARMUP_REQUESTS):
            history, text = histories["P1, I2"][row], texts["P1, I2"][row]
            started = time.perf_counter()
            model.score_candidates([history], [ids[candidates[row, :10]].tolist()], [text])
            ten_seconds.append(time.perf_counter() - started)
        for row in range(TIMED_CATALOGUES + 1):
            started = time.perf_counter()
            model.score([histories["P1, I2"][row]], [texts["P1, I2"][row]])
            catalogue_seconds.append(time.perf_counter() - started)
        n_bytes = sum(array.nbytes for array in model._arrays().values() if array.dtype.kind == "f")
        if isinstance(model, SmolLM2):
            n_bytes += find_weights().stat().st_size
        figures[name] = {
            "seconds, ten candidates": round(float(np.median(ten_seconds[WARMUP_REQUESTS:])), 5),
            "seconds, whole catalogue": round(float(np.median(catalogue_seconds[1:])), 5),
            "megabytes": round(n_bytes / 1e6, 2),
        }
        print(name, figures[name], flush=True)
    return {"requests": TIMED_REQUESTS, "models": figures}


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
