"""The OpenAI-compatible endpoint: its address and settings, one question and its reply, and its errors in one line.

The official client sends a request again after lost connections, 408, 409, 429 and 5xx. It takes any body with status
200 for an answer, so a garbled body is asked for again here. Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from instructrec.errors import InputError, one_of
from instructrec.instructions.teacher.cache import Reply
from instructrec.instructions.teacher.requests import encodable
from instructrec.validation import Accepts, check_value

SAMPLING: dict[str, float | int] = {"temperature": 0.7, "top_p": 0.95, "max_tokens": 80, "seed": 0}
"""Sampling settings that are sent by default."""

_TokenLimit = Annotated[Annotated[int, Field(ge=1)] | None, Accepts("a whole number of at least 1 or None")]
_Number = Annotated[int | Annotated[float, Field(allow_inf_nan=False)] | None, Accepts("a number or None")]
_SETTING_TYPES: dict[str, Any] = {
    "temperature": _Number,
    "top_p": _Number,
    "max_tokens": _TokenLimit,
    "seed": Annotated[int | None, Accepts("a whole number or None")],
    "max_completion_tokens": _TokenLimit,
    "frequency_penalty": _Number,
    "presence_penalty": _Number,
    "reasoning_effort": Annotated[str | None, Accepts("a text or None")],
}
_CONTENT_ERRORS = {
    "content_filter",
    "content_policy_violation",
    "context_length_exceeded",
    "exceed_context_size_error",
}
_MAX_REPLY_CHARACTERS = 20_000
_MAX_MESSAGE_CHARACTERS = 300
_MAX_PAUSE = 8.0
"""Longest pause before a garbled reply is asked for again, in seconds."""
_N_MODELS_LISTED = 8


@dataclass(frozen=True)
class Endpoint:
    """A model behind an address. It holds no connection, so that it can be sent to worker processes.

    Attributes:
        url: Address of the API.
        model: Name of the model there.
        key: Key, or "".
        timeout: Seconds to wait for an answer.
        max_retries: How often a request is sent again.
        advice: The end of messages about errors after which the same call may continue.
        concurrency: Number of requests that run at once, for the messages.
    """

    url: str
    model: str
    key: str
    timeout: float
    max_retries: int
    concurrency: int
    advice: str

    @property
    def displayed_url(self) -> str:
        """The address without credentials."""
        return without_credentials(self.url)

    def connect(self) -> Any:
        """Return the official client.

        Raises:
            InputError: `openai` is not installed.
        """
        if find_spec("openai") is None:
            raise InputError("a teacher needs openai; run `pip install 'instructrec[teacher]'`")
        import openai

        # The client requires a key; most local servers need none.
        return openai.OpenAI(
            base_url=self.url, api_key=self.key or "none", timeout=self.timeout, max_retries=self.max_retries
        )

    def ask(self, client: Any, question: Mapping[str, Any]) -> Reply:
        """Send one question, and send it again after a garbled answer.

        Args:
            client: From `connect`.
            question: The body of the request.

        Raises:
            InputError: The endpoint cannot be reached or used.
        """
        import openai

        for attempt in range(self.max_retries + 1):
            try:
                response = client.chat.completions.with_raw_response.create(**question)
            except openai.APIStatusError as error:
                if _is_about_content(error):
                    return Reply("", "content_filter", 0)
                raise self._status_error(error, client) from None  # the cause may quote the key
            except openai.APIConnectionError as error:
                raise self._connection_error(error) from None
            reply = read_reply(response.content, question)
            if reply is not None:
                return reply
            if attempt < self.max_retries:
                time.sleep(min(_MAX_PAUSE, 0.5 * 2**attempt))
        raise InputError(
            f"{self.displayed_url} answers with something that is no chat completion, {self._attempts()}; "
            f'base_url has to be that of an OpenAI-compatible API and mostly ends in "/v1"; {self.advice}'
        )

    def _connection_error(self, error: Exception) -> InputError:
        import openai

        if isinstance(error, openai.APITimeoutError):
            return InputError(
                f"{self.displayed_url} did not answer within {self.timeout:g} seconds, {self._attempts()}; "
                f"give a longer timeout or fewer at once (concurrency is {self.concurrency}); {self.advice}"
            )
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return InputError(
            f"cannot reach {self.displayed_url}, {self._attempts()}: {self._without_secrets(str(cause))}; "
            f"start the server or give another base_url; {self.advice}"
        )

    def _status_error(self, error: Any, client: Any) -> InputError:
        status, url = error.status_code, self.displayed_url
        if status in (401, 403):
            credentials = "the key" if self.key else "a request without a key"
            return InputError(
                f"{url} does not accept {credentials} ({status}); "
                "give api_key or set the environment variable OPENAI_API_KEY"
            )
        if status == 404:
            return InputError(
                f"{url} has no model {self.model!r}, or is not the address of an OpenAI-compatible API "
                f"(404); {self._available_models(client)}"
            )
        if status in (408, 409, 429) or status >= 500:
            reason = (
                "too many requests, or the quota is used up" if status == 429 else "the server is in trouble"
            )
            return InputError(
                f"{url} still answers {status} ({reason}), {self._attempts()}; "
                f"wait, or ask for fewer at once (concurrency is {self.concurrency}); {self.advice}"
            )
        return InputError(
            f"{url} refuses the request ({status}): {self._without_secrets(error.message)}; "
            f"sampling settings that it does not know can be dropped by sampling={{name: None}}; {self.advice}"
        )

    def _available_models(self, client: Any) -> str:
        import openai

        try:
            models = client.with_options(max_retries=0, timeout=5.0).models.list().data
            names = sorted(str(model.id) for model in models)
        except (openai.OpenAIError, AttributeError, TypeError, ValueError):
            names = []
        if not names:
            return 'base_url mostly ends in "/v1"'
        more = f", … ({len(names)} in all)" if len(names) > _N_MODELS_LISTED else ""
        return f"accepted: {', '.join(names[:_N_MODELS_LISTED])}{more}"

    def _attempts(self) -> str:
        return "asked once" if not self.max_retries else f"asked {self.max_retries + 1} times"

    def _without_secrets(self, message: str) -> str:
        message = message.replace(self.url, self.displayed_url)
        message = message.replace(self.key, "…") if self.key else message
        return message[:_MAX_MESSAGE_CHARACTERS]


def read_reply(body: bytes, question: Mapping[str, Any]) -> Reply | None:
    """Return the reply in the body of an answer, None where the body is no chat completion."""
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        content = choice["message"].get("content")
        finish_reason = choice.get("finish_reason") or "stop"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    text = encodable(content)[:_MAX_REPLY_CHARACTERS] if isinstance(content, str) else ""
    usage = answer.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
        # The endpoint reports no count: estimate one token per three bytes.
        tokens = (_n_bytes(question) + len(text.encode())) // 3
    return Reply(text, str(finish_reason)[:40], tokens)


def max_tokens_of(question: Mapping[str, Any]) -> int:
    """Return a bound on the tokens of a question and its reply: a token has at least a byte; chat formats add some."""
    max_reply = question.get("max_tokens") or question.get("max_completion_tokens") or 1_000
    return _n_bytes(question) + 64 + int(max_reply)


def _n_bytes(question: Mapping[str, Any]) -> int:
    return sum(len(message["content"].encode()) for message in question["messages"])


def _is_about_content(error: Any) -> bool:
    """Return whether this prompt alone was refused, by a filter or for its length, and not every request."""
    return error.status_code in (400, 413, 422) and bool(_CONTENT_ERRORS & {error.code, error.type})


def sampling_of(changes: Mapping[str, float | int | str | None]) -> dict[str, Any]:
    """Return `SAMPLING` with changes; None drops a setting.

    Raises:
        InputError: A setting is unknown, or its value is not accepted.
    """
    settings: dict[str, Any] = dict(SAMPLING)
    if changes.get("max_completion_tokens") is not None and "max_tokens" not in changes:
        del settings["max_tokens"]  # an endpoint accepts one of the two names, not both
    for name, value in changes.items():
        if name not in _SETTING_TYPES:
            raise one_of("sampling setting", name, _SETTING_TYPES)
        settings[name] = check_value(f"sampling setting {name}", value, _SETTING_TYPES[name])
    return {name: value for name, value in settings.items() if value is not None}


def address_of(base_url: str) -> str:
    """Return the address of an API without a final slash.

    Raises:
        InputError: It is no http or https address.
    """
    address = str(base_url).strip().rstrip("/")
    try:
        parts = urlsplit(address)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, is_valid = SplitResult("", "", "", "", ""), False
    if not is_valid or any(sign.isspace() or not sign.isprintable() for sign in address):
        url = without_credentials(address)
        raise InputError(f'base_url is {url!r}; an address such as "http://127.0.0.1:8080/v1" is accepted')
    return address


def without_credentials(address: str) -> str:
    """Return an address without user name, password and query, which may hold secrets."""
    bare = re.sub(r"^([a-z][a-z0-9+.-]*://)?.*@", lambda match: match[1] or "", address, flags=re.I)
    return re.split("[?#]", bare)[0]
