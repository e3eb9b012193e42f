"""Tuning a language model by LoRA: adapters, training steps that can be resumed, files of a few megabytes.

LoRA (Hu et al., 2022, arXiv:2106.09685) freezes every weight and learns low-rank products beside some of them. The loss
is that of the answers' tokens alone. Derived in chapter `language-model`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from instructrec.errors import InputError, one_of
from instructrec.models.lm.batching import TrainingExample, epoch_batches
from instructrec.models.lm.scoring import LanguageModel
from instructrec.models.lm.softmax import TargetSoftmax
from instructrec.models.lm.trie import TokenTrie
from instructrec.models.training_checkpoint import TrainingCheckpoint
from instructrec.validation import PositiveInt, check_value

TARGET_MODULES = {
    "query": "query",
    "key": "key",
    "value": "value",
    "output": "attention_output",
    "gate": "feedforward_gate_dense",
    "up": "feedforward_intermediate_dense",
    "down": "feedforward_output_dense",
}
"""Projections of a decoder layer that can have adapters, with their names in Keras Hub."""
ENCODER_DECODER_MODULES = {name: f"{name}_projector" for name in ("query", "key", "value", "output")}
"""The same for T5."""
WARMUP_SHARE = 1 / 20
"""Share of the steps in which the learning rate rises, if it decays afterwards."""
CLIP_NORM = 1.0
"""Maximum norm of the gradient of a step, so that no unusual batch ruins the training."""
BETA_2 = 0.98
"""Decay of Adam's second moment."""


def layer_names(model: LanguageModel) -> dict[str, str]:
    """Return the projections of a model that can have adapters, and Keras Hub's names of them."""
    has_encoder = hasattr(model.backbone, "encoder_transformer_layers")
    return ENCODER_DECODER_MODULES if has_encoder else TARGET_MODULES


def enable_lora(
    model: LanguageModel,
    rank: int = 8,
    seed: int = 0,
    target_modules: Sequence[str] = ("query", "value"),
    layers: int | None = None,
) -> LanguageModel:
    """Freeze all weights of a model, add low-rank adapters to projections, and return the model.

    A frozen kernel W becomes W + AB, where A and B have `rank` inner dimensions and B starts at zero (Hu et al., 2022,
    arXiv:2106.09685), so that the model's scores are the same until it is tuned.

    Args:
        model: The model, which is changed.
        rank: Inner dimension of the adapters.
        seed: Seed of A's initial values.
        target_modules: Names from `TARGET_MODULES`.
        layers: Number of Transformer layers that get adapters, the last ones; None takes all.

    Raises:
        InputError: A rank below 1, more layers than the model has, an unknown projection or one that this family lacks,
            or LoRA is enabled already.
    """
    check_value("rank", rank, PositiveInt)
    names = layer_names(model)
    for module in target_modules:
        if module not in names:
            raise one_of("target module for LoRA", module, names, most=len(names))
    if not target_modules:
        raise InputError(f"target_modules is empty; give some of {', '.join(names)}")
    if model.n_trainable != model.n_parameters:
        raise InputError("LoRA is enabled already; load the model anew to start over")
    transformer_layers = model.transformer_layers
    if layers is not None and check_value("layers", layers, PositiveInt) > len(transformer_layers):
        raise InputError(
            f"layers is {layers!r}; a whole number from 1 to {len(transformer_layers)} is accepted"
        )
    import keras

    keras.utils.set_random_seed(seed)
    model.backbone.trainable = True
    for layer in model.backbone._flatten_layers(include_self=False):
        layer.trainable = False
    targets = {names[module] for module in target_modules}
    for transformer_layer in transformer_layers[-layers:] if layers else transformer_layers:
        for layer in transformer_layer._flatten_layers():
            if layer.name in targets:
                layer.trainable = True
                layer.enable_lora(rank)
    model.compile()
    return model


# -- tuning --------------------------------------------------------------------------------------------------------


def tune(
    model: LanguageModel,
    examples: Sequence[tuple[str, str]],
    *,
    trie: TokenTrie | None = None,
    epochs: int = 1,
    batch_size: int = 4,
    gradient_accumulation_steps: int = 1,
    learning_rate: float = 5e-4,
    decay: bool = False,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 50,
    verbose: int = 0,
) -> np.ndarray:
    """Tune a model on pairs of message and answer; the loss is that of the answers' tokens.

    With a trie, each line of an answer is a text of the trie, and the loss is normalised over the tokens that the trie
    allows (see `LanguageModel.option_log_likelihood`): nothing is spent on learning which texts exist.

    Args:
        model: A model with LoRA enabled; without LoRA, all of its weights are trained.
        examples: Pairs of a user's message and the answer; without a trie, the end-of-turn token is added.
        trie: All lines that an answer may hold, each with its line break.
        epochs: Passes over the examples.
        batch_size: Examples that are read at once.
        gradient_accumulation_steps: Number of batches whose mean gradient is used for one step.
        learning_rate: Highest learning rate of Adam.
        decay: Raise the learning rate over the first `WARMUP_SHARE` of the batches, then let it fall as a cosine to 0.
        seed: Seed of the order of examples.
        checkpoint: File that is written after each `checkpoint_every` batches. If it exists, training resumes from it
            and ends with the same weights as an uninterrupted one. It is deleted at the end.
        checkpoint_every: Batches between two writings of the checkpoint.
        verbose: 0 (nothing) or 1 (a progress bar).

    Returns:
        Mean loss of each batch's answer tokens, in nats, shape (n_batches,), float32.

    Raises:
        InputError: No example, a line that is not in the trie, a number below 1, or a checkpoint of another training.
    """
    if not examples:
        raise InputError("examples is an empty list; give at least one (message, answer) pair")
    for name, value in {
        "epochs": epochs,
        "batch_size": batch_size,
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "checkpoint_every": checkpoint_every,
    }.items():
        check_value(name, value, PositiveInt)
    import keras

    encoded = [_encode_example(model, message, answer, trie) for message, answer in examples]
    keras.utils.set_random_seed(seed)
    batches = [batch for epoch in range(epochs) for batch in epoch_batches(encoded, batch_size, seed, epoch)]
    network = model.training_network()
    optimizer = _optimizer(learning_rate, decay, gradient_accumulation_steps, len(batches))
    optimizer.build(network.trainable_variables)
    digest = _digest(model, encoded, batches, gradient_accumulation_steps, learning_rate, decay)
    saved = TrainingCheckpoint(None if checkpoint is None else Path(checkpoint), digest)
    variables = [*network.trainable_variables, *optimizer.variables]
    losses: list[float] = saved.note["losses"] if saved.restore("adapters", variables) else []

    def batch_arrays(number: int) -> tuple[Any, np.ndarray, np.ndarray]:
        return model.training_batch([encoded[row] for row in batches[number]])

    step = _compile_step(network, optimizer, model.softmax(trie), batch_arrays(0))
    with tqdm(
        total=len(batches), initial=len(losses), desc="tuning", disable=verbose != 1, file=sys.stderr
    ) as progress:
        for number in range(len(losses), len(batches)):
            losses.append(float(step(*batch_arrays(number))))
            progress.update()
            progress.set_postfix_str(f"loss {np.mean(losses[-20:]):.3f}", refresh=False)
            if (number + 1) % checkpoint_every == 0:
                saved.save("adapters", variables, losses=losses)
    saved.remove()
    return np.array(losses, dtype=np.float32)


def _encode_example(
    model: LanguageModel, message: str, answer: str, trie: TokenTrie | None
) -> TrainingExample:
    prompt = model.encode_prompt(model.chat(message)).tolist()
    if trie is None:
        tokens = [*model.encode(answer), *model.pretrained.eos[:1]]
        return TrainingExample(prompt, tokens, tokens)
    lines = [model.encode(line) for line in answer.splitlines(keepends=True)]
    return TrainingExample(
        prompt,
        [token for line in lines for token in line],
        [node for line in lines for node in trie.path(line)],
    )


def _optimizer(learning_rate: float, decay: bool, accumulation_steps: int, n_batches: int) -> Any:
    import keras

    schedule: Any = learning_rate
    if decay:
        warmup_steps = max(1, int(n_batches * WARMUP_SHARE))
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, n_batches - warmup_steps), warmup_target=learning_rate, warmup_steps=warmup_steps
        )
    return keras.optimizers.Adam(
        schedule,
        beta_2=BETA_2,
        global_clipnorm=CLIP_NORM,
        gradient_accumulation_steps=accumulation_steps if accumulation_steps > 1 else None,
    )


def _compile_step(network: Any, optimizer: Any, softmax: TargetSoftmax, batch: Any) -> Any:
    """Return a function that takes a batch, updates the weights and returns the loss; compiled once for all lengths.

    Args:
        network: Maps the inputs of a batch to states.
        optimizer: Built for the network's trainable variables.
        softmax: Maps states and targets to losses.
        batch: Inputs, targets and mask, whose types and ranks all batches share.
    """
    import tensorflow as tf
    from keras import ops

    signature = tf.nest.map_structure(
        lambda array: tf.TensorSpec((None,) * array.ndim, tf.as_dtype(array.dtype)), list(batch)
    )

    @tf.function(input_signature=signature)
    def step(inputs: dict[str, Any], targets: Any, mask: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = softmax.losses(network(inputs, training=True), targets)
            loss = ops.sum(losses * mask) / ops.sum(mask)
        optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
        return loss

    return step


def _digest(model: LanguageModel, examples: Sequence[TrainingExample], *settings: object) -> str:
    """Return a digest of all that decides the result of a training."""
    shapes = [(weight.path, tuple(weight.shape)) for weight in model.backbone.trainable_weights]
    content = json.dumps([model.name, shapes, list(examples), settings])
    return hashlib.sha256(content.encode()).hexdigest()


# -- adapters ------------------------------------------------------------------------------------------------------


def adapter(model: LanguageModel) -> dict[str, np.ndarray]:
    """Return the adapters of a model by the path of each weight, as float16."""
    return {weight.path: np.asarray(weight).astype(np.float16) for weight in _adapter_weights(model)}


def set_adapter(model: LanguageModel, arrays: dict[str, np.ndarray]) -> None:
    """Assign to a model with LoRA enabled the adapters that `adapter` returned.

    Raises:
        InputError: The arrays belong to another model, rank or set of projections.
    """
    weights = {weight.path: weight for weight in _adapter_weights(model)}
    for path, weight in weights.items():
        if path not in arrays or arrays[path].shape != tuple(weight.shape):
            raise InputError(
                f"the adapter does not fit {model.name}: {path} is "
                + ("missing" if path not in arrays else f"{arrays[path].shape}, not {tuple(weight.shape)}")
            )
    if extra := sorted(set(arrays) - set(weights)):
        raise InputError(f"the adapter does not fit {model.name}: it has {extra[0]}, which the model lacks")
    for path, weight in weights.items():
        weight.assign(arrays[path].astype(np.float32))


def changes(model: LanguageModel) -> pd.DataFrame:
    """Return how far the adapters move each projection, as the ratio of Frobenius norms |AB| / |W|.

    Args:
        model: A model with LoRA enabled.

    Returns:
        A row for each layer, from 1, and a column for each projection; NaN where there is no adapter.
    """
    modules = {layer_name: module for module, layer_name in layer_names(model).items()}
    layers = model.transformer_layers
    table = pd.DataFrame(index=range(1, len(layers) + 1), columns=list(modules.values()), dtype=float)
    for number, transformer_layer in enumerate(layers, start=1):
        for layer in transformer_layer._flatten_layers():
            if getattr(layer, "lora_enabled", False):
                product = np.asarray(layer.lora_kernel_a) @ np.asarray(layer.lora_kernel_b)
                scale = layer.lora_alpha / layer.lora_rank
                ratio = scale * np.linalg.norm(product) / np.linalg.norm(np.asarray(layer._kernel))
                table.loc[number, modules[layer.name]] = ratio
    return table


def _adapter_weights(model: LanguageModel) -> list[Any]:
    return [weight for weight in model.backbone.trainable_weights if "lora_kernel" in weight.path]
