"""The base of all language models: texts to tokens, and the likelihood of texts as continuations of a prompt.

`Decoder` (Llama, Qwen) and `EncoderDecoder` (T5, the paper's kind) are its two kinds. Derived in chapter
`language-model`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, NoReturn

import numpy as np
from tqdm import tqdm

from instructrec.errors import InputError
from instructrec.models.lm.batching import TrainingExample
from instructrec.models.lm.chat_template import render_chat
from instructrec.models.lm.pretrained import PretrainedModel
from instructrec.models.lm.softmax import TargetSoftmax, TrieSoftmax, VocabularySoftmax
from instructrec.models.lm.trie import TokenTrie
from instructrec.validation import PositiveInt, check_value

PROGRESS_BAR_MIN = 20
"""Number of prompts from which on scoring shows a progress bar."""
NextTokenScorer = Callable[[Sequence[Sequence[int]]], np.ndarray]
"""From n lists of token ids to the log-probabilities of the next token, shape (n, n_tokens), float32, in nats."""


class EncodedOption(NamedTuple):
    """A text to score.

    Attributes:
        tokens: Token ids, int32.
        targets: The token ids, or the node of the trie after each token, int32.
    """

    tokens: np.ndarray
    targets: np.ndarray


class LanguageModel(ABC):
    """A pretrained model with its tokenizer: every task is the likelihood of the next tokens.

    Attributes:
        name: File or folder that the model was read from.
        backbone: Keras Hub's backbone, from token ids to hidden states.
        tokenizer: `encode(text).ids` and `decode(ids)`.
        pretrained: The model as it was read, with template and special tokens.
        vocabulary: Log-probabilities normalised over all tokens.
    """

    vocabulary: VocabularySoftmax

    def __init__(self, pretrained: PretrainedModel) -> None:
        self.name, self.backbone, self.tokenizer = pretrained.name, pretrained.backbone, pretrained.tokenizer
        self.pretrained = pretrained
        self.compile()

    def compile(self) -> None:
        """Compile the functions that read tokens; needed again when layers change, as `enable_lora` does."""
        self.vocabulary = VocabularySoftmax(self)
        self._trie_softmaxes: dict[TokenTrie, TrieSoftmax] = {}

    @property
    @abstractmethod
    def transformer_layers(self) -> list[Any]:
        """The Transformer layers, from input to output."""

    @property
    def n_parameters(self) -> int:
        """Number of weights, adapters included."""
        return sum(int(np.prod(weight.shape)) for weight in self.backbone.weights)

    @property
    def n_trainable(self) -> int:
        """Number of weights that tuning would change."""
        return sum(int(np.prod(weight.shape)) for weight in self.backbone.trainable_weights)

    # -- text ----------------------------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; special tokens such as `<|im_end|>` are one token each."""
        return list(self.tokenizer.encode(text).ids)

    def encode_prompt(self, text: str) -> np.ndarray:
        """Return the token ids of a prompt, int32, with the tokens that start every prompt in front.

        Raises:
            InputError: The text is empty.
        """
        bos = np.array(self.pretrained.bos, dtype=np.int32)
        tokens = self._encode_text(text)
        return tokens if (tokens[: len(bos)] == bos).all() else np.concatenate([bos, tokens])

    def _encode_text(self, text: str) -> np.ndarray:
        tokens = self.encode(text)
        if not tokens:
            raise InputError("text is empty; give at least one token of text")
        return np.array(tokens, dtype=np.int32)

    def pieces(self, text: str) -> list[str]:
        """Return the text of each token of `text`, spaces kept."""
        return [self.tokenizer.decode([token], skip_special_tokens=False) for token in self.encode(text)]

    def chat(self, message: str, system: str | None = None, examples: Sequence[tuple[str, str]] = ()) -> str:
        """Return the prompt of a user's message in the model's own chat template; see `render_chat`."""
        return render_chat(self.pretrained, message, system, examples)

    # -- likelihoods ---------------------------------------------------------------------------------------------

    def next_token_log_probs(self, text: str) -> np.ndarray:
        """Return log p(token | text) for each token of the vocabulary, shape (n_tokens,), float32, in nats.

        Args:
            text: A prompt of at least one token.
        """
        return self.next_token_scorer(text)([[]])[0]

    @abstractmethod
    def next_token_scorer(self, prompt: str) -> NextTokenScorer:
        """Return a function that scores the next token after a prompt and a continuation.

        The prompt is read once. The function maps n lists of token ids, which may be empty, to log-probabilities of
        shape (n, n_tokens), float32, in nats.

        Raises:
            InputError: The prompt is empty.
        """

    def token_log_probs(self, text: str) -> np.ndarray:
        """Return log p(token_i | tokens before it) for each token but the first, shape (n_tokens - 1,), float32.

        Raises:
            InputError: The model is an encoder-decoder.
        """
        self._refuse("gives no likelihood to its tokens; use option_log_likelihood")

    def last_states(self, prompt: str, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
        """Return the state at the last token of `prompt` + each text, after the last norm.

        Args:
            prompt: The common start of all texts; it is read once.
            texts: n texts of at least one token.
            batch_size: Maximum number of texts of equal length in a batch.

        Returns:
            Array of shape (n, width of the backbone), float32.

        Raises:
            InputError: The prompt or a text is empty, or the model is an encoder-decoder.
        """
        self._refuse("has no state at its last token")

    def greedy_matches(
        self, prompts: Sequence[str], texts: Sequence[str], batch_size: int = 32
    ) -> np.ndarray:
        """Return whether greedy generation continues each prompt with the given text.

        Args:
            prompts: n texts of at least one token.
            texts: The continuation expected of each prompt, n texts of at least one token.
            batch_size: Prompts that are read at once.

        Returns:
            Array of shape (n,), bool.

        Raises:
            InputError: An empty text, lists of unequal length, or the model is an encoder-decoder.
        """
        self._refuse("cannot read a continuation with it; use generate")

    def _refuse(self, reason: str) -> NoReturn:
        raise InputError(f"{self.name} is an encoder-decoder, which reads a text whole and {reason}")

    def option_log_likelihood(
        self,
        prompt: str | Sequence[str],
        options: Sequence[str] | Sequence[Sequence[str]],
        per_token: bool = False,
        batch_size: int = 64,
        trie: TokenTrie | None = None,
    ) -> np.ndarray:
        """Score texts as continuations of a prompt: log p(option | prompt), the sum of log p over its tokens.

        A prompt is read once and its keys and values serve all of its options; prompts of similar length are read
        together. With a trie, the probability of a token is normalised over the tokens that continue some text of
        the trie: the result is the likelihood that constrained generation gives this option.

        Args:
            prompt: One prompt or n_prompts of them.
            options: The same n_options texts for all prompts, or one list of n_options for each prompt.
            per_token: Divide by the number of the option's tokens, so that long and short options compare.
            batch_size: Options that are read at once.
            trie: All admissible texts, the options among them; by default every text is admissible.

        Returns:
            Log-likelihoods in nats, shape (n_prompts, n_options), float32; n_prompts is 1 for a single prompt.

        Raises:
            InputError: No option, an empty text, a text that is not in the trie, or lists of unequal length.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        rows = _option_rows(options, len(prompts))
        prompt_tokens = [self.encode_prompt(text) for text in prompts]
        encoded = {text: self._encode_option(text, trie) for text in dict.fromkeys(chain.from_iterable(rows))}
        option_rows = [[encoded[text] for text in row] for row in rows]
        softmax = self.softmax(trie)
        scores = np.empty((len(prompts), len(rows[0])), dtype=np.float32)
        order = sorted(range(len(prompts)), key=lambda row: len(prompt_tokens[row]))
        prompts_at_once = max(1, batch_size // len(rows[0]))
        for batch in progress_batches(order, prompts_at_once, "prompts"):
            scores[batch] = self._score_options(
                [prompt_tokens[row] for row in batch],
                [option_rows[row] for row in batch],
                batch_size,
                softmax,
            )
        lengths = np.array([[len(option.tokens) for option in row] for row in option_rows])
        return (scores / lengths if per_token else scores).astype(np.float32)

    def _encode_option(self, text: str, trie: TokenTrie | None) -> EncodedOption:
        tokens = self._encode_text(text)
        targets = tokens if trie is None else np.array(trie.path(tokens.tolist()), dtype=np.int32)
        return EncodedOption(tokens, targets)

    def softmax(self, trie: TokenTrie | None) -> TargetSoftmax:
        """Return the softmax over the vocabulary or a trie; that of a trie is compiled once."""
        if trie is None:
            return self.vocabulary
        if trie not in self._trie_softmaxes:
            self._trie_softmaxes[trie] = TrieSoftmax(self, trie)
        return self._trie_softmaxes[trie]

    @abstractmethod
    def _score_options(
        self,
        prompts: list[np.ndarray],
        options: list[list[EncodedOption]],
        batch_size: int,
        softmax: TargetSoftmax,
    ) -> np.ndarray:
        """Return the log-likelihoods of n options of each prompt, shape (n_prompts, n).

        Args:
            prompts: Token ids.
            options: n options of each prompt.
            batch_size: Options that are read at once.
            softmax: Log-probabilities of the options' targets.
        """

    # -- generation ----------------------------------------------------------------------------------------------

    def generate(self, prompt: str, max_tokens: int = 32) -> str:
        """Continue a prompt greedily, with the most likely token each time, until the model ends its turn.

        Args:
            prompt: Text, such as `chat` returns.
            max_tokens: Largest number of tokens to add, at least 1.
        """
        check_value("max_tokens", max_tokens, PositiveInt)
        tokens: list[int] = []
        for token in self._greedy_tokens(self.encode_prompt(prompt), max_tokens):
            if token in self.pretrained.eos:
                break
            tokens.append(token)
        return str(self.tokenizer.decode(tokens))

    @abstractmethod
    def _greedy_tokens(self, prompt: np.ndarray, max_tokens: int) -> Iterator[int]:
        """Yield the most likely token after the prompt and the tokens before, at most `max_tokens` times."""

    # -- output layer and training -------------------------------------------------------------------------------

    def logits(self, hidden: Any) -> Any:
        """Return the logits of all tokens, shape (…, n_tokens), float32, from states of shape (…, width)."""
        from keras import ops

        return ops.cast(self.backbone.token_embedding(hidden, reverse=True), "float32")

    def token_logits(self, hidden: Any, tokens: np.ndarray) -> Any:
        """Return the logits of some tokens, shape (…, len(tokens)), float32, from states of shape (…, width)."""
        from keras import ops

        layer = self.backbone.token_embedding
        rows = (
            ops.take(layer.embeddings, tokens, axis=0)
            if layer.tie_weights
            else ops.transpose(ops.take(layer.reverse_embeddings, tokens, axis=1))
        )
        return ops.cast(ops.matmul(hidden, ops.cast(ops.transpose(rows), hidden.dtype)), "float32")

    @abstractmethod
    def training_network(self) -> Any:
        """Return the Keras model that maps the inputs of `training_batch` to the state before each answer token."""

    @abstractmethod
    def training_batch(
        self, examples: Sequence[TrainingExample]
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Return inputs of the training network, targets of the answers' tokens, and their mask.

        Returns:
            Inputs by name, int32; targets of shape (n, longest answer), int32; mask of the same shape, float32.
        """


def _option_rows(options: Sequence[str] | Sequence[Sequence[str]], n_prompts: int) -> list[list[str]]:
    """Return a list of options for each prompt.

    Raises:
        InputError: A text in place of a list, no option, or lists of unequal length.
    """
    if isinstance(options, str):
        raise InputError(f"options is the text {options!r}; a list of texts is accepted")
    if all(isinstance(option, str) for option in options):
        rows = [[str(option) for option in options]] * n_prompts
    else:
        rows = [list(row) for row in options]
    if len(rows) != n_prompts or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise InputError(
            f"options come as {len(rows)} lists for {n_prompts} prompts; "
            "give one list of at least one text for all prompts, or one list of equal length for each"
        )
    return rows


def progress_batches(rows: Sequence[int], batch_size: int, description: str) -> Iterator[Sequence[int]]:
    """Yield rows in batches, with a progress bar if there are many."""
    with tqdm(
        total=len(rows), desc=description, disable=len(rows) < PROGRESS_BAR_MIN, leave=False
    ) as progress:
        for first in range(0, len(rows), batch_size):
            batch = rows[first : first + batch_size]
            yield batch
            progress.update(len(batch))
