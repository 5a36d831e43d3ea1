"""`GET /v1/teams/{team}/statements` and `…/statements/{cycle}`: what finance files away of a cycle that is final."""

from base64 import b64encode
from datetime import timedelta
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Header, Path
from starlette.responses import Response

from projections.statements.document import Document, csv_of, json_of
from schemas.instants import instant
from services.api.access import AllowedRequest, TeamRequest, route, unknown_team
from services.api.answers import JSON, answer
from services.api.models.statements import StatementAnswer, StatementList
from services.api.openapi.route_docs import link
from services.api.problems import problem
from services.api.tokens import TokenRole
from services.api.wording.downloads import statement_name
from services.api.wording.statement_page import STYLE, PageNames, statement_page
from services.api.wording.statement_words import StatementWords, accepted_words
from services.books.statements import TeamCycles, find_sealed, make_statement, read_cycles, receipts_of, sealed_cycles
from services.credits.directory import read_directory
from services.money.payment_details import ask_receipts
from services.runtime.errors import Refused

STATUS = {"not_sealed_yet": 409, "unknown_cycle": 404}
CYCLE_MAX = 2**31
OTHERS = {200: {"content": {"text/csv": {"schema": {"type": "string"}}, "text/html": {"schema": {"type": "string"}}}}}
LINKS = {"newest": link("get_statement", "The newest statement.", cycle="$response.body#/items/0/cycle")}
POLICY = f"default-src 'none'; style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'; frame-ancestors 'none'"
PAGE_HEADERS = {
    "content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}  # fmt: skip

routes = APIRouter()


@route(
    routes, "GET", "/v1/teams/{team}/statements", TokenRole.ADMIN, TokenRole.FINANCE, gives=StatementList, tags=["credits"],
    links=LINKS,
)  # fmt: skip
async def get_statements(ask: AllowedRequest) -> Response:
    """The cycles that have a statement, newest first."""
    cycles = await _cycles(ask)
    return answer({
        "items": [
            {
                "cycle": sealed.cycle.k, "starts_at": instant(sealed.cycle.starts_at),
                "ends_at": instant(sealed.cycle.ends_at), "position": str(sealed.place),
                "sealed_at": sealed.recorded_at, "checkpoint": sealed.checkpoint,
            }
            for sealed in sealed_cycles(cycles)
        ]
    })  # fmt: skip


@route(
    routes, "GET", "/v1/teams/{team}/statements/{cycle}", TokenRole.ADMIN, TokenRole.FINANCE, gives=StatementAnswer,
    tags=["credits"], fails=("not_sealed_yet", "unknown_cycle", "no_rate_card"), responses=OTHERS,
)  # fmt: skip
async def get_statement(
    ask: AllowedRequest,
    number: Annotated[int, Path(alias="cycle", ge=-CYCLE_MAX, le=CYCLE_MAX, description="The number of the cycle.")],
    accept: Annotated[str, Header()] = "",
    accept_language: Annotated[str, Header(description="The language of the page: English or German.")] = "",
) -> Response:
    """What happened to the credits in a sealed cycle: the same bytes for ever.

    As JSON, as CSV, or as a page to print, by `Accept`. The page alone has names and receipts, and a language.
    """
    cycles = await _cycles(ask)
    try:
        sealed = find_sealed(cycles, number, timedelta(seconds=ask.context.settings.seal_grace_seconds))
    except Refused as refused:
        raise problem(STATUS[refused.reason], refused.reason, refused.detail) from refused
    cards = await ask.context.cards.current()
    # One at a time, as downloads: a statement folds everything that the team ever did.
    patient = ask.patient_read()
    async with ask.context.downloads.of(0):
        statement = await make_statement(patient, cycles, sealed, cards)
    headers = {"cache-control": "no-store"}
    if "text/html" in accept:
        words = accepted_words(accept_language)
        headers = PAGE_HEADERS | {"content-language": words.language}
        return Response(await _page(ask, statement, words), headers=headers, media_type="text/html")
    if "text/csv" in accept:
        headers["content-disposition"] = f'attachment; filename="{statement_name(ask.team_id, number)}"'
        return Response(csv_of(statement), headers=headers, media_type="text/csv")
    return Response(json_of(statement), headers=headers, media_type=JSON)


async def _cycles(ask: TeamRequest) -> TeamCycles:
    cycles = await read_cycles(ask.quick_read(), ask.team_id)
    if cycles is None:
        raise unknown_team(ask.team_id)
    return cycles


async def _page(ask: TeamRequest, statement: Document, words: StatementWords) -> str:
    team = await read_directory(ask.quick_read(), ask.team_id)
    payments = [payment["payment"] for payment in statement["payments"]]
    await ask_receipts(ask.context.charges, ask.quick_read(), ask.transaction, ask.team_id, payments)
    receipts = await receipts_of(ask.quick_read(), ask.team_id, statement)
    name, members = (team.name, team.names) if team else (ask.team_id, {})
    return statement_page(statement, PageNames(name, members, receipts), words)
