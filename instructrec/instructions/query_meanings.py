"""Meanings of queries: the sets of items that queries can name. Derived in chapter `instruction-tuning`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LOG_ZERO = -1e9
"""Log-likelihood of a text for an item that does not satisfy it."""

Meaning = tuple[str, object]
"""Such as ("category", "Comedy"), ("not", "Comedy"), ("decade", 1990), ("word", "heat"), (">=", 0.5) or ("<", 0.5)."""


def sets_of_items(
    categories: Sequence[Sequence[str]],
    decades: Sequence[int | None],
    title_words: Sequence[Sequence[str]],
    popularity: Sequence[float],
    bounds: Sequence[float],
) -> dict[Meaning, np.ndarray]:
    """Return the items that satisfy each meaning.

    Args:
        categories: Categories of each item.
        decades: Decade of each item, None if its year is unknown.
        title_words: Words of each item's title by which it can be requested.
        popularity: Popularity of each item.
        bounds: Values that popularity is compared with.

    Returns:
        A mask of shape (n_items,) for each meaning, bool.
    """
    sets: dict[Meaning, np.ndarray] = {}
    for kind, values_of_items in (
        ("category", categories),
        ("decade", [() if decade is None else (decade,) for decade in decades]),
        ("word", title_words),
    ):
        for column, values in enumerate(values_of_items):
            for value in values:
                sets.setdefault((kind, value), np.zeros(len(categories), dtype=bool))[column] = True
    for name in sorted({name for names in categories for name in names}):
        sets["not", name] = ~sets["category", name]
    item_popularity = np.array(popularity)
    for bound in dict.fromkeys(bounds):
        sets[">=", bound], sets["<", bound] = item_popularity >= bound, item_popularity < bound
    return sets


def log_shares_of(
    sets: dict[Meaning, np.ndarray], categories: Sequence[Sequence[str]], title_words: Sequence[Sequence[str]]
) -> np.ndarray:
    """Return the log likelihood of each meaning at each item up to a constant, shape (n_meanings, n_items), float32.

    An item with k categories is asked for by one of them with a probability of 1 / k, and so with its title words;
    other meanings are as likely at each item that meets them.
    """
    n_alternatives = {
        kind: np.array([max(1, len(values)) for values in values_of_items])
        for kind, values_of_items in (("category", categories), ("word", title_words))
    }
    single = np.ones(len(categories))
    rows = [
        np.where(members, -np.log(n_alternatives.get(kind, single)), LOG_ZERO)
        for (kind, _), members in sets.items()
    ]
    return np.stack(rows).astype(np.float32)
