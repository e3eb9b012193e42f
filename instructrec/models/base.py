"""The base class of all recommenders, and the matrices that several of them use."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.files import atomic_directory, atomic_write, digest
from instructrec.ranking import top_k
from instructrec.validation import ModelConfig, PositiveInt, check_value, read_config

if TYPE_CHECKING:
    from scipy import sparse

FORMAT = 1
"""Version of the format of saved models."""


class Recommender(ABC):
    """Base of all recommenders: `fit`, `score`, `recommend`, `save`, `load`.

    A subclass has a `name` and a `config_class`, and implements `_fit`, `_score`, `_arrays` and `_restore`. After `fit`
    it has the attribute `dataset`; a saved model does not store the interactions.
    """

    name: ClassVar[str]
    follows_instructions: ClassVar[bool] = False
    dataset: Dataset

    config_class: ClassVar[type[ModelConfig]] = ModelConfig
    config: ModelConfig

    def __init__(self, config: Any = None, **settings: Any) -> None:
        """Create an untrained model.

        Args:
            config: All settings as one object of `config_class`, instead of `settings`.
            **settings: Settings by name; the others keep their defaults.

        Raises:
            InputError: A setting is unknown or out of its range.
        """
        self.config = read_config(self.config_class, settings, self.name) if config is None else config

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name, with values that JSON can represent."""
        return self.config.model_dump(mode="json")

    # -- to be implemented by a subclass -----------------------------------------------------------------------

    @abstractmethod
    def _fit(self, dataset: Dataset) -> None:
        """Fit the model to the data set's interactions."""

    @abstractmethod
    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        """Return scores, shape (n_requests, n_catalogue); histories are arrays of catalogue columns, oldest first."""

    def _score_candidates(
        self, histories: list[np.ndarray], instructions: Sequence[str | None], candidates: np.ndarray
    ) -> np.ndarray:
        """Return the scores of each request's own candidates, catalogue columns of shape (n_requests, n_candidates).

        This default scores the whole catalogue; a model whose cost grows with the scored items overrides it.
        """
        return np.take_along_axis(np.asarray(self._score(histories, instructions)), candidates, axis=1)

    @abstractmethod
    def _arrays(self) -> dict[str, np.ndarray]:
        """Return the learnt parameters as arrays without Python objects."""

    @abstractmethod
    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore the learnt parameters from `_arrays`; `self.dataset` and `self.config` are already set."""

    # -- public methods ----------------------------------------------------------------------------------------

    def fit(self, dataset: Dataset) -> Self:
        """Fit the model to a data set and return the model itself.

        Args:
            dataset: Users, items and at least one interaction.

        Raises:
            InputError: The data set has no interactions.
        """
        if dataset.n_interactions == 0:
            raise InputError(
                f"data set {dataset.name!r} holds no interactions; {self.name} needs at least one to fit"
            )
        self.dataset = dataset
        self._fit(dataset)
        return self

    def score(
        self,
        histories: Sequence[Sequence[Hashable]],
        instructions: Sequence[str | None] | None = None,
        items: Sequence[Hashable] | None = None,
    ) -> np.ndarray:
        """Score items for each request; higher is better, and scores are comparable within a request only.

        Args:
            histories: n_requests lists of item ids, oldest first; a list may be empty.
            instructions: n_requests texts or None; ignored by a model with `follows_instructions` False.
            items: Item ids to score; the whole catalogue in catalogue order by default.

        Returns:
            Array of shape (n_requests, n_items), float32.

        Raises:
            InputError: An unknown item, a model that is not fitted, or lists of unequal length.
        """
        columns, texts = self._requests(histories, instructions)
        if items is not None:
            candidates = self.dataset.item_columns(items)
            return self._checked_scores(columns, texts, np.tile(candidates, (len(columns), 1)))
        return self._checked_scores(columns, texts, None)

    def score_candidates(
        self,
        histories: Sequence[Sequence[Hashable]],
        candidates: Sequence[Sequence[Hashable]],
        instructions: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Score each request's own candidates.

        Args:
            histories: n_requests lists of item ids, oldest first; a list may be empty.
            candidates: n_requests lists of item ids, all of the same length.
            instructions: n_requests texts or None; ignored by a model with `follows_instructions` False.

        Returns:
            Array of shape (n_requests, n_candidates), float32; the same values as those of `score`.

        Raises:
            InputError: An unknown item, a model that is not fitted, or lists of unequal length.
        """
        columns, texts = self._requests(histories, instructions)
        lengths = sorted({len(ids) for ids in candidates})
        if len(candidates) != len(columns) or len(lengths) > 1:
            raise InputError(
                f"candidates come as {len(candidates)} lists of {lengths} items for "
                f"{len(columns)} histories; give a list for each, all of equal length"
            )
        candidate_columns = np.array([self.dataset.item_columns(ids) for ids in candidates], dtype=np.int64)
        return self._checked_scores(columns, texts, candidate_columns.reshape(len(columns), -1))

    def _requests(
        self, histories: Sequence[Sequence[Hashable]], instructions: Sequence[str | None] | None
    ) -> tuple[list[np.ndarray], list[str | None]]:
        """Return each history as catalogue columns and each instruction, None if there is none; check their numbers."""
        self._check_fitted()
        columns = [self.dataset.item_columns(history) for history in histories]
        texts: list[str | None] = [None] * len(columns) if instructions is None else list(instructions)
        if len(texts) != len(columns):
            raise InputError(
                f"{len(texts)} instructions for {len(columns)} histories; give one each, or None"
            )
        return columns, texts

    def _checked_scores(
        self, columns: list[np.ndarray], texts: list[str | None], candidates: np.ndarray | None
    ) -> np.ndarray:
        """Return the scores of the candidates, or of the whole catalogue if `candidates` is None; check their shape."""
        if candidates is None:
            scores, expected = self._score(columns, texts), (len(columns), self.dataset.n_items)
        else:
            scores, expected = self._score_candidates(columns, texts, candidates), candidates.shape
        scores = np.asarray(scores, dtype=np.float32)
        if scores.shape != expected:
            raise InputError(
                f"model {self.name} returned scores of shape {scores.shape}, expected {expected}"
            )
        return scores

    def recommend(
        self,
        history: Sequence[Hashable],
        instruction: str | None = None,
        n: int = 10,
        candidates: Sequence[Hashable] | None = None,
        exclude_seen: bool = True,
    ) -> pd.DataFrame:
        """Recommend the best items for one request.

        If the model does not read instructions itself, the conditions that an instruction states ("price < 100", "no
        horror") filter the list; see `instructrec.instructions.parse`.

        Args:
            history: Item ids, oldest first; empty for a new user.
            instruction: The request, in words or as conditions.
            n: Length of the list, at least 1; the list is shorter if fewer items qualify.
            candidates: Item ids to choose from; the whole catalogue by default.
            exclude_seen: Exclude the items of the history.

        Returns:
            Table of `item_id`, `title`, `score`, `rank` (1 is best), ordered by `instructrec.ranking.top_k`; items with
            the score minus infinity are excluded.

        Raises:
            InputError: An unknown item, n below 1, an instruction that no item can meet, or no item to recommend.
        """
        check_value("n", n, PositiveInt)
        scores = self._list_scores(history, instruction, candidates)
        if instruction and not self.follows_instructions:
            scores[~self.condition_mask(instruction)] = -np.inf
            if np.isneginf(scores).all():
                raise InputError(
                    f"instruction {instruction!r} is met by no item of {self.dataset.name}"
                    + (" among the candidates" if candidates is not None else "")
                    + "; loosen a condition"
                )
        if exclude_seen:
            scores[self.dataset.item_columns(history)] = -np.inf
            if np.isneginf(scores).all():
                raise InputError(
                    "every item that qualifies is in the history; give other candidates or conditions"
                )
        columns = top_k(scores[None], n)[0]
        columns = columns[columns >= 0]
        items = self.dataset.items.iloc[columns]
        return pd.DataFrame(
            {
                "item_id": items["item_id"].to_numpy(),
                "title": items["title"].to_numpy(),
                "score": scores[columns],
                "rank": np.arange(1, len(columns) + 1),
            }
        )

    def condition_mask(self, instruction: str | None) -> np.ndarray:
        """Return which items meet the conditions that an instruction states, shape (n_items,), bool.

        Args:
            instruction: The request; None, or a text without a condition, is met by all items.

        Raises:
            InputError: The text is empty, or a condition is malformed.
        """
        from instructrec.instructions import parse

        if instruction is None:
            return np.ones(self.dataset.n_items, dtype=bool)
        return np.asarray(parse(instruction, self.dataset).mask(self.dataset.items))

    def _list_scores(
        self, history: Sequence[Hashable], instruction: str | None, candidates: Sequence[Hashable] | None
    ) -> np.ndarray:
        """Return the score of each item of the catalogue, minus infinity for items that are not candidates."""
        if candidates is None:
            return self.score([history], [instruction])[0]
        self._check_fitted()
        if len(candidates) == 0:
            raise InputError("candidates is an empty list; give item ids, or omit it for the whole catalogue")
        columns = np.unique(self.dataset.item_columns(candidates))
        scores = np.full(self.dataset.n_items, -np.inf, dtype=np.float32)
        scores[columns] = self._checked_scores(*self._requests([history], [instruction]), columns[None])[0]
        return scores

    def save(self, path: str | Path, catalogue: bool = True) -> Path:
        """Write the model to a folder: `model.json`, `arrays.npz`, `items.json`; nothing is pickled.

        The folder is written atomically.

        Args:
            path: The folder.
            catalogue: Write the items too. Without them, `load` reads the data set by its name and refuses a data set
                with other items; this is for models of data that may not be redistributed.

        Raises:
            InputError: The model is not fitted, or the folder cannot be written or holds other files.
        """
        self._check_fitted()
        from instructrec.datasets.storage import catalogue_to_json

        folder = Path(path)
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "model.json").is_file():
            raise InputError(
                f"{str(folder)!r} is a folder with other files; give a new folder or that of a saved model"
            )
        with atomic_directory(folder) as new_folder:
            with atomic_write(new_folder / "arrays.npz", "wb") as handle:
                np.savez_compressed(handle, **self._arrays())  # type: ignore[arg-type]
            if catalogue:
                with atomic_write(new_folder / "items.json") as handle:
                    handle.write(catalogue_to_json(self.dataset))
            header = {
                "format": FORMAT,
                "model": self.name,
                "settings": self.settings,
                "dataset": self.dataset.name,
                "sha256": {file.name: digest(file) for file in sorted(new_folder.glob("*.*"))},
            }
            if not catalogue:
                header["items_sha256"] = _digest_of_items(self.dataset)
            with atomic_write(new_folder / "model.json") as handle:
                json.dump(header, handle, indent=2)
                handle.write("\n")
        return folder

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model that `save` wrote; checksums are verified and nothing is unpickled.

        Raises:
            InputError: The folder is not a saved model, is damaged, or holds a model of another kind or version.
        """
        from instructrec.datasets.storage import catalogue_from_json

        folder = Path(path)
        header = read_header(folder)
        if header["model"] != cls.name:
            raise InputError(
                f"{str(folder)!r} holds a {header['model']} model; {cls.__name__} loads {cls.name}"
            )
        for name, expected in header["sha256"].items():
            if not (folder / name).is_file() or digest(folder / name) != expected:
                raise InputError(
                    f"{str(folder / name)!r} is missing or damaged (its SHA-256 differs); train it again"
                )
        try:
            model = cls(**header["settings"])
        except InputError as error:
            raise InputError(
                f"{str(folder)!r} holds settings of another version ({error}); train it again"
            ) from None
        if "items_sha256" in header:
            model.dataset = _catalogue_of(header, folder)
        else:
            model.dataset = catalogue_from_json((folder / "items.json").read_text("utf-8"))
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            model._restore({name: arrays[name] for name in arrays.files})
        return model

    def _check_fitted(self) -> None:
        if not hasattr(self, "dataset"):
            raise InputError(f"model {self.name} is not fitted yet; call fit(dataset) or load(path) first")


def _digest_of_items(dataset: Dataset) -> str:
    """Return the SHA-256 of the item table: ids, titles, categories and all other columns."""
    rows = dataset.items.drop(columns="popularity", errors="ignore").to_json(
        orient="split", force_ascii=False
    )
    return hashlib.sha256(rows.encode()).hexdigest()


def _catalogue_of(header: dict[str, Any], folder: Path) -> Dataset:
    """Return the data set a model saved without its catalogue was trained on; check that its items are the same."""
    from instructrec import datasets

    if header["dataset"] not in datasets.NAMES:
        raise InputError(
            f"{str(folder)!r} needs the data set {header['dataset']!r}, which this copy does not have"
        )
    dataset = datasets.load(header["dataset"])
    if _digest_of_items(dataset) != header["items_sha256"]:
        raise InputError(
            f"{str(folder)!r} was trained on other items than {header['dataset']} has now (their SHA-256 differs); "
            "train it again"
        )
    return dataset


def user_item_matrix(dataset: Dataset) -> sparse.csr_matrix:
    """Return the binary user-item matrix X of the interactions.

    Returns:
        Sparse matrix of shape (n users with interactions, n_items), float32; rows by ascending user id, columns
        ascending in each row.
    """
    from scipy import sparse

    pairs = dataset.interactions[["user_id", "item_id"]].drop_duplicates()
    rows = pairs["user_id"].astype("category").cat.codes.to_numpy()
    columns = dataset.item_columns(pairs["item_id"])
    shape = (int(rows.max()) + 1, dataset.n_items)
    matrix = sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
    matrix.sort_indices()
    return matrix


def history_matrix(
    histories: Sequence[np.ndarray], n_items: int, length: int | None = None
) -> sparse.csr_matrix:
    """Return the binary matrix of the items in each history.

    Args:
        histories: Arrays of catalogue columns, oldest first; an item may occur more than once.
        n_items: Size of the catalogue.
        length: Use only the last `length` events of each history; all by default.

    Returns:
        Sparse matrix of shape (n_requests, n_items), float32, columns ascending in each row.
    """
    from scipy import sparse

    rows = [np.unique(history if length is None else history[-length:]) for history in histories]
    starts = np.cumsum([0, *map(len, rows)])
    columns = np.concatenate([*rows, np.empty(0, dtype=np.int64)]).astype(np.int64)
    return sparse.csr_matrix(
        (np.ones(len(columns), dtype=np.float32), columns, starts), shape=(len(rows), n_items)
    )


def one_thread() -> AbstractContextManager[Any]:
    """Return a context manager that limits the linear algebra of NumPy and SciPy (BLAS) to one thread.

    With small matrices or on a busy machine, several threads are slower than one; and they add numbers in another
    order, which changes the last bits of a result. Import the libraries before the block: later ones are not limited.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "blas")


def read_header(folder: Path) -> dict[str, Any]:
    """Return `model.json` of a saved model's folder.

    Raises:
        InputError: The folder is not a saved model of a format that this version reads.
    """
    try:
        header = json.loads((folder / "model.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{str(folder)!r} is not a saved model ({type(error).__name__} on model.json); "
            "give a folder written by `python -m instructrec train --out`"
        ) from error
    required = {"format", "model", "settings", "dataset", "sha256"}
    if not isinstance(header, dict) or not required <= header.keys():
        raise InputError(
            f"{str(folder / 'model.json')!r} lacks one of {', '.join(sorted(required))}; train it again"
        )
    if header["format"] != FORMAT:
        raise one_of("format of a saved model", header["format"], [FORMAT])
    return header
