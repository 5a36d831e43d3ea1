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
    wanted "$name" || return
    if output=$("$@" 2>&1); then
        echo "$name: ok"
    else
        echo "$name: FAILED ($*)"
        echo "$output"
        failed="$failed $name"
    fi
}

wanted() {
    case $only in
        "  " | *" $1 "*) ;;
        *) return 1 ;;
    esac
}

# Not the scripts of npm packages.
shell() { find .ci deploy tests -name node_modules -prune -o \( -name '*.sh' -o -path .ci/run \) -exec $bin/shellcheck {} +; }

browser_types() { deploy/local/javascript/run.sh typescript/bin/tsc -p .; }
host_types() { deploy/local/javascript/run.sh typescript/bin/tsc --ignoreConfig --noEmit --strict --types "" --lib es2024,dom services/page/api.d.ts services/page/texts.d.ts services/page/host.d.ts; }
node_types() { deploy/local/javascript/run.sh typescript/bin/tsc -p tests/e2e/node; }
client_types() { deploy/local/javascript/client_types.sh --check; }
javascript() { deploy/local/javascript/run.sh @biomejs/biome/bin/biome check --error-on-warnings && browser_types && host_types && node_types && client_types; }

step format $bin/ruff format --check .
step lint $bin/ruff check .
step types $bin/mypy --strict
step imports $bin/lint-imports
step shell shell
step sql $bin/squawk services/store/migrations/*.sql services/store/functions/*.sql
step schemas $bin/python -m schemas.generate --check
step docs $bin/python -m deploy.docs.generate --check
step texts $bin/python -m deploy.docs.page_texts --check
step dashboards $bin/python -m deploy.monitoring.dashboards --check
step api $bin/python -m services.api.openapi.typescript --check
step client $bin/python -m services.api.openapi.python_types --check
if wanted javascript; then
    if ! deploy/local/node.sh deploy/local/javascript tests/e2e/node; then
        failed="$failed javascript"
    elif [ -e deploy/local/javascript/node_modules/.installed ]; then
        step javascript javascript
    fi
fi
if [ -n "$failed" ]; then
    echo "check failed:$failed"
    exit 1
fi
