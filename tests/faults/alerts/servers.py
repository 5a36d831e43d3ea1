"""What goes wrong at the servers themselves: too few brokers, a standby that was behind."""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

from services.audit.anchors import anchors_in, begin_folder
from services.store.lives import LOG
from tests.faults.alerts.stage import RECORDERS, SOON_SECONDS, Stage, folder_of_anchors
from tests.faults.alerts.table import fires
from tests.faults.matrix import empty_database
from tests.faults.servers.brokers import servers_of, three_brokers
from tests.support.fleet import Fleet
from tests.support.promoted import behind
from tests.support.serving import connected, plan, store, used
from tests.support.waiting import until

OTHER = "relay-2"
ALL_PUBLISHED = """
    SELECT count(*) = 0 FROM shard_heads h LEFT JOIN checkpoints c ON c.reader = 'relay' AND c.shard = h.shard
    WHERE h.next - 1 > coalesce(c.position, 0)
"""
PUBLISHED = "SELECT coalesce(sum(position), 0)::bigint FROM checkpoints WHERE reader = 'relay'"
LOST_MIN = 20


@fires("Stuck", "two of three brokers are dead: Kafka answers, and acknowledges nothing")
async def stuck(stage: Stage) -> AsyncIterator[None]:
    """A second log, whose Kafka has three: its relay waits for what it has sent, and a restart of it mends nothing."""
    stack, processes = stage.world.stack, stage.world.processes
    brokers = await asyncio.to_thread(three_brokers, stack)
    database = await empty_database(stack.database)
    fleet = Fleet(processes, replace(stack, kafka=servers_of(brokers)), database)
    fleet.start(OTHER)
    await fleet.ready(OTHER, within=SOON_SECONDS)
    async with connected(database) as connection:
        await store(connection, "team_1", [plan(), used(1)])
        await until(lambda: connection.fetchval(ALL_PUBLISHED), what="all of it is published")
        for broker in brokers[1:]:
            await asyncio.to_thread(broker.stop, signal.SIGKILL)
        await store(connection, "team_1", [used(1)])
        stage.prometheus.targets[OTHER] = f"http://127.0.0.1:{fleet.ports[OTHER]}"
        yield
        assert (await stage.look(OTHER, "/healthz"))["stuck"] == ["relay"]
        stage.stands("too few brokers are there")
        for broker in brokers[1:]:
            broker.launch()
        await until(lambda: connection.fetchval(ALL_PUBLISHED), within=SOON_SECONDS, what="all of it is published")
    del stage.prometheus.targets[OTHER]
    await processes.stop(OTHER)
    for broker in brokers:
        await asyncio.to_thread(broker.stop, signal.SIGKILL)


@fires(
    "StoreWentBack", "a standby that was seconds behind is promoted at its primary's address", "NotReady", "ApiErrors",
    "Down", "LogNotSigned", "UsageNotStored", "FactsNotRelayed", "FactsNotProjected", "WitnessSilent", "AnchorOld",
)  # fmt: skip
async def went_back(stage: Stage) -> AsyncIterator[None]:
    """What was recorded and published meanwhile is not in the log; the processes stay."""
    primary = stage.world.stack.native_postgres
    assert primary is not None
    standby = await behind(primary)
    had = await stage.fetchval(PUBLISHED)
    await stage.until_true(f"SELECT ({PUBLISHED}) >= $1", had + LOST_MIN)
    await asyncio.to_thread(primary.give_way, standby)
    assert await stage.fetchval("SELECT pg_promote()")
    yield
    said = await stage.creditwell("resume", exits=1)
    assert "topic" in said, said
    await stage.creditwell("resume --apply --by YOU", exits=None, YOU="ana")
    await stage.creditwell("resume --apply --by YOU", "--accept", exits=None, YOU="ana")
    await stage.creditwell("resume")
    # Whose cursors went back with the store ends, and is started again by whoever looks after it.
    await stage.start(*(name for name in RECORDERS if stage.world.processes[name].code is not None))
    await another_proof(stage)
    for command in "reconcile --heal", "verify", "replay":
        await stage.creditwell(command)


async def another_proof(stage: Stage) -> None:
    """A new folder of anchors, and a witness that does not know what was lost."""
    stage.stands("Give the signer a new folder of anchors, empty but for the file")
    folder = folder_of_anchors(stage)
    await stage.stop("signer")
    folder.rename(folder.with_name("anchors-of-before"))
    folder.mkdir()
    begin_folder(folder, await stage.fetchval(LOG))
    stage.witness.cosigned.clear()
    await stage.start("signer")

    async def is_anchored() -> bool:
        return bool(anchors_in(folder))

    await until(is_anchored, what="the log is anchored again")
