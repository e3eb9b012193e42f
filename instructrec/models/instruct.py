"""`mini`: a language model whose vocabulary holds the items; instructions and choices are one conversation.

Keras Hub's `LlamaBackbone` reads it and Keras trains it from scratch. Derived in chapter `keras-implementation`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Hashable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from instructrec.backend import quiet_keras, silent_stderr
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions.phrases import KINDS, LANGUAGES, Phrases, title_words, wording
from instructrec.models.base import check_number, check_seed, check_share, check_whole
from instructrec.models.conversation import Conversations, fill
from instructrec.models.sasrec import cosine_factors
from instructrec.models.training import NextItemModel, seeded_keras
from instructrec.models.vocabulary import (
    ANSWER,
    ASK,
    CONTROLS,
    NO,
    PAD,
    START,
    YES,
    A,
    B,
    Vocabulary,
    tokenise,
)
from instructrec.models.word_vectors import word_vectors

FEATURE_WEIGHT = 0.5
"""What each word of an item's description adds of its vector to the item's."""
WORD_DROPOUT = 0.15
"""Share of the words whose own vectors are dropped in a step, where SmolLM2's stand in."""
WARM = 1 / 20
"""Share of the steps over which the learning rate rises."""
BATCH = 256
"""Requests that are scored at once."""


class Mini(NextItemModel):
    """Read a conversation of instructions and choices, and score an item by the likelihood that it is what comes next.

    The tokens are words, items and a few for control. A history is a conversation, an instruction a text,

        <start> item item item …            <ask> words <answer>

    and decoders of the Llama family (`n_layers` blocks of causal self-attention with rotary places and a gated
    feed-forward layer, each behind an RMS norm), one for each over one table of tokens, make of them a state behind the
    last token, h and g. With e_i an
    item's vector, after Bayes' rule p(i | history, text) ~ p(i | history) p(text | i, history),

        p(i | history)       = softmax over items of h · e_i,
        p(i | history, text) = softmax over items of (h + g) · e_i.

    So an instruction moves what the history says, and one that says nothing leaves it as it is.

    An item's vector is its own plus half of the sum of the vectors of the words that describe it (categories, decade,
    title): so "comedy" in an instruction and in a catalogue are one vector, and a new item has a place from its
    description. A word's vector is its own plus a learnt turn of SmolLM2's, so that words never met in training have a
    place too.

    Training lowers four losses at once over packed histories (`instruct_trainer.Trainer`): of the item chosen, without
    and with a text that asks for it, among the items not met yet; `obedience` times how far the answer to a text is
    from what the history says alone, cut to the items that meet the text; and of the words of answers. The texts are
    drawn anew each epoch (`instructions.phrases`). Some rows end with a question: yes or no, A or B, which query an
    item answers, or what the user likes, all answered by the likelihood of the next token.

    Known limits: refusals ("no horror") are not followed yet, and questions are answered by chance; filter by
    `instructions.parse` where a refusal must hold (`scenarios.FilterByInstruction`).

    Own vectors of items start as SASRec's do (`cosine_factors`), and attention starts as an average of what it reads.

    Source: the task is that of Zhang et al., 2023, arXiv:2305.07001; item tokens in the vocabulary after Geng et al.,
    RecSys 2022, arXiv:2203.13366. Derived in chapter `keras-implementation`.
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
        length: int = 20,
        instruction_share: float = 0.2,
        question_share: float = 0.2,
        kinds: Sequence[str] | None = None,
        languages: Sequence[str] = LANGUAGES,
        noise: float = 0.3,
        paraphrase: float = 0.3,
        forgetting: float = 0.1,
        obedience: float = 1.0,
        text_weight: float = 1.0,
        share_layers: bool = False,
        describe_items: bool = True,
        word_vectors: bool = True,
        dropout: float = 0.3,
        epochs: int = 18,
        batch_size: int = 64,
        learning_rate: float = 0.004,
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
            instruction_share: Share of the events that are asked for by a text in an epoch, in [0, 1).
            question_share: Share of the rows that end with a question of another kind, in [0, 1).
            kinds: Kinds of instructions, from `instructions.phrases.KINDS`; all by default, an empty list for none.
            languages: Of "en" and "zh".
            noise: Share of the instructions into which words are put that mean nothing there, in [0, 1).
            paraphrase: Share of the instructions in which words are replaced by like ones, by SmolLM2's vectors, in
                [0, 1).
            forgetting: Share of the items of a row that are learnt but not read, in [0, 1).
            obedience: Weight of answering as without the instruction, cut to the items that meet it, at least 0.
            text_weight: Weight of all that texts and questions are to say, beside that of histories, at least 0.
            share_layers: Let the same layers read histories and texts, instead of some for each.
            describe_items: Let words that describe an item be a part of its vector.
            word_vectors: Let SmolLM2's vectors be a part of words.
            dropout: Share dropped of tokens, attention and feed-forward in training, in [0, 1).
            epochs: Passes over the events.
            batch_size: Rows a step.
            learning_rate: The highest of AdamW; it rises over the first twentieth of the steps, then falls as a cosine.
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
            "batch_size": batch_size,
        }
        for setting, value in counts.items():
            check_whole(setting, value)
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
        }
        for setting, share in shares.items():
            check_share(setting, share)
        for kind in kinds or ():
            if kind not in KINDS:
                raise one_of("kind of phrase", kind, KINDS, most=len(KINDS))
        if isinstance(languages, str) or not languages:
            raise InputError(f'languages is {languages!r}; a list of "en", "zh" or both is accepted')
        for language in languages:
            if language not in LANGUAGES:
                raise one_of("language", language, LANGUAGES)
        check_number("obedience", obedience)
        check_number("learning_rate", learning_rate, above=0)
        check_number("weight_decay", weight_decay)
        check_number("text_weight", text_weight)
        flags = {"share_layers": share_layers, "describe_items": describe_items, "word_vectors": word_vectors}
        for setting, flag in flags.items():
            if not isinstance(flag, bool):
                raise InputError(f"{setting} is {flag!r}; True or False is accepted")
        check_seed(seed)
        super().__init__(
            **counts,
            **shares,
            kinds=None if kinds is None else list(kinds),
            languages=list(languages),
            obedience=obedience,
            text_weight=text_weight,
            **flags,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            seed=seed,
        )
        self._backbone: Any = None
        self._table: Any = None
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
        return super().fit(dataset, on_epoch=on_epoch, verbose=verbose)

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
        silent = settings["kinds"] == []
        phrases = Phrases(dataset, settings["languages"], settings["kinds"] or None)
        self._make_vocabulary(dataset, self._words(dataset))
        said = self._descriptions(phrases)
        conversations = Conversations(
            sequences, None if silent else phrases, self.vocabulary, settings, said.vectors
        )
        keras = seeded_keras(settings["seed"])
        from instructrec.models.instruct_trainer import TokenTable, Trainer, start_as_average

        self._states_of = {}
        self._build()
        history_blocks, text_blocks = self._blocks(self._backbone), self._blocks(self._text_backbone)
        start_as_average(history_blocks[:-1], settings["seed"])
        start_as_average(text_blocks[:-1], settings["seed"])
        table = TokenTable(
            starting_items(sequences, dataset.n_items, settings),
            len(self.vocabulary.words),
            said,
            FEATURE_WEIGHT,
            WORD_DROPOUT if settings["word_vectors"] else 0.0,
            settings["seed"],
        )
        self._table = table
        trainer = Trainer(
            history_blocks,
            text_blocks,
            table,
            conversations.meanings,
            settings["dropout"],
            settings["obedience"],
            settings["text_weight"],
        )
        self._train_epochs(keras, trainer, conversations)

    def _train_epochs(self, keras: Any, trainer: Any, conversations: Conversations) -> None:
        """Train epoch by epoch, from the checkpoint on if there is one."""
        settings = self.settings
        steps = len(conversations.epoch(0)) * settings["epochs"]
        warm = max(1, int(steps * WARM))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warm), warmup_target=settings["learning_rate"], warmup_steps=warm
        )
        trainer.compile(
            optimizer=keras.optimizers.AdamW(rate, weight_decay=settings["weight_decay"]), jit_compile=False
        )
        self.history = {}
        trainer(conversations.batch(conversations.epoch(0)[0][:2])._asdict())  # builds all weights
        trainer.optimizer.build(trainer.trainable_variables)
        from instructrec.models.instruct_trainer import Checkpoint, compiled_step

        step = compiled_step(trainer, self.vocabulary.n_items)
        checkpoint = Checkpoint(self._checkpoint, trainer, self._digest(conversations))
        done, self.history = checkpoint.read()
        if done and self._verbose:
            print(f"going on after epoch {done}/{settings['epochs']} from {self._checkpoint}", flush=True)
        for number in range(done, settings["epochs"]):
            batches = conversations.epoch(number)
            trainer.reset_metrics()
            sums: dict[str, float] = {}
            shown = self._verbose == 1
            with tqdm(
                total=len(batches),
                desc=f"epoch {number + 1}/{settings['epochs']}",
                disable=not shown,
                file=sys.stderr,
                leave=False,
            ) as bar:
                for rows in batches:
                    losses = step(conversations.batch(rows)._asdict())
                    for name, value in losses.items():
                        sums[name] = sums.get(name, 0.0) + float(value)
                    bar.update()
            figures = {name: value / len(batches) for name, value in sums.items()}
            for name, value in figures.items():
                self.history.setdefault(name, []).append(value)
            if self._verbose == 2:
                said = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
                print(f"epoch {number + 1}/{settings['epochs']}: {said}", flush=True)
            checkpoint.write(number + 1, self.history)
            if self._on_epoch is not None:
                self._keep_weights()
                self._on_epoch(number + 1, self)
        self._keep_weights()
        checkpoint.remove()

    def _digest(self, conversations: Conversations) -> str:
        """Return a digest of settings and data."""
        content = json.dumps(
            [self.settings, conversations.sequences, self.vocabulary.words, version("keras")]
        )
        return hashlib.sha256(content.encode()).hexdigest()

    def _keep_weights(self) -> None:
        """Fold what makes the tokens' vectors into one table, and note it with the weights of the blocks."""
        known = self.vocabulary.first_word + len(self.vocabulary.words)
        table = np.asarray(self._table(), dtype=np.float16)[:known]
        self.weights = {"tokens": table}
        if self._table.turn is not None:
            self.weights["turn"] = np.asarray(self._table.turn)
        for number, weight in enumerate(self._block_weights()):
            self.weights[f"blocks/{number:02d}"] = np.asarray(weight)
        self._fill_table()

    def _build(self) -> None:
        """Make the untrained decoders: one for histories and one for texts, or the same for both."""
        self._backbone = build_backbone(len(self.vocabulary), self.settings)
        shared = self.settings["share_layers"]
        self._text_backbone = (
            self._backbone if shared else build_backbone(len(self.vocabulary), self.settings)
        )

    @staticmethod
    def _blocks(backbone: Any) -> list[Any]:
        """Return the layers of a decoder, and its last norm."""
        return [*backbone.transformer_layers, backbone.layer_norm]

    def _block_weights(self) -> list[Any]:
        backbones = (
            [self._backbone] if self.settings["share_layers"] else [self._backbone, self._text_backbone]
        )
        return [weight for one in backbones for layer in self._blocks(one) for weight in layer.weights]

    def _fill_table(self) -> None:
        """Give the backbone the vectors of all tokens, those of words that only SmolLM2 knows among them."""
        table = self.weights["tokens"].astype(np.float32)
        if "turn" in self.weights:
            more = word_vectors().of(self.vocabulary.more) @ self.weights["turn"]
            table = np.concatenate([table, more])
        self._backbone.token_embedding.embeddings.assign(table)
        if not self.settings["share_layers"]:
            self._text_backbone.token_embedding.embeddings.assign(table)

    # -- what the model reads ----------------------------------------------------------------------------------

    def _words(self, dataset: Dataset) -> list[str]:
        """Return the words of training: those of the instructions in their languages, and of titles."""
        texts = Phrases(dataset, self.settings["languages"]).texts()
        return sorted({token for text in texts for token in tokenise(text)} | _title_tokens(dataset))

    def _make_vocabulary(self, dataset: Dataset, words: list[str]) -> None:
        more: list[str] = []
        if self.settings["word_vectors"]:
            known = set(words)
            more = [word for word in word_vectors().words if word not in known]
        self.vocabulary = Vocabulary(dataset.n_items, words, more)

    def _descriptions(self, phrases: Phrases) -> Any:
        from instructrec.models.instruct_trainer import Descriptions

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
        table = np.full(shape, self.vocabulary.n_words, dtype=np.int32)
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
        """`keras_hub.models.LlamaBackbone`, from `token_ids` and `padding_mask` to states (batch, length, width)."""
        self._load_backbones()
        return self._backbone

    @property
    def text_backbone(self) -> Any:
        """The decoder that reads texts; with `share_layers` it is `backbone`."""
        self._load_backbones()
        return self._text_backbone

    def _load_backbones(self) -> None:
        self._check_fitted()
        if self._backbone is None:
            quiet_keras()
            self._build()
            for number, weight in enumerate(self._block_weights()):
                weight.assign(self.weights[f"blocks/{number:02d}"])
            self._fill_table()

    @property
    def n_parameters(self) -> int:
        """How many numbers the model answers with; vectors of words that only SmolLM2 knows are not counted."""
        self._check_fitted()
        return sum(weight.size for weight in self.weights.values())

    def states(self, conversations: Sequence[Sequence[int]], texts: bool = False) -> np.ndarray:
        """Return the states behind each token, zeros behind the end, shape (n, longest, hidden_size), float32.

        Args:
            conversations: n lists of tokens, as `conversation` and `text` return them.
            texts: Whether they are texts, by themselves.
        """
        import tensorflow as tf

        backbone = self.text_backbone if texts else self.backbone
        if texts not in self._states_of:

            @tf.autograph.experimental.do_not_convert
            def states_of(token_ids: Any) -> Any:
                read = tf.cast(token_ids != PAD, tf.int32)
                hidden = backbone({"token_ids": token_ids, "padding_mask": read}, training=False)
                return hidden * tf.cast(read, hidden.dtype)[:, :, None]

            signature = [tf.TensorSpec((None, None), tf.int32)]
            self._states_of[texts] = tf.function(states_of, input_signature=signature)
        token_ids = np.full(
            (len(conversations), max(map(len, conversations), default=1)), PAD, dtype=np.int32
        )
        for row, tokens in zip(token_ids, conversations, strict=True):
            row[: len(tokens)] = tokens
        return np.asarray(self._states_of[texts](token_ids))

    def _last_states(self, conversations: Sequence[Sequence[int]], texts: bool = False) -> np.ndarray:
        """Return the state behind the last token of each, shape (n, hidden_size)."""
        found = np.empty((len(conversations), self.settings["hidden_size"]), dtype=np.float32)
        order = np.argsort([len(one) for one in conversations], kind="stable")
        for start in range(0, len(order), BATCH):
            part = [conversations[number] for number in order[start : start + BATCH]]
            last = [len(one) - 1 for one in part]
            found[order[start : start + BATCH]] = self.states(part, texts)[np.arange(len(part)), last]
        return found

    # -- what the model answers --------------------------------------------------------------------------------

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        states = self._last_states([self._conversation(history) for history in histories])
        distinct = {
            text: number for number, text in enumerate(dict.fromkeys(text for text in instructions if text))
        }
        if distinct:
            texts = self._last_states([self.text(text) for text in distinct], texts=True)
            for row, text in enumerate(instructions):
                if text:
                    states[row] += texts[distinct[text]]
        first = self.vocabulary.first_item
        items = self.weights["tokens"][first : self.vocabulary.first_word].astype(np.float32)
        return states @ items.T

    def spoken_log_probs(self, conversations: Sequence[Sequence[int]]) -> np.ndarray:
        """Return log p(token) of what is said next, for control tokens and words, shape (n, n_spoken), float32.

        Args:
            conversations: n lists of tokens, as `conversation` returns them.
        """
        tokens, vocabulary = self.weights["tokens"].astype(np.float32), self.vocabulary
        spoken = np.concatenate([tokens[: vocabulary.first_item], tokens[vocabulary.first_word :]])
        logits = self._last_states(conversations) @ spoken.T
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def yes_or_no(
        self, histories: Sequence[Sequence[Hashable]], items: Sequence[Hashable], language: str = "en"
    ) -> np.ndarray:
        """Return the probability of "yes" against "no" to the question whether a user would like an item (T0).

        Args:
            histories: n lists of item ids, oldest first.
            items: n item ids.
            language: Of the question, one of the model's `languages`.

        Returns:
            Array of shape (n,), float32, in [0, 1].

        Raises:
            InputError: An unknown item or language, or lists of unequal length.
        """
        return self._either(histories, [{"item": item} for item in items], "yes_or_no", (YES, NO), language)

    def a_or_b(
        self,
        histories: Sequence[Sequence[Hashable]],
        pairs: Sequence[tuple[Hashable, Hashable]],
        language: str = "en",
    ) -> np.ndarray:
        """Return the probability of "A" against "B" to the question which of two items a user would choose (T1).

        Args:
            histories: n lists of item ids, oldest first.
            pairs: n pairs of item ids, A before B.
            language: Of the question, one of the model's `languages`.

        Returns:
            Array of shape (n,), float32, in [0, 1].

        Raises:
            InputError: An unknown item or language, or lists of unequal length.
        """
        asked = [{"item_a": a, "item_b": b} for a, b in pairs]
        return self._either(histories, asked, "a_or_b", (A, B), language)

    def _either(
        self,
        histories: Sequence[Sequence[Hashable]],
        items: Sequence[dict[str, Hashable]],
        question: str,
        options: tuple[int, int],
        language: str,
    ) -> np.ndarray:
        if len(histories) != len(items):
            raise InputError(f"{len(items)} questions for {len(histories)} histories; give one each")
        asked = [
            self._question(history, question, named, language)
            for history, named in zip(histories, items, strict=True)
        ]
        first, second = self.spoken_log_probs(asked)[:, options].T
        return 1 / (1 + np.exp(second - first))

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
            InputError: An unknown item, question or language, or a query without an item.
        """
        if question not in ("taste", "query"):
            raise one_of("question", question, ("taste", "query"))
        if (item is None) == (question == "query"):
            raise InputError(f'item is {item!r} with question {question!r}; an item goes with "query" alone')
        read = self._question(history, question, {} if item is None else {"item": item}, language)
        said: list[int] = []
        while len(said) < most:
            best = int(self.spoken_log_probs([read + said])[0].argmax())
            if best < len(CONTROLS):
                break
            said.append(best + self.vocabulary.n_items)
        words = self.vocabulary.tokens(said)
        return "".join(words) if language == "zh" else " ".join(words)

    def _question(
        self, history: Sequence[Hashable], question: str, items: dict[str, Hashable], language: str
    ) -> list[int]:
        """Return the tokens of a history and of the first wording of a question about items."""
        self._check_fitted()
        if language not in self.settings["languages"]:
            raise one_of("language", language, self.settings["languages"])
        text = wording(self.dataset, question, language)
        columns = dict(zip(items, self.dataset.item_columns(items.values()).tolist(), strict=True))
        words = fill(text, columns, self.vocabulary)
        return [*self.conversation(history), ASK, *words, ANSWER]

    # -- saving ------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, np.ndarray]:
        own = sorted(set(self.vocabulary.words) - _title_tokens(self.dataset))
        return {"words": np.array(own, dtype=np.str_), **self.weights}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        words = {*arrays.pop("words").tolist(), *_title_tokens(self.dataset)}
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


def _title_tokens(dataset: Dataset) -> set[str]:
    """Return the tokens of title words; a saved model finds them in its catalogue instead of keeping them."""
    found = title_words(dataset.items["title"].tolist())
    return {token for words in found for word in words for token in tokenise(word)}
