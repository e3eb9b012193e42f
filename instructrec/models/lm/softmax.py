"""Log-probabilities of tokens: normalised over the vocabulary, or over the children of a trie node.

Derived in chapter `language-model`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np

from instructrec.models.lm.trie import TokenTrie

FORBIDDEN_LOGIT = -1e9
"""Logit of the tokens that a trie does not allow."""


class OutputLayer(Protocol):
    """A model that maps hidden states to logits; every `LanguageModel` does."""

    backbone: Any

    def logits(self, hidden: Any) -> Any:
        """Return the logits of all tokens, shape (…, n_tokens), float32."""

    def token_logits(self, hidden: Any, tokens: np.ndarray) -> Any:
        """Return the logits of some tokens, shape (…, len(tokens)), float32."""


class TargetSoftmax(ABC):
    """Log-probabilities of targets: token ids, or nodes of a trie."""

    def __init__(self, model: OutputLayer) -> None:
        """Compile the function that scores targets.

        Args:
            model: The model whose states are read.
        """
        import tensorflow as tf

        self.model = model
        states = tf.TensorSpec((None, None, model.backbone.hidden_dim), model.backbone.compute_dtype)
        targets, mask = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None), tf.bool)
        self._unpadded_log_probs = tf.function(
            lambda states, targets, mask: self._log_probs(
                tf.boolean_mask(states, mask), tf.boolean_mask(targets, mask)
            ),
            input_signature=[states, targets, mask],
        )

    @abstractmethod
    def losses(self, states: Any, targets: Any) -> Any:
        """Return -log p of targets in nats; states have the shape (…, width), targets and result (…)."""

    @abstractmethod
    def _log_probs(self, states: Any, targets: Any) -> Any:
        """Return log p of targets, shape (k,), from states of shape (k, width)."""

    def target_log_probs(self, states: Any, targets: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return log-probabilities of targets, 0 where the mask is 0.

        Args:
            states: Hidden states before each target, shape (n, length, width).
            targets: Shape (n, length), int32.
            mask: 1 for targets, 0 for padding, shape (n, length).

        Returns:
            Array of shape (n, length), float32, in nats.
        """
        log_probs = np.zeros(targets.shape, dtype=np.float32)
        log_probs[mask > 0] = self._unpadded_log_probs(states, targets, mask > 0).numpy()
        return log_probs

    @abstractmethod
    def first_log_probs(self, states: Any, targets: np.ndarray) -> np.ndarray:
        """Return log-probabilities of several targets at the same position.

        Args:
            states: One hidden state for each row, shape (n, width).
            targets: k targets for each row, shape (n, k), int32.

        Returns:
            Array of shape (n, k), float32, in nats.
        """


class VocabularySoftmax(TargetSoftmax):
    """Probabilities normalised over all tokens; a target is a token id."""

    def __init__(self, model: OutputLayer) -> None:
        super().__init__(model)
        import tensorflow as tf

        self._all = tf.function(lambda states: tf.nn.log_softmax(model.logits(states)), reduce_retracing=True)

    def log_probs(self, states: Any) -> np.ndarray:
        """Return log-probabilities of all tokens, shape (…, n_tokens), float32, from states of shape (…, width)."""
        return np.asarray(self._all(states).numpy())

    def losses(self, states: Any, targets: Any) -> Any:
        """Return -log p of token ids among all tokens; see `TargetSoftmax.losses`."""
        import tensorflow as tf

        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, self.model.logits(states))

    def _log_probs(self, states: Any, targets: Any) -> Any:
        import tensorflow as tf

        logits = self.model.logits(states)
        return tf.gather(logits, targets, batch_dims=1) - tf.reduce_logsumexp(logits, axis=-1)

    def first_log_probs(self, states: Any, targets: np.ndarray) -> np.ndarray:
        """Return log-probabilities of k targets a row; see `TargetSoftmax.first_log_probs`."""
        return np.take_along_axis(self.log_probs(states), targets, axis=1)


class TrieSoftmax(TargetSoftmax):
    """Probabilities normalised over the children of a trie node; a target is the node that a token leads to."""

    def __init__(self, model: OutputLayer, trie: TokenTrie) -> None:
        super().__init__(model)
        self.trie = trie

    def losses(self, states: Any, targets: Any) -> Any:
        """Return -log p of nodes among their siblings; see `TargetSoftmax.losses`."""
        import tensorflow as tf

        trie = self.trie
        allowed = tf.gather(tf.constant(trie.allowed), tf.gather(tf.constant(trie.parents), targets))
        logits = tf.where(allowed, self.model.token_logits(states, trie.tokens), FORBIDDEN_LOGIT)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.gather(tf.constant(trie.columns), targets), logits
        )

    def _log_probs(self, states: Any, targets: Any) -> Any:
        return -self.losses(states, targets)

    def first_log_probs(self, states: Any, targets: np.ndarray) -> np.ndarray:
        """Return log-probabilities of k targets a row; see `TargetSoftmax.first_log_probs`."""
        import tensorflow as tf

        repeated = tf.repeat(tf.convert_to_tensor(states)[:, None], targets.shape[1], axis=1)
        return self.target_log_probs(repeated, targets, np.ones(targets.shape))
