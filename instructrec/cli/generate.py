"""`python -m instructrec generate`: write instructions generated from histories, and print statistics."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from instructrec.cli.common import (
    PROTOCOLS,
    CommandParser,
    Subparsers,
    add_command,
    print_json,
    print_progress,
    print_result,
    read_names,
    training_data,
    whole_number_argument,
)
from instructrec.errors import InputError

if TYPE_CHECKING:
    from instructrec.instructions.teacher import Teacher

SOURCES = ("oracle", "history")
"""Choices of `--source` and `--preference-source`: derive from the target, or from the events before it."""
WORDINGS = {"training": False, "held-out": True, "both": None}
"""Value of `held_out` in `build_instructions` for each choice of `--wordings`."""
FORMS = ("instruction", "chat", "prompt")
"""Choices of `--form`, as in `write_instructions`."""
OUTPUT_ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
DEFAULTS = {
    "languages": "en,zh",
    "protocol": "leave-last-out",
    "source": "oracle",
    "preference_source": "history",
    "tasks": None,
    "styles": None,
    "wordings": "training",
    "form": "instruction",
}
"""Defaults of the options that the command in a data card repeats only if their value differs."""


def add_parser(subparsers: Subparsers[CommandParser]) -> None:
    """Add the parser of `generate` to the command line."""
    parser = add_command(
        subparsers,
        "generate",
        run,
        "Write instructions generated from histories, and print statistics.",
        ("data sets",),
    )
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        metavar="NAME",
        help="a data set's name, or a path to a CSV file; several share n in proportion to their events",
    )
    parser.add_argument("--n", type=whole_number_argument(0), required=True, help="number of instructions")
    parser.add_argument("--out", required=True, metavar="FILE", help="a .jsonl, .jsonl.gz or .parquet file")
    parser.add_argument("--languages", help="en, zh or both (default: %(default)s)")
    parser.add_argument(
        "--seed", type=whole_number_argument(0), default=0, help="seed of every draw (default: %(default)s)"
    )
    parser.add_argument(
        "--protocol",
        choices=[*PROTOCOLS, "all"],
        help="use the training part of this split, or all events (default: %(default)s)",
    )
    parser.add_argument(
        "--source",
        choices=SOURCES,
        help="derive intentions from the target, or from the events before it (default: %(default)s)",
    )
    parser.add_argument(
        "--preference-source", choices=SOURCES, help="the same for preferences (default: %(default)s)"
    )
    parser.add_argument("--tasks", metavar="T0,T1,…", help="task forms among T0, T1, T2, T3 (default: all)")
    parser.add_argument(
        "--styles",
        metavar="NAME,…",
        help="styles among plain, turned_round, related, chain_of_thought, parametric (default: all)",
    )
    parser.add_argument(
        "--wordings",
        choices=WORDINGS,
        help="the wordings for training, those held out for evaluation, or both (default: %(default)s)",
    )
    parser.add_argument(
        "--templates",
        action="append",
        default=[],
        metavar="LANGUAGE=FILE",
        help="templates of your own for a language, such as en=mine.toml (repeatable)",
    )
    parser.add_argument(
        "--form",
        choices=FORMS,
        help="the complete record, a chat's messages, or prompt and response (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=whole_number_argument(1),
        default=1,
        help="processes that share the work (default: %(default)s)",
    )
    parser.set_defaults(**DEFAULTS)
    _add_teacher_options(parser)


def _add_teacher_options(parser: CommandParser) -> None:
    teacher = parser.add_argument_group("a teacher model, instead of the rules, for tastes and vague wishes")
    teacher.add_argument(
        "--teacher", metavar="URL", help="an OpenAI-compatible endpoint, such as http://127.0.0.1:8080/v1"
    )
    teacher.add_argument("--teacher-model", metavar="NAME", help="the model's name at the endpoint")
    teacher.add_argument(
        "--teacher-cache",
        metavar="FILE",
        default="teacher.sqlite",
        help="file that stores the replies (default: %(default)s)",
    )
    teacher.add_argument(
        "--teacher-budget",
        type=whole_number_argument(1),
        metavar="TOKENS",
        help="stop after this many tokens",
    )


def run(options: argparse.Namespace) -> None:
    """Write a file of instructions and its data card, and print statistics."""
    from instructrec import datasets, instructions

    if not options.out.lower().endswith(OUTPUT_ENDINGS):
        raise InputError(
            f"argument --out: {options.out!r} given; a file that ends in {', '.join(OUTPUT_ENDINGS[:-1])} or "
            f"{OUTPUT_ENDINGS[-1]} is accepted"
        )
    templates = _template_files(options.templates)
    teacher = _teacher(options)
    loaded = [datasets.load(name) for name in options.data]
    dataset = instructions.build_instructions(
        [training_data(source, options.protocol) for source in loaded],
        options.n,
        languages=read_names(options.languages),
        seed=options.seed,
        source=options.source,
        preference_source=options.preference_source,
        tasks=None if options.tasks is None else read_names(options.tasks),
        styles=None if options.styles is None else read_names(options.styles),
        held_out=WORDINGS[options.wordings],
        templates=templates,
        teacher=teacher,
    )
    dataset.prepare()
    print_progress(f"writing {options.n} instructions to {options.out} …")
    export = instructions.write_instructions(
        dataset, options.out, form=options.form, workers=options.workers, command=reproducing_command(options)
    )
    table = export.tally.table()
    if options.json:
        print_json(
            {
                "out": options.out,
                "n": export.n,
                "form": options.form,
                "bytes": export.bytes,
                "sha256": export.sha256,
                "card": None if export.card is None else str(export.card),
                "statistics": table.to_dict("records"),
            }
        )
        return
    print_result(table.round(1).to_string(index=False) if len(table) else "no instruction")
    print_progress(f"wrote {options.out}" + ("" if export.card is None else f" and its card {export.card}"))


def _template_files(pairs: list[str]) -> dict[str, str]:
    """Return the files of the options `--templates LANGUAGE=FILE` by language."""
    paths: dict[str, str] = {}
    for pair in pairs:
        language, equals, path = pair.partition("=")
        if not equals or not path:
            raise InputError(
                f"argument --templates: {pair!r} given; LANGUAGE=FILE is accepted, such as en=mine.toml"
            )
        paths[language.strip()] = path
    return paths


def _teacher(options: argparse.Namespace) -> Teacher | None:
    """Return the teacher that the options name, or None if the rules shall write all texts."""
    if (options.teacher is None) != (options.teacher_model is None):
        present, missing = (
            ("--teacher", "--teacher-model") if options.teacher else ("--teacher-model", "--teacher")
        )
        raise InputError(f"argument {present}: {missing} is missing; give both, or neither for the rules")
    if options.teacher is None:
        return None
    from instructrec.instructions.teacher import Teacher

    return Teacher(
        options.teacher,
        options.teacher_model,
        cache=options.teacher_cache,
        budget=options.teacher_budget,
    )


def reproducing_command(options: argparse.Namespace) -> str:
    """Return the command that writes the same file, for its data card, without folders or the teacher's URL."""
    words = ["python", "-m", "instructrec", "generate", "--data", *(Path(name).name for name in options.data)]
    words += ["--n", str(options.n), "--out", Path(options.out).name, "--seed", str(options.seed)]
    for name, default in DEFAULTS.items():
        if getattr(options, name) != default:
            words += [f"--{name.replace('_', '-')}", getattr(options, name)]
    for language, path in _template_files(options.templates).items():
        words += ["--templates", f"{language}={Path(path).name}"]
    if options.teacher is not None:  # its address may hold a secret
        words += ["--teacher", "URL", "--teacher-model", options.teacher_model]
        words += ["--teacher-cache", Path(options.teacher_cache).name]
    return shlex.join(words)
