"""Models that the tests of this folder share; each is read once."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from instructrec import models
from instructrec.models.lm.scoring import LanguageModel
from instructrec.models.lm.smollm2 import SmolLM2, load_smollm2
from tests import tiny_models


class Untuned(NamedTuple):
    """Answers of SmolLM2 before its adapters are added."""

    n_parameters: int
    next_token: str
    generated: str


@pytest.fixture(scope="session")
def llama_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a GGUF file of a tiny random Llama."""
    path = tmp_path_factory.mktemp("llama") / "model.gguf"
    return tiny_models.write_gguf(path, tiny_models.backbone("llama"), "llama")


@pytest.fixture(scope="session")
def smollm2() -> tuple[LanguageModel, Untuned]:
    """SmolLM2, and its answers before any adapter is added."""
    model = load_smollm2()
    best = int(model.next_token_log_probs("The capital of France is").argmax())
    generated = model.generate(model.chat("What is the capital of France?"), max_tokens=12)
    return model, Untuned(model.n_parameters, model.tokenizer.decode([best]), generated)


@pytest.fixture(scope="session")
def shipped(smollm2: tuple[LanguageModel, Untuned]) -> SmolLM2:
    """The shipped model: SmolLM2 with the adapters of data/smollm2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("instructrec.models.lm.smollm2.load_smollm2", lambda dtype: smollm2[0])
        model = models.load(models.SHIPPED["smollm2"])
        assert isinstance(model, SmolLM2)
        assert model.language_model is smollm2[0]
    return model
