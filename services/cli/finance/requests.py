"""`creditwell requests …`: credits and corrections that wait for another person, as the API has them.

Who decides is whoever a token of the host product's speaks for, as on every route: a name that anybody may type is no
second person.
"""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.facts import RATE_CARD_TEAM
from schemas.pricing import NotPriced, RateCards
from services.cli.showing import (
    FOUND_WRONG,
    AsJson,
    TeamArgument,
    fail,
    print_json,
    print_table,
    to_the_second,
    with_database,
)
from services.credits.approvals import RequestState
from services.runtime.clock import system_clock
from services.runtime.settings_loading import catalog_of, exit_used_wrongly, load_settings
from services.store.connect import Connection
from services.store.teams import SEE_TEAM

if TYPE_CHECKING:
    from services.api.tokens import Caller

LISTED_MAX = 200
COLUMNS = ("id", "state", "kind", "credits", "asked by", "at", "waits until", "decided by", "why")
KEYS = ("id", "state", "kind", "credits", "requested_by", "requested_at", "waits_until", "ended_by", "reason")

app = typer.Typer(
    help="Credits and corrections that wait for another person: list them, approve or reject one.", no_args_is_help=True
)

RequestArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The id of the request, as the answer and the list have it.")
]
TokenFile = Annotated[
    Path, typer.Option("--token", help="A file with the token of whoever decides; - reads standard input.")
]


@app.command("list")
def list_(
    team: TeamArgument,
    *,
    state: Annotated[RequestState | None, typer.Option(help="Only those in this state.")] = RequestState.WAITING,
    every: Annotated[bool, typer.Option("--all", help="Those in every state.")] = False,
    as_json: AsJson = False,
) -> None:
    """What waits for another person, newest first.

    Example: creditwell requests list team_42
    """
    from services.api.wording.approvals import entries_of, request_item
    from services.credits.approvals import read_requests
    from services.read_models.activity import NEWEST, own_entry_ids

    async def work(connection: Connection) -> list[dict[str, Any]]:
        async with connection.transaction(readonly=True):
            await _see(connection, team)
            rows = await read_requests(
                connection, team, None if every else state, before=NEWEST[0], limit=LISTED_MAX, now=system_clock()
            )
            positions = {position for row in rows for position in entries_of(row) if position is not None}
            ids = await own_entry_ids(connection, team, sorted(positions))
        return [request_item(row, ids) for row in rows]

    items = with_database(work)
    if as_json:
        print_json({"items": items})
        return
    shown = [{**one, **{key: to_the_second(one[key]) for key in ("requested_at", "waits_until")}} for one in items]
    print_table(
        f"Requests of {team}",
        COLUMNS,
        [[one[key] for key in KEYS] for one in shown],
        numbers=["credits"],
        prose=["why"],
    )


@app.command()
def approve(team: TeamArgument, request_id: RequestArgument, *, token: TokenFile, as_json: AsJson = False) -> None:
    """Approve what another person has asked for: it is given, adjusted or corrected now, once.

    Run it with the database role of the API. Who asked can't approve, whichever token they use (exit code 1).

    Example: creditwell requests approve team_42 0198c1f2-7b3a --token ana.jwt
    """

    async def decide(connection: Connection, person: str) -> dict[str, Any]:
        from services.api.wording.approvals import request_answer
        from services.read_models.activity import own_entry_id
        from services.usage.approving import approve as approve_request

        cards = await _read_cards(connection)
        await _see(connection, team)
        try:
            approved = await approve_request(connection, team, request_id, person, cards)
        except NotPriced as unpriced:
            fail(FOUND_WRONG, str(unpriced))
        entry = await own_entry_id(connection, team, approved.place)
        return request_answer(request_id, approved.request, RequestState.APPROVED, approved.place, entry)

    _decide(team, token, decide, as_json=as_json)


@app.command()
def reject(
    team: TeamArgument,
    request_id: RequestArgument,
    *,
    token: TokenFile,
    reason: Annotated[str | None, typer.Option(help="Why it is rejected; the log keeps it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Reject what another person has asked for; nothing moves.

    Example: creditwell requests reject team_42 0198c1f2-7b3a --token ana.jwt --reason "no ticket"
    """

    async def decide(connection: Connection, person: str) -> dict[str, Any]:
        from services.api.wording.approvals import request_answer
        from services.credits.approvals import lock_request
        from services.credits.approvals import reject as reject_request

        await _see(connection, team)
        locked = await lock_request(connection, team, request_id, person)
        place = await reject_request(connection, team, locked, person, reason)
        return request_answer(request_id, locked.request, RequestState.REJECTED, place)

    _decide(team, token, decide, as_json=as_json)


def _decide(
    team: str, token: Path, decide: Callable[[Connection, str], Awaitable[dict[str, Any]]], *, as_json: bool
) -> None:
    """Decide as the person of a token; the process ends where they may not."""
    text = _read(token)

    async def work(connection: Connection) -> dict[str, Any]:
        person = (await _caller(text, team)).sub
        async with connection.transaction():
            return await decide(connection, person)

    done = with_database(work)
    if as_json:
        print_json(done)
    else:
        entry = "" if done["entry"] is None else f"; what came of it is {done['entry']}"
        print(f"{done['kind']} of {done['credits']} credits: {done['state']}{entry}")


async def _see(connection: Connection, team: str) -> None:
    """Needed where the role is under row-level security, as that of the API is."""
    await connection.execute(SEE_TEAM, team)


async def _read_cards(connection: Connection) -> RateCards:
    from services.credits.rate_cards import load_rate_cards

    await _see(connection, RATE_CARD_TEAM)
    return await load_rate_cards(connection, catalog_of(load_settings()).usage.attributes)


def _read(token: Path) -> str:
    try:
        text = sys.stdin.read() if str(token) == "-" else token.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        exit_used_wrongly(f"--token: {token} can't be read ({error}).")
    return text.strip()


async def _caller(token: str, team: str) -> "Caller":
    """Whoever a token speaks for, if they may decide about this team; ends the process otherwise."""
    from services.api.tokens import DECIDERS, BadToken, tokens_of

    try:
        caller = await tokens_of(load_settings()).verify(token)
    except BadToken as bad:
        fail(FOUND_WRONG, f"--token: {bad}")
    if caller.role not in DECIDERS or not caller.may_see(team):
        fail(FOUND_WRONG, f"--token: {caller.sub} ({caller.role} of {caller.team_id}) may not decide for {team}")
    return caller
