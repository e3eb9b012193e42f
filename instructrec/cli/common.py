"""Shared parts of the commands: argument types, printing, and models and splits by name."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from instructrec.errors import InputError, one_of

if TYPE_CHECKING:
    from instructrec.datasets.dataset import Dataset
    from instructrec.evaluation.report import Report
    from instructrec.models.base import Recommender
    from instructrec.split import Split

PROTOCOLS = ("leave-last-out", "global-time", "random-holdout")
"""Names of `instructrec.split.SPLITS`, repeated here because importing that module imports pandas."""
PARTS = ("valid", "test")
TRAINING_NOTE = "training.json"
"""File in a saved model's folder that names the data and the protocol of its training."""

Subparsers = argparse._SubParsersAction


class CommandParser(argparse.ArgumentParser):
    """A parser that raises its errors as `InputError` and lists registered names at the end of its help.

    Attributes:
        registries: Which registries the help lists, of "models", "data sets" and "metrics". They are read when the help
            is printed, since reading them imports pandas.
    """

    registries: tuple[str, ...] = ()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Raise a mistake in the arguments as an `InputError`."""
        raise InputError(f"{message}; see `{self.prog} --help`")

    def format_help(self) -> str:
        """Return the help, with the registered names at its end."""
        self.epilog = "\n".join(
            textwrap.fill(
                f"{kind}: {', '.join(registered_names(kind))}",
                subsequent_indent="  ",
                width=100,
                break_on_hyphens=False,
            )
            for kind in self.registries
        )
        return super().format_help()


def registered_names(kind: str) -> tuple[str, ...]:
    """Return the names in a registry: "models", "data sets" or "metrics"; none of them imports TensorFlow."""
    if kind == "models":
        from instructrec.models import NAMES

        return NAMES
    if kind == "data sets":
        from instructrec.datasets import NAMES as data_sets

        return data_sets
    from instructrec.evaluation.metrics import METRICS

    return tuple(METRICS)


def add_command(
    subparsers: Subparsers[CommandParser],
    name: str,
    run: Callable[[argparse.Namespace], None],
    purpose: str,
    registries: tuple[str, ...],
) -> CommandParser:
    """Return the parser of a new command, with the option `--json`.

    Args:
        subparsers: Where to add it.
        name: The word that chooses the command.
        run: Called with the parsed options.
        purpose: One sentence for the help.
        registries: Which registries the help lists, see `CommandParser`.
    """
    parser = subparsers.add_parser(name, help=purpose, description=purpose)
    parser.registries = registries
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    return parser


def add_data_option(parser: CommandParser) -> None:
    """Add the option `--data`."""
    parser.add_argument(
        "--data", required=True, metavar="NAME", help="a data set's name, or a path to a CSV file"
    )


def add_saved_model_option(parser: CommandParser) -> None:
    """Add the option `--model` of commands that take saved models as well as names."""
    parser.add_argument(
        "--model", required=True, metavar="DIR|NAME", help="a saved model's folder, or a name"
    )


def add_part_option(parser: CommandParser) -> None:
    """Add the option `--part`."""
    parser.add_argument("--part", choices=PARTS, default="test", help="(default: %(default)s)")


def whole_number_argument(minimum: int) -> Callable[[str], int]:
    """Return the argparse type of whole numbers of at least `minimum`."""

    def read(text: str) -> int:
        if re.fullmatch(r"[+-]?\d{1,18}", text.strip()) and int(text) >= minimum:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} given; a whole number of at least {minimum} is accepted")

    return read


def read_names(text: str) -> list[str]:
    """Return the names of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def read_settings(pairs: list[str]) -> dict[str, Any]:
    """Return the settings of `--set NAME=VALUE`; a value that is not JSON stays text.

    Raises:
        InputError: A pair without a name or a value.
    """
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


# -- models and splits -----------------------------------------------------------------------------------------


def split_by_protocol(dataset: Dataset, protocol: str) -> Split:
    """Split a data set by one of `PROTOCOLS`."""
    from instructrec.split import SPLITS

    split: Split = SPLITS[protocol](dataset)
    return split


def training_data(dataset: Dataset, protocol: str) -> Dataset:
    """Return the training part of a data set under a protocol; "all" means all events."""
    return dataset if protocol == "all" else split_by_protocol(dataset, protocol).train


def find_model(name: str) -> tuple[Recommender, Path | None]:
    """Return a model, and its folder if it is a saved model.

    Args:
        name: A model's name, or the folder of a saved model; a name of `SHIPPED` means the saved model in data/.

    Raises:
        InputError: Neither a name nor the folder of a saved model.
    """
    from instructrec import models

    if name in models.SHIPPED:
        return models.load(models.SHIPPED[name]), models.SHIPPED[name]
    if name in models.NAMES:
        return models.create(name), None
    if Path(name).exists() or os.sep in name:
        return models.load(name), Path(name)
    accepted = [*models.NAMES, "the folder of a saved model"]
    raise one_of("model", name, accepted, most=len(accepted))


def fit_model(model: Recommender, dataset: Dataset, checkpoint: Path | None = None) -> None:
    """Fit a model, with its progress on standard error.

    Args:
        model: The model.
        dataset: Training data of the model.
        checkpoint: File for the finished epochs of a model that can resume its training.
    """
    from instructrec.models.base import Recommender

    with contextlib.redirect_stdout(sys.stderr):
        if type(model).fit is Recommender.fit:
            model.fit(dataset)
            return
        print_progress(f"training {model.name} on {dataset.n_interactions} events of {dataset.name} …")
        options: dict[str, Any] = {"verbose": 2}
        if "checkpoint" in inspect.signature(model.fit).parameters:
            options["checkpoint"] = checkpoint
        model.fit(dataset, **options)


def attach_data(model: Recommender, dataset: Dataset, name: str) -> None:
    """Give a saved model the events of its data set.

    Args:
        model: The saved model.
        dataset: The data set.
        name: The model as the user named it, for the message.

    Raises:
        InputError: The model was trained on another catalogue.
    """
    if model.dataset.items["item_id"].tolist() != dataset.items["item_id"].tolist():
        raise InputError(
            f"model {name!r} was trained on {model.dataset.name} ({model.dataset.n_items} items), whose catalogue is "
            f"not that of {dataset.name} ({dataset.n_items} items); give the data of its training"
        )
    model.dataset = dataset


# -- printing --------------------------------------------------------------------------------------------------


def report_records(report: Report) -> dict[str, list[dict[Hashable, Any]]]:
    """Return a report's tables as numbers, one dictionary per row."""
    return {name: table.reset_index().to_dict("records") for name, table in report.numbers.items()}


def report_text(report: Report, *tables: str) -> str:
    """Return the tables of a report whose names start with one of `tables`, each below its caption."""
    return "\n\n".join(
        f"{report.captions[name]}\n\n{table.reset_index().to_string(index=False)}"
        for name, table in report.tables.items()
        if name.startswith(tables)
    )


def print_json(document: Any) -> None:
    """Print a document as one line of JSON; missing values and numbers that are not finite become null."""
    print_result(json.dumps(_json_value(document), ensure_ascii=False, allow_nan=False))


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(entry) for entry in value]
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    return None if value != value or type(value).__name__ == "NAType" else str(value)


def print_result(text: str) -> None:
    """Print a command's answer on standard output.

    Raises:
        InputError: Standard output cannot be written, such as for lack of space.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_stdout()
        raise InputError(
            f"cannot write standard output: {error.strerror}; send it to a disk with free space"
        ) from error


def print_progress(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def discard_stdout() -> None:
    """Discard the buffer of standard output, so that the interpreter's last flush cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
