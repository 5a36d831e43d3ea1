"""What the history of a large team costs to read: its activity as one CSV, and balances of the past."""

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from random import Random
from time import perf_counter
from urllib.parse import urlencode, urlsplit

import psutil

from deploy.local.world import LocalWorld, at_free_ports, connected
from services.api.tokens import TokenRole
from services.read_models.balances import PROJECTOR
from tests.bench.ground import Ground
from tests.bench.growth import fill
from tests.bench.throughput import catch_up, in_worker, worker
from tests.bench.workload import BenchTeam

PIECE_BYTES = 2**16
ASKED = 300

LIFE = "SELECT min(occurred_at), max(recorded_at) FROM facts WHERE team_id = $1 AND type = 'usage.recorded.v1'"


@dataclass(frozen=True)
class Read:
    """What it took; `rss_mb` is how much larger the API became during the download."""

    rows_per_s: float
    rss_mb: float
    as_of_ms: Sequence[float]


async def read_large(ground: Ground, world: LocalWorld, team: BenchTeam, facts: int) -> Read:
    """Give a team so many facts, project them, and read them while nothing else happens."""
    world = at_free_ports(world)
    await fill(world, [team], 0, team, facts, ordered_ids=True)
    await world.serve("projector", "api")
    async with connected(world.database) as owner:
        await catch_up(world, owner, PROJECTOR)
        began, ended = (await owner.fetch(LIFE, team.id))[0]
    path, token = f"/v1/teams/{team.id}", world.token(team.id, team.members[0], TokenRole.MEMBER)
    with worker() as reader:
        rows_per_s, rss_mb = await in_worker(
            reader, download, world.api, path, token, world.processes["api"].pid, facts
        )
        times = await in_worker(reader, ask_as_of, world.api, path, token, began, ended)
    await ground.stop("projector", "api")
    return Read(rows_per_s, rss_mb, times)


def download(api: str, path: str, token: str, pid: int, rows_min: int) -> tuple[float, float]:
    """Rows per second of the whole activity as CSV, and by how many MB the API grew meanwhile."""
    process, connection = psutil.Process(pid), _connect(api)
    before = most = process.memory_info().rss
    began, lines = perf_counter(), 0
    connection.request("GET", f"{path}/activity", headers={"Authorization": f"Bearer {token}", "Accept": "text/csv"})
    answer = connection.getresponse()
    while piece := answer.read(PIECE_BYTES):
        lines += piece.count(b"\n")
        most = max(most, process.memory_info().rss)
    if lines <= rows_min:
        raise RuntimeError(f"the download of {rows_min} facts ended after {lines} lines")
    return lines / (perf_counter() - began), (most - before) / 1e6


def ask_as_of(api: str, path: str, token: str, began: datetime, ended: datetime) -> list[float]:
    """Milliseconds for balances as of any instant in the team's life, one after the other."""
    random, connection, times = Random("as of"), _connect(api), []
    for _ in range(ASKED):
        at = began + (ended - began) * random.random()
        sent = perf_counter()
        query = urlencode({"at": at.isoformat()})
        connection.request("GET", f"{path}/balance?{query}", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        times.append((perf_counter() - sent) * 1000)
        if answer.status != HTTPStatus.OK:
            raise RuntimeError(f"balance as of {at}: {answer.status} {body}")
    return times


def _connect(api: str) -> http.client.HTTPConnection:
    address = urlsplit(api)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
