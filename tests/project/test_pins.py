"""The lock files, pyproject.toml and environment.yml say the same, and name no host."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools.build_book import ROOT

LOCKS = ("requirements.txt", "requirements-data.txt", "requirements-node.txt")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}( \\)?")


def logical_lines(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()


def pins(lock: str) -> dict[str, list[Version]]:
    """The locked versions by package; a package may have several, for different Pythons or systems."""
    found: dict[str, list[Version]] = {}
    for line in logical_lines((ROOT / lock).read_text()):
        requirement = Requirement(line.split("--hash")[0].strip())
        (specifier,) = requirement.specifier
        found.setdefault(canonicalize_name(requirement.name), []).append(Version(specifier.version))
    return found


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def declared() -> list[Requirement]:
    table = project()
    lists = [table["dependencies"], *table["optional-dependencies"].values()]
    everything = [Requirement(text) for texts in lists for text in texts]
    return [requirement for requirement in everything if requirement.name != table["name"]]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_is_exact_and_hashed(lock: str) -> None:
    lines = logical_lines((ROOT / lock).read_text())
    assert lines
    for line in lines:
        assert re.match(r"^[A-Za-z0-9._-]+==[^\s;]+( ; [^-]+)? ?(--hash=sha256:[0-9a-f]{64} ?)+$", line), (
            line[:120]
        )


@pytest.mark.parametrize("lock", LOCKS)
def test_no_host_and_no_local_path(lock: str) -> None:
    requirements = [
        line for line in (ROOT / lock).read_text().splitlines() if not line.lstrip().startswith("# via")
    ]
    for line in requirements:
        assert not re.search(r"://|--(index|extra-index|find-links)|file:|(^|\s)/", line), line


def test_the_lock_satisfies_pyproject() -> None:
    locked = pins("requirements.txt")
    for requirement in declared():
        versions = locked.get(canonicalize_name(requirement.name))
        assert versions, f"{requirement.name} is in pyproject.toml and not in requirements.txt; run make lock"
        for version in versions:
            assert requirement.specifier.contains(version, prereleases=True), (
                f"{requirement} but locked {version}"
            )


def test_ranges_are_loose() -> None:
    assert not [str(r) for r in declared() if any(s.operator in {"==", "==="} for s in r.specifier)]


def test_no_torch() -> None:
    assert "torch" not in pins("requirements.txt")


def test_environment_yml_installs_the_same() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    plain = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (python,) = [entry.split("=", 1)[1] for entry in plain if entry.startswith("python=")]
    assert Version(python) in Requirement("python" + project()["requires-python"]).specifier
    assert "pip" in plain
    # conda's pip reads the lock itself, so names cannot drift; the two --no-deps wheels are pinned on their own
    assert "-r requirements.txt" in pip
    assert "-e ." not in pip, "the package is installed after, without dependencies: see environment.yml"
    assert set(pip) == {"-r requirements.txt"}


def test_data_wheels_are_not_dependencies() -> None:
    assert not set(pins("requirements-data.txt")) & set(pins("requirements.txt"))
