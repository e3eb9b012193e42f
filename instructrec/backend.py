"""Import Keras on TensorFlow without log lines."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from instructrec.errors import InputError

M_TOP_PAD = -2
"""glibc's number of the setting "bytes to ask the system for beyond an allocation", see mallopt(3)."""
ALLOCATION_STEP = 64 * 1024 * 1024
"""Bytes that glibc asks the system for at a time.

TensorFlow frees the arrays of a training step and allocates them again in the next. By default glibc gives their
pages back to the system in between; up to a third of a training's time went into having them mapped and zeroed anew.
"""


def quiet_keras() -> ModuleType:
    """Import Keras on TensorFlow and return it; TensorFlow's output to file descriptor 2 is discarded.

    Later `import keras` statements find it imported and stay quiet too.

    Raises:
        InputError: TensorFlow or Keras is not installed.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keep_freed_memory()
    try:
        with silent_stderr():
            import keras
            import tensorflow as tf

            tf.constant(0.0)  # the first operation starts the devices, which also write log lines
    except ImportError as error:
        raise InputError(
            f"this needs TensorFlow ({error}); install it by: pip install 'instructrec[keras]'"
        ) from error
    return keras


def keep_freed_memory() -> None:
    """Let glibc keep some freed memory instead of returning it to the system; other C libraries are left alone."""
    if sys.platform == "linux" and "MALLOC_TOP_PAD_" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_TOP_PAD, ALLOCATION_STEP)


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Discard the output to file descriptor 2 within a block; compiled code writes there without `sys.stderr`."""
    sys.stderr.flush()
    stderr_copy = os.dup(2)
    null_device = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null_device, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr_copy, 2)
        os.close(stderr_copy)
        os.close(null_device)
