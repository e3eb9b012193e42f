"""Simulated online education: courses with prerequisites, learners who pass or fail, goals and paths to them.

A learner who has not passed m of the direct and indirect prerequisites of a course passes the course with probability

    P(pass) = PASS_PROBABILITY * MISSING_FACTOR ** m,

so the expected learning gain of a recommended course, in courses passed, is P(pass); of a course passed before it is 0.
Derived in chapter `scenarios`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pydantic import Field
from scipy.sparse.csgraph import shortest_path

from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.errors import one_of
from instructrec.models.base import Recommender
from instructrec.models.baselines.recently_popular import SECONDS_PER_DAY
from instructrec.ranking import top_k
from instructrec.validation import Accepts, check_value, whole_number
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
"""Subjects of the courses, in English and Chinese."""
N_LEVELS = 5
"""Number of courses of each subject; each needs the course one level below."""
CROSS_SUBJECT_PREREQUISITES = {
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
"""Prerequisites in other subjects, as (subject, level), of the course (subject, level)."""
PASS_PROBABILITY = 0.9
"""Probability that a learner with all prerequisites passes a course."""
MISSING_FACTOR = 0.35
"""Factor of that probability for each prerequisite that the learner has not passed."""
INTEREST_WEIGHT, TAKEABLE_BONUS, LEVEL_COST = 2, 2.5, 0.3
"""Weights of the utility by which simulated learners choose a course, see `simulate_school`."""
START = 1_683_763_200
"""First second of the simulated period: 2023-05-11 00:00 UTC, in seconds since 1970-01-01."""
SECONDS_PER_MONTH = 30 * SECONDS_PER_DAY
_CHINESE_DIGITS = {"一": 1, "二": 2, "三": 3, "四": 4, "五": 5}
_BEGINNER = re.compile(
    r"\bfrom (?:zero|scratch)\b|\b(?:complete |total |absolute )?beginner\b|零基础|从零|没学过|小白"
)
_LEVEL = re.compile(r"(?<!\d)([1-5])(?!\d)|([一二三四五])\s*级")
_MeanAttempts = Annotated[float, Field(ge=1, le=1_000), Accepts("a number from 1 to 1000")]

Passed = Sequence[Sequence[Hashable]]
"""Item ids of the courses that each learner has passed, shape (n_learners, any number)."""
Policy = Callable[[Passed, Sequence[Hashable]], np.ndarray]
"""Function from the courses passed and each learner's goal to scores, shape (n_learners, n_courses)."""


@dataclass(frozen=True)
class School:
    """Courses with their prerequisites, and learners with their interests.

    Attributes:
        prerequisites: Item ids of the direct prerequisites of each course, by item id.
        interests: Share of each subject in a learner's interest; rows are user ids and sum to 1.
        dataset: The courses, the learners and their attempts.
    """

    prerequisites: dict[Hashable, tuple[Hashable, ...]]
    interests: pd.DataFrame
    dataset: Dataset

    @cached_property
    def prerequisite_closure(self) -> np.ndarray:
        """Direct and indirect prerequisites, shape (n_courses, n_courses), bool; the row needs the column."""
        direct = np.zeros((self.dataset.n_items, self.dataset.n_items))
        for item, items in self.prerequisites.items():
            direct[self.dataset.item_columns([item])[0], self.dataset.item_columns(items)] = 1
        distance = shortest_path(direct, unweighted=True)
        return (distance > 0) & np.isfinite(distance)

    def passed_courses(self) -> dict[Hashable, list[Hashable]]:
        """Return the courses that each learner has passed, in time order; an empty list if none."""
        log = self.dataset.interactions
        histories = self.dataset.with_interactions(log[log["behavior"] == "passed"]).histories()
        return {user: histories.get(user, []) for user in self.dataset.users["user_id"].tolist()}

    def missing_prerequisites(self, passed: Passed) -> np.ndarray:
        """Count the prerequisites of each course that each learner lacks.

        Args:
            passed: Courses that each learner has passed.

        Returns:
            Array of shape (n_learners, n_courses), int64, at least 0.
        """
        return (~self._passed_mask(passed)).astype(np.int64) @ self.prerequisite_closure.T.astype(np.int64)

    def takeable(self, passed: Passed) -> np.ndarray:
        """Return which courses a learner can take now: not passed yet, with all prerequisites passed.

        Args:
            passed: Courses that each learner has passed.

        Returns:
            Array of shape (n_learners, n_courses), bool.
        """
        return (self.missing_prerequisites(passed) == 0) & ~self._passed_mask(passed)

    def learning_gain(self, passed: Passed) -> np.ndarray:
        """Return the true learning gain of each course for each learner, in expected courses passed.

        Args:
            passed: Courses that each learner has passed.

        Returns:
            Array of shape (n_learners, n_courses), in [0, 1].
        """
        probability = PASS_PROBABILITY * MISSING_FACTOR ** self.missing_prerequisites(passed)
        return probability * ~self._passed_mask(passed)

    def course_interest(self) -> np.ndarray:
        """Return the true interest of each learner in each course's subject, shape (n_learners, n_courses)."""
        subjects = pd.Index([subjects[0] for subjects in self.dataset.items["subjects"]])
        return self.interests.to_numpy()[:, self.interests.columns.get_indexer(subjects)]

    def list_quality(self, y_pred: ArrayLike, passed: Passed, k: int = 3) -> dict[str, np.ndarray]:
        """Return the true quality of the first k courses of each learner's list; an empty position counts as 0.

        Args:
            y_pred: Scores, shape (n_learners, n_courses); minus infinity is never shown.
            passed: Courses that each learner has passed.
            k: Length of the list.

        Returns:
            Means over the k positions, shape (n_learners,): `can be taken`, the share of takeable courses; `true gain`,
            in expected courses passed; `true interest`, the share of the course's subject in the learner's interest.
        """
        lists = top_k(y_pred, k)
        values = {
            "can be taken": self.takeable(passed),
            "true gain": self.learning_gain(passed),
            "true interest": self.course_interest(),
        }
        return {
            name: (np.take_along_axis(value, np.maximum(lists, 0), axis=1) * (lists >= 0)).sum(axis=1) / k
            for name, value in values.items()
        }

    def goals(self, level: int = 3) -> list[Hashable]:
        """Return for each learner the course of a level in the subject of greatest interest.

        Args:
            level: 1 to 5.

        Raises:
            InputError: No such level.
        """
        if level not in range(1, N_LEVELS + 1):
            raise one_of("level of a course", level, range(1, N_LEVELS + 1))
        ids = dict(zip(self.dataset.items["title"], self.dataset.items["item_id"].tolist(), strict=True))
        return [ids[f"{subject} {level}"] for subject in self.interests.idxmax(axis=1)]

    def learning_path(self, goal: Hashable, passed: Sequence[Hashable] = ()) -> list[Hashable]:
        """Return the courses still to take up to a goal, each after its prerequisites; the goal comes last.

        Args:
            goal: Item id of the course to reach.
            passed: Item ids of the courses passed, which the path excludes.

        Raises:
            InputError: No such course.
        """
        target = self.dataset.item_columns([goal])[0]
        on_path = self.prerequisite_closure[target].copy()
        on_path[target] = True
        on_path[self.dataset.item_columns(passed)] = False
        # A course has more prerequisites in all than each of them has, so this order is a topological one.
        n_prerequisites = self.prerequisite_closure.sum(axis=1)
        columns = sorted(
            np.flatnonzero(on_path).tolist(), key=lambda column: (n_prerequisites[column], column)
        )
        return self.dataset.items["item_id"].iloc[columns].tolist()

    def learning_path_scores(self, passed: Passed, goals: Sequence[Hashable]) -> np.ndarray:
        """Score the courses on each learner's path that can be taken now, the most basic course highest.

        Args:
            passed: Courses that each learner has passed.
            goals: Item id of the course that each learner wants to reach.

        Returns:
            Array of shape (n_learners, n_courses), float; minus infinity at all other courses.
        """
        targets = self.dataset.item_columns(goals)
        on_path = self.prerequisite_closure[targets]
        on_path[np.arange(len(targets)), targets] = True
        n_prerequisites = self.prerequisite_closure.sum(axis=1).astype(float)
        return np.where(on_path & self.takeable(passed), -n_prerequisites, -np.inf)

    def _passed_mask(self, passed: Passed) -> np.ndarray:
        mask = np.zeros((len(passed), self.dataset.n_items), dtype=bool)
        rows = np.repeat(np.arange(len(passed)), [len(items) for items in passed])
        mask[rows, self.dataset.item_columns([item for items in passed for item in items])] = True
        return mask


# -- simulation of a school ------------------------------------------------------------------------------------


def simulate_school(n_learners: int = 400, attempts_per_learner: float = 8.0, seed: int = 0) -> School:
    """Simulate a school of eight subjects with five levels, and learners who often choose courses too hard for them.

    Each attempt is at a course not passed yet, chosen by a softmax of 2 log(K interest + 0.1) + 2.5 [takeable] -
    0.3 level: learners prefer what they can take, but not always.

    Args:
        n_learners: Number of learners, at least 2.
        attempts_per_learner: Mean number of attempts, from 1 to 1000; the numbers are Poisson and at least 1.
        seed: Seed of every draw.

    Returns:
        The school; its data set's items have `title`, `title_zh`, `subjects`, `subjects_zh`, `level`, and its
        interactions have `behavior`, "passed" or "failed".

    Raises:
        InputError: A setting out of range.
    """
    check_value("n_learners", n_learners, whole_number(2))
    check_value("attempts_per_learner", attempts_per_learner, _MeanAttempts)
    rng = np.random.default_rng(seed)
    items, prerequisites = _courses()
    users = pd.DataFrame({"user_id": np.arange(1, n_learners + 1)})
    subjects = [subject for subject, _ in SUBJECTS]
    interests = pd.DataFrame(
        rng.dirichlet(np.full(len(subjects), 0.6), n_learners),
        index=pd.Index(users["user_id"]),
        columns=subjects,
    )
    no_events = pd.DataFrame({"user_id": [], "item_id": [], "rating": [], "timestamp": [], "behavior": []})
    card = DataCard(
        title="Simulated school",
        summary=f"{n_learners} learners and {len(items)} courses of {len(subjects)} subjects at {N_LEVELS} levels.",
        source=f"instructrec.scenarios.school.simulate_school(seed={seed})",
        licence="Made by this project, Apache-2.0 like its code",
        caveats=("A failed attempt teaches nothing; learners never forget.",),
    )
    dataset = Dataset("school", users, items, no_events, "subjects", card)
    events = _attempts(School(prerequisites, interests, dataset), attempts_per_learner, rng)
    return School(prerequisites, interests, dataset.with_interactions(events))


def _courses() -> tuple[pd.DataFrame, dict[Hashable, tuple[Hashable, ...]]]:
    """Return the item table and the direct prerequisites by item id."""
    courses = [(english, chinese, level) for english, chinese in SUBJECTS for level in range(1, N_LEVELS + 1)]
    ids = {(english, level): 100 + n for n, (english, _, level) in enumerate(courses)}
    items = pd.DataFrame(
        {
            "item_id": list(ids.values()),
            "title": [f"{english} {level}" for english, _, level in courses],
            "title_zh": [f"{chinese}{level}级" for _, chinese, level in courses],
            "subjects": [(english,) for english, _, _ in courses],
            "subjects_zh": [(chinese,) for _, chinese, _ in courses],
            "level": [level for _, _, level in courses],
        }
    )
    prerequisites: dict[Hashable, tuple[Hashable, ...]] = {}
    for (subject, level), item in ids.items():
        same_subject = [(subject, level - 1)] if level > 1 else []
        across = CROSS_SUBJECT_PREREQUISITES.get((subject, level), [])
        prerequisites[item] = tuple(ids[course] for course in same_subject + across)
    return items, prerequisites


def _attempts(school: School, mean: float, rng: np.random.Generator) -> pd.DataFrame:
    """Draw each learner's attempts, one a month, and whether the learner passes."""
    users, ids = school.dataset.users["user_id"].tolist(), school.dataset.items["item_id"].tolist()
    appeal = (
        INTEREST_WEIGHT * np.log(len(SUBJECTS) * school.course_interest() + 0.1)
        - LEVEL_COST * school.dataset.items["level"].to_numpy()
    )
    n_attempts = np.maximum(rng.poisson(mean, len(users)), 1)
    passed: list[list[Hashable]] = [[] for _ in users]
    rows: list[tuple] = []
    for step in range(int(n_attempts.max())):
        gain, takeable = school.learning_gain(passed), school.takeable(passed)
        utility = np.where(
            gain > 0, appeal + TAKEABLE_BONUS * takeable + rng.gumbel(size=gain.shape), -np.inf
        )
        draws = rng.random(len(users))
        for learner in np.flatnonzero((n_attempts > step) & (gain > 0).any(axis=1)):
            course = int(np.argmax(utility[learner]))
            success = draws[learner] < gain[learner, course]
            if success:
                passed[learner].append(ids[course])
            time = START + step * SECONDS_PER_MONTH + int(rng.integers(0, SECONDS_PER_MONTH))
            rows.append((users[learner], ids[course], np.nan, time, "passed" if success else "failed"))
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp", "behavior"])
    return events.sort_values("timestamp", kind="stable", ignore_index=True)


# -- goals and policies ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """The goal that a learner states.

    Attributes:
        item_id: The course to reach.
        from_zero: Whether the learner states to be a beginner.
    """

    item_id: Hashable
    from_zero: bool


def parse_goal(text: str, dataset: Dataset) -> Goal:
    """Parse the course that a learner wants to reach, in English or Chinese.

    Args:
        text: Such as "I want to reach Machine learning 3" or "零基础，想学到机器学习3级". Of several subjects the last
            one counts; a text without a level means the highest level.
        dataset: The courses of `simulate_school`.

    Raises:
        InputError: The text names no subject.
    """
    normal_text = normal(text)
    mentions = sorted(
        (position, english)
        for english, chinese in SUBJECTS
        for word in (english, chinese)
        if (position := normal_text.find(normal(word))) >= 0
    )
    if not mentions:
        raise one_of("subject in the goal", text, [f"{english} {chinese}" for english, chinese in SUBJECTS])
    position, subject = mentions[-1]
    match = _LEVEL.search(normal_text, position)
    level = N_LEVELS if match is None else int(match[1] or _CHINESE_DIGITS[match[2]])
    item = dataset.items.loc[dataset.items["title"] == f"{subject} {level}", "item_id"].iloc[0]
    return Goal(item, _BEGINNER.search(normal_text) is not None)


def model_policy(model: Recommender, school: School | None = None) -> Policy:
    """Return the policy that scores courses by a recommender, whatever the goal.

    Args:
        model: A fitted recommender of the school's courses.
        school: If given, courses that the learner cannot take now are excluded.
    """

    def policy(passed: Passed, goals: Sequence[Hashable]) -> np.ndarray:
        scores = model.score(passed)
        return scores if school is None else np.where(school.takeable(passed), scores, -np.inf)

    return policy


def attempts_until_goal(
    school: School, policy: Policy, goals: Sequence[Hashable], max_attempts: int = 20, seed: int = 0
) -> np.ndarray:
    """Simulate learners without any course who always take a policy's best course, until they have passed their goal.

    A course passed is not taken again; a course failed may be.

    Args:
        school: Courses and their prerequisites.
        policy: Scores courses for the courses passed and the goals of all learners.
        goals: Item id of the course that each learner wants to reach.
        max_attempts: Number of attempts of each learner.
        seed: Seed of passing and failing; under every policy a learner gets the same random numbers.

    Returns:
        Array of shape (n_learners,), float: the number of the attempt that passed the goal, infinity if none did.
    """
    rng = np.random.default_rng(seed)
    targets = school.dataset.item_columns(goals)
    ids = school.dataset.items["item_id"].tolist()
    passed: list[list[Hashable]] = [[] for _ in goals]
    attempts = np.full(len(goals), np.inf)
    for attempt in range(1, max_attempts + 1):
        draws = rng.random(len(goals))
        gain = school.learning_gain(passed)
        scores = np.where(gain == 0, -np.inf, policy(passed, goals))
        for learner in np.flatnonzero(np.isinf(attempts) & ~np.isneginf(scores.max(axis=1))):
            course = int(np.argmax(scores[learner]))
            if draws[learner] < gain[learner, course]:
                passed[learner].append(ids[course])
                if course == targets[learner]:
                    attempts[learner] = attempt
    return attempts
