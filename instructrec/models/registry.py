"""The registry of models: one line per model, from which every command and comparison knows it."""

from __future__ import annotations

import json
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

from instructrec.errors import InputError, one_of
from instructrec.files import DATA_FOLDER
from instructrec.models.base import Recommender, read_header

MODELS = {
    "random": "baselines.random.Random",
    "most-popular": "baselines.most_popular.MostPopular",
    "item-knn": "baselines.item_knn.ItemKNN",
    "recently-popular": "baselines.recently_popular.RecentlyPopular",
    "ease": "baselines.ease.EASE",
    "als": "baselines.matrix_factorisation.ALS",
    "bpr": "baselines.matrix_factorisation.BPR",
    "sasrec": "neural.sasrec.SASRec",
    "two-tower": "neural.two_tower.TwoTower",
    "three-tower": "neural.three_tower.ThreeTower",
    "mini": "mini.model.Mini",
    "smollm2": "lm.smollm2.SmolLM2",
}
"""Class of each model, by the model's name, with its place in `instructrec.models`."""
NAMES: tuple[str, ...] = tuple(MODELS)
SHIPPED = {name: DATA_FOLDER / name for name in ("mini", "smollm2")}
"""Trained models that come with the book, by name; `load(SHIPPED["mini"])` reads one."""
TUNED = Path(__file__).with_name("tuned.json")
"""The settings that won the searches of `python -m benchmarks.tuning`."""


def model_class(name: str) -> type[Recommender]:
    """Return the class of a model.

    Args:
        name: One of `NAMES`.

    Raises:
        InputError: Another name.
    """
    if name not in MODELS:
        raise one_of("model", name, NAMES, most=len(NAMES))
    module, _, attribute = MODELS[name].rpartition(".")
    model: type[Recommender] = getattr(import_module(f"instructrec.models.{module}"), attribute)
    return model


def setting_names(kind: type[Recommender]) -> list[str]:
    """Return the names of a model's settings."""
    return list(kind.config_class.model_fields)


def create(name: str, **settings: Any) -> Recommender:
    """Return an unfitted recommender.

    Args:
        name: One of `NAMES`.
        **settings: Settings of that model, such as `k=50` for "item-knn".

    Raises:
        InputError: An unknown name or an unknown setting.
    """
    return model_class(name)(**settings)


def tuned(name: str, data: str = "movielens-100k", **settings: Any) -> Recommender:
    """Return an unfitted recommender with the settings that won the recorded search on a data set.

    Args:
        name: A name of `NAMES` that was tuned.
        data: Name of the data set of the search.
        **settings: Further settings, or replacements of the winning ones, such as `seed=1`.

    Raises:
        InputError: An unknown name or setting, or a model that was not tuned on that data set.
    """
    return create(name, **{**tuned_settings(name, data), **settings})


def tuned_settings(name: str, data: str = "movielens-100k") -> dict[str, Any]:
    """Return the settings that won the recorded search of a model; settings that were not searched are missing.

    Args:
        name: A name of `NAMES` that was tuned.
        data: Name of the data set of the search.

    Raises:
        InputError: The model was not tuned on that data set.
    """
    winners: dict[str, dict[str, dict[str, Any]]] = json.loads(TUNED.read_text("utf-8"))
    if data not in winners:
        raise one_of("data set of tuned models", data, winners)
    if name not in winners[data]:
        raise one_of("tuned model", name, winners[data], most=len(NAMES))
    return dict(winners[data][name])


def load(path: str | Path) -> Recommender:
    """Read the fitted recommender of a folder that `save` wrote.

    Args:
        path: The folder.

    Raises:
        InputError: The folder is no saved model, or a damaged one.
    """
    folder = Path(path)
    name = read_header(folder)["model"]
    try:
        return model_class(str(name)).load(folder)
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{str(folder)!r} is a damaged {name} model ({error}); train it again") from error
