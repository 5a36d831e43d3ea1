"""How fast Creditwell is on this machine, broker and database included: `make bench`.

Every rate is set against a plain COPY of the same rows on the same server in the same run, because machines differ and ratios
travel better than figures: into a table that stays as it is, by a client at the recorder's priority. Beside each rate stands the
processor time of one, of all processes with Kafka and PostgreSQL, which hardly moves when somebody else is at work here. How much
others took is told, and what was measured beside more than 10 % of them is not called a result. In this order:

    for each round, in a fresh database (and in the middle of it, so that all see the same weather, the COPY):
        record    a backlog in Kafka becomes facts, two recorders
        visible   another becomes facts, balances, activity and usage, two recorders and a projector
        relay     all of those go out on Kafka
        replay    all projections are written anew, one process per core
    then, in a last one:
        idle      what all processes and PostgreSQL take with nothing to do
        latency   from a report to the balance that shows it, at 1,000 events a second
        charging  from a balance that ran low to the credits that were charged for it
        quantities  calls of a model made visible, each with three quantities or with one, by turns
        growth    a million facts more (ten, with `--growth 10000000`): the same backlog again, and bytes per event
        audit     of that log: `verify`, an export to Parquet and `verify` of it, all balances of one moment, a month of revenue;
                  whole runs of the commands, and the most memory that one took
        questions the ten questions of docs/analytics.md over that log, while 1,000 usages a second are stored, and what these
                  take meanwhile and without
        balance   a hundred reads a second over HTTP, of balances, quotes and pages of the activity of a team with a
                  hundred thousand facts (or as many as `--hot-team` says), while usage arrives at half of the speed of `visible`
        holds     a hundred commands a second that place and capture holds, at the same speed; and a thousand holds at once, of
                  which exactly as many are placed as the balance has room for
        large     the history of a team with a million facts (or as many as `--large-team` says): all of its activity as one CSV,
                  with how much the API grows meanwhile, and balances as of any instant in it
        neighbour balances, quotes and holds of the others while that team downloads all that it may and asks for its past, and
                  the same without it, at 1,000 events a second

Times are measured after 15 s of the same, because a JVM that has just started makes the slowest hundredth of the first 13.
Medians of the rounds count. Nothing is measured with fsync, synchronous_commit or full_page_writes off.
"""
