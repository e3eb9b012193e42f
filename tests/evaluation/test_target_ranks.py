"""Ranks against a sort written out in full; measures against their formulas; blocks against the whole matrix."""

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from instructrec import evaluation as ev
from instructrec.errors import InputError
from instructrec.evaluation.target_ranks import TargetRanks, rank_blocks, target_ranks

module = import_module(
    "instructrec.evaluation.target_ranks"
)  # the package exports its function by the same name


def problem(seed, n_rows=6, n_items=30, most=12, n_levels=6):
    """Scores with many ties and some items excluded, targets (a few requests have none), and a mask."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, n_levels, (n_rows, n_items)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.15] = -np.inf
    targets = [rng.permutation(n_items)[: rng.integers(0, most + 1)] for _ in range(n_rows)]
    return scores, targets, rng.random(scores.shape) < 0.8


def by_sorting(scores, targets, allowed):
    """The rule word for word: candidates above minus infinity, best first, wrong ones before targets of equal score."""
    ranks_found = []
    for row, targets_of_row in zip(range(len(scores)), targets, strict=True):
        chosen = set(np.asarray(targets_of_row).tolist())
        left = [c for c in range(scores.shape[1]) if allowed[row, c] and scores[row, c] > -np.inf]
        order = sorted(left, key=lambda c: (-scores[row, c], c in chosen))
        ranks = [rank for rank, c in enumerate(order, start=1) if c in chosen]
        ranks_found.append(ranks + [0] * (len(chosen) - len(ranks)))
    return ranks_found


@given(st.integers(0, 100_000), st.booleans(), st.sampled_from([0, 3, 100]))
def test_ranks_are_those_of_a_full_sort(seed, masked, few):
    scores, targets, mask = problem(seed)
    usual, module._MAX_COUNTED_TARGETS = (
        module._MAX_COUNTED_TARGETS,
        few,
    )  # 0: always by the sorted row; 100: always by counting
    try:
        ranks_found = target_ranks(scores, targets, mask if masked else None)
    finally:
        module._MAX_COUNTED_TARGETS = usual
    everything = mask if masked else np.ones_like(mask)
    assert ranks_found.to_lists() == by_sorting(scores, targets, everything)
    assert ranks_found.n_candidates.tolist() == everything.sum(axis=1).tolist()


@given(st.integers(0, 100_000), st.integers(1, 35))
def test_measures_are_their_formulas(seed, k):
    scores, targets, mask = problem(seed)
    ranks_found = target_ranks(scores, targets, mask)
    for row, ranks in enumerate(by_sorting(scores, targets, mask)):
        n, shown = len(ranks), [r for r in ranks if 1 <= r <= k]
        ideal = sum(1 / np.log2(r + 1) for r in range(1, min(n, k) + 1))
        expected = {
            "HR": float(bool(shown)),
            "NDCG": sum(1 / np.log2(r + 1) for r in shown) / ideal if n else 0.0,
            "MRR": 1 / shown[0] if shown else 0.0,
            "precision": len(shown) / k,
            "recall": len(shown) / n if n else 0.0,
            "MAP": sum(hits / r for hits, r in enumerate(shown, start=1)) / n if n else 0.0,
        }
        assert list(expected) == list(ev.METRICS)
        for name, value in expected.items():
            assert ev.METRICS[name].from_ranks(ranks_found, k)[row] == pytest.approx(value, abs=1e-12), name


@given(st.integers(0, 100_000))
def test_average_precision_at_the_whole_list_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    true, scores = rng.random((4, 15)) < 0.3, rng.permuted(np.tile(np.arange(15.0), (4, 1)), axis=1)
    true[:, 0] = True
    theirs = [sk.average_precision_score(t, s) for t, s in zip(true, scores, strict=True)]
    assert ev.average_precision(true, scores, 15) == pytest.approx(theirs, abs=1e-12)


def test_average_precision_divides_by_all_that_is_relevant():
    assert ev.average_precision([[1, 1, 1, 0]], [[4, 3, 1, 2]], 2).tolist() == [pytest.approx(2 / 3)]


@given(st.integers(0, 100_000), st.integers(1, 9))
def test_blocks_of_any_size_give_the_ranks_of_the_whole(seed, size):
    scores, targets, mask = problem(seed, n_rows=17)
    starts = range(0, 17, size)
    ranks_found = rank_blocks(
        (scores[s : s + size] for s in starts), targets, (mask[s : s + size] for s in starts)
    )
    all_at_once = target_ranks(scores, targets, mask)
    assert ranks_found.to_lists() == all_at_once.to_lists()
    assert (ranks_found.n_candidates == all_at_once.n_candidates).all()


@given(st.integers(0, 100_000))
def test_renaming_the_items_changes_no_rank(seed):
    """Ties are settled by right and wrong, never by where an item stands in the catalogue."""
    scores, targets, mask = problem(seed)
    new = np.random.default_rng(seed + 1).permutation(scores.shape[1])
    moved, moved_mask = np.empty_like(scores), np.empty_like(mask)
    moved[:, new], moved_mask[:, new] = scores, mask
    ranks_found = target_ranks(moved, [new[one] for one in targets], moved_mask)
    assert ranks_found.to_lists() == target_ranks(scores, targets, mask).to_lists()


@given(st.integers(0, 100_000))
def test_more_wrong_candidates_never_better_a_rank(seed):
    scores, targets, mask = problem(seed, most=1)
    for row, targets_of_row in enumerate(targets):
        mask[row, targets_of_row] = True
    fewer, all_items = target_ranks(scores, targets, mask).ranks, target_ranks(scores, targets).ranks
    assert (all_items >= fewer).all()


def test_float32_and_float64_give_the_same_and_neither_is_touched():
    scores, targets, mask = problem(3)
    before = scores.copy()
    scores.setflags(write=False)
    ranks_found = target_ranks(scores, targets, mask)
    assert ranks_found.to_lists() == target_ranks(scores.astype(float), targets, mask).to_lists()
    assert ranks_found.to_lists() == target_ranks(np.asfortranarray(scores), targets, mask).to_lists()
    assert (scores == before).all()


def test_float64_scores_are_not_rounded_to_float32():
    close = np.array([[1.0, 1.0 + 1e-12]])
    assert target_ranks(close, [[1]]).to_lists() == [[1]]
    assert target_ranks(close, [[0]]).to_lists() == [[2]]


def test_one_target_a_row_may_come_as_one_array():
    scores = np.array([[3, 2, 1], [3, 2, 1]], dtype=np.float32)
    assert target_ranks(scores, np.array([0, 2])).to_lists() == [[1], [3]]


def test_lists_go_in_and_out_in_any_order():
    ranks_found = TargetRanks.from_lists([[5, 0, 2], [], [1]], n_candidates=9)
    assert ranks_found.to_lists() == [[2, 5, 0], [], [1]]
    assert ranks_found.best.tolist() == [2, 0, 1]
    assert ranks_found.n_targets.tolist() == [3, 0, 1]
    assert ranks_found.n_candidates.tolist() == [9, 9, 9]
    both = TargetRanks.concatenate([ranks_found, TargetRanks.from_lists([[4]])])
    assert both.to_lists() == [[2, 5, 0], [], [1], [4]]
    assert both.n_candidates.tolist() == [9, 9, 9, -1]
    assert len(TargetRanks.concatenate([])) == len(TargetRanks.from_lists([])) == 0


@pytest.mark.parametrize("lists", [[[1, 1]], [[-1]], [[1.5]]])
def test_ranks_that_cannot_be_are_refused(lists):
    with pytest.raises(InputError, match="ranks"):
        TargetRanks.from_lists(lists)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: target_ranks([[1, np.nan]], [[0]]), "request 0, item 1 is nan"),
        (lambda: target_ranks([[1, 0], [np.inf, 1]], [[0], [1]]), "request 1, item 0 is inf"),
        (lambda: rank_blocks([[[1, 0]], [[np.nan, 1]]], [[0], [1]]), "request 1, item 0 is nan"),
        (lambda: target_ranks([1, 2], [[0]]), "shape"),
        (lambda: target_ranks([["a"]], [[0]]), "no numbers"),
        (lambda: target_ranks([[1, 2]], [[0], [1]]), "2 lists of targets for 1 requests"),
        (lambda: target_ranks([[1, 2]], [[2]]), "target 2 is no column; from 0 to 1"),
        (lambda: target_ranks([[1, 2]], [[-1]]), "target -1"),
        (lambda: target_ranks([[1, 2]], [[0.5]]), "whole number"),
        (lambda: target_ranks([[1, 2]], [[1, 1]]), "target 1 twice"),
        (lambda: target_ranks([[1, 2]], [[1]], [[1, 1]]), "bool"),
        (lambda: target_ranks([[1, 2]], [[1]], [[True]]), "allowed"),
        (lambda: rank_blocks([[[1, 2]]], [[1], [0]]), "hold 1 requests and targets 2"),
        (lambda: rank_blocks([[[1, 2], [1, 2]]], [[1]]), "more than 1"),
        (lambda: rank_blocks([[[1, 2]]], [[1]], []), "allowed ends"),
        (lambda: ev.hit_rate.from_ranks(target_ranks([[1, 2]], [[1]]), 0), "k is 0"),
        (lambda: ev.hit_rate([[1, 0]], [[np.inf, 0]]), "inf"),
    ],
)
def test_what_cannot_be_ranked_is_refused_in_one_line(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_many_rows_are_ranked_without_a_copy_of_the_scores():
    """The peak while ranking stays far below the size of the scores; a sort or a float64 copy would exceed it."""
    import tracemalloc

    rng = np.random.default_rng(0)
    scores, targets = rng.random((2000, 2000), dtype=np.float32), rng.integers(0, 2000, 2000)
    tracemalloc.start()
    try:
        target_ranks(scores, targets)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < scores.nbytes / 8
