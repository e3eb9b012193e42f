"""Evaluate recommenders on the requests of a split: score, rank the targets, compute metrics request by request.

Derived in chapter `evaluation`. By default targets are ranked against the whole catalogue. Samples of negatives can
reverse the order of models (Krichene and Rendle, KDD 2020); they are here to show that and to compare with papers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from instructrec.errors import InputError
from instructrec.evaluation.candidates import (
    WHOLE_CATALOGUE,
    Candidates,
    check_catalogue,
    columns_of,
    format_id,
    full_catalogue,
    random_negatives,
)
from instructrec.evaluation.metrics import check_metrics, metric_columns, reported_metrics
from instructrec.evaluation.target_ranks import (
    TargetRanks,
    as_scores,
    first_fault,
    target_ranks,
)
from instructrec.models.base import Recommender
from instructrec.ranking import top_k
from instructrec.split import Requests, Split
from instructrec.statistics.intervals import bootstrap_interval
from instructrec.validation import PositiveInt, check_value


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on the requests of one part of a split.

    Attributes:
        model: Name of the model.
        per_user: One row per request: `user_id` and a column for each metric, such as "NDCG@10".
        protocol: Split, part and candidates, in words.
        ranks: The ranks of each request's targets, from which all metrics follow; None where only metrics are known.
        lists: The recommended lists: catalogue columns of the best items outside the history, best first, shape
            (n_requests, list_length), int64, -1 for an empty position; None where the candidates are a sample.
        seconds: Wall time: "score" for the model, once for all candidates, and "measure" for ranking and metrics.
    """

    model: str
    per_user: pd.DataFrame = field(repr=False)
    protocol: str
    ranks: TargetRanks | None = field(default=None, repr=False, compare=False)
    lists: np.ndarray | None = field(default=None, repr=False, compare=False)
    seconds: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    @property
    def metrics(self) -> list[str]:
        """Names of the metric columns."""
        return [name for name in self.per_user.columns if name != "user_id"]

    def summary(self, seed: int = 0) -> pd.DataFrame:
        """Return one row per metric: `mean`, `low` and `high` of its 95% bootstrap interval over users."""
        rows = {name: bootstrap_interval(self.per_user[name], seed=seed)._asdict() for name in self.metrics}
        return pd.DataFrame(rows).T


def evaluate(
    model: Recommender,
    split: Split,
    part: str = "test",
    ks: Sequence[int] = (10,),
    instructions: Sequence[str | None] | None = None,
    n_negatives: int | None = None,
    seed: int = 0,
    metrics: Sequence[str] | None = None,
    label: str | None = None,
    batch: int = 256,
) -> Evaluation:
    """Evaluate a fitted recommender on a part of a split, against one set of candidates.

    `evaluate_many` ranks against several sets of candidates and scores only once.

    Args:
        model: A recommender fitted on `split.train`.
        split: The data in three parts.
        part: "valid" or "test".
        ks: List lengths.
        instructions: One text or None for each request of `split.requests(part)`; none by default.
        n_negatives: Rank the targets against this many random unseen items; by default against the whole catalogue
            without the history.
        seed: Seed of the random negatives: the same seed gives the same candidates to every model.
        metrics: Names from `evaluation.METRICS`; by default those that are always reported.
        label: Name for tables; the model's own by default.
        batch: Number of requests scored at a time.

    Returns:
        An `Evaluation`.

    Raises:
        InputError: Lists of unequal length, unknown metrics or none, or scores that are not numbers or of a wrong
            shape.
    """
    rule = full_catalogue() if n_negatives is None else random_negatives(n_negatives, seed)
    evaluations = evaluate_many(
        model, split, part, (rule,), instructions, ks, metrics, batch=batch, label=label
    )
    return evaluations[rule.name]


def evaluate_many(
    model: Recommender,
    split: Split,
    part: str = "test",
    candidates: Sequence[Candidates] | None = None,
    instructions: Sequence[str | None] | None = None,
    ks: Sequence[int] = (10,),
    metrics: Sequence[str] | None = None,
    list_length: int = 10,
    batch: int = 256,
    label: str | None = None,
) -> dict[str, Evaluation]:
    """Evaluate a fitted recommender against several sets of candidates; each request is scored once.

    Args:
        model: A recommender fitted on `split.train`.
        split: The data in three parts.
        part: "valid" or "test".
        candidates: Rules from `full_catalogue`, `random_negatives` and `hard_negatives`; the first by default.
        instructions: One text or None for each request of `split.requests(part)`; none by default.
        ks: List lengths of the metrics.
        metrics: Names from `evaluation.METRICS`; by default those that are always reported.
        list_length: Length of `Evaluation.lists`, at least 1.
        batch: Number of requests scored at a time, at least 1.
        label: Name for tables; the model's own by default.

    Returns:
        An `Evaluation` for each rule, by the rule's name, in the order given.

    Raises:
        InputError: As in `evaluate`; two rules of one name; or a faulty model: its scores hold NaN or plus infinity or
            have a wrong shape. The message names the request's user and the item.
    """
    rules = (full_catalogue(),) if candidates is None else tuple(candidates)
    metrics = reported_metrics() if metrics is None else metrics
    requests = _check_arguments(split, part, ks, metrics, rules, list_length)
    check_value("batch", batch, PositiveInt)
    if instructions is not None and len(instructions) != len(requests):
        raise InputError(
            f"{len(instructions)} instructions for {len(requests)} requests; give one each, or None"
        )
    check_catalogue(model, split)
    name = label or model.name
    scoring = 0.0
    collectors = [_RankCollector(rule, split, requests, list_length) for rule in rules]
    for start in range(0, len(requests), batch):
        rows = slice(start, start + batch)
        histories, texts = requests.histories[rows], None if instructions is None else instructions[rows]
        began = perf_counter()
        scores = model.score(histories, texts)
        scoring += perf_counter() - began
        scores = _check_scores(scores, f"model {name}", split, requests, start, len(histories))
        for collector in collectors:
            collector.add(scores)
    return {
        collector.rule.name: collector.evaluation(name, part, ks, metrics, {"score": scoring})
        for collector in collectors
    }


def evaluate_scores(
    scores: ArrayLike | Iterable[ArrayLike],
    split: Split,
    part: str = "test",
    candidates: Candidates | None = None,
    ks: Sequence[int] = (10,),
    metrics: Sequence[str] | None = None,
    list_length: int = 10,
    label: str = "scores",
) -> Evaluation:
    """Evaluate scores that were computed elsewhere, by the same rules as `evaluate`.

    Args:
        scores: Shape (n_requests, n_items): a row for each request of `split.requests(part)`, a column for each item of
            `split.train.items`, in their order; minus infinity for every item of the history. Or an iterable of
            matrices of consecutive rows, for scores that do not fit into memory.
        split: The data in three parts.
        part: "valid" or "test".
        candidates: A rule from `full_catalogue`, `random_negatives` or `hard_negatives`; the first by default.
        ks: List lengths of the metrics.
        metrics: Names from `evaluation.METRICS`; by default those that are always reported.
        list_length: Length of `Evaluation.lists`, at least 1.
        label: Name for tables.

    Returns:
        An `Evaluation`.

    Raises:
        InputError: NaN, plus infinity, a wrong shape, or a score for an item of the history; it names the label, the
            request's user and the item.
    """
    rule = full_catalogue() if candidates is None else candidates
    metrics = reported_metrics() if metrics is None else metrics
    requests = _check_arguments(split, part, ks, metrics, (rule,), list_length)
    expected = f"one row for each of {len(requests)} requests and {split.train.n_items} items is accepted"
    collector = _RankCollector(rule, split, requests, list_length)
    start = 0
    for block in _blocks(scores):
        stop = start + len(block)
        if stop > len(requests) or block.shape[1] != split.train.n_items:
            shape = scores.shape if isinstance(scores, np.ndarray) else block.shape
            raise InputError(f"{label} has scores of shape {shape}; {expected}")
        block = _check_scores(block, f"model {label}", split, requests, start, len(block))
        _check_history_excluded(block, label, split, requests, start)
        collector.add(block)
        start = stop
    if start != len(requests):
        raise InputError(f"{label} has scores for {start} requests; {expected}")
    return collector.evaluation(label, part, ks, metrics, {})


def evaluate_lists(
    lists: Sequence[Sequence[Hashable]] | np.ndarray,
    split: Split,
    part: str = "test",
    ks: Sequence[int] = (10,),
    metrics: Sequence[str] | None = None,
    list_length: int = 10,
    label: str = "lists",
) -> Evaluation:
    """Evaluate lists from the whole catalogue that were computed elsewhere; an item on no list is never ranked.

    Args:
        lists: For each request of `split.requests(part)` the recommended item ids, best first; a list may be short or
            empty, and if all are empty every metric is 0.
        split: The data in three parts.
        part: "valid" or "test".
        ks: List lengths of the metrics. A length above that of the longest list is accepted only where each list of
            that length holds all items that its user has not seen: any other was truncated, and how it would continue
            is unknown.
        metrics: Names from `evaluation.METRICS`; by default those that are always reported.
        list_length: Length of `Evaluation.lists`, at least 1.
        label: Name for tables.

    Returns:
        An `Evaluation`.

    Raises:
        InputError: Not one list per request; lists truncated before a k; or an item that is unknown, listed twice or in
            the history: it names the label, the request's user and the item.
    """
    metrics = reported_metrics() if metrics is None else metrics
    requests = _check_arguments(split, part, ks, metrics, (full_catalogue(),), list_length)
    began = perf_counter()
    if len(lists) != len(requests):
        raise InputError(f"{label} has {len(lists)} lists for {len(requests)} requests; give one each")
    item_lists = [list(items) for items in lists]
    longest = max(map(len, item_lists))
    n_candidates = [split.train.n_items - len(set(history)) for history in requests.histories]
    truncated = any(len(items) == longest < n for items, n in zip(item_lists, n_candidates, strict=True))
    if max(ks) > longest > 0 and truncated:
        raise InputError(
            f"{label} has lists of at most {longest} items; metrics at {max(ks)} need longer ones"
        )
    columns = np.full((len(item_lists), max(longest, list_length)), -1, dtype=np.int64)
    catalogue = split.train.item_numbers
    flat = catalogue.get_indexer(pd.Index([item for items in item_lists for item in items], dtype=object))
    stops = np.cumsum([len(items) for items in item_lists], dtype=np.int64)
    for row, (items, stop) in enumerate(zip(item_lists, stops, strict=True)):
        row_columns = flat[stop - len(items) : stop]
        columns[row, : len(items)] = row_columns
        fault = _fault_of_list(items, row_columns.tolist(), set(requests.histories[row]))
        if fault is not None:
            position, reason = fault
            raise InputError(
                f"{label} recommends item {format_id(items[position])} to user "
                f"{format_id(requests.user_ids[row])}; the item {reason}"
            )
    ranks = _ranks_in_lists(columns, *columns_of(split, requests.targets), n_candidates)
    protocol = f"{split.protocol}, {part}, {WHOLE_CATALOGUE}"
    table = _per_user(requests, ranks, ks, metrics)
    seconds = {"measure": perf_counter() - began}
    return Evaluation(label, table, protocol, ranks, columns[:, :list_length].copy(), seconds)


def relevance(split: Split, targets: Sequence[Sequence[object]]) -> np.ndarray:
    """Return which catalogue items are targets of each request, shape (n_requests, n_items), bool."""
    matrix = np.zeros((len(targets), split.train.n_items), dtype=bool)
    for row, items in enumerate(targets):
        matrix[row, split.train.item_columns(items)] = True
    return matrix


def candidate_mask(split: Split, requests: Requests, n_negatives: int | None, seed: int) -> np.ndarray:
    """Return which catalogue items are candidates of each request, shape (n_requests, n_items), bool.

    Args:
        split: The data in three parts.
        requests: The requests of a part.
        n_negatives: Number of random unseen items beside the targets; None keeps all items outside the history.
        seed: Seed of the draw.

    Raises:
        InputError: Fewer unseen items than negatives, or a number of negatives below 0.
    """
    rule = full_catalogue() if n_negatives is None else random_negatives(n_negatives, seed)
    return rule.mask(split, requests)


class _RankCollector:
    """Collector of the ranks, the lists and the time of one candidate rule, batch by batch."""

    def __init__(self, rule: Candidates, split: Split, requests: Requests, list_length: int) -> None:
        self.rule, self.split, self.requests, self.list_length = rule, split, requests, list_length
        self.next_mask = rule.stream(split, requests)
        self.ranks: list[TargetRanks] = []
        self.lists: list[np.ndarray] = []
        self.seconds = 0.0
        self.start = 0

    def add(self, scores: np.ndarray) -> None:
        """Rank the targets of the next requests by their scores."""
        began = perf_counter()
        stop = self.start + len(scores)
        if len(scores):
            allowed = self.next_mask(len(scores))
            columns, starts = columns_of(self.split, self.requests.targets[self.start : stop])
            targets = [columns[low:high] for low, high in zip(starts[:-1], starts[1:], strict=True)]
            self.ranks.append(target_ranks(scores, targets, allowed))
            if self.rule.name == WHOLE_CATALOGUE:
                best = top_k(np.where(allowed, scores, -np.inf), self.list_length)
                lists = np.full((len(scores), self.list_length), -1, dtype=np.int64)
                lists[:, : best.shape[1]] = best
                self.lists.append(lists)
        self.start = stop
        self.seconds += perf_counter() - began

    def evaluation(
        self, name: str, part: str, ks: Sequence[int], metrics: Sequence[str], seconds: dict[str, float]
    ) -> Evaluation:
        """Return the metrics of all requests added."""
        began = perf_counter()
        ranks = TargetRanks.concatenate(self.ranks)
        table = _per_user(self.requests, ranks, ks, metrics)
        lists = np.concatenate(self.lists) if self.lists else None
        self.seconds += perf_counter() - began
        protocol = f"{self.split.protocol}, {part}, {self.rule.name}"
        return Evaluation(name, table, protocol, ranks, lists, {**seconds, "measure": self.seconds})


def _per_user(
    requests: Requests, ranks: TargetRanks, ks: Sequence[int], metrics: Sequence[str]
) -> pd.DataFrame:
    return pd.DataFrame({"user_id": requests.user_ids}).assign(**metric_columns(ranks, metrics, ks))


def _check_arguments(
    split: Split,
    part: str,
    ks: Sequence[int],
    metrics: Sequence[str],
    rules: Sequence[Candidates],
    list_length: int,
) -> Requests:
    """Return the requests of the part, once all other arguments are checked."""
    check_metrics(metrics, ks)
    check_value("list_length", list_length, PositiveInt)
    names = [rule.name for rule in rules]
    if not names:
        raise InputError(
            "candidates is an empty list; give at least one rule, or None for the whole catalogue"
        )
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise InputError(f"two candidates are named {duplicate!r}; give them different names by name=...")
    requests = split.requests(part)
    if len(requests) == 0:
        raise InputError(f"part {part!r} of the {split.protocol} split holds no request; split more data")
    return requests


def _check_scores(
    scores: ArrayLike, owner: str, split: Split, requests: Requests, start: int, n_rows: int
) -> np.ndarray:
    """Return scores that can be ranked; the error for any others names the model, the user and the item."""
    try:
        matrix = as_scores(scores)
    except InputError as error:
        raise InputError(f"{owner}: {error}") from None
    if matrix.shape != (n_rows, split.train.n_items):
        raise InputError(
            f"{owner} returned scores of shape {matrix.shape}, expected {(n_rows, split.train.n_items)} "
            f"(first user {format_id(requests.user_ids[start])})"
        )
    fault = first_fault(matrix)
    if fault is not None:
        user, item = requests.user_ids[start + fault[0]], split.train.item_numbers[fault[1]]
        kind = "NaN" if np.isnan(matrix[fault]) else "infinite"
        raise InputError(
            f"{owner} returned {kind} scores; nothing can be ranked by them (first for user {format_id(user)}, "
            f"item {format_id(item)})"
        )
    return matrix


def _check_history_excluded(
    scores: np.ndarray, name: str, split: Split, requests: Requests, start: int
) -> None:
    """Check that the scores of the items in each history are minus infinity."""
    columns, starts = columns_of(split, requests.histories[start : start + len(scores)])
    rows = np.repeat(np.arange(len(scores)), np.diff(starts))
    scored = np.flatnonzero(scores[rows, columns] > -np.inf)
    if len(scored):
        user, item = requests.user_ids[start + rows[scored[0]]], split.train.item_numbers[columns[scored[0]]]
        raise InputError(
            f"{name} scores item {format_id(item)} for user {format_id(user)}, who has it in the history; minus "
            "infinity is accepted for items that were seen"
        )


def _fault_of_list(
    items: list[Hashable], columns: list[int], history: set[Hashable]
) -> tuple[int, str] | None:
    """Return the position of the first item that may not be recommended, and the reason; None if all may be."""
    if -1 in columns:
        return columns.index(-1), "is not in the catalogue"
    if len(set(columns)) < len(columns):
        return next(
            n for n, column in enumerate(columns) if column in columns[:n]
        ), "stands on the list twice"
    if not history.isdisjoint(items):
        return next(n for n, item in enumerate(items) if item in history), "is in the user's history"
    return None


def _ranks_in_lists(
    lists: np.ndarray, targets: np.ndarray, starts: np.ndarray, n_candidates: list[int]
) -> TargetRanks:
    """Return the positions of all targets in lists of columns, 0 for a target that its list does not hold."""
    rows = np.repeat(np.arange(len(lists)), np.diff(starts))
    is_target = lists[rows] == targets[:, None]
    ranks = np.where(is_target.any(axis=1), is_target.argmax(axis=1) + 1, 0).tolist()
    by_request = [ranks[low:high] for low, high in zip(starts[:-1], starts[1:], strict=True)]
    return TargetRanks.from_lists(by_request, n_candidates)


def _blocks(scores: ArrayLike | Iterable[ArrayLike], batch: int = 256) -> Iterator[np.ndarray]:
    """Yield matrices of consecutive rows, from one matrix or from an iterable of matrices."""
    is_list_of_rows = isinstance(scores, list | tuple) and all(np.ndim(row) == 1 for row in scores[:1])
    if not is_list_of_rows and not hasattr(scores, "__array__"):
        yield from map(as_scores, scores)  # type: ignore[arg-type]
        return
    matrix = as_scores(scores)  # type: ignore[arg-type]
    yield from (matrix[start : start + batch] for start in range(0, len(matrix), batch))
