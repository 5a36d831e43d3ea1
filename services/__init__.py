"""The machinery: the processes of Creditwell, in rooms by domain over the log.

    cli           `creditwell …`, the command line
    api           HTTP, the stream of what changes, and the Usage page, whose files are in `page/`
    export        tables for other tools, archives of months
    books         a month of revenue, and statements: what finance closes with
    recovery      a store that went back in time: what was published comes back
    money         top-ups, purchases, cards, refunds, reconciliation: the one room that asks Stripe
    usage         usage from Kafka into the log
    audit         is the log what was recorded? Signed checkpoints, verification, replay
    publishing    the log on Kafka, and notices to the host product
    credits       plans, limits, holds, grants: what is decided under the lock of a shard
    read_models   balances, activity and usage in PostgreSQL, read exactly
    store         the log: appending, reading, proofs, claims, migrations
    runtime       what every process shares; `runtime.processes` names them all

A room imports from those below it in this list, never from those above; `money`, `usage`, `audit` and `publishing` are
neighbours and import nothing of each other. Below all of them lie `projections`, what facts mean, and `schemas`, what
can be said.
"""

VERSION = "0.1.0"  # as in pyproject.toml; the image has no metadata of a package
