"""`POST /v1/stripe/webhook`: what Stripe says has happened, stored before it is worked on.

The signature counts over the very bytes of the body. The answer is 200 as soon as the event is stored, also when it was
stored before; whoever works on it (the top-up worker) asks Stripe how things are now. Amounts and states in the body
are never believed, so neither order nor repetition nor delay matters, and none of it is kept.

What the headers alone give away (no signature, one of another time, a length that no event has) is refused before a
byte of the body is read; the rest has to come within some seconds. Whoever sends what no secret of ours has signed
may do so only now and then; what Stripe signed is never sent away for what else comes from its address. However many
of Stripe's come at once, two at a time are stored, so that all who ask for a balance find a session free. One that
has waited too long, or finds no database, is answered 503: Stripe sends it again, for three days.
"""

import asyncio
from binascii import crc32

from fastapi import APIRouter
from fastapi_problem.error import Problem
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.api.answers import JSON
from services.api.bodies import body_of, schema_of
from services.api.context import ApiContext
from services.api.models.money import StripeEvent, StripeReceived
from services.api.openapi.codes import LONG_BODY
from services.api.openapi.route_docs import answers
from services.api.problems import problem
from services.api.rate_limits import address_of
from services.money.inbox_rows import InboxEvent, keep_news
from services.money.stripe_client import Forged, Thin, WebhookEvent, read_signature, verify_webhook
from services.runtime.logs import get_log
from services.runtime.settings import Settings

BODY_MAX = 256 * 1024
BODY_SECONDS = 10
WEBHOOK_LANES = 2

FAILS = (
    "bad_request", "signature_missing", "signature_wrong", "too_old", "from_the_future", "unreadable", "thin_event", "wrong_mode",
    LONG_BODY, "too_slow", "too_many_requests", "internal", "unavailable", "busy", "no_webhook_secret",
)  # fmt: skip
UNSIGNED = ("signature_missing", "signature_wrong")  # an event that is too old was signed
SIGNATURE = {
    "name": "Stripe-Signature", "in": "header", "schema": {"type": "string"},
    "description": "When it was signed, and the signatures: `t=…,v1=…`.",
}  # fmt: skip

routes = APIRouter()


@routes.post(
    "/v1/stripe/webhook", tags=["stripe"], operation_id="receive_webhook", summary="What Stripe says has happened",
    responses=answers(200, StripeReceived, "It is stored", codes=FAILS, links={}, more={}), response_model=None,
    openapi_extra=body_of({JSON: schema_of(StripeEvent)}) | {"parameters": [SIGNATURE], "security": []},
)  # fmt: skip
async def receive(request: Request) -> Response:
    """Store a signed event. 400 for whatever Stripe did not send to us, now."""
    context: ApiContext = request.app.state.context
    secrets = secrets_of(context.settings)
    if not secrets:
        raise problem(
            503, "no_webhook_secret", "CREDITWELL_STRIPE_WEBHOOK_SECRET is not set, so nothing can be believed"
        )
    try:
        signature = read_signature(request.headers.get("stripe-signature", ""), context.clock())
        event = verify_webhook(await read_body(request), signature, secrets)
    except Forged as forged:
        if forged.reason in UNSIGNED:
            context.rate_limiter.forged(address_of(request))
        raise problem(400, forged.reason, forged.detail) from forged
    except Thin as thin:
        context.thin_events.inc()
        get_log().error("Stripe sends thin events", what=thin.detail)
        raise problem(400, thin.reason, thin.detail) from thin
    if context.charges is not None and event.live != context.charges.live:
        raise problem(400, "wrong_mode", "test events are for test keys, live events for live keys")
    lane = crc32(event.id.encode()) % WEBHOOK_LANES
    async with context.webhooks.of(lane), context.pool.acquire() as connection, connection.transaction():
        await keep_news(connection, news_of(event), event.created_at)
    return JSONResponse({"received": event.id})


async def read_body(request: Request, *, within_seconds: float = BODY_SECONDS) -> bytes:
    """The body, unless it is larger than any event of Stripe's, or comes too slowly for one."""
    parts: list[bytes] = []
    size = 0
    if int(request.headers.get("content-length", 0)) > BODY_MAX:  # which the server has found to be a number
        raise too_large()
    try:
        async with asyncio.timeout(within_seconds):
            async for part in request.stream():
                size += len(part)
                if size > BODY_MAX:
                    raise too_large()
                parts.append(part)
    except TimeoutError:
        raise problem(408, "too_slow", f"an event has to come within {within_seconds:g} seconds") from None
    return b"".join(parts)


def too_large() -> Problem:
    """No event is."""
    return problem(413, "too_large", f"an event has at most {BODY_MAX} bytes")


def secrets_of(settings: Settings) -> list[str]:
    """The secret that Stripe signs with; two while one replaces the other."""
    secret = settings.stripe_webhook_secret
    return [part.strip() for part in secret.get_secret_value().split(",") if part.strip()] if secret is not None else []


def news_of(event: WebhookEvent) -> InboxEvent:
    """What is kept of an event."""
    metadata = event.metadata
    return InboxEvent(
        event.id, event.type, event.object_kind, event.object_id, event.intent_id, event.charge_id, event.customer_id,
        metadata.get("attempt_id"), metadata.get("purchase_id") or metadata.get("change_id"),
    )  # fmt: skip
