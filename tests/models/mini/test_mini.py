"""Answers of `Mini`: scores, copied words, questions answered in words, saving, settings."""

from __future__ import annotations

import numpy as np
import pytest

from instructrec import models
from instructrec.errors import InputError
from instructrec.instructions.query_generator import LANGUAGES
from instructrec.models.mini.config import MiniConfig
from instructrec.models.mini.model import Mini
from instructrec.models.mini.vocabulary import ANSWER, ASK, START
from tests.models.mini.conftest import SMALL, sequences_of


def test_scores_do_not_depend_on_the_batch(films, trained):
    histories = [films.history(1), [], films.history(2)[:3]]
    texts = ["a comedy from the 1980s", None, "不要恐怖"]
    together = trained.score(histories, texts)
    for row, (history, text) in enumerate(zip(histories, texts, strict=True)):
        np.testing.assert_allclose(trained.score([history], [text])[0], together[row], atol=1e-5)


def test_a_saved_model_answers_alike(films, trained, tmp_path):
    trained.save(tmp_path / "mini")
    loaded = models.load(tmp_path / "mini")
    histories = [films.history(1), []]
    np.testing.assert_array_equal(
        loaded.score(histories, ["horror", None]), trained.score(histories, ["horror", None])
    )
    assert loaded.config == trained.config
    assert loaded.answer(histories[0]) == trained.answer(histories[0])
    assert loaded.n_parameters == trained.n_parameters
    np.testing.assert_array_equal(loaded.score(histories), trained.score(histories))


def test_an_instruction_adds_the_same_logits_for_every_user(films, trained):
    histories = [films.history(1), []]
    moves = trained.score(histories, ["a comedy"] * 2) - trained.score(histories)
    np.testing.assert_allclose(moves[0], moves[1], atol=1e-4)
    assert np.ptp(moves[0]) > 0


def test_words_of_an_instruction_are_weighted_and_copied(films, trained):
    columns = films.item_columns([3, 7])
    names = [films.items["title"][column].split()[1].lower() for column in columns]
    instruction = f"show me {names[0]} or {names[1]}, a comedy, spooky"
    token_ids, decoders = trained.instruction_tokens(instruction), trained.decoders
    assert token_ids[-2] >= trained.vocabulary.first_oov  # an out-of-vocabulary word is not copied
    states = decoders.states([token_ids], "text")[0]
    vectors = decoders.token_vectors(np.array(token_ids), "text")
    a, b = (
        states @ (states[-1] @ trained.weights[f"text/{name}"].astype(np.float32)) / SMALL["hidden_size"]
        for name in ("words", "titles")
    )
    expected = decoders.item_vectors("text") @ (states[-1] + a[1:-2] @ vectors[1:-2])
    weights = trained.word_weights(instruction)
    assert weights["word"].tolist() == ["show", "me", names[0], "or", names[1], "a", "comedy", "spooky"]
    np.testing.assert_allclose(weights["words"], [*a[1:-2], 0], atol=1e-5)
    assert weights["words"][:-1].abs().min() > 0
    assert (weights["titles"] != 0).tolist() == [word in names for word in weights["word"]]
    tokens = trained.vocabulary.tokens(token_ids)
    for column, name in zip(columns, names, strict=True):
        weight = weights.set_index("word").loc[name, "titles"]
        assert weight == pytest.approx(b[tokens.index(name)], abs=1e-5)
        expected[column] += weight
    moved = np.subtract(*trained.score([[1]] * 2, [instruction, None]))
    np.testing.assert_allclose(moved, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("copies", [(), ("words",), ("titles",)])
def test_parts_of_the_copy_mechanism_can_be_left_out(films, copies, tmp_path):
    model = models.create("mini", **SMALL, copies=copies).fit(films)
    assert [name for name in ("words", "titles") if f"text/{name}" in model.weights] == list(copies)
    assert list(model.word_weights("a comedy")) == ["word", *copies]
    model.save(tmp_path / "mini")
    loaded = models.load(tmp_path / "mini")
    np.testing.assert_array_equal(loaded.score([[1]], ["a comedy"]), model.score([[1]], ["a comedy"]))


def test_likelihoods_of_the_next_word_sum_to_one(films, trained):
    prompts = [[START, ASK, ANSWER], [START, ASK, trained.vocabulary.first_word, ANSWER]]
    history_states = np.ones((2, SMALL["hidden_size"]), dtype=np.float32)
    log_probs = trained.decoders.next_word_log_probs(prompts, history_states)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, rtol=1e-5)
    assert log_probs.shape[1] == trained.vocabulary.first_oov - films.n_items


def test_yes_or_no_and_a_or_b_follow_from_the_likelihood_of_items(films, trained):
    histories, texts = [films.history(user) for user in (1, 2, 3)], ["a comedy", None, "horror"]
    scores = trained.score(histories, texts)
    likelihood = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    yes = trained.yes_or_no(histories, [1, 2, 3], texts)
    first = likelihood[range(3), range(3)]
    np.testing.assert_allclose(yes, first / (first + 1 / films.n_items), rtol=1e-4)
    probability = trained.a_or_b(histories, [(1, 2), (2, 3), (3, 4)], texts)
    np.testing.assert_allclose(probability, first / (first + likelihood[range(3), range(1, 4)]), rtol=1e-4)


@pytest.mark.parametrize("part", ["history", "text"])
def test_the_decoders_are_those_of_keras_hub(films, trained, part):
    tokens = {
        "history": trained.history_tokens(films.history(1)),
        "text": trained.instruction_tokens("a comedy"),
    }[part]
    inputs = {"token_ids": np.array([tokens]), "padding_mask": np.ones((1, len(tokens)), dtype=np.int32)}
    states = np.asarray(trained.decoders.backbone(part)(inputs))
    np.testing.assert_allclose(states, trained.decoders.states([tokens], part), atol=1e-5)


def test_states_for_tuning_are_those_of_the_last_items(films, trained):
    sequences = [sequence.tolist() for sequence in sequences_of(films)]
    states = trained.decoders.event_states(sequences)
    assert states.shape == (sum(map(len, sequences)), SMALL["hidden_size"])
    histories = [trained._history_tokens(np.array(sequences[0][:n], dtype=int)) for n in (0, 3, 9)]
    np.testing.assert_allclose(states[[0, 3, 9]], trained.decoders.last_states(histories), atol=1e-5)


def test_it_answers_in_words(films, trained):
    for language in LANGUAGES:
        assert isinstance(trained.answer(films.history(1), language=language), str)
        assert isinstance(trained.answer([], "query", item=3, language=language), str)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.answer([1], "mood"), "unknown question 'mood'"),
        (lambda model: model.answer([1], "query"), "item is None"),
        (lambda model: model.answer([1], "taste", item=1), "item is 1"),
        (lambda model: model.answer([1], language="fr"), "unknown language 'fr'"),
        (lambda model: model.yes_or_no([[1]], [1, 2]), "2 questions for 1 histories"),
        (lambda model: model.a_or_b([[1]], [(1, 2), (2, 3)]), "2 questions for 1 histories"),
        (lambda model: model.yes_or_no([[1]], [99]), "unknown item of films"),
        (lambda model: Mini(**SMALL).history_tokens([1]), "not fitted"),
        (lambda model: Mini(**SMALL).n_parameters, "not fitted"),
    ],
)
def test_bad_questions(trained, call, message):
    with pytest.raises(InputError, match=message):
        call(trained)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 30, "n_heads": 4}, "hidden_size is 30"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"languages": "en"}, "languages is 'en'"),
        ({"languages": ["fr"]}, "unknown language 'fr'"),
        ({"kinds": ["genre"]}, "unknown kind of query"),
        ({"copies": ["genres"]}, "unknown copy 'genres'"),
        ({"noise": 1.0}, "noise is 1.0"),
        ({"tuning_epochs": 0}, "tuning_epochs is 0"),
        ({"final_epochs_without_dropout": -1}, "final_epochs_without_dropout is -1"),
        ({"describe_items": 1}, "describe_items is 1"),
        ({"text_learning_rate": 0}, "text_learning_rate is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        models.create("mini", **settings)


def test_settings_come_by_name_or_in_one_object():
    config = MiniConfig(**SMALL, copies=["words"])
    assert Mini(config=config).settings == Mini(**SMALL, copies=("words",)).settings
    assert Mini(**Mini(config=config).settings).config == config
