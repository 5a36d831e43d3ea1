"""The time from a report to the balance that shows it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from time import perf_counter

from confluent_kafka import Producer

from deploy.local.trouble import StackTrouble
from deploy.local.world import LocalWorld, check_alive, connected
from services.read_models.balances import PROJECTOR
from services.store.connect import Connection
from services.store.shards import shard_of
from tests.bench.ground import WARM_SECONDS, Ground
from tests.bench.throughput import catch_up
from tests.bench.workload import BenchTeam, new_id, produce, producer, usage_event, usage_events, uses

VISIBLE_AT_RATE = 1_000
PROBES_PER_SECOND = 20
PROBE_SECONDS = 25  # 500 probes
LATE_SECONDS = 30
TICK_SECONDS = 0.005
LOOK_SECONDS = 0.01  # oftener, and who looks takes the time of whom it looks at

SHOWN = """
    SELECT team_id FROM unnest($1::smallint[], $2::text[], $3::bigint[]) AS probe (shard, team_id, seen)
    JOIN balance USING (shard, team_id) WHERE position > seen
"""
POSITIONS = "SELECT team_id, position FROM balance WHERE team_id = ANY($1)"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__int__() - 1)]


@dataclass
class Probe:
    """A team that reports nothing but this one usage, so that its balance moves when that is visible."""

    team: BenchTeam
    position: int
    sent_at: float = 0.0
    seen_at: float = 0.0


async def visible_latency(
    ground: Ground, world: LocalWorld, teams: Sequence[BenchTeam], probes: Sequence[BenchTeam]
) -> list[float]:
    """Milliseconds from just before a report to the row of its team's balance, at 1,000 events a second."""
    names = ("recorder", "projector", "relay")
    await world.serve(*names)
    async with connected(world.database) as owner:
        await catch_up(world, owner, PROJECTOR)
        await catch_up(world, owner, "relay")
        rows = await owner.fetch(POSITIONS, [team.id for team in probes])
        found = {row["team_id"]: row["position"] for row in rows}
        waiting = [Probe(team, found[team.id]) for team in probes]
        async with fed_without_end(world.kafka, teams, VISIBLE_AT_RATE - PROBES_PER_SECOND) as to:
            await asyncio.sleep(WARM_SECONDS)
            await asyncio.gather(_send_probes(to, waiting), _watch(world, owner, waiting))
    await ground.stop(*names)
    return [(probe.seen_at - probe.sent_at) * 1000 for probe in waiting]


@asynccontextmanager
async def fed_without_end(kafka: str, teams: Sequence[BenchTeam], per_second: int) -> AsyncIterator[Producer]:
    """Usage is made up and reported at a steady rate during the block, by this producer."""
    to = producer(kafka, linger_ms=0)
    feeding = asyncio.create_task(_feed(to, teams, per_second))
    try:
        yield to
    finally:
        feeding.cancel()
        await asyncio.wait({feeding})
        await asyncio.to_thread(to.flush, 30)


async def _feed(to: Producer, teams: Sequence[BenchTeam], per_second: int) -> None:
    """A steady stream, a few events every 5 ms, until cancelled."""
    random, began, sent = Random("feed"), perf_counter(), 0
    while True:
        due = int((perf_counter() - began) * per_second) - sent
        if due:
            produce(to, usage_events(teams, due, random.random()))
            sent += due
        await asyncio.sleep(TICK_SECONDS)


async def _send_probes(to: Producer, probes: Sequence[Probe]) -> None:
    random, began = Random("probes"), perf_counter()
    for number, probe in enumerate(probes):
        await asyncio.sleep(max(0.0, began + number / PROBES_PER_SECOND - perf_counter()))
        (use,) = uses([probe.team], 1, random)
        at = datetime.now(UTC)
        event = usage_event(use, new_id(random, at), at)
        probe.sent_at = perf_counter()
        produce(to, [event])


async def _watch(world: LocalWorld, owner: Connection, probes: Sequence[Probe]) -> None:
    """Note when each probe shows; it is seen up to 10 ms later, 5 on average, which is counted in."""
    by_team = {probe.team.id: probe for probe in probes}
    deadline = perf_counter() + len(probes) / PROBES_PER_SECOND + LATE_SECONDS
    while unseen := [probe for probe in probes if not probe.seen_at]:
        sent = [probe for probe in unseen if probe.sent_at]
        if sent:
            places = [(shard_of(probe.team.id), probe.team.id, probe.position) for probe in sent]
            for row in await owner.fetch(SHOWN, *map(list, zip(*places, strict=True))):
                by_team[row["team_id"]].seen_at = perf_counter()
        check_alive(world.processes)
        if perf_counter() > deadline:
            raise StackTrouble("Bench", f"{len(unseen)} probes were never seen in a balance")
        await asyncio.sleep(LOOK_SECONDS)
