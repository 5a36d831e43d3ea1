"""How fast we ask Stripe: questions leave evenly spaced, never more than so many in a second.

Whoever waits is served in turn.

Stripe counts by account and answers 429 above 100 a second. The count here is of one process; where several ask, each
gets its share of the account's (`CREDITWELL_STRIPE_RATE`). Evenly, because a hundred at once, and a hundred more a
second later, arrive as two hundred when the first are held up on their way. A 429 all the same, because others ask too,
stops the whole line for as long as Stripe says, rather than have everybody find out on their own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

PER_SECOND: Final = 100


class Pace:
    """The line before Stripe's door. Tests pass a clock in seconds, and a sleep that moves it."""

    def __init__(
        self,
        per_second: int = PER_SECOND,
        *,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._apart_seconds = 1 / per_second
        self._clock, self._sleep = clock, sleep
        self._next_at = 0.0
        self._line = asyncio.Lock()  # first come, first served

    async def turn(self) -> None:
        """Returns when it is the caller's turn to ask."""
        async with self._line:
            while (wait_seconds := self._next_at - self._clock()) > 0:
                await self._sleep(wait_seconds)
            self._next_at = self._clock() + self._apart_seconds

    def hold(self, seconds: float) -> None:
        """Nobody asks for so long."""
        self._next_at = max(self._next_at, self._clock() + seconds)
