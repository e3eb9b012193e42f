"""Checks of a teacher's replies: a reply is used, or rejected for a reason.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from instructrec.instructions.teacher.requests import EXAMPLES, PROMPTS, AnnotationRequest
from instructrec.wordings.lexicon import lexicon, normal, plain, stands_alone, title_forms

MAX_CHARACTERS = {("taste", "en"): 200, ("taste", "zh"): 80, ("wish", "en"): 120, ("wish", "zh"): 50}
"""Maximum number of characters of an accepted reply, by kind and language."""

_CJK = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_CHINESE = re.compile(f"[{_CJK}]")
_FOREIGN = re.compile(r"[\u3040-\u30ff\uac00-\ud7af\u0400-\u04ff\u0600-\u06ff]")
_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_BLANKS = re.compile(r"[ \t\u00a0\u2009\u202f\u3000]+")
_QUOTES = (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("「", "」"), ("«", "»"))
_LEAD_IN = {
    "taste": re.compile(r"^(my taste\s*(:|is)|this person (likes|enjoys|prefers)|我的口味\s*[:：])\s*", re.I),
    "wish": re.compile(r"^(i am|i['’]m) in the mood for\s*:?\s*|^我想要\s*[:：]?\s*", re.I),
}
_MARKUP = re.compile(r"[{}<>\[\]|`*#_\\]|^\s*([-•+]|\d+[.)])\s|https?:")
_REFUSAL = re.compile(
    r"^(i'?m sorry|i am sorry|sorry|i apologi[sz]e|i can ?not|i can't|i'm (unable|not able)|unfortunately)\b"
    r"|\bas an? (ai|language model|assistant)\b|\blanguage model\b|\bi (do not|don't|cannot|can't) have (access|enough)"
    r"|^(很?抱歉|对不起|不好意思|我(无法|不能|没有办法))|作为(一个|一名)?(ai|人工智能|语言模型|助手)|语言模型",
    re.I,
)
_CHATTER = re.compile(
    r"^(sure|certainly|of course|absolutely|great|okay|ok|yes|no)\b[,!.:]|^here('s| is| are)\b|[:：]$"
    r"|^(当然|好的|没问题|以下是|下面是)[，,！!：:。]?",
    re.I,
)
_SENTENCES = re.compile(r"[a-z\d)][.!?][\"'”’)]?\s+\S|[。！？].", re.I)
_GENERIC = frozenset(
    {"and", "the", "for", "with", "film", "films", "movie", "movies", "products", "items", "other"}
)
_GENERIC_ZH = re.compile("(用品|产品|电影|商品|影片|[片类])$")


_title_forms = lru_cache(maxsize=50_000)(title_forms)


def accept(request: AnnotationRequest, reply: str, finish_reason: str = "stop") -> tuple[str | None, str]:
    """Return a reply as the templates use it, with "", or None with the reason why it cannot be used.

    Args:
        request: The request.
        reply: The teacher's words; surrounding quotation marks, a repeated lead-in and a final full stop are removed.
        finish_reason: Why the reply ended: "stop" for a complete reply.
    """
    text = _trimmed(_THOUGHT.sub("", reply), request.kind)
    return (None, reason) if (reason := _reason_against(request, text, finish_reason)) else (text, "")


def _reason_against(request: AnnotationRequest, text: str, finish_reason: str) -> str:
    """Return the reason why a reply cannot be used, "" for a usable reply."""
    if finish_reason == "length":
        return "cut short"
    if finish_reason == "content_filter":
        return "refused"
    if not text:
        return "empty"
    if len(text.splitlines()) > 1:
        return "several lines"
    if any(not sign.isprintable() for sign in text):
        return "control characters"
    if _SENTENCES.search(text):
        return "several sentences"
    if len(text) > MAX_CHARACTERS[request.kind, request.language]:
        return "too long"
    straight = text.replace("’", "'")
    if _REFUSAL.search(straight):
        return "refused"
    if _CHATTER.search(straight):
        return "talk about the answer"
    if _MARKUP.search(text):
        return "markup"
    letters = sum(sign.isalpha() for sign in text)
    chinese = len(_CHINESE.findall(text))
    if _FOREIGN.search(text) or (
        2 * chinese < letters or chinese < 2 if request.language == "zh" else chinese
    ):
        return "wrong script"
    if request.language == "en" and len(re.findall(r"[^\W\d_]+", text)) < 2:
        return "too short"
    if _loops(text):
        return "a loop"
    if _echoes(text, request):
        return "echo of the prompt"
    if any(_contains_title(text, title) for title in request.forbidden):
        return "forbidden title"
    if request.kind == "taste" and any(_repeats_title(text, title) for title in request.titles):
        return "title of the history"
    if request.kind == "wish" and any(_names_category(text, name) for name in request.categories):
        return "name of the category"
    return ""


def _trimmed(text: str, kind: str) -> str:
    text = _BLANKS.sub(" ", text).strip()
    for _ in range(2):  # a full stop may stand inside or outside the quotation marks
        text = text.rstrip(".。").rstrip() if not text.endswith("...") else text
        for left, right in _QUOTES:
            if len(text) > 1 and text[0] == left and text[-1] == right and left not in text[1:-1]:
                text = text[1:-1].strip()
        text = _LEAD_IN[kind].sub("", text)
    return text


def _contains_title(text: str, title: str) -> bool:
    """Return whether a text contains a title: in full, with its article at either end, or without its parenthesis."""
    folded = plain(text)
    without_parenthesis = re.sub(r"\s*\([^()]*\)\s*$", "", title).strip()
    spellings = [form for name in {title, without_parenthesis} if name for form in _title_forms(name)]
    return any(stands_alone(form, folded) for form in spellings)


def _repeats_title(text: str, title: str) -> bool:
    """Return whether a title of the history is repeated; a single word, such as "Heat", only in its own case."""
    if " " in title or not title.isascii():
        return _contains_title(text, title)
    return re.search(rf"(?<![^\W_]){re.escape(title)}(?![^\W_])", text) is not None


def _names_category(text: str, category: str) -> bool:
    folded = normal(text)
    return any(stands_alone(word, folded) for word in _category_words(category))


@lru_cache(maxsize=2_000)
def _category_words(category: str) -> frozenset[str]:
    """Return the words that name a category: its own in both languages, in plural and singular."""
    chinese = lexicon()["categories"].get(category.casefold(), {}).get("zh", "")
    words: set[str] = set()
    for name in (normal(category), normal(chinese)):
        if _CHINESE.search(name):
            stem = _GENERIC_ZH.sub("", name)
            words |= {name, stem if len(stem) > 1 else name}
            words |= {stem[:2], stem[2:]} if len(stem) == 4 else set()
        elif name:
            words.add(name)
            for word in re.findall(r"[^\W\d_]+", name):
                if len(word) > 2 and word not in _GENERIC:
                    words |= {word, f"{word}s", word.removesuffix("s"), f"{word.removesuffix('y')}ies"}
    return frozenset(words)


def _echoes(text: str, request: AnnotationRequest) -> bool:
    """Return whether a reply repeats question or examples: five English words or eight Chinese characters in a row."""
    size = 8 if request.language == "zh" else 5
    return not set(_n_grams(text, size)).isdisjoint(_prompt_n_grams(request.kind, request.language, size))


@lru_cache
def _prompt_n_grams(kind: str, language: str, size: int) -> frozenset[tuple[str, ...]]:
    texts = [PROMPTS[kind, language], *(answer for *_, answer in EXAMPLES[kind, language])]
    return frozenset(n_gram for text in texts for n_gram in _n_grams(text, size))


def _n_grams(text: str, size: int) -> list[tuple[str, ...]]:
    words = re.findall(rf"[{_CJK}]|[^\W{_CJK}]+", normal(text))
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]


def _loops(text: str) -> bool:
    """Return whether a model repeats itself: three words in a row occur twice, or most words are repeats."""
    words, trigrams = _n_grams(text, 1), _n_grams(text, 3)
    return len(set(trigrams)) < len(trigrams) or (len(words) > 6 and 2 * len(set(words)) < len(words))
