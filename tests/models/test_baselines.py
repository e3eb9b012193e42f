"""EASE, ALS, BPR, what is popular lately, and short histories: against formulas solved another way."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, sparse

from instructrec import models
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.models.base import history_matrix, one_thread, user_item_matrix
from instructrec.models.baselines import matrix_factorisation

N_ITEMS = 24
SMALL = {"factors": 4, "epochs": 30}
SETTINGS = {
    "item-knn": {"k": 8},
    "recently-popular": {"days": 0.5},
    "ease": {"reg": 5.0},
    "als": {**SMALL, "reg": 0.5, "alpha": 2.0},
    "bpr": {**SMALL, "learning_rate": 0.05, "reg": 0.05},
}
WITH_LENGTH = ("item-knn", "ease", "als", "bpr")
BY_LIBRARY = ("als", "bpr")


def make(events, n_items=N_ITEMS, items=None) -> Dataset:
    """A data set of (user, item, seconds)."""
    ids = list(range(n_items)) if items is None else items
    table = pd.DataFrame(
        {"item_id": ids, "title": [f"Item {i}" for i in ids], "genres": [("Drama",)] * len(ids)}
    )
    interactions = pd.DataFrame(events, columns=["user_id", "item_id", "timestamp"]).assign(rating=5.0)
    users = pd.DataFrame({"user_id": sorted(interactions["user_id"].unique())})
    return Dataset("made", users, table, interactions.astype({"timestamp": "int64"}), "genres")


@pytest.fixture(scope="module")
def clubs() -> Dataset:
    """Forty users; the even ones choose among items 0 to 9, the odd ones among 10 to 19; nobody met 20 to 23."""
    rng = np.random.default_rng(5)
    events = []
    for user in range(40):
        chosen = rng.permutation(10)[: rng.integers(4, 8)] + 10 * (user % 2)
        events += [(user, int(item), 3600 * (user + len(events))) for item in chosen]
    return make([*events, events[0]])  # the last event is a repetition, which must not count


@pytest.fixture(scope="module")
def fitted(clubs) -> dict[str, models.Recommender]:
    return {name: models.create(name, **settings).fit(clubs) for name, settings in SETTINGS.items()}


# -- what all share -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
def test_a_saved_model_scores_the_same(name, fitted, tmp_path):
    histories = [[], [3], [10, 11, 12, 3], [20]]
    loaded = models.load(fitted[name].save(tmp_path / "model"))
    np.testing.assert_array_equal(fitted[name].score(histories), loaded.score(histories))
    assert loaded.settings == fitted[name].settings


@pytest.mark.parametrize("name", SETTINGS)
def test_a_request_does_not_depend_on_the_others(name, fitted):
    """Row by row as in one call; the product of two matrices may round otherwise for other shapes."""
    histories = [[], [3], [10, 11, 12, 3], [7, 7, 2]]
    together = fitted[name].score(histories)
    assert together.dtype == np.float32
    for row, history in zip(together, histories, strict=True):
        np.testing.assert_allclose(fitted[name].score([history])[0], row, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", WITH_LENGTH)
def test_length_reads_the_end_of_the_history(name, clubs, fitted):
    short = models.create(name, **SETTINGS[name], length=2).fit(clubs)
    scores = short.score([[1, 2, 3, 14, 15]])
    if name != "bpr":  # BPR counts no item of the whole history as wrong; its own test is below
        np.testing.assert_array_equal(scores, short.score([[14, 15]]))
    np.testing.assert_allclose(short.score([[14, 15]]), fitted[name].score([[14, 15]]), rtol=1e-6)
    assert not np.allclose(scores, fitted[name].score([[1, 2, 3, 14, 15]]))
    np.testing.assert_array_equal(short.score([[3]]), fitted[name].score([[3]]))


@pytest.mark.parametrize("name", WITH_LENGTH)
def test_the_club_of_the_history_comes_first(name, fitted):
    """What is planted is found: with three items of one club, the others of it rank above the other club's."""
    scores = fitted[name].score([[1, 4, 8], [11, 14, 18]])
    rest = [i for i in range(10) if i not in (1, 4, 8)]
    for row, own, other in ((0, 0, 10), (1, 10, 0)):
        assert np.median(scores[row, [own + i for i in rest]]) > scores[row, other : other + 10].max()


def test_a_repeated_item_of_a_history_counts_once():
    matrix = history_matrix([np.array([3, 1, 3]), np.array([], dtype=int), np.array([2, 0, 1])], 4)
    np.testing.assert_array_equal(matrix.toarray(), [[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]])
    shorter = history_matrix([np.array([3, 1, 3]), np.array([2, 0, 1])], 4, length=2)
    np.testing.assert_array_equal(shorter.toarray(), [[0, 1, 0, 1], [1, 1, 0, 0]])


def test_a_repeated_event_counts_once(clubs):
    matrix = user_item_matrix(clubs)
    assert matrix.shape == (40, N_ITEMS)
    assert matrix.nnz == clubs.n_interactions - 1
    assert set(matrix.data) == {1.0}


# -- what is popular lately -----------------------------------------------------------------------------------


def test_popularity_of_the_last_days_counts_users():
    day = 86_400
    early = [(1, 0, 0), (2, 0, 1), (3, 0, 2), (4, 3, 2 * day)]
    data = make([*early, (1, 1, 2 * day + 1), (1, 1, 2 * day + 5), (2, 2, 3 * day)], 4)
    score = {
        days: models.create("recently-popular", days=days).fit(data).score([[]])[0] for days in (1, 2, 9)
    }
    np.testing.assert_array_equal(score[1], [0, 1, 1, 0])  # exactly one day before the end is no longer in
    np.testing.assert_array_equal(score[2], [0, 1, 1, 1])
    np.testing.assert_array_equal(score[9], [3, 1, 1, 1])
    half = models.create("recently-popular", days=0.5).fit(data).score([[], [2]])
    np.testing.assert_array_equal(half, [[0, 0, 1, 0]] * 2)


# -- EASE -----------------------------------------------------------------------------------------------------


def test_ease_is_a_ridge_regression_of_each_item_on_the_others(clubs, fitted):
    """The weights of column j, found by least squares on all other columns, with the penalty as extra rows."""
    matrix = user_item_matrix(clubs).toarray().astype(float)
    expected = np.zeros((N_ITEMS, N_ITEMS))
    for j in range(N_ITEMS):
        others = np.delete(np.arange(N_ITEMS), j)
        rows = np.vstack([matrix[:, others], np.sqrt(5.0) * np.eye(N_ITEMS - 1)])
        expected[others, j] = np.linalg.lstsq(rows, np.append(matrix[:, j], np.zeros(N_ITEMS - 1)))[0]
    np.testing.assert_allclose(fitted["ease"].score([[i] for i in range(N_ITEMS)]), expected, atol=1e-6)


def test_ease_says_nothing_of_an_item_that_nobody_met(fitted):
    scores = fitted["ease"].score([[20], [1, 2]])
    assert not scores[0].any()
    assert not scores[1, 20:].any()


def test_ease_follows_the_catalogues_order(clubs):
    order = np.random.default_rng(0).permutation(N_ITEMS)
    turned = make(
        clubs.interactions[["user_id", "item_id", "timestamp"]].to_numpy().tolist(), items=order.tolist()
    )
    scores = models.create("ease", reg=5.0).fit(turned).score([[1, 4]])
    usual = models.create("ease", reg=5.0).fit(clubs).score([[1, 4]])
    np.testing.assert_allclose(scores, usual[:, order], atol=1e-6)


# -- ALS ------------------------------------------------------------------------------------------------------


def test_als_folds_in_as_the_library_does(clubs):
    """The library's own user factors for the same item factors; its confidence is 1 + alpha where an item was met."""
    from implicit.cpu.als import AlternatingLeastSquares

    model = models.create("als", **SETTINGS["als"]).fit(clubs)
    with one_thread():
        library = AlternatingLeastSquares(factors=4, regularization=0.5, num_threads=1)
    library.item_factors = model.item_factors
    histories = [[3], [10, 11, 12, 3], list(range(20))]
    rows = [np.sort(h) for h in histories]
    weights = history_matrix(rows, N_ITEMS) * np.float32(3)
    users = library.recalculate_user(np.arange(3), sparse.csr_matrix(weights))
    np.testing.assert_allclose(model.score(histories), users @ model.item_factors.T, rtol=1e-3, atol=1e-5)


def test_als_finds_the_minimum_of_its_criterion(clubs):
    """After many rounds the gradient with respect to the items vanishes, at user factors folded in by NumPy."""
    model = models.create("als", factors=4, epochs=400, reg=0.5, alpha=2.0).fit(clubs)
    matrix = user_item_matrix(clubs).toarray()
    items = model.item_factors.astype(float)
    scores = model.score([np.flatnonzero(row).tolist() for row in matrix]).astype(float)
    users = scores @ np.linalg.pinv(items.T)
    np.testing.assert_allclose(users @ items.T, scores, atol=1e-5)
    confidence = 1 + 2.0 * matrix
    gradient = -((confidence * (matrix - scores)).T @ users) + 0.5 * items
    assert np.abs(gradient).max() < 0.01
    assert np.abs(users).max() > 0.3  # not the minimum of all zeros


def test_als_gives_nothing_to_an_item_that_nobody_met(clubs):
    """Nothing of the random start is left, not even after one round with many factors."""
    model = models.create("als", factors=16, epochs=1).fit(clubs)
    assert model.item_factors[:20].any(axis=1).all()
    assert not model.score([[1, 2]])[0, 20:].any()
    assert not model.score([[]]).any()


# -- BPR ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [None, 2])
def test_bpr_folds_in_at_the_minimum_of_its_criterion(length, clubs):
    """The user factors against SciPy's general minimiser on the criterion as it is written in the docstring."""
    model = models.create("bpr", **SETTINGS["bpr"], length=length).fit(clubs)
    items, biases = model.item_factors.astype(float), model.item_biases.astype(float)
    history = [1, 4, 13, 8]
    free = ~np.isin(model.negative_items, history)
    wrong, share = (
        model.negative_items[free],
        model.negative_weights[free] / model.negative_weights[free].sum(),
    )

    def criterion(x):
        scores = items @ x + biases
        lead = scores[history if length is None else history[-length:]][:, None] - scores[wrong]
        return (np.logaddexp(0, -lead) @ share).mean() + 0.05 / 2 * x @ x

    best = optimize.minimize(criterion, np.ones(4), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(model.score([history])[0], items @ best.x + biases, atol=1e-4)


def test_bpr_converges_from_far_and_with_little_regularisation():
    """Items that are long, ill placed and separable: a full Newton step would leap over the minimum."""
    rng = np.random.default_rng(1)
    right, wrong = 30 * rng.normal(size=(3, 5)), 30 * rng.normal(size=(6, 5))
    a, c = 50 * rng.normal(size=3), 50 * rng.normal(size=6)
    weights = np.full(6, 1 / 6)
    x = matrix_factorisation._pairwise_minimum(right, wrong, a, c, weights, 1e-3)
    lead = (right @ x + a)[:, None] - (wrong @ x + c)
    lost = weights * np.exp(-np.logaddexp(0, lead)) / 3
    gradient = 1e-3 * x + lost.sum(axis=0) @ wrong - lost.sum(axis=1) @ right
    assert np.abs(gradient).max() < 1e-4


def test_bpr_folds_a_known_user_in_near_where_training_left_him(clubs):
    """Folded in users order the items as the library's own users do, who were fitted by other means."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    settings = {"learning_rate": 0.05, "random_state": 0, "num_threads": 1}
    library = BayesianPersonalizedRanking(factors=4, regularization=0.05, iterations=300, **settings)
    matrix = user_item_matrix(clubs)
    library.fit(matrix, show_progress=False)
    model = models.create("bpr", factors=4, reg=0.05, epochs=300, learning_rate=0.05, seed=0).fit(clubs)
    np.testing.assert_array_equal(model.item_factors, library.item_factors[:, :-1])
    theirs = library.user_factors @ library.item_factors.T
    ours = model.score([row.indices.tolist() for row in matrix])
    agreement = [np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs, strict=True)]
    assert np.min(agreement) > 0.9


def test_bpr_ranks_a_newcomer_by_the_biases(fitted):
    model = fitted["bpr"]
    np.testing.assert_array_equal(model.score([[]])[0], model.item_biases)
    everything = model.score([model.negative_items.tolist()])[0]  # no wrong item is left to win against
    np.testing.assert_array_equal(everything, model.item_biases)


# -- the library ----------------------------------------------------------------------------------------------

FIT = """
import hashlib, sys
sys.path.insert(0, {root!r})
import numpy as np
from tests.models.test_baselines import SETTINGS, clubs, make
from instructrec import models
data = clubs.__wrapped__() if hasattr(clubs, "__wrapped__") else clubs._get_wrapped_function()()
for name in ("als", "bpr"):
    factors = models.create(name, **SETTINGS[name], seed=3).fit(data).item_factors
    print(hashlib.sha256(factors.tobytes()).hexdigest())
# EASE on 700 items, where the library under SciPy would use all threads
rng = np.random.default_rng(0)
events = [(u, int(i), 0) for u in range(300) for i in rng.choice(700, 30, replace=False)]
weights = models.create("ease").fit(make(events, 700)).weights
print(hashlib.sha256(weights.tobytes()).hexdigest())
"""


def test_a_seed_gives_the_same_bits_whatever_the_threads(pytestconfig):
    """Two processes, one and four threads: factors and weights are equal bit by bit."""
    import os

    printed = []
    for threads in ("1", "4"):
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "error::RuntimeWarning",
                "-c",
                FIT.format(root=str(pytestconfig.rootpath)),
            ],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.split())
    assert len(printed[0]) == 3
    assert printed[0] == printed[1]


@pytest.mark.parametrize("name", BY_LIBRARY)
def test_another_seed_gives_another_model(name, clubs):
    one, same, other = (models.create(name, **SETTINGS[name], seed=s).fit(clubs) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.score([[1, 4]]), same.score([[1, 4]]))
    assert not np.allclose(one.score([[1, 4]]), other.score([[1, 4]]))


@pytest.mark.parametrize("name", BY_LIBRARY)
def test_without_the_library_fitting_says_what_to_install_and_scoring_works(
    name, fitted, clubs, tmp_path, monkeypatch
):
    expected = fitted[name].score([[1, 4]])
    fitted[name].save(tmp_path / "model")
    for module in [m for m in sys.modules if m == "implicit" or m.startswith("implicit.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "implicit", None)
    np.testing.assert_array_equal(models.load(tmp_path / "model").score([[1, 4]]), expected)
    with pytest.raises(
        InputError, match=r"needs the library implicit .*pip install 'instructrec\[factors\]'"
    ):
        models.create(name).fit(clubs)


def test_a_fit_that_runs_off_is_refused(clubs):
    with pytest.raises(InputError, match="bpr ran off to numbers that are not finite"):
        models.create("bpr", factors=4, epochs=50, learning_rate=1e6).fit(clubs)


# -- names and settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "setting", "value", "says"),
    [
        ("item-knn", "length", 0, "length is 0; a whole number of at least 1, or None for all"),
        ("item-knn", "length", True, "length is True"),
        ("ease", "reg", 0, "reg is 0; a number above 0"),
        ("ease", "reg", float("inf"), "reg is inf"),
        ("ease", "reg", float("nan"), "reg is nan"),
        ("ease", "reg", True, "reg is True"),
        ("ease", "length", -1, "length is -1"),
        ("ease", "lambda_", 1, "unknown setting of ease"),
        ("recently-popular", "days", 0, "days is 0; a number above 0"),
        ("recently-popular", "days", "week", "days is 'week'"),
        ("als", "factors", 0, "factors is 0; a whole number of at least 1"),
        ("als", "reg", -1, "reg is -1"),
        ("als", "alpha", -0.5, "alpha is -0.5; a number of at least 0"),
        ("als", "epochs", 1.5, "epochs is 1.5"),
        ("als", "seed", -1, "seed is -1"),
        ("als", "length", "ten", "length is 'ten'"),
        ("bpr", "reg", 0.0, "reg is 0.0; a number above 0"),
        ("bpr", "learning_rate", 0, "learning_rate is 0"),
        ("bpr", "seed", 2**32, "seed is 4294967296"),
    ],
)
def test_settings_out_of_range(name, setting, value, says):
    with pytest.raises(InputError, match=says) as caught:
        models.create(name, **{setting: value})
    assert "\n" not in str(caught.value)
