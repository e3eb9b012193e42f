"""`python -m instructrec evaluate`: measure a model on held-out events."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructrec.cli.common import (
    PROTOCOLS,
    TRAINING_NOTE,
    CommandParser,
    Subparsers,
    add_command,
    add_data_option,
    add_part_option,
    add_saved_model_option,
    attach_data,
    find_model,
    fit_model,
    print_json,
    print_progress,
    print_result,
    split_by_protocol,
    whole_number_argument,
)
from instructrec.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from instructrec.models.base import Recommender
    from instructrec.split import Split

TASKS = ("ranking", "sampled", "yes-no")
DEFAULT_K = {"ranking": 10, "sampled": 5, "yes-no": 10}
"""Length of the list by task; among ten candidates, a list of ten is always a hit."""
N_NEGATIVES = 9
"""Number of random negatives of `--task sampled`: with the target, ten candidates as in the paper's reranking."""


def add_parser(subparsers: Subparsers[CommandParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "evaluate",
        run,
        "Measure a model on held-out events.",
        ("models", "data sets", "metrics"),
    )
    add_saved_model_option(parser)
    add_data_option(parser)
    parser.add_argument(
        "--task",
        choices=TASKS,
        default="ranking",
        help="rank the whole catalogue, ten candidates, or say yes or no (default: %(default)s)",
    )
    parser.add_argument(
        "--protocol", choices=PROTOCOLS, default="leave-last-out", help="(default: %(default)s)"
    )
    add_part_option(parser)
    parser.add_argument(
        "--k",
        type=whole_number_argument(1),
        help=f"length of the list (default: {DEFAULT_K['ranking']}, of ten candidates {DEFAULT_K['sampled']})",
    )
    parser.add_argument(
        "--seed", type=whole_number_argument(0), default=0, help="seed of random candidates and intervals"
    )


def run(options: argparse.Namespace) -> None:
    """Print a model's metrics with their intervals; a model given by name is fitted first."""
    from instructrec import datasets

    k: int = options.k or DEFAULT_K[options.task]
    if options.task == "sampled" and k > N_NEGATIVES:
        raise InputError(
            f"argument --k: {k} given; from 1 to {N_NEGATIVES} is accepted with --task sampled, since all of the "
            f"{N_NEGATIVES + 1} candidates would be a hit whatever the model"
        )
    model, folder = find_model(options.model)
    if folder is not None:
        _check_training_protocol(folder, options.protocol)
    dataset = datasets.load(options.data)
    split = split_by_protocol(dataset, options.protocol)
    if folder is None:
        fit_model(model, split.train)
    else:
        attach_data(model, split.train, options.model)
    table, n_requests = _evaluate(model, split, k, options)
    rows: dict[str, dict[str, Any]] = table.rename(index=str).to_dict("index")  # type: ignore[assignment]
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
        print_json(document)
        return
    lines = [
        f"{model.name} on {dataset.name}, {options.protocol}, {options.part}, task {options.task}, "
        f"{n_requests} requests; mean and 95% interval over users",
        *(
            f"{name:<12}{row['mean']:8.4f}  [{row['low']:.4f}, {row['high']:.4f}]"
            for name, row in rows.items()
        ),
    ]
    print_result("\n".join(lines))


def _evaluate(
    model: Recommender, split: Split, k: int, options: argparse.Namespace
) -> tuple[pd.DataFrame, int]:
    """Return a row of `mean`, `low` and `high` for each metric, and the number of requests."""
    from instructrec.evaluation import evaluate, evaluate_yes_no

    if options.task == "yes-no":
        table = evaluate_yes_no(model, split, options.part, options.seed)
        return table, len(split.requests(options.part))
    n_negatives = N_NEGATIVES if options.task == "sampled" else None
    evaluation = evaluate(
        model, split, part=options.part, ks=(k,), n_negatives=n_negatives, seed=options.seed
    )
    return evaluation.summary(seed=options.seed), len(evaluation.per_user)


def _check_training_protocol(folder: Path, protocol: str) -> None:
    """Refuse to evaluate a model on events that it was trained on, as far as its folder tells."""
    try:
        training_protocol = json.loads((folder / TRAINING_NOTE).read_text("utf-8"))["protocol"]
    except FileNotFoundError:
        print_progress(
            f"note: {folder} does not say what it was trained on; events of the test part may be among them"
        )
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(folder / TRAINING_NOTE)!r} is damaged; train the model again") from error
    if training_protocol != protocol:
        raise InputError(
            f"argument --protocol: {protocol!r} given, but the model was trained with --protocol {training_protocol}, "
            "so that it may know the answers; train it with the protocol that you evaluate with"
        )
