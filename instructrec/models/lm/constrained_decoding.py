"""Constrained decoding: generate only titles of a catalogue, by a best-first search in the trie of their tokens.

A language model that writes freely names films that do not exist, or copies those of its prompt. Here, at every step,
only tokens that continue some title compete (De Cao et al., ICLR 2021, arXiv:2010.00904). The likelihood of a prefix
never rises as it grows. So if the most likely prefix is always extended first, the first title that is complete is the
most likely of all: the search is exact, and reads a small part of the catalogue. Derived in chapter `language-model`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from instructrec.models.lm.scoring import LanguageModel
from instructrec.models.lm.trie import TokenTrie
from instructrec.validation import PositiveInt, check_value


class ScoredText(NamedTuple):
    """A text of a trie with its likelihood.

    Attributes:
        row: Row number of the text in the trie.
        log_likelihood: log p(text | prompt) in nats.
    """

    row: int
    log_likelihood: float


class _Prefix(NamedTuple):
    """An entry of the search's queue, ordered by cost.

    Attributes:
        cost: Minus the log-likelihood, in nats.
        node: Node of the trie.
        tokens: Token ids from the root to the node.
        complete: Whether the entry represents the texts that end at the node, not their extensions.
    """

    cost: float
    node: int
    tokens: tuple[int, ...]
    complete: bool


def best_first_search(
    model: LanguageModel,
    prompt: str,
    trie: TokenTrie,
    n: int = 10,
    batch_size: int = 32,
    constrained: bool = False,
) -> list[ScoredText]:
    """Return the n most likely texts of a trie as continuations of a prompt, the most likely first.

    Args:
        model: The language model.
        prompt: The text before the continuation.
        trie: All admissible texts; each ends with a token such as a line break, so that no text is the prefix of
            another.
        n: Number of texts; fewer come back if the trie holds fewer.
        batch_size: Prefixes that the model reads at once.
        constrained: Normalise each token's probability over the tokens that the trie allows there, as
            `option_log_likelihood` does with a trie; by default over the whole vocabulary.

    Raises:
        InputError: n or batch_size below 1, or an empty prompt.
    """
    check_value("n", n, PositiveInt)
    check_value("batch_size", batch_size, PositiveInt)
    score_next = model.next_token_scorer(prompt)
    results: list[ScoredText] = []
    queue = [_Prefix(0.0, 0, (), False)]
    while queue and len(results) < n:
        batch = _next_batch(queue, trie, results, n, batch_size)
        if not batch or len(results) >= n:
            continue
        log_probs = score_next([prefix.tokens for prefix in batch])
        for prefix, row in zip(batch, log_probs, strict=True):
            for extension in _extensions(prefix, row, trie, constrained):
                heapq.heappush(queue, extension)
    return results[:n]


def _next_batch(
    queue: list[_Prefix], trie: TokenTrie, results: list[ScoredText], n: int, batch_size: int
) -> list[_Prefix]:
    """Take the most likely prefixes from the queue; append complete texts that come before them to `results`."""
    batch: list[_Prefix] = []
    while queue and len(batch) < batch_size and len(results) < n:
        if queue[0].complete and batch:
            break  # extending the batch may give a more likely text
        prefix = heapq.heappop(queue)
        if prefix.complete:
            results += [ScoredText(row, -prefix.cost) for row in trie.rows(prefix.node)]
        else:
            batch.append(prefix)
    return batch


def _extensions(prefix: _Prefix, log_probs: np.ndarray, trie: TokenTrie, constrained: bool) -> list[_Prefix]:
    """Return the prefixes that are one token longer, and entries for the texts that end there."""
    children = trie.children(prefix.node)
    log_total = float(np.logaddexp.reduce(log_probs[list(children)])) if constrained else 0.0
    extensions = []
    for token, child in children.items():
        cost = prefix.cost - (float(log_probs[token]) - log_total)
        tokens = (*prefix.tokens, token)
        if trie.rows(child):
            extensions.append(_Prefix(cost, child, tokens, True))
        if trie.children(child):
            extensions.append(_Prefix(cost, child, tokens, False))
    return extensions


def title_trie(model: LanguageModel, titles: Sequence[str]) -> TokenTrie:
    """Return the trie of titles as lines, each with its line break."""
    return TokenTrie([model.encode(title + "\n") for title in titles])
