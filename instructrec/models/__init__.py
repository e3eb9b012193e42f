"""Recommenders by name; each is imported when it is asked for, so that a light one starts fast.

`create("item-knn", k=50)` makes one to fit, `load(folder)` reads one that `save` wrote.
"""

from __future__ import annotations

import inspect
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

from instructrec.errors import InputError, one_of
from instructrec.models.base import Recommender, read_header

_WHERE = {
    "random": ("instructrec.models.random", "Random"),
    "most-popular": ("instructrec.models.most_popular", "MostPopular"),
    "item-knn": ("instructrec.models.item_knn", "ItemKNN"),
    "recently-popular": ("instructrec.models.recently_popular", "RecentlyPopular"),
    "ease": ("instructrec.models.ease", "EASE"),
    "als": ("instructrec.models.matrix_factorisation", "ALS"),
    "bpr": ("instructrec.models.matrix_factorisation", "BPR"),
    "sasrec": ("instructrec.models.sasrec", "SASRec"),
    "two-tower": ("instructrec.models.two_tower", "TwoTower"),
    "three-tower": ("instructrec.models.three_tower", "ThreeTower"),
}
NAMES: tuple[str, ...] = tuple(_WHERE)
LATER: tuple[str, ...] = ("mini", "smollm2")

__all__ = ["LATER", "NAMES", "Recommender", "create", "load", "model_class"]


def model_class(name: str) -> type[Recommender]:
    """Return the class of a model.

    Args:
        name: One of `NAMES`.

    Raises:
        InputError: Another name, or one that a later edition of the book adds.
    """
    if name in LATER:
        raise InputError(f"model {name!r} comes with a later edition; accepted: {', '.join(NAMES)}")
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


def create(name: str, **settings: Any) -> Recommender:
    """Return a recommender that is yet to be fitted.

    Args:
        name: One of `NAMES`.
        **settings: Settings of that model, such as `k=50` for "item-knn".

    Raises:
        InputError: An unknown name or an unknown setting.
    """
    kind = model_class(name)
    accepted = list(inspect.signature(kind).parameters)
    for setting in settings:
        if setting not in accepted:
            raise one_of(f"setting of {name}", setting, accepted or ["none"])
    return kind(**settings)


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
