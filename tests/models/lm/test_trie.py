"""The trie, and constrained decoding: it gives texts of the trie alone, the most likely first."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from instructrec.errors import InputError
from instructrec.models.lm.constrained_decoding import best_first_search, title_trie
from instructrec.models.lm.factory import load_language_model
from instructrec.models.lm.scoring import LanguageModel
from instructrec.models.lm.trie import TokenTrie
from tests import tiny_models

pytest.importorskip("keras_hub")
pytest.importorskip("gguf")
TITLES = ["the film", "the films", "the", "Heat", "Heat 2", "in the film", "Babe", "Babe", "Fargo (1996)"]


@pytest.fixture(scope="module", params=["llama", "t5"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    if request.param == "llama":
        return load_language_model(request.getfixturevalue("llama_path"))
    folder = tmp_path_factory.mktemp("t5")
    tiny_models.write_t5(folder)
    return load_language_model(folder)


def lines(model: LanguageModel) -> list[str]:
    end = model.tokenizer.decode(model.encode("\n")) or "."
    return [title + end for title in TITLES]


@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_the_search_is_exact(model: LanguageModel, batch_size: int, constrained: bool) -> None:
    options = lines(model)
    trie = TokenTrie([model.encode(line) for line in options])
    results = best_first_search(model, "a film", trie, n=5, batch_size=batch_size, constrained=constrained)
    scores = model.option_log_likelihood("a film", options, trie=trie if constrained else None)[0]
    np.testing.assert_allclose([text.log_likelihood for text in results], -np.sort(-scores)[:5], atol=1e-3)
    np.testing.assert_allclose(scores[[text.row for text in results]], -np.sort(-scores)[:5], atol=1e-3)
    assert len({text.row for text in results}) == 5


def test_all_texts_come_if_n_is_larger(model: LanguageModel) -> None:
    trie = TokenTrie([model.encode(line) for line in lines(model)])
    results = best_first_search(model, "a film", trie, n=50)
    assert sorted(text.row for text in results) == list(range(len(TITLES)))


def test_few_prefixes_are_read_if_the_model_is_sure() -> None:
    """Token 3 follows with .9, all others with the rest; a trie of 300 texts is then read by a few dozen nodes."""
    rng = np.random.default_rng(0)
    texts = [[3, 3, 3, 2], *([*rng.integers(3, 30, 3).tolist(), 2] for _ in range(299))]
    trie, n_read = TokenTrie(texts), 0

    class Sure:
        def next_token_scorer(self, prompt: str) -> Callable[[list[tuple[int, ...]]], np.ndarray]:
            def score(continuations: list[tuple[int, ...]]) -> np.ndarray:
                nonlocal n_read
                n_read += len(continuations)
                probabilities = np.full((len(continuations), 30), 0.1 / 29)
                probabilities[:, 3] = 0.9
                return np.log(probabilities)

            return score

    results = best_first_search(cast(LanguageModel, Sure()), "a film", trie, n=1, batch_size=4)
    assert results[0].row == 0
    assert n_read < trie.n_nodes / 10


def test_likelihoods_of_the_texts_of_a_trie_sum_to_one(model: LanguageModel) -> None:
    options = list(dict.fromkeys(lines(model)))
    trie = TokenTrie([model.encode(line) for line in options])
    scores = model.option_log_likelihood(["a film", "Heat, the film"], options, trie=trie)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-4)
    tokens = trie.tokens.tolist()
    score_next = model.next_token_scorer("a film")
    text = model.encode(options[0])
    by_hand = 0.0
    for at, token in enumerate(text):
        row = score_next([text[:at]])[0]
        before = trie.path(text)[at - 1] if at else 0
        allowed = [tokens[column] for column in np.flatnonzero(trie.allowed[before])]
        assert sorted(allowed) == sorted(trie.children(before))
        by_hand += row[token] - np.logaddexp.reduce(row[allowed])
    assert scores[0, 0] == pytest.approx(by_hand, abs=1e-3)
    with pytest.raises(InputError, match="not in the trie: no text continues"):
        model.option_log_likelihood("a film", ["zzz"], trie=trie)
    with pytest.raises(InputError, match="only the prefix"):
        trie.path(text[:-1])


def test_a_trie_shares_prefixes() -> None:
    trie = TokenTrie([[1, 2, 3], [1, 2, 4], [1, 2, 3]])
    assert (trie.n_texts, trie.n_nodes) == (3, 5)
    node = trie.children(trie.children(0)[1])[2]
    assert sorted(trie.children(node)) == [3, 4]
    assert trie.rows(trie.children(node)[3]) == [0, 2]


def test_what_makes_no_sense_is_refused(model: LanguageModel) -> None:
    for texts in ([], [[1], []]):
        with pytest.raises(InputError, match="texts of a trie"):
            TokenTrie(texts)
    with pytest.raises(InputError, match="n is 0"):
        best_first_search(model, "a", TokenTrie([[5]]), n=0)
    assert title_trie(model, ["Heat"]).n_texts == 1
