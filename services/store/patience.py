"""Waiting for what is away: the database, Kafka, Stripe, or a shard that somebody else owns.

The same work is begun anew, a little later each time, for as long as it takes; nothing is lost because nothing was
done that was not committed. What is not of these kinds is our mistake and ends the process.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import monotonic

from services.clock import pause
from services.errors import Fenced, Unavailable
from services.health import Health
from services.logs import get_log
from services.store.connect import AWAY

WORLD: tuple[type[Exception], ...] = (Fenced, Unavailable, *AWAY)
FIRST_SECONDS, MOST_SECONDS = 0.05, 3.0
LONG_SECONDS = 10.0  # whoever worked so long waits as after a first failure


async def keep_going(
    what: str,
    work: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    health: Health,
    *,
    world: tuple[type[Exception], ...] = WORLD,
) -> None:
    """Run `work` until it returns, or until told to stop. It says `health.back(what)` itself when it got through."""
    delay = FIRST_SECONDS
    while not stop.is_set():
        began = monotonic()
        try:
            await work()
        except world as away:
            health.away(what, away)
            delay = FIRST_SECONDS if monotonic() - began > LONG_SECONDS else min(delay * 2, MOST_SECONDS)
            get_log().warning(
                "away or taken over; beginning anew", what=what, why=repr(away), in_seconds=round(delay, 2)
            )
            await pause(stop, delay * random.uniform(0.5, 1.0))  # workers do not come back all at once
        else:
            return
