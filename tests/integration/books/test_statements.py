"""Statements over HTTP and on the command line: there when the cycle is sealed and signed, and the same bytes for ever."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner, Result

from schemas.credits import MICRO
from schemas.cycles import cycle
from schemas.facts import CreditsGranted, CreditsPurchased, PeriodSealed, UsageRecorded
from services.audit.sign_log import sign_log
from services.cli import app
from services.credits.directory import name_team
from services.read_models.history import balance_as_of
from tests.support.api import Api
from tests.support.facts import planned, store

TEAM = "team_sealed"
USED = UsageRecorded(
    feature="ai_image.generate",
    quantity="4",
    credits=60 * MICRO,
    rate_card=1,
    member_id="mem_1",
    attributes={"tier": "high"},
)
BOUGHT = CreditsPurchased(
    credits=500 * MICRO, pack="mini", payment_intent_id="pi_1", charge_cents=595, tax_cents=95, currency="usd",
    receipt_url="https://pay.stripe.com/receipts/1",
)  # fmt: skip


async def statement(api: Api, *arguments: str) -> Result:
    environment = {
        "CREDITWELL_DATABASE": api.settings.needed("database").replace("creditwell_api", "creditwell_reader")
    }
    return await asyncio.to_thread(CliRunner().invoke, app, ["statement", *arguments], env=environment)


async def test_a_statement_is_there_when_its_cycle_is_sealed_and_signed_and_never_changes(api: Api) -> None:
    now = datetime.now(UTC)
    anchor = now - timedelta(days=45)
    first = cycle(anchor, "UTC", 0)
    await store(api.connection, *planned(TEAM, anchor=anchor))
    await api.tell(BOUGHT, USED, team=TEAM, at=anchor + timedelta(days=2))
    await api.tell(USED, team=TEAM, at=now)
    finance, path = api.client("finance", "*"), f"/v1/teams/{TEAM}/statements"
    for number, said in ((0, "it will be from"), (1, "it will be from"), (77, "it will be from")):
        answer = await finance.get(f"{path}/{number}")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_sealed_yet")
        assert said in answer.json()["detail"]
    assert (await finance.get(f"{path}/-1")).json()["code"] == "unknown_cycle"
    seal = PeriodSealed(plan_assigned_id="plan", cycle=0, starts_at=first.starts_at, ends_at=first.ends_at)
    place = (await api.tell(seal, team=TEAM)).places[0]
    assert "no signed checkpoint covers it" in (await finance.get(f"{path}/0")).json()["detail"]
    assert (await finance.get(path)).json() == {"items": []}
    signed = await sign_log(api.connection, Ed25519PrivateKey.generate(), now)
    assert signed is not None

    made = await finance.get(f"{path}/0")

    said = made.json()
    note = await api.connection.fetchval("SELECT note FROM signed_checkpoints WHERE number = $1", signed.number)
    assert (said["sealed"]["position"], said["sealed"]["checkpoint"]) == (str(place), signed.number)
    assert said["sealed"]["sha256"] == hashlib.sha256(note.encode()).hexdigest()
    assert (said["used"]["total"], said["bought"]["total"], said["left"]) == ("60", "500", {"purchased": "500"})
    known = await api.connection.fetchval("SELECT recorded_at FROM facts WHERE shard = $1 AND position = $2", *place)
    then = await balance_as_of(api.connection, TEAM, at=first.ends_at - timedelta(microseconds=1), known_at=known)
    assert then is not None
    assert then.team.additional == 500 * MICRO
    await api.tell(USED, CreditsGranted(credits=MICRO, reason="test"), team=TEAM, at=anchor + timedelta(days=3))
    await sign_log(api.connection, Ed25519PrivateKey.generate(), now + timedelta(minutes=1))
    assert (await finance.get(f"{path}/0")).content == made.content
    for period in ("0", (anchor + timedelta(days=9)).date().isoformat()):
        printed = await statement(api, TEAM, period)
        assert (printed.exit_code, printed.stdout) == (0, made.text), printed.stderr
    assert [one["cycle"] for one in (await finance.get(path)).json()["items"]] == [0]


async def test_a_statement_is_a_spreadsheet_or_a_page_for_whoever_wants_one_and_none_for_members(api: Api) -> None:
    now = datetime.now(UTC)
    first = cycle(now - timedelta(days=45), "UTC", 0)
    team = f"{api.team_id}_page"
    await store(api.connection, *planned(team, anchor=first.starts_at))
    await name_team(api.connection, team, "Northlight")
    await api.tell(BOUGHT, USED, team=team, at=first.starts_at)
    await api.tell(
        PeriodSealed(plan_assigned_id="plan", cycle=0, starts_at=first.starts_at, ends_at=first.ends_at), team=team
    )
    await sign_log(api.connection, Ed25519PrivateKey.generate(), now + timedelta(minutes=2))
    path, admin = f"/v1/teams/{team}/statements/0", api.client("admin", team)

    page = await admin.get(path, headers={"accept": "text/html"})
    table = await admin.get(path, headers={"accept": "text/csv"})

    assert "https://pay.stripe.com/receipts/1" in page.text
    assert "Northlight" in page.text
    assert "style-src 'sha256-" in page.headers["content-security-policy"]
    assert table.text.splitlines()[1].startswith("balance,opening,")
    assert table.headers["content-disposition"] == f'attachment; filename="credit-statement-{team}-0.csv"'
    assert (await statement(api, team, "0", "--format", "csv")).stdout == table.text
    printed = (await statement(api, team, "0", "--format", "html")).stdout
    assert printed == page.text.replace("Northlight", team), "the reader's role sees no names"
    assert (await api.client("member", team).get(path)).status_code == 403
    assert (await statement(api, team, "7")).exit_code == 1
    assert (await statement(api, team, "soon")).exit_code == 2
    assert (await statement(api, "team_nobody", "0")).exit_code == 2


async def test_finance_of_every_team_is_told_which_teams_there_are_and_nobody_else_is(api: Api) -> None:
    for number in range(5):
        await api.team(f"{api.team_id}_{number}")
    finance, told, cursor = api.client("finance", "*"), [], None
    while True:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await finance.get("/v1/teams", params=query)).json()
        told += page["items"]
        assert len(page["items"]) <= 2
        if (cursor := page["next_cursor"]) is None:
            break

    ids = [team["id"] for team in told]
    assert len(ids) == len(set(ids))
    assert {api.team_id, *(f"{api.team_id}_{number}" for number in range(5))} <= set(ids)
    assert {"id": api.team_id, "name": f"Team {api.team_id}", "plan": "pro", "zone": api.zone} in told
    assert (await api.client("finance").get("/v1/teams")).json()["code"] == "every_team_required"
    assert (await finance.get("/v1/teams", params={"cursor": "nonsense!"})).json()["code"] == "invalid_cursor"
    async with api.connection.transaction():
        await api.connection.execute("SELECT set_config('creditwell.team', $1, true)", api.team_id)
        await api.connection.execute("SET LOCAL ROLE creditwell_api")
        assert await api.connection.fetch("SELECT * FROM teams_after(-1::smallint, '', 9)") == []
