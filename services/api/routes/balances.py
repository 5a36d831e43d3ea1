"""`GET /v1/teams/{team}/balance`: exact at the head of the log, now or as of then."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from schemas.instants import GivenInstant, instant
from schemas.places import place_of
from services.api.access import AllowedRequest, TeamRequest, route, unknown_team
from services.api.answers import answer
from services.api.models.parts import Position
from services.api.models.reads import Balance
from services.api.openapi.route_docs import link
from services.api.problems import problem
from services.api.tokens import TokenRole
from services.api.wording.balances import balance_body
from services.read_models.balances import ExactBalance, read_balance
from services.read_models.history import balance_as_of, refuse_the_future
from services.runtime.errors import Unavailable
from services.store.shards import shard_of

WAIT_SECONDS = 5
LEADS = {
    "then": link("get_balance", "The same again: as it was at that instant.", at="$response.body#/as_of"),
    "activity": link("get_activity", "What led to it."),
}

routes = APIRouter()


@route(
    routes, "GET", "/v1/teams/{team}/balance", TokenRole.MEMBER, TokenRole.SERVICE, gives=Balance, tags=["credits"],
    fails=("in_the_future", "no_balance_then", "wrong_position", "not_yet", "catching_up", "busy"), links=LEADS,
)  # fmt: skip
async def get_balance(
    ask: AllowedRequest,
    at: Annotated[GivenInstant | None, Query(description="The balance at this instant.")] = None,
    known_at: Annotated[GivenInstant | None, Query(description="By what was known at this instant.")] = None,
    at_least: Annotated[Position | None, Query(description="Wait until this position counts, at most 5 s.")] = None,
) -> Response:
    """What the team has."""
    reached = 0 if at_least is None else await wait_for(ask, at_least)
    now = ask.context.clock()
    if at is None and known_at is None:
        exact = await _now(ask, now)
    else:
        exact = await _as_of(ask, at, known_at, now)
    return answer(balance_body(exact, max(reached, exact.position)))


async def _now(ask: TeamRequest, now: datetime) -> ExactBalance:
    exact = await read_balance(ask.quick_read(), ask.team_id, now)
    if exact is None:
        raise unknown_team(ask.team_id)
    return exact


async def _as_of(ask: TeamRequest, at: datetime | None, known_at: datetime | None, now: datetime) -> ExactBalance:
    refuse_the_future(now, at, known_at)
    then = at or known_at or now
    # One at a time, and after all who ask for now: each folds thousands of facts.
    patient = ask.patient_read()
    async with ask.context.past.of(0):
        exact = await balance_as_of(patient, ask.team_id, at=then, known_at=known_at or now)
    if exact is None:
        raise problem(404, "no_balance_then", f"by what was known, {ask.team_id!r} had no plan at {instant(then)}")
    return exact


async def wait_for(ask: TeamRequest, at_least: str) -> int:
    """Return once a position is in the log, which is when every read knows it.

    Raises:
        Unavailable: `not_yet`, it was not there in time.
    """
    shard, position = parse_position(at_least, ask.team_id)
    watch = ask.context.watch
    if await watch.head(shard) < position and not await watch.moved(shard, position - 1, WAIT_SECONDS):
        raise Unavailable(f"{at_least} is not in the log after {WAIT_SECONDS} s", code="not_yet")
    return position


def parse_position(text: str, team_id: str) -> tuple[int, int]:
    """Shard and position, if they can be the team's own."""
    try:
        shard, position = place_of(text)
    except ValueError:
        shard = position = -1
    if shard != shard_of(team_id):
        raise problem(
            422, "wrong_position", f"{text:.140} is no position of this team: its shard is {shard_of(team_id)}"
        )
    return shard, position
