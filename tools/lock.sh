#!/usr/bin/env bash
# Resolve pyproject.toml and write requirements.txt and requirements-node.txt: every package pinned, every wheel
# hashed, for every platform and Python 3.11 to 3.13, and no host name. Uses the uv on PATH ($UV names another), else
# installs one into .venv-lock. Packages already pinned keep their version; UPGRADE=1 takes the newest.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=${UV:-$(command -v uv || true)}
if [ -z "$uv" ]; then
    [ -x .venv-lock/bin/uv ] || { .venv/bin/python -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv; }
    uv=.venv-lock/bin/uv
fi

compile() {
    local source=$1 target=$2
    shift 2
    "$uv" pip compile "$source" "$@" --output-file "$target" --quiet \
        --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header ${UPGRADE:+--upgrade}
    if grep -nE '://|^[[:space:]]*-' "$target" | grep -v -- '--hash=sha256:'; then
        echo "error: $target names a host or an option (lines above)" >&2
        exit 1
    fi
    echo "$target: $(grep -c '==' "$target") packages"
}

compile pyproject.toml requirements.txt --extra test
compile tools/node.in requirements-node.txt
