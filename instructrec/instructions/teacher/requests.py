"""Requests to a teacher: prompts, invented examples, titles and categories; never a user id.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from instructrec.errors import InputError, one_of
from instructrec.validation import NonNegativeInt, check_value
from instructrec.wordings import read_wordings
from instructrec.wordings.lexicon import LANGUAGES

REQUEST_KINDS = ("taste", "wish")
_MAX_TITLE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class AnnotationRequest:
    """A request for a taste or a wish in words. It has no attribute for a user id.

    Attributes:
        kind: "taste" for a description of a history (P2), "wish" for a vague wish that categories may fulfil (I1).
        language: Language of the reply, "en" or "zh".
        titles: The history, oldest first. The prompt for a taste contains them, the reply must not; the prompt for a
            wish does not contain them.
        categories: Names of categories in the language of the reply; a wish must not contain them, a taste may.
        forbidden: Titles that the reply must not contain, above all the target's; they are never sent.
        variant: Number of one of several replies to the same question, at least 0; each has another seed.

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
        if self.kind not in REQUEST_KINDS:
            raise one_of("kind of an annotation", self.kind, REQUEST_KINDS)
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
        check_value("variant", self.variant, NonNegativeInt)

    def messages(self) -> list[dict[str, str]]:
        """Return the messages of the chat: invented examples with their replies, then the question."""
        messages: list[dict[str, str]] = []
        for titles, categories, answer in EXAMPLES[self.kind, self.language]:
            question = _question(self.kind, self.language, titles, categories)
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        question = _question(self.kind, self.language, self.titles, self.categories)
        return [*messages, {"role": "user", "content": question}]


def _question(kind: str, language: str, titles: Sequence[str], categories: Sequence[str]) -> str:
    history = ("；" if language == "zh" else "; ").join(title[:_MAX_TITLE_CHARACTERS] for title in titles)
    names = ("、" if language == "zh" else ", ").join(categories)
    kinds = KINDS_LINE[language].format(names=names) if names else ""
    return PROMPTS[kind, language].format(titles=history, names=names, kinds=kinds)


_WORDINGS = read_wordings("teacher_prompts")
KINDS_LINE: dict[str, str] = _WORDINGS["categories_line"]
PROMPTS: dict[tuple[str, str], str] = {
    (kind, language): _WORDINGS[kind][language]["prompt"] for kind in REQUEST_KINDS for language in LANGUAGES
}
EXAMPLES: dict[tuple[str, str], list[tuple[list[str], list[str], str]]] = {
    (kind, language): [
        (example["titles"], example["categories"], example["reply"])
        for example in _WORDINGS[kind][language]["examples"]
    ]
    for kind in REQUEST_KINDS
    for language in LANGUAGES
}


def _clean(text: str) -> str:
    return " ".join(encodable(text).split())


def encodable(text: str) -> str:
    """Return a text with a question mark in place of each lone surrogate, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")
