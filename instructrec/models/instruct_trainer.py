"""How Keras trains `Mini`: the network with its losses, and epochs that can be taken up again.

Derived in chapter `keras-implementation`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from instructrec.errors import InputError
from instructrec.files import atomic_write
from instructrec.models.conversation import Batch
from instructrec.models.vocabulary import CONTROLS

QUIET = 1.0
"""Words begin at this length, so that items begin as their own vectors more than as their descriptions."""
HIDDEN = -1e9
"""The logit of an item that does not compete."""
LOSSES = ("loss", "item", "ask", "obey", "word")
WORD_WEIGHT = 0.2
"""What questions weigh beside texts that ask for an item."""


class Descriptions(NamedTuple):
    """What is said of tokens beside their own vectors.

    Attributes:
        words: Which words describe each item, shape (n_items, most), int32; the number of all words stands for none.
        vectors: Vectors from elsewhere of the words of training and of more, shape (n, size), float32; None if there
            are none.
    """

    words: np.ndarray | None
    vectors: np.ndarray | None


class TokenTable(keras.layers.Layer):
    """The vectors of all tokens, made from their parts: controls, items, words; shape (n_tokens, hidden_size).

    Words of training come first; more words have no vectors of their own. A word's vector is its own plus a learnt turn
    of the one from elsewhere; an item's is its own plus `weight` times those of the words that describe it. In
    training, own vectors of words are dropped now and then, so that the ones from elsewhere learn to stand in for them.
    """

    def __init__(
        self, items: np.ndarray, n_words: int, said: Descriptions, weight: float, dropped: float, seed: int
    ) -> None:
        super().__init__(name="token_table")
        self.said, self.weight, self.dropped = said, weight, dropped
        self.n_items, self.size = items.shape
        self.n_words = n_words
        start = keras.initializers.TruncatedNormal(stddev=self.size**-0.5, seed=seed)
        small = keras.initializers.TruncatedNormal(stddev=0.02, seed=seed + 1)
        self.controls = self.add_weight(shape=(len(CONTROLS), self.size), initializer=start, name="controls")
        self.items = self.add_weight(shape=items.shape, initializer="zeros", name="items")
        self.items.assign(items)
        own = start if said.vectors is None else small
        self.words = self.add_weight(shape=(n_words, self.size), initializer=own, name="words")
        self.turn = None
        if said.vectors is not None:
            shape = (said.vectors.shape[1], self.size)
            self.turn = self.add_weight(shape=shape, initializer="zeros", name="turn")
            self.turn.assign(QUIET * second_half(*shape, seed))
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, training: bool = False, held: bool = False) -> Any:
        """Return the table, and with `held` that of the items once more, of which only the words learn."""
        words = self.words
        if training and self.dropped:
            kept = keras.random.uniform((words.shape[0], 1), seed=self.seeds) >= self.dropped
            words = words * ops.cast(kept, "float32")
        if self.turn is not None:
            vectors = self.said.vectors
            assert vectors is not None
            more = ops.zeros((len(vectors) - self.n_words, self.size))
            words = ops.concatenate([words, more]) + ops.matmul(vectors, self.turn)
        described: Any = 0.0
        if self.said.words is not None:
            padded = ops.concatenate([words, ops.zeros((1, self.size))])
            described = self.weight * ops.sum(ops.take(padded, self.said.words, axis=0), axis=1)
        table = ops.concatenate([self.controls, self.items + described, words])
        return (table, ops.stop_gradient(self.items) + described) if held else table


def second_half(n: int, size: int, seed: int) -> np.ndarray:
    """Return a turn of n-vectors into the last n of `size` axes, or as many as there are, shape (n, size), float32."""
    used = min(n, size)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    placed = np.zeros((n, size), dtype=np.float32)
    placed[:, size - used :] = turn[:, :used]
    return placed


class Trainer(keras.Model):
    """The network that is trained: from a batch of conversations to its losses.

    Args:
        blocks: The decoder's layers and its last norm, for histories.
        text_blocks: Those for texts; the same ones, or others.
        table: Vectors of the tokens.
        meanings: Sets of items, shape (n_meanings, n_items), bool.
        dropout: Share of the numbers that are dropped of what enters the first layer.
        obedience: Weight of `obey` beside `ask`.
        text_weight: Weight of all that texts and questions are to say, beside `item`.
    """

    def __init__(
        self,
        blocks: list[Any],
        text_blocks: list[Any],
        table: TokenTable,
        meanings: np.ndarray,
        dropout: float,
        obedience: float,
        text_weight: float,
    ) -> None:
        super().__init__(name="trainer")
        self.table = table
        self.blocks, self.text_blocks = blocks, text_blocks
        self.text_weight = text_weight
        self.drop = keras.layers.Dropout(dropout)
        self.meanings, self.obedience = meanings, obedience
        self.means = {name: keras.metrics.Mean(name) for name in LOSSES}

    def call(self, batch: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the losses of a batch.

        - item: -log p(the item chosen | history), among the items that are not left out;
        - ask: -log p(the item chosen | history, text) of the texts that are true of it; what the history says and
          items' own vectors are held;
        - obey: how far the answer to a text is, in nats (KL divergence), from what the history says alone, cut to the
          items that meet the text;
        - word: -log p(the token that follows | history, question), among words of training and control tokens.

        Each is a mean over its places, 0 where there are none.
        """
        table, held = self.table(training=training, held=True)
        n_controls, n_items = len(CONTROLS), self.table.n_items
        first_word = n_controls + n_items
        items = table[n_controls:first_word]
        states = self._states(self.blocks, table, batch["token_ids"], training)
        histories = ops.take(states, batch["item_places"], axis=0)
        logits = ops.where(batch["left_out"], HIDDEN, ops.matmul(histories, ops.transpose(items)))
        item = _cross_entropy(logits, batch["items"])
        texts = self._states(self.text_blocks, table, batch["text_ids"], training)
        texts = ops.take(texts, batch["text_places"], axis=0)
        unasked = ops.stop_gradient(ops.take(logits, batch["asked"], axis=0))
        answers = unasked + ops.matmul(texts, ops.transpose(held))
        ask = _cross_entropy(answers, ops.take(batch["items"], batch["asked"])) * batch["true"]
        meets = ops.all(ops.take(self.meanings, batch["meanings"], axis=0), axis=1)
        meets = ops.logical_and(meets, unasked > HIDDEN / 2)
        wanted = ops.softmax(ops.where(meets, unasked, HIDDEN))
        wanted = wanted * ops.cast(ops.any(meets, axis=-1, keepdims=True), "float32")
        obey = ops.sum(wanted * (ops.log(wanted + 1e-9) - ops.log_softmax(answers)), axis=-1)
        spoken = ops.concatenate([table[:n_controls], table[first_word : first_word + self.table.n_words]])
        said = ops.matmul(ops.take(states, batch["word_places"], axis=0), ops.transpose(spoken))
        return {
            "item": _mean(item),
            "ask": ops.sum(ask) / ops.maximum(ops.sum(batch["true"]), 1.0),
            "obey": _mean(obey),
            "word": _mean(_cross_entropy(said, batch["words"])),
        }

    def _states(self, blocks: list[Any], table: Any, token_ids: Any, training: bool) -> Any:
        """Return the states behind all tokens, shape (batch * length, hidden_size)."""
        hidden = self.drop(ops.take(table, token_ids, axis=0), training=training)
        read = ops.cast(ops.not_equal(token_ids, 0), "int32")
        for block in blocks[:-1]:
            hidden = block(hidden, decoder_padding_mask=read, training=training)
        return ops.reshape(blocks[-1](hidden), (-1, self.table.size))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the sum of the losses, and note them."""
        said = y_pred["ask"] + self.obedience * y_pred["obey"] + WORD_WEIGHT * y_pred["word"]
        loss = y_pred["item"] + self.text_weight * said
        for name, value in (("loss", loss), *y_pred.items()):
            self.means[name].update_state(value)
        return loss

    @property
    def metrics(self) -> list[Any]:
        """The means of the losses over an epoch."""
        return list(self.means.values())


def _cross_entropy(logits: Any, targets: Any) -> Any:
    """Return -log softmax(logits) at the targets, one for each row."""
    own = ops.squeeze(ops.take_along_axis(logits, targets[:, None], axis=1), 1)
    return ops.logsumexp(logits, axis=-1) - own


def _mean(values: Any) -> Any:
    """Return the mean, 0 of nothing."""
    return ops.sum(values) / ops.cast(ops.maximum(ops.shape(values)[0], 1), "float32")


def start_as_average(blocks: list[Any], seed: int) -> None:
    """Let each layer begin as an average of what it reads: values and outputs of attention undo each other.

    The feed-forward layers begin at a tenth of their usual size. Where tokens begin as vectors of their likeness, the
    untrained network then ranks by the mean likeness to the history, and by the words that an instruction shares with
    an item's description.

    Args:
        blocks: The decoder's layers, built.
        seed: Of the turns.
    """
    rng = np.random.default_rng(seed)
    for block in blocks:
        weights = {weight.path.split("/", 1)[-1]: weight for weight in block.weights}
        value = next(one for path, one in weights.items() if path.endswith("value/kernel"))
        output = next(one for path, one in weights.items() if path.endswith("attention_output/kernel"))
        turn, _ = np.linalg.qr(rng.normal(size=(value.shape[0], value.shape[0])))
        value.assign(turn.reshape(value.shape))
        output.assign(turn.T.reshape(output.shape))
        last = next(one for path, one in weights.items() if path.endswith("feedforward_output_dense/kernel"))
        last.assign(last * 0.1)


def compiled_step(trainer: Trainer, n_items: int) -> Callable[[dict[str, np.ndarray]], dict[str, Any]]:
    """Return a step of training, from a batch to its losses, compiled once for batches of all shapes.

    Keras's own `train_on_batch` compiles the first shape apart, so that a training that is taken up again would differ
    in the last bits from one that ran through.

    Args:
        trainer: Compiled and built.
        n_items: Size of the catalogue.
    """
    import tensorflow as tf

    kinds = {"true": tf.float32, "left_out": tf.bool}
    tables = dict.fromkeys(("token_ids", "text_ids", "meanings"), (None, None))
    shapes = {**tables, "left_out": (None, n_items)}
    signature = {
        name: tf.TensorSpec(shapes.get(name, (None,)), kinds.get(name, tf.int32), name=name)
        for name in Batch._fields
    }
    step = tf.function(trainer.train_step, input_signature=[signature])

    def run(batch: dict[str, np.ndarray]) -> dict[str, Any]:
        trainer.reset_metrics()
        return step(batch)

    return run


class Checkpoint:
    """What a training that is cut off needs to go on as if nothing had happened.

    Args:
        path: The file; None keeps nothing.
        trainer: A compiled and built model.
        digest: Of all that decides the training; a checkpoint of another one is refused.
    """

    def __init__(self, path: Path | None, trainer: keras.Model, digest: str) -> None:
        self.path, self.trainer, self.digest = path, trainer, digest

    def _variables(self) -> list[Any]:
        return [*self.trainer.variables, *self.trainer.optimizer.variables]

    def read(self) -> tuple[int, dict[str, list[float]]]:
        """Return how many epochs are done and their figures, after giving the model its state at that time.

        Raises:
            InputError: The file is damaged, or of another training.
        """
        if self.path is None or not self.path.exists():
            return 0, {}
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                note = json.loads(str(arrays["note"]))
                values = [arrays[f"{number:04d}"] for number in range(len(arrays.files) - 1)]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{str(self.path)!r} is no checkpoint or a damaged one ({error}); delete it to train from the start"
            ) from error
        if note["digest"] != self.digest:
            raise InputError(
                f"{str(self.path)!r} is a checkpoint of another training (its settings, data or version differ); "
                "give another file, or delete it to train from the start"
            )
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
        return int(note["epochs"]), note["history"]

    def write(self, epochs: int, history: dict[str, list[float]]) -> None:
        """Write the state after some epochs; the file before stays whole until then."""
        if self.path is None:
            return
        note = json.dumps({"digest": self.digest, "epochs": epochs, "history": history})
        arrays = {f"{number:04d}": np.asarray(one) for number, one in enumerate(self._variables())}
        with atomic_write(self.path, "wb") as handle:
            np.savez(handle, note=np.array(note), **arrays)  # type: ignore[arg-type]

    def remove(self) -> None:
        """Delete the file of a training that has come to its end."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
