"""What one team can do to the others: their times while it downloads its whole history and asks for balances of the past.

The same requests are timed without it and beside it by turns, so that what else happens on the machine happens to both.
It takes all that a caller gets: as many downloads at once as one may have, each begun anew when it ends, and questions
about the past without a pause.
"""

import asyncio
import http.client
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http import HTTPStatus
from random import Random
from time import perf_counter
from urllib.parse import urlencode, urlsplit

from deploy.local.trouble import StackTrouble, tail
from deploy.local.world import LocalWorld, at_free_ports, connected
from services.api.rate_limits import DOWNLOADS_MAX
from services.api.tokens import TokenRole
from services.read_models.balances import PROJECTOR
from tests.bench.ground import SETTLE, WARM_SECONDS, Ground
from tests.bench.holds import Caller, hold_in_worker
from tests.bench.large import LIFE
from tests.bench.latency import VISIBLE_AT_RATE, fed_without_end, percentile
from tests.bench.reading import AS_A_TEAM, Request, read_in_worker, requests_of
from tests.bench.throughput import RECORDERS, catch_up, in_worker, worker
from tests.bench.workload import BenchTeam

TURNS = 5  # without it and beside it, each
SECONDS = 10
BEGINS_SECONDS = 2  # until all that it asks for is under way
ASKERS = 4
PIECE_BYTES = 2**16
KINDS = ("balance", "quote", "hold")


@dataclass
class Others:
    """What each kind of request of the other teams took, in milliseconds."""

    times_ms: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def p99_ms(self, kind: str) -> float:
        """Of all turns together."""
        return percentile(self.times_ms[kind], 99)


async def others_alone_and_beside(
    ground: Ground, world: LocalWorld, others: Sequence[BenchTeam], hostile: BenchTeam
) -> tuple[Others, Others]:
    """Their times without the hostile team and beside it, while 1,000 usages a second arrive."""
    names = (*RECORDERS, "projector", "api")
    world = at_free_ports(world)
    await world.serve(*names, env=AS_A_TEAM)
    async with connected(world.database) as owner:
        await catch_up(world, owner, PROJECTOR)
        requests = await requests_of(world, owner, others, others[0])
        life = (await owner.fetch(LIFE, hostile.id))[0]
        await owner.execute(SETTLE)
    token = world.token(hostile.id, hostile.members[0], TokenRole.MEMBER)
    alone, beside, answered = Others(), Others(), 0
    with worker() as neighbour, worker() as reader, worker() as holder:
        # Before usage is reported: a process that starts takes longer than anything else here.
        await asyncio.gather(*(in_worker(one, os.getpid) for one in (neighbour, reader, holder)))
        times = partial(_times, world, requests, others, reader, holder)
        async with fed_without_end(world.kafka, others, VISIBLE_AT_RATE):
            await times(WARM_SECONDS, Others())
            for _ in range(TURNS):
                await times(SECONDS, alone)
                greedy = in_worker(
                    neighbour, ask_in_worker, world.api, hostile.id, token, *life, SECONDS + BEGINS_SECONDS
                )
                asking = asyncio.ensure_future(greedy)
                await asyncio.sleep(BEGINS_SECONDS)
                await times(SECONDS, beside)
                answered += await asking
    if not answered:
        raise StackTrouble("Bench", "the hostile team got nothing", way_out=tail(world.processes["api"].log))
    await ground.stop(*names)
    return alone, beside


async def _times(
    world: LocalWorld,
    requests: Mapping[str, Sequence[Request]],
    others: Sequence[BenchTeam],
    reader: ProcessPoolExecutor,
    holder: ProcessPoolExecutor,
    seconds: float,
    into: Others,
) -> None:
    callers: list[Caller] = [(team.id, world.token(team.id, "bench", TokenRole.SERVICE)) for team in others]
    (times, failures), (placed, _, failed) = await asyncio.gather(
        in_worker(reader, read_in_worker, world.api, requests, seconds),
        in_worker(holder, hold_in_worker, world.api, callers, f"beside {perf_counter()}", seconds),
    )
    if failures or failed:
        raise StackTrouble("Bench", f"it failed: {(failures or failed)[0]}", way_out=tail(world.processes["api"].log))
    for kind, taken in {**times, "hold": placed}.items():
        if kind in into.times_ms:
            into.times_ms[kind] += taken


def ask_in_worker(api: str, team_id: str, token: str, began: datetime, ended: datetime, seconds: float) -> int:
    """In a process of its own: how much of all that it asked for was answered, in pieces of downloads and in balances.

    Whoever has no answer when the time is over hangs up.
    """
    until, pieces = perf_counter() + seconds, []

    def download(_: Random) -> None:
        answer = _ask(api, f"/v1/teams/{team_id}/activity", token, until, accept="text/csv")
        while perf_counter() < until and answer.read(PIECE_BYTES):
            pieces.append(answer.status == HTTPStatus.OK)

    def ask(random: Random) -> None:
        at = began + (ended - began) * random.random()
        answer = _ask(api, f"/v1/teams/{team_id}/balance?{urlencode({'at': at.isoformat()})}", token, until)
        answer.read()
        pieces.append(answer.status == HTTPStatus.OK)

    def again_and_again(what: Callable[[Random], None]) -> None:
        random = Random(threading.get_ident())
        while perf_counter() < until:
            with suppress(OSError, http.client.HTTPException):
                what(random)

    asked = [download] * DOWNLOADS_MAX + [ask] * ASKERS
    threads = [threading.Thread(target=again_and_again, args=(what,)) for what in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(pieces)


def _ask(api: str, path: str, token: str, until: float, accept: str = "application/json") -> http.client.HTTPResponse:
    address = urlsplit(api)
    patience = max(0.1, until - perf_counter())
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=patience)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": accept})
    return connection.getresponse()
