"""Tests whether a model follows instructions: satisfaction and violation of the shown lists, and the value of a list.

Derived in chapters `evaluation` and `scenarios`. An item that must not be shown has the score minus infinity. These
metrics describe a shown list, so ties keep the catalogue's order, as in `Recommender.recommend`; the exceptions to the
general rule are listed in `instructrec.evaluation.target_ranks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from instructrec.errors import InputError, one_of
from instructrec.evaluation.target_ranks import first_fault
from instructrec.models.base import Recommender
from instructrec.ranking import top_k
from instructrec.split import Requests, Split
from instructrec.statistics import Interval, bootstrap_interval
from instructrec.validation import PositiveInt, check_value

if TYPE_CHECKING:
    from instructrec.evaluation.following_tasks import FollowingTasks


def satisfaction_at_k(satisfied: ArrayLike, y_pred: ArrayLike, k: int = 10) -> np.ndarray:
    """Return the share of the k positions that hold an item that satisfies the instruction.

    satisfaction@k = |{i among the first k : i satisfies the instruction}| / k. An empty position counts as
    unsatisfied, so a filter cannot earn 1 by showing one item only.

    Args:
        satisfied: Which items satisfy the request's instruction, shape (list,) for all requests or (batch, list).
        y_pred: Scores, shape (batch, list).
        k: Length of the list that the user sees, at least 1.

    Returns:
        Array of shape (batch,), in [0, 1].

    Raises:
        InputError: Inconsistent shapes, or as in `ranking.top_k`.
    """
    lists = top_k(y_pred, k)
    return (_values_in_lists(satisfied, y_pred, lists).astype(bool) & (lists >= 0)).sum(axis=1) / k


def list_value(
    utility: ArrayLike, y_pred: ArrayLike, satisfied: ArrayLike | None = None, k: int = 10
) -> np.ndarray:
    """Return the value of a list to its user, by true utility: log(1 + sum over the list of exp U(u, i)).

    This is the expected utility of the best choice from the list, up to a constant, if choice is a multinomial logit
    and leaving has utility 0 (Small and Rosen, 1981). An empty list is worth 0. With `satisfied`, items that do not
    satisfy the instruction count for nothing.

    Args:
        utility: True utilities, shape (batch, list).
        y_pred: Scores, shape (batch, list).
        satisfied: Which items count, shape (list,) or (batch, list); all by default.
        k: Length of the list that the user sees, at least 1.

    Returns:
        Array of shape (batch,), at least 0, in units of utility.

    Raises:
        InputError: Inconsistent shapes, or as in `ranking.top_k`.
    """
    lists = top_k(y_pred, k)
    counts = lists >= 0
    if satisfied is not None:
        counts = counts & _values_in_lists(satisfied, y_pred, lists).astype(bool)
    return np.log1p((np.exp(_values_in_lists(utility, y_pred, lists)) * counts).sum(axis=1))


def _values_in_lists(values: ArrayLike, y_pred: ArrayLike, lists: np.ndarray) -> np.ndarray:
    """Return the values of the listed items, shape (batch, k); the value of an empty position has no meaning."""
    array, shape = np.asarray(values), np.shape(y_pred)
    if array.shape not in (shape, shape[1:]):
        raise InputError(
            f"values of shape {array.shape} for scores of shape {shape}; one per item, or one per request and item"
        )
    return np.take_along_axis(np.broadcast_to(array, shape), np.maximum(lists, 0), axis=1)


@dataclass(frozen=True)
class FollowingEvaluation:
    """How a model answers the same requests in several tasks.

    Attributes:
        model: Name of the model.
        k: Length of the lists.
        protocol: Split, part, candidates and languages, in words.
        per_request: One row per request and task: `user_id`, `task`, `instruction`; `satisfaction@k` of the task's
            wish, the highest that any list could reach (`possible@k`), `violation@k` (NaN without a negation), `HR@k`
            and `NDCG@k` of the request's own targets.
    """

    model: str
    k: int
    protocol: str
    per_request: pd.DataFrame = field(repr=False)
    _values: dict[tuple[str, str, str], np.ndarray] = field(repr=False, compare=False)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, "none" first."""
        return list(dict.fromkeys(self.per_request["task"]))

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, such as "satisfaction@10"."""
        return [name for name in self.per_request.columns if "@" in name]

    def values(self, metric: str, task: str, lists_of: str | None = None) -> np.ndarray:
        """Return a metric request by request, NaN where the task asks nothing.

        Args:
            metric: One of `metrics`.
            task: The task whose wish is measured (for satisfaction, possible and violation).
            lists_of: The task whose lists are measured; the same by default. So
                `values("satisfaction@10", "negated", lists_of="none")` is the satisfaction of a refusal by chance.

        Raises:
            InputError: Unknown names.
        """
        lists_of = task if lists_of is None else lists_of
        for name in (task, lists_of):
            if name not in self.tasks:
                raise one_of("task", name, self.tasks, most=len(self.tasks))
        if metric not in self.metrics:
            raise one_of("metric", metric, self.metrics)
        wish, lists = {"possible": (task, ""), "HR": ("", lists_of), "NDCG": ("", lists_of)}.get(
            metric.split("@")[0], (task, lists_of)
        )
        return self._values[metric, wish, lists]

    def interval(self, metric: str, task: str, lists_of: str | None = None, seed: int = 0) -> Interval:
        """Return the mean of `values` with its 95% bootstrap interval over users; NaN where nothing is measured."""
        return _interval(self.values(metric, task, lists_of), seed)

    def difference(self, metric: str, task: str, base: str = "none", seed: int = 0) -> Interval:
        """Return the effect of the instruction: a task's wish in its own lists minus the same wish in those of `base`.

        The same wish of the same request is measured twice, so a model that ignores instructions has exactly 0.

        Args:
            metric: One of `metrics`.
            task: The task whose wish is measured.
            base: The task whose lists it is compared with.
            seed: Seed of the bootstrap.

        Raises:
            InputError: Unknown names.
        """
        return _interval(self.values(metric, task) - self.values(metric, task, base), seed)

    def table(self, seed: int = 0) -> pd.DataFrame:
        """Return one row per task: the number of requests and each metric as "mean [low, high]", 95% over users."""
        counts = self.per_request.groupby("task", sort=False).size()
        rows = {
            name: {"requests": counts[name]}
            | {metric: _format(self.interval(metric, name, seed=seed)) for metric in self.metrics}
            for name in self.tasks
        }
        return pd.DataFrame(rows).T.rename_axis("task")


def evaluate_following(
    model: Recommender,
    split: Split,
    part: str = "test",
    k: int = 10,
    tasks: Sequence[str] | None = None,
    languages: Sequence[str] = ("en",),
    n_requests: int | None = None,
    seed: int = 0,
    label: str | None = None,
    batch: int = 256,
) -> FollowingEvaluation:
    """Evaluate whether a fitted recommender follows instructions, on the same requests in several tasks.

    Lists come from the whole catalogue without the history, and an item of score minus infinity is not shown. The tasks
    are those of `instructrec.evaluation.following_tasks.TASKS`: no instruction; a category in wordings of training, in
    unseen wordings, by other words, and as a vague wish; another request's text; a contradiction; a negation in usual
    and in unseen words; several constraints at once. All but the first and the two controls ("shuffled",
    "contradicting") are true of the target, so following them helps to find it. Those of `EXTRA_TASKS` are used only by
    name: category and era, a word of the title, a word for the category that no text for training holds. The model is
    evaluated as it is; `models.FilteredRecommender(model)` is the rule-based answer to compare with. Derived in
    chapter `evaluation`.

    Args:
        model: A recommender fitted on `split.train`.
        split: The data in three parts.
        part: "valid" or "test".
        k: Length of the lists, at least 1.
        tasks: Names; by default all of `TASKS` that these data can state. "none" is always included.
        languages: "en", "zh" or both.
        n_requests: Use this many requests, drawn at random; all by default.
        seed: Seed of the draws: the same seed asks every model the same.
        label: Name for tables; the model's own by default.
        batch: Number of requests scored at a time.

    Returns:
        A `FollowingEvaluation`.

    Raises:
        InputError: Unknown names, nothing to ask, another catalogue, or scores that are not numbers.
    """
    from instructrec.evaluation.following_tasks import make_following_tasks
    from instructrec.evaluation.metrics import METRICS
    from instructrec.evaluation.protocol import candidate_mask, relevance

    check_value("k", k, PositiveInt)
    name = label or model.name
    following = make_following_tasks(split, part, tasks, languages, n_requests, seed)
    requests = _rows_of(split.requests(part), following.rows)
    allowed = candidate_mask(split, requests, None, 0)
    relevant = relevance(split, requests.targets)
    lists: dict[str, np.ndarray] = {}
    values: dict[tuple[str, str, str], np.ndarray] = {}
    for task_name, task in following.tasks.items():
        lists[task_name] = np.full((len(requests), k), -1, dtype=np.int64)
        accuracy = {metric: np.full(len(requests), np.nan) for metric in ("HR", "NDCG")}
        stated = np.flatnonzero(task.wish.stated)
        for start in range(0, len(stated), batch):
            rows = stated[start : start + batch]
            scores = _scores(model, name, split, requests, rows, [task.texts[row] for row in rows])
            scores[~allowed[rows]] = -np.inf
            best = top_k(scores, k)
            lists[task_name][rows, : best.shape[1]] = best
            for metric, of_request in accuracy.items():
                of_request[rows] = METRICS[metric](relevant[rows], scores, k)
        values |= {(f"{metric}@{k}", "", task_name): of_request for metric, of_request in accuracy.items()}
    values |= _satisfaction(following, lists, allowed, k)
    per_request = _per_request(requests, following, values, k)
    protocol = f"{split.protocol}, {part}, whole catalogue, {' and '.join(languages)}"
    return FollowingEvaluation(name, int(k), protocol, per_request, values)


def compare_following(
    evaluations: Iterable[FollowingEvaluation], metric: str, base: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Return one row per task and one column per model, each cell "mean [low, high]", 95% over users.

    Args:
        evaluations: Evaluations of several models on the same requests in the same tasks.
        metric: One of their metrics, such as "satisfaction@10".
        base: Return paired differences from the lists of this task, such as "none"; the metric itself by default.
        seed: Seed of the bootstrap.

    Raises:
        InputError: Nothing to compare, different requests, two models of one name, or unknown names.
    """
    models = list(evaluations)
    if not models:
        raise InputError("evaluations is an empty list; at least one is needed")
    questions = ["user_id", "task", "instruction"]
    first = models[0]
    for number, model in enumerate(models):
        if (model.protocol, model.k) != (first.protocol, first.k) or not model.per_request[questions].equals(
            first.per_request[questions]
        ):
            raise InputError(
                f"{first.model} and {model.model} were not asked the same; give both evaluate_following(...) the same "
                "split, part, k, tasks, languages, n_requests and seed"
            )
        if model.model in [earlier.model for earlier in models[:number]]:
            raise InputError(
                f"two evaluations are named {model.model!r}; give them different names by "
                "evaluate_following(..., label=...)"
            )
    return pd.DataFrame(
        {
            model.model: {
                name: _format(
                    model.interval(metric, name, seed=seed)
                    if base is None
                    else model.difference(metric, name, base, seed)
                )
                for name in model.tasks
                if name != base
            }
            for model in models
        }
    ).rename_axis("task")


def _rows_of(requests: Requests, rows: np.ndarray) -> Requests:
    return Requests(
        [requests.user_ids[row] for row in rows],
        [requests.histories[row] for row in rows],
        [requests.targets[row] for row in rows],
    )


def _scores(
    model: Recommender, name: str, split: Split, requests: Requests, rows: np.ndarray, texts: list[str | None]
) -> np.ndarray:
    """Return the scores of some requests, shape (len(rows), n_items), float64, checked so that they can be ranked."""
    scores = np.array(model.score([requests.histories[row] for row in rows], texts), dtype=float)
    if not model.dataset.item_numbers.equals(split.train.item_numbers):
        raise InputError(
            f"model {name} was fitted on another catalogue than {split.train.name}'s; fit it on split.train"
        )
    fault = first_fault(scores)
    if fault is not None:
        row, column = fault
        raise InputError(
            f"model {name} gave user {requests.user_ids[rows[row]]!r} the score {scores[row, column]} for item "
            f"{split.train.items['item_id'].iloc[column]!r}; numbers are accepted, and minus infinity hides an item"
        )
    return scores


def _satisfaction(
    following: FollowingTasks, lists: dict[str, np.ndarray], allowed: np.ndarray, k: int
) -> dict[tuple[str, str, str], np.ndarray]:
    """Return possible, satisfaction and violation at k by metric, task of the wish and task of the lists."""
    values: dict[tuple[str, str, str], np.ndarray] = {}
    for wish, task in following.tasks.items():
        values[f"possible@{k}", wish, ""] = task.wish.possible(allowed, k)
        for lists_of, shown_lists in lists.items():
            answered = following.tasks[lists_of].wish.stated
            satisfaction = np.where(answered, task.wish.share(shown_lists), np.nan)
            violation = np.full(len(answered), np.nan)
            if task.forbidden is not None:
                violation = np.where(answered, task.forbidden.share(shown_lists), np.nan)
            values[f"satisfaction@{k}", wish, lists_of] = satisfaction
            values[f"violation@{k}", wish, lists_of] = violation
    return values


def _per_request(
    requests: Requests, following: FollowingTasks, values: dict[tuple[str, str, str], np.ndarray], k: int
) -> pd.DataFrame:
    frames = []
    for name, task in following.tasks.items():
        stated = np.flatnonzero(task.wish.stated)
        frames.append(
            pd.DataFrame(
                {
                    "user_id": [requests.user_ids[row] for row in stated],
                    "task": name,
                    "instruction": pd.Series([task.texts[row] for row in stated], dtype=object),
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
    """Return the bootstrap interval of the measured values, NaN throughout if there is none."""
    measured = values[np.isfinite(values)]
    return bootstrap_interval(measured, seed=seed) if len(measured) else Interval(np.nan, np.nan, np.nan)


def _format(interval: Interval) -> str:
    return "–" if np.isnan(interval.mean) else str(interval)
