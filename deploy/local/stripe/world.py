"""All that one stand-in holds while it runs, made once by `create_app` and handed to its routes."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from .books import Books
from .errors import Json
from .faults import Faults
from .idempotency import KeysInFlight

REQUESTS_KEPT = 10_000
WAIT_SECONDS_MAX = 30

RouteHandler = Callable[[Request], Awaitable[Response]]


class Gate:
    """Where requests wait until a script lets them go, so that a test decides what happens in between."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._open = asyncio.Event()
        self.waiting = 0

    async def wait(self) -> None:
        """Holds the caller until the next release."""
        opened = self._open
        await self._count(1)
        try:
            await opened.wait()
        finally:
            await self._count(-1)

    async def arrived(self, count: int) -> None:
        """Returns when so many requests wait here; raises TimeoutError when they never do."""
        async with asyncio.timeout(WAIT_SECONDS_MAX), self._changed:
            await self._changed.wait_for(lambda: self.waiting >= count)

    def release(self) -> int:
        """Lets all go that wait here; says how many."""
        released, opened = self.waiting, self._open
        self._open = asyncio.Event()
        opened.set()
        return released

    async def _count(self, change: int) -> None:
        async with self._changed:
            self.waiting += change
            self._changed.notify_all()


@dataclass(frozen=True)
class StripeStandIn:
    """The books, the script, and what has been asked so far."""

    books: Books
    secret_key: str
    keys: KeysInFlight
    faults: Faults = field(default_factory=Faults)
    gate: Gate = field(default_factory=Gate)
    requests: deque[Json] = field(default_factory=lambda: deque(maxlen=REQUESTS_KEPT))

    def clear(self) -> None:
        """As if newly started; whoever is held is let go."""
        self.books.clear()
        self.faults.rules.clear()
        self.requests.clear()
        self.gate.release()

    def committed(self, handler: RouteHandler) -> RouteHandler:
        """The handler, with what it changed written down before its answer leaves."""

        async def handle(request: Request) -> Response:
            response = await handler(request)
            self.books.commit()
            return response

        return handle
