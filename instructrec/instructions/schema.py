"""The parts of an instruction: preference, intention, task form and context (Zhang et al., 2023, arXiv:2305.07001).

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from instructrec.errors import InputError, one_of
from instructrec.validation import NonNegativeInt, check_value


class Preference(StrEnum):
    """What an instruction says about the user's lasting taste."""

    P0 = "P0"
    """Nothing: a newcomer, or a wish for privacy."""
    P1 = "P1"
    """Implicit: the titles of the history."""
    P2 = "P2"
    """Explicit: the taste described in words."""


class Intention(StrEnum):
    """What an instruction says about the wish of the moment."""

    I0 = "I0"
    """Nothing: the user is exploring."""
    I1 = "I1"
    """Vague: a mood or an occasion."""
    I2 = "I2"
    """Specific: names of categories."""


class TaskForm(StrEnum):
    """The form of the answer."""

    T0 = "T0"
    """Pointwise: does this item suit? The answer is yes or no."""
    T1 = "T1"
    """Pairwise: which of two items, A or B?"""
    T2 = "T2"
    """Matching: an item of the whole catalogue."""
    T3 = "T3"
    """Reranking: the best of some candidates."""


class Style(StrEnum):
    """Style of an instruction: plain, or one of the paper's strategies for diverse instructions."""

    PLAIN = "plain"
    """Preference and intention are stated, the answer is an item."""
    TURNED_ROUND = "turned_round"
    """The task is turned round: items are shown, the answer is the preference or the intention."""
    RELATED = "related"
    """Preference and intention are related: one is stated, the other is the answer."""
    CHAIN_OF_THOUGHT = "chain_of_thought"
    """The answer first states the preference, then the item."""
    PARAMETRIC = "parametric"
    """The intention is a condition that `parse` reads, such as `genres = "Comedy" and year in 1990..1999`."""


class Answer(StrEnum):
    """The content of the answer."""

    ITEM = "item"
    """An item, or a word or letter that refers to it."""
    PREFERENCE = "preference"
    """The preference in words."""
    INTENTION = "intention"
    """The intention in words."""
    BOTH = "both"
    """The preference and the intention in words."""
    REASONED_ITEM = "reasoned_item"
    """The preference in words, then the item's title."""


SOURCES = ("oracle", "history")
CONTEXT_SOURCES = {"time": "log", "place": "drawn", "device": "drawn", "occasion": "drawn"}
RULES = "rules"


@dataclass(frozen=True)
class Context:
    """The circumstances of a request, each in words or None.

    Attributes:
        time: Time, such as "Friday evening".
        place: Place, such as "at home".
        device: Device, such as "on a phone".
        occasion: Occasion, such as "for a birthday".
    """

    time: str | None = None
    place: str | None = None
    device: str | None = None
    occasion: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Return the four circumstances by name."""
        return {
            "time": self.time,
            "place": self.place,
            "device": self.device,
            "occasion": self.occasion,
        }

    def words(self, language: str = "en") -> str:
        """Return the known circumstances as one phrase, empty if none is known."""
        texts = [text for text in (self.time, self.place, self.device, self.occasion) if text]
        return ("，" if language == "zh" else ", ").join(texts)


NO_CONTEXT = Context()


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction with its answer and its sources.

    Attributes:
        text: The user's text.
        response: The answer: a title (matching, reranking), "A" or "B" (pairwise), yes or no (pointwise), or words
            (turned round, related).
        task: Form of the answer.
        preference: Kind of preference (lasting taste) in the text or in the answer.
        intention: Kind of intention (wish of the moment) in the text or in the answer.
        language: "en" or "zh".
        user_id: The user.
        target: Id of the item that the user chose next, the answer; None if the answer is in words.
        history: Ids of the items that text and answer are built from, oldest first, all before the cut.
        candidates: Ids of the items shown, in order: ten for reranking, two for pairwise, one for pointwise and for a
            turned-round task that shows the chosen item, else none.
        template: Id of the template.
        intention_source: "oracle" if the intention was derived from the target, as in the paper, which is impossible
            for a real request; "history" if it comes from the items before the cut; None without intention.
        context: Circumstances named in the text.
        held_out: Whether the wording is held out for evaluation.
        dataset: Name of the data set.
        style: Style of the wording.
        answer: The content of the answer.
        preference_source: "history" if titles and taste come from the items before the cut, "oracle" if the target
            decided which titles are shown or was counted into the taste; None without preference.
        preference_text: The taste in words (P2) as it occurs in the text or in the answer, else empty.
        intention_text: The intention in words as it occurs in the text or in the answer, else empty.
        annotator: Author of the texts of taste and wish: "rules", or the name of the teacher model.
        cut: Number of distinct items that the user had interacted with before the moment of the request.
    """

    text: str
    response: str
    task: TaskForm
    preference: Preference
    intention: Intention
    language: str
    user_id: Hashable
    target: Hashable
    history: tuple[Hashable, ...] = ()
    candidates: tuple[Hashable, ...] = ()
    template: str = ""
    intention_source: str | None = None
    context: Context = NO_CONTEXT
    held_out: bool = False
    dataset: str = ""
    style: Style = Style.PLAIN
    answer: Answer = Answer.ITEM
    preference_source: str | None = None
    preference_text: str = ""
    intention_text: str = ""
    annotator: str = RULES
    cut: int = 0

    @property
    def sources(self) -> dict[str, str]:
        """Source of each part that is present.

        `preference` and `intention` are "history" or "oracle"; of the context, the time comes from the log, and place,
        device and occasion are drawn at random, since no log here has them.
        """
        sources: dict[str, str] = {}
        if self.preference_source is not None:
            sources["preference"] = self.preference_source
        if self.intention_source is not None:
            sources["intention"] = self.intention_source
        for name, text in self.context.as_dict().items():
            if text:
                sources[name] = CONTEXT_SOURCES[name]
        return sources

    def as_dict(self) -> dict[str, Any]:
        """Return the instruction in types of JSON: enums as texts, tuples as lists, the context as a dictionary."""
        return {
            "text": self.text,
            "response": self.response,
            "task": self.task.value,
            "preference": self.preference.value,
            "intention": self.intention.value,
            "language": self.language,
            "user_id": self.user_id,
            "target": self.target,
            "history": list(self.history),
            "candidates": list(self.candidates),
            "template": self.template,
            "intention_source": self.intention_source,
            "context": self.context.as_dict(),
            "held_out": self.held_out,
            "dataset": self.dataset,
            "style": self.style.value,
            "answer": self.answer.value,
            "preference_source": self.preference_source,
            "preference_text": self.preference_text,
            "intention_text": self.intention_text,
            "annotator": self.annotator,
            "cut": self.cut,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the instruction of a dictionary of `as_dict`.

        Raises:
            InputError: A key is missing or unknown, or a value is of the wrong kind.
        """
        if not isinstance(content, Mapping):
            raise InputError(f"an instruction is {content!r}; a mapping of its keys to values is accepted")
        missing = sorted(_REQUIRED_KEYS - content.keys())
        unknown = sorted(map(str, content.keys() - _KEYS))
        if missing:
            raise InputError(
                f"an instruction lacks {', '.join(missing)}; needed are {', '.join(sorted(_REQUIRED_KEYS))}"
            )
        if unknown:
            raise one_of("key of an instruction", unknown[0], sorted(_KEYS), most=len(_KEYS))
        values = dict(content)
        for name, kind in _ENUMS.items():
            if name in values:
                values[name] = member(kind, values[name])
        for name in _TEXT_KEYS:
            if not isinstance(values.get(name, ""), str):
                raise InputError(f"{name} of an instruction is {values[name]!r}; a text is accepted")
        for name in ("preference_source", "intention_source"):
            if values.get(name) not in (None, *SOURCES):
                raise one_of(f"{name} of an instruction", values[name], [*SOURCES, None])
        check_value("held_out of an instruction", values.get("held_out", False), bool)
        check_value("cut of an instruction", values.get("cut", 0), NonNegativeInt)
        in_words = values.get("answer", Answer.ITEM) not in (Answer.ITEM, Answer.REASONED_ITEM)
        for name in ("user_id", "target"):
            if not _is_id(values[name]) and not (name == "target" and in_words and values[name] is None):
                raise InputError(
                    f"{name} of an instruction is {values[name]!r}; a text or a whole number is accepted"
                )
        for name in ("history", "candidates"):
            items = values.get(name, ())
            if not isinstance(items, list | tuple) or not all(_is_id(item) for item in items):
                raise InputError(f"{name} of an instruction is {items!r}; a list of item ids is accepted")
            values[name] = tuple(items)
        context = values.get("context")
        values["context"] = NO_CONTEXT if context is None else _context(context)
        return cls(**values)


_KEYS = frozenset(field.name for field in fields(Instruction))
_REQUIRED_KEYS = frozenset(
    {"text", "response", "task", "preference", "intention", "language", "user_id", "target"}
)
_ENUMS: dict[str, type[StrEnum]] = {
    "task": TaskForm,
    "preference": Preference,
    "intention": Intention,
    "style": Style,
    "answer": Answer,
}
_TEXT_KEYS = (
    "text",
    "response",
    "language",
    "template",
    "dataset",
    "preference_text",
    "intention_text",
    "annotator",
)


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def member(kind: type[StrEnum], value: object) -> Any:
    """Return the member of an enumeration that has a value.

    Raises:
        InputError: No member has it.
    """
    try:
        return kind(value)  # type: ignore[arg-type]
    except ValueError:
        raise one_of(kind.__name__, value, [str(accepted) for accepted in kind]) from None


def _context(content: object) -> Context:
    if not isinstance(content, Mapping) or not content.keys() <= CONTEXT_SOURCES.keys():
        raise InputError(
            f"context of an instruction is {content!r}; keys {', '.join(CONTEXT_SOURCES)} are accepted"
        )
    for name, text in content.items():
        if text is not None and not isinstance(text, str):
            raise InputError(f"{name} of a context is {text!r}; a text or null is accepted")
    return Context(**content)
