"""Commands by HTTP: plans, grants, adjustments, rate cards, top-up settings, the directory; each once, however often it is sent."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest

from schemas.credits import MICRO
from schemas.facts import NO_ID, CreditsAdjusted, UsageRecorded
from services.read_models import balances
from services.store.shards import shard_of
from tests.integration.store.test_halts import NOWHERE, move_to
from tests.support.api import Api, in_a_while, key

GRANT = {"credits": "12.5", "reason": "welcome"}


async def total(api: Api, team: str | None = None) -> str:
    answer = await api.client("operator", "*").get(f"/v1/teams/{team or api.team_id}/balance")
    return str(answer.json()["total"])


def said(answer: httpx2.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_team_exists_from_its_first_plan_with_the_credits_of_its_open_cycle(api: Api) -> None:
    path = "/v1/teams/newcomers"
    before = await api.operator.get(f"{path}/balance")
    anchor = datetime.now(UTC) - timedelta(days=40)

    plan = said(
        await api.operator.put(
            f"{path}/plan", json={"plan": "free", "anchor": anchor.isoformat(), "zone": "Asia/Tokyo"}
        )
    )
    balance = said(await api.operator.get(f"{path}/balance", params={"at_least": plan["position"]}))

    assert before.json()["code"] == "unknown_team"
    assert (plan["plan"], plan["zone"]) == ("free", "Asia/Tokyo")
    assert (balance["included"], balance["plan"]) == ("300", "free")
    assert datetime.fromisoformat(balance["next_refill_at"]) > datetime.now(UTC)


async def test_the_same_plan_again_changes_nothing(api: Api) -> None:
    again = said(await api.operator.put(f"{api.path}/plan", json={"plan": "pro"}))

    facts = await api.connection.fetchval("SELECT count(*) FROM facts WHERE team_id = $1", api.team_id)
    assert (again["plan"], facts) == ("pro", 2)


async def test_an_upgrade_adds_the_difference_at_once_and_only_once_in_a_cycle(api: Api) -> None:
    await api.team("climbers", "free")
    seen = []
    for plan in ("pro", "free", "pro"):
        said(await api.operator.put("/v1/teams/climbers/plan", json={"plan": plan}))
        balance = said(await api.operator.get("/v1/teams/climbers/balance"))
        seen.append((balance["total"], balance["allowance"], balance["next_allowance"]))

    # Fewer credits count from the next cycle, and until then the allowance is what this one was given.
    assert seen == [("3000", "3000", "3000"), ("3000", "3000", "300"), ("3000", "3000", "3000")]


@pytest.mark.parametrize("refill_due", [False, True])
async def test_a_team_whose_zone_this_build_does_not_know_is_told_so_and_nobody_else(
    api: Api, *, refill_due: bool
) -> None:
    nowhere = f"nowhere_{refill_due}"
    await api.team(nowhere)
    await move_to(api.connection, nowhere, NOWHERE)
    if refill_due:
        await api.connection.execute(
            "UPDATE teams SET cycle = cycle - 1, cycle_ends_at = clock_timestamp() - interval '1 hour' WHERE team_id = $1",
            nowhere,
        )
    hold = {"credits": "1", "member_id": "mem_1"}
    usage = {"feature": "ai_image.generate", "quantity": "1", "attributes": {"tier": "low"}}

    async def asked(team: str) -> list[httpx2.Response]:
        service, path = api.client("service", team), f"/v1/teams/{team}"
        return [
            await api.client("member", team).get(f"{path}/balance"),
            await service.post(f"{path}/holds", json=hold, headers=key(f"hold {team}")),
            await service.post(f"{path}/quotes", json={"items": [usage]}),
            await api.client("member", team).get(f"{path}/activity"),
            await api.operator.post(f"{path}/grants", json=GRANT, headers=key(f"grant {team}")),
            await api.client("admin", team).get(f"{path}/top-up"),
        ]

    there, here = await asked(nowhere), await asked(api.team_id)

    assert all(answer.status_code < 300 for answer in here), [answer.text for answer in here]
    refused = [answer for answer in there if answer.status_code >= 300]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} <= {(422, "unknown_zone")}
    assert all(NOWHERE in answer.json()["detail"] for answer in refused)
    assert refused or not refill_due


async def test_many_who_upgrade_a_team_at_the_same_moment_upgrade_it_once(api: Api) -> None:
    await api.team("crowd", "free")

    answers = await asyncio.gather(*(api.operator.put("/v1/teams/crowd/plan", json={"plan": "pro"}) for _ in range(12)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["position"] for answer in answers}) == 1
    assert await total(api, "crowd") == "3000"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"plan": "gold"}, 422, "unknown_plan"), ({"plan": "pro", "zone": "Mars/Base"}, 409, "anchor_fixed"),
        ({"plan": "pro", "anchor": "2026-01-01T00:00:00Z"}, 409, "anchor_fixed"), ({}, 422, "invalid_request"),
        ({"plan": "pro", "colour": "red"}, 422, "invalid_request"), ({"plan": "pro", "anchor": "now"}, 422, "invalid_request"),
    ],
)  # fmt: skip
async def test_a_plan_that_can_not_be_is_refused_with_a_reason(
    api: Api, body: dict[str, str], status: int, code: str
) -> None:
    answer = await api.operator.put(f"{api.path}/plan", json=body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("name", ["a%20b", "a%3Fb", "a%23b", "a%25b", "%2Ehidden", "a%E2%80%AEb"])
async def test_no_team_and_no_member_gets_an_id_that_can_not_stand_in_an_address(api: Api, name: str) -> None:
    plan = await api.operator.put(f"/v1/teams/{name}/plan", json={"plan": "pro"})
    member = await api.operator.put(f"{api.path}/members/{name}", json={"name": "Ada", "role": "member"})
    held = await api.service.post(f"{api.path}/holds", json={"credits": "1", "member_id": unquote(name)}, headers=key())

    for answer in (plan, member, held):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert NO_ID in answer.text.replace("\\\\", "\\")


async def test_nobody_may_be_the_team_that_rate_cards_belong_to(api: Api) -> None:
    answer = await api.operator.put("/v1/teams/creditwell/plan", json={"plan": "pro"})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_team")


async def test_a_grant_that_is_sent_again_is_given_once_and_answered_alike(api: Api) -> None:
    first = await api.operator.post(f"{api.path}/grants", json=GRANT, headers=key("gift"))
    again = await api.operator.post(f"{api.path}/grants", json=GRANT, headers=key("gift"))
    other = await api.operator.post(f"{api.path}/grants", json=GRANT | {"credits": "13"}, headers=key("gift"))

    assert said(first, 201) == said(again, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await total(api) == "3012.5"


@pytest.mark.parametrize("route", ["grants", "adjustments"])
async def test_credits_are_given_also_where_nobody_projects(
    api: Api, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as behind:
        behind.setattr(balances, "TAIL_MAX", 0)
        no_balance = await api.member.get(f"{api.path}/balance")
        given = said(await api.operator.post(f"{api.path}/{route}", json=GRANT, headers=key("behind")), 201)

    assert (no_balance.status_code, no_balance.json()["code"]) == (503, "catching_up")
    assert given["id"] == f"{given['position']}:0"
    assert await total(api) == "3012.5"


async def test_the_same_body_written_otherwise_is_the_same_and_another_number_is_not(api: Api) -> None:
    async def ask(body: str) -> httpx2.Response:
        headers = key("written") | {"content-type": "application/json"}
        return await api.admin.put(f"{api.path}/top-up", content=body, headers=headers)

    amounts = '"threshold": "500", "credits": "500"'
    first = await ask(f'{{"enabled": true, {amounts}, "monthly_cap": {{"amount": 5000, "currency": "usd"}}}}')
    again = await ask(f'{{"monthly_cap":{{"currency":"usd","amount":5000}},\n{amounts},"enabled":true}}')
    other = await ask(f'{{"enabled": true, {amounts}, "monthly_cap": {{"amount": 5000.0, "currency": "usd"}}}}')

    assert said(first) == said(again)
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_grant_that_is_sent_twenty_times_at_once_is_given_once(api: Api) -> None:
    answers = await asyncio.gather(
        *(api.operator.post(f"{api.path}/grants", json=GRANT, headers=key("crowd")) for _ in range(20))
    )

    assert {(answer.status_code, answer.json()["position"]) for answer in answers} == {
        (201, answers[0].json()["position"])
    }
    assert await total(api) == "3012.5"


async def test_a_key_is_its_teams_and_its_callers_own(api: Api) -> None:
    await api.team("neighbours")
    somebody_else = api.client("operator", "*", member="op_2")
    for client, team in ((api.operator, api.team_id), (api.operator, "neighbours"), (somebody_else, api.team_id)):
        said(await client.post(f"/v1/teams/{team}/grants", json=GRANT, headers=key("one key")), 201)

    assert (await total(api), await total(api, "neighbours")) == ("3025", "3012.5")


async def test_a_refused_command_leaves_its_key_free(api: Api) -> None:
    wrong = await api.operator.post(f"{api.path}/grants", json=GRANT | {"credits": "-1"}, headers=key("retry"))
    right = await api.operator.post(f"{api.path}/grants", json=GRANT, headers=key("retry"))

    assert (wrong.status_code, right.status_code) == (422, 201)


async def test_a_command_whose_answer_is_forgotten_after_a_month_is_still_not_done_twice(api: Api) -> None:
    said(await api.operator.post(f"{api.path}/grants", json=GRANT, headers=key("old")), 201)
    await api.connection.execute("UPDATE command_answers SET answered_at = answered_at - interval '31 days'")

    again = await api.operator.post(f"{api.path}/grants", json=GRANT, headers=key("old"))

    assert (again.status_code, again.json()["code"]) == (409, "already_done")
    assert await total(api) == "3012.5"


async def test_what_a_team_was_answered_a_month_ago_goes_with_its_next_command_and_nobody_elses_does(api: Api) -> None:
    other = f"{api.team_id}_other"
    await api.team(other)
    for team in (api.team_id, other):
        said(await api.client("operator", team).post(f"/v1/teams/{team}/grants", json=GRANT, headers=key("old")), 201)
    await api.connection.execute("UPDATE command_answers SET answered_at = answered_at - interval '31 days'")

    said(await api.operator.post(f"{api.path}/grants", json=GRANT, headers=key("new")), 201)

    kept = await api.connection.fetch(
        "SELECT team_id, key FROM command_answers WHERE team_id IN ($1, $2)", api.team_id, other
    )
    assert {tuple(row) for row in kept} == {(other, "old"), (api.team_id, "new")}


async def test_grants_and_adjustments_need_a_key_and_a_reason(api: Api) -> None:
    for route in ("grants", "adjustments"):
        no_key = await api.operator.post(f"{api.path}/{route}", json=GRANT)
        no_reason = await api.operator.post(f"{api.path}/{route}", json={"credits": "1", "reason": ""}, headers=key())
        assert (no_key.status_code, no_key.json()["code"]) == (400, "idempotency_key_required")
        assert no_reason.json()["code"] == "invalid_request"


@pytest.mark.parametrize(
    "credits", ["0", "1e3", "1.1234567", "NaN", "1_000", "99999999999999", "9999999999999", " 1", 5]
)
async def test_an_amount_that_is_not_one_is_refused(api: Api, credits: object) -> None:
    answer = await api.operator.post(
        f"{api.path}/adjustments", json={"credits": credits, "reason": "x"}, headers=key("a")
    )

    assert answer.status_code == 422
    assert answer.json()["code"] in ("invalid_request", "invalid_credits")


async def test_an_adjustment_corrects_up_or_down_and_says_who_and_why(api: Api) -> None:
    body = {"credits": "-100.25", "reason": "counted twice", "refers_to": "ticket 7"}
    down = said(await api.operator.post(f"{api.path}/adjustments", json=body, headers=key("down")), 201)

    entry = said(await api.admin.get(f"{api.path}/entries/{down['id']}"))

    assert (entry["type"], entry["credits"], entry["reason"]) == ("adjustment", "-100.25", "counted twice")
    assert await total(api) == "2899.75"


@pytest.mark.parametrize("named", ["position", "id"])
async def test_a_gift_that_is_taken_back_takes_the_gift_and_nothing_included(api: Api, named: str) -> None:
    gift = {"credits": "500", "reason": "welcome"}
    given = said(await api.operator.post(f"{api.path}/grants", json=gift, headers=key("give")), 201)
    back = {"credits": "-500", "reason": "a mistake", "refers_to": given[named]}

    taken = said(await api.operator.post(f"{api.path}/adjustments", json=back, headers=key("take")), 201)

    entry = said(await api.admin.get(f"{api.path}/entries/{taken['id']}"))
    assert (entry["included"], entry["additional"]) == ("0", "-500")
    assert [(lot["lot"], lot["credits"]) for lot in entry["paid_by"]] == [(given["position"], "500")]
    assert await total(api) == "3000"


@pytest.mark.parametrize("refers_to", ["{shard}:1", "{shard}:999999", "{other}:2", "0:0", "ticket 7", "7:x", "1:2:3:4"])
async def test_a_correction_that_refers_to_no_credits_of_the_team_burns_included_ones_first(
    api: Api, refers_to: str
) -> None:
    shard = shard_of(api.team_id)
    named = refers_to.format(shard=shard, other=(shard + 1) % 64)  # the first fact is the plan, which brings no credits
    gift = {"credits": "500", "reason": "welcome"}
    said(await api.operator.post(f"{api.path}/grants", json=gift, headers=key("give")), 201)
    back = {"credits": "-500", "reason": "a mistake", "refers_to": named}

    taken = said(await api.operator.post(f"{api.path}/adjustments", json=back, headers=key("take")), 201)

    entry = said(await api.admin.get(f"{api.path}/entries/{taken['id']}"))
    assert (entry["included"], entry["additional"]) == ("-500", "0")


async def test_what_never_ends_says_what_of_it_paid_what_was_below_zero(api: Api) -> None:
    await api.tell(CreditsAdjusted(credits=-3_100 * MICRO, reason="counted wrong"))
    gift = {"credits": "500", "reason": "sorry"}

    given = said(await api.operator.post(f"{api.path}/grants", json=gift, headers=key("give")), 201)

    entry = said(await api.admin.get(f"{api.path}/entries/{given['id']}"))
    assert (entry["credits"], entry["balance_after"]) == ("500", "400")
    assert [(lot["lot"], lot["credits"]) for lot in entry["paid_by"]] == [(given["position"], "100")]
    assert entry["detail"] == "sorry · 100 of the credits paid off the negative balance"


async def test_the_next_rate_card_is_in_force_from_its_time_and_not_before_everybody_can_know_it(running: Api) -> None:
    await running.begin()
    card = said(await running.member.get("/v1/rate-card"))
    card["version"] = 2
    soon = await running.operator.post("/v1/rate-cards", json=card | {"effective_from": in_a_while(seconds=50)})
    skipped = await running.operator.post(
        "/v1/rate-cards", json=card | {"version": 7, "effective_from": in_a_while(days=1)}
    )
    card["categories"][0]["features"][0]["rates"][0]["credits"] = "0.15"
    begins = in_a_while(days=1)

    published = said(await running.operator.post("/v1/rate-cards", json=card | {"effective_from": begins}), 201)
    now = said(await running.member.get("/v1/rate-card"))
    then = said(await running.member.get("/v1/rate-card", params={"at": begins}))
    listed = said(await running.member.get("/v1/rate-cards"))

    assert (soon.status_code, soon.json()["code"]) == (422, "too_soon")
    assert (skipped.status_code, skipped.json()["code"]) == (409, "rate_card_version")
    assert (published["version"], now["version"], then["version"]) == (2, 1, 2)
    assert then["categories"][0]["features"][0]["rates"][0]["credits"] == "0.15"
    assert [(one["version"], one["effective_from"]) for one in listed] == [
        (1, now["effective_from"]), (2, then["effective_from"]),
    ]  # fmt: skip


async def test_a_wrong_rate_card_is_refused_naming_each_thing_to_change(api: Api) -> None:
    card = said(await api.member.get("/v1/rate-card"))
    card["categories"][0]["features"][0]["rates"][0]["credits"] = 0.1
    del card["categories"][1]["name"]

    answer = await api.operator.post("/v1/rate-cards", json=card | {"version": 9})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_rate_card")
    assert len(answer.json()["problems"]) == 2
    assert "video_export" in answer.json()["problems"][0]


async def test_an_admin_enables_changes_and_switches_off_top_ups(api: Api) -> None:
    path = f"{api.path}/top-up"
    at_first = await api.member.get(path)
    wanted = {
        "enabled": True,
        "threshold": "1000",
        "credits": "5000",
        "monthly_cap": {"amount": 20_000, "currency": "usd"},
    }

    enabled = said(await api.admin.put(path, json=wanted))
    filled = said(await api.admin.put(path, json={"enabled": True, "threshold": "4000", "restore_to": "6000"}))
    off = said(await api.admin.put(path, json={"enabled": False}))

    assert (at_first.json()["enabled"], at_first.json()["state"]) == (False, "off")
    later = {"credits": "5000", "amount": 5_000, "currency": "usd", "now": False, "not_now": None}
    at_once = {"credits": "3000", "amount": 3_000, "currency": "usd", "now": True, "not_now": "no_payment_method"}
    assert (enabled["next_charge_preview"], filled["next_charge_preview"]) == (later, at_once)
    assert (off["enabled"], off["state"], off["threshold"], off["next_charge_preview"]) == (False, "off", "4000", None)
    assert said(await api.member.get(f"{api.path}/balance"))["top_up_enabled"] is False


async def test_two_admins_who_save_at_the_same_time_do_not_overwrite_each_other(api: Api) -> None:
    path = f"{api.path}/top-up"
    seen = (await api.admin.get(path)).headers["etag"]
    wanted = {"enabled": True, "threshold": "1000", "credits": "5000"}

    answers = await asyncio.gather(
        *(api.admin.put(path, json=wanted | {"threshold": str(n)}, headers={"if-match": seen}) for n in (1_000, 2_000))
    )

    assert sorted(answer.status_code for answer in answers) == [200, 412]
    assert next(answer for answer in answers if answer.status_code == 412).json()["code"] == "changed_meanwhile"
    won = next(answer for answer in answers if answer.status_code == 200)
    assert said(await api.admin.get(path))["threshold"] == won.json()["threshold"]
    assert (await api.admin.get(path)).headers["etag"] == won.headers["etag"] != seen


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"threshold": "0"}, "threshold is more than 0"), ({"credits": None}, "choose either"),
        ({"restore_to": "9000"}, "choose either"), ({"credits": "499"}, "at least 500"), ({"credits": "550"}, "steps of 100"),
        ({"credits": None, "restore_to": "1100"}, "fill up to at least 500 credits above the threshold"), ({"threshold": "-5"}, "negative"),
        ({"monthly_cap": {"amount": 99_999, "currency": "eur"}}, "in usd"),
        ({"monthly_cap": {"amount": 10, "currency": "usd"}}, "less than one top-up: 5000 credits cost 50.00 USD"),
    ],
)  # fmt: skip
async def test_settings_that_make_no_sense_are_refused_in_words(api: Api, wrong: dict[str, Any], words: str) -> None:
    sense = {"enabled": True, "threshold": "1000", "credits": "5000"}

    answer = await api.admin.put(f"{api.path}/top-up", json=sense | wrong)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_top_up")
    assert words in answer.json()["detail"]


async def test_the_directory_names_people_and_forgets_them(api: Api) -> None:
    named = said(await api.operator.put(f"{api.path}/members/mem_3", json={"name": "Edsger", "role": "admin"}))
    said(await api.operator.put(api.path, json={"name": "Renamed"}))
    team = said(await api.member.get(api.path))

    erased = said(await api.operator.delete(f"{api.path}/members/mem_3"))
    again = await api.operator.delete(f"{api.path}/members/mem_3")

    assert team["name"] == "Renamed"
    assert {"id": "mem_3", "name": "Edsger"} in team["admins"]
    assert "Edsger" not in (await api.member.get(api.path)).text
    assert (again.status_code, again.json()["code"]) == (404, "unknown_member")
    assert int(erased["position"].split(":")[1]) > int(named["position"].split(":")[1])
    bodies = await api.connection.fetch("SELECT body FROM facts WHERE team_id = $1", api.team_id)
    assert not [row for row in bodies if b"Edsger" in row["body"]], "the log knows ids alone"
    assert said(await api.member.get(api.path))["erased"] == ["mem_3"]


async def test_a_member_is_erased_with_limits_and_answers_and_is_called_so_from_then_on(api: Api) -> None:
    person, named = f"{api.path}/members/mem_3", {"name": "Edsger", "role": "member"}
    said(await api.operator.put(person, json=named, headers=key("name")))
    said(await api.operator.put(f"{person}/limit", json={"daily": "5"}))
    await api.tell(UsageRecorded(feature="ai_image.generate", quantity="1", credits=4, rate_card=1, member_id="mem_3"))
    ticket = "?erase=true&reason=ticket-118"
    assert (await api.admin.delete(person + ticket)).status_code == 403

    erased = said(await api.operator.delete(person + ticket, headers=key("erase")))
    again = said(await api.operator.delete(person + ticket, headers=key("erase")))
    once_more = said(await api.operator.delete(person + ticket))

    assert erased["position"] == again["position"] == once_more["position"], "whoever was, is not erased again"
    late = await api.operator.put(person, json=named, headers=key("name"))
    assert (late.status_code, late.json()["code"]) == (409, "already_done"), "a late repetition names nobody again"
    team = said(await api.member.get(api.path))
    assert (team["erased"], "Edsger" in str(team)) == (["mem_3"], False)
    assert (await api.member.get(f"{person}/limit")).json()["daily"] is None
    csv = await api.member.get(f"{api.path}/activity?days=1", headers={"accept": "text/csv"})
    assert "erased member" in csv.text
    facts = await api.connection.fetch(
        "SELECT body FROM facts WHERE team_id = $1 AND type = 'member.erased.v1'", api.team_id
    )
    assert [row["body"] for row in facts] == [b'{"member_id":"mem_3","wholly":true}']
    who = await api.connection.fetchrow("SELECT erased_by, why FROM erased_members WHERE team_id = $1", api.team_id)
    assert tuple(who or ()) == ("mem_1", "ticket-118")

    said(await api.operator.put(person, json={"name": "Wybe", "role": "member"}))
    assert said(await api.member.get(api.path))["erased"] == [], "who comes back has a name again"
    assert said(await api.operator.delete(person + ticket))["position"] != erased["position"]


async def test_somebody_who_is_called_as_a_word_of_answers_takes_none_along_that_do_not_name_them(api: Api) -> None:
    async def held(name: str, member: str) -> httpx2.Response:
        body = {"credits": "1", "member_id": member}
        return await api.service.post(f"{api.path}/holds", json=body, headers=key(name))

    kept, named = said(await held("kept", "mem_3"), 201), said(await held("named", "open"), 201)
    assert kept["state"] == named["state"] == "open"

    said(await api.operator.delete(f"{api.path}/members/open?erase=true"))

    assert said(await held("kept", "mem_3"), 201) == kept
    late = await held("named", "open")
    assert (late.status_code, late.json()["code"]) == (409, "already_done")


async def test_whoever_the_directory_never_knew_is_erased_and_nobody_of_a_team_that_is_not_there(api: Api) -> None:
    known_by_facts = said(await api.operator.delete(f"{api.path}/members/mem_9?erase=true"))
    nowhere = await api.operator.delete("/v1/teams/team_nowhere/members/mem_9?erase=true")

    assert known_by_facts["position"]
    assert nowhere.status_code == 404


async def test_a_capture_is_stored_with_the_attributes_that_somebody_listed(api: Api) -> None:
    attributes = {"tier": "low", "note": "a heron for Ada", "model": "no code at all"}
    work = {"items": [{"feature": "ai_image.generate", "quantity": "2", "attributes": attributes}]}
    held = (await api.service.post(f"{api.path}/holds", json=work, headers=key("listed"))).json()
    captured = await api.service.post(f"{api.path}/holds/{held['id']}/capture", json=work, headers=key("listed"))

    assert captured.json()["captured"] == "2"
    bodies = await api.connection.fetch(
        "SELECT body FROM facts WHERE team_id = $1 AND type = 'hold.captured.v1'", api.team_id
    )
    assert [json.loads(row["body"])["attributes"] for row in bodies] == [{"tier": "low"}]
