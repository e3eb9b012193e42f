"""How nbval compares the notebooks of book/ with what they gave before."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collectstart(collector: Any) -> None:
    """Leave standard error out: TensorFlow writes there whatever it is told. Pictures are compared by no one."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr", "image/svg+xml")
