"""Did the list do what was asked? Satisfaction, violation, a test of following, and what a list is worth.

Derived in chapters `evaluation` and `scenarios`. As in `instructrec.evaluation.metrics`, an item that must not be shown
carries the score minus infinity; here equal scores keep the catalogue's order, as `Recommender.recommend` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from instructrec.errors import InputError, one_of
from instructrec.models.base import Recommender
from instructrec.split import Requests, Split
from instructrec.statistics.intervals import Interval, bootstrap_interval

if TYPE_CHECKING:
    from instructrec.evaluation.following_tasks import Conditions

SEVERAL = ("constraints", "category and era")
"""The conditions that ask several things at once, see `Following.by_constraint`."""


def top_lists(y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the columns of the first k items of each request, best first.

    Args:
        y_pred: Scores, shape (batch, list), higher is better; minus infinity is never shown.
        k: Length of the list that the user sees, at least 1.

    Returns:
        Array of shape (batch, min(k, list)), int64; -1 marks a place that stays empty.

    Raises:
        InputError: Scores that are no matrix or hold NaN, or k below 1.
    """
    scores = np.asarray(y_pred, dtype=float)
    if scores.ndim != 2:
        raise InputError(f"y_pred has shape {scores.shape}; (batch, list) is accepted")
    if np.isnan(scores).any():
        raise InputError("y_pred holds NaN; scores must be numbers (minus infinity leaves an item out)")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k is {k!r}; a whole number of at least 1 is accepted")
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.where(np.isneginf(np.take_along_axis(scores, order, axis=1)), -1, order)


def satisfaction_at_k(satisfied: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the share of the k places that hold an item which meets the instruction.

    satisfaction@k = |{i among the first k : i meets the instruction}| / k. An empty place satisfies nobody, so that a
    filter cannot earn 1 by showing one item only.

    Args:
        satisfied: Which items meet the request's instruction, shape (list,) for all requests or (batch, list).
        y_pred: Scores, shape (batch, list).
        k: Length of the list that the user sees, at least 1.

    Returns:
        Array of shape (batch,), in [0, 1].

    Raises:
        InputError: Shapes that do not go together, or as in `top_lists`.
    """
    lists = top_lists(y_pred, k)
    return (_at(satisfied, y_pred, lists).astype(bool) & (lists >= 0)).sum(axis=1) / k


def violation_at_k(forbidden: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the share of the k places that hold an item which the instruction forbids.

    violation@k = |{i among the first k : i is forbidden}| / k. An empty place violates nothing; so a list can have both
    violation 0 and satisfaction 0, and the two are read together.

    Args:
        forbidden: Which items a negation forbids, shape (list,) for all requests or (batch, list).
        y_pred: Scores, shape (batch, list).
        k: Length of the list that the user sees, at least 1.

    Returns:
        Array of shape (batch,), in [0, 1].

    Raises:
        InputError: Shapes that do not go together, or as in `top_lists`.
    """
    return satisfaction_at_k(forbidden, y_pred, k)


def list_value(
    utility: ArrayLike, y_pred: ArrayLike, satisfied: ArrayLike | None = None, k: int = 10
) -> np.ndarray:
    """Return what a list is worth to its user, by true utility: log(1 + sum over the list of exp U(u, i)).

    This is the expected utility of the best choice from the list, up to a constant, where choice is a multinomial
    logit and leaving has utility 0 (Small and Rosen, 1981). An empty list is worth 0. Items that do not meet the
    instruction count for nothing where `satisfied` is given.

    Args:
        utility: True utilities, shape (batch, list).
        y_pred: Scores, shape (batch, list).
        satisfied: Which items count, shape (list,) or (batch, list); all by default.
        k: Length of the list that the user sees, at least 1.

    Returns:
        Array of shape (batch,), at least 0, in units of utility.

    Raises:
        InputError: Shapes that do not go together, or as in `top_lists`.
    """
    lists = top_lists(y_pred, k)
    counts = lists >= 0
    if satisfied is not None:
        counts = counts & _at(satisfied, y_pred, lists).astype(bool)
    return np.log1p((np.exp(_at(utility, y_pred, lists)) * counts).sum(axis=1))


def _at(values: ArrayLike, y_pred: ArrayLike, lists: np.ndarray) -> np.ndarray:
    """Return the values of listed items, shape (batch, k); what stands at an empty place has no meaning."""
    array, shape = np.asarray(values), np.shape(y_pred)
    if array.shape not in (shape, shape[1:]):
        raise InputError(
            f"values of shape {array.shape} for scores of shape {shape}; one an item, or one a request and item"
        )
    return np.take_along_axis(np.broadcast_to(array, shape), np.maximum(lists, 0), axis=1)


@dataclass(frozen=True)
class Following:
    """How a model answered the same requests under several conditions.

    Attributes:
        model: Name of the model.
        k: Length of the lists.
        protocol: Split, part, candidates and languages, in words.
        per_request: One row a request and condition: `user_id`, `condition`, `instruction`; `satisfaction@k` of what
            that condition asks, the most that any list could reach (`possible@k`), `violation@k` (NaN where nothing is
            negated), `HR@k` and `NDCG@k` of the request's own targets.
    """

    model: str
    k: int
    protocol: str
    per_request: pd.DataFrame = field(repr=False)
    _values: dict[tuple[str, str, str], np.ndarray] = field(repr=False, compare=False)
    _parts: dict[str, dict[str, dict[str, np.ndarray]]] = field(repr=False, compare=False)

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions, "none" first."""
        return list(dict.fromkeys(self.per_request["condition"]))

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, such as "satisfaction@10"."""
        return [name for name in self.per_request.columns if "@" in name]

    def values(self, metric: str, condition: str, under: str | None = None) -> np.ndarray:
        """Return a metric request by request, NaN where the condition asks nothing.

        Args:
            metric: One of `metrics`.
            condition: Whose wish is measured (for satisfaction, possible and violation).
            under: Under which condition the lists were asked for; the same by default. So
                `values("satisfaction@10", "negated", under="none")` is how far a refusal is met by chance.

        Raises:
            InputError: Unknown names.
        """
        under = condition if under is None else under
        for name in (condition, under):
            if name not in self.conditions:
                raise one_of("condition", name, self.conditions, most=len(self.conditions))
        if metric not in self.metrics:
            raise one_of("metric", metric, self.metrics)
        wish, lists = {"possible": (condition, ""), "HR": ("", under), "NDCG": ("", under)}.get(
            metric.split("@")[0], (condition, under)
        )
        return self._values[metric, wish, lists]

    def interval(self, metric: str, condition: str, under: str | None = None, seed: int = 0) -> Interval:
        """Return the mean of `values` with its 95% bootstrap interval over users; NaN where nothing is measured."""
        return _interval(self.values(metric, condition, under), seed)

    def difference(self, metric: str, condition: str, base: str = "none", seed: int = 0) -> Interval:
        """Return what the instruction changes: the wish of `condition` in its own lists minus that in those of `base`.

        The same wish of the same request is measured twice, so a model that does not read gives exactly 0.

        Args:
            metric: One of `metrics`.
            condition: Whose wish is measured.
            base: Whose lists it is compared with.
            seed: Seed of the bootstrap.

        Raises:
            InputError: Unknown names.
        """
        first, second = self.values(metric, condition), self.values(metric, condition, base)
        return _interval(first - second, seed)

    def table(self, seed: int = 0) -> pd.DataFrame:
        """Return a row a condition: the number of requests and each metric as "mean [low, high]", 95% over users."""
        counts = self.per_request.groupby("condition", sort=False).size()
        rows = {
            name: {"requests": counts[name]}
            | {metric: _cell(self.interval(metric, name, seed=seed)) for metric in self.metrics}
            for name in self.conditions
        }
        return pd.DataFrame(rows).T.rename_axis("condition")

    def differences(self, base: str = "none", seed: int = 0) -> pd.DataFrame:
        """Return a row a condition: what it changes against the lists of `base`, "mean [low, high]", 95% over users."""
        changing = [name for name in self.metrics if not name.startswith("possible")]
        rows = {
            name: {
                f"{metric} minus {base}": _cell(self.difference(metric, name, base, seed))
                for metric in changing
            }
            for name in self.conditions
            if name != base
        }
        return pd.DataFrame(rows).T.rename_axis("condition")

    def by_constraint(self, seed: int = 0, condition: str = "constraints") -> pd.DataFrame:
        """Return a row for each of the several constraints of a condition, and one for all of them at once.

        Each has the number of requests that state it, satisfaction with and without the instruction, and the paired
        difference, "mean [low, high]", 95% over users.

        Args:
            seed: Seed of the bootstrap.
            condition: "constraints" or "category and era".

        Raises:
            InputError: Another condition, or one that was not asked.
        """
        if condition not in SEVERAL:
            raise one_of("condition of several constraints", condition, SEVERAL)
        if condition not in self._parts:
            raise InputError(f"{self.model} was not asked under {condition!r}; name it among the conditions")
        rows = {}
        for name, found in self._parts[condition].items():
            rows[name] = {
                "requests": int(np.isfinite(found[condition]).sum()),
                f"satisfaction@{self.k}": _cell(_interval(found[condition], seed)),
                "no instruction": _cell(_interval(found["none"], seed)),
                "difference": _cell(_interval(found[condition] - found["none"], seed)),
            }
        return pd.DataFrame(rows).T.rename_axis("constraint")


def follow(
    model: Recommender,
    split: Split,
    part: str = "test",
    k: int = 10,
    conditions: Sequence[str] | None = None,
    languages: Sequence[str] = ("en",),
    n_requests: int | None = None,
    seed: int = 0,
    label: str | None = None,
    batch: int = 256,
) -> Following:
    """Ask a fitted recommender the same requests under several conditions and measure whether it did what was asked.

    Lists come from the whole catalogue without the history, and an item of score minus infinity is not shown. The
    conditions are those of `instructrec.evaluation.following_tasks.TASKS`: no instruction; a stated category in words
    of training, in unseen wordings, by other words, and as a vague wish; another request's text; a contradiction; a
    negation in usual and in unseen words; several constraints at once. All but the first and the two controls
    ("shuffled", "contradicting") are true of the target, so following them helps to find it. Those of `EXTRA_TASKS`
    are asked where they are named: category and era, a word of the title, a word for the category that no text for
    training holds. A model is taken as it is; `models.FilteredRecommender(model)` is the rule-based answer to
    compare with. Derived in chapter `evaluation`.

    Args:
        model: A recommender fitted on `split.train`.
        split: The data in three parts.
        part: "valid" or "test".
        k: Length of the lists, at least 1.
        conditions: Names; by default all of `TASKS` that these data can state. "none" is always asked.
        languages: "en", "zh" or both.
        n_requests: Ask this many requests, drawn at random; all by default.
        seed: Seed of the draws: the same seed asks every model the same.
        label: Name for tables; the model's own by default.
        batch: Requests scored at a time.

    Returns:
        A `Following`.

    Raises:
        InputError: Unknown names, nothing to ask, another catalogue, or scores that are not numbers.
    """
    from instructrec.evaluation.following_tasks import make_following_tasks
    from instructrec.evaluation.metrics import METRICS
    from instructrec.evaluation.protocol import candidate_mask, relevance

    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k is {k!r}; a whole number of at least 1 is accepted")
    name = label or model.name
    made = make_following_tasks(split, part, conditions, languages, n_requests, seed)
    requests = split.requests(part)
    requests = Requests(
        [requests.user_ids[row] for row in made.rows],
        [requests.histories[row] for row in made.rows],
        [requests.targets[row] for row in made.rows],
    )
    allowed = candidate_mask(split, requests, None, 0)
    relevant = relevance(split, requests.targets)
    lists: dict[str, np.ndarray] = {}
    values: dict[tuple[str, str, str], np.ndarray] = {}
    for under, asked in made.asked.items():
        shown = np.full((len(requests), k), -1, dtype=np.int64)
        found = {metric: np.full(len(requests), np.nan) for metric in ("HR", "NDCG")}
        stated = np.flatnonzero(asked.wanted.stated)
        for start in range(0, len(stated), batch):
            rows = stated[start : start + batch]
            scores = _scores(model, name, split, requests, rows, [asked.texts[row] for row in rows])
            scores[~allowed[rows]] = -np.inf
            best = top_lists(scores, k)
            shown[rows, : best.shape[1]] = best
            for metric, one in found.items():
                one[rows] = METRICS[metric](relevant[rows], scores, k)
        lists[under] = shown
        values |= {(f"{metric}@{k}", "", under): one for metric, one in found.items()}
    nothing = np.full(len(requests), np.nan)
    for wish, asked in made.asked.items():
        values[f"possible@{k}", wish, ""] = asked.wanted.possible(allowed, k)
        for under, shown in lists.items():
            answered = made.asked[under].wanted.stated
            met = np.where(answered, asked.wanted.share(shown), np.nan)
            broken = (
                nothing if asked.refused is None else np.where(answered, asked.refused.share(shown), np.nan)
            )
            values[f"satisfaction@{k}", wish, under] = met
            values[f"violation@{k}", wish, under] = broken
    parts = {
        name: {
            column: {under: wanted.share(lists[under]) for under in ("none", name)}
            for column, wanted in {**asked.parts, "all of them": asked.wanted}.items()
        }
        for name, asked in made.asked.items()
        if asked.parts
    }
    per_request = _per_request(requests, made, values, k)
    protocol = f"{split.protocol}, {part}, whole catalogue, {' and '.join(languages)}"
    return Following(name, int(k), protocol, per_request, values, parts)


def compare_following(
    followings: Iterable[Following], metric: str, base: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Return a row a condition and a column a model, each cell "mean [low, high]", 95% over users.

    Args:
        followings: Answers of several models to the same requests under the same conditions.
        metric: One of their metrics, such as "satisfaction@10".
        base: Give paired differences from the lists of this condition, such as "none"; the metric itself by default.
        seed: Seed of the bootstrap.

    Raises:
        InputError: Nothing to compare, different questions, two of one name, or unknown names.
    """
    listed = list(followings)
    if not listed:
        raise InputError("followings is an empty list; at least one is needed")
    asked = ["user_id", "condition", "instruction"]
    for number, one in enumerate(listed):
        if (one.protocol, one.k) != (listed[0].protocol, listed[0].k) or not one.per_request[asked].equals(
            listed[0].per_request[asked]
        ):
            raise InputError(
                f"{listed[0].model} and {one.model} were not asked the same; give both follow(...) the same split, "
                "part, k, conditions, languages, n_requests and seed"
            )
        if one.model in [other.model for other in listed[:number]]:
            raise InputError(
                f"two answers are named {one.model!r}; tell them apart by follow(..., label=...)"
            )
    return pd.DataFrame(
        {
            one.model: {
                name: _cell(
                    one.interval(metric, name, seed=seed)
                    if base is None
                    else one.difference(metric, name, base, seed)
                )
                for name in one.conditions
                if name != base
            }
            for one in listed
        }
    ).rename_axis("condition")


def _scores(
    model: Recommender, name: str, split: Split, requests: Requests, rows: np.ndarray, texts: list[str | None]
) -> np.ndarray:
    """Return scores of some requests, shape (len(rows), n_items), float; refuses what cannot be ranked."""
    scores = np.array(model.score([requests.histories[row] for row in rows], texts), dtype=float)
    if not model.dataset.item_numbers.equals(split.train.item_numbers):
        raise InputError(
            f"model {name} was fitted on another catalogue than {split.train.name}'s; fit it on split.train"
        )
    wrong = np.isnan(scores) | np.isposinf(scores)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(
            f"model {name} gave user {requests.user_ids[rows[row]]!r} the score {scores[row, column]} for item "
            f"{split.train.items['item_id'].iloc[column]!r}; numbers are accepted, and minus infinity hides an item"
        )
    return scores


def _per_request(
    requests: Requests, made: Conditions, values: dict[tuple[str, str, str], np.ndarray], k: int
) -> pd.DataFrame:
    frames = []
    for name, asked in made.asked.items():
        stated = np.flatnonzero(asked.wanted.stated)
        frames.append(
            pd.DataFrame(
                {
                    "user_id": [requests.user_ids[row] for row in stated],
                    "condition": name,
                    "instruction": pd.Series([asked.texts[row] for row in stated], dtype=object),
                    f"satisfaction@{k}": values[f"satisfaction@{k}", name, name][stated],
                    f"possible@{k}": values[f"possible@{k}", name, ""][stated],
                    f"violation@{k}": values[f"violation@{k}", name, name][stated],
                    f"HR@{k}": values[f"HR@{k}", "", name][stated],
                    f"NDCG@{k}": values[f"NDCG@{k}", "", name][stated],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _interval(values: np.ndarray, seed: int) -> Interval:
    """Return the bootstrap interval of what is measured, NaN throughout where nothing is."""
    measured = values[np.isfinite(values)]
    return bootstrap_interval(measured, seed=seed) if len(measured) else Interval(np.nan, np.nan, np.nan)


def _cell(interval: Interval) -> str:
    return "–" if np.isnan(interval.mean) else str(interval)
