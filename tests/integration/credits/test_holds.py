"""Holds over HTTP: credits set aside for work that runs, captured, extended, released, or gone by themselves; each once."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from deploy.local.folders import free_ports
from schemas.credits import MICRO, format_credits
from schemas.facts import TopUpConfigured
from services.api.serving import CONNECTIONS
from services.api.tokens import TokenRole, mint
from services.credits.holds.settlement import expire_holds
from services.read_models.balances import read_balance
from services.runtime.settings_loading import load_settings
from services.store.append import lock_shard
from services.store.connect import Connection
from tests.support.api import Api, key
from tests.support.fleet import Fleet
from tests.support.heads import it_is
from tests.support.holds import wait_for_locks
from tests.support.serving import connected
from tests.support.waiting import until
from tests.support.world import ServiceWorld

TOP_UPS = TopUpConfigured(enabled=True, threshold_credits=MICRO, credits=500 * MICRO, currency="usd")


def image(quantity: int = 1, tier: str = "standard", **more: Any) -> dict[str, Any]:
    return {"feature": "ai_image.generate", "quantity": str(quantity), "attributes": {"tier": tier}, **more}


async def ask(api: Api, action: str, name: str, **body: Any) -> httpx2.Response:
    """A command of the service about holds, under a key of its own."""
    return await api.service.post(f"{api.path}/holds{action}", json=body or None, headers=key(f"hold{action} {name}"))


async def hold(api: Api, name: str = "first", **body: Any) -> Any:
    """A hold that fits."""
    return said(await ask(api, "", name, **({"credits": "100"} | body if "items" not in body else body)), 201)


def said(answer: httpx2.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def refused(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def balance(api: Api) -> Any:
    return said(await api.service.get(f"{api.path}/balance"))


async def credits(api: Api) -> tuple[str, str, str]:
    found = await balance(api)
    return found["total"], found["held"], found["available"]


async def ended(connection: Connection, team_id: str) -> list[str]:
    """How the team's holds ended, by the log."""
    rows = await connection.fetch("SELECT type FROM facts WHERE team_id = $1 AND type LIKE 'hold.%'", team_id)
    return [row["type"].split(".")[1] for row in rows if row["type"] not in ("hold.placed.v1", "hold.extended.v1")]


async def the_log_and_the_table_say_the_same(connection: Connection, team_id: str) -> None:
    """Which holds are open, how much they hold and until when."""
    rows = await connection.fetch(
        "SELECT hold_id, credits, expires_at FROM holds WHERE team_id = $1 AND state = 'open'", team_id
    )
    exact = await read_balance(connection, team_id, datetime.now(UTC))
    assert exact is not None
    assert {row["hold_id"]: (row["credits"], row["expires_at"]) for row in rows} == exact.team.holds


async def test_a_hold_lowers_what_is_available_and_nothing_else(api: Api) -> None:
    placed = await hold(api, credits="1200.5", ttl_seconds=600, member_id="mem_1")

    assert await credits(api) == ("3000", "1200.5", "1799.5")
    assert (placed["state"], placed["credits"], placed["member_id"], placed["warning"]) == (
        "open",
        "1200.5",
        "mem_1",
        None,
    )
    lasts = datetime.fromisoformat(placed["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=9) < lasts <= timedelta(minutes=10)
    assert said(await api.member.get(f"{api.path}/holds/{placed['id']}"))["expires_at"] == placed["expires_at"]
    read = said(await api.service.get(f"{api.path}/balance", params={"at_least": placed["position"]}))
    assert read["held"] == "1200.5"


async def test_a_rush_of_commands_about_one_team_keeps_nobody_from_reading(api: Api) -> None:
    """There are fewer sessions of the database than commands that wait for its lock."""
    async with api.connection.transaction():
        await lock_shard(api.connection, api.team_id)
        rush = [asyncio.create_task(ask(api, "", f"rush {n}", credits="1")) for n in range(3 * CONNECTIONS)]
        await wait_for_locks(api.connection, 1)
        assert await credits(api) == ("3000", "0", "3000")
        assert not any(command.done() for command in rush)

    assert {command.status_code for command in await asyncio.gather(*rush)} == {201}
    assert await credits(api) == ("3000", str(3 * CONNECTIONS), str(3000 - 3 * CONNECTIONS))


async def test_a_hold_for_work_sets_aside_what_the_work_costs(api: Api) -> None:
    placed = await hold(api, items=[image(10), image(2, "low", member_id="mem_7")])

    assert (placed["credits"], placed["member_id"]) == ("42", "mem_7")


async def test_a_hold_that_does_not_fit_is_refused_and_leaves_its_key_free(api: Api) -> None:
    first = await hold(api, credits="2000")

    too_much = await ask(api, "", "second", credits="1000.000001")
    assert refused(too_much) == (402, "exhausted")
    assert too_much.json()["detail"] == "1000 credits are available"
    said(await ask(api, f"/{first['id']}/release", "it"))
    said(await ask(api, "", "second", credits="1000.000001"), 201)


async def test_what_a_team_may_not_do_it_can_not_hold_credits_for(api: Api) -> None:
    high, clip = image(1, "high"), {"feature": "ai_video.generate", "quantity": "2", "attributes": {"tier": "low"}}

    assert refused(await ask(api, "", "clip", items=[image(), clip])) == (403, "top_ups_required")
    assert refused(await ask(api, "", "high", items=[high])) == (403, "top_ups_required")
    await api.tell(TOP_UPS)
    said(await ask(api, "", "high", items=[high]), 201)
    said(await api.operator.put(f"{api.path}/plan", json={"plan": "free"}))
    several = await ask(api, "", "several", items=[image(), high, clip])
    assert refused(several) == (403, "plan_required")
    assert [item["reason"] for item in several.json()["items"]] == [None, "plan_required", None]
    assert refused(await ask(api, "", "smell", items=[{"feature": "ai_smell", "quantity": "1"}])) == (
        422, "unknown_feature",
    )  # fmt: skip


async def test_the_same_command_again_is_the_same_hold(api: Api) -> None:
    body = {"credits": "10", "ttl_seconds": 60}

    answers = await asyncio.gather(*(ask(api, "", "once", **body) for _ in range(10)))
    other = await ask(api, "", "once", **body | {"credits": "11"})
    without = await api.service.post(f"{api.path}/holds", json=body)

    assert len({said(answer, 201)["id"] for answer in answers}) == 1
    assert refused(other) == (422, "idempotency_key_reused")
    assert refused(without) == (400, "idempotency_key_required")
    assert (await balance(api))["held"] == "10"


async def test_a_hold_can_last_longer_but_no_longer_than_a_day_and_never_shorter(api: Api) -> None:
    placed = await hold(api, ttl_seconds=1_000)
    path = f"/{placed['id']}/extend"

    longer = said(await ask(api, path, "longer", ttl_seconds=3_600))
    shorter = said(await ask(api, path, "shorter", ttl_seconds=10))

    assert datetime.fromisoformat(longer["expires_at"]) > datetime.now(UTC) + timedelta(minutes=59)
    assert shorter["expires_at"] == longer["expires_at"]
    assert refused(await ask(api, path, "a day from now", ttl_seconds=86_400)) == (422, "invalid_ttl")
    assert refused(await ask(api, "", "longer than a day", credits="1", ttl_seconds=86_401)) == (422, "invalid_request")
    await the_log_and_the_table_say_the_same(api.connection, api.team_id)


async def test_a_capture_takes_what_was_used_and_frees_the_rest(api: Api) -> None:
    placed = await hold(api, credits="100", member_id="mem_1")

    captured = said(await ask(api, f"/{placed['id']}/capture", "all", items=[image(3), image(2, "low")]))

    assert (captured["state"], captured["captured"], captured["credits"]) == ("settled", "14", "100")
    assert await credits(api) == ("2986", "0", "2986")
    activity = said(await api.member.get(f"{api.path}/activity"))["items"]
    assert [(row["type"], row["credits"], row["member_id"], row["description"]) for row in activity[:2]] == [
        ("usage", "-2", "mem_1", "AI image"), ("usage", "-12", "mem_1", "AI image"),
    ]  # fmt: skip
    (used,) = said(await api.member.get(f"{api.path}/usage", params={"by": "member"}))["items"]
    assert (used["member_id"], used["credits"], used["uses"]) == ("mem_1", "14", 2)
    why = said(await api.member.get(f"{api.path}/entries/{activity[1]['id']}"))
    assert why["price"]["formula"] == "3 images × 4 = 12 credits"


async def test_work_may_be_captured_part_by_part_while_the_rest_stays_set_aside(api: Api) -> None:
    placed = await hold(api, credits="100")
    path = f"/{placed['id']}/capture"

    part = said(await ask(api, path, "one", credits="30", final=False))
    assert (part["state"], part["captured"], part["credits"]) == ("open", "30", "70")
    assert await credits(api) == ("2970", "70", "2900")
    said(await ask(api, path, "two", items=[image(20)], final=False))
    assert await credits(api) == ("2890", "0", "2890")  # more than was left of the hold
    await the_log_and_the_table_say_the_same(api.connection, api.team_id)
    said(await ask(api, path, "three", credits="1"))
    assert await ended(api.connection, api.team_id) == ["captured", "captured", "captured"]
    assert refused(await ask(api, path, "four", credits="1")) == (409, "hold_settled")


async def test_a_capture_sent_again_is_known_by_its_key_and_its_callers_sub(api: Api) -> None:
    placed = await hold(api, credits="100")
    path = f"{api.path}/holds/{placed['id']}/capture"
    other = mint(api.settings, team=api.team_id, member="another", role=TokenRole.SERVICE)
    part, end = {"credits": "10", "final": False}, {"credits": "5"}

    async def sent(name: str, body: dict[str, Any], *, by_another: bool) -> httpx2.Response:
        headers = key(name) | ({"authorization": f"Bearer {other}"} if by_another else {})
        return await api.service.post(path, json=body, headers=headers)

    parts = [said(await sent("part", part, by_another=another)) for another in (False, False, True, True)]
    ends = [await sent("end", end, by_another=another) for another in (False, False, True)]

    assert [one["credits"] for one in parts] == ["90", "90", "80", "80"]  # two callers, two keys, two captures
    assert [one.status_code for one in ends] == [200, 200, 409]
    assert refused(ends[-1]) == (409, "hold_settled")
    assert await credits(api) == ("2975", "0", "2975")


async def test_what_was_used_is_captured_even_past_the_hold_and_past_zero(api: Api) -> None:
    placed = await hold(api, credits="100")

    said(await ask(api, f"/{placed['id']}/capture", "it", credits="3100"))

    found = await balance(api)
    assert (found["included"], found["additional"], found["held"]) == ("0", "-100", "0")


async def test_a_hold_that_was_given_up_costs_nothing_and_is_final(api: Api) -> None:
    placed = await hold(api)
    path = f"/{placed['id']}"

    assert said(await ask(api, f"{path}/release", "it"))["state"] == "released"
    assert said(await ask(api, f"{path}/release", "it"))["state"] == "released"  # the same command

    assert refused(await ask(api, f"{path}/release", "again")) == (409, "hold_released")
    assert refused(await ask(api, f"{path}/capture", "it", credits="1")) == (409, "hold_released")
    assert refused(await ask(api, f"{path}/extend", "it", ttl_seconds=60)) == (409, "hold_released")
    assert await credits(api) == ("3000", "0", "3000")
    assert await ended(api.connection, api.team_id) == ["released"]


async def test_a_hold_is_its_teams_own(api: Api) -> None:
    theirs = await hold(api)
    await api.begin()

    for action, body in (("capture", {"credits": "1"}), ("extend", {"ttl_seconds": 60}), ("release", {})):
        assert refused(await ask(api, f"/{theirs['id']}/{action}", "theirs", **body)) == (404, "unknown_hold")
    assert refused(await api.service.get(f"{api.path}/holds/{theirs['id']}")) == (404, "unknown_hold")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"credits": "1", "items": [image()]}, {"items": []}, {"credits": "-1"}, {"credits": "0"}, {"credits": 5},
        {"credits": "9999999999999"}, {"credits": "1", "ttl_seconds": 0}, {"credits": "1", "ttl_seconds": "60"},
        {"credits": "1", "ttl": 60}, {"items": [image(member_id="mem_1")], "member_id": "mem_2"},
    ],
)  # fmt: skip
async def test_a_hold_that_makes_no_sense_is_refused_in_words(api: Api, body: dict[str, Any]) -> None:
    answer = await api.service.post(f"{api.path}/holds", json=body, headers=key())

    assert answer.status_code == 422
    assert answer.json()["code"] in ("invalid_request", "invalid_credits", "several_members")


async def test_a_hold_past_its_end_is_gone_before_anybody_has_written_that_down(api: Api) -> None:
    placed = await hold(api, credits="3000", ttl_seconds=600)
    assert refused(await ask(api, "", "no room", credits="1")) == (402, "exhausted")
    end = datetime.fromisoformat(placed["expires_at"])

    with api.clock.later(timedelta(minutes=10)):
        async with it_is(api.connection, end, api.team_id):
            assert await credits(api) == ("3000", "0", "3000")
            assert said(await api.service.get(f"{api.path}/holds/{placed['id']}"))["state"] == "expired"
            for action, body in (("capture", {"credits": "1"}), ("extend", {"ttl_seconds": 60}), ("release", {})):
                assert refused(await ask(api, f"/{placed['id']}/{action}", "late", **body)) == (409, "hold_expired")
            said(await ask(api, "", "room", credits="3000"), 201)
    assert await ended(api.connection, api.team_id) == []


async def test_holds_placed_at_once_never_exceed_the_balance(api: Api) -> None:
    answers = await asyncio.gather(*(ask(api, "", str(n), credits="49.9", ttl_seconds=600) for n in range(100)))

    assert Counter(answer.status_code for answer in answers) == {201: 60, 402: 40}
    assert await credits(api) == ("3000", "2994", "6")
    await the_log_and_the_table_say_the_same(api.connection, api.team_id)


async def test_a_capture_and_the_end_of_a_hold_have_one_winner(api: Api) -> None:
    placed = [await hold(api, str(n), credits="10", ttl_seconds=1) for n in range(15)]
    stop = asyncio.Event()

    async def expire() -> None:
        async with connected(api.settings.needed("database").partition("?")[0]) as worker:
            while not stop.is_set():
                async with worker.transaction():
                    await expire_holds(worker, api.team_id, 100)
                await asyncio.sleep(0.002)

    async def capture(one: Any, wait: float) -> int:
        end = datetime.fromisoformat(one["expires_at"]) - datetime.now(UTC)
        await asyncio.sleep(end.total_seconds() + wait)
        return (await ask(api, f"/{one['id']}/capture", "it", credits="1")).status_code

    expiring = asyncio.create_task(expire())
    captures = await asyncio.gather(*(capture(one, (n - 9) * 0.004) for n, one in enumerate(placed)))
    await until(lambda: all_ended(api))
    stop.set()
    await expiring

    won = Counter(await ended(api.connection, api.team_id))
    assert won["captured"] == captures.count(200)
    assert won["expired"] == captures.count(409) == len(placed) - won["captured"]
    assert (await balance(api))["total"] == format_credits((3_000 - won["captured"]) * MICRO)


async def all_ended(api: Api) -> bool:
    return not await api.connection.fetchval(
        "SELECT count(*) FROM holds WHERE team_id = $1 AND state = 'open'", api.team_id
    )


@pytest.mark.parametrize("crash_at", ["hold:decided:7", "hold:written:7"])
async def test_an_api_that_is_killed_while_it_places_holds_has_placed_each_once_when_they_are_sent_again(
    world: ServiceWorld, fleet: Fleet, crash_at: str
) -> None:
    await world.team("team_1")
    (port,) = free_ports(1)
    settings = load_settings(insecure_dev=True)
    token = mint(settings, team="team_1", member="svc", role=TokenRole.SERVICE, sources=("*",))

    async def send(name: int, client: httpx2.AsyncClient) -> httpx2.Response | None:
        try:
            return await client.post(
                "/v1/teams/team_1/holds", json={"credits": "200", "ttl_seconds": 3_600}, headers=key(str(name))
            )
        except httpx2.TransportError:
            return None

    async def send_all() -> list[httpx2.Response | None]:
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=60
        ) as client:
            return await asyncio.gather(*(send(name, client) for name in range(20)))

    fleet.start("api", api_port=str(port), crash_at=crash_at)
    await fleet.ready("api")
    before = await send_all()
    assert await fleet.ended("api") == -9
    fleet.start("api", api_port=str(port))
    await fleet.ready("api")
    after = await send_all()

    assert None in before
    assert None not in after
    assert Counter(answer.status_code for answer in after if answer) == {201: 15, 402: 5}
    assert Counter(answer.status_code for answer in before if answer)[201] <= 15
    placed = await world.facts("team_1", type="hold.placed.v1")
    assert {answer.json()["id"] for answer in after if answer and answer.status_code == 201} == {
        stored.id.removeprefix("hold:") for stored in placed
    }
    await the_log_and_the_table_say_the_same(world.connection, "team_1")
