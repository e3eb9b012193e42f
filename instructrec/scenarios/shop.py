"""A shop: at which stage to filter, and whether to recommend earlier purchases again.

Derived in chapter `scenarios`; the shop itself is `instructrec.datasets.shop`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from instructrec.datasets.dataset import Dataset
from instructrec.models.base import Recommender
from instructrec.models.baselines.recently_popular import SECONDS_PER_DAY
from instructrec.ranking import top_k
from instructrec.split import Split
from instructrec.validation import PositiveInt, check_value


def score_unseen(model: Recommender, histories: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """Score the catalogue for each history, with the items of the history excluded.

    Args:
        model: A fitted recommender.
        histories: n_requests lists of item ids.

    Returns:
        Array of shape (n_requests, n_items), float; minus infinity at the items of the history.
    """
    scores = model.score(histories).astype(float)
    for row, history in zip(scores, histories, strict=True):
        row[model.dataset.item_columns(history)] = -np.inf
    return scores


def filter_ranking(scores: ArrayLike, satisfied: ArrayLike, depth: int | None = None) -> np.ndarray:
    """Exclude the items that violate an instruction or rank below the first `depth` of a request.

    A shop that retrieves a fixed number of candidates and filters them afterwards has a small `depth`; a shop that
    filters before it ranks has `depth=None`.

    Args:
        scores: Shape (n_requests, n_items); minus infinity is never shown.
        satisfied: Mask of the items that satisfy the instruction, shape (n_items,), bool.
        depth: Number of candidates retrieved from the unfiltered ranking, at least 1; None for all.

    Returns:
        The scores, with minus infinity at the excluded items; same shape, float.

    Raises:
        InputError: `depth` is below 1.
    """
    scores = np.asarray(scores, dtype=float)
    mask = np.broadcast_to(np.asarray(satisfied, dtype=bool), scores.shape)
    if depth is not None:
        check_value("depth", depth, PositiveInt)
        is_retrieved = np.zeros(scores.shape, dtype=bool)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        np.put_along_axis(is_retrieved, best, True, axis=1)
        mask = mask & is_retrieved
    return np.where(mask, scores, -np.inf)


def filtered_lists(
    scores: Mapping[str, np.ndarray], satisfied: ArrayLike, depths: Sequence[int] = (10, 100)
) -> dict[str, np.ndarray]:
    """Return the scores of the lists that a shop could show for one instruction.

    Args:
        scores: Scores of shape (n_requests, n_items) by the name of the ranking. Every ranking is filtered completely;
            the first ranking is also returned unfiltered and filtered within each of `depths`.
        satisfied: Mask of the items that satisfy the instruction, shape (n_items,), bool.
        depths: Numbers of candidates to retrieve before the filter, see `filter_ranking`.

    Returns:
        Scores by the name of the list.
    """
    name, ranking = next(iter(scores.items()))
    lists = {f"{name}, no filter": ranking}
    lists |= {
        f"{name}, its top {depth} filtered": filter_ranking(ranking, satisfied, depth) for depth in depths
    }
    return lists | {
        f"{name}, all filtered": filter_ranking(ranking, satisfied) for name, ranking in scores.items()
    }


def repeat_purchase_hits(
    model: Recommender,
    split: Split,
    k: int = 10,
    shelf_size: int = 3,
    window: tuple[float, float] = (20.0, 60.0),
) -> pd.DataFrame:
    """Evaluate each test event, repeats included, with seen items hidden, shown, or on a separate shelf.

    `instructrec.evaluation.evaluate` excludes the items of a user's history, as papers do; in a shop people buy the
    same item again.

    Args:
        model: A recommender fitted on `split.train`.
        split: A split by time, such as `split_global_time`; its events have a `behavior`.
        k: Length of the list.
        shelf_size: Number of positions on the shelf "buy again", which shows the latest purchases whose age lies in
            `window`.
        window: Ages of a purchase at which a repeat may be due, (low, high) in days.

    Returns:
        One row for each test event of a user with a history: `user_id`, `item_id`, `kind` ("bought again" if the item
        is in the user's history at that moment, else "new"); and 1.0 or 0.0 for whether the item is among the first k
        with the history excluded (`hidden`), among the first k with the history included (`shown`), and on the shelf
        (`shelf`), all at that moment.
    """
    log = model.dataset.with_interactions(
        pd.concat([split.train.interactions, split.valid, split.test], ignore_index=True)
    )
    histories = _histories_before(log)
    is_test = log.ordered["timestamp"].to_numpy() >= split.test["timestamp"].min()
    rows = np.flatnonzero(np.array([bool(history) for history in histories]) & is_test)
    events = log.ordered.iloc[rows].reset_index(drop=True)
    histories = [histories[row] for row in rows]
    targets = model.dataset.item_columns(events["item_id"])[:, None]
    scores = {"hidden": score_unseen(model, histories), "shown": model.score(histories)}
    hits = {name: (top_k(values, k) == targets).any(axis=1).astype(float) for name, values in scores.items()}
    hits["shelf"] = _shelf_hits(log.interactions, events, shelf_size, window)
    kinds = [
        "bought again" if item in history else "new"
        for item, history in zip(events["item_id"], histories, strict=True)
    ]
    return events[["user_id", "item_id"]].assign(kind=kinds, **hits)


def _histories_before(log: Dataset) -> list[list[Hashable]]:
    """Return, for each event in time order, the items of its user's earlier events."""
    items_by_user: dict[Hashable, list[Hashable]] = {}
    histories = []
    for user, item in zip(log.ordered["user_id"], log.ordered["item_id"], strict=True):
        items = items_by_user.setdefault(user, [])
        histories.append(items.copy())
        items.append(item)
    return histories


def _shelf_hits(
    log: pd.DataFrame, events: pd.DataFrame, shelf_size: int, window: tuple[float, float]
) -> np.ndarray:
    """Return 1.0 for each event whose item is on the user's shelf at that moment, else 0.0."""
    purchases = log[log["behavior"] == "purchase"].sort_values("timestamp", kind="stable")
    purchases_by_user = dict(iter(purchases.groupby("user_id")))
    hits = np.zeros(len(events))
    rows = zip(events["user_id"], events["item_id"], events["timestamp"], strict=True)
    for row, (user, item, time) in enumerate(rows):
        if user in purchases_by_user:
            bought = purchases_by_user[user]
            due = bought.loc[((time - bought["timestamp"]) / SECONDS_PER_DAY).between(*window), "item_id"]
            hits[row] = item in due.drop_duplicates(keep="last").tolist()[-shelf_size:]
    return hits
