"""Views into `Mini`: attention, the map of items, lists that grow word by word; drawn and as numbers."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from instructrec import models
from instructrec.errors import InputError
from instructrec.models.mini import interpret
from tests.models.mini.conftest import SMALL

mpl.use("Agg")


@pytest.fixture(scope="module")
def mini(films):
    return models.create("mini", **{**SMALL, "n_layers": 2}).fit(films)


def test_attention_is_that_of_the_decoder(mini):
    """The state that follows from the weights is the one that the layer gives."""
    tokens = mini.instruction_tokens("no comedy please")
    weights = interpret.attention(mini, tokens)
    assert weights.shape == (2, SMALL["n_heads"], len(tokens), len(tokens))
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-4)
    assert (np.triu(np.ones(weights.shape[-2:]), 1) * weights).max() == 0
    block = mini.decoders.backbone("text").transformer_layers[0]
    layer = block._self_attention_layer
    read = block._self_attention_layernorm(mini.decoders.token_vectors(np.array([tokens]), "text"))
    values = np.asarray(layer._value_dense(read))[0]
    mixed = np.einsum("hqk,khd->qhd", weights[0], values)
    mask = np.tril(np.ones((1, len(tokens), len(tokens)), dtype=np.int32))
    own = layer(hidden_states=read, attention_mask=mask)
    np.testing.assert_allclose(np.asarray(layer._output_dense(mixed[None])), np.asarray(own), atol=1e-4)


def test_attention_reads_histories_too(mini, films):
    tokens = mini.history_tokens(films.history(1))
    assert interpret.attention(mini, tokens).shape[-1] == len(tokens)


def test_the_map_has_a_position_for_each_item(mini, films):
    for part in ("text", "history"):
        positions = interpret.item_map(mini, part)
        assert positions.shape == (films.n_items, 2)
        assert np.isfinite(positions).all()
        assert np.var(positions[:, 0]) >= np.var(positions[:, 1]) > 0
    alone = models.create("mini", **{**SMALL, "kinds": [], "epochs": 1}).fit(films)
    with pytest.raises(InputError, match="histories alone"):
        interpret.item_map(alone)


def test_a_list_grows_word_by_word(mini, films):
    history = films.history(1)[:3]
    grown = interpret.word_by_word(mini, history, "no comedy please", n=4)
    assert grown["n_words"].tolist() == [number for number in range(4) for _ in range(4)]
    assert grown.groupby("n_words")["word"].first().tolist() == ["", "no", "comedy", "please"]
    last = mini.recommend(history, "no comedy please", n=4)["item_id"].tolist()
    assert grown.loc[grown["n_words"] == 3, "item_id"].tolist() == last
    first = mini.recommend(history, n=4)["item_id"].tolist()
    assert grown.loc[grown["n_words"] == 0, "item_id"].tolist() == first
    chinese = interpret.word_by_word(mini, history, "不要喜剧", n=1)
    assert chinese["word"].tolist() == ["", "不", "要", "喜", "剧"]


def test_figures(mini, films):
    tokens = mini.instruction_tokens("no comedy")
    ax = interpret.draw_attention(interpret.attention(mini, tokens), mini.vocabulary.tokens(tokens))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["<ask>", "no", "comedy", "<answer>"]
    assert len(ax.get_yticklabels()) == 2 * SMALL["n_heads"]
    with pytest.raises(InputError, match="1 labels for 4 tokens"):
        interpret.draw_attention(interpret.attention(mini, tokens), ["no"])
    first = [names[0] for names in films.items["genres"]]
    ax = interpret.draw_map(interpret.item_map(mini), first, ["Comedy", "War"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["other", "Comedy", "War"]
    with pytest.raises(InputError, match="at most 7"):
        interpret.draw_map(interpret.item_map(mini), first, list("abcdefgh"))
    grown = interpret.word_by_word(mini, [1], "no comedy", n=3)
    shares = grown.groupby("n_words")["rank"].mean().to_frame("rank") / 3
    shares.index = ["", "no", "comedy"]
    ax = interpret.draw_word_by_word(shares, "share")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["(nothing)", "no", "comedy"]
    weights = mini.word_weights("no comedy")
    ax = interpret.draw_word_weights(weights)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["no", "comedy"]
    assert [bar.get_width() for bar in ax.containers[0]] == weights["words"].tolist()
    assert ax.yaxis_inverted()
