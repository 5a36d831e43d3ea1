"""Grants and adjustments: credits that an operator gives or corrects.

Always with a reason, never by setting a balance.
"""

from fastapi import APIRouter
from starlette.responses import Response

from schemas.credits import MicroCredits, format_credits
from schemas.facts import CreditsAdjusted, CreditsGranted
from schemas.places import Place
from services.api.access import AllowedRequest, route
from services.api.idempotency import NAMED, CommandAnswer, RequiredKey, answer_once
from services.api.models.operators import AdjustmentBody, GiftAnswer, GrantBody
from services.api.openapi.route_docs import link
from services.api.tokens import TokenRole
from services.api.wording.amounts import micro
from services.credits.grants import adjust, grant
from services.runtime.errors import Refused
from services.store.connect import Connection

GIVES = (*NAMED, "invalid_credits")
EXPLAINED = {"entry": link("get_entry", "What came of it, as an entry of the activity.", id="$response.body#/id")}

routes = APIRouter()


@route(
    routes, "POST", "/v1/teams/{team}/grants", TokenRole.OPERATOR, gives=GiftAnswer, status=201, tags=["operators"],
    fails=("invalid_expiry", *GIVES), links=EXPLAINED,
)  # fmt: skip
async def post_grant(ask: AllowedRequest, body: GrantBody, key: RequiredKey) -> Response:
    """Give promotional credits, which may expire."""
    credits = micro(body.credits)

    async def give(connection: Connection, gift_id: str) -> CommandAnswer:
        gift = CreditsGranted(
            credits=_positive(credits), reason=body.reason, expires_at=body.expires_at, granted_by=ask.caller.sub
        )
        return _gift_answer(await grant(connection, ask.team_id, f"grant:{gift_id}", gift), credits)

    return await answer_once(ask, key, give)


@route(
    routes, "POST", "/v1/teams/{team}/adjustments", TokenRole.OPERATOR, gives=GiftAnswer, status=201, tags=["operators"],
    fails=("own_approval", *GIVES), links=EXPLAINED,
)  # fmt: skip
async def post_adjustment(ask: AllowedRequest, body: AdjustmentBody, key: RequiredKey) -> Response:
    """Correct a balance, up or down. Who approves is never who asks."""
    credits = micro(body.credits)
    if body.approved_by == ask.caller.sub:
        raise Refused("own_approval", "who asks for an adjustment can't approve it; have somebody else do so")

    async def correct(connection: Connection, gift_id: str) -> CommandAnswer:
        adjustment = CreditsAdjusted(
            credits=credits, reason=body.reason, refers_to=body.refers_to,
            adjusted_by=ask.caller.sub, approved_by=body.approved_by,
        )  # fmt: skip
        return _gift_answer(await adjust(connection, ask.team_id, f"adjustment:{gift_id}", adjustment), credits)

    return await answer_once(ask, key, correct)


def _positive(credits: MicroCredits) -> MicroCredits:
    if credits <= 0:
        raise Refused("invalid_credits", "a grant is more than 0 credits; to take credits away, adjust")
    return credits


def _gift_answer(place: Place, credits: MicroCredits) -> CommandAnswer:
    return CommandAnswer({"id": f"{place}:0", "credits": format_credits(credits), "position": str(place)}, 201)
