"""How fast we ask Stripe: questions leave evenly spaced, never more than so many in a second.

Whoever waits is served in turn.

Stripe counts by account and answers 429 above 100 a second, and above 25 a second of one endpoint: a list, a create
and a confirm are three. So each endpoint has a line of its own before the common one, and a rush at one of them keeps
nobody waiting at another. The count here is of one process; where several ask, each gets its share of the account's
(`CREDITWELL_STRIPE_RATE`). Evenly, because a hundred at once, and a hundred more a second later, arrive as two
hundred when the first are held up on their way. A 429 all the same, because others ask too, stops the whole line for
as long as Stripe says, rather than have everybody find out on their own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Final

PER_SECOND: Final = 100
ENDPOINTS_SHARE: Final = 4  # of the account's rate, which Stripe raises together: 25 of 100


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


class Paces:
    """The common line, and one for each endpoint, by whatever names it."""

    def __init__(
        self,
        per_second: int = PER_SECOND,
        *,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._all = Pace(per_second, clock=clock, sleep=sleep)
        self._line = partial(Pace, -(-per_second // ENDPOINTS_SHARE), clock=clock, sleep=sleep)
        self._each: dict[str, Pace] = {}

    async def turn(self, endpoint: str) -> None:
        """Returns when it is the caller's turn to ask this endpoint."""
        await self._of(endpoint).turn()
        await self._all.turn()

    def hold(self, endpoint: str, seconds: float, *, everybody: bool) -> None:
        """Nobody asks for so long; or nobody this endpoint, where Stripe says that it alone was asked too often."""
        (self._all if everybody else self._of(endpoint)).hold(seconds)

    def _of(self, endpoint: str) -> Pace:
        if endpoint not in self._each:
            self._each[endpoint] = self._line()
        return self._each[endpoint]
