"""`mini`: a language model whose vocabulary holds the items; instructions and choices are one conversation.

Keras Hub's `LlamaBackbone` reads it and Keras trains it from scratch. Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from tqdm import tqdm

from instructrec.backend import quiet_keras, silent_stderr
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions.query_frames import question_text
from instructrec.instructions.query_generator import (
    KIND_SHARES,
    LANGUAGES,
    QueryGenerator,
    check_languages,
    title_words,
)
from instructrec.models.base import check_number, check_seed, check_share, check_whole
from instructrec.models.mini.batches import Text, Texts, fill
from instructrec.models.mini.packing import Conversations, Row, padded
from instructrec.models.mini.vocabulary import (
    ANSWER,
    ASK,
    CONTROLS,
    START,
    Vocabulary,
    tokenise,
)
from instructrec.models.mini.word_vectors import word_vectors
from instructrec.models.neural.sasrec import cosine_factors
from instructrec.models.neural.training import NextItemModel, seeded_keras
from instructrec.models.training_checkpoint import TrainingCheckpoint

FEATURE_WEIGHT = 0.5
"""What each word of an item's description adds of its vector to the item's."""
WORD_DROPOUT = 0.15
"""Share of the words whose own vectors are dropped in a step, where SmolLM2's stand in."""
SPREAD = 4.0
"""In tuning, own vectors of words start so many times further apart, so that one title word is told from another."""
STRIDE = 4
"""The states that tuning starts from have read the last items, all but at most one in so many of `length`."""
WARM = 1 / 20
"""Share of the steps over which the learning rate rises."""
COPIES = ("words", "titles")
"""What of the words of a text can be copied."""
BATCH = 256
"""Requests that are scored at once."""


class Mini(NextItemModel):
    """Read a conversation of instructions and choices, and score an item by the likelihood that it is what comes next.

    The tokens are words, items and a few for control. A history is a conversation, an instruction a text,

        <start> item item item …            <ask> words <answer>

    and two decoders of the Llama family (`n_layers` blocks of causal self-attention with rotary places and a gated
    feed-forward layer, each behind an RMS norm) make of them a state behind the last token, h and g. With e_i and f_i
    an item's vectors, after Bayes' rule p(i | history, text) ~ p(i | history) p(text | i),

        p(i | history)       = softmax over items of h · e_i,
        p(i | history, text) = softmax over items of h · e_i + (g + sum of a_t v_t) · f_i + sum of b_t, t in title of i.

    So an instruction moves what the history says, and one that says nothing leaves it as it is. The sums are over words
    t of the text that training knew, which are copied: with their vectors v_t, and into the scores of the items whose
    titles hold them, since titles have too many words for a product of vectors of this width to tell them apart. The
    weights say what a word is here, a thing that is wanted, one that is refused, the name of something, or nothing:
    a_t = g · A s_t / width and b_t = g · B s_t / width, of any sign, s_t being the state behind the word.

    An item has two vectors, e_i for histories and f_i for texts: its own plus half of the sum of the vectors of the
    words that describe it (categories, decade, title): so "comedy" in an instruction and in a catalogue are one vector,
    and a new item has a place from its description. A word's vector is its own plus a learnt turn of SmolLM2's, so
    that words never met in training have a place too.

    Training has two parts. First, packed histories: the item that comes next, among those not met yet
    (`trainer.HistoryTrainer`). Then the model is tuned to instructions, drawn anew each epoch
    (`query_generator`), while what it learnt of histories is held: the answer to a text is taught to be Bayes'
    rule's, the likelihood of the text being known of every item (`TextTrainer`). Some texts are questions that words
    answer: which query an item answers, what a user likes; the state of the history then stands in front of them.

    Own vectors of items start as SASRec's do (`cosine_factors`), and attention starts as an average of what it reads.

    Source: the task is that of Zhang et al., 2023, arXiv:2305.07001; item tokens in the vocabulary after Geng et al.,
    RecSys 2022, arXiv:2203.13366; copying after Gu et al., ACL 2016, arXiv:1603.06393. Derived in chapter
    `instruction-tuning`.
    """

    name = "mini"
    follows_instructions = True
    vocabulary: Vocabulary
    weights: dict[str, np.ndarray]

    def __init__(
        self,
        hidden_size: int = 128,
        n_layers: int = 2,
        n_heads: int = 4,
        intermediate_size: int = 256,
        length: int = 50,
        instruction_share: float = 0.5,
        question_share: float = 0.1,
        kinds: Sequence[str] | None = None,
        languages: Sequence[str] = LANGUAGES,
        noise: float = 0.6,
        paraphrase: float = 0.4,
        forgetting: float = 0.1,
        packed: bool = True,
        item_tokens: bool = True,
        describe_items: bool = True,
        copies: Sequence[str] = COPIES,
        word_vectors: bool = True,
        dropout: float = 0.3,
        text_dropout: float = 0.1,
        copy_dropout: float = 0.15,
        epochs: int = 15,
        tuning_epochs: int = 24,
        settling_epochs: int = 8,
        batch_size: int = 64,
        text_batch_size: int = 128,
        learning_rate: float = 0.004,
        text_learning_rate: float = 0.004,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        """Make an untrained model.

        Args:
            hidden_size: Width of tokens and blocks, a multiple of twice `n_heads`.
            n_layers: Blocks of attention and feed-forward.
            n_heads: Heads of each attention.
            intermediate_size: Width inside the feed-forward layers.
            length: Items of the history that are read, the last ones; also the most in a row of training.
            instruction_share: Share of the events that a text stands before in an epoch of tuning, in [0, 1).
            question_share: Share of the texts that are questions, in [0, 1).
            kinds: Kinds of instructions, from `query_generator.KIND_SHARES`; all by default, an empty list for none.
            languages: Of "en" and "zh".
            noise: Share of the instructions into which words are put that mean nothing there, or around which a
                sentence is put, in [0, 1).
            paraphrase: Share of the instructions in which words are replaced by like ones, by SmolLM2's vectors, in
                [0, 1).
            forgetting: Share of the items of a row that are learnt but not read, in [0, 1).
            packed: Learn what follows each item of a row; otherwise what follows the last alone.
            item_tokens: Let items have vectors of their own, beside those of their words.
            describe_items: Let words that describe an item be a part of its vector.
            copies: What of a text's words is copied, of "words" (their vectors) and "titles" (into the scores of the
                items whose titles hold them).
            word_vectors: Let SmolLM2's vectors be a part of words.
            dropout: Share dropped of tokens, attention and feed-forward in training on histories, in [0, 1).
            text_dropout: The same in tuning.
            copy_dropout: Share of the texts whose words are not copied in tuning, so that the state behind a text
                learns to do without, in [0, 1).
            epochs: Passes over the events.
            tuning_epochs: Passes over the events in which texts are drawn for them.
            settling_epochs: The last of them, in which nothing is dropped and noise and like words are rarer, so that
                plain texts are read exactly; at least 0.
            batch_size: Rows a step.
            text_batch_size: Texts a step.
            learning_rate: The highest of AdamW; it rises over the first twentieth of the steps, then falls as a cosine.
            text_learning_rate: The same in tuning.
            weight_decay: Of AdamW, at least 0.
            seed: Of weights, order, instructions and dropout.

        Raises:
            InputError: A setting out of its range.
        """
        counts = {
            "hidden_size": hidden_size,
            "n_layers": n_layers,
            "n_heads": n_heads,
            "intermediate_size": intermediate_size,
            "length": length,
            "epochs": epochs,
            "tuning_epochs": tuning_epochs,
            "batch_size": batch_size,
            "text_batch_size": text_batch_size,
        }
        for setting, value in counts.items():
            check_whole(setting, value)
        check_whole("settling_epochs", settling_epochs, 0)
        if hidden_size % (2 * n_heads):
            raise InputError(
                f"hidden_size is {hidden_size} and n_heads {n_heads}; the first must be a multiple of twice the second"
            )
        shares = {
            "instruction_share": instruction_share,
            "question_share": question_share,
            "noise": noise,
            "paraphrase": paraphrase,
            "forgetting": forgetting,
            "dropout": dropout,
            "text_dropout": text_dropout,
            "copy_dropout": copy_dropout,
        }
        for setting, share in shares.items():
            check_share(setting, share)
        for kind in kinds or ():
            if kind not in KIND_SHARES:
                raise one_of("kind of query", kind, KIND_SHARES, most=len(KIND_SHARES))
        for copied in copies:
            if copied not in COPIES:
                raise one_of("copy", copied, COPIES)
        check_languages(languages)
        check_number("learning_rate", learning_rate, above=0)
        check_number("text_learning_rate", text_learning_rate, above=0)
        check_number("weight_decay", weight_decay)
        flags = {
            "packed": packed,
            "item_tokens": item_tokens,
            "describe_items": describe_items,
            "word_vectors": word_vectors,
        }
        for setting, flag in flags.items():
            if not isinstance(flag, bool):
                raise InputError(f"{setting} is {flag!r}; True or False is accepted")
        check_seed(seed)
        super().__init__(
            **counts,
            settling_epochs=settling_epochs,
            **shares,
            kinds=None if kinds is None else list(kinds),
            languages=list(languages),
            copies=list(copies),
            **flags,
            learning_rate=learning_rate,
            text_learning_rate=text_learning_rate,
            weight_decay=weight_decay,
            seed=seed,
        )
        self._backbone: Any = None
        self._text_backbone: Any = None
        self._states_of: dict[bool, Callable[..., Any]] = {}
        self._checkpoint: Path | None = None

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
            on_epoch: Called after each epoch with its number, from 1, and the model, which can score by then.
            verbose: 0 (nothing), 1 (a bar with the time left) or 2 (a line an epoch).
            checkpoint: A file that is written after each epoch; if it is there, training goes on from it, and ends
                with the same weights as one that was not interrupted. It is deleted at the end.

        Raises:
            InputError: There is nothing to learn from, or the checkpoint is of another training.
        """
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        super().fit(dataset, on_epoch=on_epoch, verbose=verbose)
        self._backbone = self._text_backbone = None  # from now on it answers by the weights that are kept
        self._states_of = {}
        return self

    def _fit(self, dataset: Dataset) -> None:
        settings = self.settings
        sequences = [
            dataset.item_columns(items).astype(np.int32)
            for items in dataset.histories().values()
            if len(items) > 1
        ]
        if not sequences:
            raise InputError(
                f"data set {dataset.name!r} holds no user with two events; {self.name} learns from the next one"
            )
        phrases = QueryGenerator(dataset, settings["languages"], settings["kinds"] or None)
        self._make_vocabulary(dataset, self._words(dataset))
        said = self._descriptions(phrases)
        conversations = Conversations(sequences, self.vocabulary, settings)
        keras = seeded_keras(settings["seed"])
        from instructrec.models.mini.trainer import (
            HistoryTrainer,
            TextTrainer,
            TokenTable,
            start_as_average,
        )

        self._build()
        self.history, self.weights = {}, {}
        self._kept = TrainingCheckpoint(self._checkpoint, self._digest(sequences))
        dropped = WORD_DROPOUT if settings["word_vectors"] else 0.0
        n_words = len(self.vocabulary.words)

        def table_of(items: np.ndarray) -> Any:
            own = items if settings["item_tokens"] else np.zeros_like(items)
            table = TokenTable(own, n_words, said, FEATURE_WEIGHT, dropped, settings["seed"])
            table.items.trainable = settings["item_tokens"]
            return table

        blocks = self._blocks(self._backbone)
        start_as_average(blocks[:-1], settings["seed"])
        table = table_of(starting_items(sequences, dataset.n_items, settings))
        trainer = HistoryTrainer(blocks, table, settings["dropout"])

        def history_batch(rows: list[Row]) -> dict[str, np.ndarray]:
            return conversations.batch(rows)._asdict()

        def history_batches(number: int) -> list[Callable[[], dict[str, np.ndarray]]]:
            return [partial(history_batch, rows) for rows in conversations.epoch(number)]

        def keep_histories() -> None:
            self._keep("history", self._backbone, table, most=dataset.n_items)

        self._train_epochs(keras, trainer, "history", history_batches, keep_histories)
        if settings["kinds"] == []:
            self._kept.remove()
            return
        titled = self._titled if "titles" in settings["copies"] else None
        texts = Texts(sequences, phrases, self.vocabulary, settings, said.vectors, titled)
        blocks = self._blocks(self._text_backbone)
        start_as_average(blocks[:-1], settings["seed"] + 1, opposed=True)
        text_table = table_of(np.zeros((dataset.n_items, settings["hidden_size"]), dtype=np.float32))
        text_table.words.assign(table.words + text_table.words * SPREAD)
        if table.turn is not None:
            text_table.turn.assign(table.turn)
        states = self._states_of_events(conversations.sequences)
        text_trainer = TextTrainer(
            blocks,
            text_table,
            self._items("history"),
            self._last_states([[START]])[0],
            texts.log_shares,
            settings["text_dropout"],
            settings["copies"],
            settings["copy_dropout"],
        )

        def text_batch(part: list[Text]) -> dict[str, np.ndarray]:
            arrays = texts.batch(part)._asdict()
            arrays["histories"] = states[arrays.pop("rows")]
            return arrays

        def text_batches(number: int) -> list[Callable[[], dict[str, np.ndarray]]]:
            return [partial(text_batch, part) for part in texts.epoch(number)]

        def keep_texts() -> None:
            self._keep("text", self._text_backbone, text_table, text_trainer.copies)

        self._train_epochs(keras, text_trainer, "text", text_batches, keep_texts)
        self._kept.remove()

    def _train_epochs(
        self,
        keras: Any,
        trainer: Any,
        part: str,
        batches_of: Callable[[int], list[Callable[[], dict[str, np.ndarray]]]],
        keep: Callable[[], None],
    ) -> None:
        """Train one of the two networks epoch by epoch, from the checkpoint on if there is one.

        Args:
            keras: The library.
            trainer: The network.
            part: "history" or "text".
            batches_of: From an epoch's number to its batches, each made when it is called.
            keep: Notes the weights in `weights`.
        """
        from instructrec.models.mini.trainer import compiled_step, variables_of

        settings, tuning = self.settings, part == "text"
        first = settings["epochs"] if tuning else 0
        epochs = settings["tuning_epochs"] if tuning else settings["epochs"]
        total = settings["epochs"] + (0 if settings["kinds"] == [] else settings["tuning_epochs"])
        waiting = batches_of(0)
        steps = len(waiting) * epochs
        warm = max(1, int(steps * WARM))
        highest = settings["text_learning_rate" if tuning else "learning_rate"]
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warm), warmup_target=highest, warmup_steps=warm
        )
        optimizer = keras.optimizers.AdamW(rate, weight_decay=settings["weight_decay"])
        trainer.compile(optimizer=optimizer, jit_compile=False)
        example = waiting[0]()
        trainer(example)  # builds all weights
        trainer.optimizer.build(trainer.trainable_variables)
        settled = epochs - settings["settling_epochs"] if tuning else epochs
        step = None
        variables, done = variables_of(trainer), 0
        if self._kept.restore(part, variables):
            done = self._kept.note["done"][part]
            self.history.update(self._kept.note["losses"])
        if done and self._verbose:
            print(f"going on after epoch {first + done}/{total} from {self._checkpoint}", flush=True)
        for number in range(done, epochs):
            batches = batches_of(number)
            if step is None or number == settled:
                trainer.dropping = number < settled
                step = compiled_step(trainer, example)
            sums: dict[str, float] = {}
            with tqdm(
                batches,
                desc=f"epoch {first + number + 1}/{total} ({'texts' if tuning else 'histories'})",
                disable=self._verbose != 1,
                file=sys.stderr,
                leave=False,
            ) as bar:
                for make in bar:
                    for name, value in step(make()).items():
                        sums[name] = sums.get(name, 0.0) + float(value)
            means = {name: value / len(batches) for name, value in sums.items() if name != "loss"}
            for name, value in means.items():
                self.history.setdefault(name, []).append(value)
            if self._verbose == 2:
                said = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
                print(f"epoch {first + number + 1}/{total}: {said}", flush=True)
            finished = {**self._kept.note.get("done", {}), part: number + 1}
            self._kept.save(part, variables, done=finished, losses=self.history)
            if self._on_epoch is not None:
                keep()
                self._on_epoch(first + number + 1, self)
        keep()

    def _digest(self, sequences: list[np.ndarray]) -> str:
        """Return a digest of settings and data."""
        events = [one.tolist() for one in sequences]
        content = json.dumps([self.settings, events, self.vocabulary.words, version("keras")])
        return hashlib.sha256(content.encode()).hexdigest()

    def _keep(
        self,
        part: str,
        backbone: Any,
        table: Any,
        copies: dict[str, Any] | None = None,
        most: int | None = None,
    ) -> None:
        """Fold what makes the vectors of tokens into one table, and note it with the weights of the blocks.

        Args:
            part: "history" or "text".
            backbone: The decoder.
            table: The `TokenTable`.
            copies: The matrices by which words are weighed, A and B, by name.
            most: How many tokens to keep behind the controls; None keeps all.
        """
        from keras import ops

        def kept(array: Any) -> np.ndarray:
            return ops.convert_to_numpy(array).astype(np.float16)

        whole = kept(table())
        self.weights[f"{part}/tokens"] = whole if most is None else whole[: len(CONTROLS) + most]
        if part == "text" and table.turn is not None:
            self.weights["text/turn"] = kept(table.turn)
        for name, turn in (copies or {}).items():
            self.weights[f"text/{name}"] = kept(turn)
        for number, weight in enumerate(self._block_weights(backbone)):
            self.weights[f"{part}/{number:02d}"] = kept(weight)

    def _items(self, part: str) -> np.ndarray:
        """Return the vectors of items, shape (n_items, hidden_size), float32."""
        first = self.vocabulary.first_item
        return self.weights[f"{part}/tokens"][first : first + self.vocabulary.n_items].astype(np.float32)

    def _states_of_events(self, sequences: list[list[int]]) -> np.ndarray:
        """Return the state of the history in front of each event, users one after the other, (n_events, hidden_size).

        Each has read the last items, at most `length` of them and at least all but one in `STRIDE` of that.
        """
        length = self.settings["length"]
        stride = max(1, length // STRIDE)
        rows, where = [], []
        start = 0
        for sequence in sequences:
            for first in range(0, len(sequence), stride):
                last = min(len(sequence), first + stride)
                begin = max(0, last - 1 - length)
                read = [item + self.vocabulary.first_item for item in sequence[begin : last - 1]]
                rows.append([START, *read])
                where.append((start + first, start + last))
            start += len(sequence)
        found = np.empty((start, self.settings["hidden_size"]), dtype=np.float32)
        order = np.argsort([len(row) for row in rows], kind="stable").tolist()
        for at in range(0, len(order), BATCH):
            part = order[at : at + BATCH]
            states = self.states([rows[number] for number in part])
            for number, row in zip(part, states, strict=True):
                first, last = where[number]
                found[first:last] = row[len(rows[number]) - (last - first) : len(rows[number])]
        return found

    def _build(self) -> None:
        """Make the untrained decoders: one for histories and one for texts."""
        self._states_of = {}
        n_tokens = self.vocabulary.first_more
        self._backbone = build_backbone(n_tokens, self.settings)
        text_settings = {**self.settings, "dropout": self.settings["text_dropout"]}
        self._text_backbone = build_backbone(n_tokens, text_settings)

    @staticmethod
    def _blocks(backbone: Any) -> list[Any]:
        """Return the layers of a decoder, and its last norm."""
        return [*backbone.transformer_layers, backbone.layer_norm]

    def _block_weights(self, backbone: Any) -> list[Any]:
        return [weight for layer in self._blocks(backbone) for weight in layer.weights]

    # -- what the model reads ----------------------------------------------------------------------------------

    def _words(self, dataset: Dataset) -> list[str]:
        """Return the words of training: those of the instructions in their languages, and of titles."""
        texts = QueryGenerator(dataset, self.settings["languages"]).texts()
        return sorted({token for text in texts for token in tokenise(text)}.union(*_title_tokens(dataset)))

    def _make_vocabulary(self, dataset: Dataset, words: list[str]) -> None:
        more: list[str] = []
        if self.settings["word_vectors"]:
            known = set(words)
            more = [word for word in word_vectors().words if word not in known]
            self._more_vectors = word_vectors().of(more)
        self.vocabulary = Vocabulary(dataset.n_items, words, more)
        held: dict[int, list[int]] = {}
        for column, tokens in enumerate(_title_tokens(dataset)):
            for token in tokens:
                held.setdefault(self.vocabulary.encode(token)[0], []).append(column)
        self._titled = {token: np.array(columns) for token, columns in held.items()}

    def _descriptions(self, phrases: QueryGenerator) -> Any:
        from instructrec.models.mini.trainer import Descriptions

        words = self.vocabulary.words
        every = [*words, *self.vocabulary.more]
        vectors = word_vectors().of(every) if self.settings["word_vectors"] else None
        if not self.settings["describe_items"]:
            return Descriptions(None, vectors)
        numbers = {word: number for number, word in enumerate(words)}
        described = [
            [numbers[token] for text in texts for token in tokenise(text) if token in numbers]
            for texts in phrases.descriptions()
        ]
        described = [list(dict.fromkeys(one)) for one in described]
        shape = (len(described), max(map(len, described), default=1) or 1)
        table = np.full(shape, len(words), dtype=np.int32)
        for row, one in zip(table, described, strict=True):
            row[: len(one)] = one
        return Descriptions(table, vectors)

    def conversation(self, history: Sequence[Hashable]) -> list[int]:
        """Return the tokens that the model reads of a history: the start and its last items.

        Args:
            history: Item ids, oldest first.

        Raises:
            InputError: An unknown item.
        """
        self._check_fitted()
        return self._conversation(self.dataset.item_columns(history))

    def _conversation(self, columns: np.ndarray) -> list[int]:
        last = np.asarray(columns)[-self.settings["length"] :] + self.vocabulary.first_item
        return [START, *last.tolist()]

    def text(self, instruction: str) -> list[int]:
        """Return the tokens that the model reads of an instruction."""
        self._check_fitted()
        return [ASK, *self.vocabulary.encode(instruction), ANSWER]

    @property
    def backbone(self) -> Any:
        """`keras_hub.models.LlamaBackbone` that reads histories.

        From `token_ids` and `padding_mask` to states (batch, length, width).
        """
        return self._loaded(texts=False)

    @property
    def text_backbone(self) -> Any:
        """The one that reads texts, of words of training alone (`states` reads more)."""
        return self._loaded(texts=True)

    def _loaded(self, texts: bool) -> Any:
        """Return a decoder with its weights, the vectors of tokens among them."""
        self._load_blocks()
        backbone = self._text_backbone if texts else self._backbone
        table = self.weights["text/tokens" if texts else "history/tokens"].astype(np.float32)
        short = backbone.token_embedding.embeddings.shape[0] - len(table)
        backbone.token_embedding.embeddings.assign(np.pad(table, ((0, short), (0, 0))))
        return backbone

    def _load_blocks(self) -> None:
        self._check_fitted()
        if self._backbone is None:
            quiet_keras()
            self._build()
            for part, backbone in (("history", self._backbone), ("text", self._text_backbone)):
                if f"{part}/tokens" in self.weights:
                    for number, weight in enumerate(self._block_weights(backbone)):
                        weight.assign(self.weights[f"{part}/{number:02d}"])

    @property
    def n_parameters(self) -> int:
        """How many numbers the model answers with; vectors of words that only SmolLM2 knows are not counted."""
        self._check_fitted()
        return sum(weight.size for weight in self.weights.values())

    def vectors(self, token_ids: np.ndarray, texts: bool = False) -> np.ndarray:
        """Return the vectors of tokens as the decoders read them, shape (..., hidden_size), float32.

        Args:
            token_ids: Of any shape.
            texts: Whether they are of texts.
        """
        table = self.weights["text/tokens" if texts else "history/tokens"]
        found = table[np.minimum(token_ids, len(table) - 1)].astype(np.float32)
        more = token_ids >= len(table)
        if more.any():
            known = token_ids[more] - len(table)
            found[more] = self._more_vectors[known] @ self.weights["text/turn"].astype(np.float32)
        return found

    def states(
        self,
        conversations: Sequence[Sequence[int]],
        texts: bool = False,
        told: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the states behind each token, zeros behind the end, shape (n, longest, hidden_size), float32.

        Args:
            conversations: n lists of tokens, as `conversation` and `text` return them.
            texts: Whether they are texts, by themselves.
            told: States of histories that stand in front of texts, shape (n, hidden_size); none by default.
        """
        import tensorflow as tf

        self._load_blocks()
        if texts not in self._states_of:
            blocks = self._blocks(self._text_backbone if texts else self._backbone)

            @tf.autograph.experimental.do_not_convert
            def states_of(hidden: Any, read: Any) -> Any:
                for block in blocks[:-1]:
                    hidden = block(hidden, decoder_padding_mask=read, training=False)
                return blocks[-1](hidden) * tf.cast(read, hidden.dtype)[:, :, None]

            signature = [
                tf.TensorSpec((None, None, self.settings["hidden_size"]), tf.float32),
                tf.TensorSpec((None, None), tf.int32),
            ]
            self._states_of[texts] = tf.function(states_of, input_signature=signature)
        longest = max(map(len, conversations), default=1)
        token_ids = padded(conversations)[:, :longest]
        hidden = self.vectors(token_ids, texts)
        if told is not None:
            hidden[:, 0] += told / np.sqrt(np.mean(told**2, axis=1, keepdims=True) + 1e-6)
        return np.asarray(self._states_of[texts](hidden, (token_ids != 0).astype(np.int32)))

    def _last_states(self, conversations: Sequence[Sequence[int]], texts: bool = False) -> np.ndarray:
        """Return the state behind the last token of each, shape (n, hidden_size)."""
        found = np.empty((len(conversations), self.settings["hidden_size"]), dtype=np.float32)
        for numbers, _, last in self._batches_of_states(conversations, texts):
            found[numbers] = last
        return found

    def _batches_of_states(
        self, conversations: Sequence[Sequence[int]], texts: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Give numbers of conversations of like length, the states behind their tokens, and those behind the last."""
        order = np.argsort([len(one) for one in conversations], kind="stable")
        for start in range(0, len(order), BATCH):
            numbers = order[start : start + BATCH]
            part = [conversations[number] for number in numbers]
            states = self.states(part, texts)
            yield numbers, states, states[np.arange(len(part)), [len(one) - 1 for one in part]]

    # -- what the model answers --------------------------------------------------------------------------------

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        read = self._last_states([self._conversation(history) for history in histories])
        scores = read @ self._items("history").T
        if "text/tokens" in self.weights:
            distinct = {
                text: number
                for number, text in enumerate(dict.fromkeys(text for text in instructions if text))
            }
            if distinct:
                moves = self._moves([self.text(text) for text in distinct])
                for row, text in enumerate(instructions):
                    if text:
                        scores[row] += moves[distinct[text]]
        return scores

    def _moves(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Return what texts add to the items' scores, shape (n, n_items), float32."""
        items = self._items("text").T
        moves = np.empty((len(texts), items.shape[1]), dtype=np.float32)
        for numbers, states, last in self._batches_of_states(texts, texts=True):
            part = [texts[number] for number in numbers]
            weights = self._word_weights(states, last)
            if "words" in weights:
                token_ids = padded(part)[:, : states.shape[1]]
                read = self.vectors(token_ids, texts=True)
                last = last + np.einsum("nt,nts->ns", weights["words"] * self._is_copied(token_ids), read)
            moves[numbers] = last @ items
            if "titles" in weights:
                for number, text, by_token in zip(numbers, part, weights["titles"], strict=True):
                    for token, weight in zip(text, by_token, strict=False):
                        if token in self._titled:
                            moves[number, self._titled[token]] += weight
        return moves

    def _word_weights(self, states: np.ndarray, last: np.ndarray) -> dict[str, np.ndarray]:
        """Return a and b by the name of what is copied, each of shape (n, length)."""
        found = {}
        for name in COPIES:
            if f"text/{name}" in self.weights:
                turned = last @ self.weights[f"text/{name}"].astype(np.float32) / self.settings["hidden_size"]
                found[name] = np.einsum("ns,nts->nt", turned, states)
        return found

    def _is_copied(self, token_ids: np.ndarray) -> np.ndarray:
        """Return which tokens are words of training."""
        return (token_ids >= self.vocabulary.first_item) & (token_ids < self.vocabulary.first_more)

    def word_weights(self, instruction: str) -> pd.DataFrame:
        """Return how the words of an instruction are weighed when they are copied.

        Args:
            instruction: A text.

        Returns:
            A row for each token but `<ask>` and `<answer>`: `word`; `words`, the weight of its vector, 0 of a word that
            training did not have; `titles`, what it adds in nats to the scores of items whose titles hold it, 0 where
            none does. Columns by what the model
            copies (`copies`).
        """
        text = self.text(instruction)
        states = self.states([text], texts=True)
        weights = {name: one[0, 1:-1] for name, one in self._word_weights(states, states[:, -1]).items()}
        if "words" in weights:
            weights["words"] = weights["words"] * self._is_copied(np.array(text[1:-1]))
        if "titles" in weights:
            weights["titles"] = weights["titles"] * [token in self._titled for token in text[1:-1]]
        return pd.DataFrame({"word": self.vocabulary.tokens(text[1:-1]), **weights})

    def spoken_log_probs(self, texts: Sequence[Sequence[int]], told: np.ndarray) -> np.ndarray:
        """Return log p(token) of what is said next, for control tokens and words, shape (n, n_spoken), float32.

        Args:
            texts: n lists of tokens that begin with `<start>`.
            told: States of the histories that stand in front of them, shape (n, hidden_size).
        """
        tokens, vocabulary = self.weights["text/tokens"].astype(np.float32), self.vocabulary
        spoken = np.concatenate([tokens[: vocabulary.first_item], tokens[vocabulary.first_word :]])
        last = [len(one) - 1 for one in texts]
        logits = self.states(texts, True, told)[np.arange(len(texts)), last] @ spoken.T
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def yes_or_no(
        self,
        histories: Sequence[Sequence[Hashable]],
        items: Sequence[Hashable],
        instructions: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Return the probability that an item is the one chosen and not one drawn at random from the catalogue (T0).

        By Bayes' rule over the likelihood of the item as the next token, p / (p + 1 / n_items), both being as likely
        beforehand.

        Args:
            histories: n lists of item ids, oldest first.
            items: n item ids.
            instructions: n texts or None.

        Returns:
            Array of shape (n,), float32, in [0, 1].

        Raises:
            InputError: An unknown item, or lists of unequal length.
        """
        _check_one_each(items, histories)
        scores = self.score(histories, instructions)
        own = scores[np.arange(len(items)), self.dataset.item_columns(items)]
        highest = scores.max(axis=1)
        mean = np.log(np.exp(scores - highest[:, None]).mean(axis=1)) + highest
        return 1 / (1 + np.exp(np.clip(mean - own, -80, 80)))

    def a_or_b(
        self,
        histories: Sequence[Sequence[Hashable]],
        pairs: Sequence[tuple[Hashable, Hashable]],
        instructions: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Return the probability that the first of two items is chosen, one of them being (T1).

        Args:
            histories: n lists of item ids, oldest first.
            pairs: n pairs of item ids, A before B.
            instructions: n texts or None.

        Returns:
            Array of shape (n,), float32, in [0, 1].

        Raises:
            InputError: An unknown item, or lists of unequal length.
        """
        _check_one_each(pairs, histories)
        scores = self.score(histories, instructions)
        a, b = (self.dataset.item_columns([pair[side] for pair in pairs]) for side in (0, 1))
        rows = np.arange(len(pairs))
        return 1 / (1 + np.exp(np.clip(scores[rows, b] - scores[rows, a], -80, 80)))

    def say(
        self,
        history: Sequence[Hashable],
        question: str = "taste",
        item: Hashable | None = None,
        language: str = "en",
        most: int = 40,
    ) -> str:
        """Answer in words, the likeliest token each time: what a user likes, or which query an item answers.

        Args:
            history: Item ids, oldest first.
            question: "taste" or "query".
            item: The item that the query is for.
            language: One of the model's `languages`.
            most: The most tokens to say.

        Raises:
            InputError: An unknown item, question or language, a query without an item, or a model without texts.
        """
        self._check_fitted()
        if question not in ("taste", "query"):
            raise one_of("question", question, ("taste", "query"))
        if (item is None) == (question == "query"):
            raise InputError(f'item is {item!r} with question {question!r}; an item goes with "query" alone')
        if language not in self.settings["languages"]:
            raise one_of("language", language, self.settings["languages"])
        if "text/tokens" not in self.weights:
            raise InputError("this model was trained with kinds=[], on histories alone; it says nothing")
        asked = question_text(self.dataset, question, language)
        items = {} if item is None else {"item": int(self.dataset.item_columns([item])[0])}
        read = [START, ASK, *fill(asked, items, self.vocabulary), ANSWER]
        told = self._last_states([self.conversation(history)])
        said: list[int] = []
        while len(said) < most:
            best = int(self.spoken_log_probs([read + said], told)[0].argmax())
            if best < len(CONTROLS):
                break
            said.append(best + self.vocabulary.n_items)
        words = self.vocabulary.tokens(said)
        return "".join(words) if language == "zh" else " ".join(words)

    # -- saving ------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, np.ndarray]:
        own = sorted(set(self.vocabulary.words).difference(*_title_tokens(self.dataset)))
        return {"words": np.array(own, dtype=np.str_), **self.weights}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        words = set(arrays.pop("words").tolist()).union(*_title_tokens(self.dataset))
        self._make_vocabulary(self.dataset, sorted(words))
        self.weights = arrays


def build_backbone(n_tokens: int, settings: dict[str, Any]) -> Any:
    """Return the untrained decoder of the Llama family, `keras_hub.models.LlamaBackbone`.

    Args:
        n_tokens: Size of the vocabulary.
        settings: Those of `Mini`.
    """
    with silent_stderr():  # Keras Hub's libraries talk when they are imported
        import keras_hub

    return keras_hub.models.LlamaBackbone(
        vocabulary_size=n_tokens,
        num_layers=settings["n_layers"],
        num_query_heads=settings["n_heads"],
        num_key_value_heads=settings["n_heads"],
        hidden_dim=settings["hidden_size"],
        intermediate_dim=settings["intermediate_size"],
        layer_norm_epsilon=1e-5,
        dropout=settings["dropout"],
        tie_word_embeddings=True,
    )


def starting_items(sequences: list[np.ndarray], n_items: int, settings: dict[str, Any]) -> np.ndarray:
    """Return where items' own vectors start, shape (n_items, hidden_size), float32.

    The factors of `cosine_factors` in the first half of the axes; the second half is left to what describes the items,
    where words start (`second_half`).
    """
    size = settings["hidden_size"]
    half = size // 2 if settings["describe_items"] else size
    factors = np.zeros((n_items, size), dtype=np.float32)
    factors[:, :half] = cosine_factors([one + 1 for one in sequences], n_items + 1, half)[1:]
    return factors


def _check_one_each(questions: Sequence[object], histories: Sequence[object]) -> None:
    if len(questions) != len(histories):
        raise InputError(f"{len(questions)} questions for {len(histories)} histories; give one each")


def _title_tokens(dataset: Dataset) -> list[set[str]]:
    """Return the tokens of each item's title words; a saved model finds them in its catalogue."""
    found = title_words(dataset.items["title"].tolist())
    return [{token for word in words for token in tokenise(word)} for words in found]
