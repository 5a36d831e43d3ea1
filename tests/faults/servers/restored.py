"""A backup is restored to a moment of the past, on real servers, and the log goes on without a person.

Each seed is a primary that archives, with recorder, projector, relay and top-up worker at work; teams run low and are
charged before that moment and after it. Then the backup with the archive is the store, with the same processes and
`creditwell resume --watch`. By turns the primary is gone, or Kafka is away meanwhile, or the old primary still runs, takes
usage, charges and publishes. The processes must say what they wait for; in the end nobody is charged twice or for nothing,
all usage that was reported is recorded once, and each published position is true.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from uuid import uuid4

from rich.console import Console

from deploy.local.stack import Stack
from schemas.facts import CreditsToppedUp
from services.audit.replay import ReplayScope, replay
from services.audit.verify import verify
from services.money import topup
from services.publishing import relay
from services.publishing.batches import AWAY_NAME as KAFKA_AWAY
from services.publishing.beyond import compare, read_ends, read_spans
from services.read_models import projector
from services.recovery.watching import watch
from services.runtime.health import Health
from services.runtime.settings_loading import load_settings
from services.store.connect import Connection
from services.store.lives import LOG
from services.usage import consuming
from tests.faults.seeds import play_seeds
from tests.support.desk import KEY, Desk, a_desk, new_team, of_type
from tests.support.lives import begin_to_publish, settings_of
from tests.support.promoted import a_server, make_tables
from tests.support.restored import ArchivingPostgres
from tests.support.serving import as_role, connected
from tests.support.usage import reported, structured
from tests.support.waiting import until
from tests.support.world import ServiceWorld, a_world

KINDS = ("the primary is gone", "the old primary still works", "Kafka is away")
TEAMS, LOW = 6, "300"
PATIENCE_SECONDS = 180
PROCESSES = {
    "recorder": consuming.serve, "projector": projector.serve, "relay": relay.serve, "topup": topup.serve, "resume": watch,
}  # fmt: skip
ROLES = {"relay": "worker", "topup": "worker"}
UNPUBLISHED = """
    SELECT count(*) FROM shard_heads h LEFT JOIN checkpoints c ON c.reader = 'relay' AND c.shard = h.shard
    WHERE h.next - 1 > coalesce(c.position, 0)
"""
IDS = "SELECT team_id, id FROM facts WHERE type = 'usage.recorded.v1'"


@dataclass
class Load:
    """What is reported: which usage was sent, and which teams have run low, each once."""

    world: ServiceWorld
    random: Random
    teams: Sequence[str]
    sent: set[tuple[str, str]] = field(default_factory=set)
    low: list[str] = field(default_factory=list)

    async def some(self, count: int, *, runs_low: int = 0) -> None:
        """So much usage; so many more teams run low of it."""
        for _ in range(count):
            await self._send(self.random.choice(self.teams), "1")
        for team in [team for team in self.teams if team not in self.low][:runs_low]:
            await self._send(team, LOW)
            self.low.append(team)

    async def until_told(self, stop: asyncio.Event) -> None:
        """A little at a time."""
        while not stop.is_set():
            await self.some(1)
            await asyncio.sleep(0.2)

    async def _send(self, team: str, quantity: str) -> None:
        id = uuid4().hex
        await self.world.send(structured(reported(team, id, quantity=quantity)))
        self.sent.add((team, id))


async def play(stack: Stack, primary: ArchivingPostgres, seed: int) -> list[str]:
    """One restore; what was wrong in the end."""
    random, kind = Random(seed), KINDS[seed % len(KINDS)]
    await make_tables(primary.url)
    async with AsyncExitStack() as opened:
        desk = await opened.enter_async_context(a_desk(seed=seed))
        world = await opened.enter_async_context(a_world(replace(stack, database=primary.url), primary.url))
        teams = [await new_team(world.connection, desk, cool_down_seconds=300) for _ in range(TEAMS)]
        await begin_to_publish(world)
        begin, load = await read_ends(settings_of(stack, primary.url)), Load(world, random, teams)
        old = await opened.enter_async_context(AsyncExitStack())
        await old.enter_async_context(
            _serving(stack, primary.url, desk, [name for name in PROCESSES if name != "resume"])
        )
        await load.some(random.randrange(5, 30), runs_low=1)
        await until(lambda: _is_published(world.connection), what="all is published")
        await asyncio.to_thread(primary.backup)
        await load.some(random.randrange(5, 30), runs_low=random.randrange(2))
        await world.recorded()
        then = await world.connection.fetchval("SELECT clock_timestamp()")
        await load.some(random.randrange(5, 30), runs_low=2)
        await world.recorded()
        if random.random() < 0.7:
            await until(lambda: _books_agree(world.connection, desk, load.low), what="all are charged")
            await until(lambda: _is_published(world.connection), what="all is published")
        await primary.archived()
        if kind != KINDS[1]:
            await old.aclose()
            await asyncio.to_thread(primary.stop, "immediate")
        restored = await primary.restored(then)
        await _goes_on(stack, restored.url, desk, load, kind, old, primary)
        return await _judge(stack, restored.url, desk, load, begin)


async def _goes_on(
    stack: Stack, url: str, desk: Desk, load: Load, kind: str, old: AsyncExitStack, primary: ArchivingPostgres
) -> None:
    """From the restore until everything has come back; AssertionError for what the processes did not say."""
    kafka = stack.native_kafka
    assert kafka is not None
    if kind == KINDS[2]:
        await asyncio.to_thread(kafka.stop)
    async with connected(url) as connection, _serving(stack, url, desk, list(PROCESSES)) as healths:
        load.world.connection.terminate()
        load.world.connection = connection
        if kind == KINDS[2]:
            try:
                await until(lambda: _says(healths["relay"], KAFKA_AWAY, ""), what="the relay says that Kafka is away")
                await until(
                    lambda: _says(healths["resume"], "the store", "store_unchecked"), what="the watch says so, too"
                )
            finally:  # whoever is played next needs it, too
                await asyncio.to_thread(kafka.start)
        await until(lambda: _says(healths["relay"], "the store", "store_went_back"), what="the relay says so")
        if kind == KINDS[1]:
            stop = asyncio.Event()
            sending = asyncio.create_task(load.until_told(stop))
            await until(lambda: _says(healths["resume"], "the store", "nothing was published"), what="the watch waits")
            await load.some(5, runs_low=1)
            await old.aclose()  # under load to its end: as long as it publishes the watch waits
            stop.set()
            await sending
            await asyncio.to_thread(primary.stop, "immediate")
        await until(lambda: _goes(connection), within=PATIENCE_SECONDS, what="the log goes on")
        await load.some(5, runs_low=1)
        await until(lambda: _has_all(connection, load.sent), within=PATIENCE_SECONDS, what="usage comes again")
        await until(
            lambda: _books_agree(connection, desk, load.low), within=PATIENCE_SECONDS, what="charges are credits"
        )
        await until(lambda: _is_published(connection), within=PATIENCE_SECONDS, what="all is published")
        await load.world.projected()
        await until(lambda: _nothing_is_away(healths), what="nobody waits for anything any more")


async def _nothing_is_away(healths: Mapping[str, Health]) -> bool:
    return not any(health.absent for health in healths.values())


async def _judge(stack: Stack, url: str, desk: Desk, load: Load, begin: Mapping[int, int]) -> list[str]:
    settings = settings_of(stack, url)
    async with connected(url) as connection:
        log, ends = await connection.fetchval(LOG), await read_ends(settings)
        spans = {one: (begin[one], end) for one, end in ends.items()}
        published, _ = await read_spans(settings, log, spans, sys.maxsize)
        compared = await compare(connection, published)
        recorded = [tuple(row) for row in await connection.fetch(IDS)]
        verified, replayed = await verify(connection), await replay(connection, ReplayScope(), lambda _: None)
    charged = Counter(charge["metadata"]["team_id"] for charge in (await desk.books())["charges"])
    wrong = [f"{team} was charged {charged[team]} times" for team in load.teams if charged[team] != (team in load.low)]
    wrong += (
        []
        if sorted(recorded) == sorted(load.sent)
        else [f"{len(recorded)} usages are recorded, {len(load.sent)} were sent"]
    )
    wrong += [] if compared.why(()) is None else [str(compared.why(()))]
    return [*wrong, *(str(one) for one in verified.problems[:3]), *map(str, replayed.differences[:3])]


@asynccontextmanager
async def _serving(stack: Stack, url: str, desk: Desk, names: Sequence[str]) -> AsyncIterator[dict[str, Health]]:
    """Processes of ours in this event loop, and what they say of themselves."""
    stop, healths = asyncio.Event(), {name: Health(name) for name in names}
    common = {"kafka": stack.kafka, "stripe_key": KEY, "stripe_api": desk.url, "insecure_dev": True}
    async with asyncio.TaskGroup() as group:  # the block ends with whoever dies
        for name, health in healths.items():
            database = as_role(url, ROLES.get(name, name)) if name != "resume" else url
            own = {"kafka_session_timeout_ms": 6_000} if name == "recorder" else {}
            group.create_task(PROCESSES[name](load_settings(**common, **own, database=database), stop, health))
        try:
            yield healths
        finally:
            stop.set()


async def _says(health: Health, what: str, why: str) -> bool:
    return what in health.absent and why in health.absent[what]


async def _goes(connection: Connection) -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM facts WHERE type = 'store.resumed.v1'"))


async def _is_published(connection: Connection) -> bool:
    return bool(await connection.fetchval(UNPUBLISHED) == 0)


async def _has_all(connection: Connection, sent: set[tuple[str, str]]) -> bool:
    return sent <= {tuple(row) for row in await connection.fetch(IDS)}


async def _books_agree(connection: Connection, desk: Desk, low: Sequence[str]) -> bool:
    """Each team that ran low was charged, and each charge is credited."""
    books = await desk.books()
    paid = Counter(charge["payment_intent"] for charge in books["charges"])
    facts = [fact for team in low for fact in await of_type(connection, team, CreditsToppedUp)]
    credited = Counter(fact.payment_intent_id for fact in facts)
    return set(low) <= {charge["metadata"]["team_id"] for charge in books["charges"]} and paid == credited


def restores(stack: Stack, seeds: Sequence[int], console: Console) -> int:
    """Play each seed on servers of its own; the exit code."""

    def on_its_own(seed: int) -> list[str]:
        with tempfile.TemporaryDirectory() as folder, a_server(ArchivingPostgres, Path(folder)) as primary:
            return asyncio.run(play(stack, primary, seed))

    return play_seeds(
        seeds, on_its_own, console, option="--restored", what=lambda seed: f"restored, {KINDS[seed % len(KINDS)]}",
        well="nobody charged twice, all usage once",
    )  # fmt: skip
