"""What the log says, kept in PostgreSQL to be read quickly: a cache, which a replay can make anew.

    projector       the process
    projecting      a batch of facts becomes changed rows, saved with the checkpoint
    folding         such a batch in memory, and the short way of plain usage through it
    flow            credits and money that flow, counted for dashboards
    states          rows of `balance`, `lots` and `usage`
    attributes      rows of `usage_attributes`, where usage is counted by some
    days            rows of `usage_days`, counted for analysts behind the log
    activity_rows   entries of the activity, a row to each
    activity_runs   runs of plain usage, many entries to a row
    snapshots       rows of `balance_snapshots`, by which balances of the past are found
    versions        versions of the projections, for each build: made, live, dropped; the views over them
    rebuild         a version is built beside the live one, compared, switched
    comparing       which rows two versions do not share
    balances        balances, exact at the head of the log
    unfolded        what the log says beyond the projections
    activity        the activity, page by page
    history         balances of the past
    low_balance     tells the log when a balance runs low, runs out or recovers
    low_cause       which fact made a balance low: the name of the episode

What rows mean is decided in `projections`; how PostgreSQL keeps them is known here alone.
"""
