"""The stand-in, put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import api, control, pages
from .books import Books
from .clock import StripeClock
from .idempotency import KeysInFlight
from .webhooks import Address, WebhookSender
from .world import StripeStandIn


def create_app(
    *,
    secret_key: str,
    webhook_url: str | None = None,
    webhook_secret: str = "",
    seed: int = 0,
    frozen_at: int | None = None,
    path: Path | None = None,
) -> Starlette:
    """A stand-in for one Stripe account in test mode.

    `secret_key` is the only key that it accepts. `path` names the file that keeps its books from one start to the next;
    none: they end with the process. `frozen_at` (Unix seconds) stops its clock there until a script moves it.
    """
    if not secret_key.startswith(("sk_test_", "rk_test_")):
        message = "the stand-in takes test keys only: sk_test_…"
        raise ValueError(message)
    books = Books(clock=StripeClock(frozen_at), seed=seed, path=path)
    world = StripeStandIn(books=books, secret_key=secret_key, keys=KeysInFlight(books))
    webhook_sender = WebhookSender(books, Address(webhook_url, webhook_secret))

    async def healthy(_: Request) -> Response:
        return JSONResponse({"status": "live"})

    return Starlette(
        routes=[
            Route("/healthz", healthy),
            *api.routes(world),
            *control.routes(world, webhook_sender),
            *pages.routes(world),
        ],
        lifespan=lambda _: _sending_webhooks(webhook_sender, books),
    )


@asynccontextmanager
async def _sending_webhooks(webhook_sender: WebhookSender, books: Books) -> AsyncIterator[None]:
    """The life of a stand-in: webhooks go out while it runs, and its books are closed with it."""
    rounds = asyncio.create_task(webhook_sender.run())
    try:
        yield
    finally:
        rounds.cancel()
        with suppress(asyncio.CancelledError):
            await rounds
        books.close()
