"""Attention of many continuations to one prompt whose keys and values are stored once."""

from __future__ import annotations

from typing import Any

MASKED_LOGIT = -1e9
"""Attention score of positions that may not be attended to."""


def shared_prefix_attention(layer: Any, hidden: Any, keys: Any, values: Any, mask: Any) -> Any:
    """Run a decoder layer of Keras Hub's Llama or Qwen on continuations of prompts, without copying a prompt's keys.

    A token of a continuation attends to its prompt and to its own text. The two softmaxes, with outputs o and o', are
    combined into one: w o + (1 - w) o' with w = sigmoid(log sum exp - log sum exp'), where each log sum exp is that of
    the softmax's scores. All continuations of a prompt meet its keys in one matrix product. Derived in chapter
    `language-model`.

    Args:
        layer: A layer of the backbone.
        hidden: States of the continuations, shape (n_prompts * n, length, width).
        keys: Keys of the prompts after rotation, shape (n_prompts, positions, key heads, head width).
        values: Values of the prompts, of the same shape.
        mask: 1 for each position of a prompt that holds a token, 0 for padding, shape (n_prompts, positions).

    Returns:
        States after the layer, of the shape of `hidden`.
    """
    from keras import ops

    sublayers = {sublayer.name: sublayer for sublayer in layer._flatten_layers(include_self=False)}
    dtype = hidden.dtype
    n_prompts, n_positions, n_key_heads, head_dim = ops.shape(keys)
    length = ops.shape(hidden)[1]

    def rotated(name: str, states: Any) -> Any:
        """Project states to queries or keys and rotate them to their positions after the prompt."""
        projection = sublayers[name](states)
        norm = sublayers.get(f"{name}_dense_layernorm")  # Qwen3 only
        projection = projection if norm is None else norm(projection)
        return sublayers["self_attention"].rotary_embedding_layer(projection, start_index=n_positions)

    def attend(query: Any, keys: Any, values: Any, attention_mask: Any) -> tuple[Any, Any]:
        """Return the output of a softmax over keys, (rows, queries, heads, groups, head width), and its log sum exp."""
        scores = ops.cast(ops.einsum("nqhgs,nkhs->nhgqk", query, keys), "float32") * head_dim**-0.5
        scores = ops.where(attention_mask, scores, MASKED_LOGIT)
        log_total = ops.logsumexp(scores, axis=-1, keepdims=True)
        output = ops.einsum("nhgqk,nkhs->nqhgs", ops.cast(ops.exp(scores - log_total), dtype), values)
        return output, ops.transpose(log_total, (0, 3, 1, 2, 4))

    normed = sublayers["self_attention_layernorm"](hidden)
    query = rotated("query", normed)
    groups = query.shape[2] // n_key_heads
    query = ops.reshape(query, (-1, length, n_key_heads, groups, head_dim))
    query_by_prompt = ops.reshape(query, (n_prompts, -1, n_key_heads, groups, head_dim))
    prefix_mask = ops.cast(mask, "bool")[:, None, None, None, :]
    prefix, prefix_log_total = attend(query_by_prompt, keys, values, prefix_mask)
    causal_mask = ops.arange(length)[:, None] >= ops.arange(length)[None, :]
    own, own_log_total = attend(query, rotated("key", normed), sublayers["value"](normed), causal_mask)
    prefix = ops.reshape(prefix, ops.shape(own))
    prefix_log_total = ops.reshape(prefix_log_total, ops.shape(own_log_total))
    weight = ops.cast(ops.sigmoid(prefix_log_total - own_log_total), dtype)
    output = ops.reshape(weight * prefix + (1 - weight) * own, (-1, length, n_key_heads * groups, head_dim))
    hidden = hidden + sublayers["attention_output"](output)
    return hidden + _feed_forward(layer, sublayers, hidden)


def _feed_forward(layer: Any, sublayers: dict[str, Any], hidden: Any) -> Any:
    """Return the output of a layer's gated feed-forward part."""
    from keras import ops

    normed = sublayers["feedforward_layernorm"](hidden)
    gate = layer.activation(ops.cast(sublayers["feedforward_gate_dense"](normed), "float32"))
    product = sublayers["feedforward_intermediate_dense"](normed) * ops.cast(gate, hidden.dtype)
    return sublayers["feedforward_output_dense"](product)
