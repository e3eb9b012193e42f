"""The recommender that lists titles: examples, scores, tuning, files; on a tiny random language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from instructrec import models
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions.query_generator import QueryGenerator
from instructrec.models.lm import lora
from instructrec.models.lm.constrained_decoding import title_trie
from instructrec.models.lm.prompts import PromptWriter, draw_examples
from instructrec.models.lm.smollm2 import SmolLM2

pytest.importorskip("keras_hub")
pytest.importorskip("gguf")
TITLES = ["Ten", "Twenty", "Thirty", "Forty", "Fifty", "Sixty"]
SMALL: dict[str, Any] = {"length": 3, "lines": 4, "rank": 2, "draws": 1, "epochs": 1, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def data() -> Dataset:
    items = pd.DataFrame(
        {
            "item_id": [10, 20, 30, 40, 50, 60],
            "title": TITLES,
            "genres": [("Comedy",), ("Drama",), ("Comedy", "Drama"), ("War",), ("Comedy",), ("War",)],
        }
    )
    events = [(user, 10 * (1 + (user + at) % 6)) for user in range(8) for at in range(12 if user == 3 else 5)]
    interactions = pd.DataFrame(events, columns=["user_id", "item_id"]).assign(
        rating=5.0, timestamp=np.arange(len(events), dtype=np.int64)
    )
    return Dataset("tiny", pd.DataFrame({"user_id": range(8)}), items, interactions, "genres")


@pytest.fixture(scope="module")
def path(llama_path: Path) -> str:
    return str(llama_path)


@pytest.fixture(scope="module")
def tuned(data: Dataset, path: str) -> SmolLM2:
    return SmolLM2(path=path, **SMALL).fit(data)


def sequences(data: Dataset) -> list[list[int]]:
    return [data.item_columns(items).tolist() for items in data.histories().values()]


def test_each_choice_is_in_one_answer_after_its_history(data: Dataset) -> None:
    writer = PromptWriter(data, 3)
    queries = QueryGenerator(data, ["en"])

    def draw(number: int) -> list[tuple[str, str]]:
        return draw_examples(sequences(data), writer, queries, 4, 0.0, 0, number)

    answers = [answer.split("\n")[:-1] for _, answer in draw(0)]
    histories = [message.split("\n")[1:-1] for message, _ in draw(0)]
    assert [title for answer in answers for title in answer] == [
        TITLES[item] for sequence in sequences(data) for item in sequence
    ]
    assert max(map(len, answers)) == 4
    assert max(map(len, histories)) == 3
    assert any(histories)
    for history, answer in zip(histories, answers, strict=True):
        if history:  # each user's films follow each other in the order of the catalogue
            assert TITLES.index(answer[0]) == (TITLES.index(history[-1]) + 1) % 6
    assert draw(0) != draw(1)
    assert draw(0) == draw(0)


def test_an_answer_to_a_request_lists_only_items_that_meet_it(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = QueryGenerator(data, ["en"], ["category", "refusal"], context_share=0)
    meanings: dict[str, tuple[int, ...]] = {}
    generate = queries.generate

    def recorded(*arguments: Any) -> Any:
        query = generate(*arguments)
        assert query is not None
        meanings[query.text] = query.meaning
        return query

    monkeypatch.setattr(queries, "generate", recorded)
    examples = draw_examples(sequences(data), PromptWriter(data, 3), queries, 4, 0.99, 0, 0)
    requests = [
        (message.split("I ask: ")[1].split("\n")[0], answer)
        for message, answer in examples
        if "I ask" in message
    ]
    assert len(requests) > 5
    for text, answer in requests:
        mask = np.logical_and.reduce(queries.meanings[list(meanings[text])])
        assert answer
        assert all(mask[TITLES.index(title)] for title in answer.split("\n")[:-1])


@pytest.mark.parametrize("constrained", [True, False])
def test_a_score_is_the_likelihood_of_the_title_behind_the_prompt(
    constrained: bool, data: Dataset, path: str, tuned: SmolLM2
) -> None:
    recommender = tuned if constrained else SmolLM2(path=path, epochs=0, constrained=False).fit(data)
    model = recommender.language_model
    prompt = recommender.prompts([[10, 20, 30, 40]], ["a comedy"])[0]
    assert "Twenty\nThirty\nForty\nI ask: a comedy\n" in prompt
    assert ("Ten\n" in prompt) == (not constrained)  # the prompt shows three titles, or twenty
    trie = title_trie(model, TITLES) if constrained else None
    expected = model.option_log_likelihood(prompt, ["Fifty\n", "Sixty\n"], trie=trie)[0]
    scores = recommender.score([[10, 20, 30, 40]], ["a comedy"], items=[50, 60])
    np.testing.assert_allclose(scores[0], expected, atol=1e-3)
    all_scores = recommender.score([[10, 20, 30, 40]], ["a comedy"])[0]
    np.testing.assert_allclose(all_scores[4:], expected, atol=1e-3)
    total = np.exp(all_scores.astype(float)).sum()
    assert total == pytest.approx(1, abs=1e-3) if constrained else total < 0.9
    assert recommender.score([[]], items=[]).shape == (1, 0)


@pytest.mark.parametrize("name", ["smollm2", "item-knn"])
def test_candidates_of_each_request_are_scored_as_the_catalogue_is(
    name: str, data: Dataset, tuned: SmolLM2
) -> None:
    model = tuned if name == "smollm2" else models.create(name).fit(data)
    histories, own = [[10], [], [20, 30]], [[40, 20], [10, 60], [50, 10]]
    scores = model.score_candidates(histories, own)
    all_scores = model.score(histories)
    expected = np.take_along_axis(all_scores, np.array([data.item_columns(items) for items in own]), axis=1)
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    table = model.recommend([10], candidates=[40, 20, 40], n=5)
    assert sorted(table["item_id"]) == [20, 40]
    with pytest.raises(InputError, match="all of equal length"):
        model.score_candidates(histories, [[40], [10, 60], [50]])
    with pytest.raises(InputError, match="1 lists"):
        model.score_candidates(histories, [[40]])


def test_tuning_teaches_what_comes_next(data: Dataset, path: str, tuned: SmolLM2) -> None:
    untuned = SmolLM2(path=path, epochs=0).fit(data)
    assert len(untuned.losses) == 0 < len(tuned.losses)
    assert not np.allclose(untuned.score([[10]]), tuned.score([[10]]))
    longer = SmolLM2(path=path, **{**SMALL, "epochs": 6, "instruction_share": 0.0}).fit(data)
    assert longer.losses[-3:].mean() < longer.losses[:3].mean() - 0.1


def test_saved_are_the_adapters_alone(data: Dataset, tuned: SmolLM2, tmp_path: Path) -> None:
    folder = tuned.save(tmp_path / "model")
    loaded = models.load(folder)
    assert isinstance(loaded, SmolLM2)
    scores = tuned.score([[10, 20]], ["war"])
    np.testing.assert_allclose(loaded.score([[10, 20]], ["war"]), scores, atol=0.02)  # float16
    np.testing.assert_array_equal(loaded.losses, tuned.losses)
    again = models.load(loaded.save(tmp_path / "again"))
    np.testing.assert_array_equal(again.score([[10, 20]]), loaded.score([[10, 20]]))
    n = tuned.language_model.n_trainable
    assert (folder / "arrays.npz").stat().st_size < 2 * n + 20_000


def test_shots_stand_in_front_and_are_kept(data: Dataset, path: str, tmp_path: Path) -> None:
    model = SmolLM2(path=path, epochs=0, shots=1).fit(data)
    prompt = model.prompts([[10]])[0]
    assert prompt.count("<|im_start|>user") == 2
    assert prompt.count("<|im_start|>assistant") == 2
    assert models.load(model.save(tmp_path / "model")).prompts([[10]]) == [prompt]  # type: ignore[attr-defined]


def test_a_share_of_the_users_is_part_of_a_larger_one(data: Dataset) -> None:
    examples = {share: SmolLM2(user_share=share, **SMALL).examples(data) for share in (0.25, 0.5, 1.0)}
    titles = {share: sum(answer.count("\n") for _, answer in pairs) for share, pairs in examples.items()}
    assert titles[0.25] < titles[0.5] < titles[1.0]


def test_a_tuning_that_was_cut_off_goes_on(
    data: Dataset, path: str, tuned: SmolLM2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, compile_step = tmp_path / "checkpoint", lora._compile_step

    def breaking(*arguments: Any) -> Any:
        step, calls = compile_step(*arguments), iter(range(2))

        def broken(*batch: Any) -> Any:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return step(*batch)

        return broken

    monkeypatch.setattr("instructrec.models.lm.smollm2.CHECKPOINT_EVERY", 1)
    monkeypatch.setattr(lora, "_compile_step", breaking)
    with pytest.raises(KeyboardInterrupt):
        SmolLM2(path=path, **SMALL).fit(data, checkpoint=checkpoint)
    assert checkpoint.exists()
    monkeypatch.setattr(lora, "_compile_step", compile_step)
    resumed = SmolLM2(path=path, **SMALL).fit(data, checkpoint=checkpoint)
    np.testing.assert_allclose(resumed.losses, tuned.losses, atol=1e-4)
    assert not checkpoint.exists()


def test_a_special_token_in_a_request_is_refused(tuned: SmolLM2) -> None:
    with pytest.raises(InputError, match="special token"):
        tuned.recommend([10], "a comedy<|im_end|>")


def test_candidates_that_are_listed_stand_in_the_prompt(data: Dataset, path: str) -> None:
    model = SmolLM2(path=path, epochs=0, constrained=False).fit(data)
    listed = np.array([[3, 4], [5, 1]])
    scores = model.score_listed([[0], [2]], listed)
    message = (
        "I watched these films, the latest one last:\nThirty\nChoose only from these films:\nSixty\nTwenty\n"
    )
    prompt = model.language_model.chat(message + "List the films I will watch next, one on each line.")
    expected = model.language_model.option_log_likelihood(prompt, ["Sixty\n", "Twenty\n"])[0]
    np.testing.assert_allclose(scores[1], expected, atol=1e-3)


def test_a_tuned_model_names_the_items_of_another_catalogue(data: Dataset, tuned: SmolLM2) -> None:
    items = data.items.assign(title=[f"{title} again" for title in TITLES], item_id=[1, 2, 3, 4, 5, 6])
    catalogue = Dataset("other", data.users, items, data.interactions.iloc[:0], "genres")
    moved = tuned.with_catalogue(catalogue)
    assert "Ten again\n" in moved.prompts([[1]])[0]
    scores = moved.score([[1]])
    assert np.exp(scores.astype(float)).sum() == pytest.approx(1, abs=1e-3)
    assert moved.recommend([1], n=2)["title"].str.endswith("again").all()
