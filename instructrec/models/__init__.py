"""Recommenders by name; each is imported when it is asked for, so that a light one starts fast.

`create("item-knn", k=50)` makes one to fit, `tuned("item-knn")` one with the settings that won a search on validation,
`load(folder)` reads one that `save` wrote.
"""

from __future__ import annotations

import inspect
import json
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

from instructrec.errors import InputError, one_of
from instructrec.files import DATA_FOLDER
from instructrec.models.base import Recommender, read_header

_WHERE = {
    "random": ("instructrec.models.baselines.random", "Random"),
    "most-popular": ("instructrec.models.baselines.most_popular", "MostPopular"),
    "item-knn": ("instructrec.models.baselines.item_knn", "ItemKNN"),
    "recently-popular": ("instructrec.models.baselines.recently_popular", "RecentlyPopular"),
    "ease": ("instructrec.models.baselines.ease", "EASE"),
    "als": ("instructrec.models.baselines.matrix_factorisation", "ALS"),
    "bpr": ("instructrec.models.baselines.matrix_factorisation", "BPR"),
    "sasrec": ("instructrec.models.neural.sasrec", "SASRec"),
    "two-tower": ("instructrec.models.neural.two_tower", "TwoTower"),
    "three-tower": ("instructrec.models.neural.three_tower", "ThreeTower"),
    "mini": ("instructrec.models.mini.model", "Mini"),
    "smollm2": ("instructrec.models.lm.smollm2", "SmolLM2"),
}
NAMES: tuple[str, ...] = tuple(_WHERE)
SHIPPED = {name: DATA_FOLDER / name for name in ("mini", "smollm2")}
"""Trained models that come with the book, by name; `load(SHIPPED["mini"])` reads one."""
TUNED = Path(__file__).with_name("tuned.json")  # the winners of `python -m benchmarks.tuning`

__all__ = [
    "NAMES",
    "SHIPPED",
    "Recommender",
    "create",
    "load",
    "model_class",
    "setting_names",
    "tuned",
    "tuned_settings",
]


def model_class(name: str) -> type[Recommender]:
    """Return the class of a model.

    Args:
        name: One of `NAMES`.

    Raises:
        InputError: Another name.
    """
    if name not in _WHERE:
        raise one_of("model", name, NAMES, most=len(NAMES))
    module, attribute = _WHERE[name]
    try:
        found: type[Recommender] = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise InputError(
            f"model {name!r} is no part of this copy of the book: {module} is missing"
        ) from error
    return found


def setting_names(kind: type[Recommender]) -> list[str]:
    """Return the names of a model's settings."""
    return list(kind.config_class.model_fields) or [
        name for name in inspect.signature(kind).parameters if name not in ("config", "settings")
    ]


def create(name: str, **settings: Any) -> Recommender:
    """Return a recommender that is yet to be fitted.

    Args:
        name: One of `NAMES`.
        **settings: Settings of that model, such as `k=50` for "item-knn".

    Raises:
        InputError: An unknown name or an unknown setting.
    """
    kind = model_class(name)
    accepted = setting_names(kind)
    for setting in settings:
        if setting not in accepted:
            raise one_of(f"setting of {name}", setting, accepted or ["none"])
    return kind(**settings)


def tuned(name: str, data: str = "movielens-100k", **settings: Any) -> Recommender:
    """Return a recommender that is yet to be fitted, with the settings that won the recorded search on a data set.

    Args:
        name: One of `NAMES` that was tuned.
        data: Name of the data set that it was tuned on.
        **settings: Settings beside those, or in their place, such as `seed=1`.

    Raises:
        InputError: An unknown name or setting, or a model that was not tuned on that data set.
    """
    return create(name, **{**tuned_settings(name, data), **settings})


def tuned_settings(name: str, data: str = "movielens-100k") -> dict[str, Any]:
    """Return the settings that won the recorded search of a model; those not searched are left out.

    Args:
        name: One of `NAMES` that was tuned.
        data: Name of the data set that it was tuned on.

    Raises:
        InputError: A model that was not tuned on that data set.
    """
    winners: dict[str, dict[str, dict[str, Any]]] = json.loads(TUNED.read_text("utf-8"))
    if data not in winners:
        raise one_of("data set of tuned models", data, winners)
    if name not in winners[data]:
        raise one_of("tuned model", name, winners[data], most=len(NAMES))
    return dict(winners[data][name])


def load(path: str | Path) -> Recommender:
    """Return the fitted recommender of a folder that `save` wrote, whatever its kind.

    Args:
        path: The folder.

    Raises:
        InputError: Not a saved model, or a damaged one.
    """
    folder = Path(path)
    name = read_header(folder)["model"]
    try:
        return model_class(str(name)).load(folder)
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{str(folder)!r} is a damaged {name} model ({error}); train it again") from error
