"""Intervals and tests: against scipy and a plain loop, by hand, and by how often they err in simulations."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm, permutation_test

import instructrec.evaluation as ev
from instructrec.errors import InputError
from instructrec.statistics import intervals, significance, wilson_interval
from instructrec.statistics.significance import sign_flip_p_values


def enumerated(differences: list[float]) -> float:
    """The share of all 2^n flips whose sum is as large, in whole thousandths so that nothing is rounded."""
    whole = [round(1000 * d) for d in differences]
    sums = [abs(sum(map(int.__mul__, signs, whole))) for signs in product((-1, 1), repeat=len(whole))]
    return sum(one >= abs(sum(whole)) for one in sums) / len(sums)


# The last two: sums that are equal on paper and unequal in floating point.
@pytest.mark.parametrize(
    "differences",
    [
        [1, 1, -1, 1, 0, 0, 1, 1],
        [0.5, -0.2, 0.9, 0.1, 0.4],
        [1],
        [0.1, 0.2, -0.3],
        [0.1, 0.2, 0.3, -0.6, 0.7],
    ],
)
def test_the_test_agrees_with_all_flips_counted(differences):
    n = 100_000
    p = ev.randomisation_test(differences, np.zeros(len(differences)), n_permutations=n)
    exact = enumerated(differences)
    # Four standard errors of a share of n draws.
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / n) + 2 / n)


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.05])
def test_the_test_agrees_with_scipy(shift):
    rng = np.random.default_rng(0)
    a = rng.random(150)
    b = a + rng.normal(shift, 0.25, 150)
    theirs = permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).pvalue
    ours = ev.randomisation_test(a, b, n_permutations=20_000)
    assert 0.0005 < theirs < 1
    assert ours == pytest.approx(theirs, abs=5 * np.sqrt(2 * theirs * (1 - theirs) / 20_000))


def test_p_is_never_zero_and_counts_the_observed_order():
    assert ev.randomisation_test(np.ones(100), np.zeros(100), n_permutations=99) == 0.01
    assert ev.randomisation_test([1, 2, 3], [1, 2, 3]) == 1
    assert ev.randomisation_test([1.0], [0.0]) == 1


def test_p_depends_on_the_seed_only():
    a, b = np.random.default_rng(0).random((2, 60))
    p = ev.randomisation_test(a, b, seed=3)
    assert p == ev.randomisation_test(a, b, seed=3) == ev.randomisation_test(b, a, seed=3)
    assert p != ev.randomisation_test(a, b, seed=4)


@pytest.mark.parametrize("n_users", [5, 33, 64])
def test_p_depends_neither_on_blocks_nor_on_the_columns_beside(monkeypatch, n_users):
    differences = np.random.default_rng(0).normal(0.2, 1, (n_users, 3))
    whole = sign_flip_p_values(differences, 500)
    alone = [sign_flip_p_values(differences[:, [j]], 500)[0] for j in range(3)]
    monkeypatch.setattr(significance, "_BLOCK_SIZE", 7 * n_users)
    assert whole.tolist() == alone == sign_flip_p_values(differences, 500).tolist()


@pytest.mark.parametrize("draw", ["skewed", "hits"])
def test_under_the_null_the_test_errs_as_often_as_its_level_says(draw):
    rng = np.random.default_rng(0)
    n_worlds, n_users = 2000, 60
    if draw == "skewed":
        values = rng.exponential(1, (2, n_users, n_worlds))
    else:
        values = (rng.random((2, n_users, n_worlds)) < 0.3).astype(float)
    p = sign_flip_p_values(values[0] - values[1], n_permutations=499)
    for level in (0.01, 0.05, 0.2):
        errors = (p <= level).sum()
        # All worlds meet the same flips, which costs a little: a wider band than the binomial 0.999.
        assert errors <= 1.15 * binom.ppf(0.999, n_worlds, level)
        if draw == "skewed":  # few distinct values, as with hits, make any exact test err less often
            assert errors >= 0.85 * binom.ppf(0.001, n_worlds, level)


def test_a_shift_is_found_about_as_often_as_by_the_best_test_and_more_often_if_larger():
    rng = np.random.default_rng(1)
    power = []
    for shift in (0.1, 0.3, 0.5):
        p = sign_flip_p_values(rng.normal(shift, 1, (60, 1000)), n_permutations=499)
        power.append((p <= 0.05).mean())
    # The t-test's power at 60 users: .118, .628, .967.
    assert power == pytest.approx([0.118, 0.628, 0.967], abs=0.05)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (([1, 2], [1]), "same users"),
        (([], []), "at least one"),
        (([np.nan], [1]), "at least one"),
        (([1], [np.inf]), "at least one"),
        (([[1]], [[1]]), "at least one"),
        (([1], [1], 0), "n_permutations is 0"),
    ],
)
def test_a_test_of_what_is_no_list_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        ev.randomisation_test(*call)


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and the last may not fall below the one before.
    assert ev.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert ev.holm([0.6, 0.7]).tolist() == [1, 1]
    assert ev.holm([0.2]).tolist() == [0.2]
    assert ev.holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p, random):
    adjusted = ev.holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p))).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    shuffled = random.sample(range(len(p)), len(p))
    assert ev.holm(np.array(p)[shuffled]).tolist() == adjusted[shuffled].tolist()


@pytest.mark.parametrize("bad", [[0.1, 1.1], [-0.1], [np.nan], 0.5, [[0.5]]])
def test_holm_refuses_what_is_no_list_of_probabilities(bad):
    with pytest.raises(InputError, match="p_values is"):
        ev.holm(bad)


def test_with_holm_a_family_of_equal_models_is_significant_as_rarely_as_a_pair():
    # All pairs of five equal models, 200 times: without a correction, every fourth family would be split.
    rng = np.random.default_rng(2)
    bare, corrected = 0, 0
    for _ in range(200):
        values = rng.normal(0, 1, (40, 5))
        pairs = np.column_stack([values[:, i] - values[:, j] for i in range(5) for j in range(i)])
        p = sign_flip_p_values(pairs, n_permutations=499, seed=int(rng.integers(1_000_000)))
        bare += p.min() <= 0.05
        corrected += ev.holm(p).min() <= 0.05
    assert bare > 36
    assert corrected <= binom.ppf(0.999, 200, 0.05)


def plain_bootstrap(values: np.ndarray, n_resamples: int, seed: int) -> tuple[float, float, float]:
    """The bootstrap by its definition: one resample at a time."""
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, values.size, values.size)].mean() for _ in range(n_resamples)]
    return (float(values.mean()), *map(float, np.quantile(means, [(1 - 0.95) / 2, (1 + 0.95) / 2])))


@pytest.mark.parametrize("n_users", [2, 7, 943, 3001])
def test_the_bootstrap_is_that_of_its_definition(monkeypatch, n_users):
    values = np.random.default_rng(0).random(n_users)
    plain = pytest.approx(plain_bootstrap(values, 311, seed=5), abs=1e-12)
    assert ev.bootstrap_interval(values, n_resamples=311, seed=5) == plain
    monkeypatch.setattr(intervals, "_BLOCK_SIZE", 100)
    assert ev.bootstrap_interval(values, n_resamples=311, seed=5) == plain


@pytest.mark.parametrize(("n_successes", "n_trials"), [(0, 7), (3, 10), (40, 40), (911, 943)])
def test_wilson_by_its_formula(n_successes, n_trials):
    z = norm.ppf(0.975)
    share, spread = n_successes / n_trials, z**2 / n_trials
    middle = (share + spread / 2) / (1 + spread)
    half = np.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    expected = (share, max(0, middle - half), min(1, middle + half))
    assert wilson_interval(n_successes, n_trials) == pytest.approx(expected, abs=1e-12)


def test_wilson_of_no_trial_is_unknown():
    assert np.isnan(wilson_interval(0, 0)).all()


def crossed(rng: np.random.Generator, n_seeds: int, users: float, seeds: float, noise: float) -> np.ndarray:
    """Values around 0 of 60 users under some seeds: a part of the user's, one of the seed's, one of both."""
    return rng.normal(0, users, 60) + rng.normal(0, seeds, (n_seeds, 1)) + rng.normal(0, noise, (n_seeds, 60))


@pytest.mark.parametrize(
    ("n_seeds", "spread"), [(3, (1, 0, 0)), (3, (1, 0.2, 0.3)), (5, (1, 0.1, 0.3)), (5, (0.1, 0.5, 0.3))]
)
def test_an_interval_over_seeds_covers_users_and_seeds(n_seeds, spread):
    rng = np.random.default_rng(3)
    inside = 0
    for trial in range(250):
        interval = ev.seeds_interval(crossed(rng, n_seeds, *spread), n_resamples=300, seed=trial)
        inside += interval.low <= 0 <= interval.high
    assert 0.89 <= inside / 250 <= 0.99


def test_an_interval_over_users_alone_misses_what_seeds_do():
    rng = np.random.default_rng(4)
    values = [crossed(rng, 4, 0.3, 0.5, 0.3) for _ in range(100)]
    users = [ev.bootstrap_interval(one.mean(axis=0), n_resamples=300) for one in values]
    both = [ev.seeds_interval(one, n_resamples=300) for one in values]
    assert sum(one.low <= 0 <= one.high for one in users) < 50
    assert sum(one.low <= 0 <= one.high for one in both) > 85


def test_a_difference_over_seeds_covers_the_seeds_of_both_and_pairs_the_users():
    rng = np.random.default_rng(5)
    inside = 0
    for trial in range(250):
        user = rng.normal(0, 1, 60)
        first = user + 0.2 + rng.normal(0, 0.15, (4, 1)) + rng.normal(0, 0.3, (4, 60))
        second = user + rng.normal(0, 0.15, (3, 1)) + rng.normal(0, 0.3, (3, 60))
        difference = ev.seeds_difference(first, second, n_resamples=300, seed=trial)
        assert difference.mean == pytest.approx(first.mean() - second.mean())
        # Unpaired, the users alone would make it 0.72 wide.
        inside += difference.low <= 0.2 <= difference.high
    assert 0.89 <= inside / 250 <= 0.99
    quiet = user + rng.normal(0, 0.01, (3, 60))
    difference = ev.seeds_difference(quiet + 0.1, quiet[:2])
    assert 0.09 < difference.low < difference.high < 0.11


def test_one_seed_has_the_interval_of_its_users():
    values = np.random.default_rng(0).random((2, 50))
    assert ev.seeds_interval(values[:1]) == ev.bootstrap_interval(values[0])
    assert ev.seeds_difference(values[:1], values[1:]) == ev.paired_difference(*values)


def test_seeds_that_agree_add_almost_nothing():
    values = np.random.default_rng(0).random(200)
    one, five = ev.bootstrap_interval(values), ev.seeds_interval([values] * 5)
    assert five == pytest.approx(one, abs=0.001)
    assert ev.seeds_interval([[0.5, 0.5], [0.5, 0.5]]) == (0.5, 0.5, 0.5)


def test_an_interval_over_seeds_depends_on_the_seed_only(monkeypatch):
    values = np.random.default_rng(0).random((3, 40))
    whole = ev.seeds_interval(values, seed=2)
    assert whole != ev.seeds_interval(values, seed=3)
    monkeypatch.setattr(intervals, "_BLOCK_SIZE", 100)
    assert ev.seeds_interval(values, seed=2) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: ev.seeds_interval([0.1, 0.2]), "shape .2,. over seeds"),
        (lambda: ev.seeds_interval([[0.1], [0.2, 0.3]]), "different numbers of users"),
        (lambda: ev.seeds_interval([[]]), "over seeds"),
        (lambda: ev.seeds_interval([[np.nan]]), "over seeds"),
        (lambda: ev.seeds_interval([[1.0]] * 2, confidence=95), "confidence is 95"),
        (lambda: ev.seeds_interval([[1.0]] * 2, n_resamples=0), "n_resamples is 0"),
        (lambda: ev.seeds_difference([[1.0]], [[1.0, 2.0]]), "same users"),
    ],
)
def test_an_interval_over_seeds_of_what_is_none_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()
