"""The words of a request that were not understood.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_FILLER = re.compile(
    r"\b(?:a|an|the|i'd|i'm|i|me|my|we|us|you|can|could|would|please|want|wants|wanted|like|need|looking|for|to|of|in|on|"
    r"with|and|or|but|some|something|anything|any|recommend|suggest|show|give|find|get|is|are|be|that|which|this|it|"
    r"movies?|films?|items?|products?|things?|ones?|made|released|from|at|most|only|just|set|watch|see|buy|"
    r"too|very|so|really|mood|feel|either|between|nothing but|releases?|genres?|categor(?:y|ies)|kinds?|all|every|"
    r"everything|priced?|prices|costs?|costing)\b"
    r"|电影|影片|片子|片|商品|东西|推荐|一些|一点|[一几来][部个件]|我们|我|请|想要|想看|想买|想|要|(?<!好)看|买|给|来点|来些|"
    r"价格|价位|价钱|售价|适合|什么|别的|只要|就是|只|既|也|在|类|太|很|非常|比较|预算|[都就也]行|行(?=\W|$)|除|[以之]外|外(?=\W|$)|"
    r"来|有没有|有|是|的|了|吗|呢|吧|点|些|和|或者|或|与|但是|但|而且|并且|又|都|就|最好|左右|可以|出品|上映|拍"
)


def ignored_words(text: str, understood: Iterable[tuple[int, int]]) -> str:
    """Return the words that carry meaning and were not understood, joined by spaces.

    Args:
        text: The request, normalised.
        understood: Start and end of each stretch that was understood.
    """
    characters = list(text)
    for start, end in understood:
        characters[start:end] = "|" * (end - start)
    remaining = _FILLER.sub(" ", "".join(characters))
    words = re.sub(r"[^\w'¥$%-]+", " ", remaining).split()
    return " ".join(word for word in words if re.search(r"\w", word))
