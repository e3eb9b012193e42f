"""`python -m instructrec compare`: fit several models, measure them on the same requests, and test every pair."""

from __future__ import annotations

import argparse
import re
import shlex
from typing import Any

from instructrec.cli.common import (
    PROTOCOLS,
    CommandParser,
    Subparsers,
    add_command,
    add_data_option,
    add_part_option,
    print_json,
    print_progress,
    print_result,
    read_names,
    read_settings,
    report_records,
    report_text,
    whole_number_argument,
)
from instructrec.errors import InputError, one_of

_POSITIVE_NUMBER = re.compile(r"[1-9]\d{0,8}")


def add_parser(subparsers: Subparsers[CommandParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "compare",
        run,
        "Fit several models, measure them on the same requests, and test every pair; an interrupted run resumes.",
        ("models", "data sets", "metrics"),
    )
    add_data_option(parser)
    parser.add_argument("--models", required=True, metavar="NAME,…", help="models' names")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="results file (JSON); one that exists is continued",
    )
    parser.add_argument(
        "--protocol",
        action="append",
        choices=[*PROTOCOLS, "all"],
        help="how to split the data (repeatable; default: leave-last-out)",
    )
    add_part_option(parser)
    parser.add_argument(
        "--seeds",
        type=whole_number_argument(1),
        default=1,
        metavar="N",
        help="train each model with chance N times, by seeds 0 to N - 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--negatives",
        metavar="N,…",
        help="rank against N random unseen items as well, such as 9,99 (the whole catalogue always is)",
    )
    parser.add_argument(
        "--hard-negatives",
        action="append",
        default=[],
        metavar="N:MODEL",
        help="rank against the N unseen items that one of the models takes for the best (repeatable)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="MODEL.NAME=VALUE",
        help="a setting of a model, such as item-knn.k=50 (repeatable)",
    )


def run(options: argparse.Namespace) -> None:
    """Run the experiment, save its results after each step, and print the tables of accuracy and of pairs."""
    from instructrec import datasets
    from instructrec.evaluation.experiment import ModelSpec, run_experiment
    from instructrec.evaluation.report import report

    names = read_names(options.models)
    settings = _settings_by_model(names, options.set)
    candidates = ["whole catalogue", *_sampled_candidates(options)]
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
        print_progress(f"the same command goes on with what is finished in {options.out}")
        raise
    summary = report(results, part=options.part, figures=False)
    if options.json:
        print_json(
            {
                "data": results.data,
                "runs": len(results.runs),
                "out": options.out,
                "tables": report_records(summary),
            }
        )
        return
    print_result(report_text(summary, "accuracy", "pairs"))
    print_progress(
        f"wrote {options.out}; all tables and figures: "
        f"python -m instructrec report {shlex.quote(options.out)} --out DIR"
    )


def _settings_by_model(names: list[str], pairs: list[str]) -> dict[str, dict[str, Any]]:
    """Return each model's settings of `--set MODEL.NAME=VALUE`."""
    settings: dict[str, dict[str, Any]] = {name: {} for name in names}
    for pair in pairs:
        name, dot, setting = pair.partition(".")
        if not dot or "=" not in setting:
            raise InputError(
                f"argument --set: {pair!r} given; MODEL.NAME=VALUE such as item-knn.k=50 is accepted"
            )
        if name not in settings:
            raise one_of("model in --set", name, names or ["none, since --models is empty"])
        settings[name].update(read_settings([setting]))
    return settings


def _sampled_candidates(options: argparse.Namespace) -> list[str]:
    """Return the names of the samples of candidates that `--negatives` and `--hard-negatives` ask for."""
    candidates = []
    for number in read_names(options.negatives or ""):
        if not _POSITIVE_NUMBER.fullmatch(number):
            raise InputError(
                f"argument --negatives: {number!r} given; whole numbers such as 9,99 are accepted"
            )
        candidates.append(f"{number} random negatives")
    for text in options.hard_negatives:
        number, _, model = text.partition(":")
        if not _POSITIVE_NUMBER.fullmatch(number) or not model:
            raise InputError(
                f"argument --hard-negatives: {text!r} given; N:MODEL such as 9:item-knn is accepted"
            )
        candidates.append(f"{number} hard negatives by {model}")
    return candidates
