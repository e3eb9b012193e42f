"""Tuning by LoRA: batches, steps, resuming, adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instructrec.errors import InputError
from instructrec.models.lm import lora
from instructrec.models.lm.batching import TrainingExample, epoch_batches
from instructrec.models.lm.factory import load_language_model
from instructrec.models.lm.lora import TARGET_MODULES
from instructrec.models.lm.scoring import LanguageModel
from instructrec.models.lm.trie import TokenTrie
from instructrec.models.training_checkpoint import TrainingCheckpoint

pytest.importorskip("keras_hub")
pytest.importorskip("gguf")
EXAMPLES = [(f"the film {number}", "Heat " * (1 + number % 3)) for number in range(10)]


def fresh(path: Path, **settings: Any) -> LanguageModel:
    return lora.enable_lora(load_language_model(path), **{"rank": 2, **settings})


def test_every_example_is_in_one_batch_of_an_epoch() -> None:
    examples = [TrainingExample([1] * n, [2], [2]) for n in range(1, 48)]
    epochs = [epoch_batches(examples, 4, 0, epoch) for epoch in (0, 1)]
    for batches in epochs:
        assert sorted(row for batch in batches for row in batch) == list(range(47))
        assert all(len(batch) <= 4 for batch in batches)
        assert max(max(batch) - min(batch) for batch in batches) < 12  # of like length
    assert epochs[0] != epochs[1]
    assert epochs[0] == epoch_batches(examples, 4, 0, 0)


def test_a_tuning_that_was_cut_off_ends_as_one_that_was_not(
    llama_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 3,
        "gradient_accumulation_steps": 2,
        "learning_rate": 0.01,
        "decay": True,
        "checkpoint_every": 2,
    }
    uninterrupted = fresh(llama_path)
    losses = lora.tune(uninterrupted, EXAMPLES, **settings)
    assert len(losses) == 8
    checkpoint, compile_step = tmp_path / "tuning.npz", lora._compile_step

    def compile_breaking_step(*arguments: Any) -> Any:
        step, calls = compile_step(*arguments), iter(range(5))

        def breaking_step(*batch: Any) -> Any:
            if next(calls) == 4:
                raise KeyboardInterrupt
            return step(*batch)

        return breaking_step

    monkeypatch.setattr(lora, "_compile_step", compile_breaking_step)
    with pytest.raises(KeyboardInterrupt):
        lora.tune(fresh(llama_path), EXAMPLES, checkpoint=checkpoint, **settings)
    assert checkpoint.is_file()
    monkeypatch.setattr(lora, "_compile_step", compile_step)
    resumed = fresh(llama_path)
    resumed_losses = lora.tune(resumed, EXAMPLES, checkpoint=checkpoint, **settings)
    np.testing.assert_allclose(resumed_losses, losses, rtol=1e-5)
    for name, array in lora.adapter(uninterrupted).items():
        np.testing.assert_allclose(lora.adapter(resumed)[name], array, atol=1e-4)
    assert not checkpoint.exists()


def test_a_checkpoint_of_another_tuning_is_refused(llama_path: Path, tmp_path: Path) -> None:
    checkpoint, model = tmp_path / "tuning.npz", fresh(llama_path)
    checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="damaged"):
        lora.tune(model, EXAMPLES, checkpoint=checkpoint)
    checkpoint.unlink()
    TrainingCheckpoint(checkpoint, "another").save("adapters", [], losses=[])
    with pytest.raises(InputError, match="another training"):
        lora.tune(model, EXAMPLES, checkpoint=checkpoint)


def test_accumulated_batches_make_the_step_of_a_larger_one(llama_path: Path) -> None:
    examples = [("the film", "Heat"), ("the band", "Babe"), ("the film", "Babe"), ("the band", "Heat")]
    large, small = fresh(llama_path), fresh(llama_path)
    lora.tune(large, examples, batch_size=4, learning_rate=0.01)
    lora.tune(small, examples, batch_size=2, gradient_accumulation_steps=2, learning_rate=0.01)
    largest = 0.0
    for name, array in lora.adapter(large).items():
        np.testing.assert_allclose(lora.adapter(small)[name], array, atol=2e-3)
        largest = max(largest, float(np.abs(array).max()))
    assert largest > 0.005


def test_an_adapter_goes_from_one_model_to_another(llama_path: Path) -> None:
    modules, options = list(TARGET_MODULES), ["Heat", "Babe"]
    source = fresh(llama_path, target_modules=modules)
    lora.tune(source, EXAMPLES, learning_rate=0.05)
    adapter, target = lora.adapter(source), fresh(llama_path, target_modules=modules, seed=5)
    assert len(adapter) == 2 * 7 * 2
    before = target.option_log_likelihood("the film", options)
    lora.set_adapter(target, adapter)
    after = target.option_log_likelihood("the film", options)
    np.testing.assert_allclose(after, source.option_log_likelihood("the film", options), atol=0.05)
    assert np.abs(after - before).max() > 0.1
    with pytest.raises(InputError, match="does not fit"):
        lora.set_adapter(fresh(llama_path, rank=3, target_modules=modules), adapter)
    with pytest.raises(InputError, match="which the model lacks"):
        lora.set_adapter(fresh(llama_path), adapter)


def test_bad_settings_are_refused(llama_path: Path) -> None:
    model = load_language_model(llama_path)
    with pytest.raises(InputError, match="target module for LoRA"):
        lora.enable_lora(model, target_modules=["quary"])
    with pytest.raises(InputError, match="target_modules is empty"):
        lora.enable_lora(model, target_modules=[])
    with pytest.raises(InputError, match="layers is 3; a whole number from 1 to 2"):
        lora.enable_lora(model, layers=3)
    for name in ("epochs", "batch_size", "gradient_accumulation_steps", "checkpoint_every"):
        with pytest.raises(InputError, match=name):
            lora.tune(model, EXAMPLES, **{name: 0})


def test_the_loss_among_the_texts_of_a_trie_is_theirs(llama_path: Path) -> None:
    model, lines = fresh(llama_path), ["Heat\n", "Heater\n", "the Babe\n"]
    trie = TokenTrie([model.encode(line) for line in lines])
    answer = "the Babe\nHeater\n"
    prompt = model.chat("a film")
    first = model.option_log_likelihood(prompt, lines, trie=trie)[0, 2]
    second = model.option_log_likelihood(prompt + "the Babe\n", lines, trie=trie)[0, 1]
    loss = lora.tune(model, [("a film", answer)], trie=trie)
    assert loss[0] == pytest.approx(-(first + second) / len(model.encode(answer)), abs=1e-3)
    after = model.option_log_likelihood(prompt, lines, trie=trie)[0, 2]
    assert after > first
    with pytest.raises(InputError, match="not in the trie"):
        lora.tune(model, [("a film", "Fargo\n")], trie=trie)


def test_changes_are_ratios_of_norms(llama_path: Path) -> None:
    model = fresh(llama_path, target_modules=["query", "down"], layers=1)
    trainable = {weight.path.split("/")[0] for weight in model.backbone.trainable_weights}
    assert trainable == {"transformer_layer_1"}
    before, last = lora.changes(model), len(model.transformer_layers)
    assert list(before.columns) == list(TARGET_MODULES)
    assert before.index.tolist() == list(range(1, last + 1))
    assert before.loc[last, ["query", "down"]].tolist() == [0, 0]
    assert before.loc[last].drop(["query", "down"]).isna().all()
    assert before.drop(index=last).isna().all(axis=None)
    [query] = [
        layer
        for layer in model.transformer_layers[-1]._flatten_layers()
        if layer.name == TARGET_MODULES["query"]
    ]
    query.lora_kernel_b.assign(np.full(query.lora_kernel_b.shape, 0.1, dtype=np.float32))
    merged, frozen = np.asarray(query.kernel), np.asarray(query._kernel)
    expected = np.linalg.norm(merged - frozen) / np.linalg.norm(frozen)
    assert expected > 0
    np.testing.assert_allclose(lora.changes(model).loc[last, "query"], expected, rtol=1e-5)
