"""The results file: the ranks of all targets, from which every table and figure of a comparison is computed.

Metrics at any k, intervals and tests follow from the ranks of the targets, so the file holds ranks instead of metrics.
It contains no ids of users or items: requests are in the order of the split, items are columns of the catalogue.
Derived in chapter `evaluation`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.evaluation.candidates import WHOLE_CATALOGUE
from instructrec.evaluation.metrics import metric_columns, reported_metrics
from instructrec.evaluation.protocol import Evaluation
from instructrec.evaluation.target_ranks import TargetRanks
from instructrec.files import atomic_write

FORMAT = 1
"""Version of the format of results files."""
Key = tuple[str, str, str, int | None]
"""Label, protocol, part and seed of a run."""
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Run:
    """One model, fitted once and evaluated on one part of one split.

    Attributes:
        label: Name in tables; within a part of a split it identifies one model with its settings.
        model: Name of the model.
        settings: Settings of the model, defaults included, without the seed.
        seed: Seed of the model; None for a model without a seed.
        protocol: Name of the split.
        part: "valid" or "test".
        seconds: Wall time in seconds of the steps `fit`, `score` and `measure`.
        parameters: Number of floating-point parameters that the model has learnt; None if unknown.
        ranks: Ranks of the targets among each set of candidates, by the name of the set, such as "whole catalogue".
        list_metrics: Metrics of the recommended lists by their name in `beyond_accuracy.LIST_METRICS`: a number for
            all lists together, or an array of shape (n_requests,), NaN where undefined; empty without lists.
        lists: Catalogue columns of the recommended lists, shape (n_requests, k), -1 for an empty position; None if not
            stored.
        machine: `cores` and `python` of the machine that ran it; None if they are those of the file.
        version: Version of instructrec that computed the run; None in files older than this entry.
    """

    label: str
    model: str
    settings: dict[str, Any]
    seed: int | None
    protocol: str
    part: str
    seconds: dict[str, float]
    parameters: int | None
    ranks: dict[str, TargetRanks] = field(repr=False)
    list_metrics: dict[str, Any] = field(default_factory=dict, repr=False)
    lists: np.ndarray | None = field(default=None, repr=False)
    machine: dict[str, Any] | None = None
    version: str | None = None

    @property
    def key(self) -> Key:
        """Label, protocol, part and seed: they identify a run within a file."""
        return (self.label, self.protocol, self.part, self.seed)

    def __len__(self) -> int:
        return len(next(iter(self.ranks.values())))


@dataclass
class Results:
    """Runs on one data set.

    Attributes:
        data: Name of the data set.
        data_sha256: Digest of its tables, from `data_digest`.
        machine: `cores` and `python` of the machine that ran them.
        runs: The runs, in the order of tables.
        negatives: Hard negatives by protocol, part and candidates: catalogue columns, shape (n_requests, n).
        choosers: The models that chose the hard negatives, by the same keys: `model`, `settings` and `seed`; missing in
            files older than this entry.
    """

    data: str
    data_sha256: str
    machine: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    negatives: dict[tuple[str, str, str], np.ndarray] = field(default_factory=dict, repr=False)
    choosers: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, dataset: Dataset) -> Results:
        """Return empty results of a data set on this machine."""
        return cls(dataset.name, data_digest(dataset), this_machine())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Results:
        """Read a results file.

        Raises:
            InputError: The file cannot be read, is not a results file, has another format, or is damaged.
        """
        try:
            return cls.from_text(Path(path).read_bytes(), repr(str(path)))
        except OSError as error:
            raise InputError(
                f"cannot read {str(path)!r}: {error.strerror}; give a file written by "
                "`python -m instructrec compare --out`"
            ) from error

    @classmethod
    def from_text(cls, text: str | bytes, where: str = "the text") -> Results:
        """Read results from the text of a file.

        Args:
            text: JSON, as `save` writes it.
            where: Name of the text in error messages.

        Raises:
            InputError: As in `load`.
        """
        document = parse_document(text, where, "results file", FORMAT, "runs")
        try:
            results = cls(
                _text(document["data"]),
                _text(document["data_sha256"]),
                dict(document["machine"]),
                [_run_from_document(entry) for entry in document["runs"]],
                _by_candidates(document.get("negatives", {}), _columns),
                _by_candidates(document.get("choosers", {}), _chooser),
            )
            results._check()
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{where} is a damaged results file: {reason}; run `compare` again") from error
        return results

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file; an interruption leaves the old file or the new one, never a part.

        Raises:
            InputError: The file cannot be written.
        """
        with atomic_write(path) as handle:
            handle.write(self.to_text())
        return Path(path)

    def to_text(self) -> str:
        """Return the text of the file: JSON with one line for each array over requests."""
        negatives: dict[str, Any] = {}
        choosers: dict[str, Any] = {}
        for (protocol, part, name), columns in self.negatives.items():
            negatives.setdefault(f"{protocol}, {part}", {})[name] = columns.tolist()
            if (protocol, part, name) in self.choosers:
                chooser = self.choosers[protocol, part, name]
                choosers.setdefault(f"{protocol}, {part}", {})[name] = chooser
        document = {
            "format": FORMAT,
            "data": self.data,
            "data_sha256": self.data_sha256,
            "machine": self.machine,
            "negatives": negatives,
            **({"choosers": choosers} if choosers else {}),
            "runs": [_run_to_document(run) for run in self.runs],
        }
        return _dump(document) + "\n"

    @property
    def protocols(self) -> list[str]:
        """Names of the splits, in the order of the runs."""
        return list(dict.fromkeys(run.protocol for run in self.runs))

    def labels(self, protocol: str | None = None, part: str = "test") -> list[str]:
        """Return the labels with a run on a part of a split, in the order of the runs.

        Args:
            protocol: Name of the split; any by default.
            part: "valid" or "test".
        """
        return list(dict.fromkeys(run.label for run in self._of(protocol, part)))

    def candidates(self, protocol: str, part: str = "test") -> list[str]:
        """Return the names of the sets of candidates that all runs on a part of a split have ranks for."""
        runs = list(self._of(protocol, part))
        return [name for name in (runs[0].ranks if runs else {}) if all(name in run.ranks for run in runs)]

    def seeds(self, label: str, protocol: str, part: str = "test") -> list[int | None]:
        """Return the seeds of a label's runs; [None] for a model without a seed."""
        return [run.seed for run in self._of(protocol, part) if run.label == label]

    def run(self, label: str, protocol: str, seed: int | None = None, part: str = "test") -> Run:
        """Return a run.

        Args:
            label: Name in tables.
            protocol: Name of the split.
            seed: Seed of the model; its first by default; ignored for a model without a seed.
            part: "valid" or "test".

        Raises:
            InputError: No such run.
        """
        if not any(run.protocol == protocol and run.part == part for run in self.runs):
            pairs = dict.fromkeys(f"{run.protocol}, {run.part}" for run in self.runs)
            raise one_of("protocol and part of the results", f"{protocol}, {part}", pairs)
        if label not in self.labels(protocol, part):
            raise one_of(f"label of the results on {protocol}", label, self.labels(protocol, part))
        seeds = self.seeds(label, protocol, part)
        seed_of_run = seeds[0] if seed is None or seeds == [None] else seed
        for run in self._of(protocol, part):
            if run.label == label and run.seed == seed_of_run:
                return run
        raise one_of(f"seed of {label} on {protocol}", seed, seeds)

    def evaluation(
        self,
        label: str,
        protocol: str,
        candidates: str = WHOLE_CATALOGUE,
        seed: int | None = None,
        ks: Sequence[int] = (10,),
        metrics: Sequence[str] | None = None,
        part: str = "test",
    ) -> Evaluation:
        """Return the evaluation of a run, computed from its ranks; users are numbers in the order of the split.

        Args:
            label: Name in tables.
            protocol: Name of the split.
            candidates: Candidates that the targets were ranked against, such as "9 random negatives".
            seed: Seed of the model; its first by default.
            ks: List lengths.
            metrics: Names from `evaluation.METRICS`; those that are always reported by default.
            part: "valid" or "test".

        Raises:
            InputError: No such run, no such candidates in it, an unknown metric or none.
        """
        run = self.run(label, protocol, seed, part)
        if candidates not in run.ranks:
            raise one_of(f"candidates of {label} on {protocol}", candidates, run.ranks)
        ranks = run.ranks[candidates]
        per_user = pd.DataFrame({"user_id": np.arange(len(ranks))})
        per_user = per_user.assign(
            **metric_columns(ranks, reported_metrics() if metrics is None else metrics, ks)
        )
        return Evaluation(
            label,
            per_user,
            f"{protocol}, {part}, {candidates}",
            ranks=ranks,
            lists=run.lists if candidates == WHOLE_CATALOGUE else None,
            seconds=dict(run.seconds),
        )

    def evaluations(
        self, protocol: str, candidates: str = WHOLE_CATALOGUE, **options: Any
    ) -> list[Evaluation]:
        """Return the evaluation of every label's first seed; options as in `evaluation`."""
        labels = self.labels(protocol, options.get("part", "test"))
        return [self.evaluation(label, protocol, candidates, **options) for label in labels]

    def _of(self, protocol: str | None, part: str) -> Iterable[Run]:
        return (run for run in self.runs if run.part == part and protocol in (None, run.protocol))

    def _check(self) -> None:
        """Check that the runs agree with each other.

        Raises:
            ValueError: Two runs have the same key, runs on one part of a split differ in their numbers of requests or
                targets, or a label has two models or settings.
        """
        keys = [run.key for run in self.runs]
        duplicate = next((key for key in keys if keys.count(key) > 1), None)
        if duplicate is not None:
            raise ValueError(f"it holds the run {duplicate} twice")
        first_of_split: dict[tuple[str, str], Run] = {}
        first_of_label: dict[tuple[str, str, str], Run] = {}
        for run in self.runs:
            reference = first_of_split.setdefault((run.protocol, run.part), run)
            n_targets = next(iter(reference.ranks.values())).n_targets
            arrays = [*run.ranks.values(), *(value for value in run.list_metrics.values() if np.ndim(value))]
            arrays += [] if run.lists is None else [run.lists]
            if any(len(array) != len(n_targets) for array in arrays) or any(
                (ranks.n_targets != n_targets).any() for ranks in run.ranks.values()
            ):
                raise ValueError(
                    f"{run.label} on {run.protocol} differs from {reference.label} in its requests or targets"
                )
            earlier = first_of_label.setdefault((run.label, run.protocol, run.part), run)
            if (earlier.model, earlier.settings) != (run.model, run.settings):
                raise ValueError(f"{run.label} has two models or settings on {run.protocol}")


def parse_document(text: str | bytes, where: str, kind: str, version: int, key: str) -> dict[str, Any]:
    """Return the JSON object of a file that names its format.

    Args:
        text: The content of the file.
        where: Name of the file in error messages.
        kind: Kind of file for error messages, such as "results file".
        version: The accepted format.
        key: A further key that the object must have.

    Raises:
        InputError: The text is not a JSON object, a key is missing, or the format is another one.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where} is no {kind} ({error}); it is one JSON document") from error
    if not isinstance(document, dict) or "format" not in document or key not in document:
        raise InputError(f"{where} is no {kind}: it lacks 'format' or {key!r}")
    if document["format"] != version or isinstance(document["format"], bool):
        raise one_of(f"format of the {kind} {where}", document["format"], [version])
    return document


def data_digest(dataset: Dataset) -> str:
    """Return the hexadecimal SHA-256 of a data set's three tables, with the rows in their order."""
    digest = hashlib.sha256()
    for table in (dataset.users, dataset.items, dataset.interactions):
        digest.update(table.to_csv(index=False, lineterminator="\n").encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()


def this_machine() -> dict[str, Any]:
    """Return the number of cores and the version of Python, on which the seconds of a results file depend most."""
    count = getattr(os, "process_cpu_count", None)
    if count is not None:
        cores = count()
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cores": cores, "python": platform.python_version()}


_PLAIN_FIELDS = ("label", "model", "settings", "seed", "protocol", "part", "seconds", "parameters")


def _run_to_document(run: Run) -> dict[str, Any]:
    """Return a run as a JSON object, the inverse of `_run_from_document`."""
    document: dict[str, Any] = {name: getattr(run, name) for name in _PLAIN_FIELDS}
    if run.version is not None:
        document["version"] = run.version
    if run.machine is not None:
        document["machine"] = run.machine
    document["seconds"] = {name: round(float(value), 4) for name, value in run.seconds.items()}
    document["candidates"] = {name: {"ranks": ranks.to_lists()} for name, ranks in run.ranks.items()}
    if run.list_metrics:
        document["beyond"] = {
            name: [None if np.isnan(number) else round(number, 4) for number in np.asarray(value).tolist()]
            if np.ndim(value)
            else round(float(value), 6)
            for name, value in run.list_metrics.items()
        }
    if run.lists is not None:
        document["lists"] = np.asarray(run.lists).tolist()
    return document


def _run_from_document(document: dict[str, Any]) -> Run:
    """Return the run of a JSON object, the inverse of `_run_to_document`."""
    candidates = document["candidates"]
    if not candidates:
        raise ValueError(f"{document['label']} has no candidates")
    lists = document.get("lists")
    return Run(
        label=_text(document["label"]),
        model=_text(document["model"]),
        settings=dict(document["settings"]),
        seed=_int_or_none(document["seed"]),
        protocol=_text(document["protocol"]),
        part=_text(document["part"]),
        seconds={name: float(value) for name, value in document["seconds"].items()},
        parameters=_int_or_none(document["parameters"]),
        ranks={name: TargetRanks.from_lists(entry["ranks"]) for name, entry in candidates.items()},
        list_metrics={
            name: np.array(value, dtype=float) if isinstance(value, list) else float(value)
            for name, value in document.get("beyond", {}).items()
        },
        lists=None if lists is None else _columns(lists),
        machine=document.get("machine"),
        version=None if "version" not in document else _text(document["version"]),
    )


def _by_candidates(
    document: dict[str, Any], convert: Callable[[Any], _Value]
) -> dict[tuple[str, str, str], _Value]:
    """Return converted values by protocol, part and candidates; a key of `document` is "leave-last-out, test"."""
    by_candidates = {}
    for protocol_and_part, values in document.items():
        protocol, _, part = protocol_and_part.rpartition(", ")
        for name, value in values.items():
            by_candidates[(protocol, part, name)] = convert(value)
    return by_candidates


def _chooser(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": _text(document["model"]),
        "settings": dict(document["settings"]),
        "seed": _int_or_none(document["seed"]),
    }


def _columns(lists: list[list[int]]) -> np.ndarray:
    array = np.array(lists)
    if array.ndim != 2 or array.dtype.kind != "i":
        raise ValueError(
            "lists of catalogue columns have unequal lengths or hold values that are not whole numbers"
        )
    return array.astype(np.int64)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is found where a text is expected")
    return value


def _int_or_none(value: object) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"{value!r} is found where a whole number or null is expected")
    return value


def _dump(value: Any, indent: str = "") -> str:
    """Return JSON that a person and `diff` can read: objects over several lines, each list of values on one line."""
    deeper = indent + " "
    if isinstance(value, dict) and any(isinstance(entry, dict | list) for entry in value.values()):
        lines = [
            f"{deeper}{json.dumps(name, ensure_ascii=False)}: {_dump(entry, deeper)}"
            for name, entry in value.items()
        ]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        lines = [deeper + _dump(entry, deeper) for entry in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    separators = (", ", ": ") if isinstance(value, dict) else (",", ":")
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=separators)
