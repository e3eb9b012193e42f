"""Vectors of English words, for a small model that meets new ones: of what genre is a film that has to do with it?

`python -m instructrec.models.mini.word_vectors` makes the file in data/words/ anew from SmolLM2's weights. Derived in
chapter `instruction-tuning`.
"""

from __future__ import annotations

import argparse
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from instructrec.errors import InputError
from instructrec.files import DATA_FOLDER, atomic_write, digest

FOLDER = DATA_FOLDER / "words"
FILE = FOLDER / "smollm2-words.npz"
SHA256 = "82657fa8f5f11a29c27e0788381a8dc848b981b3456924d11cb89e314c579fba"
SIZE = 32
"""Length of a vector: the first principal axes of SmolLM2's answers."""
READ = (
    ("Movie keyword:", " {}. Movie genre:"),
    ("A movie with", " {} in it is a movie of the genre"),
)
"""What SmolLM2 reads of a word: a prompt, and the word as it goes on; what it would say next is its answer."""
ANSWERS = 200
"""So many answers count, the likeliest over all words."""
EVERY = 16
"""Which answers are likeliest is found from one word in so many."""
MOST = 90_000
"""So many words are taken of a list, the first ones."""


class WordVectors(NamedTuple):
    """Words and their vectors.

    Attributes:
        words: In lower case; none that another one stands for but for an "s" at its end.
        vectors: Shape (n_words, SIZE), float32, with a mean square length of 1.
    """

    words: list[str]
    vectors: np.ndarray

    def of(self, words: list[str]) -> np.ndarray:
        """Return the vectors of words, shape (n, SIZE), float32; zeros for one that is not there."""
        numbers = {word: number for number, word in enumerate(self.words)}
        found = np.zeros((len(words), self.vectors.shape[1]), dtype=np.float32)
        for row, word in zip(found, words, strict=True):
            number = numbers.get(word, numbers.get(word.removesuffix("s")))
            if number is not None:
                row[:] = self.vectors[number]
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


def choose_words(listed: list[str], tokens: list[str]) -> list[str]:
    """Return the words to make vectors of: of a list, and those that are one token of SmolLM2 behind a space.

    Args:
        listed: Words, the commonest first.
        tokens: SmolLM2's, in which "Ġ" stands for a space.

    Returns:
        Words of two letters or more, in lower case, in the order given; a word that another one is but for an "s" at
        its end is left out.
    """
    words = dict.fromkeys(word for word in listed[:MOST] if re.fullmatch("[a-z]{2,}", word))
    whole = (re.fullmatch("Ġ([A-Za-z]{2,})", token) for token in tokens)
    words.update(dict.fromkeys(found[1].lower() for found in whole if found))
    return [
        word
        for word in words
        if len(word) < 4 or not word.endswith("s") or word.removesuffix("s") not in words
    ]


def answers(states: list[np.ndarray], embeddings: np.ndarray) -> np.ndarray:
    """Return how likely SmolLM2 finds each of the answers that count, behind each word, by the mean over `READ`.

    Args:
        states: Arrays of shape (n_words, width), one for each of `READ`.
        embeddings: Of SmolLM2's tokens, shape (n_tokens, width); they are those of its answers too.

    Returns:
        Log likelihoods less their mean over the answers, shape (n_words, ANSWERS), float32.
    """
    chances = np.zeros(len(embeddings))
    for one in states:
        logits = one[::EVERY] @ embeddings.T
        logits -= logits.max(axis=1, keepdims=True)
        likely = np.exp(logits)
        chances += (likely / likely.sum(axis=1, keepdims=True)).mean(axis=0)
    chosen = np.argsort(-chances, kind="stable")[:ANSWERS]
    found = sum(one @ embeddings[chosen].T for one in states) / len(states)
    return found - found.mean(axis=1, keepdims=True)


def compress(rows: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Return rows, less their mean, along their first principal axes.

    Args:
        rows: Shape (n, width).
        size: How many axes.

    Returns:
        Array of shape (n, size), float64, with a mean square length of 1.
    """
    centred = rows.astype(np.float64)
    centred -= centred.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :size].T
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    turned = centred @ axes.T
    return turned / np.sqrt(np.mean(np.sum(turned**2, axis=1)))


def make(words: list[str] | None = None, path: Path = FILE) -> Path:
    """Write the file of vectors from SmolLM2's weights, and return its place.

    SmolLM2 is asked by the prompts of `READ` of what genre a film is that has to do with the word. Its answers are
    compressed and rounded to bytes, a scale for each axis. Takes about ten minutes on two cores.

    Args:
        words: See `choose_words`; those of the file in data/words/ by default.
        path: Where to write.

    Raises:
        InputError: SmolLM2's weights are not installed.
    """
    from instructrec.models.lm.smollm2 import load_smollm2

    words = word_vectors().words if words is None else words
    model = load_smollm2()
    states = [model.last_states(prompt, [text.format(word) for word in words]) for prompt, text in READ]
    write(words, compress(answers(states, np.asarray(model.backbone.token_embedding.embeddings))), path)
    return path


def write(words: list[str], turned: np.ndarray, path: Path) -> None:
    """Write words and vectors as a file of bytes with a scale for each axis."""
    scale = np.abs(turned).max(axis=0) / 127
    with atomic_write(path, "wb") as handle:
        np.savez_compressed(
            handle,
            words=np.array(words, dtype=np.str_),
            vectors=np.rint(turned / scale).astype(np.int8),
            scale=scale.astype(np.float32),
        )


def main(arguments: list[str] | None = None) -> int:
    """Make the file, of the same words or of another list."""
    parser = argparse.ArgumentParser(description="Make the vectors of words from SmolLM2's weights.")
    parser.add_argument("--words", type=Path, help="a list of words, one a line, the commonest first")
    options = parser.parse_args(arguments)
    words = None
    if options.words is not None:
        from instructrec.models.lm.smollm2 import read_gguf

        listed = [
            line.split()[0] for line in options.words.read_text("utf-8-sig").splitlines() if line.strip()
        ]
        words = choose_words(listed, read_gguf().values["tokenizer.ggml.tokens"])
    place = make(words)
    print(f"{place}: {place.stat().st_size} bytes, SHA-256 {digest(place)}")
    return 0


if __name__ == "__main__":
    main()
