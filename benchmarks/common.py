"""Shared by the benchmarks of `mini`: trained models that are reused, and figures of how a model follows requests."""

from __future__ import annotations

import ast
import hashlib
import json
import time
from collections.abc import Hashable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.evaluation import METRICS, target_ranks
from instructrec.evaluation.following import satisfaction_at_k
from instructrec.evaluation.following_tasks import (
    EXTRA_TASKS,
    TASKS,
    FollowingTask,
    FollowingTasks,
    make_following_tasks,
)
from instructrec.models import Recommender, create, load, tuned
from instructrec.models.mini import word_vectors
from instructrec.split import Split

DATA = "movielens-100k"
K = 10
MODELS_FOLDER = Path(__file__).parents[1] / "_build" / "mini"
PACKAGE = Path(__file__).parents[1] / "instructrec"
TRAINING_CODE = {
    "models/mini": [
        "augmentation",
        "batches",
        "config",
        "decoders",
        "features",
        "model",
        "packing",
        "trainer",
        "training",
        "vocabulary",
        "word_vectors",
    ],
    "models/neural": ["sasrec", "training"],
    "instructions": [
        "category_words",
        "query_frames",
        "query_generator",
        "query_meanings",
        "templates",
        "verbalizer",
    ],
    "wordings": ["lexicon"],
}
"""Modules that determine what a trained model is; the data files in their folders count too."""
TASKS_BY_LANGUAGE = {
    "en": (*TASKS, *EXTRA_TASKS),
    "zh": ("stated", "unseen wording", "vague wish", "negated", "unseen negation"),
}
NULL_INSTRUCTION = "recommend something that I would enjoy"


def trained(name: str, seed: int, split: Split, protocol: str, **settings: Any) -> Recommender:
    """Return "sasrec" (tuned) or "mini", trained on a split's training part now or by an earlier call.

    Models are stored in _build/mini under a digest of their settings and of the code that trains them.
    """
    model = tuned(name, seed=seed) if name == "sasrec" else create(name, seed=seed, **settings)
    content = json.dumps(
        [model.settings, protocol, split.train.n_interactions, code_digest(), word_vectors.SHA256]
    )
    folder = MODELS_FOLDER / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        started = time.perf_counter()
        if name == "mini":
            model.fit(split.train, verbose=2)  # type: ignore[call-arg]
        else:
            model.fit(split.train)
        print(f"{name}, seed {seed}: {time.perf_counter() - started:.0f} s of training", flush=True)
        model.save(folder)
    return load(folder)


@cache
def code_digest() -> str:
    """Return a digest of the code of `TRAINING_CODE`; docstrings, comments and line breaks do not count."""
    digest = hashlib.sha256()
    for folder, names in TRAINING_CODE.items():
        for name in names:
            tree = ast.parse((PACKAGE / folder / f"{name}.py").read_text("utf-8"))
            for node in ast.walk(tree):
                body = getattr(node, "body", None)
                if isinstance(body, list):
                    node.body = [child for child in body if not _is_docstring(child)]  # type: ignore[attr-defined]
            digest.update(ast.dump(tree).encode())
        for path in sorted((PACKAGE / folder).rglob("*.toml")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def seen_items(data: Dataset, histories: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """Return which items each history holds, shape (n_requests, n_items), bool."""
    seen = np.zeros((len(histories), data.n_items), dtype=bool)
    for row, history in zip(seen, histories, strict=True):
        row[data.item_columns(history)] = True
    return seen


def ndcg(scores: np.ndarray, targets: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Return NDCG@10 of each request, as `evaluate` measures it.

    Args:
        scores: Scores, shape (n_requests, n_items); minus infinity excludes an item.
        targets: Columns of the targets of each request, or one column each.
    """
    return METRICS["NDCG"].from_ranks(target_ranks(scores, targets), K)


def instructions_of(tasks: FollowingTasks, name: str, n_requests: int) -> list[str | None]:
    """Return the instruction of each request of a part in a task; None for a request that the task excludes."""
    instructions: list[str | None] = [None] * n_requests
    for row, text in zip(tasks.rows, tasks.tasks[name].texts, strict=True):
        instructions[row] = text
    return instructions


def following_figures(
    model: Recommender,
    sasrec: Recommender | None,
    split: Split,
    part: str,
    tasks: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Return three figures of each request by task: share obeyed (or violated), NDCG@10, NDCG@10 of filtered SASRec.

    Args:
        model: The model that is measured.
        sasrec: The model that is filtered; without one its figures are meaningless.
        split: The data.
        part: "valid" or "test".
        tasks: Names of English tasks beside "none" and "null"; all, in both languages, by default.

    Returns:
        Arrays of shape (n_requests, 3), NaN for a request without an instruction.
    """
    data, requests = split.train, split.requests(part)
    histories, n_requests = requests.histories, len(requests.histories)
    seen = seen_items(data, histories)
    sasrec_scores = np.where(seen, -np.inf, 0 if sasrec is None else sasrec.score(histories))

    def scores_of(texts: list[str | None]) -> np.ndarray:
        return np.where(seen, -np.inf, model.score(histories, texts))

    targets = [data.item_columns(items) for items in requests.targets]
    figures = {}
    for name, text in (("none", None), ("null", NULL_INSTRUCTION)):
        values = ndcg(scores_of([text] * n_requests), targets)
        figures[name] = np.stack([np.ones(n_requests), values, ndcg(sasrec_scores, targets)], axis=1)
    first_targets = np.array([columns[0] for columns in targets])
    names_by_language = (
        TASKS_BY_LANGUAGE if tasks is None else {"en": tuple(name for name in tasks if name != "none")}
    )
    for language, names in names_by_language.items():
        if not names:
            continue
        tasks_of_language = make_following_tasks(split, part, list(names), (language,))
        for name in tasks_of_language.tasks:
            if name == "none":
                continue
            texts = instructions_of(tasks_of_language, name, n_requests)
            wish, forbidden = _masks(tasks_of_language, tasks_of_language.tasks[name], seen.shape)
            rows = list_figures(scores_of(texts), sasrec_scores, wish, forbidden, first_targets)
            rows[[text is None for text in texts]] = np.nan
            figures[name if language == "en" else f"{name} ({language})"] = rows
    return figures


def _masks(
    tasks: FollowingTasks, task: FollowingTask, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return which items meet each request's wish, and which are forbidden (None if the task forbids none)."""
    wish, forbidden = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for number, (row, text) in enumerate(zip(tasks.rows, task.texts, strict=True)):
        if text is not None:
            wish[row] = task.wish.masks[task.wish.mask_of_request[number]]
            if task.forbidden is not None:
                forbidden[row] = task.forbidden.masks[task.forbidden.mask_of_request[number]]
    return wish, None if task.forbidden is None else forbidden


def list_figures(
    scores: np.ndarray,
    sasrec_scores: np.ndarray,
    wish: np.ndarray,
    forbidden: np.ndarray | None,
    targets: np.ndarray,
) -> np.ndarray:
    """Return the figures of a task for each request, shape (n_requests, 3).

    Args:
        scores: Scores of the model, shape (n_requests, n_items); minus infinity excludes an item.
        sasrec_scores: Scores of SASRec, which are filtered by the wish.
        wish: Items that meet the wish, shape (n_requests, n_items), bool.
        forbidden: Items that the instruction refuses, or None.
        targets: Column of the target of each request.

    Returns:
        Columns: satisfaction@10 as a share of the highest that any list could reach, or violation@10 if something is
        forbidden; NDCG@10; NDCG@10 of SASRec filtered by the wish.
    """
    if forbidden is None:
        n_possible = np.minimum((wish & ~np.isneginf(scores)).sum(axis=1), K)
        satisfaction = satisfaction_at_k(wish, scores, K) * K / np.maximum(n_possible, 1)
        share = np.where(n_possible > 0, satisfaction, np.nan)
    else:
        share = satisfaction_at_k(forbidden, scores, K)
    filtered = np.where(wish, sasrec_scores, -np.inf)
    return np.stack([share, ndcg(scores, targets), ndcg(filtered, targets)], axis=1)
