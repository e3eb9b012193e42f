"""Vectors of English words, taken from the embedding table of SmolLM2: what a small model knows of words it never met.

`python -m instructrec.models.word_vectors` makes the file in data/words/ anew from SmolLM2's weights. Derived in
chapter `keras-implementation`.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from instructrec.errors import InputError
from instructrec.files import atomic_write, digest

FOLDER = Path(__file__).resolve().parents[2] / "data" / "words"
FILE = FOLDER / "smollm2-words.npz"
SHA256 = "5071fbfa42c757d7f7aa66cf00dfefa45afb2c82f9a84f84d16d44bbd63d822f"
SIZE = 64
"""Length of a vector: the first principal axes of the 576 of SmolLM2."""
COMMON = 8_000
"""The axes are those of so many words, the commonest by their place in SmolLM2's vocabulary."""
MOST = 16_000
"""How many words are kept, the commonest."""


class WordVectors(NamedTuple):
    """Words and their vectors.

    Attributes:
        words: In lower case, the commonest first.
        vectors: Shape (n_words, SIZE), float32, with a mean square length of 1.
    """

    words: list[str]
    vectors: np.ndarray

    def of(self, words: list[str]) -> np.ndarray:
        """Return the vectors of words, shape (n, SIZE), float32; zeros for one that is not there."""
        numbers = {word: number for number, word in enumerate(self.words)}
        found = np.zeros((len(words), self.vectors.shape[1]), dtype=np.float32)
        for row, word in zip(found, words, strict=True):
            if word in numbers:
                row[:] = self.vectors[numbers[word]]
        return found


@cache
def word_vectors() -> WordVectors:
    """Return the vectors of data/words/.

    Raises:
        InputError: The file is missing or damaged.
    """
    if not FILE.is_file() or digest(FILE) != SHA256:
        raise InputError(
            f"{str(FILE)!r} is missing or damaged (its SHA-256 differs); run git checkout on it, "
            "or train with word_vectors=False"
        )
    with np.load(FILE, allow_pickle=False) as arrays:
        vectors = arrays["vectors"].astype(np.float32) * arrays["scale"]
        return WordVectors(arrays["words"].tolist(), vectors)


def make(path: Path = FILE) -> Path:
    """Write the file of vectors from SmolLM2's weights, and return its place.

    A word is what stands for a whole English word behind a space in SmolLM2's vocabulary, in lower case; a word that
    has an entry with a capital too gets the mean of both. From the vectors their mean is taken, they are turned into
    the principal axes of the commonest words, cut to `SIZE` numbers, and rounded to bytes, a scale for each axis.

    Raises:
        InputError: SmolLM2's weights are not installed.
    """
    from gguf import dequantize

    from instructrec.models.smollm2 import read_gguf

    reader = read_gguf()
    numbers: dict[str, list[int]] = {}
    for number, token in enumerate(reader.fields["tokenizer.ggml.tokens"].contents()):
        found = re.fullmatch("Ġ([A-Za-z]{2,})", token)
        if found:
            numbers.setdefault(found[1].lower(), []).append(number)
    words = list(numbers)[:MOST]
    tensor = next(one for one in reader.tensors if one.name == "token_embd.weight")
    table = dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
    vectors = np.stack([table[numbers[word]].mean(axis=0) for word in words])
    vectors -= vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(vectors[:COMMON], full_matrices=False)
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    turned = vectors @ axes[:SIZE].T
    turned /= np.sqrt(np.mean(np.sum(turned**2, axis=1)))
    scale = np.abs(turned).max(axis=0) / 127
    with atomic_write(path, "wb") as handle:
        np.savez_compressed(
            handle,
            words=np.array(words, dtype=np.str_),
            vectors=np.rint(turned / scale).astype(np.int8),
            scale=scale.astype(np.float32),
        )
    return path


if __name__ == "__main__":
    place = make()
    print(f"{place}: {place.stat().st_size} bytes, SHA-256 {digest(place)}")
