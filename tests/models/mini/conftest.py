"""A small catalogue, and a `Mini` trained on it once for all tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from instructrec import models
from instructrec.datasets.dataset import Dataset
from instructrec.models.mini.model import Mini

GENRES = ("Comedy", "Horror", "War", "Drama")
SMALL = {
    "hidden_size": 32,
    "n_layers": 1,
    "n_heads": 2,
    "intermediate_size": 32,
    "batch_size": 16,
    "text_batch_size": 16,
    "epochs": 3,
    "tuning_epochs": 2,
    "final_epochs_without_dropout": 1,
    "length": 8,
}


@pytest.fixture(scope="session")
def films() -> Dataset:
    """Return forty films of four genres and four decades, and sixty users who each like one genre."""
    rng = np.random.default_rng(0)
    n_items, n_users = 40, 60
    ends = ("aka", "ebe", "ido", "ofo", "uru", "yma", "asa", "epe")
    words = [f"{start}{end}" for start in ("bal", "cor", "dun", "fen", "gor") for end in ends]
    items = pd.DataFrame(
        {
            "item_id": np.arange(1, n_items + 1),
            "title": [f"The {word.title()}" for word in words],
            "year": [1960 + 10 * (number % 4) + number % 7 for number in range(n_items)],
            "genres": [
                (GENRES[number // 10],) if number % 3 else (GENRES[number // 10], "Drama")
                for number in range(n_items)
            ],
        }
    )
    items["genres"] = [tuple(dict.fromkeys(names)) for names in items["genres"]]
    events = []
    for user in range(1, n_users + 1):
        liked = np.arange(10) + 10 * (user % 4)
        disliked = np.setdiff1d(np.arange(n_items), liked)
        chosen = rng.permutation(
            np.concatenate([rng.choice(liked, 7, False), rng.choice(disliked, 3, False)])
        )
        events += [(user, item + 1, np.nan, 100 * at + user) for at, item in enumerate(chosen)]
    interactions = pd.DataFrame(events, columns=["user_id", "item_id", "rating", "timestamp"])
    users = pd.DataFrame({"user_id": range(1, n_users + 1)})
    return Dataset("films", users, items, interactions, category_field="genres")


@pytest.fixture(scope="session")
def trained(films) -> Mini:
    """A model trained with the settings `SMALL`; tests must not change it."""
    return models.create("mini", **SMALL).fit(films)


def sequences_of(films: Dataset) -> list[np.ndarray]:
    """Return the catalogue columns of each user."""
    return [films.item_columns(items) for items in films.histories().values()]
