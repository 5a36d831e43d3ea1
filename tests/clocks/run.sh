#!/bin/sh
# Runs tests at times at which days, months and years end and clocks change: everything has that time, PostgreSQL, Kafka and the browser too.
# Usage: tests/clocks/run.sh [arguments of pytest]. Without any: the unit tests, and each other file that speaks of days, cycles or months.
# AT='2026-12-31 23:58' runs at that time alone. All times are UTC; the tests begin then, and time goes on. Needs Linux and a C compiler.
set -eu
cd "$(dirname "$0")/../.."

# A Wednesday; the end of a long month and of a year; a leap day; in Berlin a day of 23 hours and one of 25; a year that has just begun.
times=${AT:-"2026-12-02 12:00:00
2026-12-31 23:58:00
2028-02-29 12:00:00
2027-03-28 00:59:30
2027-10-31 00:59:30
2027-01-01 00:00:30"}

if [ $# = 0 ]; then
    # shellcheck disable=SC2046  # one argument for each file; none has a space in its name
    set -- tests/unit $(grep -rlE --include='test_*.py' 'days=|DAY\b|[Cc]ycle|month|midnight|today|anchor|zone|demo' tests/integration tests/e2e | sort)
fi

# Where PostgreSQL's user can read it too, whoever that is.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cc -O2 -shared -fPIC -o "$folder/shift.so" tests/clocks/shift.c

failed=""
while read -r at <&3; do
    echo "Clock: $at"
    shifted="env LD_PRELOAD=$folder/shift.so CLOCK_SHIFT_SECONDS=$(($(date -ud "$at" +%s) - $(date +%s)))"
    # A library that can't be loaded is only warned of, and everything would pass at today's time.
    [ "$($shifted date -u +%F)" = "${at%% *}" ] || { echo "Clock: it does not move here" >&2; exit 1; }
    $shifted .venv/bin/python -m pytest "$@" || failed="$failed, $at"
done 3<<TIMES
$times
TIMES
[ -z "$failed" ] || { echo "Clock: failed at ${failed#, }" >&2; exit 1; }
