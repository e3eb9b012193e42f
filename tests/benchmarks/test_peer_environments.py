"""The peers' environments are pinned and hashed, made once, and say in one line why they cannot be made."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from benchmarks.peers import environments

PEERS = Path(environments.__file__).parent


@pytest.mark.parametrize("name", environments.NAMES)
def test_every_package_is_pinned_and_hashed_and_no_host_named(name: str) -> None:
    text = (PEERS / f"{name}.txt").read_text("utf-8")
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", text, flags=re.M)).splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==[^\s;]+( ; [^-]+)? ?(--hash=sha256:[0-9a-f]{64} ?)+", line), line[:100]
    assert not re.search(r"://|nvidia|cuda", text), "a host, or gigabytes that no benchmark needs"
    wanted = (PEERS / f"{name}.in").read_text("utf-8")
    for package, version in re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)$", wanted, re.M):
        assert re.search(rf"^{package}=={re.escape(version)}", text, re.M), (
            f"{package} {version}; run lock.sh"
        )


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Pretend to make environments in a temporary folder; return the commands that were run."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> None:
        commands.append(command)
        if "venv" in command:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()

    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(environments.subprocess, "run", run)
    return commands


def test_an_environment_in_step_is_used_again(runs: list[list[str]], tmp_path: Path) -> None:
    python = environments.python_of("metrics")
    assert python == tmp_path / "metrics" / "bin" / "python"
    assert len(runs) == 2
    assert "--require-hashes" in runs[1]
    environments.python_of("metrics")
    assert len(runs) == 2
    (tmp_path / "metrics" / "installed.txt").write_text("another lock")
    environments.python_of("metrics")
    assert len(runs) == 4


@pytest.mark.parametrize(
    ("stderr_text", "expected"),
    [
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\n"
            "ERROR: No matching distribution found for ranx==0.3.21",
            "cannot reach the package registry",
        ),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES",
            "pip cannot install benchmarks/peers/metrics.txt: THESE PACKAGES DO NOT MATCH THE HASHES",
        ),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    runs: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stderr_text: str, expected: str
) -> None:
    make = environments.subprocess.run

    def run(command: list[str], **more: object) -> None:
        make(command, **more)
        if "pip" in command:
            raise subprocess.CalledProcessError(1, command, stderr=stderr_text)

    monkeypatch.setattr(environments.subprocess, "run", run)
    with pytest.raises(environments.CannotMake) as caught:
        environments.python_of("metrics")
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "metrics").exists()
