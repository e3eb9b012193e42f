"""Recommenders by name; the module of a model is imported when the model is first used.

`create("item-knn", k=50)` returns an unfitted model, `tuned("item-knn")` one with the settings that won a search on
validation data, `load(folder)` reads a saved model.
"""

from instructrec.models.base import Recommender
from instructrec.models.filtered import FilteredRecommender
from instructrec.models.registry import (
    MODELS,
    NAMES,
    SHIPPED,
    TUNED,
    create,
    load,
    model_class,
    setting_names,
    tuned,
    tuned_settings,
)

__all__ = [
    "MODELS",
    "NAMES",
    "SHIPPED",
    "TUNED",
    "FilteredRecommender",
    "Recommender",
    "create",
    "load",
    "model_class",
    "setting_names",
    "tuned",
    "tuned_settings",
]
