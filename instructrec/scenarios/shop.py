"""A shop: where to filter, and whether to show again what was bought.

Derived in chapter `scenarios`; the shop itself is `instructrec.datasets.shop`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from instructrec.evaluation.following import top_lists
from instructrec.models.base import Recommender
from instructrec.split import Split

DAY = 86_400


def without_seen(model: Recommender, histories: list[list]) -> np.ndarray:
    """Score the catalogue for each history and leave out what the history holds.

    Args:
        model: A fitted recommender.
        histories: n_requests lists of item ids.

    Returns:
        Array of shape (n_requests, n_items), float; minus infinity at items of the history.
    """
    scores = model.score(histories).astype(float)
    for row, history in zip(scores, histories, strict=True):
        row[model.dataset.item_columns(history)] = -np.inf
    return scores


def filter_within(scores: ArrayLike, satisfied: ArrayLike, depth: int | None = None) -> np.ndarray:
    """Keep the items that meet an instruction and stand among the best `depth` of a request.

    A shop that fetches a fixed number of candidates and filters them afterwards has a small `depth`; filtering before
    ranking is `depth=None`.

    Args:
        scores: Shape (n_requests, n_items); minus infinity is never shown.
        satisfied: Which items meet the instruction, shape (n_items,), bool.
        depth: How many items of the unfiltered ranking are looked at, at least 1; all by default.

    Returns:
        The scores, minus infinity at all other items.

    Raises:
        InputError: As in `instructrec.evaluation.following.top_lists`.
    """
    scores = np.asarray(scores, dtype=float)
    kept = np.broadcast_to(np.asarray(satisfied, dtype=bool), scores.shape)
    if depth is not None:
        within = np.zeros(scores.shape, dtype=bool)
        np.put_along_axis(within, np.argsort(-scores, axis=1, kind="stable")[:, :depth], True, axis=1)
        top_lists(scores[:1], depth)  # refuses a depth that is no list length
        kept = kept & within
    return np.where(kept, scores, -np.inf)


def filtered_lists(
    scores: Mapping[str, np.ndarray], satisfied: ArrayLike, depths: Sequence[int] = (10, 100)
) -> dict[str, np.ndarray]:
    """Return the lists that a shop could show for one instruction, by where it filters and by whom it ranks.

    Args:
        scores: Scores of shape (n_requests, n_items) by the ranking's name; the first one is also shown unfiltered and
            filtered within each of `depths`.
        satisfied: Which items meet the instruction, shape (n_items,), bool.
        depths: How many items are looked at, see `filter_within`.

    Returns:
        Scores by the list's name.
    """
    first, ranking = next(iter(scores.items()))
    lists = {f"{first}, no filter": ranking}
    lists |= {
        f"{first}, its top {depth} filtered": filter_within(ranking, satisfied, depth) for depth in depths
    }
    return lists | {f"{name}, all filtered": filter_within(one, satisfied) for name, one in scores.items()}


def repeat_hits(
    model: Recommender, split: Split, k: int = 10, shelf: int = 3, window: tuple[float, float] = (20.0, 60.0)
) -> pd.DataFrame:
    """Measure each event of the test part, repeats included, with seen items hidden, shown, or on a shelf of their own.

    `instructrec.evaluation.evaluate` leaves out what the user has met, as papers do; in a shop people buy again.

    Args:
        model: A recommender fitted on `split.train`.
        split: A split whose test part is later than the rest, such as `split_global_time`; events have `behavior`.
        k: Length of the list.
        shelf: Places of the shelf of things to buy again: the latest purchases whose age lies in `window`.
        window: Ages of a purchase, in days, at which it may be due again.

    Returns:
        One row a test event of a user with a history: `user_id`, `item_id`, `kind` ("bought again" where the user has
        met the item before that moment, else "new"), and 1 or 0 for whether the item was among the first k with the
        history's items left out (`hidden`) or left in (`shown`), and on the shelf (`shelf`), all at that moment.
    """
    log = model.dataset.with_interactions(
        pd.concat([split.train.interactions, split.valid, split.test], ignore_index=True)
    )
    past: dict[Hashable, list[Hashable]] = {}
    histories = []
    for user, item in zip(log.ordered["user_id"], log.ordered["item_id"], strict=True):
        own = past.setdefault(user, [])
        histories.append(own.copy())
        own.append(item)
    late = log.ordered["timestamp"].to_numpy() >= split.test["timestamp"].min()
    asked = np.array([bool(history) for history in histories]) & late
    events = log.ordered[asked].reset_index(drop=True)
    histories = [histories[row] for row in np.flatnonzero(asked)]
    columns = model.dataset.item_columns(events["item_id"])
    hits = {}
    for name, scores in (("hidden", without_seen(model, histories)), ("shown", model.score(histories))):
        hits[name] = (top_lists(scores, k) == columns[:, None]).any(axis=1).astype(float)
    hits["shelf"] = _on_shelf(log.interactions, events, shelf, window)
    kinds = [
        "bought again" if item in history else "new"
        for item, history in zip(events["item_id"], histories, strict=True)
    ]
    return events[["user_id", "item_id"]].assign(kind=kinds, **hits)


def _on_shelf(
    log: pd.DataFrame, events: pd.DataFrame, places: int, window: tuple[float, float]
) -> np.ndarray:
    bought = log[log["behavior"] == "purchase"].sort_values("timestamp", kind="stable")
    own = dict(iter(bought.groupby("user_id")))
    found = np.zeros(len(events))
    rows = zip(events["user_id"], events["item_id"], events["timestamp"], strict=True)
    for row, (user, item, time) in enumerate(rows):
        if user in own:
            days = (time - own[user]["timestamp"]) / DAY
            due = own[user].loc[(days >= window[0]) & (days <= window[1]), "item_id"]
            found[row] = item in due.drop_duplicates(keep="last").tolist()[-places:]
    return found
