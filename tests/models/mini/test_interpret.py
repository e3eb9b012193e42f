"""What one sees of `mini`: attention, the map of items, lists that grow word by word; drawn and as numbers."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from instructrec import models
from instructrec.errors import InputError
from instructrec.models.mini import interpret
from tests.models.mini.test_mini import SMALL, films  # noqa: F401 - the fixture

mpl.use("Agg")


@pytest.fixture(scope="module")
def mini(films):  # noqa: F811
    return models.create("mini", **{**SMALL, "n_layers": 2}).fit(films)


def test_attention_is_that_of_the_decoder(mini):
    """The state that follows from the weights is the one that the layer gives."""
    tokens = mini.text("no comedy please")
    weights = interpret.attention(mini, tokens)
    assert weights.shape == (2, SMALL["n_heads"], len(tokens), len(tokens))
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-4)
    assert (np.triu(np.ones(weights.shape[-2:]), 1) * weights).max() == 0
    block = mini.text_backbone.transformer_layers[0]
    layer = block._self_attention_layer
    read = block._self_attention_layernorm(mini.vectors(np.array([tokens]), texts=True))
    values = np.asarray(layer._value_dense(read))[0]
    mixed = np.einsum("hqk,khd->qhd", weights[0], values)
    mask = np.tril(np.ones((1, len(tokens), len(tokens)), dtype=np.int32))
    own = layer(hidden_states=read, attention_mask=mask)
    np.testing.assert_allclose(np.asarray(layer._output_dense(mixed[None])), np.asarray(own), atol=1e-4)


def test_attention_reads_histories_too(mini, films):  # noqa: F811
    tokens = mini.conversation(films.history(1))
    assert interpret.attention(mini, tokens).shape[-1] == len(tokens)


def test_the_map_has_a_place_for_each_item(mini, films):  # noqa: F811
    for texts in (True, False):
        places = interpret.item_map(mini, texts)
        assert places.shape == (films.n_items, 2)
        assert np.isfinite(places).all()
        assert np.var(places[:, 0]) >= np.var(places[:, 1]) > 0
    alone = models.create("mini", **{**SMALL, "kinds": [], "epochs": 1}).fit(films)
    with pytest.raises(InputError, match="histories alone"):
        interpret.item_map(alone)


def test_a_list_grows_word_by_word(mini, films):  # noqa: F811
    history = films.history(1)[:3]
    grown = interpret.word_by_word(mini, history, "no comedy please", n=4)
    assert grown["words"].tolist() == [number for number in range(4) for _ in range(4)]
    assert grown.groupby("words")["said"].first().tolist() == ["", "no", "comedy", "please"]
    last = mini.recommend(history, "no comedy please", n=4)["item_id"].tolist()
    assert grown.loc[grown["words"] == 3, "item_id"].tolist() == last
    first = mini.recommend(history, n=4)["item_id"].tolist()
    assert grown.loc[grown["words"] == 0, "item_id"].tolist() == first
    assert interpret.word_by_word(mini, history, "不要喜剧", n=1)["said"].tolist() == [
        "",
        "不",
        "要",
        "喜",
        "剧",
    ]


def test_figures(mini, films):  # noqa: F811
    tokens = mini.text("no comedy")
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
    shares = grown.groupby("words")["rank"].mean().to_frame("rank") / 3
    shares.index = ["", "no", "comedy"]
    ax = interpret.draw_word_by_word(shares, "share")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["(nothing)", "no", "comedy"]
    weights = mini.word_weights("no comedy")
    ax = interpret.draw_word_weights(weights)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["no", "comedy"]
    assert [bar.get_width() for bar in ax.containers[0]] == weights["words"].tolist()
    assert ax.yaxis_inverted()
