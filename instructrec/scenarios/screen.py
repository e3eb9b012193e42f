"""Films and music: what a request names, who hears of the long tail, and what a clock in the log can tell.

Derived in chapter `scenarios`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from instructrec.datasets.dataset import Dataset
from instructrec.errors import one_of
from instructrec.evaluation.following import satisfaction_at_k, top_lists
from instructrec.models.filtered import FilteredRecommender
from instructrec.scenarios.shop import without_seen
from instructrec.split import Split
from instructrec.statistics.intervals import bootstrap_interval


def genre_instructions(
    split: Split, source: str = "oracle", part: str = "test", seed: int = 0
) -> list[str | None]:
    """Return an instruction a request that names one category.

    Args:
        split: A split with one target a request.
        source: "oracle" names one of the target's own categories, drawn at random; "shuffled" gives each request the
            oracle's text for another one; "history" names the commonest category of the user's history, equal counts
            by name.
        part: "valid" or "test".
        seed: Seed of the draws.

    Returns:
        Texts such as 'genres = "Comedy"'; None where there is nothing to name.

    Raises:
        InputError: Another source or part.
    """
    if source not in ("oracle", "shuffled", "history"):
        raise one_of("source of an instruction", source, ["oracle", "shuffled", "history"])
    data, requests = split.train, split.requests(part)
    rng = np.random.default_rng(seed)
    categories = dict(zip(data.items["item_id"], data.items[data.category_field], strict=True))
    named: list[str | None] = []
    for history, targets in zip(requests.histories, requests.targets, strict=True):
        if source == "history":
            counted = Counter(name for item in history for name in categories[item])
            named.append(min(counted, key=lambda name: (-counted[name], name)) if counted else None)
        else:
            listed = categories[targets[0]]
            named.append(str(listed[rng.integers(len(listed))]) if listed else None)
    if source == "shuffled":
        # A shift of a random order gives nobody their own text.
        order = rng.permutation(len(named))
        moved = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
        named = [named[moved[row]] for row in range(len(named))]
    return [None if name is None else f'{data.category_field} = "{name}"' for name in named]


def occasion_table(
    model: FilteredRecommender, split: Split, texts: Sequence[str | None], k: int = 10
) -> pd.DataFrame:
    """Ask the same instruction for every user and describe the lists: followed or not, long tail, variety.

    Args:
        model: A filtered recommender, fitted on `split.train`.
        split: The data in three parts; the requests are those of its test part.
        texts: Instructions; None for saying nothing.
        k: Length of the list.

    Returns:
        A row a text: `films` that qualify; satisfaction@k without and with the filter; the share of `long tail` (see
        `tail_items`) with the filter, each "mean [low, high]", 95% over users; the number of `different films`.
    """
    unfiltered = without_seen(model.model, split.requests("test").histories)
    tail = tail_items(split.train)
    rows = {}
    for text in texts:
        wanted = model.condition_mask(text)
        scores = np.where(wanted, unfiltered, -np.inf)
        rows[text or "(nothing said)"] = {
            "films": wanted.sum(),
            "satisfied, no filter": str(bootstrap_interval(satisfaction_at_k(wanted, unfiltered, k))),
            "satisfied, filter": str(bootstrap_interval(satisfaction_at_k(wanted, scores, k))),
            "long tail": str(bootstrap_interval(satisfaction_at_k(tail, scores, k))),
            "different films": shown_items(scores, k),
        }
    return pd.DataFrame(rows).T


def tail_items(dataset: Dataset, share: float = 0.8) -> np.ndarray:
    """Tell which items are the long tail: the `share` of the catalogue with the fewest events, shape (n_items,), bool.

    Args:
        dataset: Items and interactions.
        share: Share of the catalogue, in (0, 1).
    """
    columns = dataset.item_columns(dataset.interactions["item_id"])
    order = np.argsort(np.bincount(columns, minlength=dataset.n_items), kind="stable")
    tail = np.zeros(dataset.n_items, dtype=bool)
    tail[order[: int(share * dataset.n_items)]] = True
    return tail


def shown_items(y_pred: ArrayLike, k: int = 10) -> int:
    """Count the different items that the first k places of all requests show together."""
    lists = top_lists(y_pred, k)
    return len(np.unique(lists[lists >= 0]))


def within_first_day(dataset: Dataset) -> pd.Series:
    """Return the share of each user's events that lie within 24 hours of the first one, by user id, in (0, 1]."""
    log = dataset.interactions
    first = log.groupby("user_id")["timestamp"].transform("min")
    return (log["timestamp"] - first <= 86_400).groupby(log["user_id"]).mean()
