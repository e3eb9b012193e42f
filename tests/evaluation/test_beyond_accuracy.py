"""What accuracy does not see: by brute force over positions and pairs, by hand, and by what must hold of any lists."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.evaluation import beyond_accuracy as beyond

N_ITEMS = 12


@st.composite
def some_lists(draw):
    """Up to twelve lists of up to six different items, some positions empty."""
    k = draw(st.integers(1, 6))
    rows = draw(
        st.lists(
            st.lists(st.integers(0, N_ITEMS - 1), min_size=0, max_size=k, unique=True),
            min_size=1,
            max_size=12,
        )
    )
    return np.array([row + [-1] * (k - len(row)) for row in rows])


@given(some_lists())
def test_coverage_is_the_union_of_the_lists(lists):
    union = {item for row in lists.tolist() for item in row} - {-1}
    assert beyond.coverage(lists, N_ITEMS) == pytest.approx(len(union) / N_ITEMS, abs=1e-12)


@given(some_lists().filter(lambda lists: (lists >= 0).any()))
def test_gini_is_half_the_relative_mean_difference(lists):
    exposure = [int((lists == item).sum()) for item in range(N_ITEMS)]
    differences = sum(abs(a - b) for a in exposure for b in exposure)
    by_pairs = differences / (2 * N_ITEMS**2 * np.mean(exposure))
    assert beyond.gini(lists, N_ITEMS) == pytest.approx(by_pairs, abs=1e-9)


def test_gini_at_its_ends():
    assert beyond.gini([[0, 1], [2, 3]], 4) == pytest.approx(0, abs=1e-12)
    assert beyond.gini([[0], [0], [0]], 4) == pytest.approx(1 - 1 / 4, abs=1e-12)
    assert beyond.gini([[0, 1]], 4) == pytest.approx(0.5, abs=1e-12)


@given(some_lists(), st.integers(0, 10_000))
def test_novelty_by_brute_force(lists, seed):
    counts = np.random.default_rng(seed).integers(0, 50, N_ITEMS)
    values = beyond.novelty(lists, counts, 50)
    for row, value in zip(lists, values, strict=True):
        bits = [-np.log2(max(counts[item], 1) / 50) for item in row if item >= 0]
        assert value == pytest.approx(np.mean(bits) if bits else np.nan, abs=1e-9, nan_ok=True)


def test_novelty_by_hand_and_an_item_that_nobody_met():
    counts = [8, 4, 1, 0]
    assert beyond.novelty([[0, 1], [2, -1], [3, -1], [-1, -1]], counts, 8).tolist() == pytest.approx(
        [0.5, 3, 3, np.nan], nan_ok=True
    )


@given(some_lists(), st.integers(0, 10_000))
def test_diversity_by_brute_force(lists, seed):
    features = (np.random.default_rng(seed).random((N_ITEMS, 4)) < 0.4).astype(float)
    similar = cosine_similarity(features)
    values = beyond.diversity(lists, features)
    assert values.shape == (len(lists),)
    for row, value in zip(lists, values, strict=True):
        unlike = [1 - similar[i, j] for i, j in combinations([item for item in row if item >= 0], 2)]
        assert value == pytest.approx(np.mean(unlike) if unlike else np.nan, abs=1e-9, nan_ok=True)


def test_diversity_by_hand():
    features = [[1, 0], [1, 0], [0, 1], [1, 1], [0, 0]]
    lists = [[0, 1], [0, 2], [0, 3], [0, 4], [0, -1], [-1, 3]]
    assert beyond.diversity(lists, features).tolist() == pytest.approx(
        [0, 1, 1 - 1 / np.sqrt(2), 1, np.nan, np.nan], nan_ok=True
    )


def test_diversity_takes_more_lists_than_a_block_holds():
    rng = np.random.default_rng(0)
    lists = rng.permuted(np.tile(np.arange(N_ITEMS), (2 * beyond._BLOCK_ROWS + 5, 1)), axis=1)[:, :3]
    features = rng.random((N_ITEMS, 4))
    values = beyond.diversity(lists, features)
    assert values[[0, beyond._BLOCK_ROWS, -1]] == pytest.approx(
        [beyond.diversity(lists[[row]], features)[0] for row in (0, beyond._BLOCK_ROWS, -1)], abs=1e-12
    )


@given(some_lists().filter(lambda lists: (lists >= 0).any()), st.integers(0, 10_000))
def test_names_of_items_and_the_order_of_places_do_not_matter(lists, seed):
    rng = np.random.default_rng(seed)
    counts, features = rng.integers(0, 9, N_ITEMS), rng.random((N_ITEMS, 3))
    new_name = rng.permutation(N_ITEMS)
    renamed = np.where(lists >= 0, new_name[lists], -1)[:, ::-1]
    new_counts, new_features = np.empty_like(counts), np.empty_like(features)
    new_counts[new_name], new_features[new_name] = counts, features
    assert beyond.coverage(renamed, N_ITEMS) == beyond.coverage(lists, N_ITEMS)
    assert beyond.gini(renamed, N_ITEMS) == pytest.approx(beyond.gini(lists, N_ITEMS), abs=1e-12)
    assert beyond.novelty(renamed, new_counts, 9) == pytest.approx(
        beyond.novelty(lists, counts, 9), abs=1e-12, nan_ok=True
    )
    assert beyond.diversity(renamed, new_features) == pytest.approx(
        beyond.diversity(lists, features), abs=1e-9, nan_ok=True
    )


def test_the_best_seller_list_is_narrow_uneven_and_familiar():
    rng = np.random.default_rng(0)
    counts = np.arange(N_ITEMS, 0, -1)
    best_sellers = np.tile(np.arange(3), (200, 1))
    by_chance = rng.permuted(np.tile(np.arange(N_ITEMS), (200, 1)), axis=1)[:, :3]
    assert beyond.coverage(best_sellers, N_ITEMS) == 0.25
    assert beyond.coverage(by_chance, N_ITEMS) == 1
    assert beyond.gini(best_sellers, N_ITEMS) == pytest.approx(0.75)
    assert beyond.gini(by_chance, N_ITEMS) < 0.1
    assert (
        beyond.novelty(best_sellers, counts, 12).mean() < beyond.novelty(by_chance, counts, 12).mean() - 0.5
    )


@pytest.fixture
def world():
    interactions = pd.DataFrame(
        {"user_id": [1, 1, 1, 2], "item_id": ["c", "a", "a", "a"], "rating": 1.0, "timestamp": range(4)}
    )
    items = pd.DataFrame({"item_id": list("abc"), "title": list("ABC"), "genres": [("y", "x"), (), ("z",)]})
    return Dataset("w", pd.DataFrame({"user_id": [1, 2]}), items, interactions, category_field="genres")


def test_a_user_counts_once_for_an_item_and_categories_become_columns(world):
    assert beyond.users_of_items(world).tolist() == [2, 0, 1]
    assert beyond.category_vectors(world).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert beyond.users_of_items(world.with_interactions(world.interactions.iloc[:0])).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("call", "message_part"),
    [
        (lambda: beyond.coverage([[0, 3]], 3), "list 0 holds column 3"),
        (lambda: beyond.coverage([[0], [-2]], 3), "list 1 holds column -2"),
        (lambda: beyond.coverage([[0, 1], [2, 2]], 3), "list 1 shows column 2 twice"),
        (lambda: beyond.coverage([0, 1], 3), "shape"),
        (lambda: beyond.coverage([[0.0]], 3), "float64"),
        (lambda: beyond.coverage(np.empty((0, 3), dtype=int), 3), "shape"),
        (lambda: beyond.coverage([[0]], 0), "n_items is 0"),
        (lambda: beyond.gini([[-1]], 3), "no item"),
        (lambda: beyond.novelty([[0]], [-1, 2], 3), "counts"),
        (lambda: beyond.novelty([[0]], [4, 2], 3), "counts"),
        (lambda: beyond.novelty([[0]], [np.nan, 2], 3), "counts"),
        (lambda: beyond.novelty([[0]], [0, 0], 0), "n_users is 0"),
        (lambda: beyond.novelty([[2]], [1, 1], 3), "list 0 holds column 2"),
        (lambda: beyond.diversity([[0]], [1.0, 2.0]), "features"),
        (lambda: beyond.diversity([[0]], [[np.inf]]), "features"),
        (lambda: beyond.diversity([[1]], [[1.0]]), "list 0 holds column 1"),
    ],
)
def test_what_cannot_be_measured_is_named_in_one_line(call, message_part):
    with pytest.raises(InputError, match=message_part) as caught:
        call()
    assert "\n" not in str(caught.value)
