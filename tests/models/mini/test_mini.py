"""`mini`: conversations, the trainer's losses, training that can be taken up again, answers of all kinds."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest

from instructrec import models
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions.query_frames import CATEGORY_FIRST_SHARE, QUESTION_KINDS, query_frames
from instructrec.instructions.query_generator import (
    KIND_SHARES,
    LANGUAGES,
    QueryGenerator,
    title_words,
)
from instructrec.models.mini import word_vectors as vectors_module
from instructrec.models.mini.batches import Texts, fill
from instructrec.models.mini.model import Mini
from instructrec.models.mini.packing import Conversations
from instructrec.models.mini.vocabulary import (
    ANSWER,
    ASK,
    CONTROLS,
    END,
    START,
    UNKNOWN,
    Vocabulary,
    tokenise,
)
from instructrec.models.mini.word_vectors import choose_words, word_vectors
from instructrec.wordings.lexicon import held_out_words

GENRES = ("Comedy", "Horror", "War", "Drama")
SMALL = {
    "hidden_size": 32,
    "n_layers": 1,
    "n_heads": 2,
    "intermediate_size": 32,
    "batch_size": 16,
    "text_batch_size": 16,
    "epochs": 3,
    "tuning_epochs": 2,
    "settling_epochs": 1,
    "length": 8,
}


@pytest.fixture(scope="module")
def films() -> Dataset:
    """Forty films of four genres and four decades; each of sixty users likes one genre."""
    rng = np.random.default_rng(0)
    n_items, n_users = 40, 60
    ends = ("aka", "ebe", "ido", "ofo", "uru", "yma", "asa", "epe")
    words = [f"{start}{end}" for start in ("bal", "cor", "dun", "fen", "gor") for end in ends]
    items = pd.DataFrame(
        {
            "item_id": np.arange(1, n_items + 1),
            "title": [f"The {word.title()}" for word in words],
            "year": [1960 + 10 * (number % 4) + number % 7 for number in range(n_items)],
            "genres": [
                (GENRES[number // 10],) if number % 3 else (GENRES[number // 10], "Drama")
                for number in range(n_items)
            ],
        }
    )
    items["genres"] = [tuple(dict.fromkeys(names)) for names in items["genres"]]
    events = []
    for user in range(1, n_users + 1):
        liked = np.arange(10) + 10 * (user % 4)
        others = np.setdiff1d(np.arange(n_items), liked)
        chosen = rng.permutation(np.concatenate([rng.choice(liked, 7, False), rng.choice(others, 3, False)]))
        events += [(user, item + 1, np.nan, 100 * at + user) for at, item in enumerate(chosen)]
    interactions = pd.DataFrame(events, columns=["user_id", "item_id", "rating", "timestamp"])
    users = pd.DataFrame({"user_id": range(1, n_users + 1)})
    return Dataset("films", users, items, interactions, category_field="genres")


@pytest.fixture(scope="module")
def trained(films):
    return models.create("mini", **SMALL).fit(films)


def sequences_of(films: Dataset) -> list[np.ndarray]:
    return [films.item_columns(items) for items in films.histories().values()]


def texts_of(films: Dataset, **settings) -> tuple[Texts, QueryGenerator]:
    model = models.create("mini", **{**SMALL, **settings})
    phrases = QueryGenerator(films, model.settings["languages"], model.settings["kinds"])
    model._make_vocabulary(films, model._words(films))
    return Texts(sequences_of(films), phrases, model.vocabulary, model.settings), phrases


def conversations_of(films: Dataset, **settings) -> Conversations:
    settings = Mini(**{**SMALL, **settings}).settings
    return Conversations(sequences_of(films), Vocabulary(films.n_items, []), settings)


# -- phrases -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KIND_SHARES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_kind_of_phrase_is_true_of_its_item(films, kind, language):
    phrases = QueryGenerator(films, [language], [kind])
    draw = random.Random(0).random
    made = [
        (item, phrases.generate(item, [1, 2, 30], draw)) for item in range(films.n_items) for _ in range(10)
    ]
    asked = [(item, phrase) for item, phrase in made if phrase is not None]
    assert asked
    for item, phrase in asked:
        assert phrase.text
        assert all(phrases.meanings[number, item] for number in phrase.meaning)
        assert bool(phrase.meaning) == (kind not in ("null", "taste"))
        assert phrase.states_taste == kind.startswith("taste")


def test_an_item_of_several_categories_makes_each_of_them_less_likely(films):
    phrases = QueryGenerator(films)
    assert phrases.log_shares.shape == phrases.meanings.shape
    assert ((phrases.log_shares > -10) == phrases.meanings).all()
    for name in GENRES:
        row = phrases.log_shares[phrases._numbers["category", name]]
        for column in np.flatnonzero(row > -10):
            assert np.exp(row[column]) == pytest.approx(1 / len(phrases.categories[column]))


def test_what_a_phrase_means_is_what_its_words_say(films):
    phrases = QueryGenerator(films, ["en"], ["category and refusal"], context_share=0)
    draw = random.Random(1).random
    for _ in range(200):
        phrase = phrases.generate(int(draw() * films.n_items), [], draw)
        wanted = [
            name for name in GENRES if {name.lower(), *phrases.names["en"][name][1]} & set(said(phrase.text))
        ]
        assert len(phrase.meaning) == 2
        meets = phrases.meanings[list(phrase.meaning)].all(axis=0)
        for column in np.flatnonzero(meets):
            assert set(phrases.categories[column]) & set(wanted or GENRES)


def said(text: str) -> list[str]:
    return tokenise(text)


def test_the_vocabulary_holds_every_word_that_is_asked_with(films):
    phrases = QueryGenerator(films)
    model = Mini(**SMALL)
    known = set(model._words(films))
    draw = random.Random(2).random
    for _ in range(3000):
        phrase = phrases.generate(int(draw() * films.n_items), [3, 17], draw)
        assert set(tokenise(phrase.text)) <= known, phrase.text


def test_title_words_are_rare_and_long():
    found = title_words(["The Big Heat", "Heat", "Up", "The Big Sleep"], max_titles=1)
    assert found == [(), (), (), ("sleep",)]
    assert title_words(["Big Heat (1953)"]) == [("big", "heat")]


def test_plain_requests_begin_with_what_they_name_at_times(films):
    phrases, draw = QueryGenerator(films), random.Random(0).random
    grammar, words = query_frames()["grammar_en"], phrases.verbalizers["en"].words
    assert not set(grammar["wanted"]) & {*grammar["refused"], *grammar["refuse"]}
    for asks, name in (("ask", "wanted"), ("refuse", "refused")):
        ends = tuple(part.format(**words) for part in grammar[name])
        assert len(ends) == len(set(ends)) > 40
        texts = [phrases.frames["en"].compose("horror", draw, refuse=asks == "refuse") for _ in range(2000)]
        behind = sum(text.endswith(ends) for text in texts) / len(texts)
        assert (
            CATEGORY_FIRST_SHARE * 0.8 < behind < CATEGORY_FIRST_SHARE + 0.35
        )  # some of these end other texts too


def test_frames_are_the_same_kinds_in_both_languages():
    english, chinese = (query_frames()[language] for language in LANGUAGES)
    assert list(english) == list(chinese)
    assert set(QUESTION_KINDS) <= set(english)
    for listed in (*english.values(), *chinese.values()):
        assert len(listed) == len(set(listed)) >= 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"languages": ["fr"]}, "unknown language 'fr'"),
        ({"kinds": ["genre"]}, "unknown kind of query 'genre'"),
    ],
)
def test_phrases_refuse_unknown_names(films, arguments, says):
    with pytest.raises(InputError, match=says):
        QueryGenerator(films, **arguments)


# -- vocabulary and conversations ----------------------------------------------------------------------------------


def test_numbers_and_tokens_go_both_ways():
    vocabulary = Vocabulary(3, ["comedy", "no"], ["spooky"])
    tokens = vocabulary.encode("No COMEDY, spooky zzz 片")
    assert vocabulary.tokens(tokens) == ["no", "comedy", "spooky", "<unknown>", "<unknown>"]
    assert vocabulary.tokens(vocabulary.encode("comedys no")) == ["comedy", "no"]
    assert vocabulary.tokens([START, vocabulary.first_item + 2]) == ["<start>", "<item 2>"]
    assert vocabulary.spoken(vocabulary.first_word) == len(CONTROLS)
    assert len(vocabulary) == len(CONTROLS) + 3 + 3
    assert tokenise("genres = 喜剧 and year <= 1990") == [
        "genres",
        "=",
        "喜",
        "剧",
        "and",
        "year",
        "<=",
        "1990",
    ]


def test_items_stand_in_a_question():
    vocabulary = Vocabulary(9, ["would", "i", "like"])
    filled = fill("would I like {item}", {"item": 4}, vocabulary)
    assert vocabulary.tokens(filled) == ["would", "i", "like", "<item 4>"]


def test_rows_hold_every_event_once_in_order(films):
    conversations = conversations_of(films)
    found: dict[int, list[int]] = {}
    for rows in conversations.epoch(0):
        for row in rows:
            assert row.events == list(range(row.events[0], row.events[-1] + 1))
            assert len(row.events) <= SMALL["length"]
            found.setdefault(row.user, []).extend(row.events)
    for user, history in enumerate(sequences_of(films)):
        assert sorted(found[user]) == list(range(len(history)))


def test_what_is_learnt_follows_what_is_read(films):
    conversations = conversations_of(films, forgetting=0)
    for row in [row for rows in conversations.epoch(1) for row in rows]:
        history = conversations.sequences[row.user]
        assert row.tokens[0] == START
        for place, event in zip(row.places, row.events, strict=True):
            before = [token - conversations.vocabulary.first_item for token in row.tokens[1 : place + 1]]
            assert before == history[row.events[0] : event]
        assert row.places[-1] == len(row.tokens) - 1


def test_a_batch_leaves_out_what_was_met_before(films):
    conversations = conversations_of(films)
    rows = conversations.epoch(0)[0]
    batch = conversations.batch(rows)
    number = 0
    for row in rows:
        history = conversations.sequences[row.user]
        for event in row.events:
            assert batch.items[number] == history[event]
            never = set(np.flatnonzero(conversations.never))
            assert set(np.flatnonzero(batch.left_out[number])) == (set(history[:event]) | never) - {
                history[event]
            }
            number += 1
    assert number == len(batch.items) == len(batch.item_places) == len(batch.left_out)


def test_an_item_that_is_met_again_competes(films):
    again = pd.DataFrame(
        {"user_id": [1, 1, 1], "item_id": [5, 6, 5], "rating": np.nan, "timestamp": [1, 2, 3]}
    )
    conversations = conversations_of(films.with_interactions(again), forgetting=0)
    rows = [row for batch in conversations.epoch(0) for row in batch]
    left_out = conversations.batch(sorted(rows, key=lambda row: row.events[0])).left_out
    never = set(range(films.n_items)) - {4, 5}  # what nobody has met does not compete either
    assert [set(np.flatnonzero(one)) - never for one in left_out] == [set(), {4}, {5}]
    assert all(never <= set(np.flatnonzero(one)) for one in left_out)


def test_epochs_differ_and_repeat(films):
    for make in (conversations_of, lambda films: texts_of(films)[0]):
        one, again = make(films), make(films)
        assert one.epoch(0) == again.epoch(0)
        assert one.epoch(0) != one.epoch(1)


def test_texts_are_true_of_what_is_chosen_or_of_any_item(films):
    texts, phrases = texts_of(films, noise=0, paraphrase=0, question_share=0.3, instruction_share=0.9)
    vocabulary, true, answered = texts.vocabulary, [], set()
    for text in [text for batch in texts.epoch(0) for text in batch]:
        if text.answer:
            assert text.tokens[:2] == [START, ASK]
            assert text.answer[-1] == END
            first = len(text.tokens) - len(text.answer)
            assert text.tokens[first] == ANSWER
            assert text.tokens[first + 1 :] == list(text.answer[:-1])
            answered.add(vocabulary.tokens(text.answer)[0])
            continue
        assert (text.tokens[0], text.tokens[-1]) == (ASK, ANSWER)
        assert 0 <= text.trust <= 1
        if text.meaning != (texts.anything,):
            chosen = texts.sequences[text.user][text.event]
            true.append(phrases.meanings[list(text.meaning), chosen].all())
    assert 0.5 < np.mean(true) < 0.95
    assert {"comedy", "above"} <= answered


def test_a_batch_of_texts_holds_what_they_mean(films):
    texts, _ = texts_of(films, question_share=0.4, instruction_share=0.9)
    part = [text for batch in texts.epoch(0) for text in batch]
    batch = texts.batch(part)
    asks = [text for text in part if not text.answer]
    assert len(asks) == len(batch.asking) == len(batch.text_places) == len(batch.meanings) > 0
    assert (batch.token_ids.ravel()[batch.text_places] == ANSWER).all()
    for text, meaning, met in zip(asks, batch.meanings, batch.left_out, strict=True):
        assert set(meaning) - {texts.anything} == set(text.meaning) - {texts.anything}
        assert set(np.flatnonzero(met)) == set(texts.sequences[text.user][: text.event])
    said = [word for text in part for word in text.answer]
    np.testing.assert_array_equal(batch.words, [texts.vocabulary.spoken(word) for word in said])
    questions = [text for text in part if text.answer]
    read = [token for text in questions for token in text.tokens[-len(text.answer) :]]
    np.testing.assert_array_equal(batch.token_ids.ravel()[batch.word_places], read)
    assert batch.questions.sum() == len(questions) > 0
    for text, row in zip(part, batch.rows, strict=True):
        assert row == sum(map(len, texts.sequences[: text.user])) + text.event


def test_only_what_is_asked_is_paraphrased(films):
    model = models.create("mini", **SMALL)
    phrases = QueryGenerator(films)
    model._make_vocabulary(films, model._words(films))
    words = model.vocabulary.words
    vectors = word_vectors().of([*words, *model.vocabulary.more])
    texts = Texts(sequences_of(films), phrases, model.vocabulary, model.settings, vectors)
    named = set(texts.vocabulary.tokens(list(texts._neighbours)))
    assert "funny" in named
    assert not named & {"no", "not", "without", "anything", "want"}
    said = {token for like in texts._neighbours.values() for token in like}
    said |= {token for kinds in texts._noise.values() for kind in kinds for token in kind}
    new = [word for lists in held_out_words().values() for words in lists.values() for word in words]
    asked = {token for word in new for token in texts.vocabulary.encode(word)} - {UNKNOWN}
    assert len(asked) > 80
    assert not said & asked


def test_noise_names_nothing_and_refuses_nothing(films):
    texts, _ = texts_of(films)
    known = set(texts.vocabulary.words)
    noise = {
        word
        for kinds in texts._noise.values()
        for kind in kinds
        for word in texts.vocabulary.tokens(kind)
        if word in known
    }
    assert {"tonight", "please", "最", "一"} <= noise
    assert not noise & {
        "no",
        "not",
        "never",
        "without",
        "skip",
        "hate",
        "不",
        "别",
        "没",
        "非",
        "厌",
        "comedy",
        "恐",
    }


@pytest.mark.parametrize("languages", [["en", "zh"], ["en"], ["zh"]])
def test_sentences_stand_around_any_text(films, languages):
    texts, phrases = texts_of(
        films, languages=languages, noise=0.9, instruction_share=0.9, kinds=["title", "null"]
    )
    around = {sides for language in languages for sides in phrases.carriers(language)}
    assert len(around) >= 15 * len(languages)
    encode = texts.vocabulary.encode
    sides = [([ASK, *encode(before)], [*encode(after), ANSWER]) for before, after in around]

    def carried(epoch: int) -> tuple[list[list[int]], float]:
        tokens = [text.tokens for batch in texts.epoch(epoch) for text in batch if not text.answer]
        found = [
            one
            for one in tokens
            if any(one[: len(before)] == before and one[-len(after) :] == after for before, after in sides)
        ]
        return found, len(found) / len(tokens)

    found, share = carried(0)
    assert 0.9 / 4 < share < 0.9 / 2  # a third of the noise
    words = {token for listed in phrases.title_words for word in listed for token in encode(word)}
    assert any(words & set(one) for one in found)  # literal ones too
    assert 0.2 * share < carried(1)[1] < 0.7 * share  # tuning settles in this epoch


def test_words_of_sentences_around_are_not_foreseen_and_mean_nothing(films):
    phrases = QueryGenerator(films)
    known = {token for text in phrases.texts() for token in tokenise(text)}
    names = phrases.protected_texts()[0]
    for language in LANGUAGES:
        said = [token for sides in phrases.carriers(language) for side in sides for token in tokenise(side)]
        assert all(frame.count("{text}") == 1 for frame in query_frames()["carriers"][language])
        assert len(set(said) - known) > 20
        for sides in phrases.carriers(language):
            assert not [
                name for name in names for side in sides if f" {name} " in f" {' '.join(tokenise(side))} "
            ]
            assert not [name for name in names if not name.isascii() and name in "".join(sides)]


# -- training ------------------------------------------------------------------------------------------------------


def test_an_untrained_layer_is_an_average_of_what_it_reads():
    from instructrec.models.mini.model import build_backbone
    from instructrec.models.mini.trainer import start_as_average
    from instructrec.models.neural.training import seeded_keras

    seeded_keras(0)
    backbone = build_backbone(10, Mini(**SMALL).settings)
    start_as_average(list(backbone.transformer_layers), 0)
    attention = backbone.transformer_layers[0]._self_attention_layer
    one = np.random.default_rng(0).normal(size=(1, 1, 32)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(attention(one, attention_mask=np.ones((1, 1, 1)))), one, atol=1e-5)
    start_as_average(list(backbone.transformer_layers), 0, opposed=True)
    read = np.asarray(attention(one, attention_mask=np.ones((1, 1, 1))))
    np.testing.assert_allclose(read[..., 16:], 0.5 * one[..., 16:], atol=1e-5)
    np.testing.assert_allclose(read[..., :16], 0, atol=1e-5)


def test_training_learns_the_item_and_what_texts_mean(films, trained):
    assert trained.history["item"][-1] < trained.history["item"][0]
    assert {name: len(values) for name, values in trained.history.items()} == {
        "item": 3,
        "text": 2,
        "word": 2,
    }


def test_it_does_what_it_is_told(films):
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
    assert model.say([], "query", item=15) == "horror"


def test_the_answer_that_is_taught_is_that_of_bayes(films):
    """The loss of texts is 0 where p(item | history, text) ~ p(item | history) p(text | item)."""
    from instructrec.models.mini.trainer import HEADWIND, Descriptions, TextTrainer, TokenTable

    rng = np.random.default_rng(0)
    items = rng.normal(size=(4, 8)).astype(np.float32)
    table = TokenTable(np.zeros((4, 8), dtype=np.float32), 2, Descriptions(None, None), 0.5, 0.0, 0)
    shares = np.array([[0.0, np.log(0.5), -1e9, -1e9]], dtype=np.float32)
    history = rng.normal(size=(1, 8)).astype(np.float32)

    def loss(moves: np.ndarray) -> float:
        trainer = TextTrainer(
            [lambda hidden: hidden], table, items, np.zeros(8, np.float32), shares, 0.0, (), 0.0
        )
        trainer.states = lambda hidden, token_ids, training: np.tile(np.eye(1, 8, dtype=np.float32), (3, 1))
        table.items.assign(np.outer(moves, np.eye(1, 8)[0]).astype(np.float32))
        batch = {
            "token_ids": np.array([[ASK, len(CONTROLS) + 4, ANSWER]], dtype=np.int32),
            "asking": np.array([0], dtype=np.int32),
            "text_places": np.array([2], dtype=np.int32),
            "meanings": np.array([[0]], dtype=np.int32),
            "trust": np.array([0.7], dtype=np.float32),
            "told": np.array([False]),
            "left_out": np.zeros((1, 4), dtype=bool),
            "questions": np.array([False]),
            "word_places": np.array([], dtype=np.int32),
            "words": np.array([], dtype=np.int32),
            "histories": history,
        }
        return float(trainer(batch)["text"])

    best = np.array([0.0, np.log(0.5), -60.0, -60.0])
    assert loss(best) == pytest.approx(0, abs=1e-5)
    assert loss(best + 7) == pytest.approx(0, abs=1e-5)
    assert loss(best + [0, 1, 0, 0]) > 0.01
    assert loss(best + [0, 0, 60 - HEADWIND, 0]) > 0.1


def test_a_word_of_a_description_is_a_part_of_an_item(films):
    from instructrec.models.mini.trainer import Descriptions, TokenTable

    said = Descriptions(np.array([[0, 2], [1, 2]], dtype=np.int32), None)
    table = TokenTable(np.eye(2, 6, dtype=np.float32), 2, said, weight=0.5, dropped=0.9, seed=0)
    whole, first = np.asarray(table()), len(CONTROLS)
    words = whole[first + 2 :]
    np.testing.assert_allclose(whole[first : first + 2], np.eye(2, 6) + 0.5 * words, rtol=1e-6)
    assert np.abs(np.asarray(table(training=True))[first + 2 :]).sum() < np.abs(words).sum()


def test_a_word_that_training_does_not_know_is_a_turn_of_its_vector():
    from instructrec.models.mini.trainer import Descriptions, TokenTable

    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    table = TokenTable(np.eye(2, 6, dtype=np.float32), 2, Descriptions(None, vectors), 0.5, 0.0, 0)
    first = len(CONTROLS) + 2
    asked = np.array([[first, first + 1, first + 4], [1, len(CONTROLS), first + 2]], dtype=np.int32)
    found, whole = np.asarray(table.look_up(table(), asked)), np.asarray(table())
    turned = vectors @ np.asarray(table.turn)
    np.testing.assert_allclose(found[0, :2], whole[first : first + 2], rtol=1e-5)
    np.testing.assert_allclose(found[0, 2], turned[4], rtol=1e-5)
    np.testing.assert_allclose(found[1], [whole[1], whole[len(CONTROLS)], turned[2]], rtol=1e-5)


@pytest.mark.parametrize("at", [2, 4])
def test_an_interrupted_training_goes_on_to_the_same_end(films, at, tmp_path):
    whole = models.create("mini", **SMALL).fit(films)
    place = tmp_path / "checkpoint.npz"

    def stop(epoch: int, model: object) -> None:
        if epoch == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.create("mini", **SMALL).fit(films, checkpoint=place, on_epoch=stop)
    assert place.is_file()
    epochs = []
    resumed = models.create("mini", **SMALL)
    resumed.fit(films, checkpoint=place, on_epoch=lambda epoch, model: epochs.append(epoch))
    assert epochs == list(range(at + 1, 6))
    assert not place.exists()
    assert resumed.history == whole.history
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(array, resumed.weights[name], err_msg=name)


def test_a_checkpoint_of_another_training_is_refused(films, tmp_path):
    place = tmp_path / "checkpoint.npz"

    def stop(epoch: int, model: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.create("mini", **SMALL).fit(films, checkpoint=place, on_epoch=stop)
    with pytest.raises(InputError, match="checkpoint of another training"):
        models.create("mini", **{**SMALL, "seed": 1}).fit(films, checkpoint=place)
    place.write_bytes(place.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        models.create("mini", **SMALL).fit(films, checkpoint=place)


def test_without_instructions_it_is_a_model_of_histories(films):
    model = models.create("mini", **{**SMALL, "kinds": []}).fit(films)
    assert set(model.history) == {"item"}
    np.testing.assert_array_equal(model.score([[1, 2]], ["horror"]), model.score([[1, 2]]))
    with pytest.raises(InputError, match="histories alone"):
        model.say([1])


def test_tuning_leaves_what_histories_say(films, trained):
    alone = models.create("mini", **{**SMALL, "kinds": []}).fit(films)
    np.testing.assert_array_equal(alone.score([[1, 2], []]), trained.score([[1, 2], []]))


@pytest.mark.parametrize("dropped", ["text_dropout", "copy_dropout"])
def test_nothing_is_dropped_while_tuning_settles(films, dropped):
    def tuned(share, settling):
        settings = {**SMALL, dropped: share, "settling_epochs": settling, "word_vectors": False}
        return models.create("mini", **settings).fit(films).weights["text/tokens"]

    np.testing.assert_array_equal(tuned(0.5, 2), tuned(0.25, 2))
    assert not np.array_equal(tuned(0.5, 1), tuned(0.25, 1))


# -- answers -------------------------------------------------------------------------------------------------------


def test_scores_do_not_depend_on_who_is_asked_beside(films, trained):
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
    assert loaded.say(histories[0]) == trained.say(histories[0])
    assert loaded.n_parameters == trained.n_parameters
    np.testing.assert_array_equal(loaded.score(histories), trained.score(histories))


def test_a_text_moves_what_the_history_says_by_the_same_for_everybody(films, trained):
    histories = [films.history(1), []]
    unasked, asked = trained.score(histories), trained.score(histories, ["a comedy"] * 2)
    np.testing.assert_allclose((asked - unasked)[0], (asked - unasked)[1], atol=1e-4)
    assert np.ptp((asked - unasked)[0]) > 0


def test_words_of_a_text_are_weighed_and_copied(films, trained):
    columns = films.item_columns([3, 7])
    names = [films.items["title"][column].split()[1].lower() for column in columns]
    asked = f"show me {names[0]} or {names[1]}, a comedy, spooky"
    text = trained.text(asked)
    assert text[-2] >= trained.vocabulary.first_more  # a word that training did not have is not copied
    state, vectors = trained.states([text], texts=True)[0], trained.vectors(np.array(text), texts=True)
    a, b = (
        state @ (state[-1] @ trained.weights[f"text/{name}"].astype(np.float32)) / SMALL["hidden_size"]
        for name in ("words", "titles")
    )
    expected = trained._items("text") @ (state[-1] + a[1:-2] @ vectors[1:-2])
    weights = trained.word_weights(asked)
    assert weights["word"].tolist() == ["show", "me", names[0], "or", names[1], "a", "comedy", "spooky"]
    np.testing.assert_allclose(weights["words"], [*a[1:-2], 0], atol=1e-5)
    assert weights["words"][:-1].abs().min() > 0
    assert (weights["titles"] != 0).tolist() == [word in names for word in weights["word"]]
    for column, name in zip(columns, names, strict=True):
        weight = weights.set_index("word").loc[name, "titles"]
        assert weight == pytest.approx(b[trained.vocabulary.tokens(text).index(name)], abs=1e-5)
        expected[column] += weight
    moved = np.subtract(*trained.score([[1]] * 2, [asked, None]))
    np.testing.assert_allclose(moved, expected, atol=1e-4)


@pytest.mark.parametrize("copies", [(), ("words",), ("titles",)])
def test_what_is_not_copied_has_no_weights(films, copies, tmp_path):
    model = models.create("mini", **SMALL, copies=copies).fit(films)
    assert [name for name in ("words", "titles") if f"text/{name}" in model.weights] == list(copies)
    assert list(model.word_weights("a comedy")) == ["word", *copies]
    model.save(tmp_path / "mini")
    loaded = models.load(tmp_path / "mini")
    np.testing.assert_array_equal(loaded.score([[1]], ["a comedy"]), model.score([[1]], ["a comedy"]))


@pytest.mark.parametrize("copies", [(), ("words", "titles")])
def test_what_is_taught_of_a_text_is_what_is_answered(films, copies):
    """The trainer's loss of a batch is that of the answers that the model gives."""
    from instructrec.models.mini import trainer as instruct_trainer

    kept = {}
    original = instruct_trainer.compiled_step

    def remember(trainer, example):
        kept.update(trainer=trainer, batch=example)
        return original(trainer, example)

    settings = {**SMALL, "copies": copies, "question_share": 0.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instruct_trainer, "compiled_step", remember)
        model = models.create("mini", **settings).fit(films)
    batch, trainer = kept["batch"], kept["trainer"]
    moves = model._moves([[token for token in row if token] for row in batch["token_ids"].tolist()])
    known = np.where(batch["told"][:, None], trainer.nobody, batch["histories"])
    means = trainer.log_shares[batch["meanings"]].sum(axis=1)
    wanted = batch["trust"][:, None] * (batch["histories"] @ trainer.held.T) + means
    asked = batch["trust"][:, None] * (known @ trainer.held.T) + moves
    asked = asked + instruct_trainer.HEADWIND * (means < -1e8)
    wanted, asked = (np.where(batch["left_out"], -1e9, one).astype(np.float64) for one in (wanted, asked))
    possible = wanted.max(axis=1) > -5e8
    wanted, asked = (one - np.logaddexp.reduce(one, axis=1, keepdims=True) for one in (wanted, asked))
    loss = (np.exp(wanted) * (np.maximum(wanted, -50) - asked)).sum(axis=1) * possible
    assert float(trainer(batch)["text"]) == pytest.approx(loss.mean(), rel=2e-3)


def test_titles_are_significant_by_copying(films):
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

    def right(**more):
        model = models.create("mini", **settings, **more).fit(films)
        moves = model.score([[]] * len(words), words) - model.score([[]])
        return float(np.mean(moves.argmax(axis=1) == np.arange(len(words))))

    assert right() > 0.9 > right(copies=["words"]) + 0.2


def test_a_batch_says_which_titles_hold_its_words(films):
    texts, _ = texts_of(films)
    model = models.create("mini", **SMALL)
    model._make_vocabulary(films, model._words(films))
    texts.titled = model._titled
    batch = texts.batch([text for part in texts.epoch(0) for text in part])
    assert batch.titled.shape[1] == films.n_items
    assert batch.titling.shape == batch.token_ids.shape
    assert not batch.titled[-1].any()
    assert (batch.titling < len(batch.titled) - 1).any()
    for tokens, rows in zip(batch.token_ids, batch.titling, strict=True):
        for token, row in zip(tokens.tolist(), rows, strict=True):
            held = np.flatnonzero(batch.titled[row])
            np.testing.assert_array_equal(held, model._titled.get(token, []))


def test_likelihoods_are_those_of_the_next_token(films, trained):
    read = [[START, ASK, ANSWER], [START, ASK, trained.vocabulary.first_word, ANSWER]]
    told = np.ones((2, SMALL["hidden_size"]), dtype=np.float32)
    log_probs = trained.spoken_log_probs(read, told)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, rtol=1e-5)
    assert log_probs.shape[1] == len(trained.vocabulary) - films.n_items - len(trained.vocabulary.more)


def test_yes_or_no_and_a_or_b_follow_from_the_likelihood_of_items(films, trained):
    histories, texts = [films.history(user) for user in (1, 2, 3)], ["a comedy", None, "horror"]
    scores = trained.score(histories, texts)
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    yes = trained.yes_or_no(histories, [1, 2, 3], texts)
    own = chances[range(3), range(3)]
    np.testing.assert_allclose(yes, own / (own + 1 / films.n_items), rtol=1e-4)
    first = trained.a_or_b(histories, [(1, 2), (2, 3), (3, 4)], texts)
    np.testing.assert_allclose(first, own / (own + chances[range(3), range(1, 4)]), rtol=1e-4)


def test_the_decoders_are_those_of_keras_hub(films, trained):
    read = trained.conversation(films.history(1))
    states = np.asarray(
        trained.backbone(
            {"token_ids": np.array([read]), "padding_mask": np.ones((1, len(read)), dtype=np.int32)}
        )
    )
    np.testing.assert_allclose(states, trained.states([read]), atol=1e-5)
    read = trained.text("a comedy")
    states = np.asarray(
        trained.text_backbone(
            {"token_ids": np.array([read]), "padding_mask": np.ones((1, len(read)), dtype=np.int32)}
        )
    )
    np.testing.assert_allclose(states, trained.states([read], texts=True), atol=1e-5)


def test_states_for_tuning_are_those_of_the_last_items(films, trained):
    sequences = [one.tolist() for one in sequences_of(films)]
    states = trained._states_of_events(sequences)
    assert states.shape == (sum(map(len, sequences)), SMALL["hidden_size"])
    read = [trained._conversation(np.array(sequences[0][:n], dtype=int)) for n in (0, 3, 9)]
    np.testing.assert_allclose(states[[0, 3, 9]], trained._last_states(read), atol=1e-5)


def test_it_says_words(films, trained):
    for language in LANGUAGES:
        assert isinstance(trained.say(films.history(1), language=language), str)
        assert isinstance(trained.say([], "query", item=3, language=language), str)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda model: model.say([1], "mood"), "unknown question 'mood'"),
        (lambda model: model.say([1], "query"), "item is None"),
        (lambda model: model.say([1], "taste", item=1), "item is 1"),
        (lambda model: model.say([1], language="fr"), "unknown language 'fr'"),
        (lambda model: model.yes_or_no([[1]], [1, 2]), "2 questions for 1 histories"),
        (lambda model: model.a_or_b([[1]], [(1, 2), (2, 3)]), "2 questions for 1 histories"),
        (lambda model: model.yes_or_no([[1]], [99]), "unknown item of films"),
        (lambda model: Mini(**SMALL).conversation([1]), "not fitted"),
    ],
)
def test_bad_questions(trained, call, says):
    with pytest.raises(InputError, match=says):
        call(trained)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"hidden_size": 30, "n_heads": 4}, "hidden_size is 30"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"languages": "en"}, "languages is 'en'"),
        ({"languages": ["fr"]}, "unknown language 'fr'"),
        ({"kinds": ["genre"]}, "unknown kind of query"),
        ({"copies": ["genres"]}, "unknown copy 'genres'"),
        ({"noise": 1.0}, "noise is 1.0"),
        ({"tuning_epochs": 0}, "tuning_epochs is 0"),
        ({"settling_epochs": -1}, "settling_epochs is -1"),
        ({"describe_items": 1}, "describe_items is 1"),
        ({"text_learning_rate": 0}, "text_learning_rate is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(InputError, match=says):
        models.create("mini", **settings)


def test_too_little_to_learn_from(films):
    first = films.interactions.drop_duplicates("user_id")
    with pytest.raises(InputError, match="no user with two events"):
        models.create("mini", **SMALL).fit(films.with_interactions(first))


# -- vectors of words ----------------------------------------------------------------------------------------------


def test_like_words_have_like_vectors():
    table = word_vectors()
    words = ["frightening", "scary", "funny", "soldiers", "troops"]
    found = table.of([*words, "qqqq"])
    assert (found[-1] == 0).all()
    unit = found[:-1] / np.linalg.norm(found[:-1], axis=1, keepdims=True)
    likeness = unit @ unit.T
    assert likeness[0, 1] > 0.5 > likeness[0, 3]
    assert likeness[3, 4] > 0.5 > likeness[2, 3]
    assert np.mean(np.sum(table.vectors**2, axis=1)) == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(table.of(["soldiers"]), table.of(["soldier"]))


def test_words_of_one_token_and_of_a_list_get_vectors():
    found = choose_words(
        ["the", "x", "don't", "films", "film", "as"], ["ĠThe", "ĠNoir", "noun", "Ġ42", "Ġas", "Ġfilms"]
    )
    assert found == ["the", "film", "as", "noir"]


def test_damaged_vectors_are_refused(tmp_path, monkeypatch):
    place = tmp_path / "words.npz"
    place.write_bytes(b"no vectors")
    monkeypatch.setattr(vectors_module, "FILE", place)
    word_vectors.cache_clear()
    with pytest.raises(InputError, match="damaged"):
        word_vectors()
    word_vectors.cache_clear()


def test_unknown_and_end_are_control_tokens():
    assert CONTROLS[UNKNOWN] == "<unknown>"
    assert CONTROLS[END] == "<end>"
