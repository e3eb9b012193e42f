"""Three ways to split interactions: leave-last-out, global time, random holdout.

Derived in chapter `evaluation`. A claim about the future needs a split by global time: with leave-last-out
a model learns from other users' later events (Ji et al., 2020, arXiv:2010.11060).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of


@dataclass(frozen=True)
class Requests:
    """The requests of an evaluation, row by row.

    Attributes:
        user_ids: The user of each request.
        histories: Item ids of the user's earlier events, in order of time.
        targets: Item ids of the user's later events, in order of time, without items of the history.
    """

    user_ids: list[Hashable]
    histories: list[list[Hashable]]
    targets: list[list[Hashable]]

    def __len__(self) -> int:
        return len(self.user_ids)


@dataclass(frozen=True)
class Split:
    """A data set in three parts.

    Attributes:
        train: The data set with the training interactions only.
        valid: Interactions for choosing settings.
        test: Interactions for the final figure, used once.
        before_test: Training and validation interactions, in order of time, ties in the order of the file.
        protocol: Name of the rule that made the split.
    """

    train: Dataset
    valid: pd.DataFrame
    test: pd.DataFrame
    before_test: pd.DataFrame
    protocol: str

    def requests(self, part: str = "test") -> Requests:
        """Return one request for each user of a part; histories hold all earlier parts.

        Args:
            part: "valid" or "test".

        Raises:
            InputError: An unknown part.
        """
        if part not in ("valid", "test"):
            raise one_of("part of a split", part, ["valid", "test"])
        later = self.valid if part == "valid" else self.test
        earlier = self.train.interactions if part == "valid" else self.before_test
        histories = self.train.with_interactions(earlier).histories()
        rows: list[tuple[Hashable, list[Hashable], list[Hashable]]] = []
        for user, items in self.train.with_interactions(later).histories().items():
            history = histories.get(user, [])
            seen = set(history)
            targets = [item for item in dict.fromkeys(items) if item not in seen]
            if targets:
                rows.append((user, history, targets))
        return Requests([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])


def leave_last_out(dataset: Dataset) -> Split:
    """Hold out each user's last event for test and the one before for validation.

    All events of users with fewer than three events stay in training. Ties of time keep the order of the file.

    Args:
        dataset: Any data set.

    Returns:
        A `Split` whose parts hold at most one event per user.
    """
    ordered = dataset.ordered
    position_from_end = ordered.groupby("user_id").cumcount(ascending=False)
    length = ordered.groupby("user_id")["item_id"].transform("size")
    long_enough = length >= 3
    return _split(
        dataset,
        (position_from_end == 1) & long_enough,
        (position_from_end == 0) & long_enough,
        "leave-last-out",
    )


def split_global_time(dataset: Dataset, valid: float = 0.1, test: float = 0.1) -> Split:
    """Split all events at two points in time, so that training precedes validation and validation precedes test.

    Events with the same time stay together, so that a part may be slightly larger or smaller than its share.

    Args:
        dataset: Any data set.
        valid: Share of the events, in (0, 1), between the two points.
        test: Share of the events, in (0, 1), after the second point.

    Raises:
        InputError: The shares leave no event for training.
    """
    _check_shares(valid, test)
    times = dataset.interactions["timestamp"]
    first, second = times.quantile([1 - valid - test, 1 - test], interpolation="higher")
    ordered_times = dataset.ordered["timestamp"]
    return _split(
        dataset, (ordered_times >= first) & (ordered_times < second), ordered_times >= second, "global-time"
    )


def random_holdout(dataset: Dataset, valid: float = 0.1, test: float = 0.1, seed: int = 0) -> Split:
    """Hold out a random share of all events, whatever their time: for rating prediction, not for the next item.

    Args:
        dataset: Any data set.
        valid: Share of the events, in (0, 1), for validation.
        test: Share of the events, in (0, 1), for test.
        seed: Seed of the random draw.

    Raises:
        InputError: The shares leave no event for training.
    """
    _check_shares(valid, test)
    draw = pd.Series(
        np.random.default_rng(seed).random(dataset.n_interactions), index=dataset.interactions.index
    )
    draw = draw.loc[dataset.ordered.index]
    return _split(dataset, (draw >= test) & (draw < test + valid), draw < test, "random-holdout")


SPLITS = {
    "leave-last-out": leave_last_out,
    "global-time": split_global_time,
    "random-holdout": random_holdout,
}


def _check_shares(valid: float, test: float) -> None:
    if not (0 < valid < 1 and 0 < test < 1 and valid + test < 1):
        raise InputError(f"shares valid={valid}, test={test}: each must lie in (0, 1) and their sum below 1")


def _split(dataset: Dataset, in_valid: pd.Series, in_test: pd.Series, protocol: str) -> Split:
    ordered = dataset.ordered
    return Split(
        train=dataset.with_interactions(ordered[~(in_valid | in_test)]),
        valid=ordered[in_valid].reset_index(drop=True),
        test=ordered[in_test].reset_index(drop=True),
        before_test=ordered[~in_test].reset_index(drop=True),
        protocol=protocol,
    )
