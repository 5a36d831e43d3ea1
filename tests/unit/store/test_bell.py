"""Who waits for facts is woken, or looks by itself."""

import asyncio

from services.store.sessions.bell import Bell, IdleWait

LONG_SECONDS = 600


async def test_what_rang_while_nobody_waited_ends_the_next_wait_and_no_other() -> None:
    bell = Bell()
    bell.ring()

    assert await bell.wait(LONG_SECONDS)
    assert not await bell.wait(0)


async def test_who_is_told_to_stop_waits_no_longer() -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(Bell().wait(LONG_SECONDS, stop))
    stop.set()

    assert not await waiting


async def test_who_hears_nothing_looks_by_himself() -> None:
    idle = IdleWait(Bell(), asyncio.Event())

    for _ in range(5):
        await idle.wait()
