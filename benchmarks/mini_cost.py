"""Cost of `mini`: latency, throughput, forward pass compared with matrix products, training time by data size.

    python -m benchmarks.mini_cost [--skip-growth]

On the model of data/mini, warm; close everything else on the machine first.

- latency: `recommend` with history and instruction, one request at a time, on one thread (in a process of its own on
  one core), 300 requests of the test part, each with another instruction; p50 and p99 in ms;
- throughput: `score` of 1,000 requests with 200 different instructions, in requests per second, all threads;
- forward pass: of the decoder of histories at the shapes of training, as a share of the speed of matrix products of
  the same shapes on this machine; with the times of its parts;
- growth: seconds per epoch of either phase of training at 1, 2, 5 and 10 times the events, users copied (simulated
  data: time is measured, not accuracy); instructions for a tenth of the events.

Writes benchmarks/results/mini_cost.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from instructrec import datasets
from instructrec.backend import quiet_keras
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.evaluation.following_tasks import make_following_tasks
from instructrec.files import atomic_write
from instructrec.models import SHIPPED, create, load
from instructrec.models.mini.model import Mini
from instructrec.split import SPLITS, Split

RESULTS = Path(__file__).with_name("results") / "mini_cost.json"
ROWS, LENGTH = 64, 50
"""The shape of a batch of histories in training."""
GROWTH = (1, 2, 5, 10)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the cost of mini.")
    parser.add_argument("--skip-growth", action="store_true", help="skip training by data size")
    parser.add_argument("--latency", action="store_true", help="print the latency of this process only")
    options = parser.parse_args(arguments)
    quiet_keras()
    split = SPLITS["leave-last-out"](datasets.load("movielens-100k"))
    model = load(SHIPPED["mini"])
    assert isinstance(model, Mini)
    if options.latency:
        print(json.dumps(latency(model, split)))
        return 0
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    results["machine"] = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    results["throughput"] = throughput(model, split)
    results["forward"] = forward(model)
    results["latency"] = on_one_core()
    for name in ("throughput", "forward", "latency"):
        print(name, json.dumps(results[name], indent=1), flush=True)
    if not options.skip_growth:
        results["growth"] = growth(split)
        print(pd.DataFrame(results["growth"]).to_string(index=False))
    with atomic_write(RESULTS) as handle:
        json.dump(results, handle, indent=1)
        handle.write("\n")
    return 0


def requests_of(split: Split) -> tuple[list[Any], list[str]]:
    """Return the histories of the test part and the instructions of five tasks."""
    tasks = make_following_tasks(
        split, "test", ["stated", "vague wish", "negated", "constraints", "category and era"]
    )
    texts = sorted({text for task in tasks.tasks.values() for text in task.texts if text})
    order = np.random.default_rng(0).permutation(len(texts))
    return split.requests("test").histories, [texts[number] for number in order]


def on_one_core() -> dict[str, float]:
    """Return the `latency` of a process with one core and one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
    prefix = ["taskset", "-c", "0"] if shutil.which("taskset") else []
    command = [*prefix, sys.executable, "-m", "benchmarks.mini_cost", "--latency"]
    process = subprocess.run(
        command, env={**os.environ, **threads}, capture_output=True, text=True, check=True
    )
    figures: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return figures


def latency(model: Mini, split: Split) -> dict[str, float]:
    """Return percentiles of the time of `recommend` in ms, after 30 requests of warm-up."""
    histories, texts = requests_of(split)
    seconds = []
    for number in range(330):
        history, text = histories[number % len(histories)], texts[number % len(texts)]
        seconds.append(timed(lambda history=history, text=text: model.recommend(history, text)))  # type: ignore[misc]
    p50, p99 = np.percentile(np.array(seconds[30:]) * 1000, [50, 99])
    return {"p50 ms": round(float(p50), 2), "p99 ms": round(float(p99), 2)}


def throughput(model: Mini, split: Split) -> dict[str, float]:
    """Return the requests per second of one call of `score` with 1,000 requests, the median of five calls."""
    histories, texts = requests_of(split)
    requests = [histories[number % len(histories)] for number in range(1000)]
    instructions = [texts[number % 200] for number in range(1000)]
    model.score(requests, instructions)
    seconds = [timed(lambda: model.score(requests, instructions)) for _ in range(5)]
    return {"requests a second": round(1000 / statistics.median(seconds), 1)}


def timed(run: Callable[[], Any]) -> float:
    """Return the seconds of a call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def forward(model: Mini) -> dict[str, Any]:
    """Return the speed of the forward pass relative to matrix products, and the times of its parts in ms."""
    import tensorflow as tf

    backbone = model.decoders.backbone("history")
    rng = np.random.default_rng(0)
    width, inner = model.settings["hidden_size"], model.settings["intermediate_size"]
    heads, n_items = model.settings["n_heads"], model.vocabulary.n_items
    hidden = tf.constant(rng.normal(size=(ROWS, LENGTH, width)).astype(np.float32))
    items = tf.constant(model.decoders.item_vectors("history").T.copy())
    mask = tf.ones((ROWS, LENGTH), dtype=tf.int32)
    flat = tf.reshape(hidden, (-1, width))
    wide = tf.constant(rng.normal(size=(ROWS * LENGTH, inner)).astype(np.float32))

    def random_tensor(*shape: int) -> Any:
        return tf.constant(rng.normal(size=shape).astype(np.float32))

    blocks, norm = backbone.transformer_layers, backbone.layer_norm
    factors = [
        {
            "from width": [
                *(random_tensor(width, width) for _ in range(4)),
                random_tensor(width, inner),
                random_tensor(width, inner),
            ],
            "to width": random_tensor(inner, width),
            "heads": random_tensor(ROWS, heads, LENGTH, width // heads),
            "weights": random_tensor(ROWS, heads, LENGTH, LENGTH),
        }
        for _ in blocks
    ]

    def forward_pass(states: Any) -> Any:
        for block in blocks:
            states = block(states, decoder_padding_mask=mask, training=False)
        return tf.matmul(tf.reshape(norm(states), (-1, width)), items)

    def products(states: Any) -> Any:
        """Compute only matrix products of the same shapes; all differ, since TensorFlow computes equal ones once."""
        results = []
        for part in factors:
            results += [tf.matmul(states, matrix) for matrix in part["from width"]]
            results += [tf.matmul(wide, part["to width"])]
            results += [tf.matmul(part["heads"], part["heads"], transpose_b=True)]
            results += [tf.matmul(part["weights"], part["heads"])]
        return [*results, tf.matmul(states, items)]

    def attention(states: Any) -> Any:
        for block in blocks:
            states = states + block._self_attention_layer(
                hidden_states=block._self_attention_layernorm(states),
                attention_mask=tf.linalg.band_part(tf.ones((ROWS, LENGTH, LENGTH), tf.int32), -1, 0),
            )
        return states

    def norms(states: Any) -> Any:
        for block in blocks:
            states = block._feedforward_layernorm(block._self_attention_layernorm(states))
        return norm(states)

    def scores(states: Any) -> Any:
        return tf.matmul(states, items)

    n = ROWS * LENGTH
    operations = (
        len(blocks) * (2 * n * (4 * width * width + 3 * width * inner) + 2 * 2 * n * LENGTH * width)
        + 2 * n * width * n_items
    )
    parts = {
        "whole": (forward_pass, hidden),
        "matrix products alone": (products, flat),
        "attention": (attention, hidden),
        "norms": (norms, hidden),
        "scores of the catalogue": (scores, flat),
    }
    ms = {}
    compiled = {name: tf.function(run, jit_compile=False) for name, (run, _) in parts.items()}
    for name, (_, states) in parts.items():
        compiled[name](states)
    for name, (_, states) in parts.items():
        ms[name] = fastest(partial(compiled[name], states))
    xla = tf.function(forward_pass, jit_compile=True)
    xla(hidden)
    ms["whole, compiled by XLA"] = fastest(partial(xla, hidden))
    return {
        "shape": [ROWS, LENGTH, width],
        "GFLOP": round(operations / 1e9, 3),
        "ms": ms,
        "GFLOP/s": {
            name: round(operations / ms[name] / 1e6, 1) for name in ("whole", "matrix products alone")
        },
        "share of matrix products": round(ms["matrix products alone"] / ms["whole"], 3),
        "share compiled by XLA": round(ms["matrix products alone"] / ms["whole, compiled by XLA"], 3),
    }


def fastest(run: Callable[[], Any], times: int = 15) -> float:
    """Return the time of the fastest of several calls in ms."""
    return round(min(timed(run) for _ in range(times)) * 1000, 2)


def growth(split: Split) -> list[dict[str, float]]:
    """Return the seconds per epoch at several data sizes; users are copied under new ids."""
    rows = []
    for times in GROWTH:
        data = grown(split.train, times)
        model = create("mini", epochs=2, tuning_epochs=2, instruction_share=0.1)
        marks: list[float] = []
        model.fit(data, on_epoch=lambda epoch, model, marks=marks: marks.append(time.perf_counter()))  # type: ignore[call-arg]
        rows.append(
            {
                "times": times,
                "events": data.n_interactions,
                "seconds an epoch of histories": round(marks[1] - marks[0], 2),
                "seconds an epoch of texts": round(marks[3] - marks[2], 2),
            }
        )
        print(rows[-1], flush=True)
    return rows


def grown(data: Dataset, times: int) -> Dataset:
    """Return a data set with several copies of each user."""
    copies = []
    for number in range(times):
        copies.append(data.interactions.assign(user_id=data.interactions["user_id"] + number * 10_000))
    users = pd.concat(
        [data.users.assign(user_id=data.users["user_id"] + number * 10_000) for number in range(times)]
    )
    return Dataset(
        data.name,
        users.reset_index(drop=True),
        data.items,
        pd.concat(copies, ignore_index=True),
        category_field=data.category_field,
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.mini_cost: {error}")
