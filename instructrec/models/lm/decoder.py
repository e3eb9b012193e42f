"""Decoders of Keras Hub (Llama, Qwen): a prompt's keys and values are computed once and serve all continuations.

Derived in chapter `language-model`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from instructrec.errors import InputError
from instructrec.models.lm.batching import TrainingExample, pad
from instructrec.models.lm.prefix_attention import shared_prefix_attention
from instructrec.models.lm.scoring import EncodedOption, LanguageModel, NextTokenScorer, progress_batches
from instructrec.models.lm.softmax import TargetSoftmax

LENGTH_BUCKETS = 3
"""Number of length buckets for the candidate texts of a prompt."""


class Decoder(LanguageModel):
    """A decoder, which reads a prompt and its continuation as one text."""

    def compile(self) -> None:
        """Compile the functions that read tokens; see `LanguageModel.compile`."""
        import tensorflow as tf

        cache = tf.TensorSpec((None, *self._cache_shape(None)), self.backbone.compute_dtype)
        tokens = tf.TensorSpec((None, None), tf.int32)
        self._step = tf.function(
            self._forward, input_signature=[tokens, cache, tf.TensorSpec((), tf.int32), tokens]
        )
        self._continue = tf.function(self._forward_continuations, input_signature=[tokens, cache, tokens])
        super().compile()

    @property
    def transformer_layers(self) -> list[Any]:
        """The Transformer layers, from input to output."""
        return list(self.backbone.transformer_layers)

    # -- reading -------------------------------------------------------------------------------------------------

    def prefill(self, prompts: Sequence[np.ndarray], max_new_tokens: int = 0) -> tuple[Any, Any, np.ndarray]:
        """Read prompts, padded in front: rotary positions depend on distances alone.

        Args:
            prompts: n arrays of token ids.
            max_new_tokens: Number of tokens for which the cache keeps room.

        Returns:
            States, shape (n, longest, width); the cache of keys and values; and the mask of the cache's positions,
            shape (n, longest + max_new_tokens), int32: 0 for padding, else 1.
        """
        from keras import ops

        token_ids, mask = pad(prompts, "pre")
        mask = np.pad(mask, ((0, 0), (0, max_new_tokens)), constant_values=1).astype(np.int32)
        cache = ops.zeros(
            (len(prompts), *self._cache_shape(mask.shape[1])), dtype=self.backbone.compute_dtype
        )
        hidden, cache = self._step(token_ids, cache, 0, mask)
        return hidden, cache, mask

    def _forward(self, token_ids: Any, cache: Any, start: Any, mask: Any) -> tuple[Any, Any]:
        """Run tokens from position `start` on; return their hidden states and the cache with their keys and values.

        Args:
            token_ids: Shape (n, length).
            cache: Keys and values, with room for these tokens.
            start: Number of tokens read before.
            mask: 1 for each position of the cache that holds a token, 0 for padding in front, (n, positions).
        """
        from keras import ops

        hidden, caches = self.backbone.token_embedding(token_ids), []
        for number, layer in enumerate(self.backbone.transformer_layers):
            hidden, layer_cache = layer(
                hidden,
                decoder_padding_mask=mask,
                self_attention_cache=cache[:, number],
                self_attention_cache_update_index=start,
            )
            caches.append(layer_cache)
        return self.backbone.layer_norm(hidden), ops.stack(caches, axis=1)

    def _forward_continuations(self, token_ids: Any, cache: Any, mask: Any) -> Any:
        """Return the hidden states of continuations of prompts whose keys and values are in the cache.

        Args:
            token_ids: Equally many continuations for each prompt, those of the first prompt first, shape
                (n_prompts * n, length).
            cache: Keys and values of the prompts.
            mask: 1 for each of the prompts' tokens, 0 for padding in front, (n_prompts, positions).
        """
        hidden = self.backbone.token_embedding(token_ids)
        for number, layer in enumerate(self.backbone.transformer_layers):
            hidden = shared_prefix_attention(layer, hidden, cache[:, number, 0], cache[:, number, 1], mask)
        return self.backbone.layer_norm(hidden)

    def _cache_shape(self, length: Any) -> tuple[Any, ...]:
        """Return the shape of the cache of one text: layers, keys and values, tokens, heads, head width."""
        backbone = self.backbone
        head_dim = getattr(backbone, "head_dim", backbone.hidden_dim // backbone.num_query_heads)
        return backbone.num_layers, 2, length, backbone.num_key_value_heads, head_dim

    # -- likelihoods ---------------------------------------------------------------------------------------------

    def next_token_scorer(self, prompt: str) -> NextTokenScorer:
        """Return a function that scores the next token; see `LanguageModel.next_token_scorer`."""
        hidden, cache, mask = self.prefill([self.encode_prompt(prompt)])
        first_log_probs = self.vocabulary.log_probs(hidden[:, -1])[0]

        def score(continuations: Sequence[Sequence[int]]) -> np.ndarray:
            if not any(continuations):
                return np.repeat(first_log_probs[None], len(continuations), axis=0)
            tokens, token_mask = pad(continuations)
            last = np.maximum(token_mask.sum(axis=1).astype(int) - 1, 0)
            states = self._continue(tokens, cache, mask).numpy()[np.arange(len(continuations)), last]
            log_probs = self.vocabulary.log_probs(states)
            log_probs[[not tokens for tokens in continuations]] = first_log_probs
            return log_probs

        return score

    def token_log_probs(self, text: str) -> np.ndarray:
        """Return log p of each token but the first; see `LanguageModel.token_log_probs`."""
        tokens = self._encode_text(text)
        hidden, _, mask = self.prefill([tokens])
        return self.vocabulary.target_log_probs(hidden[:, :-1], tokens[None, 1:], mask[:, 1:])[0]

    def last_states(self, prompt: str, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
        """Return the state at the last token of each text; see `LanguageModel.last_states`."""
        from keras import ops

        prompt_tokens, tokens = self.encode_prompt(prompt), [self._encode_text(text) for text in texts]
        states = np.empty((len(tokens), self.backbone.hidden_dim), dtype=np.float32)
        rows_by_length: dict[int, list[int]] = {}
        for row, text_tokens in enumerate(tokens):
            rows_by_length.setdefault(len(text_tokens), []).append(row)
        for length, rows in sorted(rows_by_length.items()):
            _, cache, mask = self.prefill([prompt_tokens])
            description = f"{prompt!r}, {length} tokens"
            for first in tqdm(range(0, len(rows), batch_size), desc=description, leave=False):
                batch = rows[first : first + batch_size]
                hidden = self._continue(np.stack([tokens[row] for row in batch]), cache, mask)
                states[batch] = np.asarray(ops.cast(hidden[:, -1], "float32"))
        return states

    def greedy_matches(
        self, prompts: Sequence[str], texts: Sequence[str], batch_size: int = 32
    ) -> np.ndarray:
        """Return whether greedy generation gives each text; see `LanguageModel.greedy_matches`."""
        if len(prompts) != len(texts):
            raise InputError(f"{len(texts)} texts for {len(prompts)} prompts; give one each")
        prompt_tokens = [self.encode_prompt(prompt) for prompt in prompts]
        text_tokens = [self._encode_text(text) for text in texts]
        matches = np.zeros(len(texts), dtype=bool)
        order = sorted(range(len(texts)), key=lambda row: len(prompt_tokens[row]) + len(text_tokens[row]))
        for batch in progress_batches(order, batch_size, "texts"):
            hidden, _, _ = self.prefill(
                [np.concatenate([prompt_tokens[row], text_tokens[row][:-1]]) for row in batch]
            )
            longest = max(len(text_tokens[row]) for row in batch)
            best_tokens = self.vocabulary.log_probs(hidden[:, -longest:]).argmax(axis=-1)
            for row, best in zip(batch, best_tokens, strict=True):
                matches[row] = (best[longest - len(text_tokens[row]) :] == text_tokens[row]).all()
        return matches

    def _score_options(
        self,
        prompts: list[np.ndarray],
        options: list[list[EncodedOption]],
        batch_size: int,
        softmax: TargetSoftmax,
    ) -> np.ndarray:
        hidden, cache, prompt_mask = self.prefill(prompts)
        lengths = np.array([[len(option.tokens) for option in row] for row in options])
        order = np.argsort(lengths, axis=1, kind="stable")  # options of similar length need little padding
        ordered = [row[index] for row, indices in zip(options, order, strict=True) for index in indices]
        tokens, mask = pad([option.tokens for option in ordered])
        targets, _ = pad([option.targets for option in ordered])
        shape = (*order.shape, tokens.shape[1])
        tokens, targets, mask = (array.reshape(shape) for array in (tokens, targets, mask))
        ordered_scores = softmax.first_log_probs(hidden[:, -1], targets[:, :, 0])
        options_at_once = max(1, min(batch_size // len(prompts), -(-shape[1] // LENGTH_BUCKETS)))
        for first in range(0, shape[1], options_at_once):
            bucket = slice(first, first + options_at_once)
            longest = int(mask[:, bucket].sum(axis=2).max())
            if longest > 1:
                bucket_tokens, bucket_targets, bucket_mask = (
                    array[:, bucket, :longest].reshape(-1, longest) for array in (tokens, targets, mask)
                )
                states = self._continue(bucket_tokens[:, :-1], cache, prompt_mask)
                log_probs = softmax.target_log_probs(states, bucket_targets[:, 1:], bucket_mask[:, 1:])
                ordered_scores[:, bucket] += log_probs.sum(axis=1).reshape(len(prompts), -1)
        scores = np.empty_like(ordered_scores)
        np.put_along_axis(scores, order, ordered_scores, axis=1)
        return scores

    def _greedy_tokens(self, prompt: np.ndarray, max_tokens: int) -> Iterator[int]:
        hidden, cache, mask = self.prefill([prompt], max_tokens)
        for number in range(max_tokens):
            token = int(self.vocabulary.log_probs(hidden[:, -1])[0].argmax())
            yield token
            hidden, cache = self._step(np.array([[token]], dtype=np.int32), cache, len(prompt) + number, mask)

    # -- training ------------------------------------------------------------------------------------------------

    def training_network(self) -> Any:
        """Return the model from token ids to the state before each answer token."""
        import keras
        from keras import ops

        positions = keras.Input((None,), dtype="int32", name="positions")
        states = ops.take_along_axis(self.backbone.output, ops.expand_dims(positions, -1), axis=1)
        return keras.Model({**self.backbone.input, "positions": positions}, states)

    def training_batch(
        self, examples: Sequence[TrainingExample]
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Return inputs, targets and mask; see `LanguageModel.training_batch`."""
        token_ids, padding_mask = pad([example.inputs for example in examples])
        positions, _ = pad([len(example.prompt) - 1 + np.arange(len(example.answer)) for example in examples])
        targets, mask = pad([example.targets for example in examples])
        inputs = {
            "token_ids": token_ids,
            "padding_mask": padding_mask.astype(np.int32),
            "positions": positions,
        }
        return inputs, targets, mask
