"""The two phases of `Mini`'s training: next items of histories, then instructions.

Keras's `fit` runs each epoch. A checkpoint after each epoch lets an interrupted training resume with identical results.
Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from instructrec.instructions.query_generator import QueryGenerator
from instructrec.models.mini import trainer as trainers
from instructrec.models.mini.batches import InstructionBatches, InstructionExample
from instructrec.models.mini.config import MiniConfig
from instructrec.models.mini.decoders import Decoders, Part
from instructrec.models.mini.features import token_features
from instructrec.models.mini.packing import HistoryRow, PackedHistories
from instructrec.models.mini.vocabulary import START
from instructrec.models.neural.sasrec import cosine_factors
from instructrec.models.training_checkpoint import TrainingCheckpoint

INSTRUCTION_WORD_SCALE = 4.0
"""Factor on own word embeddings at the start of tuning, so that title words differ from each other more."""
WARMUP_SHARE = 1 / 20
"""Share of the steps over which the learning rate rises."""

BuildBatch = Callable[[], dict[str, np.ndarray]]


@dataclass
class Phase:
    """Phase of the training: on histories, or tuning on instructions.

    Attributes:
        part: Decoder that is trained.
        trainer: Network of the phase with its losses.
        batches_of: Function from the number of an epoch to its batches, each of which is a function that builds it.
        first_epoch: Number of epochs of the phase before.
        epochs: Number of epochs.
        epochs_with_dropout: Number of first epochs in which dropout is used.
        learning_rate: Peak learning rate.
    """

    part: Part
    trainer: trainers.DecoderTrainer
    batches_of: Callable[[int], list[BuildBatch]]
    first_epoch: int
    epochs: int
    epochs_with_dropout: int
    learning_rate: float


class MiniTraining:
    """Training of the decoders of a `Mini`.

    Args:
        decoders: Untrained decoders; their weights are stored at the end of each phase, and before `on_epoch`.
        title_columns: Columns of the items whose titles hold a word, by the word's token id.
        generator: Query generator of the data set.
        sequences: Catalogue columns of each user, oldest first.
        losses: Mean losses by epoch, to which each epoch appends.
        on_epoch: Called after each epoch with its number, from 1.
        verbose: Keras's 0 (no output), 1 (a progress bar) or 2 (a line per epoch).
        checkpoint: File that is written after each epoch; None writes none.
    """

    def __init__(
        self,
        decoders: Decoders,
        title_columns: dict[int, np.ndarray],
        generator: QueryGenerator,
        sequences: list[np.ndarray],
        *,
        losses: dict[str, list[float]],
        on_epoch: Callable[[int], None] | None,
        verbose: int,
        checkpoint: Path | None,
    ) -> None:
        self.decoders, self.title_columns = decoders, title_columns
        self.config, self.vocabulary = decoders.config, decoders.vocabulary
        self.generator, self.sequences = generator, sequences
        self.losses, self.on_epoch, self.verbose = losses, on_epoch, verbose
        self.features = token_features(generator, self.vocabulary, self.config)
        self.checkpoint = TrainingCheckpoint(checkpoint, self._digest())

    def _digest(self) -> str:
        """Return a digest of settings and data; a checkpoint of another training is refused by it."""
        events = [sequence.tolist() for sequence in self.sequences]
        content = json.dumps(
            [self.config.model_dump(mode="json"), events, self.vocabulary.words, version("keras")]
        )
        return hashlib.sha256(content.encode()).hexdigest()

    def run(self) -> None:
        """Train on histories, then on instructions unless `kinds` is empty."""
        self.decoders.build()
        history_phase = self._history_phase()
        self._train(history_phase)
        if not self.config.histories_only:
            self._train(self._instruction_phase(history_phase.trainer.embedding))
        self.checkpoint.remove()

    # -- the phases --------------------------------------------------------------------------------------------

    def _history_phase(self) -> Phase:
        config = self.config
        histories = PackedHistories(self.sequences, self.vocabulary, config)
        blocks = self.decoders.blocks("history")
        trainers.start_as_average(blocks[:-1], config.seed)
        embedding = self._embedding(initial_items(self.sequences, self.vocabulary.n_items, config))

        def batch(rows: list[HistoryRow]) -> dict[str, np.ndarray]:
            return histories.batch(rows)._asdict()

        return Phase(
            part="history",
            trainer=trainers.HistoryTrainer(blocks, embedding, config.dropout),
            batches_of=lambda epoch: [partial(batch, rows) for rows in histories.epoch(epoch)],
            first_epoch=0,
            epochs=config.epochs,
            epochs_with_dropout=config.epochs,
            learning_rate=config.learning_rate,
        )

    def _instruction_phase(self, history_embedding: trainers.TokenEmbedding) -> Phase:
        config = self.config
        title_columns = self.title_columns if "titles" in config.copies else None
        batches = InstructionBatches(
            self.sequences, self.generator, self.vocabulary, config, self.features.word_vectors, title_columns
        )
        states = self.decoders.event_states(batches.sequences)

        def batch(examples: list[InstructionExample]) -> dict[str, np.ndarray]:
            arrays = batches.batch(examples)._asdict()
            arrays["histories"] = states[arrays.pop("events")]
            return arrays

        return Phase(
            part="text",
            trainer=self._instruction_trainer(history_embedding, batches.log_shares),
            batches_of=lambda epoch: [partial(batch, examples) for examples in batches.epoch(epoch)],
            first_epoch=config.epochs,
            epochs=config.tuning_epochs,
            epochs_with_dropout=config.tuning_epochs - config.final_epochs_without_dropout,
            learning_rate=config.text_learning_rate,
        )

    def _instruction_trainer(
        self, history_embedding: trainers.TokenEmbedding, log_shares: np.ndarray
    ) -> trainers.InstructionTrainer:
        config = self.config
        blocks = self.decoders.blocks("text")
        trainers.start_as_average(blocks[:-1], config.seed + 1, negative_heads=True)
        return trainers.InstructionTrainer(
            blocks,
            self._instruction_embedding(history_embedding),
            self.decoders.item_vectors("history"),
            self.decoders.last_states([[START]])[0],
            log_shares,
            config.text_dropout,
            config.copies,
            config.copy_dropout,
        )

    def _embedding(self, items: np.ndarray) -> trainers.TokenEmbedding:
        """Return token embeddings with these initial item embeddings."""
        config = self.config
        embedding = trainers.TokenEmbedding(
            items if config.item_tokens else np.zeros_like(items),
            len(self.vocabulary.words),
            self.features,
            trainers.WORD_DROPOUT if config.word_vectors else 0.0,
            config.seed,
        )
        embedding.items.trainable = config.item_tokens
        return embedding

    def _instruction_embedding(self, learnt: trainers.TokenEmbedding) -> trainers.TokenEmbedding:
        """Return token embeddings that start with the words that training on histories has learnt."""
        items = np.zeros((self.vocabulary.n_items, self.config.hidden_size), dtype=np.float32)
        embedding = self._embedding(items)
        embedding.words.assign(learnt.words + embedding.words * INSTRUCTION_WORD_SCALE)
        if learnt.projection is not None:
            assert embedding.projection is not None
            embedding.projection.assign(learnt.projection)
        return embedding

    # -- epochs ------------------------------------------------------------------------------------------------

    def _train(self, phase: Phase) -> None:
        """Run the epochs of a phase that its checkpoint does not hold yet, and store the weights."""
        batches = trainers.EpochBatches(self._compile(phase))
        dataset = batches.dataset()
        variables = trainers.training_variables(phase.trainer)
        n_done = self._restore(phase, variables)
        for epoch in range(n_done, phase.epochs):
            if epoch in (n_done, phase.epochs_with_dropout):
                phase.trainer.uses_dropout = epoch < phase.epochs_with_dropout
                phase.trainer.make_train_function(force=True)
            batches.batches = phase.batches_of(epoch)
            self._fit_epoch(phase, epoch, dataset, len(batches.batches))
            finished = {**self.checkpoint.note.get("done", {}), phase.part: epoch + 1}
            self.checkpoint.save(phase.part, variables, done=finished, losses=self.losses)
            self._after_epoch(phase, epoch)
        self._store(phase)

    def _compile(self, phase: Phase) -> dict[str, np.ndarray]:
        """Compile and build a trainer with its optimizer; return an example of a batch."""
        batches = phase.batches_of(0)
        n_steps = len(batches) * phase.epochs
        n_warmup = max(1, int(n_steps * WARMUP_SHARE))
        learning_rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, n_steps - n_warmup), warmup_target=phase.learning_rate, warmup_steps=n_warmup
        )
        optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=self.config.weight_decay)
        phase.trainer.compile(optimizer=optimizer, jit_compile=False)
        example = batches[0]()
        phase.trainer(example)  # builds all weights
        phase.trainer.optimizer.build(phase.trainer.trainable_variables)
        return example

    def _restore(self, phase: Phase, variables: list[Any]) -> int:
        """Restore variables and losses from the checkpoint; return the number of finished epochs of the phase."""
        if not self.checkpoint.restore(phase.part, variables):
            return 0
        n_done: int = self.checkpoint.note["done"][phase.part]
        self.losses.update(self.checkpoint.note["losses"])
        if self.verbose:
            print(f"resuming after epoch {phase.first_epoch + n_done}/{self.config.total_epochs}", flush=True)
        return n_done

    def _fit_epoch(self, phase: Phase, epoch: int, dataset: Any, n_batches: int) -> None:
        """Run one epoch by Keras's `fit`, and append its mean losses to `losses`.

        A call per epoch, because epochs differ in their number of batches and `fit` assumes that of the first.
        """
        number = phase.first_epoch + epoch
        callbacks = keras.callbacks.CallbackList(
            add_history=True,
            add_progbar=self.verbose > 0,
            model=phase.trainer,
            verbose=self.verbose,
            epochs=self.config.total_epochs,
            steps=n_batches,
        )
        record = phase.trainer.fit(
            dataset,
            epochs=number + 1,
            initial_epoch=number,
            steps_per_epoch=n_batches,
            callbacks=callbacks,
            shuffle=False,
        )
        for name in phase.trainer.means:
            self.losses.setdefault(name, []).extend(map(float, record.history[name]))

    def _store(self, phase: Phase) -> None:
        """Store the weights of a phase in the decoders."""
        copies = getattr(phase.trainer, "copies", None)
        self.decoders.store(phase.part, phase.trainer.embedding, copies)

    def _after_epoch(self, phase: Phase, epoch: int) -> None:
        if self.on_epoch is not None:
            self._store(phase)
            self.on_epoch(phase.first_epoch + epoch + 1)


def initial_items(sequences: list[np.ndarray], n_items: int, config: MiniConfig) -> np.ndarray:
    """Return initial item embeddings, shape (n_items, hidden_size), float32.

    The first half of the axes holds the factors of `cosine_factors`. The second half is zero: there the words that
    describe items start (`projection_to_last_axes`).
    """
    n_factors = config.hidden_size // 2 if config.describe_items else config.hidden_size
    items = np.zeros((n_items, config.hidden_size), dtype=np.float32)
    item_ids = [sequence + 1 for sequence in sequences]
    items[:, :n_factors] = cosine_factors(item_ids, n_items + 1, n_factors)[1:]
    return items
