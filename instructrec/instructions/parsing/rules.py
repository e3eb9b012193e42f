"""Instructions in simple words, English or Chinese: "no horror, after 1990, popular", "便宜的科幻片".

Words for categories, what is not wanted, times, prices and popularity are found by rules; everything else is reported
as ignored. Rules like these are the baseline that a language model has to beat. Derived in chapter
`instruction-generation`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.category_words import own_chinese_names, synonyms
from instructrec.instructions.parsing.constraint import (
    CATEGORIES,
    NUMBER,
    POPULARITY,
    Between,
    Compare,
    Constraint,
    Node,
    OneOf,
    Some,
    conjunction,
    constrain,
    disjunction,
    fields_of,
    negation,
)
from instructrec.wordings.lexicon import normal

POPULAR, OBSCURE = 0.75, 0.25
CHEAP, DEAR = 0.25, 0.75
OLD, RECENT = 0.25, 0.75
AROUND = 0.2
LARGEST = sys.float_info.max

_NEGATOR = re.compile(
    r"\b(?:do not|don't|does not|doesn't|never|please no)(?: (?:want|like|show|recommend|need|give|enjoy|suggest))?"
    r"(?: me| to see| to watch)?\b"
    r"|\b(?:neither|nor|less(?! than)|fewer|(?:any|every)thing but|all but|other than|rather than|instead of|apart from"
    r"|aside from|sick of|tired of|enough of|no more|(?<!why )not(?! (?:only|just|merely)\b)|except(?: for)?|without"
    r"|excluding|exclude|avoid|skip|omit|minus|leave out|rule out|can't|cannot|hate|dislike"
    r"|nothing(?! but)|isn't|aren't|non?)\b"
    r"|(?<!要)不要|(?<!想)不想(?:再)?(?:看|要|买)?|不看|不买|不需要|不考虑|不喜欢|不爱|不含|(?<!是)不是|(?<!有)没有|讨厌|拒绝|排除|避免|去掉|跳过"
    r"|除(?!非)了?|受够了|看[腻够]了|少一?[点些]"
    r"|(?:千万)?(?<!特)(?<!区)别(?:给我|推荐|再|是|要|来)*(?![的致具人])|(?<!除)非(?![论常洲])|不(?=太|那么|$)|无(?![论聊])"
)
# Said after what it refuses: "恐怖片不要", "除恐怖片外", "horror-free".
_REFUSED = re.compile(
    r"-free\b"
    r"|\s*的?(?:统统|一律|全都?|都|也|就)*"
    r"(?:(?:不要|不看|不想看|不想要|不喜欢|不爱看?|不买|不行|不考虑|不感兴趣|没有?兴趣|免谈|算了|看?腻了|看够了)了?"
    r"(?=\s*(?:$|[,.;:!?。\n]))|除外|[以之]外|外(?=的|都|,|$))"
)
_BESIDES = re.compile(r"[^。;]{0,12}?[还也](?:想|要|喜欢|有)")
_LIST = re.compile(r"\s*(?:[、/和跟与及或]|或者|以及|还有)\s*")
_ADJACENT = ("non", "不", "无", "非")
_BREAK = re.compile(
    r"[,.;:!?\n。;!?]|\b(?:but|however|want|give|show|prefer|like|love)\b|但|而|想|要|来点|来些|喜欢"
)
_JOIN = re.compile(
    r"(?:\s|\b(?:or|and|nor|any|movies?|films?|ones?|items?|products?|stuff|too|very|so|either|an?|the|some)\b|[/、和或与跟及的片类]|以及|电影|还是|者)*"
)
_OR = re.compile(r"\bn?or\b|/|或|还是|、")
_AND = re.compile(r"\band\b|&|和|与|以及|、")
_NEAR = re.compile(
    r"(?:\s|\b(?:too|very|so|that|overly|anything|something|from|in|of|made|released|the|any|be|really)\b"
    r"|太|很|那么|这么|过于|特别|的)*"
)

_TO = re.compile(r"\s*(?:to|through|-|–|~|到|至)\s*")
_BETWEEN = re.compile(r"\bbetween\s*$")
_EITHER = re.compile(r"\s*(?:or|and|nor|或者?|和|还是|[/,、,])\s*(?:(?:in|from|the)\s+)*")

_YEAR = r"(?<![\d.])(?:18[6-9]\d|19\d\d|20\d\d)(?![\d.]*\d)"
_CHINESE = "[零一二两三四五六七八九十百千万]"
# atomic and from its first digit on: else a row of n digits takes n² steps
_AMOUNT = rf"(?>(?<!\d)\d+(?:\.\d+)?|(?<!{_CHINESE}){_CHINESE}+)"
_CURRENCY = r"(?:yuan|rmb|cny|dollars?|usd|bucks?|元|块钱?)"
_SIGN = r"(?:rmb|cny|usd|[¥$])?\s*"
_DECADES = {
    "twenties": 20,
    "thirties": 30,
    "forties": 40,
    "fifties": 50,
    "sixties": 60,
    "seventies": 70,
    "eighties": 80,
    "nineties": 90,
}
_DIGITS = {character: number for number, character in enumerate("零一二三四五六七八九")} | {"两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}

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


@dataclass(frozen=True)
class _Found:
    """A part of the text that was understood."""

    start: int
    end: int
    node: Node | None
    category: str | None = None


def parse_keywords(text: str, dataset: Dataset) -> Constraint:
    """Read a wish in simple words.

    Several categories must all hold, unless "or" joins them or no item has them all. Negation reaches to the end of its
    list ("no horror or war"). "Cheap", "expensive", "old", "recent", "popular" and "obscure" mean the catalogue's own
    outer quarters; "around" is a fifth up or down. A word that needs what the data set lacks, such as a price, is
    ignored.

    Args:
        text: The wish, in English or Chinese.
        dataset: The data set whose items are meant.

    Returns:
        The constraint; empty where nothing was understood.
    """
    plain = normal(text)
    words = _words(dataset)
    found = sorted(
        _numbers(plain, dataset, words) + _categories(plain, words),
        key=lambda part: part.start,
    )
    used = [(part.start, part.end) for part in found]
    refused = _refused_after(plain, found)
    nodes: list[Node] = []
    groups: list[list[str]] = []
    unwanted: list[str] = []
    previous: _Found | None = None
    previous_negated = listed = False
    behind = 0
    for number, part in enumerate(found):
        node = part.node
        start, behind = behind, part.end
        gap = plain[start : part.start]
        negator = _last(_NEGATOR, gap)
        negated = number in refused
        if negated:
            behind = refused[number]
            used.append((part.end, behind))
        elif negator is not None and not (negator[0][0] == "除" and _BESIDES.match(plain, part.end)):
            between = gap[negator.end() :]
            near = _NEAR.fullmatch(between) is not None or (negator[0] == "non" and between == "-")
            negated = near or (part.category is not None and _reaches(negator[0], between))
            if negated:
                used.append((start + negator.start(), part.start if near else start + negator.end()))
        elif listed and part.category is not None and previous and previous.category is not None:
            negated = _JOIN.fullmatch(gap) is not None and gap.strip() != "的"
        if part.category is not None:
            if negated:
                unwanted.append(part.category)
            elif groups and previous and previous.category and not previous_negated and _joined_by_or(gap):
                groups[-1].append(part.category)
            else:
                groups.append([part.category])
        elif node is not None:
            between_them = previous is not None and _BETWEEN.search(plain[: previous.start][-12:]) is not None
            alternative = _either_year(previous, part, gap, between_them) if nodes and not negated else None
            if alternative is not None:
                negated = previous_negated
                nodes[-1] = negation(alternative) if negated else alternative
                part = replace(part, node=alternative)
                used.append((start, part.start))
            else:
                nodes.append(negation(node) if negated else node)
        previous, previous_negated = part, negated
        listed = negated and number not in refused
    wanted = _wanted(groups, unwanted, plain, dataset)
    without = [negation(_category(dataset, name)) for name in dict.fromkeys(unwanted)]
    expression = conjunction(list(dict.fromkeys([*wanted, *without, *nodes])))
    if expression is None:
        return Constraint(None, text.strip())
    return constrain(expression, dataset, _left_over(plain, used))


def _either_year(previous: _Found | None, part: _Found, gap: str, between: bool) -> Node | None:
    """Return what "the 1970s or 1980s", "1970s to 1980s" and "between …" mean; None for other neighbours."""
    if previous is None or not isinstance(part.node, Between | Compare) or part.node.column != "year":
        return None
    joined = _TO.fullmatch(gap) is not None or (between and gap.strip() == "and")
    if isinstance(previous.node, Between) and isinstance(part.node, Between) and joined:
        return Between("year", min(previous.node.low, part.node.low), max(previous.node.high, part.node.high))
    before = previous.node.parts if isinstance(previous.node, Some) else (previous.node,)
    plain = [
        one
        for one in (*before, part.node)
        if isinstance(one, Between) or (isinstance(one, Compare) and one.op == "=")
    ]
    same = all(one.column == "year" for one in plain) and len(plain) == len(before) + 1
    return disjunction(list(plain)) if same and _EITHER.fullmatch(gap) else None


def _refused_after(plain: str, found: list[_Found]) -> dict[int, int]:
    """Return the numbers of the parts that words behind them refuse, with the end of those words.

    In "恐怖片和歌舞片都不要" the words behind the second category refuse both.
    """
    refused: dict[int, int] = {}
    for number, part in enumerate(found):
        words = _REFUSED.match(plain, part.end)
        if words is None:
            continue
        refused[number] = words.end()
        for earlier in range(number - 1, -1, -1):
            here, after = found[earlier], found[earlier + 1]
            if (
                after.category is None
                or here.category is None
                or _LIST.fullmatch(plain[here.end : after.start]) is None
            ):
                break
            refused[earlier] = here.end
    return refused


def _reaches(negator: str, between: str) -> bool:
    """Tell whether a refusal reaches a category over the words between them."""
    if negator in _ADJACENT or between.startswith("-"):
        return False  # "non-toxic toys", "no-nonsense crime", "无糖食品" refuse no category
    if negator in ("没有", "不含", "without") and "的" in between:
        return False  # a cartoon without violence is no refusal of cartoons
    return _BREAK.search(between) is None and _short(between)


def _wanted(groups: list[list[str]], unwanted: list[str], plain: str, dataset: Dataset) -> list[Node]:
    kept = [list(dict.fromkeys(name for name in group if name not in unwanted)) for group in groups]
    kept = list({tuple(group): group for group in kept if group}.values())
    nodes = [_one_of(dataset, group) for group in kept]
    if len(nodes) > 1 and _AND.search(plain) and not _any_item(nodes, dataset):
        return [_one_of(dataset, list(dict.fromkeys(name for group in kept for name in group)))]
    return nodes


def _any_item(nodes: list[Node], dataset: Dataset) -> bool:
    return bool(Constraint(conjunction(nodes)).mask(dataset.items).any())


def _one_of(dataset: Dataset, names: list[str]) -> Node:
    return (
        _category(dataset, names[0])
        if len(names) == 1
        else OneOf(dataset.category_field, CATEGORIES, tuple(names))
    )


def _category(dataset: Dataset, name: str) -> Node:
    return Compare(dataset.category_field, CATEGORIES, "=", name)


def _joined_by_or(gap: str) -> bool:
    return _JOIN.fullmatch(gap) is not None and _OR.search(gap) is not None


def _short(text: str) -> bool:
    return len(text.split()) <= 4 and sum("\u4e00" <= character <= "\u9fff" for character in text) <= 6


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(reversed(list(pattern.finditer(text)))), None)


def _left_over(plain: str, used: list[tuple[int, int]]) -> str:
    kept = list(plain)
    for start, end in used:
        kept[start:end] = "|" * (end - start)
    words = _FILLER.sub(" ", "".join(kept))
    kept_words = re.sub(r"[^\w'¥$%-]+", " ", words).split()
    return " ".join(word for word in kept_words if re.search(r"\w", word))


# -- categories ----------------------------------------------------------------------------------------------------


def _words(dataset: Dataset) -> dict[str, str]:
    """Return the category of each word that stands for one, in either language, the longest words first."""
    known = fields_of(dataset.items, dataset.category_field).get(dataset.category_field)
    if known is None or known.kind != CATEGORIES:
        return {}
    words = synonyms({normal(name): name for name in known.values.values()}, dataset)
    words = {word: name for word, name in words.items() if re.search(r"\w", word)}
    words.pop("unknown", None)
    words.pop("未知", None)
    for word in [word for word in words if word.isascii() and len(word) > 3 and not word.endswith("s")]:
        words.setdefault(f"{word}s", words[word])
    own = {normal(word) for word in own_chinese_names(dataset).values()}
    listed = sorted(words, key=lambda word: (-len(word), word not in own, word))
    return {word: words[word] for word in listed}


def _either_word(words: dict[str, str]) -> str:
    return "|".join(
        rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])" if word.isascii() else re.escape(word)
        for word in words
    )


def _categories(plain: str, words: dict[str, str]) -> list[_Found]:
    if not words:
        return []
    pattern = re.compile(rf"({_either_word(words)})(?:类?(?:电影|影片|片子|片|用品|产品|商品)|类)?")
    return [
        _Found(match.start(), match.end(), None, category=words[match[1]])
        for match in pattern.finditer(plain)
        if not re.match(r"\s+wars?\b", plain[match.end() :]) and not plain[: match.start()].endswith("star ")
    ]


# -- years, prices, popularity -------------------------------------------------------------------------------------


def _numbers(plain: str, dataset: Dataset, words: dict[str, str]) -> list[_Found]:
    columns = fields_of(dataset.items, dataset.category_field)
    rules: list[tuple[re.Pattern[str], Callable[[re.Match[str]], Node]]] = []
    has_year = "year" in columns and columns["year"].kind == NUMBER
    has_price = "price" in columns and columns["price"].kind == NUMBER
    if has_price:
        rules += _price_rules(dataset)
    if has_year:
        rules += _year_rules(dataset, words)
    if has_price:
        rules += _bare_price_rules()
    if POPULARITY in dataset.items.columns or dataset.n_interactions > 0:
        rules += _popularity_rules()
    found: list[_Found] = []
    rest = plain
    for pattern, meaning in rules:
        for match in pattern.finditer(rest):
            found.append(_Found(match.start(), match.end(), meaning(match)))
        rest = pattern.sub(lambda match: "\0" * len(match[0]), rest)
    return found


def _popularity_rules() -> list[tuple[re.Pattern[str], Callable[[re.Match[str]], Node]]]:
    obscure = r"\b(?:obscure|lesser[- ]known|little[- ]known|niche|hidden gems?"
    obscure += r"|underrated|unpopular|off the beaten track)\b"
    popular = r"\b(?:popular|well[- ]known|famous|best[- ]?sell(?:ers?|ing)|blockbusters?|trending|mainstream|hits?)\b"
    return [
        (
            re.compile(rf"{obscure}|冷门|小众|不知名|鲜为人知"),
            lambda _: Compare(POPULARITY, NUMBER, "<=", OBSCURE),
        ),
        (
            re.compile(rf"{popular}|热门|流行|受欢迎|畅销|知名|大片|爆款|经典热卖"),
            lambda _: Compare(POPULARITY, NUMBER, ">=", POPULAR),
        ),
    ]


def _price_rules(
    dataset: Dataset,
) -> list[tuple[re.Pattern[str], Callable[[re.Match[str]], Node]]]:
    amount = rf"{_SIGN}({_AMOUNT})\s*{_CURRENCY}?"
    money = rf"(?:[¥$]\s*({_AMOUNT})|({_AMOUNT})\s*{_CURRENCY})"
    below = (
        r"(?:under|below|less than|cheaper than|not more than|no more than|at most|up to|within|max(?:imum)?|"
    )
    below += r"不超过|不高于|不多于|(?<!不)低于|(?<!不)少于|最多|不到|(?<!不)小于|便宜过)"
    above = r"(?:over|above|more than|at least|from|min(?:imum)?|不低于|不少于|"
    above += r"(?<!不)高于|(?<!不)超过|(?<!不)多于|大于|至少)"
    closed = (
        "at most",
        "up to",
        "within",
        "not more than",
        "no more than",
        "max",
        "maximum",
        "不超过",
        "不高于",
        "不多于",
        "最多",
    )
    open_above = ("over", "above", "more than", "高于", "超过", "多于", "大于")

    def price_of(match: re.Match[str], *groups: int) -> float:
        return next(_amount(match[group]) for group in groups if match[group])

    def at_most(match: re.Match[str]) -> Node:
        op = "<=" if match[1] in closed else "<"
        return Compare("price", NUMBER, op, price_of(match, 2, 3))

    def at_least(match: re.Match[str]) -> Node:
        op = ">" if match[1] in open_above else ">="
        return Compare("price", NUMBER, op, price_of(match, 2, 3))

    def inside(match: re.Match[str]) -> Node:
        low, high = sorted((_amount(match[1]), _amount(match[2])))
        return Between("price", low, high)

    def around(match: re.Match[str]) -> Node:
        middle = price_of(match, 1, 2, 3, 4)
        high = min(round(middle * (1 + AROUND), 2), LARGEST)
        return Between("price", round(middle * (1 - AROUND), 2), high)

    join = r"\s*(?:and|to|-|–|~|到|至)\s*"
    budget = r"(?:\bbudget\b\s*(?:is|of|:|around|about|up to|under)?|预算(?:是|为|在|大[约概]|不超过|:)?)\s*"
    return [
        (
            # atomic, so that "预算100到200元" is not cut short to 预算10
            re.compile(
                rf"(?>{budget}{_SIGN}({_AMOUNT})\s*{_CURRENCY}?(?:左右|上下|以内|之内|以下)?)(?!{join}{_SIGN}\d)"
            ),
            lambda match: Compare("price", NUMBER, "<=", _amount(match[1])),
        ),
        (
            re.compile(rf"(?:{budget})?(?:between|from)?\s*[¥$]\s*({_AMOUNT}){join}[¥$]?\s*({_AMOUNT})"),
            inside,
        ),
        (
            re.compile(
                rf"(?:{budget})?(?:between\s+|from\s+)?({_AMOUNT})\s*{_CURRENCY}?{join}"
                rf"({_AMOUNT})\s*{_CURRENCY}(?:之间)?"
            ),
            inside,
        ),
        (re.compile(rf"({below})\s*{money}"), at_most),
        (re.compile(rf"({above})\s*{money}"), at_least),
        (
            re.compile(
                rf"{amount}(?:以下|以内|之内|之下|\s*(?:or|and) (?:less|under|below|cheaper|lower)\b)"
            ),
            lambda match: Compare("price", NUMBER, "<=", _amount(match[1])),
        ),
        (
            re.compile(
                rf"{_SIGN}({_AMOUNT})\s*{_CURRENCY}(?:以上|之上|起|\s*(?:or|and) (?:more|over|above|up)\b)"
            ),
            lambda match: Compare("price", NUMBER, ">=", _amount(match[1])),
        ),
        (re.compile(rf"(?:around|about|roughly|大约|大概|差不多)\s*{money}(?:左右)?|{money}左右"), around),
        (
            re.compile(r"不贵|不太贵"),
            lambda _: Compare("price", NUMBER, "<", _quantile(dataset, "price", DEAR)),
        ),
        (
            re.compile(
                r"\b(?:cheap(?:er|est)?|inexpensive|affordable|budget|low[- ]priced|bargains?)\b"
                r"|便宜|实惠|平价|低价|廉价|性价比高?"
            ),
            lambda _: Compare("price", NUMBER, "<=", _quantile(dataset, "price", CHEAP)),
        ),
        (
            re.compile(
                r"\b(?:expensive|luxury|luxurious|premium|high[- ]end|pricey|costly)\b"
                r"|昂贵|高档|高端|奢侈|奢华|(?<![珍宝名])贵"
            ),
            lambda _: Compare("price", NUMBER, ">=", _quantile(dataset, "price", DEAR)),
        ),
    ]


def _bare_price_rules() -> list[tuple[re.Pattern[str], Callable[[re.Match[str]], Node]]]:
    number = rf"({_AMOUNT})(?![\d年])"
    name = r"(?:价格|价位|售价|预算|\bbudget\b|\bpriced?\b|\bcosts?\b|\bcosting\b)\s*(?:is|在|为|是|:)?\s*"

    def inside(match: re.Match[str]) -> Node:
        low, high = sorted(_amount(amount) for amount in match.groups() if amount)
        return Between("price", low, high)

    return [
        (
            re.compile(
                rf"\b(?:between|from)\s+({_AMOUNT})\s+(?:and|to)\s+({_AMOUNT})(?![\d.]|\s*(?:%|stars?|years?|minutes?))"
                rf"|(?:{name})({_AMOUNT})\s*(?:-|–|~|到|至|to)\s*({_AMOUNT})(?:之间)?"
                rf"|({_AMOUNT})\s*(?:-|–|~|到|至)\s*({_AMOUNT})之间"
            ),
            inside,
        ),
        (
            re.compile(
                rf"(under|below|less than|cheaper than|at most|up to|低于|少于|小于|不超过|最多)\s*{number}"
            ),
            lambda match: Compare(
                "price",
                NUMBER,
                "<=" if match[1] in ("at most", "up to", "不超过", "最多") else "<",
                _amount(match[2]),
            ),
        ),
        (
            re.compile(rf"(over|above|more than|at least|高于|超过|多于|大于|至少)\s*{number}"),
            lambda match: Compare(
                "price",
                NUMBER,
                ">=" if match[1] in ("at least", "至少") else ">",
                _amount(match[2]),
            ),
        ),
    ]


def _year_rules(
    dataset: Dataset, words: dict[str, str]
) -> list[tuple[re.Pattern[str], Callable[[re.Match[str]], Node]]]:
    year, early, late = (
        rf"({_YEAR})",
        r"(?:before|older than|earlier than|prior to|pre)[\s-]*(?:the\s+)?",
        r"(?:after|later than|newer than|post)[\s-]*(?:the\s+)?",
    )

    named = _either_word(words) or r"(?!)"

    alone = r"(?!\s+(?:the\b|'?\d))"

    def compare(op: str, group: int = 1) -> Callable[[re.Match[str]], Node]:
        return lambda match: Compare("year", NUMBER, op, float(match[group]))

    def between(match: re.Match[str]) -> Node:
        low, high = sorted((float(match[1]), float(match[2])))
        return Between("year", low, high)

    def decade(match: re.Match[str]) -> Node:
        start = _decade(match)
        before, after = match["before"], match["after"]
        if before and re.match(r"before|older|earlier|prior|pre", before) or after in ("以前", "之前", "前"):
            return Compare("year", NUMBER, "<", start)
        if before and re.match(r"since", before) or after in ("以来", "起"):
            return Compare("year", NUMBER, ">=", start)
        if after and after[0].isspace():
            late_on = re.search(r"later|newer|onwards?", after) is not None
            return Compare("year", NUMBER, *((">=", start) if late_on else ("<=", start + 9)))
        if before or after:
            return Compare("year", NUMBER, ">", start + 9)
        return Between("year", start, start + 9)

    join = r"\s*(?:and|to|through|-|–|~|到|至)\s*"
    return [
        (
            re.compile(rf"(?:\b(?:between|from)\s+)?{year}\s*年?{join}{year}\s*年?(?:之间|间)?"),
            between,
        ),
        (
            re.compile(
                rf"(?:\b(?:in|from|of)\s+)?{year}\s*(?:or|and) (?:later|newer|after|onwards?|up|more recent)\b{alone}"
            ),
            compare(">="),
        ),
        (
            re.compile(rf"(?:\b(?:in|from|of)\s+)?{year}\s*(?:or|and) (?:earlier|older|before)\b{alone}"),
            compare("<="),
        ),
        (
            re.compile(
                rf"(?P<before>\b(?:{early}|{late}|since(?:\s+the)?\s+))?(?:\bthe\s+)?(?:\b(?:early|mid|late)[\s-]+)?"
                rf"(?:\b(?P<full>(?:18|19|20)\d0)'?s\b|(?<!\d)'?(?P<short>\d0)'?s\b|\b(?P<word>{'|'.join(_DECADES)})\b"
                r"|(?:上个?世纪|二十世纪|20世纪)?(?:(?P<zhfull>(?:18|19|20)\d0)|(?P<zhshort>(?<!\d)\d0)|(?P<zhword>[二三四五六七八九])十)年代)"
                r"(?:初期?|早期|中期|中|末期?|后期)?"
                r"(?P<after>以前|之前|前|以后|之后|后|以来|起"
                rf"|\s+onwards?\b|\s+(?:or|and)\s+(?:later|newer|onwards?|earlier|older|before)\b{alone})?"
            ),
            decade,
        ),
        (re.compile(rf"\b(?:until|up to|(?:no|not) (?:later|newer) than)\s+{year}"), compare("<=")),
        (re.compile(rf"\b(?:no|not) (?:earlier|older) than\s+{year}"), compare(">=")),
        (re.compile(rf"\b{late}{year}"), compare(">")),
        (re.compile(rf"\bsince\s+{year}|\bfrom\s+({_YEAR})\s+on(?:wards?)?\b"), _since),
        (re.compile(rf"\b{early}{year}"), compare("<")),
        (re.compile(rf"{year}\s*年?\s*(?:[及或](?:以前|之前|更早)|为止)"), compare("<=")),
        (re.compile(rf"{year}\s*年?\s*(?:以前|之前|前)"), compare("<")),
        (re.compile(rf"{year}\s*年?\s*(?:[及或](?:以后|之后|更晚)|以来|起|开始)"), compare(">=")),
        (re.compile(rf"{year}\s*年?\s*(?:以后|之后|后)"), compare(">")),
        (
            re.compile(rf"(?:\b(?:in|from|of)\s+)?(?<!\(){year}(?:\s*年)?(?!\s*{_CURRENCY})"),
            compare("="),
        ),
        (
            re.compile(
                rf"\b(?:recent|latest|newest|newer(?! than)|new (?=movies?|films?|releases?|ones?|{named}))"
                r"|新片|新电影|最新|新出|近年|近几年|最近(?!看)"
            ),
            lambda _: Compare("year", NUMBER, ">=", _quantile(dataset, "year", RECENT)),
        ),
        (
            re.compile(
                rf"\b(?:classics?|vintage|old[- ]fashioned|(?:old|older) (?=movies?|films?|ones?|hollywood|{named})"
                r"|(?<!years[ -])(?<!year[ -])(?<!how )(?:old|older)(?=\s*(?:$|[,.;!?]|\b(?:but|and|n?or)\b)))"
                rf"|老(?:片|电影|的|旧|一[点些]|(?={named}|$|[,.但又而]))|旧片|早期|古老|经典|怀旧|年代久远"
            ),
            lambda _: Compare("year", NUMBER, "<=", _quantile(dataset, "year", OLD)),
        ),
    ]


def _since(match: re.Match[str]) -> Node:
    return Compare("year", NUMBER, ">=", float(match[1] or match[2]))


def _decade(match: re.Match[str]) -> float:
    full = match["full"] or match["zhfull"]
    if full:
        return float(full)
    if match["word"]:
        return 1900.0 + _DECADES[match["word"]]
    if match["zhword"]:
        return 1900.0 + 10 * _DIGITS[match["zhword"]]
    short = int(match["short"] or match["zhshort"])
    return float(1900 + short if short >= 20 else 2000 + short)


def _quantile(dataset: Dataset, column: str, share: float) -> float:
    values = dataset.items[column].dropna().to_numpy(dtype=float)
    return float(np.quantile(values, share, method="nearest")) if len(values) else 0.0


def _amount(text: str) -> float:
    """Return a number written in digits or in Chinese, such as 一百二十; always a finite one."""
    if text[0].isdigit():
        return min(float(text), LARGEST)
    total = section = digit = 0
    for character in text:
        if character in _DIGITS:
            digit = _DIGITS[character]
        elif character == "万":
            total, section, digit = (total + section + digit) * 10_000, 0, 0
        else:
            section += (digit or 1) * _UNITS[character]
            digit = 0
    return float(min(total + section + digit, int(LARGEST)))
