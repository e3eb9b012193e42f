"""Grid search on the validation part, with a record of every trial.

A comparison is worth little if one side was tuned and the other was not (Ferrari Dacrema, Cremonesi and Jannach, "Are
we really making much progress?", RecSys 2019, arXiv:1907.06902); the record shows how much each model was tuned. A
search fits each combination of a grid on the training part and evaluates it on the validation part; the test part is
never read. Derived in chapter `baselines`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from instructrec.errors import InputError
from instructrec.evaluation.metrics import RankingMetric, parse_metric
from instructrec.evaluation.protocol import evaluate
from instructrec.evaluation.results import data_digest, parse_document, this_machine
from instructrec.files import atomic_write
from instructrec.models import create, model_class, setting_names
from instructrec.models.base import Recommender
from instructrec.split import Split
from instructrec.statistics import Interval, bootstrap_interval
from instructrec.validation import NonNegativeInt, PositiveInt, check_value

FORMAT = 1
"""Version of the format of search records."""


@dataclass(frozen=True)
class Search:
    """A model and the grid of its settings.

    Attributes:
        name: A name from `models.NAMES`, or a class of your own that is a `Recommender`.
        grid: The values of each setting; every combination is a trial. A list of one value fixes a setting.
    """

    name: str | type[Recommender]
    grid: Mapping[str, list[Any]]

    def __post_init__(self) -> None:
        """Check the grid, and that the model accepts every combination.

        Raises:
            InputError: An empty grid, a setting without values or with a repeated value, a seed, or a combination that
                the model refuses.
        """
        label = self.name if isinstance(self.name, str) else self.name.name
        if not isinstance(self.grid, Mapping) or not self.grid:
            raise InputError(f"grid of {label} is {self.grid!r}; lists of values by setting are accepted")
        for setting, values in self.grid.items():
            if setting == "seed":
                raise InputError(
                    f"grid of {label} holds seeds; a lucky seed is no setting, give seed= to search"
                )
            if not isinstance(values, list | tuple) or not values:
                raise InputError(
                    f"grid of {label}: {setting} is {values!r}; a list of at least one value is accepted"
                )
            as_json = [_to_json(value) for value in values]
            duplicate = next((value for value in as_json if as_json.count(value) > 1), None)
            if duplicate is not None:
                raise InputError(f"grid of {label}: {setting} holds {duplicate} twice; give each value once")
        for settings in self.combinations():
            self.create(settings, None)

    def combinations(self) -> list[dict[str, Any]]:
        """Return the settings of each trial; the last setting of the grid changes fastest."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]

    def create(self, settings: Mapping[str, Any], seed: int | None) -> Recommender:
        """Return an unfitted model of these settings, with the seed if the model has one.

        Raises:
            InputError: An unknown model or a setting that it refuses.
        """
        kind = model_class(self.name) if isinstance(self.name, str) else self.name
        options = dict(settings)
        if seed is not None and "seed" in setting_names(kind):
            options["seed"] = seed
        try:
            return create(self.name, **options) if isinstance(self.name, str) else kind(**options)
        except TypeError as error:
            raise InputError(f"{kind.name}: {error}") from error


@dataclass(frozen=True)
class Trial:
    """One combination of settings, fitted once.

    Attributes:
        settings: The settings of the grid; all others have their defaults.
        value: Mean of the metric over the validation requests, after the last epoch.
        low: Lower end of its 95% bootstrap interval over users.
        high: Upper end.
        seconds: Wall time of the fit, without the evaluations between epochs.
        curve: (epoch, value) for a model that reports its epochs, the last epoch included; empty otherwise.
    """

    settings: dict[str, Any]
    value: float
    low: float
    high: float
    seconds: float
    curve: list[tuple[int, float]] = field(default_factory=list, repr=False)

    @property
    def interval(self) -> Interval:
        """The value with its interval, as an `Interval`."""
        return Interval(self.value, self.low, self.high)


@dataclass(frozen=True)
class Tuning:
    """The search of one model.

    Attributes:
        model: Name of the model.
        data: Name of the data set.
        data_sha256: Digest of what a trial depends on: the training part and the validation part.
        protocol: Name of the split.
        metric: The metric of the trials, such as "NDCG@10".
        seed: Seed of models that have one, and of the intervals.
        grid: The values of each setting.
        trials: One for each combination, in the order of `Search.combinations`; fewer until the search is finished.
        earlier: Trials of earlier grids, which this grid replaced; none of them can be the winner.
        machine: `cores` and `python` of where it ran.
    """

    model: str
    data: str
    data_sha256: str
    protocol: str
    metric: str
    seed: int
    grid: dict[str, list[Any]]
    trials: list[Trial] = field(default_factory=list)
    earlier: list[Trial] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def n_combinations(self) -> int:
        """Number of trials of the full grid."""
        return math.prod(map(len, self.grid.values()))

    @property
    def winner(self) -> Trial:
        """The trial of the highest value; of equal values the first.

        Raises:
            InputError: The search is not finished.
        """
        if len(self.trials) < self.n_combinations:
            raise InputError(
                f"the search of {self.model} has made {len(self.trials)} of {self.n_combinations} trials; "
                "a winner is known when all are made"
            )
        return max(self.trials, key=lambda trial: trial.value)

    def edges(self) -> dict[str, Any]:
        """Return the winner's settings at an edge of the grid, beyond which a better value may lie.

        Both of two values are at the edge. A setting of one value was not searched. None means no limit, the highest
        value of all, so nothing lies beyond it.
        """
        at_edge = {}
        for setting, values in self.grid.items():
            chosen = self.winner.settings[setting]
            numbers = [math.inf if value is None else value for value in values]
            if len(values) < 2 or chosen is None or not all(map(_is_number, numbers)):
                continue
            if chosen in (min(numbers), max(numbers)):
                at_edge[setting] = chosen
        return at_edge

    def table(self) -> pd.DataFrame:
        """Return one row per trial, best first: the settings, the metric with its interval, seconds of the fit.

        The index is the number of the trial, from 1.
        """
        rows = [
            {
                **{setting: "all" if value is None else value for setting, value in trial.settings.items()},
                self.metric: str(trial.interval),
                "fit (s)": round(trial.seconds, 1),
            }
            for trial in self.trials
        ]
        table = pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="trial"))
        best = sorted(range(len(rows)), key=lambda number: -self.trials[number].value)
        return table.iloc[best]


def search(
    name: str | type[Recommender] | Search,
    grid: Mapping[str, list[Any]] | None,
    split: Split,
    metric: str = "NDCG@10",
    part: str = "valid",
    seed: int = 0,
    curve_every: int = 5,
    path: str | os.PathLike[str] | None = None,
    on_progress: Callable[[int, int, Trial], None] | None = None,
    progress: bool = False,
) -> Tuning:
    """Fit every combination of a grid on the training part and evaluate it on the validation part.

    A model whose `fit` takes `on_epoch` is also evaluated between epochs, for the curve. The value of a trial is still
    that of its last epoch: learning-rate schedules run to their end, and no epoch is selected afterwards.

    Args:
        name: A name from `models.NAMES`, a class of your own, or a `Search`.
        grid: The values of each setting; None with a `Search`, which has its own.
        split: The data in three parts; the test part is never read.
        metric: A name of `evaluation.METRICS` at a list length, such as "NDCG@10".
        part: "valid"; nothing else is accepted.
        seed: Seed of models that have one.
        curve_every: Number of epochs between two points of the curve, at least 1.
        path: A record, created or continued: it is written after each trial, and a trial that it holds for the same
            settings and data is not run again. One file holds the searches of several models.
        on_progress: Called after each trial with its number from 1, the number of trials, and the trial.
        progress: Whether to show a bar on standard error.

    Returns:
        The finished search.

    Raises:
        InputError: An invalid grid, metric or part; a part of one request; a record of other data, protocol, metric or
            seed; or a model that fails, named with its settings. Finished trials stay in the record.
    """
    space = name if isinstance(name, Search) else Search(name, grid if grid is not None else {})
    if isinstance(name, Search) and grid is not None:
        raise InputError("a Search is given with a grid beside it; give one of them")
    evaluated_metric, k = parse_metric(metric)
    if part != "valid":
        raise InputError(
            f"part is {part!r}; settings are chosen on 'valid', the test part is for the last figure"
        )
    check_value("seed", seed, NonNegativeInt)
    check_value("curve_every", curve_every, PositiveInt)
    if len(split.requests(part)) == 1:
        raise InputError(
            f"part {part!r} of the {split.protocol} split holds 1 request; a search needs at least 2, since one user "
            "leaves no interval"
        )
    combinations = space.combinations()
    label = model_class(space.name).name if isinstance(space.name, str) else space.name.name
    empty = Tuning(
        label, split.train.name, split_digest(split), split.protocol, metric, seed,
        {setting: list(values) for setting, values in space.grid.items()}, machine=this_machine(),
    )  # fmt: skip
    trials = _recorded_trials(empty, path)
    keys = [_to_json(settings) for settings in combinations]
    earlier = [trial for key, trial in trials.items() if key not in keys]

    def tuning() -> Tuning:
        return replace(empty, trials=[trials[key] for key in keys if key in trials], earlier=earlier)

    from tqdm import tqdm

    with tqdm(total=len(combinations), unit=" trials", file=sys.stderr, disable=not progress) as bar:
        for number, (key, settings) in enumerate(zip(keys, combinations, strict=True), start=1):
            bar.set_description(f"{label}: {_in_words(settings)}")
            if key not in trials:
                try:
                    trials[key] = _run_trial(space, settings, split, evaluated_metric, k, seed, curve_every)
                except Exception as error:
                    reason = (
                        str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
                    )
                    raise InputError(
                        f"{label}, trial {number} of {len(combinations)} ({_in_words(settings)}): {reason}"
                    ) from error
                if path is not None:
                    _write_tuning(tuning(), path)
            bar.update()
            if on_progress is not None:
                on_progress(number, len(combinations), trials[key])
    if path is not None:
        _write_tuning(tuning(), path)
    return tuning()


def split_digest(split: Split) -> str:
    """Return the SHA-256 of the parts that a search reads, training and validation, in hexadecimal."""
    parts = [split.train, split.train.with_interactions(split.valid)]
    return hashlib.sha256("".join(map(data_digest, parts)).encode()).hexdigest()


# -- the record --------------------------------------------------------------------------------------------------------


def read_tunings(path: str | os.PathLike[str]) -> dict[str, Tuning]:
    """Return the searches of a record by model.

    Args:
        path: A file that `search` or `write_tunings` wrote.

    Raises:
        InputError: No file, no record, or a record of another format.
    """
    where = repr(str(path))
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {where}: {error.strerror}; give a record written by `evaluation.tuning.search`"
        ) from error
    document = parse_document(text, where, "record of searches", FORMAT, "searches")
    try:
        tunings = [_tuning_from(entry) for entry in document["searches"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where} is a damaged record of searches ({type(error).__name__}: {error})"
        ) from error
    return {tuning.model: tuning for tuning in tunings}


def write_tunings(tunings: Mapping[str, Tuning], path: str | os.PathLike[str]) -> Path:
    """Write searches to a record, one trial per line; the file appears complete or not at all.

    Args:
        tunings: Searches by model.
        path: The file.

    Raises:
        InputError: The file cannot be written, or a setting is no JSON value.
    """
    names = ("model", "data", "data_sha256", "protocol", "metric", "seed", "machine", "grid")
    searches = []
    for tuning in tunings.values():
        lines = [f"   {json.dumps(name)}: {_to_json(getattr(tuning, name), sort=False)}" for name in names]
        for name, trials in (("trials", tuning.trials), ("earlier", tuning.earlier)):
            rows = ",\n".join(f"    {_to_json(vars(trial), sort=False)}" for trial in trials)
            lines.append(f'   "{name}": ' + (f"[\n{rows}\n   ]" if rows else "[]"))
        searches.append("  {\n" + ",\n".join(lines) + "\n  }")
    text = f'{{\n "format": {FORMAT},\n "searches": [\n' + ",\n".join(searches) + "\n ]\n}\n"
    with atomic_write(path) as handle:
        handle.write(text)
    return Path(path)


def _tuning_from(document: dict[str, Any]) -> Tuning:
    fields = dict(document)
    for name in ("trials", "earlier"):
        fields[name] = [_trial_from(entry) for entry in fields[name]]
    tuning = Tuning(**fields)
    if not isinstance(tuning.grid, dict) or not all(
        isinstance(values, list) for values in tuning.grid.values()
    ):
        raise ValueError(f"grid is {tuning.grid!r}")
    return tuning


def _trial_from(document: dict[str, Any]) -> Trial:
    curve = [(int(epoch), float(value)) for epoch, value in document["curve"]]
    trial = Trial(**{**document, "curve": curve})
    if not all(map(_is_number, (trial.value, trial.low, trial.high, trial.seconds))):
        raise ValueError("a trial without numbers")
    return trial


def _recorded_trials(empty: Tuning, path: str | os.PathLike[str] | None) -> dict[str, Trial]:
    """Return the record's trials of a model by their settings.

    Raises:
        InputError: They were run on other data, by another protocol, metric or seed.
    """
    if path is None or not Path(path).exists():
        return {}
    recorded = read_tunings(path).get(empty.model)
    if recorded is None:
        return {}
    for attribute in ("data", "data_sha256", "protocol", "metric", "seed"):
        old, new = getattr(recorded, attribute), getattr(empty, attribute)
        if old != new:
            raise InputError(
                f"{str(path)!r} holds a search of {empty.model} with {attribute} {old!r}, and {new!r} is asked for; "
                "give another file"
            )
    return {_to_json(trial.settings): trial for trial in [*recorded.earlier, *recorded.trials]}


def _write_tuning(tuning: Tuning, path: str | os.PathLike[str]) -> None:
    """Write a search to the record; the searches of other models stay."""
    recorded = read_tunings(path) if Path(path).exists() else {}
    write_tunings({**recorded, tuning.model: tuning}, path)


# -- a trial -----------------------------------------------------------------------------------------------------------


def _run_trial(
    space: Search,
    settings: dict[str, Any],
    split: Split,
    metric: RankingMetric,
    k: int,
    seed: int,
    curve_every: int,
) -> Trial:
    """Fit a model with some settings, and evaluate it on the validation part."""
    model = space.create(settings, seed)
    curve: list[tuple[int, float]] = []
    last_epoch = 0
    evaluation_seconds = 0.0

    def values(fitted: Recommender) -> pd.Series:
        evaluation = evaluate(fitted, split, part="valid", ks=(k,), metrics=(metric.name,))
        return evaluation.per_user[f"{metric.name}@{k}"]

    def on_epoch(number: int, fitted: Recommender) -> None:
        nonlocal last_epoch, evaluation_seconds
        last_epoch = number
        if number % curve_every == 0:
            began = perf_counter()
            curve.append((number, float(values(fitted).mean())))
            evaluation_seconds += perf_counter() - began

    began = perf_counter()
    if "on_epoch" in inspect.signature(model.fit).parameters:
        model.fit(split.train, on_epoch=on_epoch)  # type: ignore[call-arg]
    else:
        model.fit(split.train)
    seconds = perf_counter() - began - evaluation_seconds
    interval = bootstrap_interval(values(model), seed=seed)
    if last_epoch:
        curve = [*(point for point in curve if point[0] < last_epoch), (last_epoch, interval.mean)]
    return Trial(settings, interval.mean, interval.low, interval.high, round(seconds, 3), curve)


def _to_json(value: object, sort: bool = True) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=sort)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{value!r} cannot be written as JSON; numbers, texts and None are accepted"
        ) from error


def _in_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{setting}={value}" for setting, value in settings.items())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
