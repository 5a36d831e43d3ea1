"""`GET /v1/teams/{team}/stream`: the balance and new activity as they come, as Server-Sent Events.

Read with `fetch` and the Authorization header, never with a token in the address. `id:` is the position up to which
everything has been told; who comes back with it as `Last-Event-ID` gets what was missed. The stream ends when its token
does.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

from schemas.places import Place
from services.api.access import AllowedRequest, TeamRequest, route, unknown_team
from services.api.answers import Json
from services.api.models.parts import Position
from services.api.routes.balances import parse_position
from services.api.tokens import TokenRole
from services.api.wording.balances import balance_body
from services.api.wording.entries import item
from services.read_models.activity import ActivityRow, read_after
from services.read_models.balances import ExactBalance, read_balance
from services.runtime.errors import Unavailable
from services.store.connect import AWAY
from services.store.shards import shard_of

AT_ONCE_MAX = 100  # entries of one event; who missed more loads the page anew
QUIET_SECONDS = 15
PACE_SECONDS = 0.2  # a team may burn thousands of times a second; nobody reads faster than this
NEWEST = "SELECT position FROM facts WHERE shard = $1 AND team_id = $2 ORDER BY position DESC LIMIT 1"
EVENT_STREAM = {
    "type": "object", "required": ["event", "data"], "additionalProperties": False,
    "properties": {
        "event": {"enum": ["balance", "activity", "end"]},
        "id": {"type": "string", "examples": ["31:20418"], "description": "All up to this position has been told."},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}  # fmt: skip
EVENTS = {200: {"content": {"text/event-stream": {"itemSchema": EVENT_STREAM}}}}

routes = APIRouter()


async def _open(ask: AllowedRequest) -> AsyncIterator[None]:
    """Begins before the stream and ends after it, however that ends: sent to its end, hung up on, or failed."""
    with ask.context.rate_limiter.streaming(ask.caller):
        yield


@route(
    routes, "GET", "/v1/teams/{team}/stream", TokenRole.MEMBER, tags=["credits"], responses=EVENTS,
    response_class=StreamingResponse,
    fails=("wrong_position", "catching_up"),
)  # fmt: skip
async def get_stream(
    ask: AllowedRequest,
    _counted: Annotated[None, Depends(_open)],
    last_event_id: Annotated[Position | None, Header(description="Where the stream broke off.")] = None,
) -> Response:
    """Events `balance` (as the balance), `activity` (`{items, more}`) and, at the token's end, `end`."""
    position = None if last_event_id is None else parse_position(last_event_id, ask.team_id)[1]
    exact, _ = await _look(ask, None)
    if exact is None:
        raise unknown_team(ask.team_id)
    return StreamingResponse(
        _events(ask, position),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(ask: TeamRequest, position: int | None) -> AsyncIterator[bytes]:
    """Tell what is, then what comes. A store that is away is waited for; the balance says when it was read."""
    shard, watch, clock = shard_of(ask.team_id), ask.context.watch, asyncio.get_running_loop().time
    told_position, quiet_until = -1, 0.0
    while (
        seconds_left := (ask.caller.expires_at - ask.context.clock()) / timedelta(seconds=1)
    ) > 0 and not watch.stop.is_set():
        try:
            head = await watch.head(shard)
            if await _newest(ask) != told_position or clock() >= quiet_until:
                exact, rows = await _look(ask, position)
                if exact is None:
                    return
                head = max(head, rows[0].entry.position if rows else 0)
                told_position, quiet_until = exact.team.position, clock() + QUIET_SECONDS
                async for event in _tell(ask, exact, rows, str(Place(shard, head))):
                    yield event
        except (*AWAY, Unavailable):
            yield KEEPALIVE_COMMENT
            await asyncio.sleep(1)
            continue
        position = max(head, position or 0)
        await asyncio.sleep(PACE_SECONDS)
        await watch.moved(shard, position, min(seconds_left, QUIET_SECONDS))
    if seconds_left <= 0:
        yield format_sse_event(event="end", data_str='{"reason":"token_expired"}')


async def _newest(ask: TeamRequest) -> int:
    """The position of the team's last fact: most of what moves a shard is other teams'."""
    newest = await ask.quick_read().fetchrow(NEWEST, shard_of(ask.team_id), ask.team_id)
    return 0 if newest is None else newest["position"]


async def _look(ask: TeamRequest, position: int | None) -> tuple[ExactBalance | None, list[ActivityRow]]:
    # The balance first: a fact that is stored between the two reads is among the rows, and its balance is told next
    # time. The other way about, the balance would have it already, nothing would be new next time, and its row would
    # never be told.
    exact = await read_balance(ask.quick_read(), ask.team_id, ask.context.clock())
    return exact, [] if position is None else await read_after(ask.quick_read(), ask.team_id, position, AT_ONCE_MAX + 1)


async def _tell(ask: TeamRequest, exact: ExactBalance, rows: list[ActivityRow], position: str) -> AsyncIterator[bytes]:
    if rows:
        cards = await ask.context.cards.current()
        items = [item(row, cards, ask.context.catalog) for row in rows[:AT_ONCE_MAX]]
        yield _event("activity", {"items": items, "more": len(rows) > AT_ONCE_MAX}, position)
    yield _event("balance", balance_body(exact, exact.position), position)


def _event(name: str, content: Json, position: str) -> bytes:
    return format_sse_event(event=name, data_str=to_json(content).decode(), id=position)
