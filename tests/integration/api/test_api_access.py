"""Who may do what: every route, every role, one's own team and another's, as the OpenAPI document says and as the API does."""

from typing import Any

import httpx2
from structlog.testing import capture_logs

from deploy.local.processes import PLAIN_HTTP
from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import CreditsGranted, CreditsPurchased
from services.api.access import allowed
from services.api.middleware import team_hash
from services.api.tokens import TokenRole
from tests.support.api import Api, an_api, key
from tests.support.waiting import PATIENCE_SECONDS, until

GRANT = CreditsGranted(credits=5 * MICRO, reason="welcome")

# The table of the contract: method and path, and the roles that it names.
CONTRACT = {
    ("GET", "/v1/teams"): "finance",
    ("GET", "/v1/changes"): "finance",
    ("GET", "/v1/teams/{team}"): "member",
    ("GET", "/v1/teams/{team}/balance"): "member service",
    ("GET", "/v1/teams/{team}/activity"): "member",
    ("GET", "/v1/teams/{team}/usage"): "member",
    ("GET", "/v1/teams/{team}/entries/{id}"): "member",
    ("GET", "/v1/teams/{team}/entries/{id}/proof"): "member",
    ("GET", "/v1/teams/{team}/statements"): "admin finance",
    ("GET", "/v1/teams/{team}/statements/{cycle}"): "admin finance",
    ("GET", "/v1/teams/{team}/stream"): "member",
    ("GET", "/v1/rate-card"): "member admin service finance operator",
    ("GET", "/v1/rate-cards"): "member admin service finance operator",
    ("GET", "/v1/packs"): "member admin service finance operator",
    ("POST", "/v1/teams/{team}/quotes"): "member service",
    ("POST", "/v1/teams/{team}/holds"): "service",
    ("GET", "/v1/teams/{team}/holds/{id}"): "member service",
    ("POST", "/v1/teams/{team}/holds/{id}/extend"): "service",
    ("POST", "/v1/teams/{team}/holds/{id}/capture"): "service",
    ("POST", "/v1/teams/{team}/holds/{id}/release"): "service",
    ("GET", "/v1/teams/{team}/members/{member}/limit"): "member",
    ("PUT", "/v1/teams/{team}/members/{member}/limit"): "operator admin",
    ("POST", "/v1/usage"): "service",
    ("GET", "/v1/teams/{team}/receipts"): "service",
    ("GET", "/v1/teams/{team}/top-up"): "member",
    ("PUT", "/v1/teams/{team}/top-up"): "admin",
    ("POST", "/v1/teams/{team}/top-up/confirm"): "admin",
    ("POST", "/v1/teams/{team}/top-up/simulate"): "admin",
    ("POST", "/v1/teams/{team}/purchases"): "admin",
    ("GET", "/v1/teams/{team}/purchases/{id}"): "admin finance",
    ("GET", "/v1/teams/{team}/payment-method"): "admin finance",
    ("POST", "/v1/teams/{team}/payment-method"): "admin",
    ("GET", "/v1/teams/{team}/payment-method/{id}"): "admin finance",
    ("PUT", "/v1/teams/{team}"): "operator",
    ("PUT", "/v1/teams/{team}/members/{member}"): "operator",
    ("DELETE", "/v1/teams/{team}/members/{member}"): "operator",
    ("PUT", "/v1/teams/{team}/plan"): "operator",
    ("POST", "/v1/teams/{team}/grants"): "operator",
    ("POST", "/v1/teams/{team}/adjustments"): "operator",
    ("POST", "/v1/teams/{team}/entries/{id}/correct"): "operator",
    ("GET", "/v1/teams/{team}/adjustments"): "finance",
    ("POST", "/v1/teams/{team}/adjustments/{id}/approve"): "operator finance",
    ("POST", "/v1/teams/{team}/adjustments/{id}/reject"): "operator finance",
    ("POST", "/v1/rate-cards"): "operator",
}
FOR_EVERY_TEAM = [("GET", "/v1/teams"), ("GET", "/v1/changes"), ("POST", "/v1/rate-cards")]  # what holds for every team


async def test_every_route_names_its_roles_and_they_are_those_of_the_contract(api: Api) -> None:
    document = (await api.member.get("/openapi.json")).json()
    offered = {
        (method.upper(), path): set(said["x-roles"])
        for path, methods in document["paths"].items()
        for method, said in methods.items()
        if "webhook" not in path
    }

    assert offered == {
        (method, path): {role.value for role in allowed(method, [TokenRole(name) for name in named.split()])}
        for (method, path), named in CONTRACT.items()
    }


async def test_each_role_gets_what_it_may_and_a_reason_where_it_may_not(api: Api) -> None:
    await api.team("another_team")
    for (method, path), named in CONTRACT.items():
        roles = allowed(method, [TokenRole(name) for name in named.split()])
        for role in TokenRole:
            team = "*" if (method, path) in FOR_EVERY_TEAM and role in roles else api.team_id
            own = await request(api.client(role, team), method, path, api.team_id)
            if role in roles:
                assert own.status_code not in (401, 403), f"{role} {method} {path}: {own.text}"
            else:
                code = "ask_your_admin" if role is TokenRole.MEMBER and TokenRole.ADMIN in roles else "forbidden"
                assert (own.status_code, own.json()["code"]) == (403, code), f"{role} {method} {path}"


async def test_what_holds_for_every_team_needs_a_token_of_every_team(api: Api) -> None:
    document = (await api.member.get("/openapi.json")).json()
    told_to_operators = [
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, said in methods.items()
        if method != "get" and "{team}" not in path and "operator" in said.get("x-roles", ())
    ]
    card = (await api.member.get("/v1/rate-card")).json()

    answer = await api.client("operator").post("/v1/rate-cards", json=card)

    assert told_to_operators == FOR_EVERY_TEAM[-1:], "the others are reads"
    assert document["paths"]["/v1/rate-cards"]["post"]["x-every-team"] is True
    assert (answer.status_code, answer.json()["code"]) == (403, "every_team_required")
    assert answer.json()["detail"] == 'this holds for every team and needs a token with team "*"; yours names one team'


async def test_another_teams_things_are_not_there_whatever_the_role_and_the_route(api: Api) -> None:
    await api.team("another_team")
    for method, path in CONTRACT:
        if "{team}" not in path:
            continue
        for role in TokenRole:
            client = api.client(role)
            others, nobodys = [await request(client, method, path, team) for team in ("another_team", "team_nowhere")]
            assert (others.status_code, others.json()["code"]) == (404, "unknown_team"), f"{role} {method} {path}"
            assert others.text.replace("another_team", "") == nobodys.text.replace("team_nowhere", "")


async def request(client: httpx2.AsyncClient, method: str, path: str, team: str) -> httpx2.Response:
    """A request to a route that says as little as it can; a stream is left after its first answer."""
    url = path.format(team=team, id="0:1:0", member="mem_9", cycle="0")
    body: dict[str, Any] = {} if method == "GET" else {"json": {}}
    if path.endswith("/stream"):
        async with client.stream(method, url) as response:
            if response.status_code != 200:
                await response.aread()
            return response
    return await client.request(method, url, **body)


async def test_nobody_gets_in_without_a_token_or_with_one_in_the_address(api: Api) -> None:
    token = api.member.headers["authorization"].removeprefix("Bearer ")
    async with httpx2.AsyncClient(
        base_url=api.url, trust_env=False, verify=PLAIN_HTTP, timeout=PATIENCE_SECONDS
    ) as stranger:
        for method, path in CONTRACT:
            answer = await request(stranger, method, f"{path}?token={token}&access_token={token}", api.team_id)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_member_who_may_not_spend_is_told_who_the_admins_are(api: Api) -> None:
    answer = await api.member.put(f"{api.path}/top-up", json={"enabled": False})

    assert answer.status_code == 403
    assert answer.json()["code"] == "ask_your_admin"
    assert answer.json()["admins"] == [{"id": "mem_2", "name": "Grace"}]
    assert "Grace" in answer.json()["detail"]


async def test_the_database_shows_the_api_one_team_at_a_time_whatever_it_asks_for(api: Api) -> None:
    await api.team("another_team")
    await api.tell(GRANT)
    await api.tell(GRANT, team="another_team")

    async with api.connection.transaction():
        await api.connection.execute("SET LOCAL ROLE creditwell_api")
        assert await api.connection.fetchval("SELECT count(*) FROM facts") == 0
        await api.connection.execute("SELECT set_config('creditwell.team', $1, true)", api.team_id)
        for table in ("facts", "teams", "members", "team_names", "command_answers", "balance", "activity", "usage"):
            teams = await api.connection.fetch(f"SELECT DISTINCT team_id FROM {table}")
            assert {row["team_id"] for row in teams} <= {api.team_id, "creditwell"}, table


async def test_receipts_and_charge_ids_are_for_admins_and_finance_alone(api: Api) -> None:
    bought = CreditsPurchased(
        credits=2_000 * MICRO, pack="mini", payment_intent_id="pi_1", charge_cents=2_000, currency="usd",
        member_id="mem_2", charge_id="ch_1", receipt_url="https://pay.stripe.com/receipts/1",
    )  # fmt: skip
    entry = f"{api.path}/entries/{(await api.tell(bought)).places[0]}:0"

    for role in ("admin", "finance"):
        charge = (await api.client(role).get(entry)).json()["charge"]
        assert charge["receipt_url"] == "https://pay.stripe.com/receipts/1"
    for role in ("member", "operator"):
        charge = (await api.client(role).get(entry)).json()["charge"]
        assert charge == {"amount": 2_000, "currency": "usd"}


async def test_an_operators_command_for_a_team_that_has_no_plan_says_so(api: Api) -> None:
    answer = await api.operator.post(
        "/v1/teams/team_nowhere/grants", json={"credits": "1", "reason": "hello"}, headers=key()
    )

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_team")


async def test_a_star_in_the_address_is_no_team_whoever_asks(api: Api) -> None:
    for role in ("operator", "finance"):
        answer = await api.client(role, "*").get("/v1/teams/*/activity")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_team")


async def test_pages_of_configured_origins_may_call_the_api_and_no_others(stack: Stack, database: str) -> None:
    ours, theirs = "https://app.example.com", "https://evil.example.com"
    async with an_api(stack, database, cors_origins=ours) as api:
        await api.begin()
        for origin, allowed_origin in ((ours, ours), (theirs, None)):
            answer = await api.member.get(f"{api.path}/balance", headers={"origin": origin})
            before = await api.member.options(
                f"{api.path}/balance", headers={"origin": origin, "access-control-request-method": "GET"}
            )
            assert answer.headers.get("access-control-allow-origin") == allowed_origin
            assert before.headers.get("access-control-allow-origin") == allowed_origin
            assert "access-control-allow-credentials" not in answer.headers
            assert before.is_success is (origin == ours)


async def test_a_store_that_goes_away_for_a_moment_is_503_and_then_goes_on(api: Api) -> None:
    await api.connection.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'creditwell-api'"
    )

    answers: list[httpx2.Response] = []

    async def goes_on() -> bool:
        answers.append(await api.member.get(f"{api.path}/balance"))
        return len(answers) >= 20 and answers[-1].status_code == 200

    await until(goes_on, what="the API answers again")
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert all(answer.json()["code"] == "unavailable" for answer in answers if answer.status_code == 503)


async def test_the_line_about_a_request_tells_role_and_team_also_of_who_may_not(api: Api) -> None:
    with capture_logs() as lines:
        await api.member.get(f"{api.path}/balance")
        await api.member.post(f"{api.path}/grants", json={})
        await api.member.get(f"{api.path}/balance", headers={"authorization": "Bearer nonsense"})

    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["status"], line.get("role"), line.get("team")) for line in requests] == [
        (200, "member", team_hash(api.team_id)), (403, "member", team_hash(api.team_id)), (401, None, None),
    ]  # fmt: skip
    assert {line["route"] for line in requests} == {"/v1/teams/{team}/balance", "/v1/teams/{team}/grants"}
