"""Language models of others, read from a local path: GGUF files, and presets of Keras Hub.

A GGUF file (the format of llama.cpp) holds weights, often in four or eight bits, the tokenizer and the template of a
chat. The weights are turned back into floats, a block of rows at a time so that memory stays low, and assigned to the
Keras Hub backbone of the family. Nothing is unpickled and nothing is fetched. Derived in chapter `language-model`.
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
ROWS = 1024
"""Rows of a weight that are turned into floats at once."""
FAMILIES = {"llama": "LlamaBackbone", "qwen2": "QwenBackbone", "qwen3": "Qwen3Backbone"}
"""Keras Hub's backbone by the `general.architecture` of a GGUF file."""
PRESETS = ("LlamaBackbone", "Llama3Backbone", "QwenBackbone", "Qwen3Backbone", "T5Backbone")
"""Backbones whose presets are read."""
CONTROL = 3
"""The `tokenizer.ggml.token_type` of a control token."""
ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>")
"""Control tokens that end an answer, in whatever file they are."""
SPLITS = {
    "llama-bpe": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    ),
    "qwen2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    ),
}
"""How texts are cut before byte-level BPE, by the `tokenizer.ggml.pre` of a file; these are parts of the formats."""
BYTE_LEVEL = ("smollm", "gpt-2", "default", *SPLITS)


@dataclass(frozen=True)
class Checkpoint:
    """What a file or folder holds.

    Attributes:
        name: The file or folder, for messages.
        backbone: A backbone of Keras Hub with its weights.
        tokenizer: `encode(text).ids` and `decode(ids)`.
        controls: Texts of the control tokens.
        ends: Token ids that end an answer; the first is put behind answers in tuning.
        begins: Token ids that stand in front of every prompt.
        template: Jinja template of a chat, or None.
    """

    name: str
    backbone: Any
    tokenizer: Any
    controls: tuple[str, ...]
    ends: tuple[int, ...]
    begins: tuple[int, ...] = ()
    template: str | None = field(default=None, repr=False)


class Encoding(NamedTuple):
    """Token ids of a text."""

    ids: list[int]


class HubTokenizer:
    """A tokenizer of Keras Hub with the two methods of `tokenizers.Tokenizer` that are used here."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str) -> Encoding:
        """Return the token ids of a text."""
        return Encoding([int(one) for one in np.asarray(self.tokenizer.tokenize(text))])

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of token ids."""
        return str(self.tokenizer.detokenize([int(one) for one in ids]))


def read_checkpoint(path: str | Path, dtype: str = "float32") -> Checkpoint:
    """Read a language model of the Llama, Qwen or T5 family.

    Args:
        path: A GGUF file (Llama, Qwen2, Qwen3), or a folder of a Keras Hub preset (those and T5).
        dtype: "float32" (exact, any processor), "mixed_bfloat16" (faster where the processor multiplies bfloat16), or
            "bfloat16" (half the memory, not for tuning).

    Raises:
        InputError: No such file, a damaged one, or a model that is not read, with the reason.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; accepted: {', '.join(DTYPES)}")
    place = Path(path)
    if place.is_dir():
        return _of_preset(place, dtype)
    return of_gguf(read_gguf(place), dtype)


class GGUF(NamedTuple):
    """A GGUF file whose weights are yet to be read.

    Attributes:
        name: The file, for messages.
        values: What it says about itself, by key.
        tensors: Of the library gguf: `name`, `data`, `tensor_type`, `shape`.
        pages: The file as it is mapped into memory.
    """

    name: str
    values: dict[str, Any]
    tensors: list[Any]
    pages: Any

    def of_family(self, key: str, *default: Any) -> Any:
        """Return a value whose key begins with the family's name.

        Raises:
            InputError: It is missing, and there is no default.
        """
        full = f"{self.values['general.architecture']}.{key}"
        if full in self.values:
            return self.values[full]
        if default:
            return default[0]
        raise InputError(f"{self.name} lacks {full!r}; it is damaged or was written by another tool")

    def controls(self) -> tuple[str, ...]:
        """Return the texts of the control tokens."""
        tokens = self.values.get("tokenizer.ggml.tokens", [])
        kinds = self.values.get("tokenizer.ggml.token_type", [])
        return tuple(token for token, kind in zip(tokens, kinds, strict=False) if kind == CONTROL)


def read_gguf(path: str | Path) -> GGUF:
    """Return a GGUF file, its weights unread.

    Raises:
        InputError: A library is missing, no such file, or it is no GGUF file.
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
            raise InputError(f"{str(path)!r} is no GGUF file (it does not begin with 'GGUF')")
    try:
        reader = GGUFReader(path)
        values = {name: one.contents() for name, one in reader.fields.items()}
        return GGUF(path.name, values, list(reader.tensors), getattr(reader.data, "_mmap", None))
    except Exception as error:  # gguf raises whatever its NumPy calls do
        raise InputError(f"{str(path)!r} is a damaged GGUF file ({error}); get it again") from error


def check_libraries() -> None:
    """Check that what language models need is installed.

    Raises:
        InputError: A library is missing.
    """
    missing = [name for name in ("gguf", "keras_hub", "tokenizers") if find_spec(name) is None]
    if missing:
        raise InputError(f"language models need {', '.join(missing)}; run `pip install 'instructrec[llm]'`")


# -- GGUF ----------------------------------------------------------------------------------------------------------


def of_gguf(file: GGUF, dtype: str) -> Checkpoint:
    """Return what a GGUF file holds.

    Args:
        file: From `read_gguf`.
        dtype: One of `DTYPES`.

    Raises:
        InputError: A family, a tokenizer or a variant that is not read.
    """
    family = file.values.get("general.architecture", "unnamed")
    if family not in FAMILIES:
        more = "; T5 is read from the folder of a Keras Hub preset" if str(family).startswith("t5") else ""
        raise InputError(
            f"{file.name} holds a model of the family {family!r}; accepted: {', '.join(FAMILIES)}{more}"
        )
    tokenizer = build_tokenizer(file)
    controls = file.controls()
    about = {key.removeprefix("tokenizer."): value for key, value in file.values.items()}
    tokens = about["ggml.tokens"]
    ends = [about.get("ggml.eos_token_id"), *(tokens.index(token) for token in ENDS if token in controls)]
    begins = [about.get("ggml.bos_token_id")] if about.get("ggml.add_bos_token") else []
    quiet_keras()
    with silent_stderr():  # Keras Hub's libraries talk when they are imported
        backbone = _empty_backbone(file, len(tokens), dtype)
    _assign(backbone, file)
    return Checkpoint(
        file.name,
        backbone,
        tokenizer,
        controls,
        tuple(dict.fromkeys(int(one) for one in ends if one is not None)),
        tuple(int(one) for one in begins if one is not None),
        about.get("chat_template"),
    )


def _empty_backbone(file: GGUF, n_tokens: int, dtype: str) -> Any:
    """Return the family's backbone of the file's size, untrained.

    Raises:
        InputError: A variant whose arithmetic Keras Hub's backbone does not do.
    """
    import keras_hub

    family, about = file.values["general.architecture"], file.of_family
    names = {tensor.name for tensor in file.tensors}
    hidden, heads = int(about("embedding_length")), int(about("attention.head_count"))
    head_dim = int(about("attention.key_length", hidden // heads))
    scaled = str(about("rope.scaling.type", "none"))
    reasons = {
        f"its rotary places are scaled ({scaled})": scaled != "none",
        "its rotary frequencies are adjusted (rope_freqs.weight)": "rope_freqs.weight" in names,
        "it turns a part of each head alone": int(about("rope.dimension_count", head_dim)) != head_dim,
        "it mixes experts": int(about("expert_count", 0)) > 0,
        f"its heads are {head_dim} wide, not {hidden // heads}": family != "qwen3"
        and head_dim != hidden // heads,
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(f"{file.name} is a {family} model that is not read: {reason}")
    more = {"head_dim": head_dim} if family == "qwen3" else {}
    return getattr(keras_hub.models, FAMILIES[family])(
        vocabulary_size=n_tokens,
        num_layers=int(about("block_count")),
        num_query_heads=heads,
        num_key_value_heads=int(about("attention.head_count_kv", heads)),
        hidden_dim=hidden,
        intermediate_dim=int(about("feed_forward_length")),
        rope_max_wavelength=int(about("rope.freq_base", 10_000)),
        layer_norm_epsilon=float(f"{about('attention.layer_norm_rms_epsilon'):.3g}"),
        tie_word_embeddings="output.weight" not in names,
        dtype=dtype,
        **more,
    )


def _assign(backbone: Any, file: GGUF) -> None:
    """Give a backbone the weights of a file.

    Raises:
        InputError: The file has tensors that the backbone has no place for, or lacks some.
    """
    import tensorflow as tf

    family = file.values["general.architecture"]
    targets = {weight.path: weight for weight in backbone.weights}
    for tensor in file.tensors:
        weight = targets.pop(_keras_path(tensor.name), None)
        if weight is None:
            raise InputError(
                f"{file.name} is a {family} model that is not read: Keras Hub's has no place for {tensor.name}"
            )
        if int(np.prod(tensor.shape)) != int(np.prod(weight.shape)):
            shape, wanted = tuple(int(one) for one in tensor.shape[::-1]), tuple(weight.shape)
            raise InputError(f"{file.name} is damaged: {tensor.name} is of shape {shape}, not {wanted}")
        if tensor.name == "token_embd.weight":  # the largest; to assign to a slice would copy it
            for at in range(0, len(tensor.data), ROWS):
                rows = _floats(tensor, slice(at, at + ROWS))
                places = np.arange(at, at + len(rows))
                weight.value.scatter_update(tf.IndexedSlices(tf.cast(rows, weight.dtype), places))
        else:
            values = _floats(tensor)
            if family == "llama" and tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
                values = half_rotation(values, head_dim=weight.shape[-1])  # Qwen's are in Keras's order
            weight.assign(values.T.reshape(weight.shape))
        if file.pages is not None and hasattr(mmap, "MADV_DONTNEED"):
            file.pages.madvise(mmap.MADV_DONTNEED)  # let the system take back what was read
    if targets:
        raise InputError(f"{file.name} lacks {len(targets)} tensors, {min(targets)} among them; get it again")


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
    """Return query or key rows in the order of Keras: GGUF rotates neighbouring pairs, Keras one half with the other.

    Args:
        weights: Shape (heads * head_dim, hidden).
        head_dim: Rows of one head.
    """
    pairs = weights.reshape(-1, head_dim // 2, 2, weights.shape[1])
    return pairs.swapaxes(1, 2).reshape(weights.shape)


def _keras_path(name: str) -> str | None:
    """Return the path of the Keras weight that a GGUF tensor fills; None for one that is not known."""
    whole = {
        "token_embd.weight": "token_embedding/embeddings",
        "output.weight": "token_embedding/reverse_embeddings",
        "output_norm.weight": "sequence_output_layernorm/scale",
    }
    if name in whole:
        return whole[name]
    places = {
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
    if len(parts) != 3 or parts[0] != "blk" or parts[2] not in places:
        return None
    return f"transformer_layer_{parts[1]}/{places[parts[2]]}"


def build_tokenizer(file: GGUF) -> Any:
    """Return the tokenizer of a GGUF file, `tokenizers.Tokenizer`: byte-level BPE with its own tokens and merges.

    Args:
        file: From `read_gguf`.

    Raises:
        InputError: A tokenizer of another kind.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    def value(key: str, default: object) -> Any:
        return file.values.get(f"tokenizer.ggml.{key}", default)

    kind, split = str(value("model", "none")), str(value("pre", "default"))
    if kind != "gpt2" or split not in BYTE_LEVEL:
        raise InputError(
            f"{file.name} has a tokenizer of the kind {kind!r} ({split!r}); accepted: 'gpt2' (byte-level BPE) with "
            f"{', '.join(BYTE_LEVEL)}"
        )
    tokens = value("tokens", [])
    merges = [tuple(merge.split(" ")) for merge in value("merges", [])]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges)
    )
    if split in SPLITS:
        first = pre_tokenizers.Split(Regex(SPLITS[split]), "isolated")
        bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, bytes_of])
        if split == "qwen2":
            tokenizer.normalizer = normalizers.NFC()
    else:
        digits = [pre_tokenizers.Digits(individual_digits=True)] if split == "smollm" else []
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [*digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in file.controls()])
    return tokenizer


# -- presets of Keras Hub ------------------------------------------------------------------------------------------


def _of_preset(folder: Path, dtype: str) -> Checkpoint:
    """Return what the folder of a preset holds.

    Raises:
        InputError: No preset, a damaged one, or one of another family.
    """
    check_libraries()
    settings = folder / "config.json"
    if not settings.is_file():
        raise InputError(f"{str(folder)!r} is no preset of Keras Hub (it holds no config.json)")
    try:
        kind = str(json.loads(settings.read_text("utf-8"))["class_name"]).rpartition(">")[2]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(settings)!r} is no configuration of a Keras Hub preset ({error})") from error
    if kind not in PRESETS:
        raise InputError(f"{str(folder)!r} is a preset of {kind}; accepted: {', '.join(PRESETS)}")
    quiet_keras()
    with silent_stderr():
        import keras_hub
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of masks that T5's layers have no use for
            backbone = keras_hub.models.Backbone.from_preset(str(folder.resolve()), dtype=dtype)
        tokenizer = keras_hub.models.Tokenizer.from_preset(str(folder.resolve()))
    except Exception as error:  # Keras Hub raises many kinds
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{str(folder)!r} is a damaged preset of {kind} ({said})") from error
    end, begin = (getattr(tokenizer, f"{which}_token_id", None) for which in ("end", "start"))
    begins = () if kind == "T5Backbone" or begin is None else (int(begin),)
    controls = tuple(
        str(one) for one in (getattr(tokenizer, f"{which}_token", None) for which in ("start", "end")) if one
    )
    return Checkpoint(
        folder.name, backbone, HubTokenizer(tokenizer), controls, () if end is None else (int(end),), begins
    )
