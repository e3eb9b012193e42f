"""Settings that every test of the package shares."""

from __future__ import annotations

import os
from pathlib import Path

# Two workers share two cores: one thread each. Libraries read these once, when they are imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(variable, "1")

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from tools.build_book import ROOT

# TensorFlow reads these once, when it is imported: the numbers of a test must not depend on the processor's extras.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

# The same examples in each run, so that a failure repeats; "thorough" is for `make prove`, "search" draws new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("thorough", derandomize=True, deadline=None, max_examples=10_000)
settings.register_profile("search", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="session")
def events_csv(tmp_path_factory) -> Path:
    """A file of 40 users with 8 events each among 25 items, at distinct times."""
    rng = np.random.default_rng(0)
    rows = [(user, 100 + int(item)) for user in range(1, 41) for item in rng.permutation(25)[:8]]
    table = pd.DataFrame(rows, columns=["user_id", "item_id"]).assign(
        rating=4.0, timestamp=rng.permutation(len(rows))
    )
    path = tmp_path_factory.mktemp("data") / "events.csv"
    table.to_csv(path, index=False)
    return path


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all tests of a file to one worker, and all of language models to one, so that each model is loaded once.

    Files with slow tests come first, in their random order, so that none of them starts last.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        file = item.path.relative_to(ROOT).as_posix()
        group = "language models" if file.startswith("tests/models/lm/") else file
        item.add_marker(pytest.mark.xdist_group(group))
