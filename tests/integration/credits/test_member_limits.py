"""What a member may use per day and per month: exact, however many spend at once; hard limits refuse, soft ones mark."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import pytest

from projections.entitlement import Spending
from schemas.credits import MICRO
from schemas.facts import HoldCaptured, UsageRecorded, UsageVoided
from services.credits.limits import read_spending
from services.store.protocols import Reads
from tests.integration.read_models.test_low_balance import projecting
from tests.support.api import Api, key
from tests.support.waiting import until

ADA, GRACE = "mem_1", "mem_2"


def said(answer: httpx2.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def used(credits: int, member: str | None = ADA) -> UsageRecorded:
    return UsageRecorded(
        feature="ai_image.generate", quantity="1", credits=credits * MICRO, rate_card=1, member_id=member
    )


async def limit(api: Api, member: str = ADA, **limits: Any) -> Any:
    return said(await api.admin.put(f"{api.path}/members/{member}/limit", json=limits))


async def quote(api: Api, images: int, member: str | None = ADA) -> Any:
    """So many images of one credit each."""
    item = {"feature": "ai_image.generate", "quantity": str(images), "attributes": {"tier": "low"}, "member_id": member}
    return said(await api.service.post(f"{api.path}/quotes", json={"items": [item]}))


async def hold(api: Api, name: str, credits: str, member: str = ADA) -> httpx2.Response:
    body = {"credits": credits, "member_id": member, "ttl_seconds": 600}
    return await api.service.post(f"{api.path}/holds", json=body, headers=key(name))


async def spending(api: Api, now: datetime) -> Spending:
    """Ada's, at an instant, as a decision at that instant would know it."""
    found = await read_spending(api.connection, api.team_id, [ADA], api.zone, now, without_limit=True)
    return found[ADA]


@dataclass
class Interrupted:
    """Reads between which somebody else does something, once."""

    reads: Reads
    meanwhile: Callable[[], Awaitable[object]]
    is_first: bool = True

    async def fetch(self, query: str, /, *args: object) -> list[asyncpg.Record]:
        found = await self.reads.fetch(query, *args)
        await self._go_on()
        return found

    async def fetchrow(self, query: str, /, *args: object) -> asyncpg.Record | None:
        found = await self.reads.fetchrow(query, *args)
        await self._go_on()
        return found

    async def _go_on(self) -> None:
        if self.is_first:
            self.is_first = False
            await self.meanwhile()


async def test_what_is_captured_while_a_members_spending_is_read_counts_once(api: Api) -> None:
    """It is held or used, and never both: who may spend what is left is not refused."""
    await limit(api, daily="10")
    place = f"{api.path}/holds/{said(await hold(api, 'a', '6'), 201)['id']}/capture"

    async def captured() -> None:
        said(await api.service.post(place, json={"credits": "6"}, headers=key("all")))

    reads = Interrupted(api.connection, captured)
    found = await read_spending(reads, api.team_id, [ADA], api.zone, datetime.now(UTC))

    assert not reads.is_first
    assert (found[ADA].today, found[ADA].held) in {(6 * MICRO, 0), (0, 6 * MICRO)}


async def test_an_admin_limits_a_member_and_everybody_in_the_team_sees_how_much_is_left(api: Api) -> None:
    set_ = await limit(api, daily="10", monthly="100.5")
    await api.tell(used(4))
    said(await hold(api, "a", "2.5"), 201)

    seen = said(await api.member.get(f"{api.path}/members/{ADA}/limit"))

    assert set_ | {"position": None} == {
        "member_id": ADA, "daily": "10", "monthly": "100.5", "hard": True, "position": None,
    }  # fmt: skip
    assert {name: seen[name] for name in ("daily", "used_today", "used_this_month", "held")} == {
        "daily": "10", "used_today": "4", "used_this_month": "4", "held": "2.5",
    }  # fmt: skip
    assert (await api.member.put(f"{api.path}/members/{ADA}/limit", json={})).json()["code"] == "ask_your_admin"
    assert said(await api.member.get(f"{api.path}/members/{GRACE}/limit"))["daily"] is None


async def test_each_change_of_a_limit_is_a_fact_and_the_same_limit_again_is_none(api: Api) -> None:
    first, again = await limit(api, daily="10"), await limit(api, daily="10")
    changed, lifted = await limit(api, daily="20", hard=False), await limit(api)

    facts = await api.connection.fetch(
        "SELECT body FROM facts WHERE team_id = $1 AND type = 'member.limited.v1' ORDER BY position", api.team_id
    )
    assert first["position"] == again["position"]
    assert len({answer["position"] for answer in (first, changed, lifted)}) == len(facts) == 3
    assert b'"daily_credits":20000000' in facts[1]["body"]
    assert b'"hard":false' in facts[1]["body"]


async def test_a_hard_limit_refuses_quotes_and_holds_and_is_the_members_own(api: Api) -> None:
    await limit(api, daily="5")
    await api.tell(used(3), used(100, GRACE), used(100, None))

    assert (await quote(api, 2))["allowed"] is True
    refused = await quote(api, 3)
    assert (refused["allowed"], refused["reason"], refused["affordable"]) == (False, "member_limit", True)
    assert refused["items"][0]["detail"] == f"{ADA} may use 5 credits a day, of which 2 are left"
    assert (await hold(api, "a", "2.000001")).json()["code"] == "member_limit"
    assert [(await quote(api, 500, member))["allowed"] for member in (GRACE, None)] == [True, True]


async def test_what_a_member_asks_about_is_their_own_work_and_a_services_is_nobodys(api: Api) -> None:
    await limit(api, daily="5")
    images = {"feature": "ai_image.generate", "quantity": "6", "attributes": {"tier": "low"}}

    async def allowed(client: httpx2.AsyncClient, **about: str) -> bool:
        answer = said(await client.post(f"{api.path}/quotes", json={"items": [images | about]}))
        return bool(answer["allowed"])

    assert not await allowed(api.member)
    assert not await allowed(api.client("admin", member=ADA))
    assert await allowed(api.member, member_id=GRACE)
    assert await allowed(api.service)


async def test_a_soft_limit_marks_quotes_and_holds_and_refuses_none(api: Api) -> None:
    await limit(api, monthly="5", hard=False)

    within, beyond = await quote(api, 5), await quote(api, 6)
    placed = said(await hold(api, "a", "50"), 201)

    assert (within["allowed"], within["warning"]) == (True, None)
    assert (beyond["allowed"], beyond["warning"], beyond["items"][0]["warning"]) == (
        True,
        "member_limit",
        "member_limit",
    )
    assert placed["warning"] == "member_limit"


async def test_no_limit_and_a_limit_of_nothing_are_not_the_same(api: Api) -> None:
    await limit(api, daily="0")
    assert (await quote(api, 1))["reason"] == "member_limit"
    await limit(api, daily=None)
    assert (await quote(api, 1))["allowed"] is True


@pytest.mark.parametrize("body", [{"daily": "-1"}, {"monthly": "9999999999999"}, {"daily": 5}, {"weekly": "1"}])
async def test_a_limit_that_makes_no_sense_is_refused(api: Api, body: dict[str, Any]) -> None:
    answer = await api.admin.put(f"{api.path}/members/{ADA}/limit", json=body)

    assert answer.status_code == 422
    assert answer.json()["code"] in ("invalid_request", "invalid_limit", "invalid_credits")


async def test_a_hundred_who_spend_at_once_for_a_member_stop_exactly_at_the_limit(running: Api) -> None:
    api = running
    await api.begin()
    await limit(api, daily="20", monthly="1000")
    await api.tell(used(7))
    async with projecting(api.settings.needed("database").partition("?")[0]):
        answers = await asyncio.gather(*(hold(api, str(n), "1") for n in range(100)))

    assert Counter(answer.status_code for answer in answers) == {201: 13, 403: 87}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 403} == {"member_limit"}


async def test_what_a_hold_did_not_use_and_what_was_taken_back_can_be_used_again(api: Api) -> None:
    await limit(api, daily="10")
    placed = said(await hold(api, "a", "10"), 201)
    assert (await quote(api, 1))["reason"] == "member_limit"

    said(
        await api.service.post(
            f"{api.path}/holds/{placed['id']}/capture", json={"credits": "4"}, headers=key("capture")
        )
    )
    assert [(await quote(api, images))["allowed"] for images in (6, 7)] == [True, False]
    now = datetime.now(UTC)
    (usage,) = (await api.tell(used(6))).places
    assert (await quote(api, 1))["allowed"] is False
    await api.tell(
        UsageVoided(
            usage_source="/features/test", usage_id=f"fact_{api.told}", usage_position=usage.position,
            usage_occurred_at=now, credits=6 * MICRO, feature="ai_image.generate", reason="it failed", member_id=ADA,
        )
    )  # fmt: skip
    assert (await quote(api, 6))["allowed"] is True


async def test_a_day_is_the_teams_own_also_when_the_clock_changes_and_a_month_is_a_calendar_month(api: Api) -> None:
    api.team_id, api.zone = "team_berlin", "Europe/Berlin"
    await api.team(zone=api.zone)
    # 25 October 2026 has 25 hours: from 22:00 UTC of the 24th to 23:00 UTC.
    for at, credits in (
        ("2026-09-30T21:59:59", 1), ("2026-09-30T22:00:00", 2), ("2026-10-24T21:59:59", 4), ("2026-10-24T22:00:00", 8),
        ("2026-10-25T22:59:59", 16), ("2026-10-25T23:00:00", 32), ("2026-10-31T23:00:00", 64),
    ):  # fmt: skip
        await api.tell(used(credits), used(1_000, GRACE), at=datetime.fromisoformat(f"{at}Z"))
    await api.tell(
        HoldCaptured(hold_id="h", credits=128 * MICRO, member_id=ADA), at=datetime(2026, 10, 25, 12, tzinfo=UTC)
    )

    async def told(now: str) -> tuple[int, int]:
        found = await spending(api, datetime.fromisoformat(f"{now}Z"))
        return found.today // MICRO, found.month // MICRO

    async def every() -> list[tuple[int, int]]:
        nows = ("2026-10-24T12:00:00", "2026-10-25T22:59:59", "2026-10-25T23:00:00", "2026-10-31T23:00:00")
        return [await told(now) for now in nows]

    in_the_tail = await every()
    async with projecting(api.settings.needed("database").partition("?")[0]):
        await until(lambda: folded(api))
        projected = await every()

    assert in_the_tail == [(4, 2 + 4), (8 + 16 + 128, 158), (32, 190), (64, 64)]
    assert projected == [(4, 6), (152, 158), (32, 190), (64, 64)]


async def folded(api: Api) -> bool:
    """The projector has everything of the team's shard."""
    behind = await api.connection.fetchval(
        "SELECT sum(h.next - 1 - coalesce(c.position, 0)) FROM shard_heads h "
        "LEFT JOIN checkpoints c ON c.shard = h.shard AND c.reader LIKE 'projector_of_%'"
    )
    return bool(behind == 0)


async def test_a_hold_past_its_end_no_longer_counts_against_a_limit(api: Api) -> None:
    await limit(api, daily="10")
    said(await hold(api, "a", "10"), 201)

    assert (await spending(api, datetime.now(UTC))).held == 10 * MICRO
    assert (await spending(api, datetime.now(UTC) + timedelta(hours=1))).held == 0
