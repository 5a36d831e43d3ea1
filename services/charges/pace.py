"""How fast we ask Stripe: never more than so many questions in any second, and whoever waits is served in turn.

Stripe counts by account and answers 429 above 100 a second. The count here is of one process; where several ask, each gets its
share of the account's (`CREDITWELL_STRIPE_RATE`). A 429 all the same, because others ask too, stops the whole line for as long
as Stripe says, rather than have everybody find out for himself.
"""

import asyncio
from collections import deque
from time import monotonic
from typing import Final

PER_SECOND: Final = 100
SECOND: Final = 1.0


class Pace:
    """The line before Stripe's door."""

    def __init__(self, per_second: int = PER_SECOND) -> None:
        self._asked_at: deque[float] = deque([-SECOND] * per_second, maxlen=per_second)
        self._not_before = 0.0
        self._line = asyncio.Lock()  # first come, first served

    async def turn(self) -> None:
        """Returns when it is the caller's turn to ask."""
        async with self._line:
            while (wait_seconds := max(self._asked_at[0] + SECOND, self._not_before) - monotonic()) > 0:  # noqa: ASYNC110 - waits for time, which is no event
                await asyncio.sleep(wait_seconds)
            self._asked_at.append(monotonic())

    def hold(self, seconds: float) -> None:
        """Nobody asks for so long."""
        self._not_before = max(self._not_before, monotonic() + seconds)
