"""Measure our baselines and those of RecBole and RecTools on the same requests, in one run.

    python -m benchmarks.parity [--parts recbole sasrec] [--learn-from train known] [--seeds 0 1 2] [--peer-seeds 0]

Writes our leave-last-out split of MovieLens-100K for the peers, runs each in an environment of its own (made at the
first run, see benchmarks/peers/README.md), reads back the scores or lists that they wrote, and measures theirs and ours
by `evaluate_scores` and `evaluate_lists`. Nothing is tuned here.

- EASE and ItemKNN against RecBole, at the same settings. Its own leave-one-out, which differs from ours where events
  share a time, is run too. RecBole scores from the training history alone and leaves out
  what stands in training and validation; ours is measured so too ("same input"), and as the book does it, with the
  validation item in the history.
- SASRec against RecTools, at the same width, blocks and length (ours reads better at a shorter one). RecTools keeps its
  defaults, ours the recorded search's best settings at this length; the validation item is known at the request. Both
  train in a process of their own that does nothing else; seconds count training alone, not imports, and for ours not
  the measuring after each epoch. From that comes when ours first reaches RecTools's last figure, by the clock and in
  seconds of processors, which a busy machine changes less. `--peer-settings '{"lr": 0.004}'` tries others of
  RecTools's. Both train on the training part, as every model of the book, and in a second round on the validation
  part too ("known"), as one would before the last figure; that decides much for RecTools's and little for ours.

RecTools's 100 epochs take about six minutes on two idle cores, and there are two rounds. Prints tables, writes
benchmarks/results/parity.json.
Exit status 1 if a limit is missed: 2% for EASE and ItemKNN, 1.05 times and half the time for SASRec. `--ours mini` puts
`mini` in the place of our SASRec: it has to reach RecTools's figure in RecTools's time, tuning to texts included in its
own, and to be trained in twelve minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.peers.environments import CannotMake, python_of
from instructrec import datasets
from instructrec.datasets.dataset import Dataset
from instructrec.evaluation import Evaluation, evaluate, evaluate_lists, evaluate_scores, paired_difference
from instructrec.files import atomic_write
from instructrec.models import create
from instructrec.split import Split, leave_last_out

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "peers"
RESULTS = Path(__file__).with_name("results") / "parity.json"
MEASURES = ("HR", "NDCG", "MRR")
WITHIN, BETTER = 0.02, 1.05
TIME = {"sasrec": 0.5, "mini": 1.0}
"""Share of RecTools's time in which ours has to reach its last figure."""
LONGEST: dict[str, float | None] = {"sasrec": None, "mini": 720.0}
"""The most seconds of ours by themselves; without any, the share of RecTools's time counts for the whole training."""
RECBOLE = {
    "EASE": {"theirs": {"reg_weight": 250.0}, "name": "ease", "ours": {"reg": 250.0}},
    "ItemKNN": {
        "theirs": {"k": 100, "shrink": 0.0, "knn_method": "item"},
        "name": "item-knn",
        "ours": {"k": 100, "shrink": 0.0},
    },
}
LEARN_FROM = {"train": "the training part", "known": "the training and validation parts"}
RECTOOLS = {"n_factors": 64, "n_blocks": 2, "session_max_len": 100, "loss": "softmax"}
OURS: dict[str, dict[str, Any]] = {
    # of the recorded search (benchmarks/results/tuning.json), the best at this length
    "sasrec": {
        "embedding_size": 64,
        "n_blocks": 2,
        "length": 100,
        "dropout": 0.1,
        "learning_rate": 0.008,
        "epochs": 15,
    },
    "mini": {},
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure our baselines and the peers' on the same requests.")
    parser.add_argument("--parts", nargs="+", choices=["recbole", "sasrec"], default=["recbole", "sasrec"])
    parser.add_argument("--ours", choices=["sasrec", "mini"], default="sasrec", help="what RecTools's meets")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of our model")
    parser.add_argument("--peer-seeds", nargs="+", type=int, default=[0], help="of RecTools's SASRec")
    parser.add_argument("--epochs", type=int, default=100, help="of RecTools's SASRec")
    parser.add_argument("--settings", type=json.loads, default={}, help="more settings of our model, as JSON")
    parser.add_argument(
        "--peer-settings", type=json.loads, default={}, help="more settings of RecTools's SASRec, as JSON"
    )
    parser.add_argument(
        "--learn-from",
        nargs="+",
        choices=list(LEARN_FROM),
        default=list(LEARN_FROM),
        help="what both SASRecs train on",
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--train-ours", nargs=2, metavar=("FOLDER", "SETTINGS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    split = leave_last_out(datasets.movielens_100k())
    if options.train_ours:
        folder, settings = options.train_ours
        data = learnt_from(split, options.learn_from[0])
        return train_ours(options.ours, split, Path(folder), json.loads(settings), data)
    words = [word for word in sys.argv[1:] if word != "--out" and word != str(options.out)]
    results: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.parity", *words]),
        "machine": machine(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "split": f"{split.protocol}, test, whole catalogue, {len(split.requests('test'))} requests",
        "limits": {"within": WITHIN, "better": BETTER, "time": TIME[options.ours]},
    }
    checks: dict[str, bool] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            if "recbole" in options.parts:
                results["recbole"] = against_recbole(split, Path(folder) / "recbole", checks)
            if "sasrec" in options.parts:
                results["sasrec"] = {
                    parts: against_rectools(split, Path(folder) / f"rectools-{parts}", parts, options, checks)
                    for parts in options.learn_from
                }
    except (CannotMake, Failed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    results["checks"] = checks
    for name, holds in checks.items():
        print(f"{'yes' if holds else 'NO':<4}{name}")
    with atomic_write(options.out) as handle:
        handle.write(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return 0 if all(checks.values()) else 1


class Failed(Exception):
    """A process of a peer, or ours, ended in an error; the message is one line."""


# -- EASE and item kNN against RecBole ---------------------------------------------------------------------------------


def against_recbole(split: Split, folder: Path, checks: dict[str, bool]) -> dict[str, Any]:
    python = python_of("recbole")
    given = folder / "data" / "given"
    given.mkdir(parents=True)
    whole = folder / "data" / "whole"
    whole.mkdir()
    everything = datasets.movielens_100k().interactions
    columns = {"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}
    for path, part in (
        (given / "given.train.inter", split.train.interactions),
        (given / "given.valid.inter", split.valid),
        (given / "given.test.inter", split.test),
        (whole / "whole.inter", everything),
    ):
        part[list(columns)].rename(columns=columns).to_csv(path, sep="\t", index=False)
    job = {"models": {name: pair["theirs"] for name, pair in RECBOLE.items()}}
    (folder / "job.json").write_text(json.dumps(job))
    said = ask([str(python), "-W", "ignore", str(PEERS / "run_recbole.py"), str(folder)], "RecBole")
    other = json.loads((folder / "own_split.json").read_text())
    requests = split.requests("test")
    moved = sum(
        other[str(user)] != str(item)
        for user, (item,) in zip(requests.user_ids, requests.targets, strict=True)
    )
    found: dict[str, Any] = {
        "versions": said["versions"],
        "other_test_items_in_its_own_split": moved,
        "models": {},
    }
    for peer, pair in RECBOLE.items():
        theirs = evaluate_scores(peer_scores(folder / f"{peer}.npz", split), split, label=f"RecBole {peer}")
        started = time.perf_counter()
        model = create(str(pair["name"]), **pair["ours"]).fit(split.train)  # type: ignore[arg-type]
        seconds = time.perf_counter() - started
        same = evaluate_scores(from_training_alone(model, split), split, label=f"{pair['name']}, same input")
        usual = evaluate(model, split, label=f"{pair['name']}, validation item known")
        ratio = mean(same) / mean(theirs)
        found["models"][peer] = {
            "settings": pair["theirs"],
            "recbole": {
                "figures": figures(theirs),
                "own": own(said["models"][peer]["own"]),
                "own_split": own(said["models"][peer]["own_split"]),
            },
            "ours": {"figures": figures(same), "usual": figures(usual)},
            "seconds": {"recbole": said["models"][peer]["seconds"], "ours": seconds},
            "ratio": ratio,
            "difference": paired_difference(values(same), values(theirs))._asdict(),
        }
        checks[f"{peer}: NDCG@10 within {WITHIN:.0%} of RecBole's"] = abs(ratio - 1) <= WITHIN
        table(
            f"{peer} ({', '.join(f'{key} {value}' for key, value in pair['theirs'].items())})",  # type: ignore[attr-defined]
            [
                (
                    "RecBole, its own figures",
                    own(said["models"][peer]["own"]),
                    said["models"][peer]["seconds"],
                ),
                ("RecBole, measured by us", figures(theirs), None),
                ("RecBole, on its own split", own(said["models"][peer]["own_split"]), None),
                ("ours, same input", figures(same), seconds),
                ("ours, validation item known", figures(usual), None),
            ],
        )
    print(
        f"\nRecBole's own split has another test item for {moved} of {len(requests)} users: of events at one time it "
        "takes any as the last, we the last of the file"
    )
    return found


def peer_scores(path: Path, split: Split) -> np.ndarray:
    """Put a peer's score matrix into the order of our requests and of our catalogue; minus infinity what it lacks."""
    with np.load(path) as stored:
        users, items, given = (stored[name] for name in ("users", "items", "scores"))
    requests = split.requests("test")
    row_of = {user: row for row, user in enumerate(users.tolist())}
    column_of = {str(item): column for column, item in enumerate(split.train.items["item_id"])}
    scores = np.full((len(requests), split.train.n_items), -np.inf, dtype=np.float32)
    rows = [row_of[str(user)] for user in requests.user_ids]
    scores[:, [column_of[item] for item in items.tolist()]] = given[rows]
    return scores


def from_training_alone(model: Any, split: Split) -> np.ndarray:
    """Return our scores as RecBole makes its: from the training history, without what is known before the test."""
    requests = split.requests("test")
    histories = split.train.histories()
    scores = np.array(model.score([histories.get(user, []) for user in requests.user_ids]))
    for row, known in enumerate(requests.histories):
        scores[row, split.train.item_columns(known)] = -np.inf
    return scores


# -- SASRec against RecTools -------------------------------------------------------------------------------------------


def against_rectools(
    split: Split, folder: Path, parts: str, options: argparse.Namespace, checks: dict[str, bool]
) -> dict[str, Any]:
    python = python_of("rectools")
    folder.mkdir(parents=True)
    for name, part in (
        ("train", learnt_from(split, parts).interactions),
        ("known", split.before_test),
        ("test", split.test),
    ):
        ordered = split.train.with_interactions(part).ordered[["user_id", "item_id"]]
        ordered.assign(order=np.arange(len(ordered))).to_csv(folder / f"{name}.csv", index=False)
    found: dict[str, Any] = {
        "learn_from": LEARN_FROM[parts],
        "settings": {
            "rectools": {**RECTOOLS, **options.peer_settings, "epochs": options.epochs},
            "ours": {**OURS[options.ours], **options.settings},
        },
    }
    theirs: list[dict[str, Any]] = []
    ours: list[dict[str, Any]] = []
    their_evaluations: list[Evaluation] = []
    our_evaluations: list[Evaluation] = []
    rows = []
    # in turns, so that a machine that grows slower or faster does so for both
    for turn in range(max(len(options.peer_seeds), len(options.seeds))):
        for seed in options.peer_seeds[turn : turn + 1]:
            given = {**RECTOOLS, **options.peer_settings}
            job = {"settings": given, "seed": seed, "epochs": options.epochs, "k": 10}
            (folder / "job.json").write_text(json.dumps(job))
            said = ask([str(python), "-W", "ignore", str(PEERS / "run_rectools.py"), str(folder)], "RecTools")
            found["versions"] = {"rectools": said.pop("versions")}
            measured = evaluate_lists(peer_lists(folder / "lists.npz", split), split, label="RecTools SASRec")
            their_evaluations.append(measured)
            theirs.append({"seed": seed, "figures": figures(measured), **said})
            rows.append((f"RecTools, seed {seed}, measured by us", figures(measured), said["seconds"]))
            rows.append((f"RecTools, seed {seed}, its own figures", own(said["own"]), None))
        for seed in options.seeds[turn : turn + 1]:
            target = folder / f"ours-{seed}"
            target.mkdir()
            settings = json.dumps({**OURS[options.ours], **options.settings, "seed": seed})
            command = [
                sys.executable,
                "-m",
                "benchmarks.parity",
                "--learn-from",
                parts,
                "--ours",
                options.ours,
            ]
            command += ["--train-ours", str(target), settings]
            said = ask(command, f"our {options.ours}")
            with np.load(target / "scores.npz") as stored:
                measured = evaluate_scores(stored["scores"], split, label=options.ours)
            our_evaluations.append(measured)
            ours.append({"figures": figures(measured), **said})
            rows.append((f"ours, seed {seed}", figures(measured), said["seconds"]))
    goal = statistics.fmean(one["figures"]["NDCG@10"] for one in theirs)
    their_seconds = statistics.fmean(one["seconds"] for one in theirs)
    for one in ours:
        one["reached"] = next((point for point in one["curve"] if point["NDCG@10"] >= goal), None)
    ratio = statistics.fmean(one["figures"]["NDCG@10"] for one in ours) / goal
    difference = paired_difference(
        np.mean([values(one) for one in our_evaluations], axis=0),
        np.mean([values(one) for one in their_evaluations], axis=0),
    )
    reached = [one["reached"]["seconds"] / their_seconds if one["reached"] else None for one in ours]
    their_work = statistics.fmean(one["cpu_seconds"] for one in theirs)
    worked = [one["reached"]["cpu_seconds"] / their_work if one["reached"] else None for one in ours]
    said_of = f"{options.ours}, trained on {LEARN_FROM[parts]}"
    whole = statistics.fmean(one["seconds"] for one in ours) / their_seconds
    checks[f"{said_of}: NDCG@10 at least {BETTER} times RecTools's"] = ratio >= BETTER
    most, longest = TIME[options.ours], LONGEST[options.ours]
    if longest is None:
        checks[f"{said_of}: its whole training in at most {most} of RecTools's time"] = whole <= most
    else:
        within = all(one["seconds"] <= longest for one in ours)
        checks[f"{said_of}: its whole training in at most {longest:.0f} s, each seed"] = within
    checks[f"{said_of}: reaches RecTools's NDCG@10 in at most {most} of its time, each seed"] = all(
        share is not None and share <= most for share in reached
    )
    found["versions"]["ours"] = {name: version(name) for name in ("keras", "tensorflow", "numpy")}
    table(f"{said_of} (RecTools: width 64, 2 blocks, length 100, {options.epochs} epochs)", rows)
    print(f"parameters: RecTools {theirs[0]['parameters']:,}, ours {ours[0]['parameters']:,}")
    print(
        f"ours / RecTools: NDCG@10 {ratio:.3f} (difference {difference.mean:+.4f}, 95% over users "
        f"{difference.low:+.4f} to {difference.high:+.4f}), whole training time {whole:.2f}"
    )
    for one, share in zip(ours, reached, strict=True):
        point = one["reached"]
        print(
            f"seed {one['seed']}: "
            + (
                f"first at {goal:.4f} or above after epoch {point['epoch']}, {point['seconds']:.0f} s, "
                f"{share:.2f} of RecTools's {their_seconds:.0f} s ({point['cpu_seconds'] / their_work:.2f} of its "
                f"{their_work:.0f} s of processors)"
                if point
                else f"never at {goal:.4f} or above"
            )
        )
    found.update(
        {
            "rectools": theirs,
            "ours": ours,
            "ratio": ratio,
            "difference": difference._asdict(),
            "time_to_reach": reached,
            "processor_time_to_reach": worked,
            "training_time": whole,
        }
    )
    return found


def peer_lists(path: Path, split: Split) -> list[list[object]]:
    """Put a peer's lists into the order of our requests, with our ids; an empty list for a user that it left out."""
    with np.load(path) as stored:
        lists = dict(zip(stored["users"].tolist(), stored["items"].tolist(), strict=True))
    ours = {str(item): item for item in split.train.items["item_id"]}
    return [
        [ours[item] for item in lists.get(str(user), []) if item] for user in split.requests("test").user_ids
    ]


def learnt_from(split: Split, parts: str) -> Dataset:
    """Return the data that both train on: the training part, or all that is known before the test."""
    return split.train if parts == "train" else split.train.with_interactions(split.before_test)


def train_ours(name: str, split: Split, folder: Path, settings: dict[str, Any], data: Dataset) -> int:
    """Train our model, keep the scores, and say what it reached after each epoch: the child's side of a run."""
    from instructrec.backend import quiet_keras

    quiet_keras()  # imports are counted for nobody
    curve: list[dict[str, float]] = []
    measuring = np.zeros(2)  # by the clock, and of processors
    started = clocks()

    def after(epoch: int, model: Any) -> None:
        nonlocal measuring
        now = clocks()
        seconds, cpu_seconds = (now - started - measuring).round(2).tolist()
        # the test part, to say when the peer's figure was reached and to choose nothing
        reached = mean(evaluate(model, split, metrics=("NDCG",)))
        curve.append({"epoch": epoch, "seconds": seconds, "cpu_seconds": cpu_seconds, "NDCG@10": reached})
        measuring += clocks() - now

    model: Any = create(name, **settings)
    model.fit(data, on_epoch=after)
    seconds, cpu_seconds = (clocks() - started - measuring).tolist()
    requests = split.requests("test")
    scores = np.array(model.score(requests.histories))
    for row, known in enumerate(requests.histories):
        scores[row, split.train.item_columns(known)] = -np.inf
    np.savez(folder / "scores.npz", scores=scores)
    said = {"seed": settings["seed"], "seconds": seconds, "cpu_seconds": cpu_seconds}
    print(
        "\n"
        + json.dumps({**said, "parameters": model.n_parameters, "settings": model.settings, "curve": curve})
    )
    return 0


def clocks() -> np.ndarray:
    """Return seconds by the clock and seconds that this process has worked, on all processors together."""
    return np.array([time.perf_counter(), time.process_time()])


# -- what both share ---------------------------------------------------------------------------------------------------


def ask(command: Sequence[str], who: str) -> dict[str, Any]:
    """Run a process and return the JSON object on the last line that it printed."""
    print(f"running {who} …", file=sys.stderr, flush=True)
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONNOUSERSITE": "1"}
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Failed(f"{who} ended with status {done.returncode}: {last}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def figures(evaluation: Evaluation) -> dict[str, float]:
    return {name: float(evaluation.per_user[name].mean()) for name in evaluation.metrics}


def values(evaluation: Evaluation, name: str = "NDCG@10") -> np.ndarray:
    return evaluation.per_user[name].to_numpy()


def mean(evaluation: Evaluation, name: str = "NDCG@10") -> float:
    return float(values(evaluation, name).mean())


def own(said: dict[str, float]) -> dict[str, float]:
    """Rename a peer's figures: RecBole says hit@10."""
    names = {"hit@10": "HR@10", "ndcg@10": "NDCG@10", "mrr@10": "MRR@10"}
    return {names.get(name, name): value for name, value in said.items()}


def table(title: str, rows: list[tuple[str, dict[str, float], float | None]]) -> None:
    lines = [
        {
            "": name,
            **{f"{one}@10": f"{found[f'{one}@10']:.4f}" for one in MEASURES},
            "fit (s)": "" if seconds is None else f"{seconds:.1f}",
        }
        for name, found, seconds in rows
    ]
    print(f"\n{title}\n{pd.DataFrame(lines).to_string(index=False)}", flush=True)


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
