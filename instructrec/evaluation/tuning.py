"""Settings chosen on validation by a grid that is written down, with every trial, so that anyone can see how hard.

A comparison is worth little if one side was tuned and the other was not (Ferrari Dacrema, Cremonesi and Jannach, "Are
we really making much progress?", RecSys 2019, arXiv:1907.06902). A search fits each combination of a grid on the
training part and measures it on the validation part; the test part is never read. Derived in chapter `baselines`.
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

from instructrec.errors import InputError, one_of
from instructrec.evaluation.metrics import RankingMetric, parse_metric
from instructrec.evaluation.protocol import evaluate
from instructrec.evaluation.results import data_digest, this_machine
from instructrec.files import atomic_write
from instructrec.models import create, model_class, setting_names
from instructrec.models.base import Recommender
from instructrec.split import Split
from instructrec.statistics.intervals import Interval, bootstrap_interval

FORMAT = 1


@dataclass(frozen=True)
class Search:
    """What is tried for one model.

    Attributes:
        name: A name from `models.NAMES`, or a class of your own that is a `Recommender`.
        grid: The values of each setting; every combination is a trial. A list of one value fixes a setting.
    """

    name: str | type[Recommender]
    grid: Mapping[str, list[Any]]

    def __post_init__(self) -> None:
        """Refuse a grid that is none, or settings that the model does not take.

        Raises:
            InputError: Nothing to try, a setting without values or with one twice, a seed, or what the model refuses.
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
            written = [_written(value) for value in values]
            twice = next((one for one in written if written.count(one) > 1), None)
            if twice is not None:
                raise InputError(f"grid of {label}: {setting} holds {twice} twice; give each value once")
        for settings in self.combinations():
            self.create(settings, None)

    def combinations(self) -> list[dict[str, Any]]:
        """Return the settings of each trial; the last setting of the grid changes fastest."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]

    def create(self, settings: Mapping[str, Any], seed: int | None) -> Recommender:
        """Return a model of these settings that is yet to be fitted, with the seed if it takes one.

        Raises:
            InputError: An unknown model or a setting that it refuses.
        """
        kind = model_class(self.name) if isinstance(self.name, str) else self.name
        given = dict(settings)
        if seed is not None and "seed" in setting_names(kind):
            given["seed"] = seed
        try:
            return create(self.name, **given) if isinstance(self.name, str) else kind(**given)
        except TypeError as error:
            raise InputError(f"{kind.name}: {error}") from error


@dataclass(frozen=True)
class Trial:
    """One combination of settings, fitted once.

    Attributes:
        settings: What was tried; all other settings are the model's own.
        value: Mean of the metric over the validation requests, after the last epoch.
        low: Lower end of its 95% bootstrap interval over users.
        high: Upper end.
        seconds: Wall time of the fit, without the measuring between epochs.
        curve: (epoch, value) where the model reports its epochs, the last one included; empty otherwise.
    """

    settings: dict[str, Any]
    value: float
    low: float
    high: float
    seconds: float
    curve: list[tuple[int, float]] = field(default_factory=list, repr=False)

    @property
    def interval(self) -> Interval:
        """The value with its interval."""
        return Interval(self.value, self.low, self.high)


@dataclass(frozen=True)
class Tuning:
    """The search of one model.

    Attributes:
        model: Name of the model.
        data: Name of the data set.
        data_sha256: Digest of what a trial depends on: the training part and the validation part.
        protocol: Name of the split.
        metric: What was measured, such as "NDCG@10".
        seed: Seed of models with chance and of the intervals.
        grid: The values of each setting.
        trials: One for each combination, in the order of `Search.combinations`; fewer while the search goes on.
        earlier: Trials of grids that were given up for this one; they take no part in choosing the winner.
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
        """How many trials the grid asks for."""
        return math.prod(map(len, self.grid.values()))

    @property
    def winner(self) -> Trial:
        """The trial of the highest value, the first one of equals.

        Raises:
            InputError: The search has not ended.
        """
        if len(self.trials) < self.n_combinations:
            raise InputError(
                f"the search of {self.model} has made {len(self.trials)} of {self.n_combinations} trials; "
                "a winner is known when all are made"
            )
        return max(self.trials, key=lambda trial: trial.value)

    def edges(self) -> dict[str, Any]:
        """Return the winner's settings that are the lowest or highest of the numbers tried.

        A better value may lie beyond, and of two values each is an end. A setting of one value was not searched. None
        stands for no limit, the highest of all, and nothing lies beyond it.
        """
        found = {}
        for setting, values in self.grid.items():
            chosen = self.winner.settings[setting]
            numbers = [math.inf if value is None else value for value in values]
            if len(values) < 2 or chosen is None or not all(_is_number(one) for one in numbers):
                continue
            if chosen in (min(numbers), max(numbers)):
                found[setting] = chosen
        return found

    def table(self) -> pd.DataFrame:
        """Return a row a trial, best first: the settings, the metric with its interval, seconds of the fit.

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
    every: int = 5,
    path: str | os.PathLike[str] | None = None,
    on_progress: Callable[[int, int, Trial], None] | None = None,
    progress: bool = False,
) -> Tuning:
    """Fit every combination of a grid on the training part and measure it on the validation part.

    A model whose `fit` takes `on_epoch` is measured between epochs too, for the curve. The value of a trial is still
    that of its last epoch: a schedule of learning rates runs to its end, and no epoch is picked afterwards.

    Args:
        name: A name from `models.NAMES`, a class of your own, or a `Search`.
        grid: The values of each setting; None with a `Search`, which has its own.
        split: The data in three parts; the test part is never read.
        metric: A name of `evaluation.METRICS` at a list length, such as "NDCG@10".
        part: "valid"; nothing else is accepted.
        seed: Seed of models with chance.
        every: Epochs from one point of the curve to the next, at least 1.
        path: A record, made or gone on with: it is written after each trial, and what it holds of these settings on the
            same data is not fitted again. One file keeps the searches of several models.
        on_progress: Called after each trial with its number from 1, the number of trials, and the trial.
        progress: Show a bar on standard error.

    Returns:
        The finished search.

    Raises:
        InputError: A grid, metric or part that cannot be used; a part of one request; a record of other data, protocol,
            metric or seed; or a model that fails, named with its settings. What was finished before stays in the
            record.
    """
    wanted = name if isinstance(name, Search) else Search(name, grid if grid is not None else {})
    if isinstance(name, Search) and grid is not None:
        raise InputError("a Search is given with a grid beside it; give one of them")
    measure, k = parse_metric(metric)
    if part != "valid":
        raise InputError(
            f"part is {part!r}; settings are chosen on 'valid', the test part is for the last figure"
        )
    for argument, value, least in (("seed", seed, 0), ("every", every, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{argument} is {value!r}; a whole number of at least {least} is accepted")
    if len(split.requests(part)) == 1:
        raise InputError(
            f"part {part!r} of the {split.protocol} split holds 1 request; a search needs at least 2, since one user "
            "leaves no interval"
        )
    combinations = wanted.combinations()
    label = model_class(wanted.name).name if isinstance(wanted.name, str) else wanted.name.name
    fresh = Tuning(
        label, split.train.name, split_digest(split), split.protocol, metric, seed,
        {setting: list(values) for setting, values in wanted.grid.items()}, machine=this_machine(),
    )  # fmt: skip
    made = _known(fresh, path)
    asked = {_written(settings) for settings in combinations}
    earlier = [trial for settings, trial in made.items() if settings not in asked]

    def tuning() -> Tuning:
        done = [made[_written(settings)] for settings in combinations if _written(settings) in made]
        return replace(fresh, trials=done, earlier=earlier)

    from tqdm import tqdm

    with tqdm(total=len(combinations), unit=" trials", file=sys.stderr, disable=not progress) as bar:
        for number, settings in enumerate(combinations, start=1):
            bar.set_description(f"{label}: {_in_words(settings)}")
            if _written(settings) not in made:
                try:
                    made[_written(settings)] = _try(wanted, settings, split, measure, k, seed, every)
                except Exception as error:
                    what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
                    raise InputError(
                        f"{label}, trial {number} of {len(combinations)} ({_in_words(settings)}): {what}"
                    ) from error
                if path is not None:
                    _keep(tuning(), path)
            bar.update()
            if on_progress is not None:
                on_progress(number, len(combinations), made[_written(settings)])
    found = tuning()
    if path is not None:
        _keep(found, path)
    return found


def split_digest(split: Split) -> str:
    """Return the SHA-256 of what a search reads, the training part and the validation part, hexadecimal."""
    parts = [split.train, split.train.with_interactions(split.valid)]
    return hashlib.sha256("".join(map(data_digest, parts)).encode()).hexdigest()


# -- the record --------------------------------------------------------------------------------------------------------


def read_tunings(path: str | os.PathLike[str]) -> dict[str, Tuning]:
    """Return the searches of a record by model.

    Args:
        path: A file that `search` or `write_tunings` wrote.

    Raises:
        InputError: No file, not a record, or one of another format.
    """
    where = repr(str(path))
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(
            f"cannot read {where}: {error.strerror}; give a record written by `evaluation.tuning.search`"
        ) from error
    except ValueError as error:
        raise InputError(f"{where} is no record of searches ({error}); it is one JSON document") from error
    if not isinstance(document, dict) or "format" not in document or "searches" not in document:
        raise InputError(f"{where} is no record of searches: it lacks 'format' or 'searches'")
    if document["format"] != FORMAT or isinstance(document["format"], bool):
        raise one_of(f"format of the record {where}", document["format"], [FORMAT])
    try:
        found = [_tuning(one) for one in document["searches"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where} is a damaged record of searches ({type(error).__name__}: {error})"
        ) from error
    return {one.model: one for one in found}


def write_tunings(tunings: Mapping[str, Tuning], path: str | os.PathLike[str]) -> Path:
    """Write searches to a record, a trial a line; the file appears whole or not at all.

    Args:
        tunings: Searches by model.
        path: The file.

    Raises:
        InputError: The place cannot be written, or a setting that is no JSON value.
    """
    searches = []
    for one in tunings.values():
        head = {
            "model": one.model,
            "data": one.data,
            "data_sha256": one.data_sha256,
            "protocol": one.protocol,
            "metric": one.metric,
            "seed": one.seed,
            "machine": one.machine,
            "grid": one.grid,
        }
        lines = [f"   {json.dumps(name)}: {_written(value, False)}" for name, value in head.items()]
        for name, trials in (("trials", one.trials), ("earlier", one.earlier)):
            rows = ",\n".join(f"    {_written(vars(trial), False)}" for trial in trials)
            lines.append(f'   "{name}": ' + (f"[\n{rows}\n   ]" if rows else "[]"))
        searches.append("  {\n" + ",\n".join(lines) + "\n  }")
    text = f'{{\n "format": {FORMAT},\n "searches": [\n' + ",\n".join(searches) + "\n ]\n}\n"
    with atomic_write(path) as handle:
        handle.write(text)
    return Path(path)


def _tuning(document: dict[str, Any]) -> Tuning:
    given = dict(document)
    for name in ("trials", "earlier"):
        trials = []
        for one in given[name]:
            curve = [(int(epoch), float(value)) for epoch, value in one["curve"]]
            trial = Trial(**{**one, "curve": curve})
            if not all(map(_is_number, (trial.value, trial.low, trial.high, trial.seconds))):
                raise ValueError("a trial without numbers")
            trials.append(trial)
        given[name] = trials
    found = Tuning(**given)
    if not isinstance(found.grid, dict) or not all(isinstance(one, list) for one in found.grid.values()):
        raise ValueError(f"grid is {found.grid!r}")
    return found


def _known(fresh: Tuning, path: str | os.PathLike[str] | None) -> dict[str, Trial]:
    """Return the record's trials of this model by their settings.

    Raises:
        InputError: They were made on other data, by another protocol, metric or seed.
    """
    if path is None or not Path(path).exists():
        return {}
    found = read_tunings(path).get(fresh.model)
    if found is None:
        return {}
    for attribute in ("data", "data_sha256", "protocol", "metric", "seed"):
        old, new = getattr(found, attribute), getattr(fresh, attribute)
        if old != new:
            raise InputError(
                f"{str(path)!r} holds a search of {fresh.model} with {attribute} {old!r}, and {new!r} is asked for; "
                "give another file"
            )
    return {_written(trial.settings): trial for trial in [*found.earlier, *found.trials]}


def _keep(tuning: Tuning, path: str | os.PathLike[str]) -> None:
    """Put a search to its place in the record; what stands there of other models stays."""
    others = read_tunings(path) if Path(path).exists() else {}
    write_tunings({**others, tuning.model: tuning}, path)


# -- a trial -----------------------------------------------------------------------------------------------------------


def _try(
    wanted: Search,
    settings: dict[str, Any],
    split: Split,
    measure: RankingMetric,
    k: int,
    seed: int,
    every: int,
) -> Trial:
    model = wanted.create(settings, seed)
    curve: list[tuple[int, float]] = []
    last = 0
    aside = 0.0

    def values(one: Recommender) -> pd.Series:
        return evaluate(one, split, part="valid", ks=(k,), metrics=(measure.name,)).per_user[
            f"{measure.name}@{k}"
        ]

    def on_epoch(number: int, one: Recommender) -> None:
        nonlocal last, aside
        last = number
        if number % every == 0:
            began = perf_counter()
            curve.append((number, float(values(one).mean())))
            aside += perf_counter() - began

    began = perf_counter()
    if "on_epoch" in inspect.signature(model.fit).parameters:
        model.fit(split.train, on_epoch=on_epoch)  # type: ignore[call-arg]
    else:
        model.fit(split.train)
    seconds = perf_counter() - began - aside
    found = bootstrap_interval(values(model), seed=seed)
    if last:
        curve = [*(point for point in curve if point[0] < last), (last, found.mean)]
    return Trial(settings, found.mean, found.low, found.high, round(seconds, 3), curve)


def _written(value: object, sort: bool = True) -> str:
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
