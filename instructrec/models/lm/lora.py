"""Tuning a language model by LoRA: examples to batches, steps that can be cut off, adapters that are a few megabytes.

LoRA (Hu et al., 2022, arXiv:2106.09685) leaves every weight as it is and learns thin products beside some of them. The
loss falls on the tokens of the answers alone. Derived in chapter `language-model`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from instructrec.errors import InputError
from instructrec.models.training_checkpoint import TrainingCheckpoint

if TYPE_CHECKING:
    from instructrec.models.lm.scoring import LanguageModel

WARM = 1 / 20
"""Share of the steps over which the learning rate rises where it then falls."""
LONGEST, MEMORY = 1.0, 0.98
"""A gradient is cut to this length; Adam's second moment decays by this factor: no odd batch ends it all."""
NEAR = 16
"""So many batches are made of examples that lie together in the order of an epoch, by length, to be padded less."""


class Example(NamedTuple):
    """What a model is tuned on.

    Attributes:
        prompt: Token ids.
        answer: Token ids.
        targets: What is learnt at each token of the answer: the token, or its node in a tree.
    """

    prompt: list[int]
    answer: list[int]
    targets: list[int]

    @property
    def read(self) -> list[int]:
        """All that is read: the prompt, and the answer but its last token."""
        return self.prompt + self.answer[:-1]


def tune(
    model: LanguageModel,
    examples: Sequence[Example],
    *,
    epochs: int,
    batch_size: int,
    accumulation: int,
    learning_rate: float,
    decay: bool,
    seed: int,
    checkpoint: Path | None,
    every: int,
    verbose: int,
    losses_of: Callable[[Any, Any], Any],
) -> np.ndarray:
    """Train the adapters of a model; arguments and errors as those of `LanguageModel.tune`.

    Args:
        model: With LoRA enabled, or all of its weights are trained.
        examples: What it learns.
        epochs: Passes over the examples.
        batch_size: Examples that are read at once.
        accumulation: Batches whose gradients make one step.
        learning_rate: The highest.
        decay: Let it rise over the first steps, then fall as a cosine.
        seed: Of the order.
        checkpoint: Where to go on from, and what is written every so many batches.
        every: Batches.
        verbose: 1 shows a bar with the time left.
        losses_of: From states and targets to the losses, in nats.

    Returns:
        Mean loss of each batch's answer tokens, in nats, shape (n_batches,), float32.
    """
    import keras

    keras.utils.set_random_seed(seed)
    batches = [batch for epoch in range(epochs) for batch in batches_of(examples, batch_size, seed, epoch)]
    network = model._training_model()
    rate: Any = learning_rate
    if decay:
        warm = max(1, int(len(batches) * WARM))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, len(batches) - warm), warmup_target=learning_rate, warmup_steps=warm
        )
    optimizer = keras.optimizers.Adam(
        rate,
        beta_2=MEMORY,
        global_clipnorm=LONGEST,
        gradient_accumulation_steps=accumulation if accumulation > 1 else None,
    )
    optimizer.build(network.trainable_variables)
    kept = TrainingCheckpoint(
        checkpoint, _digest(model, examples, batches, accumulation, learning_rate, decay)
    )
    variables = [*network.trainable_variables, *optimizer.variables]
    losses: list[float] = kept.note["losses"] if kept.restore("adapters", variables) else []
    below = model._read_below(examples, verbose)

    def batch(rows: list[int]) -> tuple[Any, np.ndarray, np.ndarray]:
        return model._batch(
            [examples[row] for row in rows], None if below is None else [below[row] for row in rows]
        )

    step = _step(network, optimizer, losses_of, batch(batches[0]))
    with tqdm(
        total=len(batches), initial=len(losses), desc="tuning", disable=verbose != 1, file=sys.stderr
    ) as bar:
        for number in range(len(losses), len(batches)):
            losses.append(float(step(*batch(batches[number]))))
            bar.update()
            bar.set_postfix_str(f"loss {np.mean(losses[-20:]):.3f}", refresh=False)
            if (number + 1) % every == 0:
                kept.save("adapters", variables, losses=losses)
    kept.remove()
    return np.array(losses, dtype=np.float32)


def batches_of(examples: Sequence[Example], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return the numbers of the examples of each batch of an epoch, in an order that seed and epoch decide.

    Examples that lie near each other in that order are put into batches by length.

    Args:
        examples: What a model learns.
        batch_size: Examples of a batch; the last one may have fewer.
        seed: Of the order.
        epoch: From 0.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(examples))
    lengths = np.array([len(one.prompt) + len(one.answer) for one in examples])
    made = []
    for start in range(0, len(order), batch_size * NEAR):
        part = order[start : start + batch_size * NEAR]
        part = part[np.argsort(lengths[part], kind="stable")]
        made += [part[at : at + batch_size].tolist() for at in range(0, len(part), batch_size)]
    return [made[number] for number in rng.permutation(len(made))]


def adapter(model: LanguageModel) -> dict[str, np.ndarray]:
    """Return what LoRA learnt, by the path of the weight, as float16."""
    return {weight.path: np.asarray(weight).astype(np.float16) for weight in _adapters(model)}


def set_adapter(model: LanguageModel, arrays: dict[str, np.ndarray]) -> None:
    """Give a model with LoRA enabled what `adapter` returned.

    Raises:
        InputError: The arrays are of another model, rank or set of layers.
    """
    weights = {weight.path: weight for weight in _adapters(model)}
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
    """Return how far the adapters move each projection from where it was: the Frobenius norms' ratio |AB| / |W|.

    Args:
        model: With LoRA enabled.

    Returns:
        A row a layer, from 1, a column a projection of `LORA_PARTS`; NaN where there is no adapter.
    """
    parts = {name: part for part, name in model._lora_layers.items()}
    table = pd.DataFrame(index=range(1, len(model._tower()) + 1), columns=list(parts.values()), dtype=float)
    for number, block in enumerate(model._tower(), start=1):
        for layer in block._flatten_layers():
            if getattr(layer, "lora_enabled", False):
                change = np.asarray(layer.lora_kernel_a) @ np.asarray(layer.lora_kernel_b)
                scale = layer.lora_alpha / layer.lora_rank
                ratio = scale * np.linalg.norm(change) / np.linalg.norm(np.asarray(layer._kernel))
                table.loc[number, parts[layer.name]] = ratio
    return table


def _adapters(model: LanguageModel) -> list[Any]:
    return [weight for weight in model.backbone.trainable_weights if "lora_kernel" in weight.path]


def _step(network: Any, optimizer: Any, losses_of: Callable[[Any, Any], Any], batch: Any) -> Any:
    """Return what takes a batch and gives its loss, after the weights have moved; compiled once for all lengths.

    Args:
        network: From a batch's inputs to states.
        optimizer: Built.
        losses_of: From states and targets to losses.
        batch: One such as it will take.
    """
    import tensorflow as tf
    from keras import ops

    signature = tf.nest.map_structure(
        lambda array: tf.TensorSpec((None,) * array.ndim, tf.as_dtype(array.dtype)), list(batch)
    )

    @tf.function(input_signature=signature)
    def step(inputs: dict[str, Any], targets: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = losses_of(network(inputs, training=True), targets)
            loss = ops.sum(losses * weights) / ops.sum(weights)
        optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
        return loss

    return step


def _digest(model: LanguageModel, examples: Sequence[Example], *settings: object) -> str:
    """Return a digest of what decides a training."""
    shapes = [(weight.path, tuple(weight.shape)) for weight in model.backbone.trainable_weights]
    said = json.dumps([model.name, shapes, list(examples), settings])
    return hashlib.sha256(said.encode()).hexdigest()
