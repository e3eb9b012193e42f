"""Simulated social media: posts that age, authors with followers, and a feed that learns from its own engagements.

The utility of post p for user u at time t is

    U(u, p, t) = 1.5 log(K * taste[u, topic(p)] + 0.1) + FOLLOW_BONUS * [u follows author(p)] + quality[p]
                 - ln 2 * age(p, t) / half_life,

with K topics, so the odds of an engagement halve with each half-life of the post's age. On each visit a user sees a few
random posts of the last three days and engages with one of them, by a softmax over their utilities. Derived in chapter
`scenarios`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import entropy

from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.errors import InputError, one_of
from instructrec.models.baselines.recently_popular import SECONDS_PER_DAY
from instructrec.split import Split
from instructrec.statistics.intervals import bootstrap_interval
from instructrec.validation import PositiveFloat, PositiveInt, check_value, whole_number

TOPICS = (
    ("Football", "足球"),
    ("Cooking", "美食"),
    ("Travel", "旅行"),
    ("Technology", "科技"),
    ("Gardening", "园艺"),
    ("Cinema", "电影"),
    ("Health", "健康"),
    ("History", "历史"),
)
"""Topics of the posts, in English and Chinese."""
BEHAVIORS = ("like", "comment", "repost")
START = 1_683_763_200
"""First second of the simulated period: 2023-05-11 00:00 UTC, in seconds since 1970-01-01."""
SECONDS_PER_HOUR = 3_600
TASTE_WEIGHT, FOLLOW_BONUS = 1.5, 1.0
"""Weights of the utility, see above."""
VISIBLE_DAYS = 3
"""A visit shows only posts of this age or younger, in days."""
AUTHORS_PER_TOPIC = 5
N_AVOIDED_TOPICS = 2
"""Number of each user's most engaged topics that a feed excludes after a request for change."""
_CHANGE_REQUEST = re.compile(
    r"\b(?:something|anything) (?:else|different|new)\b|\bchange (?:of |the )?(?:topic|subject)s?\b"
    r"|\b(?:bored|tired) of\b|换个?(?:话题|口味|内容)|别的|不一样|看腻|新鲜",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class FeedTruth:
    """The true preferences of the simulated users.

    Attributes:
        tastes: Share of each topic in a user's taste; rows are user ids and sum to 1, columns are topics.
        quality: Utility of a post that is the same for all users; the index is item ids.
        half_life: Hours after which the odds of an engagement have halved.
    """

    tastes: pd.DataFrame
    quality: pd.Series
    half_life: float


@dataclass(frozen=True)
class NextEngagements:
    """Requests that ask which of all posts available at a moment the user engaged with, one request per engagement.

    Attributes:
        users: Row in `dataset.users` of each request, shape (n,).
        ages: Age of each post in hours, shape (n, n_posts); negative for a post of the future.
        candidates: Posts that exist and that the user has not engaged with before, shape (n, n_posts), bool.
        targets: The post that the user engaged with, shape (n, n_posts), bool.
        histories: Posts that the user of each request engaged with in training, in time order.
    """

    users: np.ndarray
    ages: np.ndarray
    candidates: np.ndarray
    targets: np.ndarray
    histories: list[list[Hashable]]


# -- simulation of posts and engagements -----------------------------------------------------------------------


def simulate_posts(
    n_users: int = 250,
    n_posts: int = 1_200,
    days: int = 30,
    half_life: float = 12.0,
    visits_per_user: int = 36,
    n_shown: int = 25,
    seed: int = 0,
) -> tuple[Dataset, FeedTruth]:
    """Simulate the posts of a network and the engagements of its users.

    Args:
        n_users: Number of users, at least 2.
        n_posts: Number of posts, at least `2 * n_shown`.
        days: Length of the period in days, at least 4.
        half_life: Hours after which the odds of an engagement have halved, above 0.
        visits_per_user: Visits of each user, at least 1; the user engages with one post on each.
        n_shown: Number of posts shown on a visit, at least 1, of the last three days.
        seed: Seed of every draw.

    Returns:
        A data set whose users have `follows` (a tuple of authors) and whose items have `title`, `title_zh`, `topics`,
        `topics_zh`, `author`, `posted_at` (seconds since 1970-01-01 UTC); and the true preferences.

    Raises:
        InputError: A setting out of range.
    """
    for name, value, minimum in (
        ("n_users", n_users, 2),
        ("days", days, VISIBLE_DAYS + 1),
        ("visits_per_user", visits_per_user, 1),
        ("n_shown", n_shown, 1),
        ("n_posts", n_posts, n_shown * 2),
    ):
        check_value(name, value, whole_number(minimum))
    check_value("half_life", half_life, PositiveFloat)
    rng = np.random.default_rng(seed)
    topics = [topic for topic, _ in TOPICS]
    author_topics = np.arange(AUTHORS_PER_TOPIC * len(topics)) % len(topics)
    items = _posts(n_posts, days, author_topics, rng)
    tastes = rng.dirichlet(np.full(len(topics), 0.5), n_users)
    users = _users(tastes[:, author_topics], rng)
    quality = rng.normal(0, 0.4, n_posts)
    ageless_utility = (
        TASTE_WEIGHT * np.log(len(topics) * tastes + 0.1)[:, _topic_numbers(items)]
        + FOLLOW_BONUS * follows_matrix(users, items)
        + quality
    )
    events = _visits(items, ageless_utility, days, half_life, visits_per_user, n_shown, rng)
    card = DataCard(
        title="Simulated posts",
        summary=f"{days} days of an invented network: {n_users} users, {n_posts} posts on {len(topics)} topics.",
        source=f"instructrec.scenarios.feed.simulate_posts(seed={seed})",
        licence="Made by this project, Apache-2.0 like its code",
        caveats=("What is shown in a visit does not depend on earlier engagements.",),
    )
    truth = FeedTruth(
        pd.DataFrame(tastes, index=pd.Index(users["user_id"]), columns=topics),
        pd.Series(quality, index=pd.Index(items["item_id"])),
        half_life,
    )
    return Dataset("posts", users, items, events, "topics", card), truth


def _users(author_tastes: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Draw whom each user follows.

    Args:
        author_tastes: Share of each author's topic in each user's taste, shape (n_users, n_authors).
        rng: Source of the draws.
    """
    follows = rng.random(author_tastes.shape) < np.minimum(0.8, 1.5 * (0.02 + author_tastes))
    return pd.DataFrame(
        {
            "user_id": np.arange(1, len(follows) + 1),
            "follows": [tuple(f"author_{number}" for number in np.flatnonzero(row)) for row in follows],
        }
    )


def _posts(n_posts: int, days: int, author_topics: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the author and the time of each post, in time order."""
    authors = rng.integers(0, len(author_topics), n_posts)
    topics = [TOPICS[author_topics[author]] for author in authors]
    return pd.DataFrame(
        {
            "item_id": np.arange(1, n_posts + 1),
            "title": [f"{english}, post {n}" for n, (english, _) in enumerate(topics, 1)],
            "title_zh": [f"{chinese}，第{n}帖" for n, (_, chinese) in enumerate(topics, 1)],
            "topics": [(english,) for english, _ in topics],
            "topics_zh": [(chinese,) for _, chinese in topics],
            "author": [f"author_{author}" for author in authors],
            "posted_at": np.sort(rng.integers(START, START + days * SECONDS_PER_DAY, n_posts)),
        }
    )


def _visits(
    items: pd.DataFrame,
    ageless_utility: np.ndarray,
    days: int,
    half_life: float,
    visits_per_user: int,
    n_shown: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Draw the visits of each user and the engagement on each; a post is engaged with once at most."""
    posted_at, ids = items["posted_at"].to_numpy(), items["item_id"].to_numpy()
    window = VISIBLE_DAYS * SECONDS_PER_DAY
    rows = []
    for user in range(len(ageless_utility)):
        is_engaged = np.zeros(len(posted_at), dtype=bool)
        for time in np.sort(rng.integers(START + window, START + days * SECONDS_PER_DAY, visits_per_user)):
            first, last = np.searchsorted(posted_at, [time - window, time])
            available = np.arange(first, last)[~is_engaged[first:last]]
            if len(available) == 0:
                continue
            posts = rng.permutation(available)[:n_shown]
            age = (time - posted_at[posts]) / SECONDS_PER_HOUR
            utility = ageless_utility[user, posts] - np.log(2) * age / half_life
            post = posts[np.argmax(utility + rng.gumbel(size=len(posts)))]
            is_engaged[post] = True
            behavior = BEHAVIORS[min(rng.geometric(0.7) - 1, len(BEHAVIORS) - 1)]
            rows.append((user + 1, ids[post], np.nan, int(time), behavior))
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp", "behavior"])
    return events.sort_values("timestamp", kind="stable", ignore_index=True)


def _topic_numbers(items: pd.DataFrame) -> np.ndarray:
    """Return the position in `TOPICS` of each post's topic."""
    numbers = {topic: number for number, (topic, _) in enumerate(TOPICS)}
    return np.array([numbers[topics[0]] for topics in items["topics"]])


# -- ranking of posts ------------------------------------------------------------------------------------------


def follows_matrix(users: pd.DataFrame, items: pd.DataFrame) -> np.ndarray:
    """Return which user follows the author of which post, shape (n_users, n_posts), bool."""
    authors = items["author"].tolist()
    return np.array([[author in follows for author in authors] for follows in map(set, users["follows"])])


def affinity(train: Dataset, follow_weight: float = 3.0, prior: float = 1.0) -> np.ndarray:
    """Return each user's affinity to each post from engagements and follows, whatever the post's age.

    affinity(u, p) = (n[u, topic(p)] + prior) / (n[u] + K prior) * (follow_weight if u follows author(p) else 1),
    with n[u, k] the engagements of u with topic k in training. It needs no engagement with the post itself.

    Args:
        train: The training part of a data set of `simulate_posts`.
        follow_weight: Factor for posts of followed authors, above 0.
        prior: Pseudo-count of engagements with each topic, above 0.

    Returns:
        Array of shape (n_users, n_posts), above 0, float.
    """
    rows = pd.Index(train.users["user_id"]).get_indexer(pd.Index(train.interactions["user_id"]))
    topics = _topic_numbers(train.items)
    counts = np.full((train.n_users, len(TOPICS)), float(prior))
    np.add.at(counts, (rows, topics[train.item_columns(train.interactions["item_id"])]), 1.0)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return shares[:, topics] * np.where(follows_matrix(train.users, train.items), follow_weight, 1.0)


def next_engagements(
    split: Split, part: str = "test", max_requests: int = 1_000, seed: int = 0
) -> NextEngagements:
    """Return the engagements of a part as requests at the moments at which they happened.

    Args:
        split: A global time split of a data set of `simulate_posts`.
        part: "valid" or "test".
        max_requests: Size of the random sample of engagements if the part holds more.
        seed: Seed of the sample.

    Raises:
        InputError: Another part.
    """
    if part not in ("valid", "test"):
        raise one_of("part of a split", part, ["valid", "test"])
    train = split.train
    events = split.valid if part == "valid" else split.test
    if len(events) > max_requests:
        rng = np.random.default_rng(seed)
        events = events.iloc[np.sort(rng.choice(len(events), max_requests, replace=False))]
    times = events["timestamp"].to_numpy()
    ages = (times[:, None] - train.items["posted_at"].to_numpy()[None, :]) / SECONDS_PER_HOUR
    targets = np.zeros(ages.shape, dtype=bool)
    targets[np.arange(len(events)), train.item_columns(events["item_id"])] = True
    candidates = ((ages >= 0) & ~_earlier_engagements(split, events)) | targets
    users = pd.Index(train.users["user_id"]).get_indexer(pd.Index(events["user_id"]))
    histories = train.histories()
    return NextEngagements(
        users, ages, candidates, targets, [histories.get(user, []) for user in events["user_id"]]
    )


def _earlier_engagements(split: Split, events: pd.DataFrame) -> np.ndarray:
    """Return the posts that the user of each event engaged with earlier, in any part, shape (n, n_posts), bool."""
    log = pd.concat([split.train.interactions, split.valid, split.test])
    log = log.assign(column=split.train.item_columns(log["item_id"]))
    by_user = {user: rows[["timestamp", "column"]].to_numpy() for user, rows in log.groupby("user_id")}
    mask = np.zeros((len(events), split.train.n_items), dtype=bool)
    for row, (user, time) in enumerate(zip(events["user_id"], events["timestamp"], strict=True)):
        engagements = by_user[user]
        mask[row, engagements[engagements[:, 0] < time, 1]] = True
    return mask


# -- the feedback loop -----------------------------------------------------------------------------------------


def requests_change(text: str) -> bool:
    """Return whether an instruction asks for content unlike that shown so far, in English or Chinese.

    Such a request states no attribute of a post: the posts that it excludes depend on what the user has seen.
    """
    return _CHANGE_REQUEST.search(text) is not None


def simulate_feedback_loop(
    tastes: np.ndarray,
    n_rounds: int = 30,
    instruction: str | None = None,
    instruction_interval: int = 5,
    sharpness: float = 1.5,
    list_length: int = 10,
    n_engagements: int = 3,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Simulate a recommender that learns only from engagements with the posts that it has shown itself.

    In each round the topic of each position of a user's list is drawn with probability proportional to
    (engagements with the topic + 1) ** sharpness; the user engages with a few of the posts shown, by a softmax of
    1.5 log(K taste + 0.1). With an instruction that asks for change (`requests_change`), every
    `instruction_interval`-th list excludes the two topics that the user has engaged with most.

    Args:
        tastes: True tastes, shape (n_users, n_topics); rows sum to 1.
        n_rounds: Number of rounds, at least 1.
        instruction: The users' instruction, or None.
        instruction_interval: Number of rounds from one instruction to the next, at least 1.
        sharpness: Exponent of the past engagements; at 1 topics are shown in proportion to these, above 1 frequent
            topics are preferred further.
        list_length: Number of posts shown in a round, at least 1.
        n_engagements: Number of posts that a user engages with in a round, at least 1.
        seed: Seed of every draw.

    Returns:
        Arrays of shape (n_rounds, n_users): `entropy`, the entropy of the topics shown, in bits, and `value`, the mean
        utility of the posts shown; and an array of shape (n_users,): `error`, the total variation distance between the
        true taste and the final shares of engagements, in [0, 1].

    Raises:
        InputError: Tastes that are not a table of shares, or a setting out of range.
    """
    tastes = np.asarray(tastes, dtype=float)
    if tastes.ndim != 2 or (tastes < 0).any() or not np.allclose(tastes.sum(axis=1), 1):
        raise InputError(
            f"tastes has shape {tastes.shape}; (n_users, n_topics) with rows that sum to 1 is accepted"
        )
    check_value("n_rounds", n_rounds, PositiveInt)
    check_value("instruction_interval", instruction_interval, PositiveInt)
    rng = np.random.default_rng(seed)
    n_users, n_topics = tastes.shape
    utility = TASTE_WEIGHT * np.log(n_topics * tastes + 0.1)
    counts = np.zeros((n_users, n_topics))
    rows = np.arange(n_users)[:, None]
    entropies, values = np.empty((n_rounds, n_users)), np.empty((n_rounds, n_users))
    wants_change = instruction is not None and requests_change(instruction)
    for number in range(n_rounds):
        weights = (counts + 1) ** sharpness
        if wants_change and (number + 1) % instruction_interval == 0:
            favourites = np.argsort(-counts, axis=1, kind="stable")[:, :N_AVOIDED_TOPICS]
            np.put_along_axis(weights, favourites, 0.0, axis=1)
        topics = _draw_topics(weights, list_length, rng)
        noisy_utility = utility[rows, topics] + rng.gumbel(size=topics.shape)
        choices = np.argsort(-noisy_utility, axis=1)[:, :n_engagements]
        np.add.at(counts, (rows, np.take_along_axis(topics, choices, axis=1)), 1.0)
        entropies[number] = entropy_bits((topics[:, :, None] == np.arange(n_topics)).mean(axis=1))
        values[number] = utility[rows, topics].mean(axis=1)
    learnt_tastes = counts / counts.sum(axis=1, keepdims=True)
    return {"entropy": entropies, "value": values, "error": np.abs(learnt_tastes - tastes).sum(axis=1) / 2}


def _draw_topics(weights: np.ndarray, list_length: int, rng: np.random.Generator) -> np.ndarray:
    """Draw topics with replacement, in proportion to each user's weights, shape (n_users, list_length)."""
    cumulative = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    draws = rng.random((len(weights), list_length, 1))
    # Rounding may leave the last cumulative share just below 1.
    return np.minimum((draws > cumulative[:, None, :]).sum(axis=2), weights.shape[1] - 1)


def feedback_loop_table(loops: Mapping[str, Mapping[str, np.ndarray]], last: int = 5) -> pd.DataFrame:
    """Summarise feedback loops, one column each; a cell reads "mean [low, high]", 95% over users.

    Args:
        loops: Results of `simulate_feedback_loop` by name.
        last: Number of final rounds over which the entropy and the utility are averaged.
    """
    columns = {}
    for name, loop in loops.items():
        columns[name] = {
            f"topics shown, last {last} rounds (bits)": loop["entropy"][-last:].mean(axis=0),
            f"utility of posts shown, last {last} rounds": loop["value"][-last:].mean(axis=0),
            "share of the taste learnt wrongly": loop["error"],
        }
    return pd.DataFrame(columns).map(lambda values: str(bootstrap_interval(values)))


def entropy_bits(shares: np.ndarray) -> np.ndarray:
    """Return the entropy of each row of shares, -sum p log2 p, in bits (Shannon, 1948)."""
    return entropy(shares, base=2, axis=-1)
