"""The one error that bad input raises."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Input from outside that cannot be used; its message is one line: what, where, and what would be accepted.

    The command line prints the message on standard error and ends with exit status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


def one_of(kind: str, value: object, accepted: Iterable[object], most: int = 8) -> InputError:
    """Return the error for a `value` that is none of the `accepted` ones, near misses named first.

    Args:
        kind: What the value is, such as "model" or "user".
        value: The value that was given.
        accepted: Every value that would have been accepted.
        most: How many accepted values the message names.
    """
    names = [str(name) for name in accepted]
    close = get_close_matches(str(value), names, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    listed = ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")
    return InputError(f"unknown {kind} {str(value)!r}: {hint}accepted: {listed}")
