"""Two people are needed for more credits than one may move in a day: by whichever route, token or moment they try."""

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from projections.approvals import WAITS
from schemas.credits import MICRO
from schemas.facts import AdjustmentRequested, CreditsAdjusted, CreditsGranted, UsageRecorded
from services.api.tokens import TokenRole, mint
from services.cli import app
from services.credits.approvals import REQUESTS, may_alone
from tests.support.api import Api, key
from tests.support.facts import new, now, store

USED = UsageRecorded(
    feature="ai_image.generate", quantity="600", credits=2_400 * MICRO, rate_card=1, member_id="mem_2",
    attributes={"tier": "standard"},
)  # fmt: skip
MUCH: dict[str, Any] = {"credits": "5000", "reason": "a large customer"}


@pytest.fixture
def finance(api: Api) -> httpx2.AsyncClient:
    """Another person than the operator, with tokens of role finance."""
    return api.client("finance", "*", member="fin_1")


async def give(api: Api, credits: str, *, route: str = "grants", **token: Any) -> httpx2.Response:
    """An operator gives; each time by a command of its own."""
    api.told += 1
    client = api.client("operator", "*", **token)
    body = {"credits": credits, "reason": "test"}
    return await client.post(f"{api.path}/{route}", json=body, headers=key(f"give {api.told}"))


async def total(api: Api) -> str:
    return str((await api.operator.get(f"{api.path}/balance")).json()["total"])


async def facts(api: Api, kind: str) -> int:
    count: int = await api.connection.fetchval(
        "SELECT count(*) FROM facts WHERE team_id = $1 AND type = $2", api.team_id, kind
    )
    return count


@pytest.mark.parametrize("route", ["grants", "adjustments"])
async def test_more_than_the_limit_waits_and_comes_when_another_person_approves(
    api: Api, finance: httpx2.AsyncClient, route: str
) -> None:
    asked = await api.operator.post(f"{api.path}/{route}", json=MUCH, headers=key())
    waiting = asked.json()
    own = await api.operator.post(f"{api.path}/adjustments/{waiting['id']}/approve")
    listed = (await finance.get(f"{api.path}/adjustments", params={"state": "waiting"})).json()["items"]
    before = await total(api)

    approved = await finance.post(f"{api.path}/adjustments/{waiting['id']}/approve")

    assert (asked.status_code, waiting["state"], waiting["entry"], before) == (202, "waiting", None, "3000")
    assert (own.status_code, own.json()["code"]) == (403, "own_approval")
    assert [(one["id"], one["requested_by"], one["reason"], one["credits"]) for one in listed] == [
        (waiting["id"], "mem_1", "a large customer", "5000")
    ]
    assert (approved.status_code, approved.json()["state"]) == (200, "approved")
    assert await total(api) == "8000"
    entry = (await finance.get(f"{api.path}/entries/{approved.json()['entry']}")).json()
    assert (entry["credits"], entry["reason"]) == ("5000", "a large customer")
    (row,) = (await finance.get(f"{api.path}/adjustments")).json()["items"]
    assert (row["state"], row["ended_by"], row["entry"]) == ("approved", "fin_1", approved.json()["entry"])


async def test_nobody_approves_what_they_asked_for_with_another_token_of_theirs(api: Api) -> None:
    waiting = (await give(api, "5000")).json()
    path = f"{api.path}/adjustments/{waiting['id']}"

    for client in (
        api.client("operator"), api.client("operator", "*"), api.client("finance"), api.client("finance", "*"),
    ):  # fmt: skip
        for decision in (client.post(f"{path}/approve"), client.post(f"{path}/reject", json={})):
            answer = await decision
            assert (answer.status_code, answer.json()["code"]) == (403, "own_approval")

    assert await total(api) == "3000"


async def test_the_limit_holds_for_grants_and_adjustments_together_by_person_and_team(api: Api) -> None:
    other = {"member": "op_2"}

    answers = [
        await give(api, "600"), await give(api, "400", route="adjustments"), await give(api, "0.000001"),
        await give(api, "-0.000001", route="adjustments"), await give(api, "1000", **other), await give(api, "1", **other),
    ]  # fmt: skip

    assert [answer.status_code for answer in answers] == [201, 201, 202, 202, 201, 202]
    assert await total(api) == "5000"
    await api.team("another_team_of_many")
    elsewhere = await api.operator.post(
        "/v1/teams/another_team_of_many/grants", json={"credits": "1000", "reason": "x"}, headers=key()
    )
    assert elsewhere.status_code == 201


async def test_another_day_is_another_limit_and_what_was_approved_counts_for_nobody(
    api: Api, finance: httpx2.AsyncClient
) -> None:
    waiting = (await give(api, "5000")).json()
    assert (await finance.post(f"{api.path}/adjustments/{waiting['id']}/approve")).status_code == 200
    assert (await give(api, "999")).status_code == 201
    more = AdjustmentRequested(
        kind="grant", credits=1_000 * MICRO, reason="x", requested_by="mem_1", waits_until=now(),
        approval_above_credits=1_000 * MICRO,
    )  # fmt: skip

    today, tomorrow = [
        await may_alone(api.connection, api.team_id, more, now() + timedelta(days=days), api.zone) for days in (0, 1)
    ]

    assert (today, tomorrow) == (False, True)


async def test_who_names_an_approver_is_refused(api: Api) -> None:
    body = {"credits": "5000", "reason": "x", "approved_by": "the-cfo@example.com"}

    answer = await api.operator.post(f"{api.path}/adjustments", json=body, headers=key())

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "approved_by" in answer.text
    assert await total(api) == "3000"


async def test_twenty_who_approve_at_once_make_one_fact(api: Api) -> None:
    waiting = (await give(api, "5000")).json()
    people = [api.client("finance", "*", member=f"fin_{number}") for number in range(20)]

    answers = await asyncio.gather(
        *(person.post(f"{api.path}/adjustments/{waiting['id']}/approve") for person in people)
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    assert {answer.json().get("code") for answer in answers} == {None, "request_approved"}
    assert await facts(api, CreditsGranted.type) == 1
    assert await total(api) == "8000"


async def test_many_gifts_at_once_of_one_person_stay_within_the_limit(api: Api) -> None:
    answers = await asyncio.gather(*(give(api, "300") for _ in range(12)))

    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [202] * 9
    assert await total(api) == "3900"


async def test_what_was_rejected_never_comes_and_says_why(api: Api, finance: httpx2.AsyncClient) -> None:
    waiting = (await give(api, "-5000", route="adjustments")).json()
    path = f"{api.path}/adjustments/{waiting['id']}"

    rejected = await finance.post(f"{path}/reject", json={"reason": "the ticket says 5"})

    assert (rejected.status_code, rejected.json()["state"]) == (200, "rejected")
    for decision in (finance.post(f"{path}/approve"), finance.post(f"{path}/reject", json={})):
        answer = await decision
        assert (answer.status_code, answer.json()["code"]) == (409, "request_rejected")
    assert await total(api) == "3000"
    (row,) = (await finance.get(f"{api.path}/adjustments", params={"state": "rejected"})).json()["items"]
    assert (row["id"], row["ended_by"]) == (waiting["id"], "fin_1")


async def test_a_request_of_fourteen_days_ago_has_expired(api: Api, finance: httpx2.AsyncClient) -> None:
    request = AdjustmentRequested(
        kind="adjustment", credits=5_000 * MICRO, reason="old", requested_by="mem_1", waits_until=now(),
        approval_above_credits=1_000 * MICRO,
    )  # fmt: skip
    await store(api.connection, new(api.team_id, "old", request, source=REQUESTS))

    answer = await finance.post(f"{api.path}/adjustments/old/approve")

    assert (answer.status_code, answer.json()["code"]) == (409, "request_expired")
    (row,) = (await finance.get(f"{api.path}/adjustments", params={"state": "expired"})).json()["items"]
    assert (row["id"], row["ended_at"]) == ("old", None)
    assert (await finance.get(f"{api.path}/adjustments", params={"state": "waiting"})).json()["items"] == []
    waiting = (await give(api, "5000")).json()
    waits = datetime.fromisoformat(waiting["waits_until"]) - now()
    assert WAITS - timedelta(minutes=1) < waits < WAITS


async def test_a_request_that_nobody_made_is_not_there(api: Api, finance: httpx2.AsyncClient) -> None:
    waiting = (await give(api, "5000")).json()
    assert (await finance.post(f"{api.path}/adjustments/{waiting['id']}/approve")).status_code == 200

    for name in ("nobody", f"end:{waiting['id']}", "x" * 128):
        answer = await finance.post(f"{api.path}/adjustments/{name}/approve")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_request")


async def test_a_grant_that_would_have_ended_before_its_approval_is_refused_then(
    api: Api, finance: httpx2.AsyncClient
) -> None:
    request = AdjustmentRequested(
        kind="grant", credits=5_000 * MICRO, reason="x", requested_by="mem_1", waits_until=now() + WAITS,
        approval_above_credits=1_000 * MICRO, expires_at=now(),
    )  # fmt: skip
    await store(api.connection, new(api.team_id, "ended", request, source=REQUESTS))

    answer = await finance.post(f"{api.path}/adjustments/ended/approve")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_expiry")
    assert await total(api) == "3000"


async def test_the_same_command_gives_the_same_request_and_the_list_has_pages(
    api: Api, finance: httpx2.AsyncClient
) -> None:
    first, again = [await api.operator.post(f"{api.path}/grants", json=MUCH, headers=key()) for _ in range(2)]
    newest = (await give(api, "6000")).json()

    page = (await finance.get(f"{api.path}/adjustments", params={"limit": 1})).json()
    rest = (await finance.get(f"{api.path}/adjustments", params={"limit": 1, "cursor": page["next_cursor"]})).json()

    assert (first.json(), again.headers["idempotency-replayed"]) == (again.json(), "true")
    assert [one["id"] for one in page["items"] + rest["items"]] == [newest["id"], first.json()["id"]]
    assert rest["next_cursor"] is None


async def test_what_an_approved_correction_refers_to_burns_first(api: Api, finance: httpx2.AsyncClient) -> None:
    given = (await give(api, "900")).json()
    body = {"credits": "-900", "reason": "a mistake", "refers_to": given["position"]}
    asked = await api.operator.post(f"{api.path}/adjustments", json=body, headers=key("back"))

    approved = (await finance.post(f"{api.path}/adjustments/{asked.json()['id']}/approve")).json()

    assert asked.status_code == 202
    entry = (await finance.get(f"{api.path}/entries/{approved['entry']}")).json()
    assert [(lot["lot"], lot["credits"]) for lot in entry["paid_by"]] == [(given["position"], "900")]
    body_stored = await api.connection.fetchval(
        "SELECT body FROM facts WHERE team_id = $1 AND type = $2", api.team_id, CreditsAdjusted.type
    )
    fact = CreditsAdjusted.model_validate_json(body_stored)
    assert (fact.adjusted_by, fact.approved_by, fact.request) == ("mem_1", "fin_1", asked.json()["id"])


async def test_what_people_decided_is_listed_with_who_and_when(api: Api, finance: httpx2.AsyncClient) -> None:
    began = now()
    waiting = (await give(api, "5000")).json()
    await finance.post(f"{api.path}/adjustments/{waiting['id']}/reject", json={"reason": "no"})
    await give(api, "5")

    items: list[Any] = []
    cursor = None
    while not items or cursor is not None:
        asked = {"from": began.isoformat(), "limit": "2"} | ({} if cursor is None else {"cursor": cursor})
        page = (await finance.get("/v1/changes", params=asked)).json()
        items, cursor = items + page["items"], page["next_cursor"]

    mine = [(one["what"], one["by"], one["approved_by"]) for one in items if one["team_id"] == api.team_id]
    assert mine == [
        ("Asked for a grant of 5000 credits: test", "mem_1", None),
        (f"Rejected request {waiting['id']}: no", "fin_1", None),
        ("5 credits granted: test", "mem_1", None),
    ]
    everything = (await finance.get("/v1/changes", params={"limit": "1000"})).json()["items"]
    assert {"plan.assigned.v1", "rate_card.published.v1"} <= {one["type"] for one in everything}
    assert (await finance.get("/v1/changes", params={"cursor": "x"})).json()["code"] == "invalid_cursor"
    async with api.connection.transaction():
        await api.connection.execute("SET LOCAL ROLE creditwell_api")
        await api.connection.execute("SELECT set_config('creditwell.team', $1, true)", api.team_id)
        assert await api.connection.fetch("SELECT * FROM changes_after(-1::smallint, '', 0, '{}', 9)") == []


async def requests(api: Api, folder: Path, *arguments: str, role: str = "finance", **token: str) -> Result:
    """The command on the API's own database role, with a token in a file; by default of another person in finance."""
    environment = {"CREDITWELL_DATABASE": api.settings.needed("database"), "CREDITWELL_INSECURE_DEV": "1"}
    if arguments[0] != "list":
        about: dict[str, Any] = {"team": "*", "member": "fin_1"} | token
        (folder / "token").write_text(mint(api.settings, role=TokenRole(role), **about) + "\n", "ascii")
        arguments = (*arguments, "--token", str(folder / "token"))
    return await asyncio.to_thread(CliRunner().invoke, app, ["requests", *arguments, "--json"], env=environment)


async def test_requests_are_listed_approved_and_rejected_on_the_command_line(api: Api, tmp_path: Path) -> None:
    first, second = [(await give(api, credits)).json()["id"] for credits in ("5000", "7000")]

    listed = await requests(api, tmp_path, "list", api.team_id)
    approved = await requests(api, tmp_path, "approve", api.team_id, first)
    rejected = await requests(api, tmp_path, "reject", api.team_id, second, "--reason", "the ticket says 7")
    again = await requests(api, tmp_path, "approve", api.team_id, second)

    assert [one["id"] for one in json.loads(listed.stdout)["items"]] == [second, first], listed.stderr
    assert json.loads(approved.stdout)["state"] == "approved", approved.stderr
    assert json.loads(rejected.stdout)["state"] == "rejected", rejected.stderr
    assert (again.exit_code, "was rejected already" in again.stderr) == (1, True)
    assert await total(api) == "8000"
    ended = json.loads((await requests(api, tmp_path, "list", api.team_id, "--all")).stdout)["items"]
    assert [(one["state"], one["ended_by"]) for one in ended] == [("rejected", "fin_1"), ("approved", "fin_1")]
    assert json.loads((await requests(api, tmp_path, "list", api.team_id)).stdout) == {"items": []}


async def test_one_person_is_not_enough_on_the_command_line_either(api: Api, tmp_path: Path) -> None:
    entry = f"{(await api.tell(USED)).places[0]}:0"
    body = {"void": True, "reason": "never made"}
    correction = (await api.operator.post(f"{api.path}/entries/{entry}/correct", json=body, headers=key())).json()["id"]
    grant = (await give(api, "5000")).json()["id"]

    own = [
        await requests(api, tmp_path, decision, api.team_id, waiting, member="mem_1", role=role)
        for decision, waiting, role in (
            ("approve", grant, "operator"), ("approve", correction, "finance"), ("reject", grant, "finance"),
        )
    ]  # fmt: skip
    nobody = [
        await requests(api, tmp_path, "approve", api.team_id, grant, **token)
        for token in ({"role": "admin", "team": api.team_id}, {"team": "another_team"}, {"role": "service"})
    ]
    (tmp_path / "forged").write_text("e30.e30.e30")
    forged = await asyncio.to_thread(
        CliRunner().invoke, app, ["requests", "approve", api.team_id, grant, "--token", str(tmp_path / "forged")],
        env={"CREDITWELL_DATABASE": api.settings.needed("database"), "CREDITWELL_INSECURE_DEV": "1"},
    )  # fmt: skip

    assert [(one.exit_code, "have somebody else do so" in one.stderr) for one in own] == [(1, True)] * 3
    assert [(one.exit_code, "may not decide" in one.stderr) for one in nobody] == [(1, True)] * 3
    assert (forged.exit_code, "the token was not accepted" in forged.stderr) == (1, True)
    assert await facts(api, CreditsGranted.type) == 0
    done = await requests(api, tmp_path, "approve", api.team_id, correction)
    assert done.exit_code == 0, done.stderr
    assert await total(api) == "3000", "what was corrected is as if it had never been"
