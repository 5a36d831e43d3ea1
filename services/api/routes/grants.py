"""Grants and adjustments: credits that an operator gives or corrects.

Always with a reason, never by setting a balance. Beyond the catalog's limit for a person and a day it is a request,
which waits for another person: `routes/finance/approvals.py`.
"""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from projections.approvals import WAITS
from schemas.credits import MicroCredits, format_credits
from schemas.facts import AdjustmentRequested
from services.api.access import AllowedRequest, TeamRequest, route
from services.api.idempotency import NAMED, CommandAnswer, RequiredKey, answer_once
from services.api.models.operators import AdjustmentBody, GiftAnswer, GrantBody, RequestAnswer
from services.api.openapi.route_docs import header, link
from services.api.tokens import TokenRole
from services.api.wording.amounts import micro
from services.api.wording.approvals import request_answer
from services.credits.approvals import RequestState, WaitingRequest, give_or_ask
from services.read_models.activity import own_entry_id
from services.runtime.errors import Refused
from services.store.connect import Connection

GIVES = (*NAMED, "invalid_credits")
EXPLAINED = {"entry": link("get_entry", "What came of it, as an entry of the activity.", id="$response.body#/id")}
# As a route's `responses`: what it answers where another person has to approve first.
WAITING: dict[int | str, dict[str, Any]] = {
    202: {
        "model": RequestAnswer,
        "description": "It is more than one person may move alone in a day. Another one has to approve it.",
        "headers": header("Idempotency-Replayed"),
        "links": {
            "approve": link("post_approve", "Approve it, as another person.", id="$response.body#/id"),
            "reject": link("post_reject", "Reject it, as another person.", id="$response.body#/id"),
        },
    }
}  # fmt: skip

routes = APIRouter()


@route(
    routes, "POST", "/v1/teams/{team}/grants", TokenRole.OPERATOR, gives=GiftAnswer, status=201, tags=["operators"],
    fails=("invalid_expiry", *GIVES), links=EXPLAINED, responses=WAITING,
)  # fmt: skip
async def post_grant(ask: AllowedRequest, body: GrantBody, key: RequiredKey) -> Response:
    """Give promotional credits, which may expire. More than one person may give in a day waits for another one."""
    credits = _positive(micro(body.credits))
    request = request_of(ask, "grant", credits, reason=body.reason, expires_at=body.expires_at)
    return await _give(ask, key, request)


@route(
    routes, "POST", "/v1/teams/{team}/adjustments", TokenRole.OPERATOR, gives=GiftAnswer, status=201, tags=["operators"],
    fails=GIVES, links=EXPLAINED, responses=WAITING,
)  # fmt: skip
async def post_adjustment(ask: AllowedRequest, body: AdjustmentBody, key: RequiredKey) -> Response:
    """Correct a balance, up or down. More than one person may move in a day waits for another one."""
    request = request_of(ask, "adjustment", micro(body.credits), reason=body.reason, refers_to=body.refers_to)
    return await _give(ask, key, request)


def request_of(ask: TeamRequest, kind: str, credits: MicroCredits, **more: Any) -> AdjustmentRequested:
    """What the caller asks for, whether or not it has to wait. If it does, `ask` says anew until when."""
    return AdjustmentRequested.model_validate(
        {
            "kind": kind, "credits": credits, "requested_by": ask.caller.sub, "waits_until": ask.context.clock() + WAITS,
            "approval_above_credits": ask.context.catalog.adjustments.approval_above_credits, **more,
        }
    )  # fmt: skip


async def _give(ask: TeamRequest, key: str, request: AdjustmentRequested) -> Response:
    async def give(connection: Connection, command_id: str) -> CommandAnswer:
        done = await give_or_ask(connection, ask.team_id, command_id, request)
        if isinstance(done, WaitingRequest):
            return waiting_answer(done)
        entry = await own_entry_id(connection, ask.team_id, done)
        gift = {"id": entry, "credits": format_credits(request.credits), "position": str(done)}
        return CommandAnswer(gift, 201)

    return await answer_once(ask, key, give)


def waiting_answer(waiting: WaitingRequest) -> CommandAnswer:
    """It waits for another person."""
    body = request_answer(waiting.request_id, waiting.request, RequestState.WAITING, waiting.place)
    return CommandAnswer(body, 202)


def _positive(credits: MicroCredits) -> MicroCredits:
    if credits <= 0:
        raise Refused("invalid_credits", "a grant is more than 0 credits; to take credits away, adjust")
    return credits
