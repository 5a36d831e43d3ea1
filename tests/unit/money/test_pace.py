"""How fast Stripe is asked."""

import asyncio
from time import monotonic

from services.money.stripe_client.pace import Pace


async def test_questions_leave_evenly_spaced_and_whoever_came_first_goes_first() -> None:
    line, went, at = Pace(200), list[int](), list[float]()

    async def ask(number: int) -> None:
        await line.turn()
        went.append(number)
        at.append(monotonic())

    await asyncio.gather(*(ask(number) for number in range(45)))

    assert went == list(range(45))
    assert all(later - earlier > 10 / 200 - 0.002 for earlier, later in zip(at, at[10:], strict=False))


async def test_when_stripe_says_slow_down_the_whole_line_waits() -> None:
    line, began = Pace(100), monotonic()
    line.hold(0.2)

    await asyncio.gather(*(line.turn() for _ in range(3)))

    assert monotonic() - began >= 0.2


async def test_whoever_gives_up_in_the_line_takes_no_turn() -> None:
    line = Pace(1)
    await line.turn()
    waiting = asyncio.create_task(line.turn())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})

    assert waiting.cancelled()
    assert not line._line.locked()
