"""Waiting for what is away: the database, Kafka, Stripe, or a shard that somebody else owns.

The same work is begun anew, a little later each time, for as long as it takes; nothing is lost because nothing was
done that was not committed. What is not of these kinds is our mistake and ends the process.

This is not built on `stamina`: its waits hear no event, so each would outlast a stop, and it takes no clock from a
test.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from types import TracebackType
from typing import TypeVar

from services.runtime.clock import pause
from services.runtime.health import Health
from services.runtime.logs import get_log

FIRST_SECONDS, MOST_SECONDS = 0.05, 3.0
LONG_SECONDS = 10.0  # whoever worked so long waits as after a first failure

T = TypeVar("T")


class Retry:
    """One try after the other, each in a block of its own; the loop around them is the caller's.

        retry = Retry("the database", AWAY, health=health, stop=stop)
        while not stop.is_set():
            async with retry:
                await work()

    A block that raises one of `away` ends with a wait: up to twice as long as the one before, and shorter by chance, so
    that processes do not come back all at once. `stop` ends a wait. The waits begin anew after a block that ended well,
    or that lasted long. Health is told of both; without `health`, nobody calls the process unready for what is away.
    """

    def __init__(
        self,
        what: str,
        away: tuple[type[Exception], ...],
        *,
        health: Health | None = None,
        stop: asyncio.Event | None = None,
        now: Callable[[], float] | None = None,
        chance: Callable[[], float] = random.random,
        wait: Callable[[asyncio.Event, float], Awaitable[None]] = pause,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        """`now` is the clock in seconds, by default that of `health`; `chance` gives 0 to 1.

        No `stop`: who waits is cancelled.
        """
        self._what, self._away, self._health = what, away, health
        self._stop = asyncio.Event() if stop is None else stop
        self._now = now or self._clock
        self._chance, self._wait = chance, wait
        self._first_seconds = self._delay_seconds = first_seconds
        self._began = 0.0

    async def __aenter__(self) -> None:
        self._began = self._now()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            self._delay_seconds = self._first_seconds
            if self._health is not None:
                self._health.back(self._what)
            return False
        if not isinstance(error, self._away):
            return False
        if self._now() - self._began > LONG_SECONDS:
            self._delay_seconds = self._first_seconds
        wait_seconds = self._delay_seconds * (1 - self._chance() / 2)
        self._delay_seconds = min(self._delay_seconds * 2, MOST_SECONDS)
        if self._health is not None:
            self._health.away(self._what, error)
        get_log().warning(
            "away or taken over; starting again",
            what=self._what, why=repr(error), next_try_seconds=round(wait_seconds, 4),
        )  # fmt: skip
        await self._wait(self._stop, wait_seconds)
        return True

    def _clock(self) -> float:
        return monotonic() if self._health is None else self._health.now()


async def keep_going(
    what: str,
    work: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    health: Health,
    *,
    away: tuple[type[Exception], ...],
    first_seconds: float = FIRST_SECONDS,
) -> None:
    """Run `work` until it returns, or until told to stop.

    Long work says `health.back(what)` itself when it got through.

    `away` are the exceptions that mean so; any other one is raised.
    """
    retry = Retry(what, away, health=health, stop=stop, first_seconds=first_seconds)
    while not stop.is_set():
        async with retry:
            await work()
            return


async def until_answered(
    what: str, ask: Callable[[], Awaitable[T]], health: Health, *, away: tuple[type[Exception], ...]
) -> T:
    """Ask until there is an answer. Whoever is to stop meanwhile is cancelled."""
    retry = Retry(what, away, health=health)
    while True:
        async with retry:
            return await ask()
