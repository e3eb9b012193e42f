"""From scores to the ranks of what was chosen, and from those ranks to every measure of ranking.

Derived in chapter `evaluation`. A rank counts the items that come before, so no row is ever sorted while it has few
targets: one comparison with the target's score and one count do. Scores come as they are, float32 or float64, block by
block, so that a matrix too large for the memory is ranked as well. Items of equal score are ranked with the wrong ones
first, so that a model that gives every item the same score earns nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from instructrec.errors import InputError, one_of

_FEW = 24  # up to so many targets a row are counted one by one; a sort of the row pays for more
_CHUNK = (
    1 << 18
)  # bytes of scores that are checked at a time and still lie in the cache when they are counted


@dataclass(frozen=True, eq=False)
class TargetRanks:
    """At which rank each target of each request stands, 1 being best.

    Attributes:
        ranks: Ranks of all targets, request after request, shape (n_targets,), int64. Within a request they ascend;
            0, a target that is never ranked (it scores minus infinity or is no candidate), comes last.
        starts: Where each request's ranks begin in `ranks`, shape (n_requests + 1,), int64; the last is n_targets.
        n_candidates: How many items competed in each request, targets included, shape (n_requests,), int64; -1 where
            that is not known. No measure needs it.

    Raises:
        InputError: Arrays that do not go together, or ranks that are negative, repeated or out of order.
    """

    ranks: np.ndarray = field(repr=False)
    starts: np.ndarray = field(repr=False)
    n_candidates: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("ranks", "starts", "n_candidates"):
            array = np.asarray(getattr(self, name))
            if array.ndim != 1 or not (array.dtype.kind in "iu" or array.size == 0):
                raise InputError(
                    f"{name} has shape {array.shape} and holds {array.dtype}; whole numbers in a row"
                )
            object.__setattr__(self, name, array.astype(np.int64, copy=False))
        if len(self.starts) == 0 or self.starts[0] != 0 or self.starts[-1] != len(self.ranks):
            raise InputError(f"starts must run from 0 to the number of ranks, {len(self.ranks)}")
        if len(self.n_candidates) != len(self) or (np.diff(self.starts) < 0).any():
            raise InputError(
                f"{len(self.n_candidates)} numbers of candidates and {len(self)} requests that must ascend"
            )
        if len(self.ranks):
            keys = _keys(self.ranks)
            inside = np.diff(self.requests) == 0
            falls = inside & ((np.diff(keys) < 0) | ((np.diff(keys) == 0) & (self.ranks[1:] > 0)))
            if (self.ranks < 0).any() or falls.any():
                raise InputError(
                    "ranks of a request must ascend from 1 without repeating, with 0 for never at the end"
                )

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def requests(self) -> np.ndarray:
        """Number of the request that each rank belongs to, shape (n_targets,), int64."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def n_targets(self) -> np.ndarray:
        """How many targets each request has, shape (n_requests,), int64."""
        return np.diff(self.starts)

    @property
    def best(self) -> np.ndarray:
        """Rank of each request's best target, shape (n_requests,), int64; 0 where no target is ranked."""
        best = np.zeros(len(self), dtype=np.int64)
        some = self.n_targets > 0
        best[some] = self.ranks[self.starts[:-1][some]]
        return best

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[int]], n_candidates: ArrayLike | None = None) -> TargetRanks:
        """Make ranks from a list of ranks a request, in any order, such as a results file holds.

        Args:
            lists: n_requests lists of ranks; 0 is never.
            n_candidates: Items that competed in each request, or one number for all; unknown (-1) by default.

        Raises:
            InputError: As in `TargetRanks`.
        """
        starts = np.concatenate([[0], np.cumsum([len(one) for one in lists], dtype=np.int64)])
        flat = np.array([rank for one in lists for rank in one])
        given = np.asarray(-1 if n_candidates is None else n_candidates)
        return cls._from_flat(flat, starts, np.broadcast_to(given, len(lists)) if given.ndim == 0 else given)

    @classmethod
    def _from_flat(cls, ranks: np.ndarray, starts: np.ndarray, n_candidates: np.ndarray) -> TargetRanks:
        """Put the ranks of each request in order."""
        if ranks.size and ranks.dtype.kind in "iu":
            requests = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
            ranks = ranks[np.lexsort((_keys(ranks), requests))]
        return cls(ranks, starts, n_candidates)

    def to_lists(self) -> list[list[int]]:
        """Return a list of ranks a request, ascending, never (0) at the end."""
        flat, starts = self.ranks.tolist(), self.starts.tolist()
        return [flat[low:high] for low, high in zip(starts[:-1], starts[1:], strict=True)]

    @classmethod
    def concatenate(cls, parts: Iterable[TargetRanks]) -> TargetRanks:
        """Return the ranks of all parts' requests, part after part; no part gives no request."""
        each = list(parts)
        counts = [part.n_targets for part in each]
        return cls(
            np.concatenate([np.empty(0, dtype=np.int64), *(part.ranks for part in each)]),
            np.concatenate([[0], np.cumsum(np.concatenate([np.empty(0, dtype=np.int64), *counts]))]),
            np.concatenate([np.empty(0, dtype=np.int64), *(part.n_candidates for part in each)]),
        )

    def metric(self, name: str, k: int = 10) -> np.ndarray:
        """Return a measure at k, one value a request, shape (n_requests,), float64.

        Args:
            name: A name of `evaluation.METRICS`; that function's docstring has the formula and the source.
            k: Length of the list that the user sees, at least 1.

        Raises:
            InputError: An unknown measure or a k below 1.
        """
        if name not in _MEASURES:
            raise one_of("metric", name, _MEASURES)
        check_k(k)
        return _MEASURES[name](self, int(k))

    def _sum(self, weights: np.ndarray | None, shown: np.ndarray) -> np.ndarray:
        """Add up the weights of the targets that are shown, one sum a request."""
        chosen = None if weights is None else weights[shown]
        return np.bincount(self.requests[shown], weights=chosen, minlength=len(self)).astype(
            float, copy=False
        )

    def _shown(self, k: int) -> np.ndarray:
        return (self.ranks >= 1) & (self.ranks <= k)


def _hit_rate(found: TargetRanks, k: int) -> np.ndarray:
    return ((found.best >= 1) & (found.best <= k)).astype(float)


def _precision(found: TargetRanks, k: int) -> np.ndarray:
    return found._sum(None, found._shown(k)) / k


def _recall(found: TargetRanks, k: int) -> np.ndarray:
    return found._sum(None, found._shown(k)) / np.maximum(found.n_targets, 1)


def _mrr(found: TargetRanks, k: int) -> np.ndarray:
    return _hit_rate(found, k) / np.maximum(found.best, 1)


def _ndcg(found: TargetRanks, k: int) -> np.ndarray:
    shown = found._shown(k)
    gain = np.zeros(len(found.ranks))
    gain[shown] = 1.0 / np.log2(found.ranks[shown] + 1)
    most = np.minimum(found.n_targets, k)
    discount = 1.0 / np.log2(np.arange(2, most.max(initial=0) + 2))
    best = np.concatenate([[0.0], np.cumsum(discount)])[most]
    return np.divide(found._sum(gain, shown), best, out=np.zeros(len(found)), where=best > 0)


def _average_precision(found: TargetRanks, k: int) -> np.ndarray:
    shown = found._shown(k)
    place = np.arange(1, len(found.ranks) + 1) - np.repeat(found.starts[:-1], found.n_targets)
    return found._sum(place / np.maximum(found.ranks, 1), shown) / np.maximum(found.n_targets, 1)


_MEASURES: dict[str, Callable[[TargetRanks, int], np.ndarray]] = {
    "HR": _hit_rate,
    "NDCG": _ndcg,
    "MRR": _mrr,
    "precision": _precision,
    "recall": _recall,
    "MAP": _average_precision,
}


def target_ranks(
    scores: ArrayLike, targets: Sequence[ArrayLike] | np.ndarray, allowed: ArrayLike | None = None
) -> TargetRanks:
    """Return the ranks of each request's targets among its candidates.

    The j-th best target ranks at j plus the number of wrong candidates that score at least as much: of equal scores the
    wrong items come first. Few targets are counted in one pass each; nothing is sorted or copied.

    Args:
        scores: Shape (n_requests, n_items), float32 or float64 (other numbers become float64), higher is better; minus
            infinity is never ranked.
        targets: A list of columns a request, or an array of one column a request; none twice in a request.
        allowed: Which items compete, bool, shape (n_requests, n_items); all by default.

    Returns:
        The ranks; `n_candidates` counts the allowed items, those at minus infinity too.

    Raises:
        InputError: NaN or plus infinity among the scores, shapes that do not go together, a target that is no column.
    """
    return _target_ranks(as_scores(scores), targets, allowed, 0)


def rank_blocks(
    blocks: Iterable[ArrayLike],
    targets: Sequence[ArrayLike] | np.ndarray,
    allowed: Iterable[ArrayLike] | None = None,
) -> TargetRanks:
    """Return what `target_ranks` would of all blocks together, with one block in memory at a time.

    Args:
        blocks: Score matrices of consecutive requests, each of shape (any number of requests, n_items).
        targets: As in `target_ranks`, for the requests of all blocks.
        allowed: A matrix for each block, as in `target_ranks`; all items by default.

    Raises:
        InputError: As in `target_ranks`; more or fewer requests in the blocks than targets.
    """
    parts: list[TargetRanks] = []
    start = 0
    masks = None if allowed is None else iter(allowed)
    for block in blocks:
        scores = as_scores(block)
        stop = start + len(scores)
        if stop > len(targets):
            raise InputError(
                f"the blocks hold more than {len(targets)} requests, the number of targets' lists"
            )
        mask = None
        if masks is not None:
            mask = next(masks, None)
            if mask is None:
                raise InputError(f"allowed ends before request {start}; one matrix a block is accepted")
        parts.append(_target_ranks(scores, targets[start:stop], mask, start))
        start = stop
        del block, scores, mask  # so that the next block does not come beside this one
    if start != len(targets):
        raise InputError(f"the blocks hold {start} requests and targets {len(targets)}; give one each")
    return TargetRanks.concatenate(parts)


def top_columns(scores: ArrayLike, k: int = 10, allowed: ArrayLike | None = None) -> np.ndarray:
    """Return the columns of each request's best k candidates, best first; equal scores keep the catalogue's order.

    This is what `Recommender.recommend` shows. Rows are partitioned, not sorted.

    Args:
        scores: As in `target_ranks`.
        k: Length of the lists, at least 1.
        allowed: As in `target_ranks`.

    Returns:
        Shape (n_requests, k), int64; -1 marks a place that stays empty.

    Raises:
        InputError: As in `target_ranks`, or k below 1.
    """
    array = as_scores(scores)
    check_k(k)
    mask = _as_mask(allowed, array.shape)
    check_scores(array)
    lists = np.full((len(array), k), -1, dtype=np.int64)
    for row, line in enumerate(array):
        shown = line > -np.inf
        columns = np.flatnonzero(shown if mask is None else shown & mask[row])
        best = columns[best_of(line[columns], k)]
        lists[row, : len(best)] = best
    return lists


def best_of(values: np.ndarray, n: int) -> np.ndarray:
    """Return the places of the n highest values, highest first; equal ones keep their order. Shape (min(n, size),)."""
    if n <= 0:
        return np.empty(0, dtype=np.int64)
    if len(values) <= n:
        return np.argsort(-values, kind="stable")
    least = np.partition(values, len(values) - n)[len(values) - n]
    places = np.flatnonzero(values >= least)
    return places[np.argsort(-values[places], kind="stable")][:n]


def first_fault(scores: np.ndarray) -> tuple[int, int] | None:
    """Return row and column of the first score that is NaN or plus infinity; None where all can be ranked."""
    if scores.size == 0:
        return None
    step = _rows_at_a_time(scores)
    for start in range(0, len(scores), step):
        # The maximum of a row is NaN if one value is; so one cheap pass finds both faults.
        good = scores[start : start + step].max(axis=1) < np.inf
        if not good.all():
            row = start + int(np.argmin(good))
            return row, int(np.argmin(scores[row] < np.inf))
    return None


def check_scores(scores: np.ndarray, first_row: int = 0) -> None:
    """Refuse NaN and plus infinity.

    Raises:
        InputError: Names the first such score's row, counted from `first_row`, and its column.
    """
    fault = first_fault(scores)
    if fault is not None:
        row, column = fault
        raise InputError(
            f"the score of request {first_row + row}, item {column} is {scores[row, column]}; scores must be numbers "
            "(minus infinity leaves an item out)"
        )


def check_k(k: object) -> None:
    """Refuse what is no length of a list.

    Raises:
        InputError: k is not a whole number of at least 1.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k is {k!r}; a whole number of at least 1 is accepted")


def as_scores(scores: ArrayLike) -> np.ndarray:
    """Return scores as a matrix of float32 or float64, without a copy where they are one.

    Raises:
        InputError: No matrix of numbers.
    """
    try:
        array = np.asarray(scores)
        if array.dtype not in (np.float32, np.float64):
            array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError("scores are no numbers; a matrix of (requests, items) is accepted") from None
    if array.ndim != 2:
        raise InputError(f"scores have shape {array.shape}; (requests, items) is accepted")
    return array


def _target_ranks(
    scores: np.ndarray, targets: Sequence[ArrayLike] | np.ndarray, allowed: ArrayLike | None, first_row: int
) -> TargetRanks:
    mask = _as_mask(allowed, scores.shape)
    columns, starts = flatten(targets, scores.shape)
    rows = np.repeat(np.arange(len(scores)), np.diff(starts))
    values = scores[rows, columns]
    at_least = _count(scores, mask, values, starts, first_row)
    ranked = values > -np.inf
    if mask is not None:
        ranked &= mask[rows, columns]
    ranks = np.zeros(len(columns), dtype=np.int64)
    ranks[ranked] = _ranks(values[ranked], rows[ranked], at_least[ranked])
    n_candidates = (
        np.full(len(scores), scores.shape[1])
        if mask is None
        else np.array([np.count_nonzero(line) for line in mask], dtype=np.int64)
    )
    return TargetRanks._from_flat(ranks, starts, n_candidates)


def _count(
    scores: np.ndarray, mask: np.ndarray | None, values: np.ndarray, starts: np.ndarray, first_row: int
) -> np.ndarray:
    """Return for each target how many candidates score at least as much, shape (n_targets,), int64.

    Works on as many rows at a time as lie in the cache: all their first targets by one comparison, then all their
    second ones. Refuses what `check_scores` refuses on the way.
    """
    counts = np.zeros(len(values), dtype=np.int64)
    if scores.size == 0:
        return counts
    step = _rows_at_a_time(scores)
    buffer = np.empty((step, scores.shape[1]), dtype=bool)
    n_targets = np.diff(starts)
    bounds = starts.tolist()
    every = int(n_targets[0]) if len(n_targets) and (n_targets == n_targets[0]).all() else _FEW + 1
    for low in range(0, len(scores), step):
        chunk = scores[low : low + step]
        check_scores(chunk, first_row + low)
        high = low + len(chunk)
        if (
            every <= _FEW
        ):  # as many targets in each request: all first ones by one comparison, then all second ones
            at_least = buffer[: len(chunk)]
            wanted = values[bounds[low] : bounds[high]].reshape(len(chunk), every)
            found = counts[bounds[low] : bounds[high]].reshape(len(chunk), every)
            for number in range(every):
                np.greater_equal(chunk, wanted[:, number, None], out=at_least)
                if mask is not None:
                    np.logical_and(at_least, mask[low:high], out=at_least)
                found[:, number] = [np.count_nonzero(line) for line in at_least]
            continue
        line_buffer = buffer[0]
        for row in range(low, high):
            start, stop = bounds[row], bounds[row + 1]
            line = scores[row]
            if stop - start <= _FEW:
                for place in range(start, stop):
                    np.greater_equal(line, values[place], out=line_buffer)
                    if mask is not None:
                        np.logical_and(line_buffer, mask[row], out=line_buffer)
                    counts[place] = np.count_nonzero(line_buffer)
            else:
                line = np.sort(line if mask is None else line[mask[row]])
                counts[start:stop] = len(line) - np.searchsorted(line, values[start:stop], side="left")
    return counts


def _ranks(values: np.ndarray, requests: np.ndarray, at_least: np.ndarray) -> np.ndarray:
    """Return the ranks of targets: those at least as good, without the targets among them, plus the better targets."""
    order = np.lexsort((-values, requests))
    ordered, of = values[order], requests[order]
    number = np.arange(len(order))
    new_request = np.ones(len(order), dtype=bool)
    new_request[1:] = of[1:] != of[:-1]
    last_of_tie = np.ones(len(order), dtype=bool)
    last_of_tie[:-1] = new_request[1:] | (ordered[1:] != ordered[:-1])
    # of the targets of one request: which is this one, and how many are at least as good
    first = np.maximum.accumulate(np.where(new_request, number, 0))
    ends = np.flatnonzero(last_of_tie)
    tied_until = ends[np.searchsorted(ends, number)]
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = at_least[order] - (tied_until - first + 1) + (number - first + 1)
    return ranks


def flatten(
    targets: Sequence[ArrayLike] | np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return all targets' columns in a row, and where each request's begin, checked against the scores' shape."""
    n_rows, n_columns = shape
    if len(targets) != n_rows:
        raise InputError(f"{len(targets)} lists of targets for {n_rows} requests; give one each")
    if isinstance(targets, np.ndarray) and targets.ndim == 1 and targets.dtype.kind in "iu":
        columns, starts = targets, np.arange(n_rows + 1)
    else:
        each = [np.atleast_1d(np.asarray(one)) for one in targets]
        starts = np.concatenate([[0], np.cumsum([one.size for one in each], dtype=np.int64)])
        columns = np.concatenate([np.empty(0, dtype=np.int64), *(one for one in each if one.size)])
    if columns.dtype.kind not in "iu" or columns.ndim != 1:
        raise InputError("targets hold what is no whole number; lists of columns are accepted")
    columns = columns.astype(np.int64, copy=False)
    if columns.size and (columns.min() < 0 or columns.max() >= n_columns):
        wrong = columns[(columns < 0) | (columns >= n_columns)][0]
        raise InputError(f"target {wrong} is no column; from 0 to {n_columns - 1} is accepted")
    if len(columns) > n_rows or (np.diff(starts) > 1).any():
        keys = np.sort(np.repeat(np.arange(n_rows), np.diff(starts)) * n_columns + columns)
        twice = np.flatnonzero(np.diff(keys) == 0)
        if len(twice):
            row, column = divmod(int(keys[twice[0]]), n_columns)
            raise InputError(f"request {row} has target {column} twice; once is accepted")
    return columns, starts.astype(np.int64, copy=False)


def _as_mask(allowed: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if allowed is None:
        return None
    mask = np.asarray(allowed)
    if mask.dtype != bool or mask.shape != shape:
        raise InputError(f"allowed has shape {mask.shape} of {mask.dtype}; {shape} of bool is accepted")
    return mask


def _rows_at_a_time(scores: np.ndarray) -> int:
    return max(1, _CHUNK // max(1, scores.shape[1] * scores.itemsize))


def _keys(ranks: np.ndarray) -> np.ndarray:
    """Return ranks as numbers to sort by: never (0) is beyond all."""
    return np.where(ranks == 0, np.iinfo(np.int64).max, ranks)
