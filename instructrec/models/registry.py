"""The registry of models: one line makes a model available to all commands and comparisons."""

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
"""Class of each model by the model's name, as a dotted path below `instructrec.models`."""
NAMES: tuple[str, ...] = tuple(MODELS)
"""Names of all models."""
SHIPPED = {name: DATA_FOLDER / name for name in ("mini", "smollm2")}
"""Folders of the trained models that come with the book, by name; `load(SHIPPED["mini"])` reads `mini`."""
TUNED = Path(__file__).with_name("tuned.json")
"""File of the best settings found by the searches of `python -m benchmarks.tuning`."""


def model_class(name: str) -> type[Recommender]:
    """Return the class of a model.

    Args:
        name: One of `NAMES`.

    Raises:
        InputError: The name is unknown.
    """
    if name not in MODELS:
        raise one_of("model", name, NAMES, most=len(NAMES))
    module, _, attribute = MODELS[name].rpartition(".")
    model: type[Recommender] = getattr(import_module(f"instructrec.models.{module}"), attribute)
    return model


def setting_names(model: type[Recommender]) -> list[str]:
    """Return the names of the settings of a model class."""
    return list(model.config_class.model_fields)


def create(name: str, **settings: Any) -> Recommender:
    """Return an unfitted recommender.

    Args:
        name: One of `NAMES`.
        **settings: Settings of that model, such as `k=50` for "item-knn".

    Raises:
        InputError: The name or a setting is unknown, or a setting is out of its range.
    """
    return model_class(name)(**settings)


def tuned(name: str, data: str = "movielens-100k", **settings: Any) -> Recommender:
    """Return an unfitted recommender with the best settings of the recorded search on a data set.

    Args:
        name: Name of a model that was tuned.
        data: Name of the data set of the search.
        **settings: Further settings, or replacements of the best settings, such as `seed=1`.

    Raises:
        InputError: The name or a setting is unknown, or the model was not tuned on that data set.
    """
    return create(name, **{**tuned_settings(name, data), **settings})


def tuned_settings(name: str, data: str = "movielens-100k") -> dict[str, Any]:
    """Return the best settings of the recorded search of a model; settings that were not searched are missing.

    Args:
        name: Name of a model that was tuned.
        data: Name of the data set of the search.

    Raises:
        InputError: The model was not tuned on that data set.
    """
    best: dict[str, dict[str, dict[str, Any]]] = json.loads(TUNED.read_text("utf-8"))
    if data not in best:
        raise one_of("data set of tuned models", data, best)
    if name not in best[data]:
        raise one_of("tuned model", name, best[data], most=len(NAMES))
    return dict(best[data][name])


def load(path: str | Path) -> Recommender:
    """Read a fitted recommender from a folder that `save` wrote.

    Args:
        path: The folder.

    Raises:
        InputError: The folder is not a saved model, or it is damaged.
    """
    folder = Path(path)
    name = read_header(folder)["model"]
    try:
        return model_class(str(name)).load(folder)
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{str(folder)!r} is a damaged {name} model ({error}); train it again") from error
