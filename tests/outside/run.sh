#!/bin/sh
# Tries what others build with ours: makers of API clients, LiteLLM, beancount, which reads our journals, readers and
# witnesses of signed notes in Go. They are installed under .creditwell/outside, apart from .venv.
# Usage: tests/outside/run.sh
set -eu
cd "$(dirname "$0")/../.."
for program in go java nginx; do # said now, and not when the rest has run for minutes
    PATH=$PATH:/usr/sbin:/usr/local/sbin command -v $program > /dev/null || echo "outside-checks: $program is not on the PATH: its part will fail" >&2
done
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
GOBIN=$PWD/$own/bin GOTOOLCHAIN=local go install filippo.io/torchwood/cmd/litewitness@v0.6.1 filippo.io/torchwood/cmd/witnessctl@v0.6.1
GOTOOLCHAIN=local .venv/bin/python -m tests.outside.witnesses $own/bin
if ! cat deploy/image.lock tests/outside/scale.txt | cmp -s - $own/scale-installed; then
    "$uv" venv --quiet --clear --no-python-downloads --python .venv/bin/python $own/scale
    "$uv" pip install --quiet --python $own/scale/bin/python --require-hashes -r deploy/image.lock
    "$uv" pip install --quiet --python $own/scale/bin/python -r tests/outside/scale.txt
    cat deploy/image.lock tests/outside/scale.txt > $own/scale-installed
fi
PYTHONPATH=$PWD PYSPARK_PYTHON=$PWD/$own/scale/bin/python $own/scale/bin/python -m tests.outside.scale # Spark needs Java 17
