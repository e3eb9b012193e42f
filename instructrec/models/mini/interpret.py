"""What `Mini` looks at: attention, a map of the items, and its list as an instruction grows word by word.

Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from instructrec.errors import InputError
from instructrec.models.mini.model import Mini
from instructrec.models.mini.vocabulary import ASK, tokenise

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def attention(model: Mini, tokens: Sequence[int]) -> np.ndarray:
    """Return how much each token of a conversation or text draws from each one before it and from itself.

    softmax over the tokens up to the own one of q · k / sqrt(head width), as the decoder's layers compute it
    (Vaswani et al., 2017, arXiv:1706.03762).

    Args:
        model: A fitted model.
        tokens: As `Mini.conversation` or `Mini.text` returns them.

    Returns:
        Array of shape (n_layers, n_heads, n_tokens, n_tokens), float32; each row sums to 1.
    """
    from keras import ops

    texts = tokens[0] == ASK
    backbone = model.text_backbone if texts else model.backbone
    hidden = model.vectors(np.array([tokens]), texts)
    unseen = np.triu(np.ones((len(tokens), len(tokens)), dtype=bool), 1)
    found = []
    for block in backbone.transformer_layers:
        layer = block._self_attention_layer
        read = block._self_attention_layernorm(hidden)
        queries = layer.rotary_embedding_layer(layer._query_dense(read), start_index=0)
        keys = layer.rotary_embedding_layer(layer._key_dense(read), start_index=0)
        scores = ops.einsum("bqhd,bkhd->bhqk", queries, keys) * layer._inv_norm_factor
        found.append(np.asarray(ops.softmax(ops.where(unseen, -1e9, scores)))[0])
        hidden = block(hidden)
    return np.stack(found)


def item_map(model: Mini, texts: bool = True) -> np.ndarray:
    """Return where the items' vectors lie along their two first principal axes, shape (n_items, 2), float64.

    Args:
        model: A fitted model.
        texts: The vectors that texts are compared with; those of histories otherwise.
    """
    from instructrec.models.mini.word_vectors import compress

    model._check_fitted()
    if texts and "text/tokens" not in model.weights:
        raise InputError("this model was trained with kinds=[], on histories alone; give texts=False")
    return compress(model._items("text" if texts else "history"), 2)


def word_by_word(model: Mini, history: Sequence[Hashable], instruction: str, n: int = 10) -> pd.DataFrame:
    """Return the first n items as an instruction grows word by word.

    Args:
        model: A fitted model.
        history: Item ids, oldest first.
        instruction: A text.
        n: How many items.

    Returns:
        A row for each word and rank: `words` (how many are read), `said` (the last of them, empty for none), `rank`,
        `item_id`, `title`.
    """
    words = tokenise(instruction)
    joiner = " " if instruction.isascii() else ""
    parts = []
    for count in range(len(words) + 1):
        said = joiner.join(words[:count])
        listed = model.recommend(history, said or None, n=n)
        parts.append(listed.assign(words=count, said=words[count - 1] if count else ""))
    return pd.concat(parts, ignore_index=True)[["words", "said", "rank", "item_id", "title"]]


def draw_attention(
    weights: np.ndarray, labels: Sequence[str], ax: Axes | None = None, label: str = "share of attention"
) -> Axes:
    """Draw what the last token draws from the ones before, a row a layer and head.

    Args:
        weights: As `attention` returns them.
        labels: A name for each token.
        ax: Where to draw; a new figure by default.
        label: Of the colour bar.
    """
    import matplotlib.pyplot as plt

    n_layers, n_heads, n_tokens, _ = weights.shape
    if len(labels) != n_tokens:
        raise InputError(f"{len(labels)} labels for {n_tokens} tokens; give one each")
    rows = weights[:, :, -1].reshape(n_layers * n_heads, n_tokens)
    if ax is None:
        size = (max(4.0, 0.45 * n_tokens + 2.2), 0.3 * len(rows) + 1.4)
        _, ax = plt.subplots(figsize=size, layout="constrained")
    image = ax.imshow(rows, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(n_tokens), labels, rotation=60, ha="right", rotation_mode="anchor")
    names = [f"layer {layer + 1}, head {head + 1}" for layer in range(n_layers) for head in range(n_heads)]
    ax.set_yticks(range(len(rows)), names)
    ax.grid(False)
    ax.figure.colorbar(image, ax=ax, label=label)
    return ax


def draw_word_weights(weights: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw at which weights the words of a text are copied, a row a word, the first on top.

    Args:
        weights: As `Mini.word_weights` returns them.
        ax: Where to draw; a new figure by default.
    """
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(4.2, 0.3 * len(weights) + 1), layout="constrained")
    places = np.arange(len(weights))
    labels = {"words": "its vector, a", "titles": "to its titles, b (nats)"}
    names = [name for name in labels if name in weights]
    for number, name in enumerate(names):
        height, label = 0.8 / len(names), labels[name]
        ax.barh(places - 0.4 + height * (number + 0.5), weights[name], height, label=label)
    ax.axvline(0, color="grey", linewidth=0.8)
    ax.set_yticks(places, weights["word"])
    ax.invert_yaxis()
    ax.set_xlabel("weight")
    return ax


def draw_map(places: np.ndarray, groups: Sequence[str], shown: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw items as points, those of some groups in colour with a mark of their own.

    Args:
        places: As `item_map` returns them.
        groups: The group of each item, such as its first category.
        shown: Which groups to colour, at most seven.
        ax: Where to draw; a new figure by default.
    """
    import matplotlib.pyplot as plt

    from instructrec.plotting import COLOURS

    if len(shown) > len(COLOURS):
        raise InputError(f"{len(shown)} groups to colour; at most {len(COLOURS)} are told apart")
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
    of_item = np.asarray(groups)
    rest = ~np.isin(of_item, list(shown))
    ax.scatter(places[rest, 0], places[rest, 1], s=6, color="#CCCCCC", label="other")
    for group, colour, mark in zip(shown, COLOURS, "os^vDPX", strict=False):
        own = places[of_item == group]
        ax.scatter(own[:, 0], own[:, 1], s=16, color=colour, marker=mark, label=group, linewidths=0)
    ax.set_xlabel("first principal axis")
    ax.set_ylabel("second principal axis")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def draw_word_by_word(shares: pd.DataFrame, label: str, ax: Axes | None = None) -> Axes:
    """Draw how the first items change with each word, as lines.

    Args:
        shares: A row for each number of words read, its index the last word; a column for each share drawn.
        label: The axis label, with its unit.
        ax: Where to draw; a new figure by default.
    """
    import matplotlib.pyplot as plt

    from instructrec.plotting import COLOURS

    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    for (name, values), colour, mark in zip(shares.items(), COLOURS, "os^vDPX", strict=False):
        ax.plot(range(len(values)), values, color=colour, marker=mark, label=str(name))
    ax.set_xticks(range(len(shares)), [word or "(nothing)" for word in shares.index], rotation=45, ha="right")
    ax.set_ylim(-0.03, 1.05)
    ax.set_ylabel(label)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax
