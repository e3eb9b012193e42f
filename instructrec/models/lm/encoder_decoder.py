"""Encoder-decoders of Keras Hub (T5, the family of the paper's model). Derived in chapter `language-model`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from instructrec.models.lm.batching import TrainingExample, pad
from instructrec.models.lm.pretrained import PretrainedModel
from instructrec.models.lm.scoring import EncodedOption, LanguageModel, NextTokenScorer
from instructrec.models.lm.softmax import TargetSoftmax

START_TOKEN = 0
"""Token that T5's decoder reads before every answer."""


class EncoderDecoder(LanguageModel):
    """An encoder that reads the prompt, and a decoder that answers.

    Each answer is read whole: no keys and values are cached.
    """

    def __init__(self, pretrained: PretrainedModel) -> None:
        backbone = pretrained.backbone
        for layer in (*backbone.encoder_transformer_layers, *backbone.decoder_transformer_layers):
            for name in ("self_attention", "cross_attention"):
                if hasattr(layer, name):  # avoids Keras's warning about an unused mask
                    getattr(layer, name).supports_masking = True
        super().__init__(pretrained)

    def compile(self) -> None:
        """Compile the functions that read tokens; see `LanguageModel.compile`."""
        import tensorflow as tf

        tokens = tf.TensorSpec((None, None), tf.int32)
        states = tf.TensorSpec((None, None, self.backbone.hidden_dim), self.backbone.compute_dtype)
        self._encode_tokens = tf.function(self._forward_encoder, input_signature=[tokens])
        self._decode_tokens = tf.function(self._forward_decoder, input_signature=[tokens, states])
        super().compile()

    @property
    def transformer_layers(self) -> list[Any]:
        """The layers of the encoder, then those of the decoder."""
        backbone = self.backbone
        return [*backbone.encoder_transformer_layers, *backbone.decoder_transformer_layers]

    def _forward_encoder(self, token_ids: Any) -> Any:
        """Return the states of a prompt's tokens, shape (n, length, width)."""
        from keras import ops

        backbone, position_bias = self.backbone, None
        mask = ops.ones_like(token_ids)[:, None, :]
        hidden = backbone.token_embedding(token_ids)
        for layer in backbone.encoder_transformer_layers:
            hidden, position_bias = layer(
                hidden, attention_mask=mask, position_bias=position_bias, use_causal_mask=False
            )
        return backbone.encoder_layer_norm(hidden)

    def _forward_decoder(self, token_ids: Any, prompt_states: Any) -> Any:
        """Return the states of n answers to one prompt, shape (n, length, width)."""
        from keras import ops

        backbone, position_bias = self.backbone, None
        prompt_states = ops.repeat(prompt_states, ops.shape(token_ids)[0], axis=0)
        prompt_mask = ops.ones(ops.shape(prompt_states)[:2], dtype="int32")[:, None, :]
        hidden = backbone.token_embedding(token_ids)
        for layer in backbone.decoder_transformer_layers:
            hidden, position_bias = layer(
                hidden,
                attention_mask=ops.ones_like(token_ids)[:, None, :],
                position_bias=position_bias,
                encoder_hidden_states=prompt_states,
                encoder_attention_mask=prompt_mask,
                use_causal_mask=True,
            )
        return backbone.decoder_layer_norm(hidden)

    def _scale(self, hidden: Any) -> Any:
        """Return states divided by the root of their width if input and output share one embedding (Raffel, 2020)."""
        tied = self.backbone.token_embedding.tie_weights
        return hidden * self.backbone.hidden_dim**-0.5 if tied else hidden

    def logits(self, hidden: Any) -> Any:
        """Return the logits of all tokens, from scaled states; see `LanguageModel.logits`."""
        return super().logits(self._scale(hidden))

    def token_logits(self, hidden: Any, tokens: np.ndarray) -> Any:
        """Return the logits of some tokens, from scaled states; see `LanguageModel.token_logits`."""
        return super().token_logits(self._scale(hidden), tokens)

    def next_token_scorer(self, prompt: str) -> NextTokenScorer:
        """Return a function that scores the next token; see `LanguageModel.next_token_scorer`."""
        prompt_states = self._encode_tokens(self.encode_prompt(prompt)[None])

        def score(continuations: Sequence[Sequence[int]]) -> np.ndarray:
            tokens, mask = pad([[START_TOKEN, *tokens] for tokens in continuations])
            last = mask.sum(axis=1).astype(int) - 1
            states = self._decode_tokens(tokens, prompt_states).numpy()[np.arange(len(continuations)), last]
            return self.vocabulary.log_probs(states)

        return score

    def _greedy_tokens(self, prompt: np.ndarray, max_tokens: int) -> Iterator[int]:
        prompt_states, tokens = self._encode_tokens(prompt[None]), [START_TOKEN]
        for _ in range(max_tokens):
            hidden = self._decode_tokens(np.array([tokens], dtype=np.int32), prompt_states)
            tokens.append(int(self.vocabulary.log_probs(hidden[:, -1])[0].argmax()))
            yield tokens[-1]

    def _score_options(
        self,
        prompts: list[np.ndarray],
        options: list[list[EncodedOption]],
        batch_size: int,
        softmax: TargetSoftmax,
    ) -> np.ndarray:
        scores = np.zeros((len(prompts), len(options[0])), dtype=np.float32)
        for row, prompt, prompt_options in zip(scores, prompts, options, strict=True):
            prompt_states = self._encode_tokens(prompt[None])
            tokens, mask = pad([option.tokens for option in prompt_options])
            targets, _ = pad([option.targets for option in prompt_options])
            inputs = _shift_right(tokens)
            for first in range(0, len(prompt_options), batch_size):
                batch = slice(first, first + batch_size)
                states = self._decode_tokens(inputs[batch], prompt_states)
                row[batch] = softmax.target_log_probs(states, targets[batch], mask[batch]).sum(axis=1)
        return scores

    def training_network(self) -> Any:
        """Return the model from prompts and answers to the state before each answer token."""
        import keras

        return keras.Model(self.backbone.input, self.backbone.output["decoder_sequence_output"])

    def training_batch(
        self, examples: Sequence[TrainingExample]
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Return inputs, targets and mask; see `LanguageModel.training_batch`."""
        prompts, prompt_mask = pad([example.prompt for example in examples])
        answers, mask = pad([example.answer for example in examples])
        targets, _ = pad([example.targets for example in examples])
        inputs = {
            "encoder_token_ids": prompts,
            "encoder_padding_mask": prompt_mask.astype(np.int32),
            "decoder_token_ids": _shift_right(answers),
            "decoder_padding_mask": mask.astype(np.int32),
        }
        return inputs, targets, mask


def _shift_right(tokens: np.ndarray) -> np.ndarray:
    """Return the decoder's inputs: the start token, then each answer without its last position."""
    return np.pad(tokens[:, :-1], ((0, 0), (1, 0)), constant_values=START_TOKEN)
