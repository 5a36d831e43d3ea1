"""Waiting for what is away: the database, Kafka, Stripe, or a shard that somebody else owns.

The same work is begun anew, a little later each time, for as long as it takes; nothing is lost because nothing was
done that was not committed. What is not of these kinds is our mistake and ends the process.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import monotonic

from services.runtime.clock import pause
from services.runtime.health import Health
from services.runtime.logs import get_log

FIRST_SECONDS, MOST_SECONDS = 0.05, 3.0
LONG_SECONDS = 10.0  # whoever worked so long waits as after a first failure


async def keep_going(
    what: str,
    work: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    health: Health,
    *,
    away: tuple[type[Exception], ...],
) -> None:
    """Run `work` until it returns, or until told to stop. It says `health.back(what)` itself when it got through.

    `away` are the exceptions that mean so; any other one is raised.
    """
    delay = FIRST_SECONDS
    while not stop.is_set():
        began = monotonic()
        try:
            await work()
        except away as error:
            health.away(what, error)
            delay = FIRST_SECONDS if monotonic() - began > LONG_SECONDS else min(delay * 2, MOST_SECONDS)
            get_log().warning(
                "away or taken over; beginning anew", what=what, why=repr(error), in_seconds=round(delay, 2)
            )
            await pause(stop, delay * random.uniform(0.5, 1.0))  # workers do not come back all at once
        else:
            return
