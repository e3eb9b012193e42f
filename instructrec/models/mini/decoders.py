"""The two decoders of `Mini`, one for histories and one for instructions, and the weights they answer with.

Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from instructrec.backend import quiet_keras, silent_stderr
from instructrec.models.mini.config import COPY_TARGETS, MiniConfig
from instructrec.models.mini.packing import pad
from instructrec.models.mini.vocabulary import START, Vocabulary

Part = Literal["history", "text"]
"""Which of the two decoders."""
SCORING_BATCH_SIZE = 256
"""Number of sequences that are encoded at once."""
STRIDE_FRACTION = 4
"""States for tuning are computed for runs of `length // STRIDE_FRACTION` events at once; so each has read all but a
quarter of the last `length` items at least."""


class EncodedBatch(NamedTuple):
    """Token sequences of similar length with their states.

    Attributes:
        numbers: Numbers of the sequences.
        states: States after their tokens, zeros after the end, shape (n, length, hidden_size).
        last_states: States after their last tokens, shape (n, hidden_size).
    """

    numbers: np.ndarray
    states: np.ndarray
    last_states: np.ndarray


class Decoders:
    """The two decoders of `Mini`, with the functions that compute logits and answers.

    Args:
        config: Settings of `Mini`.
        vocabulary: Token ids.
        oov_vectors: SmolLM2 vectors of the out-of-vocabulary words, shape (n_words, size); None without word vectors.
        weights: Weights by name, float16; none before training.

    Attributes:
        weights: `history/tokens` and `text/tokens` (token embeddings), `history/00`, `text/00` and on (weights of the
            blocks), `text/projection` (from word vectors to embeddings), `text/words` and `text/titles` (A and B of the
            copy mechanism).
    """

    def __init__(
        self,
        config: MiniConfig,
        vocabulary: Vocabulary,
        oov_vectors: np.ndarray | None,
        weights: dict[str, np.ndarray] | None = None,
    ) -> None:
        self.config, self.vocabulary, self.oov_vectors = config, vocabulary, oov_vectors
        self.weights: dict[str, np.ndarray] = {} if weights is None else weights
        self.release_layers()

    # -- Keras layers ------------------------------------------------------------------------------------------

    def release_layers(self) -> None:
        """Drop the Keras layers; they are built again from `weights` when they are needed."""
        self._backbones: dict[Part, Any] = {}
        self._encoders: dict[Part, Callable[..., Any]] = {}

    def build(self) -> None:
        """Build the untrained Keras layers of both decoders."""
        n_tokens = self.vocabulary.first_oov
        self._encoders = {}
        self._backbones = {
            "history": build_backbone(n_tokens, self.config, self.config.dropout),
            "text": build_backbone(n_tokens, self.config, self.config.text_dropout),
        }

    def _load(self) -> None:
        """Build the layers with the weights of their blocks, if that is not done yet."""
        if self._backbones:
            return
        quiet_keras()
        self.build()
        for part in self._backbones:
            if f"{part}/tokens" in self.weights:
                for number, variable in enumerate(self._variables(part)):
                    variable.assign(self.weights[f"{part}/{number:02d}"])

    def backbone(self, part: Part) -> Any:
        """Return a decoder as `keras_hub.models.LlamaBackbone`, with its weights and token embeddings."""
        self._load()
        backbone = self._backbones[part]
        table = self.weights[f"{part}/tokens"].astype(np.float32)
        n_missing = backbone.token_embedding.embeddings.shape[0] - len(table)
        backbone.token_embedding.embeddings.assign(np.pad(table, ((0, n_missing), (0, 0))))
        return backbone

    def blocks(self, part: Part) -> list[Any]:
        """Return the layers of a decoder, and its final norm."""
        self._load()
        backbone = self._backbones[part]
        return [*backbone.transformer_layers, backbone.layer_norm]

    def _variables(self, part: Part) -> list[Any]:
        return [weight for layer in self.blocks(part) for weight in layer.weights]

    def store(self, part: Part, embedding: Any, copies: Mapping[str, Any] | None = None) -> None:
        """Store the learnt parameters of a decoder in `weights`; token embeddings are summed into one table.

        Args:
            part: Which decoder.
            embedding: `TokenEmbedding` of the decoder.
            copies: Matrices A and B of the copy mechanism, by name.
        """
        from keras import ops

        def as_half(array: Any) -> np.ndarray:
            return ops.convert_to_numpy(array).astype(np.float16)

        table = as_half(embedding())
        if part == "history":  # it reads no words
            table = table[: self.vocabulary.first_word]
        self.weights[f"{part}/tokens"] = table
        if part == "text" and embedding.projection is not None:
            self.weights["text/projection"] = as_half(embedding.projection)
        for name, matrix in (copies or {}).items():
            self.weights[f"text/{name}"] = as_half(matrix)
        for number, variable in enumerate(self._variables(part)):
            self.weights[f"{part}/{number:02d}"] = as_half(variable)

    # -- embeddings and states ---------------------------------------------------------------------------------

    @property
    def follows_instructions(self) -> bool:
        """Whether the weights include those of the decoder of instructions."""
        return "text/tokens" in self.weights

    def item_vectors(self, part: Part) -> np.ndarray:
        """Return the embeddings of items, shape (n_items, hidden_size), float32."""
        first = self.vocabulary.first_item
        return self.weights[f"{part}/tokens"][first : first + self.vocabulary.n_items].astype(np.float32)

    def token_vectors(self, token_ids: np.ndarray, part: Part) -> np.ndarray:
        """Return the embeddings of tokens, shape (..., hidden_size), float32.

        Args:
            token_ids: Token ids of any shape.
            part: Decoder that reads them.
        """
        table = self.weights[f"{part}/tokens"]
        vectors = table[np.minimum(token_ids, len(table) - 1)].astype(np.float32)
        is_oov = token_ids >= len(table)
        if is_oov.any():
            assert self.oov_vectors is not None
            projection = self.weights["text/projection"].astype(np.float32)
            vectors[is_oov] = self.oov_vectors[token_ids[is_oov] - len(table)] @ projection
        return vectors

    def states(
        self,
        sequences: Sequence[Sequence[int]],
        part: Part = "history",
        history_states: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the states after each token, zeros after the end.

        Args:
            sequences: n lists of token ids.
            part: Decoder that reads them.
            history_states: States of histories to add to the first tokens of questions, shape (n, hidden_size).

        Returns:
            Array of shape (n, length of the longest sequence, hidden_size), float32.
        """
        longest = max(map(len, sequences), default=1)
        token_ids = pad(sequences)[:, :longest]
        hidden = self.token_vectors(token_ids, part)
        if history_states is not None:
            norms = np.sqrt(np.mean(history_states**2, axis=1, keepdims=True) + 1e-6)
            hidden[:, 0] += history_states / norms
        return np.asarray(self._encoder(part)(hidden, (token_ids != 0).astype(np.int32)))

    def _encoder(self, part: Part) -> Callable[..., Any]:
        """Return the compiled function from embeddings and mask to states."""
        import tensorflow as tf

        self._load()
        if part not in self._encoders:
            blocks = self.blocks(part)

            @tf.autograph.experimental.do_not_convert
            def encode(hidden: Any, mask: Any) -> Any:
                for block in blocks[:-1]:
                    hidden = block(hidden, decoder_padding_mask=mask, training=False)
                return blocks[-1](hidden) * tf.cast(mask, hidden.dtype)[:, :, None]

            signature = [
                tf.TensorSpec((None, None, self.config.hidden_size), tf.float32),
                tf.TensorSpec((None, None), tf.int32),
            ]
            self._encoders[part] = tf.function(encode, input_signature=signature)
        return self._encoders[part]

    def encoded_batches(self, sequences: Sequence[Sequence[int]], part: Part) -> Iterator[EncodedBatch]:
        """Yield the states of token sequences in batches of similar length."""
        order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
        for start in range(0, len(order), SCORING_BATCH_SIZE):
            numbers = order[start : start + SCORING_BATCH_SIZE]
            batch = [sequences[number] for number in numbers]
            states = self.states(batch, part)
            ends = [len(sequence) - 1 for sequence in batch]
            yield EncodedBatch(numbers, states, states[np.arange(len(batch)), ends])

    def last_states(self, sequences: Sequence[Sequence[int]], part: Part = "history") -> np.ndarray:
        """Return the state after the last token of each sequence, shape (n, hidden_size), float32."""
        states = np.empty((len(sequences), self.config.hidden_size), dtype=np.float32)
        for batch in self.encoded_batches(sequences, part):
            states[batch.numbers] = batch.last_states
        return states

    def event_states(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the state of the history before each event, for tuning.

        Each state has read the user's last items, `length` at most, and all but a quarter of that at least (or all).

        Args:
            sequences: Catalogue columns of each user, oldest first.

        Returns:
            Array of shape (n_events, hidden_size), float32, users one after the other.
        """
        first_events = np.cumsum([0, *map(len, sequences)])
        runs = [
            run
            for first, sequence in zip(first_events.tolist(), sequences, strict=False)
            for run in self._runs(sequence, first)
        ]
        states = np.empty((first_events[-1], self.config.hidden_size), dtype=np.float32)
        for batch in self.encoded_batches([run.token_ids for run in runs], "history"):
            for number, row in zip(batch.numbers.tolist(), batch.states, strict=True):
                run = runs[number]
                end = len(run.token_ids)
                states[run.first : run.last] = row[end - (run.last - run.first) : end]
        return states

    def _runs(self, sequence: Sequence[int], first_event: int) -> Iterator[_Run]:
        """Cut a history into runs of events whose states one token sequence gives."""
        length = self.config.length
        stride = max(1, length // STRIDE_FRACTION)
        for start in range(0, len(sequence), stride):
            end = min(len(sequence), start + stride)
            items = sequence[max(0, end - 1 - length) : end - 1]
            token_ids = [START, *(item + self.vocabulary.first_item for item in items)]
            yield _Run(token_ids, first_event + start, first_event + end)

    # -- what instructions and questions add -------------------------------------------------------------------

    def instruction_logits(
        self, texts: Sequence[Sequence[int]], title_columns: Mapping[int, np.ndarray]
    ) -> np.ndarray:
        """Return the logits that instructions add to those of the items, shape (n, n_items), float32.

        Args:
            texts: Token ids of the instructions.
            title_columns: Columns of the items whose titles hold a word, by the word's token id.
        """
        items = self.item_vectors("text").T
        logits = np.empty((len(texts), items.shape[1]), dtype=np.float32)
        for batch in self.encoded_batches(texts, "text"):
            sequences = [texts[number] for number in batch.numbers]
            weights = self.copy_weights(batch.states, batch.last_states)
            states = batch.last_states
            if "words" in weights:
                token_ids = pad(sequences)[:, : batch.states.shape[1]]
                vectors = self.token_vectors(token_ids, "text")
                word_weights = weights["words"] * self.in_training(token_ids)
                states = states + np.einsum("nt,nts->ns", word_weights, vectors)
            logits[batch.numbers] = states @ items
            for number, sequence, row in zip(
                batch.numbers, sequences, weights.get("titles", ()), strict=False
            ):
                for token_id, weight in zip(sequence, row, strict=False):
                    if token_id in title_columns:
                        logits[number, title_columns[token_id]] += weight
        return logits

    def copy_weights(self, states: np.ndarray, last_states: np.ndarray) -> dict[str, np.ndarray]:
        """Return the copy weights a ("words") and b ("titles") of each token, shape (n, length) each."""
        weights = {}
        for name in COPY_TARGETS:
            if f"text/{name}" in self.weights:
                matrix = self.weights[f"text/{name}"].astype(np.float32)
                queries = last_states @ matrix / self.config.hidden_size
                weights[name] = np.einsum("ns,nts->nt", queries, states)
        return weights

    def in_training(self, token_ids: np.ndarray) -> np.ndarray:
        """Return which tokens are items or training words; only these are copied by their vectors."""
        return (token_ids >= self.vocabulary.first_item) & (token_ids < self.vocabulary.first_oov)

    def next_word_log_probs(self, texts: Sequence[Sequence[int]], history_states: np.ndarray) -> np.ndarray:
        """Return the log-probability of each control token and word of training as the next token.

        Args:
            texts: n lists of token ids that begin with `<start>`.
            history_states: States of the histories before them, shape (n, hidden_size).

        Returns:
            Array of shape (n, n_outputs), float32; columns as in `Vocabulary.output_id`.
        """
        table, vocabulary = self.weights["text/tokens"].astype(np.float32), self.vocabulary
        outputs = np.concatenate([table[: vocabulary.first_item], table[vocabulary.first_word :]])
        ends = [len(text) - 1 for text in texts]
        logits = self.states(texts, "text", history_states)[np.arange(len(texts)), ends] @ outputs.T
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


class _Run(NamedTuple):
    """Consecutive events and the token sequence whose last states come before them."""

    token_ids: list[int]
    first: int
    last: int


def build_backbone(n_tokens: int, config: MiniConfig, dropout: float) -> Any:
    """Return an untrained decoder of the Llama family, `keras_hub.models.LlamaBackbone`.

    Args:
        n_tokens: Size of the vocabulary.
        config: Settings of `Mini`.
        dropout: Dropout rate of attention and feed-forward.
    """
    with silent_stderr():  # Keras Hub's dependencies print messages on import
        import keras_hub

    return keras_hub.models.LlamaBackbone(
        vocabulary_size=n_tokens,
        num_layers=config.n_layers,
        num_query_heads=config.n_heads,
        num_key_value_heads=config.n_heads,
        hidden_dim=config.hidden_size,
        intermediate_dim=config.intermediate_size,
        layer_norm_epsilon=1e-5,
        dropout=dropout,
        tie_word_embeddings=True,
    )
