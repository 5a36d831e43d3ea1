"""What waits in the store, for how long, and what is open: asked now and then by the refill worker.

The store is asked and not the processes, so that it is told as well where the process is dead that would do the work.
"""

from time import monotonic

from prometheus_client import CollectorRegistry, Gauge

from schemas.topics import USAGE
from services.read_models.balances import PROJECTOR
from services.store.connect import Connection

LOOK_SECONDS, SIZES_SECONDS = 15.0, 300.0
RELAY = "relay"

# Positions have no gaps, so what a reader has not finished begins right after its checkpoint. A cursor that nobody has
# moved stands at -infinity: who can't say how old the oldest usage is says that it is infinitely old.
WAITING = """
    WITH behind AS (
        SELECT split_part(reader, '_of_', 1) AS work, shard, position FROM checkpoints WHERE reader = ANY($1)
        UNION ALL
        SELECT 'signer', h.shard, coalesce(signed.last, 0) FROM shard_heads h LEFT JOIN LATERAL (
            SELECT last FROM signed_shards s WHERE s.shard = h.shard ORDER BY number DESC LIMIT 1
        ) AS signed ON true
    )
    SELECT work, sum(h.next - 1 - behind.position)::float8 AS count, min(f.recorded_at) AS oldest
    FROM behind JOIN shard_heads h USING (shard)
    LEFT JOIN facts f ON f.shard = behind.shard AND f.position = behind.position + 1
    GROUP BY work
    UNION ALL
    SELECT 'notices', count(*), min(noticed_at) FROM notices WHERE state = 'waiting'
    UNION ALL
    SELECT 'inbox', count(*), min(received_at) FROM stripe_inbox WHERE done_at IS NULL
"""
AGES = f"""
    SELECT work, count,
           coalesce(greatest(0, extract(epoch FROM clock_timestamp() - oldest)), 0)::float8 AS seconds
    FROM ({WAITING}) AS waiting
"""
USAGE_AGE = """
    SELECT CASE WHEN min(passed_at) = '-infinity' THEN 'infinity'
                ELSE greatest(0, extract(epoch FROM clock_timestamp() - min(passed_at))) END::float8
    FROM kafka_cursors WHERE topic = $1
"""
HOLDS = "SELECT count(*) FROM holds WHERE state = 'open'"
# With indexes and what is stored out of line.
SIZES = """
    SELECT c.relname, pg_total_relation_size(c.oid) AS bytes FROM pg_class AS c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
"""


class StoreWatch:
    """The gauges, and when they were asked for last."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._oldest = Gauge(
            "creditwell_oldest_seconds", "How long the oldest of what waits in the store has waited, by work", ["work"],
            registry=registry,
        )  # fmt: skip
        self._waiting = Gauge("creditwell_waiting", "How much waits in the store, by work", ["work"], registry=registry)
        self._holds = Gauge("creditwell_holds_open", "Holds that are open", registry=registry)
        self._bytes = Gauge(
            "creditwell_table_bytes", "How much room a table takes, with its indexes", ["table"], registry=registry
        )
        self._looked_at = self._sized_at = float("-inf")

    async def look_when_due(self, connection: Connection) -> None:
        """Look, unless that was a moment ago."""
        if monotonic() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = monotonic()
            await self.look(connection)

    async def look(self, connection: Connection) -> None:
        """Ask the store, and keep its answers in the gauges."""
        for work, count, seconds in await connection.fetch(AGES, [PROJECTOR, RELAY]):
            self._waiting.labels(work).set(count)
            self._oldest.labels(work).set(seconds)
        usage_seconds = await connection.fetchval(USAGE_AGE, USAGE)
        self._oldest.labels("usage").set(usage_seconds or 0)
        self._holds.set(await connection.fetchval(HOLDS))
        if monotonic() - self._sized_at >= SIZES_SECONDS:
            self._sized_at = monotonic()
            self._bytes.clear()  # tables of a version go with it
            for table, size in await connection.fetch(SIZES):
                self._bytes.labels(table).set(size or 0)
