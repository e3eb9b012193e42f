"""The state of the requests of one call: which are answered, and which wait for the reply to a question.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from instructrec.instructions.teacher.cache import Reply, ReplyCache
from instructrec.instructions.teacher.replies import accept
from instructrec.instructions.teacher.requests import AnnotationRequest

MAX_ATTEMPTS = 2
"""Number of attempts to get a text before the rules write it: the second one with other sampling settings."""


class Batch:
    """The requests of one call; equal questions share a reply.

    Args:
        requests: The requests.
        question_of: Returns the body that is sent for a request at an attempt, 0 or 1.
        cache: The stored replies.

    Attributes:
        texts: The text of each request, None so far or for good.
        reasons: Why replies could not be used.
        questions: The questions to send, by key.
        queue: The keys of the questions that are still to be sent.
        n_pending: Number of requests that the cache did not settle at the start.
    """

    def __init__(
        self,
        requests: Sequence[AnnotationRequest],
        question_of: Callable[[AnnotationRequest, int], dict[str, Any]],
        cache: ReplyCache,
    ) -> None:
        self.requests, self.cache = requests, cache
        self.texts: list[str | None] = [None] * len(requests)
        self.reasons: Counter[str] = Counter()
        self.questions: dict[str, dict[str, Any]] = {}
        self.queue: deque[str] = deque()
        self._question_of = question_of
        self._waiting: dict[str, list[tuple[int, int]]] = {}
        self._keys = [
            [self._key(request, attempt) for attempt in range(MAX_ATTEMPTS)] for request in requests
        ]
        self._replies = cache.get({key for keys in self._keys for key in keys})
        for index in range(len(requests)):
            self._resolve(index, 0)
        self.n_pending = sum(map(len, self._waiting.values()))

    def settle_from_cache(self, key: str) -> bool:
        """Use a reply that another process has stored meanwhile; return whether there was one."""
        replies = self.cache.get([key])
        if key in replies:
            self._use(key, replies[key])
        return key in replies

    def settle(self, key: str, reply: Reply, model: str, run: str) -> bool:
        """Store a new reply, then use it; return whether a request rejected it.

        Args:
            key: Key of the question.
            reply: The reply.
            model: Name of the model.
            run: The run whose usage the reply counts towards.
        """
        prompt = self.questions[key]["messages"][-1]["content"]
        return self._use(key, self.cache.put(key, model, prompt, reply, run))

    def _use(self, key: str, reply: Reply) -> bool:
        """Resolve the requests that wait for a reply; return whether one of them rejected it."""
        self._replies[key] = reply
        n_rejected = self.reasons.total()
        for index, attempt in self._waiting.pop(key, ()):
            self._resolve(index, attempt)
        return self.reasons.total() > n_rejected

    def _resolve(self, index: int, attempt: int) -> None:
        """Set the text of a request if the present replies suffice, else queue the request for another call."""
        request = self.requests[index]
        for number in range(attempt, MAX_ATTEMPTS):
            key = self._keys[index][number]
            if key not in self._replies:
                if key not in self._waiting:
                    self._waiting[key] = []
                    self.questions[key] = self._question_of(request, number)
                    self.queue.append(key)
                self._waiting[key].append((index, number))
                return
            reply = self._replies[key]
            text, reason = accept(request, reply.text, reply.finish_reason)
            if text is not None:
                self.texts[index] = text
                return
            self.reasons[reason] += 1

    def _key(self, request: AnnotationRequest, attempt: int) -> str:
        """Return the digest of a question, under which its reply is stored."""
        content = [self._question_of(request, attempt), request.variant, attempt]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
