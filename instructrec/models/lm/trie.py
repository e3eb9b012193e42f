"""A trie of token sequences: which tokens may follow a prefix of some text. Derived in chapter `language-model`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instructrec.errors import InputError


class TokenTrie:
    """A trie over the tokens of texts; node 0 is the root, the empty prefix.

    Attributes:
        n_texts: Number of texts.
        n_nodes: Number of distinct prefixes, the empty prefix and the complete texts included.
        tokens: The tokens that occur, ascending, shape (n_distinct,), int32.
        parents: The parent of each node, shape (n_nodes,), int32; 0 for the root.
        columns: The index in `tokens` of the token that leads to each node, shape (n_nodes,), int32; 0 for the root.
        allowed: Whether a token may follow a node, shape (n_nodes, n_distinct), bool.
    """

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        """Build the trie.

        Args:
            texts: Token ids of each text, at least one token each.

        Raises:
            InputError: There is no text, or a text is empty.
        """
        if not texts or not all(map(len, texts)):
            raise InputError("texts of a trie are missing or empty; give at least one token each")
        self._children: list[dict[int, int]] = [{}]
        self._rows: dict[int, list[int]] = {}
        for row, text in enumerate(texts):
            self._rows.setdefault(self._insert(text), []).append(row)
        self.n_texts, self.n_nodes = len(texts), len(self._children)
        self.tokens = np.unique([token for text in texts for token in text]).astype(np.int32)
        self.parents = np.zeros(self.n_nodes, dtype=np.int32)
        self.columns = np.zeros(self.n_nodes, dtype=np.int32)
        self.allowed = np.zeros((self.n_nodes, len(self.tokens)), dtype=bool)
        for parent, children in enumerate(self._children):
            for token, node in children.items():
                self.parents[node], self.columns[node] = parent, np.searchsorted(self.tokens, token)
                self.allowed[parent, self.columns[node]] = True

    def _insert(self, text: Sequence[int]) -> int:
        """Add the nodes of a text that are missing, and return its last node."""
        node = 0
        for token in text:
            children = self._children[node]
            if token not in children:
                children[token] = len(self._children)
                self._children.append({})
            node = children[token]
        return node

    def children(self, node: int) -> dict[int, int]:
        """Return the children of a node by the token that leads to each."""
        return self._children[node]

    def path(self, text: Sequence[int]) -> list[int]:
        """Return the node after each token of a text.

        Raises:
            InputError: The text is not in the trie.
        """
        nodes: list[int] = []
        node = 0
        for token in text:
            if int(token) not in self._children[node]:
                raise InputError(
                    f"a text is not in the trie: no text continues with its token number {len(nodes) + 1}"
                )
            node = self._children[node][int(token)]
            nodes.append(node)
        if node not in self._rows:
            raise InputError("a text is not in the trie: it is only the prefix of one")
        return nodes

    def rows(self, node: int) -> list[int]:
        """Return the row numbers of the texts that end at a node."""
        return self._rows.get(node, [])
