"""Commands about one shard, one at a time; the others do not wait. Who wants much goes last."""

import asyncio

import pytest

from services.api.lanes import Crowd, Lanes
from services.runtime.errors import Unavailable


async def test_who_comes_first_is_served_first_and_nobody_beside_him() -> None:
    open_lanes, done, inside = Lanes(), [], 0

    async def command(name: int) -> None:
        nonlocal inside
        async with open_lanes.of(7):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1
        done.append(name)

    await asyncio.gather(*(command(name) for name in range(5)))

    assert done == [0, 1, 2, 3, 4]


async def test_another_shard_has_a_lane_of_its_own() -> None:
    open_lanes = Lanes()
    async with open_lanes.of(7), open_lanes.of(8):
        pass


async def test_a_command_that_fails_leaves_its_lane_free() -> None:
    open_lanes = Lanes()
    with pytest.raises(ZeroDivisionError):
        async with open_lanes.of(7):
            raise ZeroDivisionError
    async with open_lanes.of(7):
        pass


async def test_who_has_waited_too_long_is_told_to_come_again_and_keeps_nobody_waiting() -> None:
    open_lanes = Lanes(patience_seconds=0)
    async with open_lanes.of(7):
        with pytest.raises(Unavailable, match="too many wait"):
            async with open_lanes.of(7):
                pass
    async with open_lanes.of(7):
        pass


async def test_who_wants_much_goes_on_when_nobody_else_is_being_answered() -> None:
    crowd, told = Crowd(courtesy_seconds=600), []

    async def page() -> None:
        await crowd.passed()
        told.append("page")

    with crowd.joined("a balance"), crowd.joined("a download"):
        crowd.step_aside("a download")
        reading = asyncio.create_task(page())
        for _ in range(5):
            await asyncio.sleep(0)
        told.append("balance")
    await reading

    assert told == ["balance", "page"]
    await crowd.passed()


async def test_on_a_process_that_is_always_busy_what_is_dear_gets_on_all_the_same() -> None:
    crowd = Crowd(courtesy_seconds=0)
    with crowd.joined("somebody"):
        await crowd.passed()


async def test_a_request_that_fails_leaves_the_crowd() -> None:
    crowd = Crowd(courtesy_seconds=600)
    with pytest.raises(ZeroDivisionError), crowd.joined("a request"):
        raise ZeroDivisionError
    await crowd.passed()
