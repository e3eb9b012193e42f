"""A seeded market simulator with known true tastes: users choose among items by utility.

The utility of item i for user u is

    U(u, i) = TASTE_WEIGHT * log(K * taste[u, category(i)] + 0.1) + loyalty[u, brand(i)]
              - sensitivity[u] * z(log price(i)) + quality[i],

where taste[u] is drawn from a symmetric Dirichlet distribution over the K categories. At each event the user sees a few
items, sampled by exposure (Zipf's law), and chooses one by the softmax of utility: the multinomial logit of McFadden
(1974). A visit stays in one category for a while, so that the order of events carries information. Used in chapters
`preprocessing` and `scenarios`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from instructrec.errors import InputError

TASTE_WEIGHT = 1.0
"""Weight of the taste in the utility."""
DAY = 86_400
"""Seconds of a day."""
_VISIT_EXPOSURE, _VISIT_UTILITY = 2.5, 1.5
"""Added to the log exposure and to the utility of the items of a visit's category, while the visit lasts."""


@dataclass(frozen=True)
class Truth:
    """True preferences of the simulated users, which recommenders do not see.

    Attributes:
        tastes: Share of each category in a user's taste; rows are user ids and sum to 1, columns are categories.
        loyalty: Utility that a user adds for each brand; rows are user ids.
        sensitivity: Utility that a user loses per standard deviation of log price, at least 0.
        quality: Utility of an item that all users share; the index is item ids.
        exposure: Probability that the item is the next one shown; the index is item ids; sums to 1.
        utility: U(u, i) of the module's formula, users in rows and items in columns.
    """

    tastes: pd.DataFrame
    loyalty: pd.DataFrame
    sensitivity: pd.Series
    quality: pd.Series
    exposure: pd.Series
    utility: pd.DataFrame

    def true_utility(
        self, users: Sequence[Hashable] | None = None, items: Sequence[Hashable] | None = None
    ) -> np.ndarray:
        """Return the true utilities, shape (n_users, n_items), float64; compare with a recommender's scores.

        Args:
            users: User ids, all by default.
            items: Item ids, all by default.

        Raises:
            InputError: An id that was not simulated.
        """
        rows = self.utility.index.get_indexer(pd.Index(self.utility.index if users is None else list(users)))
        columns = self.utility.columns.get_indexer(
            pd.Index(self.utility.columns if items is None else list(items))
        )
        for kind, numbers, ids in (("user", rows, users), ("item", columns, items)):
            if (numbers < 0).any() and ids is not None:
                raise InputError(
                    f"no simulated {kind} {ids[int(np.argmax(numbers < 0))]!r}; see Truth.utility"
                )
        return self.utility.to_numpy()[np.ix_(rows, columns)]


@dataclass(frozen=True)
class Simulation:
    """Result of a market simulation.

    Attributes:
        events: `user_id`, `item_id`, `behavior`, `rating` (1 to 5, only for the deepest
            behaviour), `timestamp` (seconds), in order of time.
        truth: The preferences behind the choices.
    """

    events: pd.DataFrame
    truth: Truth


def simulate(
    items: pd.DataFrame,
    user_ids: Sequence[Hashable],
    *,
    events_per_user: float = 25.0,
    behaviors: Sequence[str] = ("click", "purchase"),
    n_shown: int = 30,
    concentration: float = 0.25,
    stay: float = 0.6,
    zipf: float = 0.9,
    start: int = 1_683_763_200,
    days: int = 365,
    seed: int = 0,
) -> Simulation:
    """Simulate users who choose among items.

    Args:
        items: `item_id` and `category` (one name per item), optionally `brand` and `price`.
        user_ids: The users; each gets at least three events.
        events_per_user: Mean number of events per user; the numbers are log-normal.
        behaviors: Kinds of event from the shallowest to the deepest; items of higher utility reach deeper kinds, and
            events of the deepest kind have a rating.
        n_shown: Number of items that a user sees before each choice.
        concentration: Dirichlet parameter of the tastes; smaller values concentrate a user on fewer categories.
        stay: Probability that a user's next event stays in the category of the last one.
        zipf: Exponent of the exposure; 0 exposes all items equally.
        start: Time of the first possible event, seconds since 1970-01-01 UTC.
        days: Length of the period, in days.
        seed: Seed of all random draws.

    Returns:
        Events in order of time, and the true preferences.

    Raises:
        InputError: No items or users, a missing column, or a setting out of its range.
    """
    _check(items, user_ids, events_per_user, behaviors, n_shown, concentration, stay)
    rng = np.random.default_rng(seed)
    truth = _draw_truth(items, user_ids, concentration, zipf, rng)
    utility = truth.utility.to_numpy()
    log_exposure = np.log(truth.exposure.to_numpy())
    category = pd.Categorical(items["category"], categories=list(truth.tastes.columns)).codes
    # the mean of the log-normal factor is exp(-0.18 + 0.6² / 2) = 1
    counts = np.clip(np.round(events_per_user * rng.lognormal(-0.18, 0.6, len(user_ids))), 3, None).astype(
        int
    )
    parts = []
    for number, count in enumerate(counts):
        times = np.sort(rng.integers(start, start + days * DAY, count))
        chosen = _choose(utility[number], log_exposure, category, count, n_shown, stay, rng)
        depth = _depth(utility[number, chosen], len(behaviors), rng)
        ratings = _rate(utility[number], chosen, rng)
        parts.append(
            pd.DataFrame(
                {
                    "user_id": user_ids[number],
                    "item_id": items["item_id"].to_numpy()[chosen],
                    "behavior": np.asarray(behaviors)[depth],
                    "rating": np.where(depth == len(behaviors) - 1, ratings, np.nan),
                    "timestamp": times,
                }
            )
        )
    events = pd.concat(parts, ignore_index=True).sort_values("timestamp", kind="stable", ignore_index=True)
    return Simulation(events, truth)


def _check(
    items: pd.DataFrame,
    user_ids: Sequence[Hashable],
    events_per_user: float,
    behaviors: Sequence[str],
    n_shown: int,
    concentration: float,
    stay: float,
) -> None:
    """Check the arguments of `simulate`."""
    lacking = {"item_id", "category"} - set(items.columns)
    if lacking:
        raise InputError(f"items lack the column {min(lacking)!r}; item_id and category are needed")
    if len(items) < 2 or len(user_ids) == 0 or len(behaviors) == 0:
        raise InputError(
            f"{len(items)} items, {len(user_ids)} users, {len(behaviors)} behaviors; at least 2, 1 and 1 are needed"
        )
    for name, value, low, high in (
        ("events_per_user", events_per_user, 3, 10_000),
        ("n_shown", n_shown, 1, len(items)),
        ("concentration", concentration, 1e-3, 1e3),
        ("stay", stay, 0, 1),
    ):
        if not low <= value <= high:
            raise InputError(f"{name} is {value!r}; a number from {low} to {high} is accepted")


def _draw_truth(
    items: pd.DataFrame,
    user_ids: Sequence[Hashable],
    concentration: float,
    zipf: float,
    rng: np.random.Generator,
) -> Truth:
    """Draw the true preferences; arguments as in `simulate`."""
    n_users, n_items = len(user_ids), len(items)
    users, item_ids = pd.Index(list(user_ids), name="user_id"), pd.Index(items["item_id"])
    categories = list(dict.fromkeys(items["category"]))
    tastes = rng.dirichlet(np.full(len(categories), concentration), n_users)
    brand = items["brand"] if "brand" in items else pd.Series("", index=items.index)
    brands = list(dict.fromkeys(brand))
    loyalty = rng.normal(0, 0.5, (n_users, len(brands))) * (len(brands) > 1)
    sensitivity = rng.gamma(2.0, 0.25, n_users)
    quality = rng.normal(0, 0.6, n_items)
    rank = rng.permutation(n_items) + 1
    exposure = rank ** -float(zipf) / (np.arange(1, n_items + 1) ** -float(zipf)).sum()
    utility = (
        TASTE_WEIGHT
        * np.log(len(categories) * tastes + 0.1)[:, [categories.index(c) for c in items["category"]]]
        + loyalty[:, [brands.index(b) for b in brand]]
        - sensitivity[:, None] * _standard_log_price(items)
        + quality
    )
    return Truth(
        tastes=pd.DataFrame(tastes, users, categories),
        loyalty=pd.DataFrame(loyalty, users, brands),
        sensitivity=pd.Series(sensitivity, users, name="sensitivity"),
        quality=pd.Series(quality, item_ids, name="quality"),
        exposure=pd.Series(exposure, item_ids, name="exposure"),
        # Rounded, so that choices do not depend on the last bit of a logarithm, which differs between processors.
        utility=pd.DataFrame(np.round(utility, 6), users, item_ids),
    )


def _standard_log_price(items: pd.DataFrame) -> np.ndarray:
    """Return the standardised logarithm of each price, shape (n_items,); zeros without prices."""
    if "price" not in items:
        return np.zeros(len(items))
    log_price = np.log(items["price"].to_numpy(dtype=float))
    return (log_price - log_price.mean()) / (log_price.std() or 1.0)


def _choose(
    utility: np.ndarray,
    log_exposure: np.ndarray,
    category: np.ndarray,
    count: int,
    n_shown: int,
    stay: float,
    rng: np.random.Generator,
) -> list[int]:
    """Return the rows of the items that a user chooses; an item repeats only after all items were chosen."""
    chosen: list[int] = []
    available = np.ones(len(utility), dtype=bool)
    focus = -1
    for _ in range(count):
        if not available.any():
            available[:] = True
        focus = focus if rng.random() < stay else -1
        # The Gumbel trick: the items with the largest log exposure + Gumbel noise are a sample without replacement.
        keys = np.where(
            available,
            log_exposure + _VISIT_EXPOSURE * (category == focus) + rng.gumbel(size=len(utility)),
            -np.inf,
        )
        seen = np.argpartition(-keys, n_shown - 1)[:n_shown]
        seen = np.sort(seen[available[seen]])
        item = int(
            seen[
                np.argmax(
                    utility[seen] + _VISIT_UTILITY * (category[seen] == focus) + rng.gumbel(size=len(seen))
                )
            ]
        )
        chosen.append(item)
        available[item] = False
        focus = category[item]
    return chosen


def _depth(utility: np.ndarray, n_behaviors: int, rng: np.random.Generator) -> np.ndarray:
    """Return the depth of each choice, 0 to n_behaviors - 1; a step's probability is logistic in the utility."""
    continues = (
        rng.random((len(utility), n_behaviors - 1)) < 1 / (1 + np.exp(-(utility - 1.0) * 0.5))[:, None]
    )
    return np.cumprod(continues, axis=1).sum(axis=1).astype(int)


def _rate(utility: np.ndarray, chosen: list[int], rng: np.random.Generator) -> np.ndarray:
    """Return 1 to 5 stars: the standardised utility of the choice among all items, plus noise."""
    standard = (utility[chosen] - utility.mean()) / (utility.std() or 1.0)
    return np.clip(np.round(2.6 + 0.8 * standard + rng.normal(0, 0.6, len(chosen))), 1, 5)
