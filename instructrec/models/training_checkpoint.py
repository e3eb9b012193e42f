"""The checkpoint file of a training: an interrupted training resumes from it and ends with the same weights."""

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
    """Variables of the parts of a training, and notes, in one file that is written atomically.

    Attributes:
        note: The notes, such as the number of finished epochs of each part; empty at the start.
    """

    def __init__(self, path: Path | None, digest: str) -> None:
        """Read the file if it exists.

        Args:
            path: The file; None disables checkpoints.
            digest: Checksum of everything that determines the training.

        Raises:
            InputError: The file is damaged, or belongs to another training.
        """
        self.path, self.digest = path, digest
        self.note: dict[str, Any] = {}
        self._parts: dict[str, list[np.ndarray]] = {}
        if path is not None and path.exists():
            self._open(path)

    def _open(self, path: Path) -> None:
        """Read a checkpoint, and check that it belongs to this training."""
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
        """Assign the saved values of a part to its variables, and return whether there are any."""
        if part not in self._parts:
            return False
        for variable, value in zip(variables, self._parts[part], strict=True):
            variable.assign(value)
        return True

    def save(self, part: str, variables: Sequence[Any], **note: Any) -> None:
        """Write the values of a part's variables and the notes; the other parts stay as they are.

        Args:
            part: Name of the part.
            variables: Keras variables.
            **note: Notes that JSON can hold; they replace earlier notes of the same name.
        """
        if self.path is None:
            return
        self._parts[part] = [np.asarray(variable) for variable in variables]
        self.note = {**self.note, **note}
        arrays = {
            f"{name}/{number:05d}": array
            for name, part_arrays in self._parts.items()
            for number, array in enumerate(part_arrays)
        }
        header = np.array(json.dumps({**self.note, "digest": self.digest}))
        with atomic_write(self.path, "wb") as handle:
            np.savez(handle, note=header, **arrays)  # type: ignore[arg-type]

    def remove(self) -> None:
        """Delete the file after the end of the training."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
