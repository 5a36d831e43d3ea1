#!/bin/sh
# Everything that can be known without running the software. Runs all steps, so that one visit shows all that is wrong.
set -u
cd "$(dirname "$0")/../.."
bin=.venv/bin
failed=""

step() {
    name=$1
    shift
    if output=$("$@" 2>&1); then
        echo "$name: ok"
    else
        echo "$name: FAILED ($*)"
        echo "$output"
        failed="$failed $name"
    fi
}

step format $bin/ruff format --check .
step lint $bin/ruff check .
step types $bin/mypy --strict
step imports $bin/lint-imports
step sql $bin/squawk services/store/migrations/*.sql services/store/functions/*.sql
step schemas $bin/python -m schemas.generate --check
step docs $bin/python -m deploy.docs.generate --check
if [ -n "$failed" ]; then
    echo "check failed:$failed"
    exit 1
fi
