"""Data sets that the tests of instructions share."""

from __future__ import annotations

import pytest

from instructrec.datasets import movielens_100k, shop
from instructrec.datasets.dataset import Dataset


@pytest.fixture(scope="session")
def films() -> Dataset:
    return movielens_100k()


@pytest.fixture(scope="session")
def goods() -> Dataset:
    return shop()
