"""Vectors of English words: similar words, the choice of words, a damaged file."""

from __future__ import annotations

import numpy as np
import pytest

from instructrec.errors import InputError
from instructrec.models.mini import word_vectors as module
from instructrec.models.mini.word_vectors import choose_words, word_vectors


def test_similar_words_have_similar_vectors():
    table = word_vectors()
    words = ["frightening", "scary", "funny", "soldiers", "troops"]
    vectors = table.of([*words, "qqqq"])
    assert (vectors[-1] == 0).all()
    unit = vectors[:-1] / np.linalg.norm(vectors[:-1], axis=1, keepdims=True)
    cosines = unit @ unit.T
    assert cosines[0, 1] > 0.5 > cosines[0, 3]
    assert cosines[3, 4] > 0.5 > cosines[2, 3]
    assert np.mean(np.sum(table.vectors**2, axis=1)) == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(table.of(["soldiers"]), table.of(["soldier"]))


def test_words_come_from_a_list_and_from_single_tokens():
    words = choose_words(
        ["the", "x", "don't", "films", "film", "as"], ["ĠThe", "ĠNoir", "noun", "Ġ42", "Ġas", "Ġfilms"]
    )
    assert words == ["the", "film", "as", "noir"]


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "words.npz"
    path.write_bytes(b"no vectors")
    monkeypatch.setattr(module, "FILE", path)
    word_vectors.cache_clear()
    with pytest.raises(InputError, match="damaged"):
        word_vectors()
    word_vectors.cache_clear()
