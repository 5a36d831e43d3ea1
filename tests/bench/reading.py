"""Times to read over HTTP while usage arrives: balances, quotes, and pages of the activity.

Open loop: every request has its moment in a timetable, whether or not those before it were answered. It is timed from that moment
if its reader was still waiting for an answer then, so that a stall counts for everybody who would have asked meanwhile; and else
from when it was sent, because that a reader woke late on a busy machine is not the API's doing. What is still due when the time is over
is not asked any more, and has waited until then.
"""

import asyncio
import http.client
import json
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from time import perf_counter, sleep
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from confluent_kafka import Producer

from deploy.local.trouble import StackTrouble, tail
from deploy.local.world import LocalWorld, at_free_ports, connected
from services.api.routes.activity import write_cursor
from services.api.tokens import TokenRole
from services.read_models.balances import PROJECTOR
from services.store.connect import Connection
from tests.bench.ground import SETTLE, WARM_SECONDS, Ground
from tests.bench.throughput import CURSORS, RECORDERS, catch_up, in_worker, worker
from tests.bench.workload import BenchTeam, Event, produce, producer, usage_events, uses

PER_SECOND = 100
READERS = 10
SECONDS = 20
STARTS_SECONDS = 10  # what it takes at most until somebody asks
TICK_SECONDS = 0.005
DIFFERENT = 400  # requests of each kind, asked for again and again

# What is asked for, and how often: of a hundred requests.
SHARES = {"balance": 25, "balance_hot_team": 25, "quote": 20, "activity": 30}

# One reader stands for the whole of a team, and may ask as often as all of them.
AS_A_TEAM = {"CREDITWELL_API_PERSON_REQUESTS_PER_MINUTE": "100000"}

LAST = "SELECT position FROM balance WHERE team_id = $1"


class Request(NamedTuple):
    """Something to ask."""

    method: str
    path: str
    token: str
    body: str | None = None


@dataclass(frozen=True)
class Reads:
    """What each kind of request took, in milliseconds, and how fast usage was stored meanwhile."""

    times_ms: Mapping[str, list[float]]
    stored_per_s: float


async def reads(
    ground: Ground, world: LocalWorld, teams: Sequence[BenchTeam], hot: BenchTeam, usage_per_s: int
) -> Reads:
    """A hundred requests a second while so much usage arrives; pages of the activity are the largest team's."""
    events = usage_events(teams, usage_per_s * (SECONDS + WARM_SECONDS + STARTS_SECONDS), "reads")
    names = (*RECORDERS, "projector", "api")
    world = at_free_ports(world)
    await world.serve(*names, env=AS_A_TEAM)
    async with connected(world.database) as owner:
        await catch_up(world, owner, PROJECTOR)
        requests = await requests_of(world, owner, teams, hot)
        await owner.execute(SETTLE)
        with worker() as reader:
            async with fed(world, events, usage_per_s):
                await in_worker(reader, read_in_worker, world.api, requests, WARM_SECONDS)
                before, began = await owner.fetchval(CURSORS), perf_counter()
                times, failures = await in_worker(reader, read_in_worker, world.api, requests, SECONDS)
                stored = (await owner.fetchval(CURSORS) - before) / (perf_counter() - began)
    if failures:
        raise StackTrouble("Bench", f"a read failed: {failures[0]}", way_out=tail(world.processes["api"].log))
    await ground.stop(*names)
    return Reads(times, stored)


async def requests_of(
    world: LocalWorld, owner: Connection, teams: Sequence[BenchTeam], hot: BenchTeam
) -> dict[str, list[Request]]:
    """What is asked for, by kind; a request is drawn from each again and again."""
    random = Random("reads")
    tokens = {team.id: world.token(team.id, team.members[0], TokenRole.MEMBER) for team in teams}
    last = await owner.fetchval(LAST, hot.id)
    return {
        "balance": [Request("GET", f"/v1/teams/{team}/balance", token) for team, token in tokens.items()],
        "balance_hot_team": [Request("GET", f"/v1/teams/{hot.id}/balance", tokens[hot.id])],
        "quote": [
            Request("POST", f"/v1/teams/{use.team.id}/quotes", tokens[use.team.id], json.dumps({"items": [
                {"feature": use.feature, "quantity": use.quantity, "attributes": use.attributes or {},
                 "member_id": use.member_id},
            ]}))
            for use in uses(teams, DIFFERENT, random)
        ],
        "activity": [
            Request("GET", f"/v1/teams/{hot.id}/activity?{_page(hot, last, random)}", tokens[hot.id])
            for _ in range(DIFFERENT)
        ],
    }  # fmt: skip


def _page(hot: BenchTeam, last: int, random: Random) -> str:
    """Any page: the first or one from the middle, of any window, with any filter."""
    asked: dict[str, object] = {"days": random.choice(("1", "7", "30"))}
    if random.random() < 0.5:
        asked["cursor"] = write_cursor((random.randint(1, last), 0))
    match random.randrange(4):
        case 0:
            asked["type"] = random.choice((["usage"], ["usage", "refund"], ["refill", "grant"], ["dispute"]))
        case 1:
            asked["member"] = random.choice(hot.members)
    return urlencode(asked, doseq=True)


@asynccontextmanager
async def fed(world: LocalWorld, events: Sequence[Event], per_second: int) -> AsyncIterator[None]:
    """Report usage at a steady rate during the block.

    Raises:
        StackTrouble: all was reported before the block ended, so part of it was measured in quiet.
    """
    # It sends a request for each partition: at 64 of them, as many as at eight every 5 ms.
    to = producer(world.kafka, linger_ms=40)
    feeding = asyncio.create_task(_feed(to, events, per_second))
    try:
        yield
        if feeding.done():
            raise StackTrouble("Bench", "there was no more usage to report while it was measured")
    finally:
        feeding.cancel()
        await asyncio.wait({feeding})
        await asyncio.to_thread(to.flush, 60)


async def _feed(to: Producer, events: Sequence[Event], per_second: int) -> None:
    began, sent = perf_counter(), 0
    while sent < len(events):
        due = int((perf_counter() - began) * per_second)
        produce(to, events[sent:due])
        sent = max(sent, due)
        await asyncio.sleep(TICK_SECONDS)


def read_in_worker(
    api: str, requests: Mapping[str, Sequence[Request]], seconds: float
) -> tuple[dict[str, list[float]], list[str]]:
    """In a process of its own, so that reports and reads do not wait for each other: times by kind, and what failed."""
    times: dict[str, list[float]] = {kind: [] for kind in requests}
    failures: list[str] = []
    began = perf_counter() + 0.5
    readers = [
        threading.Thread(target=_read, args=(api, requests, began, number, seconds, times, failures))
        for number in range(READERS)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return times, failures


def _read(
    api: str,
    requests: Mapping[str, Sequence[Request]],
    began: float,
    number: int,
    seconds: float,
    times: dict[str, list[float]],
    failures: list[str],
) -> None:
    """One reader: a connection and a timetable of its own."""
    address, random = urlsplit(api), Random(number)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    kinds = random.choices(list(SHARES), list(SHARES.values()), k=int(seconds * PER_SECOND / READERS))
    free_at = 0.0
    for turn, kind in enumerate(kinds):
        due = began + (turn + number / READERS) * READERS / PER_SECOND
        if (late := perf_counter() - due) > 0 and due + late > began + seconds:
            times[kind].append(late * 1000)  # it has waited so long, and is not asked any more
            continue
        sleep(max(0.0, due - perf_counter()))
        request = random.choice(requests[kind])
        sent_at = perf_counter()
        connection.request(
            request.method, request.path, request.body,
            {"Authorization": f"Bearer {request.token}", "Content-Type": "application/json"},
        )  # fmt: skip
        answer = connection.getresponse()
        body = answer.read()
        since, free_at = due if free_at > due else sent_at, perf_counter()
        times[kind].append((free_at - since) * 1000)
        if answer.status != http.client.OK:
            failures.append(f"{request.path}: {answer.status} {body[:300]!r}")
            return
