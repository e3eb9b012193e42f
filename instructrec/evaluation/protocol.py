"""One evaluation for every recommender: ask, rank, measure user by user.

Derived in chapter `evaluation`. The default ranks over the whole catalogue; samples of negatives can reverse the
order of models (Krichene and Rendle, KDD 2020) and are here to show just that and to compare with papers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
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
    full_catalogue,
    hard_negatives,
    random_negatives,
    show,
)
from instructrec.evaluation.metrics import METRICS
from instructrec.evaluation.target_ranks import (
    TargetRanks,
    as_scores,
    check_k,
    first_fault,
    target_ranks,
    top_columns,
)
from instructrec.models.base import Recommender
from instructrec.split import Requests, Split
from instructrec.statistics.intervals import bootstrap_interval

USUAL = ("HR", "NDCG", "MRR")


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model.

    Attributes:
        model: Name of the model.
        per_user: One row a request: `user_id` and a column a metric, such as "NDCG@10".
        protocol: Split, part and candidates, in words.
        ranks: The ranks of each request's targets, from which all metrics come; None where only figures are known.
        lists: What the user is shown: catalogue columns of the best items outside the history, best first, shape
            (n_requests, list_length), int64, -1 for an empty place; None where the candidates are a sample.
        seconds: What it took: "score" (the model's work, once for all candidates) and "measure" (the laboratory's).
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
        """Return a row a metric with `mean`, `low` and `high` of the 95% bootstrap interval over users."""
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
    metrics: Sequence[str] = USUAL,
    label: str | None = None,
    batch: int = 256,
    hard: Recommender | None = None,
) -> Evaluation:
    """Measure a fitted recommender on a part of a split; `measure` does so against several candidates at once.

    Args:
        model: A recommender fitted on `split.train`.
        split: The data in three parts.
        part: "valid" or "test".
        ks: List lengths.
        instructions: One text or None for each request of `split.requests(part)`; none by default.
        n_negatives: Rank the targets against this many random unseen items; the whole catalogue without the history
            by default.
        seed: Seed of the random negatives: the same seed gives the same candidates to every model.
        metrics: Names from `evaluation.METRICS`.
        label: Name for tables; the model's own by default.
        batch: Requests scored at a time.
        hard: A fitted recommender: the negatives are the unseen items that it scores highest, not random ones.

    Returns:
        An `Evaluation`.

    Raises:
        InputError: Lists of unequal length, unknown metrics or none, scores that are not numbers or of a wrong shape,
            or `hard` without `n_negatives`.
    """
    _check_measures(ks, metrics)
    if hard is not None and n_negatives is None:
        raise InputError(
            "hard is given without n_negatives; say how many hard negatives compete with a target"
        )
    if n_negatives is None:
        chosen = full_catalogue()
    else:
        chosen = random_negatives(n_negatives, seed) if hard is None else hard_negatives(n_negatives, hard)
    found = measure(model, split, part, (chosen,), instructions, ks, metrics, batch=batch, label=label)
    return found[chosen.name]


def measure(
    model: Recommender,
    split: Split,
    part: str = "test",
    candidates: Sequence[Candidates] | None = None,
    instructions: Sequence[str | None] | None = None,
    ks: Sequence[int] = (10,),
    metrics: Sequence[str] = USUAL,
    list_length: int = 10,
    batch: int = 256,
    label: str | None = None,
) -> dict[str, Evaluation]:
    """Measure a fitted recommender against several sets of candidates; each request is scored once.

    Args:
        model: A recommender fitted on `split.train`.
        split: The data in three parts.
        part: "valid" or "test".
        candidates: Rules from `full_catalogue`, `random_negatives` and `hard_negatives`; the first by default.
        instructions: One text or None for each request of `split.requests(part)`; none by default.
        ks: List lengths of the metrics.
        metrics: Names from `evaluation.METRICS`.
        list_length: Length of `Evaluation.lists`, at least 1.
        batch: Requests scored at a time, at least 1.
        label: Name for tables; the model's own by default.

    Returns:
        An `Evaluation` for each rule, by the rule's name, in the order given.

    Raises:
        InputError: As in `evaluate`; two rules of one name; or a model that is at fault: NaN, plus infinity or a wrong
            shape, named with the request's user and the item.
    """
    rules = (full_catalogue(),) if candidates is None else tuple(candidates)
    requests = _check(split, part, ks, metrics, rules)
    check_k(list_length)
    if isinstance(batch, bool) or not isinstance(batch, int | np.integer) or batch < 1:
        raise InputError(f"batch is {batch!r}; a whole number of at least 1 is accepted")
    if instructions is not None and len(instructions) != len(requests):
        raise InputError(
            f"{len(instructions)} instructions for {len(requests)} requests; give one each, or None"
        )
    check_catalogue(model, split)
    name = label or model.name
    scoring = 0.0
    tallies = [_Tally(rule, split, requests, list_length) for rule in rules]
    for start in range(0, len(requests), batch):
        rows = slice(start, start + batch)
        began = perf_counter()
        given = model.score(requests.histories[rows], None if instructions is None else instructions[rows])
        scoring += perf_counter() - began
        scores = _checked(given, name, split, requests, start, len(requests.histories[rows]))
        for tally in tallies:
            tally.add(scores)
    return {
        tally.rule.name: tally.evaluation(name, part, ks, metrics, {"score": scoring}) for tally in tallies
    }


def evaluate_scores(
    scores: ArrayLike | Iterable[ArrayLike],
    split: Split,
    part: str = "test",
    candidates: Candidates | None = None,
    ks: Sequence[int] = (10,),
    metrics: Sequence[str] = USUAL,
    list_length: int = 10,
    label: str = "scores",
) -> Evaluation:
    """Measure scores that were made elsewhere, by the same rules as `evaluate`.

    Args:
        scores: Shape (n_requests, n_items): a row for each request of `split.requests(part)`, a column for each item of
            `split.train.items`, in their order; minus infinity for every item of the history. Or an iterable of
            matrices of consecutive rows, for what does not fit into memory.
        split: The data in three parts.
        part: "valid" or "test".
        candidates: A rule from `full_catalogue` and its neighbours; the whole catalogue by default.
        ks: List lengths of the metrics.
        metrics: Names from `evaluation.METRICS`.
        list_length: Length of `Evaluation.lists`, at least 1.
        label: Name for tables.

    Returns:
        An `Evaluation`.

    Raises:
        InputError: NaN, plus infinity, a wrong shape, or a score for an item of the history; it names the label, the
            request's user and the item.
    """
    rule = full_catalogue() if candidates is None else candidates
    requests = _check(split, part, ks, metrics, (rule,))
    check_k(list_length)
    expected = f"one row for each of {len(requests)} requests and {split.train.n_items} items is accepted"
    rows = isinstance(scores, list | tuple) and all(np.ndim(row) == 1 for row in scores[:1])
    whole = rows or hasattr(scores, "__array__")
    blocks = _in_blocks(as_scores(scores)) if whole else scores  # type: ignore[arg-type]
    tally = _Tally(rule, split, requests, list_length)
    start = 0
    for block in blocks:  # type: ignore[union-attr]
        matrix = as_scores(block)
        stop = start + len(matrix)
        if stop > len(requests) or matrix.shape[1] != split.train.n_items:
            raise InputError(f"{label} has scores of shape {_sizes(scores, matrix)}; {expected}")
        matrix = _checked(matrix, label, split, requests, start, len(matrix))
        _refuse_seen(matrix, label, split, requests, start)
        tally.add(matrix)
        start = stop
    if start != len(requests):
        raise InputError(f"{label} has scores for {start} requests; {expected}")
    return tally.evaluation(label, part, ks, metrics, {})


def evaluate_lists(
    lists: Sequence[Sequence[Hashable]] | np.ndarray,
    split: Split,
    part: str = "test",
    ks: Sequence[int] = (10,),
    metrics: Sequence[str] = USUAL,
    list_length: int = 10,
    label: str = "lists",
) -> Evaluation:
    """Measure lists that were made elsewhere, from the whole catalogue; what is not on a list is never found.

    Args:
        lists: For each request of `split.requests(part)` the item ids that the user is shown, best first; a list may be
            short or empty, and if all are empty every metric is 0.
        split: The data in three parts.
        part: "valid" or "test".
        ks: List lengths of the metrics. One above the longest list is accepted only where each list of that length
            holds all that its user has not seen: any other was cut off there, and what would follow is not known.
        metrics: Names from `evaluation.METRICS`.
        list_length: Length of `Evaluation.lists`, at least 1.
        label: Name for tables.

    Returns:
        An `Evaluation`.

    Raises:
        InputError: Not one list a request; lists cut off before a k; or an item that is unknown, listed twice or in the
            history: it names the label, the request's user and the item.
    """
    requests = _check(split, part, ks, metrics, (full_catalogue(),))
    check_k(list_length)
    began = perf_counter()
    if len(lists) != len(requests):
        raise InputError(f"{label} has {len(lists)} lists for {len(requests)} requests; give one each")
    given = [list(one) for one in lists]
    longest = max(map(len, given))
    n_candidates = [split.train.n_items - len(set(history)) for history in requests.histories]
    cut = any(len(one) == longest < n for one, n in zip(given, n_candidates, strict=True))
    if max(ks) > longest > 0 and cut:
        raise InputError(
            f"{label} has lists of at most {longest} items; metrics at {max(ks)} need longer ones"
        )
    columns = np.full((len(given), max(longest, list_length)), -1, dtype=np.int64)
    numbers = split.train.item_numbers.get_indexer(
        pd.Index([item for one in given for item in one], dtype=object)
    )
    starts = np.concatenate([[0], np.cumsum([len(one) for one in given], dtype=np.int64)])
    for row, (one, low) in enumerate(zip(given, starts, strict=False)):
        found = numbers[low : low + len(one)]
        columns[row, : len(one)] = found
        fault = None
        if (found < 0).any():
            fault, place = "is not in the catalogue", int(np.argmax(found < 0))
        elif len(set(found.tolist())) < len(one):
            earlier: set[int] = set()
            place = next(n for n, item in enumerate(found.tolist()) if item in earlier or earlier.add(item))  # type: ignore[func-returns-value]
            fault = "stands on the list twice"
        else:
            seen = set(requests.histories[row])
            place = next((n for n, item in enumerate(one) if item in seen), -1)
            fault = "is in the user's history" if place >= 0 else None
        if fault is not None:
            raise InputError(
                f"{label} recommends item {show(one[place])} to user {show(requests.user_ids[row])}; the item {fault}"
            )
    wanted, bounds = columns_of(split, requests.targets)
    rows = np.repeat(np.arange(len(requests)), np.diff(bounds))
    same = columns[rows] == wanted[:, None]
    ranks = np.where(same.any(axis=1), same.argmax(axis=1) + 1, 0)
    parts = [ranks[low:high] for low, high in zip(bounds[:-1], bounds[1:], strict=True)]
    found_ranks = TargetRanks.from_lists([part.tolist() for part in parts], n_candidates)
    protocol = f"{split.protocol}, {part}, {WHOLE_CATALOGUE}"
    table = _table(requests, found_ranks, ks, metrics)
    seconds = {"measure": perf_counter() - began}
    return Evaluation(label, table, protocol, found_ranks, columns[:, :list_length].copy(), seconds)


def relevance(split: Split, targets: Sequence[Sequence[object]]) -> np.ndarray:
    """Return a 0/1 matrix of shape (n_requests, n_catalogue): which items each user went on to choose."""
    matrix = np.zeros((len(targets), split.train.n_items), dtype=bool)
    for row, items in enumerate(targets):
        matrix[row, split.train.item_columns(items)] = True
    return matrix


def candidate_mask(split: Split, requests: Requests, n_negatives: int | None, seed: int) -> np.ndarray:
    """Return which catalogue items compete in each request, shape (n_requests, n_catalogue), bool.

    Args:
        split: The data in three parts.
        requests: The requests of a part.
        n_negatives: Random unseen items beside the targets; None keeps all items that are not in the history.
        seed: Seed of the draw.

    Raises:
        InputError: Fewer unseen items than negatives, or a number of negatives that is none.
    """
    rule = full_catalogue() if n_negatives is None else random_negatives(n_negatives, seed)
    return rule.mask(split, requests)


class _Tally:
    """Gathers the ranks, the lists and the time of one rule, batch after batch."""

    def __init__(self, rule: Candidates, split: Split, requests: Requests, list_length: int) -> None:
        self.rule, self.split, self.requests, self.list_length = rule, split, requests, list_length
        self.following = rule.stream(split, requests)
        self.ranks: list[TargetRanks] = []
        self.lists: list[np.ndarray] = []
        self.seconds = 0.0
        self.start = 0

    def add(self, scores: np.ndarray) -> None:
        """Rank the next requests by their scores."""
        began = perf_counter()
        stop = self.start + len(scores)
        if len(scores):
            allowed = self.following(len(scores))
            columns, starts = columns_of(self.split, self.requests.targets[self.start : stop])
            targets = [columns[low:high] for low, high in zip(starts[:-1], starts[1:], strict=True)]
            self.ranks.append(target_ranks(scores, targets, allowed))
            if self.rule.name == WHOLE_CATALOGUE:
                self.lists.append(top_columns(scores, self.list_length, allowed))
        self.start = stop
        self.seconds += perf_counter() - began

    def evaluation(
        self, name: str, part: str, ks: Sequence[int], metrics: Sequence[str], seconds: dict[str, float]
    ) -> Evaluation:
        """Return the figures of all requests added."""
        began = perf_counter()
        ranks = TargetRanks.concatenate(self.ranks)
        table = _table(self.requests, ranks, ks, metrics)
        lists = np.concatenate(self.lists) if self.lists else None
        self.seconds += perf_counter() - began
        protocol = f"{self.split.protocol}, {part}, {self.rule.name}"
        return Evaluation(name, table, protocol, ranks, lists, {**seconds, "measure": self.seconds})


def _table(requests: Requests, ranks: TargetRanks, ks: Sequence[int], metrics: Sequence[str]) -> pd.DataFrame:
    per_user = pd.DataFrame({"user_id": requests.user_ids})
    return per_user.assign(**{f"{name}@{k}": ranks.metric(name, k) for k in ks for name in metrics})


def _check_measures(ks: Sequence[int], metrics: Sequence[str]) -> None:
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise InputError(f"unknown metric {unknown[0]!r}; accepted: {', '.join(METRICS)}")
    if len(ks) == 0 or len(metrics) == 0:
        raise InputError(f"ks is {ks!r} and metrics is {metrics!r}; at least one of each is needed")
    for k in ks:
        check_k(k)


def _check(
    split: Split, part: str, ks: Sequence[int], metrics: Sequence[str], rules: Sequence[Candidates]
) -> Requests:
    """Return the requests to measure, once everything else makes sense."""
    _check_measures(ks, metrics)
    names = [rule.name for rule in rules]
    if not names:
        raise InputError(
            "candidates is an empty list; give at least one rule, or None for the whole catalogue"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two candidates are named {twice!r}; tell them apart by name=...")
    requests = split.requests(part)
    if len(requests) == 0:
        raise InputError(f"part {part!r} of the {split.protocol} split holds no request; split more data")
    return requests


def _checked(
    given: ArrayLike, name: str, split: Split, requests: Requests, start: int, n_rows: int
) -> np.ndarray:
    """Return scores that can be ranked; refuse the others with the names of model, user and item."""
    try:
        scores = as_scores(given)
    except InputError as error:
        raise InputError(f"model {name}: {error}") from None
    if scores.shape != (n_rows, split.train.n_items):
        raise InputError(
            f"model {name} returned scores of shape {scores.shape}, expected {(n_rows, split.train.n_items)} "
            f"(first user {show(requests.user_ids[start])})"
        )
    fault = first_fault(scores)
    if fault is not None:
        user, item = requests.user_ids[start + fault[0]], split.train.item_numbers[fault[1]]
        wrong = "NaN" if np.isnan(scores[fault]) else "infinite"
        raise InputError(
            f"model {name} returned {wrong} scores; nothing can be ranked by them (first for user {show(user)}, "
            f"item {show(item)})"
        )
    return scores


def _refuse_seen(scores: np.ndarray, name: str, split: Split, requests: Requests, start: int) -> None:
    columns, starts = columns_of(split, requests.histories[start : start + len(scores)])
    rows = np.repeat(np.arange(len(scores)), np.diff(starts))
    wrong = np.flatnonzero(scores[rows, columns] > -np.inf)
    if len(wrong):
        user, item = requests.user_ids[start + rows[wrong[0]]], split.train.item_numbers[columns[wrong[0]]]
        raise InputError(
            f"{name} scores item {show(item)} for user {show(user)}, who has it in the history; minus infinity is "
            "accepted for items that were seen"
        )


def _in_blocks(scores: np.ndarray, batch: int = 256) -> Iterable[np.ndarray]:
    return (scores[start : start + batch] for start in range(0, len(scores), batch))


def _sizes(scores: object, block: np.ndarray) -> tuple[int, ...]:
    return np.shape(scores) if isinstance(scores, np.ndarray) else block.shape
