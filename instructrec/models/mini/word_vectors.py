"""Vectors of English words from SmolLM2: which film genres the language model associates with a word.

`python -m instructrec.models.mini.word_vectors` creates the file in data/words/ from SmolLM2's weights. Derived in
chapter `instruction-tuning`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from instructrec.errors import InputError
from instructrec.files import DATA_FOLDER, atomic_write, digest

FILE = DATA_FOLDER / "words" / "smollm2-words.npz"
SHA256 = "82657fa8f5f11a29c27e0788381a8dc848b981b3456924d11cb89e314c579fba"
SIZE = 32
"""Length of a vector: number of principal axes of SmolLM2's predictions."""
PROMPTS = (
    ("Movie keyword:", " {}. Movie genre:"),
    ("A movie with", " {} in it is a movie of the genre"),
)
"""Prompts for SmolLM2: a prefix, and the text with the word after it. The next-token predictions are used."""
N_PREDICTED_TOKENS = 200
"""Number of predicted tokens that are used, those with the highest mean probability over all words."""
SAMPLING_STEP = 16
"""These tokens are determined from every 16th word only, to save memory and time."""
MAX_LISTED_WORDS = 90_000
"""Maximum number of words that are read from a word list."""


class WordVectors(NamedTuple):
    """Words with their vectors.

    Attributes:
        words: Words in lower case; a plural in "s" is not among them if its singular is.
        vectors: Vectors, shape (n_words, SIZE), float32, with a mean squared norm of 1.
    """

    words: list[str]
    vectors: np.ndarray

    def of(self, words: Sequence[str]) -> np.ndarray:
        """Return the vectors of words, shape (n, SIZE), float32; zeros for an unknown word."""
        rows = {word: row for row, word in enumerate(self.words)}
        vectors = np.zeros((len(words), self.vectors.shape[1]), dtype=np.float32)
        for vector, word in zip(vectors, words, strict=True):
            row = rows.get(word, rows.get(word.removesuffix("s")))
            if row is not None:
                vector[:] = self.vectors[row]
        return vectors


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


def choose_words(word_list: Sequence[str], tokens: Sequence[str]) -> list[str]:
    """Return the words that get a vector: those of a list, and those that are a single token of SmolLM2.

    Args:
        word_list: Words, the most frequent first.
        tokens: SmolLM2's tokens, in which "Ġ" represents a space.

    Returns:
        Distinct words of at least two letters in lower case, in the given order, without plurals in "s" of others.
    """
    words = dict.fromkeys(word for word in word_list[:MAX_LISTED_WORDS] if re.fullmatch("[a-z]{2,}", word))
    matches = (re.fullmatch("Ġ([A-Za-z]{2,})", token) for token in tokens)
    words.update(dict.fromkeys(match[1].lower() for match in matches if match))
    return [
        word
        for word in words
        if len(word) < 4 or not word.endswith("s") or word.removesuffix("s") not in words
    ]


def prediction_features(states: Sequence[np.ndarray], embeddings: np.ndarray) -> np.ndarray:
    """Return SmolLM2's logits of the most probable next tokens after each word, the mean over `PROMPTS`.

    Args:
        states: States after each word, an array of shape (n_words, width) for each of `PROMPTS`.
        embeddings: SmolLM2's token embeddings, shape (n_tokens, width), which are also its output weights.

    Returns:
        Logits minus their mean over the tokens, shape (n_words, N_PREDICTED_TOKENS), float32.
    """
    mean_probabilities = np.zeros(len(embeddings))
    for prompt_states in states:
        logits = prompt_states[::SAMPLING_STEP] @ embeddings.T
        logits -= logits.max(axis=1, keepdims=True)
        likelihoods = np.exp(logits)
        mean_probabilities += (likelihoods / likelihoods.sum(axis=1, keepdims=True)).mean(axis=0)
    best = np.argsort(-mean_probabilities, kind="stable")[:N_PREDICTED_TOKENS]
    features = sum(prompt_states @ embeddings[best].T for prompt_states in states) / len(states)
    return features - features.mean(axis=1, keepdims=True)


def principal_components(rows: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Return centred rows along their first principal axes.

    Args:
        rows: Array of shape (n, width).
        size: Number of axes.

    Returns:
        Array of shape (n, size), float64, with a mean squared norm of 1. The largest entry of each axis is positive.
    """
    centred = rows.astype(np.float64)
    centred -= centred.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :size].T
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    components = centred @ axes.T
    return components / np.sqrt(np.mean(np.sum(components**2, axis=1)))


def create_file(words: Sequence[str] | None = None, path: Path = FILE) -> Path:
    """Write the file of word vectors from SmolLM2's weights and return its path; about ten minutes on two cores.

    Args:
        words: Words from `choose_words`; by default those of the file in data/words/.
        path: File to write.

    Raises:
        InputError: SmolLM2's weights are not installed.
    """
    from instructrec.models.lm.smollm2 import load_smollm2

    words = word_vectors().words if words is None else list(words)
    model = load_smollm2()
    states = [model.last_states(prefix, [text.format(word) for word in words]) for prefix, text in PROMPTS]
    embeddings = np.asarray(model.backbone.token_embedding.embeddings)
    write(words, principal_components(prediction_features(states, embeddings)), path)
    return path


def write(words: Sequence[str], vectors: np.ndarray, path: Path) -> None:
    """Write words and their vectors, rounded to bytes with a scale for each axis."""
    scale = np.abs(vectors).max(axis=0) / 127
    with atomic_write(path, "wb") as handle:
        np.savez_compressed(
            handle,
            words=np.array(words, dtype=np.str_),
            vectors=np.rint(vectors / scale).astype(np.int8),
            scale=scale.astype(np.float32),
        )


def main(arguments: list[str] | None = None) -> int:
    """Create the file of word vectors, of the same words or of those of a list."""
    parser = argparse.ArgumentParser(description="Create the word vectors from SmolLM2's weights.")
    parser.add_argument("--words", type=Path, help="a word list, one word per line, the most frequent first")
    options = parser.parse_args(arguments)
    words = None
    if options.words is not None:
        from instructrec.models.lm.smollm2 import read_gguf

        lines = options.words.read_text("utf-8-sig").splitlines()
        word_list = [line.split()[0] for line in lines if line.strip()]
        words = choose_words(word_list, read_gguf().metadata["tokenizer.ggml.tokens"])
    path = create_file(words)
    print(f"{path}: {path.stat().st_size} bytes, SHA-256 {digest(path)}")
    return 0


if __name__ == "__main__":
    main()
