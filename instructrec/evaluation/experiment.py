"""Experiments: many models, protocols and seeds in one call, written to a results file after each model.

Derived in chapter `evaluation`. An interrupted experiment loses one model: a second call with the same file continues
where the first stopped. A file of other data, other settings or other candidates is refused, so results of two
experiments never mix. Each run records the version of the package that made it; a file of another version is continued,
with a warning.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from instructrec import __version__
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.evaluation.beyond_accuracy import TrainingStatistics, list_metrics
from instructrec.evaluation.candidates import (
    WHOLE_CATALOGUE,
    Candidates,
    columns_of,
    full_catalogue,
    hard_negatives,
    random_negatives,
)
from instructrec.evaluation.protocol import Evaluation, evaluate_many
from instructrec.evaluation.results import Key, Results, Run
from instructrec.files import digest
from instructrec.models import create, model_class, setting_names
from instructrec.models.base import Recommender
from instructrec.split import SPLITS, Requests, Split
from instructrec.validation import Seed, check_value

LIST_LENGTH = 10
"""Length of the lists that the metrics beyond accuracy describe."""
_RANDOM_NEGATIVES = re.compile(r"(\d{1,9}) random negatives")
_HARD_NEGATIVES = re.compile(r"(\d{1,9}) hard negatives by (.+)")
_ACCEPTED_CANDIDATES = (WHOLE_CATALOGUE, "9 random negatives", "9 hard negatives by LABEL")


@dataclass(frozen=True)
class ModelSpec:
    """A model of an experiment: which class, with which settings, under which label.

    Attributes:
        label: Name in tables, such as "EASE".
        name: A name from `models.NAMES`, or a class of your own that is a `Recommender`.
        settings: Settings of that model, without a seed.
    """

    label: str
    name: str | type[Recommender]
    settings: dict[str, Any] = field(default_factory=dict)

    def create(self, seed: int | None = None) -> Recommender:
        """Return the recommender, not yet fitted.

        Args:
            seed: Seed of the model; None for a model without a seed.

        Raises:
            InputError: An unknown model or setting; the message names the label.
        """
        settings = dict(self.settings) if seed is None else {**self.settings, "seed": seed}
        try:
            return create(self.name, **settings) if isinstance(self.name, str) else self.name(**settings)
        except (InputError, TypeError) as error:
            raise InputError(f"{self.label}: {error}") from error

    @property
    def has_seed(self) -> bool:
        """Whether the model has a seed."""
        model = model_class(self.name) if isinstance(self.name, str) else self.name
        return "seed" in setting_names(model)


def run_experiment(
    models: Sequence[ModelSpec],
    dataset: Dataset,
    path: str | os.PathLike[str] | None = None,
    protocols: Sequence[str] = ("leave-last-out",),
    candidates: Sequence[str] = (WHOLE_CATALOGUE,),
    seeds: Sequence[int] = (0,),
    part: str = "test",
    batch: int = 256,
    progress: bool = True,
) -> Results:
    """Fit every model on the training part of every split and rank the targets of the held-out part.

    The file is written after each model. A model with a `seed` setting runs once for each seed, any other once. Lists
    of ten items are stored for the first seed, their metrics (`beyond_accuracy.LIST_METRICS`) for all seeds.

    Args:
        models: The models.
        dataset: The data.
        path: The results file, created or continued; None returns the results without a file.
        protocols: Names from `split.SPLITS`.
        candidates: Rules for the candidates of each target: "whole catalogue", "9 random negatives" with any number, or
            "9 hard negatives by LABEL", the label of one of the models. Negatives are the same for all models.
        seeds: Seeds of the models that have one.
        part: "valid" or "test".
        batch: Number of requests scored at a time.
        progress: Whether to show a bar with the model's name on standard error.

    Returns:
        The results: the earlier runs of the file, then the new ones.

    Raises:
        InputError: Unknown names, two models of one label, a file of another experiment, or a model that fails or
            returns scores that cannot be ranked; the message names it, and finished runs stay in the file.

    Warns:
        UserWarning: The file holds runs made by another version of the package.
    """
    _check_arguments(models, protocols, candidates, seeds, part)
    file = _ResultsFile(None if path is None else Path(path), Results.of(dataset))
    jobs = _list_jobs(models, protocols, seeds, part)
    _check_same_experiment(file, jobs, candidates, part)
    _warn_of_other_versions(file)
    todo = [job for job in jobs if job.key not in file.done]
    from tqdm import tqdm

    n_done = len(jobs) - len(todo)
    with tqdm(total=len(jobs), initial=n_done, unit=" models", file=sys.stderr, disable=not progress) as bar:
        for protocol in protocols:
            open_jobs = [job for job in todo if job.protocol == protocol]
            if not open_jobs:
                continue
            runner = _SplitRunner(SPLITS[protocol](dataset), part, batch)
            try:
                _run_protocol(file, jobs, open_jobs, runner, candidates, bar)
            except _ModelError as error:
                n_stored = len(file.done & {job.key for job in jobs})
                note = "" if path is None else f"; {n_stored} of {len(jobs)} runs are kept in {str(path)!r}"
                raise InputError(f"{error}{note}") from error.__cause__
    return file.results


# -- the jobs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """One model to fit and evaluate with one seed on one split."""

    model: ModelSpec
    protocol: str
    part: str
    seed: int | None
    is_first_seed: bool
    settings: dict[str, Any]

    @property
    def key(self) -> Key:
        return (self.model.label, self.protocol, self.part, self.seed)

    @property
    def chooser(self) -> dict[str, Any]:
        """Name, settings and seed of the model as a chooser of hard negatives, in the form of the results file."""
        return {"model": self.model.create(self.seed).name, "settings": self.settings, "seed": self.seed}

    def __str__(self) -> str:
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.model.label} ({self.protocol}{seed})"


def _list_jobs(
    models: Sequence[ModelSpec], protocols: Sequence[str], seeds: Sequence[int], part: str
) -> list[_Job]:
    """Return every run in the order of the file; each model is created, so a wrong setting fails before any work."""
    jobs = []
    for protocol in protocols:
        for model in models:
            own_seeds: Sequence[int | None] = list(seeds) if model.has_seed else [None]
            for seed in own_seeds:
                settings = {
                    name: value for name, value in model.create(seed).settings.items() if name != "seed"
                }
                try:
                    settings = json.loads(json.dumps(settings, allow_nan=False))
                except (TypeError, ValueError) as error:
                    raise InputError(
                        f"{model.label}: settings cannot be written as JSON ({error})"
                    ) from error
                jobs.append(_Job(model, protocol, part, seed, seed == own_seeds[0], settings))
    return jobs


def _check_arguments(
    models: Sequence[ModelSpec],
    protocols: Sequence[str],
    candidates: Sequence[str],
    seeds: Sequence[int],
    part: str,
) -> None:
    arguments = {"models": models, "protocols": protocols, "candidates": candidates, "seeds": seeds}
    for argument, values in arguments.items():
        if isinstance(values, str) or len(values) == 0:
            raise InputError(f"{argument} is {values!r}; a list of at least one is accepted")
    labels = [model.label for model in models]
    for argument, names in {**arguments, "models": labels}.items():
        duplicate = next((name for name in names if list(names).count(name) > 1), None)
        if duplicate is not None:
            raise InputError(
                f"{argument} holds {duplicate!r} twice; give each once, two settings of a model as two labels"
            )
    for protocol in protocols:
        if protocol not in SPLITS:
            raise one_of("protocol", protocol, SPLITS)
    for name in candidates:
        hard = _HARD_NEGATIVES.fullmatch(name)
        if hard is not None and hard[2] not in labels:
            raise one_of(f"label in the candidates {name!r}", hard[2], labels)
        if hard is None and name != WHOLE_CATALOGUE and _RANDOM_NEGATIVES.fullmatch(name) is None:
            raise one_of("candidates", name, _ACCEPTED_CANDIDATES)
    for seed in seeds:
        check_value("seeds", seed, Seed)
    if part not in ("valid", "test"):
        raise one_of("part of a split", part, ["valid", "test"])
    for model in models:
        if "seed" in model.settings:
            raise InputError(
                f"{model.label}: a seed stands among its settings; give seeds=({model.settings['seed']},)"
            )
        model.create()


def _check_same_experiment(
    file: _ResultsFile, jobs: list[_Job], candidates: Sequence[str], part: str
) -> None:
    """Check that the runs of a file and those to come belong to one experiment.

    Raises:
        InputError: The file has other candidates, other settings of a label, or hard negatives by another model.
    """
    protocols = {job.protocol for job in jobs}
    job_of = {(job.model.label, job.protocol): job for job in jobs}
    for run in file.results.runs:
        if run.part != part or run.protocol not in protocols:
            continue
        if set(run.ranks) != set(candidates):
            raise InputError(
                f"{file.where} holds {run.label} on {run.protocol} ranked against {', '.join(run.ranks)}, and "
                f"{', '.join(candidates)} is asked for; ask for the same, or give another file"
            )
        job = job_of.get((run.label, run.protocol))
        if job is None:
            continue
        model = job.model.create(run.seed).name
        if (run.model, run.settings) != (model, job.settings):
            raise InputError(
                f"{file.where} holds {run.label} as {run.model} with {json.dumps(run.settings)}, and {model} with "
                f"{json.dumps(job.settings)} is asked for; give it another label, or another file"
            )
    for protocol in protocols:
        for name in candidates:
            stored = file.results.choosers.get((protocol, part, name))
            hard = _HARD_NEGATIVES.fullmatch(name)
            if stored is None or hard is None:
                continue
            chooser = _choosing_job(jobs, protocol, hard[2]).chooser
            if stored != chooser:
                raise InputError(
                    f"{file.where} holds {name} on {protocol} that {_in_words(stored)} chose, and {_in_words(chooser)} "
                    "is asked for; ask for the same, give it another label, or another file"
                )


def _choosing_job(jobs: list[_Job], protocol: str, label: str) -> _Job:
    """Return the job whose model chooses the hard negatives by a label: that of the first seed."""
    return next(
        job for job in jobs if (job.model.label, job.protocol) == (label, protocol) and job.is_first_seed
    )


def _in_words(chooser: dict[str, Any]) -> str:
    seed = "" if chooser["seed"] is None else f" and seed {chooser['seed']}"
    return f"{chooser['model']} with {json.dumps(chooser['settings'])}{seed}"


def _warn_of_other_versions(file: _ResultsFile) -> None:
    versions = {run.version for run in file.results.runs if run.version not in (None, __version__)}
    if versions:
        warnings.warn(
            f"{file.where} holds runs made by instructrec {', '.join(sorted(map(str, versions)))}, and this is "
            f"{__version__}; they stay as they are, so give another file if the versions differ in what they measure",
            stacklevel=3,
        )


# -- the file ------------------------------------------------------------------------------------------------------


class _ResultsFile:
    """The results and the file that holds them, if any."""

    def __init__(self, path: Path | None, empty: Results) -> None:
        self.path, self.results = path, empty
        self.where = "the results" if path is None else repr(str(path))
        self.sha256: str | None = None
        self.machine = empty.machine
        if path is None or not path.exists():
            return
        loaded = Results.load(path)
        if (loaded.data, loaded.data_sha256) != (empty.data, empty.data_sha256):
            raise InputError(
                f"{self.where} holds results on {loaded.data} (sha256 {loaded.data_sha256[:8]}…), and {empty.data} "
                f"({empty.data_sha256[:8]}…) is asked for; give another file"
            )
        self.results, self.sha256 = loaded, digest(path)

    @property
    def done(self) -> set[Key]:
        return {run.key for run in self.results.runs}

    def add(self, run: Run, jobs: list[_Job]) -> None:
        """Insert a run after those of earlier calls and in the order of the jobs, and write the file."""
        if self.machine != self.results.machine:
            run = replace(run, machine=self.machine)
        order = {job.key: number for number, job in enumerate(jobs)}
        self.results.runs = sorted([*self.results.runs, run], key=lambda run: order.get(run.key, -1))
        self.save()

    def save(self) -> None:
        if self.path is None:
            return
        on_disk = digest(self.path) if self.path.exists() else None
        if on_disk != self.sha256:
            raise InputError(
                f"{self.where} was changed by another run meanwhile; give each run that works at the same time its "
                "own file"
            )
        self.results.save(self.path)
        self.sha256 = digest(self.path)


# -- the work ------------------------------------------------------------------------------------------------------


class _ModelError(Exception):
    """A model failed or returned scores that cannot be ranked; the message names it."""


@dataclass(frozen=True, eq=False)
class _FixedNegatives(Candidates):
    """Negatives from a results file: catalogue columns, shape (n_requests, n)."""

    columns: np.ndarray | None = None

    def _mask(self, split: Split, requests: Requests, rows: slice, rng: np.random.Generator) -> np.ndarray:
        assert self.columns is not None
        mask = np.zeros((len(requests.histories[rows]), split.train.n_items), dtype=bool)
        np.put_along_axis(mask, self.columns[rows], True, axis=1)
        targets, starts = columns_of(split, requests.targets[rows])
        mask[np.repeat(np.arange(len(mask)), np.diff(starts)), targets] = True
        return mask


class _SplitRunner:
    """Fits and evaluates the models on one split."""

    def __init__(self, split: Split, part: str, batch: int) -> None:
        self.split, self.part, self.batch = split, part, batch
        self.requests = split.requests(part)
        self.training_statistics = TrainingStatistics.of(split.train)
        self.fitted: dict[Key, tuple[Recommender, float]] = {}

    def fit(self, job: _Job) -> tuple[Recommender, float]:
        """Return a fitted model and the seconds that the fit took."""
        if job.key in self.fitted:
            return self.fitted.pop(job.key)
        model = job.model.create(job.seed)
        started = time.perf_counter()
        with _errors_named(job, "fit"):
            model.fit(self.split.train)
        return model, time.perf_counter() - started

    def negatives(self, n: int, job: _Job) -> np.ndarray:
        """Return hard negatives by a job's model, which stays fitted for the job itself; shape (n_requests, n)."""
        model, seconds = self.fit(job)
        with _errors_named(job, "score"):
            mask = hard_negatives(n, model).mask(self.split, self.requests)
        self.fitted[job.key] = (model, seconds)
        targets, starts = columns_of(self.split, self.requests.targets)
        mask[np.repeat(np.arange(len(mask)), np.diff(starts)), targets] = False
        return np.nonzero(mask)[1].reshape(len(mask), n)

    def run(self, job: _Job, candidates: Sequence[Candidates]) -> Run:
        model, fit_seconds = self.fit(job)
        with _errors_named(job, "score"):
            evaluations = evaluate_many(
                model,
                self.split,
                part=self.part,
                candidates=candidates,
                ks=(LIST_LENGTH,),
                list_length=LIST_LENGTH,
                batch=self.batch,
                label=job.model.label,
            )
        seconds = [evaluation.seconds for evaluation in evaluations.values()]
        return Run(
            label=job.model.label,
            model=model.name,
            settings=job.settings,
            seed=job.seed,
            protocol=job.protocol,
            part=self.part,
            seconds={
                "fit": fit_seconds,
                "score": seconds[0]["score"],
                "measure": sum(of_rule["measure"] for of_rule in seconds),
            },
            parameters=_n_parameters(model),
            version=__version__,
            ranks={name: entry.ranks for name, entry in evaluations.items() if entry.ranks is not None},
            **self._lists(evaluations.get(WHOLE_CATALOGUE), job.is_first_seed),
        )

    def _lists(self, evaluation: Evaluation | None, store: bool) -> dict[str, Any]:
        if evaluation is None or evaluation.lists is None:
            return {}
        lists = evaluation.lists
        return {
            "list_metrics": list_metrics(lists, self.training_statistics),
            "lists": lists if store else None,
        }


def _run_protocol(
    file: _ResultsFile,
    jobs: list[_Job],
    todo: list[_Job],
    runner: _SplitRunner,
    candidates: Sequence[str],
    bar: Any,
) -> None:
    protocol = todo[0].protocol
    rules = [_candidate_rule(file, jobs, protocol, runner, name, bar) for name in candidates]
    for job in todo:
        bar.set_description(str(job))
        file.add(runner.run(job, rules), jobs)
        bar.update()
        gc.collect()


def _candidate_rule(
    file: _ResultsFile, jobs: list[_Job], protocol: str, runner: _SplitRunner, name: str, bar: Any
) -> Candidates:
    """Return the candidates of a name; hard negatives come from the file, which stores them when first chosen."""
    random, hard = _RANDOM_NEGATIVES.fullmatch(name), _HARD_NEGATIVES.fullmatch(name)
    if random is not None:
        return random_negatives(int(random[1]))
    if hard is None:
        return full_catalogue()
    key = (protocol, runner.part, name)
    if key not in file.results.negatives:
        job = _choosing_job(jobs, protocol, hard[2])
        bar.set_description(f"hard negatives by {job}")
        file.results.negatives[key] = runner.negatives(int(hard[1]), job)
        file.results.choosers[key] = job.chooser
        file.save()
    return _FixedNegatives(name, int(hard[1]), columns=file.results.negatives[key])


@contextmanager
def _errors_named(job: _Job, action: str) -> Iterator[None]:
    """Turn any exception of a model into a `_ModelError` that names it; an interruption passes."""
    try:
        yield
    except InputError as error:
        raise _ModelError(f"{job}: {error}") from error
    except Exception as error:
        raise _ModelError(f"{job} failed to {action}: {type(error).__name__}: {error}") from error


def _n_parameters(model: Recommender) -> int | None:
    """Return how many numbers a model has learnt: the floating-point values that it would save."""
    try:
        arrays = model._arrays().values()
    except NotImplementedError:
        return None
    return int(sum(array.size for array in arrays if np.issubdtype(array.dtype, np.floating)))
