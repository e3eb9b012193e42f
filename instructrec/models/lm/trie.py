"""Generation that can say nothing but the titles of a catalogue: a search in the tree of their tokens.

A language model that writes freely names films that do not exist, or copies those of its prompt. Here what it may say
next is, at every step, what some title goes on with (constrained decoding: De Cao et al., ICLR 2021, arXiv:2010.00904).
Likelihoods only fall as a title grows, so that the likeliest beginning is followed first and the first title that is
complete is the likeliest of all: the search is exact, and reads a small part of the catalogue. Derived in chapter
`language-model`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from instructrec.errors import InputError
from instructrec.models.lm.scoring import LanguageModel


class Found(NamedTuple):
    """A text that was found.

    Attributes:
        row: Its number among the texts of the tree.
        log_likelihood: log p(text | prompt) in nats.
    """

    row: int
    log_likelihood: float


class TokenTree:
    """The tree of the beginnings of texts, in tokens (a trie).

    Attributes:
        n_texts: How many texts it holds.
        n_nodes: How many beginnings, the empty one and the texts included; each has a number, the empty one 0.
        tokens: The tokens that occur, ascending, shape (n_distinct,), int32.
        parents: The node before each node, shape (n_nodes,), int32; 0 for the root.
        columns: The place in `tokens` of the token that leads to each node, shape (n_nodes,), int32; 0 for the root.
        allowed: Which tokens may follow each node, shape (n_nodes, n_distinct), bool.
    """

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        """Make the tree.

        Args:
            texts: Token ids of each, not empty.

        Raises:
            InputError: No text, or an empty one.
        """
        if not texts or not all(map(len, texts)):
            raise InputError("texts of a tree are missing or empty; give at least one token each")
        self._children: list[dict[int, int]] = [{}]
        self._rows: dict[int, list[int]] = {}
        for row, text in enumerate(texts):
            node = 0
            for token in text:
                following = self._children[node]
                if token not in following:
                    following[token] = len(self._children)
                    self._children.append({})
                node = following[token]
            self._rows.setdefault(node, []).append(row)
        self.n_texts, self.n_nodes = len(texts), len(self._children)
        self.tokens = np.unique([token for text in texts for token in text]).astype(np.int32)
        self.parents = np.zeros(self.n_nodes, dtype=np.int32)
        self.columns = np.zeros(self.n_nodes, dtype=np.int32)
        self.allowed = np.zeros((self.n_nodes, len(self.tokens)), dtype=bool)
        for parent, following in enumerate(self._children):
            for token, node in following.items():
                self.parents[node], self.columns[node] = parent, np.searchsorted(self.tokens, token)
                self.allowed[parent, self.columns[node]] = True

    def children(self, node: int) -> dict[int, int]:
        """Return the nodes that follow a node, by token; 0 is the root."""
        return self._children[node]

    def path(self, text: Sequence[int]) -> list[int]:
        """Return the nodes that the tokens of a text lead to, one for each.

        Raises:
            InputError: The text is not in the tree.
        """
        nodes: list[int] = []
        node = 0
        for token in text:
            if int(token) not in self._children[node]:
                raise InputError(
                    f"a text is not in the tree: no text goes on with its token number {len(nodes) + 1}"
                )
            node = self._children[node][int(token)]
            nodes.append(node)
        if node not in self._rows:
            raise InputError("a text is not in the tree: it is only the beginning of one")
        return nodes

    def rows(self, node: int) -> list[int]:
        """Return the numbers of the texts that end at a node."""
        return self._rows.get(node, [])


def likeliest(
    model: LanguageModel, prompt: str, tree: TokenTree, n: int = 10, at_once: int = 32, closed: bool = False
) -> list[Found]:
    """Return the n likeliest texts of a tree behind a prompt, the likeliest first.

    Args:
        model: Who answers.
        prompt: What is read before.
        tree: What may be said; each text ends in a token such as a line break's, so that none is the beginning of a
            longer one.
        n: How many texts; fewer come back where the tree holds fewer.
        at_once: How many beginnings are read at once.
        closed: Let each token compete only with those that the tree allows there, as `option_log_likelihood` does with
            a tree; by default with all.

    Raises:
        InputError: n or at_once below 1, or an empty prompt.
    """
    for name, number in (("n", n), ("at_once", at_once)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InputError(f"{name} is {number!r}; a whole number of at least 1 is accepted")
    following = model.following(prompt)
    found: list[Found] = []
    # (minus log-likelihood, node, tokens, complete): a beginning that is followed, or a text that is done
    waiting: list[tuple[float, int, tuple[int, ...], bool]] = [(0.0, 0, (), False)]
    while waiting and len(found) < n:
        part: list[tuple[float, int, tuple[int, ...], bool]] = []
        while waiting and len(part) < at_once and len(found) < n:
            if waiting[0][3] and part:
                break  # what is read next may hold something likelier
            best = heapq.heappop(waiting)
            if best[3]:
                found += [Found(row, -best[0]) for row in tree.rows(best[1])]
            else:
                part.append(best)
        if not part or len(found) >= n:
            continue
        log_probs = following([tokens for _, _, tokens, _ in part])
        for (cost, node, tokens, _), row in zip(part, log_probs, strict=True):
            following_tokens = tree.children(node)
            whole = float(np.logaddexp.reduce(row[list(following_tokens)])) if closed else 0.0
            for token, child in following_tokens.items():
                more = cost - (float(row[token]) - whole)
                if tree.rows(child):
                    heapq.heappush(waiting, (more, child, (*tokens, token), True))
                if tree.children(child):
                    heapq.heappush(waiting, (more, child, (*tokens, token), False))
    return found[:n]


def title_tree(model: LanguageModel, titles: Sequence[str]) -> TokenTree:
    """Return the tree of titles as lines, each with its line break."""
    return TokenTree([model.encode(title + "\n") for title in titles])
