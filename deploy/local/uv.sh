#!/bin/sh
# Prints the path of a uv that works: the one on PATH, or a pinned one of our own under .creditwell/uv.
# Usage: uv.sh PYTHON
set -eu
cd "$(dirname "$0")/../.."
python=$1
own=.creditwell/uv/bin/uv

# A shim may be on PATH without a uv behind it, and an old uv lacks options that we use.
works() {
    version=$("$1" --version 2>/dev/null) || return 1
    "$python" -c 'import re, sys; sys.exit(tuple(map(int, re.findall(r"\d+", sys.argv[1])[:2])) < (0, 8))' "$version"
}

if found=$(command -v uv) && works "$found"; then
    echo "$found"
    exit
fi
if ! works "$own"; then
    echo "Setup: no uv on PATH, installing one under .creditwell/uv" >&2
    mkdir -p .creditwell
    # Debian's python3 comes without ensurepip, and then without a way to make an environment that has pip.
    if "$python" -m venv --clear .creditwell/uv >/dev/null 2>&1; then
        .creditwell/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/local/uv.txt >&2
    else
        "$python" deploy/local/uv_without_pip.py deploy/local/uv.txt "$own" >&2
    fi
fi
echo "$PWD/$own"
