#!/usr/bin/env bash
# Resolve *.in into *.txt: every package of a peer's environment pinned and hashed, for Python 3.11, and no host name.
# Uses the uv on PATH ($UV names another). Torch is resolved from its CPU wheel, which brings no CUDA: uv must find that
# wheel ($UV_FIND_LINKS, a folder, or $UV_EXTRA_INDEX_URL). On systems other than Linux the package index's has none.
set -euo pipefail
cd "$(dirname "$0")"
uv=${UV:-uv}
options=(--python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

echo "torch==2.13.0" > "$scratch/torch.in"
env -u UV_FIND_LINKS -u UV_EXTRA_INDEX_URL \
    "$uv" pip compile "$scratch/torch.in" --no-deps "${options[@]}" --output-file "$scratch/torch.txt"

for name in ${*:-recbole rectools metrics}; do
    "$uv" pip compile "$name.in" "${options[@]}" --output-file "$scratch/$name.txt"
    python3 - "$scratch/$name.txt" "$scratch/torch.txt" > "$name.txt" <<'PYTHON'
import re
import sys
from pathlib import Path

locked, torch = (Path(name).read_text() for name in sys.argv[1:])
cpu = re.search(r"^torch==2\.13\.0\+cpu.*?\n(?=    #)", locked, re.M | re.S)[0]
plain = re.search(r"^torch==.*?\n(?=    #)", torch, re.M | re.S)[0]
both = cpu.replace("+cpu", "+cpu ; sys_platform == 'linux'", 1) + plain.replace(
    "2.13.0", "2.13.0 ; sys_platform != 'linux'", 1
)
locked = locked.replace(cpu, both)
sys.stdout.write(re.sub(r"-r .*/", "-r ", locked))
PYTHON
    if grep -nE '://|^[[:space:]]*-' "$name.txt" | grep -v -- '--hash=sha256:'; then
        echo "error: $name.txt names a host or an option (lines above)" >&2
        exit 1
    fi
    echo "$name.txt: $(grep -c '^[^ #].*==' "$name.txt") packages"
done
