"""What waits for another person: `GET …/adjustments`, and `POST …/adjustments/{id}/approve` and `…/reject`."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from services.api.access import AllowedRequest, route
from services.api.answers import answer
from services.api.idempotency import KEYED, CommandAnswer, Key, answer_once
from services.api.models.operators import RejectBody, RequestAnswer, RequestList
from services.api.openapi.route_docs import link
from services.api.routes.activity import parse_cursor, write_cursor
from services.api.tokens import DECIDERS, TokenRole
from services.api.wording.approvals import entries_of, request_answer, request_item
from services.credits.approvals import (
    RequestState,
    lock_request,
    read_requests,
    reject,
)
from services.read_models.activity import NEWEST, own_entry_id, own_entry_ids
from services.store.connect import Connection
from services.usage.approving import approve as approve_request

PAGE_MAX = 200
ENDED = ("unknown_request", "own_approval", "request_approved", "request_rejected", "request_expired", *KEYED)
LISTED = {
    "next": link("get_adjustments", "The next page, if there is one.", cursor="$response.body#/next_cursor"),
}

RequestId = Annotated[str, Path(alias="id", max_length=128, description="Of the request, as it was answered.")]

routes = APIRouter()


@route(
    routes, "GET", "/v1/teams/{team}/adjustments", TokenRole.FINANCE, gives=RequestList, tags=["operators"],
    fails=("invalid_cursor", "catching_up"), links=LISTED,
)  # fmt: skip
async def get_adjustments(
    ask: AllowedRequest,
    state: Annotated[RequestState | None, Query(description="Only those in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 25,
    cursor: Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before.")] = None,
) -> Response:
    """Grants, adjustments and corrections that needed another person, newest first."""
    before = NEWEST if cursor is None else parse_cursor(cursor)
    rows = await read_requests(
        ask.quick_read(), ask.team_id, state, before=before[0], limit=limit + 1, now=ask.context.clock()
    )
    following = write_cursor((rows[limit - 1].place.position, 0)) if len(rows) > limit else None
    positions = {position for row in rows[:limit] for position in entries_of(row) if position is not None}
    ids = await own_entry_ids(ask.quick_read(), ask.team_id, sorted(positions))
    return answer({"items": [request_item(row, ids) for row in rows[:limit]], "next_cursor": following})


@route(
    routes, "POST", "/v1/teams/{team}/adjustments/{id}/approve", *DECIDERS, gives=RequestAnswer, tags=["operators"],
    fails=("invalid_expiry", "already_taken_back", "no_rate_card", *ENDED),
    links={"entry": link("get_entry", "What came of it, as an entry of the activity.", id="$response.body#/entry")},
)  # fmt: skip
async def post_approve(ask: AllowedRequest, request_id: RequestId, key: Key = None) -> Response:
    """Approve what another person has asked for: it is given, adjusted or corrected now, once."""
    cards = await ask.context.cards.current()

    async def approve(connection: Connection, _: str) -> CommandAnswer:
        approved = await approve_request(connection, ask.team_id, request_id, ask.caller.sub, cards)
        entry = await own_entry_id(connection, ask.team_id, approved.place)
        return CommandAnswer(request_answer(request_id, approved.request, RequestState.APPROVED, approved.place, entry))

    return await answer_once(ask, key, approve)


@route(
    routes, "POST", "/v1/teams/{team}/adjustments/{id}/reject", *DECIDERS, gives=RequestAnswer, tags=["operators"],
    fails=ENDED,
)  # fmt: skip
async def post_reject(ask: AllowedRequest, request_id: RequestId, body: RejectBody, key: Key = None) -> Response:
    """Reject what another person has asked for; nothing moves."""

    async def decline(connection: Connection, _: str) -> CommandAnswer:
        locked = await lock_request(connection, ask.team_id, request_id, ask.caller.sub)
        place = await reject(connection, ask.team_id, locked, ask.caller.sub, body.reason)
        return CommandAnswer(request_answer(request_id, locked.request, RequestState.REJECTED, place))

    return await answer_once(ask, key, decline)
