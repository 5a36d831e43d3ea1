"""Work that ends by itself or with the stop: nothing of it is left behind, and nothing that it raises is lost."""

import asyncio

import pytest

from services.runtime.clock import until_stopped


async def test_work_that_ends_by_itself_is_said_to_have_ended() -> None:
    assert await until_stopped(asyncio.sleep(0), asyncio.Event())


async def test_work_that_a_stop_ends_is_cancelled_and_has_let_go_of_everything() -> None:
    stop, let_go = asyncio.Event(), False

    async def work() -> None:
        nonlocal let_go
        stop.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # letting go takes a moment
            let_go = True

    assert not await until_stopped(work(), stop)
    assert let_go


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await until_stopped(work(), asyncio.Event())


async def test_what_the_work_raises_while_it_lets_go_is_raised() -> None:
    stop = asyncio.Event()

    async def work() -> None:
        stop.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await until_stopped(work(), stop)


async def test_work_is_not_begun_after_the_stop() -> None:
    stop, has_begun = asyncio.Event(), False
    stop.set()

    async def work() -> None:
        nonlocal has_begun
        has_begun = True

    assert not await until_stopped(work(), stop)
    assert not has_begun


async def test_a_task_that_is_only_waited_for_lives_on_after_the_stop() -> None:
    stop, go_on = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(go_on.wait())
    asyncio.get_running_loop().call_soon(stop.set)

    assert not await until_stopped(asyncio.wait({task}), stop)

    go_on.set()
    assert await task


async def test_whoever_is_cancelled_takes_the_work_along() -> None:
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            let_go.set()

    waiting = asyncio.create_task(until_stopped(work(), asyncio.Event()))
    await begun.wait()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert let_go.is_set()
