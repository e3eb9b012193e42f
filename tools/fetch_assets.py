"""Fetch the pinned JavaScript packages that the pages and their tests need; do nothing when they are there.

    python -m tools.fetch_assets

The versions and checksums are those of `tools/assets.lock.json`. The archives come through npm with npm's own
configuration; where the system has no npm, Node is installed into the running environment from PyPI
(`requirements-node.txt`). A package is unpacked beside its folder and moved there whole, so an interrupted run leaves
either nothing or a complete package.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "tools" / "assets.lock.json"
OLDEST_NPM = 8
STAMP = ".integrity"


class AssetError(Exception):
    """An asset could not be fetched, or is not the one that was pinned."""


def say(message: str) -> None:
    print(f"[assets] {message}", file=sys.stderr, flush=True)


def read_lock(path: Path = LOCK) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf8"))


def stamp_text(pin: dict[str, Any]) -> str:
    """What a complete package's stamp says: another checksum or another choice of files makes it anew."""
    return json.dumps([pin["integrity"], pin["files"]]) + "\n"


def is_complete(pin: dict[str, Any], root: Path = ROOT) -> bool:
    stamp = root / pin["into"] / STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf8") == stamp_text(pin)


def integrity_of(archive: Path) -> str:
    digest = hashlib.sha512(archive.read_bytes()).digest()
    return "sha512-" + base64.b64encode(digest).decode()


def unpack(archive: Path, pin: dict[str, Any], root: Path = ROOT) -> None:
    """Check an archive against its pin and put the wanted files into the package's folder.

    Args:
        archive: the `.tgz` as npm delivers it; its members lie under `package/`.
        pin: the package's entry in the lock.
        root: the folder that `pin["into"]` is relative to.

    Raises:
        AssetError: the checksum is another one, or a wanted file is not in the archive. Nothing is written then.
    """
    found = integrity_of(archive)
    if found != pin["integrity"]:
        raise AssetError(f"{archive.name}: expected {pin['integrity']}, found {found}; nothing was unpacked")
    target = root / pin["into"]
    target.parent.mkdir(parents=True, exist_ok=True)
    for left_by_an_interrupted_run in target.parent.glob(".unpacking-*"):
        shutil.rmtree(left_by_an_interrupted_run)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=target.parent) as temporary:
        fresh = Path(temporary) / target.name
        with tarfile.open(archive) as tar:
            for pattern in pin["files"]:
                members = [
                    m
                    for m in tar.getmembers()
                    if m.isfile() and fnmatch.fnmatch(m.name, "package/" + pattern)
                ]
                if not members:
                    raise AssetError(f"{archive.name}: no file matches {pattern!r}")
                for member in members:
                    destination = fresh / Path(member.name).relative_to("package")
                    if fresh.resolve() not in destination.resolve().parents:
                        raise AssetError(
                            f"{archive.name}: the member {member.name!r} lies outside the archive"
                        )
                    destination.parent.mkdir(parents=True, exist_ok=True)
                    source = tar.extractfile(member)
                    assert source is not None
                    with source, destination.open("wb") as sink:
                        shutil.copyfileobj(source, sink)
        (fresh / STAMP).write_text(stamp_text(pin), encoding="utf8")
        if target.exists():
            target.rename(Path(temporary) / "old")
        fresh.rename(target)


def npm_works(npm: str) -> bool:
    try:
        answer = subprocess.run([npm, "--version"], capture_output=True, text=True, check=True).stdout
        return int(answer.split(".")[0]) >= OLDEST_NPM
    except (OSError, subprocess.CalledProcessError, ValueError):
        return False


def find_npm() -> str:
    """The system's npm where it is new enough, else one from PyPI in the running environment."""
    beside_python = str(Path(sys.executable).parent / "npm")
    for npm in (shutil.which("npm"), beside_python):
        if npm and npm_works(npm):
            return npm
    say(f"no npm {OLDEST_NPM} or newer here; installing Node from PyPI")
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements-node.txt")], check=True)
    if not npm_works(beside_python):
        raise AssetError("npm does not run, neither the system's nor the one from PyPI")
    return beside_python


def fetch(name: str, pin: dict[str, Any], npm: str, folder: Path) -> Path:
    """Download one package's archive through npm into a folder."""
    spec = f"{name}@{pin['version']}"
    say(f"fetching {spec} ({pin['licence']})")
    command = [npm, "pack", spec, "--pack-destination", str(folder), "--ignore-scripts", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    archives = list(folder.glob(f"*{pin['version']}.tgz"))
    if done.returncode or len(archives) != 1:
        reason = next((line for line in done.stderr.splitlines() if line.strip()), "npm gave no reason")
        raise AssetError(f"npm could not fetch {spec}: {reason}")
    return archives[0]


def main() -> int:
    missing = {name: pin for name, pin in read_lock().items() if not is_complete(pin)}
    if not missing:
        return 0
    try:
        npm = find_npm()
        for name, pin in missing.items():
            with tempfile.TemporaryDirectory() as folder:
                unpack(fetch(name, pin, npm, Path(folder)), pin)
    except (AssetError, subprocess.CalledProcessError, OSError, tarfile.TarError) as error:
        print(f"[assets] error: {error}", file=sys.stderr)
        return 1
    say(f"{', '.join(missing)}: in place")
    return 0


if __name__ == "__main__":
    sys.exit(main())
