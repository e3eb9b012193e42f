"""Each assignment is released and graded as in class: by nbgrader, in a copy of the course, without the network."""

from __future__ import annotations

import ast
import builtins
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tools.build_book import ROOT

COURSE = ROOT / "assignments"
NAMES = sorted(folder.name for folder in (COURSE / "source").iterdir() if folder.is_dir())
TASKS = 6
SECRETS = ("BEGIN SOLUTION", "END SOLUTION", "BEGIN HIDDEN", "END HIDDEN", "For the grader")
REGION = "### BEGIN {0}.*?### END {0}"
STUB = {"code": "    # YOUR CODE HERE\n    raise NotImplementedError()", "markdown": "YOUR ANSWER HERE"}
Notebook = dict[str, Any]

# Answers that students give besides the right one: of each assignment, the cells that they change, by grade id (a cell
# that is not named has the solution), and the points that the tasks then earn. A new assignment needs its own.
WRONG: dict[str, dict[str, str]] = {
    "preprocessing": {
        # a repeated choice is taken for a repeated row
        "drop-repeats": """
def drop_repeats(log: pd.DataFrame) -> pd.DataFrame:
    return log.drop_duplicates(["user_id", "item_id"])
""",
        # all that is no digit goes, so that "3-5" becomes 35
        "to-numbers": """
def to_numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column.astype(str).str.replace(r"[^0-9.]", "", regex=True), errors="coerce")
""",
        # the mean of all rows, test rows too
        "fill-prices": """
def fill_prices(items: pd.DataFrame, training: pd.Series) -> pd.DataFrame:
    return items.assign(price=items["price"].fillna(items["price"].mean()))
""",
        # the numbers depend on the order of the rows
        "number-ids": """
def number_ids(ids: pd.Series) -> tuple[pd.Series, list]:
    codes, vocabulary = pd.factorize(ids)
    return pd.Series(codes, index=ids.index), list(vocabulary)
""",
        # an attempt to talk the test out of it
        "drop-repeats-visible": "print('all tests passed')",
    }
}
WRONG_SCORES: dict[str, dict[str, float]] = {
    "preprocessing": {
        "drop-repeats": 0,
        "to-numbers": 1,
        "keep-known": 2,
        "fill-prices": 0,
        "number-ids": 1,
        "leave-last-out": 4,
    }
}
# Right answers of another kind beside one that is no Python: warnings and a broken cell cost nothing elsewhere.
OTHER: dict[str, dict[str, str]] = {
    "preprocessing": {
        "drop-repeats": """
def drop_repeats(log: pd.DataFrame) -> pd.DataFrame:
    warnings.warn("mind the repeats", FutureWarning)
    return log[~log.duplicated()]
""",
        "to-numbers": "def to_numbers(column) -> return column",
        "keep-known": """
def keep_known(log: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    return log.merge(users[["user_id"]]).merge(items[["item_id"]])
""",
        "fill-prices": """
def fill_prices(items: pd.DataFrame, training: pd.Series) -> pd.DataFrame:
    filled = items.copy()
    for category in items["category"].unique():
        rows = items["category"] == category
        median = np.nanmedian(items["price"][rows & training].to_numpy())  # warns where there is nothing
        if np.isnan(median):
            median = items["price"][training].median()
        filled.loc[rows, "price"] = items["price"][rows].fillna(median)
    return filled
""",
        "number-ids": """
def number_ids(ids: pd.Series) -> tuple[pd.Series, list]:
    vocabulary, numbers = np.unique(ids.to_numpy(dtype=object), return_inverse=True)
    return pd.Series(numbers, index=ids.index), vocabulary
""",
        "leave-last-out": """
def leave_last_out(log: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    moments = pd.to_datetime(log["timestamp"])
    ordered = log.iloc[np.argsort(moments.to_numpy(), kind="stable")]
    test = ordered.groupby("user_id").tail(1)
    test = test[test["user_id"].map(ordered["user_id"].value_counts()) > 1]
    return ordered.drop(index=test.index), test
""",
    }
}
BROKEN = {"preprocessing": {"to-numbers"}}

# Python reads this when it starts: a connection to another machine fails, in nbgrader and in every kernel.
NO_NETWORK = """
import socket

_connect = socket.socket.connect


def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
        raise OSError(f"this test runs without the network; {address} was asked for")
    return _connect(self, address)


socket.socket.connect = connect
"""


def read(path: Path) -> Notebook:
    return json.loads(path.read_text(encoding="utf8"))


def source(name: str) -> Notebook:
    return read(COURSE / "source" / name / f"{name}.ipynb")


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def mark(cell: dict[str, Any]) -> dict[str, Any]:
    """Return what nbgrader knows of a cell."""
    return cell["metadata"].get("nbgrader", {})


def marked(notebook: Notebook) -> dict[str, dict[str, Any]]:
    return {mark(cell)["grade_id"]: cell for cell in notebook["cells"] if mark(cell)}


def answers(notebook: Notebook) -> dict[str, str]:
    return {key: text(cell) for key, cell in marked(notebook).items() if mark(cell)["solution"]}


def tasks(notebook: Notebook) -> list[str]:
    return [
        key
        for key, cell in marked(notebook).items()
        if mark(cell)["solution"] and cell["cell_type"] == "code"
    ]


def points(notebook: Notebook) -> dict[str, float]:
    return {key: mark(cell)["points"] for key, cell in marked(notebook).items() if mark(cell)["grade"]}


def filled_in(release: Notebook, cells: dict[str, str]) -> Notebook:
    """Return a released notebook with some cells as a student would have changed them."""
    notebook = json.loads(json.dumps(release))
    for key, cell in marked(notebook).items():
        cell["source"] = cells.get(key, text(cell)).strip("\n")
    return notebook


class Course:
    """A copy of the course in a folder of its own, with nbgrader to run in it."""

    def __init__(self, folder: Path):
        self.folder = folder / "course"
        shutil.copytree(COURSE / "source", self.folder / "source")
        shutil.copy(COURSE / "nbgrader_config.py", self.folder)
        guard, home = folder / "guard", folder / "home"
        guard.mkdir()
        home.mkdir()
        (guard / "sitecustomize.py").write_text(NO_NETWORK)
        # Nothing of the user's own Jupyter, IPython or nbgrader settings may matter.
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))
        }
        self.environment = environment | {
            # nbgrader calls `alembic` by its name
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "HOME": str(home),
            "USERPROFILE": str(home),
            "IPYTHONDIR": str(home / "ipython"),
            "JUPYTER_PLATFORM_DIRS": "1",
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "PYTHONNOUSERSITE": "1",
            "PYTHONPATH": os.pathsep.join([str(guard), str(ROOT)]),
        }

    def nbgrader(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stderr

    def release(self, name: str) -> Notebook:
        return read(self.folder / "release" / name / f"{name}.ipynb")

    def hand_in(self, student: str, name: str, notebook: Notebook) -> None:
        """Put a notebook where the teacher puts what the students sent."""
        archive = self.folder / "downloaded" / name / "archive"
        archive.mkdir(parents=True, exist_ok=True)
        (archive / f"{student}_{name}.ipynb").write_text(json.dumps(notebook), encoding="utf8")

    def scores(self, student: str, name: str) -> dict[str, float | None]:
        """Return the points that the autograder gave, by grade id; None where it waits for the teacher."""
        from nbgrader.api import Gradebook

        url = f"sqlite:///{self.folder / 'gradebook.db'}"
        with mock.patch.dict(os.environ, self.environment), Gradebook(url, "instructrec") as book:
            grades = book.find_submission_notebook(name, name, student).grades
            return {grade.name: None if grade.needs_manual_grade else grade.auto_score for grade in grades}

    def task_scores(self, student: str, name: str) -> dict[str, float]:
        scores = self.scores(student, name)
        found = {
            task: [scores[key] for key in (f"{task}-visible", f"{task}-hidden")]
            for task in tasks(source(name))
        }
        return {task: sum(score or 0 for score in pair) for task, pair in found.items()}


def full_marks(name: str) -> dict[str, float]:
    of_cell = points(source(name))
    return {task: of_cell[f"{task}-visible"] + of_cell[f"{task}-hidden"] for task in tasks(source(name))}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Course:
    course = Course(tmp_path_factory.mktemp("released"))
    for name in NAMES:
        course.nbgrader("generate_assignment", name)
    return course


@pytest.fixture(scope="module")
def graded(released: Course) -> Iterator[Course]:
    for name in NAMES:
        release, right = released.release(name), answers(source(name))
        released.hand_in("solution", name, filled_in(release, right))
        released.hand_in("blank", name, release)
        released.hand_in("wrong", name, filled_in(release, right | WRONG[name]))
        released.hand_in("other", name, filled_in(release, OTHER[name]))
        released.nbgrader("zip_collect", name)
        released.nbgrader("autograde", name)
        released.nbgrader("generate_feedback", name)
    return released


def test_there_is_an_assignment():
    assert "preprocessing" in NAMES


@pytest.mark.parametrize("name", NAMES)
class TestSource:
    def test_each_task_has_a_visible_and_a_hidden_test_of_its_own(self, name):
        cells, of_cell = marked(source(name)), points(source(name))
        assert len(tasks(source(name))) == TASKS
        for task in tasks(source(name)):
            assert of_cell[f"{task}-visible"] > 0
            assert of_cell[f"{task}-hidden"] > 0
            assert "HIDDEN TESTS" not in text(cells[f"{task}-visible"])
            assert "BEGIN HIDDEN TESTS" in text(cells[f"{task}-hidden"])
            assert re.search(r"^def \w+\(.*\) -> .+:$", text(cells[task]), re.M), f"{task} lacks type hints"

    def test_one_answer_is_written_and_has_a_rubric(self, name):
        cells = marked(source(name)).values()
        (written,) = [cell for cell in cells if mark(cell)["grade"] and mark(cell)["solution"]]
        assert written["cell_type"] == "markdown"
        rubric = text(written).split("**For the grader**")[1]
        assert sum(int(n) for n in re.findall(r"^- (\d+):", rubric, re.M)) == mark(written)["points"]

    def test_the_points_and_minutes_that_students_read_are_right(self, name):
        words = "\n".join(text(cell) for cell in source(name)["cells"] if cell["cell_type"] == "markdown")
        rows = re.findall(r"^\| (\d) .*\| (\d+) \| (\d+) \|$", words, re.M)
        of_task = [*full_marks(name).values(), points(source(name))["written"]]
        assert [int(row[2]) for row in rows] == of_task
        assert [int(n) for n in re.findall(r"^## \d.*?(\d+) points\)$", words, re.M)] == of_task
        minutes = sum(int(n) for n in re.findall(r"^\| \w.*?\| (\d+) \|", words, re.M))
        assert re.search(
            rf"^\| \*\*together\*\* \| \*\*{minutes}\*\* \| \*\*{sum(of_task)}\*\* \|$", words, re.M
        )
        assert f"**Time** {minutes} minutes" in words
        assert minutes <= 60

    def test_a_test_names_only_what_it_makes_and_the_function_of_its_task(self, name):
        """Whatever other cells do, or fail to do, a test cell gives the same result."""
        cells = marked(source(name))
        for task in tasks(source(name)):
            (function,) = [node.name for node in ast.parse(text(cells[task])).body if hasattr(node, "name")]
            for kind in ("visible", "hidden"):
                tree = ast.parse(text(cells[f"{task}-{kind}"]))
                names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
                made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
                made |= {
                    (alias.asname or alias.name)
                    for node in ast.walk(tree)
                    if isinstance(node, ast.Import | ast.ImportFrom)
                    for alias in node.names
                }
                made |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
                used = {node.id for node in names if isinstance(node.ctx, ast.Load)}
                assert used - made - set(dir(builtins)) == {function}, f"{task}-{kind}"
                assert [type(node) for node in tree.body] == [ast.FunctionDef, ast.Expr], f"{task}-{kind}"

    def test_no_wrong_answer_is_missing(self, name):
        assert set(WRONG[name]) <= set(marked(source(name))), "a wrong answer for a cell that is not there"
        assert set(WRONG_SCORES[name]) == set(OTHER[name]) == set(tasks(source(name)))

    def test_nothing_was_executed(self, name):
        code = [cell for cell in source(name)["cells"] if cell["cell_type"] == "code"]
        assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
class TestRelease:
    def test_holds_no_solution_and_no_hidden_test(self, released, name):
        folder = released.folder / "release" / name
        assert [path.name for path in folder.rglob("*") if path.is_file()] == [f"{name}.ipynb"]
        shown = "\n".join(text(cell) for cell in released.release(name)["cells"])
        assert not [secret for secret in SECRETS if secret in shown]
        cells, lines = marked(released.release(name)), set(shown.splitlines())
        for key, cell in marked(source(name)).items():
            for region in re.findall(REGION.format("SOLUTION"), text(cell), re.S):
                assert not [line for line in region.splitlines() if line.strip() and line in lines], key
        for task in tasks(source(name)):
            assert [line for line in text(cells[f"{task}-hidden"]).splitlines() if line[:1] != "#"] == []

    def test_differs_from_the_source_by_nothing_else(self, released, name):
        """The drift check: stub and solution come from one source, names, arguments and docstrings alike."""
        release = released.release(name)
        assert len(release["cells"]) == len(source(name)["cells"])
        for given, made in zip(source(name)["cells"], release["cells"], strict=True):
            stripped = re.sub(rf" *{REGION.format('HIDDEN TESTS')}\n?", "", text(given), flags=re.S).rstrip()
            stripped = re.sub(
                rf" *{REGION.format('SOLUTION')}", STUB[given["cell_type"]], stripped, flags=re.S
            )
            assert text(made).rstrip() == stripped.rstrip(), mark(given).get("grade_id")
            if given["cell_type"] == "code" and mark(given).get("solution"):
                (solution,), (blank,) = ast.parse(text(given)).body, ast.parse(text(made)).body
                assert isinstance(solution, ast.FunctionDef)
                assert isinstance(blank, ast.FunctionDef)
                assert (solution.name, ast.dump(solution.args)) == (blank.name, ast.dump(blank.args))
                assert ast.get_docstring(solution) == ast.get_docstring(blank)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
class TestGrades:
    def test_the_solution_scores_full_marks(self, graded, name):
        assert graded.task_scores("solution", name) == full_marks(name)
        assert graded.scores("solution", name)["written"] is None, "the written answer waits for the teacher"

    def test_the_blank_release_scores_zero(self, graded, name):
        assert set(graded.scores("blank", name)) == set(points(source(name)))
        assert set(graded.scores("blank", name).values()) == {0}

    def test_typical_mistakes_score_in_between(self, graded, name):
        assert graded.task_scores("wrong", name) == WRONG_SCORES[name]
        assert 0 < sum(WRONG_SCORES[name].values()) < sum(full_marks(name).values())

    def test_other_right_answers_count_and_a_broken_cell_costs_only_itself(self, graded, name):
        expected = {task: 0 if task in BROKEN[name] else score for task, score in full_marks(name).items()}
        assert graded.task_scores("other", name) == expected

    def test_every_student_gets_feedback(self, graded, name):
        for student in ("solution", "blank", "wrong", "other"):
            page = (graded.folder / "feedback" / student / name / f"{name}.html").read_text(encoding="utf8")
            score = sum(graded.task_scores(student, name).values())
            assert f"(Score: {score:.1f} / {sum(points(source(name)).values()):.1f})" in page
