"""How long a team waits: from the fact that its balance ran low to the credits that it was charged for.

The credits are stored after Stripe has confirmed the payment, so the figure holds for the payment too. The stand-in answers at
once; the real Stripe takes some hundred milliseconds for each of two questions.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from deploy.local.trouble import StackTrouble
from deploy.local.world import LocalWorld, check_alive, connected
from schemas.facts import CreditsToppedUp
from services.read_models.balances import PROJECTOR
from tests.bench.ground import Ground
from tests.bench.throughput import catch_up
from tests.support.desk import KEY, a_desk, new_team
from tests.support.serving import store, used

TEAMS = 200
TEAMS_PER_SECOND = 10
LATE_SECONDS = 30
LOOK_SECONDS = 0.1

WAITED = """
    SELECT extract(epoch FROM credited.recorded_at - low.recorded_at)::float8 * 1000 AS ms
    FROM facts low JOIN facts credited USING (shard, team_id)
    WHERE low.type = 'balance.ran_low.v1' AND credited.type = $1 AND team_id = ANY($2)
"""


async def top_ups(ground: Ground, world: LocalWorld) -> Sequence[float]:
    """Milliseconds of each of 200 teams that run low one after the other, ten a second."""
    names = ("projector", "relay", "topup")
    async with a_desk() as desk, connected(world.database) as owner:
        told = {**world.variables, "STRIPE_API": desk.url, "STRIPE_KEY": KEY}
        world = replace(world, variables=told)
        teams = [await new_team(owner, desk, cool_down_seconds=300) for _ in range(TEAMS)]
        await world.serve(*names)
        await catch_up(world, owner, PROJECTOR)
        await catch_up(world, owner, "relay")
        began = perf_counter()
        for number, team in enumerate(teams):
            await asyncio.sleep(max(0.0, began + number / TEAMS_PER_SECOND - perf_counter()))
            await store(owner, team, [used(300)])
        deadline = perf_counter() + LATE_SECONDS
        while len(waited := await owner.fetch(WAITED, CreditsToppedUp.type, teams)) < TEAMS:
            check_alive(world.processes)
            if perf_counter() > deadline:
                raise StackTrouble("Bench", f"{TEAMS - len(waited)} teams were never topped up")
            await asyncio.sleep(LOOK_SECONDS)
        await ground.stop(*names)
    return [row["ms"] for row in waited]
