"""The time, as an argument: tests pass their own. And waiting, which ends when the process is asked to stop."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Now, in UTC. What is decided in the store goes by the database's clock instead."""
    return datetime.now(UTC)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until `stop`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
