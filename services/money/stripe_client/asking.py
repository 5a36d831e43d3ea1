"""The line to Stripe: one question, one answer, or one of four errors.

The library is told never to retry by itself: each repetition is a decision, and decisions are facts. Its timeout counts
from byte to byte, so that a slow drip would outlast a lease; ours counts from the question to the whole answer.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import datetime
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import stripe

from services.money.stripe_client.carrier import Carrier
from services.money.stripe_client.errors import Busy, Unknown, meaning
from services.money.stripe_client.metrics import StripeMetrics, question_of
from services.money.stripe_client.pace import PER_SECOND, Paces
from services.money.stripe_client.reading import Json
from services.runtime.tracing.spans import span

stripe.enable_telemetry = False  # it would write a file into the home folder and tell Stripe about this machine

TIMEOUT_SECONDS: Final = 10.0  # the top-up worker's lease must be more than twice as long
PAGE_SIZE: Final = 100

T = TypeVar("T")


class Asking:
    """Our account at Stripe, to ask. What can be asked is told by subject, in the files beside this one."""

    def __init__(
        self,
        secret_key: str,
        *,
        api_base: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        per_second: int = PER_SECOND,
        metrics: StripeMetrics | None = None,
    ) -> None:
        """`api_base` leads to a stand-in. Raises ValueError when a live key would travel in the open."""
        self.live = secret_key.startswith(("sk_live_", "rk_live_"))
        if self.live and not (api_base or "https://").startswith("https://"):
            message = "a live key is never sent over plain http: check CREDITWELL_STRIPE_API"
            raise ValueError(message)
        self._timeout_seconds = timeout_seconds
        self._paces = Paces(per_second)
        self._metrics = metrics
        self._http = Carrier(timeout_seconds)
        self.api = stripe.StripeClient(
            secret_key,
            base_addresses={} if api_base is None else {"api": api_base.rstrip("/")},
            max_network_retries=0,
            http_client=self._http,
        ).v1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections to Stripe."""
        await self._http.close_async()

    async def ask(self, question: Coroutine[Any, Any, T]) -> T:
        """The answer, whole and in time, once it is our turn; raises Declined, Unknown, Busy or WrongRequest."""
        endpoint = str(getattr(question, "__qualname__", ""))  # the library has a method for each
        try:
            await self._paces.turn(endpoint)
            return await self._ask_now(question, endpoint)
        finally:
            question.close()  # one that was given up in the line was never asked

    async def _ask_now(self, question: Coroutine[Any, Any, T], endpoint: str) -> T:
        began = perf_counter()
        wrong: Exception | None = None
        try:
            with span(f"stripe {question_of(endpoint)}", "client"):
                async with asyncio.timeout(self._timeout_seconds):
                    return await question
        except TimeoutError:
            wrong = no_answer = Unknown("no_answer")
            raise no_answer from None
        except stripe.StripeError as error:
            wrong = answer = meaning(error)
            if isinstance(answer, Busy):
                self._paces.hold(endpoint, answer.retry_after_seconds or 0, everybody=not answer.of_endpoint)
            raise answer from error
        finally:
            if self._metrics is not None:
                self._metrics.answered(endpoint, began, wrong)

    async def each(
        self,
        list_async: Callable[[Any], Coroutine[Any, Any, Any]],
        params: Json,
        *,
        after_page: Callable[[], Awaitable[None]] | None = None,
    ) -> AsyncIterator[Json]:
        """All that one of Stripe's lists holds, newest first, page by page. Raises as `ask`, and as `after_page`."""
        params = {**params, "limit": PAGE_SIZE}
        while True:
            page = await self.ask(list_async(params))
            if after_page is not None:
                await after_page()
            for item in page.data:
                yield item.to_dict()
            if not page.has_more:
                return
            params["starting_after"] = page.data[-1].id


def seconds_between(after: datetime, before: datetime | None) -> Json:
    """Stripe's filter for a time, by whole seconds: from the one that holds `after`, to the end of `before`'s."""
    created = {"gte": math.floor(after.timestamp())}
    return created if before is None else {**created, "lt": math.ceil(before.timestamp())}


def key_of(stem: str, try_number: int) -> str:
    """The idempotency key of a step, by the number of keys that Stripe has spent on it."""
    return stem if try_number == 1 else f"{stem}:{try_number}"
