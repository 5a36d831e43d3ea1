"""What a statement costs: a sealed cycle of one team with very many facts, asked for over HTTP as finance asks."""

import http.client
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from time import perf_counter
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.world import LocalWorld, at_free_ports, connected
from schemas.cycles import Cycle, cycle
from schemas.facts import PeriodSealed
from services.api.tokens import TokenRole
from services.audit.sign_log import sign_log
from services.store.append import append_ready, make_ready
from services.store.connect import Connection
from tests.bench.ground import SETTLE, Ground
from tests.bench.growth import BATCH
from tests.bench.throughput import in_worker, worker
from tests.support.facts import new, planned, store, usage
from tests.support.heads import it_is

TEAM = "team_statement"
FACTS, ASKED = 100_000, 9
BEGAN_BEFORE = timedelta(days=15)  # usage comes while its cycle is open, as it does nearly always
SEALED_AFTER = timedelta(hours=1)


async def statement_times(ground: Ground, world: LocalWorld) -> list[float]:
    """Milliseconds for the statement of a cycle with so many facts, again and again, while nothing else happens."""
    world, now = at_free_ports(world), datetime.now(UTC)
    first = cycle(now - BEGAN_BEFORE, "UTC", 0)
    async with connected(world.database) as owner:
        await _fill(owner, first)
        await sign_log(owner, Ed25519PrivateKey.generate(), now)
        await owner.execute(SETTLE)
    await world.serve("api")
    token = world.token(TEAM, "finance", TokenRole.ADMIN)
    with worker() as reader:
        times: list[float] = await in_worker(reader, ask, world.api, f"/v1/teams/{TEAM}/statements/0", token)
    await ground.stop("api")
    return times


async def _fill(owner: Connection, first: Cycle) -> None:
    """A plan, the usage of its first cycle, and the seal."""
    await store(owner, *planned(TEAM, anchor=first.starts_at, credits=FACTS))
    for start in range(0, FACTS, BATCH):
        numbers = range(start, min(start + BATCH, FACTS))
        async with owner.transaction():
            await append_ready(owner, [
                make_ready(usage(TEAM, f"use-{number}", at=first.starts_at + timedelta(seconds=number)))
                for number in numbers
            ])  # fmt: skip
    seal = PeriodSealed(plan_assigned_id="plan", cycle=0, starts_at=first.starts_at, ends_at=first.ends_at)
    async with it_is(owner, first.ends_at + SEALED_AFTER, TEAM):
        await store(owner, new(TEAM, "seal", seal))


def ask(api: str, path: str, token: str) -> list[float]:
    """In a process of its own."""
    address, times = urlsplit(api), list[float]()
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    for _ in range(ASKED):
        sent = perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read()
        times.append((perf_counter() - sent) * 1000)
        if answer.status != HTTPStatus.OK:
            raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
    return times
