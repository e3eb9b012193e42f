"""A small data set and a template that several test files use."""

from __future__ import annotations

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.wordings.lexicon import plain, stands_alone, title_forms

GENRES = ("Comedy", "Horror", "Sci-Fi", "Drama", "Unheard Of")


def tiny(n_items: int = 30, n_users: int = 6, events: int = 12, seed: int = 0) -> Dataset:
    """A small film data set with awkward titles, missing years and repeated events."""
    rng = np.random.default_rng(seed)
    items = pd.DataFrame(
        {
            "item_id": np.arange(1, n_items + 1) * 10,
            "title": [f"Tale {{{{ {number} }}}} of \"Q\" & 'R'" for number in range(n_items)],
            "title_zh": [f"故事第{number}集" if number % 3 else None for number in range(n_items)],
            "genres": [tuple(rng.choice(GENRES, rng.integers(0, 3), replace=False)) for _ in range(n_items)],
            "year": np.where(rng.random(n_items) < 0.2, np.nan, rng.integers(1930, 2000, n_items)),
        }
    )
    rows = n_users * events
    interactions = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(n_users), events),
            "item_id": rng.choice(items["item_id"], rows),
            "rating": np.nan,
            "timestamp": rng.integers(800_000_000, 900_000_000, rows),
        }
    )
    return Dataset("tiny", pd.DataFrame({"user_id": np.arange(n_users)}), items, interactions, "genres")


def contains_title(text: str, title: str) -> bool:
    """Whether a title stands in a text as words of its own, whatever its case, width, accents and article."""
    return any(stands_alone(form, plain(text)) for form in title_forms(title))


TEMPLATE = """
[[template]]
id = "mine"
kind = "preference"
task = "T2"
preference = "P1"
intention = "I0"
variants = ["After {{ history }}?"]
"""
