"""An operator corrects usage or a capture: the credits go back to what paid, and what was used is recorded at its time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.credits import MICRO
from schemas.cycles import cycle
from schemas.facts import CreditsGranted, CreditsPurchased, PeriodSealed, UsageRecorded
from services.audit.replay import ReplayScope, replay
from services.audit.sign_log import sign_log
from services.usage.voids import read_void
from tests.support.api import Api, key
from tests.support.facts import planned, store
from tests.support.heads import it_is
from tests.support.honest import project

IMAGE = {"feature": "ai_image.generate", "attributes": {"tier": "standard"}}
REASON = {"reason": "one image was empty"}


def used(quantity: str, *, member: str = "mem_2") -> UsageRecorded:
    """Images of 4 credits each."""
    credits = int(quantity) * 4 * MICRO
    return UsageRecorded(
        feature="ai_image.generate", quantity=quantity, credits=credits, rate_card=1, member_id=member,
        attributes={"tier": "standard"},
    )  # fmt: skip


async def correct(api: Api, entry: str, body: dict[str, Any], name: str = "fix") -> httpx2.Response:
    return await api.operator.post(f"{api.path}/entries/{entry}/correct", json=REASON | body, headers=key(name))


async def total(api: Api) -> str:
    return str((await api.operator.get(f"{api.path}/balance")).json()["total"])


async def entry_of(api: Api, entry: str) -> Any:
    return (await api.admin.get(f"{api.path}/entries/{entry}")).json()


async def captured(api: Api, **amount: Any) -> str:
    """A member's hold that was captured; the entry of the capture."""
    member = {"member_id": "mem_2"}
    hold = (await api.service.post(f"{api.path}/holds", json=amount | member, headers=key("hold"))).json()
    capture = await api.service.post(f"{api.path}/holds/{hold['id']}/capture", json=amount, headers=key("capture"))
    return f"{capture.json()['position']}:0"


@pytest.mark.parametrize("of", ["usage", "capture"])
async def test_what_was_used_in_truth_stands_behind_what_was_taken_back(api: Api, of: str) -> None:
    if of == "usage":
        entry = f"{(await api.tell(used('15'))).places[0]}:0"
    else:
        entry = await captured(api, items=[IMAGE | {"quantity": "15"}])
    assert await total(api) == "2940"

    answer = await correct(api, entry, {"quantity": "12"})
    again, renamed = [await correct(api, entry, {"quantity": same}, name) for same, name in (("12", "fix"), (12, "b"))]

    said = answer.json()
    assert (answer.status_code, said["corrects"], said["credits"]) == (201, entry, "12"), said
    assert again.json() == renamed.json() == said, "the same correction again is the same receipt"
    assert await total(api) == "2952"
    void, anew, original = [await entry_of(api, name) for name in (said["id"], said["entry"], entry)]
    assert (void["credits"], void["corrects"], void["included"]) == ("60", entry, "60")
    assert (anew["credits"], anew["corrects"], anew["member_id"]) == ("-48", entry, "mem_2")
    assert anew["price"]["formula"] == "12 images × 4 = 48 credits"
    assert (original["credits"], original["taken_back_by"]) == ("-60", said["id"])
    await project(api.connection)
    assert await total(api) == "2952"
    used_by = (await api.member.get(f"{api.path}/usage", params={"by": "member"})).json()["items"]
    assert [(one["member_id"], one["credits"]) for one in used_by] == [("mem_2", "48")]


@pytest.mark.parametrize("of", ["usage", "plain credits"])
async def test_what_was_never_used_is_taken_back_whole(api: Api, of: str) -> None:
    if of == "usage":
        entry = f"{(await api.tell(used('15'))).places[0]}:0"
    else:
        entry = await captured(api, credits="60")
        refused = await correct(api, entry, {"quantity": "3"})
        assert (refused.status_code, refused.json()["code"]) == (422, "plain_credits")

    said = (await correct(api, entry, {"void": True})).json()

    assert (said["credits"], said["entry"]) == ("60", None)
    assert await total(api) == "3000"
    other = await correct(api, entry, {"quantity": "1"}, "other") if of == "usage" else None
    assert other is None or (other.status_code, other.json()["code"]) == (409, "already_taken_back")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"quantity": "0"}, {"quantities": {"token": "0"}}, {"void": False}, {"quantity": "1", "void": True},
        {"void": True, "reason": ""}, {"void": True, "credits": "5"},
    ],
    ids=str,
)  # fmt: skip
async def test_a_correction_says_one_thing_and_why(api: Api, body: dict[str, Any]) -> None:
    entry = f"{(await api.tell(used('15'))).places[0]}:0"

    answer = await correct(api, entry, body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert await total(api) == "2940"


async def test_nothing_but_usage_of_the_team_can_be_corrected(api: Api) -> None:
    bought = CreditsPurchased(credits=MICRO, pack="mini", payment_intent_id="pi_x", charge_cents=1, currency="usd")
    place = (await api.tell(bought)).places[0]

    for entry in (f"{place}:0", f"{place}:1", "0:1:0", "nonsense"):
        answer = await correct(api, entry, {"void": True})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_entry")


async def test_a_large_correction_needs_another_person_and_counts_with_what_was_given(api: Api) -> None:
    finance = api.client("finance", "*", member="fin_1")
    large, small = [f"{(await api.tell(used(quantity))).places[0]}:0" for quantity in ("300", "150")]
    gift = {"credits": "700", "reason": "x"}
    assert (await api.operator.post(f"{api.path}/grants", json=gift, headers=key("gift"))).status_code == 201
    waiting = await correct(api, large, {"quantity": "1"}, "large")
    within = await correct(api, small, {"quantity": "75"}, "small")
    over = await correct(api, f"{within.json()['position']}:0", {"void": True}, "over")
    assert (waiting.status_code, within.status_code, over.status_code) == (202, 201, 202)
    assert (waiting.json()["kind"], waiting.json()["credits"]) == ("correction", "1196")
    before = await total(api)

    approved = (await finance.post(f"{api.path}/adjustments/{waiting.json()['id']}/approve")).json()

    assert (before, await total(api)) == ("2200", "3396")
    anew = await entry_of(api, approved["entry"])
    assert (anew["credits"], anew["corrects"]) == ("-4", large)
    listed = (await finance.get(f"{api.path}/adjustments")).json()["items"]
    assert [(one["state"], one["corrects"], one["ended_by"]) for one in listed] == [
        ("waiting", f"{within.json()['position']}:0", None), ("approved", large, "fin_1"),
    ]  # fmt: skip
    await project(api.connection)
    replayed = await replay(api.connection, ReplayScope(team_id=api.team_id, audit=True))
    assert [str(one) for one in (*replayed.findings, *replayed.differences)] == []


async def test_who_was_quicker_has_corrected_it_and_the_request_for_it_comes_to_nothing(api: Api) -> None:
    finance = api.client("finance", "*", member="fin_1")
    entry = f"{(await api.tell(used('300'))).places[0]}:0"
    requests = [(await correct(api, entry, {"void": True}, name)).json()["id"] for name in ("one", "two")]

    first, second = [await finance.post(f"{api.path}/adjustments/{name}/approve") for name in requests]

    assert (first.status_code, second.status_code, second.json()["code"]) == (200, 409, "already_taken_back")
    assert await total(api) == "3000"


async def test_a_sealed_statement_keeps_its_bytes_whatever_is_corrected(api: Api) -> None:
    team, finance = f"{api.team_id}_sealed", api.client("finance", "*", member="fin_1")
    current = datetime.now(UTC)
    first = cycle(current - timedelta(days=45), "UTC", 0)
    await store(api.connection, *planned(team, credits=3_000, anchor=first.starts_at))
    spent = (await api.tell(used("15"), used("300"), team=team, at=first.starts_at + timedelta(days=2))).places
    seal = PeriodSealed(plan_assigned_id="plan", cycle=0, starts_at=first.starts_at, ends_at=first.ends_at)
    await api.tell(seal, team=team)
    await sign_log(api.connection, Ed25519PrivateKey.generate(), current + timedelta(minutes=9))
    path = f"/v1/teams/{team}"
    before = (await finance.get(f"{path}/statements/0")).content

    body = REASON | {"quantity": "3"}
    small = await api.operator.post(f"{path}/entries/{spent[0]}:0/correct", json=body, headers=key("small"))
    large = await api.operator.post(f"{path}/entries/{spent[1]}:0/correct", json=body, headers=key("large"))
    done = await finance.post(f"{path}/adjustments/{large.json()['id']}/approve")

    assert (small.status_code, large.status_code, done.status_code) == (201, 202, 200)
    assert (await finance.get(f"{path}/statements/0")).content == before
    entry = (await finance.get(f"{path}/entries/{done.json()['entry']}")).json()
    assert (entry["late"], entry["at"][:10]) == (True, (first.starts_at + timedelta(days=2)).date().isoformat())
    assert await read_void(api.connection, team, spent[1].position) is not None


async def test_corrections_are_listed_among_what_people_decided(api: Api) -> None:
    small, void, large = [f"{(await api.tell(used(quantity))).places[0]}:0" for quantity in ("15", "20", "600")]
    await correct(api, small, {"quantity": "12"}, "small")
    await correct(api, void, {"void": True}, "void")
    waiting = (await correct(api, large, {"void": True}, "large")).json()
    finance = api.client("finance", "*", member="fin_1")
    await finance.post(f"{api.path}/adjustments/{waiting['id']}/approve")

    items = (await finance.get("/v1/changes", params={"limit": "1000"})).json()["items"]

    mine = [(one["what"], one["by"], one["approved_by"]) for one in items if one["team_id"] == api.team_id]
    assert mine[-4:] == [
        (f"Corrected the usage at {small[:-2]}: 12 credits back: one image was empty", "mem_1", None),
        (f"Corrected the usage at {void[:-2]}: 80 credits back: one image was empty", "mem_1", None),
        ("Asked for a correction of 2400 credits: one image was empty", "mem_1", None),
        (f"Corrected the usage at {large[:-2]}: 2400 credits back: one image was empty", "mem_1", "fin_1"),
    ]


@pytest.mark.parametrize("folded", [False, True], ids=["in the tail", "in rows"])
async def test_an_answer_never_names_the_entry_of_what_expired_right_before(api: Api, folded: bool) -> None:
    began, finance = datetime.now(UTC), api.client("finance", "*", member="fin_1")

    @asynccontextmanager
    async def another_gift_has_ended(hours: int) -> AsyncIterator[None]:
        """Its end is the first entry of the fact that comes next."""
        await api.tell(CreditsGranted(credits=MICRO, reason="x", expires_at=began + timedelta(hours=hours - 1)))
        async with it_is(api.connection, began + timedelta(hours=hours), api.team_id):
            yield
        if folded:
            await project(api.connection)

    async with another_gift_has_ended(2):
        original = f"{(await api.tell(used('15'))).places[0]}:1"
    async with another_gift_has_ended(4):
        small = (await correct(api, original, {"quantity": "12"})).json()
    asked = (await correct(api, small["entry"], {"quantity": "300"}, "large")).json()
    async with another_gift_has_ended(6):
        approved = (await finance.post(f"{api.path}/adjustments/{asked['id']}/approve")).json()
    async with another_gift_has_ended(8):
        gift = (await api.operator.post(f"{api.path}/grants", json=REASON | {"credits": "7"}, headers=key())).json()

    anew, large = await entry_of(api, small["entry"]), await entry_of(api, approved["entry"])
    assert small["corrects"] == anew["corrects"] == original
    assert (await entry_of(api, small["id"]))["corrects"] == original
    assert (await entry_of(api, original))["taken_back_by"] == small["id"]
    assert (anew["credits"], large["credits"], large["corrects"]) == ("-48", "-1200", small["entry"])
    assert (await entry_of(api, anew["taken_back_by"]))["corrects"] == small["entry"]
    assert (await entry_of(api, gift["id"]))["credits"] == "7"
    (listed,) = (await finance.get(f"{api.path}/adjustments")).json()["items"]
    assert (listed["entry"], listed["corrects"]) == (approved["entry"], small["entry"])
    for own in (original, small["id"], anew["taken_back_by"], gift["id"]):
        assert (await entry_of(api, own.removesuffix(":1") + ":0"))["type"] == "expiry"
