#!/bin/sh
# The page's tests need a Chromium. Finds one, or gets one where that asks nobody for a password. Without: one line, and under CI a failure.
set -eu
cd "$(dirname "$0")/../.."

for name in chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if .venv/bin/python - <<'PYTHON' 2>/dev/null
import os, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    sys.exit(not os.path.exists(playwright.chromium.executable_path))
PYTHON
then exit 0; fi

if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then as_root=""; elif [ "${CI:-}" = true ]; then as_root="sudo --non-interactive"; else as_root="nobody"; fi
    if [ "$as_root" != nobody ]; then
        echo "Browser: installing a chromium for the tests of the page (apt-get install chromium-headless-shell)" >&2
        install() { DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "$1"; }
        # Ubuntu and older Debians have only the whole browser.
        if { $as_root apt-get update -qq && { install chromium-headless-shell || install chromium; }; } >/dev/null
        then exit 0; fi
    fi
elif .venv/bin/playwright install chromium >&2; then
    exit 0
fi
echo "Browser: no chromium, the tests of the page will not run (apt-get install chromium, or .venv/bin/playwright install chromium)" >&2
[ "${CI:-}" != true ]
