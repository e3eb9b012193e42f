"""Simulated online education: courses that build on each other, learners who pass or fail, goals and the way to them.

A learner who has not passed m of the courses that a course builds on, directly or not, passes it with probability

    P(pass) = READY * GAP ** m,

so that the expected learning gain of a recommended course, in courses passed, is P(pass), and 0 for one passed before.
Derived in chapter `scenarios`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.errors import InputError, one_of
from instructrec.evaluation.following import top_lists
from instructrec.models.base import Recommender
from instructrec.wordings.lexicon import normal

SUBJECTS = (
    ("Programming", "编程"),
    ("Mathematics", "数学"),
    ("Statistics", "统计"),
    ("Data analysis", "数据分析"),
    ("Machine learning", "机器学习"),
    ("Web development", "网页开发"),
    ("Design", "设计"),
    ("Writing", "写作"),
)
LEVELS = 5
# Besides the level below in the same subject: (subject, level) needs (subject, level).
ACROSS = {
    ("Statistics", 1): [("Mathematics", 1)],
    ("Statistics", 3): [("Mathematics", 2)],
    ("Data analysis", 1): [("Programming", 1)],
    ("Data analysis", 2): [("Statistics", 1)],
    ("Data analysis", 4): [("Statistics", 3)],
    ("Machine learning", 1): [("Programming", 2), ("Statistics", 2)],
    ("Machine learning", 3): [("Mathematics", 3)],
    ("Web development", 1): [("Programming", 1)],
    ("Web development", 3): [("Design", 1)],
    ("Design", 4): [("Writing", 1)],
}
READY, GAP = 0.9, 0.35
READINESS = 2.5
START = 1_683_763_200  # 2023-05-11 00:00 UTC
DAY = 86_400
_DIGITS = {"一": 1, "二": 2, "三": 3, "四": 4, "五": 5}
_FROM_ZERO = re.compile(
    r"\bfrom (?:zero|scratch)\b|\b(?:complete |total |absolute )?beginner\b|零基础|从零|没学过|小白"
)
_LEVEL = re.compile(r"(?<!\d)([1-5])(?!\d)|([一二三四五])\s*级")
Policy = Callable[[Sequence[Sequence[Hashable]], Sequence[Hashable]], np.ndarray]


@dataclass(frozen=True)
class School:
    """The courses' order and the learners' interests.

    Attributes:
        prerequisites: Items that each course needs directly, by item id.
        interests: Share of each subject in a learner's interest; rows are user ids and sum to 1.
        dataset: The courses, learners and what the learners tried.
    """

    prerequisites: dict[Hashable, tuple[Hashable, ...]]
    interests: pd.DataFrame
    dataset: Dataset

    @cached_property
    def needs(self) -> np.ndarray:
        """What each course builds on, directly or not, shape (n_courses, n_courses), bool; row needs column."""
        n = self.dataset.n_items
        matrix = np.zeros((n, n), dtype=bool)
        for item, needed in self.prerequisites.items():
            row = self.dataset.item_columns([item])[0]
            matrix[row, self.dataset.item_columns(needed)] = True
        for middle in range(n):
            matrix |= matrix[:, [middle]] & matrix[[middle], :]
        return matrix

    def passed(self) -> dict[Hashable, list[Hashable]]:
        """Return the courses that each learner has passed, in time order, an empty list for none."""
        log = self.dataset.interactions
        done = self.dataset.with_interactions(log[log["behavior"] == "passed"]).histories()
        return {user: done.get(user, []) for user in self.dataset.users["user_id"].tolist()}

    def missing(self, known: Sequence[Sequence[Hashable]]) -> np.ndarray:
        """Count the courses that each learner lacks for each course, shape (n_learners, n_courses), int64.

        Args:
            known: Courses that each learner has passed.
        """
        return (~self._known(known)).astype(np.int64) @ self.needs.T.astype(np.int64)

    def takeable(self, known: Sequence[Sequence[Hashable]]) -> np.ndarray:
        """Tell which courses a learner can take now: all prerequisites passed, the course not yet; bool.

        Args:
            known: Courses that each learner has passed.
        """
        return (self.missing(known) == 0) & ~self._known(known)

    def gain(self, known: Sequence[Sequence[Hashable]]) -> np.ndarray:
        """Return the true learning gain of each course for each learner, in expected courses passed, in [0, 1].

        Args:
            known: Courses that each learner has passed.
        """
        return READY * GAP ** self.missing(known) * ~self._known(known)

    def interest(self) -> np.ndarray:
        """Return the true interest of each learner in each course's subject, shape (n_learners, n_courses)."""
        columns = self.interests.columns.get_indexer(pd.Index([s[0] for s in self.dataset.items["subjects"]]))
        return self.interests.to_numpy()[:, columns]

    def measure(
        self, y_pred: ArrayLike, known: Sequence[Sequence[Hashable]], k: int = 3
    ) -> dict[str, np.ndarray]:
        """Return what the first k courses of each learner's list are worth, by truth; an empty place is worth nothing.

        Args:
            y_pred: Scores, shape (n_learners, n_courses); minus infinity is never shown.
            known: Courses that each learner has passed.
            k: Length of the list.

        Returns:
            Means over the k places, shape (n_learners,): `can be taken`; `true gain`, in expected courses passed;
            `true interest`, the share of the learner's interest that the course's subject has.
        """
        lists = top_lists(y_pred, k)
        values = {
            "can be taken": self.takeable(known),
            "true gain": self.gain(known),
            "true interest": self.interest(),
        }
        return {
            name: (np.take_along_axis(one, np.maximum(lists, 0), axis=1) * (lists >= 0)).sum(axis=1) / k
            for name, one in values.items()
        }

    def goals(self, level: int = 3) -> list[Hashable]:
        """Return for each learner the course of a level in the subject of greatest interest.

        Args:
            level: 1 to 5.

        Raises:
            InputError: No such level.
        """
        if level not in range(1, LEVELS + 1):
            raise one_of("level of a course", level, range(1, LEVELS + 1))
        ids = dict(zip(self.dataset.items["title"], self.dataset.items["item_id"].tolist(), strict=True))
        return [ids[f"{subject} {level}"] for subject in self.interests.idxmax(axis=1)]

    def path(self, goal: Hashable, known: Sequence[Hashable] = ()) -> list[Hashable]:
        """Return the courses that lead to a goal, the goal last, each after all that it needs, without known ones.

        Args:
            goal: Item id of the course to reach.
            known: Courses passed.

        Raises:
            InputError: No such course.
        """
        target = self.dataset.item_columns([goal])[0]
        wanted = self.needs[target].copy()
        wanted[target] = True
        wanted[self.dataset.item_columns(known)] = False
        # A course needs strictly more than each of those it builds on, so that counting sorts topologically.
        order = sorted(np.flatnonzero(wanted).tolist(), key=lambda column: (self.needs[column].sum(), column))
        return self.dataset.items["item_id"].iloc[order].tolist()

    def path_scores(self, known: Sequence[Sequence[Hashable]], goals: Sequence[Hashable]) -> np.ndarray:
        """Score the next courses on each learner's way, the most basic first; minus infinity off the way.

        Args:
            known: Courses that each learner has passed.
            goals: The course that each learner wants to reach.

        Returns:
            Array of shape (n_learners, n_courses), float.
        """
        targets = self.dataset.item_columns(goals)
        on_way = self.needs[targets]
        on_way[np.arange(len(targets)), targets] = True
        return np.where(on_way & self.takeable(known), -self.needs.sum(axis=1).astype(float), -np.inf)

    def _known(self, known: Sequence[Sequence[Hashable]]) -> np.ndarray:
        matrix = np.zeros((len(known), self.dataset.n_items), dtype=bool)
        rows = np.repeat(np.arange(len(known)), [len(items) for items in known])
        matrix[rows, self.dataset.item_columns([item for items in known for item in items])] = True
        return matrix


@dataclass(frozen=True)
class Goal:
    """What a learner asks for.

    Attributes:
        item_id: The course to reach.
        from_zero: The learner says that nothing is known yet.
    """

    item_id: Hashable
    from_zero: bool


def simulate_school(n_learners: int = 400, attempts_per_learner: float = 8.0, seed: int = 0) -> School:
    """Simulate a school of eight subjects with five levels, and learners who choose by interest and reach too far.

    Each attempt is at a course not passed yet, chosen by softmax of 2 log(K interest + 0.1) + 2.5 [takeable] -
    0.3 level: learners prefer what they can take, but not always.

    Args:
        n_learners: Number of learners, at least 2.
        attempts_per_learner: Mean number of attempts; the numbers are Poisson and at least 1.
        seed: Seed of every draw.

    Returns:
        The school; its data set's items have `title`, `title_zh`, `subjects`, `subjects_zh`, `level`, and its
        interactions have `behavior`, "passed" or "failed".

    Raises:
        InputError: A setting out of range.
    """
    if isinstance(n_learners, bool) or not isinstance(n_learners, int | np.integer) or n_learners < 2:
        raise InputError(f"n_learners is {n_learners!r}; a whole number of at least 2 is accepted")
    if not 1 <= attempts_per_learner <= 1_000:
        raise InputError(
            f"attempts_per_learner is {attempts_per_learner!r}; a number from 1 to 1000 is accepted"
        )
    rng = np.random.default_rng(seed)
    items, prerequisites = _courses()
    users = pd.DataFrame({"user_id": np.arange(1, n_learners + 1)})
    names = [subject for subject, _ in SUBJECTS]
    interests = pd.DataFrame(
        rng.dirichlet(np.full(len(names), 0.6), n_learners), index=pd.Index(users["user_id"]), columns=names
    )
    empty = pd.DataFrame({"user_id": [], "item_id": [], "rating": [], "timestamp": [], "behavior": []})
    card = DataCard(
        title="Simulated school",
        summary=f"{n_learners} learners and {len(items)} courses of {len(names)} subjects at {LEVELS} levels.",
        source=f"instructrec.scenarios.school.simulate_school(seed={seed})",
        licence="Made by this project, Apache-2.0 like its code",
        caveats=("A failed attempt teaches nothing; learners never forget.",),
    )
    frame = Dataset("school", users, items, empty, "subjects", card)
    school = School(prerequisites, interests, frame)
    events = _attempts(school, attempts_per_learner, rng)
    return School(prerequisites, interests, frame.with_interactions(events))


def read_goal(text: str, dataset: Dataset) -> Goal:
    """Read which course a learner wants to reach, in English or Chinese.

    Args:
        text: Such as "I want to reach Machine learning 3" or "零基础，想学到机器学习3级"; without a level the highest
            is meant.
        dataset: The courses of `simulate_school`.

    Raises:
        InputError: No subject is named.
    """
    plain = normal(text)
    found = [
        (plain.find(normal(word)), english) for english, chinese in SUBJECTS for word in (english, chinese)
    ]
    found = sorted(pair for pair in found if pair[0] >= 0)
    if not found:
        raise one_of("subject in the goal", text, [f"{english} {chinese}" for english, chinese in SUBJECTS])
    subject = found[-1][1]
    level = _LEVEL.search(plain, found[-1][0])
    number = LEVELS if level is None else int(level[1] or _DIGITS[level[2]])
    item = dataset.items.loc[dataset.items["title"] == f"{subject} {number}", "item_id"].iloc[0]
    return Goal(item, _FROM_ZERO.search(plain) is not None)


def by_model(model: Recommender, school: School | None = None) -> Policy:
    """Return the policy of taking what a recommender puts first, whatever the goal.

    Args:
        model: A fitted recommender of the school's courses.
        school: Where given, courses whose prerequisites are not passed are left out.
    """

    def policy(known: Sequence[Sequence[Hashable]], goals: Sequence[Hashable]) -> np.ndarray:
        scores = model.score(known)
        return scores if school is None else np.where(school.takeable(known), scores, -np.inf)

    return policy


def follow(
    school: School, policy: Policy, goals: Sequence[Hashable], steps: int = 20, seed: int = 0
) -> np.ndarray:
    """Let newcomers take a policy's first course, step by step, until they have passed their goal.

    A course passed is not taken again; a course failed may be.

    Args:
        school: Courses and their order.
        policy: Given the courses passed and the goals of all learners, returns scores, shape (n_learners, n_courses).
        goals: The course that each learner wants to reach.
        steps: Attempts of each learner.
        seed: Seed of passing and failing: the same seed gives each learner the same luck under every policy.

    Returns:
        Array of shape (n_learners,), float: the attempt with which the goal was passed, infinity where it was not.
    """
    rng = np.random.default_rng(seed)
    columns = school.dataset.item_columns(goals)
    ids = school.dataset.items["item_id"].tolist()
    known: list[list[Hashable]] = [[] for _ in goals]
    reached = np.full(len(goals), np.inf)
    for step in range(1, steps + 1):
        luck = rng.random(len(goals))
        gain = school.gain(known)
        scores = np.where(gain == 0, -np.inf, policy(known, goals))
        for learner in np.flatnonzero(np.isinf(reached) & ~np.isneginf(scores.max(axis=1))):
            course = int(np.argmax(scores[learner]))
            if luck[learner] < gain[learner, course]:
                known[learner].append(ids[course])
                if course == columns[learner]:
                    reached[learner] = step
    return reached


def _courses() -> tuple[pd.DataFrame, dict[Hashable, tuple[Hashable, ...]]]:
    rows = [(english, chinese, level) for english, chinese in SUBJECTS for level in range(1, LEVELS + 1)]
    numbers = {(english, level): 100 + n for n, (english, _, level) in enumerate(rows)}
    items = pd.DataFrame(
        {
            "item_id": list(numbers.values()),
            "title": [f"{english} {level}" for english, _, level in rows],
            "title_zh": [f"{chinese}{level}级" for _, chinese, level in rows],
            "subjects": [(english,) for english, _, _ in rows],
            "subjects_zh": [(chinese,) for _, chinese, _ in rows],
            "level": [level for _, _, level in rows],
        }
    )
    prerequisites: dict[Hashable, tuple[Hashable, ...]] = {}
    for (subject, level), number in numbers.items():
        below = [(subject, level - 1)] if level > 1 else []
        prerequisites[number] = tuple(numbers[one] for one in below + ACROSS.get((subject, level), []))
    return items, prerequisites


def _attempts(school: School, mean: float, rng: np.random.Generator) -> pd.DataFrame:
    users, ids = school.dataset.users["user_id"].tolist(), school.dataset.items["item_id"].tolist()
    appeal = (
        2 * np.log(len(SUBJECTS) * school.interest() + 0.1) - 0.3 * school.dataset.items["level"].to_numpy()
    )
    counts = np.maximum(rng.poisson(mean, len(users)), 1)
    known: list[list[Hashable]] = [[] for _ in users]
    rows: list[tuple] = []
    for step in range(int(counts.max())):
        gain, takeable = school.gain(known), school.takeable(known)
        utility = np.where(gain > 0, appeal + READINESS * takeable + rng.gumbel(size=gain.shape), -np.inf)
        luck = rng.random(len(users))
        for learner in np.flatnonzero((counts > step) & (gain > 0).any(axis=1)):
            course = int(np.argmax(utility[learner]))
            success = luck[learner] < gain[learner, course]
            if success:
                known[learner].append(ids[course])
            time = START + step * 30 * DAY + int(rng.integers(0, 30 * DAY))
            rows.append((users[learner], ids[course], np.nan, time, "passed" if success else "failed"))
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp", "behavior"])
    return events.sort_values("timestamp", kind="stable", ignore_index=True)
