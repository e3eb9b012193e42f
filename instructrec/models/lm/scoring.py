"""A language model of Keras Hub with its tokenizer: every task is the likelihood of the next tokens.

`LanguageModel` is a decoder (Llama, Qwen), `EncoderDecoder` reads a prompt whole and answers (T5, the paper's kind).
Likelihoods, generation, LoRA. Derived in chapter `language-model`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tqdm import tqdm

from instructrec.errors import InputError, one_of
from instructrec.models.lm.pretrained import Checkpoint

if TYPE_CHECKING:
    from instructrec.models.lm.lora import Example
    from instructrec.models.lm.trie import TokenTree

LORA_PARTS = {
    "query": "query",
    "key": "key",
    "value": "value",
    "output": "attention_output",
    "gate": "feedforward_gate_dense",
    "up": "feedforward_intermediate_dense",
    "down": "feedforward_output_dense",
}
"""Projections of a layer that LoRA can be put beside, and Keras Hub's names of them in decoders."""
READ = 8
"""Examples of like length that are read at once below the layers that are tuned."""
PARTS = 3
"""Into so many parts the options of a prompt are cut, by length."""
FORBIDDEN = -1e9
"""The logit of what a tree does not go on with."""
SHOWN = 20
"""From so many prompts on, scoring shows how far it is."""


class Softmax(NamedTuple):
    """Over what the next token is drawn: all tokens, or those that some text of a tree goes on with.

    A target is the number of a token, or in a tree that of the node that it leads to.

    Attributes:
        given: From states (n, length, width), targets and which of them count, (n, length), to log-probabilities of the
            same shape, 0 where they do not count.
        first: From states (n, width) and targets (n, k) to log-probabilities, (n, k).
    """

    given: Callable[[Any, np.ndarray, np.ndarray], np.ndarray]
    first: Callable[[Any, np.ndarray], np.ndarray]


class LanguageModel:
    """A decoder with its tokenizer: every task is the likelihood of the next tokens.

    Attributes:
        name: The file or folder that it was read from.
        backbone: Keras Hub's backbone, from token ids to hidden states.
        tokenizer: `encode(text).ids` and `decode(ids)`.
    """

    _lora_layers: ClassVar[dict[str, str]] = LORA_PARTS
    _read_once = 0
    """So many layers lie below those that are tuned."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.name, self.backbone, self.tokenizer = checkpoint.name, checkpoint.backbone, checkpoint.tokenizer
        self.checkpoint = checkpoint
        self._compile()

    # -- text ----------------------------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; control tokens such as `<|im_end|>` are one token each."""
        return list(self.tokenizer.encode(text).ids)

    def pieces(self, text: str) -> list[str]:
        """Return the text of each token of `text`, spaces kept."""
        return [self.tokenizer.decode([token], skip_special_tokens=False) for token in self.encode(text)]

    def chat(self, message: str, system: str | None = None, before: Sequence[tuple[str, str]] = ()) -> str:
        """Return a user's message in the checkpoint's own chat template, up to where the model starts to answer.

        Where there is no template, that is the message and a line break.

        Args:
            message: What the user says.
            system: What the model is told about itself; what the template says by default.
            before: Messages and answers that came before, such as the examples of a few-shot prompt.

        Raises:
            InputError: The message holds a control token, which could pose as another speaker, or the template cannot
                be filled.
        """
        for token in self.checkpoint.controls:
            if any(
                token in text for text in (message, system or "", *(text for pair in before for text in pair))
            ):
                raise InputError(f"message holds the control token {token!r}; give plain text without it")
        if self.checkpoint.template is None:
            said = "".join(f"{asked}\n{answer}\n" for asked, answer in before)
            return (f"{system}\n" if system else "") + f"{said}{message}\n"
        turns = [{"role": "system", "content": system}] if system else []
        for asked, answer in before:
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        try:
            return _template(self.checkpoint.template).render(
                messages=[*turns, {"role": "user", "content": message}], add_generation_prompt=True
            )
        except TemplateError as error:
            raise InputError(f"the chat template of {self.name} cannot be filled ({error})") from error

    # -- likelihoods ---------------------------------------------------------------------------------------------

    def next_token_log_probs(self, text: str) -> np.ndarray:
        """Return log p(token | text) for each token of the vocabulary, shape (n_tokens,), float32, in nats.

        Args:
            text: At least one token long.
        """
        return self._next(self._prompt(text))

    def token_log_probs(self, text: str) -> np.ndarray:
        """Return log p(token_i | tokens before it) for each token but the first, shape (n_tokens - 1,), float32."""
        tokens = self._tokens(text)
        hidden, _, read = self._read([tokens])
        return self._everything.given(hidden[:, :-1], tokens[None, 1:], read[:, 1:])[0]

    def last_states(self, prompt: str, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
        """Return the state behind the last token of `prompt` + each text, after the last norm.

        Args:
            prompt: What all texts begin with; it is read once.
            texts: n texts of at least one token.
            batch_size: Texts of one length that are read at once.

        Returns:
            Array of shape (n, width of the backbone), float32.

        Raises:
            InputError: The prompt or a text is empty.
        """
        from keras import ops

        start, tokens = self._prompt(prompt), [self._tokens(text) for text in texts]
        found = np.empty((len(tokens), self.backbone.hidden_dim), dtype=np.float32)
        by_length: dict[int, list[int]] = {}
        for number, one in enumerate(tokens):
            by_length.setdefault(len(one), []).append(number)
        for length, numbers in sorted(by_length.items()):
            _, cache, before = self._read([start])
            for first in tqdm(
                range(0, len(numbers), batch_size), desc=f"{prompt!r}, {length} tokens", leave=False
            ):
                part = numbers[first : first + batch_size]
                hidden = self._continue(np.stack([tokens[number] for number in part]), cache, before)
                found[part] = np.asarray(ops.cast(hidden[:, -1], "float32"))
        return found

    def option_log_likelihood(
        self,
        prompt: str | Sequence[str],
        options: Sequence[str] | Sequence[Sequence[str]],
        per_token: bool = False,
        batch_size: int = 64,
        tree: TokenTree | None = None,
    ) -> np.ndarray:
        """Score texts as continuations of a prompt: log p(option | prompt) = sum over its tokens of the log p of each.

        A prompt is run once and its keys and values serve all of its options; prompts of like length run together.
        With a tree, p of a token is that among the tokens which a text of the tree goes on with: the likelihood that
        constrained generation says this option.

        Args:
            prompt: One prompt or n_prompts of them.
            options: The same n_options texts for all prompts, or one list of n_options for each prompt.
            per_token: Divide by the number of the option's tokens, so that long options compare with short ones.
            batch_size: How many options run at once.
            tree: All that may be said, the options among it; by default anything may.

        Returns:
            Log-likelihoods in nats, shape (n_prompts, n_options), float32; n_prompts is 1 for a single prompt.

        Raises:
            InputError: No option, an empty text, one that is not in the tree, or lists of unequal length.
        """
        if isinstance(options, str):
            raise InputError(f"options is the text {options!r}; a list of texts is accepted")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if all(isinstance(option, str) for option in options):
            rows = [[str(option) for option in options]] * len(prompts)
        else:
            rows = [list(row) for row in options]
        if len(rows) != len(prompts) or len({len(row) for row in rows}) != 1 or not rows[0]:
            raise InputError(
                f"options come as {len(rows)} lists for {len(prompts)} prompts; "
                "give one list of at least one text for all prompts, or one list of equal length for each"
            )
        read = [self._prompt(one) for one in prompts]
        known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for option in (option for row in rows for option in row):
            if option not in known:
                tokens = self._tokens(option)
                known[option] = (
                    tokens,
                    tokens if tree is None else np.array(tree.path(tokens.tolist()), dtype=np.int32),
                )
        said = [[known[option] for option in row] for row in rows]
        softmax = self._everything if tree is None else self._among(tree)
        scores = np.empty((len(read), len(rows[0])), dtype=np.float32)
        order = sorted(range(len(read)), key=lambda row: len(read[row]))
        at_once = max(1, batch_size // len(rows[0]))
        with tqdm(total=len(order), desc="prompts", disable=len(order) < SHOWN, leave=False) as bar:
            for start in range(0, len(order), at_once):
                part = order[start : start + at_once]
                scores[part] = self._score_some(
                    [read[row] for row in part], [said[row] for row in part], batch_size, softmax
                )
                bar.update(len(part))
        lengths = np.array([[len(tokens) for tokens, _ in row] for row in said])
        return (scores / lengths if per_token else scores).astype(np.float32)

    def following(self, prompt: str) -> Callable[[Sequence[Sequence[int]]], np.ndarray]:
        """Return what gives the log-probabilities of the next token behind a prompt and some tokens more.

        The prompt is read once. From n lists of token ids, of which some may be empty, the function makes an array of
        shape (n, n_tokens), float32, in nats.

        Raises:
            InputError: The prompt is empty.
        """
        hidden, cache, read = self._read([self._prompt(prompt)])
        first = self._log_probs(hidden[:, -1])[0]

        def behind(lists: Sequence[Sequence[int]]) -> np.ndarray:
            if not any(lists):
                return np.repeat(first[None], len(lists), axis=0)
            tokens, mask = _pad([np.array(one, dtype=np.int32) for one in lists])
            last = np.maximum(mask.sum(axis=1).astype(int) - 1, 0)
            states = self._continue(tokens, cache, read).numpy()[np.arange(len(lists)), last]
            found = self._log_probs(states)
            found[[not one for one in lists]] = first
            return found

        return behind

    def would_say(self, prompts: Sequence[str], texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """Return whether the likeliest token each time, as `generate` takes it, goes on from a prompt with a text.

        Args:
            prompts: n texts of at least one token.
            texts: What each would have to go on with, n texts of at least one token.
            batch_size: How many are read at once.

        Returns:
            Array of shape (n,), bool.

        Raises:
            InputError: An empty text, or lists of unequal length.
        """
        if len(prompts) != len(texts):
            raise InputError(f"{len(texts)} texts for {len(prompts)} prompts; give one each")
        starts, said = [self._prompt(one) for one in prompts], [self._tokens(one) for one in texts]
        found = np.zeros(len(texts), dtype=bool)
        order = sorted(range(len(texts)), key=lambda row: len(starts[row]) + len(said[row]))
        for at in tqdm(
            range(0, len(order), batch_size), desc="texts", disable=len(order) < SHOWN, leave=False
        ):
            part = order[at : at + batch_size]
            hidden, _, _ = self._read([np.concatenate([starts[row], said[row][:-1]]) for row in part])
            longest = max(len(said[row]) for row in part)
            likeliest = self._log_probs(hidden[:, -longest:]).argmax(axis=-1)
            for row, tokens in zip(part, likeliest, strict=True):
                found[row] = (tokens[longest - len(said[row]) :] == said[row]).all()
        return found

    def generate(self, prompt: str, max_tokens: int = 32) -> str:
        """Continue a prompt with the most likely token each time, until the turn ends.

        Args:
            prompt: Text, such as `chat` returns.
            max_tokens: The most tokens to add, at least 1.
        """
        if max_tokens < 1:
            raise InputError(f"max_tokens is {max_tokens!r}; a whole number of at least 1 is accepted")
        said: list[int] = []
        for best in self._say(self._prompt(prompt), max_tokens):
            if best in self.checkpoint.ends:
                break
            said.append(best)
        return str(self.tokenizer.decode(said))

    # -- recommendation ------------------------------------------------------------------------------------------

    def rerank(
        self,
        histories: Sequence[Sequence[str]],
        candidates: Sequence[Sequence[str]],
        most: int = 20,
        per_token: bool = True,
    ) -> np.ndarray:
        """Score each request's candidates as the first line of the answer to `reranking_prompt`.

        Args:
            histories: n_requests lists of titles, oldest first.
            candidates: n_requests lists of n_candidates titles.
            most: How many titles of a history are told.
            per_token: Divide by the number of tokens.

        Returns:
            Log-likelihoods, shape (n_requests, n_candidates), float32, higher is better.
        """
        prompts = [self.chat(reranking_prompt(history, most=most)) for history in histories]
        lines = [[title + "\n" for title in titles] for titles in candidates]
        return self.option_log_likelihood(prompts, lines, per_token)

    # -- tuning --------------------------------------------------------------------------------------------------

    def enable_lora(
        self,
        rank: int = 8,
        seed: int = 0,
        parts: Sequence[str] = ("query", "value"),
        layers: int | None = None,
    ) -> Self:
        """Freeze all weights and add low-rank adapters to projections of layers.

        A frozen kernel W becomes W + AB, where A and B have `rank` inner dimensions and B starts at zero
        (Hu et al., 2022, arXiv:2106.09685).

        Args:
            rank: Inner dimension of the adapters.
            seed: Seed of A's start.
            parts: Of `LORA_PARTS`.
            layers: How many layers get them, the last ones; all by default. What lies below stays as it is, so that
                `tune` reads it once for all epochs.

        Raises:
            InputError: A rank below 1, more layers than there are, an unknown part or one that this family lacks, or
                adapters are there already.
        """
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise InputError(f"rank is {rank!r}; a whole number of at least 1 is accepted")
        for part in parts:
            if part not in self._lora_layers:
                raise one_of("part for LoRA", part, self._lora_layers, most=len(LORA_PARTS))
        if not parts:
            raise InputError(f"parts is empty; give some of {', '.join(self._lora_layers)}")
        if self.n_trainable != self.n_parameters:
            raise InputError("LoRA is enabled already; load the model anew to start over")
        tower = self._tower()
        if layers is not None and (
            isinstance(layers, bool) or not isinstance(layers, int) or not 1 <= layers <= len(tower)
        ):
            raise InputError(f"layers is {layers!r}; a whole number from 1 to {len(tower)} is accepted")
        import keras

        keras.utils.set_random_seed(seed)
        names = {self._lora_layers[part] for part in parts}
        self.backbone.trainable = True
        for layer in self.backbone._flatten_layers(include_self=False):
            layer.trainable = False
        for block in tower[-layers:] if layers else tower:
            for layer in block._flatten_layers():
                if layer.name in names:
                    layer.trainable = True
                    layer.enable_lora(rank)
        self._read_once = len(tower) - layers if layers else 0
        self._compile()
        return self

    def _tower(self) -> list[Any]:
        """Return the layers, the first one first."""
        return list(self.backbone.transformer_layers)

    @property
    def n_parameters(self) -> int:
        """Number of weights, adapters included."""
        return sum(int(np.prod(weight.shape)) for weight in self.backbone.weights)

    @property
    def n_trainable(self) -> int:
        """Number of weights that `tune` would change."""
        return sum(int(np.prod(weight.shape)) for weight in self.backbone.trainable_weights)

    def tune(
        self,
        examples: Sequence[tuple[str, str]],
        epochs: int = 1,
        batch_size: int = 4,
        learning_rate: float = 5e-4,
        seed: int = 0,
        accumulation: int = 1,
        decay: bool = False,
        checkpoint: str | Path | None = None,
        every: int = 50,
        verbose: int = 0,
        tree: TokenTree | None = None,
    ) -> np.ndarray:
        """Tune on (message, response) pairs; the loss falls on the response's tokens only.

        With a tree, a response is lines that are texts of it, and the loss is theirs among what the tree allows (see
        `option_log_likelihood`): nothing is spent on learning which texts there are.

        Args:
            examples: Each a user's message and the answer wanted; the end of the turn is added where there is no tree.
            epochs: Passes over the examples.
            batch_size: Examples that are read at once.
            learning_rate: Of Adam.
            seed: Seed of the order.
            accumulation: Batches whose mean gradient makes one step.
            decay: Let the learning rate rise over the first twentieth of the batches and then fall as a cosine to 0.
            checkpoint: A file that is written after each `every` batches; if it is there, training goes on from it, and
                ends with the same weights as one that was not interrupted. It is deleted at the end.
            every: Batches between two writings of the checkpoint.
            verbose: 0 (nothing) or 1 (a bar with the time left).
            tree: All lines that a response may hold, each with its line break.

        Returns:
            Mean loss of each batch's response tokens, in nats, shape (n_batches,), float32.

        Raises:
            InputError: No example, a line that is not in the tree, a number below 1, or another training's checkpoint.
        """
        from instructrec.models.lm import lora

        if not examples:
            raise InputError("examples is an empty list; give at least one (message, response) pair")
        counts = {"epochs": epochs, "batch_size": batch_size, "accumulation": accumulation, "every": every}
        for name, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name}={value!r}; a whole number of at least 1 is accepted")
        return lora.tune(
            self,
            [
                lora.Example(self._prompt(self.chat(message)).tolist(), *self._aimed(response, tree))
                for message, response in examples
            ],
            epochs=epochs,
            batch_size=batch_size,
            accumulation=accumulation,
            learning_rate=learning_rate,
            decay=decay,
            seed=seed,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            every=every,
            verbose=verbose,
            losses_of=self.token_losses if tree is None else partial(self.tree_losses, tree=tree),
        )

    def _aimed(self, response: str, tree: TokenTree | None) -> tuple[list[int], list[int]]:
        """Return the tokens of a response and their targets."""
        if tree is None:
            tokens = [*self.encode(response), *self.checkpoint.ends[:1]]
            return tokens, tokens
        lines = [self.encode(line) for line in response.splitlines(keepends=True)]
        return [token for line in lines for token in line], [
            node for line in lines for node in tree.path(line)
        ]

    # -- inside --------------------------------------------------------------------------------------------------

    def _tokens(self, text: str) -> np.ndarray:
        tokens = self.encode(text)
        if not tokens:
            raise InputError("text is empty; give at least one token of text")
        return np.array(tokens, dtype=np.int32)

    def _prompt(self, text: str) -> np.ndarray:
        """Return the token ids of a prompt, those that stand in front of all prompts first."""
        begins = np.array(self.checkpoint.begins, dtype=np.int32)
        tokens = self._tokens(text)
        return tokens if (tokens[: len(begins)] == begins).all() else np.concatenate([begins, tokens])

    def _compile(self) -> None:
        """Make the functions that read tokens: with what was read before, and as continuations of prompts."""
        import tensorflow as tf

        cache = tf.TensorSpec((None, *self._cache_shape(None)), self.backbone.compute_dtype)
        tokens = tf.TensorSpec((None, None), tf.int32)
        self._step = tf.function(
            self._forward, input_signature=[tokens, cache, tf.TensorSpec((), tf.int32), tokens]
        )
        self._continue = tf.function(self._forward_options, input_signature=[tokens, cache, tokens])
        self._log_probs, self._everything = self._of_vocabulary()
        self._trees: list[tuple[TokenTree, Softmax]] = []

    def _of_vocabulary(self) -> tuple[Callable[[Any], np.ndarray], Softmax]:
        """Return what gives log-probabilities of all tokens behind states, and of given ones."""
        import tensorflow as tf

        every = tf.function(lambda hidden: tf.nn.log_softmax(self._logits(hidden)), reduce_retracing=True)

        def of(hidden: Any, tokens: Any) -> Any:
            logits = self._logits(hidden)
            return tf.gather(logits, tokens, batch_dims=1) - tf.reduce_logsumexp(logits, axis=-1)

        def first(hidden: Any, tokens: np.ndarray) -> np.ndarray:
            return np.take_along_axis(every(hidden).numpy(), tokens, axis=1)

        return lambda hidden: every(hidden).numpy(), Softmax(self._given(of), first)

    def _among(self, tree: TokenTree) -> Softmax:
        """Return the softmax over what a tree allows; targets are its nodes."""
        import tensorflow as tf

        for known, made in self._trees:
            if known is tree:
                return made

        def of(hidden: Any, nodes: Any) -> Any:
            return -self.tree_losses(hidden, nodes, tree)

        given = self._given(of)

        def first(hidden: Any, nodes: np.ndarray) -> np.ndarray:
            spread = tf.repeat(tf.convert_to_tensor(hidden)[:, None], nodes.shape[1], axis=1)
            return given(spread, nodes, np.ones(nodes.shape))

        self._trees.append((tree, Softmax(given, first)))
        return self._trees[-1][1]

    def _given(self, of: Callable[[Any, Any], Any]) -> Callable[[Any, np.ndarray, np.ndarray], np.ndarray]:
        """Return `Softmax.given` from what maps states (k, width) and targets (k,) to log-probabilities (k,)."""
        import tensorflow as tf

        states = tf.TensorSpec((None, None, self.backbone.hidden_dim), self.backbone.compute_dtype)
        places = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None), tf.bool)
        chosen = tf.function(
            lambda hidden, targets, mask: of(tf.boolean_mask(hidden, mask), tf.boolean_mask(targets, mask)),
            input_signature=[states, *places],
        )

        def given(hidden: Any, targets: np.ndarray, mask: np.ndarray) -> np.ndarray:
            found = np.zeros(targets.shape, dtype=np.float32)
            found[mask > 0] = chosen(hidden, targets, mask > 0).numpy()
            return found

        return given

    def token_losses(self, hidden: Any, tokens: Any) -> Any:
        """Return -log p of tokens among all, in nats; states have the shape (…, width), tokens and result (…)."""
        import tensorflow as tf

        return tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, self._logits(hidden))

    def tree_losses(self, hidden: Any, nodes: Any, tree: TokenTree) -> Any:
        """Return -log p of what leads to nodes, among what the tree allows before them; shapes as in `token_losses`."""
        import tensorflow as tf

        allowed = tf.gather(tf.constant(tree.allowed), tf.gather(tf.constant(tree.parents), nodes))
        logits = tf.where(allowed, self._logits_of(hidden, tree.tokens), FORBIDDEN)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.gather(tf.constant(tree.columns), nodes), logits
        )

    def _forward(self, token_ids: Any, cache: Any, start: Any, read: Any) -> tuple[Any, Any]:
        """Run tokens from position `start` on; return their hidden states and the cache with their keys and values.

        Args:
            token_ids: Shape (n, length).
            cache: Keys and values, with room for these tokens.
            start: How many tokens were read before.
            read: 1 for each place of the cache that holds a token, 0 for padding in front, (n, places).
        """
        from keras import ops

        hidden, caches = self.backbone.token_embedding(token_ids), []
        for number, layer in enumerate(self.backbone.transformer_layers):
            hidden, updated = layer(
                hidden,
                decoder_padding_mask=read,
                self_attention_cache=cache[:, number],
                self_attention_cache_update_index=start,
            )
            caches.append(updated)
        return self.backbone.layer_norm(hidden), ops.stack(caches, axis=1)

    def _forward_options(self, token_ids: Any, cache: Any, read: Any) -> Any:
        """Return the hidden states of texts that go on from prompts, whose keys and values are given once.

        Args:
            token_ids: As many texts for each prompt, those of the first prompt first, (n_prompts * n, length).
            cache: Keys and values of the prompts.
            read: 1 for each of their tokens, 0 for padding in front, (n_prompts, places).
        """
        hidden = self.backbone.token_embedding(token_ids)
        for number, layer in enumerate(self.backbone.transformer_layers):
            hidden = _going_on(layer, hidden, cache[:, number, 0], cache[:, number, 1], read)
        return self.backbone.layer_norm(hidden)

    def _logits(self, hidden: Any) -> Any:
        from keras import ops

        return ops.cast(self.backbone.token_embedding(hidden, reverse=True), "float32")

    def _logits_of(self, hidden: Any, tokens: np.ndarray) -> Any:
        """Return the logits of some tokens alone, shape (…, n_tokens), float32."""
        from keras import ops

        layer = self.backbone.token_embedding
        rows = (
            ops.take(layer.embeddings, tokens, axis=0)
            if layer.tie_weights
            else ops.transpose(ops.take(layer.reverse_embeddings, tokens, axis=1))
        )
        return ops.cast(ops.matmul(hidden, ops.cast(ops.transpose(rows), hidden.dtype)), "float32")

    def _cache_shape(self, length: Any) -> tuple[Any, ...]:
        """Return the shape of keys and values of one text: layers, both, tokens, heads, width of a head."""
        backbone = self.backbone
        head_dim = getattr(backbone, "head_dim", backbone.hidden_dim // backbone.num_query_heads)
        return backbone.num_layers, 2, length, backbone.num_key_value_heads, head_dim

    def _empty_cache(self, length: int, n: int = 1) -> Any:
        from keras import ops

        return ops.zeros((n, *self._cache_shape(length)), dtype=self.backbone.compute_dtype)

    def _read(self, prompts: Sequence[np.ndarray], room: int = 0) -> tuple[Any, Any, np.ndarray]:
        """Read prompts, padded in front: places are told by their distances alone.

        Args:
            prompts: n arrays of token ids.
            room: How many tokens more the cache is to hold.

        Returns:
            States, shape (n, longest, width); keys and values; and which of their places hold tokens of prompts or are
            room, shape (n, longest + room).
        """
        token_ids, read = _pad(prompts, in_front=True)
        read = np.pad(read, ((0, 0), (0, room)), constant_values=1).astype(np.int32)
        hidden, cache = self._step(token_ids, self._empty_cache(read.shape[1], len(prompts)), 0, read)
        return hidden, cache, read

    def _next(self, prompt: np.ndarray) -> np.ndarray:
        """Return the log-probabilities of what comes behind a prompt, shape (n_tokens,)."""
        return self._log_probs(self._read([prompt])[0][:, -1])[0]

    def _say(self, prompt: np.ndarray, most: int) -> Iterator[int]:
        """Give the likeliest token each time, at most so many."""
        hidden, cache, read = self._read([prompt], room=most)
        for number in range(most):
            best = int(self._log_probs(hidden[:, -1])[0].argmax())
            yield best
            hidden, cache = self._step(np.array([[best]], dtype=np.int32), cache, len(prompt) + number, read)

    def _score_some(
        self,
        prompts: list[np.ndarray],
        options: list[list[tuple[np.ndarray, np.ndarray]]],
        batch_size: int,
        softmax: Softmax,
    ) -> np.ndarray:
        """Return the log-likelihoods of n options of each prompt, shape (n_prompts, n).

        Args:
            prompts: Token ids.
            options: For each prompt, token ids and targets of each option.
            batch_size: How many options run at once.
            softmax: What the targets are of.
        """
        hidden, cache, read = self._read(prompts)
        lengths = np.array([[len(tokens) for tokens, _ in row] for row in options])
        order = np.argsort(
            lengths, axis=1, kind="stable"
        )  # options of like length run together, to be padded less
        ordered = [row[one] for row, places in zip(options, order, strict=True) for one in places]
        tokens, said = _pad([one for one, _ in ordered])
        targets, _ = _pad([one for _, one in ordered])
        shape = (*order.shape, tokens.shape[1])
        tokens, targets, said = (array.reshape(shape) for array in (tokens, targets, said))
        made = softmax.first(hidden[:, -1], targets[:, :, 0])
        at_once = max(1, min(batch_size // len(prompts), -(-shape[1] // PARTS)))
        for at in range(0, shape[1], at_once):
            part = slice(at, at + at_once)
            longest = int(said[:, part].sum(axis=2).max())
            if longest > 1:
                texts, aims, mask = (
                    one[:, part, :longest].reshape(-1, longest) for one in (tokens, targets, said)
                )
                states = self._continue(texts[:, :-1], cache, read)
                log_probs = softmax.given(states, aims[:, 1:], mask[:, 1:])
                made[:, part] += log_probs.sum(axis=1).reshape(len(prompts), -1)
        found = np.empty_like(made)
        np.put_along_axis(found, order, made, axis=1)
        return found

    def _training_model(self) -> Any:
        """Return the model that maps a conversation to states at the places before each response token."""
        import keras
        from keras import ops

        backbone = self.backbone
        places = keras.Input((None,), dtype="int32", name="places")
        if self._read_once:
            hidden = keras.Input((None, backbone.hidden_dim), dtype=backbone.compute_dtype, name="states")
            padding = keras.Input((None,), dtype="int32", name="padding_mask")
            inputs = {"states": hidden, "padding_mask": padding, "places": places}
            for layer in self._tower()[self._read_once :]:
                hidden = layer(hidden, decoder_padding_mask=padding)
            hidden = backbone.layer_norm(hidden)
        else:
            hidden, inputs = backbone.output, {**backbone.input, "places": places}
        at_places = ops.take_along_axis(hidden, ops.expand_dims(places, -1), axis=1)
        return keras.Model(inputs, at_places)

    def _read_below(self, examples: Sequence[Example], verbose: int = 0) -> list[np.ndarray] | None:
        """Return the states of each example's tokens below the first layer that is tuned, (length, width).

        None where all layers are tuned.
        """
        import tensorflow as tf

        if not self._read_once:
            return None

        @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)] * 2)
        def below(token_ids: Any, padding: Any) -> Any:
            hidden = self.backbone.token_embedding(token_ids)
            for layer in self._tower()[: self._read_once]:
                hidden = layer(hidden, decoder_padding_mask=padding)
            return hidden

        found: list[np.ndarray] = [np.empty(0)] * len(examples)
        order = sorted(range(len(examples)), key=lambda row: len(examples[row].read))
        with tqdm(total=len(order), desc="reading", disable=verbose != 1, file=sys.stderr) as bar:
            for at in range(0, len(order), READ):
                part = order[at : at + READ]
                token_ids, padding = _pad([np.array(examples[row].read) for row in part])
                states = below(token_ids, padding.astype(np.int32)).numpy()
                for row, one in zip(part, states, strict=True):
                    found[row] = one[: len(examples[row].read)].copy()
                bar.update(len(part))
        return found

    def _batch(
        self, examples: Sequence[Example], states: Sequence[np.ndarray] | None = None
    ) -> tuple[Any, np.ndarray, np.ndarray]:
        """Return inputs of the training model, the targets of the answers' tokens and which of them are no padding.

        Args:
            examples: What a model learns.
            states: What `_read_below` gave of them.
        """
        token_ids, padding = _pad([np.array(one.read) for one in examples])
        starts = [len(one.prompt) - 1 for one in examples]
        places, _ = _pad(
            [start + np.arange(len(one.answer)) for start, one in zip(starts, examples, strict=True)]
        )
        targets, weights = _pad([np.array(one.targets) for one in examples])
        inputs = {"padding_mask": padding.astype(np.int32), "places": places}
        if states is None:
            return {**inputs, "token_ids": token_ids}, targets, weights
        padded = np.zeros((*token_ids.shape, states[0].shape[1]), dtype=states[0].dtype)
        for row, one in zip(padded, states, strict=True):
            row[: len(one)] = one
        return {**inputs, "states": padded}, targets, weights


def reranking_prompt(history: Sequence[str], candidates: Sequence[str] = (), most: int = 20) -> str:
    """Return an instruction of kind (P1, I0): the history as titles, no stated intention.

    With candidates it is of the form T3, reranking; without, it asks as matching (T2) does, and whoever scores titles
    as its answer reranks.

    Args:
        history: Titles, oldest first; the last `most` are told.
        candidates: Titles to list; none leaves them to the likelihood alone.
        most: How many titles of the history are told (20 in Zhang et al., 2023).
    """
    told = "\n".join(history[-most:])
    choices = "\nChoose only from these films:\n" + "\n".join(candidates) if candidates else ""
    wish = "List the films I will watch next, one on each line."
    return f"I watched these films, the latest one last:\n{told}\n{wish}{choices}"


def _pad(sequences: Sequence[np.ndarray], in_front: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences as one array padded on a side, shape (n, longest), and where they are, float32."""
    length = max(len(sequence) for sequence in sequences)
    padded = np.zeros((len(sequences), length), dtype=np.int32)
    mask = np.zeros((len(sequences), length), dtype=np.float32)
    for row, sequence in enumerate(sequences):
        place = slice(length - len(sequence), length) if in_front else slice(0, len(sequence))
        padded[row, place] = sequence
        mask[row, place] = 1
    return padded, mask


def _going_on(layer: Any, hidden: Any, keys: Any, values: Any, read: Any) -> Any:
    """Run a layer of Keras Hub's Llama or Qwen on texts that go on from prompts, without a copy of a prompt for each.

    A text's token attends to its prompt and to its own text. These are two softmaxes, with outputs o and o', whose sums
    of exponentials make them one: w o + (1 - w) o' with w = sigmoid(log sum exp - log sum exp'). All texts of a prompt
    meet its keys in one matrix product.

    Args:
        layer: Of the backbone.
        hidden: What goes in, shape (n_prompts * n, length, width).
        keys: Of the prompts, turned to their places, (n_prompts, places, heads of keys, width of a head).
        values: Of the prompts, of the same shape.
        read: 1 for each place of a prompt that holds a token, (n_prompts, places).
    """
    from keras import ops

    parts = {part.name: part for part in layer._flatten_layers(include_self=False)}
    attention, dtype = parts["self_attention"], hidden.dtype
    n_prompts, start, heads, size = ops.shape(keys)
    length = ops.shape(hidden)[1]

    def turned(name: str, normed: Any) -> Any:
        projected = parts[name](normed)
        norm = parts.get(f"{name}_dense_layernorm")  # Qwen3's
        projected = projected if norm is None else norm(projected)
        return attention.rotary_embedding_layer(projected, start_index=start)

    def attend(query: Any, keys: Any, values: Any, seen: Any) -> tuple[Any, Any]:
        """Return what a softmax over keys gives, (rows, queries, heads, groups, size), and its log sum exp."""
        scores = ops.cast(ops.einsum("nqhgs,nkhs->nhgqk", query, keys), "float32") * size**-0.5
        scores = ops.where(seen, scores, -1e9)
        total = ops.logsumexp(scores, axis=-1, keepdims=True)
        given = ops.einsum("nhgqk,nkhs->nqhgs", ops.cast(ops.exp(scores - total), dtype), values)
        return given, ops.transpose(total, (0, 3, 1, 2, 4))

    normed = parts["self_attention_layernorm"](hidden)
    query = turned("query", normed)
    groups = query.shape[2] // heads
    query = ops.reshape(query, (-1, length, heads, groups, size))
    together = ops.reshape(query, (n_prompts, -1, heads, groups, size))
    prompt, of_prompt = attend(together, keys, values, ops.cast(read, "bool")[:, None, None, None, :])
    earlier = ops.arange(length)[:, None] >= ops.arange(length)[None, :]
    own, of_own = attend(query, turned("key", normed), parts["value"](normed), earlier)
    prompt = ops.reshape(prompt, ops.shape(own))
    weight = ops.cast(ops.sigmoid(ops.reshape(of_prompt, ops.shape(of_own)) - of_own), dtype)
    mixed = weight * prompt + (1 - weight) * own
    hidden = hidden + parts["attention_output"](ops.reshape(mixed, (-1, length, heads * groups, size)))
    normed = parts["feedforward_layernorm"](hidden)
    gate = layer.activation(ops.cast(parts["feedforward_gate_dense"](normed), "float32"))
    inside = parts["feedforward_intermediate_dense"](normed) * ops.cast(gate, dtype)
    return hidden + parts["feedforward_output_dense"](inside)


class EncoderDecoder(LanguageModel):
    """An encoder that reads the prompt and a decoder that answers: T5, of whose family the paper's model is.

    Answers begin behind the token 0, and each is read whole: no keys and values are kept.
    """

    _lora_layers: ClassVar[dict[str, str]] = {
        part: f"{part}_projector" for part in ("query", "key", "value", "output")
    }

    def __init__(self, checkpoint: Checkpoint) -> None:
        layers = [
            *checkpoint.backbone.encoder_transformer_layers,
            *checkpoint.backbone.decoder_transformer_layers,
        ]
        for layer in layers:  # Keras would warn of a mask that nobody needs
            for name in ("self_attention", "cross_attention"):
                if hasattr(layer, name):
                    getattr(layer, name).supports_masking = True
        super().__init__(checkpoint)

    def token_log_probs(self, text: str) -> np.ndarray:
        """Refuse: an encoder reads all of a text at once.

        Raises:
            InputError: Always.
        """
        raise InputError(
            f"{self.name} reads a text whole and gives no likelihood to its tokens; ask option_log_likelihood"
        )

    def last_states(self, prompt: str, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
        """Refuse: an encoder reads all of a text at once.

        Raises:
            InputError: Always.
        """
        raise InputError(f"{self.name} reads a text whole and has no state behind its last token")

    def would_say(self, prompts: Sequence[str], texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """Refuse: what is said after a prompt is not read with it.

        Raises:
            InputError: Always.
        """
        raise InputError(f"{self.name} reads a prompt apart from what it says; ask generate")

    def _compile(self) -> None:
        import tensorflow as tf

        tokens = tf.TensorSpec((None, None), tf.int32)
        state = tf.TensorSpec((None, None, self.backbone.hidden_dim), self.backbone.compute_dtype)
        self._encode_prompt = tf.function(self._encoded, input_signature=[tokens])
        self._answer = tf.function(self._decoded, input_signature=[tokens, state])
        self._log_probs, self._everything = self._of_vocabulary()
        self._trees: list[tuple[TokenTree, Softmax]] = []

    def _encoded(self, token_ids: Any) -> Any:
        """Return the states of a prompt's tokens."""
        from keras import ops

        backbone, places = self.backbone, None
        read = ops.ones_like(token_ids)[:, None, :]
        hidden = backbone.token_embedding(token_ids)
        for layer in backbone.encoder_transformer_layers:
            hidden, places = layer(hidden, attention_mask=read, position_bias=places, use_causal_mask=False)
        return backbone.encoder_layer_norm(hidden)

    def _decoded(self, token_ids: Any, prompt: Any) -> Any:
        """Return the states of what is answered, shape (n, length, width); one prompt serves all answers."""
        from keras import ops

        backbone, places = self.backbone, None
        prompt = ops.repeat(prompt, ops.shape(token_ids)[0], axis=0)
        read = ops.ones(ops.shape(prompt)[:2], dtype="int32")[:, None, :]
        hidden = backbone.token_embedding(token_ids)
        for layer in backbone.decoder_transformer_layers:
            hidden, places = layer(
                hidden,
                attention_mask=ops.ones_like(token_ids)[:, None, :],
                position_bias=places,
                encoder_hidden_states=prompt,
                encoder_attention_mask=read,
                use_causal_mask=True,
            )
        return backbone.decoder_layer_norm(hidden)

    def _scaled(self, hidden: Any) -> Any:
        """Return states as the table of tokens wants them: scaled where one table serves both ways (Raffel, 2020)."""
        tied = self.backbone.token_embedding.tie_weights
        return hidden * self.backbone.hidden_dim**-0.5 if tied else hidden

    def _logits(self, hidden: Any) -> Any:
        return super()._logits(self._scaled(hidden))

    def _logits_of(self, hidden: Any, tokens: np.ndarray) -> Any:
        return super()._logits_of(self._scaled(hidden), tokens)

    def _next(self, prompt: np.ndarray) -> np.ndarray:
        start = np.zeros((1, 1), dtype=np.int32)
        return self._log_probs(self._answer(start, self._encode_prompt(prompt[None]))[:, -1])[0]

    def following(self, prompt: str) -> Callable[[Sequence[Sequence[int]]], np.ndarray]:
        """Return what gives the log-probabilities of the next token of an answer; see `LanguageModel.following`."""
        state = self._encode_prompt(self._prompt(prompt)[None])

        def behind(lists: Sequence[Sequence[int]]) -> np.ndarray:
            tokens, mask = _pad([np.array([0, *one], dtype=np.int32) for one in lists])
            last = mask.sum(axis=1).astype(int) - 1
            return self._log_probs(self._answer(tokens, state).numpy()[np.arange(len(lists)), last])

        return behind

    def _say(self, prompt: np.ndarray, most: int) -> Iterator[int]:
        state, said = self._encode_prompt(prompt[None]), [0]
        for _ in range(most):
            hidden = self._answer(np.array([said], dtype=np.int32), state)
            said.append(int(self._log_probs(hidden[:, -1])[0].argmax()))
            yield said[-1]

    def _score_some(
        self,
        prompts: list[np.ndarray],
        options: list[list[tuple[np.ndarray, np.ndarray]]],
        batch_size: int,
        softmax: Softmax,
    ) -> np.ndarray:
        found = np.zeros((len(prompts), len(options[0])), dtype=np.float32)
        for row, prompt, said in zip(found, prompts, options, strict=True):
            state = self._encode_prompt(prompt[None])
            tokens, mask = _pad([one for one, _ in said])
            targets, _ = _pad([one for _, one in said])
            read = np.pad(tokens[:, :-1], ((0, 0), (1, 0)))
            for at in range(0, len(said), batch_size):
                part = slice(at, at + batch_size)
                states = self._answer(read[part], state)
                row[part] = softmax.given(states, targets[part], mask[part]).sum(axis=1)
        return found

    def _training_model(self) -> Any:
        """Return the model that maps prompts and answers to states at each token of the answers."""
        import keras

        return keras.Model(self.backbone.input, self.backbone.output["decoder_sequence_output"])

    def _tower(self) -> list[Any]:
        backbone = self.backbone
        return [*backbone.encoder_transformer_layers, *backbone.decoder_transformer_layers]

    def _read_below(self, examples: Sequence[Example], verbose: int = 0) -> list[np.ndarray] | None:
        return None

    def _batch(
        self, examples: Sequence[Example], states: Sequence[np.ndarray] | None = None
    ) -> tuple[Any, np.ndarray, np.ndarray]:
        read, reading = _pad([np.array(one.prompt) for one in examples])
        answers, weights = _pad([np.array(one.answer) for one in examples])
        targets, _ = _pad([np.array(one.targets) for one in examples])
        inputs = {
            "encoder_token_ids": read,
            "encoder_padding_mask": reading.astype(np.int32),
            "decoder_token_ids": np.pad(answers[:, :-1], ((0, 0), (1, 0))),
            "decoder_padding_mask": weights.astype(np.int32),
        }
        return inputs, targets, weights


@cache
def _template(text: str) -> Template:
    """Return a chat template, which can do nothing but make text."""

    def refuse(message: str) -> None:
        raise TemplateError(message)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    made.globals["raise_exception"] = refuse
    return made.from_string(text)


def language_model(checkpoint: Checkpoint) -> LanguageModel:
    """Return the model of a checkpoint: a `LanguageModel`, an `EncoderDecoder` where it is one."""
    encodes = hasattr(checkpoint.backbone, "encoder_transformer_layers")
    return (EncoderDecoder if encodes else LanguageModel)(checkpoint)
