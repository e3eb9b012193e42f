"""The command line: data, generate, train, evaluate, compare, report, recommend.

Answers go to standard output, everything else to standard error. Bad input ends with exit status 2 and one line; an
interruption with 130. Heavy modules are imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from instructrec.errors import InputError, one_of

if TYPE_CHECKING:
    from instructrec.datasets.dataset import Dataset
    from instructrec.evaluation.report import Report
    from instructrec.instructions.teacher import Teacher
    from instructrec.models.base import Recommender
    from instructrec.split import Split

PROTOCOLS = ("leave-last-out", "global-time", "random-holdout")
TASKS = ("ranking", "sampled", "yes-no")
ANNOTATIONS = ("oracle", "history")
WORDINGS = ("training", "held-out", "both")
FORMS = ("instruction", "chat", "prompt")
ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
USUAL_N = 10
USUAL_K = {"ranking": 10, "sampled": 5}  # of ten candidates, ten are always a hit
N_SAMPLED = 9  # with the target, ten candidates as in the paper's reranking
ANSWER_KEYS = ("rank", "item_id", "title", "score")
REQUEST_KEYS = ("user", "history", "instruction", "candidates", "n")
TRAINING_NOTE = "training.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: The words after the program's name; those of the process by default.

    Returns:
        0, or 2 for bad input, or 130 where the user interrupted.
    """
    try:
        with contextlib.suppress(AttributeError):
            sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        options = _parser().parse_args(arguments)
        options.run(options)
        return 0
    except InputError as error:
        print(f"instructrec: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("instructrec: interrupted; nothing was left half written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _discard_stdout()
        return 0
    except OSError as error:  # such as a folder that may not be looked into, or a name that is too long
        place = "a file" if error.filename is None else repr(str(error.filename))
        reason = error.strerror or type(error).__name__
        print(
            f"instructrec: error: cannot use {place}: {reason}; give another path that can be read or written",
            file=sys.stderr,
        )
        return 2


# -- the words -------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, raised like any other bad input."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m instructrec", description="Recommendation as instruction following.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], purpose: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=purpose, description=purpose)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print one JSON document on standard output")
        return sub

    def data_option(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--data", required=True, metavar="NAME", help="movielens-100k, shop, or a path to a CSV file"
        )

    data = command("data", _data, "Fetch and prepare a data set, and print its card.")
    data.add_argument("name", metavar="NAME", help="movielens-100k, shop, or a path to a CSV file")
    data.add_argument("--out", metavar="DIR", help="write users.csv, items.csv and interactions.csv here")

    generate = command("generate", _generate, "Write instructions made from histories, and print statistics.")
    generate.add_argument(
        "--data",
        required=True,
        nargs="+",
        metavar="NAME",
        help="movielens-100k, shop, or a path to a CSV file; several share by their numbers of events",
    )
    generate.add_argument("--n", type=_whole(0), required=True, help="how many")
    generate.add_argument("--out", required=True, metavar="FILE", help="a .jsonl, .jsonl.gz or .parquet file")
    generate.add_argument("--languages", default="en,zh", help="of en and zh (default: %(default)s)")
    generate.add_argument(
        "--seed", type=_whole(0), default=0, help="seed of every draw (default: %(default)s)"
    )
    generate.add_argument(
        "--protocol",
        choices=[*PROTOCOLS, "all"],
        default="leave-last-out",
        help="use the training part of this split, or all events (default: %(default)s)",
    )
    generate.add_argument(
        "--source",
        choices=ANNOTATIONS,
        default="oracle",
        help="read intentions off the target, or off what was known before (default: %(default)s)",
    )
    generate.add_argument(
        "--preference-source",
        choices=ANNOTATIONS,
        default="history",
        help="the same for preferences (default: %(default)s)",
    )
    generate.add_argument(
        "--tasks", metavar="T0,T1,…", help="forms of task, of T0, T1, T2, T3 (default: all)"
    )
    generate.add_argument(
        "--styles",
        metavar="NAME,…",
        help="of plain, turned_round, related, chain_of_thought, parametric (default: all)",
    )
    generate.add_argument(
        "--wordings",
        choices=WORDINGS,
        default="training",
        help="the wordings for training, those held out for evaluation, or both (default: %(default)s)",
    )
    generate.add_argument(
        "--templates",
        action="append",
        default=[],
        metavar="LANGUAGE=FILE",
        help="templates of your own for a language, such as en=mine.toml (repeatable)",
    )
    generate.add_argument(
        "--form",
        choices=FORMS,
        default="instruction",
        help="the whole record, a chat's messages, or prompt and response (default: %(default)s)",
    )
    generate.add_argument(
        "--workers", type=_whole(1), default=1, help="processes that share the work (default: %(default)s)"
    )
    teacher = generate.add_argument_group(
        "a teacher model, instead of the rules, for tastes and vague wishes"
    )
    teacher.add_argument(
        "--teacher", metavar="URL", help="an OpenAI-compatible endpoint, such as http://127.0.0.1:8080/v1"
    )
    teacher.add_argument("--teacher-model", metavar="NAME", help="the model's name there")
    teacher.add_argument(
        "--teacher-cache",
        metavar="FILE",
        default="teacher.sqlite",
        help="where replies are kept (default: %(default)s)",
    )
    teacher.add_argument(
        "--teacher-budget", type=_whole(1), metavar="TOKENS", help="stop after so many tokens"
    )

    train = command("train", _train, "Train a model and save it.")
    train.add_argument("--model", required=True, metavar="NAME", help="a model's name")
    data_option(train)
    train.add_argument("--out", required=True, metavar="DIR", help="folder of the saved model")
    train.add_argument(
        "--protocol",
        choices=[*PROTOCOLS, "all"],
        default="leave-last-out",
        help="train on the training part of this split, or on all events (default: %(default)s)",
    )
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the model, such as k=50 (repeatable)",
    )

    evaluate = command("evaluate", _evaluate, "Measure a model on held-out events.")
    evaluate.add_argument(
        "--model", required=True, metavar="DIR|NAME", help="a saved model's folder, or a name"
    )
    data_option(evaluate)
    evaluate.add_argument(
        "--task",
        choices=TASKS,
        default="ranking",
        help="rank the whole catalogue, ten candidates, or say yes or no (default: %(default)s)",
    )
    evaluate.add_argument(
        "--protocol", choices=PROTOCOLS, default="leave-last-out", help="(default: %(default)s)"
    )
    evaluate.add_argument("--part", choices=["valid", "test"], default="test", help="(default: %(default)s)")
    evaluate.add_argument(
        "--k",
        type=_whole(1),
        help=f"length of the list (default: {USUAL_K['ranking']}, of ten candidates {USUAL_K['sampled']})",
    )
    evaluate.add_argument("--seed", type=_whole(0), default=0, help="seed of random candidates and intervals")

    compare = command(
        "compare",
        _compare,
        "Fit several models, measure them on the same requests, and test every pair; a cut-off run goes on.",
    )
    data_option(compare)
    compare.add_argument("--models", required=True, metavar="NAME,…", help="models' names")
    compare.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="results file (JSON), made, or gone on with where it exists",
    )
    compare.add_argument(
        "--protocol",
        action="append",
        choices=[*PROTOCOLS, "all"],
        help="how to split the data (repeatable; default: leave-last-out)",
    )
    compare.add_argument("--part", choices=["valid", "test"], default="test", help="(default: %(default)s)")
    compare.add_argument(
        "--seeds",
        type=_whole(1),
        default=1,
        metavar="N",
        help="train each model with chance N times, by seeds 0 to N - 1 (default: %(default)s)",
    )
    compare.add_argument(
        "--negatives",
        metavar="N,…",
        help="rank against N random unseen items as well, such as 9,99 (the whole catalogue always is)",
    )
    compare.add_argument(
        "--hard-negatives",
        action="append",
        default=[],
        metavar="N:MODEL",
        help="rank against the N unseen items that one of the models takes for the best (repeatable)",
    )
    compare.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="MODEL.NAME=VALUE",
        help="a setting of a model, such as item-knn.k=50 (repeatable)",
    )

    report = command("report", _report, "Make the tables and figures of a results file.")
    report.add_argument("results", metavar="RESULTS", help="a file that compare has written")
    report.add_argument(
        "--out", required=True, metavar="DIR", help="folder for CSV, Markdown, PNG and SVG files"
    )
    report.add_argument(
        "--metric",
        default="NDCG",
        metavar="NAME",
        help="the measure that orders and tests the models, at 10 (default: %(default)s)",
    )
    report.add_argument("--part", choices=["valid", "test"], default="test", help="(default: %(default)s)")

    recommend = command(
        "recommend", _recommend, "Recommend items for a history, a user or a file of requests."
    )
    recommend.add_argument(
        "--model", required=True, metavar="DIR|NAME", help="a saved model's folder, or a name"
    )
    data_option(recommend)
    who = recommend.add_mutually_exclusive_group(required=True)
    who.add_argument("--history", metavar="ID,ID,…", help="item ids, oldest first")
    who.add_argument("--user", metavar="ID", help="a user of the data set")
    who.add_argument("--newcomer", action="store_true", help="somebody without a history")
    who.add_argument("--requests", metavar="FILE", help="JSON Lines, one request a line, answered in order")
    recommend.add_argument("--instruction", metavar="TEXT", help="what the user asks for")
    recommend.add_argument("--candidates", metavar="ID,ID,…", help="choose from these items only")
    recommend.add_argument("--n", type=_whole(1), help=f"how many items (default: {USUAL_N})")
    return parser


def _whole(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if re.fullmatch(r"[+-]?\d{1,18}", text.strip()) and int(text) >= least:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} given; a whole number of at least {least} is accepted")

    return read


# -- the commands ----------------------------------------------------------------------------------------------


def _data(options: argparse.Namespace) -> None:
    from instructrec import datasets

    dataset = datasets.load(options.name)
    written: list[str] = []
    if options.out is not None:
        written = [str(path) for path in _write_tables(dataset, Path(options.out))]
    if options.json:
        card = dataset.card
        _print_json(
            {
                "name": dataset.name,
                "figures": dataset.describe().to_dict(),
                "card": None if card is None else dict(vars(card)),
                "written": written,
            }
        )
        return
    _print(datasets.format_card(dataset))
    for path in written:
        _say(f"wrote {path}")


def _write_tables(dataset: Dataset, folder: Path) -> list[Path]:
    from instructrec.files import atomic_write

    if folder.exists() and not folder.is_dir():
        raise InputError(f"argument --out: {str(folder)!r} is a file; give a folder")
    paths = []
    for name in ("users", "items", "interactions"):
        table = getattr(dataset, name)
        flat = {
            column: ["|".join(value) if isinstance(value, tuple) else value for value in table[column]]
            for column in table.columns
            if table[column].map(lambda value: isinstance(value, tuple)).any()
        }
        paths.append(folder / f"{name}.csv")
        with atomic_write(paths[-1]) as handle:
            table.assign(**flat).to_csv(handle, index=False, lineterminator="\n")
    return paths


def _generate(options: argparse.Namespace) -> None:
    from instructrec import datasets, instructions

    ending = next((one for one in ENDINGS if options.out.lower().endswith(one)), None)
    if ending is None:
        raise InputError(
            f"argument --out: {options.out!r} given; a file that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]} "
            "is accepted"
        )
    templates = _templates(options.templates)
    teacher = _teacher(options)
    loaded = [datasets.load(name) for name in options.data]
    known = loaded if options.protocol == "all" else [_split(one, options.protocol).train for one in loaded]
    made = instructions.build_instructions(
        known,
        options.n,
        languages=_names(options.languages) or (),
        seed=options.seed,
        source=options.source,
        preference_source=options.preference_source,
        tasks=_names(options.tasks),
        styles=_names(options.styles),
        held_out={"training": False, "held-out": True, "both": None}[options.wordings],
        templates=templates,
        teacher=teacher,
    )
    made.prepare()
    _say(f"writing {options.n} instructions to {options.out} …")
    written = instructions.write_instructions(
        made, options.out, form=options.form, workers=options.workers, command=_typed(options)
    )
    table = written.tally.table()
    if options.json:
        document = {"out": options.out, "n": written.n, "form": options.form, "bytes": written.bytes}
        card = None if written.card is None else str(written.card)
        _print_json(
            {
                **document,
                "sha256": written.sha256,
                "card": card,
                "statistics": table.to_dict("records"),
            }
        )
    else:
        _print(table.round(1).to_string(index=False) if len(table) else "no instruction")
        _say(f"wrote {options.out}" + ("" if written.card is None else f" and its card {written.card}"))


def _names(listed: str | None) -> list[str] | None:
    return None if listed is None else [name.strip() for name in listed.split(",") if name.strip()]


def _templates(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        language, sign, path = one.partition("=")
        if not sign or not path:
            raise InputError(
                f"argument --templates: {one!r} given; LANGUAGE=FILE is accepted, such as en=mine.toml"
            )
        found[language.strip()] = path
    return found


def _teacher(options: argparse.Namespace) -> Teacher | None:
    if (options.teacher is None) != (options.teacher_model is None):
        given, lacks = (
            ("--teacher", "--teacher-model") if options.teacher else ("--teacher-model", "--teacher")
        )
        raise InputError(f"argument {given}: {lacks} is missing; give both, or neither for the rules")
    if options.teacher is None:
        return None
    from instructrec.instructions.teacher import Teacher

    return Teacher(
        options.teacher,
        options.teacher_model,
        cache=options.teacher_cache,
        budget=options.teacher_budget,
    )


def _typed(options: argparse.Namespace) -> str:
    """Return the command that makes the same file, as the data card tells it, without paths of this machine."""
    words = ["python", "-m", "instructrec", "generate", "--data", *(Path(name).name for name in options.data)]
    words += ["--n", str(options.n), "--out", Path(options.out).name, "--seed", str(options.seed)]
    usual = {
        "languages": "en,zh",
        "protocol": "leave-last-out",
        "source": "oracle",
        "preference_source": "history",
        "tasks": None,
        "styles": None,
        "wordings": "training",
        "form": "instruction",
    }
    for name, value in usual.items():
        if getattr(options, name) != value:
            words += [f"--{name.replace('_', '-')}", getattr(options, name)]
    for language, path in _templates(options.templates).items():
        words += ["--templates", f"{language}={Path(path).name}"]
    if options.teacher is not None:  # its address may hold a secret
        words += ["--teacher", "URL", "--teacher-model", options.teacher_model]
        words += ["--teacher-cache", Path(options.teacher_cache).name]
    return shlex.join(words)


def _train(options: argparse.Namespace) -> None:
    from instructrec import datasets
    from instructrec.files import atomic_directory, atomic_write
    from instructrec.models import create

    model = create(options.model, **_settings(options.set))
    out = Path(options.out)
    if out.is_dir() and any(out.iterdir()) and not (out / "model.json").is_file():
        raise InputError(
            f"argument --out: {options.out!r} is a folder with other files; "
            "give a new folder, or one that holds a saved model"
        )
    dataset = datasets.load(options.data)
    started = time.perf_counter()
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    try:
        _fit(
            model,
            dataset if options.protocol == "all" else _split(dataset, options.protocol).train,
            checkpoint,
        )
    except KeyboardInterrupt:
        if checkpoint.exists():
            _say(f"{str(checkpoint)!r} holds the epochs that are done; the same command goes on from there")
        raise
    seconds = time.perf_counter() - started
    note = {"model": model.name, "data": dataset.name, "protocol": options.protocol}
    with atomic_directory(out) as part:
        model.save(part)
        with atomic_write(part / TRAINING_NOTE) as handle:
            json.dump(note, handle, indent=2)
            handle.write("\n")
    if options.json:
        _print_json({**note, "settings": model.settings, "seconds": round(seconds, 2), "out": options.out})
    else:
        _print(
            f"{model.name} trained on {dataset.name} ({options.protocol}) in {seconds:.1f} s: {options.out}"
        )


def _evaluate(options: argparse.Namespace) -> None:
    from instructrec import datasets
    from instructrec.evaluation import evaluate

    k: int = options.k or USUAL_K.get(options.task, USUAL_N)
    if options.task == "sampled" and k > N_SAMPLED:
        raise InputError(
            f"argument --k: {k} given; from 1 to {N_SAMPLED} is accepted with --task sampled, since all of the "
            f"{N_SAMPLED + 1} candidates would be a hit whatever the model"
        )
    model, folder = _find_model(options.model)
    if folder is not None:
        _check_training(folder, options.protocol)
    dataset = datasets.load(options.data)
    split = _split(dataset, options.protocol)
    if folder is None:
        _fit(model, split.train)
    else:
        _adopt(model, split.train, options.model)
    if options.task == "yes-no":
        rows, n_requests = _yes_no(model, split, options.part, options.seed)
    else:
        n_negatives = N_SAMPLED if options.task == "sampled" else None
        found = evaluate(model, split, part=options.part, ks=(k,), n_negatives=n_negatives, seed=options.seed)
        table = found.summary(seed=options.seed)
        rows = {
            str(name): {str(end): float(row[end]) for end in row}
            for name, row in zip(table.index, table.to_dict("records"), strict=True)
        }
        n_requests = len(found.per_user)
    document = {
        "model": model.name,
        "data": dataset.name,
        "task": options.task,
        "protocol": options.protocol,
        "part": options.part,
        "n_requests": n_requests,
        "metrics": rows,
    }
    if options.json:
        _print_json(document)
        return
    lines = [
        f"{model.name} on {dataset.name}, {options.protocol}, {options.part}, task {options.task}, "
        f"{n_requests} requests; mean and 95% interval over users",
        *(
            f"{name:<12}{row['mean']:8.4f}  [{row['low']:.4f}, {row['high']:.4f}]"
            for name, row in rows.items()
        ),
    ]
    _print("\n".join(lines))


def _compare(options: argparse.Namespace) -> None:
    from instructrec import datasets
    from instructrec.evaluation.experiment import ModelSpec, run_experiment
    from instructrec.evaluation.report import report

    names = [name.strip() for name in options.models.split(",") if name.strip()]
    settings: dict[str, dict[str, Any]] = {name: {} for name in names}
    for pair in options.set:
        name, dot, rest = pair.partition(".")
        if not dot or "=" not in rest:
            raise InputError(
                f"argument --set: {pair!r} given; MODEL.NAME=VALUE such as item-knn.k=50 is accepted"
            )
        if name not in settings:
            raise one_of("model in --set", name, names or ["none, since --models is empty"])
        settings[name].update(_settings([rest]))
    candidates = ["whole catalogue", *_negatives(options)]
    protocols = list(dict.fromkeys(options.protocol or PROTOCOLS[:1]))
    try:
        results = run_experiment(
            [ModelSpec(name, name, settings[name]) for name in names],
            datasets.load(options.data),
            options.out,
            protocols=PROTOCOLS if "all" in protocols else protocols,
            candidates=candidates,
            seeds=range(options.seeds),
            part=options.part,
        )
    except KeyboardInterrupt:
        _say(f"the same command goes on with what is finished in {options.out}")
        raise
    made = report(results, part=options.part, figures=False)
    if options.json:
        _print_json(
            {"data": results.data, "runs": len(results.runs), "out": options.out, "tables": _records(made)}
        )
        return
    _print(
        "\n\n".join(_as_plain(made, name) for name in made.tables if name.startswith(("accuracy", "pairs")))
    )
    _say(
        f"wrote {options.out}; all tables and figures: "
        f"python -m instructrec report {shlex.quote(options.out)} --out DIR"
    )


def _negatives(options: argparse.Namespace) -> list[str]:
    """Return the names of the samples of candidates that were asked for."""
    listed = [word.strip() for word in (options.negatives or "").split(",") if word.strip()]
    for word in listed:
        if re.fullmatch(r"[1-9]\d{0,8}", word) is None:
            raise InputError(f"argument --negatives: {word!r} given; whole numbers such as 9,99 are accepted")
    hard = [word.partition(":") for word in options.hard_negatives]
    for number, colon, name in hard:
        if re.fullmatch(r"[1-9]\d{0,8}", number) is None or not name:
            raise InputError(
                f"argument --hard-negatives: {number + colon + name!r} given; N:MODEL such as 9:item-knn is accepted"
            )
    return [f"{word} random negatives" for word in listed] + [
        f"{n} hard negatives by {name}" for n, _, name in hard
    ]


def _report(options: argparse.Namespace) -> None:
    from instructrec.evaluation.report import SUMMARY, report

    made = report(options.results, options.out, metric=options.metric, part=options.part)
    written = [str(path) for path in sorted(Path(options.out).iterdir())]
    if options.json:
        _print_json({"title": made.title, "tables": _records(made), "written": written})
        return
    _print("\n\n".join(_as_plain(made, name) for name in made.tables if name.startswith("accuracy")))
    _say(f"wrote {len(made.tables)} tables and {len(made.figures)} figures: {Path(options.out) / SUMMARY}")


def _records(made: Report) -> dict[str, list[dict[Hashable, Any]]]:
    """Return a report's tables, a dictionary a row."""
    return {name: table.reset_index().to_dict("records") for name, table in made.numbers.items()}


def _as_plain(made: Report, name: str) -> str:
    table = made.tables[name].reset_index()
    return f"{made.captions[name]}\n\n{table.to_string(index=False)}"


def _yes_no(
    model: Recommender, split: Split, part: str, seed: int
) -> tuple[dict[str, dict[str, float]], int]:
    """Ask of a user's target and of one random unseen item whether the user will choose it.

    The answer is yes where the item scores above the median of all that the user has not seen, so that any model can be
    asked, whatever its scale. Half of the right answers are yes.
    """
    import numpy as np

    from instructrec.evaluation import accuracy, f1, precision, recall
    from instructrec.evaluation.protocol import candidate_mask

    requests = split.requests(part)
    if len(requests) == 0:
        raise InputError(f"part {part!r} of the {split.protocol} split holds no request; split more data")
    unseen = candidate_mask(split, requests, None, seed)
    rng = np.random.default_rng(seed)
    answers = np.zeros((len(requests), 2), dtype=bool)
    for start in range(0, len(requests), 256):
        scores = model.score(requests.histories[start : start + 256])
        for row, values in enumerate(scores, start=start):
            wanted = split.train.item_columns(requests.targets[row])
            others = np.setdiff1d(np.flatnonzero(unseen[row]), wanted)
            if len(others) == 0:
                raise InputError(
                    f"user {requests.user_ids[row]!r} has seen every item; yes-no needs an unseen one"
                )
            asked = [wanted[0], rng.choice(others)]
            answers[row] = values[asked] > np.median(values[unseen[row]])
    truth = np.zeros_like(answers)
    truth[:, 0] = True
    draws = [rng.integers(0, len(answers), len(answers)) for _ in range(1000)]
    rows = {}
    for measure in (accuracy, precision, recall, f1):
        again = [measure(truth[users].ravel(), answers[users].ravel()) for users in draws]
        low, high = np.quantile(again, [0.025, 0.975])
        mean = measure(truth.ravel(), answers.ravel())
        rows[measure.__name__] = {"mean": float(mean), "low": float(low), "high": float(high)}
    return rows, len(requests)


def _recommend(options: argparse.Namespace) -> None:
    if options.requests is not None:
        for given in ("instruction", "candidates"):
            if getattr(options, given) is not None:
                raise InputError(
                    f"argument --{given}: not allowed with --requests; write it in the file's lines"
                )
        lines = _read_requests(Path(options.requests))
    elif options.newcomer:
        lines = [("", {"newcomer": True})]
    else:
        lines = [("", {"history": options.history} if options.user is None else {"user": options.user})]
    for _, request in lines:
        for given in ("instruction", "candidates", "n"):
            if getattr(options, given) is not None:
                request.setdefault(given, getattr(options, given))
    needs_data = any("user" in request or request.get("instruction") for _, request in lines)
    model = _ready_model(options.model, options.data, needs_data)
    answers = []
    for where, request in lines:
        try:
            answers.append(_answer(model, request))
        except InputError as error:
            raise InputError(f"{where}{error}") from error
    if options.json:
        _print_json(answers if options.requests is not None else answers[0])
    else:
        _print("\n\n".join(map(_as_text, answers)))


def _ready_model(name: str, data: str, needs_data: bool) -> Recommender:
    """Return a fitted model; a saved one carries its catalogue, so that data are read only where they are needed."""
    from instructrec import datasets

    model, folder = _find_model(name)
    if folder is not None and data in datasets.NAMES and data == model.dataset.name and not needs_data:
        return model
    dataset = datasets.load(data)
    if folder is None:
        _fit(model, dataset)
    else:
        _adopt(model, dataset, name)
    return model


def _answer(model: Recommender, request: dict[str, Any]) -> dict[str, Any]:
    dataset = model.dataset
    if request.get("newcomer"):
        history: list[Hashable] = []
    elif "user" in request:
        history = dataset.history(request["user"])
        if not history:
            raise InputError(
                f"user {request['user']!r} has no history in {dataset.name}; ask with --newcomer"
            )
    else:
        history = _ids(request["history"], "history", dataset)
    n = request.get("n", min(USUAL_N, dataset.n_items))
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= dataset.n_items:
        raise InputError(
            f"n is {n!r}; a whole number from 1 to {dataset.n_items}, the catalogue's size, is accepted"
        )
    candidates = request.get("candidates")
    text = request.get("instruction")
    parsed: dict[str, Any] = {}
    if text is not None:
        _check_text(text)
        from instructrec.instructions import parse

        parsed = parse(text, dataset).describe()
    table = model.recommend(
        history,
        instruction=text,
        n=n,
        candidates=None if candidates is None else _ids(candidates, "candidates", dataset),
    )
    attributes = dataset.items.set_index("item_id", drop=False).loc[table["item_id"].tolist()]
    items: list[dict[str, Any]] = []
    for row, item in zip(table.to_dict("records"), attributes.to_dict("records"), strict=True):
        own = {str(name): value for name, value in item.items() if name not in ANSWER_KEYS}
        items.append({**{str(name): row[name] for name in ANSWER_KEYS}, **own})
    return {"instruction": text, "parsed": parsed, "items": items}


def _ids(given: object, argument: str, dataset: Dataset) -> list[Hashable]:
    if isinstance(given, str):
        given = [part for part in given.split(",") if part.strip()]
    if not isinstance(given, list):
        raise InputError(f'{argument} is {given!r}; item ids such as "1,50" are accepted')
    if not given:
        hint = "; for somebody without a history ask alone, with --newcomer" if argument == "history" else ""
        raise InputError(f'{argument} is empty; item ids such as "1,50" are accepted{hint}')
    return [dataset.parse_id(value) for value in given]


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise InputError(f"instruction is {text!r}; a text is accepted")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"instruction {text!r} is not UTF-8; a text in UTF-8 is accepted") from error


def _read_requests(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return each request with the place it stands at, for messages; every line is checked before any is answered."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise InputError(
            f"cannot read {str(path)!r}: {reason}; a JSON Lines file of requests is accepted"
        ) from error
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}: "
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}not JSON ({error}); one object a line is accepted") from error
        if not isinstance(request, dict):
            raise InputError(
                f"{where}{line.strip()[:60]} is no object; {{…}} with the keys {_keys()} is accepted"
            )
        for key in request:
            if key not in REQUEST_KEYS:
                raise InputError(f"{where}{one_of('key', key, REQUEST_KEYS)}")
        # A key with null is a key left out.
        request = {key: value for key, value in request.items() if value is not None}
        if ("user" in request) == ("history" in request):
            raise InputError(f"{where}exactly one of user and history is accepted; the keys are {_keys()}")
        found.append((where, request))
    if not found:
        raise InputError(f"{str(path)!r} holds no request; one JSON object a line is accepted")
    return found


def _keys() -> str:
    return ", ".join(REQUEST_KEYS)


# -- models ----------------------------------------------------------------------------------------------------


def _find_model(name: str) -> tuple[Recommender, Path | None]:
    """Return a new model of a name, or a saved one and its folder; a name of `SHIPPED` means the one in data/."""
    from instructrec import models

    if name in models.SHIPPED:
        return models.load(models.SHIPPED[name]), models.SHIPPED[name]
    if name in models.NAMES:
        return models.create(name), None
    if Path(name).exists() or os.sep in name:
        return models.load(name), Path(name)
    accepted = [*models.NAMES, "the folder of a saved model"]
    raise one_of("model", name, accepted, most=len(accepted))


def _fit(model: Recommender, dataset: Dataset, checkpoint: Path | None = None) -> None:
    """Fit a model with its progress on standard error; one that can go on after a cut keeps its epochs in a file."""
    from instructrec.models.base import Recommender

    with contextlib.redirect_stdout(sys.stderr):
        if type(model).fit is Recommender.fit:
            model.fit(dataset)
        else:
            _say(f"training {model.name} on {dataset.n_interactions} events of {dataset.name} …")
            options: dict[str, Any] = {"verbose": 2}
            if "checkpoint" in inspect.signature(model.fit).parameters:
                options["checkpoint"] = checkpoint
            model.fit(dataset, **options)


def _adopt(model: Recommender, dataset: Dataset, name: str) -> None:
    """Give a saved model the events of the data set that it was trained on."""
    if model.dataset.items["item_id"].tolist() != dataset.items["item_id"].tolist():
        raise InputError(
            f"model {name!r} was trained on {model.dataset.name} ({model.dataset.n_items} items), whose catalogue is "
            f"not that of {dataset.name} ({dataset.n_items} items); give the data of its training"
        )
    model.dataset = dataset


def _check_training(folder: Path, protocol: str) -> None:
    """Refuse to measure a model on events that it was trained on, as far as is known."""
    try:
        trained = json.loads((folder / TRAINING_NOTE).read_text("utf-8"))["protocol"]
    except FileNotFoundError:
        _say(f"note: {folder} does not say what it was trained on; events of the test part may be among them")
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(folder / TRAINING_NOTE)!r} is damaged; train the model again") from error
    if trained != protocol:
        raise InputError(
            f"argument --protocol: {protocol!r} given, but the model was trained with --protocol {trained}, so that "
            "it may know the answers; train it with the protocol that you evaluate with"
        )


def _split(dataset: Dataset, protocol: str) -> Split:
    from instructrec.split import SPLITS

    split: Split = SPLITS[protocol](dataset)
    return split


def _settings(pairs: list[str]) -> dict[str, Any]:
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InputError(f"argument --set: {pair!r} given; NAME=VALUE such as k=50 is accepted")
        try:
            settings[name.strip()] = json.loads(value)
        except ValueError:
            settings[name.strip()] = value
    return settings


# -- printing --------------------------------------------------------------------------------------------------


def _as_text(answer: dict[str, Any]) -> str:
    lines = []
    if answer["instruction"]:
        lines.append(f"instruction: {answer['instruction']}")
        lines.append(f"understood:  {answer['parsed'].get('text') or 'no condition'}")
    lines += [
        f"{item['rank']:>4}  {item['score']:>10.4f}  {item['item_id']:>8}  {item['title']}"
        for item in answer["items"]
    ]
    return "\n".join(lines if answer["items"] else [*lines, "no item left to recommend"])


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: NumPy numbers unwrapped, what is missing or no number as null."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    return None if value != value or type(value).__name__ == "NAType" else str(value)


def _print_json(document: Any) -> None:
    _print(json.dumps(_plain(document), ensure_ascii=False, allow_nan=False))


def _print(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_stdout()
        raise InputError(
            f"cannot write standard output: {error.strerror}; send it to a place with free space"
        ) from error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _discard_stdout() -> None:
    """Let what is still buffered go nowhere, so that the interpreter's last flush cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
