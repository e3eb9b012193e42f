"""The light recommenders: what they compute, the calls they share, saving and loading, and what they import."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from instructrec import models
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.models import FilteredRecommender

LIGHT = ("random", "most-popular", "item-knn")


@pytest.fixture
def tiny() -> Dataset:
    items = pd.DataFrame(
        {
            "item_id": [10, 20, 30, 40],
            "title": ["Ten", "Twenty", "Thirty", "Forty"],
            "genres": [("Comedy",), ("Drama",), ("Comedy", "Drama"), ("War",)],
        }
    )
    events = [(1, 10), (1, 20), (2, 10), (2, 20), (2, 30), (3, 10), (3, 30), (4, 10), (4, 10)]
    interactions = pd.DataFrame(events, columns=["user_id", "item_id"]).assign(
        rating=5.0, timestamp=np.arange(len(events), dtype=np.int64)
    )
    users = pd.DataFrame({"user_id": [1, 2, 3, 4, 5]})
    return Dataset("tiny", users, items, interactions, "genres")


@pytest.mark.parametrize("name", LIGHT)
def test_save_and_load_give_the_same_scores(name, tiny, tmp_path):
    model = models.create(name).fit(tiny)
    loaded = models.load(model.save(tmp_path / "model"))
    histories = [[], [10], [20, 30]]
    np.testing.assert_array_equal(model.score(histories), loaded.score(histories))
    pd.testing.assert_frame_equal(model.recommend([10]), loaded.recommend([10]))
    assert json.loads((tmp_path / "model" / "model.json").read_text())["settings"] == model.settings


@pytest.mark.parametrize("name", LIGHT)
def test_recommend_leaves_out_the_history_and_ranks_from_one(name, tiny):
    table = models.create(name).fit(tiny).recommend([10, 20], n=10)
    assert list(table.columns) == ["item_id", "title", "score", "rank"]
    assert set(table["item_id"]) == {30, 40}
    assert table["rank"].tolist() == [1, 2]
    assert table["score"].is_monotonic_decreasing


def test_popularity_counts_users_not_events(tiny):
    scores = models.create("most-popular").fit(tiny).score([[], [40]])
    np.testing.assert_array_equal(scores, [[4, 2, 2, 0]] * 2)


def test_item_knn_is_the_shrunk_cosine(tiny):
    scores = models.create("item-knn", k=3, shrink=2).fit(tiny).score([[10], [10, 20]])
    with_20 = 2 / (np.sqrt(4) * np.sqrt(2) + 2)
    between_20_and_30 = 1 / (np.sqrt(2) * np.sqrt(2) + 2)
    np.testing.assert_allclose(scores[0], [0, with_20, with_20, 0], rtol=1e-6)
    np.testing.assert_allclose(scores[1, 2], with_20 + between_20_and_30, rtol=1e-6)


def test_item_knn_keeps_k_neighbours(tiny):
    model = models.create("item-knn", k=1, shrink=0).fit(tiny)
    # 30's nearest is 10, so that a history of 20 says nothing about it.
    assert model.score([[20]])[0, 2] == 0
    assert model.score([[10]])[0, 2] > 0


def test_random_depends_on_seed_and_history_only(tiny):
    one, other = (models.create("random", seed=seed).fit(tiny) for seed in (0, 1))
    np.testing.assert_array_equal(one.score([[10], [20]])[1:], one.score([[20]]))
    assert not np.array_equal(one.score([[10]]), one.score([[20]]))
    assert not np.array_equal(one.score([[10]]), other.score([[10]]))


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("no-such", {}, "unknown model"),
        ("most-populr", {}, "did you mean most-popular"),
        ("smollm2", {"shots": -1}, "shots is -1"),
        ("smollm2", {"user_share": 1.5}, "user_share is 1.5"),
        ("smollm2", {"user_share": 0}, "user_share is 0"),
        ("smollm2", {"target_modules": "query"}, "target_modules is 'query'"),
        ("smollm2", {"target_modules": ["keys"]}, "did you mean key"),
        ("smollm2", {"kinds": ["categry"]}, "did you mean category"),
        ("smollm2", {"dtype": "int8"}, "dtype is 'int8'"),
        ("smollm2", {"per_token": 1}, "per_token is 1"),
        ("smollm2", {"epochs": -1}, "epochs is -1"),
        ("item-knn", {"k": 0}, "k is 0"),
        ("item-knn", {"shrink": -1.0}, "shrink is -1.0"),
        ("item-knn", {"neighbours": 3}, "unknown setting"),
        ("random", {"seed": -1}, "seed is -1"),
        ("three-tower", {"seed": -1}, "seed is -1"),
        ("three-tower", {"seed": "one"}, "seed is 'one'"),
        ("three-tower", {"dropout": "much"}, "dropout is 'much'"),
        ("three-tower", {"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ("three-tower", {"learning_rate": float("inf")}, "learning_rate is inf"),
        ("three-tower", {"instruction_share": None}, "instruction_share is None"),
    ],
)
def test_bad_names_and_settings(name, settings, says):
    with pytest.raises(InputError, match=says):
        models.create(name, **settings)


def test_an_unfitted_model_says_so():
    with pytest.raises(InputError, match="not fitted"):
        models.create("most-popular").score([[1]])


def test_light_models_import_nothing_heavy():
    code = (
        "import sys, instructrec, instructrec.datasets\n"
        "from instructrec import models\n"
        "light = ('random', 'most-popular', 'recently-popular', 'item-knn', 'ease', 'als', 'bpr')\n"
        "for name in light: models.create(name)\n"
        "heavy = {'tensorflow', 'keras', 'implicit', 'scipy.sparse', 'matplotlib', 'pyarrow.dataset', 'pandera'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_saving_never_replaces_a_folder_of_other_files(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="other files"):
        models.create("most-popular").fit(tiny).save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_loaded_model_still_knows_what_is_popular(tiny, tmp_path):
    loaded = models.load(models.create("most-popular").fit(tiny).save(tmp_path / "model"))
    assert set(loaded.recommend([], instruction="popularity >= 0.9")["item_id"]) == {10}


def test_an_item_that_must_not_be_shown_is_not_recommended(tiny):
    """Scores of minus infinity mark items that do not qualify, as `FilteredRecommender` gives them."""
    model = FilteredRecommender(models.create("most-popular")).fit(tiny)
    assert model.recommend([], instruction="genres = Drama", n=4)["item_id"].tolist() == [20, 30]
    assert model.recommend([], "genres = Drama", candidates=[10, 30])["item_id"].tolist() == [30]


def test_candidates_that_the_user_has_all_met_are_refused(tiny):
    model = models.create("most-popular").fit(tiny)
    with pytest.raises(InputError, match="every item that qualifies is in the history"):
        model.recommend([10, 20], candidates=[20, 10])
    assert len(model.recommend([10, 20], candidates=[20, 10], exclude_seen=False)) == 2
