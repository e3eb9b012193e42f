"""Films and music: the content of a request, the exposure of the long tail, and the meaning of timestamps.

Derived in chapter `scenarios`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from instructrec.datasets.dataset import Dataset
from instructrec.errors import one_of
from instructrec.evaluation.following import satisfaction_at_k
from instructrec.models.baselines.recently_popular import SECONDS_PER_DAY
from instructrec.models.filtered import FilteredRecommender
from instructrec.ranking import top_k
from instructrec.scenarios.shop import score_unseen
from instructrec.split import Split
from instructrec.statistics.intervals import bootstrap_interval

SOURCES = ("oracle", "shuffled", "history")
"""Where `genre_instructions` takes the category of an instruction from."""


def genre_instructions(
    split: Split, source: str = "oracle", part: str = "test", seed: int = 0
) -> list[str | None]:
    """Return for each request an instruction that names one category.

    Args:
        split: A split with one target per request.
        source: "oracle" names one of the target's categories, drawn at random; "shuffled" gives each request the
            oracle's text of a different request; "history" names the most frequent category of the user's history, ties
            broken by name.
        part: "valid" or "test".
        seed: Seed of the draws.

    Returns:
        Texts such as 'genres = "Comedy"'; None for a request without a category.

    Raises:
        InputError: An unknown source or part.
    """
    if source not in SOURCES:
        raise one_of("source of an instruction", source, SOURCES)
    data, requests = split.train, split.requests(part)
    rng = np.random.default_rng(seed)
    categories = dict(zip(data.items["item_id"], data.items[data.category_field], strict=True))
    if source == "history":
        names = [_most_frequent_category(history, categories) for history in requests.histories]
    else:
        names = [_random_category(categories[targets[0]], rng) for targets in requests.targets]
    if source == "shuffled":
        # Rotating a random order by one gives no request its own text.
        order = rng.permutation(len(names))
        shuffled = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
        names = [names[shuffled[row]] for row in range(len(names))]
    return [None if name is None else f'{data.category_field} = "{name}"' for name in names]


def _most_frequent_category(
    history: Sequence[Hashable], categories: dict[Hashable, tuple[str, ...]]
) -> str | None:
    counts = Counter(name for item in history for name in categories[item])
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None


def _random_category(categories: Sequence[str], rng: np.random.Generator) -> str | None:
    return str(categories[int(rng.integers(len(categories)))]) if categories else None


def occasion_table(
    model: FilteredRecommender, split: Split, texts: Sequence[str | None], k: int = 10
) -> pd.DataFrame:
    """Describe the lists that all users get for the same instruction: satisfaction, long tail and variety.

    Args:
        model: A filtered recommender, fitted on `split.train`.
        split: The data in three parts; the requests are those of the test part.
        texts: Instructions; None for a request without an instruction.
        k: Length of the list.

    Returns:
        One row per text. `films` is the number of items that satisfy the instruction; `satisfied, no filter` and
        `satisfied, filter` are satisfaction@k, and `long tail` is the share of `long_tail_mask` in the filtered lists,
        each "mean [low, high]", 95% over users; `different films` is the number of distinct items in these lists.
    """
    unfiltered = score_unseen(model.model, split.requests("test").histories)
    long_tail = long_tail_mask(split.train)
    rows = {}
    for text in texts:
        mask = model.condition_mask(text)
        filtered = np.where(mask, unfiltered, -np.inf)
        rows[text or "(nothing said)"] = {
            "films": mask.sum(),
            "satisfied, no filter": str(bootstrap_interval(satisfaction_at_k(mask, unfiltered, k))),
            "satisfied, filter": str(bootstrap_interval(satisfaction_at_k(mask, filtered, k))),
            "long tail": str(bootstrap_interval(satisfaction_at_k(long_tail, filtered, k))),
            "different films": n_distinct_items(filtered, k),
        }
    return pd.DataFrame(rows).T


def long_tail_mask(dataset: Dataset, share: float = 0.8) -> np.ndarray:
    """Return the mask of the long tail: the `share` of the catalogue with the fewest events, shape (n_items,), bool.

    Args:
        dataset: Items and interactions.
        share: Share of the catalogue, in (0, 1).
    """
    columns = dataset.item_columns(dataset.interactions["item_id"])
    order = np.argsort(np.bincount(columns, minlength=dataset.n_items), kind="stable")
    mask = np.zeros(dataset.n_items, dtype=bool)
    mask[order[: int(share * dataset.n_items)]] = True
    return mask


def n_distinct_items(y_pred: ArrayLike, k: int = 10) -> int:
    """Return the number of distinct items in the first k positions of all requests together."""
    lists = top_k(y_pred, k)
    return len(np.unique(lists[lists >= 0]))


def first_day_share(dataset: Dataset) -> pd.Series:
    """Return the share of each user's events within 24 hours of the user's first event, by user id, in (0, 1]."""
    log = dataset.interactions
    start = log.groupby("user_id")["timestamp"].transform("min")
    return (log["timestamp"] - start <= SECONDS_PER_DAY).groupby(log["user_id"]).mean()
