#!/bin/sh
# The declarations of @creditwell/client, from its JavaScript. Without Node there is nothing to do: what is checked in stays.
# Usage: client_types.sh [--check]    writes deploy/client/typescript/types, or says what of it is out of date
set -eu
cd "$(dirname "$0")/../../.."
package=deploy/client/typescript
[ -e deploy/local/javascript/node_modules/.installed ] || exit 0
written=$(mktemp -d)
trap 'rm -rf "$written"' EXIT
deploy/local/javascript/run.sh typescript/bin/tsc -p $package --outDir "$written"
cp $package/types/bodies.d.ts "$written" # from the OpenAPI document (services/api/openapi/typescript.py)
if [ "${1:-}" != --check ]; then
    rm $package/types/*.d.ts
    cp "$written"/*.d.ts $package/types
elif ! diff -r $package/types "$written"; then
    echo "$package/types is out of date: run make docs"
    exit 1
fi
