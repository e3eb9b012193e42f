"""Atomic writes of files and folders: an interrupted run leaves the old or the new version, never a part of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from instructrec.errors import InputError

DATA_FOLDER = Path(__file__).resolve().parents[1] / "data"
"""Folder of the small data sets and trained models that are committed with the book."""


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and move it to `path` once the block ends without an error.

    Args:
        path: The file to write; its folder must exist or be creatable.
        mode: "w" for UTF-8 text with Unix line ends, "wb" for bytes.

    Yields:
        The open temporary file.

    Raises:
        InputError: The path cannot be written, for lack of permission or space, or because it is a folder.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        temporary = Path(name)
        encoding: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
        with os.fdopen(descriptor, mode, **encoding) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
        temporary = None
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Create a temporary folder beside `path` and move it to `path` once the block ends without an error.

    An earlier folder at `path` stays unchanged until then.

    Args:
        path: The folder to write; its parent must exist or be creatable.

    Yields:
        The temporary folder.

    Raises:
        InputError: The path cannot be written, for lack of permission or space, or because it is a file.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(20, "Not a directory")
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            try:
                target.replace(old)
                temporary.replace(target)
            except BaseException:
                if not target.exists():
                    old.replace(target)
                shutil.rmtree(old, ignore_errors=True)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.replace(target)
        temporary = None
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def digest(path: str | os.PathLike[str], algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()


def _umask() -> int:
    """Return the process's file mode creation mask, which can be read only by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _cannot_write(target: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(
        f"cannot write {str(target)!r}: {reason}; give a path in a writable folder with free space"
    )
