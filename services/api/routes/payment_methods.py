"""`POST /v1/teams/{team}/payment-method`: an admin saves the card that top-ups are charged to, on Stripe's page."""

from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Path
from starlette.responses import Response

from schemas.instants import instant, instant_or_none
from services.api.access import SEES_PAYMENTS, AllowedRequest, TeamRequest, route
from services.api.answers import Json, answer
from services.api.idempotency import KEYED, Key, id_of_command
from services.api.models.money import CardPage, CardPageBody, PaymentMethod
from services.api.openapi.codes import AT_STRIPE
from services.api.openapi.route_docs import link
from services.api.stripe_return import position_of, return_url_of, stripe_of
from services.api.tokens import TokenRole
from services.money.checkout import customers
from services.money.checkout import rows as checkouts
from services.money.checkout.flow import follow, open_page
from services.money.checkout.rows import CheckoutRow
from services.money.payment_details import PaymentDetail, ask_card, read_details
from services.runtime.errors import Refused

PageId = Annotated[UUID, Path(alias="id", description="What POST answered.")]
BACK_HERE = CardPageBody()  # without a body people come back to our own page
PATH = "/v1/teams/{team}/payment-method"

routes = APIRouter()


@route(routes, "GET", PATH, TokenRole.ADMIN, TokenRole.FINANCE, gives=PaymentMethod, tags=["top-ups"])
async def get_payment_method(ask: AllowedRequest) -> Response:
    """The card that top-ups are charged to, and who chose it."""
    async with ask.transaction() as connection:
        change = await customers.last_card_change(connection, ask.team_id)
        position = await position_of(connection, ask.team_id, None)
    if change is None:
        return answer({"card": None, "changed_at": None, "changed_by": None, "position": position})
    stored, fact = change
    card: Json | None = None
    if fact.payment_method_id is not None and ask.caller.role in SEES_PAYMENTS:
        shown = await digits_of(ask, fact.payment_method_id)
        card = {"brand": fact.brand or shown.brand, "last4": fact.last4 or shown.last4}
    return answer({
        "card": card, "changed_at": instant(stored.recorded_at), "changed_by": fact.changed_by, "position": position,
    })  # fmt: skip


@route(
    routes, "POST", PATH, TokenRole.ADMIN, gives=CardPage, status=201, tags=["top-ups"],
    fails=("invalid_return_url", *AT_STRIPE, *KEYED),
    links={"page": link("get_card_page", "Whether the card is saved.", id="$response.body#/id")},
)  # fmt: skip
async def post_payment_method(ask: AllowedRequest, body: CardPageBody = BACK_HERE, key: Key = None) -> Response:
    """Save a card for top-ups: send the browser to `checkout_url`. Nothing is charged there."""
    page = CheckoutRow(
        team_id=ask.team_id, id=id_of_command(ask, key) if key is not None else uuid4(), mode="setup", customer_id="",
        asked_by=ask.caller.sub, return_url=return_url_of(ask, body.return_url), pack=None, name=None, credits=None,
        charge_cents=None, currency=None, keeps_card=True, taxed=False,
    )  # fmt: skip
    record, new = await open_page(stripe_of(ask), ask.transaction, page)
    return answer(await _page_answer(ask, record), 201, {} if new else {"idempotency-replayed": "true"})


@route(
    routes, "GET", PATH + "/{id}", TokenRole.ADMIN, TokenRole.FINANCE, gives=CardPage, tags=["top-ups"],
    fails=("unknown_payment_method", *AT_STRIPE),
)  # fmt: skip
async def get_card_page(ask: AllowedRequest, page_id: PageId) -> Response:
    """Whether the card is saved. Stripe is asked, and top-ups use it from then on."""
    async with ask.transaction() as connection:
        record = await checkouts.read(connection, ask.team_id, page_id)
    if record is None or record.mode != "setup":
        raise Refused("unknown_payment_method", f"nobody was sent to a page {page_id} to save a card")
    if record.session_id is not None and record.state == "open":
        record = await follow(stripe_of(ask), ask.transaction, record)
    return answer(await _page_answer(ask, record))


async def digits_of(ask: TeamRequest, payment_method_id: str) -> PaymentDetail:
    """What people know a card by; Stripe is asked where that is not kept."""
    await ask_card(ask.context.charges, ask.quick_read(), ask.transaction, ask.team_id, payment_method_id)
    details = await read_details(ask.quick_read(), ask.team_id, [payment_method_id])
    return details.get(payment_method_id, PaymentDetail())


async def _page_answer(ask: TeamRequest, record: CheckoutRow) -> Json:
    async with ask.transaction() as connection:
        position = await position_of(connection, record.team_id, record.position)
    sees = record.card_state == "saved" and ask.caller.role in SEES_PAYMENTS
    return {
        "id": str(record.id), "state": record.state, "detail": record.detail,
        "checkout_url": record.url if record.state == "open" else None, "expires_at": instant_or_none(record.expires_at),
        "card": {"brand": record.brand, "last4": record.last4} if sees else None, "position": position,
    }  # fmt: skip
