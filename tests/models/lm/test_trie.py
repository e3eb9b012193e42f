"""Constrained generation: it names texts of the tree alone, and the likeliest of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from instructrec.errors import InputError
from instructrec.models.lm.pretrained import read_checkpoint
from instructrec.models.lm.scoring import LanguageModel, language_model
from instructrec.models.lm.trie import TokenTree, likeliest, title_tree
from tests import tiny_models

pytest.importorskip("keras_hub")
pytest.importorskip("gguf")
TITLES = ["the film", "the films", "the", "Heat", "Heat 2", "in the film", "Babe", "Babe", "Fargo (1996)"]


@pytest.fixture(scope="module", params=["llama", "t5"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "t5":
        tiny_models.write_t5(folder)
        return language_model(read_checkpoint(folder))
    return language_model(
        read_checkpoint(tiny_models.write_gguf(folder / "m.gguf", tiny_models.backbone("llama"), "llama"))
    )


def lines(model: LanguageModel) -> list[str]:
    end = model.tokenizer.decode(model.encode("\n")) or "."
    return [title + end for title in TITLES]


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("at_once", [1, 3, 32])
def test_the_search_is_exact(model: LanguageModel, at_once: int, closed: bool) -> None:
    options = lines(model)
    tree = TokenTree([model.encode(one) for one in options])
    found = likeliest(model, "a film", tree, n=5, at_once=at_once, closed=closed)
    scores = model.option_log_likelihood("a film", options, tree=tree if closed else None)[0]
    np.testing.assert_allclose([one.log_likelihood for one in found], -np.sort(-scores)[:5], atol=1e-3)
    np.testing.assert_allclose(scores[[one.row for one in found]], -np.sort(-scores)[:5], atol=1e-3)
    assert len({one.row for one in found}) == 5


def test_all_texts_come_where_more_are_asked_for(model: LanguageModel) -> None:
    tree = TokenTree([model.encode(one) for one in lines(model)])
    found = likeliest(model, "a film", tree, n=50)
    assert sorted(one.row for one in found) == list(range(len(TITLES)))


def test_few_beginnings_are_read_where_the_model_is_sure() -> None:
    """Token 3 follows with .9, all others with the rest; a tree of 300 texts is then read by a few dozen nodes."""
    rng = np.random.default_rng(0)
    texts = [[3, 3, 3, 2], *([*rng.integers(3, 30, 3).tolist(), 2] for _ in range(299))]
    tree, read = TokenTree(texts), 0

    class Sure:
        def following(self, prompt: str) -> Callable[[list[tuple[int, ...]]], np.ndarray]:
            def behind(lists: list[tuple[int, ...]]) -> np.ndarray:
                nonlocal read
                read += len(lists)
                probabilities = np.full((len(lists), 30), 0.1 / 29)
                probabilities[:, 3] = 0.9
                return np.log(probabilities)

            return behind

    found = likeliest(cast(LanguageModel, Sure()), "a film", tree, n=1, at_once=4)
    assert found[0].row == 0
    assert read < tree.n_nodes / 10


def test_what_is_said_among_the_texts_of_a_tree_sums_to_one(model: LanguageModel) -> None:
    options = list(dict.fromkeys(lines(model)))
    tree = TokenTree([model.encode(one) for one in options])
    scores = model.option_log_likelihood(["a film", "Heat, the film"], options, tree=tree)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-4)
    tokens = tree.tokens.tolist()
    following = model.following("a film")
    text = model.encode(options[0])
    by_hand = 0.0
    for at, token in enumerate(text):
        row = following([text[:at]])[0]
        before = tree.path(text)[at - 1] if at else 0
        allowed = [tokens[column] for column in np.flatnonzero(tree.allowed[before])]
        assert sorted(allowed) == sorted(tree.children(before))
        by_hand += row[token] - np.logaddexp.reduce(row[allowed])
    assert scores[0, 0] == pytest.approx(by_hand, abs=1e-3)
    with pytest.raises(InputError, match="not in the tree: no text goes on"):
        model.option_log_likelihood("a film", ["zzz"], tree=tree)
    with pytest.raises(InputError, match="only the beginning"):
        tree.path(text[:-1])


def test_a_tree_shares_beginnings() -> None:
    tree = TokenTree([[1, 2, 3], [1, 2, 4], [1, 2, 3]])
    assert (tree.n_texts, tree.n_nodes) == (3, 5)
    node = tree.children(tree.children(0)[1])[2]
    assert sorted(tree.children(node)) == [3, 4]
    assert tree.rows(tree.children(node)[3]) == [0, 2]


def test_what_makes_no_sense_is_refused(model: LanguageModel) -> None:
    for texts in ([], [[1], []]):
        with pytest.raises(InputError, match="texts of a tree"):
            TokenTree(texts)
    with pytest.raises(InputError, match="n is 0"):
        likeliest(model, "a", TokenTree([[5]]), n=0)
    assert title_tree(model, ["Heat"]).n_texts == 1
