"""What analysts ask of a long log: the ten questions of docs/analytics.md, while usage is stored, and what that costs the rest.

The log has purchases, top-ups and refusals as well, so that no question is answered by an empty table.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter

from deploy.local.world import LocalWorld, connected
from schemas.credits import MICRO
from schemas.facts import AnyFact, CreditsPurchased, CreditsToppedUp, NewFact, TopUpRequested
from services.read_models.balances import PROJECTOR
from services.read_models.days import count_days, make_rows
from services.store.append import append
from services.store.connect import Connection
from tests.bench.ground import SETTLE, Ground
from tests.bench.latency import visible_latency
from tests.bench.throughput import catch_up
from tests.bench.workload import BenchTeam
from tests.support.questions import questions

PAYMENTS, REFUSALS = 8, 20_000  # of each team; of all
REFUSED = """
    INSERT INTO refused (topic, partition, "offset", refused_at, reason, source, sha256, size)
    SELECT 'bench', 0, n, now() - n * interval '20 s', 'unknown_feature', '/features/image', '', 0
    FROM generate_series(1, $1::integer) AS n
"""
# What deploy/roles.sql gives the role's own sessions.
AS_ANALYST = """
    SET ROLE creditwell_analyst; SET search_path = analytics; SET TimeZone = 'UTC'; SET max_parallel_workers_per_gather = 0
"""


@dataclass
class Asked:
    """Seconds of each question, the slowest time it was asked; milliseconds of usage until it is visible."""

    seconds: dict[str, float] = field(default_factory=dict)
    alone_ms: Sequence[float] = ()
    beside_ms: Sequence[float] = ()


async def ask_all(ground: Ground, world: LocalWorld, teams: Sequence[BenchTeam], probes: Sequence[BenchTeam]) -> Asked:
    """Ask each question again and again while 1,000 usages a second are stored, and see what these take with and without."""
    result = Asked()
    async with connected(world.database) as owner:
        await lay_money(owner, teams)
        await world.serve("projector")
        await catch_up(world, owner, PROJECTOR)
        await ground.stop("projector")
        await make_rows(owner)
        while await count_days(owner):
            pass
        await owner.execute("VACUUM (ANALYZE)")
        await owner.execute(SETTLE)
    await world.serve("refill")  # which counts, in the end, what is stored meanwhile
    result.alone_ms = await visible_latency(ground, world, teams, probes)
    async with _analyst(world) as analyst:
        asking = asyncio.create_task(_ask_on(analyst, result.seconds))
        try:
            result.beside_ms = await visible_latency(ground, world, teams, probes)
        finally:
            asking.cancel()
            await asyncio.wait({asking})
        await _ask(analyst, result.seconds, [name for name in questions() if name not in result.seconds])
    await ground.stop("refill")
    return result


async def lay_money(owner: Connection, teams: Sequence[BenchTeam]) -> None:
    """Some payments of each team over the last months, and what was refused."""
    now = datetime.now(UTC)
    for team in teams:
        facts = [
            NewFact(team.id, "bench", f"{name}-{number}", now - timedelta(days=40 * number), fact)
            for number in range(PAYMENTS)
            for name, fact in _payment(team, number)
        ]
        async with owner.transaction():
            await append(owner, facts)
    await owner.execute(REFUSED, REFUSALS)


def _payment(team: BenchTeam, number: int) -> list[tuple[str, AnyFact]]:
    money = {"charge_cents": 1_200, "currency": "usd"}
    bought = CreditsPurchased.model_validate(
        {"credits": 1_000 * MICRO, "pack": "mini", "payment_intent_id": f"pi_{team.id}_{number}", **money}
    )
    attempt = {"credits": 500 * MICRO, "attempt_id": f"{team.id}-{number}"}
    requested = TopUpRequested.model_validate(
        {**attempt, **money, "ran_low_id": "low", "attempt": 0, "customer_id": "cus", "payment_method_id": "pm"}
    )
    topped_up = CreditsToppedUp.model_validate({**attempt, **money, "payment_intent_id": f"pi_{team.id}_{number}_up"})
    return [("bought", bought), ("requested", requested), ("topped-up", topped_up)]


@asynccontextmanager
async def _analyst(world: LocalWorld) -> AsyncIterator[Connection]:
    async with connected(world.database) as connection:
        await connection.execute(AS_ANALYST)
        yield connection


async def _ask_on(analyst: Connection, seconds: dict[str, float]) -> None:
    """One question after the other, until cancelled."""
    while True:
        await _ask(analyst, seconds, list(questions()))


async def _ask(analyst: Connection, seconds: dict[str, float], names: Sequence[str]) -> None:
    for name in names:
        began = perf_counter()
        await analyst.fetch(questions()[name])
        seconds[name] = max(seconds.get(name, 0.0), perf_counter() - began)
