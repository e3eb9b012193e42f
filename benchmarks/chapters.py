"""Execute a copy of each chapter and print its run time and the peak memory of its kernel.

    python benchmarks/chapters.py [book/faq.ipynb …]

Exit status 1 if a chapter takes more than 3 minutes or 4 GB. The committed notebooks stay unchanged.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools.execute_notebooks import ROOT, execute

MAX_SECONDS, MAX_GIGABYTES = 180.0, 4.0
"""Limits of a chapter's run time and of its peak memory."""


def main(names: list[str]) -> int:
    paths = [Path(name) for name in names] or sorted((ROOT / "book").glob("*.ipynb"))
    """Execute the chapters at these paths, or all chapters, and return the exit status."""
    over_limit = []
    print(f"{'chapter':<28}{'seconds':>9}{'peak GB':>9}   limits {MAX_SECONDS:.0f} s, {MAX_GIGABYTES:.0f} GB")
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            copy = Path(shutil.copy(path, folder))
            with ProcessPoolExecutor(max_workers=1) as pool:  # one process per chapter, for its own peak
                seconds, gigabytes = pool.submit(execute, copy).result()
            print(f"{path.stem:<28}{seconds:>9.1f}{gigabytes:>9.2f}", flush=True)
            if seconds > MAX_SECONDS or gigabytes > MAX_GIGABYTES:
                over_limit.append(path.stem)
    print(f"over a limit: {', '.join(over_limit)}" if over_limit else "all chapters are within both limits")
    return 1 if over_limit else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
