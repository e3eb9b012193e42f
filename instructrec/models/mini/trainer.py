"""The Keras networks that train `Mini`: token embeddings, the two losses, initial weights.

`HistoryTrainer` learns the next item of histories. `InstructionTrainer` then learns how an instruction changes its
probability, with all that was learnt about histories frozen. Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from instructrec.models.mini.features import TokenFeatures
from instructrec.models.mini.vocabulary import CONTROL_TOKENS

ITEM_WORD_WEIGHT = 0.5
"""Weight of the embedding of each word that describes an item, in the item's embedding."""
WORD_DROPOUT = 0.15
"""Share of the words whose own embedding is dropped in a training step, so that only its SmolLM2 vector is used."""
INITIAL_WORD_NORM = 1.0
"""Initial mean norm of word embeddings; small, so that items start near their own embeddings."""
WORD_STDDEV = 0.02
"""Standard deviation of initial word embeddings that are added to SmolLM2 vectors."""
EXCLUDED_LOGIT = -1e9
"""Logit of an item that is excluded from a softmax."""
MIN_LOG_PROB = -50.0
"""Lower bound of target log-probabilities in the KL divergence, to avoid 0 times minus infinity."""
REJECTED_MARGIN = 4.0
"""In tuning, logits of items that do not meet an instruction are raised by this many nats; so the model must push them
down further than the loss alone would demand."""
ANSWER_LOSS_WEIGHT = 0.2
"""Weight of the loss of answer words beside the loss of instructions."""
FEEDFORWARD_SCALE = 0.1
"""Factor on the usual initial weights of the feed-forward outputs."""
NEGATIVE_HEAD_SCALE = -0.5
"""Output scale of the heads that subtract what they attend to, in the decoder of instructions."""


class TokenEmbedding(keras.layers.Layer):
    """Embeddings of all tokens: control tokens, items, training words, out-of-vocabulary words.

    word = own embedding + vector @ projection; an out-of-vocabulary word has no own embedding.
    item = own embedding + `ITEM_WORD_WEIGHT` * sum of the embeddings of the words that describe it.

    In training, own embeddings of words are dropped at random, so that the projected vectors learn to replace them.

    Args:
        items: Initial own embeddings of items, shape (n_items, size), float32.
        n_words: Number of training words.
        features: Words that describe items, and word vectors.
        word_dropout: Share of the words whose own embedding is dropped in a step, in [0, 1).
        seed: Seed of initial weights and dropout.
    """

    def __init__(
        self, items: np.ndarray, n_words: int, features: TokenFeatures, word_dropout: float, seed: int
    ) -> None:
        super().__init__(name="token_embedding")
        self.features, self.word_dropout = features, word_dropout
        self.n_items, self.size = items.shape
        self.n_words = n_words
        usual = keras.initializers.TruncatedNormal(stddev=self.size**-0.5, seed=seed)
        small = keras.initializers.TruncatedNormal(stddev=WORD_STDDEV, seed=seed + 1)
        self.controls = self.add_weight(
            shape=(len(CONTROL_TOKENS), self.size), initializer=usual, name="controls"
        )
        self.items = self.add_weight(shape=items.shape, initializer="zeros", name="items")
        self.items.assign(items)
        vectors = features.word_vectors
        self.words = self.add_weight(
            shape=(n_words, self.size), initializer=usual if vectors is None else small, name="words"
        )
        self.projection = None
        if vectors is not None:
            shape = (vectors.shape[1], self.size)
            self.projection = self.add_weight(shape=shape, initializer="zeros", name="projection")
            self.projection.assign(INITIAL_WORD_NORM * projection_to_last_axes(*shape, seed))
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, training: bool = False) -> Any:
        """Return the embeddings of all tokens but out-of-vocabulary words, shape (n_tokens, size)."""
        words = self.words
        if training and self.word_dropout:
            mask = keras.random.uniform((words.shape[0], 1), seed=self.seeds) >= self.word_dropout
            words = words * ops.cast(mask, "float32")
        if self.projection is not None:
            assert self.features.word_vectors is not None
            words = words + ops.matmul(self.features.word_vectors[: self.n_words], self.projection)
        description: Any = 0.0
        if self.features.item_words is not None:
            padded_words = ops.concatenate([words, ops.zeros((1, self.size))])
            word_sums = ops.sum(ops.take(padded_words, self.features.item_words, axis=0), axis=1)
            description = ITEM_WORD_WEIGHT * word_sums
        return ops.concatenate([self.controls, self.items + description, words])

    def look_up(self, table: Any, token_ids: Any) -> Any:
        """Return the embeddings of tokens, out-of-vocabulary words included.

        Args:
            table: Embeddings that `call` returned.
            token_ids: Token ids of any shape.

        Returns:
            Tensor of shape (..., size).
        """
        first_oov = len(CONTROL_TOKENS) + self.n_items + self.n_words
        vectors = self.features.word_vectors
        if vectors is None or len(vectors) == self.n_words:
            return ops.take(table, token_ids, axis=0)
        word_numbers = ops.maximum(token_ids - first_oov + self.n_words, 0)
        projected = ops.matmul(ops.take(vectors, word_numbers, axis=0), self.projection)
        in_table = ops.take(table, ops.minimum(token_ids, first_oov - 1), axis=0)
        return ops.where((token_ids < first_oov)[..., None], in_table, projected)


def projection_to_last_axes(n: int, size: int, seed: int) -> np.ndarray:
    """Return a random rotation of n-vectors into the last min(n, size) of `size` axes, shape (n, size), float32."""
    n_axes = min(n, size)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    projection = np.zeros((n, size), dtype=np.float32)
    projection[:, size - n_axes :] = rotation[:, :n_axes]
    return projection


class DecoderTrainer(keras.Model):
    """Base of both trainers: a decoder over token embeddings, and named losses that are added up.

    Args:
        blocks: Layers of the decoder and its final norm.
        embedding: Token embeddings.
        dropout: Dropout rate of the input of the first layer.
        losses: Names of the losses.

    Attributes:
        uses_dropout: Whether anything is dropped in training; read when the training step is traced.
    """

    uses_dropout = True

    def __init__(
        self, blocks: list[Any], embedding: TokenEmbedding, dropout: float, losses: tuple[str, ...]
    ) -> None:
        super().__init__(name=type(self).__name__.lower())
        self.embedding, self.blocks = embedding, blocks
        self.input_dropout = keras.layers.Dropout(dropout)
        self.means = {name: keras.metrics.Mean(name) for name in losses}

    def states(self, hidden: Any, token_ids: Any, training: bool) -> Any:
        """Return the states after all tokens, shape (batch * length, size), from their embeddings."""
        training = training and self.uses_dropout
        hidden = self.input_dropout(hidden, training=training)
        mask = ops.cast(ops.not_equal(token_ids, 0), "int32")
        for block in self.blocks[:-1]:
            hidden = block(hidden, decoder_padding_mask=mask, training=training)
        return ops.reshape(self.blocks[-1](hidden), (-1, self.embedding.size))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the sum of the losses in `y_pred`, and update their means; answer words weigh `ANSWER_LOSS_WEIGHT`."""
        loss: Any = 0.0
        for name, value in y_pred.items():
            self.means[name].update_state(value)
            loss = loss + (ANSWER_LOSS_WEIGHT if name == "word" else 1.0) * value
        return loss

    @property
    def metrics(self) -> list[Any]:
        """Means of the losses over an epoch."""
        return list(self.means.values())


class HistoryTrainer(DecoderTrainer):
    """Loss of the next item in histories, `item`, in nats.

    -log p(next item | history), a softmax over the items that are not excluded; the mean over all positions of a batch.
    """

    def __init__(self, blocks: list[Any], embedding: TokenEmbedding, dropout: float) -> None:
        super().__init__(blocks, embedding, dropout, ("item",))

    def call(self, batch: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the loss of a batch, the fields of a `HistoryBatch` by name."""
        table = self.embedding(training=training and self.uses_dropout)
        first = len(CONTROL_TOKENS)
        items = table[first : first + self.embedding.n_items]
        states = self.states(ops.take(table, batch["token_ids"], axis=0), batch["token_ids"], training)
        histories = ops.take(states, batch["positions"], axis=0)
        logits = ops.where(batch["excluded"], EXCLUDED_LOGIT, ops.matmul(histories, ops.transpose(items)))
        return {"item": _mean(_cross_entropy(logits, batch["targets"]))}


class InstructionTrainer(DecoderTrainer):
    """Losses of instructions and of questions answered in words.

    - text: KL divergence in nats of p(item | history, instruction) from the target distribution, which by Bayes' rule
    is
      proportional to p(item | history) p(instruction | item), the latter from `QueryGenerator.log_shares`; excluded
      items have probability 0;
    - word: -log p(next word | history, question), a softmax over training words and control tokens.

    Each is a mean over its examples, 0 if a batch has none. States of histories and the item embeddings that score them
    are fixed; each item has a second embedding that scores instructions.

    Args:
        blocks: Layers of the decoder and its final norm.
        embedding: Token embeddings, with the items' second embeddings.
        history_items: Item embeddings that score histories, shape (n_items, size), fixed.
        empty_history: State of an empty history, shape (size,).
        log_shares: Log-likelihood of each meaning given each item, shape (n_meanings, n_items).
        dropout: Dropout rate of the input of the first layer.
        copies: Parts of the copy mechanism, of `config.COPY_TARGETS`.
        copy_dropout: Share of the instructions whose words are not copied in a step.
    """

    def __init__(
        self,
        blocks: list[Any],
        embedding: TokenEmbedding,
        history_items: np.ndarray,
        empty_history: np.ndarray,
        log_shares: np.ndarray,
        dropout: float,
        copies: Sequence[str],
        copy_dropout: float,
    ) -> None:
        super().__init__(blocks, embedding, dropout, ("text", "word"))
        self.history_items, self.empty_history, self.log_shares = history_items, empty_history, log_shares
        self.copy_dropout = copy_dropout
        shape = (embedding.size, embedding.size)
        self.copies = {name: self.add_weight(shape=shape, initializer="zeros", name=name) for name in copies}

    def call(self, batch: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the losses of a batch: the fields of an `InstructionBatch` by name, and `histories`.

        `histories` holds the state of the history before each example, shape (batch, size), in place of `events`.
        """
        table = self.embedding(training=training and self.uses_dropout)
        token_ids = batch["token_ids"]
        vectors = self.embedding.look_up(table, token_ids)
        prefix = ops.cast(batch["questions"], "float32")[:, None] * _unit(batch["histories"])
        hidden = ops.concatenate([vectors[:, :1] + prefix[:, None], vectors[:, 1:]], axis=1)
        states = self.states(hidden, token_ids, training)
        terms = self._instruction_logits(batch, table, vectors, states, training)
        return {
            "text": self._instruction_loss(batch, terms),
            "word": self._answer_loss(batch, table, states),
        }

    def _instruction_logits(
        self, batch: dict[str, Any], table: Any, vectors: Any, states: Any, training: bool
    ) -> list[Any]:
        """Return the terms that each instruction adds to the logits of the items, each of shape (m, n_items)."""
        first, first_word = len(CONTROL_TOKENS), len(CONTROL_TOKENS) + self.embedding.n_items
        token_ids, instructions = batch["token_ids"], batch["instructions"]
        texts = ops.take(states, batch["last_positions"], axis=0)
        by_token = ops.reshape(states, (-1, ops.shape(token_ids)[1], self.embedding.size))
        weights = {
            name: copy_weights(texts, ops.take(by_token, instructions, axis=0), matrix)
            for name, matrix in self.copies.items()
        }
        if "words" in weights:
            in_training = (token_ids >= first) & (token_ids < first_word + self.embedding.n_words)
            words = ops.take(vectors * ops.cast(in_training, "float32")[:, :, None], instructions, axis=0)
            texts = texts + self._copied_words(weights["words"], words, training)
        terms = [ops.matmul(texts, ops.transpose(table[first:first_word]))]
        if "titles" in weights:
            terms.append(self._title_logits(batch, weights["titles"]))
        return terms

    def _copied_words(self, weights: Any, words: Any, training: bool) -> Any:
        """Return the weighted sum of each instruction's word vectors, (m, size); zeros at the rate `copy_dropout`."""
        copied = ops.einsum("nt,nts->ns", weights, words)
        if training and self.uses_dropout and self.copy_dropout:
            draws = keras.random.uniform((ops.shape(weights)[0], 1), seed=self.embedding.seeds)
            copied = copied * ops.cast(draws >= self.copy_dropout, "float32")
        return copied

    def _title_logits(self, batch: dict[str, Any], weights: Any) -> Any:
        """Return, for each item, the sum of the weights of the words that its title holds, shape (m, n_items)."""
        rows = ops.take(batch["title_rows"], batch["instructions"], axis=0)
        n_rows = ops.shape(batch["title_masks"])[0]
        is_row = ops.equal(rows[:, :, None], ops.arange(n_rows, dtype="int32"))
        by_row = ops.einsum("nt,ntk->nk", weights, ops.cast(is_row, "float32"))
        return ops.matmul(by_row, batch["title_masks"])

    def _instruction_loss(self, batch: dict[str, Any], terms: list[Any]) -> Any:
        """Return the mean KL divergence of the model's distributions from the target distributions."""
        histories = ops.take(batch["histories"], batch["instructions"], axis=0)
        visible = ops.where(batch["states_taste"][:, None], self.empty_history, histories)
        weight, items = batch["history_weight"][:, None], ops.transpose(self.history_items)
        likelihood = ops.sum(ops.take(self.log_shares, batch["meanings"], axis=0), axis=1)
        target = ops.where(
            batch["excluded"], EXCLUDED_LOGIT, weight * ops.matmul(histories, items) + likelihood
        )
        logits = weight * ops.matmul(visible, items)
        for term in terms:
            logits = logits + term
        logits = logits + REJECTED_MARGIN * ops.cast(likelihood < EXCLUDED_LOGIT / 2, "float32")
        # Without this mask, an instruction that only excluded items satisfy would have a uniform target.
        has_target = ops.cast(ops.max(target, axis=-1) > EXCLUDED_LOGIT / 2, "float32")
        target = ops.log_softmax(target)
        log_probs = ops.log_softmax(ops.where(batch["excluded"], EXCLUDED_LOGIT, logits))
        divergence = ops.sum(ops.exp(target) * (ops.maximum(target, MIN_LOG_PROB) - log_probs), axis=-1)
        return _mean(divergence * has_target)

    def _answer_loss(self, batch: dict[str, Any], table: Any, states: Any) -> Any:
        """Return the mean cross-entropy of the words of answers."""
        first, first_word = len(CONTROL_TOKENS), len(CONTROL_TOKENS) + self.embedding.n_items
        outputs = ops.concatenate([table[:first], table[first_word:]])
        positions = ops.take(states, batch["answer_positions"], axis=0)
        logits = ops.matmul(positions, ops.transpose(outputs))
        return _mean(_cross_entropy(logits, batch["answer_words"]))


def copy_weights(texts: Any, states: Any, matrix: Any) -> Any:
    """Return the weight at which each word of an instruction is copied, g · W s / width, shape (n, length).

    Args:
        texts: State after the last token of each instruction, g, shape (n, size).
        states: States after its tokens, s, shape (n, length, size).
        matrix: W, shape (size, size).
    """
    return ops.einsum("ns,nts->nt", ops.matmul(texts, matrix) / matrix.shape[0], states)


def _unit(vectors: Any) -> Any:
    """Scale vectors so that the mean square of each is 1."""
    return vectors * ops.rsqrt(ops.mean(ops.square(vectors), axis=-1, keepdims=True) + 1e-6)


def _cross_entropy(logits: Any, targets: Any) -> Any:
    """Return -log softmax(logits)[target] of each row."""
    target_logits = ops.squeeze(ops.take_along_axis(logits, targets[:, None], axis=1), 1)
    return ops.logsumexp(logits, axis=-1) - target_logits


def _mean(values: Any) -> Any:
    """Return the mean, 0 for no values."""
    return ops.sum(values) / ops.cast(ops.maximum(ops.shape(values)[0], 1), "float32")


def start_as_average(blocks: list[Any], seed: int, negative_heads: bool = False) -> None:
    """Initialise decoder blocks so that attention starts as a mean of its inputs: values and outputs cancel out.

    The outputs of feed-forward layers start at a tenth of their usual size. Where embeddings already express
    similarity, the untrained network then ranks items by their mean similarity to the history, or by the words that an
    instruction shares with their descriptions.

    Args:
        blocks: Layers of the decoder, built.
        seed: Seed of the random rotations.
        negative_heads: Let half of the heads subtract what they attend to, at half the size, for instructions that
            refuse.
    """
    rng = np.random.default_rng(seed)
    for block in blocks:
        value = _weight(block, "value/kernel")
        output = _weight(block, "attention_output/kernel")
        value_matrix, output_matrix = _cancelling_matrices(value.shape[0], rng, negative_heads)
        value.assign(value_matrix.reshape(value.shape))
        output.assign(output_matrix.reshape(output.shape))
        feedforward = _weight(block, "feedforward_output_dense/kernel")
        feedforward.assign(feedforward * FEEDFORWARD_SCALE)


def _weight(block: Any, suffix: str) -> Any:
    """Return the first weight of a decoder block whose path ends so."""
    return next(weight for weight in block.weights if weight.path.split("/", 1)[-1].endswith(suffix))


def _cancelling_matrices(
    size: int, rng: np.random.Generator, negative_heads: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return value and output matrices whose product is the identity, or half of it of each sign on the second half."""
    if not negative_heads:
        rotation, _ = np.linalg.qr(rng.normal(size=(size, size)))
        return rotation, rotation.T
    half = size // 2
    value = np.zeros((size, size))
    value[half:, :half], _ = np.linalg.qr(rng.normal(size=(half, half)))
    value[half:, half:] = value[half:, :half]
    output = value.T.copy()
    output[half:] *= NEGATIVE_HEAD_SCALE
    return value, output


class EpochBatches:
    """Batches of the current epoch as a `tf.data.Dataset` for Keras's `fit`.

    All batches have one signature, so that `fit` traces a training step once. Keras would take the signature of its own
    data sets from the first two batches, whose lengths may agree by chance, and traces the first shape apart; a resumed
    training would then differ in the last bits.

    Args:
        example: A batch; of its shapes the last axis of floats and masks is fixed.

    Attributes:
        batches: Functions that build a batch each.
    """

    def __init__(self, example: dict[str, np.ndarray]) -> None:
        self.example = example
        self.batches: Sequence[Callable[[], dict[str, np.ndarray]]] = ()

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (build() for build in self.batches)

    def dataset(self) -> Any:
        """Return the data set; each iteration reads the current batches."""
        import tensorflow as tf

        signature = {
            name: tf.TensorSpec(
                (None, array.shape[1] if array.dtype != np.int32 else None) if array.ndim == 2 else (None,),
                tf.as_dtype(array.dtype),
                name=name,
            )
            for name, array in self.example.items()
        }
        return tf.data.Dataset.from_generator(lambda: iter(self), output_signature=signature).prefetch(1)


def training_variables(trainer: keras.Model) -> list[Any]:
    """Return all variables that training changes, of a compiled and built network and its optimizer."""
    return [*trainer.variables, *trainer.optimizer.variables]
