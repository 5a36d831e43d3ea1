"""Stripe's lists of a time, whole: where Stripe stops answering, the list goes on from there."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from services.money.reconcile.report import Period
from services.runtime.errors import Unavailable
from services.runtime.logs import get_log

TRIES_MAX, TRY_SECONDS = 6, 0.5


class Listed(Protocol):
    """What Stripe lists by the second in which it was made."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def created_at(self) -> datetime:
        """When it was made."""


T = TypeVar("T", bound=Listed)


async def listed(list_created: Callable[..., AsyncIterator[T]], period: Period) -> AsyncIterator[T]:
    """Everything that `list_created` (by `created_after` and `created_before`) has of a time, newest first, each once.

    Raises:
        Unavailable: Stripe does not answer, time and again.
    """
    _, before = period.bounds
    ids: set[str] = set()
    failures = 0
    while failures < TRIES_MAX:
        try:
            async for one in list_created(created_after=period.since, created_before=before):
                if one.id not in ids and period.holds(one.created_at):
                    ids.add(one.id)
                    before, failures = one.created_at + timedelta(seconds=1), 0
                    yield one
        except Unavailable as away:
            failures += 1
            get_log().warning("Stripe's list stopped; going on from there", why=repr(away))
            await asyncio.sleep(TRY_SECONDS * 2**failures)
        else:
            return
    raise Unavailable("Stripe does not answer")
