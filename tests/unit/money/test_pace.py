"""How fast Stripe is asked."""

import asyncio

import pytest

from services.money.stripe_client.pace import Pace


class Time:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds

    def pace(self, per_second: int) -> Pace:
        return Pace(per_second, clock=self.clock, sleep=self.sleep)


async def test_questions_leave_evenly_spaced_and_whoever_came_first_goes_first() -> None:
    time, went, at = Time(), list[int](), list[float]()
    line = time.pace(200)

    async def ask(number: int) -> None:
        await line.turn()
        went.append(number)
        at.append(time.now)

    await asyncio.gather(*(ask(number) for number in range(45)))

    assert went == list(range(45))
    assert at == pytest.approx([1_000 + number / 200 for number in range(45)], abs=1e-6)


async def test_when_stripe_says_slow_down_the_whole_line_waits() -> None:
    time = Time()
    line = time.pace(100)
    line.hold(0.2)

    await asyncio.gather(*(line.turn() for _ in range(3)))

    assert time.now == pytest.approx(1_000.22, abs=1e-6)


async def test_whoever_gives_up_in_the_line_takes_no_turn() -> None:
    line = Pace(1)
    await line.turn()
    waiting = asyncio.create_task(line.turn())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})

    assert waiting.cancelled()
    assert not line._line.locked()
