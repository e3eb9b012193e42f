"""What a teacher is asked: prompts, examples of our own invention, titles and categories; never a user id.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from instructrec.errors import InputError, one_of
from instructrec.wordings.lexicon import LANGUAGES

KINDS = ("taste", "wish")
_LONGEST_TITLE = 200


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
        for titles, categories, answer in EXAMPLES[self.kind, self.language]:
            question = _question(self.kind, self.language, titles, categories)
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        question = _question(self.kind, self.language, self.titles, self.categories)
        return [*turns, {"role": "user", "content": question}]


def _question(kind: str, language: str, titles: Sequence[str], categories: Sequence[str]) -> str:
    shown = ("；" if language == "zh" else "; ").join(title[:_LONGEST_TITLE] for title in titles)
    names = ("、" if language == "zh" else ", ").join(categories)
    kinds = KINDS_LINE[language].format(names=names) if names else ""
    return PROMPTS[kind, language].format(titles=shown, names=names, kinds=kinds)


KINDS_LINE = {"en": "Their kinds: {names}.\n", "zh": "类别：{names}。\n"}
PROMPTS = {
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
EXAMPLES: dict[tuple[str, str], tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...]] = {
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


def _clean(text: str) -> str:
    return " ".join(encodable(text).split())


def encodable(text: str) -> str:
    """Return a text with a question mark in place of each half of a character, which UTF-8 has no bytes for."""
    return text.encode("utf-8", "replace").decode("utf-8")
