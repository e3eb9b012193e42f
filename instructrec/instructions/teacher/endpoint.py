"""The OpenAI-compatible endpoint: its address, its settings, its client and what it answers with.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import SplitResult, urlsplit

from instructrec.errors import InputError, one_of
from instructrec.instructions.teacher.cache import Reply
from instructrec.instructions.teacher.requests import encodable

SAMPLING: dict[str, float | int] = {"temperature": 0.7, "top_p": 0.95, "max_tokens": 80, "seed": 0}

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
_LONGEST_REPLY = 20_000


def connect(url: str, key: str, timeout: float, max_retries: int) -> Any:
    """Return the official client of an endpoint.

    Raises:
        InputError: `openai` is not installed.
    """
    if find_spec("openai") is None:
        raise InputError("a teacher needs openai; run `pip install 'instructrec[teacher]'`")
    import openai

    # the client insists on a key, servers on one's own machine mostly need none
    return openai.OpenAI(base_url=url, api_key=key or "none", timeout=timeout, max_retries=max_retries)


def read_reply(body: bytes, question: Mapping[str, Any]) -> Reply | None:
    """Return the reply in the body of an answer, None where the body is no chat completion."""
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        content = choice["message"].get("content")
        finish = choice.get("finish_reason") or "stop"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    text = encodable(content)[:_LONGEST_REPLY] if isinstance(content, str) else ""
    usage = answer.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
        # an endpoint that does not count: about three bytes make a token
        tokens = (_size(question) + len(text.encode())) // 3
    return Reply(text, str(finish)[:40], tokens)


def most_tokens(question: Mapping[str, Any]) -> int:
    """Return a bound on what a question may cost: no token is shorter than a byte, and chat formats add some."""
    longest = question.get("max_tokens") or question.get("max_completion_tokens") or 1_000
    return _size(question) + 64 + int(longest)


def _size(question: Mapping[str, Any]) -> int:
    return sum(len(message["content"].encode()) for message in question["messages"])


def is_about_content(error: Any) -> bool:
    """Tell whether this one prompt was refused, by a filter or for its length, rather than every request."""
    marks = {
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "exceed_context_size_error",
    }
    return error.status_code in (400, 413, 422) and bool(marks & {error.code, error.type})


def sampling_of(changes: Mapping[str, float | int | str | None]) -> dict[str, Any]:
    """Return `SAMPLING` with changes; None drops a setting.

    Raises:
        InputError: A setting is unknown, or its value is not acceptable.
    """
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


def address_of(base_url: str) -> str:
    """Return the address of an API without a slash at its end.

    Raises:
        InputError: It is no address of http or https.
    """
    address = str(base_url).strip().rstrip("/")
    try:
        parts = urlsplit(address)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, sound = SplitResult("", "", "", "", ""), False
    if not sound or any(sign.isspace() or not sign.isprintable() for sign in address):
        shown = without_credentials(address)
        raise InputError(f'base_url is {shown!r}; an address such as "http://127.0.0.1:8080/v1" is accepted')
    return address


def without_credentials(address: str) -> str:
    """Return an address without user name, password and query, which may hold secrets."""
    bare = re.sub(r"^([a-z][a-z0-9+.-]*://)?.*@", lambda found: found[1] or "", address, flags=re.I)
    return re.split("[?#]", bare)[0]
