"""What one team can do to the others: their times while it downloads its whole history and asks for balances of the past.

The same requests are timed twice in the same minute, first without it. It takes all that a caller gets: as many downloads
at once as one may have, each begun anew when it ends, and questions about the past without a pause.
"""

import asyncio
import http.client
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
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
from tests.bench.ground import SETTLE, WARM_SECONDS, Ground
from tests.bench.holds import Caller, hold_in_worker
from tests.bench.large import LIFE
from tests.bench.latency import VISIBLE_AT_RATE, percentile
from tests.bench.reading import AS_A_TEAM, STARTS_SECONDS, Request, fed, read_in_worker, requests_of
from tests.bench.throughput import RECORDERS, catch_up, in_worker, worker
from tests.bench.workload import BenchTeam, usage_events

SECONDS = 20
BEGINS_SECONDS = 2  # until all that it asks for is under way
ASKERS = 4
PIECE_BYTES = 2**16


@dataclass(frozen=True)
class Others:
    """The 99th percentile of each kind of request of the other teams, in milliseconds."""

    balance_ms: float
    quote_ms: float
    hold_ms: float


async def others_alone_and_beside(
    ground: Ground, world: LocalWorld, others: Sequence[BenchTeam], hostile: BenchTeam
) -> tuple[Others, Others]:
    """Their times without the hostile team and beside it, while 1,000 usages a second arrive."""
    seconds = 2 * SECONDS + BEGINS_SECONDS + WARM_SECONDS + 15 * STARTS_SECONDS  # on a busy machine requests are late
    events = usage_events(others, VISIBLE_AT_RATE * seconds, "neighbour")
    names = (*RECORDERS, "projector", "api")
    world = at_free_ports(world)
    await world.serve(*names, env=AS_A_TEAM)
    async with connected(world.database) as owner:
        await catch_up(world, owner, "projector")
        requests = await requests_of(world, owner, others, others[0])
        began, ended = (await owner.fetch(LIFE, hostile.id))[0]
        await owner.execute(SETTLE)
    token = world.token(hostile.id, hostile.members[0], TokenRole.MEMBER)
    with worker() as neighbour, worker() as reader, worker() as holder:
        # Before usage is reported: a process that starts takes longer than anything else here.
        await asyncio.gather(*(in_worker(one, os.getpid) for one in (neighbour, reader, holder)))
        times = partial(_times, world, requests, others, reader, holder)
        async with fed(world, events, VISIBLE_AT_RATE):
            await times(WARM_SECONDS)
            alone = await times(SECONDS)
            greedy = in_worker(
                neighbour, ask_in_worker, world.api, hostile.id, token, began, ended, SECONDS + BEGINS_SECONDS
            )
            asking = asyncio.ensure_future(greedy)
            await asyncio.sleep(BEGINS_SECONDS)
            beside = await times(SECONDS)
        answered = await asking
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
) -> Others:
    callers: list[Caller] = [(team.id, world.token(team.id, "bench", TokenRole.SERVICE)) for team in others]
    (times, failures), (placed, _, failed) = await asyncio.gather(
        in_worker(reader, read_in_worker, world.api, requests, seconds),
        in_worker(holder, hold_in_worker, world.api, callers, f"beside {perf_counter()}", seconds),
    )
    if failures or failed:
        raise StackTrouble("Bench", f"it failed: {(failures or failed)[0]}", way_out=tail(world.processes["api"].log))
    return Others(percentile(times["balance"], 99), percentile(times["quote"], 99), percentile(placed, 99))


def ask_in_worker(api: str, team_id: str, token: str, began: datetime, ended: datetime, seconds: float) -> int:
    """In a process of its own: how much of all that it asked for was answered, in pieces of downloads and in balances."""
    until, pieces = perf_counter() + seconds, []

    def download() -> None:
        while perf_counter() < until:
            answer = _ask(api, f"/v1/teams/{team_id}/activity", token, accept="text/csv")
            while perf_counter() < until and answer.read(PIECE_BYTES):
                pieces.append(answer.status == HTTPStatus.OK)

    def ask() -> None:
        random = Random(threading.get_ident())
        while perf_counter() < until:
            at = began + (ended - began) * random.random()
            answer = _ask(api, f"/v1/teams/{team_id}/balance?{urlencode({'at': at.isoformat()})}", token)
            answer.read()
            pieces.append(answer.status == HTTPStatus.OK)

    threads = [threading.Thread(target=what) for what in [download] * DOWNLOADS_MAX + [ask] * ASKERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(pieces)


def _ask(api: str, path: str, token: str, accept: str = "application/json") -> http.client.HTTPResponse:
    address = urlsplit(api)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": accept})
    return connection.getresponse()
