"""Times: from a report to the balance that shows it, and to read a balance while usage arrives."""

import asyncio
import http.client
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from time import perf_counter, sleep
from urllib.parse import urlsplit

from confluent_kafka import Producer

from deploy.local.trouble import StackTrouble, tail
from deploy.local.world import World, at_free_ports, check_alive, connected
from services.store.connect import Connection
from services.store.shards import shard_of
from services.tokens import Role
from tests.bench.ground import Ground
from tests.bench.throughput import CURSORS, RECORDERS, catch_up, in_worker, worker
from tests.bench.workload import BenchTeam, Event, new_id, produce, producer, usage_event, usage_events, uses

VISIBLE_AT_RATE = 1_000
PROBES_PER_SECOND = 20
WARM_SECONDS = 3
PROBE_SECONDS = 25  # 500 probes
LATE_SECONDS = 30
TICK_SECONDS = 0.005
LOOK_SECONDS = 0.001

READS_PER_SECOND = 80
READERS = 8
READ_SECONDS = 15

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
    ground: Ground, world: World, teams: Sequence[BenchTeam], probes: Sequence[BenchTeam]
) -> list[float]:
    """Milliseconds from just before a report to the row of its team's balance, at 1,000 events a second."""
    names = ("recorder", "projector", "relay")
    await world.serve(*names)
    async with connected(world.database) as owner:
        await catch_up(world, owner, "projector")
        await catch_up(world, owner, "relay")
        rows = await owner.fetch(POSITIONS, [team.id for team in probes])
        found = {row["team_id"]: row["position"] for row in rows}
        waiting = [Probe(team, found[team.id]) for team in probes]
        to = producer(world.kafka, linger_ms=0)
        feeding = asyncio.create_task(_feed(to, teams, VISIBLE_AT_RATE - PROBES_PER_SECOND))
        try:
            await asyncio.sleep(WARM_SECONDS)
            await asyncio.gather(_send_probes(to, waiting), _watch(world, owner, waiting))
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
            await asyncio.to_thread(to.flush, 30)
    await ground.stop(*names)
    return [(probe.seen_at - probe.sent_at) * 1000 for probe in waiting]


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


async def _watch(world: World, owner: Connection, probes: Sequence[Probe]) -> None:
    """Note when each probe shows; the look itself takes a millisecond or two, which is counted in."""
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


@dataclass(frozen=True)
class BalanceReads:
    """What reading balances took, in milliseconds, and how fast usage was stored meanwhile."""

    any_team_ms: list[float]
    hot_team_ms: list[float]
    stored_per_s: float


async def balance_reads(
    ground: Ground, world: World, teams: Sequence[BenchTeam], hot: BenchTeam, per_second: int
) -> BalanceReads:
    """80 reads a second over HTTP, half of them of the largest team, while so much usage arrives."""
    events = usage_events(teams, int(per_second * (READ_SECONDS + WARM_SECONDS)), "reads")
    names = (*RECORDERS, "projector", "api")
    world = at_free_ports(world)
    await world.serve(*names)
    async with connected(world.database) as owner:
        await catch_up(world, owner, "projector")
        feeding = asyncio.create_task(_feed_events(producer(world.kafka), events, per_second))
        await asyncio.sleep(WARM_SECONDS)
        before, began = await owner.fetchval(CURSORS), perf_counter()
        with worker() as reader:
            any_team, hot_team, failures = await in_worker(
                reader, read_in_worker, world.api, _bearers(world, teams), _bearers(world, [hot])
            )
        stored = (await owner.fetchval(CURSORS) - before) / (perf_counter() - began)
        await feeding
    if failures:
        raise StackTrouble(
            "Bench", f"a balance could not be read: {failures[0]}", way_out=tail(world.processes["api"].log)
        )
    await ground.stop(*names)
    return BalanceReads(any_team, hot_team, stored)


def _bearers(world: World, teams: Sequence[BenchTeam]) -> list[tuple[str, str]]:
    return [(team.id, world.token(team.id, team.members[0], Role.MEMBER)) for team in teams]


async def _feed_events(to: Producer, events: Sequence[Event], per_second: int) -> None:
    began, sent = perf_counter(), 0
    while sent < len(events):
        due = int((perf_counter() - began) * per_second)
        produce(to, events[sent:due])
        sent = max(sent, due)
        await asyncio.sleep(TICK_SECONDS)
    await asyncio.to_thread(to.flush, 60)


def read_in_worker(
    api: str, teams: Sequence[tuple[str, str]], hot: Sequence[tuple[str, str]]
) -> tuple[list[float], list[float], list[str]]:
    """In a process of its own, so that reports and reads do not wait for each other: times of any team, of the hot one,
    and what failed.

    Each reader keeps its connection and its timetable: an answer that comes late delays nobody else, and whoever
    should have asked meanwhile counts from when he should have.
    """
    address = urlsplit(api)
    assert address.hostname is not None
    times: tuple[list[float], list[float]] = ([], [])
    failures: list[str] = []
    began = perf_counter() + 0.5

    def read(number: int) -> None:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
        random = Random(number)
        for turn in range(READ_SECONDS * READS_PER_SECOND // READERS):
            due = began + (turn + number / READERS) * READERS / READS_PER_SECOND
            sleep(max(0.0, due - perf_counter()))
            which = (turn + number) % 2
            team_id, token = random.choice((teams, hot)[which])
            connection.request("GET", f"/v1/teams/{team_id}/balance", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            body = answer.read()
            times[which].append((perf_counter() - due) * 1000)
            if answer.status != http.client.OK or "total" not in json.loads(body):
                failures.append(f"{answer.status} {body[:300]!r}")
                return

    threads = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return *times, failures
