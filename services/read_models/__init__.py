"""What the log says, kept in PostgreSQL to be read quickly: a cache, which a replay can make anew.

    projector       the process
    projecting      a batch of facts becomes changed rows, saved with the checkpoint
    flow            credits and money that flow, counted for dashboards
    states          rows of `balance` and `lots`
    activity_rows   rows of `activity`, packed for COPY
    usage_rows      rows of `usage`
    snapshots       rows of `balance_snapshots`, by which balances of the past are found
    versions        versions of the projections, for each build: made, live, dropped
    rebuild         a version is built anew beside the live one, compared, switched
    comparing       rows that two versions do not share
    analysts        the views that analysts read, made over the live versions
    balances        balances, exact at the head of the log
    unfolded        what the log says beyond the projections
    activity        the activity, page by page
    history         balances of the past
    low_balance     tells the log when a balance runs low, runs out or recovers
    low_cause       which fact made a balance low: the name of the episode

What rows mean is decided in `projections`; how PostgreSQL keeps them is known here alone.
"""
