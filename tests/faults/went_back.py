"""A standby that was behind is promoted under load, and what was published comes back, on real servers.

Each seed is a primary with its asynchronous standby. Recorder, projector and relay work on it; at a drawn moment the
standby loses its network, at another one the relay is gone, and at last the primary. Then the standby is the store. It must
refuse to go on, take back what was published, with the hashes that it had, and have everything that was reported once. In
each fourth seed commits wait for the standby: then nothing is lost, and it goes on as soon as the relay has looked.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from uuid import uuid4

from rich.console import Console

from deploy.local.servers.postgres import NativePostgres
from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import HoldPlaced
from services.audit.replay import ReplayScope, replay
from services.audit.verify import verify
from services.publishing import relay
from services.publishing.beyond import compare, read_beyond
from services.publishing.looking import StoreLook
from services.recovery.resume import Orders, resume
from services.runtime.errors import Unavailable
from services.runtime.health import Health
from services.store.connect import Connection
from services.store.lives import StoreUnchecked
from tests.faults.seeds import play_seeds
from tests.support.facts import now
from tests.support.lives import begin_to_publish, settings_of
from tests.support.promoted import a_primary, behind, make_tables, promote, synchronous
from tests.support.serving import as_role, connected, store, used
from tests.support.usage import reported, structured
from tests.support.waiting import until
from tests.support.world import ServiceWorld, a_world

TEAMS = 6
BLOCKS = "SELECT shard, last, hash FROM blocks"
# What was never published is lost, and something else may stand there.
PUBLISHED = """
    SELECT shard, last, hash FROM blocks JOIN checkpoints USING (shard)
    WHERE checkpoints.reader = 'relay' AND blocks.last <= checkpoints.position
"""
IDS = "SELECT team_id, id FROM facts WHERE type = 'usage.recorded.v1'"


async def play(stack: Stack, primary: NativePostgres, seed: int) -> list[str]:
    """One promotion; what was wrong in the end."""
    random, mark = Random(seed), uuid4().hex[:8]
    teams, sent = [f"team_{mark}_{number}" for number in range(TEAMS)], set[tuple[str, str]]()
    await make_tables(primary.url)
    async with a_world(replace(stack, database=primary.url), primary.url) as world:
        await world.team(*teams)
        await begin_to_publish(world)
        async with world.recorder(), world.projector():
            async with _relaying(world):
                await _load(world, random, teams, sent, random.randrange(5, 40))
                standby = await (synchronous(primary) if is_synchronous(seed) else behind(primary))
                await _load(world, random, teams, sent, random.randrange(1, 60))
                if random.random() < 0.7:
                    await until(lambda: _is_published(world.connection), what="all is published")
            await _load(world, random, teams, sent, random.randrange(20))  # nobody publishes this
        before = {(row["shard"], row["last"]): row["hash"] for row in await world.connection.fetch(PUBLISHED)}
        was_behind = await world.connection.fetchval("SELECT count(*) FROM blocks")
        await world.connection.close()
        await promote(primary, standby)
        ours = replace(stack, database=standby.url)
        return await _after(ours, standby.url, before, sent, was_behind, waited_for=is_synchronous(seed))


def is_synchronous(seed: int) -> bool:
    """Whether commits of this seed wait for the standby."""
    return seed % 4 == 0


async def _load(
    world: ServiceWorld, random: Random, teams: Sequence[str], sent: set[tuple[str, str]], steps: int
) -> None:
    for _ in range(steps):
        team, id = random.choice(teams), uuid4().hex
        if random.random() < 0.3:
            hold = HoldPlaced(hold_id=id, credits=MICRO, expires_at=now() + timedelta(hours=1))
            await store(world.connection, team, [hold], source="creditwell:holds")
            await world.connection.execute(
                "INSERT INTO holds (shard, team_id, hold_id, credits, placed_at, expires_at) "
                "SELECT shard, team_id, $2, $3, recorded_at, $4 FROM facts WHERE team_id = $1 ORDER BY position DESC LIMIT 1",
                team, id, MICRO, hold.expires_at,
            )  # fmt: skip
        else:
            await world.send(structured(reported(team, id)))
            sent.add((team, id))
    await world.recorded()


async def _is_published(connection: Connection) -> bool:
    behind = await connection.fetchval(
        "SELECT count(*) FROM shard_heads h LEFT JOIN checkpoints c ON c.reader = 'relay' AND c.shard = h.shard "
        "WHERE h.next - 1 > coalesce(c.position, 0)"
    )
    return bool(behind == 0)


@asynccontextmanager
async def _relaying(world: ServiceWorld) -> AsyncIterator[None]:
    stop = asyncio.Event()
    settings = settings_of(world.stack, as_role(world.database, "worker"))
    task = asyncio.create_task(relay.serve(settings, stop, Health("relay")))
    try:
        yield
    finally:
        stop.set()
        await task


async def _after(
    stack: Stack,
    database: str,
    before: dict[tuple[int, int], bytes],
    sent: set[tuple[str, str]],
    was_behind: int,
    *,
    waited_for: bool,
) -> list[str]:
    wrong: list[str] = []
    settings = settings_of(stack, database)
    async with connected(database) as connection:
        had = await connection.fetchval("SELECT count(*) FROM blocks")
        try:
            await store(connection, "team_of_nobody", [used(1)])
            wrong.append("it went on before anybody looked")
        except StoreUnchecked:
            pass
        published = await read_beyond(settings, connection)
        lost = (await compare(connection, published.published)).lost
        try:
            await StoreLook(settings, Health("relay")).until_sure(connection)
            wrong += ["the relay did not see that it went back"] if lost else []
        except Unavailable:
            wrong += [] if lost else ["the relay saw what is not there"]
        await resume(connection, settings, Orders("faults", accept=False, apply=True))
        wrong += await _as_published(connection, before)
    async with a_second_world(stack, database) as world:
        async with world.recorder(), world.projector(), _relaying(world):
            await until(lambda: _has_all(world.connection, len(sent)), what="usage comes again")
            await until(lambda: _is_published(world.connection), what="the relay goes on")
            await world.projected()
        recorded = [tuple(row) for row in await world.connection.fetch(IDS)]
        if sorted(sent) != sorted(recorded):
            wrong.append(f"{len(recorded)} usages are recorded, and {len(sent)} were sent")
        again = await read_beyond(settings, world.connection)
        seen = await compare(world.connection, [*published.published, *again.published])
        wrong += [] if seen.why(()) is None else [str(seen.why(()))]
        wrong += await _whole(world.connection)
    if waited_for:
        return [*(["a standby that was waited for lacks something"] if lost or was_behind != had else []), *wrong]
    return wrong if was_behind > had else ["the standby was not behind", *wrong]


async def _as_published(connection: Connection, before: dict[tuple[int, int], bytes]) -> list[str]:
    """Every block that was one before has the hash that it had; new ones are those of the resumption."""
    now_there = {(row["shard"], row["last"]): row["hash"] for row in await connection.fetch(BLOCKS)}
    others = [place for place, hash_ in now_there.items() if before.get(place, hash_) != hash_]
    return [f"the block at {place} has another hash" for place in others[:3]] + await _whole(connection)


async def _whole(connection: Connection) -> list[str]:
    verified = await verify(connection)
    replayed = await replay(connection, ReplayScope(), lambda _: None)
    return [*(str(problem) for problem in verified.problems[:3]), *map(str, replayed.differences[:3])]


async def _has_all(connection: Connection, count: int) -> bool:
    return bool(await connection.fetchval("SELECT count(*) >= $1 FROM facts WHERE type = 'usage.recorded.v1'", count))


@asynccontextmanager
async def a_second_world(stack: Stack, database: str) -> AsyncIterator[ServiceWorld]:
    """The same store, its cursors where they are."""
    async with connected(database) as connection:
        yield ServiceWorld(stack, database, connection, None)  # it sends nothing


def resumptions(stack: Stack, seeds: Sequence[int], console: Console) -> int:
    """Play each seed on servers of its own; the exit code."""

    def on_its_own(seed: int) -> list[str]:
        with tempfile.TemporaryDirectory() as folder, a_primary(Path(folder)) as primary:
            return asyncio.run(play(stack, primary, seed))

    return play_seeds(
        seeds, on_its_own, console, option="--went-back", what=lambda _: "the store went back",
        well="what was published is back, and all usage once",
    )  # fmt: skip
