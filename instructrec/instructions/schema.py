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


INTENTION_SOURCES = ("oracle", "history")


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
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def words(self, language: str = "en") -> str:
        """Return the known circumstances as one phrase, empty where none is known."""
        known = [text for text in self.as_dict().values() if text]
        return ("，" if language == "zh" else ", ").join(known)


@dataclass(frozen=True)
class Instruction:
    """One instruction with the answer that it is trained on, and what it was made from.

    Attributes:
        text: What is asked.
        response: The answer: a title (matching, reranking), "A" or "B" (pairwise), yes or no (pointwise).
        task: Form of the answer.
        preference: What the text says about lasting taste.
        intention: What the text says about the wish of the moment.
        language: "en" or "zh".
        user_id: The user.
        target: Item id that the user went on to choose.
        history: Item ids that the text was made from, oldest first, all of them before the target.
        candidates: Item ids in the order shown: ten for reranking, two for pairwise, one for pointwise, else none.
        template: Id of the template.
        intention_source: "oracle" where the intention was read off the target, as in the paper, which no real user's
            request could be; "history" where it comes from what was known before; None without intention.
        context: Circumstances named in the text.
        held_out: Whether the wording is kept for evaluation.
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
    context: Context = Context()
    held_out: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the instruction as JSON takes it: enums as text, tuples as lists, the context as a dictionary."""
        plain: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("task", "preference", "intention"):
            plain[name] = str(plain[name])
        plain["history"], plain["candidates"] = list(self.history), list(self.candidates)
        plain["context"] = self.context.as_dict()
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Return the instruction that `as_dict` gave.

        Raises:
            InputError: A key is missing or unknown, or a value is of the wrong kind.
        """
        known = {one.name for one in fields(cls)}
        needed = {"text", "response", "task", "preference", "intention", "language", "user_id", "target"}
        missing, unknown = sorted(needed - plain.keys()), sorted(plain.keys() - known)
        if missing:
            raise InputError(
                f"an instruction lacks {', '.join(missing)}; needed are {', '.join(sorted(needed))}"
            )
        if unknown:
            raise one_of("key of an instruction", unknown[0], sorted(known), most=len(known))
        values = dict(plain)
        for name, kind in (("task", TaskForm), ("preference", Preference), ("intention", Intention)):
            values[name] = member(kind, values[name])
        for name in ("text", "response", "language", "template"):
            if not isinstance(values.get(name, ""), str):
                raise InputError(f"{name} of an instruction is {values[name]!r}; a text is accepted")
        if values.get("intention_source") not in (None, *INTENTION_SOURCES):
            raise one_of(
                "intention_source of an instruction", values["intention_source"], [*INTENTION_SOURCES, None]
            )
        if not isinstance(values.get("held_out", False), bool):
            raise InputError(
                f"held_out of an instruction is {values['held_out']!r}; true or false is accepted"
            )
        for name in ("user_id", "target"):
            if not isinstance(values[name], str | int) or isinstance(values[name], bool):
                raise InputError(
                    f"{name} of an instruction is {values[name]!r}; a text or a whole number is accepted"
                )
        for name in ("history", "candidates"):
            listed = values.get(name, ())
            if not isinstance(listed, list | tuple) or not all(
                isinstance(item, str | int) for item in listed
            ):
                raise InputError(f"{name} of an instruction is {listed!r}; a list of item ids is accepted")
            values[name] = tuple(listed)
        values["context"] = _context(values.get("context") or {})
        return cls(**values)


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
    names = [one.name for one in fields(Context)]
    if not isinstance(plain, Mapping) or not set(plain) <= set(names):
        raise InputError(f"context of an instruction is {plain!r}; keys {', '.join(names)} are accepted")
    for name, text in plain.items():
        if text is not None and not isinstance(text, str):
            raise InputError(f"{name} of a context is {text!r}; a text or null is accepted")
    return Context(**plain)
