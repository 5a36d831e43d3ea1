"""What a finished block of work comes to: a capture of its hold, or plain usage where the hold has expired."""

import json
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Self

from . import requests
from .bodies import Captured
from .calls import ApiCall, Item
from .errors import CreditwellError, HoldHasExpired, error_of

ITEMS_MAX = 100  # of one capture
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
        """Of work that ends now. Of more items than a capture may have, those that are alike are added up."""
        fitting = items if len(items) <= ITEMS_MAX else _added_up(items)
        return cls(team, hold, member, fitting, datetime.now(UTC).isoformat(), f"capture:{hold}")

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), default=str).encode()

    @classmethod
    def load(cls, data: bytes) -> Self:
        """From JSON. Raises ValueError or TypeError where it is not whole."""
        work = cls(**json.loads(data))
        if not isinstance(work.items, list) or not all(isinstance(item, dict) for item in work.items):
            raise TypeError("items is no list of objects")
        return work

    def events(self, source: str) -> list[dict[str, Any]]:
        """The same work as plain usage."""
        return [
            {
                "specversion": "1.0", "type": "usage.reported.v1", "source": source, "id": f"{self.hold}:{number}",
                "subject": self.team, "time": self.at, "data": {"member_id": self.member, **item},
            }
            for number, item in enumerate(self.items)
        ]  # fmt: skip


def _added_up(items: Sequence[Item]) -> list[Item]:
    """One item for all of a feature that have the same attributes and name the same quantities."""
    alike: dict[str, dict[str, Any]] = {}
    for item in items:
        several = item.get("quantities")
        amounts: dict[str, str] = several or {"": item["quantity"]}
        key = json.dumps([item["feature"], item.get("attributes"), sorted(amounts)], sort_keys=True)
        before = alike.get(key)
        sums = {name: amounts[name] for name in amounts} if before is None else _sums(before, amounts)
        alike[key] = {**item, **({"quantities": sums} if several else {"quantity": sums[""]})}
    return list(alike.values())


def _sums(before: Item, amounts: dict[str, str]) -> dict[str, str]:
    earlier = before.get("quantities") or {"": before["quantity"]}
    return {name: f"{Decimal(earlier[name]) + Decimal(amount):f}" for name, amount in amounts.items()}


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
