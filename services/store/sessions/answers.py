"""What a session answers: in time, and also behind a pooler."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import asyncpg

from services.runtime.logs import get_log
from services.runtime.settings import WrongSettings
from services.store.sessions.hosts import FORGETFUL, FORGOTTEN, Session, raise_if_wrong

SILENT_SECONDS = 3  # without an answer it does not
PROBES = 3
BACKEND = "SELECT pg_backend_pid()"


async def answers(asking: Awaitable[object], session: Session) -> bool:
    """False when there is no answer, and the session is ended; what else goes wrong is raised.

    By the second and not all at once: a process that was frozen finds that the time is over and the answer there.
    """
    task = asyncio.ensure_future(asking)
    try:
        for _ in range(SILENT_SECONDS):
            done, _pending = await asyncio.wait({task}, timeout=1)
            if done:
                task.result()
                return True
    finally:
        if not task.done():
            session.terminate()
            await asyncio.wait({task})
            task.exception()
    return False


async def is_direct(session: Any) -> bool:
    """True where no pooler stands between: one would have named a session of its own, and not the server's."""
    return bool(session.get_server_pid() == await session.fetchval(BACKEND))


async def check_pooler(session: Any, other: Session) -> None:
    """Behind a pooler by transactions a statement that was prepared must be known to every session.

    Raises:
        WrongSettings: it is not.
    """
    try:
        if await is_direct(session):
            return
        for _ in range(PROBES):
            await session.fetchval(BACKEND)
            async with other.transaction():  # takes the server's session that was just used, or another one
                await other.fetchval(BACKEND)
                await session.fetchval(BACKEND, timeout=SILENT_SECONDS)
    except TimeoutError:
        get_log().warning("a pooler has no second session for this process")
    except FORGOTTEN:
        raise WrongSettings(f"CREDITWELL_DATABASE is wrong: {FORGETFUL}.") from None
    except asyncpg.PostgresConnectionError as error:
        raise_if_wrong(error)
        raise
