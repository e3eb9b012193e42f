"""The error that bad input raises."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Unusable input; the message is one line that names the argument, its value and the accepted values.

    The command line prints the message on standard error and ends with exit status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


def one_of(kind: str, value: object, accepted: Iterable[object], most: int = 8) -> InputError:
    """Return the error for a value that is not accepted; the message suggests similar values first.

    Args:
        kind: Kind of the value, such as "model" or "user".
        value: The unknown value.
        accepted: All accepted values.
        most: Number of accepted values that the message lists.
    """
    names = [str(name) for name in accepted]
    close = get_close_matches(str(value), names, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    accepted_names = ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")
    return InputError(f"unknown {kind} {str(value)!r}: {hint}accepted: {accepted_names}")
