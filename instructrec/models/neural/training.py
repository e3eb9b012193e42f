"""Shared parts of the Keras models: seeding, training by epochs, weights by layer name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from instructrec.backend import quiet_keras
from instructrec.datasets.dataset import Dataset
from instructrec.models.base import Recommender

if TYPE_CHECKING:
    import keras


def seeded_keras(seed: int) -> ModuleType:
    """Return Keras after seeding it, NumPy and Python, with TensorFlow's deterministic kernels enabled.

    Args:
        seed: From 0 to 2**32 - 1.

    Raises:
        InputError: TensorFlow or Keras is not installed.
    """
    keras = quiet_keras()
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    return keras


def figures_by_epoch(record: keras.callbacks.History) -> dict[str, list[float]]:
    """Return the metrics of a Keras training, a list over epochs for each, as Python floats."""
    return {name: [float(value) for value in values] for name, values in record.history.items()}


def named_weights(*networks: keras.Model) -> dict[str, np.ndarray]:
    """Return the weights of all layers, named `LAYER/0`, `LAYER/1`, …; a layer shared by two networks occurs once."""
    return {
        f"{layer.name}/{number}": weight
        for network in networks
        for layer in network.layers
        for number, weight in enumerate(layer.get_weights())
    }


def set_named_weights(weights: dict[str, np.ndarray], *networks: keras.Model) -> None:
    """Set the weights that `named_weights` returned."""
    for network in networks:
        for layer in network.layers:
            layer.set_weights([weights[f"{layer.name}/{number}"] for number in range(len(layer.weights))])


class NextItemModel(Recommender):
    """Base of the models that Keras trains to predict the next item by a softmax over the catalogue.

    A subclass implements `_fit`, in which it calls `_train`, and `_keep_weights`.
    """

    config: Any
    history: dict[str, list[float]]
    _on_epoch: Callable[[int, Any], None] | None = None
    _verbose: int = 0

    def fit(
        self,
        dataset: Dataset,
        *,
        on_epoch: Callable[[int, Self], None] | None = None,
        verbose: int = 0,
    ) -> Self:
        """Train on a data set and return the model itself; `history` then holds Keras's metrics per epoch.

        Args:
            dataset: Users, items and interactions.
            on_epoch: Called after each epoch with its number, from 1, and the model, which can score at that point.
            verbose: Keras's 0 (silent), 1 (progress bar) or 2 (one line per epoch).

        Raises:
            InputError: The data set has no interactions.
        """
        self._on_epoch, self._verbose = on_epoch, verbose
        try:
            return super().fit(dataset)
        finally:
            self._on_epoch = None

    def _keep_weights(self) -> None:
        """Copy the network's weights to where `_score` and `_arrays` read them."""
        raise NotImplementedError

    def _train(self, trainer: keras.Model, batches: Any, warmup_share: float = 0.0) -> None:
        """Train a network by AdamW on the cross-entropy of its logits, and store its weights and metrics.

        The learning rate rises linearly over the first `warmup_share` of the steps, then decays as a cosine to 0.

        Args:
            trainer: Network from a batch's inputs to logits, shape (batch, n_classes).
            batches: A Keras `PyDataset` of inputs and classes.
            warmup_share: Share of the steps, in [0, 1).
        """
        import keras

        config = self.config
        steps = len(batches) * config.epochs
        warmup_steps = max(1, int(steps * warmup_share)) if warmup_share else 0
        decay = keras.optimizers.schedules.CosineDecay
        rate = (
            decay(
                0.0,
                max(1, steps - warmup_steps),
                warmup_target=config.learning_rate,
                warmup_steps=warmup_steps,
            )
            if warmup_steps
            else decay(config.learning_rate, steps)
        )
        trainer.compile(
            optimizer=keras.optimizers.AdamW(rate, weight_decay=config.weight_decay),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )

        def on_epoch_end(epoch: int, logs: object = None) -> None:
            if self._on_epoch is not None:
                self._keep_weights()
                self._on_epoch(epoch + 1, self)

        record = trainer.fit(
            batches,
            epochs=config.epochs,
            verbose=self._verbose,
            shuffle=False,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)],
        )
        self.history = figures_by_epoch(record)
        self._keep_weights()


def last_items(histories: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Return the ids of the last items of each history, left-padded.

    Args:
        histories: n arrays of catalogue columns, oldest first.
        length: Number of items.

    Returns:
        Array of shape (n, length), int32: catalogue columns plus 1; 0 is padding.
    """
    ids = np.zeros((len(histories), length), dtype=np.int32)
    for row, history in zip(ids, histories, strict=True):
        last = np.asarray(history)[-length:]
        if len(last):
            row[-len(last) :] = last + 1
    return ids
