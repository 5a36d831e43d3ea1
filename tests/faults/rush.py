"""Many teams that run low at the same moment: all are served, and Stripe is never asked faster than agreed."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from time import monotonic
from uuid import uuid4

from schemas.catalog import load_catalog
from services.money.top_ups.charging import Charging
from services.money.topup import Figures, Worker
from services.read_models.low_balance import judge
from services.runtime.health import Health
from services.store.connect import Pool, connect_pool
from tests.support.desk import Desk, a_desk, new_team
from tests.support.serving import as_role, connected, store, used

TASKS = 16
WINDOW_SECONDS = 0.9  # not a second: what was sent apart may arrive a little closer together


@dataclass(frozen=True)
class Rush:
    """What came of it: `fastest` is the most questions that arrived within a second."""

    seconds: float
    fastest: int
    problems: tuple[str, ...]


def a_worker(pool: Pool, desk: Desk) -> Worker:
    """A worker as a process of its own would have it."""
    owner, health, catalog = f"worker-{uuid4()}", Health("topup"), load_catalog()
    return Worker(pool, Charging(pool, desk.charges, catalog, owner), catalog, owner, health, Figures(health))


async def rush(database: str, *, teams: int, per_second: int) -> Rush:
    """Let so many teams run low, and only then look at them."""
    async with connected(database) as connection, a_desk(seed=teams, per_second=per_second) as desk:
        names = [await new_team(connection, desk, cool_down_seconds=300) for _ in range(teams)]
        for name in names:
            await store(connection, name, [used(300)])
            await judge(connection, name)
        pool, began = await connect_pool(as_role(database, "worker"), process="test", size=8), monotonic()
        async with pool:
            worker = a_worker(pool, desk)
            for name in names:
                worker.want(name)
            working = [asyncio.create_task(worker.work()) for _ in range(TASKS)]
            worker.finish(TASKS)
            await asyncio.gather(*working)
        seconds = monotonic() - began
        charged = Counter(charge["metadata"]["team_id"] for charge in (await desk.books())["charges"])
        asked = (await desk.http.get("/_control/requests")).json()
    fastest = most_within(sorted(entry["at"] for entry in asked if "payment_intents" in entry["path"]))
    found = []
    if charged != Counter(names):
        found.append(f"{len(charged)} of {teams} teams were charged, {sum(charged.values())} times")
    if fastest > per_second:
        found.append(f"{fastest} questions within {WINDOW_SECONDS} s, where {per_second} a second were agreed")
    return Rush(seconds, fastest, tuple(found))


def most_within(times: list[float]) -> int:
    """The most of some ascending times that lie within one window."""
    most = first = 0
    for number, at in enumerate(times, 1):
        while times[first] <= at - WINDOW_SECONDS:
            first += 1
        most = max(most, number - first)
    return most
