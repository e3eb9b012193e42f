"""Evaluate our baselines and those of RecBole and RecTools on the same requests, in one run.

    python -m benchmarks.parity [--parts recbole sasrec] [--learn-from train known] [--seeds 0 1 2] [--peer-seeds 0]

Writes our leave-last-out split of MovieLens-100K for the peers, runs each peer in its own environment (created by the
first run, see benchmarks/peers/README.md), reads the scores or lists that it wrote, and evaluates theirs and ours by
`evaluate_scores` and `evaluate_lists`. Nothing is tuned here.

- EASE and ItemKNN against RecBole, with the same settings. RecBole's own leave-one-out split, which differs from ours
  where events share a time, is evaluated, too. RecBole scores from the training history alone and excludes the items of
  training and validation; ours is evaluated in this way ("same input") and in the book's way, with the validation item
  in the history.
- SASRec against RecTools, with the same width, blocks and length (ours is better with a shorter history). RecTools has
  its defaults, ours the best settings of the recorded search at this length; the validation item is known at the
  request. Each trains in its own process; seconds count training alone, without imports and, for ours, without the
  evaluation after each epoch. This gives the time at which ours first reaches RecTools's final metric, in wall time and
  in CPU seconds, which depend less on the machine's load. `--peer-settings '{"lr": 0.004}'` changes settings of
  RecTools. Both train on the training part, like every model of the book, and in a second round also on the validation
  part ("known"), as before a final evaluation; that changes RecTools's result much and ours little.

RecTools's 100 epochs take about six minutes on two idle cores, and there are two rounds. Prints tables, writes
benchmarks/results/parity.json.
Exit status 1 if a limit is missed: 2% for EASE and ItemKNN, 1.05 times and half the time for SASRec. `--ours mini`
replaces our SASRec by `mini`, which must reach RecTools's metric in RecTools's time, its tuning to texts included, and
must train within twelve minutes.
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
METRIC_NAMES = ("HR", "NDCG", "MRR")
MAX_DIFFERENCE = 0.02
"""Largest relative difference from RecBole's NDCG@10."""
MIN_RATIO = 1.05
"""Smallest ratio to RecTools's NDCG@10."""
MAX_TIME_SHARE = {"sasrec": 0.5, "mini": 1.0}
"""Share of RecTools's time within which ours must reach its final NDCG@10."""
MAX_SECONDS: dict[str, float | None] = {"sasrec": None, "mini": 720.0}
"""Most seconds of our training; None limits the whole training to the share of RecTools's time."""
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
        data = training_data(split, options.learn_from[0])
        return train_ours(options.ours, split, Path(folder), json.loads(settings), data)
    words = [word for word in sys.argv[1:] if word != "--out" and word != str(options.out)]
    results: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.parity", *words]),
        "machine": machine(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "split": f"{split.protocol}, test, whole catalogue, {len(split.requests('test'))} requests",
        "limits": {"within": MAX_DIFFERENCE, "better": MIN_RATIO, "time": MAX_TIME_SHARE[options.ours]},
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
    """A process, a peer's or ours, ended with an error; the message is one line."""


# -- EASE and item kNN against RecBole ---------------------------------------------------------------------------------


def against_recbole(split: Split, folder: Path, checks: dict[str, bool]) -> dict[str, Any]:
    python = python_of("recbole")
    our_split = folder / "data" / "given"
    our_split.mkdir(parents=True)
    all_events = folder / "data" / "whole"
    all_events.mkdir()
    everything = datasets.movielens_100k().interactions
    columns = {"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}
    for path, part in (
        (our_split / "given.train.inter", split.train.interactions),
        (our_split / "given.valid.inter", split.valid),
        (our_split / "given.test.inter", split.test),
        (all_events / "whole.inter", everything),
    ):
        part[list(columns)].rename(columns=columns).to_csv(path, sep="\t", index=False)
    job = {"models": {name: pair["theirs"] for name, pair in RECBOLE.items()}}
    (folder / "job.json").write_text(json.dumps(job))
    output = ask([str(python), "-W", "ignore", str(PEERS / "run_recbole.py"), str(folder)], "RecBole")
    peer_target = json.loads((folder / "own_split.json").read_text())
    requests = split.requests("test")
    moved = sum(
        peer_target[str(user)] != str(item)
        for user, (item,) in zip(requests.user_ids, requests.targets, strict=True)
    )
    results: dict[str, Any] = {
        "versions": output["versions"],
        "other_test_items_in_its_own_split": moved,
        "models": {},
    }
    for peer, pair in RECBOLE.items():
        theirs = evaluate_scores(peer_scores(folder / f"{peer}.npz", split), split, label=f"RecBole {peer}")
        started = time.perf_counter()
        model = create(str(pair["name"]), **pair["ours"]).fit(split.train)  # type: ignore[arg-type]
        seconds = time.perf_counter() - started
        same_input = evaluate_scores(
            from_training_alone(model, split), split, label=f"{pair['name']}, same input"
        )
        usual = evaluate(model, split, label=f"{pair['name']}, validation item known")
        ratio = mean(same_input) / mean(theirs)
        results["models"][peer] = {
            "settings": pair["theirs"],
            "recbole": {
                "figures": figures(theirs),
                "own": own(output["models"][peer]["own"]),
                "own_split": own(output["models"][peer]["own_split"]),
            },
            "ours": {"figures": figures(same_input), "usual": figures(usual)},
            "seconds": {"recbole": output["models"][peer]["seconds"], "ours": seconds},
            "ratio": ratio,
            "difference": paired_difference(values(same_input), values(theirs))._asdict(),
        }
        checks[f"{peer}: NDCG@10 within {MAX_DIFFERENCE:.0%} of RecBole's"] = abs(ratio - 1) <= MAX_DIFFERENCE
        table(
            f"{peer} ({', '.join(f'{key} {value}' for key, value in pair['theirs'].items())})",  # type: ignore[attr-defined]
            [
                (
                    "RecBole, its own figures",
                    own(output["models"][peer]["own"]),
                    output["models"][peer]["seconds"],
                ),
                ("RecBole, measured by us", figures(theirs), None),
                ("RecBole, on its own split", own(output["models"][peer]["own_split"]), None),
                ("ours, same input", figures(same_input), seconds),
                ("ours, validation item known", figures(usual), None),
            ],
        )
    print(
        f"\nRecBole's own split has another test item for {moved} of {len(requests)} users: of events at one time it "
        "takes any as the last, we the last of the file"
    )
    return results


def peer_scores(path: Path, split: Split) -> np.ndarray:
    """Return a peer's score matrix in the order of our requests and catalogue; minus infinity where it has no score."""
    with np.load(path) as stored:
        users, items, peer_matrix = (stored[name] for name in ("users", "items", "scores"))
    requests = split.requests("test")
    row_of = {user: row for row, user in enumerate(users.tolist())}
    column_of = {str(item): column for column, item in enumerate(split.train.items["item_id"])}
    scores = np.full((len(requests), split.train.n_items), -np.inf, dtype=np.float32)
    rows = [row_of[str(user)] for user in requests.user_ids]
    scores[:, [column_of[item] for item in items.tolist()]] = peer_matrix[rows]
    return scores


def from_training_alone(model: Any, split: Split) -> np.ndarray:
    """Return our scores computed like RecBole's: from the training history, without the items known before the test."""
    requests = split.requests("test")
    histories = split.train.histories()
    scores = np.array(model.score([histories.get(user, []) for user in requests.user_ids]))
    for row, history in enumerate(requests.histories):
        scores[row, split.train.item_columns(history)] = -np.inf
    return scores


# -- SASRec against RecTools -------------------------------------------------------------------------------------------


def against_rectools(
    split: Split, folder: Path, parts: str, options: argparse.Namespace, checks: dict[str, bool]
) -> dict[str, Any]:
    python = python_of("rectools")
    folder.mkdir(parents=True)
    for name, part in (
        ("train", training_data(split, parts).interactions),
        ("known", split.before_test),
        ("test", split.test),
    ):
        ordered = split.train.with_interactions(part).ordered[["user_id", "item_id"]]
        ordered.assign(order=np.arange(len(ordered))).to_csv(folder / f"{name}.csv", index=False)
    results: dict[str, Any] = {
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
    # in turns, so that changes of the machine's speed affect both
    for index in range(max(len(options.peer_seeds), len(options.seeds))):
        for seed in options.peer_seeds[index : index + 1]:
            settings = {**RECTOOLS, **options.peer_settings}
            job = {"settings": settings, "seed": seed, "epochs": options.epochs, "k": 10}
            (folder / "job.json").write_text(json.dumps(job))
            output = ask(
                [str(python), "-W", "ignore", str(PEERS / "run_rectools.py"), str(folder)], "RecTools"
            )
            results["versions"] = {"rectools": output.pop("versions")}
            measured = evaluate_lists(peer_lists(folder / "lists.npz", split), split, label="RecTools SASRec")
            their_evaluations.append(measured)
            theirs.append({"seed": seed, "figures": figures(measured), **output})
            rows.append((f"RecTools, seed {seed}, measured by us", figures(measured), output["seconds"]))
            rows.append((f"RecTools, seed {seed}, its own figures", own(output["own"]), None))
        for seed in options.seeds[index : index + 1]:
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
            output = ask(command, f"our {options.ours}")
            with np.load(target / "scores.npz") as stored:
                measured = evaluate_scores(stored["scores"], split, label=options.ours)
            our_evaluations.append(measured)
            ours.append({"figures": figures(measured), **output})
            rows.append((f"ours, seed {seed}", figures(measured), output["seconds"]))
    goal = statistics.fmean(run["figures"]["NDCG@10"] for run in theirs)
    their_seconds = statistics.fmean(run["seconds"] for run in theirs)
    for run in ours:
        run["reached"] = next((point for point in run["curve"] if point["NDCG@10"] >= goal), None)
    ratio = statistics.fmean(run["figures"]["NDCG@10"] for run in ours) / goal
    difference = paired_difference(
        np.mean([values(run) for run in our_evaluations], axis=0),
        np.mean([values(run) for run in their_evaluations], axis=0),
    )
    reached = [run["reached"]["seconds"] / their_seconds if run["reached"] else None for run in ours]
    their_work = statistics.fmean(run["cpu_seconds"] for run in theirs)
    worked = [run["reached"]["cpu_seconds"] / their_work if run["reached"] else None for run in ours]
    name = f"{options.ours}, trained on {LEARN_FROM[parts]}"
    training_share = statistics.fmean(run["seconds"] for run in ours) / their_seconds
    checks[f"{name}: NDCG@10 at least {MIN_RATIO} times RecTools's"] = ratio >= MIN_RATIO
    max_share, max_seconds = MAX_TIME_SHARE[options.ours], MAX_SECONDS[options.ours]
    if max_seconds is None:
        checks[f"{name}: its whole training in at most {max_share} of RecTools's time"] = (
            training_share <= max_share
        )
    else:
        within = all(run["seconds"] <= max_seconds for run in ours)
        checks[f"{name}: its whole training in at most {max_seconds:.0f} s, each seed"] = within
    checks[f"{name}: reaches RecTools's NDCG@10 in at most {max_share} of its time, each seed"] = all(
        share is not None and share <= max_share for share in reached
    )
    results["versions"]["ours"] = {name: version(name) for name in ("keras", "tensorflow", "numpy")}
    table(f"{name} (RecTools: width 64, 2 blocks, length 100, {options.epochs} epochs)", rows)
    print(f"parameters: RecTools {theirs[0]['parameters']:,}, ours {ours[0]['parameters']:,}")
    print(
        f"ours / RecTools: NDCG@10 {ratio:.3f} (difference {difference.mean:+.4f}, 95% over users "
        f"{difference.low:+.4f} to {difference.high:+.4f}), whole training time {training_share:.2f}"
    )
    for run, share in zip(ours, reached, strict=True):
        point = run["reached"]
        print(
            f"seed {run['seed']}: "
            + (
                f"first at {goal:.4f} or above after epoch {point['epoch']}, {point['seconds']:.0f} s, "
                f"{share:.2f} of RecTools's {their_seconds:.0f} s ({point['cpu_seconds'] / their_work:.2f} of its "
                f"{their_work:.0f} s of processors)"
                if point
                else f"never at {goal:.4f} or above"
            )
        )
    results.update(
        {
            "rectools": theirs,
            "ours": ours,
            "ratio": ratio,
            "difference": difference._asdict(),
            "time_to_reach": reached,
            "processor_time_to_reach": worked,
            "training_time": training_share,
        }
    )
    return results


def peer_lists(path: Path, split: Split) -> list[list[object]]:
    """Return a peer's lists in the order of our requests, with our ids; empty for a user without a list."""
    with np.load(path) as stored:
        lists = dict(zip(stored["users"].tolist(), stored["items"].tolist(), strict=True))
    ours = {str(item): item for item in split.train.items["item_id"]}
    return [
        [ours[item] for item in lists.get(str(user), []) if item] for user in split.requests("test").user_ids
    ]


def training_data(split: Split, parts: str) -> Dataset:
    """Return the data that both train on: the training part, or all events before the test."""
    return split.train if parts == "train" else split.train.with_interactions(split.before_test)


def train_ours(name: str, split: Split, folder: Path, settings: dict[str, Any], data: Dataset) -> int:
    """Train our model in a child process: write its scores and print its metric after each epoch."""
    from instructrec.backend import quiet_keras

    quiet_keras()  # imports do not count
    curve: list[dict[str, float]] = []
    evaluation_time = np.zeros(2)  # wall time and CPU time
    started = clocks()

    def after(epoch: int, model: Any) -> None:
        nonlocal evaluation_time
        now = clocks()
        seconds, cpu_seconds = (now - started - evaluation_time).round(2).tolist()
        # on the test part, only to find when the peer's metric is reached; no epoch is selected
        reached = mean(evaluate(model, split, metrics=("NDCG",)))
        curve.append({"epoch": epoch, "seconds": seconds, "cpu_seconds": cpu_seconds, "NDCG@10": reached})
        evaluation_time += clocks() - now

    model: Any = create(name, **settings)
    model.fit(data, on_epoch=after)
    seconds, cpu_seconds = (clocks() - started - evaluation_time).tolist()
    requests = split.requests("test")
    scores = np.array(model.score(requests.histories))
    for row, history in enumerate(requests.histories):
        scores[row, split.train.item_columns(history)] = -np.inf
    np.savez(folder / "scores.npz", scores=scores)
    summary = {"seed": settings["seed"], "seconds": seconds, "cpu_seconds": cpu_seconds}
    print(
        "\n"
        + json.dumps(
            {**summary, "parameters": model.n_parameters, "settings": model.settings, "curve": curve}
        )
    )
    return 0


def clocks() -> np.ndarray:
    """Return wall time and the CPU time of this process over all cores, both in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


# -- what both share ---------------------------------------------------------------------------------------------------


def ask(command: Sequence[str], who: str) -> dict[str, Any]:
    """Run a process and return the JSON object on the last line of its output."""
    print(f"running {who} …", file=sys.stderr, flush=True)
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONNOUSERSITE": "1"}
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Failed(f"{who} ended with status {done.returncode}: {last}")
    output: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return output


def figures(evaluation: Evaluation) -> dict[str, float]:
    return {name: float(evaluation.per_user[name].mean()) for name in evaluation.metrics}


def values(evaluation: Evaluation, name: str = "NDCG@10") -> np.ndarray:
    return evaluation.per_user[name].to_numpy()


def mean(evaluation: Evaluation, name: str = "NDCG@10") -> float:
    return float(values(evaluation, name).mean())


def own(peer_figures: dict[str, float]) -> dict[str, float]:
    """Return a peer's metrics under our names; RecBole writes hit@10."""
    names = {"hit@10": "HR@10", "ndcg@10": "NDCG@10", "mrr@10": "MRR@10"}
    return {names.get(name, name): value for name, value in peer_figures.items()}


def table(title: str, rows: list[tuple[str, dict[str, float], float | None]]) -> None:
    lines = [
        {
            "": name,
            **{f"{metric}@10": f"{metrics[f'{metric}@10']:.4f}" for metric in METRIC_NAMES},
            "fit (s)": "" if seconds is None else f"{seconds:.1f}",
        }
        for name, metrics, seconds in rows
    ]
    print(f"\n{title}\n{pd.DataFrame(lines).to_string(index=False)}", flush=True)


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
