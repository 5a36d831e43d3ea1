"""Stripe counts by account and by endpoint: a rush at one endpoint keeps nobody waiting at another."""

import asyncio

from services.money.stripe_client.pace import Paces


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def test_one_endpoint_is_asked_a_quarter_as_often_as_all_of_them() -> None:
    clock = Clock()
    paces = Paces(100, clock=clock.read, sleep=clock.sleep)
    for _ in range(26):
        await paces.turn("list")
    assert round(clock.now, 6) == 1

    await paces.turn("create")
    assert clock.now < 1.02


async def test_an_endpoint_that_was_asked_too_often_waits_alone() -> None:
    clock = Clock()
    paces = Paces(100, clock=clock.read, sleep=clock.sleep)
    paces.hold("list", 5, everybody=False)
    await paces.turn("create")
    assert clock.now < 1
    await paces.turn("list")
    assert clock.now >= 5
