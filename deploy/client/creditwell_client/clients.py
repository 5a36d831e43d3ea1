"""The two clients: the same methods, for coroutines and for threads."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import httpx2

from . import requests
from .bodies import ActivityItem, Balance, Quote, Receipt, TopUp
from .calls import Answer, ApiCall, Item, exchange
from .captures import Captures
from .holds import AsyncHold, PlannedBlock, SyncHold
from .sending import TROUBLES, Token, answer_of, request, send

T = TypeVar("T")

PATIENCE_SECONDS = 30.0
TIMEOUT_SECONDS = 10.0
AFFORDABLE_SECONDS = 1.0
TTL_SECONDS = 900


def no_trace() -> str | None:
    """Nobody traces."""
    return None


class _Remembered:
    """Quotes of the last moment, for `affordable`."""

    MOST = 1_000

    def __init__(self) -> None:
        self._quotes: dict[str, tuple[float, bool]] = {}

    @staticmethod
    def key(team: str, items: Sequence[Item]) -> str:
        return json.dumps([team, [dict(item) for item in items]], sort_keys=True, default=str)

    def get(self, key: str, max_age_seconds: float) -> bool | None:
        at, allowed = self._quotes.get(key, (float("-inf"), False))
        return allowed if time.monotonic() - at < max_age_seconds else None

    def put(self, key: str, *, allowed: bool) -> None:
        if len(self._quotes) >= self.MOST:
            self._quotes.clear()
        self._quotes[key] = (time.monotonic(), allowed)


class AsyncClient:
    """Creditwell for coroutines. One for each process is enough; close it, or use `async with`."""

    def __init__(
        self,
        url: str,
        *,
        token: Token,
        source: str | None = None,
        spool: Path | str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        traceparent: Callable[[], str | None] = no_trace,
    ) -> None:
        """`token` is a text, or a function that has a fresh one at hand: it is called for each request.

        Work whose hold has expired meanwhile is reported as plain usage of `source`, your service; without a source
        its block raises `HoldHasExpired`. `spool` keeps captures that the API has not taken yet, and needs a source. It
        belongs to one process at a time: where processes are forked, make the client after the fork. `traceparent`
        gives the W3C trace context of whoever asks, for each call; the API carries it on.

        Raises:
            ValueError: a spool without a source.
            CaptureSpoolInUse: another process has the spool.
        """
        self._http = httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS)
        self._token, self._patience, self._remembered = token, patience_seconds, _Remembered()
        self._traceparent = traceparent
        self.source, self.captures = source, Captures.of(spool, source, url, token)
        self.finishing: set[asyncio.Task[None]] = set()  # blocks that were left and are not settled yet

    async def send(self, call: ApiCall[T]) -> T:
        """Send a call, again where that helps.

        Raises:
            ApiError: the API said no.
            NoAnswer: no answer that counts came in time.
        """
        call = replace(call, traceparent=self._traceparent())
        steps = exchange(self._patience)
        pause = next(steps)
        while True:
            try:
                if pause is None:
                    pause = steps.send(await self._answer(call))
                else:
                    await asyncio.sleep(pause)
                    pause = next(steps)
            except StopIteration as done:
                return cast("T", done.value)

    async def _answer(self, call: ApiCall[Any]) -> Answer:
        try:
            return answer_of(await self._http.send(request(self._http, call, self._token)))
        except TROUBLES as trouble:
            return Answer(0, trouble=repr(trouble))

    async def balance(self, team: str, *, at_least: str | None = None) -> Balance:
        """What a team has. `at_least`: a position that the answer must know."""
        return await self.send(requests.balance(team, at_least=at_least))

    async def quote(self, team: str, items: Sequence[Item]) -> Quote:
        """What work would cost, and whether the team may do it."""
        return await self.send(requests.quote(team, items))

    async def affordable(
        self, team: str, items: Sequence[Item], *, max_age_seconds: float = AFFORDABLE_SECONDS
    ) -> bool:
        """Whether the team may do the work, as of the last second: quick, and no promise. A hold is one."""
        key = self._remembered.key(team, items)
        allowed = self._remembered.get(key, max_age_seconds)
        if allowed is None:
            allowed = (await self.quote(team, items))["allowed"]
            self._remembered.put(key, allowed=allowed)
        return allowed

    async def activity(self, team: str, *, days: int = 30) -> AsyncIterator[ActivityItem]:
        """The credit activity, newest first, page after page."""
        cursor = None
        while True:
            page = await self.send(requests.activity(team, days, cursor))
            for item in page["items"]:
                yield item
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def receipt(self, team: str, *, source: str, id: str) -> Receipt:
        """What became of a usage."""
        return await self.send(requests.receipt(team, source, id))

    async def top_up(self, team: str) -> TopUp:
        """The settings of automatic top-ups, and how they stand."""
        return await self.send(requests.top_up(team))

    def hold(self, *, team: str, items: Sequence[Item], member: str | None = None, ttl: int = TTL_SECONDS) -> AsyncHold:
        """Set credits aside for as long as an `async with` block runs; see `AsyncHold`."""
        return AsyncHold(self, PlannedBlock(team, items, member, ttl))

    async def close(self) -> None:
        """Let go of connections and of the spool. What waits in it is sent by the next client that opens it."""
        if self.finishing:
            await asyncio.wait(self.finishing)
        await self._http.aclose()
        if self.captures is not None:
            await asyncio.to_thread(self.captures.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Client:
    """Creditwell for threads: every method of `AsyncClient`, without `await`. Threads may share one."""

    def __init__(
        self,
        url: str,
        *,
        token: Token,
        source: str | None = None,
        spool: Path | str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        traceparent: Callable[[], str | None] = no_trace,
    ) -> None:
        """As `AsyncClient`."""
        self._http = httpx2.Client(base_url=url, timeout=TIMEOUT_SECONDS)
        self._token, self._patience, self._remembered = token, patience_seconds, _Remembered()
        self._traceparent = traceparent
        self.source, self.captures = source, Captures.of(spool, source, url, token)

    def send(self, call: ApiCall[T]) -> T:
        """Send a call, again where that helps. Raises as `AsyncClient.send`."""
        call = replace(call, traceparent=self._traceparent())
        return send(self._http, call, self._token, self._patience)

    def balance(self, team: str, *, at_least: str | None = None) -> Balance:
        """What a team has. `at_least`: a position that the answer must know."""
        return self.send(requests.balance(team, at_least=at_least))

    def quote(self, team: str, items: Sequence[Item]) -> Quote:
        """What work would cost, and whether the team may do it."""
        return self.send(requests.quote(team, items))

    def affordable(self, team: str, items: Sequence[Item], *, max_age_seconds: float = AFFORDABLE_SECONDS) -> bool:
        """Whether the team may do the work, as of the last second: quick, and no promise. A hold is one."""
        key = self._remembered.key(team, items)
        allowed = self._remembered.get(key, max_age_seconds)
        if allowed is None:
            allowed = self.quote(team, items)["allowed"]
            self._remembered.put(key, allowed=allowed)
        return allowed

    def activity(self, team: str, *, days: int = 30) -> Iterator[ActivityItem]:
        """The credit activity, newest first, page after page."""
        cursor = None
        while True:
            page = self.send(requests.activity(team, days, cursor))
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def receipt(self, team: str, *, source: str, id: str) -> Receipt:
        """What became of a usage."""
        return self.send(requests.receipt(team, source, id))

    def top_up(self, team: str) -> TopUp:
        """The settings of automatic top-ups, and how they stand."""
        return self.send(requests.top_up(team))

    def hold(self, *, team: str, items: Sequence[Item], member: str | None = None, ttl: int = TTL_SECONDS) -> SyncHold:
        """Set credits aside for as long as a `with` block runs; see `SyncHold`."""
        return SyncHold(self, PlannedBlock(team, items, member, ttl))

    def close(self) -> None:
        """Let go of connections and of the spool. What waits in it is sent by the next client that opens it."""
        self._http.close()
        if self.captures is not None:
            self.captures.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
