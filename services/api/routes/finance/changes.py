"""`GET /v1/changes`: what people decided, for those who see every team."""

import re
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from schemas.instants import GivenInstant
from services.api.access import AllowedRequest, route
from services.api.answers import answer
from services.api.models.operators import ChangeList
from services.api.problems import problem
from services.api.tokens import TokenRole
from services.api.wording.changes import change_item
from services.credits.changes import BEGINNING, ChangePlace, read_changes

PAGE_MAX = 1_000
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
# Not by `link`, which brings the team along: there is none here.
LINKS = {
    "next": {
        "operationId": "get_changes", "description": "The next page, if there is one.",
        "parameters": {"cursor": "$response.body#/next_cursor"},
    },
}  # fmt: skip

routes = APIRouter()


@route(
    routes, "GET", "/v1/changes", TokenRole.FINANCE, gives=ChangeList, tags=["operators"], fails=("invalid_cursor",),
    links=LINKS, for_every_team=True,
)  # fmt: skip
async def get_changes(
    ask: AllowedRequest,
    since: Annotated[GivenInstant | None, Query(alias="from", description="Recorded at this instant or later.")] = None,
    until: Annotated[GivenInstant | None, Query(description="Recorded before this instant.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
    cursor: Annotated[str | None, Query(max_length=800, description="`next_cursor` of the page before.")] = None,
) -> Response:
    """Rate cards, plans, limits, settings, grants, adjustments, corrections and requests: what, by whom and when.

    They come team by team, each in its order. A page may be empty and yet have a next one.
    """
    after = BEGINNING if cursor is None else _parsed(cursor)
    changes, following = await read_changes(ask.quick_read(), after, since or EARLIEST, until or LATEST, limit)
    items = [change_item(change) for change in changes]
    return answer({"items": items, "next_cursor": following and _written(following)})


def _written(place: ChangePlace) -> str:
    """Where a page ended; opaque outside."""
    return urlsafe_b64encode(f"{place.shard}|{place.position}|{place.team_id}".encode()).decode().rstrip("=")


def _parsed(cursor: str) -> ChangePlace:
    try:
        text = b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (NotBase64, ValueError):
        text = ""
    parts = re.fullmatch(r"([0-9]{1,2})\|([0-9]{1,18})\|([^\0]+)", text, re.ASCII | re.DOTALL)
    if parts is None:
        raise problem(422, "invalid_cursor", "the cursor is not a `next_cursor` of this API; begin without one")
    return ChangePlace(int(parts[1]), parts[3], int(parts[2]))
