"""A pool whose sessions are alive, or soon replaced.

A network may drop a session without a word, a server may freeze, a primary may become a standby while its sessions
live on. So whoever gets a session that was idle gets one that has just answered; one session asks the server each
second, and when nobody answers, or when writes are taken elsewhere, all others are ended: whoever waits on them hears
it at once, and the next ones are opened where there is an answer. The same session tells others of facts that were
appended here, and hears of theirs (`bell`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import asyncpg
from asyncpg.pool import PoolAcquireContext

from services.runtime.health import Health
from services.runtime.logs import get_log
from services.runtime.settings import WrongSettings
from services.store.sessions.answers import SILENT_SECONDS, answers, check_pooler, is_direct
from services.store.sessions.bell import CHANNEL, NOTIFY, Bell, has_appended
from services.store.sessions.hosts import (
    GONE,
    Hosts,
    NobodyThere,
    Opened,
    Session,
)
from services.store.sessions.session_check import READS_ONLY

if TYPE_CHECKING:
    BasePool = asyncpg.Pool[asyncpg.Record]
    BaseAcquireContext = PoolAcquireContext[asyncpg.Record]
else:
    BasePool, BaseAcquireContext = asyncpg.Pool, PoolAcquireContext

IDLE_SECONDS = 5.0
IN_USE = float("inf")
LOOK_SECONDS = 1.0
CLOSE_SECONDS = 5.0
QUERIES_MAX = 2**62  # of one session: a new one costs a handshake, in the middle of somebody's request
ABSENT = "the database's server"

# What it says of a session that it could not open anew is a traceback each time; we say it once, in words.
logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)


class Silent(ConnectionError):
    """A session does not answer."""


class ReadsOnly(ConnectionError):
    """A server that takes no writes."""


class Pool(BasePool):
    """Sessions that are opened at the start and kept; see the module."""

    def __init__(
        self,
        hosts: Hosts,
        settings: Mapping[str, str],
        *,
        size: int,
        command_timeout: float,
        health: Health | None,
        idle_seconds: float = IDLE_SECONDS,
        listens: bool = False,
    ) -> None:
        """`settings` are the session's own; `health` is told of a server that is away or takes no writes.

        `heard` rings when anybody says that there are facts, if the pool `listens`.

        A session that was used within `idle_seconds` is handed out without asking whether it lives.
        """
        super().__init__(
            min_size=size, max_size=size, max_queries=QUERIES_MAX, max_inactive_connection_lifetime=0,
            connect=self._open, setup=self._prove, reset=self._note, loop=None,
            connection_class=asyncpg.Connection, record_class=asyncpg.Record,
        )  # fmt: skip
        self._hosts, self._settings, self._command_timeout, self._health = hosts, settings, command_timeout, health
        self._idle_seconds = idle_seconds
        self.heard, self._listens = Bell(), listens
        self._to_tell = Bell()
        self._used: WeakKeyDictionary[Session, float] = WeakKeyDictionary()
        self._opened_at: WeakKeyDictionary[Session, float] = WeakKeyDictionary()
        self._was_let_in = False
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open all sessions and begin to watch their server.

        Raises:
            WrongSettings: patience would not help. ConnectionError: it might.
        """
        await self
        watching = await self._open_any()
        try:
            async with self.acquire() as session:
                await check_pooler(session, watching.session)
        except BaseException:
            watching.session.terminate()
            raise
        self._watching = asyncio.create_task(self._watch(watching))

    def tell(self, connection: Any) -> None:
        """Tell who waits for facts, if this session has appended any: after COMMIT, by whoever keeps the session."""
        if has_appended(connection):
            self._to_tell.ring()

    def acquire(self, *, timeout: float | None = None) -> "_Acquiring":
        """A session that has answered in the last seconds."""
        return _Acquiring(self, timeout)

    async def close(self) -> None:
        """Say goodbye, also to a server that hears nothing any more."""
        self._stop_watching()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await super().close()
        except TimeoutError:
            super().terminate()

    def terminate(self) -> None:
        """End all sessions at once."""
        self._stop_watching()
        super().terminate()

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _open(self, *_: object, **__: object) -> Session:
        try:
            opened = await self._open_any()
        except WrongSettings as wrong:
            if not self._was_let_in:
                raise
            # It was right before: a password that is being changed, say, and not ours to end for.
            raise ConnectionError(str(wrong)) from None
        self._was_let_in = True
        self._used[opened.session] = self._opened_at[opened.session] = self._now()
        return opened.session

    async def _open_any(self) -> Opened:
        return await self._hosts.open_session(self._settings, command_timeout=self._command_timeout)

    async def _note(self, session: Session) -> None:
        """Between two uses. A statement to make sure of anything would be a round trip in every request.

        Settings, locks and cursors of ours end with their transaction, and one that is open asyncpg rolls back.
        """
        self._used[session] = self._now()

    async def _prove(self, proxy: Any) -> None:
        """Whoever gets an idle session gets one that answers."""
        session: Session = proxy._con  # noqa: SLF001 - the proxy of a moment is not what we know it by
        try:
            is_silent = self._is_idle(session) and not await answers(session.execute("SELECT 1"), session)
        except GONE:
            session.terminate()
            raise Silent from None
        if not is_silent and not session.is_closed():
            self._used[session] = IN_USE
            return
        if is_silent:
            for other in [other for other in self._used if self._is_idle(other)]:
                other.terminate()  # forgotten together, most likely: nobody need find out one by one
        raise Silent  # also where it ended just behind its answer: asyncpg hands out a place without a session then

    def _is_idle(self, session: Session) -> bool:
        return self._now() - self._used[session] >= self._idle_seconds

    async def _watch(self, opened: Opened) -> None:
        """Look at the server until cancelled."""
        while True:
            to_be_replaced = False
            try:
                await self._look(opened.session)
                to_be_replaced = True
            except (*GONE, WrongSettings) as error:
                get_log().info("the session that watches the database has ended", why=repr(error))
            finally:
                opened.session.terminate()
                self.heard.is_heard = False
            opened, began = await self._watch_anew()
            if to_be_replaced:
                # Also those that were opened meanwhile: what befell the old watching session may have befallen them.
                self._end_all(opened_before=began)

    async def _watch_anew(self) -> tuple[Opened, float]:
        """A watching session, and when its opening began."""
        while True:
            began = self._now()
            try:
                return await self._open_any(), began
            except (OSError, WrongSettings) as error:
                self._say(error)
                if isinstance(error, NobodyThere):
                    self._end_all()
                await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, session: Session) -> None:
        """Until the server does not answer, or another one takes writes: then all sessions are to be replaced."""
        to_listen = self._listens
        while True:
            began = self._now()
            asking = asyncio.ensure_future(session.fetchval(READS_ONLY))
            if not await self._is_answered(asking, session):
                return
            if asking.result():
                self._say(ReadsOnly("the server takes no writes (read-only)"))
                if await self._elsewhere():
                    return
            elif self._health is not None:
                self._health.back(ABSENT)
                self._health.database_seconds.observe(self._now() - began)
            if to_listen and not asking.result():  # a standby refuses it
                to_listen = False
                if not await self._is_answered(self._listen(session), session):
                    return
            look_at = self._now() + LOOK_SECONDS
            while (seconds := look_at - self._now()) > 0:
                if await self._to_tell.wait(seconds) and not await self._is_answered(session.execute(NOTIFY), session):
                    return

    async def _listen(self, session: Session) -> None:
        await session.add_listener(CHANNEL, self.heard.on_notify)
        self.heard.is_heard = await is_direct(session)
        self.heard.ring()  # for what came before

    async def _is_answered(self, asking: Awaitable[object], session: Session) -> bool:
        """False where the server does not answer: then all sessions are ended."""
        if await answers(asking, session):
            return True
        self._say(Silent(f"the server has not answered for {SILENT_SECONDS} s"))
        self._end_all()
        return False

    async def _elsewhere(self) -> bool:
        """True when a new session would take writes."""
        opened = await self._open_any()
        opened.session.terminate()
        return not opened.reads_only

    def _end_all(self, *, opened_before: float = float("inf")) -> None:
        for session in [one for one, opened_at in self._opened_at.items() if opened_at < opened_before]:
            session.terminate()

    def _say(self, why: Exception) -> None:
        if self._health is not None:
            self._health.away(ABSENT, why)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class _Acquiring(BaseAcquireContext):
    """The way to a session of the pool and back."""

    pool: Pool

    async def __aenter__(self) -> Any:
        while True:
            try:
                return await super().__aenter__()
            except Silent:
                continue

    async def __aexit__(self, *exc: object) -> None:
        if self.connection is not None:
            self.pool.tell(self.connection)
        if any(isinstance(one, asyncpg.ReadOnlySQLTransactionError) for one in exc) and self.connection is not None:
            self.connection.terminate()  # the next one may be opened at the server that takes writes now
        proxy: Any = self.connection
        has_ended = proxy is not None and proxy._con is None  # noqa: SLF001 - the only word of it that raises nothing
        await super().__aexit__(*exc)
        # asyncpg looks whether a session is open before a statement, and not again when it has been prepared.
        if has_ended and isinstance(exc[1], AttributeError) and exc[1].obj is None:
            raise ConnectionError("the session ended in the midst of a statement") from exc[1]
