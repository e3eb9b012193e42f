"""The three-tower model: what it can follow, what the article's form cannot, and that NumPy scores as Keras does."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from instructrec import models
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.models.neural import three_tower
from instructrec.models.neural.three_tower import CONSTANT_INSTRUCTION, ThreeTower, sample_negatives, tokenise

GENRES = ("Comedy", "Drama", "War")
SMALL: dict[str, Any] = {
    "embedding_size": 8,
    "hidden_size": 8,
    "length": 6,
    "n_negatives": 5,
    "batch_size": 64,
    "dropout": 0.0,
}


@pytest.fixture(scope="module")
def cinema() -> Dataset:
    """Twelve films, four a genre, and users who go to anything: only an instruction tells what comes next."""
    rng = np.random.default_rng(0)
    items = pd.DataFrame(
        {
            "item_id": np.arange(100, 112),
            "title": [f"Film {n}" for n in range(12)],
            "genres": [(GENRES[n % 3],) for n in range(12)],
        }
    )
    events = [(user, int(item)) for user in range(60) for item in 100 + rng.permutation(12)]
    interactions = pd.DataFrame(events, columns=["user_id", "item_id"]).assign(
        rating=4.0, timestamp=np.arange(len(events), dtype=np.int64)
    )
    return Dataset("cinema", pd.DataFrame({"user_id": range(60)}), items, interactions, "genres")


@pytest.fixture(scope="module", params=["mlp", "dot", "additive"])
def fitted(request, cinema) -> ThreeTower:
    settings = {**SMALL, "interaction": request.param, "epochs": 15, "learning_rate": 0.03}
    return ThreeTower(**settings).fit(cinema)


def requests() -> tuple[list[list[int]], list[str | None]]:
    histories = [[], [100], [103, 101, 105], list(range(100, 110)), [111, 100]]
    instructions = [None, "I would like a War film", "我想看喜剧电影", "words never met", "Drama " * 40]
    return [h for h in histories for _ in instructions], instructions * len(histories)


def test_numpy_scores_as_keras_does(fitted, cinema):
    histories, instructions = requests()
    columns = [cinema.item_columns(history) for history in histories]
    everything = np.tile(np.arange(cinema.n_items), (len(histories), 1))
    expected = fitted.network.predict(fitted.inputs(columns, everything, instructions), verbose=0)
    np.testing.assert_allclose(fitted.score(histories, instructions), expected, atol=1e-4)


def test_loading_reproduces_the_scores(fitted, tmp_path):
    histories, instructions = requests()
    loaded = models.load(fitted.save(tmp_path / "model"))
    np.testing.assert_allclose(
        loaded.score(histories, instructions), fitted.score(histories, instructions), rtol=0, atol=1e-5
    )
    assert isinstance(loaded, ThreeTower)
    for ours, theirs in zip(fitted.network.get_weights(), loaded.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_sum_of_towers_ranks_alike_for_all_and_the_others_do_not(fitted):
    histories, instructions = requests()
    scores = fitted.score(histories, instructions).astype(np.float64)
    differences = scores - scores[:, :1]
    spread = np.abs(differences - differences[0]).max()
    if fitted.settings["interaction"] == "additive":
        # Differences between items are constants, whatever the request: one ranking for everybody.
        assert spread < 1e-4
        assert len({tuple(row) for row in np.argsort(-differences.round(3), kind="stable")}) == 1
        assert np.ptp(scores[:, 0]) > 1e-3, "the user does move the scores, all by the same amount"
    else:
        assert spread > 1


def test_the_instruction_is_followed_unless_towers_are_only_added(fitted, cinema):
    genres = dict(zip(cinema.items["item_id"], cinema.items["genres"], strict=True))
    hits = [
        genres[item] == (genre,)
        for genre in GENRES
        for item in fitted.recommend([], f"I would like a {genre} film", n=4)["item_id"]
    ]
    if fitted.settings["interaction"] == "additive":
        assert sum(hits) == 4, "the same four items for every genre"
    else:
        assert np.mean(hits) > 0.9


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model(cinema):
    one, same, other = (
        ThreeTower(**{**SMALL, "dropout": 0.2}, epochs=2, seed=seed).fit(cinema, validation=0.1)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.score([[100, 101]]), same.score([[100, 101]]))
    assert one.history == same.history
    assert not np.array_equal(one.score([[100, 101]]), other.score([[100, 101]]))
    assert set(one.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}


def test_training_texts(cinema):
    def texts(kind, share=0.5):
        return three_tower.training_instructions(cinema, kind, share, np.random.default_rng(0))

    genres = dict(zip(cinema.items["item_id"], cinema.items["genres"], strict=True))
    targets = cinema.ordered["item_id"]
    named = texts("genre")
    assert 0.4 < np.mean([text is not None for text in named]) < 0.6
    wordings = three_tower.wordings(cinema)
    assert all(text in wordings[genres[item][0]] for item, text in zip(targets, named, strict=True) if text)
    assert {"I would like a War film", "我想看喜剧电影"} <= set(named)
    shuffled = texts("shuffled")
    assert sorted(map(str, shuffled)) == sorted(map(str, named))
    assert not all(
        text in wordings[genres[item][0]] for item, text in zip(targets, shuffled, strict=True) if text
    )
    assert set(texts("constant")) == {CONSTANT_INSTRUCTION}
    assert set(texts("none")) == {None}
    own = ["a", None] * (len(targets) // 2)
    assert texts(own) == own


def test_negatives_are_never_the_target_and_even():
    targets = np.tile(np.arange(1, 6), 4000)
    drawn = sample_negatives(targets, 5, 3, np.random.default_rng(0))
    assert drawn.min() == 1
    assert drawn.max() == 5
    assert not (drawn == targets[:, None]).any()
    counts = np.bincount(drawn[targets == 3].ravel(), minlength=6)
    assert counts[[0, 3]].tolist() == [0, 0]
    np.testing.assert_allclose(counts[[1, 2, 4, 5]], 3000, rtol=0.08)


def test_examples_hold_what_came_before(cinema):
    model = ThreeTower(length=3)
    model.vocabulary = ["war"]
    texts = ["War"] + [None] * (cinema.n_interactions - 1)
    histories, targets, tokens = model._examples(cinema, texts)
    of_first = (cinema.ordered["user_id"] == 0).to_numpy()
    items = targets[of_first]
    np.testing.assert_array_equal(
        histories[of_first][:4], [[0, 0, 0], [0, 0, items[0]], [0, *items[:2]], items[:3]]
    )
    assert items.tolist() == (cinema.item_columns(cinema.histories()[0]) + 1).tolist()
    assert tokens[0].tolist() == [0] * 11 + [2]
    assert not tokens[1:].any()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I want Sci-Fi!", ["i", "want", "sci", "fi"]),
        ("我想看Comedy片。", ["我", "想", "看", "comedy", "片"]),
        ("", []),
        ("?!", []),
    ],
)
def test_tokens(text, tokens):
    assert tokenise(text) == tokens


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"interaction": "sum"}, "unknown interaction"),
        ({"epochs": 0}, "epochs is 0"),
        ({"hidden_size": 1.5}, "hidden_size is 1.5"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"instruction_share": 2}, "instruction_share is 2"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(InputError, match=says):
        ThreeTower(**settings)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"instructions": "genres"}, "did you mean genre"),
        ({"instructions": ["one"]}, "1 instructions for 720"),
        ({"validation": 1.0}, "validation is 1.0"),
    ],
)
def test_bad_fit_options(cinema, options, says):
    with pytest.raises(InputError, match=says):
        ThreeTower(**SMALL).fit(cinema, **options)
