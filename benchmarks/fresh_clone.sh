#!/usr/bin/env bash
# Time the README's two commands as a newcomer meets them: a fresh clone, no .venv.
#
#   benchmarks/fresh_clone.sh [FOLDER]      the clone stays there (a new temporary folder by default)
#
# Prints seconds of: make book; make book again; make test; make test with every cache deleted and the network cut
# (as root on Linux, where `unshare` can cut it). Stops at the first command that fails.
set -euo pipefail
repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
clone=${1:-$(mktemp -d)/book}
git clone --quiet --no-hardlinks "$repository" "$clone"
cd "$clone"

timed() {
    local label=$1 started=$SECONDS
    shift
    "$@" >"$clone.log" 2>&1 || { tail -n 60 "$clone.log"; echo "$label: FAILED"; exit 1; }
    printf '%-44s %5d s   %s\n' "$label" "$((SECONDS - started))" "$(tail -n 1 "$clone.log")"
}

timed "make book, fresh clone" make book
timed "make book, nothing changed" make book
timed "make test" make test
if [ "$(id -u)" = 0 ] && command -v unshare >/dev/null && command -v ip >/dev/null; then
    rm -rf _build data/cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
    INSTRUCTREC_CACHE=$(mktemp -d) XDG_CACHE_HOME=$(mktemp -d)
    export INSTRUCTREC_CACHE XDG_CACHE_HOME
    timed "make test, no cache, no network" unshare --net bash -c 'ip link set lo up && exec make test'
else
    echo "make test, no cache, no network: needs root and unshare, skipped"
fi
