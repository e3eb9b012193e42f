"""Tuning by LoRA: what a batch is, steps, being cut off, adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instructrec.errors import InputError
from instructrec.models.lm import lora
from instructrec.models.lm.pretrained import read_checkpoint
from instructrec.models.lm.scoring import LORA_PARTS, LanguageModel, language_model
from instructrec.models.lm.trie import TokenTree
from instructrec.models.training_checkpoint import TrainingCheckpoint
from tests import tiny_models

pytest.importorskip("keras_hub")
pytest.importorskip("gguf")
EXAMPLES = [(f"the film {number}", "Heat " * (1 + number % 3)) for number in range(10)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    return tiny_models.write_gguf(folder / "model.gguf", tiny_models.backbone("llama"), "llama")


def fresh(path: Path, **settings: Any) -> LanguageModel:
    return language_model(read_checkpoint(path)).enable_lora(**{"rank": 2, **settings})


def test_every_example_is_in_one_batch_of_an_epoch() -> None:
    pairs = [lora.Example([1] * n, [2], [2]) for n in range(1, 48)]
    made = [lora.batches_of(pairs, 4, 0, epoch) for epoch in (0, 1)]
    for batches in made:
        assert sorted(row for batch in batches for row in batch) == list(range(47))
        assert all(len(batch) <= 4 for batch in batches)
        assert max(max(batch) - min(batch) for batch in batches) < 12  # of like length
    assert made[0] != made[1]
    assert made[0] == lora.batches_of(pairs, 4, 0, 0)


def test_a_tuning_that_was_cut_off_ends_as_one_that_was_not(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 3,
        "accumulation": 2,
        "learning_rate": 0.01,
        "decay": True,
        "every": 2,
    }
    whole = fresh(path)
    losses = whole.tune(EXAMPLES, **settings)
    assert len(losses) == 8
    kept, made = tmp_path / "tuning.npz", lora._step

    def breaking(*arguments: Any) -> Any:
        step, calls = made(*arguments), iter(range(5))

        def cut(*batch: Any) -> Any:
            if next(calls) == 4:
                raise KeyboardInterrupt
            return step(*batch)

        return cut

    monkeypatch.setattr(lora, "_step", breaking)
    with pytest.raises(KeyboardInterrupt):
        fresh(path).tune(EXAMPLES, checkpoint=kept, **settings)
    assert kept.is_file()
    monkeypatch.setattr(lora, "_step", made)
    again = fresh(path)
    np.testing.assert_allclose(again.tune(EXAMPLES, checkpoint=kept, **settings), losses, rtol=1e-5)
    for name, array in lora.adapter(whole).items():
        np.testing.assert_allclose(lora.adapter(again)[name], array, atol=1e-4)
    assert not kept.exists()


def test_a_checkpoint_of_another_tuning_is_refused(path: Path, tmp_path: Path) -> None:
    kept = tmp_path / "tuning.npz"
    kept.write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="damaged"):
        fresh(path).tune(EXAMPLES, checkpoint=kept)
    kept.unlink()
    TrainingCheckpoint(kept, "another").save("adapters", [], losses=[])
    with pytest.raises(InputError, match="another training"):
        fresh(path).tune(EXAMPLES, checkpoint=kept)


def test_accumulated_batches_make_the_step_of_a_larger_one(path: Path) -> None:
    same = [("the film", "Heat"), ("the band", "Babe"), ("the film", "Babe"), ("the band", "Heat")]
    large, small = fresh(path), fresh(path)
    large.tune(same, batch_size=4, learning_rate=0.01)
    small.tune(same, batch_size=2, accumulation=2, learning_rate=0.01)
    moved = 0.0
    for name, array in lora.adapter(large).items():
        np.testing.assert_allclose(lora.adapter(small)[name], array, atol=2e-3)
        moved = max(moved, float(np.abs(array).max()))
    assert moved > 0.005


def test_an_adapter_goes_from_one_model_to_another(path: Path) -> None:
    tuned = fresh(path, parts=list(LORA_PARTS))
    tuned.tune(EXAMPLES, learning_rate=0.05)
    kept, other = lora.adapter(tuned), fresh(path, parts=list(LORA_PARTS), seed=5)
    assert len(kept) == 2 * 7 * 2
    before = other.option_log_likelihood("the film", ["Heat", "Babe"])
    lora.set_adapter(other, kept)
    after = other.option_log_likelihood("the film", ["Heat", "Babe"])
    np.testing.assert_allclose(after, tuned.option_log_likelihood("the film", ["Heat", "Babe"]), atol=0.05)
    assert np.abs(after - before).max() > 0.1
    with pytest.raises(InputError, match="does not fit"):
        lora.set_adapter(fresh(path, rank=3, parts=list(LORA_PARTS)), kept)
    with pytest.raises(InputError, match="which the model lacks"):
        lora.set_adapter(fresh(path), kept)


def test_bad_settings_are_refused(path: Path) -> None:
    with pytest.raises(InputError, match="part for LoRA"):
        fresh(path, parts=["quary"])
    with pytest.raises(InputError, match="parts is empty"):
        fresh(path, parts=[])
    for name in ("epochs", "batch_size", "accumulation", "every"):
        with pytest.raises(InputError, match=name):
            fresh(path).tune(EXAMPLES, **{name: 0})


def test_the_loss_among_the_texts_of_a_tree_is_theirs(path: Path) -> None:
    model, lines = fresh(path), ["Heat\n", "Heater\n", "the Babe\n"]
    tree = TokenTree([model.encode(one) for one in lines])
    response = "the Babe\nHeater\n"
    prompt = model.chat("a film")
    first = model.option_log_likelihood(prompt, lines, tree=tree)[0, 2]
    second = model.option_log_likelihood(prompt + "the Babe\n", lines, tree=tree)[0, 1]
    loss = model.tune([("a film", response)], tree=tree)
    assert loss[0] == pytest.approx(-(first + second) / len(model.encode(response)), abs=1e-3)
    after = model.option_log_likelihood(prompt, lines, tree=tree)[0, 2]
    assert after > first
    with pytest.raises(InputError, match="not in the tree"):
        model.tune([("a film", "Fargo\n")], tree=tree)


def test_what_lies_below_the_adapters_is_read_once_and_changes_nothing(path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 3, "learning_rate": 0.01}
    once = fresh(path, layers=1)
    assert {weight.path.split("/")[0] for weight in once.backbone.trainable_weights} == {
        "transformer_layer_1"
    }
    losses = once.tune(EXAMPLES, **settings)
    anew = fresh(path, layers=1)
    anew._read_once = 0  # all layers are read in each step
    np.testing.assert_allclose(anew.tune(EXAMPLES, **settings), losses, rtol=1e-4)
    for name, array in lora.adapter(once).items():
        np.testing.assert_allclose(lora.adapter(anew)[name], array, atol=1e-3)
    with pytest.raises(InputError, match="layers is 3; a whole number from 1 to 2"):
        fresh(path, layers=3)


def test_changes_are_of_the_norms_of_what_is_added_and_of_what_was_there(path: Path) -> None:
    model = fresh(path, parts=["query", "down"], layers=1)
    before = lora.changes(model)
    layers = len(model._tower())
    assert list(before.columns) == list(LORA_PARTS)
    assert before.index.tolist() == list(range(1, layers + 1))
    assert before.loc[layers, ["query", "down"]].tolist() == [0, 0]
    assert before.drop(index=layers).isna().all(axis=None)
    assert before.loc[layers].drop(["query", "down"]).isna().all()
    for layer in model._tower()[-1]._flatten_layers():
        if getattr(layer, "lora_enabled", False):
            layer.lora_kernel_b.assign(np.full(layer.lora_kernel_b.shape, 0.1, dtype=np.float32))
            if layer.name == LORA_PARTS["query"]:
                merged, frozen = np.asarray(layer.kernel), np.asarray(layer._kernel)
    expected = np.linalg.norm(merged - frozen) / np.linalg.norm(frozen)
    assert expected > 0
    np.testing.assert_allclose(lora.changes(model).loc[layers, "query"], expected, rtol=1e-5)
