"""Rules for popularity: "hidden gems", "热门".

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

from instructrec.instructions.parsing.constraint import Compare
from instructrec.instructions.parsing.fields import NUMBER, POPULARITY
from instructrec.instructions.parsing.rules.spans import Rule, rule

MIN_POPULAR = 0.75
"""Minimum popularity of an item called popular: it exceeds that of three quarters of the catalogue."""
MAX_OBSCURE = 0.25
"""Maximum popularity of an item called obscure."""

_OBSCURE = (
    r"\b(?:obscure|lesser[- ]known|little[- ]known|niche|hidden gems?"
    r"|underrated|unpopular|off the beaten track)\b|冷门|小众|不知名|鲜为人知"
)
_POPULAR = (
    r"\b(?:popular|well[- ]known|famous|best[- ]?sell(?:ers?|ing)|blockbusters?|trending|mainstream|hits?)\b"
    r"|热门|流行|受欢迎|畅销|知名|大片|爆款|经典热卖"
)


def popularity_rules() -> list[Rule]:
    """Return the rules for obscure and popular items; "unpopular" and 不知名 come before what they contain."""
    return [
        rule(_OBSCURE, lambda _: Compare(POPULARITY, NUMBER, "<=", MAX_OBSCURE)),
        rule(_POPULAR, lambda _: Compare(POPULARITY, NUMBER, ">=", MIN_POPULAR)),
    ]
