"""Let `Mini` train on Keras's PyTorch backend, for measurements that would take two cores hours and a GPU minutes.

    python -m benchmarks.mini_ablation --torch --processes 16

PyTorch has to be installed beside; the book does not need it. The same Keras layers and losses run, step by step and
not compiled, so that weights differ from those of TensorFlow as those of another seed do. Call `installed` before any
model is made; a process that did so makes no other models.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from instructrec.errors import InputError


@cache
def installed() -> str:
    """Put PyTorch in place of TensorFlow for `Mini` in this process, and return where it runs.

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
    from instructrec.models.mini import model as mini_model
    from instructrec.models.mini import trainer as mini_trainer
    from instructrec.models.neural import training

    def seeded(seed: int) -> Any:
        keras.utils.set_random_seed(seed)
        return keras

    for module in (backend, training, mini_model):
        module.quiet_keras = lambda: keras  # type: ignore[attr-defined]
    for module in (training, mini_model):
        module.seeded_keras = seeded  # type: ignore[attr-defined]
    mini_trainer.compiled_step = _step
    mini_trainer.TokenTable.__init__ = _on_device(mini_trainer.TokenTable.__init__)  # type: ignore[method-assign]
    mini_trainer.TextTrainer.__init__ = _on_device(mini_trainer.TextTrainer.__init__)  # type: ignore[method-assign]
    mini_model.Mini.states = _states  # type: ignore[method-assign]
    torch.set_num_threads(1)
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def _on_device(build: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor that gets what it holds, but items that start a table, as tensors on the device."""
    from keras import ops

    def placed(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return ops.convert_to_tensor(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(placed, value))
        return value

    def wrapped(self: Any, first: Any, *others: Any) -> None:
        build(self, first, *map(placed, others))

    return wrapped


def _step(trainer: Any, example: dict[str, np.ndarray]) -> Callable[[dict[str, np.ndarray]], dict[str, Any]]:
    from keras import ops

    def run(batch: dict[str, np.ndarray]) -> dict[str, Any]:
        trainer.reset_metrics()
        return trainer.train_step({name: ops.convert_to_tensor(array) for name, array in batch.items()})

    return run


def _states(
    self: Any, conversations: Sequence[Sequence[int]], texts: bool = False, told: np.ndarray | None = None
) -> np.ndarray:
    import torch  # type: ignore[import-not-found,unused-ignore]
    from keras import ops

    from instructrec.models.mini.packing import padded

    self._load_blocks()
    blocks = self._blocks(self._text_backbone if texts else self._backbone)
    token_ids = padded(conversations)[:, : max(map(len, conversations), default=1)]
    hidden = self.vectors(token_ids, texts)
    if told is not None:
        hidden[:, 0] += told / np.sqrt(np.mean(told**2, axis=1, keepdims=True) + 1e-6)
    with torch.no_grad():
        read = ops.convert_to_tensor((token_ids != 0).astype(np.int32))
        state = ops.convert_to_tensor(hidden)
        for block in blocks[:-1]:
            state = block(state, decoder_padding_mask=read, training=False)
        state = blocks[-1](state) * ops.cast(read, "float32")[:, :, None]
        return np.asarray(ops.convert_to_numpy(state))
