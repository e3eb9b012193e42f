"""Numbers in a request, in digits or Chinese characters, and quantiles of a column for words such as "cheap".

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import sys

import numpy as np

from instructrec.datasets.dataset import Dataset

MAX_AMOUNT = sys.float_info.max

CHINESE_DIGITS = {character: number for number, character in enumerate("零一二三四五六七八九")} | {"两": 2}
_CHINESE_UNITS = {"十": 10, "百": 100, "千": 1000}
_CHINESE_NUMERAL = "[零一二两三四五六七八九十百千万]"

# Each is part of a regular expression. An amount is atomic and starts at its first digit; otherwise a row of n digits
# would take n² steps.
AMOUNT = rf"(?>(?<!\d)\d+(?:\.\d+)?|(?<!{_CHINESE_NUMERAL}){_CHINESE_NUMERAL}+)"
YEAR = r"(?<![\d.])(?:18[6-9]\d|19\d\d|20\d\d)(?![\d.]*\d)"
CURRENCY = r"(?:yuan|rmb|cny|dollars?|usd|bucks?|元|块钱?)"
CURRENCY_BEFORE = r"(?:rmb|cny|usd|[¥$])?\s*"


def amount(text: str) -> float:
    """Return a number in digits or Chinese characters, such as 一百二十; one that is too large is the largest float."""
    if text[0].isdigit():
        return min(float(text), MAX_AMOUNT)
    total = section = digit = 0
    for character in text:
        if character in CHINESE_DIGITS:
            digit = CHINESE_DIGITS[character]
        elif character == "万":
            total, section, digit = (total + section + digit) * 10_000, 0, 0
        else:
            section += (digit or 1) * _CHINESE_UNITS[character]
            digit = 0
    return float(min(total + section + digit, int(MAX_AMOUNT)))


def column_quantile(dataset: Dataset, column: str, share: float) -> float:
    """Return a quantile of a number column that is one of its values; 0 for a column without values.

    Args:
        dataset: The data set of the items.
        column: Name of the column.
        share: Share of the values at or below the quantile, in [0, 1].
    """
    values = dataset.items[column].dropna().to_numpy(dtype=float)
    return float(np.quantile(values, share, method="nearest")) if len(values) else 0.0
