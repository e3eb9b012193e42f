"""The teacher itself: asks many questions at once within a budget, and loses no finished reply.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from instructrec.errors import InputError
from instructrec.instructions.teacher.cache import Cache, Reply
from instructrec.instructions.teacher.endpoint import (
    address_of,
    connect,
    is_about_content,
    most_tokens,
    read_reply,
    sampling_of,
    without_credentials,
)
from instructrec.instructions.teacher.replies import accept
from instructrec.instructions.teacher.requests import (
    EXAMPLES,
    KINDS_LINE,
    PROMPTS,
    AnnotationRequest,
    encodable,
)

ATTEMPTS = 2
"""How often a reply is asked for until the rules have to do: once, and once more with other sampling."""
_LONGEST_PAUSE = 8.0


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
        self._url = address_of(base_url)
        self._shown_url = without_credentials(self._url)
        if not isinstance(model, str) or not model.strip():
            raise InputError(f"model is {model!r}; the name of a model at {self._shown_url} is accepted")
        self.model = encodable(model.strip())
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
        self.sampling = sampling_of(sampling or {})
        self.progress = progress
        self.stats = Stats()
        if not isinstance(cache, str | os.PathLike) or "\0" in str(cache) or not str(cache):
            raise InputError(f"cache is {cache!r}; the path of a file for the replies is accepted")
        self.cache = Path(cache).absolute()
        self._run = (
            uuid.uuid4().hex
        )  # the budget's account in the cache, shared with copies in other processes
        with Cache(self.cache):
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
        with Cache(self.cache) as cache:
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
            [[PROMPTS[one], EXAMPLES[one]] for one in sorted(PROMPTS)] + sorted(KINDS_LINE.values())
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

        running: dict[Future[Reply], str] = {}
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="teacher")
        with (
            connect(self._url, self._key, self.timeout, self.max_retries) as client,
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

    def _may_ask(self, batch: _Batch, running: Mapping[Future[Reply], str]) -> bool:
        if self.budget.requests is None and self.budget.tokens is None:
            return True
        requests, tokens = batch.cache.spent(self._run)
        tokens += sum(most_tokens(batch.questions[key]) for key in running.values())
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

    def _ask(self, client: Any, question: Mapping[str, Any]) -> Reply:
        """Send one question, from a thread of the pool."""
        import openai

        for attempt in range(self.max_retries + 1):
            try:
                raw = client.chat.completions.with_raw_response.create(**question)
            except openai.APIStatusError as error:
                if is_about_content(error):
                    return Reply("", "content_filter", 0)
                raise self._refused(error, client) from None  # the cause may quote the key
            except openai.APIConnectionError as error:
                raise self._unreachable(error) from None
            reply = read_reply(raw.content, question)
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

    def __init__(self, teacher: Teacher, cache: Cache, requests: Sequence[AnnotationRequest]) -> None:
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

    def settle_fresh(self, key: str, reply: Reply) -> None:
        """Keep the reply to a question, then see whom it serves."""
        question = self.questions[key]
        prompt = question["messages"][-1]["content"]
        stats = self.teacher.stats
        stats.asked += 1
        stats.tokens += reply.tokens
        kept = self.cache.put(key, self.teacher.model, prompt, reply, self.teacher._run)
        stats.malformed += self._take(key, kept)

    def _take(self, key: str, reply: Reply) -> bool:
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
