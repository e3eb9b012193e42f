"""The examples that `Mini` is tuned on: instructions for the event that follows, and questions answered in words.

An instruction is `<ask> words <answer>`. It is encoded apart from the history, and belongs to an event of it. A
question is `<start> <ask> words <answer> words <end>`: the state of the history is added to `<start>`, and the words
after `<answer>` are targets. Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from instructrec.instructions.query_frames import QUESTION_KINDS
from instructrec.instructions.query_generator import Query, QueryGenerator
from instructrec.instructions.verbalizer import Draw
from instructrec.models.mini.augmentation import Augmentation
from instructrec.models.mini.config import MiniConfig
from instructrec.models.mini.packing import batches_of_similar_length, pad
from instructrec.models.mini.vocabulary import ANSWER, ASK, END, START, Vocabulary

RANDOM_ITEM_SHARE = 0.3
"""Share of the instructions that ask for an item drawn from the whole catalogue instead of the user's next item."""
FULL_HISTORY_WEIGHT_SHARE = 0.5
"""Share of the instructions where the history has weight 1; for the others the weight is drawn from [0, 1)."""
MAX_INSTRUCTION_TOKENS = 48
"""Longer instructions are not used in training, which keeps batches narrow."""
FINAL_AUGMENTATION_RATE = 0.4
"""Factor on the shares of paraphrases and noise in the final epochs without dropout."""
RECENT_EVENTS = 20
"""Number of last events of a user from whose categories a refused one is drawn."""
LENGTH_JITTER = 3
"""Examples are sorted by length plus a random number below this one, so that batches differ from epoch to epoch."""


class InstructionExample(NamedTuple):
    """An instruction, or a question with its answer.

    Attributes:
        user: Number of the user's history.
        event: Number of the event in it that follows the instruction.
        token_ids: Input tokens.
        meaning: Sets of items that the instruction asks for, as rows of `InstructionBatches.log_shares`; an item meets
            the instruction if all of them hold it. Empty for a question.
        history_weight: Weight of the history's logits in the target distribution, in [0, 1].
        states_taste: Whether the instruction describes the user's taste; the model then does not read the history.
        answer: Token ids of the answer to a question, `<end>` included; empty for an instruction.
    """

    user: int
    event: int
    token_ids: list[int]
    meaning: tuple[int, ...]
    history_weight: float
    states_taste: bool
    answer: tuple[int, ...]


class InstructionBatch(NamedTuple):
    """Examples as arrays. m is the number of instructions, the other examples are questions.

    Attributes:
        token_ids: Input tokens, shape (batch, length), int32; 0 is padding.
        instructions: Numbers of the examples that are instructions, shape (m,), int32.
        last_positions: Position of each instruction's last token in the flattened tokens, shape (m,), int32.
        meanings: Rows of `log_shares`, shape (m, n), int32; padded with the row of zeros.
        history_weight: Weight of the history's logits in the target distribution, shape (m,), float32.
        states_taste: Whether the instruction describes the user's taste, shape (m,), bool.
        excluded: Items that the user has interacted with before, shape (m, n_items), bool.
        questions: Whether each example is a question, shape (batch,), bool.
        answer_positions: Positions in the flattened tokens after which a word of an answer follows, shape (k,), int32.
        answer_words: The word at each of these positions, as `Vocabulary.output_id`, shape (k,), int32.
        events: Number of each example's event among all events, shape (batch,), int32.
        title_masks: Items whose titles contain each title word of the batch, shape (n_words + 1, n_items), float32; the
            last row is zero and belongs to all other tokens.
        title_rows: Row of each token in `title_masks`, shape (batch, length), int32.
    """

    token_ids: np.ndarray
    instructions: np.ndarray
    last_positions: np.ndarray
    meanings: np.ndarray
    history_weight: np.ndarray
    states_taste: np.ndarray
    excluded: np.ndarray
    questions: np.ndarray
    answer_positions: np.ndarray
    answer_words: np.ndarray
    events: np.ndarray
    title_masks: np.ndarray
    title_rows: np.ndarray


class InstructionBatches:
    """Batches of instructions and questions, generated anew for each epoch.

    Args:
        sequences: Catalogue columns of each user, oldest first.
        generator: Query generator of the data set.
        vocabulary: Token ids.
        config: Settings of `Mini`.
        vectors: Word vectors, shape (n_words, size), for paraphrases; none by default.
        title_columns: Columns of the items whose titles hold a word, by the word's token id; by default no words are
            copied to titles.

    Attributes:
        log_shares: Log-likelihood of each meaning given each item, up to a constant, shape (n_meanings + 1, n_items),
            float32; the last row is zero, for an instruction that asks for nothing.
    """

    def __init__(
        self,
        sequences: Sequence[np.ndarray],
        generator: QueryGenerator,
        vocabulary: Vocabulary,
        config: MiniConfig,
        vectors: np.ndarray | None = None,
        title_columns: dict[int, np.ndarray] | None = None,
    ) -> None:
        self.sequences = [sequence.tolist() for sequence in sequences]
        self.first_events = np.cumsum([0, *map(len, self.sequences)])
        self.generator, self.vocabulary, self.config = generator, vocabulary, config
        self.title_columns = title_columns or {}
        self.n_items = vocabulary.n_items
        no_meaning = np.zeros((1, self.n_items), dtype=np.float32)
        self.log_shares = np.concatenate([generator.log_shares, no_meaning])
        self.no_meaning = len(self.log_shares) - 1
        self.augmentation = Augmentation(generator, vocabulary, vectors if config.paraphrase else None)

    def epoch(self, number: int) -> list[list[InstructionExample]]:
        """Return the examples of an epoch in batches of similar length, in random order.

        Args:
            number: Number of the epoch, from 0; together with the seed it determines all random draws.
        """
        config = self.config
        is_final = number >= config.tuning_epochs - config.final_epochs_without_dropout
        augmentation_rate = FINAL_AUGMENTATION_RATE if is_final else 1.0
        rng = np.random.default_rng([config.seed, 1, number])
        draw = random.Random(int(rng.integers(2**62))).random
        examples: list[InstructionExample] = []
        for user, sequence in enumerate(self.sequences):
            for event in range(len(sequence)):
                if draw() < config.instruction_share:
                    if event and draw() < config.question_share:
                        examples.append(self._question(user, event, draw))
                    elif example := self._instruction(user, event, draw, augmentation_rate):
                        examples.append(example)
        lengths = [len(example.token_ids) + LENGTH_JITTER * draw() for example in examples]
        return batches_of_similar_length(examples, lengths, config.text_batch_size, rng)

    def _instruction(
        self, user: int, event: int, draw: Draw, augmentation_rate: float
    ) -> InstructionExample | None:
        """Return an instruction for an event, None if the generator has none or it is too long."""
        sequence = self.sequences[user]
        item = sequence[event] if draw() >= RANDOM_ITEM_SHARE else int(draw() * self.n_items)
        query = self.generator.generate(item, sequence[max(0, event - RECENT_EVENTS) : event], draw)
        if query is None:
            return None
        token_ids = self._augmented(query, draw, augmentation_rate)
        if len(token_ids) > MAX_INSTRUCTION_TOKENS:
            return None
        return InstructionExample(
            user,
            event,
            [ASK, *token_ids, ANSWER],
            query.meaning or (self.no_meaning,),
            1.0 if draw() < FULL_HISTORY_WEIGHT_SHARE else draw(),
            query.states_taste,
            (),
        )

    def _augmented(self, query: Query, draw: Draw, rate: float) -> Sequence[int]:
        """Return the token ids of a query, paraphrased and with noise at random."""
        token_ids: Sequence[int] = self.vocabulary.encode(query.text)
        if not query.literal and draw() < self.config.paraphrase * rate:
            token_ids = self.augmentation.paraphrase(token_ids, draw)
        if draw() < self.config.noise * rate:
            language = "en" if query.text.isascii() else "zh"
            token_ids = self.augmentation.add_noise(token_ids, language, query.literal, draw)
        return token_ids

    def _question(self, user: int, event: int, draw: Draw) -> InstructionExample:
        """Return a question about an item or about the user's taste before an event, with its answer."""
        generator, vocabulary = self.generator, self.vocabulary
        language = generator.languages[int(draw() * len(generator.languages))]
        kind = QUESTION_KINDS[int(draw() * len(QUESTION_KINDS))]
        items: dict[str, int] = {}
        if kind == "query":
            items = {"item": int(draw() * self.n_items)}
            text = generator.verbalizers[language].join(generator.categories[items["item"]])
        else:
            text = generator.taste(self.sequences[user][max(0, event - self.config.length) : event], language)
        answer = (*vocabulary.encode(text), END)
        questions = generator.questions(language)[kind]
        question = encode_with_items(questions[int(draw() * len(questions))], items, vocabulary)
        token_ids = [START, ASK, *question, ANSWER, *answer[:-1]]
        return InstructionExample(user, event, token_ids, (), 0.0, False, answer)

    def batch(self, examples: Sequence[InstructionExample]) -> InstructionBatch:
        """Return examples as arrays."""
        token_ids = pad([example.token_ids for example in examples])
        length = token_ids.shape[1]
        numbers = [number for number, example in enumerate(examples) if not example.answer]
        instructions = [examples[number] for number in numbers]
        ends = [
            number * length + len(example.token_ids) - 1
            for number, example in zip(numbers, instructions, strict=True)
        ]
        return InstructionBatch(
            token_ids,
            np.array(numbers, dtype=np.int32),
            np.array(ends, dtype=np.int32),
            self._meanings(instructions),
            np.array([example.history_weight for example in instructions], dtype=np.float32),
            np.array([example.states_taste for example in instructions], dtype=bool),
            self._excluded(instructions),
            np.array([len(example.answer) > 0 for example in examples], dtype=bool),
            *self._answers(examples, length),
            np.array(
                [self.first_events[example.user] + example.event for example in examples], dtype=np.int32
            ),
            *self._titles(token_ids),
        )

    def _meanings(self, instructions: Sequence[InstructionExample]) -> np.ndarray:
        n_columns = max([len(example.meaning) for example in instructions], default=1)
        meanings = np.full((len(instructions), n_columns), self.no_meaning, dtype=np.int32)
        for row, example in zip(meanings, instructions, strict=True):
            row[: len(example.meaning)] = example.meaning
        return meanings

    def _excluded(self, instructions: Sequence[InstructionExample]) -> np.ndarray:
        excluded = np.zeros((len(instructions), self.n_items), dtype=bool)
        for row, example in zip(excluded, instructions, strict=True):
            row[self.sequences[example.user][: example.event]] = True
        return excluded

    def _answers(self, examples: Sequence[InstructionExample], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return `answer_positions` and `answer_words` of a batch."""
        positions: list[int] = []
        words: list[int] = []
        for number, example in enumerate(examples):
            first = number * length + len(example.token_ids) - len(example.answer)
            positions += range(first, first + len(example.answer))
            words += map(self.vocabulary.output_id, example.answer)
        return np.array(positions, dtype=np.int32), np.array(words, dtype=np.int32)

    def _titles(self, token_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `title_masks` and `title_rows` of a batch."""
        distinct, inverse = np.unique(token_ids, return_inverse=True)
        words = [token_id for token_id in distinct.tolist() if token_id in self.title_columns]
        masks = np.zeros((len(words) + 1, self.n_items), dtype=np.float32)
        for row, word in zip(masks, words, strict=False):
            row[self.title_columns[word]] = 1
        rows = np.full(len(distinct), len(words), dtype=np.int32)
        rows[np.isin(distinct, words)] = np.arange(len(words))
        return masks, rows[inverse].reshape(token_ids.shape)


def encode_with_items(text: str, items: dict[str, int], vocabulary: Vocabulary) -> list[int]:
    """Return the token ids of a text in which `{name}` is the slot of an item.

    Args:
        text: Text such as "name the category of {item}".
        items: Catalogue column by name.
        vocabulary: Token ids of words and items.
    """
    token_ids: list[int] = []
    for number, part in enumerate(text.replace("{", "}").split("}")):
        token_ids += [vocabulary.first_item + items[part]] if number % 2 else vocabulary.encode(part)
    return token_ids
