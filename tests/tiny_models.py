"""Tiny random language models of each family, written as the files and folders that `pretrained` reads."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

END, START = "<|im_end|>", "<|im_start|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def byte_tokens() -> tuple[list[str], list[str]]:
    """Return the tokens of a byte-level vocabulary, special tokens first, and its merges."""
    from tokenizers import pre_tokenizers

    merges = ["t h", "th e", "Ġ the", "i n", "Ġ f"]
    merged_tokens = [merge.replace(" ", "") for merge in merges]
    return [END, START, *sorted(pre_tokenizers.ByteLevel.alphabet()), *merged_tokens], merges


def backbone(family: str, seed: int = 1) -> Any:
    """Return a random backbone of a family of GGUF files."""
    from instructrec.backend import quiet_keras, silent_stderr
    from instructrec.models.lm.pretrained import FAMILIES

    keras = quiet_keras()
    with silent_stderr():
        import keras_hub

    keras.utils.set_random_seed(seed)
    head_settings: dict[str, Any] = {"head_dim": 6} if family == "qwen3" else {}
    model = getattr(keras_hub.models, FAMILIES[family])(
        vocabulary_size=len(byte_tokens()[0]),
        num_layers=2,
        num_query_heads=4,
        num_key_value_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        tie_word_embeddings=family != "qwen2",
        layer_norm_epsilon=1e-5,
        **head_settings,
    )
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(weight.numpy() + rng.normal(size=weight.shape) * 0.3)
    return model


def write_gguf(path: Path, model: Any, family: str, **changes: Any) -> Path:
    """Write a backbone as a GGUF file of llama.cpp.

    Args:
        path: The file.
        model: The backbone.
        family: As in `FAMILIES`.
        **changes: "architecture", "tokenizer" or "scaling" replace a value of the file; "omit" names a tensor to leave
            out, "tensor" an additional one.
    """
    from gguf import GGUFWriter

    from instructrec.models.lm.pretrained import _keras_path

    tokens, merges = byte_tokens()
    writer = GGUFWriter(path, str(changes.get("architecture", family)))
    writer.add_block_count(model.num_layers)
    writer.add_context_length(128)
    writer.add_embedding_length(model.hidden_dim)
    writer.add_feed_forward_length(model.intermediate_dim)
    writer.add_head_count(model.num_query_heads)
    writer.add_head_count_kv(model.num_key_value_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    head_dim = getattr(model, "head_dim", model.hidden_dim // model.num_query_heads)
    if family == "qwen3":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if "scaling" in changes:
        writer.add_string(f"{family}.rope.scaling.type", changes["scaling"])
    writer.add_tokenizer_model(changes.get("tokenizer", "gpt2"))
    writer.add_tokenizer_pre("qwen2" if family != "llama" else "smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(merges)
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    arrays = {weight.path: weight.numpy() for weight in model.weights}
    names = ["token_embd.weight", "output_norm.weight", "output.weight"]
    for number in range(model.num_layers):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            names += [f"blk.{number}.{part}.weight", f"blk.{number}.{part}.bias"]
        names += [
            f"blk.{number}.{part}.weight" for part in ("attn_norm", "ffn_norm", "attn_q_norm", "attn_k_norm")
        ]
    for name in names:
        values = arrays.pop(str(_keras_path(name)), None)
        if values is None or name == changes.get("omit"):
            continue
        if name.endswith("bias"):
            values = values.ravel()
        elif values.ndim > 1 and name != "token_embd.weight":
            shape = (
                (-1, model.hidden_dim)
                if "attn_output" in name or "ffn_down" in name
                else (model.hidden_dim, -1)
            )
            values = values.reshape(shape).T
        if family == "llama" and name.endswith(("attn_q.weight", "attn_k.weight")):
            halves = values.reshape(-1, 2, head_dim // 2, values.shape[1])  # the inverse of `half_rotation`
            values = halves.swapaxes(1, 2).reshape(values.shape)
        writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))
    if "tensor" in changes:
        writer.add_tensor(changes["tensor"], np.ones((4,), dtype=np.float32))
    assert not arrays or "omit" in changes, arrays.keys()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_t5(folder: Path, seed: int = 1) -> Any:
    """Write a random T5 with a tokenizer of its own as a preset of Keras Hub, and return its backbone."""
    import io

    from instructrec.backend import quiet_keras, silent_stderr

    keras = quiet_keras()
    with silent_stderr():
        import keras_hub
        import sentencepiece

    buffer = io.BytesIO()
    lines = [
        "recommend the next film",
        "the history is Heat, Babe, Fargo",
        "a comedy, please",
        "Toy Story (1995)",
    ]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 4),
        model_writer=buffer,
        vocab_size=40,
        model_type="bpe",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    keras.utils.set_random_seed(seed)
    tokenizer = keras_hub.models.T5Tokenizer(proto=buffer.getvalue())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about masks that T5's layers do not use
        model = keras_hub.models.T5Backbone(
            vocabulary_size=tokenizer.vocabulary_size(),
            num_layers=2,
            num_heads=2,
            hidden_dim=16,
            intermediate_dim=32,
            key_value_dim=8,
            activation="gelu",
            tie_embedding_weights=False,
        )
    model.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return model
