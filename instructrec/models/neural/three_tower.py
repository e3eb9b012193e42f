"""The article's LSTM model, repaired: a tower for the history, one for the item, one for the instruction.

Keras trains it and computes the towers; NumPy combines them. Derived in chapter `keras-implementation`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.models.base import Recommender
from instructrec.models.neural.training import (
    figures_by_epoch,
    last_items,
    named_weights,
    seeded_keras,
    set_named_weights,
)
from instructrec.validation import (
    ClosedShare,
    ModelConfig,
    PositiveFloat,
    PositiveInt,
    Seed,
    Share,
    check_value,
)
from instructrec.wordings import read_wordings

if TYPE_CHECKING:
    import keras

TRAINING_INSTRUCTIONS = ("genre", "constant", "none", "shuffled")
CONSTANT_INSTRUCTION = "Recommend something that I would enjoy"
PADDING, UNKNOWN = 0, 1
_TOKEN = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")


def tokenise(text: str) -> list[str]:
    """Return the tokens of a text: lower-case words and single Chinese characters, without punctuation and spaces."""
    return _TOKEN.findall(text.lower())


class ThreeTowerConfig(ModelConfig):
    """Settings of `ThreeTower`.

    Attributes:
        interaction: How the towers are combined: "mlp", "dot" or "additive".
        embedding_size: Size of item and word embeddings.
        hidden_size: Size of the towers' outputs.
        length: Number of last items of a history that are read.
        instruction_length: Number of first tokens of an instruction that are read.
        n_negatives: Negatives sampled uniformly per target, never the target itself.
        instruction_share: Share of the training examples that carry an instruction.
        epochs: Number of passes over the training examples.
        batch_size: Examples per step.
        learning_rate: Learning rate of Adam.
        dropout: Dropout rate of each tower's inputs.
        seed: Seed of weights, order, negatives and wordings.
    """

    interaction: Literal["mlp", "dot", "additive"] = "mlp"
    embedding_size: PositiveInt = 32
    hidden_size: PositiveInt = 32
    length: PositiveInt = 20
    instruction_length: PositiveInt = 12
    n_negatives: PositiveInt = 10
    instruction_share: ClosedShare = 0.5
    epochs: PositiveInt = 5
    batch_size: PositiveInt = 512
    learning_rate: PositiveFloat = 0.003
    dropout: Share = 0.2
    seed: Seed = 0


class ThreeTower(Recommender):
    """Score an item with an LSTM over the history and another LSTM over the instruction's words.

    With u the final state of the LSTM over the history, x that of the LSTM over the instruction (0 if there is none),
    v_i a dense layer over the item's embedding and categories, and b_i the item's bias,

        dot:       z = (u + x) · v_i + b_i
        mlp:       z = w · relu(W [u, v_i, x, u * v_i, x * v_i] + c) + b_i
        additive:  z = w_u · u + w_v · v_i + w_x · x + b_i

    and the probability that item i is chosen is the logistic function of z. Training minimises the binary cross-entropy
    on the target and `n_negatives` uniformly sampled negatives. `additive` is the article's concatenation before a
    dense layer of one unit. Its ranking is the same for every user and every instruction: u and x shift all items by
    the same amount, so that z_i - z_j = w_v · (v_i - v_j) + b_i - b_j. Derived in chapter `keras-implementation`.
    """

    name = "three-tower"
    config_class = ThreeTowerConfig
    config: ThreeTowerConfig
    follows_instructions = True
    vocabulary: list[str]
    weights: dict[str, np.ndarray]
    history: dict[str, list[float]]

    def __init__(self, config: ThreeTowerConfig | None = None, **settings: Any) -> None:
        """Create an untrained model; see `Recommender`."""
        super().__init__(config, **settings)
        self._network: keras.Model | None = None

    # -- training: Keras ---------------------------------------------------------------------------------------

    def fit(
        self,
        dataset: Dataset,
        *,
        instructions: str | Sequence[str | None] = "genre",
        epochs: int | None = None,
        validation: float = 0.0,
        verbose: int = 0,
    ) -> Self:
        """Train on a data set and return the model itself; `history` then holds Keras's metrics per epoch.

        Args:
            dataset: Users, items and at least one interaction.
            instructions: Instructions of the training examples: "genre" names a category of the target in
                `instruction_share` of the examples; "shuffled" assigns these texts to other examples; "constant" gives
                every example the same text; "none" gives no text. Or one text or None per row of `dataset.ordered`.
            epochs: Passes over the examples; the model's setting by default.
            validation: Share of the examples held out for Keras's `val_loss`, in [0, 1).
            verbose: Keras's 0 (silent), 1 (progress bar) or 2 (one line per epoch).

        Raises:
            InputError: No interactions, a catalogue of one item, or texts that do not match the interactions.
        """
        check_value("validation", validation, Share)
        self._fit_options = (
            instructions,
            self.config.epochs if epochs is None else epochs,
            validation,
            verbose,
        )
        return super().fit(dataset)

    def _fit(self, dataset: Dataset) -> None:
        if dataset.n_items < 2:
            raise InputError(
                f"data set {dataset.name!r} holds one item; {self.name} needs at least two to compare"
            )
        instructions, epochs, validation, verbose = self._fit_options
        rng = np.random.default_rng(self.config.seed)
        texts = training_instructions(dataset, instructions, self.config.instruction_share, rng)
        self.vocabulary = vocabulary_of([*texts, *chain(*wordings(dataset).values())])
        examples = self._examples(dataset, texts)
        keras = seeded_keras(self.config.seed)
        network = build_network(category_matrix(dataset), len(self.vocabulary) + 2, self.config)
        network.compile(
            optimizer=keras.optimizers.Adam(self.config.learning_rate),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
            jit_compile=False,
        )
        order = rng.permutation(len(examples[1]))
        n_valid = round(len(order) * validation)
        batches = _batches(keras.utils.PyDataset)
        train = batches(
            [part[order[n_valid:]] for part in examples], dataset.n_items, self.config, resample=True
        )
        valid = batches(
            [part[order[:n_valid]] for part in examples], dataset.n_items, self.config, resample=False
        )
        record = network.fit(
            train, validation_data=valid if n_valid else None, epochs=epochs, verbose=verbose, shuffle=False
        )
        self.history = figures_by_epoch(record)
        self._network = network
        self.weights = named_weights(network)

    def _examples(
        self, dataset: Dataset, texts: list[str | None]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return history ids (n, length), target ids (n,) and instruction ids (n, n_tokens), one row per event."""
        users = dataset.ordered["user_id"].astype("category").cat.codes.to_numpy()
        items = dataset.item_columns(dataset.ordered["item_id"]).astype(np.int32) + 1
        distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        tokens = self._instruction_ids(list(distinct))[[distinct[text] for text in texts]]
        histories = np.zeros((len(items), self.config.length), dtype=np.int32)
        by_user = np.argsort(users, kind="stable")
        for rows in np.split(by_user, np.flatnonzero(np.diff(users[by_user])) + 1):
            padded = np.concatenate([np.zeros(self.config.length, dtype=np.int32), items[rows][:-1]])
            histories[rows] = np.lib.stride_tricks.sliding_window_view(padded, self.config.length)
        return histories, items, tokens

    @property
    def network(self) -> keras.Model:
        """The Keras model: inputs `history`, `candidates`, `instruction`; output logits (batch, n_candidates)."""
        self._check_fitted()
        if self._network is None:
            from instructrec.backend import quiet_keras

            quiet_keras()
            self._network = build_network(
                category_matrix(self.dataset), len(self.vocabulary) + 2, self.config
            )
            set_named_weights(self.weights, self._network)
        return self._network

    def inputs(
        self, histories: Sequence[np.ndarray], candidates: np.ndarray, instructions: Sequence[str | None]
    ) -> dict[str, np.ndarray]:
        """Return the inputs of `network`.

        Args:
            histories: n arrays of catalogue columns, oldest first.
            candidates: Catalogue columns, shape (n, n_candidates).
            instructions: n texts or None.

        Returns:
            `history` (n, length), `candidates` (n, n_candidates) and `instruction` (n, instruction_length), int32; item
            ids are columns plus 1, since 0 is padding.
        """
        return {
            "history": last_items(histories, self.config.length),
            "candidates": np.asarray(candidates, dtype=np.int32) + 1,
            "instruction": self._instruction_ids(instructions),
        }

    # -- scoring -----------------------------------------------------------------------------------------------

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        u = self._tower("history", last_items(histories, self.config.length))
        distinct = {text: number for number, text in enumerate(dict.fromkeys(instructions))}
        x = self._tower("instruction", self._instruction_ids(list(distinct)))[
            [distinct[text] for text in instructions]
        ]
        w = self.weights
        features = np.concatenate([w["item_embedding/0"][1:], w["item_categories/0"][1:]], axis=1)
        v = features @ w["item_tower/0"] + w["item_tower/1"]
        item_bias = w["item_bias/0"][1:, 0]
        size = self.config.hidden_size
        if self.config.interaction == "dot":
            return (u + x) @ v.T + item_bias
        if self.config.interaction == "additive":
            w_u, w_v, w_x = np.split(w["output/0"][:, 0], 3)
            return (u @ w_u + x @ w_x + w["output/1"])[:, None] + (v @ w_v + item_bias)
        w_u, w_v, w_x, w_uv, w_xv = np.split(w["hidden/0"], [size, 2 * size, 3 * size, 4 * size])
        shift = u @ w_u + x @ w_x + w["hidden/1"]
        scores = np.empty((len(histories), len(v)), dtype=np.float32)
        for row in range(len(histories)):
            # (u * v) W_uv = v (diag(u) W_uv): one matrix product per request instead of one per pair.
            joint = v @ (w_v + u[row, :, None] * w_uv + x[row, :, None] * w_xv) + shift[row]
            scores[row] = np.maximum(joint, 0) @ w["output/0"][:, 0]
        return scores + w["output/1"] + item_bias

    def _tower(self, name: str, ids: np.ndarray) -> np.ndarray:
        """Return the final state of a tower's LSTM, shape (n, hidden_size), float32."""
        import keras

        inputs = {tensor.name: tensor for tensor in self.network.inputs}
        tower = keras.Model(inputs[name], self.network.get_layer(f"{name}_tower").output)
        return np.asarray(keras.ops.convert_to_numpy(tower(ids, training=False)))

    def _instruction_ids(self, texts: Sequence[str | None]) -> np.ndarray:
        numbers = {token: number for number, token in enumerate(self.vocabulary, start=2)}
        ids = np.zeros((len(texts), self.config.instruction_length), dtype=np.int32)
        for row, text in zip(ids, texts, strict=True):
            first = [numbers.get(token, UNKNOWN) for token in tokenise(text or "")][: len(row)]
            if first:
                row[-len(first) :] = first
        return ids

    # -- saving ------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"vocabulary": np.array(self.vocabulary, dtype=np.str_), **self.weights}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.vocabulary = arrays.pop("vocabulary").tolist()
        self.weights = arrays


def build_network(categories: np.ndarray, n_tokens: int, config: ThreeTowerConfig) -> keras.Model:
    """Return the untrained Keras model.

    Args:
        categories: Shape (n_items, n_categories); an item's row sums to 1, or to 0 without categories.
        n_tokens: Size of the vocabulary, padding and unknown included.
        config: Settings of `ThreeTower`.

    Returns:
        A model from `history` (batch, length), `candidates` (batch, n_candidates), `instruction` (batch,
        instruction_length) to logits (batch, n_candidates).
    """
    import keras
    from keras import layers, ops

    n_items, width, size = len(categories), config.embedding_size, config.hidden_size
    history = keras.Input((config.length,), dtype="int32", name="history")
    candidates = keras.Input((None,), dtype="int32", name="candidates")
    instruction = keras.Input((config.instruction_length,), dtype="int32", name="instruction")

    def encode(ids: Any, n_ids: int, name: str) -> Any:
        embedded = layers.Embedding(n_ids, width, mask_zero=True, name=f"{name}_embedding")(ids)
        embedded = layers.Dropout(config.dropout, name=f"{name}_dropout")(embedded)
        return layers.LSTM(size, unroll=True, use_cudnn=False, name=f"{name}_tower")(embedded)

    u = layers.Reshape((1, size), name="user")(encode(history, n_items + 1, "history"))
    x = layers.Reshape((1, size), name="wish")(encode(instruction, n_tokens, "instruction"))
    padded = np.concatenate([np.zeros((1, categories.shape[1]), dtype=np.float32), categories])
    category_table = layers.Embedding(
        *padded.shape, weights=[padded], trainable=False, name="item_categories"
    )
    embedded = layers.Embedding(n_items + 1, width, name="item_embedding")(candidates)
    embedded = layers.Dropout(config.dropout, name="item_dropout")(embedded)
    v = layers.Dense(size, name="item_tower")(
        layers.Concatenate(name="item")([embedded, category_table(candidates)])
    )
    bias = layers.Embedding(n_items + 1, 1, embeddings_initializer="zeros", name="item_bias")(candidates)

    if config.interaction == "dot":
        joint = ops.sum((u + x) * v, axis=-1)
    else:
        like_v = ops.zeros_like(v)
        parts = [u + like_v, v, x + like_v]
        if config.interaction == "mlp":
            parts = layers.Dense(2 * size, activation="relu", name="hidden")(
                layers.Concatenate(name="joint")([*parts, u * v, x * v])
            )
        else:
            parts = layers.Concatenate(name="joint")(parts)
        joint = ops.squeeze(layers.Dense(1, name="output")(parts), axis=-1)
    return keras.Model(
        [history, candidates, instruction], joint + ops.squeeze(bias, axis=-1), name="three_tower"
    )


def sample_negatives(
    targets: np.ndarray, n_items: int, n_negatives: int, rng: np.random.Generator
) -> np.ndarray:
    """Return negatives sampled uniformly from all items except the target, shape (n, n_negatives), int32.

    Args:
        targets: Item ids in 1..n_items, shape (n,).
        n_items: Size of the catalogue, at least 2.
        n_negatives: Number of negatives per target.
        rng: Random generator.
    """
    negatives = rng.integers(1, n_items, size=(len(targets), n_negatives), dtype=np.int32)
    return negatives + (negatives >= targets[:, None])  # skips the target


def training_instructions(
    dataset: Dataset, kind: str | Sequence[str | None], share: float, rng: np.random.Generator
) -> list[str | None]:
    """Return one text or None for each row of `dataset.ordered`; see `ThreeTower.fit`.

    Raises:
        InputError: An unknown kind, or a list of another length.
    """
    if not isinstance(kind, str):
        if len(kind) != dataset.n_interactions:
            raise InputError(
                f"{len(kind)} instructions for {dataset.n_interactions} interactions; "
                f"give one text or None each, or one of {', '.join(TRAINING_INSTRUCTIONS)}"
            )
        return list(kind)
    if kind not in TRAINING_INSTRUCTIONS:
        raise one_of("kind of training instruction", kind, TRAINING_INSTRUCTIONS)
    if kind == "none":
        return [None] * dataset.n_interactions
    if kind == "constant":
        return [CONSTANT_INSTRUCTION] * dataset.n_interactions
    categories = dict(zip(dataset.items["item_id"], dataset.items[dataset.category_field], strict=True))
    texts_of_category = wordings(dataset)
    texts: list[str | None] = []
    draws = rng.random((dataset.n_interactions, 3))
    for item, (stated, category_draw, wording_draw) in zip(dataset.ordered["item_id"], draws, strict=True):
        names = categories[item]
        if stated < share and len(names):
            choices = texts_of_category[names[int(category_draw * len(names))]]
            texts.append(choices[int(wording_draw * len(choices))])
        else:
            texts.append(None)
    if kind == "shuffled":
        texts = [texts[row] for row in rng.permutation(len(texts))]
    return texts


def wordings(dataset: Dataset) -> dict[str, list[str]]:
    """Return all texts that "genre" can give for each category of a data set, in English and Chinese."""
    from instructrec.instructions.category_words import category_names as translated
    from instructrec.instructions.category_words import domain_words

    words = {language: domain_words(dataset, language) for language in ("en", "zh")}
    names = {language: translated(category_names(dataset), language, dataset) for language in words}
    return {
        category: [
            frame.format(category=names[language][category], **words[language])
            for language, frames in read_wordings("request_frames")["category"].items()
            for frame in frames
        ]
        for category in category_names(dataset)
    }


def vocabulary_of(texts: Iterable[str | None]) -> list[str]:
    """Return the distinct tokens of the texts, sorted."""
    return sorted({token for text in set(texts) for token in tokenise(text or "")})


def category_names(dataset: Dataset) -> list[str]:
    """Return the distinct categories of a catalogue, sorted."""
    return sorted({name for names in dataset.items[dataset.category_field] for name in names})


def category_matrix(dataset: Dataset) -> np.ndarray:
    """Return each item's categories as equal shares of 1, shape (n_items, max(1, n_categories)), float32."""
    column_of = {name: column for column, name in enumerate(category_names(dataset))}
    matrix = np.zeros((dataset.n_items, max(1, len(column_of))), dtype=np.float32)
    for row, names in zip(matrix, dataset.items[dataset.category_field], strict=True):
        for name in names:
            row[column_of[name]] = 1 / len(names)
    return matrix


def _batches(base: Any) -> Any:
    """Return a Keras `PyDataset` class of examples whose negatives are sampled anew each epoch."""

    class Batches(base):
        def __init__(
            self, parts: list[np.ndarray], n_items: int, config: ThreeTowerConfig, resample: bool
        ) -> None:
            super().__init__()
            self.histories, self.targets, self.texts = parts
            self.n_items, self.config, self.resample = n_items, config, resample
            self.order = np.arange(len(self.targets))
            self.epoch = 0

        def __len__(self) -> int:
            return max(0, -(-len(self.targets) // self.config.batch_size))

        def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
            size = self.config.batch_size
            rows = self.order[index * size : (index + 1) * size]
            rng = np.random.default_rng([self.config.seed, self.epoch, index])
            targets = self.targets[rows]
            negatives = sample_negatives(targets, self.n_items, self.config.n_negatives, rng)
            inputs = {
                "history": self.histories[rows],
                "candidates": np.concatenate([targets[:, None], negatives], axis=1),
                "instruction": self.texts[rows],
            }
            labels = np.zeros(inputs["candidates"].shape, dtype=np.float32)
            labels[:, 0] = 1
            return inputs, labels

        def on_epoch_end(self) -> None:
            if self.resample:
                self.epoch += 1
                self.order = np.random.default_rng([self.config.seed, self.epoch]).permutation(
                    len(self.targets)
                )

    return Batches
