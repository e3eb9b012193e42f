"""All wordings that the package writes or reads, as editable TOML files, and the functions that read them."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@cache
def read_wordings(name: str) -> dict[str, Any]:
    """Return the content of a file of this folder.

    Args:
        name: The file's name without its ending, such as "lexicon".
    """
    return tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))
