"""What a team may use and has been given: decisions that are made under the lock of its shard, and appended as facts.

    deciding     read first, then lock, then take in what came between
    plans        how a team comes to exist; its included credits
    plan_versions  other credits for a plan, for every team that has it
    limits       what a member may use per day and month
    holds        credits set aside for work that runs
    grants       credits that a person gives or corrects
    approvals    what one person may not move alone: it waits for another one
    changes      what people decided, of every team
    rate_cards   prices, published as facts
    repricing    what teams would have paid by a card that is not published
    directory    names, beside the log, so that they can be erased
    erasure      a member is erased, by a fact that names their opaque id
    refill       the process: what the calendar brings
    store_watch  what waits in the store, and for how long
    sealing      a cycle becomes final

It moves no money, and speaks to PostgreSQL alone.
"""
