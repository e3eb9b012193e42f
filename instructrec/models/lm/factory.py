"""Build a language model from a pretrained backbone: a decoder or an encoder-decoder."""

from __future__ import annotations

from pathlib import Path

from instructrec.models.lm.decoder import Decoder
from instructrec.models.lm.encoder_decoder import EncoderDecoder
from instructrec.models.lm.pretrained import PretrainedModel, read_pretrained
from instructrec.models.lm.scoring import LanguageModel


def language_model(pretrained: PretrainedModel) -> LanguageModel:
    """Return an `EncoderDecoder` if the backbone has an encoder, else a `Decoder`."""
    has_encoder = hasattr(pretrained.backbone, "encoder_transformer_layers")
    return (EncoderDecoder if has_encoder else Decoder)(pretrained)


def load_language_model(path: str | Path, dtype: str = "float32") -> LanguageModel:
    """Read a language model from a GGUF file or the folder of a Keras Hub preset; see `read_pretrained`."""
    return language_model(read_pretrained(path, dtype))
