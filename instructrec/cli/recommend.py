"""`python -m instructrec recommend`: recommend items for a history, a user or a file of requests."""

from __future__ import annotations

import argparse
import json
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from instructrec.cli.common import (
    CommandParser,
    Subparsers,
    add_command,
    add_data_option,
    add_saved_model_option,
    attach_data,
    find_model,
    fit_model,
    print_json,
    print_result,
    whole_number_argument,
)
from instructrec.errors import InputError, one_of

if TYPE_CHECKING:
    from instructrec.datasets.dataset import Dataset
    from instructrec.models.base import Recommender

DEFAULT_N = 10
ANSWER_KEYS = ("rank", "item_id", "title", "score")
REQUEST_KEYS = ("user", "history", "instruction", "candidates", "n")
_KEY_LIST = ", ".join(REQUEST_KEYS)
Request = dict[str, Any]


def add_parser(subparsers: Subparsers[CommandParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "recommend",
        run,
        "Recommend items for a history, a user or a file of requests.",
        ("models", "data sets"),
    )
    add_saved_model_option(parser)
    add_data_option(parser)
    user = parser.add_mutually_exclusive_group(required=True)
    user.add_argument("--history", metavar="ID,ID,…", help="item ids, oldest first")
    user.add_argument("--user", metavar="ID", help="a user of the data set")
    user.add_argument("--newcomer", action="store_true", help="somebody without a history")
    user.add_argument("--requests", metavar="FILE", help="JSON Lines: one request per line, in order")
    parser.add_argument("--instruction", metavar="TEXT", help="what the user asks for")
    parser.add_argument("--candidates", metavar="ID,ID,…", help="choose from these items only")
    parser.add_argument("--n", type=whole_number_argument(1), help=f"how many items (default: {DEFAULT_N})")


def run(options: argparse.Namespace) -> None:
    """Answer one request, or each request of a file; nothing is printed unless all can be answered."""
    requests = _requests(options)
    needs_data = any("user" in request or request.get("instruction") for _, request in requests)
    model = _fitted_model(options.model, options.data, needs_data)
    answers = []
    for position, request in requests:
        try:
            answers.append(_answer(model, request))
        except InputError as error:
            raise InputError(f"{position}{error}") from error
    if options.json:
        print_json(answers if options.requests is not None else answers[0])
    else:
        print_result("\n\n".join(map(_as_text, answers)))


# -- requests --------------------------------------------------------------------------------------------------


def _requests(options: argparse.Namespace) -> list[tuple[str, Request]]:
    """Return the requests of the options, each with its position in the file, such as "asked.jsonl, line 3: "."""
    if options.requests is not None:
        for name in ("instruction", "candidates"):
            if getattr(options, name) is not None:
                raise InputError(
                    f"argument --{name}: not allowed with --requests; write it in the file's lines"
                )
        requests = _read_requests(Path(options.requests))
    elif options.newcomer:
        requests = [("", {"newcomer": True})]
    else:
        requests = [("", {"history": options.history} if options.user is None else {"user": options.user})]
    for _, request in requests:
        for name in ("instruction", "candidates", "n"):
            if getattr(options, name) is not None:
                request.setdefault(name, getattr(options, name))
    return requests


def _read_requests(path: Path) -> list[tuple[str, Request]]:
    """Return the requests of a file and their positions; every line is checked before any is answered."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise InputError(
            f"cannot read {str(path)!r}: {reason}; a JSON Lines file of requests is accepted"
        ) from error
    requests = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            position = f"{path}, line {number}: "
            requests.append((position, _read_request(line, position)))
    if not requests:
        raise InputError(f"{str(path)!r} holds no request; one JSON object a line is accepted")
    return requests


def _read_request(line: str, position: str) -> Request:
    """Return the request of a line; a key with null counts as absent."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{position}not JSON ({error}); one object a line is accepted") from error
    if not isinstance(request, dict):
        raise InputError(
            f"{position}{line.strip()[:60]} is no object; {{…}} with the keys {_KEY_LIST} is accepted"
        )
    for key in request:
        if key not in REQUEST_KEYS:
            raise InputError(f"{position}{one_of('key', key, REQUEST_KEYS)}")
    request = {key: value for key, value in request.items() if value is not None}
    if ("user" in request) == ("history" in request):
        raise InputError(f"{position}exactly one of user and history is accepted; the keys are {_KEY_LIST}")
    return request


# -- answers ---------------------------------------------------------------------------------------------------


def _fitted_model(name: str, data: str, needs_data: bool) -> Recommender:
    """Return a fitted model; a saved one holds its catalogue, so the data are read only if a request needs them."""
    from instructrec import datasets

    model, folder = find_model(name)
    if folder is not None and data in datasets.NAMES and data == model.dataset.name and not needs_data:
        return model
    dataset = datasets.load(data)
    if folder is None:
        fit_model(model, dataset)
    else:
        attach_data(model, dataset, name)
    return model


def _answer(model: Recommender, request: Request) -> dict[str, Any]:
    """Return the instruction, how it was parsed, and the recommended items with their attributes."""
    dataset = model.dataset
    history = _history(request, dataset)
    n = _n_items(request, dataset)
    candidates = request.get("candidates")
    instruction = request.get("instruction")
    parsed: dict[str, Any] = {}
    if instruction is not None:
        _check_text(instruction)
        from instructrec.instructions import parse

        parsed = parse(instruction, dataset).describe()
    table = model.recommend(
        history,
        instruction=instruction,
        n=n,
        candidates=None if candidates is None else _item_ids(candidates, "candidates", dataset),
    )
    attributes = dataset.items.set_index("item_id", drop=False).loc[table["item_id"].tolist()]
    items: list[dict[str, Any]] = []
    for row, item in zip(table.to_dict("records"), attributes.to_dict("records"), strict=True):
        more = {str(name): value for name, value in item.items() if name not in ANSWER_KEYS}
        items.append({**{str(name): row[name] for name in ANSWER_KEYS}, **more})
    return {"instruction": instruction, "parsed": parsed, "items": items}


def _history(request: Request, dataset: Dataset) -> list[Hashable]:
    if request.get("newcomer"):
        return []
    if "user" not in request:
        return _item_ids(request["history"], "history", dataset)
    history = dataset.history(request["user"])
    if not history:
        raise InputError(f"user {request['user']!r} has no history in {dataset.name}; ask with --newcomer")
    return history


def _n_items(request: Request, dataset: Dataset) -> int:
    from instructrec.validation import check_value

    n: int = check_value(
        "n", request.get("n", min(DEFAULT_N, dataset.n_items)), _list_length(dataset.n_items)
    )
    return n


@cache
def _list_length(n_items: int) -> Any:
    """Return the type of the lengths of a list that a catalogue of this size can fill."""
    from pydantic import Field

    from instructrec.validation import Accepts

    accepts = Accepts(f"a whole number from 1 to {n_items}, the catalogue's size,")
    return Annotated[int, Field(ge=1, le=n_items), accepts]


def _item_ids(value: object, argument: str, dataset: Dataset) -> list[Hashable]:
    """Return item ids of a comma-separated text, or of a list, in the data set's type."""
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if not isinstance(value, list):
        raise InputError(f'{argument} is {value!r}; item ids such as "1,50" are accepted')
    if not value:
        hint = "; for somebody without a history ask alone, with --newcomer" if argument == "history" else ""
        raise InputError(f'{argument} is empty; item ids such as "1,50" are accepted{hint}')
    return [dataset.parse_id(entry) for entry in value]


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise InputError(f"instruction is {text!r}; a text is accepted")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"instruction {text!r} is not UTF-8; a text in UTF-8 is accepted") from error


def _as_text(answer: dict[str, Any]) -> str:
    """Return an answer as lines: the instruction, how it was parsed, and one item per line."""
    lines = []
    if answer["instruction"]:
        lines.append(f"instruction: {answer['instruction']}")
        lines.append(f"understood:  {answer['parsed'].get('text') or 'no condition'}")
    lines += [
        f"{item['rank']:>4}  {item['score']:>10.4f}  {item['item_id']:>8}  {item['title']}"
        for item in answer["items"]
    ]
    return "\n".join(lines if answer["items"] else [*lines, "no item left to recommend"])
