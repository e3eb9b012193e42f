"""The best-seller list of the last days: the strongest list that knows nobody."""

from __future__ import annotations

from instructrec.datasets.dataset import Dataset
from instructrec.models.base import check_number
from instructrec.models.baselines.most_popular import MostPopular

SECONDS_PER_DAY = 86_400


class RecentlyPopular(MostPopular):
    """Score an item by how many users met it in the last days of training.

    With t_end the time of the last event that was learnt from,

        z(u, i) = |{v : (v, i, t) in the interactions, t > t_end - 86400 days}|.

    The list is the same for every user. Where taste moves with time it says more than `MostPopular`, which counts
    old favourites as much as new ones; a learnt model that loses to it has learnt little more than the fashion.

    Source: Ji, Sun, Zhang and Li, "A re-visit of the popularity baseline in recommender systems", SIGIR 2020,
    arXiv:2005.13829. Derived in chapter `baselines`.
    """

    name = "recently-popular"

    def __init__(self, days: float = 30.0) -> None:
        """Make a list of what was popular lately.

        Args:
            days: Days before the last event of training that count, above 0; parts of a day are accepted.

        Raises:
            InputError: A setting out of its range.
        """
        check_number("days", days, above=0)
        super().__init__()
        self.settings["days"] = days

    def _fit(self, dataset: Dataset) -> None:
        events = dataset.interactions
        age = events["timestamp"].max() - events["timestamp"]
        self._count(dataset, events.loc[age < self.settings["days"] * SECONDS_PER_DAY])
