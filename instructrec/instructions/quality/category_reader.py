"""Categories and decades in any sentence, found by the lexicon: rules and teacher models are measured alike.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.category_words import category_names
from instructrec.instructions.category_words import synonyms as category_synonyms
from instructrec.instructions.quality.text_search import LATIN, trie_pattern
from instructrec.wordings.lexicon import LANGUAGES, lexicon, normal

NAMELESS = frozenset({"unknown", "未知", ""})
"""Category names that mean that the category is unknown."""
CACHE_SIZE = 8_192
"""Number of sentences whose result is cached."""

_NEGATION_EN = (
    r"(?:never|hardly(?: any| ever)?|rarely|seldom|scarcely(?: any)?|almost no|barely(?: any)?|no|not(?! only)|don't|"
    r"doesn't|without|avoids?|avoiding|dislikes?|hates?|stays? away from|steers? clear of|except(?: for)?|excluding|"
    r"anything but|other than|least of all|nothing)(?: (?:really|much|likes?|loves?|enjoys?|prefers?|favou?rs?))*"
)
_PRAISE_EN = r"but|however|above all|mostly|mainly|likes?|loves?|enjoys?|prefers?|favou?rs?|instead|rather"
_NEGATION_ZH = (
    "几乎不看?|几乎没有|从来?不看?|从未|很少|极少|甚少|少有|鲜有|不太?喜欢|不太?爱|不看|不碰|不要|不选|不买|没有|避开|回避|避免|"
    "讨厌|排除|除了|敬而远之|不感兴趣|不(?![错少同仅只断过限论])"
)
_CLAUSE_END = r"[,.;:!?\n。]|但是?|然而|而|偏爱|喜欢|主要|多为|尤其"
_OTHER_PATTERNS = (
    rf"(?<![{LATIN}])(?P<negation_en>{_NEGATION_EN})(?![{LATIN}])",
    rf"(?P<negation_zh>{_NEGATION_ZH})",
    rf"(?<![{LATIN}])(?P<praise>{_PRAISE_EN})(?![{LATIN}])|(?P<clause_end>{_CLAUSE_END})",
    r"(?<!\d)(?P<decade>(?:18|19|20)\d0)(?:'?s\b|年代)|(?<!\d)'?(?P<short_decade>[2-9]0)(?:s\b|年代)",
)


class CategoryMentions(NamedTuple):
    """The categories and decades that a sentence mentions.

    Attributes:
        desired: Categories that it mentions with favour.
        avoided: Categories that it refuses.
        decades: Decades that it mentions with favour, such as 1980.
        paraphrased: Whether the mention expresses a category in other words than the category's name.
    """

    desired: frozenset[str]
    avoided: frozenset[str]
    decades: frozenset[int]
    paraphrased: bool


class CategoryReader:
    """Search for categories and decades in sentences by any author, in English, Chinese or both.

    A refusal ("never", "hardly any", "除了", "从不") reaches to the end of its clause: in English to a full stop, a
    "but" or a word of favour, in Chinese to the comma. Longer words win over shorter words within them.

    Args:
        dataset: Data set whose categories are searched for, by their names in both languages.
        synonyms: Whether the lexicon's synonyms of a category count.
        wishes: Whether the lexicon's wishes count.
    """

    def __init__(self, dataset: Dataset, synonyms: bool = True, wishes: bool = True) -> None:
        field = dataset.category_field
        rows = dataset.items[field].tolist() if field in dataset.items.columns else []
        categories = sorted({name for row in rows if isinstance(row, tuple | list) for name in row})
        categories = [name for name in categories if name.casefold() not in NAMELESS]
        own_names = {
            normal(word): name
            for language in LANGUAGES
            for name, word in category_names(categories, language, dataset).items()
        }
        self._category_of: dict[str, str] = dict(own_names)
        if synonyms:
            words = category_synonyms({normal(name): name for name in categories}, dataset)
            self._category_of.update((word, name) for word, name in words.items() if name in categories)
        if wishes:
            for wish, name in _wishes(categories):
                self._category_of.setdefault(wish, name)
        # A category's name has a plural ("comedy and westerns"); a wish has none.
        for word in [word for word in own_names if word.isascii() and len(word) > 3 and word[-1] != "s"]:
            self._category_of.setdefault(f"{word}s", own_names[word])
        self._own_names = {*own_names, *(f"{word}s" for word in own_names)}
        self._pattern = re.compile("|".join([*_word_pattern(self._category_of), *_OTHER_PATTERNS]))
        self.read = lru_cache(maxsize=CACHE_SIZE)(self._read)
        self.remainder = lru_cache(maxsize=CACHE_SIZE)(self._remainder)

    def _read(self, text: str) -> CategoryMentions:
        """Return the categories and decades that a text mentions."""
        desired: set[str] = set()
        avoided: set[str] = set()
        decades: set[int] = set()
        paraphrased = negated = in_chinese = False
        clause: list[str] = []
        category_follows = (
            True  # whether a category follows the refusal; in "恐怖片看得很少" it stands before
        )
        for match in self._pattern.finditer(normal(text)):
            kind, word = match.lastgroup, match[0]
            if kind == "category":
                name = self._category_of[word]
                (avoided if negated else desired).add(name)
                if not negated:
                    clause.append(name)
                    paraphrased = paraphrased or word not in self._own_names
                category_follows = True
            elif kind in ("negation_en", "negation_zh"):
                negated, in_chinese, category_follows = True, kind == "negation_zh", False
            elif kind in ("decade", "short_decade"):
                if not negated:
                    decades.add(int(match["decade"] or 1900 + int(match["short_decade"])))
            else:
                if in_chinese and not category_follows:
                    avoided.update(clause)
                clause = []
                # the refusal in "never horror, war or westerns" applies to all three
                if in_chinese or word != ",":
                    negated = in_chinese = False
        if in_chinese and not category_follows:
            avoided.update(clause)
        return CategoryMentions(
            frozenset(desired - avoided), frozenset(avoided), frozenset(decades), paraphrased
        )

    def _remainder(self, text: str) -> str:
        """Return a text without the categories, decades and figures that it mentions."""
        return re.sub(r"\d+(?:\.\d+)?", " ", self._pattern.sub(" ", normal(text)))


def _wishes(categories: Iterable[str]) -> list[tuple[str, str]]:
    """Return the lexicon's wishes, each with its category."""
    entries = lexicon()["categories"]
    return [
        (normal(wish), name)
        for name in categories
        for language in LANGUAGES
        for wish in entries.get(name.casefold(), {}).get(f"wishes_{language}", ())
    ]


def _word_pattern(words: Iterable[str]) -> list[str]:
    """Return the pattern of all words for categories, in a list that is empty without words."""
    latin = [word for word in words if word[:1].isascii()]
    chinese = [word for word in words if not word[:1].isascii()]
    patterns = [rf"(?<![{LATIN}])(?:{trie_pattern(latin)})(?![{LATIN}])"] if latin else []
    patterns += [trie_pattern(chinese)] if chinese else []
    return [f"(?P<category>{'|'.join(patterns)})"] if patterns else []
