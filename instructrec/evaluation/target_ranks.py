"""Turn scores into the ranks of the targets; every ranking metric is computed from these ranks.

**The rule for ties.** Items of equal score are ranked with the irrelevant ones first, so a model that gives every item
the same score earns nothing. `target_ranks` applies this rule; all metrics of `instructrec.evaluation.metrics`, every
protocol and every results file get it from there. Three cases need another rule:

- A list that is shown needs a total order: `instructrec.ranking.top_k` breaks ties by catalogue order. Hence so do
  `Recommender.recommend`, the metrics of shown lists (`beyond_accuracy`, `following`) and the choice of hard negatives.
- The ROC AUC counts a tied pair as one half by definition (`classification.roc_auc`).
- The tables in the form of the paper's (`paper.expected_metrics`) take the mean over all orders of tied items, since
  language models give many titles the same score.

A rank is one plus the number of items that come before, so a row is sorted only if it has many targets: for few, one
comparison with the target's score and one count suffice. Scores may be float32 or float64 and may come block by block,
so that a matrix too large for the memory can be ranked, too. Derived in chapter `evaluation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from instructrec.errors import InputError

_MAX_COUNTED_TARGETS = 24
"""A row with more targets is sorted, since one sort is then cheaper than counting for each target."""
_CHUNK_BYTES = 1 << 18
"""Bytes of scores that are checked and counted at once; they fit into the processor's cache."""


@dataclass(frozen=True, eq=False)
class TargetRanks:
    """The rank of each target of each request; the best rank is 1.

    Attributes:
        ranks: Ranks of all targets, request after request, shape (n_targets,), int64. Within a request they ascend;
            0 comes last and marks a target that is never ranked (it scores minus infinity or is no candidate).
        starts: Where each request's ranks begin in `ranks`, shape (n_requests + 1,), int64; the last is n_targets.
        n_candidates: Number of candidates of each request, targets included, shape (n_requests,), int64; -1 where it
            is unknown. No metric needs it.

    Raises:
        InputError: Inconsistent shapes, or ranks that are negative, repeated or out of order.
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
            keys = _sort_keys(self.ranks)
            same_request = np.diff(self.requests) == 0
            out_of_order = same_request & (
                (np.diff(keys) < 0) | ((np.diff(keys) == 0) & (self.ranks[1:] > 0))
            )
            if (self.ranks < 0).any() or out_of_order.any():
                raise InputError(
                    "ranks of a request must ascend from 1 without repeating, with 0 (never ranked) at the end"
                )

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def requests(self) -> np.ndarray:
        """Index of the request that each rank belongs to, shape (n_targets,), int64."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def n_targets(self) -> np.ndarray:
        """Number of targets of each request, shape (n_requests,), int64."""
        return np.diff(self.starts)

    @property
    def best(self) -> np.ndarray:
        """Rank of each request's best target, shape (n_requests,), int64; 0 where no target is ranked."""
        best = np.zeros(len(self), dtype=np.int64)
        has_target = self.n_targets > 0
        best[has_target] = self.ranks[self.starts[:-1][has_target]]
        return best

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[int]], n_candidates: ArrayLike | None = None) -> TargetRanks:
        """Build ranks from one list of ranks per request, in any order, as in a results file.

        Args:
            lists: n_requests lists of ranks; 0 marks a target that is never ranked.
            n_candidates: Number of candidates of each request, or one number for all; unknown (-1) by default.

        Raises:
            InputError: As in `TargetRanks`.
        """
        starts = np.concatenate([[0], np.cumsum([len(ranks) for ranks in lists], dtype=np.int64)])
        flat = np.array([rank for ranks in lists for rank in ranks])
        counts = np.asarray(-1 if n_candidates is None else n_candidates)
        return cls._from_flat(
            flat, starts, np.broadcast_to(counts, len(lists)) if counts.ndim == 0 else counts
        )

    @classmethod
    def _from_flat(cls, ranks: np.ndarray, starts: np.ndarray, n_candidates: np.ndarray) -> TargetRanks:
        """Build ranks from one flat array, sorting those of each request."""
        if ranks.size and ranks.dtype.kind in "iu":
            requests = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
            ranks = ranks[np.lexsort((_sort_keys(ranks), requests))]
        return cls(ranks, starts, n_candidates)

    def to_lists(self) -> list[list[int]]:
        """Return one list of ranks per request, ascending, with 0 (never ranked) at the end."""
        flat, starts = self.ranks.tolist(), self.starts.tolist()
        return [flat[low:high] for low, high in zip(starts[:-1], starts[1:], strict=True)]

    @classmethod
    def concatenate(cls, parts: Iterable[TargetRanks]) -> TargetRanks:
        """Return the ranks of the requests of all parts, part after part; without parts, of no request."""
        sequence = list(parts)
        none = np.empty(0, dtype=np.int64)
        n_targets = np.concatenate([none, *(part.n_targets for part in sequence)])
        return cls(
            np.concatenate([none, *(part.ranks for part in sequence)]),
            np.concatenate([[0], np.cumsum(n_targets)]),
            np.concatenate([none, *(part.n_candidates for part in sequence)]),
        )

    def within(self, k: int) -> np.ndarray:
        """Return which targets rank among the first k of their request, shape (n_targets,), bool."""
        return (self.ranks >= 1) & (self.ranks <= k)

    def first_within(self, k: int) -> np.ndarray:
        """Return which requests have a target among the first k, shape (n_requests,), bool."""
        return (self.best >= 1) & (self.best <= k)

    def sum_by_request(self, values: np.ndarray | None, mask: np.ndarray) -> np.ndarray:
        """Return the sum of some targets' values for each request, shape (n_requests,), float64.

        Args:
            values: One value per target, shape (n_targets,); None counts each target as 1.
            mask: Which targets to sum over, shape (n_targets,), bool.
        """
        weights = None if values is None else values[mask]
        sums = np.bincount(self.requests[mask], weights=weights, minlength=len(self))
        return sums.astype(float, copy=False)


def target_ranks(
    scores: ArrayLike, targets: Sequence[ArrayLike] | np.ndarray, allowed: ArrayLike | None = None
) -> TargetRanks:
    """Return the ranks of each request's targets among its candidates; of equal scores, irrelevant items come first.

    The j-th best target ranks at j plus the number of irrelevant candidates that score at least as high. The module's
    docstring states the rule for ties and its exceptions.

    Args:
        scores: Shape (n_requests, n_items), float32 or float64 (other numbers become float64), higher is better; minus
            infinity excludes an item.
        targets: A list of columns for each request, or an array of one column for each; no column twice in a request.
        allowed: Which items are candidates, bool, shape (n_requests, n_items); all by default.

    Returns:
        The ranks; `n_candidates` counts all allowed items, also those that score minus infinity.

    Raises:
        InputError: NaN or plus infinity among the scores, inconsistent shapes, or a target that is no column.
    """
    return _target_ranks(as_scores(scores), targets, allowed, 0)


def rank_blocks(
    blocks: Iterable[ArrayLike],
    targets: Sequence[ArrayLike] | np.ndarray,
    allowed: Iterable[ArrayLike] | None = None,
) -> TargetRanks:
    """Return the same ranks as `target_ranks` of all blocks together, with one block in memory at a time.

    Args:
        blocks: Score matrices of consecutive requests, each of shape (any number of requests, n_items).
        targets: As in `target_ranks`, for the requests of all blocks.
        allowed: A matrix for each block, as in `target_ranks`; all items are candidates by default.

    Raises:
        InputError: As in `target_ranks`, or another number of requests in the blocks than in `targets`.
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
        del block, scores, mask  # else two blocks would be in memory at once
    if start != len(targets):
        raise InputError(f"the blocks hold {start} requests and targets {len(targets)}; give one each")
    return TargetRanks.concatenate(parts)


def first_fault(scores: np.ndarray) -> tuple[int, int] | None:
    """Return row and column of the first score that is NaN or plus infinity; None if there is none."""
    if scores.size == 0:
        return None
    step = _rows_per_chunk(scores)
    for start in range(0, len(scores), step):
        # The maximum of a row is NaN if any of its values is, so one pass finds both faults.
        is_valid = scores[start : start + step].max(axis=1) < np.inf
        if not is_valid.all():
            row = start + int(np.argmin(is_valid))
            return row, int(np.argmin(scores[row] < np.inf))
    return None


def check_scores(scores: np.ndarray, first_row: int = 0) -> None:
    """Check that scores can be ranked: minus infinity is fine, NaN and plus infinity are not.

    Args:
        scores: Shape (n_requests, n_items).
        first_row: Number of the first request, for the message.

    Raises:
        InputError: Names the request and the column of the first NaN or plus infinity.
    """
    fault = first_fault(scores)
    if fault is not None:
        row, column = fault
        raise InputError(
            f"the score of request {first_row + row}, item {column} is {scores[row, column]}; scores must be numbers "
            "(minus infinity excludes an item)"
        )


def as_scores(scores: ArrayLike) -> np.ndarray:
    """Return scores as a matrix of float32 or float64, without a copy if they are such a matrix.

    Raises:
        InputError: The scores are no matrix of numbers.
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
    columns, starts = _flatten(targets, scores.shape)
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
        else np.array([np.count_nonzero(row) for row in mask], dtype=np.int64)
    )
    return TargetRanks._from_flat(ranks, starts, n_candidates)


def _count(
    scores: np.ndarray, mask: np.ndarray | None, values: np.ndarray, starts: np.ndarray, first_row: int
) -> np.ndarray:
    """Return the number of candidates that score at least as high as each target, shape (n_targets,), int64.

    Works on chunks of rows that fit into the cache, and checks the scores on the way.

    Raises:
        InputError: As in `check_scores`.
    """
    counts = np.zeros(len(values), dtype=np.int64)
    if scores.size == 0:
        return counts
    step = _rows_per_chunk(scores)
    buffer = np.empty((step, scores.shape[1]), dtype=bool)
    n_targets = np.diff(starts)
    same_number = (n_targets == n_targets[0]).all() and n_targets[0] <= _MAX_COUNTED_TARGETS
    for low in range(0, len(scores), step):
        rows = slice(low, low + step)
        check_scores(scores[rows], first_row + low)
        chunk_mask = None if mask is None else mask[rows]
        chunk_starts = starts[low : low + step + 1]
        targets = slice(chunk_starts[0], chunk_starts[-1])
        count = _count_equal if same_number else _count_by_row
        count(
            scores[rows], chunk_mask, values[targets], chunk_starts - chunk_starts[0], buffer, counts[targets]
        )
    return counts


def _count_equal(
    scores: np.ndarray,
    mask: np.ndarray | None,
    values: np.ndarray,
    starts: np.ndarray,
    buffer: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Fill `counts` where all rows have the same number of targets.

    One comparison serves the first target of all rows, the next one the second target, and so on.
    """
    shape = (len(scores), int(starts[1]))
    target_scores, target_counts = values.reshape(shape), counts.reshape(shape)
    at_least = buffer[: len(scores)]
    for number in range(shape[1]):
        np.greater_equal(scores, target_scores[:, number, None], out=at_least)
        if mask is not None:
            np.logical_and(at_least, mask, out=at_least)
        target_counts[:, number] = [np.count_nonzero(row) for row in at_least]


def _count_by_row(
    scores: np.ndarray,
    mask: np.ndarray | None,
    values: np.ndarray,
    starts: np.ndarray,
    buffer: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Fill `counts` row by row: by counting for few targets, by sorting the row for many."""
    at_least = buffer[0]
    bounds = starts.tolist()
    for row, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        row_scores = scores[row]
        if stop - start > _MAX_COUNTED_TARGETS:
            ordered = np.sort(row_scores if mask is None else row_scores[mask[row]])
            counts[start:stop] = len(ordered) - np.searchsorted(ordered, values[start:stop], side="left")
            continue
        for number in range(start, stop):
            np.greater_equal(row_scores, values[number], out=at_least)
            if mask is not None:
                np.logical_and(at_least, mask[row], out=at_least)
            counts[number] = np.count_nonzero(at_least)


def _ranks(values: np.ndarray, requests: np.ndarray, at_least: np.ndarray) -> np.ndarray:
    """Return the ranks of targets from the number of candidates that score at least as high.

    The irrelevant ones among these candidates come before the target, and so do the better targets of its request.
    Targets of equal score take consecutive ranks.
    """
    order = np.lexsort((-values, requests))
    values, requests = values[order], requests[order]
    position = np.arange(len(order))
    starts_request = np.ones(len(order), dtype=bool)
    starts_request[1:] = requests[1:] != requests[:-1]
    ends_tie = np.ones(len(order), dtype=bool)
    ends_tie[:-1] = starts_request[1:] | (values[1:] != values[:-1])
    request_start = np.maximum.accumulate(np.where(starts_request, position, 0))
    tie_ends = np.flatnonzero(ends_tie)
    n_targets_at_least = tie_ends[np.searchsorted(tie_ends, position)] - request_start + 1
    n_irrelevant_before = at_least[order] - n_targets_at_least
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = n_irrelevant_before + (position - request_start + 1)
    return ranks


def _flatten(
    targets: Sequence[ArrayLike] | np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns of all targets in one array and where those of each request begin.

    Raises:
        InputError: Targets that do not fit scores of this shape, or a target twice in a request.
    """
    n_rows, n_columns = shape
    if len(targets) != n_rows:
        raise InputError(f"{len(targets)} lists of targets for {n_rows} requests; give one each")
    if isinstance(targets, np.ndarray) and targets.ndim == 1 and targets.dtype.kind in "iu":
        columns, starts = targets, np.arange(n_rows + 1)
    else:
        arrays = [np.atleast_1d(np.asarray(row)) for row in targets]
        starts = np.concatenate([[0], np.cumsum([array.size for array in arrays], dtype=np.int64)])
        columns = np.concatenate([np.empty(0, dtype=np.int64), *(array for array in arrays if array.size)])
    if columns.dtype.kind not in "iu" or columns.ndim != 1:
        raise InputError("targets hold a value that is no whole number; lists of columns are accepted")
    columns = columns.astype(np.int64, copy=False)
    if columns.size and (columns.min() < 0 or columns.max() >= n_columns):
        outside = columns[(columns < 0) | (columns >= n_columns)][0]
        raise InputError(f"target {outside} is no column; from 0 to {n_columns - 1} is accepted")
    if len(columns) > n_rows or (np.diff(starts) > 1).any():
        keys = np.sort(np.repeat(np.arange(n_rows), np.diff(starts)) * n_columns + columns)
        duplicates = np.flatnonzero(np.diff(keys) == 0)
        if len(duplicates):
            row, column = divmod(int(keys[duplicates[0]]), n_columns)
            raise InputError(f"request {row} has target {column} twice; once is accepted")
    return columns, starts.astype(np.int64, copy=False)


def _as_mask(allowed: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if allowed is None:
        return None
    mask = np.asarray(allowed)
    if mask.dtype != bool or mask.shape != shape:
        raise InputError(f"allowed has shape {mask.shape} of {mask.dtype}; {shape} of bool is accepted")
    return mask


def _rows_per_chunk(scores: np.ndarray) -> int:
    return max(1, _CHUNK_BYTES // max(1, scores.shape[1] * scores.itemsize))


def _sort_keys(ranks: np.ndarray) -> np.ndarray:
    """Return ranks as keys to sort by: 0 (never ranked) comes last."""
    return np.where(ranks == 0, np.iinfo(np.int64).max, ranks)
