"""Two towers, one for the user and one for the item, joined by a dot product.

Keras trains them; NumPy scores with the trained weights. Derived in chapter `baselines`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.models.neural.three_tower import PADDING, category_matrix
from instructrec.models.neural.training import (
    NextItemModel,
    last_items,
    named_weights,
    seeded_keras,
    set_named_weights,
)
from instructrec.validation import ModelConfig, NonNegativeFloat, PositiveFloat, PositiveInt, Seed, Share

if TYPE_CHECKING:
    import keras


class TwoTowerConfig(ModelConfig):
    """Settings of `TwoTower`.

    Attributes:
        embedding_size: Size of the item embeddings and of both towers' outputs.
        hidden_size: Size of the user tower's hidden layer.
        length: Number of last items of a history that are read.
        pooling: How these items become one vector: "mean", or "weighted" by learnt weights per position from the end.
        rivals: Items that compete with the target in the softmax: "all"; "unseen", those not in the history so far; or
            "unmet", those without any training event of the user.
        temperature: Divisor of the cosine similarity; None uses the plain dot product.
        epochs: Number of passes over the events.
        batch_size: Events per step.
        learning_rate: Initial learning rate of AdamW; it decays as a cosine to 0.
        weight_decay: Weight decay of AdamW.
        dropout: Dropout rate of the items read and of the hidden layer.
        seed: Seed of weights, order and dropout.
    """

    embedding_size: PositiveInt = 64
    hidden_size: PositiveInt = 128
    length: PositiveInt = 10
    pooling: Literal["mean", "weighted"] = "weighted"
    rivals: Literal["all", "unseen", "unmet"] = "unmet"
    temperature: PositiveFloat | None = 0.1
    epochs: PositiveInt = 8
    batch_size: PositiveInt = 512
    learning_rate: PositiveFloat = 0.003
    weight_decay: NonNegativeFloat = 0.01
    dropout: Share = 0.2
    seed: Seed = 0


class TwoTower(NextItemModel):
    """Score an item by the dot product of an item vector and a user vector, each computed without the other.

    With e_i an item's embedding concatenated with its categories, the towers are

        item:  v_i = A e_i + a
        user:  u = W_2 relu(W_1 m + c_1) + c_2,  m the mean of e over the last `length` items of the history,

    and the score is z_i = cos(u, v_i) / `temperature` + b_i, b_i the item's bias. Without a temperature it is
    u · v_i + b_i. With the pooling "weighted", m is a weighted mean, with one learnt weight for each number of events
    back. Training minimises -log softmax(z)_i of the event's item i, one example per event, over the whole catalogue or
    the part of it that `rivals` names.

    The item tower runs once per batch for all items, so the softmax is exact. A larger catalogue needs sampled
    negatives, and then the correction z_i - log(expected samples of i), or popular items, which are sampled more often,
    are penalised (Yi et al.).

    Sources: Covington, Adams and Sargin, "Deep neural networks for YouTube recommendations", RecSys 2016, for the mean
    of a history under a softmax over items; Yi et al., "Sampling-bias-corrected neural modeling for large corpus item
    recommendations", RecSys 2019, for the two towers, unit vectors with a temperature, and the correction. Derived in
    chapter `baselines`.
    """

    name = "two-tower"
    config_class = TwoTowerConfig
    config: TwoTowerConfig
    weights: dict[str, np.ndarray]

    def __init__(self, config: TwoTowerConfig | None = None, **settings: Any) -> None:
        """Create an untrained model; see `Recommender`."""
        super().__init__(config, **settings)
        self._towers: tuple[keras.Model, keras.Model] | None = None

    # -- training: Keras ---------------------------------------------------------------------------------------

    def _fit(self, dataset: Dataset) -> None:
        config = self.config
        keras = seeded_keras(config.seed)
        self._towers = build_towers(category_matrix(dataset), config)
        trainer = build_trainer(*self._towers, dataset.n_items, config.temperature)
        self._train(trainer, event_batches(keras.utils.PyDataset)(dataset, config))

    def _keep_weights(self) -> None:
        self.weights = named_weights(*(self._towers or ()))

    @property
    def towers(self) -> tuple[keras.Model, keras.Model]:
        """The two trained Keras models of `build_towers`."""
        self._check_fitted()
        if self._towers is None:
            from instructrec.backend import quiet_keras

            quiet_keras()
            self._towers = build_towers(category_matrix(self.dataset), self.config)
            set_named_weights(self.weights, *self._towers)
        return self._towers

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters."""
        self._check_fitted()
        return sum(weight.size for name, weight in self.weights.items() if name != "item_categories/0")

    # -- scoring: NumPy ----------------------------------------------------------------------------------------

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        users, items = self.user_vectors(histories), self.item_vectors()
        if self.config.temperature is None:
            scores = users @ items.T
        else:
            scores = unit(users) @ unit(items).T / np.float32(self.config.temperature)
        return scores + self.weights["item_bias/0"][1:, 0]

    def user_vectors(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Return the user vector u of each history.

        Args:
            histories: n arrays of catalogue columns, oldest first.

        Returns:
            Array of shape (n, embedding_size), float32.
        """
        w, length = self.weights, self.config.length
        ids = last_items(histories, length)
        weight = (ids != PADDING).astype(np.float32)
        if self.config.pooling == "weighted":
            weight *= np.exp(w["place_weight/0"][:, 0])
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), np.float32(1e-9))
        features = np.concatenate([w["item_embedding/0"], w["item_categories/0"]], axis=1)
        mean = (weight[:, None, :] @ features[ids])[:, 0]
        hidden = np.maximum(mean @ w["user_hidden/0"] + w["user_hidden/1"], 0)
        return hidden @ w["user_vector/0"] + w["user_vector/1"]

    def item_vectors(self) -> np.ndarray:
        """Return the item vectors v in catalogue order, shape (n_items, embedding_size), float32."""
        self._check_fitted()
        w = self.weights
        features = np.concatenate([w["item_embedding/0"], w["item_categories/0"]], axis=1)[1:]
        return features @ w["item_vector/0"] + w["item_vector/1"]

    # -- saving ------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, np.ndarray]:
        return self.weights

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.weights = arrays


def build_towers(categories: np.ndarray, config: TwoTowerConfig) -> tuple[keras.Model, keras.Model]:
    """Return the untrained towers, which share the item embeddings and categories.

    Args:
        categories: Shape (n_items, n_categories); an item's row sums to 1, or to 0 without categories.
        config: Settings of `TwoTower`.

    Returns:
        The user tower, from `history` (batch, length; catalogue column plus 1, padding 0 in front) to u (batch,
        embedding_size), and the item tower, from `items` (n,) to v (n, embedding_size) and b (n, 1).
    """
    import keras
    from keras import layers, ops

    n_items, width, length = len(categories), config.embedding_size, config.length
    small = keras.initializers.RandomNormal(stddev=width**-0.5)
    table = layers.Embedding(n_items + 1, width, embeddings_initializer=small, name="item_embedding")
    padded = np.concatenate([np.zeros((1, categories.shape[1]), dtype=np.float32), categories])
    category_table = layers.Embedding(
        *padded.shape, weights=[padded], trainable=False, name="item_categories"
    )

    def features(ids: Any, name: str) -> Any:
        return layers.Concatenate(name=name)([table(ids), category_table(ids)])

    history = keras.Input((length,), dtype="int32", name="history")
    weight = ops.cast(ops.not_equal(history, PADDING), "float32")
    weight = layers.Dropout(config.dropout, name="item_dropout")(weight)
    if config.pooling == "weighted":
        positions = ops.cumsum(ops.ones_like(history), axis=1) - 1
        log_weight = layers.Embedding(length, 1, embeddings_initializer="zeros", name="place_weight")(
            positions
        )
        weight = weight * ops.exp(log_weight[:, :, 0])
    weight = weight / ops.maximum(ops.sum(weight, axis=1, keepdims=True), 1e-9)
    mean = ops.sum(features(history, "read") * weight[:, :, None], axis=1)
    x = layers.Dense(config.hidden_size, activation="relu", name="user_hidden")(mean)
    x = layers.Dropout(config.dropout, name="hidden_dropout")(x)
    user = keras.Model(history, layers.Dense(width, name="user_vector")(x), name="user_tower")

    items = keras.Input((), dtype="int32", name="items")
    vector = layers.Dense(width, name="item_vector")(features(items, "item"))
    bias = layers.Embedding(n_items + 1, 1, embeddings_initializer="zeros", name="item_bias")(items)
    return user, keras.Model(items, [vector, bias], name="item_tower")


def build_trainer(
    user: keras.Model, item: keras.Model, n_items: int, temperature: float | None
) -> keras.Model:
    """Return the trainer: both towers joined by the dot product.

    Args:
        user: The user tower.
        item: The item tower.
        n_items: Size of the catalogue.
        temperature: As in `TwoTower`.

    Returns:
        A model from `history` (batch, length), `items` (n_items,) and `rivals` (batch, n_items; False excludes an item
        from the softmax) to logits (batch, n_items).
    """
    import keras
    from keras import ops

    rivals = keras.Input((n_items,), dtype="bool", name="rivals")
    u, (v, bias) = user.output, item.output
    if temperature is not None:
        u, v = (ops.normalize(x, axis=-1, epsilon=1e-9) for x in (u, v))
        u = u / temperature
    logits = ops.matmul(u, ops.transpose(v)) + ops.transpose(bias)
    logits = ops.where(rivals, logits, -1e9)
    return keras.Model([user.input, item.input, rivals], logits, name="two_tower")


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return each row divided by its norm; a row of zeros stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-9))


def event_batches(base: Any) -> Any:
    """Return a Keras `PyDataset` class of events in a new order each epoch, each with its user's history."""

    class EventBatches(base):
        def __init__(self, dataset: Dataset, config: TwoTowerConfig) -> None:
            super().__init__()
            self.n_items, self.config = dataset.n_items, config
            users = dataset.ordered["user_id"].astype("category").cat.codes.to_numpy()
            by_user = np.argsort(users, kind="stable")
            self.columns = dataset.item_columns(dataset.ordered["item_id"])[by_user]
            users = users[by_user]
            self.first = np.searchsorted(users, users, side="left")
            self.end = np.searchsorted(users, users, side="right")
            self.epoch = 0
            self.shuffle()

        def shuffle(self) -> None:
            rng = np.random.default_rng([self.config.seed, self.epoch])
            self.order = rng.permutation(len(self.columns))

        def __len__(self) -> int:
            return -(-len(self.columns) // self.config.batch_size)

        def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
            size = self.config.batch_size
            events = self.order[index * size : (index + 1) * size]
            inputs = {
                "history": self.windows(events),
                "items": np.arange(1, self.n_items + 1, dtype=np.int32),
                "rivals": self.rivals(events),
            }
            return inputs, self.columns[events]

        def windows(self, events: np.ndarray) -> np.ndarray:
            """Return the ids of the last items before each event, shape (n, length), padding in front."""
            before = events[:, None] - np.arange(self.config.length, 0, -1)
            in_history = before >= self.first[events, None]
            return np.where(in_history, self.columns[np.where(in_history, before, 0)] + 1, PADDING).astype(
                np.int32
            )

        def rivals(self, events: np.ndarray) -> np.ndarray:
            """Return which items compete with each event's item, itself included, shape (n, n_items)."""
            allowed = np.ones((len(events), self.n_items), dtype=bool)
            if self.config.rivals != "all":
                first = self.first[events]
                lengths = (events if self.config.rivals == "unseen" else self.end[events]) - first
                rows = np.repeat(np.arange(len(events)), lengths)
                starts = np.cumsum(lengths) - lengths
                seen = np.arange(len(rows)) - np.repeat(starts - first, lengths)
                allowed[rows, self.columns[seen]] = False
                allowed[np.arange(len(events)), self.columns[events]] = True
            return allowed

        def on_epoch_end(self) -> None:
            self.epoch += 1
            self.shuffle()

    return EventBatches
