"""Training of `Mini`: initial weights, losses, token embeddings, resumed trainings."""

from __future__ import annotations

import numpy as np
import pytest

from instructrec import models
from instructrec.errors import InputError
from instructrec.models.mini.config import MiniConfig
from instructrec.models.mini.features import TokenFeatures
from instructrec.models.mini.vocabulary import ANSWER, ASK, CONTROL_TOKENS
from tests.models.mini.conftest import GENRES, SMALL


def test_an_untrained_layer_is_an_average_of_what_it_reads():
    from instructrec.models.mini.decoders import build_backbone
    from instructrec.models.mini.trainer import start_as_average
    from instructrec.models.neural.training import seeded_keras

    seeded_keras(0)
    layers = list(build_backbone(10, MiniConfig(**SMALL), dropout=0.3).transformer_layers)
    start_as_average(layers, 0)
    attention = layers[0]._self_attention_layer
    state, mask = np.random.default_rng(0).normal(size=(1, 1, 32)).astype(np.float32), np.ones((1, 1, 1))
    np.testing.assert_allclose(np.asarray(attention(state, attention_mask=mask)), state, atol=1e-5)
    start_as_average(layers, 0, negative_heads=True)
    output = np.asarray(attention(state, attention_mask=mask))
    np.testing.assert_allclose(output[..., 16:], 0.5 * state[..., 16:], atol=1e-5)
    np.testing.assert_allclose(output[..., :16], 0, atol=1e-5)


def test_losses_fall_and_each_epoch_is_recorded(trained):
    assert trained.history["item"][-1] < trained.history["item"][0]
    n_epochs = {name: len(values) for name, values in trained.history.items()}
    assert n_epochs == {"item": 3, "text": 2, "word": 2}


@pytest.mark.slow
def test_it_follows_instructions(films):
    settings = {"epochs": 5, "tuning_epochs": 150, "instruction_share": 0.9, "languages": ["en"]}
    model = models.create("mini", **{**SMALL, **settings}).fit(films)
    masks = {name: np.array([name in names for names in films.items["genres"]]) for name in GENRES}
    histories = [films.history(user)[:5] for user in range(1, 41)]
    seen = np.stack([np.isin(films.items["item_id"], history) for history in histories])

    def share(text: str | None, name: str) -> float:
        scores = np.where(seen, -np.inf, model.score(histories, [text] * len(histories)))
        return float(masks[name][np.argsort(-scores, axis=1)[:, :5]].mean())

    assert share("I want Horror", "Horror") > 0.9 > 0.6 > share(None, "Horror")
    assert share("no War", "War") < 0.1 < 0.2 < share(None, "War")
    assert model.answer([], "query", item=15) == "horror"


def test_the_target_distribution_follows_from_bayes_rule(films):
    """The loss of instructions is 0 where p(item | history, text) ~ p(item | history) p(text | item)."""
    from instructrec.models.mini.trainer import REJECTED_MARGIN, InstructionTrainer, TokenEmbedding

    rng = np.random.default_rng(0)
    items = rng.normal(size=(4, 8)).astype(np.float32)
    embedding = TokenEmbedding(np.zeros((4, 8), dtype=np.float32), 2, TokenFeatures(None, None), 0.0, 0)
    log_shares = np.array([[0.0, np.log(0.5), -1e9, -1e9]], dtype=np.float32)
    history = rng.normal(size=(1, 8)).astype(np.float32)

    def loss(logits: np.ndarray) -> float:
        trainer = InstructionTrainer(
            [lambda hidden: hidden], embedding, items, np.zeros(8, np.float32), log_shares, 0.0, (), 0.0
        )
        trainer.states = lambda hidden, token_ids, training: np.tile(np.eye(1, 8, dtype=np.float32), (3, 1))
        embedding.items.assign(np.outer(logits, np.eye(1, 8)[0]).astype(np.float32))
        batch = {
            "token_ids": np.array([[ASK, len(CONTROL_TOKENS) + 4, ANSWER]], dtype=np.int32),
            "instructions": np.array([0], dtype=np.int32),
            "last_positions": np.array([2], dtype=np.int32),
            "meanings": np.array([[0]], dtype=np.int32),
            "history_weight": np.array([0.7], dtype=np.float32),
            "states_taste": np.array([False]),
            "excluded": np.zeros((1, 4), dtype=bool),
            "questions": np.array([False]),
            "answer_positions": np.array([], dtype=np.int32),
            "answer_words": np.array([], dtype=np.int32),
            "histories": history,
        }
        return float(trainer(batch)["text"])

    best = np.array([0.0, np.log(0.5), -60.0, -60.0])
    assert loss(best) == pytest.approx(0, abs=1e-5)
    assert loss(best + 7) == pytest.approx(0, abs=1e-5)
    assert loss(best + [0, 1, 0, 0]) > 0.01
    assert loss(best + [0, 0, 60 - REJECTED_MARGIN, 0]) > 0.1


def test_words_of_a_description_are_part_of_an_item():
    from instructrec.models.mini.trainer import TokenEmbedding

    features = TokenFeatures(np.array([[0, 2], [1, 2]], dtype=np.int32), None)
    embedding = TokenEmbedding(np.eye(2, 6, dtype=np.float32), 2, features, word_dropout=0.9, seed=0)
    table, first = np.asarray(embedding()), len(CONTROL_TOKENS)
    words = table[first + 2 :]
    np.testing.assert_allclose(table[first : first + 2], np.eye(2, 6) + 0.5 * words, rtol=1e-6)
    assert np.abs(np.asarray(embedding(training=True))[first + 2 :]).sum() < np.abs(words).sum()


def test_an_out_of_vocabulary_word_is_a_projection_of_its_vector():
    from instructrec.models.mini.trainer import TokenEmbedding

    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    embedding = TokenEmbedding(np.eye(2, 6, dtype=np.float32), 2, TokenFeatures(None, vectors), 0.0, 0)
    first = len(CONTROL_TOKENS) + 2
    token_ids = np.array([[first, first + 1, first + 4], [1, len(CONTROL_TOKENS), first + 2]], dtype=np.int32)
    looked_up, table = np.asarray(embedding.look_up(embedding(), token_ids)), np.asarray(embedding())
    projected = vectors @ np.asarray(embedding.projection)
    np.testing.assert_allclose(looked_up[0, :2], table[first : first + 2], rtol=1e-5)
    np.testing.assert_allclose(looked_up[0, 2], projected[4], rtol=1e-5)
    np.testing.assert_allclose(looked_up[1], [table[1], table[len(CONTROL_TOKENS)], projected[2]], rtol=1e-5)


def stop_after(last_epoch: int):
    def on_epoch(epoch: int, model: object) -> None:
        if epoch == last_epoch:
            raise KeyboardInterrupt

    return on_epoch


@pytest.mark.slow
@pytest.mark.parametrize("last_epoch", [2, 4])
def test_a_resumed_training_ends_with_identical_weights(films, trained, last_epoch, tmp_path):
    path = tmp_path / "checkpoint.npz"
    with pytest.raises(KeyboardInterrupt):
        models.create("mini", **SMALL).fit(films, checkpoint=path, on_epoch=stop_after(last_epoch))
    assert path.is_file()
    epochs = []
    resumed = models.create("mini", **SMALL)
    resumed.fit(films, checkpoint=path, on_epoch=lambda epoch, model: epochs.append(epoch))
    assert epochs == list(range(last_epoch + 1, 6))
    assert not path.exists()
    assert resumed.history == trained.history
    for name, array in trained.weights.items():
        np.testing.assert_array_equal(array, resumed.weights[name], err_msg=name)


def test_a_checkpoint_of_another_training_is_refused(films, tmp_path):
    path = tmp_path / "checkpoint.npz"
    with pytest.raises(KeyboardInterrupt):
        models.create("mini", **SMALL).fit(films, checkpoint=path, on_epoch=stop_after(1))
    with pytest.raises(InputError, match="checkpoint of another training"):
        models.create("mini", **{**SMALL, "seed": 1}).fit(films, checkpoint=path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        models.create("mini", **SMALL).fit(films, checkpoint=path)


def test_without_kinds_it_is_a_model_of_histories(films, trained):
    model = models.create("mini", **{**SMALL, "kinds": []}).fit(films)
    assert set(model.history) == {"item"}
    np.testing.assert_array_equal(model.score([[1, 2]], ["horror"]), model.score([[1, 2]]))
    with pytest.raises(InputError, match="histories alone"):
        model.answer([1])
    # Tuning does not change what the model has learnt about histories.
    np.testing.assert_array_equal(model.score([[1, 2], []]), trained.score([[1, 2], []]))


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["text_dropout", "copy_dropout"])
def test_nothing_is_dropped_in_the_final_epochs(films, rate):
    def tuned(value: float, n_final: int) -> np.ndarray:
        settings = {**SMALL, rate: value, "final_epochs_without_dropout": n_final, "word_vectors": False}
        return models.create("mini", **settings).fit(films).weights["text/tokens"]

    np.testing.assert_array_equal(tuned(0.5, 2), tuned(0.25, 2))
    assert not np.array_equal(tuned(0.5, 1), tuned(0.25, 1))


@pytest.mark.slow
@pytest.mark.parametrize("copies", [(), ("words", "titles")])
def test_the_training_loss_is_that_of_the_answers(films, copies, monkeypatch):
    """The trainer's loss of a batch can be computed from the logits with which the fitted model answers."""
    from instructrec.models.mini import trainer as trainers
    from instructrec.models.mini import training

    compiled = {}
    compile_trainer = training.MiniTraining._compile

    def record(self, phase):
        compiled[phase.part] = phase.trainer, compile_trainer(self, phase)
        return compiled[phase.part][1]

    monkeypatch.setattr(training.MiniTraining, "_compile", record)
    model = models.create("mini", **{**SMALL, "copies": copies, "question_share": 0.0}).fit(films)
    trainer, batch = compiled["text"]
    token_ids = [[token for token in row if token] for row in batch["token_ids"].tolist()]
    moves = model.decoders.instruction_logits(token_ids, model.title_columns)
    visible = np.where(batch["states_taste"][:, None], trainer.empty_history, batch["histories"])
    likelihood = trainer.log_shares[batch["meanings"]].sum(axis=1)
    weight, items = batch["history_weight"][:, None], trainer.history_items.T
    target = weight * (batch["histories"] @ items) + likelihood
    logits = weight * (visible @ items) + moves + trainers.REJECTED_MARGIN * (likelihood < -1e8)
    target, logits = (np.where(batch["excluded"], -1e9, rows).astype(np.float64) for rows in (target, logits))
    has_target = target.max(axis=1) > -5e8
    target, logits = (rows - np.logaddexp.reduce(rows, axis=1, keepdims=True) for rows in (target, logits))
    loss = (np.exp(target) * (np.maximum(target, -50) - logits)).sum(axis=1) * has_target
    assert float(trainer(batch)["text"]) == pytest.approx(loss.mean(), rel=2e-3)


@pytest.mark.slow
def test_copying_distinguishes_titles(films):
    """Forty titles in eight numbers: a product of vectors confuses them, copying does not."""
    settings = {
        **SMALL,
        "hidden_size": 8,
        "tuning_epochs": 12,
        "kinds": ["title"],
        "noise": 0.0,
        "question_share": 0.0,
    }
    words = [title.split()[1].lower() for title in films.items["title"]]

    def accuracy(**changed) -> float:
        model = models.create("mini", **settings, **changed).fit(films)
        moves = model.score([[]] * len(words), words) - model.score([[]])
        return float(np.mean(moves.argmax(axis=1) == np.arange(len(words))))

    assert accuracy() > 0.9 > accuracy(copies=["words"]) + 0.2


def test_too_few_events_are_refused(films):
    first = films.interactions.drop_duplicates("user_id")
    with pytest.raises(InputError, match="no user with two events"):
        models.create("mini", **SMALL).fit(films.with_interactions(first))
