"""What every recommender answers, from the most popular list to a language model."""

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
from instructrec.validation import ModelConfig, read_config

if TYPE_CHECKING:
    from scipy import sparse

FORMAT = 1


class Recommender(ABC):
    """Base of all recommenders: `fit`, `score`, `recommend`, `save`, `load`.

    A subclass names itself (`name`), passes its settings to `super().__init__`, and implements `_fit`, `_score`,
    `_arrays` and `_restore`. After `fit` it has `dataset`, whose interactions a saved model does not keep.
    """

    name: ClassVar[str]
    follows_instructions: ClassVar[bool] = False
    dataset: Dataset

    config_class: ClassVar[type[ModelConfig]] = ModelConfig
    config: ModelConfig

    def __init__(self, config: Any = None, **settings: Any) -> None:
        """Make an untrained model.

        Args:
            config: All settings in one object of `config_class`; given alone.
            **settings: Some settings by name, the others at their defaults.

        Raises:
            InputError: An unknown setting, or one out of its range.
        """
        self._unchecked = settings  # TODO(house): goes when every model has its own config_class
        if self.config_class is not ModelConfig:
            self.config = read_config(self.config_class, settings, self.name) if config is None else config

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name, as JSON takes them."""
        if self.config_class is ModelConfig:
            return self._unchecked
        return self.config.model_dump(mode="json")

    # -- what a subclass provides ------------------------------------------------------------------------------

    @abstractmethod
    def _fit(self, dataset: Dataset) -> None:
        """Learn from the data set's interactions."""

    @abstractmethod
    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        """Return scores, shape (n_requests, n_catalogue); histories are arrays of catalogue columns, oldest first."""

    def _score_candidates(
        self, histories: list[np.ndarray], instructions: Sequence[str | None], candidates: np.ndarray
    ) -> np.ndarray:
        """Return scores of each request's own catalogue columns, of the shape of `candidates`, (n_requests, n).

        A model whose cost grows with the items that it scores does better than this, which scores all.
        """
        return np.take_along_axis(np.asarray(self._score(histories, instructions)), candidates, axis=1)

    @abstractmethod
    def _arrays(self) -> dict[str, np.ndarray]:
        """Return what was learnt, as arrays without Python objects."""

    @abstractmethod
    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `_arrays` gave; `self.dataset` and `self.settings` are set before."""

    # -- what a caller uses ------------------------------------------------------------------------------------

    def fit(self, dataset: Dataset) -> Self:
        """Learn from a data set and return the model itself.

        Args:
            dataset: Users, items and at least one interaction.

        Raises:
            InputError: There is nothing to learn from.
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
        """Score items for each request; higher is better, and scores compare within a request only.

        Args:
            histories: n_requests lists of item ids, oldest first; a list may be empty.
            instructions: n_requests texts or None; ignored by a model with `follows_instructions` False.
            items: Item ids to score; the whole catalogue in its own order by default.

        Returns:
            Array of shape (n_requests, n_items), float32.

        Raises:
            InputError: An unknown item, a model that is not fitted, or lists of unequal length.
        """
        columns, texts = self._requests(histories, instructions)
        if items is not None:
            chosen = self.dataset.item_columns(items)
            return self._checked(columns, texts, np.tile(chosen, (len(columns), 1)))
        return self._checked(columns, texts, None)

    def score_candidates(
        self,
        histories: Sequence[Sequence[Hashable]],
        candidates: Sequence[Sequence[Hashable]],
        instructions: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Score each request's own candidates.

        Args:
            histories: n_requests lists of item ids, oldest first; a list may be empty.
            candidates: n_requests lists of as many item ids each.
            instructions: n_requests texts or None; ignored by a model with `follows_instructions` False.

        Returns:
            Array of shape (n_requests, n_candidates), float32; as `score` gives for these items.

        Raises:
            InputError: An unknown item, a model that is not fitted, or lists of unequal length.
        """
        columns, texts = self._requests(histories, instructions)
        if len(candidates) != len(columns) or len({len(one) for one in candidates}) > 1:
            raise InputError(
                f"candidates come as {len(candidates)} lists of {sorted({len(one) for one in candidates})} items for "
                f"{len(columns)} histories; give a list for each, all of one length"
            )
        chosen = np.array([self.dataset.item_columns(one) for one in candidates], dtype=np.int64)
        return self._checked(columns, texts, chosen.reshape(len(columns), -1))

    def _requests(
        self, histories: Sequence[Sequence[Hashable]], instructions: Sequence[str | None] | None
    ) -> tuple[list[np.ndarray], list[str | None]]:
        self._check_fitted()
        columns = [self.dataset.item_columns(history) for history in histories]
        texts: list[str | None] = [None] * len(columns) if instructions is None else list(instructions)
        if len(texts) != len(columns):
            raise InputError(
                f"{len(texts)} instructions for {len(columns)} histories; give one each, or None"
            )
        return columns, texts

    def _checked(
        self, columns: list[np.ndarray], texts: list[str | None], candidates: np.ndarray | None
    ) -> np.ndarray:
        """Return scores of candidates, of the whole catalogue if they are None, and see to their shape."""
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

        An instruction that states constraints ("price < 100", "no horror") also filters the list when the model itself
        cannot read instructions; see `instructrec.instructions.parse`.

        Args:
            history: Item ids, oldest first; empty for a newcomer.
            instruction: What the user asks for, in words or as conditions.
            n: How many items, at least 1; fewer come back where fewer qualify.
            candidates: Item ids to choose from; the whole catalogue by default.
            exclude_seen: Leave out items of the history.

        Returns:
            Table of `item_id`, `title`, `score`, `rank` (1 is best); equal scores keep the catalogue's order, and items
            with the score minus infinity are left out.

        Raises:
            InputError: An unknown item, n below 1, an instruction that no item can meet, or nothing left to recommend.
        """
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise InputError(f"n is {n!r}; a whole number of at least 1 is accepted")
        if candidates is None:
            scores = self.score([history], [instruction])[0]
        else:
            self._check_fitted()
            if len(candidates) == 0:
                raise InputError(
                    "candidates is an empty list; give item ids, or leave it out for the whole catalogue"
                )
            given = np.unique(self.dataset.item_columns(candidates))
            requests = self._requests([history], [instruction])
            scores = np.full(self.dataset.n_items, -np.inf, dtype=np.float32)
            scores[given] = self._checked(*requests, given[None])[0]
        allowed = ~np.isneginf(scores)
        if instruction and not self.follows_instructions:
            from instructrec.instructions import parse

            allowed &= parse(instruction, self.dataset).mask(self.dataset.items)
            if not allowed.any():
                raise InputError(
                    f"instruction {instruction!r} is met by no item of {self.dataset.name}"
                    + (" among the candidates" if candidates is not None else "")
                    + "; loosen a condition"
                )
        if exclude_seen:
            allowed[self.dataset.item_columns(history)] = False
            if not allowed.any():
                raise InputError(
                    "every item that qualifies is in the history; give other candidates or conditions"
                )
        columns = np.flatnonzero(allowed)
        best = columns[np.argsort(-scores[columns], kind="stable")][:n]
        chosen = self.dataset.items.iloc[best]
        return pd.DataFrame(
            {
                "item_id": chosen["item_id"].to_numpy(),
                "title": chosen["title"].to_numpy(),
                "score": scores[best],
                "rank": np.arange(1, len(best) + 1),
            }
        )

    def save(self, path: str | Path, catalogue: bool = True) -> Path:
        """Write the model to a folder: `model.json`, `arrays.npz`, `items.json`; nothing is pickled.

        The folder appears whole or not at all.

        Args:
            path: The folder.
            catalogue: Write the items too. Without them, `load` reads the data set by its name, and refuses one of
                other items: for a model of data that may not be passed on.

        Raises:
            InputError: The model is not fitted, the place cannot be written, or it is a folder of other files.
        """
        self._check_fitted()
        from instructrec.datasets.storage import catalogue_to_json

        folder = Path(path)
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "model.json").is_file():
            raise InputError(
                f"{str(folder)!r} is a folder with other files; give a new folder or a saved model's"
            )
        with atomic_directory(folder) as part:
            with atomic_write(part / "arrays.npz", "wb") as handle:
                np.savez_compressed(handle, **self._arrays())  # type: ignore[arg-type]
            if catalogue:
                with atomic_write(part / "items.json") as handle:
                    handle.write(catalogue_to_json(self.dataset))
            header = {
                "format": FORMAT,
                "model": self.name,
                "settings": self.settings,
                "dataset": self.dataset.name,
                "sha256": {one.name: digest(one) for one in sorted(part.glob("*.*"))},
            }
            if not catalogue:
                header["items_sha256"] = _digest_of_items(self.dataset)
            with atomic_write(part / "model.json") as handle:
                json.dump(header, handle, indent=2)
                handle.write("\n")
        return folder

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model that `save` wrote; digests are checked and nothing is unpickled.

        Raises:
            InputError: Not a saved model, a damaged one, or one of another kind.
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
        model = cls(**header["settings"])
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
    """Return the SHA-256 of ids, titles, categories and all else that the item table says."""
    rows = dataset.items.drop(columns="popularity", errors="ignore").to_json(
        orient="split", force_ascii=False
    )
    return hashlib.sha256(rows.encode()).hexdigest()


def _catalogue_of(header: dict[str, Any], folder: Path) -> Dataset:
    """Return the data set that a model without a catalogue was trained on, if its items are still the same."""
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


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Refuse a setting that is no whole number of at least `least`.

    Raises:
        InputError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} is {value!r}; a whole number of at least {least} is accepted")


def check_number(name: str, value: object, above: float | None = None) -> None:
    """Refuse a setting that is no finite number of at least 0, or none above `above` if that is given.

    Raises:
        InputError: It is something else.
    """
    low = 0 if above is None else above
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (low < value if above is not None else low <= value) or value == float("inf"):  # type: ignore[operator]
        raise InputError(
            f"{name} is {value!r}; a number {'of at least' if above is None else 'above'} {low} is accepted"
        )


def check_share(name: str, value: object) -> None:
    """Refuse a setting that is no number in [0, 1).

    Raises:
        InputError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise InputError(f"{name} is {value!r}; a number in [0, 1) is accepted")


def check_length(value: object) -> None:
    """Refuse a `length`, how many of the history's last items are read, that is neither None nor at least 1.

    Raises:
        InputError: It is something else.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InputError(f"length is {value!r}; a whole number of at least 1, or None for all, is accepted")


def check_seed(value: object) -> None:
    """Refuse a seed that NumPy or Keras would not take.

    Raises:
        InputError: It is no whole number from 0 to 2**32 - 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise InputError(f"seed is {value!r}; a whole number from 0 to 2**32 - 1 is accepted")


def user_item_matrix(dataset: Dataset) -> sparse.csr_matrix:
    """Return the 0/1 matrix X of who met what, whatever the number of times.

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
    """Return the 0/1 matrix of which items each history holds.

    Args:
        histories: Arrays of catalogue columns, oldest first; an item may come more than once.
        n_items: Size of the catalogue.
        length: Read the last `length` events of each history only; all of them by default.

    Returns:
        Sparse matrix of shape (n_requests, n_items), float32, columns ascending in each row.
    """
    from scipy import sparse

    rows = [np.unique(history if length is None else history[-length:]) for history in histories]
    starts = np.cumsum([0, *map(len, rows)])
    columns = np.concatenate([*rows, np.empty(0, dtype=np.int64)]).astype(np.int64)
    ones = np.ones(len(columns), dtype=np.float32)
    return sparse.csr_matrix((ones, columns, starts), shape=(len(rows), n_items))


def one_thread() -> AbstractContextManager[Any]:
    """Hold the linear algebra under NumPy to one thread for the length of a block.

    Threads that wait for each other cost more than they give where the matrices are small or the machine is busy, and
    the order in which they add changes the last bits. What is to be held must be imported before.
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
    wanted = {"format", "model", "settings", "dataset", "sha256"}
    if not isinstance(header, dict) or not wanted <= header.keys():
        raise InputError(
            f"{str(folder / 'model.json')!r} lacks one of {', '.join(sorted(wanted))}; train it again"
        )
    if header["format"] != FORMAT:
        raise one_of("format of a saved model", header["format"], [FORMAT])
    return header
