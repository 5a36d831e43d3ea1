"""`POST /v1/teams/{team}/purchases`: a pack is bought on Stripe's page.

`GET …/purchases/{id}` when the browser is back.

The credits are there when the browser is: whichever comes first, the webhook or this question, credits what was paid.
"""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from starlette.responses import Response

from schemas.catalog import Catalog
from schemas.credits import MicroCredits, format_credits
from schemas.instants import instant_or_none
from services.api.access import SEES_PAYMENTS, AllowedRequest, TeamRequest, route
from services.api.answers import Json, answer
from services.api.idempotency import NAMED, RequiredKey, id_of_command
from services.api.models.money import Purchase, PurchaseBody
from services.api.openapi.codes import AT_STRIPE
from services.api.openapi.route_docs import link
from services.api.stripe_return import position_of, return_url_of, stripe_of
from services.api.tokens import TokenRole
from services.api.wording.links import receipt_link
from services.money.checkout import rows as checkouts
from services.money.checkout.flow import follow, open_page
from services.money.checkout.rows import CheckoutRow
from services.runtime.errors import Refused

PurchaseId = Annotated[UUID, Path(alias="id", description="What POST answered.")]

routes = APIRouter()


@route(
    routes, "POST", "/v1/teams/{team}/purchases", TokenRole.ADMIN, gives=Purchase, status=201, tags=["purchases"],
    fails=("unknown_pack", "unknown_currency", "invalid_return_url", *AT_STRIPE, *NAMED),
    links={"purchase": link("get_purchase", "How far it has come.", id="$response.body#/id")},
)  # fmt: skip
async def post_purchase(ask: AllowedRequest, body: PurchaseBody, key: RequiredKey) -> Response:
    """Buy a pack: send the browser to `checkout_url`. Nothing is charged before somebody pays there."""
    page = wanted_of(ask, body, id_of_command(ask, key))
    record, new = await open_page(stripe_of(ask), ask.transaction, page)
    return answer(await _purchase_answer(ask, record), 201, {} if new else {"idempotency-replayed": "true"})


@route(
    routes, "GET", "/v1/teams/{team}/purchases/{id}", TokenRole.ADMIN, TokenRole.FINANCE, gives=Purchase, tags=["purchases"],
    fails=("unknown_purchase", *AT_STRIPE),
)  # fmt: skip
async def get_purchase(ask: AllowedRequest, purchase_id: PurchaseId) -> Response:
    """How far a purchase has come. Stripe is asked, and what was paid is credited if it is not yet."""
    async with ask.transaction() as connection:
        record = await checkouts.read(connection, ask.team_id, purchase_id)
    if record is None or record.mode != "payment":
        raise Refused("unknown_purchase", f"there is no purchase {purchase_id}")
    if record.session_id is not None and record.state in ("open", "processing"):
        record = await follow(stripe_of(ask), ask.transaction, record)
    return answer(await _purchase_answer(ask, record))


def wanted_of(ask: TeamRequest, body: PurchaseBody, purchase_id: UUID) -> CheckoutRow:
    """What is bought, at today's price. Raises Refused: unknown_pack, unknown_currency or invalid_return_url."""
    catalog: Catalog = ask.context.catalog
    pack = catalog.packs.get(body.pack)
    if pack is None:
        raise Refused("unknown_pack", f"{body.pack!r:.140} is not sold: write one of {', '.join(catalog.packs)}")
    currency = body.currency or catalog.top_up.currency
    if currency not in pack.prices:
        raise Refused(
            "unknown_currency", f"{body.pack} has no price in {currency}: write one of {', '.join(pack.prices)}"
        )
    return CheckoutRow(
        team_id=ask.team_id, id=purchase_id, mode="payment", customer_id="", asked_by=ask.caller.sub,
        return_url=return_url_of(ask, body.return_url), pack=body.pack, name=f"{pack.name}: {_whole(pack.credits)} credits",
        credits=pack.credits, charge_cents=pack.prices[currency], currency=currency, keeps_card=body.save_card,
        taxed=ask.context.settings.stripe_tax,
    )  # fmt: skip


def _whole(credits: MicroCredits) -> str:
    """Credits as the bill shows them: 2,000."""
    units, _, rest = format_credits(credits).partition(".")
    return f"{int(units):,}" + (f".{rest}" if rest else "")


async def _purchase_answer(ask: TeamRequest, record: CheckoutRow) -> Json:
    async with ask.transaction() as connection:
        position = await position_of(connection, record.team_id, record.position)
    return {
        "id": str(record.id), "state": record.state, "detail": record.detail,
        "checkout_url": record.url if record.state == "open" else None, "expires_at": instant_or_none(record.expires_at),
        "pack": record.pack, "credits": format_credits(record.credits or 0), "amount": record.charge_cents,
        "currency": record.currency, "save_card": record.keeps_card,
        "receipt_url": receipt_link(record.receipt_url) if ask.caller.role in SEES_PAYMENTS else None, "position": position,
    }  # fmt: skip
