"""`GET /v1/teams/{team}/activity` and `…/entries/{id}`: what happened to the credits, and why."""

import re
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import AsyncIterator
from contextlib import aclosing, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi_problem.error import Problem
from starlette.responses import Response, StreamingResponse

from projections.balance.state import ActivityKind
from schemas.facts import Name
from schemas.instants import GivenInstant
from schemas.places import Place
from schemas.pricing import RateCards
from schemas.spreadsheets import csv_lines
from services.api.access import SEES_PAYMENTS, AllowedRequest, TeamRequest, route
from services.api.answers import Json, answer
from services.api.models.reads import Activity, EntryAnswer, EntryProof
from services.api.openapi.route_docs import link
from services.api.problems import problem
from services.api.tokens import TokenRole
from services.api.wording.downloads import COLUMNS, download_line, file_name
from services.api.wording.entries import corrected_usage, explain, item
from services.audit.prove import prove
from services.credits.directory import read_directory
from services.money.payment_details import ask_receipts, payment_without_receipt, with_receipts
from services.read_models.activity import (
    NEWEST,
    ActivityRow,
    Before,
    Filter,
    own_entry_ids,
    read_activity,
    read_all,
    read_entries,
    who_paid,
)
from services.runtime.errors import Refused
from services.store.shards import shard_of
from services.usage.voids import read_void

PAGE_MAX = 200
EARLIEST = datetime.min.replace(tzinfo=UTC)
CSV = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
FOLLOWED = {
    "entry": link("get_entry", "Why the newest entry is what it is.", id="$response.body#/items/0/id"),
    "next": link("get_activity", "The next page, if there is one.", cursor="$response.body#/next_cursor"),
}
STATUS = {"unknown_entry": 404, "not_signed_yet": 409, "unknown_checkpoint": 422}
ENTRY_ID = re.compile(r"([0-9]{1,2}):([0-9]{1,18}):([0-9]{1,5})", re.ASCII)

Days = Annotated[Literal["1", "7", "30"], Query(description="The window, n × 24 hours back from now.")]

routes = APIRouter()


async def _download(ask: AllowedRequest, accept: Annotated[str, Header()] = "") -> AsyncIterator[None]:
    """Counted from its beginning to its end, where the answer is a download."""
    with ask.context.rate_limiter.downloading(ask.caller) if "text/csv" in accept else nullcontext():
        yield


@route(
    routes, "GET", "/v1/teams/{team}/activity", TokenRole.MEMBER, gives=Activity, tags=["credits"], responses=CSV,
    fails=("invalid_cursor", "no_rate_card", "catching_up", "busy"), links=FOLLOWED,
)  # fmt: skip
async def get_activity(
    ask: AllowedRequest,
    _counted: Annotated[None, Depends(_download)],
    days: Days = "30",
    since: Annotated[
        GivenInstant | None, Query(alias="from", description="Recorded at this instant or later; instead of `days`.")
    ] = None,
    until: Annotated[
        GivenInstant | None,
        Query(description="Recorded before this instant; without `from`, `days` count back from here."),
    ] = None,
    kind: Annotated[
        list[ActivityKind] | None, Query(alias="type", max_length=len(ActivityKind), description="Only these types.")
    ] = None,
    member: Annotated[Name | None, Query(description="Only this member's.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 25,
    cursor: Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before.")] = None,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """Credit activity, newest first; as CSV, all of it."""
    until = until and _utc(until)
    end = until or ask.context.clock()
    since = _utc(since) if since else _back(end, timedelta(days=int(days)))
    selection = Filter(since, frozenset(kind) if kind else None, member, until)
    cards = await ask.context.cards.current()
    if "text/csv" in accept:
        name = file_name(ask.team_id, since, end)
        return StreamingResponse(
            _lines(ask, selection, cards), media_type="text/csv",
            headers={"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"},
        )  # fmt: skip
    before = NEWEST if cursor is None else parse_cursor(cursor)
    async with ask.context.filtered.of(shard_of(ask.team_id)) if kind or member else nullcontext():
        rows = await read_activity(ask.quick_read(), ask.team_id, selection, before=before, limit=limit + 1)
    items = [item(row, cards, ask.context.catalog) for row in rows[:limit]]
    following = write_cursor(rows[limit - 1].entry[:2]) if len(rows) > limit else None
    return answer({"items": items, "next_cursor": following})


def _utc(at: datetime) -> datetime:
    """The same instant in UTC, as near to it as the calendar goes."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return EARLIEST if at.year == 1 else datetime.max.replace(tzinfo=UTC)


def _back(end: datetime, span: timedelta) -> datetime:
    """A span before an instant, as far as the calendar goes."""
    return end - span if end - EARLIEST > span else EARLIEST


def write_cursor(before: Before) -> str:
    """Where a page ended; opaque outside, so that nobody makes them up."""
    return urlsafe_b64encode(f"{before[0]}.{before[1]}".encode()).decode().rstrip("=")


def parse_cursor(cursor: str) -> Before:
    """Where the page before ended."""
    try:
        text = b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (NotBase64, ValueError):
        text = ""
    if not re.fullmatch(r"[0-9]{1,18}\.[0-9]{1,4}", text, re.ASCII):
        raise problem(422, "invalid_cursor", "the cursor is not a `next_cursor` of this API; begin without one")
    position, part = text.split(".")
    return int(position), int(part)


async def _lines(ask: TeamRequest, selection: Filter, cards: RateCards) -> AsyncIterator[str]:
    yield csv_lines([COLUMNS])
    team = await read_directory(ask.quick_read(), ask.team_id)
    names = team.names if team else {}
    line_of = partial(
        download_line, cards=cards, catalog=ask.context.catalog, names=names,
        sees_receipts=ask.caller.role in SEES_PAYMENTS,
    )  # fmt: skip
    async with aclosing(read_all(ask.patient_read(), ask.team_id, selection)) as pages:
        while True:
            # One page at a time, whoever downloads, and none while somebody asks for less.
            async with ask.context.downloads.of(0):
                rows = await anext(pages, None)
                if rows is not None and ask.caller.role in SEES_PAYMENTS:
                    rows = await with_receipts(ask.quick_read(), ask.team_id, rows)
                text = csv_lines(map(line_of, rows or []))
            if rows is None:
                return
            yield text


@route(
    routes, "GET", "/v1/teams/{team}/entries/{id}", TokenRole.MEMBER, gives=EntryAnswer, tags=["credits"],
    fails=("unknown_entry", "no_rate_card", "catching_up"),
)  # fmt: skip
async def get_entry(
    ask: AllowedRequest, entry_id: Annotated[str, Path(alias="id", max_length=64, examples=["31:20418:0"])]
) -> Response:
    """Why an entry is what it is: rate card, formula, inputs, which lots paid."""
    named = ENTRY_ID.fullmatch(entry_id)
    if named is not None and int(named[1]) == shard_of(ask.team_id):
        cards = await ask.context.cards.current()
        rows, tail = await read_entries(ask.quick_read(), ask.team_id, int(named[2]))
        for row in rows:
            if row.entry.part == int(named[3]):
                paid = await who_paid(ask.quick_read(), ask.team_id, row.entry.paid, tail)
                sees = ask.caller.role in SEES_PAYMENTS
                shown = await _with_receipt(ask, row) if sees else row
                explained = explain(shown, paid, cards, ask.context.catalog, sees_receipts=sees)
                return answer(explained | await _corrections(ask, row))
    raise _unknown(entry_id)


async def _corrections(ask: TeamRequest, row: ActivityRow) -> Json:
    """What the entry corrects; the original of a correction stays, and points to what took it back."""
    corrects, void = corrected_usage(row), None
    if row.entry.kind is ActivityKind.USAGE:
        void = await read_void(ask.quick_read(), ask.team_id, row.entry.position)
    taken_back_by = void and void.position
    positions = [position for position in (corrects, taken_back_by) if position is not None]
    ids = await own_entry_ids(ask.quick_read(), ask.team_id, positions)
    return {"corrects": corrects and ids[corrects], "taken_back_by": taken_back_by and ids[taken_back_by]}


@route(
    routes, "GET", "/v1/teams/{team}/entries/{id}/proof", TokenRole.MEMBER, gives=EntryProof, tags=["credits"],
    fails=("unknown_entry", "not_signed_yet", "unknown_checkpoint"),
)  # fmt: skip
async def get_proof(
    ask: AllowedRequest,
    entry_id: Annotated[str, Path(alias="id", max_length=64, examples=["31:20418:0"])],
    to: Annotated[
        int | None, Query(ge=1, le=2**62, description="A newer signed checkpoint that the proof is to lead to.")
    ] = None,
) -> Response:
    """The proof that the fact of an entry is in the signed log: `creditwell verify proof.json` checks it offline."""
    named = ENTRY_ID.fullmatch(entry_id)
    if named is None or int(named[1]) != shard_of(ask.team_id):
        raise _unknown(entry_id)
    try:
        async with ask.snapshot() as connection:
            return answer(await prove(connection, Place(int(named[1]), int(named[2])), ask.team_id, to=to))
    except Refused as refused:
        raise problem(STATUS[refused.reason], refused.reason, refused.detail) from refused


async def _with_receipt(ask: TeamRequest, row: ActivityRow) -> ActivityRow:
    """The entry of a payment with its receipt; Stripe is asked where that is not kept."""
    payment = payment_without_receipt(row.fact)
    if payment is not None:
        await ask_receipts(ask.context.charges, ask.quick_read(), ask.transaction, ask.team_id, [payment])
    (shown,) = await with_receipts(ask.quick_read(), ask.team_id, [row])
    return shown


def _unknown(entry_id: str) -> Problem:
    return problem(404, "unknown_entry", f"this team has no entry {entry_id!r}")
