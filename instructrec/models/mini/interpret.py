"""Views into `Mini`: attention, copied words, a map of the items, and its list as an instruction grows word by word.

Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from instructrec.errors import InputError
from instructrec.models.mini.decoders import Part
from instructrec.models.mini.model import Mini
from instructrec.models.mini.vocabulary import ASK, tokenise
from instructrec.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "os^vDPX"
OTHER_COLOUR = "#CCCCCC"


def attention(model: Mini, token_ids: Sequence[int]) -> np.ndarray:
    """Return the attention weights of each token over the tokens up to itself.

    softmax of q · k / sqrt(head width), as in the decoder's layers (Vaswani et al., 2017, arXiv:1706.03762).

    Args:
        model: A fitted model.
        token_ids: Token ids from `Mini.history_tokens` or `Mini.instruction_tokens`.

    Returns:
        Array of shape (n_layers, n_heads, n_tokens, n_tokens), float32; each row sums to 1.
    """
    from keras import ops

    part: Part = "text" if token_ids[0] == ASK else "history"
    backbone = model.decoders.backbone(part)
    hidden = model.decoders.token_vectors(np.array([token_ids]), part)
    is_later = np.triu(np.ones((len(token_ids), len(token_ids)), dtype=bool), 1)
    weights = []
    for block in backbone.transformer_layers:
        layer = block._self_attention_layer
        normed = block._self_attention_layernorm(hidden)
        queries = layer.rotary_embedding_layer(layer._query_dense(normed), start_index=0)
        keys = layer.rotary_embedding_layer(layer._key_dense(normed), start_index=0)
        logits = ops.einsum("bqhd,bkhd->bhqk", queries, keys) * layer._inv_norm_factor
        weights.append(np.asarray(ops.softmax(ops.where(is_later, -1e9, logits)))[0])
        hidden = block(hidden)
    return np.stack(weights)


def item_map(model: Mini, part: Part = "text") -> np.ndarray:
    """Return item embeddings along their first two principal axes, shape (n_items, 2), float64.

    Args:
        model: A fitted model.
        part: "text" for the embeddings that score instructions, "history" for those that score histories.

    Raises:
        InputError: The model was trained on histories only and has no embeddings for instructions.
    """
    from instructrec.models.mini.word_vectors import principal_components

    model._check_fitted()
    if part == "text" and not model.decoders.follows_instructions:
        raise InputError('this model was trained with kinds=[], on histories alone; give part="history"')
    return principal_components(model.decoders.item_vectors(part), 2)


def word_by_word(model: Mini, history: Sequence[Hashable], instruction: str, n: int = 10) -> pd.DataFrame:
    """Return the first n items for each beginning of an instruction, from no word to all words.

    Args:
        model: A fitted model.
        history: Item ids, oldest first.
        instruction: A text.
        n: Length of the list.

    Returns:
        Table with a row for each beginning and rank: `n_words` (length of the beginning), `word` (its last word, empty
        for none), `rank`, `item_id`, `title`.
    """
    words = tokenise(instruction)
    separator = " " if instruction.isascii() else ""
    tables = []
    for n_words in range(len(words) + 1):
        beginning = separator.join(words[:n_words])
        table = model.recommend(history, beginning or None, n=n)
        tables.append(table.assign(n_words=n_words, word=words[n_words - 1] if n_words else ""))
    return pd.concat(tables, ignore_index=True)[["n_words", "word", "rank", "item_id", "title"]]


def draw_attention(
    weights: np.ndarray, labels: Sequence[str], ax: Axes | None = None, label: str = "share of attention"
) -> Axes:
    """Draw the attention of the last token over all tokens, one row per layer and head.

    Args:
        weights: Array from `attention`.
        labels: Label of each token.
        ax: Axes to draw on; a new figure by default.
        label: Label of the colour bar.

    Raises:
        InputError: The number of labels is not that of the tokens.
    """
    n_layers, n_heads, n_tokens, _ = weights.shape
    if len(labels) != n_tokens:
        raise InputError(f"{len(labels)} labels for {n_tokens} tokens; give one each")
    rows = weights[:, :, -1].reshape(n_layers * n_heads, n_tokens)
    ax = _axes(ax, max(4.0, 0.45 * n_tokens + 2.2), 0.3 * len(rows) + 1.4)
    image = ax.imshow(rows, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(n_tokens), labels, rotation=60, ha="right", rotation_mode="anchor")
    names = [f"layer {layer + 1}, head {head + 1}" for layer in range(n_layers) for head in range(n_heads)]
    ax.set_yticks(range(len(rows)), names)
    ax.grid(False)
    ax.figure.colorbar(image, ax=ax, label=label)
    return ax


def draw_word_weights(weights: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the copy weights of the words of an instruction as bars, one row per word, the first on top.

    Args:
        weights: Table from `Mini.word_weights`.
        ax: Axes to draw on; a new figure by default.
    """
    ax = _axes(ax, 4.2, 0.3 * len(weights) + 1)
    positions = np.arange(len(weights))
    labels = {"words": "its vector, a", "titles": "to its titles, b (nats)"}
    columns = [name for name in labels if name in weights]
    height = 0.8 / max(1, len(columns))
    for number, name in enumerate(columns):
        ax.barh(positions - 0.4 + height * (number + 0.5), weights[name], height, label=labels[name])
    ax.axvline(0, color="grey", linewidth=0.8)
    ax.set_yticks(positions, weights["word"])
    ax.invert_yaxis()
    ax.set_xlabel("weight")
    return ax


def draw_map(
    positions: np.ndarray, groups: Sequence[str], coloured: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Draw items as points; some groups have a colour and a marker of their own, the others are grey.

    Args:
        positions: Array from `item_map`.
        groups: Group of each item, such as its first category.
        coloured: Groups to colour, at most seven.
        ax: Axes to draw on; a new figure by default.

    Raises:
        InputError: There are more groups to colour than colours.
    """
    if len(coloured) > len(COLOURS):
        raise InputError(f"{len(coloured)} groups to colour; at most {len(COLOURS)} have distinct colours")
    ax = _axes(ax, 6.4, 4.6)
    group_of_item = np.asarray(groups)
    grey = positions[~np.isin(group_of_item, list(coloured))]
    ax.scatter(grey[:, 0], grey[:, 1], s=6, color=OTHER_COLOUR, label="other")
    for group, colour, marker in zip(coloured, COLOURS, MARKERS, strict=False):
        points = positions[group_of_item == group]
        ax.scatter(points[:, 0], points[:, 1], s=16, color=colour, marker=marker, label=group, linewidths=0)
    ax.set_xlabel("first principal axis")
    ax.set_ylabel("second principal axis")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def draw_word_by_word(shares: pd.DataFrame, label: str, ax: Axes | None = None) -> Axes:
    """Draw, as lines, how the first items change with each word of an instruction.

    Args:
        shares: Table with a row for each beginning of the instruction, indexed by its last word, and a column for each
            line.
        label: Label of the vertical axis, with its unit.
        ax: Axes to draw on; a new figure by default.
    """
    ax = _axes(ax, 6.4, 3.2)
    for (name, values), colour, marker in zip(shares.items(), COLOURS, MARKERS, strict=False):
        ax.plot(range(len(values)), values, color=colour, marker=marker, label=str(name))
    ax.set_xticks(range(len(shares)), [word or "(nothing)" for word in shares.index], rotation=45, ha="right")
    ax.set_ylim(-0.03, 1.05)
    ax.set_ylabel(label)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the axes, or those of a new figure of this size in inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    new_axes: Axes = plt.subplots(figsize=(width, height), layout="constrained")[1]
    return new_axes
