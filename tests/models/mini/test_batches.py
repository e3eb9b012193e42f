"""What `Mini` is trained on: token ids, packed histories, instructions with paraphrases and noise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.query_frames import query_frames
from instructrec.instructions.query_generator import LANGUAGES, QueryGenerator
from instructrec.models.mini.augmentation import CARRIER_SHARE, Augmentation
from instructrec.models.mini.batches import (
    FINAL_AUGMENTATION_RATE,
    InstructionBatches,
    InstructionExample,
    encode_with_items,
)
from instructrec.models.mini.config import MiniConfig
from instructrec.models.mini.features import build_vocabulary, title_columns, training_words
from instructrec.models.mini.packing import PackedHistories
from instructrec.models.mini.vocabulary import (
    ANSWER,
    ASK,
    CONTROL_TOKENS,
    END,
    START,
    UNKNOWN,
    Vocabulary,
    tokenise,
)
from instructrec.models.mini.word_vectors import word_vectors
from instructrec.wordings.lexicon import held_out_words
from tests.models.mini.conftest import SMALL, sequences_of


def vocabulary_of(dataset: Dataset, config: MiniConfig) -> Vocabulary:
    return build_vocabulary(dataset, training_words(dataset, config.languages), config)


def instructions_of(dataset: Dataset, **settings) -> InstructionBatches:
    config = MiniConfig(**{**SMALL, **settings})
    generator = QueryGenerator(dataset, config.languages, config.kinds)
    return InstructionBatches(sequences_of(dataset), generator, vocabulary_of(dataset, config), config)


def histories_of(dataset: Dataset, **settings) -> PackedHistories:
    config = MiniConfig(**{**SMALL, **settings})
    return PackedHistories(sequences_of(dataset), Vocabulary(dataset.n_items, []), config)


def examples_of(batches: InstructionBatches, epoch: int = 0) -> list[InstructionExample]:
    return [example for batch in batches.epoch(epoch) for example in batch]


# -- token ids -----------------------------------------------------------------------------------------------------


def test_token_ids_and_tokens_are_inverse():
    vocabulary = Vocabulary(3, ["comedy", "no"], ["spooky"])
    token_ids = vocabulary.encode("No COMEDY, spooky zzz 片")
    assert vocabulary.tokens(token_ids) == ["no", "comedy", "spooky", "<unknown>", "<unknown>"]
    assert vocabulary.tokens(vocabulary.encode("comedys no")) == ["comedy", "no"]
    assert vocabulary.tokens([START, vocabulary.first_item + 2]) == ["<start>", "<item 2>"]
    assert vocabulary.output_id(vocabulary.first_word) == len(CONTROL_TOKENS)
    outputs = [START, UNKNOWN, *token_ids[:3]]
    assert [vocabulary.input_id(vocabulary.output_id(token_id)) for token_id in outputs] == outputs
    assert len(vocabulary) == len(CONTROL_TOKENS) + 3 + 3
    assert (CONTROL_TOKENS[UNKNOWN], CONTROL_TOKENS[END]) == ("<unknown>", "<end>")


def test_chinese_is_tokenised_by_character_and_comparisons_are_tokens():
    tokens = ["genres", "=", "喜", "剧", "and", "year", "<=", "1990"]
    assert tokenise("genres = 喜剧 and year <= 1990") == tokens


def test_a_question_can_contain_an_item():
    vocabulary = Vocabulary(9, ["would", "i", "like"])
    token_ids = encode_with_items("would I like {item}", {"item": 4}, vocabulary)
    assert vocabulary.tokens(token_ids) == ["would", "i", "like", "<item 4>"]


# -- packed histories ----------------------------------------------------------------------------------------------


def test_rows_hold_every_event_once_in_order(films):
    events: dict[int, list[int]] = {}
    for row in [row for rows in histories_of(films).epoch(0) for row in rows]:
        assert row.events == list(range(row.events[0], row.events[-1] + 1))
        assert len(row.events) <= SMALL["length"]
        events.setdefault(row.user, []).extend(row.events)
    for user, history in enumerate(sequences_of(films)):
        assert sorted(events[user]) == list(range(len(history)))


def test_targets_follow_the_tokens_before_them(films):
    histories = histories_of(films, item_dropout=0)
    for row in [row for rows in histories.epoch(1) for row in rows]:
        history = histories.sequences[row.user]
        assert row.token_ids[0] == START
        for position, event in zip(row.positions, row.events, strict=True):
            before = [token - histories.vocabulary.first_item for token in row.token_ids[1 : position + 1]]
            assert before == history[row.events[0] : event]
        assert row.positions[-1] == len(row.token_ids) - 1


def test_items_of_the_history_are_excluded(films):
    histories = histories_of(films)
    rows = histories.epoch(0)[0]
    batch = histories.batch(rows)
    unseen = set(np.flatnonzero(histories.unseen))
    events = [(histories.sequences[row.user], event) for row in rows for event in row.events]
    assert len(events) == len(batch.targets) == len(batch.positions) == len(batch.excluded)
    for (history, event), target, mask in zip(events, batch.targets, batch.excluded, strict=True):
        assert target == history[event]
        assert set(np.flatnonzero(mask)) == (set(history[:event]) | unseen) - {target}


def test_a_repeated_item_is_not_excluded(films):
    repeated = pd.DataFrame(
        {"user_id": [1, 1, 1], "item_id": [5, 6, 5], "rating": np.nan, "timestamp": [1, 2, 3]}
    )
    histories = histories_of(films.with_interactions(repeated), item_dropout=0)
    rows = [row for batch in histories.epoch(0) for row in batch]
    excluded = histories.batch(sorted(rows, key=lambda row: row.events[0])).excluded
    unseen = set(range(films.n_items)) - {4, 5}  # items without interactions are excluded, too
    assert [set(np.flatnonzero(mask)) - unseen for mask in excluded] == [set(), {4}, {5}]
    assert all(unseen <= set(np.flatnonzero(mask)) for mask in excluded)


@pytest.mark.parametrize("build", [histories_of, instructions_of])
def test_epochs_differ_and_repeat(films, build):
    batches, again = build(films), build(films)
    assert batches.epoch(0) == again.epoch(0)
    assert batches.epoch(0) != batches.epoch(1)


# -- instructions --------------------------------------------------------------------------------------------------


def test_instructions_are_true_of_the_next_item_or_of_a_random_one(films):
    batches = instructions_of(films, noise=0, paraphrase=0, question_share=0.3, instruction_share=0.9)
    vocabulary, is_true, answers = batches.vocabulary, [], set()
    for example in examples_of(batches):
        if example.answer:
            assert example.token_ids[:2] == [START, ASK]
            assert example.answer[-1] == END
            first = len(example.token_ids) - len(example.answer)
            assert example.token_ids[first] == ANSWER
            assert example.token_ids[first + 1 :] == list(example.answer[:-1])
            answers.add(vocabulary.tokens(example.answer)[0])
            continue
        assert (example.token_ids[0], example.token_ids[-1]) == (ASK, ANSWER)
        assert 0 <= example.history_weight <= 1
        if example.meaning != (batches.no_meaning,):
            item = batches.sequences[example.user][example.event]
            is_true.append(batches.generator.meanings[list(example.meaning), item].all())
    assert 0.5 < np.mean(is_true) < 0.95
    assert {"comedy", "above"} <= answers


def test_a_batch_holds_the_meanings_of_its_instructions(films):
    batches = instructions_of(films, question_share=0.4, instruction_share=0.9)
    examples = examples_of(batches)
    batch = batches.batch(examples)
    instructions = [example for example in examples if not example.answer]
    assert (
        len(instructions) == len(batch.instructions) == len(batch.last_positions) == len(batch.meanings) > 0
    )
    assert (batch.token_ids.ravel()[batch.last_positions] == ANSWER).all()
    for example, meaning, mask in zip(instructions, batch.meanings, batch.excluded, strict=True):
        assert set(meaning) - {batches.no_meaning} == set(example.meaning) - {batches.no_meaning}
        assert set(np.flatnonzero(mask)) == set(batches.sequences[example.user][: example.event])
    words = [batches.vocabulary.output_id(word) for example in examples for word in example.answer]
    np.testing.assert_array_equal(batch.answer_words, words)
    questions = [example for example in examples if example.answer]
    inputs = [token for example in questions for token in example.token_ids[-len(example.answer) :]]
    np.testing.assert_array_equal(batch.token_ids.ravel()[batch.answer_positions], inputs)
    assert batch.questions.sum() == len(questions) > 0
    for example, event in zip(examples, batch.events, strict=True):
        assert event == sum(map(len, batches.sequences[: example.user])) + example.event


def test_a_batch_holds_the_titles_of_its_words(films):
    batches = instructions_of(films)
    batches.title_columns = title_columns(films, batches.vocabulary)
    batch = batches.batch(examples_of(batches))
    assert batch.title_masks.shape[1] == films.n_items
    assert batch.title_rows.shape == batch.token_ids.shape
    assert not batch.title_masks[-1].any()
    assert (batch.title_rows < len(batch.title_masks) - 1).any()
    for token_ids, rows in zip(batch.token_ids, batch.title_rows, strict=True):
        for token_id, row in zip(token_ids.tolist(), rows, strict=True):
            columns = np.flatnonzero(batch.title_masks[row])
            np.testing.assert_array_equal(columns, batches.title_columns.get(token_id, []))


def test_only_content_words_are_paraphrased_and_held_out_words_are_never_used(films):
    config = MiniConfig(**SMALL)
    vocabulary = vocabulary_of(films, config)
    vectors = word_vectors().of([*vocabulary.words, *vocabulary.oov_words])
    augmentation = Augmentation(QueryGenerator(films), vocabulary, vectors)
    replaced = set(vocabulary.tokens(list(augmentation.similar_words)))
    assert "funny" in replaced
    assert not replaced & {"no", "not", "without", "anything", "want"}
    used = {token for similar in augmentation.similar_words.values() for token in similar}
    used |= {token for sources in augmentation.noise_words.values() for words in sources for token in words}
    words = [word for lists in held_out_words().values() for words in lists.values() for word in words]
    held_out = {token for word in words for token in vocabulary.encode(word)} - {UNKNOWN}
    assert len(held_out) > 80
    assert not used & held_out


def test_noise_names_nothing_and_refuses_nothing(films):
    batches = instructions_of(films)
    in_training = set(batches.vocabulary.words)
    noise = {
        word
        for sources in batches.augmentation.noise_words.values()
        for token_ids in sources
        for word in batches.vocabulary.tokens(token_ids)
        if word in in_training
    }
    assert {"tonight", "please", "最", "一"} <= noise
    refusals = {"no", "not", "never", "without", "skip", "hate", "不", "别", "没", "非", "厌"}
    assert not noise & {*refusals, "comedy", "恐"}


@pytest.mark.parametrize("languages", [["en", "zh"], ["en"], ["zh"]])
def test_carrier_sentences_stand_around_any_instruction(films, languages):
    batches = instructions_of(
        films, languages=languages, noise=0.9, instruction_share=0.9, kinds=["title", "null"]
    )
    carriers = {sides for language in languages for sides in batches.generator.carriers(language)}
    assert len(carriers) >= 15 * len(languages)
    encode = batches.vocabulary.encode
    sides = [([ASK, *encode(before)], [*encode(after), ANSWER]) for before, after in carriers]

    def with_carrier(epoch: int) -> tuple[list[list[int]], float]:
        instructions = [example.token_ids for example in examples_of(batches, epoch) if not example.answer]
        carried = [
            token_ids
            for token_ids in instructions
            if any(
                token_ids[: len(before)] == before and token_ids[-len(after) :] == after
                for before, after in sides
            )
        ]
        return carried, len(carried) / len(instructions)

    carried, share = with_carrier(0)
    assert 0.75 * 0.9 * CARRIER_SHARE < share < 1.5 * 0.9 * CARRIER_SHARE
    title_tokens = {
        token for words in batches.generator.title_words for word in words for token in encode(word)
    }
    assert any(title_tokens & set(token_ids) for token_ids in carried)  # literal queries have carriers, too
    final_share = with_carrier(1)[1]  # of an epoch without dropout
    assert 0.5 * FINAL_AUGMENTATION_RATE * share < final_share < 1.75 * FINAL_AUGMENTATION_RATE * share


def test_carrier_sentences_have_new_words_and_name_nothing(films):
    generator = QueryGenerator(films)
    in_queries = {token for text in generator.texts() for token in tokenise(text)}
    names = generator.protected_texts()[0]
    for language in LANGUAGES:
        carriers = generator.carriers(language)
        tokens = {token for sides in carriers for side in sides for token in tokenise(side)}
        assert all(frame.count("{text}") == 1 for frame in query_frames()["carriers"][language])
        assert len(tokens - in_queries) > 20
        for sides in carriers:
            texts = [f" {' '.join(tokenise(side))} " for side in sides]
            assert not [name for name in names for text in texts if f" {name} " in text]
            assert not [name for name in names if not name.isascii() and name in "".join(sides)]
