"""Train `Mini` on Keras's PyTorch backend, for measurements that take hours on two cores and minutes on a GPU.

    python -m benchmarks.mini_ablation --torch --processes 16

PyTorch has to be installed separately; the book does not need it. The same Keras layers and losses run eagerly, so that
weights differ from those of TensorFlow as much as those of another seed do. Call `installed` before any model is
created; the process can create no other models afterwards.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np

from instructrec.errors import InputError


@cache
def installed() -> str:
    """Replace TensorFlow by PyTorch for `Mini` in this process, and return the device.

    Raises:
        InputError: PyTorch is not installed, or Keras was imported before.
    """
    if "keras" in sys.modules:
        raise InputError("Keras is imported already; choose its backend before any model is made")
    os.environ["KERAS_BACKEND"] = "torch"
    for name in ("tensorflow", "tensorflow_text"):
        sys.modules[name] = None  # type: ignore[assignment]  # Keras Hub would start it beside
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise InputError("--torch needs PyTorch; install it, or leave the option out") from error
    import keras

    from instructrec import backend
    from instructrec.models.mini import decoders
    from instructrec.models.mini import model as mini_model
    from instructrec.models.mini import trainer as trainers
    from instructrec.models.neural import training

    def seeded(seed: int) -> Any:
        keras.utils.set_random_seed(seed)
        return keras

    for module in (backend, training, decoders):
        module.quiet_keras = lambda: keras  # type: ignore[attr-defined]
    for module in (training, mini_model):
        module.seeded_keras = seeded  # type: ignore[attr-defined]
    trainers.EpochBatches.dataset = _tensors  # type: ignore[method-assign]
    trainers.TokenEmbedding.__init__ = _on_device(trainers.TokenEmbedding.__init__)  # type: ignore[method-assign]
    trainers.InstructionTrainer.__init__ = _on_device(trainers.InstructionTrainer.__init__)  # type: ignore[method-assign]
    decoders.Decoders._encoder = _encoder  # type: ignore[method-assign]
    torch.set_num_threads(1)
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def _on_device(build: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor whose arrays, except for the first argument, become tensors on the device."""
    from keras import ops

    def as_tensor(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return ops.convert_to_tensor(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(as_tensor, value))
        return value

    def wrapped(self: Any, first: Any, *arguments: Any) -> None:
        build(self, first, *map(as_tensor, arguments))

    return wrapped


def _tensors(batches: Iterable[dict[str, np.ndarray]]) -> Iterator[dict[str, Any]]:
    """Yield the batches of epoch after epoch as tensors on the device, in place of `EpochBatches.dataset`."""
    from keras import ops

    while True:
        for batch in batches:
            yield {name: ops.convert_to_tensor(array) for name, array in batch.items()}


def _encoder(self: Any, part: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the function from embeddings and mask to states, in place of `Decoders._encoder`."""
    import torch  # type: ignore[import-not-found,unused-ignore]
    from keras import ops

    blocks = self.blocks(part)

    def encode(hidden: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            padding = ops.convert_to_tensor(mask)
            state = ops.convert_to_tensor(hidden)
            for block in blocks[:-1]:
                state = block(state, decoder_padding_mask=padding, training=False)
            state = blocks[-1](state) * ops.cast(padding, "float32")[:, :, None]
            return np.asarray(ops.convert_to_numpy(state))

    return encode
