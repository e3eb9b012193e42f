"""Simulated social media: posts that age, authors who are followed, and a feed that feeds itself.

The utility of post p for user u at time t is

    U(u, p, t) = 1.5 log(K * taste[u, topic(p)] + 0.1) + follow_bonus * [u follows author(p)] + quality[p]
                 - ln 2 * age(p, t) / half_life,

so that the odds of an engagement halve with each half-life of the post's age. A user who comes by sees a few posts of
the last days, whatever their age, and engages with one by softmax of utility. Derived in chapter `scenarios`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.errors import InputError, one_of
from instructrec.split import Split
from instructrec.statistics.intervals import bootstrap_interval

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
BEHAVIORS = ("like", "comment", "repost")
START = 1_683_763_200  # 2023-05-11 00:00 UTC
HOUR, DAY = 3_600, 86_400
TASTE_WEIGHT, FOLLOW_BONUS = 1.5, 1.0
_CHANGE = re.compile(
    r"\b(?:something|anything) (?:else|different|new)\b|\bchange (?:of |the )?(?:topic|subject)s?\b"
    r"|\b(?:bored|tired) of\b|换个?(?:话题|口味|内容)|别的|不一样|看腻|新鲜",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class SocialTruth:
    """What the simulated users really like.

    Attributes:
        tastes: Share of each topic in a user's taste; rows are user ids and sum to 1, columns are topics.
        quality: Utility that every user sees in a post; the index is item ids.
        half_life: Hours in which the odds of an engagement halve.
    """

    tastes: pd.DataFrame
    quality: pd.Series
    half_life: float


@dataclass(frozen=True)
class NextEngagements:
    """Each engagement of a part as a question: of all posts there were at that moment, which one was it?

    Attributes:
        users: Row of `dataset.users` of each question, shape (n,).
        ages: Age of each post in hours, shape (n, n_posts); negative for a post that is not out yet.
        candidates: Posts that are out and that the user has not engaged with before, shape (n, n_posts), bool.
        targets: The post that was engaged with, shape (n, n_posts), bool.
        histories: Posts that the user of each question engaged with in training, in time order.
    """

    users: np.ndarray
    ages: np.ndarray
    candidates: np.ndarray
    targets: np.ndarray
    histories: list[list[Hashable]]


def simulate_posts(
    n_users: int = 250,
    n_posts: int = 1_200,
    days: int = 30,
    half_life: float = 12.0,
    visits_per_user: int = 36,
    shown: int = 25,
    seed: int = 0,
) -> tuple[Dataset, SocialTruth]:
    """Simulate a network's posts and who engaged with which.

    Args:
        n_users: Number of users, at least 2.
        n_posts: Number of posts, at least `shown`.
        days: Length of the period.
        half_life: Hours in which the odds of an engagement halve, above 0.
        visits_per_user: Visits of each user; at each the user engages with one post.
        shown: Posts of the last three days that a user sees in a visit.
        seed: Seed of every draw.

    Returns:
        A data set whose users have `follows` (a tuple of authors) and whose items have `title`, `title_zh`, `topics`,
        `topics_zh`, `author`, `posted_at` (seconds since 1970-01-01 UTC); and the truth behind it.

    Raises:
        InputError: A setting out of range.
    """
    for name, value, low in (
        ("n_users", n_users, 2),
        ("days", days, 4),
        ("visits_per_user", visits_per_user, 1),
        ("shown", shown, 1),
        ("n_posts", n_posts, shown * 2),
    ):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
            raise InputError(f"{name} is {value!r}; a whole number of at least {low} is accepted")
    if not 0 < half_life < float("inf"):
        raise InputError(f"half_life is {half_life!r}; a number of hours above 0 is accepted")
    rng = np.random.default_rng(seed)
    topics = [topic for topic, _ in TOPICS]
    author_topics = np.arange(5 * len(topics)) % len(topics)
    items = _posts(n_posts, days, author_topics, rng)
    tastes = rng.dirichlet(np.full(len(topics), 0.5), n_users)
    wants = 0.02 + tastes[:, author_topics]
    follows = rng.random(wants.shape) < np.minimum(0.8, 1.5 * wants)
    users = pd.DataFrame(
        {
            "user_id": np.arange(1, n_users + 1),
            "follows": [tuple(f"author_{number}" for number in np.flatnonzero(row)) for row in follows],
        }
    )
    quality = rng.normal(0, 0.4, n_posts)
    lasting = (
        TASTE_WEIGHT * np.log(len(topics) * tastes + 0.1)[:, _codes(items)]
        + FOLLOW_BONUS * follows_matrix(users, items)
        + quality
    )
    events = _visits(items, lasting, days, half_life, visits_per_user, shown, rng)
    card = DataCard(
        title="Simulated posts",
        summary=f"{days} days of an invented network: {n_users} users, {n_posts} posts on {len(topics)} topics.",
        source=f"instructrec.scenarios.feed.simulate_posts(seed={seed})",
        licence="Made by this project, Apache-2.0 like its code",
        caveats=("What is shown in a visit does not depend on earlier engagements.",),
    )
    truth = SocialTruth(
        pd.DataFrame(tastes, index=pd.Index(users["user_id"]), columns=topics),
        pd.Series(quality, index=pd.Index(items["item_id"])),
        half_life,
    )
    return Dataset("posts", users, items, events, "topics", card), truth


def follows_matrix(users: pd.DataFrame, items: pd.DataFrame) -> np.ndarray:
    """Tell which user follows the author of which post, shape (n_users, n_posts), bool."""
    authors = items["author"].tolist()
    return np.array([[author in listed for author in authors] for listed in map(set, users["follows"])])


def affinity(train: Dataset, follow_weight: float = 3.0, prior: float = 1.0) -> np.ndarray:
    """Return how much each user is drawn to each post, whatever its age, from engagements and follows.

    affinity(u, p) = (n[u, topic(p)] + prior) / (n[u] + K prior) * (follow_weight if u follows author(p) else 1),
    with n[u, k] the engagements of u with topic k in training. It needs no engagement with the post itself.

    Args:
        train: The training part of a data set that `simulate_posts` made.
        follow_weight: How many times as likely a followed author's post is, above 0.
        prior: Engagements that each topic is given in advance, above 0.

    Returns:
        Array of shape (n_users, n_posts), above 0, float.
    """
    rows = pd.Index(train.users["user_id"]).get_indexer(pd.Index(train.interactions["user_id"]))
    topics = _codes(train.items)
    counts = np.full((train.n_users, len(TOPICS)), float(prior))
    np.add.at(counts, (rows, topics[train.item_columns(train.interactions["item_id"])]), 1.0)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return shares[:, topics] * np.where(follows_matrix(train.users, train.items), follow_weight, 1.0)


def next_engagements(split: Split, part: str = "test", most: int = 1_000, seed: int = 0) -> NextEngagements:
    """Turn the engagements of a part into questions about the moment at which they happened.

    Args:
        split: A global time split of a data set that `simulate_posts` made.
        part: "valid" or "test".
        most: A random sample of this many engagements is asked where there are more.
        seed: Seed of the sample.

    Raises:
        InputError: Another part.
    """
    if part not in ("valid", "test"):
        raise one_of("part of a split", part, ["valid", "test"])
    data = split.train
    asked = split.valid if part == "valid" else split.test
    if len(asked) > most:
        asked = asked.iloc[np.sort(np.random.default_rng(seed).choice(len(asked), most, replace=False))]
    log = pd.concat([data.interactions, split.valid, split.test])
    taken: dict[Hashable, list[tuple[int, int]]] = {}
    for user, column, time in zip(
        log["user_id"], data.item_columns(log["item_id"]), log["timestamp"], strict=True
    ):
        taken.setdefault(user, []).append((int(time), int(column)))
    times = asked["timestamp"].to_numpy()
    ages = (times[:, None] - data.items["posted_at"].to_numpy()[None, :]) / HOUR
    candidates = ages >= 0
    for row, (user, time) in enumerate(zip(asked["user_id"], times, strict=True)):
        candidates[row, [column for when, column in taken[user] if when < time]] = False
    targets = np.zeros(ages.shape, dtype=bool)
    targets[np.arange(len(asked)), data.item_columns(asked["item_id"])] = True
    users = pd.Index(data.users["user_id"]).get_indexer(pd.Index(asked["user_id"]))
    trained = data.histories()
    histories = [trained.get(user, []) for user in asked["user_id"]]
    return NextEngagements(users, ages, candidates | targets, targets, histories)


def asks_for_change(text: str) -> bool:
    """Tell whether an instruction asks for something other than before, in English or Chinese.

    Such a wish names no property of a post: what it excludes depends on what the user has been shown.
    """
    return _CHANGE.search(text) is not None


def feedback_loop(
    tastes: np.ndarray,
    rounds: int = 30,
    instruction: str | None = None,
    every: int = 5,
    sharpness: float = 1.5,
    list_length: int = 10,
    engagements: int = 3,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Let a recommender learn only from engagements with what it has itself shown, for some rounds.

    In each round, each place of a user's list gets a topic drawn with probability proportional to
    (engagements with the topic + 1) ** sharpness; the user engages with a few of the posts shown, by softmax of
    1.5 log(K taste + 0.1). Every few rounds the users may say an instruction; where it asks for change, the two topics
    that each engaged with most are left out of that round's list.

    Args:
        tastes: True tastes, shape (n_users, n_topics), rows sum to 1.
        rounds: Number of rounds.
        instruction: What users say, or None.
        every: Rounds from one instruction to the next.
        sharpness: 1 shows topics in proportion to past engagements; more than 1 prefers the leader.
        list_length: Posts shown in a round.
        engagements: Posts that a user engages with in a round.
        seed: Seed of every draw.

    Returns:
        Arrays of shape (rounds, n_users): `entropy`, that of the topics shown, in bits; `value`, the mean utility of
        the posts shown; and of shape (n_users,) `error`, the share of a user's taste that the final shares of
        engagements get wrong (total variation distance, in [0, 1]).

    Raises:
        InputError: Tastes that are no table of shares.
    """
    tastes = np.asarray(tastes, dtype=float)
    if tastes.ndim != 2 or (tastes < 0).any() or not np.allclose(tastes.sum(axis=1), 1):
        raise InputError(
            f"tastes has shape {tastes.shape}; (n_users, n_topics) with rows that sum to 1 is accepted"
        )
    rng = np.random.default_rng(seed)
    n_users, n_topics = tastes.shape
    utility = TASTE_WEIGHT * np.log(n_topics * tastes + 0.1)
    counts = np.zeros((n_users, n_topics))
    rows = np.arange(n_users)[:, None]
    entropy, value = np.empty((rounds, n_users)), np.empty((rounds, n_users))
    change = instruction is not None and asks_for_change(instruction)
    for number in range(rounds):
        weights = (counts + 1) ** sharpness
        if change and number % every == every - 1:
            np.put_along_axis(weights, np.argsort(-counts, axis=1, kind="stable")[:, :2], 0.0, axis=1)
        edges = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
        draws = rng.random((n_users, list_length, 1))
        shown = np.minimum((draws > edges[:, None, :]).sum(axis=2), n_topics - 1)
        keys = utility[rows, shown] + rng.gumbel(size=shown.shape)
        chosen = np.take_along_axis(shown, np.argsort(-keys, axis=1)[:, :engagements], axis=1)
        np.add.at(counts, (rows, chosen), 1.0)
        share = (shown[:, :, None] == np.arange(n_topics)).mean(axis=1)
        entropy[number] = entropy_bits(share)
        value[number] = utility[rows, shown].mean(axis=1)
    learnt = counts / counts.sum(axis=1, keepdims=True)
    return {"entropy": entropy, "value": value, "error": np.abs(learnt - tastes).sum(axis=1) / 2}


def loop_table(loops: Mapping[str, Mapping[str, np.ndarray]], last: int = 5) -> pd.DataFrame:
    """Return a column a loop of `feedback_loop`; each cell reads "mean [low, high]", 95% over users.

    Args:
        loops: Results by name.
        last: The entropy and the utility are means over this many last rounds.
    """
    rows = {}
    for name, one in loops.items():
        rows[name] = {
            f"topics shown, last {last} rounds (bits)": one["entropy"][-last:].mean(axis=0),
            f"utility of posts shown, last {last} rounds": one["value"][-last:].mean(axis=0),
            "share of the taste learnt wrongly": one["error"],
        }
    return pd.DataFrame(rows).map(lambda values: str(bootstrap_interval(values)))


def entropy_bits(shares: np.ndarray) -> np.ndarray:
    """Return the entropy of each row of shares, -sum p log2 p, in bits (Shannon, 1948)."""
    shares = np.asarray(shares, dtype=float)
    return -np.sum(shares * np.log2(np.where(shares > 0, shares, 1.0)), axis=-1)


def _codes(items: pd.DataFrame) -> np.ndarray:
    numbers = {topic: number for number, (topic, _) in enumerate(TOPICS)}
    return np.array([numbers[listed[0]] for listed in items["topics"]])


def _posts(n_posts: int, days: int, author_topics: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    authors = rng.integers(0, len(author_topics), n_posts)
    names = [TOPICS[author_topics[author]] for author in authors]
    return pd.DataFrame(
        {
            "item_id": np.arange(1, n_posts + 1),
            "title": [f"{topic}, post {n}" for n, (topic, _) in enumerate(names, 1)],
            "title_zh": [f"{chinese}，第{n}帖" for n, (_, chinese) in enumerate(names, 1)],
            "topics": [(topic,) for topic, _ in names],
            "topics_zh": [(chinese,) for _, chinese in names],
            "author": [f"author_{author}" for author in authors],
            "posted_at": np.sort(rng.integers(START, START + days * DAY, n_posts)),
        }
    )


def _visits(
    items: pd.DataFrame,
    lasting: np.ndarray,
    days: int,
    half_life: float,
    visits_per_user: int,
    shown: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    posted = items["posted_at"].to_numpy()
    ids = items["item_id"].to_numpy()
    rows = []
    for user in range(len(lasting)):
        engaged = np.zeros(len(posted), dtype=bool)
        for time in np.sort(rng.integers(START + 3 * DAY, START + days * DAY, visits_per_user)):
            first, last = np.searchsorted(posted, [time - 3 * DAY, time])
            there = np.arange(first, last)[~engaged[first:last]]
            if len(there) == 0:
                continue
            seen = rng.permutation(there)[:shown]
            utility = lasting[user, seen] - np.log(2) * (time - posted[seen]) / HOUR / half_life
            post = seen[np.argmax(utility + rng.gumbel(size=len(seen)))]
            engaged[post] = True
            depth = min(rng.geometric(0.7) - 1, len(BEHAVIORS) - 1)
            rows.append((user + 1, ids[post], np.nan, int(time), BEHAVIORS[depth]))
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp", "behavior"])
    return events.sort_values("timestamp", kind="stable", ignore_index=True)
