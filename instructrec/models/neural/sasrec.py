"""SASRec: causal self-attention over the history with a softmax over the whole catalogue.

Keras trains it and scores with it. Derived in chapter `baselines`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import model_validator

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.models.neural.training import NextItemModel, seeded_keras
from instructrec.validation import ModelConfig, NonNegativeFloat, PositiveFloat, PositiveInt, Seed, Share

if TYPE_CHECKING:
    import keras

SHRINKAGE = 10.0
"""Added to squared norms in the initialisation, as in item kNN."""
WARMUP_SHARE = 1 / 20


class SASRecConfig(ModelConfig):
    """Settings of `SASRec`.

    Attributes:
        embedding_size: Size of item and position embeddings and of the blocks; a multiple of `n_heads`.
        n_blocks: Number of attention blocks.
        n_heads: Number of attention heads per block.
        length: Number of last items of a history that are read; also the row length in training.
        dropout: Dropout rate of embeddings, attention and feed-forward layers.
        epochs: Number of passes over the events.
        batch_size: Rows per step.
        learning_rate: Maximum learning rate of AdamW; it rises over the first twentieth of the steps, then decays as a
            cosine.
        weight_decay: Weight decay of AdamW.
        start: Initialisation of the item embeddings: "svd" or "random".
        exclude_seen: Exclude a user's earlier items from the softmax in training.
        seed: Seed of weights, order and dropout.
    """

    embedding_size: PositiveInt = 64
    n_blocks: PositiveInt = 2
    n_heads: PositiveInt = 2
    length: PositiveInt = 20
    dropout: Share = 0.2
    epochs: PositiveInt = 15
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 0.004
    weight_decay: NonNegativeFloat = 0.01
    start: Literal["svd", "random"] = "svd"
    exclude_seen: bool = True
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.embedding_size % self.n_heads:
            raise ValueError(
                f"embedding_size is {self.embedding_size} and n_heads {self.n_heads}; "
                "the first must be a multiple of the second"
            )
        return self


class SASRec(NextItemModel):
    """Score an item by its dot product with the output of causal self-attention over the history.

    With e_i the embedding of item i and p_t that of position t, h_t = e_{i_t} + p_t passes through blocks of causal
    multi-head attention and a feed-forward layer, each with layer normalisation in front and a residual connection. The
    score of item j after the t-th event is

        z_j = LayerNorm(h_t) · e_j,

    and training minimises -log softmax(z)_{i_{t+1}} over the whole catalogue at every position of every history, which
    gives one training signal per event instead of one per user. A user's earlier items are excluded from that softmax,
    as they are excluded from the ranking (`exclude_seen`). Histories are packed: concatenated in a new order each epoch
    and cut into rows of `length`; attention does not cross users.

    With a hundred thousand events, next-item targets alone teach too little about which items occur together. By
    default e is therefore initialised from the interactions: with X the binary user-item matrix and X' its columns
    divided by sqrt(|x_i|^2 + 10), e = V S of the truncated singular value decomposition X' = U S V^T, so that e_i · e_j
    starts as the cosine of item kNN, scaled to a mean squared norm of 1.

    No training position predicts a user's first item, so a request without history is ranked by item popularity.

    Source: Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018, arXiv:1808.09781, which uses binary
    cross-entropy; the softmax over all items follows Klenitskiy and Vasilev, "Turning dross into gold loss", RecSys
    2023, arXiv:2309.07602. Derived in chapter `baselines`.
    """

    name = "sasrec"
    config_class = SASRecConfig
    config: SASRecConfig
    weights: list[np.ndarray]
    counts: np.ndarray

    # -- training ----------------------------------------------------------------------------------------------

    def __init__(self, config: SASRecConfig | None = None, **settings: Any) -> None:
        """Create an untrained model; see `Recommender`."""
        super().__init__(config, **settings)
        self._encoder: keras.Model | None = None

    def _fit(self, dataset: Dataset) -> None:
        config = self.config
        sequences = [
            dataset.item_columns(items).astype(np.int32) + 1
            for items in dataset.histories().values()
            if len(items) > 1
        ]
        if not sequences:
            raise InputError(
                f"data set {dataset.name!r} holds no user with two events; {self.name} learns from the next one"
            )
        item_ids = dataset.interactions[["user_id", "item_id"]].drop_duplicates()["item_id"]
        self.counts = np.bincount(dataset.item_columns(item_ids), minlength=dataset.n_items).astype(
            np.float32
        )
        keras = seeded_keras(config.seed)
        self._encoder = build_encoder(dataset.n_items, config)
        if config.start == "svd":
            self._encoder.get_layer("item_embedding").embeddings.assign(
                cosine_factors(sequences, dataset.n_items + 1, config.embedding_size)
            )
        rows = packed_rows(keras.utils.PyDataset)(sequences, dataset.n_items, config)
        self._train(build_trainer(self._encoder), rows, warmup_share=WARMUP_SHARE)

    def _keep_weights(self) -> None:
        self.weights = self._encoder.get_weights()  # type: ignore[union-attr]

    # -- scoring -----------------------------------------------------------------------------------------------

    @property
    def encoder(self) -> keras.Model:
        """The Keras model: inputs `items`, `positions`, `users`, each (batch, length); output (batch, length, size)."""
        self._check_fitted()
        if self._encoder is None:
            from instructrec.backend import quiet_keras

            quiet_keras()
            self._encoder = build_encoder(self.dataset.n_items, self.config)
            self._encoder.set_weights(self.weights)
        return self._encoder

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters."""
        self._check_fitted()
        return sum(weight.size for weight in self.weights)

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        length = self.config.length
        longest = max(1, max((min(len(history), length) for history in histories), default=1))
        items = np.zeros((len(histories), longest), dtype=np.int32)
        last = np.zeros(len(histories), dtype=np.int64)
        for row, history in enumerate(histories):
            read = np.asarray(history)[-length:]
            items[row, : len(read)] = read + 1
            last[row] = max(0, len(read) - 1)
        encoder = self.encoder
        positions = np.broadcast_to(np.arange(longest, dtype=np.int32), items.shape)
        hidden = np.concatenate(
            [
                np.asarray(
                    encoder([items[part], positions[part], np.ones_like(items[part])], training=False)
                )[np.arange(len(items[part])), last[part]]
                for part in (slice(start, start + 128) for start in range(0, len(items), 128))
            ]
            or [np.zeros((0, self.config.embedding_size), dtype=np.float32)]
        )
        table = np.asarray(encoder.get_layer("item_embedding").embeddings)
        newcomer = np.array([len(history) == 0 for history in histories], dtype=bool)
        return np.where(newcomer[:, None], self.counts, hidden @ table[1:].T)

    # -- saving ------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts} | {f"{n:03d}": weight for n, weight in enumerate(self.weights)}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.counts = arrays.pop("counts")
        self.weights = [arrays[name] for name in sorted(arrays)]


def build_encoder(n_items: int, config: SASRecConfig) -> keras.Model:
    """Return the untrained encoder.

    Args:
        n_items: Size of the catalogue.
        config: Settings of `SASRec`.

    Returns:
        A model from `items` (batch, length; catalogue column plus 1, 0 is padding), `positions` (batch, length; 0 is
        the start of a user's run) and `users` (batch, length; attention stays within one user number) to (batch,
        length, embedding_size).
    """
    import keras
    from keras import layers, ops

    width, dropout = config.embedding_size, config.dropout
    items = keras.Input((None,), dtype="int32", name="items")
    positions = keras.Input((None,), dtype="int32", name="positions")
    users = keras.Input((None,), dtype="int32", name="users")
    start = keras.initializers.TruncatedNormal(stddev=width**-0.5)
    small = keras.initializers.TruncatedNormal(stddev=0.02)
    table = layers.ReversibleEmbedding(
        n_items + 1, width, embeddings_initializer=start, name="item_embedding"
    )
    x = table(items) + layers.Embedding(config.length, width, embeddings_initializer=small, name="place")(
        positions
    )
    x = layers.Dropout(dropout)(x)
    same_user = ops.equal(users[:, :, None], users[:, None, :])
    for number in range(1, config.n_blocks + 1):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"attention_norm_{number}")(x)
        y = layers.MultiHeadAttention(
            config.n_heads,
            width // config.n_heads,
            dropout=dropout,
            name=f"attention_{number}",
        )(y, y, attention_mask=same_user, use_causal_mask=True)
        x = x + layers.Dropout(dropout)(y)
        y = layers.LayerNormalization(epsilon=1e-6, name=f"forward_norm_{number}")(x)
        y = layers.Dense(width, activation="gelu", name=f"forward_in_{number}")(y)
        y = layers.Dense(width, name=f"forward_out_{number}")(layers.Dropout(dropout)(y))
        x = x + layers.Dropout(dropout)(y)
    x = layers.LayerNormalization(epsilon=1e-6, name="final_norm")(x)
    return keras.Model([items, positions, users], x, name="sasrec")


def cosine_factors(sequences: list[np.ndarray], n_items: int, size: int) -> np.ndarray:
    """Return item vectors whose dot products approximate the cosines between items, shape (n_items, size), float32.

    They come from a truncated singular value decomposition, see `SASRec`; columns beyond the rank are zero.

    Args:
        sequences: Items of each user, numbers below `n_items`.
        n_items: Number of items.
        size: Size of a vector.
    """
    from scipy import sparse
    from sklearn.utils.extmath import randomized_svd

    rows = np.repeat(np.arange(len(sequences)), [len(sequence) for sequence in sequences])
    columns = np.concatenate(sequences)
    matrix = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(sequences), n_items))
    matrix.data[:] = 1  # repeated events count once
    lengths = np.sqrt(matrix.getnnz(axis=0) + SHRINKAGE)
    rank = min(size, *matrix.shape)
    _, values, vectors = randomized_svd(matrix @ sparse.diags(1 / lengths), rank, random_state=0)
    factors = np.zeros((n_items, size), dtype=np.float32)
    factors[:, :rank] = vectors.T * values
    return factors / np.sqrt(np.mean(np.sum(factors**2, axis=1)))


def build_trainer(encoder: keras.Model) -> keras.Model:
    """Return the encoder with an output layer that reads only the positions with a next item.

    Args:
        encoder: The network of `build_encoder`.

    Returns:
        A model with two more inputs: `target_positions` (n_targets,), indices into the flattened (batch, length), and
        `excluded` (n_targets, n_items + 1), True where an item does not compete. The output are logits of padding and
        all items, shape (n_targets, n_items + 1).
    """
    import keras
    from keras import ops

    table = encoder.get_layer("item_embedding")
    target_positions = keras.Input((), dtype="int32", name="target_positions")
    excluded = keras.Input((table.input_dim,), dtype="bool", name="excluded")
    hidden = ops.reshape(encoder.output, (-1, encoder.output.shape[-1]))
    logits = table(ops.take(hidden, target_positions, axis=0), reverse=True)
    logits = ops.where(excluded, -1e9, logits)
    return keras.Model([*encoder.inputs, target_positions, excluded], logits, name="sasrec_trainer")


def packed_rows(base: Any) -> Any:
    """Return a Keras `PyDataset` class of packed rows, repacked each epoch."""

    class PackedRows(base):
        def __init__(self, sequences: list[np.ndarray], n_items: int, config: SASRecConfig) -> None:
            super().__init__()
            self.sequences, self.n_items, self.config = sequences, n_items, config
            self.epoch = 0
            self.pack()

        def pack(self) -> None:
            rng = np.random.default_rng([self.config.seed, self.epoch])
            self.rows = pack(self.sequences, self.config.length, rng)

        def __len__(self) -> int:
            return -(-len(self.rows.items) // self.config.batch_size)

        def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
            size = self.config.batch_size
            part = Rows(*(array[index * size : (index + 1) * size] for array in self.rows))
            target_positions = np.flatnonzero(part.targets)
            targets = part.targets.ravel()[target_positions]
            excluded = np.zeros((len(targets), self.n_items + 1), dtype=bool)
            if self.config.exclude_seen:
                excluded = seen_before(self.sequences, part, self.n_items)
                excluded[np.arange(len(targets)), targets] = False
            excluded[:, 0] = True
            inputs = {"items": part.items, "positions": part.positions, "users": part.users}
            return {
                **inputs,
                "target_positions": target_positions.astype(np.int32),
                "excluded": excluded,
            }, targets

        def on_epoch_end(self) -> None:
            self.epoch += 1
            self.pack()

    return PackedRows


class Rows(NamedTuple):
    """Packed histories, int32 arrays of shape (n_rows, length); 0 is padding at the end of the last row.

    Attributes:
        items: The input items.
        positions: Position within the user's run in the row, from 0.
        users: Number of the user, from 1.
        events: Index of the event in the user's history, from 0.
        targets: The next item.
    """

    items: np.ndarray
    positions: np.ndarray
    users: np.ndarray
    events: np.ndarray
    targets: np.ndarray


def pack(sequences: list[np.ndarray], length: int, rng: np.random.Generator) -> Rows:
    """Concatenate histories in a random order and cut them into rows.

    Args:
        sequences: Items of each user, oldest first, at least two, none of them 0.
        length: Length of a row.
        rng: Random generator of the order.
    """
    order = rng.permutation(len(sequences))
    lengths = np.array([len(sequences[user]) - 1 for user in order])
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    total = int(lengths.sum())
    n_rows = -(-total // length)
    number = np.arange(total)
    flat = np.zeros((5, n_rows * length), dtype=np.int32)
    flat[0, :total] = np.concatenate([sequences[user][:-1] for user in order])
    flat[1, :total] = number - np.maximum(starts, number - number % length)
    flat[2, :total] = np.repeat(order + 1, lengths)
    flat[3, :total] = number - starts
    flat[4, :total] = np.concatenate([sequences[user][1:] for user in order])
    return Rows(*flat.reshape(5, n_rows, length))


def seen_before(sequences: list[np.ndarray], rows: Rows, n_items: int) -> np.ndarray:
    """Return which items precede each target in its user's history, shape (n_targets, n_items + 1), bool.

    Args:
        sequences: The histories that were packed.
        rows: Some rows of `pack`.
        n_items: Size of the catalogue.
    """
    seen = np.zeros((np.count_nonzero(rows.targets), n_items + 1), dtype=bool)
    users, events = (array.ravel()[np.flatnonzero(rows.targets)] for array in (rows.users, rows.events))
    starts = np.flatnonzero(np.diff(users, prepend=-1) | (np.diff(events, prepend=-2) != 1))
    for start, end in zip(starts, [*starts[1:], len(users)], strict=True):
        history = sequences[users[start] - 1]
        seen[start:end, history[: events[start]]] = True
        for row in range(start, end):
            seen[row:end, history[events[row]]] = True
    return seen
