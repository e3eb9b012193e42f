"""The data set: three tables (users, items, interactions) and a card."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from instructrec.errors import InputError, one_of


@dataclass(frozen=True)
class DataCard:
    """What a user should know before trusting a data set; printed by `python -m instructrec data NAME`.

    Attributes:
        title: The data set's full name.
        summary: Content and authors of the data set, in one or two sentences.
        source: Origin of the data set, with version or checksum.
        licence: The terms of use, in words.
        citation: The work to cite, or an empty string.
        caveats: Known defects and pitfalls, one per string.
    """

    title: str
    summary: str
    source: str
    licence: str
    citation: str = ""
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Users, items and their interactions.

    Attributes:
        name: Short name, such as "movielens-100k".
        users: One row per user: `user_id` and any attributes.
        items: One row per item: `item_id`, `title`, the categories in `category_field`, any other attributes. The row
            order is the catalogue order: column j of every score matrix is row j of this table.
        interactions: One row per event: `user_id`, `item_id`, `rating` (float, may be missing), `timestamp` (seconds
            since 1970-01-01 UTC, int64), in the order of the source file, which breaks ties of time.
        category_field: Name of the column of `items` that holds a tuple of category names.
        card: Origin, licence and pitfalls.
    """

    name: str
    users: pd.DataFrame
    items: pd.DataFrame
    interactions: pd.DataFrame
    category_field: str = "categories"
    card: DataCard | None = field(default=None, repr=False)

    @property
    def n_users(self) -> int:
        """Number of users in the user table."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items in the catalogue."""
        return len(self.items)

    @property
    def n_interactions(self) -> int:
        """Number of events."""
        return len(self.interactions)

    @property
    def density(self) -> float:
        """Share of the cells of the user-item matrix with an event, in [0, 1]."""
        pairs = self.interactions[["user_id", "item_id"]].drop_duplicates()
        return len(pairs) / (self.n_users * self.n_items)

    @cached_property
    def item_numbers(self) -> pd.Index:
        """Index of item ids in catalogue order: `item_numbers.get_indexer(ids)` gives column numbers."""
        return pd.Index(self.items["item_id"])

    @cached_property
    def titles(self) -> dict[Hashable, str]:
        """Title of each item id."""
        return dict(zip(self.items["item_id"], self.items["title"], strict=True))

    @cached_property
    def ordered(self) -> pd.DataFrame:
        """Interactions in order of time; ties keep the order of the file, since an order of ids would leak."""
        return self.interactions.sort_values("timestamp", kind="stable")

    @cached_property
    def popularity(self) -> dict[Hashable, float]:
        """Popularity of each item id in [0, 1]: the share of the other items that have fewer events.

        popularity(i) = |{j : events(j) < events(i)}| / (n_items - 1); items with equally many events have equal
        popularity.

        Raises:
            InputError: The data set has no interactions to count.
        """
        if self.n_interactions == 0:
            raise InputError(
                f"popularity is unknown: the items of {self.name} have no column 'popularity' and there are no "
                "interactions to count; give a data set with interactions, or leave popularity out"
            )
        columns = self.item_numbers.get_indexer(pd.Index(self.interactions["item_id"]))
        events = np.bincount(columns[columns >= 0], minlength=self.n_items)
        fewer = np.searchsorted(np.sort(events), events, side="left")
        shares = fewer / max(self.n_items - 1, 1)
        return dict(zip(self.items["item_id"].tolist(), shares.tolist(), strict=True))

    def histories(self) -> dict[Hashable, list[Hashable]]:
        """Return each user's item ids in time order."""
        return {user: list(items) for user, items in self.ordered.groupby("user_id", sort=False)["item_id"]}

    def history(self, user_id: object) -> list[Hashable]:
        """Return one user's item ids in time order.

        Args:
            user_id: An id, or its text form as typed on a command line.

        Raises:
            InputError: No such user.
        """
        user = self.parse_id(user_id, "user")
        return list(self.ordered.loc[self.ordered["user_id"] == user, "item_id"])

    def parse_id(self, value: object, kind: str = "item") -> Hashable:
        """Return the id of an existing user or item from an id or its text form.

        Args:
            value: The id, or its text, such as "42".
            kind: "user" or "item".

        Raises:
            InputError: No user or item has this id.
        """
        ids = self._ids_by_text[kind]
        text = str(value).strip()
        if text not in ids:
            raise one_of(f"{kind} of {self.name}", value, ids)
        return ids[text]

    @cached_property
    def _ids_by_text(self) -> dict[str, dict[str, Hashable]]:
        return {
            "user": {str(value): value for value in self.users["user_id"].tolist()},
            "item": {str(value): value for value in self.items["item_id"].tolist()},
        }

    def item_columns(self, item_ids: object) -> np.ndarray:
        """Return the catalogue column numbers of item ids, shape (n,), int64.

        Raises:
            InputError: An id is not in the catalogue.
        """
        ids = list(item_ids)  # type: ignore[call-overload]
        columns = self.item_numbers.get_indexer(pd.Index(ids)) if ids else np.empty(0, dtype=np.int64)
        if (columns < 0).any():
            raise one_of(f"item of {self.name}", ids[int(np.argmax(columns < 0))], self.items["item_id"])
        return columns

    def with_interactions(self, interactions: pd.DataFrame) -> Dataset:
        """Return a data set with the same users and items and other interactions."""
        return replace(self, interactions=interactions.reset_index(drop=True))

    def describe(self) -> pd.Series:
        """Return the figures of a paper's data table: users, items, interactions, density, means per user and item.

        Raises:
            InputError: The data set has no interactions.
        """
        if self.n_interactions == 0:
            raise InputError(f"data set {self.name!r} holds no interactions; at least one is needed")
        return pd.Series(
            {
                "users": self.n_users,
                "items": self.n_items,
                "interactions": self.n_interactions,
                "density": self.density,
                "interactions per user": self.n_interactions / self.n_users,
                "interactions per item": self.n_interactions / self.n_items,
            },
            name=self.name,
        )
