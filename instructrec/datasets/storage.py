"""Catalogues as JSON, so that a saved model can hold its items without pickling."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import Dataset


def catalogue_to_json(dataset: Dataset) -> str:
    """Return name, category field and item table of a data set as one JSON document; missing values become null.

    Interactions are not stored, so the popularity that is computed from them becomes a column.
    """
    items = dataset.items
    if "popularity" not in items and dataset.n_interactions:
        items = items.assign(popularity=items["item_id"].map(dataset.popularity))
    columns = {name: [_plain(value) for value in items[name]] for name in items.columns}
    dtypes = {name: str(items[name].dtype) for name in items.columns}
    document = {
        "name": dataset.name,
        "category_field": dataset.category_field,
        "dtypes": dtypes,
        "items": columns,
    }
    return json.dumps(document, ensure_ascii=False) + "\n"


def catalogue_from_json(text: str) -> Dataset:
    """Return a data set without users and interactions from what `catalogue_to_json` wrote."""
    document = json.loads(text)
    items = pd.DataFrame(
        {
            name: pd.Series(
                [tuple(value) if isinstance(value, list) else value for value in values],
                dtype=document["dtypes"][name],
            )
            for name, values in document["items"].items()
        }
    )
    return Dataset(
        name=document["name"],
        users=pd.DataFrame({"user_id": []}),
        items=items,
        interactions=pd.DataFrame({"user_id": [], "item_id": [], "rating": [], "timestamp": []}),
        category_field=document["category_field"],
    )


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return list(value)
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
