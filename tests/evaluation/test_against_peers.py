"""Our measures are those of ranx, LensKit and RecTools, to 1e-9, on random data with ties.

The libraries' figures were written by `python -m benchmarks.peers.golden`; none of them is needed here.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from benchmarks.peers.golden import KS, fingerprint, random_data, ranking
from instructrec.evaluation import METRICS, ndcg
from instructrec.evaluation.beyond_accuracy import coverage, diversity, gini, novelty
from instructrec.evaluation.target_ranks import target_ranks
from tools.build_book import ROOT

DATA = random_data()
PEERS = json.loads((ROOT / "tests" / "peer_figures.json").read_text("utf-8"))
TOLERANCE = 1e-9
RANKING = [(name, k) for name in ("HR", "NDCG", "MRR", "precision", "recall", "MAP") for k in KS]


def of(peer: str, name: str) -> Any:
    return PEERS[peer]["figures"][name]


def in_lenskits_terms(name: str, k: int, ours: np.ndarray) -> np.ndarray:
    """LensKit divides by other numbers: see its docstrings of Precision, Recall and AveragePrecision."""
    relevant = DATA["relevant"].sum(axis=1)
    lists_shown = np.minimum(np.isfinite(DATA["scores"]).sum(axis=1), k)
    if name == "precision":  # by the list's length, where that is below k
        return ours * k / lists_shown
    if name == "recall":  # by k, where more are relevant
        return ours * relevant / np.minimum(relevant, k)
    if name == "MAP":  # by the list's length, where more are relevant
        return ours * relevant / np.minimum(relevant, lists_shown)
    return ours


def test_the_data_are_those_that_the_peers_measured() -> None:
    assert fingerprint(DATA) == PEERS["data_sha256"]


def test_the_data_hold_what_could_go_wrong() -> None:
    scores, relevant = DATA["scores"], DATA["relevant"]
    tied = [
        len(set(row[right]) & set(row[~right]) - {-np.inf})
        for row, right in zip(scores, relevant, strict=True)
    ]
    assert sum(count > 0 for count in tied) > 20, "right and wrong items share a score"
    assert (np.isfinite(scores).sum(axis=1) < max(k for k in KS if k <= 20)).any(), "a list shorter than k"
    assert (relevant & np.isneginf(scores)).any(), "a target that is excluded"
    assert (relevant.sum(axis=1) > 20).any()
    assert (relevant.sum(axis=1) == 1).any()
    assert (DATA["lists"] == -1).any()
    assert (DATA["met"].sum(axis=0) == 0).any(), "an item that nobody had met"


@pytest.mark.parametrize(("name", "k"), RANKING)
def test_ranking_as_in_ranx(name: str, k: int) -> None:
    theirs = of("ranx", f"{name}@{k}")
    np.testing.assert_allclose(
        METRICS[name](DATA["relevant"], DATA["scores"], k), theirs, rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize(("name", "k"), RANKING)
def test_ranking_as_in_lenskit(name: str, k: int) -> None:
    ours = in_lenskits_terms(name, k, METRICS[name](DATA["relevant"], DATA["scores"], k))
    np.testing.assert_allclose(ours, of("lenskit", f"{name}@{k}"), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_measures_from_ranks_as_in_ranx(dtype: type) -> None:
    targets = [np.flatnonzero(row) for row in DATA["relevant"]]
    ranks = target_ranks(DATA["scores"].astype(dtype), targets)
    for name, k in RANKING:
        theirs = of("ranx", f"{name}@{k}")
        np.testing.assert_allclose(
            METRICS[name].from_ranks(ranks, k), theirs, rtol=0, atol=TOLERANCE, err_msg=f"{name}@{k}"
        )


def test_the_order_of_ties_matters_in_these_data() -> None:
    right_first = [
        [column for column in np.lexsort((~relevant, -scores)) if np.isfinite(scores[column])]
        for scores, relevant in zip(DATA["scores"], DATA["relevant"], strict=True)
    ]
    assert right_first != [ranking(*row) for row in zip(DATA["scores"], DATA["relevant"], strict=True)]
    kind = DATA["scores"] + 1e-6 * DATA["relevant"]
    gap = np.abs(ndcg(DATA["relevant"], kind, 10) - of("ranx", "NDCG@10"))
    assert gap.max() > 0.01, "a measure that ranked right items first among ties would pass the comparison"


@pytest.mark.parametrize("lists", ["lists", "full_lists"])
def test_beyond_accuracy(lists: str) -> None:
    lists_shown, features, interactions = DATA[lists], DATA["features"], DATA["met"]
    n_items = len(features)
    assert gini(lists_shown, n_items) == pytest.approx(of("lenskit", f"gini of {lists}"), abs=TOLERANCE)
    assert coverage(lists_shown, n_items) == pytest.approx(
        of("rectools", f"coverage of {lists}"), abs=TOLERANCE
    )
    new = novelty(lists_shown, interactions.sum(axis=0), len(interactions))
    np.testing.assert_allclose(new, of("rectools", f"novelty of {lists}"), rtol=0, atol=TOLERANCE)
    varied = diversity(lists_shown, features)
    theirs = np.array(of("rectools", f"diversity of {lists}"))
    pairs = (lists_shown >= 0).sum(axis=1) > 1
    np.testing.assert_allclose(varied[pairs], theirs[pairs], rtol=0, atol=TOLERANCE)
    assert np.isnan(varied[~pairs]).all(), "one item makes no pair; RecTools says 0"
