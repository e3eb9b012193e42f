"""The two-tower model: that NumPy scores as Keras does, who competes in its softmax, and that it learns."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from instructrec import models
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.models.neural import two_tower
from instructrec.models.neural.two_tower import TwoTower

SMALL = {"embedding_size": 8, "hidden_size": 12, "length": 3, "batch_size": 64, "learning_rate": 0.03}
N_ITEMS = 12
HISTORIES = [[], [100], [103, 101, 105], [*range(100, 110)], [111, 100, 111]]


@pytest.fixture(scope="module")
def ring() -> Dataset:
    """Twelve items in a ring and users who walk it from anywhere: the item before tells the one that follows."""
    items = pd.DataFrame(
        {
            "item_id": np.arange(100, 100 + N_ITEMS),
            "title": [f"Film {n}" for n in range(N_ITEMS)],
            "genres": [("Drama", "War") if n % 3 else ("Comedy",) for n in range(N_ITEMS)],
        }
    )
    events = [
        (user, 100 + (user + step) % N_ITEMS, 1000 * step + user)
        for step in range(8)
        for user in reversed(range(48))
    ]
    interactions = pd.DataFrame(events, columns=["user_id", "item_id", "timestamp"]).assign(rating=4.0)
    return Dataset("ring", pd.DataFrame({"user_id": range(48)}), items, interactions, "genres")


@pytest.fixture(
    scope="module",
    params=[
        {},
        {"pooling": "mean", "temperature": None, "rivals": "unseen", "dropout": 0.0},
    ],
    ids=["as set", "plain"],
)
def fitted(request, ring) -> TwoTower:
    return TwoTower(**{**SMALL, "epochs": 25, **request.param}).fit(ring)


def test_numpy_scores_as_keras_does(fitted, ring):
    user, item = fitted.towers
    columns = [ring.item_columns(history) for history in HISTORIES]
    ids = np.zeros((len(columns), 3), dtype=np.int32)
    for row, history in zip(ids, columns, strict=True):
        row[3 - len(history[-3:]) :] = history[-3:] + 1
    trainer = two_tower.build_trainer(user, item, N_ITEMS, fitted.settings["temperature"])
    rivals = np.ones((len(ids), N_ITEMS), dtype=bool)
    rivals[2, 4] = False
    logits = np.asarray(trainer([ids, np.arange(1, N_ITEMS + 1), rivals], training=False))
    assert logits[2, 4] < -1e8
    scores = fitted.score(HISTORIES)
    np.testing.assert_allclose(scores[rivals], logits[rivals], rtol=1e-4, atol=1e-4)
    assert np.ptp(scores[1:], axis=1).min() > 1


def test_scores_are_cosines_over_the_temperature_plus_the_items_own_term(fitted, ring):
    users = fitted.user_vectors([ring.item_columns(history) for history in HISTORIES])
    items, own = fitted.item_vectors(), fitted.weights["item_bias/0"][1:, 0]
    temperature = fitted.settings["temperature"]
    for row, u in zip(fitted.score(HISTORIES), users, strict=True):
        for score, v, b in zip(row, items, own, strict=True):
            z = u @ v
            if temperature is not None:
                z = z / np.linalg.norm(u) / np.linalg.norm(v) / temperature
            assert score == pytest.approx(z + b, rel=1e-4, abs=1e-4)


def test_it_learns_what_comes_next(fitted):
    scores = fitted.score([[100 + n, 100 + (n + 1) % N_ITEMS] for n in range(N_ITEMS)])
    best = (np.arange(N_ITEMS) + 2) % N_ITEMS
    # Items of earlier events are no negatives and may have any rank, so they are excluded as in a recommendation.
    for n, row in enumerate(scores):
        row[[n, (n + 1) % N_ITEMS]] = -np.inf
    assert np.mean(scores.argmax(axis=1) == best) > 0.9
    loss = fitted.history["loss"]
    assert loss[-1] < 0.7 * loss[0]


def test_only_the_last_items_are_read_and_each_request_alone(fitted):
    together = fitted.score(HISTORIES)
    assert together.dtype == np.float32
    for row, history in zip(together, HISTORIES, strict=True):
        np.testing.assert_allclose(fitted.score([history])[0], row, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(fitted.score([history[-3:]])[0], row, rtol=1e-5, atol=1e-5)
    assert fitted.score([]).shape == (0, N_ITEMS)


def test_a_mean_forgets_the_order_and_learnt_weights_do_not(fitted):
    one, other = fitted.score([[103, 101, 105], [105, 101, 103]])
    assert np.allclose(one, other, atol=1e-4) == (fitted.settings["pooling"] == "mean")


def test_a_saved_model_scores_the_same(fitted, tmp_path):
    loaded = models.load(fitted.save(tmp_path / "model"))
    assert isinstance(loaded, TwoTower)
    np.testing.assert_array_equal(loaded.score(HISTORIES), fitted.score(HISTORIES))
    assert loaded.settings == fitted.settings
    assert loaded.n_parameters == fitted.n_parameters
    for ours, theirs in zip(fitted.towers, loaded.towers, strict=True):
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_parameters_are_counted(fitted):
    n_categories, width, hidden = 3, 8, 12
    expected = (N_ITEMS + 1) * (width + 1)
    expected += (
        (width + n_categories + 1) * hidden + (hidden + 1) * width + (width + n_categories + 1) * width
    )
    expected += 3 if fitted.settings["pooling"] == "weighted" else 0
    assert fitted.n_parameters == expected


def test_the_same_seed_gives_the_same_model_and_on_epoch_one_that_scores(ring):
    seen = []
    one, same, other = (TwoTower(**SMALL, epochs=2, seed=seed) for seed in (0, 0, 1))
    one.fit(ring, on_epoch=lambda number, now: seen.append((number, now.score(HISTORIES))))
    scores = one.score(HISTORIES)
    assert [number for number, _ in seen] == [1, 2]
    assert not np.array_equal(seen[0][1], scores)
    np.testing.assert_array_equal(seen[1][1], scores)
    np.testing.assert_array_equal(same.fit(ring).score(HISTORIES), scores)
    assert one.history == same.history
    assert len(one.history["loss"]) == 2
    assert not np.array_equal(other.fit(ring).score(HISTORIES), scores)


class TestBatches:
    """The training examples against a loop over the histories."""

    def make(self, dataset, **settings):
        model = TwoTower(**{**SMALL, "batch_size": 5, **settings})
        return two_tower.event_batches(object)(dataset, model.config)

    @pytest.fixture(scope="class")
    def again(self, ring) -> Dataset:
        """Three users, one of whom meets an item twice."""
        events = [(7, 100, 5), (3, 104, 1), (7, 101, 6), (3, 105, 2), (7, 100, 7), (9, 111, 0), (7, 102, 7)]
        table = pd.DataFrame(events, columns=["user_id", "item_id", "timestamp"]).assign(rating=4.0)
        return ring.with_interactions(table)

    @pytest.mark.parametrize("rivals", ["all", "unseen", "unmet"])
    def test_an_example_an_event(self, again, rivals):
        batches = self.make(again, rivals=rivals)
        found = set()
        for index in range(len(batches)):
            inputs, targets = batches[index]
            for history, allowed, target in zip(inputs["history"], inputs["rivals"], targets, strict=True):
                found.add((tuple(history), tuple(np.flatnonzero(~allowed)), int(target)))
        expected = set()
        for items in again.histories().values():
            columns = again.item_columns(items)
            for position, target in enumerate(columns):
                read = columns[max(0, position - 3) : position] + 1
                out = {"all": [], "unseen": columns[:position], "unmet": columns}[rivals]
                padded = (*[0] * (3 - len(read)), *read.tolist())
                expected.add((padded, tuple(sorted(set(map(int, out)) - {int(target)})), int(target)))
        assert found == expected
        assert len(batches) == 2

    def test_a_new_order_each_epoch(self, again):
        batches = self.make(again, batch_size=50)
        before = batches[0][1].tolist()
        batches.on_epoch_end()
        after = batches[0][1].tolist()
        assert before != after
        assert sorted(before) == sorted(after)


@pytest.mark.parametrize(
    ("setting", "value", "accepted"),
    [
        ("embedding_size", 0, "a whole number of at least 1"),
        ("hidden_size", 1.5, "a whole number of at least 1"),
        ("length", True, "a whole number of at least 1"),
        ("epochs", -1, "a whole number of at least 1"),
        ("batch_size", "8", "a whole number of at least 1"),
        ("pooling", "max", "mean, weighted"),
        ("rivals", "none", "all, unseen, unmet"),
        ("temperature", 0, "a number above 0"),
        ("temperature", float("nan"), "a number above 0"),
        ("learning_rate", 0.0, "a number above 0"),
        ("learning_rate", float("inf"), "a number above 0"),
        ("weight_decay", -0.1, "a number of at least 0"),
        ("dropout", 1.0, r"a number in \[0, 1\)"),
        ("dropout", True, r"a number in \[0, 1\)"),
        ("seed", -1, r"a whole number from 0 to 2\*\*32 - 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(setting, value, accepted):
    with pytest.raises(InputError, match=f"{re.escape(repr(value))}.*{accepted}") as caught:
        models.create("two-tower", **{setting: value})
    assert setting in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_is_refused_without_events_and_before_fit(ring):
    with pytest.raises(InputError, match="holds no interactions"):
        TwoTower(**SMALL).fit(ring.with_interactions(ring.interactions[:0]))
    for ask in ("towers", "n_parameters"):
        with pytest.raises(InputError, match="not fitted yet"):
            getattr(TwoTower(**SMALL), ask)


def test_a_loaded_model_scores_without_tensorflow(ring, tmp_path):
    model = TwoTower(**SMALL, epochs=1).fit(ring)
    folder = model.save(tmp_path / "model")
    code = (
        "import sys; from instructrec import models; "
        f"print(models.load({str(folder)!r}).score([[100]]).sum()); "
        "assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(float(model.score([[100]]).sum()), rel=1e-4)
