"""`POST …/entries/{id}/correct`: usage, or a capture, as it really was."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from projections.balance.state import ActivityKind
from schemas.credits import format_credits
from services.api.access import AllowedRequest, TeamRequest, route
from services.api.answers import Json
from services.api.idempotency import NAMED, CommandAnswer, RequiredKey, answer_once
from services.api.models.operators import CorrectionAnswer, CorrectionBody
from services.api.openapi.codes import PRICED
from services.api.openapi.route_docs import link
from services.api.problems import problem
from services.api.routes.activity import ENTRY_ID
from services.api.routes.grants import WAITING, request_of, waiting_answer
from services.api.tokens import TokenRole
from services.credits.approvals import WaitingRequest
from services.read_models.activity import own_entry_ids, read_entries
from services.store.connect import Connection
from services.store.shards import shard_of
from services.usage.correcting import CorrectedUsage, correct_or_ask

FAILS = (
    "unknown_entry", "already_taken_back", "plain_credits", "unknown_feature", "unknown_rate", "unknown_quantity", "too_large",
    "catching_up", *PRICED, *NAMED,
)  # fmt: skip
EXPLAINED = {"entry": link("get_entry", "What took the usage back, as an entry.", id="$response.body#/id")}

routes = APIRouter()


@route(
    routes, "POST", "/v1/teams/{team}/entries/{id}/correct", TokenRole.OPERATOR, gives=CorrectionAnswer, status=201,
    tags=["operators"], fails=FAILS, links=EXPLAINED, responses=WAITING,
)  # fmt: skip
async def post_correction(
    ask: AllowedRequest,
    entry_id: Annotated[str, Path(alias="id", max_length=64, examples=["31:20418:0"])],
    body: CorrectionBody,
    key: RequiredKey,
) -> Response:
    """Correct a usage or a capture: its credits go back to what paid, and what was used is recorded at its own time.

    It counts in the open cycle where its own is sealed. The same correction again gives the same answer. More than one
    person may move in a day waits for another one.
    """
    position = await _usage_at(ask, entry_id)
    cards = await ask.context.cards.current()
    request = request_of(
        ask, "correction", 0, reason=body.reason, usage_position=position, quantity=body.quantity,
        quantities=body.quantities,
    )  # fmt: skip

    async def correct(connection: Connection, command_id: str) -> CommandAnswer:
        corrected = await correct_or_ask(connection, ask.team_id, command_id, request, cards)
        if isinstance(corrected, WaitingRequest):
            return waiting_answer(corrected)
        return CommandAnswer(await _answer(connection, ask.team_id, corrected, position), 201)

    return await answer_once(ask, key, correct)


async def _usage_at(ask: TeamRequest, entry_id: str) -> int:
    """The position of the usage that an entry is of; an entry of anything else is none."""
    named = ENTRY_ID.fullmatch(entry_id)
    if named is not None and int(named[1]) == shard_of(ask.team_id):
        rows, _ = await read_entries(ask.quick_read(), ask.team_id, int(named[2]))
        if any(row.entry.part == int(named[3]) and row.entry.kind is ActivityKind.USAGE for row in rows):
            return int(named[2])
    raise problem(404, "unknown_entry", f"this team has no usage {entry_id!r}, and nothing else can be corrected so")


async def _answer(connection: Connection, team_id: str, corrected: CorrectedUsage, corrects: int) -> Json:
    void, usage = corrected.void.position, corrected.usage and corrected.usage.position
    ids = await own_entry_ids(connection, team_id, [corrects, void, *([usage] if usage else [])])
    return {
        "id": ids[void], "corrects": ids[corrects], "entry": usage and ids[usage],
        "credits": format_credits(corrected.returned - corrected.used),
        "position": str(corrected.usage or corrected.void),
    }  # fmt: skip
