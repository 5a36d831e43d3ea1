"""How fast Creditwell is on this machine, broker and database included: `make bench`.

Every rate is set against a plain COPY of the same rows on the same server in the same run, because machines differ and ratios
travel better than figures. In this order:

    for each round, in a fresh database (and in the middle of it, so that all see the same weather, the COPY):
        record    a backlog in Kafka becomes facts, two recorders
        visible   another becomes facts, balances, activity and usage, two recorders and a projector
        relay     all of those go out on Kafka
        replay    all projections are written anew, one process per core
    then, in the last of these databases:
        latency   from a report to the balance that shows it, at 1,000 events a second
        growth    a million facts more (ten, with `--growth 10000000`): the same backlog again, and bytes per event
        balance   reading balances over HTTP, while usage arrives at half of the speed of `visible`

Medians of the rounds count. Nothing is measured with fsync, synchronous_commit or full_page_writes off.
"""
