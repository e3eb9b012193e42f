"""A teacher model, where there is one: an OpenAI-compatible endpoint that puts taste (P2) and wishes (I1) into words.

In the paper a large language model writes them (Zhang et al., 2023, arXiv:2305.07001); here the rules of `annotate` do
by default, and a teacher may take their place. It is told titles and names of categories, nothing else. What it replied
is kept in an SQLite file under a digest of what it was asked, so that nothing is asked twice and nothing finished is
lost. Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sqlite3
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from instructrec.errors import InputError, one_of
from instructrec.instructions.lexicon import LANGUAGES, lexicon, normal

KINDS = ("taste", "wish")
ATTEMPTS = 2
"""How often a reply is asked for until the rules have to do: once, and once more with other sampling."""
SAMPLING: dict[str, float | int] = {"temperature": 0.7, "top_p": 0.95, "max_tokens": 80, "seed": 0}
LONGEST = {("taste", "en"): 200, ("taste", "zh"): 80, ("wish", "en"): 120, ("wish", "zh"): 50}
"""The most characters of a reply that is accepted, by kind and language."""

_SAMPLING_NAMES = (
    *SAMPLING,
    "max_completion_tokens",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
)
_KINDS_OF_SETTINGS: dict[str, tuple[tuple[type, ...], str]] = {
    "seed": ((int,), "a whole number"),
    "max_tokens": ((int,), "a whole number of at least 1"),
    "max_completion_tokens": ((int,), "a whole number of at least 1"),
    "reasoning_effort": ((str,), "a text"),
}
_LONGEST_TITLE = 200
_LONGEST_REPLY = 20_000
_LONGEST_PAUSE = 8.0


# -- what is asked ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnnotationRequest:
    """What a teacher is asked to put into words. It holds no user id, and has no place for one.

    Attributes:
        kind: "taste" for a description of a history (P2), "wish" for a vague wish that categories may fulfil (I1).
        language: Language of the reply, "en" or "zh".
        titles: The history, oldest first; shown for a taste, which has to do without them, and not shown for a wish.
        categories: Names of categories in the language of the reply; a wish must not say them, a taste may.
        forbidden: Titles that the reply must not hold, the target's above all; they are never sent.
        variant: Which of several replies to the same question; another number asks with another seed.

    Raises:
        InputError: An unknown kind or language, a taste without titles, a wish without categories.
    """

    kind: str
    language: str
    titles: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    variant: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise one_of("kind of an annotation", self.kind, KINDS)
        if self.language not in LANGUAGES:
            raise one_of("language", self.language, LANGUAGES)
        for name in ("titles", "categories", "forbidden"):
            value = getattr(self, name)
            if not isinstance(value, tuple | list) or not all(isinstance(text, str) for text in value):
                raise InputError(
                    f"{name} of an annotation request is {value!r}; a tuple of texts is accepted"
                )
            object.__setattr__(self, name, tuple(text for text in map(_clean, value) if text))
        if not (self.titles if self.kind == "taste" else self.categories):
            needed = "title" if self.kind == "taste" else "category"
            raise InputError(f"a {self.kind} is asked for without a {needed}; at least one is accepted")
        if isinstance(self.variant, bool) or not isinstance(self.variant, int) or self.variant < 0:
            raise InputError(f"variant is {self.variant!r}; a whole number of at least 0 is accepted")

    def messages(self) -> list[dict[str, str]]:
        """Return what the teacher is sent: two examples of our own invention, then titles and names of categories."""
        turns: list[dict[str, str]] = []
        for titles, categories, answer in _EXAMPLES[self.kind, self.language]:
            question = _question(self.kind, self.language, titles, categories)
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        question = _question(self.kind, self.language, self.titles, self.categories)
        return [*turns, {"role": "user", "content": question}]


def _question(kind: str, language: str, titles: Sequence[str], categories: Sequence[str]) -> str:
    shown = ("；" if language == "zh" else "; ").join(title[:_LONGEST_TITLE] for title in titles)
    names = ("、" if language == "zh" else ", ").join(categories)
    kinds = _KINDS_LINE[language].format(names=names) if names else ""
    return _PROMPTS[kind, language].format(titles=shown, names=names, kinds=kinds)


_KINDS_LINE = {"en": "Their kinds: {names}.\n", "zh": "类别：{names}。\n"}
_PROMPTS = {
    ("taste", "en"): (
        "Chosen by one person, the oldest first: {titles}.\n{kinds}"
        'Sum up this taste in one general phrase of 5 to 25 words, such as would follow "My taste:". '
        "Repeat no title and no name. Reply with the phrase alone."
    ),
    ("wish", "en"): (
        "Someone would enjoy: {names}.\n"
        "Hint at that wish in one phrase of 4 to 15 words about a feeling, an occasion or an aim, such as would follow "
        '"I am in the mood for". Avoid the words {names}; no title, no name. Reply with the phrase alone.'
    ),
    ("taste", "zh"): (
        "某人先后选了：{titles}。\n{kinds}"
        "请用四十字以内的一句话概括这种口味，要能接在“我的口味：”后面。不要照抄名称，不要写人名。只回复这一句。"
    ),
    ("wish", "zh"): (
        "有人会喜欢：{names}。\n"
        "请用二十五字以内的一句话含蓄地说出这个心愿，只谈心情、场合或目的，要能接在“我想要”后面。"
        "不要用“{names}”这些字眼，不要提作品、人物或品牌。只回复这一句。"
    ),
}
# Invented titles: none of them is in the data, so that an example can leak nothing
_EXAMPLES: dict[tuple[str, str], tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...]] = {
    ("taste", "en"): (
        (
            ("The Ferryman's Two Daughters", "Salt on the Windows", "Letters to an Empty House"),
            (),
            "quiet family stories by the water, gentle in tone and a little sad",
        ),
        (
            ("Orbit Nine Does Not Answer", "The Clockwork Senator", "Rust Parade"),
            (),
            "dark visions of tomorrow with machines, conspiracies and a dry sense of humour",
        ),
    ),
    ("wish", "en"): (
        ((), ("Gardening",), "a slow Sunday outside with soil on my hands"),
        ((), ("Ghost Stories",), "a shiver down the spine before we all go to bed"),
    ),
    ("taste", "zh"): (
        (("渡口的两个女儿", "窗上的盐", "寄往空屋的信"), (), "偏爱水边人家的平静故事，语气温和，略带伤感"),
        (
            ("九号轨道没有回音", "发条议员", "锈铁游行"),
            (),
            "喜欢阴暗的明日世界，有机器、有阴谋，还带点冷幽默",
        ),
    ),
    ("wish", "zh"): (
        ((), ("园艺",), "周末在阳台上慢慢松土、晒晒太阳"),
        ((), ("鬼故事",), "睡前和朋友们一起吓出一身鸡皮疙瘩"),
    ),
}


# -- what is accepted ------------------------------------------------------------------------------------------------

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


def accept(request: AnnotationRequest, reply: str, finish: str = "stop") -> tuple[str | None, str]:
    """Return a reply as the templates take it, and "", or None and the reason why it cannot be used.

    Args:
        request: What was asked.
        reply: The teacher's words; quotation marks around them, a repeated lead-in and a last full stop are taken off.
        finish: Why the teacher ended: "stop" where it was done.
    """
    text = _bare(_THOUGHT.sub("", reply), request.kind)
    return (None, reason) if (reason := _fault(request, text, finish)) else (text, "")


def _fault(request: AnnotationRequest, text: str, finish: str) -> str:
    if finish == "length":
        return "cut short"
    if finish == "content_filter":
        return "refused"
    if not text:
        return "empty"
    if len(text.splitlines()) > 1:
        return "several lines"
    if any(not sign.isprintable() for sign in text):
        return "control characters"
    if _SENTENCES.search(text):
        return "several sentences"
    if len(text) > LONGEST[request.kind, request.language]:
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
    if any(_says(text, title) for title in request.forbidden):
        return "forbidden title"
    if request.kind == "taste" and any(_repeats(text, title) for title in request.titles):
        return "title of the history"
    if request.kind == "wish" and any(_names(text, name) for name in request.categories):
        return "name of the category"
    return ""


def _bare(text: str, kind: str) -> str:
    text = _BLANKS.sub(" ", text).strip()
    for _ in range(2):  # a full stop may stand inside or outside the marks
        text = text.rstrip(".。").rstrip() if not text.endswith("...") else text
        for left, right in _QUOTES:
            if len(text) > 1 and text[0] == left and text[-1] == right and left not in text[1:-1]:
                text = text[1:-1].strip()
        text = _LEAD_IN[kind].sub("", text)
    return text


def _says(text: str, title: str) -> bool:
    """Tell whether a title stands in a text as words of its own, whatever the case, as in `generate.contains_title`."""
    return any(_as_words(form).search(normal(text)) for form in _forms(title))


def _repeats(text: str, title: str) -> bool:
    """Tell whether a history's title is repeated; one word, such as "Heat", counts only in its own case."""
    if " " in title or not title.isascii():
        return _says(text, title)
    return re.search(rf"(?<![^\W_]){re.escape(title)}(?![^\W_])", text) is not None


def _forms(title: str) -> Iterator[str]:
    """Yield a title as it may be said: whole, without what stands in brackets, and with its article in front."""
    plain = re.sub(r"\s*\([^()]*\)\s*$", "", title).strip()
    moved = re.sub(r"^(.+), (the|an?|le|la|les|il|el|das|der|die)$", r"\2 \1", plain, flags=re.I)
    for form in {title, plain, moved}:
        if form.strip():
            yield normal(form)


@lru_cache(maxsize=50_000)
def _as_words(folded: str) -> re.Pattern[str]:
    before = r"(?<![a-z0-9])" if folded[:1].isascii() else ""
    after = r"(?![a-z0-9])" if folded[-1:].isascii() else ""
    return re.compile(before + re.escape(folded) + after)


def _names(text: str, category: str) -> bool:
    folded = normal(text)
    return any(_as_words(word).search(folded) for word in _category_words(category))


@lru_cache(maxsize=2_000)
def _category_words(category: str) -> frozenset[str]:
    """Return the words that would name a category: its own in both languages, in the plural and the singular."""
    chinese = lexicon()["categories"].get(category.casefold(), {}).get("zh", "")
    found: set[str] = set()
    for name in (normal(category), normal(chinese)):
        if _CHINESE.search(name):
            stem = _GENERIC_ZH.sub("", name)
            found |= {name, stem if len(stem) > 1 else name}
            found |= {stem[:2], stem[2:]} if len(stem) == 4 else set()
        elif name:
            found.add(name)
            for word in re.findall(r"[^\W\d_]+", name):
                if len(word) > 2 and word not in _GENERIC:
                    found |= {word, f"{word}s", word.removesuffix("s"), f"{word.removesuffix('y')}ies"}
    return frozenset(found)


def _echoes(text: str, request: AnnotationRequest) -> bool:
    """Tell whether the reply repeats question or examples: five English words or eight Chinese characters in a row."""
    size = 8 if request.language == "zh" else 5
    return not set(_pieces(text, size)).isdisjoint(_asked_pieces(request.kind, request.language, size))


@lru_cache
def _asked_pieces(kind: str, language: str, size: int) -> frozenset[tuple[str, ...]]:
    ours = [_PROMPTS[kind, language], *(answer for *_, answer in _EXAMPLES[kind, language])]
    return frozenset(piece for text in ours for piece in _pieces(text, size))


def _pieces(text: str, size: int) -> list[tuple[str, ...]]:
    words = re.findall(rf"[{_CJK}]|[^\W{_CJK}]+", normal(text))
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]


def _loops(text: str) -> bool:
    """Tell whether a model got caught in a loop: three words in a row said twice, or half of all words."""
    words, threes = _pieces(text, 1), _pieces(text, 3)
    return len(set(threes)) < len(threes) or (len(words) > 6 and 2 * len(set(words)) < len(words))


def _clean(text: str) -> str:
    return " ".join(_encodable(text).split())


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


# -- what is kept ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reply:
    text: str
    finish: str
    tokens: int


class _Cache:
    """Replies by the digest of what was asked, in one SQLite file that several processes may share."""

    APPLICATION = 0x49525431  # marks the file as ours
    LAYOUT = 1

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        with self._transaction() as database:
            mark, layout, tables = (
                database.execute(question).fetchone()[0]
                for question in (
                    "PRAGMA application_id",
                    "PRAGMA user_version",
                    "SELECT count(*) FROM sqlite_master",
                )
            )
            if (mark, layout) == (self.APPLICATION, self.LAYOUT):
                return
            if tables or mark:
                raise InputError(
                    f"cache {str(self.path)!r} is a database of something else; give another path, or none yet there"
                )
            database.execute(f"PRAGMA application_id = {self.APPLICATION}")
            database.execute(f"PRAGMA user_version = {self.LAYOUT}")
            database.execute(
                "CREATE TABLE replies (key TEXT PRIMARY KEY, model TEXT NOT NULL, prompt TEXT NOT NULL, "
                "reply TEXT NOT NULL, finish TEXT NOT NULL, tokens INTEGER NOT NULL) WITHOUT ROWID"
            )
            database.execute(
                "CREATE TABLE runs (run TEXT PRIMARY KEY, requests INTEGER NOT NULL, tokens INTEGER NOT NULL) "
                "WITHOUT ROWID"
            )

    def __enter__(self) -> _Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def get(self, keys: Iterable[str]) -> dict[str, _Reply]:
        """Return the replies that are there."""
        asked, found = list(keys), {}
        with self._errors():
            for start in range(0, len(asked), 500):  # SQLite bounds the number of values in one question
                some = asked[start : start + 500]
                rows = self._database.execute(
                    f"SELECT key, reply, finish, tokens FROM replies WHERE key IN ({','.join('?' * len(some))})",
                    some,
                )
                found.update({key: _Reply(*rest) for key, *rest in rows})
        return found

    def put(self, key: str, model: str, prompt: str, reply: _Reply, run: str) -> _Reply:
        """Keep a reply for good and return the one that counts: the first, if another process was faster."""
        with self._errors(), self._transaction() as database:
            database.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?)",
                (key, model, prompt, reply.text, reply.finish, reply.tokens),
            )
            database.execute(
                "INSERT INTO runs VALUES (?, 1, ?) "
                "ON CONFLICT (run) DO UPDATE SET requests = requests + 1, tokens = tokens + excluded.tokens",
                (run, reply.tokens),
            )
            row = database.execute(
                "SELECT reply, finish, tokens FROM replies WHERE key = ?", (key,)
            ).fetchone()
        return _Reply(*row)

    def spent(self, run: str) -> tuple[int, int]:
        """Return how many requests and tokens a run has used up, in all of its processes."""
        with self._errors():
            row = self._database.execute("SELECT requests, tokens FROM runs WHERE run = ?", (run,)).fetchone()
        return row or (0, 0)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database
        except BaseException:
            self._database.rollback()
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error
        except sqlite3.OperationalError as error:
            raise self._error(str(error)) from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"cache {str(self.path)!r} is no sound SQLite database ({error}); give another path, or move it away"
            ) from error

    def _error(self, reason: str) -> InputError:
        return InputError(
            f"cannot keep replies in cache {str(self.path)!r}: {reason}; "
            "give the path of a file in a writable folder with free space"
        )


# -- the teacher -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a teacher may use up; None is without bound, 0 answers from the cache alone.

    Attributes:
        tokens: Tokens of prompts and replies together, as the endpoint counts them.
        requests: Requests that the endpoint answers.
    """

    tokens: int | None = None
    requests: int | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise InputError(
                    f"budget of {one.name} is {value!r}; a whole number of at least 0 or None is accepted"
                )


class BudgetSpent(InputError):
    """The budget is used up; what was replied until then is kept, and another call goes on from there."""


@dataclass(slots=True)
class Stats:
    """What became of the requests that a teacher was given; a call that an error ends counts in `asked` and below.

    Attributes:
        requests: Annotation requests given.
        cached: Those that the cache settled, without asking.
        accepted: Those answered by a text.
        refused: Those left to the rules: no acceptable reply.
        asked: Replies that the endpoint gave.
        malformed: Those of `asked` that could not be used.
        tokens: Tokens that `asked` took, prompts and replies.
        reasons: Why replies, fresh or cached, could not be used, once for each request that they were meant for.
    """

    requests: int = 0
    cached: int = 0
    accepted: int = 0
    refused: int = 0
    asked: int = 0
    malformed: int = 0
    tokens: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


class Teacher:
    """A model behind an OpenAI-compatible endpoint that puts taste and wishes into words.

    A reply is sought under (model, prompt, sampling) in the cache first. A fresh one is committed before the next is
    looked at: after a cut connection, a full quota or `kill -9`, the same call asks only for what is missing. A reply
    that cannot be used is asked for once more with another seed and temperature; both are kept, so that a rerun decides
    the same without asking. Objects can be sent to worker processes, which then share cache and budget.

    Args:
        base_url: Address of the API, such as "http://127.0.0.1:8080/v1".
        model: Name of the model there.
        api_key: Key; without it the environment variable OPENAI_API_KEY, and without that none. It goes to the endpoint
            and nowhere else.
        cache: SQLite file for the replies, made where there is none.
        budget: The most that this teacher may use up: a `Budget`, or a number of tokens. Replies from the cache are
            free. Requests under way are reckoned at their most, so that it is overrun by about one reply at most.
        concurrency: How many requests are under way at once.
        timeout: Seconds to wait for the endpoint.
        max_retries: How often a request is sent again after a lost connection, 408, 409, 429, 5xx, or a garbled reply;
            pauses between grow to eight seconds.
        sampling: Changes to `SAMPLING`; None drops a setting, for endpoints that do not know it.
        progress: Show a bar on standard error when it takes more than a few seconds.

    Attributes:
        model: Name to keep as `Instruction.annotator`.
        stats: What became of the requests so far.

    Raises:
        InputError: An argument is not accepted, or the cache cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        cache: str | os.PathLike[str],
        api_key: str | None = None,
        budget: Budget | int | None = None,
        concurrency: int = 4,
        timeout: float = 60.0,
        max_retries: int = 5,
        sampling: Mapping[str, float | int | str | None] | None = None,
        progress: bool = True,
    ) -> None:
        self._url = _address(base_url)
        self._shown_url = _without_credentials(self._url)
        if not isinstance(model, str) or not model.strip():
            raise InputError(f"model is {model!r}; the name of a model at {self._shown_url} is accepted")
        self.model = _encodable(model.strip())
        self._key = (api_key if api_key is not None else os.environ.get("OPENAI_API_KEY", "")).strip()
        if not self._key.isascii() or not self._key.isprintable() or " " in self._key:
            raise InputError(
                "api_key holds blanks or signs beyond ASCII; the key as the provider gave it is accepted"
            )
        for name, value, least in (("concurrency", concurrency, 1), ("max_retries", max_retries, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} is {value!r}; a whole number of at least {least} is accepted")
        if (
            isinstance(timeout, bool)
            or not isinstance(timeout, int | float)
            or not 0 < timeout < float("inf")
        ):
            raise InputError(f"timeout is {timeout!r}; a number of seconds above 0 is accepted")
        self.budget = budget if isinstance(budget, Budget) else Budget(tokens=budget)
        self.concurrency, self.timeout, self.max_retries = concurrency, float(timeout), max_retries
        self.sampling = _sampling(sampling or {})
        self.progress = progress
        self.stats = Stats()
        if not isinstance(cache, str | os.PathLike) or "\0" in str(cache) or not str(cache):
            raise InputError(f"cache is {cache!r}; the path of a file for the replies is accepted")
        self.cache = Path(cache).absolute()
        self._run = (
            uuid.uuid4().hex
        )  # the budget's account in the cache, shared with copies in other processes
        with _Cache(self.cache):
            pass

    def __repr__(self) -> str:
        return f"Teacher({self._shown_url!r}, {self.model!r}, cache={str(self.cache)!r})"

    def annotate(self, requests: Sequence[AnnotationRequest]) -> list[str | None]:
        """Put each request into words.

        Args:
            requests: Any number of them; equal questions are asked once.

        Returns:
            A text for each request, in their order; None where no acceptable reply came and the rules have to do.

        Raises:
            BudgetSpent: The budget is used up.
            InputError: The endpoint cannot be used, or the cache, or `openai` is not installed. What was replied until
                then is kept.
        """
        with _Cache(self.cache) as cache:
            batch = _Batch(self, cache, requests)
            if batch.queue:
                self._ask_all(batch)
        self.stats.requests += len(requests)
        self.stats.cached += len(requests) - batch.n_asked
        self.stats.accepted += sum(text is not None for text in batch.texts)
        self.stats.refused += sum(text is None for text in batch.texts)
        self.stats.reasons += batch.reasons
        return batch.texts

    def identity(self) -> dict[str, Any]:
        """Return what the texts depend on beside the replies in the cache, as JSON takes it: no address and no key."""
        prompts = json.dumps(
            [[_PROMPTS[one], _EXAMPLES[one]] for one in sorted(_PROMPTS)] + sorted(_KINDS_LINE.values())
        )
        return {
            "model": self.model,
            "sampling": dict(self.sampling),
            "prompts": hashlib.sha256(prompts.encode()).hexdigest(),
        }

    def question(self, request: AnnotationRequest, attempt: int = 0) -> dict[str, Any]:
        """Return the body that is sent for a request: model, one message and sampling settings.

        Args:
            request: What is asked for.
            attempt: 0 at first, 1 after a reply that could not be used: another seed, another temperature.
        """
        sampling = dict(self.sampling)
        if "seed" in sampling:
            sampling["seed"] += ATTEMPTS * request.variant + attempt
        if "temperature" in sampling and attempt:
            sampling["temperature"] = round(
                sampling["temperature"] + (0.2 if sampling["temperature"] < 1 else -0.2), 3
            )
        return {"model": self.model, "messages": request.messages(), **sampling}

    # -- sending -----------------------------------------------------------------------------------------------------

    def _ask_all(self, batch: _Batch) -> None:
        from tqdm import tqdm

        running: dict[Future[_Reply], str] = {}
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="teacher")
        with (
            _client(self) as client,
            tqdm(desc=f"asking {self.model}", unit="reply", delay=3, disable=not self.progress) as bar,
        ):
            try:
                while batch.queue or running:
                    while batch.queue and len(running) < self.concurrency and self._may_ask(batch, running):
                        key = batch.queue.popleft()
                        if not batch.settle_from_cache(key):
                            running[pool.submit(self._ask, client, batch.questions[key])] = key
                    if batch.queue and not running and not self._may_ask(batch, running):
                        raise self._budget_spent(batch)
                    bar.total = bar.n + len(running) + len(batch.queue)
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for one in done:
                        batch.settle_fresh(running[one], one.result())
                        del running[one]
                    bar.update(len(done))
            except BaseException:
                # what is under way is paid for: wait for it and keep it
                pool.shutdown(wait=True, cancel_futures=True)
                for one, key in running.items():
                    if not one.cancelled() and one.exception() is None:
                        batch.settle_fresh(key, one.result())
                raise
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _may_ask(self, batch: _Batch, running: Mapping[Future[_Reply], str]) -> bool:
        if self.budget.requests is None and self.budget.tokens is None:
            return True
        requests, tokens = batch.cache.spent(self._run)
        tokens += sum(_most_tokens(batch.questions[key]) for key in running.values())
        return (self.budget.requests is None or requests + len(running) < self.budget.requests) and (
            self.budget.tokens is None or tokens < self.budget.tokens
        )

    def _budget_spent(self, batch: _Batch) -> BudgetSpent:
        requests, tokens = batch.cache.spent(self._run)
        bounds = [
            f"{value:,} {name}"
            for name, value in (("tokens", self.budget.tokens), ("requests", self.budget.requests))
            if value is not None
        ]
        return BudgetSpent(
            f"the teacher's budget of {' and '.join(bounds)} is spent: {requests:,} requests took {tokens:,} tokens; "
            f"all replies are kept in {str(self.cache)!r}, and {len(batch.queue):,} or more are still to ask for: "
            "run again with this cache to go on, or with a larger budget to go further"
        )

    def _ask(self, client: Any, question: Mapping[str, Any]) -> _Reply:
        """Send one question, from a thread of the pool."""
        import openai

        for attempt in range(self.max_retries + 1):
            try:
                raw = client.chat.completions.with_raw_response.create(**question)
            except openai.APIStatusError as error:
                if _is_about_content(error):
                    return _Reply("", "content_filter", 0)
                raise self._refused(error, client) from None  # the cause may quote the key
            except openai.APIConnectionError as error:
                raise self._unreachable(error) from None
            reply = _read(raw.content, question)
            if reply is not None:
                return reply
            if attempt < self.max_retries:
                time.sleep(min(_LONGEST_PAUSE, 0.5 * 2**attempt))
        raise InputError(
            f"{self._shown_url} answers with something that is no chat completion, {self._tries()}; "
            f'base_url has to be that of an OpenAI-compatible API and mostly ends in "/v1"; {self._kept()}'
        )

    def _unreachable(self, error: Exception) -> InputError:
        import openai

        if isinstance(error, openai.APITimeoutError):
            return InputError(
                f"{self._shown_url} did not answer within {self.timeout:g} seconds, {self._tries()}; "
                f"give a longer timeout or fewer at once (concurrency is {self.concurrency}); {self._kept()}"
            )
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return InputError(
            f"cannot reach {self._shown_url}, {self._tries()}: {self._scrubbed(str(cause))}; "
            f"start the server or give another base_url; {self._kept()}"
        )

    def _refused(self, error: Any, client: Any) -> InputError:
        status, said = error.status_code, self._scrubbed(error.message)
        if status in (401, 403):
            which = "the key" if self._key else "a request without a key"
            return InputError(
                f"{self._shown_url} does not accept {which} ({status}); "
                "give api_key or set the environment variable OPENAI_API_KEY"
            )
        if status == 404:
            return InputError(
                f"{self._shown_url} has no model {self.model!r}, or is not the address of an OpenAI-compatible API "
                f"(404); {self._models(client)}"
            )
        if status in (408, 409, 429) or status >= 500:
            trouble = (
                "too many requests, or the quota is used up" if status == 429 else "the server is in trouble"
            )
            return InputError(
                f"{self._shown_url} still answers {status} ({trouble}), {self._tries()}; "
                f"wait, or ask for fewer at once (concurrency is {self.concurrency}); {self._kept()}"
            )
        return InputError(
            f"{self._shown_url} refuses the request ({status}): {said}; "
            f"sampling settings that it does not know can be dropped by sampling={{name: None}}; {self._kept()}"
        )

    def _models(self, client: Any) -> str:
        import openai

        try:
            names = sorted(
                str(one.id) for one in client.with_options(max_retries=0, timeout=5.0).models.list().data
            )
        except (openai.OpenAIError, AttributeError, TypeError, ValueError):
            names = []
        if not names:
            return 'base_url mostly ends in "/v1"'
        more = f", … ({len(names)} in all)" if len(names) > 8 else ""
        return f"accepted: {', '.join(names[:8])}{more}"

    def _tries(self) -> str:
        return "asked once" if not self.max_retries else f"asked {self.max_retries + 1} times"

    def _kept(self) -> str:
        return f"finished replies are kept in {str(self.cache)!r}, run again to go on"

    def _scrubbed(self, message: str) -> str:
        message = message.replace(self._url, self._shown_url)
        return message.replace(self._key, "…")[:300] if self._key else message[:300]


class _Batch:
    """Where each request of one call stands: answered, given up, or waiting for the reply to a question."""

    def __init__(self, teacher: Teacher, cache: _Cache, requests: Sequence[AnnotationRequest]) -> None:
        self.teacher, self.cache, self.requests = teacher, cache, requests
        self.texts: list[str | None] = [None] * len(requests)
        self.reasons: Counter[str] = Counter()
        self.questions: dict[str, dict[str, Any]] = {}
        self.queue: deque[str] = deque()
        self._waiting: dict[str, list[tuple[int, int]]] = {}
        keys = [[self._key(place, attempt) for attempt in range(ATTEMPTS)] for place in range(len(requests))]
        self._keys = keys
        self._replies = cache.get({key for both in keys for key in both})
        for place in range(len(requests)):
            self._resolve(place, 0)
        self.n_asked = sum(len(places) for places in self._waiting.values())

    def settle_from_cache(self, key: str) -> bool:
        """Tell whether another process has meanwhile got the reply to a question, and if so take it."""
        found = self.cache.get([key])
        if key in found:
            self._take(key, found[key])
        return key in found

    def settle_fresh(self, key: str, reply: _Reply) -> None:
        """Keep the reply to a question, then see whom it serves."""
        question = self.questions[key]
        prompt = question["messages"][-1]["content"]
        stats = self.teacher.stats
        stats.asked += 1
        stats.tokens += reply.tokens
        kept = self.cache.put(key, self.teacher.model, prompt, reply, self.teacher._run)
        stats.malformed += self._take(key, kept)

    def _take(self, key: str, reply: _Reply) -> bool:
        self._replies[key] = reply
        rejected = self.reasons.total()
        for place, attempt in self._waiting.pop(key, ()):
            self._resolve(place, attempt)
        return self.reasons.total() > rejected

    def _resolve(self, place: int, attempt: int) -> None:
        request = self.requests[place]
        for number in range(attempt, ATTEMPTS):
            key = self._keys[place][number]
            if key not in self._replies:
                if key not in self._waiting:
                    self._waiting[key] = []
                    self.questions[key] = self.teacher.question(request, number)
                    self.queue.append(key)
                self._waiting[key].append((place, number))
                return
            reply = self._replies[key]
            text, reason = accept(request, reply.text, reply.finish)
            if text is not None:
                self.texts[place] = text
                return
            self.reasons[reason] += 1

    def _key(self, place: int, attempt: int) -> str:
        request = self.requests[place]
        asked = [self.teacher.question(request, attempt), request.variant, attempt]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


# -- the endpoint ----------------------------------------------------------------------------------------------------


def _client(teacher: Teacher) -> Any:
    if find_spec("openai") is None:
        raise InputError("a teacher needs openai; run `pip install 'instructrec[teacher]'`")
    import openai

    # the client insists on a key, servers on one's own machine mostly need none
    return openai.OpenAI(
        base_url=teacher._url,
        api_key=teacher._key or "none",
        timeout=teacher.timeout,
        max_retries=teacher.max_retries,
    )


def _read(body: bytes, question: Mapping[str, Any]) -> _Reply | None:
    """Return the reply in the body of an answer, None where the body is no chat completion."""
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        content = choice["message"].get("content")
        finish = choice.get("finish_reason") or "stop"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    text = _encodable(content)[:_LONGEST_REPLY] if isinstance(content, str) else ""
    usage = answer.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
        # an endpoint that does not count: about three bytes make a token
        tokens = (_size(question) + len(text.encode())) // 3
    return _Reply(text, str(finish)[:40], tokens)


def _most_tokens(question: Mapping[str, Any]) -> int:
    """Return a bound on what a question may cost: no token is shorter than a byte, and chat formats add some."""
    longest = question.get("max_tokens") or question.get("max_completion_tokens") or 1_000
    return _size(question) + 64 + int(longest)


def _size(question: Mapping[str, Any]) -> int:
    return sum(len(message["content"].encode()) for message in question["messages"])


def _is_about_content(error: Any) -> bool:
    """Tell whether this one prompt was refused, by a filter or for its length, rather than every request."""
    marks = {
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "exceed_context_size_error",
    }
    return error.status_code in (400, 413, 422) and bool(marks & {error.code, error.type})


def _sampling(changes: Mapping[str, float | int | str | None]) -> dict[str, Any]:
    settings: dict[str, Any] = dict(SAMPLING)
    if changes.get("max_completion_tokens") is not None and "max_tokens" not in changes:
        del settings["max_tokens"]  # endpoints know one or the other and refuse both
    for name, value in changes.items():
        if name not in _SAMPLING_NAMES:
            raise one_of("sampling setting", name, _SAMPLING_NAMES)
        kinds, accepted = _KINDS_OF_SETTINGS.get(name, ((int, float), "a number"))
        if value is not None and (
            isinstance(value, bool)
            or not isinstance(value, kinds)
            or (isinstance(value, float) and not math.isfinite(value))
            or (name.endswith("tokens") and int(value) < 1)
        ):
            raise InputError(f"sampling setting {name} is {value!r}; {accepted} or None is accepted")
        settings[name] = value
    return {name: value for name, value in settings.items() if value is not None}


def _address(base_url: str) -> str:
    address = str(base_url).strip().rstrip("/")
    try:
        parts = urlsplit(address)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, sound = SplitResult("", "", "", "", ""), False
    if not sound or any(sign.isspace() or not sign.isprintable() for sign in address):
        shown = _without_credentials(address)
        raise InputError(f'base_url is {shown!r}; an address such as "http://127.0.0.1:8080/v1" is accepted')
    return address


def _without_credentials(address: str) -> str:
    """Return an address without user name, password and query, which may hold secrets."""
    bare = re.sub(r"^([a-z][a-z0-9+.-]*://)?.*@", lambda found: found[1] or "", address, flags=re.I)
    return re.split("[?#]", bare)[0]
