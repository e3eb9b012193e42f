"""Many models, protocols and seeds in one call, written down after each, so that an interruption costs one model.

Derived in chapter `evaluation`. A second call with the same file goes on at the model that the first one was on. A
file of other data, other settings or other candidates is refused: figures of two experiments never stand in one table.
Each run keeps the version of the package that made it; a file of another version is gone on with, under a warning.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from instructrec import __version__
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.evaluation import beyond_accuracy as beyond
from instructrec.evaluation.candidates import (
    Candidates,
    columns_of,
    full_catalogue,
    hard_negatives,
    random_negatives,
)
from instructrec.evaluation.protocol import Evaluation, evaluate_many
from instructrec.evaluation.results import WHOLE, Key, Results, Run
from instructrec.files import digest
from instructrec.models import create, model_class, setting_names
from instructrec.models.base import Recommender
from instructrec.split import SPLITS, Requests, Split

LIST_LENGTH = 10  # of the lists that coverage, Gini, novelty and diversity are about
_RANDOM = re.compile(r"(\d{1,9}) random negatives")
_HARD = re.compile(r"(\d{1,9}) hard negatives by (.+)")
_CANDIDATES = (WHOLE, "9 random negatives", "9 hard negatives by LABEL")


@dataclass(frozen=True)
class Entry:
    """A model that takes part.

    Attributes:
        label: Name in tables, such as "EASE".
        name: A name from `models.NAMES`, or a class of your own that is a `Recommender`.
        settings: Settings of that model, without a seed.
    """

    label: str
    name: str | type[Recommender]
    settings: dict[str, Any] = field(default_factory=dict)

    def create(self, seed: int | None = None) -> Recommender:
        """Return a recommender that is yet to be fitted.

        Args:
            seed: Its seed; None for a model without chance.

        Raises:
            InputError: An unknown model or setting; the message names the label.
        """
        settings = dict(self.settings) if seed is None else {**self.settings, "seed": seed}
        try:
            return create(self.name, **settings) if isinstance(self.name, str) else self.name(**settings)
        except (InputError, TypeError) as error:
            raise InputError(f"{self.label}: {error}") from error

    @property
    def has_chance(self) -> bool:
        """Whether the model takes a seed."""
        kind = model_class(self.name) if isinstance(self.name, str) else self.name
        return "seed" in setting_names(kind)


def run(
    entries: Sequence[Entry],
    dataset: Dataset,
    path: str | os.PathLike[str] | None = None,
    protocols: Sequence[str] = ("leave-last-out",),
    candidates: Sequence[str] = (WHOLE,),
    seeds: Sequence[int] = (0,),
    part: str = "test",
    batch: int = 256,
    progress: bool = True,
) -> Results:
    """Fit every model on the training part of every split and rank what was held out.

    The file is written after each model. A model with a `seed` setting is run once for each seed, any other once. Lists
    of ten items are kept for the first seed, their coverage, Gini, novelty and diversity for all.

    Args:
        entries: The models.
        dataset: The data.
        path: The results file, made or gone on with; None keeps the results in memory.
        protocols: Names from `split.SPLITS`.
        candidates: What the targets are ranked against: "whole catalogue", "9 random negatives" with any number, or
            "9 hard negatives by LABEL", the label being one of the entries'. Negatives are the same for all models.
        seeds: Seeds of models with chance.
        part: "valid" or "test".
        batch: Requests scored at a time.
        progress: Show a bar with the model's name on standard error.

    Returns:
        The results: those of the file before, then these.

    Raises:
        InputError: Unknown names, two entries of one label, a file of another experiment, or a model that fails or
            returns what cannot be ranked; the message names it, and what was finished before stays in the file.

    Warns:
        UserWarning: The file holds runs made by another version of the package.
    """
    _check(entries, protocols, candidates, seeds, part)
    file = _File(None if path is None else Path(path), Results.of(dataset))
    plan = _plan(entries, protocols, seeds, part)
    _check_same_experiment(file, plan, candidates, part)
    made_by = sorted({one.version for one in file.results.runs if one.version not in (None, __version__)})
    if made_by:
        warnings.warn(
            f"{file.where} holds runs made by instructrec {', '.join(made_by)}, and this is {__version__}; they stay "
            "as they are, so give another file if the versions differ in what they measure",
            stacklevel=2,
        )
    todo = [job for job in plan if job.key not in file.done]
    bar = _bar(len(plan), len(plan) - len(todo), progress)
    with bar:
        for protocol in protocols:
            left = [job for job in todo if job.protocol == protocol]
            if left:
                try:
                    bench = _Bench(SPLITS[protocol](dataset), part, batch)
                    _run_protocol(file, plan, left, bench, candidates, bar)
                except _Refused as error:
                    kept = (
                        ""
                        if path is None
                        else f"; {len(file.done & {job.key for job in plan})} of {len(plan)} runs"
                    )
                    kept += "" if path is None else f" are kept in {str(path)!r}"
                    raise InputError(f"{error}{kept}") from error.__cause__
    return file.results


# -- the plan ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    entry: Entry
    protocol: str
    part: str
    seed: int | None
    first: bool
    settings: dict[str, Any]

    @property
    def key(self) -> Key:
        return (self.entry.label, self.protocol, self.part, self.seed)

    def __str__(self) -> str:
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.entry.label} ({self.protocol}{seed})"


def _plan(entries: Sequence[Entry], protocols: Sequence[str], seeds: Sequence[int], part: str) -> list[_Job]:
    """Return every run in the order of the file; each model is made once, so that a wrong setting is told at once."""
    jobs = []
    for protocol in protocols:
        for entry in entries:
            own: Sequence[int | None] = list(seeds) if entry.has_chance else [None]
            for seed in own:
                settings = {
                    name: value for name, value in entry.create(seed).settings.items() if name != "seed"
                }
                try:
                    settings = json.loads(json.dumps(settings, allow_nan=False))
                except (TypeError, ValueError) as error:
                    raise InputError(
                        f"{entry.label}: settings cannot be written as JSON ({error})"
                    ) from error
                jobs.append(_Job(entry, protocol, part, seed, seed == own[0], settings))
    return jobs


def _check(
    entries: Sequence[Entry],
    protocols: Sequence[str],
    candidates: Sequence[str],
    seeds: Sequence[int],
    part: str,
) -> None:
    given = {"entries": entries, "protocols": protocols, "candidates": candidates, "seeds": seeds}
    for argument, values in given.items():
        if isinstance(values, str) or len(values) == 0:
            raise InputError(f"{argument} is {values!r}; a list of at least one is accepted")
    labels = [entry.label for entry in entries]
    for argument, names in {**given, "entries": labels}.items():
        twice = next((name for name in names if list(names).count(name) > 1), None)
        if twice is not None:
            raise InputError(
                f"{argument} holds {twice!r} twice; give each once, two settings of a model as two labels"
            )
    for protocol in protocols:
        if protocol not in SPLITS:
            raise one_of("protocol", protocol, SPLITS)
    for name in candidates:
        hard = _HARD.fullmatch(name)
        if hard is not None and hard[2] not in labels:
            raise one_of(f"label in the candidates {name!r}", hard[2], labels)
        if hard is None and name != WHOLE and _RANDOM.fullmatch(name) is None:
            raise one_of("candidates", name, _CANDIDATES)
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InputError(f"seeds holds {seed!r}; whole numbers of at least 0 are accepted")
    if part not in ("valid", "test"):
        raise one_of("part of a split", part, ["valid", "test"])
    for entry in entries:
        if "seed" in entry.settings:
            raise InputError(
                f"{entry.label}: a seed stands among its settings; give seeds=({entry.settings['seed']},)"
            )
        entry.create()


def _check_same_experiment(file: _File, plan: list[_Job], candidates: Sequence[str], part: str) -> None:
    """Refuse a file whose runs would not be of one experiment with those to come."""
    results, where = file.results, file.where
    protocols = {job.protocol for job in plan}
    wanted = {(job.entry.label, job.protocol): job for job in plan}
    for done in results.runs:
        if done.part != part or done.protocol not in protocols:
            continue
        if set(done.ranks) != set(candidates):
            raise InputError(
                f"{where} holds {done.label} on {done.protocol} ranked against {', '.join(done.ranks)}, and "
                f"{', '.join(candidates)} is asked for; ask for the same, or give another file"
            )
        job = wanted.get((done.label, done.protocol))
        if job is None:
            continue
        model = job.entry.create(done.seed).name
        if (done.model, done.settings) != (model, job.settings):
            raise InputError(
                f"{where} holds {done.label} as {done.model} with {json.dumps(done.settings)}, and {model} with "
                f"{json.dumps(job.settings)} is asked for; give it another label, or another file"
            )
    for protocol in protocols:
        for name in candidates:
            held = results.choosers.get((protocol, part, name))
            hard = _HARD.fullmatch(name)
            if held is None or hard is None:
                continue
            by = _chooser(plan, protocol, hard[2])
            if held != by:
                raise InputError(
                    f"{where} holds {name} on {protocol} that {_in_words(held)} chose, and {_in_words(by)} is "
                    "asked for; ask for the same, give it another label, or another file"
                )


def _choosing(plan: list[_Job], protocol: str, label: str) -> _Job:
    """Return the job whose model chooses hard negatives: the first one of the label."""
    return next(job for job in plan if (job.entry.label, job.protocol) == (label, protocol) and job.first)


def _chooser(plan: list[_Job], protocol: str, label: str) -> dict[str, Any]:
    """Return what the hard negatives of a label depend on, as the file keeps it."""
    job = _choosing(plan, protocol, label)
    return {"model": job.entry.create(job.seed).name, "settings": job.settings, "seed": job.seed}


def _in_words(chooser: dict[str, Any]) -> str:
    seed = "" if chooser["seed"] is None else f" and seed {chooser['seed']}"
    return f"{chooser['model']} with {json.dumps(chooser['settings'])}{seed}"


# -- the file ------------------------------------------------------------------------------------------------------


class _File:
    """The results and the file that they are kept in, if any."""

    def __init__(self, path: Path | None, fresh: Results) -> None:
        self.path, self.results = path, fresh
        self.where = "the results" if path is None else repr(str(path))
        self.sha256: str | None = None
        self.machine = fresh.machine
        if path is None or not path.exists():
            return
        found = Results.load(path)
        if (found.data, found.data_sha256) != (fresh.data, fresh.data_sha256):
            raise InputError(
                f"{self.where} holds results on {found.data} (sha256 {found.data_sha256[:8]}…), and {fresh.data} "
                f"({fresh.data_sha256[:8]}…) is asked for; give another file"
            )
        self.results, self.sha256 = found, digest(path)

    @property
    def done(self) -> set[Key]:
        return {run.key for run in self.results.runs}

    def add(self, run: Run, plan: list[_Job]) -> None:
        """Put a run to its place, after those of earlier calls and in the order of the plan, and write the file."""
        if self.machine != self.results.machine:
            run = replace(run, machine=self.machine)
        order = {job.key: number for number, job in enumerate(plan)}
        self.results.runs = sorted([*self.results.runs, run], key=lambda one: order.get(one.key, -1))
        self.save()

    def save(self) -> None:
        if self.path is None:
            return
        now = digest(self.path) if self.path.exists() else None
        if now != self.sha256:
            raise InputError(
                f"{self.where} was changed by another run meanwhile; give each run that works at the same time its "
                "own file"
            )
        self.results.save(self.path)
        self.sha256 = digest(self.path)


# -- the work ------------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """A model that failed or returned what cannot be ranked; the message names it."""


@dataclass(frozen=True, eq=False)
class _Given(Candidates):
    """Negatives that are written down: catalogue columns, shape (n_requests, n)."""

    columns: np.ndarray | None = None

    def _mask(self, split: Split, requests: Requests, rows: slice, rng: np.random.Generator) -> np.ndarray:
        assert self.columns is not None
        mask = np.zeros((len(requests.histories[rows]), split.train.n_items), dtype=bool)
        np.put_along_axis(mask, self.columns[rows], True, axis=1)
        wanted, starts = columns_of(split, requests.targets[rows])
        mask[np.repeat(np.arange(len(mask)), np.diff(starts)), wanted] = True
        return mask


class _Bench:
    """One split, and what all models on it share."""

    def __init__(self, split: Split, part: str, batch: int) -> None:
        self.split, self.part, self.batch = split, part, batch
        self.requests = split.requests(part)
        self.counts = beyond.users_of_items(split.train)
        # Those who have an event in training: a split by time leaves others in the table of users.
        self.n_users = split.train.interactions["user_id"].nunique()
        self.vectors = beyond.category_vectors(split.train)
        self.fitted: dict[Key, tuple[Recommender, float]] = {}

    def fit(self, job: _Job) -> tuple[Recommender, float]:
        """Return a fitted model and the seconds that it took."""
        if job.key in self.fitted:
            return self.fitted.pop(job.key)
        model = job.entry.create(job.seed)
        started = time.perf_counter()
        with _naming(job, "fit"):
            model.fit(self.split.train)
        return model, time.perf_counter() - started

    def negatives(self, n: int, job: _Job) -> np.ndarray:
        """Return hard negatives by a job's model, which is kept for its own turn; shape (n_requests, n)."""
        model, seconds = self.fit(job)
        with _naming(job, "score"):
            mask = hard_negatives(n, model).mask(self.split, self.requests)
        self.fitted[job.key] = (model, seconds)
        wanted, starts = columns_of(self.split, self.requests.targets)
        mask[np.repeat(np.arange(len(mask)), np.diff(starts)), wanted] = False
        return np.nonzero(mask)[1].reshape(len(mask), n)

    def measure(self, job: _Job, candidates: Sequence[Candidates]) -> Run:
        model, fit = self.fit(job)
        with _naming(job, "score"):
            found = evaluate_many(
                model,
                self.split,
                part=self.part,
                candidates=candidates,
                ks=(LIST_LENGTH,),
                metrics=("HR",),
                list_length=LIST_LENGTH,
                batch=self.batch,
                label=job.entry.label,
            )
        measured = [one.seconds for one in found.values()]
        return Run(
            label=job.entry.label,
            model=model.name,
            settings=job.settings,
            seed=job.seed,
            protocol=job.protocol,
            part=self.part,
            seconds={
                "fit": fit,
                "score": measured[0]["score"],
                "measure": sum(seconds["measure"] for seconds in measured),
            },
            parameters=_parameters(model),
            version=__version__,
            ranks={name: one.ranks for name, one in found.items() if one.ranks is not None},
            **self._shown(found.get(WHOLE), job.first),
        )

    def _shown(self, whole: Evaluation | None, keep: bool) -> dict[str, Any]:
        if whole is None or whole.lists is None:
            return {}
        lists, n_items = whole.lists, self.split.train.n_items
        shares = {"coverage": beyond.coverage(lists, n_items)}
        if (lists >= 0).any():
            shares["gini"] = beyond.gini(lists, n_items)
        each = {
            "novelty": beyond.novelty(lists, self.counts, self.n_users),
            "diversity": beyond.diversity(lists, self.vectors),
        }
        return {"shares": shares, "each": each, "lists": lists if keep else None}


def _run_protocol(
    file: _File,
    plan: list[_Job],
    todo: list[_Job],
    bench: _Bench,
    candidates: Sequence[str],
    bar: Any,
) -> None:
    against = []
    for name in candidates:
        chance, hard = _RANDOM.fullmatch(name), _HARD.fullmatch(name)
        if chance is not None:
            against.append(random_negatives(int(chance[1])))
        elif hard is not None:
            place = (todo[0].protocol, bench.part, name)
            if place not in file.results.negatives:
                by = _choosing(plan, todo[0].protocol, hard[2])
                bar.set_description(f"hard negatives by {by}")
                file.results.negatives[place] = bench.negatives(int(hard[1]), by)
                file.results.choosers[place] = _chooser(plan, todo[0].protocol, hard[2])
                file.save()
            against.append(_Given(name, int(hard[1]), columns=file.results.negatives[place]))
        else:
            against.append(full_catalogue())
    for job in todo:
        bar.set_description(str(job))
        file.add(bench.measure(job, against), plan)
        bar.update()
        gc.collect()


class _naming:  # noqa: N801 - read as a verb where it stands
    """Turn whatever a model raises into a refusal that names it; an interruption passes."""

    def __init__(self, job: _Job, deed: str) -> None:
        self.job, self.deed = job, deed

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, InputError):
            raise _Refused(f"{self.job}: {error}") from error
        if isinstance(error, Exception):
            raise _Refused(f"{self.job} failed to {self.deed}: {type(error).__name__}: {error}") from error


def _parameters(model: Recommender) -> int | None:
    """Return how many numbers a model has learnt: the floating-point values that it would save."""
    try:
        arrays = model._arrays().values()
    except NotImplementedError:
        return None
    return int(sum(array.size for array in arrays if np.issubdtype(array.dtype, np.floating)))


def _bar(total: int, done: int, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(
        total=total, initial=done, unit=" models", file=sys.stderr, disable=not progress, dynamic_ncols=True
    )
