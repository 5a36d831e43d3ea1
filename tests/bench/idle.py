"""What a Creditwell costs that has nothing to do."""

import asyncio
from time import perf_counter

from deploy.local.world import LocalWorld, at_free_ports, connected, start_stripe
from services.read_models.balances import PROJECTOR
from services.runtime.processes import PROCESSES
from tests.bench.ground import SETTLE, Ground
from tests.bench.machine import started_seconds
from tests.bench.throughput import catch_up

SETTLES_SECONDS = 10  # whoever has just started looks for what was left behind
IDLE_SECONDS = 20

# A JVM looks around by itself, and the stand-in is not part of any Creditwell.
NOT_OURS = ("java",)


async def idle_percent(ground: Ground, world: LocalWorld) -> float:
    """What every process of ours and PostgreSQL take of one core while nobody reports, asks or pays."""
    world, names = at_free_ports(world), tuple(PROCESSES)
    await start_stripe(world)
    await world.serve(*names)
    async with connected(world.database) as owner:
        for reader in (PROJECTOR, "relay"):
            await catch_up(world, owner, reader)
        await owner.execute(SETTLE)
    await asyncio.sleep(SETTLES_SECONDS)
    before, began = started_seconds(besides=NOT_OURS), perf_counter()
    await asyncio.sleep(IDLE_SECONDS)
    percent = (started_seconds(besides=NOT_OURS) - before) / (perf_counter() - began) * 100
    await ground.stop(*names)
    await world.processes.stop("stripe")
    return percent
