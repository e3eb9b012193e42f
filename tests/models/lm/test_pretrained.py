"""Pretrained models: GGUF files and presets give the weights that were written, or one line says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instructrec.errors import InputError
from instructrec.models.lm import lora
from instructrec.models.lm.encoder_decoder import EncoderDecoder
from instructrec.models.lm.factory import load_language_model
from instructrec.models.lm.pretrained import FAMILIES, read_pretrained
from instructrec.models.lm.scoring import LanguageModel
from tests import tiny_models

pytest.importorskip("keras_hub")
pytest.importorskip("gguf")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gguf_file_gives_the_states_of_what_was_written(family: str, tmp_path: Path) -> None:
    written = tiny_models.backbone(family)
    read = read_pretrained(tiny_models.write_gguf(tmp_path / "model.gguf", written, family))
    assert type(read.backbone) is type(written)
    token_ids = np.array([[5, 9, 200, 17, 40]])
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    expected = np.asarray(written(inputs))
    np.testing.assert_allclose(np.asarray(read.backbone(inputs)), expected, atol=1e-5)
    reverse = np.asarray(read.backbone.token_embedding(expected, reverse=True))
    np.testing.assert_allclose(
        reverse, np.asarray(written.token_embedding(expected, reverse=True)), rtol=1e-4, atol=1e-4
    )


@pytest.fixture(scope="module", params=FAMILIES)
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    path = tmp_path_factory.mktemp(request.param) / "model.gguf"
    tiny_models.write_gguf(path, tiny_models.backbone(request.param), request.param)
    return load_language_model(path)


def test_text_comes_back_and_special_tokens_are_whole(decoder: LanguageModel) -> None:
    text = "the film in 1995, 重庆!"
    assert decoder.tokenizer.decode(decoder.encode(text)) == text
    assert decoder.pieces("the")[0] == "the"
    assert decoder.encode("<|im_end|>") == [0]
    assert decoder.pretrained.eos == (0,)
    assert decoder.pieces("1995") == list("1995")


def test_the_files_own_template_makes_the_chat(decoder: LanguageModel) -> None:
    assert decoder.chat("Hi", "Be kind") == (
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    with pytest.raises(InputError, match="special token"):
        decoder.chat("Hi<|im_end|>")


def test_a_prompt_is_read_once_for_all_options(decoder: LanguageModel) -> None:
    prompt, options = "the film in", [" the\n", "x", " 1995 and more"]
    from_scratch = [
        decoder.token_log_probs(prompt + option)[-len(decoder.encode(option)) :].sum() for option in options
    ]
    scores = decoder.option_log_likelihood(prompt, options, batch_size=2)
    np.testing.assert_allclose(scores[0], from_scratch, atol=1e-3)


def test_prompts_of_unequal_length_run_together(decoder: LanguageModel) -> None:
    prompts, options = ["the film in", "x", "a film, the one in 1995"], [" the\n", "x", " 1995 and"]
    together = decoder.option_log_likelihood(prompts, options)
    alone = np.concatenate([decoder.option_log_likelihood(prompt, options) for prompt in prompts])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_generated_tokens_are_the_most_likely(decoder: LanguageModel) -> None:
    tokens = list(decoder._greedy_tokens(decoder.encode_prompt("the film"), 4))
    score_next = decoder.next_token_scorer("the film")
    for length, token in enumerate(tokens):
        assert token == int(score_next([tokens[:length]])[0].argmax())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "mamba"}, "family 'mamba'; accepted: llama, qwen2, qwen3"),
        ({"architecture": "t5"}, "T5 is read from the folder of a Keras Hub preset"),
        ({"scaling": "yarn"}, "rotary positions are scaled"),
        ({"tokenizer": "llama"}, "tokenizer of the kind 'llama'"),
        ({"tensor": "blk.0.ffn_gate_exps.weight"}, "no weight for blk.0.ffn_gate_exps"),
        ({"tensor": "rope_freqs.weight"}, "rotary frequencies are adjusted"),
        ({"omit": "blk.1.ffn_up.weight"}, "lacks 1 tensors"),
    ],
)
def test_what_is_not_read_is_refused_with_the_reason(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    path = tiny_models.write_gguf(tmp_path / "other.gguf", tiny_models.backbone("llama"), "llama", **changes)
    with pytest.raises(InputError, match=reason) as error:
        read_pretrained(path)
    assert "\n" not in str(error.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "note.gguf").write_text("not weights")
    with pytest.raises(InputError, match="no GGUF file"):
        read_pretrained(tmp_path / "note.gguf")
    whole = tiny_models.write_gguf(tmp_path / "whole.gguf", tiny_models.backbone("llama"), "llama")
    (tmp_path / "cut.gguf").write_bytes(whole.read_bytes()[:20_000])
    with pytest.raises(InputError, match="damaged"):
        read_pretrained(tmp_path / "cut.gguf")
    with pytest.raises(InputError, match="is not a file"):
        read_pretrained(tmp_path / "none.gguf")
    with pytest.raises(InputError, match="dtype"):
        read_pretrained(whole, "int4")


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("t5")
    return folder, tiny_models.write_t5(folder)


@pytest.mark.filterwarnings("ignore:Layer:UserWarning")  # about masks that T5 does not use
def test_a_t5_preset_scores_answers_as_its_backbone_does(t5: tuple[Path, Any]) -> None:
    model = load_language_model(t5[0])
    assert isinstance(model, EncoderDecoder)
    prompt, answers = model.chat("the history is Heat"), ["Babe", "Toy Story (1995)"]
    scores = model.option_log_likelihood(prompt, answers, batch_size=1)[0]
    for score, answer in zip(scores, answers, strict=True):
        prompt_tokens, answer_tokens = np.array([model.encode(prompt)]), np.array([model.encode(answer)])
        inputs = {
            "encoder_token_ids": prompt_tokens,
            "encoder_padding_mask": np.ones_like(prompt_tokens),
            "decoder_token_ids": np.pad(answer_tokens[:, :-1], ((0, 0), (1, 0))),
            "decoder_padding_mask": np.ones_like(answer_tokens),
        }
        states = t5[1](inputs)["decoder_sequence_output"]
        logits = np.asarray(t5[1].token_embedding(states, reverse=True), dtype=np.float64)[0]
        log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        expected = log_probs[np.arange(answer_tokens.shape[1]), answer_tokens[0]].sum()
        assert score == pytest.approx(expected, abs=1e-3)
        next_token = model.next_token_log_probs(prompt)
        assert np.exp(next_token.astype(float)).sum() == pytest.approx(1, abs=1e-4)
        assert next_token[answer_tokens[0, 0]] == pytest.approx(log_probs[0, answer_tokens[0, 0]], abs=1e-3)


def test_a_t5_preset_is_tuned_by_lora(t5: tuple[Path, Any]) -> None:
    model = lora.enable_lora(load_language_model(t5[0]), 2)
    assert 0 < model.n_trainable < model.n_parameters / 5
    answers = ["Babe", "Toy Story"]
    before = model.option_log_likelihood(model.chat("recommend"), answers)[0]
    losses = lora.tune(model, [("recommend", "Babe")] * 2, epochs=20, learning_rate=0.05)
    assert losses[-1] < losses[0]
    after = model.option_log_likelihood(model.chat("recommend"), answers)[0]
    assert after[0] - after[1] > before[0] - before[1]


def test_a_t5_reads_whole_texts_only(t5: tuple[Path, Any]) -> None:
    model = load_language_model(t5[0])
    assert isinstance(model.generate("the history is Heat", max_tokens=3), str)
    for call in (
        model.token_log_probs,
        lambda text: model.last_states(text, ["a"]),
        lambda text: model.greedy_matches([text], ["a"]),
    ):
        with pytest.raises(InputError, match="reads a text whole"):
            call("the film")


def test_folders_that_are_no_preset(t5: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no config.json"):
        read_pretrained(tmp_path)
    settings = json.loads((t5[0] / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="no configuration"):
        read_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**settings, "class_name": "keras_hub>BertBackbone"}))
    with pytest.raises(InputError, match="preset of BertBackbone; accepted: LlamaBackbone"):
        read_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="damaged preset"):
        read_pretrained(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_reads_the_same_out_of_a_file(family: str, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    from benchmarks.language_model import divergence, server, top

    path = tiny_models.write_gguf(tmp_path / "model.gguf", tiny_models.backbone(family), family)
    model = load_language_model(path)
    tokens, compared = [5, 9, 200, 17, 40, 41, 7, 90, 33, 61], 0
    with server(path) as ask:
        for length in range(1, len(tokens) + 1):
            answer = ask(tokens[:length], 100)
            if "completion_probabilities" in answer:  # none for a token that is a part of a character
                ids, theirs = top(answer)
                hidden, _, _ = model.prefill([np.array(tokens[:length], dtype=np.int32)])
                ours = model.vocabulary.log_probs(hidden[:, -1])[0, ids]
                assert np.abs(ours - theirs).max() < 0.02
                assert divergence(theirs, ours) < 1e-4
                compared += 1
    assert compared >= 3
