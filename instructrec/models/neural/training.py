"""What the models that Keras trains share: a seeded start, a fit by epochs, weights under the names of their layers."""

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
    """Return Keras with its own, NumPy's and Python's seeds set, and with TensorFlow held to repeatable kernels.

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
    """Return what Keras noted of a fit, a list by epoch for each figure, as plain numbers."""
    return {name: [float(value) for value in values] for name, values in record.history.items()}


def named_weights(*networks: keras.Model) -> dict[str, np.ndarray]:
    """Return the weights of all layers as `LAYER/0`, `LAYER/1` and on; a layer that two networks share comes once."""
    return {
        f"{layer.name}/{number}": weight
        for network in networks
        for layer in network.layers
        for number, weight in enumerate(layer.get_weights())
    }


def set_named_weights(weights: dict[str, np.ndarray], *networks: keras.Model) -> None:
    """Give layers the weights that `named_weights` returned."""
    for network in networks:
        for layer in network.layers:
            layer.set_weights([weights[f"{layer.name}/{number}"] for number in range(len(layer.weights))])


class NextItemModel(Recommender):
    """Base of the models that Keras trains to name the next item, by a softmax over the catalogue.

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
        """Train on a data set and return the model itself; `history` then holds Keras's figures by epoch.

        Args:
            dataset: Users, items and interactions.
            on_epoch: Called after each epoch with its number, from 1, and the model, which can score by then.
            verbose: Keras's 0 (nothing), 1 (a bar) or 2 (a line an epoch).

        Raises:
            InputError: There is nothing to learn from.
        """
        self._on_epoch, self._verbose = on_epoch, verbose
        try:
            return super().fit(dataset)
        finally:
            self._on_epoch = None

    def _keep_weights(self) -> None:
        """Put the network's weights where `_score` and `_arrays` read them."""
        raise NotImplementedError

    def _train(self, trainer: keras.Model, batches: Any, warm_share: float = 0.0) -> None:
        """Fit a network by AdamW on the cross-entropy of its logits, and keep its weights and figures.

        The learning rate rises to the setting over the first `warm_share` of the steps, then falls as a cosine to 0.

        Args:
            trainer: From a batch's inputs to logits (batch, n_classes).
            batches: A Keras `PyDataset` that gives inputs and classes.
            warm_share: In [0, 1).
        """
        import keras

        config = self.config
        steps = len(batches) * config.epochs
        warm = max(1, int(steps * warm_share)) if warm_share else 0
        decay = keras.optimizers.schedules.CosineDecay
        rate = (
            decay(0.0, max(1, steps - warm), warmup_target=config.learning_rate, warmup_steps=warm)
            if warm
            else decay(config.learning_rate, steps)
        )
        trainer.compile(
            optimizer=keras.optimizers.AdamW(rate, weight_decay=config.weight_decay),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )

        def after(epoch: int, logs: object = None) -> None:
            if self._on_epoch is not None:
                self._keep_weights()
                self._on_epoch(epoch + 1, self)

        record = trainer.fit(
            batches,
            epochs=config.epochs,
            verbose=self._verbose,
            shuffle=False,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=after)],
        )
        self.history = figures_by_epoch(record)
        self._keep_weights()


def last_items(histories: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Return the ids of the last items of each history, padding in front.

    Args:
        histories: n arrays of catalogue columns, oldest first.
        length: How many are read.

    Returns:
        Array of shape (n, length), int32: catalogue columns plus 1; 0 is padding.
    """
    ids = np.zeros((len(histories), length), dtype=np.int32)
    for row, history in zip(ids, histories, strict=True):
        last = np.asarray(history)[-length:]
        if len(last):
            row[-len(last) :] = last + 1
    return ids
