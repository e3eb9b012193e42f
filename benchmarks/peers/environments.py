"""Create the environments of the libraries that this package is compared with, each in its own folder.

    python -m benchmarks.peers.environments [recbole] [rectools] [metrics]

An environment is benchmarks/.peers/NAME, created from benchmarks/peers/NAME.txt, where every package is pinned and
hashed. It is used again while it agrees with its file; otherwise, or after an interruption, it is created anew. Torch's
CPU wheel suffices and is 5 GB smaller than the CUDA wheel: if pip does not find it, name the index of PyTorch's CPU
wheels in PIP_EXTRA_INDEX_URL, or a folder that holds one in PIP_FIND_LINKS.
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
    """An environment cannot be created; the message is one line for the user."""


def python_of(name: str) -> Path:
    """Return the interpreter of a peer's environment, creating or repairing the environment if necessary.

    Raises:
        CannotMake: The registry cannot be reached, or pip fails; a partial environment is deleted.
    """
    requirements = HERE / f"{name}.txt"
    folder = ENVIRONMENTS / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "installed.txt"
    stamp_text = f"# Python {sys.version.split()[0]} in {folder}\n{requirements.read_text('utf-8')}"
    if python.exists() and stamp.exists() and stamp.read_text("utf-8") == stamp_text:
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
    stamp.write_text(stamp_text, "utf-8")
    return python


def reason(name: str, output: str) -> str:
    """Return in one line why pip failed."""
    if UNREACHABLE.search(output):
        return (
            f"cannot reach the package registry, which the environment {name!r} needs once; "
            "connect, or name a folder of wheels in PIP_FIND_LINKS, and run the command again"
        )
    errors = (
        [line for line in output.splitlines() if line.startswith("ERROR:")]
        or output.splitlines()
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
