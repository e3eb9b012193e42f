"""Token sequences as arrays: padding, training examples, and how an epoch is cut into batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

LENGTH_SORT_WINDOW = 16
"""Number of batches whose examples are sorted by length together, so that each batch needs little padding."""


class TrainingExample(NamedTuple):
    """A prompt and the answer that a model is tuned to give.

    Attributes:
        prompt: Token ids.
        answer: Token ids.
        targets: Training target at each token of the answer: the token id, or the node that it leads to in a trie.
    """

    prompt: list[int]
    answer: list[int]
    targets: list[int]

    @property
    def inputs(self) -> list[int]:
        """Token ids that the model reads: the prompt and the answer without its last token."""
        return self.prompt + self.answer[:-1]


def pad(
    sequences: Sequence[Sequence[int] | np.ndarray], side: Literal["pre", "post"] = "post"
) -> tuple[np.ndarray, np.ndarray]:
    """Pad sequences with zeros to the length of the longest.

    Args:
        sequences: n lists or arrays of integers.
        side: Whether the padding comes before or after each sequence.

    Returns:
        The padded sequences, shape (n, longest), int32, and a mask of the same shape, float32: 1 for values, 0 for
        padding.
    """
    from keras.utils import pad_sequences

    masks = [np.ones(len(sequence)) for sequence in sequences]
    return pad_sequences(sequences, padding=side), pad_sequences(masks, padding=side, dtype="float32")


def epoch_batches(
    examples: Sequence[TrainingExample], batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Cut the examples of an epoch into batches, in an order that depends on seed and epoch alone.

    The examples are shuffled; within windows of `LENGTH_SORT_WINDOW` batches they are sorted by length; then the
    batches are shuffled.

    Args:
        examples: All training examples.
        batch_size: Examples in a batch; one batch of an epoch may have fewer.
        seed: Seed of the training.
        epoch: Number of the epoch, from 0.

    Returns:
        Row numbers of the examples of each batch.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(examples))
    lengths = np.array([len(example.prompt) + len(example.answer) for example in examples])
    batches: list[list[int]] = []
    for start in range(0, len(order), batch_size * LENGTH_SORT_WINDOW):
        window = order[start : start + batch_size * LENGTH_SORT_WINDOW]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches += [
            window[first : first + batch_size].tolist() for first in range(0, len(window), batch_size)
        ]
    return [batches[number] for number in rng.permutation(len(batches))]
