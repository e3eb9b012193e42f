"""The file that a training writes as it goes, so that one which was cut off goes on and ends as if nothing had been."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from instructrec.errors import InputError
from instructrec.files import atomic_write


class TrainingCheckpoint:
    """Variables of the parts of a training, and notes beside them, in one file that is whole at any time.

    Attributes:
        note: What was noted, such as how far each part is; empty at the start.
    """

    def __init__(self, path: Path | None, digest: str) -> None:
        """Read the file if it is there.

        Args:
            path: The file; None keeps nothing.
            digest: Of all that decides the training.

        Raises:
            InputError: A damaged file, or one of another training.
        """
        self.path, self.digest = path, digest
        self.note: dict[str, Any] = {}
        self._parts: dict[str, list[np.ndarray]] = {}
        if path is not None and path.exists():
            self._open(path)

    def _open(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                note = json.loads(str(arrays["note"]))
                digest = note.pop("digest")
                for name in sorted(arrays.files):
                    if name != "note":
                        self._parts.setdefault(name.split("/")[0], []).append(arrays[name])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{str(path)!r} is no checkpoint or a damaged one ({error}); delete it to train from the start"
            ) from error
        if digest != self.digest:
            raise InputError(
                f"{str(path)!r} is a checkpoint of another training (its settings, data or version differ); "
                "give another file, or delete it to train from the start"
            )
        self.note = note

    def restore(self, part: str, variables: Sequence[Any]) -> bool:
        """Give variables the values that were kept of a part, and return whether there were any."""
        if part not in self._parts:
            return False
        for variable, value in zip(variables, self._parts[part], strict=True):
            variable.assign(value)
        return True

    def save(self, part: str, variables: Sequence[Any], **note: Any) -> None:
        """Write the values of a part's variables, and notes, beside what was kept of other parts.

        Args:
            part: Its name.
            variables: Of Keras.
            **note: What can be written as JSON; it takes the place of notes of the same name.
        """
        if self.path is None:
            return
        self._parts[part] = [np.asarray(one) for one in variables]
        self.note = {**self.note, **note}
        arrays = {
            f"{name}/{number:05d}": array
            for name, listed in self._parts.items()
            for number, array in enumerate(listed)
        }
        said = np.array(json.dumps({**self.note, "digest": self.digest}))
        with atomic_write(self.path, "wb") as handle:
            np.savez(handle, note=said, **arrays)  # type: ignore[arg-type]

    def remove(self) -> None:
        """Delete the file of a training that has come to its end."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
