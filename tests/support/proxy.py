"""A network that fails on purpose, as a TCP proxy.

It cuts a connection at a chosen word of the client, forgets connections without a word to anybody (a NAT), stands still
(a frozen host), takes its time, or keeps settings from passing (a pooler).
"""

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

from tests.support.waiting import PATIENCE_SECONDS

CHUNK = 64 * 1024
STARTUP = (196608).to_bytes(4, "big")  # PostgreSQL's protocol 3.0


class Cut(StrEnum):
    """What the server has seen of the word when the client's connection breaks."""

    UNHEARD = "the server never hears it"
    ANSWERED = "the server has done it, and its answer is lost"
    HEARD_LATER = "the server hears it some time after the client has lost the connection"


@dataclass
class Plan:
    """What to do at the next passing of a word."""

    word: bytes
    cut: Cut
    away_seconds: float = 0.0  # afterwards nobody gets through for so long
    later_seconds: float = 0.5


@dataclass
class Proxy:
    """Passes everything on, until a plan says otherwise."""

    host: str
    port: int
    plan: Plan | None = None
    happened: asyncio.Event = field(default_factory=asyncio.Event)
    away_until: float = 0.0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    listens_on: int = 0
    delay_seconds: float = 0.0  # before each piece, in both directions
    forgotten: int = 0  # pieces that went nowhere
    delayed: int = 0  # pieces that took longer
    stalled: int = 0  # pieces that had to wait
    answered_bytes: int = 0  # of the server, to whoever asked
    settings_that_pass: frozenset[bytes] | None = None  # of a session's first words; None: all
    era: int = 0
    going: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Everything goes at first."""
        self.going.set()

    def fall_silent(self) -> None:
        """Forget every connection there is: what is said on it goes nowhere, and nobody is told."""
        self.era += 1

    def stall(self) -> None:
        """Stand still: connections are taken, and nothing passes until `go_on`."""
        self.going.clear()

    def go_on(self) -> None:
        """Pass on what had to wait, too."""
        self.going.set()

    async def let_pass(self, era: int) -> bool:
        """Wait as long as this network makes one wait; False for what goes nowhere."""
        if self.delay_seconds:
            self.delayed += 1
            await asyncio.sleep(self.delay_seconds)
        if not self.going.is_set():
            self.stalled += 1
            await self.going.wait()
        if era != self.era:
            self.forgotten += 1
        return era == self.era

    def cut_next(self, word: bytes, cut: Cut, *, away_seconds: float = 0.0) -> None:
        """Cut the next connection that says `word`."""
        self.happened.clear()
        self.plan = Plan(word, cut, away_seconds)

    def url(self, database: str) -> str:
        """The same database by way of this proxy."""
        parts = urlsplit(database)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.listens_on}"))

    async def connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One client, to its end."""
        if asyncio.get_running_loop().time() < self.away_until:
            writer.transport.abort()
            return
        to_server: StreamWriter | None = None
        try:
            from_server, to_server = await asyncio.open_connection(self.host, self.port)
            answers = asyncio.create_task(self._answer(from_server, writer, self.era))
            self._keep(answers)
            await self._listen(reader, writer, from_server, to_server, answers)
        except OSError:
            pass  # the server is away, or one of the two ends broke: so does the other
        finally:
            writer.transport.abort()
            if to_server is not None:
                to_server.transport.abort()

    async def _listen(
        self,
        reader: StreamReader,
        writer: StreamWriter,
        from_server: StreamReader,
        to_server: StreamWriter,
        answers: "asyncio.Task[None]",
    ) -> None:
        era = self.era
        while said := await reader.read(CHUNK):
            plan = self.plan
            if plan is not None and plan.word in said:
                self.plan = None
                answers.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await answers
                await self._cut(plan, said, writer, from_server, to_server)
                return
            if await self.let_pass(era):
                to_server.write(self._startup(said))
                await to_server.drain()

    async def _answer(self, reader: StreamReader, writer: StreamWriter, era: int) -> None:
        try:
            while said := await reader.read(CHUNK):
                if await self.let_pass(era):
                    self.answered_bytes += len(said)
                    writer.write(said)
                    await writer.drain()
            await self.let_pass(era)
        except OSError:
            pass  # the client is told by the end of its connection
        finally:
            if era == self.era:
                writer.close()

    def _startup(self, said: bytes) -> bytes:
        """The first words of a session, without the settings that do not pass."""
        if self.settings_that_pass is None or said[4:8] != STARTUP:
            return said
        words = said[8:].rstrip(b"\0").split(b"\0")
        kept = [
            name + b"\0" + value + b"\0"
            for name, value in zip(words[::2], words[1::2], strict=True)
            if name in self.settings_that_pass
        ]
        body = STARTUP + b"".join(kept) + b"\0"
        return (len(body) + 4).to_bytes(4, "big") + body

    async def _cut(
        self, plan: Plan, said: bytes, writer: StreamWriter, from_server: StreamReader, to_server: StreamWriter
    ) -> None:
        self.away_until = asyncio.get_running_loop().time() + plan.away_seconds
        try:
            if plan.cut is Cut.HEARD_LATER:
                writer.transport.abort()
                await asyncio.sleep(plan.later_seconds)
            if plan.cut is not Cut.UNHEARD:
                to_server.write(said)
                await to_server.drain()
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await from_server.read(CHUNK)
        finally:
            self.happened.set()  # also where the server let go of the connection while this machine stood still

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


@asynccontextmanager
async def a_proxy(database: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the server of this URL."""
    parts = urlsplit(database)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = Proxy(parts.hostname, parts.port)
    clients: set[asyncio.Task[None]] = set()

    async def connected(reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        try:
            await proxy.connected(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # the end of the proxy; asyncio would call it an error of ours
        finally:
            clients.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.listens_on = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in (*clients, *proxy.tasks):
            task.cancel()
        await asyncio.gather(*clients, *proxy.tasks, return_exceptions=True)
