"""Holds over HTTP: a feature service sets credits aside before long work, and captures what the work has used.

Each command needs an `Idempotency-Key`, and its answer is stored by the transaction that does it: whoever never got an
answer sends the same again, whatever died meanwhile.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path
from prometheus_client import Counter
from starlette.responses import Response

from projections.entitlement import REASONS, Amount, Permission, PlannedWork
from schemas.credits import ENTRY_MAX, format_credits
from schemas.facts import Name
from schemas.instants import instant
from schemas.places import Place
from schemas.pricing import CompiledCard, KeptAttributes
from services.api.access import AllowedRequest, TeamRequest, route
from services.api.answers import Json, answer
from services.api.idempotency import NAMED, CommandAnswer, RequiredKey, answer_once, kept
from services.api.models.work import CaptureBody, Captured, ExtendBody, HoldAnswer, HoldBody, Item, Placed
from services.api.openapi.codes import PRICED, STATUS
from services.api.openapi.route_docs import link
from services.api.problems import problem
from services.api.routes.quotes import verdict_body, works
from services.api.tokens import TokenRole
from services.api.wording.amounts import micro
from services.credits.holds.at_once import AtOnce, KeptAnswer, move_at_once, place_at_once
from services.credits.holds.hold import (
    CapturedPart,
    CurrentHold,
    Decide,
    capturing,
    extension,
    read_hold,
    release,
    unknown_hold,
)
from services.credits.holds.moving import move
from services.credits.holds.placing import HoldRequest, NotPermitted, place
from services.runtime.errors import Refused
from services.store.connect import Connection
from services.store.read import head_of
from services.store.shards import shard_of

HoldId = Annotated[
    Name, Path(alias="id", description="The hold's id.", examples=["5e0c6b5e-2f0a-5a61-9d0a-0f6f3c0d9a11"])
]
TAGS = ["entitlement"]
OVER = ("unknown_hold", "hold_settled", "hold_released", "hold_expired")
LEADS = {
    "hold": link("get_hold", "How it stands.", id="$response.body#/id"),
    "extend": link("post_extend", "Let it last longer.", id="$response.body#/id"),
    "capture": link("post_capture", "Record what the work used.", id="$response.body#/id"),
    "release": link("post_release", "Give it up.", id="$response.body#/id"),
}

routes = APIRouter()


@route(
    routes, "POST", "/v1/teams/{team}/holds", TokenRole.SERVICE, gives=Placed, status=201, tags=TAGS, links=LEADS,
    fails=("too_many_holds", "several_members", "invalid_credits", "catching_up", *REASONS, *PRICED, *NAMED),
)  # fmt: skip
async def post_hold(ask: AllowedRequest, body: HoldBody, key: RequiredKey) -> Response:
    """Set credits aside, if the team may do the work and can afford it: 402 `exhausted` where it can't."""
    member_id = _member(body)
    request = HoldRequest(
        _requests_of(body, member_id),
        timedelta(seconds=body.ttl_seconds),
        member_id,
        await _card(ask),
        ask.context.catalog,
    )

    def placed(hold: CurrentHold, permission: Permission, at: Place) -> CommandAnswer:
        return CommandAnswer({**_hold_answer(hold, str(at)), "warning": permission.warning}, 201, is_kept=True)

    async def put(connection: Connection, hold_id: str) -> CommandAnswer:
        return placed(*await place(
            connection, ask.team_id, hold_id, request, keep=lambda *made: kept(ask, key, placed(*made))
        ))  # fmt: skip

    async def put_at_once(command: AtOnce[CommandAnswer], hold_id: str) -> CommandAnswer | KeptAnswer | None:
        return await place_at_once(command, hold_id, request, placed)

    try:
        return await answer_once(ask, key, put, at_once=put_at_once)
    except NotPermitted as no:
        verdicts = [verdict_body(verdict) for verdict in no.permission.verdicts]
        raise problem(STATUS[no.reason], no.reason, no.detail, items=verdicts) from no


@route(
    routes, "GET", "/v1/teams/{team}/holds/{id}", TokenRole.MEMBER, TokenRole.SERVICE, gives=HoldAnswer, tags=TAGS,
    fails=("unknown_hold",),
)  # fmt: skip
async def get_hold(ask: AllowedRequest, hold_id: HoldId) -> Response:
    """A hold as it stands: open, or what it came to."""
    shard, reads = shard_of(ask.team_id), ask.quick_read()
    head = await head_of(reads, shard)
    hold = await read_hold(reads, ask.team_id, hold_id, ask.context.clock())
    if hold is None:
        raise unknown_hold(hold_id)
    return answer(_hold_answer(hold, str(Place(shard, head))))


@route(
    routes, "POST", "/v1/teams/{team}/holds/{id}/extend", TokenRole.SERVICE, gives=HoldAnswer, tags=TAGS,
    fails=("invalid_ttl", *OVER, *NAMED),
)  # fmt: skip
async def post_extend(ask: AllowedRequest, hold_id: HoldId, body: ExtendBody, key: RequiredKey) -> Response:
    """Let a hold last longer. It never ends earlier than before, and at most 24 hours after it was placed."""
    lasts = timedelta(seconds=body.ttl_seconds)
    return await _move(ask, key, hold_id, lambda command_id: extension(command_id, lasts))


@route(
    routes, "POST", "/v1/teams/{team}/holds/{id}/capture", TokenRole.SERVICE, gives=Captured, tags=TAGS,
    fails=("invalid_credits", "unknown_feature", "unknown_rate", "unknown_quantity", "too_large", *OVER, *PRICED, *NAMED),
)  # fmt: skip
async def post_capture(ask: AllowedRequest, hold_id: HoldId, body: CaptureBody, key: RequiredKey) -> Response:
    """Record what the work used. What is left of the hold is free again, unless this capture is not the final one.

    It was used, so it may exceed the hold, and even the balance.
    """
    cards = await ask.context.cards.current()
    parts = _parts(body, cards.in_force(ask.context.clock()), cards.attributes, ask.context.dropped_attributes)
    credits = format_credits(sum(part.credits for part in parts))

    return await _move(
        ask, key, hold_id, lambda command_id: capturing(command_id, parts, final=body.final), captured=credits,
        one_fact=len(parts) == 1,
    )  # fmt: skip


@route(
    routes, "POST", "/v1/teams/{team}/holds/{id}/release", TokenRole.SERVICE, gives=HoldAnswer, tags=TAGS,
    fails=(*OVER, *NAMED),
)  # fmt: skip
async def post_release(ask: AllowedRequest, hold_id: HoldId, key: RequiredKey) -> Response:
    """Give a hold up: a job that failed costs nothing."""
    return await _move(ask, key, hold_id, lambda _: release)


async def _move(
    ask: TeamRequest, key: str, hold_id: str, decide: Callable[[str], Decide], *, one_fact: bool = True, **more: str
) -> Response:
    """Move a hold as is decided for a command's id; `more` is answered besides."""

    def moved(hold: CurrentHold, at: Place) -> CommandAnswer:
        return CommandAnswer({**_hold_answer(hold, str(at)), **more}, is_kept=True)

    async def in_turn(connection: Connection, command_id: str) -> CommandAnswer:
        return moved(*await move(
            connection, ask.team_id, hold_id, decide(command_id), keep=lambda *made: kept(ask, key, moved(*made))
        ))  # fmt: skip

    async def at_once(command: AtOnce[CommandAnswer], command_id: str) -> CommandAnswer | KeptAnswer | None:
        return await move_at_once(command, hold_id, decide(command_id), moved)

    return await answer_once(ask, key, in_turn, at_once=at_once if one_fact else None)


async def _card(ask: TeamRequest) -> CompiledCard:
    return (await ask.context.cards.current()).in_force(ask.context.clock())


def _member(body: HoldBody) -> str | None:
    """Whose hold it is: work of several members needs a hold for each."""
    named = {item.member_id for item in body.items or () if item.member_id is not None}
    if body.member_id is not None:
        named.add(body.member_id)
    if len(named) > 1:
        raise Refused("several_members", f"one hold is for one member, not for {', '.join(sorted(named))}")
    return named.pop() if named else None


def _requests_of(body: HoldBody, member_id: str | None) -> list[PlannedWork | Amount]:
    if body.credits is not None:
        return [Amount(_amount(body.credits), member_id)]
    return [*works(body.items or (), member_id)]


def _amount(text: str) -> int:
    credits = micro(text)
    if not 0 < credits <= ENTRY_MAX:
        raise Refused("invalid_credits", f"write more than 0 and at most {format_credits(ENTRY_MAX)} credits")
    return credits


def _parts(body: CaptureBody, card: CompiledCard, attributes: KeptAttributes, dropped: Counter) -> list[CapturedPart]:
    if body.credits is not None:
        return [CapturedPart(_amount(body.credits))]
    return [_priced(item, card, attributes, dropped) for item in body.items or ()]


def _priced(item: Item, card: CompiledCard, attributes: KeptAttributes, dropped: Counter) -> CapturedPart:
    """As usage at the recorder's door: priced by all that it says, stored with what somebody listed."""
    credits = card.price_used(item.feature, item.quantity, item.quantities, item.attributes)
    kept, left_out = attributes.sort(item.attributes)
    for why in left_out:
        dropped.labels(why).inc()
    return CapturedPart(
        credits, item.feature, item.quantity, kept or None, card.version, item.member_id, item.quantities
    )


def _hold_answer(hold: CurrentHold, position: str) -> Json:
    return {
        "id": hold.hold_id, "credits": format_credits(hold.credits), "state": hold.state.value,
        "expires_at": instant(hold.expires_at), "member_id": hold.member_id, "position": position,
    }  # fmt: skip
