"""`mini`: a small language model whose vocabulary contains the items, tuned to instructions.

Its decoders are Keras Hub's `LlamaBackbone`, trained from scratch with Keras. Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions.query_frames import QUESTION_KINDS, question_text
from instructrec.instructions.query_generator import QueryGenerator
from instructrec.models.mini.batches import encode_with_items
from instructrec.models.mini.config import MiniConfig
from instructrec.models.mini.decoders import Decoders
from instructrec.models.mini.features import build_vocabulary, title_columns, title_tokens, training_words
from instructrec.models.mini.vocabulary import ANSWER, ASK, CONTROL_TOKENS, START, Vocabulary
from instructrec.models.mini.word_vectors import word_vectors
from instructrec.models.neural.training import NextItemModel, seeded_keras

MAX_LOGIT_DIFFERENCE = 80.0
"""Differences of logits are clipped to this size before a sigmoid, to avoid overflow."""


class Mini(NextItemModel):
    """Read a history and an instruction, and score each item by the likelihood that it is chosen next.

    The tokens are words, items and control tokens. The model reads two token sequences,

        history:        <start> item item item …
        instruction:    <ask> words <answer>

    Two decoders of the Llama family (`n_layers` blocks of causal self-attention with rotary position embeddings and a
    gated feed-forward layer, each after an RMS norm) encode them; the states after the last tokens are h and g. Each
    item i has two embeddings, e_i for histories and f_i for instructions. By Bayes' rule,
    p(i | history, text) ~ p(i | history) p(text | i), and accordingly

        p(i | history)       = softmax over items of h · e_i,
        p(i | history, text) = softmax over items of h · e_i + (g + sum of a_t v_t) · f_i + sum of b_t, t in title of i.

    An instruction thus adds to the logits of the history, and an instruction without meaning leaves them as they are.
    The sums run over the words t of the instruction that are training words. They are a copy mechanism: the vectors
    v_t of words are copied to the state, and the weights b_t to the items whose titles hold the word, because a product
    of vectors of this width cannot represent each of the many title words. With s_t the state after word t, the weights
    are

        a_t = g · A s_t / width,     b_t = g · B s_t / width.

    They can be negative, since a word may be wanted, refused, a part of a name, or without meaning.

    The embedding of an item is its own plus half of the sum of the embeddings of the words that describe it
    (categories, decade, title). So "comedy" in an instruction and in a catalogue share one embedding, and a new item
    has an embedding by its description. The embedding of a word is its own plus a learnt projection of its SmolLM2
    vector, so that words which training has not seen have an embedding too.

    Training has two phases. The first learns the next item of packed histories (`trainer.HistoryTrainer`). The second
    tunes the model to instructions, which `query_generator` generates anew in each epoch, with all that was learnt
    about histories frozen (`trainer.InstructionTrainer`). Its target is the full distribution by Bayes' rule, since the
    likelihood of an instruction is known for every item. Some instructions are questions with an answer in words: which
    query an item answers, and what a user likes; there the state of the history is added to the first token.

    Own embeddings of items start as those of SASRec do (`cosine_factors`), and attention starts as an average.

    Source: the task is that of Zhang et al., 2023, arXiv:2305.07001; item tokens in the vocabulary after Geng et al.,
    RecSys 2022, arXiv:2203.13366; copy mechanism after Gu et al., ACL 2016, arXiv:1603.06393. Derived in chapter
    `instruction-tuning`.

    Attributes:
        config: Settings, see `MiniConfig`.
        vocabulary: Token ids.
        decoders: The two decoders with their weights.
        title_columns: Catalogue columns of the items whose titles hold a word, by the word's token id.
        history: Mean losses by epoch: "item" of histories, "text" of instructions, "word" of answers, in nats.
    """

    name = "mini"
    follows_instructions = True
    config_class = MiniConfig
    config: MiniConfig
    vocabulary: Vocabulary
    decoders: Decoders
    title_columns: dict[int, np.ndarray]

    # -- training ----------------------------------------------------------------------------------------------

    def fit(
        self,
        dataset: Dataset,
        *,
        on_epoch: Callable[[int, Self], None] | None = None,
        verbose: int = 0,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Train on a data set and return the model itself; `history` then holds the losses by epoch.

        Args:
            dataset: Users, items and interactions.
            on_epoch: Called after each epoch with its number, from 1, and the model, which can already score.
            verbose: Keras's 0 (no output), 1 (a progress bar) or 2 (a line per epoch).
            checkpoint: File that is written after each epoch. If it exists, training resumes from it and ends with the
                weights of an uninterrupted training. It is deleted at the end.

        Raises:
            InputError: The data set has no user with two events, or the checkpoint is damaged or of another training.
        """
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        super().fit(dataset, on_epoch=on_epoch, verbose=verbose)
        self.decoders.release_layers()  # answers come from the stored weights of half precision
        return self

    def _fit(self, dataset: Dataset) -> None:
        sequences = [
            dataset.item_columns(items).astype(np.int32)
            for items in dataset.histories().values()
            if len(items) > 1
        ]
        if not sequences:
            raise InputError(
                f"data set {dataset.name!r} holds no user with two events; {self.name} learns from the next one"
            )
        generator = QueryGenerator(dataset, self.config.languages, self.config.kinds or None)
        self._prepare(dataset, training_words(dataset, self.config.languages), {})
        self.history = {}
        seeded_keras(self.config.seed)
        from instructrec.models.mini.training import MiniTraining

        on_epoch = self._on_epoch
        MiniTraining(
            self.decoders,
            self.title_columns,
            generator,
            sequences,
            losses=self.history,
            on_epoch=None if on_epoch is None else lambda epoch: on_epoch(epoch, self),
            verbose=self._verbose,
            checkpoint=self._checkpoint,
        ).run()

    def _prepare(self, dataset: Dataset, words: Sequence[str], weights: dict[str, np.ndarray]) -> None:
        """Build the vocabulary of a data set, and the decoders with these weights."""
        self.vocabulary = build_vocabulary(dataset, words, self.config)
        self.title_columns = title_columns(dataset, self.vocabulary)
        oov_vectors = word_vectors().of(self.vocabulary.oov_words) if self.config.word_vectors else None
        self.decoders = Decoders(self.config, self.vocabulary, oov_vectors, weights)

    # -- tokens and states -------------------------------------------------------------------------------------

    def history_tokens(self, history: Sequence[Hashable]) -> list[int]:
        """Return the token ids that the model reads of a history: `<start>` and its last items.

        Args:
            history: Item ids, oldest first.

        Raises:
            InputError: An unknown item.
        """
        self._check_fitted()
        return self._history_tokens(self.dataset.item_columns(history))

    def _history_tokens(self, columns: np.ndarray) -> list[int]:
        items = np.asarray(columns)[-self.config.length :] + self.vocabulary.first_item
        return [START, *items.tolist()]

    def instruction_tokens(self, instruction: str) -> list[int]:
        """Return the token ids that the model reads of an instruction."""
        self._check_fitted()
        return [ASK, *self.vocabulary.encode(instruction), ANSWER]

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Weights by name, float16, see `Decoders`."""
        self._check_fitted()
        return self.decoders.weights

    @property
    def n_parameters(self) -> int:
        """Number of weights, without the vectors of out-of-vocabulary words."""
        return sum(weight.size for weight in self.weights.values())

    # -- scores ------------------------------------------------------------------------------------------------

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        states = self.decoders.last_states([self._history_tokens(history) for history in histories])
        scores = states @ self.decoders.item_vectors("history").T
        distinct = list(dict.fromkeys(text for text in instructions if text))
        if distinct and self.decoders.follows_instructions:
            token_ids = [self.instruction_tokens(text) for text in distinct]
            logits = self.decoders.instruction_logits(token_ids, self.title_columns)
            numbers = {text: number for number, text in enumerate(distinct)}
            for row, text in zip(scores, instructions, strict=True):
                if text:
                    row += logits[numbers[text]]
        return scores

    def word_weights(self, instruction: str) -> pd.DataFrame:
        """Return the weights at which the words of an instruction are copied.

        Args:
            instruction: A text.

        Returns:
            Table with a row for each token but `<ask>` and `<answer>`: `word`; `words`, the weight a of its vector, 0
            for an out-of-vocabulary word; `titles`, the weight b in nats that it adds to items whose titles hold it, 0
            if none does. The last two columns exist as `copies` has them.
        """
        token_ids = self.instruction_tokens(instruction)
        states = self.decoders.states([token_ids], "text")
        weights = {
            name: rows[0, 1:-1] for name, rows in self.decoders.copy_weights(states, states[:, -1]).items()
        }
        words = token_ids[1:-1]
        if "words" in weights:
            weights["words"] = weights["words"] * self.decoders.in_training(np.array(words))
        if "titles" in weights:
            weights["titles"] = weights["titles"] * [word in self.title_columns for word in words]
        return pd.DataFrame({"word": self.vocabulary.tokens(words), **weights})

    def yes_or_no(
        self,
        histories: Sequence[Sequence[Hashable]],
        items: Sequence[Hashable],
        instructions: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Return the probability that an item is the next choice and not a random item of the catalogue (T0).

        By Bayes' rule with equal priors, p / (p + 1 / n_items), where p is the likelihood of the item as the next
        token.

        Args:
            histories: n lists of item ids, oldest first.
            items: n item ids.
            instructions: n texts or None.

        Returns:
            Array of shape (n,), float32, in [0, 1].

        Raises:
            InputError: An unknown item, or lists of unequal length.
        """
        _check_equal_length(items, histories)
        scores = self.score(histories, instructions)
        item_scores = scores[np.arange(len(items)), self.dataset.item_columns(items)]
        highest = scores.max(axis=1)
        log_mean = np.log(np.exp(scores - highest[:, None]).mean(axis=1)) + highest
        return _sigmoid(item_scores - log_mean)

    def a_or_b(
        self,
        histories: Sequence[Sequence[Hashable]],
        pairs: Sequence[tuple[Hashable, Hashable]],
        instructions: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Return the probability that the first of two items is chosen, given that one of them is (T1).

        Args:
            histories: n lists of item ids, oldest first.
            pairs: n pairs of item ids, A before B.
            instructions: n texts or None.

        Returns:
            Array of shape (n,), float32, in [0, 1].

        Raises:
            InputError: An unknown item, or lists of unequal length.
        """
        _check_equal_length(pairs, histories)
        scores = self.score(histories, instructions)
        a, b = (self.dataset.item_columns([pair[side] for pair in pairs]) for side in (0, 1))
        rows = np.arange(len(pairs))
        return _sigmoid(scores[rows, a] - scores[rows, b])

    def answer(
        self,
        history: Sequence[Hashable],
        question: Literal["taste", "query"] = "taste",
        item: Hashable | None = None,
        language: str = "en",
        max_tokens: int = 40,
    ) -> str:
        """Answer a question in words by greedy decoding: describe a user's taste, or a query that an item answers.

        Args:
            history: Item ids, oldest first.
            question: "taste" or "query".
            item: Item of the question "query".
            language: One of the model's `languages`.
            max_tokens: Maximum number of tokens of the answer.

        Raises:
            InputError: An unknown item, question or language, a query without an item, or a model without instructions.
        """
        self._check_question(question, item, language)
        text = question_text(self.dataset, question, language)
        items = {} if item is None else {"item": int(self.dataset.item_columns([item])[0])}
        prompt = [START, ASK, *encode_with_items(text, items, self.vocabulary), ANSWER]
        history_state = self.decoders.last_states([self.history_tokens(history)])
        token_ids: list[int] = []
        while len(token_ids) < max_tokens:
            log_probs = self.decoders.next_word_log_probs([prompt + token_ids], history_state)
            output_id = int(log_probs[0].argmax())
            if output_id < len(CONTROL_TOKENS):
                break
            token_ids.append(self.vocabulary.input_id(output_id))
        return ("" if language == "zh" else " ").join(self.vocabulary.tokens(token_ids))

    def _check_question(self, question: str, item: Hashable | None, language: str) -> None:
        """Check the arguments of a question, and that this model was trained to answer questions."""
        self._check_fitted()
        if question not in QUESTION_KINDS:
            raise one_of("question", question, QUESTION_KINDS)
        if (item is None) == (question == "query"):
            raise InputError(f'item is {item!r} with question {question!r}; an item goes with "query" alone')
        if language not in self.config.languages:
            raise one_of("language", language, self.config.languages)
        if not self.decoders.follows_instructions:
            raise InputError(
                "this model was trained with kinds=[], on histories alone; it answers no questions"
            )

    # -- saving ------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, np.ndarray]:
        words = sorted(set(self.vocabulary.words).difference(*title_tokens(self.dataset)))
        return {"words": np.array(words, dtype=np.str_), **self.weights}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        words = set(arrays.pop("words").tolist()).union(*title_tokens(self.dataset))
        self._prepare(self.dataset, sorted(words), arrays)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(-logits, -MAX_LOGIT_DIFFERENCE, MAX_LOGIT_DIFFERENCE)))


def _check_equal_length(questions: Sequence[object], histories: Sequence[object]) -> None:
    if len(questions) != len(histories):
        raise InputError(f"{len(questions)} questions for {len(histories)} histories; give one each")
