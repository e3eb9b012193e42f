"""SASRec: packing, excluded items, what it learns, and what it refuses."""

import numpy as np
import pandas as pd
import pytest

from instructrec import models
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.models.neural.sasrec import SASRec, cosine_factors, pack, seen_before


def sequences(*lengths, n_items=50, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.permutation(n_items)[:length].astype(np.int32) + 1 for length in lengths]


def cycle(n_users=40, n_items=12, length=20, seed=0):
    """Return a world whose next item is always the one after the last, round and round."""
    rng = np.random.default_rng(seed)
    events = [
        (user, (start + step) % n_items, 1.0, step)
        for user, start in enumerate(rng.integers(0, n_items, n_users))
        for step in range(length)
    ]
    return Dataset(
        "cycle",
        pd.DataFrame({"user_id": range(n_users)}),
        pd.DataFrame(
            {
                "item_id": range(n_items),
                "title": [f"t{n}" for n in range(n_items)],
                "categories": [()] * n_items,
            }
        ),
        pd.DataFrame(events, columns=["user_id", "item_id", "rating", "timestamp"]),
    )


SMALL = {"embedding_size": 16, "length": 10, "batch_size": 8, "dropout": 0.0, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def fitted():
    return SASRec(**SMALL, epochs=15, exclude_seen=False).fit(cycle())


def test_packing_keeps_every_pair_of_neighbours_once():
    given = sequences(2, 5, 33, 50, 7)
    rows = pack(given, 10, np.random.default_rng(1))
    real = rows.targets.ravel() > 0
    found = sorted(
        zip(*(part.ravel()[real].tolist() for part in (rows.users, rows.items, rows.targets)), strict=True)
    )
    wanted = sorted(
        (user, int(a), int(b))
        for user, items in enumerate(given, start=1)
        for a, b in zip(items, items[1:], strict=False)
    )
    assert found == wanted
    assert rows.items.shape == (-(-len(wanted) // 10), 10)


def test_a_run_starts_at_place_0_in_every_row():
    rows = pack(sequences(2, 5, 33, 50, 7), 10, np.random.default_rng(1))
    for users, positions in zip(rows.users, rows.positions, strict=True):
        for user in set(users) - {0}:
            assert positions[users == user].tolist() == list(range((users == user).sum()))


def test_another_epoch_cuts_elsewhere_and_the_same_seed_alike():
    given = sequences(30, 40, 20)
    one, same, other = (pack(given, 10, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.items, same.items)
    assert not np.array_equal(one.items, other.items)


def test_what_was_met_before_is_known_for_each_target():
    given = sequences(2, 5, 33, 50, 7)
    rows = pack(given, 10, np.random.default_rng(1))
    part = type(rows)(*(array[3:7] for array in rows))  # a batch may begin in the middle of a history
    seen, real = seen_before(given, part, 50), part.targets.ravel() > 0
    for found, user, event in zip(seen, part.users.ravel()[real], part.events.ravel()[real], strict=True):
        assert set(np.flatnonzero(found)) == set(given[user - 1][: event + 1].tolist())


def test_the_start_comes_near_the_cosines():
    given = sequences(*[12] * 60, n_items=15)
    factors = cosine_factors(given, 16, 16)
    matrix = np.zeros((60, 16))
    for row, items in zip(matrix, given, strict=True):
        row[items] = 1
    scaled = matrix / np.sqrt(matrix.sum(axis=0) + 10)
    wanted = scaled.T @ scaled
    assert factors @ factors.T / wanted.diagonal().mean() * 16 == pytest.approx(
        (factors**2).sum() / np.trace(wanted) * wanted / wanted.diagonal().mean() * 16, abs=1e-4
    )
    assert np.mean((factors**2).sum(axis=1)) == pytest.approx(1, abs=1e-5)


def test_a_low_rank_start_is_filled_with_zeros():
    assert cosine_factors(sequences(5, 5), 51, 8)[:, 2:].any() == False  # noqa: E712


def test_it_learns_what_comes_next(fitted):
    best = fitted.score([[3, 4, 5], [9, 10, 11], [7]]).argmax(axis=1)
    assert best.tolist() == [6, 0, 8]


def test_only_the_last_items_are_read(fitted):
    long = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2]
    assert np.array_equal(fitted.score([long]), fitted.score([long[-10:]]))


def test_a_request_is_scored_alike_alone_and_among_others(fitted):
    among = fitted.score([[3, 4, 5], [1], list(range(10))])
    assert fitted.score([[1]])[0] == pytest.approx(among[1], abs=1e-5)


def test_a_newcomer_gets_the_best_sellers(fitted, tmp_path):
    met = fitted.dataset.interactions.groupby("item_id")["user_id"].nunique()
    expected = met.reindex(fitted.dataset.items["item_id"], fill_value=0).to_numpy()
    for model in (fitted, SASRec.load(fitted.save(tmp_path / "model"))):
        scores = model.score([[1], [], [2, 3]])
        assert scores[1] == pytest.approx(expected)
        assert not np.allclose(scores[0], expected)


def test_the_future_is_hidden_in_training(fitted):
    items = np.arange(1, 11, dtype=np.int32)[None]
    positions, users = np.arange(10, dtype=np.int32)[None], np.ones((1, 10), dtype=np.int32)
    changed = items.copy()
    changed[0, 6:] = 12
    first, second = (np.asarray(fitted.encoder([x, positions, users])) for x in (items, changed))
    assert first[0, :6] == pytest.approx(second[0, :6], abs=1e-6)
    assert np.abs(first[0, 6:] - second[0, 6:]).max() > 1e-3


def test_another_user_in_the_row_is_not_read(fitted):
    items = np.arange(1, 11, dtype=np.int32)[None]
    users = np.array([[1] * 4 + [2] * 6], dtype=np.int32)
    positions = np.array([[0, 1, 2, 3, 0, 1, 2, 3, 4, 5]], dtype=np.int32)
    changed = items.copy()
    changed[0, :4] = 12
    first, second = (np.asarray(fitted.encoder([x, positions, users])) for x in (items, changed))
    assert first[0, 4:] == pytest.approx(second[0, 4:], abs=1e-6)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model():
    one, same, other = (
        SASRec(**{**SMALL, "dropout": 0.2}, epochs=2, seed=seed).fit(cycle()).score([[1, 2, 3]])
        for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_each_epoch_calls_back_with_a_model_that_scores():
    seen = []
    SASRec(**SMALL, epochs=3).fit(
        cycle(), on_epoch=lambda epoch, model: seen.append((epoch, model.score([[1]]).shape))
    )
    assert seen == [(1, (1, 12)), (2, (1, 12)), (3, (1, 12))]


def test_saved_and_loaded_it_scores_alike(fitted, tmp_path):
    loaded = models.load(fitted.save(tmp_path / "model"))
    assert loaded.score([[3, 4, 5], []]) == pytest.approx(fitted.score([[3, 4, 5], []]), abs=1e-6)
    assert loaded.n_parameters == fitted.n_parameters
    # 13 items and 10 positions of 16; a block: 4 projections and 2 layers of 16 x 16 + 16, 2 norms; a last norm
    assert fitted.n_parameters == 13 * 16 + 10 * 16 + 2 * (6 * (16 * 16 + 16) + 2 * 32) + 32


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("embedding_size", 0),
        ("n_heads", 3),
        ("length", 2.5),
        ("dropout", 1),
        ("epochs", True),
        ("learning_rate", 0),
        ("weight_decay", -1),
        ("start", "luck"),
        ("exclude_seen", "yes"),
        ("seed", -1),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(setting, value):
    with pytest.raises(InputError, match=setting):
        models.create("sasrec", **{setting: value})


def test_users_of_one_event_teach_nothing():
    world = cycle(length=1)
    with pytest.raises(InputError, match="two events"):
        SASRec(**SMALL).fit(world)
