"""How long work waits is told by the store, so that it is told of a process that is dead as well."""

from datetime import timedelta
from math import inf

from prometheus_client import CollectorRegistry

from services.credits.store_watch import StoreWatch
from services.read_models.balances import PROJECTOR
from services.store.connect import Connection
from services.store.shards import shard_of
from tests.support.facts import now, planned, store, usage
from tests.support.holds import held
from tests.support.serving import as_role, connected

HOUR = timedelta(hours=1)
READER = "INSERT INTO checkpoints (reader, shard) SELECT $1, generate_series(0, 63)"
NOTICE = """
    INSERT INTO notices (shard, position, team_id, type, notice_id, body, noticed_at)
    VALUES ($1, 1, 'team_1', 'balance.ran_low.v1', 'notice_1', '{}', clock_timestamp() - interval '2 hours')
"""
EVENT = """
    INSERT INTO stripe_inbox (event_id, type, object_kind, object_id, created_at, received_at, done_at)
    VALUES ($1, 'charge.refunded', 'charge', 'ch_1', now(), clock_timestamp() - interval '3 hours', $2)
"""
CURSOR = "INSERT INTO kafka_cursors (topic, partition, epoch, owner, next_offset, passed_at) VALUES ('usage', $1, 1, '', 0, $2)"


async def look(worker: Connection) -> dict[str, float]:
    """Seconds by work, how much waits as `work#`, and open holds."""
    registry = CollectorRegistry()
    await StoreWatch(registry).look(worker)
    names = (("creditwell_oldest_seconds", ""), ("creditwell_waiting", "#"), ("creditwell_holds_open", "holds"))
    return {
        sample.labels.get("work", "") + suffix: sample.value
        for name, suffix in names
        for metric in registry.collect()
        if metric.name == name
        for sample in metric.samples
    }


async def test_what_waits_is_as_old_as_the_oldest_of_it_and_nothing_where_all_is_done(database: str) -> None:
    async with connected(database) as connection, connected(as_role(database, "worker")) as worker:
        idle = await look(worker)
        assert set(idle.values()) == {0}

        await store(connection, *planned("team_1"), usage("team_1", "a"))
        await held(connection, "render", 1)
        for reader in (PROJECTOR, "relay"):
            await connection.execute(READER, reader)
        shard = shard_of("team_1")
        end = await connection.fetchval("SELECT next - 1 FROM shard_heads WHERE shard = $1", shard)
        await connection.execute(
            "UPDATE checkpoints SET position = $1 WHERE reader = 'relay' AND shard = $2", end, shard
        )
        await connection.execute(NOTICE, shard)
        await connection.execute(EVENT, "evt_waits", None)
        await connection.execute(EVENT, "evt_done", now())
        await connection.execute(CURSOR, 0, now())
        await connection.execute(CURSOR, 1, now() - HOUR)
        behind = await look(worker)

        assert behind["projector#"] == behind["signer#"] == end
        assert behind["projector"] > 0
        assert (behind["relay#"], behind["relay"]) == (0, 0)
        assert (behind["notices#"], behind["inbox#"], behind["holds"]) == (1, 1, 1)
        assert (behind["notices"] // 3600, behind["inbox"] // 3600, behind["usage"] // 3600) == (2, 3, 1)

        await connection.execute("UPDATE kafka_cursors SET passed_at = '-infinity' WHERE partition = 1")
        assert (await look(worker))["usage"] == inf


async def test_what_grows_is_told_by_table(database: str) -> None:
    registry = CollectorRegistry()
    async with connected(as_role(database, "worker")) as worker:
        await StoreWatch(registry).look(worker)

    for table in ("facts", "holds", "balance_v1", "refused_bytes"):
        assert (registry.get_sample_value("creditwell_table_bytes", {"table": table}) or 0) > 0
