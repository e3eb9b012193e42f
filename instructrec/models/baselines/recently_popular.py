"""Items by recent popularity: the strongest non-personalised baseline."""

from __future__ import annotations

from instructrec.datasets.dataset import Dataset
from instructrec.models.baselines.most_popular import MostPopular
from instructrec.validation import ModelConfig, PositiveFloat

SECONDS_PER_DAY = 86_400


class RecentlyPopularConfig(ModelConfig):
    """Settings of `RecentlyPopular`.

    Attributes:
        days: Number of days before the last training event that count; fractions are accepted.
    """

    days: PositiveFloat = 30.0


class RecentlyPopular(MostPopular):
    """Score an item by its number of users in the last days of training.

    With t_end the time of the last training event,

        z(u, i) = |{v : (v, i, t) in the interactions, t > t_end - 86400 days}|.

    The list is the same for every user. Where tastes change with time it predicts better than `MostPopular`, which
    counts old events as much as new ones; a model that loses to it has learnt little beyond current popularity.

    Source: Ji, Sun, Zhang and Li, "A re-visit of the popularity baseline in recommender systems", SIGIR 2020,
    arXiv:2005.13829. Derived in chapter `baselines`.
    """

    name = "recently-popular"
    config_class = RecentlyPopularConfig
    config: RecentlyPopularConfig

    def _fit(self, dataset: Dataset) -> None:
        events = dataset.interactions
        age = events["timestamp"].max() - events["timestamp"]
        self._count(dataset, events.loc[age < self.config.days * SECONDS_PER_DAY])
