"""Who waits for facts is woken, or looks by itself."""

import asyncio

import pytest

from services.store.sessions.bell import HEARING_SECONDS, MOST_SECONDS, Bell, IdleWait

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


@pytest.mark.parametrize(("is_heard", "most"), [(False, MOST_SECONDS), (True, HEARING_SECONDS)])
async def test_who_hears_the_bell_looks_less_often_at_last(is_heard: bool, most: float) -> None:
    bell = WatchedBell(is_heard=is_heard)
    idle = IdleWait(bell, asyncio.Event())

    for _ in range(10):
        assert not await idle.wait()

    assert bell.waited == sorted(bell.waited)
    assert (bell.waited[0] < MOST_SECONDS, bell.waited[-1]) == (True, most)
    idle.work_came()
    await idle.wait()
    assert bell.waited[-1] == bell.waited[0]


class WatchedBell(Bell):
    """Waits for nothing, and knows how long it would have waited."""

    def __init__(self, *, is_heard: bool) -> None:
        super().__init__(is_heard=is_heard)
        self.waited: list[float] = []

    async def wait(self, seconds: float, stop: asyncio.Event | None = None) -> bool:
        """At once."""
        self.waited.append(seconds)
        return await super().wait(0, stop)
