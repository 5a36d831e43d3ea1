"""The log in PostgreSQL, which all processes share. No room above it writes to `facts` in another way.

    append         the only way in; takes the heads of shards, in order
    beside         what lies beside the facts and ends before they do: traces
    read           the way out: what follows a position, without gaps
    identities     was it stored before, and was it the same?
    numbered       facts of ours that come in a row
    shards         which shard a team belongs to
    teams          the lock of a shard, and which team it is
    proofs         leaves, Merkle roots, the chain of blocks
    cycles         refills that are due come with the next append
    refills        and before a decision
    lives          may the log go on at this server?
    claims         readers share the shards, with fenced checkpoints
    halts          what goes wrong for one team halts it alone
    connect        connections, bounded in number and in patience
    sessions       each session: to which host, with what settings, alive
    protocols      what functions ask of a connection
    copying        the frame of PostgreSQL's binary COPY
    migrate        brings a database to the newest schema
    schema_check   has the database the shape that this build reads and writes?

`migrations/` has the tables, `functions/` the SQL functions of the hot path.
"""
