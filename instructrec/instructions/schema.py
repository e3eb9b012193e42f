"""What an instruction is made of: preference, intention, task form and context (Zhang et al., 2023, arXiv:2305.07001).

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from instructrec.errors import InputError, one_of


class Preference(StrEnum):
    """What is said about the user's lasting taste."""

    P0 = "P0"
    """Nothing: a newcomer, or a wish for privacy."""
    P1 = "P1"
    """Implicit: the titles of the history."""
    P2 = "P2"
    """Explicit: the taste described in words."""


class Intention(StrEnum):
    """What is said about the wish of the moment."""

    I0 = "I0"
    """Nothing: the user is exploring."""
    I1 = "I1"
    """Vague: a mood or an occasion."""
    I2 = "I2"
    """Specific: names of categories."""


class TaskForm(StrEnum):
    """What the answer looks like."""

    T0 = "T0"
    """Pointwise: does this item suit? Yes or no."""
    T1 = "T1"
    """Pairwise: which of two, A or B?"""
    T2 = "T2"
    """Matching: an item out of the whole catalogue."""
    T3 = "T3"
    """Reranking: the best of the candidates given."""


class Style(StrEnum):
    """How an instruction is put, beside the plain way; the paper's means of making instructions diverse."""

    PLAIN = "plain"
    """Preference and intention are stated, an item is answered."""
    TURNED_ROUND = "turned_round"
    """The task turned round: items are shown, the preference or the intention is answered."""
    RELATED = "related"
    """Preference and intention related: one is stated, the other answered."""
    CHAIN_OF_THOUGHT = "chain_of_thought"
    """The answer first says the preference, then the item."""
    PARAMETRIC = "parametric"
    """The intention is a condition that `parse` reads, such as `genres = "Comedy" and year in 1990..1999`."""


class Answer(StrEnum):
    """What is answered."""

    ITEM = "item"
    """An item, or the word or letter that stands for it."""
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
        time: Such as "Friday evening".
        place: Such as "at home".
        device: Such as "on a phone".
        occasion: Such as "for a birthday".
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
        """Return the known circumstances as one phrase, empty where none is known."""
        known = [text for text in (self.time, self.place, self.device, self.occasion) if text]
        return ("，" if language == "zh" else ", ").join(known)


NO_CONTEXT = Context()


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction with the answer that it is trained on, and what it was made from.

    Attributes:
        text: What is asked.
        response: The answer: a title (matching, reranking), "A" or "B" (pairwise), yes or no (pointwise), words (turned
            round, related).
        task: Form of the answer.
        preference: What is said about lasting taste, in the text or in the answer.
        intention: What is said about the wish of the moment, in the text or in the answer.
        language: "en" or "zh".
        user_id: The user.
        target: Item id that the user went on to choose and that is to be answered; None where words are the answer.
        history: Item ids that the text or the answer was made from, oldest first, all of them met before the cut.
        candidates: Item ids shown, in their order: ten for reranking, two for pairwise, one for pointwise and for a
            turned-round task that shows the chosen item, else none.
        template: Id of the template.
        intention_source: "oracle" where the intention was read off the target, as in the paper, which no real user's
            request could be; "history" where it comes from what was known before; None without intention.
        context: Circumstances named in the text.
        held_out: Whether the wording is kept for evaluation.
        dataset: Name of the data set.
        style: How it is put.
        answer: What is answered.
        preference_source: "history" where titles and taste come from what was known before, "oracle" where the target
            decided which titles are shown or was counted into the taste; None without preference.
        preference_text: The taste in words (P2), as it stands in the text or in the answer; empty without.
        intention_text: The intention in words, as it stands in the text or in the answer; empty without.
        annotator: Who put taste and wish into words: "rules", or the name of the teacher model.
        cut: How many different items the user had met before the moment of the request.
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
        """Where each part that is present comes from.

        `preference` and `intention` are "history" or "oracle"; of the context, the time is read off the log, and place,
        device and occasion are drawn at random, since no log here has them.
        """
        found: dict[str, str] = {}
        if self.preference_source is not None:
            found["preference"] = self.preference_source
        if self.intention_source is not None:
            found["intention"] = self.intention_source
        for name, text in self.context.as_dict().items():
            if text:
                found[name] = CONTEXT_SOURCES[name]
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the instruction as JSON takes it: enums as text, tuples as lists, the context as a dictionary."""
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
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Return the instruction that `as_dict` gave.

        Raises:
            InputError: A key is missing or unknown, or a value is of the wrong kind.
        """
        if not isinstance(plain, Mapping):
            raise InputError(f"an instruction is {plain!r}; a mapping of its keys to values is accepted")
        missing, unknown = sorted(_NEEDED - plain.keys()), sorted(map(str, plain.keys() - _KNOWN))
        if missing:
            raise InputError(
                f"an instruction lacks {', '.join(missing)}; needed are {', '.join(sorted(_NEEDED))}"
            )
        if unknown:
            raise one_of("key of an instruction", unknown[0], sorted(_KNOWN), most=len(_KNOWN))
        values = dict(plain)
        for name, kind in _ENUMS.items():
            if name in values:
                values[name] = member(kind, values[name])
        for name in _TEXTS:
            if not isinstance(values.get(name, ""), str):
                raise InputError(f"{name} of an instruction is {values[name]!r}; a text is accepted")
        for name in ("preference_source", "intention_source"):
            if values.get(name) not in (None, *SOURCES):
                raise one_of(f"{name} of an instruction", values[name], [*SOURCES, None])
        if not isinstance(values.get("held_out", False), bool):
            raise InputError(
                f"held_out of an instruction is {values['held_out']!r}; true or false is accepted"
            )
        cut = values.get("cut", 0)
        if isinstance(cut, bool) or not isinstance(cut, int) or cut < 0:
            raise InputError(f"cut of an instruction is {cut!r}; a whole number of at least 0 is accepted")
        words = values.get("answer", Answer.ITEM) not in (Answer.ITEM, Answer.REASONED_ITEM)
        for name in ("user_id", "target"):
            if not _is_id(values[name]) and not (name == "target" and words and values[name] is None):
                raise InputError(
                    f"{name} of an instruction is {values[name]!r}; a text or a whole number is accepted"
                )
        for name in ("history", "candidates"):
            listed = values.get(name, ())
            if not isinstance(listed, list | tuple) or not all(_is_id(item) for item in listed):
                raise InputError(f"{name} of an instruction is {listed!r}; a list of item ids is accepted")
            values[name] = tuple(listed)
        context = values.get("context")
        values["context"] = NO_CONTEXT if context is None else _context(context)
        return cls(**values)


_KNOWN = frozenset(one.name for one in fields(Instruction))
_NEEDED = frozenset({"text", "response", "task", "preference", "intention", "language", "user_id", "target"})
_ENUMS: dict[str, type[StrEnum]] = {
    "task": TaskForm,
    "preference": Preference,
    "intention": Intention,
    "style": Style,
    "answer": Answer,
}
_TEXTS = (
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
    """Return the member of an enumeration with a value.

    Raises:
        InputError: There is none.
    """
    try:
        return kind(value)  # type: ignore[arg-type]
    except ValueError:
        raise one_of(kind.__name__, value, [str(one) for one in kind]) from None


def _context(plain: object) -> Context:
    if not isinstance(plain, Mapping) or not plain.keys() <= CONTEXT_SOURCES.keys():
        raise InputError(
            f"context of an instruction is {plain!r}; keys {', '.join(CONTEXT_SOURCES)} are accepted"
        )
    for name, text in plain.items():
        if text is not None and not isinstance(text, str):
            raise InputError(f"{name} of a context is {text!r}; a text or null is accepted")
    return Context(**plain)
