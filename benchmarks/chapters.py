"""Execute a copy of each chapter and say how long it takes and how much memory its kernel needs.

    python benchmarks/chapters.py [book/faq.ipynb …]

Exit status 1 if a chapter takes more than 3 minutes or 4 GB. The committed notebooks are not touched.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools.execute_notebooks import ROOT, execute

SECONDS, GIGABYTES = 180.0, 4.0


def main(names: list[str]) -> int:
    paths = [Path(name) for name in names] or sorted((ROOT / "book").glob("*.ipynb"))
    over = []
    print(f"{'chapter':<28}{'seconds':>9}{'peak GB':>9}   limits {SECONDS:.0f} s, {GIGABYTES:.0f} GB")
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            copy = Path(shutil.copy(path, folder))
            with ProcessPoolExecutor(max_workers=1) as pool:  # a process each: the peak is the notebook's own
                seconds, gigabytes = pool.submit(execute, copy).result()
            print(f"{path.stem:<28}{seconds:>9.1f}{gigabytes:>9.2f}", flush=True)
            if seconds > SECONDS or gigabytes > GIGABYTES:
                over.append(path.stem)
    print(f"over a limit: {', '.join(over)}" if over else "every chapter is within both limits")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
