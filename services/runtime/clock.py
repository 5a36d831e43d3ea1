"""The time, as an argument: tests pass their own. And waiting, which ends when the process is asked to stop."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Now, in UTC. What is decided in the store goes by the database's clock instead."""
    return datetime.now(UTC)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until `stop`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


async def until_stopped(work: Coroutine[Any, Any, object], stop: asyncio.Event) -> bool:
    """Run `work` until it ends, which is True, or until `stop`.

    Then it is cancelled, and has ended when this returns False.

    What the work raises is raised here. After `stop` it is not begun. A task that is to live on is passed as
    `asyncio.wait({task})`.
    """
    if stop.is_set():
        work.close()
        return False
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        has_ended = working.done()
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.wait({working, stopping})
    if has_ended or not working.cancelled():
        working.result()
    return has_ended
