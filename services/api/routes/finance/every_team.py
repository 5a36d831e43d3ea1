"""`GET /v1/teams`: which teams there are, for those who see every team."""

import re
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from services.api.access import AllowedRequest, route
from services.api.answers import answer
from services.api.models.reads import TeamList
from services.api.openapi.route_docs import link
from services.api.problems import problem
from services.api.tokens import TokenRole
from services.credits.directory import read_teams

PAGE_MAX = 1_000
LINKS = {"next": link("get_teams", "The next page, if there is one.", cursor="$response.body#/next_cursor")}
BEGINNING = (-1, "")

routes = APIRouter()


@route(
    routes, "GET", "/v1/teams", TokenRole.FINANCE, gives=TeamList, tags=["teams"], fails=("invalid_cursor",), links=LINKS,
    for_every_team=True,
)  # fmt: skip
async def get_teams(
    ask: AllowedRequest,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
    cursor: Annotated[str | None, Query(max_length=800, description="`next_cursor` of the page before.")] = None,
) -> Response:
    """Which teams there are: those that have a plan."""
    after = BEGINNING if cursor is None else _parsed(cursor)
    teams = await read_teams(ask.quick_read(), after, limit + 1)
    items = [{"id": team.team_id, "name": team.name, "plan": team.plan, "zone": team.zone} for _, team in teams[:limit]]
    last = teams[limit - 1] if len(teams) > limit else None
    return answer({"items": items, "next_cursor": None if last is None else _written(last[0], last[1].team_id)})


def _written(shard: int, team_id: str) -> str:
    """Where a page ended; opaque outside."""
    return urlsafe_b64encode(f"{shard}|{team_id}".encode()).decode().rstrip("=")


def _parsed(cursor: str) -> tuple[int, str]:
    try:
        text = b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (NotBase64, ValueError):
        text = ""
    parts = re.fullmatch(r"([0-9]{1,2})\|([^\0]+)", text, re.ASCII | re.DOTALL)
    if parts is None:
        raise problem(422, "invalid_cursor", "the cursor is not a `next_cursor` of this API; begin without one")
    return int(parts[1]), parts[2]
