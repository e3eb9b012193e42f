"""Write down how many examples each property was tried on, and how long it took: a plug-in of `make prove`.

    make prove

Writes benchmarks/results/properties.json once every property holds; a failure leaves the last file as it was.
"""

from __future__ import annotations

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from instructrec.files import atomic_write

RESULTS = Path(__file__).with_name("results") / "properties.json"
_measured: dict[str, dict[str, Any]] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Keep the number of examples and the seconds of each property."""
    outcome = yield
    report = outcome.get_result()
    statistics = getattr(item, "hypothesis_statistics", None)
    if report.when == "call" and statistics is not None:
        _measured[item.name] = {
            "examples": sum(int(number) for number in re.findall(r"(\d+) passing", statistics)),
            "seconds": round(report.duration, 1),
        }


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the file, if every property held."""
    if exitstatus != 0 or not _measured:
        return
    found = {
        "profile": hypothesis.settings.get_current_profile_name(),
        "hypothesis": version("hypothesis"),
        "instructrec": version("instructrec"),
        "python": platform.python_version(),
        "examples": sum(one["examples"] for one in _measured.values()),
        "seconds": round(sum(one["seconds"] for one in _measured.values()), 1),
        "properties": _measured,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with atomic_write(RESULTS, "w") as file:
        file.write(json.dumps(found, indent=1) + "\n")
