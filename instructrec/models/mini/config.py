"""Settings of `Mini`. Derived in chapter `instruction-tuning`."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, model_validator

from instructrec.errors import InputError, one_of
from instructrec.instructions.query_generator import KIND_SHARES, LANGUAGES, check_languages
from instructrec.validation import (
    ModelConfig,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
    Share,
)

COPY_TARGETS = ("words", "titles")
"""Where a word of an instruction can be copied to: its vector into the state, its weight into titles with this word."""


def _as_tuple(value: Any) -> Any:
    """Return a list as a tuple, and any other value unchanged; JSON has lists only."""
    return tuple(value) if isinstance(value, list) else value


def _check_languages(languages: Any) -> Any:
    check_languages(languages)
    return _as_tuple(languages)


def _check_kinds(kinds: tuple[str, ...] | None) -> tuple[str, ...] | None:
    for kind in kinds or ():
        if kind not in KIND_SHARES:
            raise one_of("kind of query", kind, KIND_SHARES, most=len(KIND_SHARES))
    return kinds


def _check_copies(copies: tuple[str, ...]) -> tuple[str, ...]:
    for target in copies:
        if target not in COPY_TARGETS:
            raise one_of("copy", target, COPY_TARGETS)
    return copies


Kinds = Annotated[tuple[str, ...] | None, BeforeValidator(_as_tuple), AfterValidator(_check_kinds)]
Languages = Annotated[tuple[str, ...], BeforeValidator(_check_languages)]
Copies = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), AfterValidator(_check_copies)]


class MiniConfig(ModelConfig):
    """Settings of `Mini`.

    Attributes:
        hidden_size: Width of token embeddings and decoder blocks, a multiple of twice `n_heads`.
        n_layers: Number of decoder blocks (self-attention and feed-forward) of each decoder.
        n_heads: Number of attention heads.
        intermediate_size: Width of the hidden layer of the feed-forward networks.
        length: Number of the last items of a history that the model reads, and of items in a training row at most.
        instruction_share: Share of the events that get an instruction in an epoch of tuning.
        question_share: Share of the instructions that are questions answered in words.
        kinds: Kinds of instructions, from `query_generator.KIND_SHARES`; all by default, none if empty (training on
            histories only).
        languages: Languages of the instructions, "en", "zh" or both.
        noise: Share of the instructions with meaningless words inserted or a sentence put around them.
        paraphrase: Share of the instructions in which words are replaced by similar words (by SmolLM2's vectors).
        item_dropout: Share of the items of a training row that are targets but not inputs.
        packed: Predict the next item at every position of a training row; otherwise at the last position only.
        item_tokens: Give items an embedding of their own beside the embeddings of the words that describe them.
        describe_items: Add the embeddings of the words that describe an item to the item's embedding.
        copies: Parts of the copy mechanism: "words" adds vectors of the instruction's words to its state, "titles" adds
            weights of its words to the logits of items whose titles contain them.
        word_vectors: Use SmolLM2's word vectors as a part of word embeddings.
        dropout: Dropout rate of embeddings, attention and feed-forward in training on histories.
        text_dropout: Dropout rate of the same parts in tuning.
        copy_dropout: Share of the instructions whose words are not copied in a step of tuning, so that the state alone
            learns to carry the meaning too.
        epochs: Epochs of training on histories.
        tuning_epochs: Epochs of tuning on instructions.
        final_epochs_without_dropout: Number of last epochs of tuning without any dropout and with less noise and fewer
            paraphrases, so that plain instructions are read exactly.
        batch_size: Rows per step of training on histories.
        text_batch_size: Instructions per step of tuning.
        learning_rate: Peak learning rate of AdamW; linear warm-up over a twentieth of the steps, then cosine decay.
        text_learning_rate: Peak learning rate in tuning, with the same schedule.
        weight_decay: Weight decay of AdamW.
        seed: Seed of initial weights, order of examples, instructions and dropout.
    """

    hidden_size: PositiveInt = 128
    n_layers: PositiveInt = 2
    n_heads: PositiveInt = 4
    intermediate_size: PositiveInt = 256
    length: PositiveInt = 50
    instruction_share: Share = 0.5
    question_share: Share = 0.1
    kinds: Kinds = None
    languages: Languages = LANGUAGES
    noise: Share = 0.6
    paraphrase: Share = 0.4
    item_dropout: Share = 0.1
    packed: bool = True
    item_tokens: bool = True
    describe_items: bool = True
    copies: Copies = COPY_TARGETS
    word_vectors: bool = True
    dropout: Share = 0.3
    text_dropout: Share = 0.1
    copy_dropout: Share = 0.15
    epochs: PositiveInt = 15
    tuning_epochs: PositiveInt = 24
    final_epochs_without_dropout: NonNegativeInt = 8
    batch_size: PositiveInt = 64
    text_batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 0.004
    text_learning_rate: PositiveFloat = 0.004
    weight_decay: NonNegativeFloat = 0.01
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_head_width(self) -> Self:
        if self.hidden_size % (2 * self.n_heads):
            raise InputError(
                f"hidden_size is {self.hidden_size} and n_heads {self.n_heads}; "
                "the first must be a multiple of twice the second"
            )
        return self

    @property
    def histories_only(self) -> bool:
        """Whether the model is trained without instructions."""
        return self.kinds == ()

    @property
    def total_epochs(self) -> int:
        """Epochs of both phases together."""
        return self.epochs + (0 if self.histories_only else self.tuning_epochs)
