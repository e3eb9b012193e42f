"""The teacher: sends many questions at once within a budget, and loses no finished reply.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from instructrec.errors import InputError
from instructrec.instructions.teacher.batch import MAX_ATTEMPTS, Batch
from instructrec.instructions.teacher.cache import Reply, ReplyCache
from instructrec.instructions.teacher.endpoint import Endpoint, address_of, max_tokens_of, sampling_of
from instructrec.instructions.teacher.requests import (
    EXAMPLES,
    KINDS_LINE,
    PROMPTS,
    AnnotationRequest,
    encodable,
)
from instructrec.validation import NonNegativeInt, PositiveFloat, PositiveInt, check_value


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a teacher may use; None means no bound, 0 answers from the cache alone.

    Attributes:
        tokens: Tokens of prompts and replies together, as the endpoint counts them.
        requests: Requests that the endpoint answers.
    """

    tokens: int | None = None
    requests: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None:
                check_value(f"budget of {name}", value, NonNegativeInt)


class BudgetSpent(InputError):
    """The budget is used up; the replies so far are in the cache, and another call continues from there."""


@dataclass(slots=True)
class TeacherStats:
    """Counts of a teacher's requests; a call that an error ends counts in `replies`, `malformed` and `tokens` only.

    Attributes:
        requests: Annotation requests.
        cached: Requests that the cache settled, without a question to the endpoint.
        accepted: Requests that got a text.
        refused: Requests that are left to the rules, since no reply was acceptable.
        replies: Replies that the endpoint gave.
        malformed: Replies that could not be used.
        tokens: Tokens of prompts and replies of `replies`.
        reasons: Why replies, new or cached, could not be used; counted once for each request that they were for.
    """

    requests: int = 0
    cached: int = 0
    accepted: int = 0
    refused: int = 0
    replies: int = 0
    malformed: int = 0
    tokens: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


class Teacher:
    """A model behind an OpenAI-compatible endpoint that puts tastes and wishes into words.

    The cache is searched first for a reply to (model, prompt, sampling). A new reply is committed before the next is
    processed: after a lost connection, a full quota or `kill -9`, the same call asks only for what is missing. A reply
    that cannot be used is asked for once more with another seed and temperature; both replies are stored, so that a
    rerun decides the same without asking. Objects can be sent to worker processes, which share cache and budget.

    Args:
        base_url: Address of the API, such as "http://127.0.0.1:8080/v1".
        model: Name of the model there.
        api_key: Key; by default the environment variable OPENAI_API_KEY, or no key. It is sent to the endpoint and
            nowhere else.
        cache: SQLite file for the replies, created if it does not exist.
        budget: Maximum use of this teacher: a `Budget`, or a number of tokens. Cached replies are free. Running
            requests count with their maximum, so that the budget is exceeded by about one reply at most.
        concurrency: Number of requests that run at once.
        timeout: Seconds to wait for an answer.
        max_retries: How often a request is sent again after a lost connection, 408, 409, 429, 5xx, or a garbled reply;
            the pauses grow to eight seconds.
        sampling: Changes to `SAMPLING`; None drops a setting, for endpoints that do not know it.
        progress: Show a bar on standard error when it takes more than a few seconds.

    Attributes:
        model: Name of the model, which instructions record as `Instruction.annotator`.
        stats: Counts of the requests so far.

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
        url = address_of(base_url)
        if not isinstance(model, str) or not model.strip():
            raise InputError(f"model is {model!r}; the name of a model at the endpoint is accepted")
        self.model = encodable(model.strip())
        key = (api_key if api_key is not None else os.environ.get("OPENAI_API_KEY", "")).strip()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise InputError(
                "api_key holds blanks or signs beyond ASCII; the key as the provider gave it is accepted"
            )
        if not isinstance(cache, str | os.PathLike) or "\0" in str(cache) or not str(cache):
            raise InputError(f"cache is {cache!r}; the path of a file for the replies is accepted")
        self.budget = budget if isinstance(budget, Budget) else Budget(tokens=budget)
        self.concurrency = check_value("concurrency", concurrency, PositiveInt)
        self.sampling = sampling_of(sampling or {})
        self.progress = progress
        self.stats = TeacherStats()
        self.cache = Path(cache).absolute()
        self._endpoint = Endpoint(
            url,
            self.model,
            key,
            timeout=check_value("timeout", timeout, PositiveFloat),
            max_retries=check_value("max_retries", max_retries, NonNegativeInt),
            concurrency=self.concurrency,
            advice=f"finished replies are kept in {str(self.cache)!r}, run again to go on",
        )
        # The budget's account in the cache, shared with copies in other processes.
        self._run = uuid.uuid4().hex
        with ReplyCache(self.cache):
            pass

    def __repr__(self) -> str:
        return f"Teacher({self._endpoint.displayed_url!r}, {self.model!r}, cache={str(self.cache)!r})"

    def annotate(self, requests: Sequence[AnnotationRequest]) -> list[str | None]:
        """Return the teacher's text for each request.

        Args:
            requests: Any number of requests; equal questions are sent once.

        Returns:
            A text for each request, in their order; None if no acceptable reply came and the request is left to the
            rules.

        Raises:
            BudgetSpent: The budget is used up.
            InputError: The endpoint or the cache cannot be used, or `openai` is not installed. The replies so far are
                in the cache.
        """
        with ReplyCache(self.cache) as cache:
            batch = Batch(requests, self.question, cache)
            if batch.queue:
                self._ask_all(batch)
        self.stats.requests += len(requests)
        self.stats.cached += len(requests) - batch.n_pending
        self.stats.accepted += sum(text is not None for text in batch.texts)
        self.stats.refused += sum(text is None for text in batch.texts)
        self.stats.reasons += batch.reasons
        return batch.texts

    def identity(self) -> dict[str, Any]:
        """Return all that the texts depend on beside the cached replies, for JSON; without address and key."""
        prompts = json.dumps(
            [[PROMPTS[key], EXAMPLES[key]] for key in sorted(PROMPTS)] + sorted(KINDS_LINE.values())
        )
        return {
            "model": self.model,
            "sampling": dict(self.sampling),
            "prompts": hashlib.sha256(prompts.encode()).hexdigest(),
        }

    def question(self, request: AnnotationRequest, attempt: int = 0) -> dict[str, Any]:
        """Return the body that is sent for a request: model, messages and sampling settings.

        Args:
            request: The request.
            attempt: 0 at first, 1 after a reply that could not be used: another seed, another temperature.
        """
        sampling = dict(self.sampling)
        if "seed" in sampling:
            sampling["seed"] += MAX_ATTEMPTS * request.variant + attempt
        if "temperature" in sampling and attempt:
            sampling["temperature"] = round(
                sampling["temperature"] + (0.2 if sampling["temperature"] < 1 else -0.2), 3
            )
        return {"model": self.model, "messages": request.messages(), **sampling}

    # -- sending -----------------------------------------------------------------------------------------------------

    def _ask_all(self, batch: Batch) -> None:
        """Send the requests of a batch in parallel and store the replies."""
        from tqdm import tqdm

        running: dict[Future[Reply], str] = {}
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="teacher")
        with (
            self._endpoint.connect() as client,
            tqdm(desc=f"asking {self.model}", unit="reply", delay=3, disable=not self.progress) as bar,
        ):
            try:
                while batch.queue or running:
                    while batch.queue and len(running) < self.concurrency and self._may_ask(batch, running):
                        key = batch.queue.popleft()
                        if not batch.settle_from_cache(key):
                            future = pool.submit(self._endpoint.ask, client, batch.questions[key])
                            running[future] = key
                    if batch.queue and not running and not self._may_ask(batch, running):
                        raise self._budget_spent(batch)
                    bar.total = bar.n + len(running) + len(batch.queue)
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._settle(batch, running[future], future.result())
                        del running[future]
                    bar.update(len(done))
            except BaseException:
                # Running requests already cost tokens: wait for their replies and store them.
                pool.shutdown(wait=True, cancel_futures=True)
                for future, key in running.items():
                    if not future.cancelled() and future.exception() is None:
                        self._settle(batch, key, future.result())
                raise
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _settle(self, batch: Batch, key: str, reply: Reply) -> None:
        """Store a new reply and count it."""
        self.stats.replies += 1
        self.stats.tokens += reply.tokens
        self.stats.malformed += batch.settle(key, reply, self.model, self._run)

    def _may_ask(self, batch: Batch, running: Mapping[Future[Reply], str]) -> bool:
        if self.budget.requests is None and self.budget.tokens is None:
            return True
        requests, tokens = batch.cache.usage(self._run)
        tokens += sum(max_tokens_of(batch.questions[key]) for key in running.values())
        return (self.budget.requests is None or requests + len(running) < self.budget.requests) and (
            self.budget.tokens is None or tokens < self.budget.tokens
        )

    def _budget_spent(self, batch: Batch) -> BudgetSpent:
        requests, tokens = batch.cache.usage(self._run)
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
