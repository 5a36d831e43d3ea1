"""Who waits for facts hears of them: NOTIFY after COMMIT, by a session that nobody waits for.

A NOTIFY inside a transaction lets all COMMITs of the server that have one wait for each other. Here a session that
appended is remembered, and when it comes back to its pool, the session that watches the server says so. It is only a
hint: behind a pooler by transactions nobody hears it, and a process that dies says nothing. Whoever waits looks by
itself, too, less and less often while there is nothing to find: ten times a second at last, and twice where nothing
stands between him and the bell.
"""

import asyncio
from typing import Any
from weakref import WeakSet

CHANNEL = "facts_appended"
NOTIFY = f"NOTIFY {CHANNEL}"
FIRST_SECONDS, MOST_SECONDS, HEARING_SECONDS = 0.01, 0.1, 0.5

_appended: WeakSet[Any] = WeakSet()


def _itself(session: Any) -> Any:
    """The session behind the proxy that a pool hands out."""
    return getattr(session, "_con", session)


def note_append(session: Any) -> None:
    """This session has appended facts, or kept refused records; they may be committed yet, or not at all."""
    _appended.add(_itself(session))


def has_appended(session: Any) -> bool:
    """True once for whatever was noted since this was asked last."""
    session = _itself(session)
    if session in _appended:
        _appended.discard(session)
        return True
    return False


class Bell:
    """Rung when there may be something to do. What rings while nobody waits ends the next wait at once.

    `is_heard` says that whoever rings it is heard: within a process always, else where no pooler stands between.
    """

    def __init__(self, *, is_heard: bool = False) -> None:
        self._rung = asyncio.Event()
        self.is_heard = is_heard

    def ring(self) -> None:
        """Wake whoever waits."""
        self._rung.set()

    def on_notify(self, *_: object) -> None:
        """What asyncpg calls for a notification."""
        self.ring()

    async def wait(self, seconds: float, stop: asyncio.Event | None = None) -> bool:
        """Until it rings, which is True, for so long, or until `stop`."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._rung, stop) if event is not None]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        rung = self._rung.is_set()
        self._rung.clear()
        return rung


class IdleWait:
    """How long to wait before looking again: longer each time that nothing was found."""

    def __init__(self, bell: Bell, stop: asyncio.Event) -> None:
        self._bell, self._stop = bell, stop
        self._seconds = FIRST_SECONDS

    def work_came(self) -> None:
        """There was something: what comes next may be near."""
        self._seconds = FIRST_SECONDS

    async def wait(self) -> bool:
        """There was nothing: until the bell rings, which is True, for a while, or until told to stop."""
        rung = await self._bell.wait(self._seconds, self._stop)
        most = HEARING_SECONDS if self._bell.is_heard else MOST_SECONDS
        self._seconds = min(2 * self._seconds, most)
        return rung
