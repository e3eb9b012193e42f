"""How Keras trains `Mini`: two networks with their losses, and epochs that can be taken up again.

First histories (`HistoryTrainer`: what comes next?), then texts (`TextTrainer`: how does a text move that?), while what
was learnt of histories is held. Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from instructrec.models.mini.vocabulary import CONTROLS

QUIET = 1.0
"""Words begin at this length, so that items begin as their own vectors more than as their descriptions."""
HIDDEN = -1e9
"""The logit of an item that does not compete."""
HEADWIND = 4.0
"""In tuning, items that fail a text are so many nats likelier than they are, and have to be put down all the same."""
WORD_WEIGHT = 0.2
"""What the words of answers weigh beside texts that ask for an item."""


class Descriptions(NamedTuple):
    """What is said of tokens beside their own vectors.

    Attributes:
        words: Which words describe each item, shape (n_items, most), int32; the number of all words of training stands
            for none.
        vectors: Vectors from elsewhere of the words of training and of more, shape (n, size), float32; None if there
            are none.
    """

    words: np.ndarray | None
    vectors: np.ndarray | None


class TokenTable(keras.layers.Layer):
    """The vectors of all tokens, made from their parts: controls, items, words of training, more words.

    More words have no vectors of their own. A word's vector is its own plus a learnt turn of the one from elsewhere; an
    item's is its own plus `weight` times those of the words that describe it.
    In training, own vectors of words are dropped now and then, so that the ones from elsewhere learn to stand in for
    them.
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

    def call(self, training: bool = False) -> Any:
        """Return the vectors of all tokens but more words, shape (n, size)."""
        words = self.words
        if training and self.dropped:
            kept = keras.random.uniform((words.shape[0], 1), seed=self.seeds) >= self.dropped
            words = words * ops.cast(kept, "float32")
        if self.turn is not None:
            assert self.said.vectors is not None
            words = words + ops.matmul(self.said.vectors[: self.n_words], self.turn)
        described: Any = 0.0
        if self.said.words is not None:
            described_by = ops.concatenate([words, ops.zeros((1, self.size))])
            described = self.weight * ops.sum(ops.take(described_by, self.said.words, axis=0), axis=1)
        return ops.concatenate([self.controls, self.items + described, words])

    def look_up(self, table: Any, token_ids: Any) -> Any:
        """Return the vectors of tokens, more words among them, from the table that `call` returned."""
        known = len(CONTROLS) + self.n_items + self.n_words
        if self.said.vectors is None or len(self.said.vectors) == self.n_words:
            return ops.take(table, token_ids, axis=0)
        more = ops.matmul(
            ops.take(self.said.vectors, ops.maximum(token_ids - known + self.n_words, 0), axis=0), self.turn
        )
        own = ops.take(table, ops.minimum(token_ids, known - 1), axis=0)
        return ops.where((token_ids < known)[..., None], own, more)


def second_half(n: int, size: int, seed: int) -> np.ndarray:
    """Return a turn of n-vectors into the last n of `size` axes, or as many as there are, shape (n, size), float32."""
    used = min(n, size)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    placed = np.zeros((n, size), dtype=np.float32)
    placed[:, size - used :] = turn[:, :used]
    return placed


class Decoder(keras.Model):
    """What both trainings share: a decoder over a table of tokens, and losses with their names.

    Args:
        blocks: The decoder's layers and its last norm.
        table: Vectors of the tokens.
        dropout: Share of the numbers that are dropped of what enters the first layer.
        losses: Names of the losses.

    Attributes:
        dropping: Whether anything is dropped in training; read when a step is compiled.
    """

    dropping = True

    def __init__(self, blocks: list[Any], table: TokenTable, dropout: float, losses: tuple[str, ...]) -> None:
        super().__init__(name=type(self).__name__.lower())
        self.table, self.blocks = table, blocks
        self.drop = keras.layers.Dropout(dropout)
        self.means = {name: keras.metrics.Mean(name) for name in losses}

    def states(self, hidden: Any, token_ids: Any, training: bool) -> Any:
        """Return the states behind all tokens, shape (batch * length, size), from their vectors."""
        training = training and self.dropping
        hidden = self.drop(hidden, training=training)
        read = ops.cast(ops.not_equal(token_ids, 0), "int32")
        for block in self.blocks[:-1]:
            hidden = block(hidden, decoder_padding_mask=read, training=training)
        return ops.reshape(self.blocks[-1](hidden), (-1, self.table.size))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the sum of the losses, that of words at `WORD_WEIGHT`, and note them."""
        loss: Any = 0.0
        for name, value in y_pred.items():
            self.means[name].update_state(value)
            loss = loss + (WORD_WEIGHT if name == "word" else 1.0) * value
        return loss

    @property
    def metrics(self) -> list[Any]:
        """The means of the losses over an epoch."""
        return list(self.means.values())


class HistoryTrainer(Decoder):
    """From a batch of conversations to how unlikely the items chosen are, `item`, in nats.

    -log p(the item chosen | history), among the items that are not left out, a mean over the places.
    """

    def __init__(self, blocks: list[Any], table: TokenTable, dropout: float) -> None:
        super().__init__(blocks, table, dropout, ("item",))

    def call(self, batch: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the loss of a batch."""
        table = self.table(training=training and self.dropping)
        first = len(CONTROLS)
        items = table[first : first + self.table.n_items]
        states = self.states(ops.take(table, batch["token_ids"], axis=0), batch["token_ids"], training)
        histories = ops.take(states, batch["item_places"], axis=0)
        logits = ops.where(batch["left_out"], HIDDEN, ops.matmul(histories, ops.transpose(items)))
        return {"item": _mean(_cross_entropy(logits, batch["items"]))}


class TextTrainer(Decoder):
    """From a batch of texts to how far their answers are from what they should be.

    - text: the distance in nats (KL divergence) of p(item | history, text) from Bayes' rule, by which it is p(item |
      history) times how likely each item makes the text (`QueryGenerator.log_shares`), without the excluded items;
    - word: -log p(the word that follows | history, question), among words of training and control tokens.

    Each is a mean over its places, 0 where there are none. The states of histories and the items' vectors that go with
    them are given and held; an item has a second vector for texts, its own and what describes it.

    Args:
        blocks: The decoder's layers and its last norm.
        table: Vectors of the tokens, of items those for texts.
        items: Vectors of items for histories, shape (n_items, size), held.
        nobody: The state of an empty history, shape (size,).
        log_shares: Log likelihood of each meaning at each item, shape (n_meanings, n_items).
        dropout: Share of the numbers that are dropped of what enters the first layer.
        copies: Which weights of words are learnt, of `COPIES`.
        copy_dropout: Share of the texts whose words are not copied, while anything is dropped.
    """

    def __init__(
        self,
        blocks: list[Any],
        table: TokenTable,
        items: np.ndarray,
        nobody: np.ndarray,
        log_shares: np.ndarray,
        dropout: float,
        copies: Sequence[str],
        copy_dropout: float,
    ) -> None:
        super().__init__(blocks, table, dropout, ("text", "word"))
        self.held, self.nobody, self.log_shares = items, nobody, log_shares
        self.copy_dropout = copy_dropout
        shape = (table.size, table.size)
        self.copies = {name: self.add_weight(shape=shape, initializer="zeros", name=name) for name in copies}

    def call(self, batch: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the losses of a batch."""
        table = self.table(training=training and self.dropping)
        first, first_word = len(CONTROLS), len(CONTROLS) + self.table.n_items
        token_ids, histories = batch["token_ids"], batch["histories"]
        vectors = self.table.look_up(table, token_ids)
        told = ops.cast(batch["questions"], "float32")[:, None] * _unit(histories)
        hidden = ops.concatenate([vectors[:, :1] + told[:, None], vectors[:, 1:]], axis=1)
        states = self.states(hidden, token_ids, training)
        texts = ops.take(states, batch["text_places"], axis=0)
        by_token = ops.reshape(states, (-1, ops.shape(token_ids)[1], self.table.size))
        weights = {
            name: word_weights(texts, ops.take(by_token, batch["asking"], axis=0), turn)
            for name, turn in self.copies.items()
        }
        if "words" in weights:
            is_word = (token_ids >= first) & (token_ids < first_word + self.table.n_words)
            copied = ops.take(vectors * ops.cast(is_word, "float32")[:, :, None], batch["asking"], axis=0)
            by_words = ops.einsum("nt,nts->ns", weights["words"], copied)
            if training and self.dropping and self.copy_dropout:
                kept = (
                    keras.random.uniform((ops.shape(texts)[0], 1), seed=self.table.seeds) >= self.copy_dropout
                )
                by_words = by_words * ops.cast(kept, "float32")
            texts = texts + by_words
        known = ops.take(histories, batch["asking"], axis=0)
        read = ops.where(batch["told"][:, None], self.nobody, known)
        trust, held = batch["trust"][:, None], ops.transpose(self.held)
        means = ops.sum(ops.take(self.log_shares, batch["meanings"], axis=0), axis=1)
        wanted = ops.where(batch["left_out"], HIDDEN, trust * ops.matmul(known, held) + means)
        asked = trust * ops.matmul(read, held) + ops.matmul(texts, ops.transpose(table[first:first_word]))
        if "titles" in weights:
            rows = ops.take(batch["titling"], batch["asking"], axis=0)
            which = ops.equal(rows[:, :, None], ops.arange(ops.shape(batch["titled"])[0], dtype="int32"))
            by_word = ops.einsum("nt,ntk->nk", weights["titles"], ops.cast(which, "float32"))
            asked = asked + ops.matmul(by_word, batch["titled"])
        asked = asked + HEADWIND * ops.cast(means < HIDDEN / 2, "float32")
        possible = ops.cast(
            ops.max(wanted, axis=-1) > HIDDEN / 2, "float32"
        )  # else all that meet it are left out
        wanted = ops.log_softmax(wanted)
        answers = ops.log_softmax(ops.where(batch["left_out"], HIDDEN, asked))
        text = ops.sum(ops.exp(wanted) * (ops.maximum(wanted, -50.0) - answers), axis=-1) * possible
        spoken = ops.concatenate([table[:first], table[first_word:]])
        said = ops.matmul(ops.take(states, batch["word_places"], axis=0), ops.transpose(spoken))
        return {"text": _mean(text), "word": _mean(_cross_entropy(said, batch["words"]))}


def word_weights(texts: Any, states: Any, turn: Any) -> Any:
    """Return how much of each word is copied, g · W s / width, shape (n, length).

    Args:
        texts: States behind whole texts, g, shape (n, size).
        states: States behind their tokens, s, shape (n, length, size).
        turn: W, shape (size, size).
    """
    return ops.einsum("ns,nts->nt", ops.matmul(texts, turn) / turn.shape[0], states)


def _unit(vectors: Any) -> Any:
    """Return vectors of a mean square of 1 over the numbers of each."""
    return vectors * ops.rsqrt(ops.mean(ops.square(vectors), axis=-1, keepdims=True) + 1e-6)


def _cross_entropy(logits: Any, targets: Any) -> Any:
    """Return -log softmax(logits) at the targets, one for each row."""
    own = ops.squeeze(ops.take_along_axis(logits, targets[:, None], axis=1), 1)
    return ops.logsumexp(logits, axis=-1) - own


def _mean(values: Any) -> Any:
    """Return the mean, 0 of nothing."""
    return ops.sum(values) / ops.cast(ops.maximum(ops.shape(values)[0], 1), "float32")


def start_as_average(blocks: list[Any], seed: int, opposed: bool = False) -> None:
    """Let each layer begin as an average of what it reads: values and outputs of attention undo each other.

    The feed-forward layers begin at a tenth of their usual size. Where tokens begin as vectors of their likeness, the
    untrained network then ranks by the mean likeness to the history, or by the words that a text shares with what
    describes an item.

    Args:
        blocks: The decoder's layers, built.
        seed: Of the turns.
        opposed: Let half of the heads take away what they read, at half the size, for texts that refuse.
    """
    rng = np.random.default_rng(seed)
    for block in blocks:
        weights = {weight.path.split("/", 1)[-1]: weight for weight in block.weights}
        value = next(one for path, one in weights.items() if path.endswith("value/kernel"))
        output = next(one for path, one in weights.items() if path.endswith("attention_output/kernel"))
        size = value.shape[0]
        if opposed:
            half = size // 2
            read = np.zeros((size, size))
            read[half:, :half], _ = np.linalg.qr(rng.normal(size=(half, half)))
            read[half:, half:] = read[half:, :half]
            back = read.T.copy()
            back[half:] *= -0.5
        else:
            read, _ = np.linalg.qr(rng.normal(size=(size, size)))
            back = read.T
        value.assign(read.reshape(value.shape))
        output.assign(back.reshape(output.shape))
        last = next(one for path, one in weights.items() if path.endswith("feedforward_output_dense/kernel"))
        last.assign(last * 0.1)


def compiled_step(
    trainer: Decoder, example: dict[str, np.ndarray]
) -> Callable[[dict[str, np.ndarray]], dict[str, Any]]:
    """Return a step of training, from a batch to its losses, compiled once for batches of all shapes.

    Keras's own `train_on_batch` compiles the first shape apart, so that a training that is taken up again would differ
    in the last bits from one that ran through.

    Args:
        trainer: Compiled and built.
        example: A batch; of its shapes only the last axes of floats and of masks are kept.
    """
    import tensorflow as tf

    signature = {
        name: tf.TensorSpec(
            (None, array.shape[1] if array.dtype != np.int32 else None) if array.ndim == 2 else (None,),
            tf.as_dtype(array.dtype),
            name=name,
        )
        for name, array in example.items()
    }
    step = tf.function(trainer.train_step, input_signature=[signature])

    def run(batch: dict[str, np.ndarray]) -> dict[str, Any]:
        trainer.reset_metrics()
        return step(batch)

    return run


def variables_of(trainer: keras.Model) -> list[Any]:
    """Return all that changes as a compiled and built network is trained."""
    return [*trainer.variables, *trainer.optimizer.variables]
