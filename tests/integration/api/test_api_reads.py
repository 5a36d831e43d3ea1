"""Reading by HTTP: balances, activity, aggregates, prices; exact at the head of the log, whether or not anybody has projected it."""

import asyncio
import csv
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import (
    CreditsAdjusted,
    CreditsGranted,
    CreditsPurchased,
    HoldPlaced,
    NewFact,
    TopUpSkipped,
    UsageRecorded,
    UsageVoided,
)
from schemas.pricing import RateCards
from services.audit.entry_proof import check_proof
from services.audit.sign_log import sign_log
from services.read_models import projector
from services.runtime.health import Health
from services.runtime.settings_loading import load_settings
from services.store.append import append
from tests.support.api import Api, key
from tests.support.waiting import until

CARDS = RateCards([load_catalog().rate_card])


def used(
    feature: str = "ai_image.generate", quantity: str = "1", *, member: str = "mem_1", **attributes: str
) -> UsageRecorded:
    attributes = attributes or ({"tier": "low"} if feature == "ai_image.generate" else {})
    credits = CARDS.in_force(datetime.now(UTC)).price(feature, Decimal(quantity), attributes)
    return UsageRecorded(
        feature=feature,
        quantity=quantity,
        credits=credits,
        rate_card=1,
        member_id=member,
        attributes=attributes or None,
    )


def bought(credits: int = 2_000) -> CreditsPurchased:
    return CreditsPurchased(
        credits=credits * MICRO,
        pack="mini",
        payment_intent_id=f"pi_{credits}",
        charge_cents=2_000,
        currency="usd",
        member_id="mem_2",
    )


async def get(api: Api, path: str, **query: object) -> Any:
    answer = await api.member.get(f"{api.path}{path}", params={name: str(value) for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def projected(api: Api) -> None:
    """Let a projector fold everything, and stop it."""
    stop = asyncio.Event()
    database = api.settings.needed("database").partition("?")[0]
    folding = asyncio.create_task(projector.serve(load_settings(database=database), stop, Health("projector")))

    async def is_folded() -> bool:
        behind = await api.connection.fetchval(
            "SELECT count(*) FROM shard_heads h LEFT JOIN checkpoints c ON c.reader LIKE 'projector_of_%' AND c.shard = h.shard "
            "WHERE h.next - 1 > coalesce(c.position, 0)"
        )
        return bool(behind == 0)

    await until(is_folded)
    stop.set()
    await folding


async def test_the_balance_is_total_included_and_additional_and_says_what_is_held(api: Api) -> None:
    await api.tell(bought(), used(quantity="10"), HoldPlaced(hold_id="h", credits=7 * MICRO, expires_at=in_an_hour()))

    balance = await get(api, "/balance")

    assert {name: balance[name] for name in ("total", "included", "additional", "held", "available", "plan")} == {
        "total": "4990", "included": "2990", "additional": "2000", "held": "7", "available": "4983", "plan": "pro",
    }  # fmt: skip
    assert balance["top_up_enabled"] is False
    assert datetime.fromisoformat(balance["next_refill_at"]) > datetime.now(UTC) + timedelta(days=27)
    assert balance["as_of"].endswith("Z")
    assert len(balance["as_of"]) == len("2026-11-23T10:15:30.123456Z")


def in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


async def test_the_balance_is_the_same_before_and_after_it_is_projected(api: Api) -> None:
    await api.tell(bought(), used(quantity="3"), CreditsAdjusted(credits=-MICRO, reason="a mistake"))
    before = await get(api, "/balance")

    await projected(api)

    assert without(await get(api, "/balance"), "as_of") == without(before, "as_of")


def without(said: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in names}


async def test_credits_used_past_zero_are_stated_not_hidden(api: Api) -> None:
    await api.tell(used("ai_effects.lip_sync", "1001.5"))

    balance = await get(api, "/balance")

    assert (balance["total"], balance["included"], balance["additional"]) == ("-4.5", "0", "-4.5")


async def test_an_old_balance_can_be_asked_for_as_it_was_and_as_it_was_known(api: Api) -> None:
    await api.tell(used(quantity="100"))
    between = datetime.now(UTC)
    late = await api.tell(used(quantity="50"), at=between - timedelta(milliseconds=1))
    await api.tell(used(quantity="7"))

    then = await get(api, "/balance", at=between.isoformat())
    known = await get(api, "/balance", known_at=between.isoformat())
    both = await get(api, "/balance", at=between.isoformat(), known_at=late.recorded_at.isoformat())

    assert (then["total"], known["total"], both["total"]) == ("2850", "2900", "2850")
    assert (await get(api, "/balance"))["total"] == "2843"


async def test_an_old_balance_counts_a_refill_that_nobody_had_appended_yet(api: Api) -> None:
    then = datetime.now(UTC) - timedelta(days=70)
    await api.team("free_and_old", "free", anchor=then)
    client = api.client("member", "free_and_old")

    balance = (await client.get("/v1/teams/free_and_old/balance")).json()

    assert (balance["included"], balance["total"]) == ("300", "300")


async def test_the_future_has_no_balance_and_neither_has_the_time_before_the_first_plan(api: Api) -> None:
    path = f"{api.path}/balance"
    ahead = await api.member.get(path, params={"at": (datetime.now(UTC) + timedelta(days=1)).isoformat()})
    before = await api.member.get(path, params={"at": "2020-01-01T00:00:00Z"})

    assert (ahead.status_code, ahead.json()["code"]) == (422, "in_the_future")
    assert (before.status_code, before.json()["code"]) == (404, "no_balance_then")


async def test_an_instant_at_the_end_of_the_calendar_is_refused_at_every_door(api: Api) -> None:
    doors = [("/balance", "at"), ("/balance", "known_at"), ("/activity", "from"), ("/activity", "until")]
    asked = [api.member.get(f"{api.path}{path}", params={name: at}) for path, name in doors for at in ENDS_OF_TIME]
    asked += [api.member.get("/v1/rate-card", params={"at": at}) for at in ENDS_OF_TIME]
    gift = {"credits": "1", "reason": "for ever"}
    asked += [
        api.operator.post(f"{api.path}/grants", json=gift | {"expires_at": at}, headers=key(at)) for at in ENDS_OF_TIME
    ]
    asked += [
        api.operator.put(f"{api.path}/plan", json={"plan": "pro", "anchor": at}, headers=key(at)) for at in ENDS_OF_TIME
    ]

    for answer in await asyncio.gather(*asked):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.url
        assert "can't be meant" in answer.json()["detail"]


async def test_a_read_waits_for_the_position_that_it_is_asked_to_know(api: Api) -> None:
    shard, position = map(int, (await get(api, "/balance"))["position"].split(":"))
    waiting = asyncio.create_task(get(api, "/balance", at_least=f"{shard}:{position + 1}"))
    await asyncio.sleep(0.2)
    assert not waiting.done()

    await api.tell(used(quantity="5"))

    balance = await waiting
    assert (balance["total"], balance["position"]) == ("2995", f"{shard}:{position + 1}")


async def test_a_position_that_does_not_come_is_not_yet_there_after_five_seconds(api: Api) -> None:
    shard, position = (await get(api, "/balance"))["position"].split(":")
    path = f"{api.path}/balance"

    late = await api.member.get(path, params={"at_least": f"{shard}:{int(position) + 1}"})
    wrong = await api.member.get(path, params={"at_least": f"{(int(shard) + 1) % 64}:1"})

    assert (late.status_code, late.json()["code"], late.headers["retry-after"]) == (503, "not_yet", "1")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "wrong_position")


async def test_activity_shows_date_type_member_and_credits_newest_first(api: Api) -> None:
    await api.tell(used("video_export.render", "42", resolution="1080p"), bought())

    items = (await get(api, "/activity"))["items"]

    assert [(item["type"], item["description"], item["member_id"], item["credits"]) for item in items] == [
        ("purchase", "Purchase · Mini pack", "mem_2", "2000"),
        ("usage", "Video export", "mem_1", "-8.4"),
        ("refill", "Included credits refilled", None, "3000"),
    ]
    assert items[1]["detail"] == "42 seconds × 0.2 = 8.4 credits · rate card 1"
    assert [item["balance_after"] for item in items] == ["4991.6", "2991.6", "3000"]
    assert all(Decimal(item["credits"]) == Decimal(item["included"]) + Decimal(item["additional"]) for item in items)


async def test_paging_neither_skips_nor_repeats_while_facts_arrive_and_are_projected(api: Api) -> None:
    await api.tell(*(used(quantity=str(number + 1)) for number in range(40)))
    there = [item["id"] for item in (await get(api, "/activity", limit=200))["items"]]
    await projected(api)
    await api.tell(*(used() for _ in range(5)))

    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await get(api, "/activity", limit=3, **cursor)
        seen += [item["id"] for item in page["items"]]
        await api.tell(used())
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert seen[-len(there) :] == there
    assert len(set(seen)) == len(seen) == len(there) + 5


async def test_activity_can_be_filtered_by_type_and_by_member(api: Api) -> None:
    await api.tell(used(member="mem_1"), used(member="mem_2"), bought())
    await projected(api)
    await api.tell(used(member="mem_2"))

    hers = (await get(api, "/activity", member="mem_2", type="usage"))["items"]
    both = await api.member.get(f"{api.path}/activity", params=[("type", "purchase"), ("type", "refill")])

    assert [item["member_id"] for item in hers] == ["mem_2", "mem_2"]
    assert [item["type"] for item in both.json()["items"]] == ["purchase", "refill"]


async def test_the_window_is_so_many_times_24_hours_of_when_things_were_recorded(api: Api) -> None:
    await age(api, timedelta(days=8))
    await api.tell(used(), at=datetime.now(UTC) - timedelta(days=20))
    for projecting in (False, True):
        if projecting:
            await projected(api)
        counts = [len((await get(api, "/activity", days=days))["items"]) for days in (1, 7, 30)]
        assert counts == [1, 1, 2], f"projected: {projecting}"
        between = datetime.now(UTC) - timedelta(days=5)
        older = (await get(api, "/activity", until=between.isoformat()))["items"]
        newer = (await get(api, "/activity", **{"from": between.isoformat()}))["items"]
        assert [[one["type"] for one in items] for items in (older, newer)] == [["refill"], ["usage"]]
        span = {"from": (between - timedelta(days=5)).isoformat(), "until": between.isoformat()}
        assert (await get(api, "/activity", **span))["items"] == older
        download = await api.member.get(f"{api.path}/activity", params=span, headers={"accept": "text/csv"})
        assert len(download.text.splitlines()) == 2
        assert (await get(api, "/activity", until=(between - timedelta(days=5)).isoformat()))["items"] == []


async def age(api: Api, by: timedelta) -> None:
    """Make everything recorded so far older; only a superuser who switches the triggers off can."""
    async with api.connection.transaction():
        await api.connection.execute("ALTER TABLE facts DISABLE TRIGGER facts_append_only")
        await api.connection.execute("UPDATE facts SET recorded_at = recorded_at - $1::interval", by)
        await api.connection.execute("ALTER TABLE facts ENABLE ALWAYS TRIGGER facts_append_only")


FORMULAS = "=+-@|\uff1d\uff0b\uff0d\uff20"


async def test_the_download_holds_everything_that_the_filter_shows(api: Api) -> None:
    async with api.connection.transaction():
        facts = [
            NewFact(
                api.team_id,
                "/features/test",
                f"bulk_{n}",
                datetime.now(UTC),
                used(member=f"{FORMULAS[n % len(FORMULAS)]}1+1"),
            )
            for n in range(4_500)
        ]
        await append(api.connection, facts)
    await api.tell(bought())
    await projected(api)

    answer = await api.member.get(f"{api.path}/activity", params={"type": "usage"}, headers={"accept": "text/csv"})
    rows = list(csv.DictReader(StringIO(answer.text)))

    assert answer.headers["content-type"].startswith("text/csv")
    assert f'filename="credit-activity-{api.team_id}-' in answer.headers["content-disposition"]
    assert len({row["id"] for row in rows}) == len(rows) == 4_500
    members = {row["member_id"] for row in rows}
    assert members == {f"'{sign}1+1" for sign in FORMULAS}, "a spreadsheet must not run what a member is called"
    assert (rows[0]["credits"], rows[0]["quantity"], rows[0]["rate_card"]) == ("-1", "1", "1")


async def test_an_entry_says_which_rate_which_formula_and_which_lots_paid(api: Api) -> None:
    await api.tell(bought(), used("ai_effects.lip_sync", "995"))
    usage = (await api.tell(used("video_export.render", "84", resolution="1080p"))).places[0]
    await api.tell(used("video_export.render", "5", resolution="1080p"))
    for projecting in (False, True):
        if projecting:
            await projected(api)
        entry = await get(api, f"/entries/{usage}:0")
        assert entry["price"]["formula"] == "84 seconds × 0.2 = 16.8 credits"
        assert (entry["price"]["rate_card"], entry["price"]["rate"]) == (1, "0.2")
        assert [(lot["kind"], lot["credits"]) for lot in entry["paid_by"]] == [("included", "15"), ("purchased", "1.8")]
        assert entry["position"] == str(usage)


async def test_an_entry_is_proved_as_soon_as_it_is_signed(api: Api) -> None:
    key = Ed25519PrivateKey.generate()
    usage = (await api.tell(used("video_export.render", "84", resolution="1080p"))).places[0]
    answer = await api.member.get(f"{api.path}/entries/{usage}:0/proof")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_signed_yet")

    signed = await sign_log(api.connection, key, datetime.now(UTC))
    assert signed is not None
    proof = await get(api, f"/entries/{usage}:0/proof")
    assert check_proof(proof, [key.public_key()])[1] is None
    assert (proof["fact"]["team_id"], proof["note"]["number"]) == (api.team_id, signed.number)
    answer = await api.member.get(f"{api.path}/entries/{usage}:0/proof", params={"to": signed.number + 1})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_checkpoint")


async def test_an_entry_of_nobody_is_not_there(api: Api) -> None:
    for entry_id in ("0:1:0", "nonsense", "0:99999999999999999:0", (await get(api, "/balance"))["position"] + ":7"):
        answer = await api.member.get(f"{api.path}/entries/{entry_id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_entry")
    answer = await api.member.get(f"{api.path}/entries/0:1:0/proof")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_entry")


async def test_usage_adds_up_by_feature_member_and_day_and_a_void_takes_it_back(api: Api) -> None:
    await api.tell(used(quantity="10"), used("storage.base", "20", member="mem_2"))
    voided = (await api.tell(used(quantity="100"))).places[0]
    await projected(api)
    await api.tell(
        UsageVoided(
            usage_source="/features/test", usage_id="x", usage_position=voided.position, usage_occurred_at=datetime.now(UTC),
            credits=100 * MICRO, feature="ai_image.generate", reason="it failed", member_id="mem_1",
        )
    )  # fmt: skip
    by_feature, by_member, by_day = [(await get(api, "/usage", by=by))["items"] for by in ("feature", "member", "day")]

    assert [(item["feature"], item["name"], item["credits"], item["uses"]) for item in by_feature] == [
        ("ai_image.generate", "AI image", "10", 1), ("storage.base", "Base storage", "1", 1),
    ]  # fmt: skip
    assert [(item["member_id"], item["credits"]) for item in by_member] == [("mem_1", "10"), ("mem_2", "1")]
    assert [(item["credits"], item["features"]) for item in by_day] == [
        ("11", {"ai_image.generate": "10", "storage.base": "1"})
    ]


async def test_usage_adds_up_by_the_values_of_an_attribute_that_is_counted(api: Api) -> None:
    counted = await api.connection.fetchval("SELECT format('usage_counted_v%s', max(version)) FROM projections")
    await api.connection.execute(f"INSERT INTO {counted} VALUES ('tier') ON CONFLICT DO NOTHING")
    await api.tell(used(quantity="10"), used(quantity="2", tier="high", member="mem_2"), used("storage.base", "20"))
    await projected(api)
    await api.tell(used(quantity="3"), used(quantity="1", tier="high"))
    last = (await api.tell(used(quantity="5", tier="high"))).places[0]
    for _ in range(2):  # not folded yet, and folded
        by_value = await get(api, "/usage", by="attribute", attribute="tier")
        assert (by_value["attributes"], by_value["attribute"]) == (["tier"], "tier")
        assert [(item["value"], item["credits"], item["uses"]) for item in by_value["items"]] == [
            ("high", "120", 3), ("low", "13", 2), (None, "1", 1),
        ]  # fmt: skip
        await projected(api)
    await api.tell(
        UsageVoided(
            usage_source="/features/test", usage_id="x", usage_position=last.position, usage_occurred_at=datetime.now(UTC),
            credits=75 * MICRO, feature="ai_image.generate", reason="it failed", member_id="mem_1",
        )
    )  # fmt: skip
    for _ in range(2):
        (today,) = (await get(api, "/usage", by="day", attribute="tier"))["items"]
        assert today["values"] == {"": "1", "high": "45", "low": "13"}
        high = (await get(api, "/usage", by="member", attribute="tier", value="high"))["items"]
        assert [(item["member_id"], item["credits"], item["uses"]) for item in high] == [
            ("mem_2", "30", 1), ("mem_1", "15", 1),
        ]  # fmt: skip
        await projected(api)


async def test_usage_is_told_by_no_attribute_that_is_not_counted(api: Api) -> None:
    unknown = await api.member.get(f"{api.path}/usage", params={"attribute": "voice"})
    unnamed = await api.member.get(f"{api.path}/usage", params={"by": "attribute"})
    of_what = await api.member.get(f"{api.path}/usage", params={"value": "high"})

    assert [(no.status_code, no.json()["code"]) for no in (unknown, unnamed, of_what)] == [
        (422, "not_counted"), (422, "invalid_request"), (422, "invalid_request"),
    ]  # fmt: skip


async def test_a_decision_not_to_top_up_is_a_row_with_its_reason(api: Api) -> None:
    await api.tell(TopUpSkipped(ran_low_id="r", decision="crossing", reason="cooling_down"))

    item = (await get(api, "/activity"))["items"][0]

    assert (item["type"], item["credits"], item["detail"]) == (
        "top_up_skipped",
        "0",
        "Cooling down after the last attempt",
    )


async def test_the_rate_card_lists_every_category_of_the_product_with_its_units_and_needs(api: Api) -> None:
    card = (await api.member.get("/v1/rate-card")).json()

    assert (card["version"], card["effective_from"]) == (1, "2025-01-01T00:00:00.000000Z")
    assert [category["id"] for category in card["categories"]] == [
        "video_export", "ai_video", "ai_image", "ai_audio", "ai_effects", "storage",
    ]  # fmt: skip
    old = await api.member.get("/v1/rate-card", params={"at": "2020-01-01T00:00:00Z"})
    assert (old.status_code, old.json()["code"]) == (404, "before_first_rate_card")


async def test_packs_have_names_credits_and_prices_in_minor_units(api: Api) -> None:
    packs = (await api.member.get("/v1/packs")).json()

    assert [(pack["pack"], pack["credits"]) for pack in packs] == [
        ("mini", "2000"), ("standard", "5000"), ("large", "10000"), ("bulk", "25000"),
    ]  # fmt: skip
    assert all(isinstance(pack["amount"], int) and pack["currency"] == "usd" for pack in packs)


async def test_a_team_has_a_name_a_zone_a_plan_members_and_admins(api: Api) -> None:
    assert await get(api, "") == {
        "id": api.team_id, "name": f"Team {api.team_id}", "zone": api.zone, "plan": "pro", "plan_name": "Pro",
        "members": [
            {"id": "mem_1", "name": "Ada", "role": "member"},
            {"id": "mem_2", "name": "Grace", "role": "admin"},
        ],
        "admins": [{"id": "mem_2", "name": "Grace"}],
        "erased": [],
    }  # fmt: skip


async def test_a_quote_gives_price_and_permission_with_the_reasons_in_their_order(api: Api) -> None:
    async def quote(*items: dict[str, Any]) -> Any:
        answer = await api.service.post(f"{api.path}/quotes", json={"items": items})
        assert answer.status_code == 200, answer.text
        return answer.json()

    fine = {"feature": "ai_image.generate", "quantity": "2", "attributes": {"tier": "standard"}}
    high = {"feature": "ai_image.generate", "quantity": "1", "attributes": {"tier": "high"}}
    unknown = {"feature": "ai_smell.generate", "quantity": "1"}
    dear = {"feature": "ai_effects.lip_sync", "quantity": "1000"}

    assert without(await quote(fine), "position") == {
        "credits": "8", "affordable": True, "allowed": True, "reason": None, "warning": None,
        "items": [{"credits": "8", "allowed": True, "reason": None, "detail": None, "warning": None}],
    }  # fmt: skip
    both = await quote(fine, dear)
    assert (both["affordable"], both["allowed"], both["reason"]) == (False, False, "exhausted")
    assert [item["reason"] for item in both["items"]] == [None, "exhausted"]
    assert (await quote(high, dear))["reason"] == "top_ups_required"
    assert (await quote(high, dear, unknown))["reason"] == "unknown_feature"

    await api.team("free_team", "free")
    free = await api.client("service", "free_team").post("/v1/teams/free_team/quotes", json={"items": [high]})
    assert free.json()["reason"] == "plan_required"


async def test_a_quantity_may_be_a_number_of_json_wherever_it_may_be_a_string(api: Api) -> None:
    async def quote(number: str) -> httpx2.Response:
        body = (
            f'{{"items": [{{"feature": "ai_video.generate", "quantity": {number}, "attributes": {{"tier": "low"}}}}]}}'
        )
        headers = {"content-type": "application/json"}
        return await api.member.post(f"{api.path}/quotes", content=body, headers=headers)

    for number in ("12.5", "7", "123456.789012345", "1e2"):
        text = f'"{Decimal(number):f}"'
        assert (await quote(number)).json() == (await quote(text)).json()
    for wrong in ("1234567.890123456", "0.1000000000000000", "1e999999999", "true", "null", "-1", "[1]", "NaN"):
        refused = await quote(wrong)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request"), wrong
    work = {"items": [{"feature": "ai_image.generate", "quantity": 2, "attributes": {"tier": "low"}}]}
    held = await api.service.post(f"{api.path}/holds", json=work, headers=key("numbers"))
    path = f"{api.path}/holds/{held.json()['id']}/capture"
    captured = await api.service.post(path, json=work, headers=key("numbers"))
    assert (held.json()["credits"], captured.json()["captured"]) == ("2", "2")


QUOTE, CARD = "/v1/teams/any_team/quotes", "/v1/rate-cards"
WRONG_BODIES = [
    (QUOTE, b'{"items": []}', "items: needs at least 1 entry and has 0"),
    (QUOTE, b"[]", "the body: a list is not an object: write its members in braces"),
    (QUOTE, b'{"items": [true]}', "items[0]: true is not an object: write its members in braces"),
    (QUOTE, b'{"items": null}', "items: null is not a list: write its entries in brackets"),
    (QUOTE, b"", "the body: is missing"),
    (QUOTE, b'{"items"', "the body is not JSON: Expecting ':' delimiter: line 1 column 9 (char 8)"),
    (CARD, b'{"version": 2, "effective_from": "2026-01-01T00:00:00Z", "categories": []}', "categories: needs at least 1 entry and has 0"),
    (CARD, b"{", "the body is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
]  # fmt: skip


def asking(api: Api, path: str) -> httpx2.AsyncClient:
    """Somebody who may ask there."""
    return api.client("service" if path == QUOTE else "operator", "*")


async def test_a_body_that_is_wrong_is_told_so_in_the_words_of_a_person(api: Api) -> None:
    for path, body, words in WRONG_BODIES:
        answer = await asking(api, path).post(path, content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["detail"]) == (422, words)


@pytest.mark.parametrize("path", [QUOTE, CARD, "/v1/teams/any_team/grants"])
async def test_half_a_letter_in_a_body_is_named_and_breaks_no_answer(api: Api, path: str) -> None:
    """JavaScript writes one for a text that was cut within a letter, and no answer in UTF-8 can repeat it."""
    card = (await api.member.get("/v1/rate-card")).json() | {"version": 2}
    card["categories"][0]["id"] = "\ud800"
    for body in (card, {"\ud800": 1}, {"categories": [{"\ud800": 1}], "items": [{"\ud800": 1}]}):
        headers = key() | {"content-type": "application/json"}
        answer = await asking(api, path).post(path, headers=headers, content=json.dumps(body))
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), answer.text
        assert body is not card or path != CARD or r"categories[\ud800].id" in answer.json()["detail"]


ENDS_OF_TIME = (
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59Z",
)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
async def test_json_that_does_not_say_so_is_told_what_to_say(api: Api, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    for path in (QUOTE, CARD):
        answer = await asking(api, path).post(path, content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
        assert "send Content-Type: application/json" in answer.json()["detail"]


async def test_wrong_questions_are_answered_with_what_to_change(api: Api) -> None:
    activity, quotes = f"{api.path}/activity", f"{api.path}/quotes"
    asked = [
        api.member.get(activity, params={"days": "3"}), api.member.get(activity, params={"type": "party"}),
        api.member.get(activity, params={"limit": "0"}), api.member.get(activity, params={"limit": "201"}), api.member.get(activity, params={"cursor": "bm9uc2Vuc2U"}),
        api.member.post(quotes, json={"items": []}), api.member.post(quotes, json={"items": [{"feature": "x"}]}),
        api.member.post(quotes, json={"items": [{"feature": "x", "quantity": "1e3"}]}),
        api.member.post(quotes, content=b"{", headers={"content-type": "application/json"}),
        api.member.get(f"{api.path}/balance", params={"at": "yesterday"}),
    ]  # fmt: skip
    for answer in await asyncio.gather(*asked):
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] in ("invalid_request", "invalid_cursor")
        assert answer.json()["detail"]


async def test_what_is_not_there_or_not_taken_is_a_problem_too(api: Api) -> None:
    nothing, wrong = await api.member.get("/v1/nothing"), await api.member.delete("/v1/packs")
    nul = await api.member.get(f"{api.path}/activity?member=%00")
    big = await api.operator.put(api.path, content=b"x" * 5_000_000)

    assert (nothing.status_code, nothing.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert (nul.status_code, nul.json()["code"]) == (400, "bad_request")
    assert (big.status_code, big.json()["code"]) == (413, "too_large")
    for answer in (nothing, wrong, nul, big):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"]


async def test_a_request_keeps_the_id_that_its_caller_gave_it_and_gets_one_where_he_gave_none(api: Api) -> None:
    async def id_of(given: str | None) -> str:
        headers = {} if given is None else {"x-request-id": given}
        return (await api.member.get("/v1/packs", headers=headers)).headers["x-request-id"]

    assert await id_of("trace-7f3a") == "trace-7f3a"
    made = {await id_of(one) for one in (None, "", "two\twords", "ana@mail.example", "x" * 65)}
    assert len(made) == 5
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)


async def test_grants_that_expire_are_gone_at_their_time_without_anybody_writing_it_down(api: Api) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=10)
    await api.tell(CreditsGranted(credits=50 * MICRO, reason="welcome", expires_at=soon))
    await projected(api)
    before = (await get(api, "/balance"))["total"]

    with api.clock.later(timedelta(minutes=10)):
        after = (await get(api, "/balance"))["total"]

    assert (before, after) == ("3050", "3000")
