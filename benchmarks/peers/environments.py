"""Make the environments of the libraries that this package is measured against, each in a folder of its own.

    python -m benchmarks.peers.environments [recbole] [rectools] [metrics]

An environment is benchmarks/.peers/NAME, made from benchmarks/peers/NAME.txt, where every package is pinned and hashed.
One that is in step with its file is used again; one that is not, or whose making was interrupted, is made anew.
Torch's CPU wheel is enough and 5 GB smaller than the one with CUDA: where pip does not find it, name the place where
PyTorch keeps its CPU wheels in PIP_EXTRA_INDEX_URL, or a folder that holds one in PIP_FIND_LINKS.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("recbole", "rectools", "metrics")
HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / ".peers"
UNREACHABLE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|Connection (refused|reset)"
    r"|Network is unreachable|Name or service not known|from versions: none"
)


class CannotMake(Exception):
    """An environment cannot be made; the message is one line for the person at the terminal."""


def python_of(name: str) -> Path:
    """Return the interpreter of a peer's environment, making or repairing the environment first.

    Raises:
        CannotMake: The registry cannot be reached, or pip refuses; what was begun is deleted.
    """
    requirements = HERE / f"{name}.txt"
    folder = ENVIRONMENTS / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "installed.txt"
    wanted = f"# Python {sys.version.split()[0]} in {folder}\n{requirements.read_text('utf-8')}"
    if python.exists() and stamp.exists() and stamp.read_text("utf-8") == wanted:
        return python
    print(f"making benchmarks/.peers/{name} (once; about 1 GB, a few minutes)", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
        subprocess.run(
            [*pip, "--retries", "2", "--require-hashes", "-r", str(requirements)],
            check=True,
            capture_output=True,
            text=True,
        )
    except subprocess.CalledProcessError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise CannotMake(reason(name, str(error.stderr))) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    stamp.write_text(wanted, "utf-8")
    return python


def reason(name: str, said: str) -> str:
    """Say in one line why pip failed."""
    if UNREACHABLE.search(said):
        return (
            f"cannot reach the package registry, which the environment {name!r} needs once; "
            "connect, or name a folder of wheels in PIP_FIND_LINKS, and run the command again"
        )
    errors = (
        [line for line in said.splitlines() if line.startswith("ERROR:")]
        or said.splitlines()
        or ["no reason"]
    )
    return f"pip cannot install benchmarks/peers/{name}.txt: {errors[-1].removeprefix('ERROR: ')}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the environments of the peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    options = parser.parse_args()
    for name in options.names or NAMES:
        if name not in NAMES:
            parser.error(f"NAME is {name!r}; accepted: {', '.join(NAMES)}")
        try:
            print(python_of(name))
        except CannotMake as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
