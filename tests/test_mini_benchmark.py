"""The figures of benchmarks/mini.py, on lists that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import mini


def test_figures_of_a_list():
    scores = np.array([[-np.inf, *range(20, 0, -1)]])
    wanted = np.zeros((1, 21), dtype=bool)
    wanted[0, [0, 2, 3, 15]] = (
        True  # column 0 was met before: three can be shown, two are among the first ten
    )
    share, own, simple = mini.figures(scores, scores, wanted, wanted, np.array([3]))[0]
    assert share == pytest.approx(2 / 3)
    assert own == pytest.approx(1 / np.log2(4))
    assert simple == pytest.approx(1 / np.log2(3))
    violation = mini.figures(scores, scores, wanted, ~wanted, np.array([1]), violated=True)[0, 0]
    assert violation == pytest.approx(0.2)


def test_a_summary_is_a_ratio_of_means_over_the_requests_that_are_asked():
    rows = np.array([[1.0, 0.5, 0.25], [0.5, 0.5, 0.75], [np.nan, np.nan, np.nan]])
    found = mini.summary([rows, rows])
    assert found["requests"] == 2
    assert (found["obeyed"], found["ndcg"], found["sasrec"]) == (0.75, 0.5, 0.5)
    assert found["ratio"] == 1
    assert found["interval"][0] == pytest.approx(2 / 3)
    assert found["interval"][1] == pytest.approx(2)


def test_nothing_is_compared_with_nothing():
    found = mini.summary([np.array([[1.0, 0.5, 0.0], [0.5, 0.5, 0.0]])])
    assert found["ratio"] is found["interval"] is None
