"""Keras on TensorFlow without the noise: the one place that imports it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from instructrec.errors import InputError


def quiet_keras() -> ModuleType:
    """Import Keras on TensorFlow and return it; what TensorFlow writes to file descriptor 2 on its way is dropped.

    Later `import keras` statements find it imported and stay quiet too.

    Raises:
        InputError: TensorFlow or Keras is not installed.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with silent_stderr():
            import keras
            import tensorflow as tf

            tf.constant(0.0)  # the first operation starts the devices, which talk too
    except ImportError as error:
        raise InputError(
            f"this needs TensorFlow ({error}); install it by: pip install 'instructrec[keras]'"
        ) from error
    return keras


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Send file descriptor 2, which compiled code writes to past `sys.stderr`, nowhere for the length of a block."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
