"""What a finished block of work comes to: a capture of its hold, or plain usage where the hold has expired."""

import json
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from . import requests
from .bodies import Captured
from .calls import ApiCall, Item
from .errors import CreditwellError, HoldHasExpired, error_of

Settling = Generator[ApiCall[Any], Any, Captured | None]


@dataclass(frozen=True, slots=True)
class Settlement:
    """Work that was done. It counts once, however often it is settled: by `key` as a capture, by its ids as usage."""

    team: str
    hold: str
    member: str | None
    items: Sequence[Item]
    at: str
    key: str

    @classmethod
    def now(cls, team: str, hold: str, member: str | None, items: Sequence[Item]) -> Self:
        """Of work that ends now."""
        return cls(team, hold, member, items, datetime.now(UTC).isoformat(), f"capture:{hold}")

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), default=str).encode()

    @classmethod
    def load(cls, data: bytes) -> Self:
        """From JSON. Raises ValueError or TypeError where it is not whole."""
        return cls(**json.loads(data))

    def events(self, source: str) -> list[dict[str, Any]]:
        """The same work as plain usage."""
        return [
            {
                "specversion": "1.0", "type": "usage.reported.v1", "source": source, "id": f"{self.hold}:{number}",
                "subject": self.team, "time": self.at, "data": {"member_id": self.member, **item},
            }
            for number, item in enumerate(self.items)
        ]  # fmt: skip


def settle(work: Settlement, source: str | None) -> Settling:
    """Yields the calls to send, in turn; an error of one is thrown in. Returns the capture, None where it is usage.

    Raises:
        ApiError: the API said no.
        NoAnswer: no answer that counts came in time; the same again is harmless.
    """
    try:
        captured: Captured = yield requests.capture(work.team, work.hold, work.items, work.key)
    except HoldHasExpired:
        if source is None:
            raise
    else:
        return captured
    sent = yield requests.report(work.events(source))
    for result in (sent or {}).get("results", ()):
        if int(result.get("status", 202)) >= 400:
            raise error_of(int(result["status"]), result)
    return None


def drive(steps: Settling, send: Callable[[ApiCall[Any]], Any]) -> Captured | None:
    """Settle with a function that sends. Raises as `settle`."""
    call = next(steps)
    while True:
        try:
            try:
                answer = send(call)
            except CreditwellError as error:
                call = steps.throw(error)
            else:
                call = steps.send(answer)
        except StopIteration as done:
            captured: Captured | None = done.value
            return captured


async def drive_async(steps: Settling, send: Callable[[ApiCall[Any]], Awaitable[Any]]) -> Captured | None:
    """The same, for coroutines."""
    call = next(steps)
    while True:
        try:
            try:
                answer = await send(call)
            except CreditwellError as error:
                call = steps.throw(error)
            else:
                call = steps.send(answer)
        except StopIteration as done:
            captured: Captured | None = done.value
            return captured
