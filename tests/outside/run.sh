#!/bin/sh
# Tries what others build with ours: makers of API clients, LiteLLM, and beancount, which reads our journals. They are installed under .creditwell/outside, apart from .venv.
# Usage: tests/outside/run.sh
set -eu
cd "$(dirname "$0")/../.."
own=.creditwell/outside
uv=$(deploy/local/uv.sh .venv/bin/python)
if ! cmp -s tests/outside/requirements.txt $own/installed; then
    "$uv" venv --quiet --clear --no-python-downloads --python .venv/bin/python $own
    "$uv" pip install --quiet --python $own/bin/python -r tests/outside/requirements.txt
    cp tests/outside/requirements.txt $own/installed
fi
deploy/local/node.sh tests/outside
for journal in tests/unit/projections/golden/*.beancount; do
    $own/bin/bean-check "$journal" # silent, or it ends this
done
.venv/bin/python -m tests.outside.generators
LITELLM_LOCAL_MODEL_COST_MAP=True $own/bin/python -m tests.outside.litellm
