"""Pretrained language models, read from a local path: GGUF files and presets of Keras Hub.

A GGUF file (the format of llama.cpp) holds weights, often in four or eight bits, the tokenizer and the chat template.
The weights are converted to floats, a block of rows at a time so that memory stays low, and assigned to the Keras Hub
backbone of the family. Nothing is unpickled and nothing is downloaded. Derived in chapter `language-model`.
"""

from __future__ import annotations

import json
import mmap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from instructrec.backend import quiet_keras, silent_stderr
from instructrec.errors import InputError

DTYPES = ("float32", "mixed_bfloat16", "bfloat16")
DEQUANTIZED_ROWS = 1024
"""Rows of the embedding that are converted to floats at once."""
FAMILIES = {"llama": "LlamaBackbone", "qwen2": "QwenBackbone", "qwen3": "Qwen3Backbone"}
"""Keras Hub's backbone by the `general.architecture` of a GGUF file."""
PRESET_BACKBONES = ("LlamaBackbone", "Llama3Backbone", "QwenBackbone", "Qwen3Backbone", "T5Backbone")
"""Backbones whose presets can be read."""
CONTROL_TOKEN_TYPE = 3
"""The `tokenizer.ggml.token_type` of a special token."""
EOS_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>")
"""Special tokens that end an answer, if a file has them."""
SPLIT_PATTERNS = {
    "llama-bpe": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    ),
    "qwen2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    ),
}
"""How texts are split before byte-level BPE, by the `tokenizer.ggml.pre` of a file; the formats define the patterns."""
PRE_TOKENIZERS = ("smollm", "gpt-2", "default", *SPLIT_PATTERNS)


@dataclass(frozen=True)
class PretrainedModel:
    """A pretrained model as it was read from a file or folder.

    Attributes:
        name: The file or folder, for messages.
        backbone: A backbone of Keras Hub with its weights.
        tokenizer: `encode(text).ids` and `decode(ids)`.
        special_tokens: Texts of the special tokens.
        eos: Token ids that end an answer; the first is appended to answers in tuning.
        bos: Token ids that start every prompt.
        template: Jinja template of a chat, or None.
    """

    name: str
    backbone: Any
    tokenizer: Any
    special_tokens: tuple[str, ...]
    eos: tuple[int, ...]
    bos: tuple[int, ...] = ()
    template: str | None = field(default=None, repr=False)


class Encoding(NamedTuple):
    """Token ids of a text."""

    ids: list[int]


class HubTokenizer:
    """A tokenizer of Keras Hub behind the two methods of `tokenizers.Tokenizer` that the package uses."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str) -> Encoding:
        """Return the token ids of a text."""
        return Encoding(np.asarray(self.tokenizer.tokenize(text)).tolist())

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of token ids."""
        return str(self.tokenizer.detokenize([int(token) for token in ids]))


def read_pretrained(path: str | Path, dtype: str = "float32") -> PretrainedModel:
    """Read a language model of the Llama, Qwen or T5 family.

    Args:
        path: A GGUF file (Llama, Qwen2, Qwen3), or a folder of a Keras Hub preset (those and T5).
        dtype: "float32" (exact, any processor), "mixed_bfloat16" (faster where the processor multiplies bfloat16), or
            "bfloat16" (half the memory, not for tuning).

    Raises:
        InputError: The file is missing or damaged, or holds an unsupported model; the message says why.
    """
    check_dtype("dtype", dtype)
    path = Path(path)
    return _from_preset(path, dtype) if path.is_dir() else from_gguf(read_gguf(path), dtype)


def check_dtype(setting: str, dtype: str) -> None:
    """Check that a setting is one of `DTYPES`.

    Raises:
        InputError: It is something else.
    """
    if dtype not in DTYPES:
        raise InputError(f"{setting} is {dtype!r}; accepted: {', '.join(DTYPES)}")


class GGUF(NamedTuple):
    """A GGUF file whose weights are not read yet.

    Attributes:
        name: The file, for messages.
        metadata: Values by key, such as "general.architecture".
        tensors: Tensors of the library gguf: `name`, `data`, `tensor_type`, `shape`.
        memory_map: The file mapped into memory, or None.
    """

    name: str
    metadata: dict[str, Any]
    tensors: list[Any]
    memory_map: Any

    def family_value(self, key: str, *default: Any) -> Any:
        """Return the value of a key that is prefixed by the family, such as "llama.block_count" for "block_count".

        Raises:
            InputError: The key is missing, and there is no default.
        """
        full_key = f"{self.metadata['general.architecture']}.{key}"
        if full_key in self.metadata:
            return self.metadata[full_key]
        if default:
            return default[0]
        raise InputError(f"{self.name} lacks {full_key!r}; it is damaged or was written by another tool")

    def special_tokens(self) -> tuple[str, ...]:
        """Return the texts of the special tokens."""
        tokens = self.metadata.get("tokenizer.ggml.tokens", [])
        types = self.metadata.get("tokenizer.ggml.token_type", [])
        return tuple(token for token, kind in zip(tokens, types, strict=False) if kind == CONTROL_TOKEN_TYPE)


def read_gguf(path: str | Path) -> GGUF:
    """Read the metadata of a GGUF file, without its weights.

    Raises:
        InputError: A library is missing, the file is missing, or it is not a GGUF file.
    """
    check_libraries()
    from gguf import GGUFReader

    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{str(path)!r} is not a file; give a GGUF file, or the folder of a Keras Hub preset"
        )
    with path.open("rb") as handle:
        if handle.read(4) != b"GGUF":
            raise InputError(f"{str(path)!r} is no GGUF file (it does not start with 'GGUF')")
    try:
        reader = GGUFReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
        return GGUF(path.name, metadata, list(reader.tensors), getattr(reader.data, "_mmap", None))
    except Exception as error:  # gguf passes on the errors of its NumPy calls
        raise InputError(f"{str(path)!r} is a damaged GGUF file ({error}); get it again") from error


def check_libraries() -> None:
    """Check that the libraries for language models are installed.

    Raises:
        InputError: A library is missing.
    """
    missing = [name for name in ("gguf", "keras_hub", "tokenizers") if find_spec(name) is None]
    if missing:
        raise InputError(f"language models need {', '.join(missing)}; run `pip install 'instructrec[llm]'`")


# -- GGUF ----------------------------------------------------------------------------------------------------------


def from_gguf(file: GGUF, dtype: str) -> PretrainedModel:
    """Read the model of a GGUF file.

    Args:
        file: From `read_gguf`.
        dtype: One of `DTYPES`.

    Raises:
        InputError: An unsupported family, tokenizer or variant.
    """
    family = file.metadata.get("general.architecture", "unnamed")
    if family not in FAMILIES:
        hint = "; T5 is read from the folder of a Keras Hub preset" if str(family).startswith("t5") else ""
        raise InputError(
            f"{file.name} holds a model of the family {family!r}; accepted: {', '.join(FAMILIES)}{hint}"
        )
    tokenizer = build_tokenizer(file)
    special_tokens = file.special_tokens()
    metadata = {key.removeprefix("tokenizer."): value for key, value in file.metadata.items()}
    tokens = metadata["ggml.tokens"]
    eos = [
        metadata.get("ggml.eos_token_id"),
        *(tokens.index(token) for token in EOS_TOKENS if token in special_tokens),
    ]
    bos = [metadata.get("ggml.bos_token_id")] if metadata.get("ggml.add_bos_token") else []
    quiet_keras()
    with silent_stderr():  # Keras Hub's libraries write messages when they are imported
        backbone = _empty_backbone(file, len(tokens), dtype)
    _assign_weights(backbone, file)
    return PretrainedModel(
        file.name,
        backbone,
        tokenizer,
        special_tokens,
        tuple(dict.fromkeys(int(token) for token in eos if token is not None)),
        tuple(int(token) for token in bos if token is not None),
        metadata.get("chat_template"),
    )


def _empty_backbone(file: GGUF, n_tokens: int, dtype: str) -> Any:
    """Return a backbone of the file's family and size, with random weights.

    Raises:
        InputError: A variant that Keras Hub's backbone does not compute.
    """
    import keras_hub

    family, value = file.metadata["general.architecture"], file.family_value
    names = {tensor.name for tensor in file.tensors}
    hidden, heads = int(value("embedding_length")), int(value("attention.head_count"))
    head_dim = int(value("attention.key_length", hidden // heads))
    rope_scaling = str(value("rope.scaling.type", "none"))
    reasons = {
        f"its rotary positions are scaled ({rope_scaling})": rope_scaling != "none",
        "its rotary frequencies are adjusted (rope_freqs.weight)": "rope_freqs.weight" in names,
        "it rotates only a part of each head": int(value("rope.dimension_count", head_dim)) != head_dim,
        "it mixes experts": int(value("expert_count", 0)) > 0,
        f"its heads are {head_dim} wide, not {hidden // heads}": family != "qwen3"
        and head_dim != hidden // heads,
    }
    for reason, applies in reasons.items():
        if applies:
            raise InputError(f"{file.name} is an unsupported {family} model: {reason}")
    head_settings = {"head_dim": head_dim} if family == "qwen3" else {}
    return getattr(keras_hub.models, FAMILIES[family])(
        vocabulary_size=n_tokens,
        num_layers=int(value("block_count")),
        num_query_heads=heads,
        num_key_value_heads=int(value("attention.head_count_kv", heads)),
        hidden_dim=hidden,
        intermediate_dim=int(value("feed_forward_length")),
        rope_max_wavelength=int(value("rope.freq_base", 10_000)),
        layer_norm_epsilon=float(f"{value('attention.layer_norm_rms_epsilon'):.3g}"),
        tie_word_embeddings="output.weight" not in names,
        dtype=dtype,
        **head_settings,
    )


def _assign_weights(backbone: Any, file: GGUF) -> None:
    """Assign the weights of a file to a backbone.

    Raises:
        InputError: The file has tensors that the backbone lacks, lacks some, or has one of another shape.
    """
    family = file.metadata["general.architecture"]
    weights = {weight.path: weight for weight in backbone.weights}
    for tensor in file.tensors:
        weight = weights.pop(_keras_path(tensor.name), None)
        if weight is None:
            raise InputError(
                f"{file.name} is an unsupported {family} model: Keras Hub's has no weight for {tensor.name}"
            )
        if int(np.prod(tensor.shape)) != int(np.prod(weight.shape)):
            shape = tuple(int(size) for size in tensor.shape[::-1])
            raise InputError(
                f"{file.name} is damaged: {tensor.name} is of shape {shape}, not {tuple(weight.shape)}"
            )
        _assign_weight(weight, tensor, family)
        if file.memory_map is not None and hasattr(mmap, "MADV_DONTNEED"):
            file.memory_map.madvise(mmap.MADV_DONTNEED)  # the system may free the pages that were read
    if weights:
        raise InputError(f"{file.name} lacks {len(weights)} tensors, {min(weights)} among them; get it again")


def _assign_weight(weight: Any, tensor: Any, family: str) -> None:
    """Assign a tensor of a file to a weight of the backbone."""
    import tensorflow as tf

    if tensor.name == "token_embd.weight":  # the largest weight; assigning a slice would copy it
        for start in range(0, len(tensor.data), DEQUANTIZED_ROWS):
            rows = _floats(tensor, slice(start, start + DEQUANTIZED_ROWS))
            indices = np.arange(start, start + len(rows))
            weight.value.scatter_update(tf.IndexedSlices(tf.cast(rows, weight.dtype), indices))
    else:
        values = _floats(tensor)
        if family == "llama" and tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            values = half_rotation(values, head_dim=weight.shape[-1])  # Qwen's rows are in Keras's order
        weight.assign(values.T.reshape(weight.shape))


def _floats(tensor: Any, rows: slice = slice(None)) -> np.ndarray:
    """Return rows of a tensor as float32, shape (rows, columns) or (columns,)."""
    from gguf import dequantize

    try:
        return np.asarray(dequantize(tensor.data[rows], tensor.tensor_type), dtype=np.float32)
    except NotImplementedError as error:
        raise InputError(
            f"{tensor.name} is stored as {tensor.tensor_type.name}, which the library gguf cannot read"
        ) from error


def half_rotation(weights: np.ndarray, head_dim: int) -> np.ndarray:
    """Reorder query or key rows from GGUF, which rotates neighbouring pairs, to Keras, which rotates the two halves.

    Args:
        weights: Shape (heads * head_dim, hidden).
        head_dim: Rows of one head.
    """
    pairs = weights.reshape(-1, head_dim // 2, 2, weights.shape[1])
    return pairs.swapaxes(1, 2).reshape(weights.shape)


def _keras_path(name: str) -> str | None:
    """Return the path of the Keras weight for a GGUF tensor; None for an unknown tensor."""
    model_weights = {
        "token_embd.weight": "token_embedding/embeddings",
        "output.weight": "token_embedding/reverse_embeddings",
        "output_norm.weight": "sequence_output_layernorm/scale",
    }
    if name in model_weights:
        return model_weights[name]
    layer_weights = {
        "attn_norm.weight": "self_attention_layernorm/scale",
        "attn_q.weight": "self_attention/query/kernel",
        "attn_q.bias": "self_attention/query/bias",
        "attn_q_norm.weight": "self_attention/query_dense_layernorm/scale",
        "attn_k.weight": "self_attention/key/kernel",
        "attn_k.bias": "self_attention/key/bias",
        "attn_k_norm.weight": "self_attention/key_dense_layernorm/scale",
        "attn_v.weight": "self_attention/value/kernel",
        "attn_v.bias": "self_attention/value/bias",
        "attn_output.weight": "self_attention/attention_output/kernel",
        "ffn_norm.weight": "feedforward_layernorm/scale",
        "ffn_gate.weight": "feedforward_gate_dense/kernel",
        "ffn_up.weight": "feedforward_intermediate_dense/kernel",
        "ffn_down.weight": "feedforward_output_dense/kernel",
    }
    parts = name.split(".", 2)
    if len(parts) != 3 or parts[0] != "blk" or parts[2] not in layer_weights:
        return None
    return f"transformer_layer_{parts[1]}/{layer_weights[parts[2]]}"


def build_tokenizer(file: GGUF) -> Any:
    """Return the tokenizer of a GGUF file, `tokenizers.Tokenizer`: byte-level BPE with its own tokens and merges.

    Args:
        file: From `read_gguf`.

    Raises:
        InputError: An unsupported tokenizer.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    def value(key: str, default: object) -> Any:
        return file.metadata.get(f"tokenizer.ggml.{key}", default)

    kind, split = str(value("model", "none")), str(value("pre", "default"))
    if kind != "gpt2" or split not in PRE_TOKENIZERS:
        raise InputError(
            f"{file.name} has a tokenizer of the kind {kind!r} ({split!r}); accepted: 'gpt2' (byte-level BPE) with "
            f"{', '.join(PRE_TOKENIZERS)}"
        )
    tokens = value("tokens", [])
    merges = [tuple(merge.split(" ")) for merge in value("merges", [])]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges)
    )
    if split in SPLIT_PATTERNS:
        split_words = pre_tokenizers.Split(Regex(SPLIT_PATTERNS[split]), "isolated")
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split_words, to_bytes])
        if split == "qwen2":
            tokenizer.normalizer = normalizers.NFC()
    else:
        digits = [pre_tokenizers.Digits(individual_digits=True)] if split == "smollm" else []
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [*digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in file.special_tokens()])
    return tokenizer


# -- presets of Keras Hub ------------------------------------------------------------------------------------------


def _from_preset(folder: Path, dtype: str) -> PretrainedModel:
    """Read the model of a preset's folder.

    Raises:
        InputError: The folder is not a preset, or the preset is damaged or of an unsupported family.
    """
    check_libraries()
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise InputError(f"{str(folder)!r} is no preset of Keras Hub (it holds no config.json)")
    try:
        kind = str(json.loads(config_file.read_text("utf-8"))["class_name"]).rpartition(">")[2]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{str(config_file)!r} is no configuration of a Keras Hub preset ({error})"
        ) from error
    if kind not in PRESET_BACKBONES:
        raise InputError(f"{str(folder)!r} is a preset of {kind}; accepted: {', '.join(PRESET_BACKBONES)}")
    quiet_keras()
    with silent_stderr():
        import keras_hub
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about masks that T5's layers do not use
            backbone = keras_hub.models.Backbone.from_preset(str(folder.resolve()), dtype=dtype)
        tokenizer = keras_hub.models.Tokenizer.from_preset(str(folder.resolve()))
    except Exception as error:  # Keras Hub raises errors of many kinds
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{str(folder)!r} is a damaged preset of {kind} ({reason})") from error
    bos_id, eos_id = (getattr(tokenizer, f"{name}_token_id", None) for name in ("start", "end"))
    special_tokens = [getattr(tokenizer, f"{name}_token", None) for name in ("start", "end")]
    return PretrainedModel(
        folder.name,
        backbone,
        HubTokenizer(tokenizer),
        tuple(str(token) for token in special_tokens if token),
        eos=() if eos_id is None else (int(eos_id),),
        bos=() if kind == "T5Backbone" or bos_id is None else (int(bos_id),),
    )
