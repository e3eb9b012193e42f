"""A teacher model behind an OpenAI-compatible endpoint. Derived in chapter `instruction-generation`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AnnotationRequest:
    """What a teacher is asked to put into words.

    Attributes:
        kind: "taste" or "wish".
        language: "en" or "zh".
        titles: Titles of a history, oldest first.
        categories: Names of categories.
        forbidden: Titles that must not stand in the reply.
    """

    kind: str
    language: str
    titles: tuple[str, ...]
    categories: tuple[str, ...]
    forbidden: tuple[str, ...]
