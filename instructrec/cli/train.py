"""`python -m instructrec train`: train a model and save it."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from instructrec.cli.common import (
    PROTOCOLS,
    TRAINING_NOTE,
    CommandParser,
    Subparsers,
    add_command,
    add_data_option,
    fit_model,
    print_json,
    print_progress,
    print_result,
    read_settings,
    training_data,
)
from instructrec.errors import InputError


def add_parser(subparsers: Subparsers[CommandParser]) -> None:
    """Add the command's parser."""
    parser = add_command(subparsers, "train", run, "Train a model and save it.", ("models", "data sets"))
    parser.add_argument("--model", required=True, metavar="NAME", help="a model's name")
    add_data_option(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the saved model")
    parser.add_argument(
        "--protocol",
        choices=[*PROTOCOLS, "all"],
        default="leave-last-out",
        help="train on the training part of this split, or on all events (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the model, such as k=50 (repeatable)",
    )


def run(options: argparse.Namespace) -> None:
    """Train a model and write its folder, with a note of its training data."""
    from instructrec import datasets
    from instructrec.files import atomic_directory, atomic_write
    from instructrec.models import create

    model = create(options.model, **read_settings(options.set))
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
        fit_model(model, training_data(dataset, options.protocol), checkpoint)
    except KeyboardInterrupt:
        if checkpoint.exists():
            print_progress(
                f"{str(checkpoint)!r} holds the epochs that are done; the same command goes on from there"
            )
        raise
    seconds = time.perf_counter() - started
    note = {"model": model.name, "data": dataset.name, "protocol": options.protocol}
    with atomic_directory(out) as folder:
        model.save(folder)
        with atomic_write(folder / TRAINING_NOTE) as handle:
            json.dump(note, handle, indent=2)
            handle.write("\n")
    if options.json:
        print_json({**note, "settings": model.settings, "seconds": round(seconds, 2), "out": options.out})
    else:
        print_result(
            f"{model.name} trained on {dataset.name} ({options.protocol}) in {seconds:.1f} s: {options.out}"
        )
