#!/bin/sh
# Makes .venv what requirements.lock says, with a Python that is installed already. make calls it when the lock has changed.
# Usage: setup.sh [PYTHON]
set -eu
cd "$(dirname "$0")/../.."

at_least_3_11='import sys; sys.exit(sys.version_info < (3, 11))'
for candidate in "${1:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && "$candidate" -c "$at_least_3_11" 2>/dev/null; then
        python=$(command -v "$candidate")
        break
    fi
done
if [ -z "${python:-}" ]; then
    echo "Setup: Creditwell needs Python 3.11 or newer; python3 is $(python3 --version 2>&1 || true)." >&2
    echo "Install one, or name it: make PYTHON=/path/to/python3.11 …" >&2
    exit 1
fi

uv=$(deploy/local/uv.sh "$python")
if ! .venv/bin/python -c "$at_least_3_11" 2>/dev/null; then
    echo "Setup: creating .venv with $("$python" --version)" >&2
    "$uv" venv --quiet --clear --no-python-downloads --python "$python" .venv
fi
echo "Setup: installing the packages of requirements.lock" >&2
"$uv" pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock
# The build backend comes from the lock too, hence no isolation, and nothing is fetched here.
"$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --offline --editable .
touch .venv/ready
