"""What the page shows of a team that is low, stopped, owed or odd: never less than it is, and never something else."""

import re
from datetime import UTC, datetime, timedelta

from playwright.async_api import Browser, Route, expect

from schemas.credits import MICRO
from schemas.facts import CreditsGranted, CreditsPurchased, HoldCaptured, HoldPlaced, TopUpSuspended
from tests.support.api import Api
from tests.support.desk import Desk
from tests.support.page import Visit, save_card, used, visiting

LONG_AGO = timedelta(minutes=90)
WIDTH = "bar => bar.firstElementChild.getBoundingClientRect().width / bar.getBoundingClientRect().width"
DATES = "table => [...table.querySelectorAll('tr[data-id] td.at time')].map((time) => time.dateTime)"


async def set_top_ups(api: Api, **changes: object) -> None:
    settings = {
        "enabled": True,
        "threshold": "1000",
        "credits": "2000",
        "monthly_cap": {"amount": 2_000, "currency": "usd"},
    }
    answer = await api.client("admin", member="mem_2").put(f"{api.path}/top-up", json=settings | changes)
    assert answer.is_success, answer.text


async def test_a_team_that_is_low_looks_low(visit: Visit) -> None:
    await visit.api.tell(used(2_960))

    page = await visit.open()

    await expect(visit.balance).to_contain_text("Low: below 300")
    assert await visit.balance.locator(".bar").evaluate(WIDTH) < 0.05
    await expect(page.get_by_text("Credits are low.")).to_be_visible()


async def test_a_worse_banner_is_never_hidden_by_a_lesser_one_and_still_leads_out(visit: Visit) -> None:
    await set_top_ups(visit.api)
    stopped = TopUpSuspended(cause="declines", reason="the card was declined three times", declines=3, fingerprint="f")
    await visit.api.tell(stopped, used(6_000))

    page = await visit.open()

    banner = page.get_by_role("status").filter(has_text="Your team has run out of credits.")
    await expect(banner).to_contain_text("3,000 credits were used beyond your balance.")
    await expect(banner).to_contain_text("Top-ups are paused. The card was declined three times")
    await expect(banner.get_by_role("button")).to_have_text("Change card")
    await expect(visit.balance).to_contain_text("None left")


async def test_a_cap_that_is_too_small_for_the_next_top_up_is_said_while_there_is_time(
    visit: Visit, desk: Desk
) -> None:
    await save_card(visit.api, desk)
    await set_top_ups(visit.api)
    await visit.api.tell(used(2_500))
    page = await visit.open()

    await expect(visit.balance).to_contain_text("2,500")  # the month's one top-up was made
    await expect(visit.top_ups).to_contain_text("Can't run")
    banner = page.get_by_role("status").filter(has_text="The next top-up can't run.")
    await expect(banner).to_contain_text("$20.00 of this month's $20.00 are charged or under way")
    await expect(banner.get_by_role("button")).to_have_text("Configure top-ups")


async def test_names_and_forecast_that_failed_once_come_back(running: Api, browser: Browser) -> None:
    await running.begin()
    await running.tell(*(used(50, member="mem_1") for _ in range(2)))
    past = {"by": "day", "days": 30, "since": str(datetime.now(UTC).date() - timedelta(29)), "position": "0:1"}
    days = [str(datetime.now(UTC).date() - timedelta(back)) for back in range(1, 8)]
    items = [{"day": day, "credits": "100", "uses": 1, "features": {}, "members": {}} for day in days]
    failed: list[str] = []

    async def fail_once(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name not in failed:
            failed.append(name)
            await route.abort()
        elif "by=day" in name:
            await route.fulfill(json={**past, "items": items})
        else:
            await route.continue_()

    async with visiting(running, browser) as visit:
        await visit.page.route(re.compile(r"/v1/teams/\w+$|/usage\?by=day&days=30"), fail_once)
        await visit.open()

        await expect(visit.entries.first.locator("td.member")).to_have_text("Ada")
        await expect(visit.balance).to_contain_text(re.compile(r"Lasts about \d+"))
        assert len(failed) == 2
        visit.forget("ERR_FAILED")


async def test_rows_stand_in_the_order_of_the_time_that_they_show_and_red_is_for_what_went_past_zero(
    visit: Visit,
) -> None:
    api, before = visit.api, datetime.now(UTC)
    await api.tell(used(1), at=before - LONG_AGO)
    gift = CreditsGranted(credits=5_000 * MICRO, reason="a week of it", expires_at=before + timedelta(days=7))
    await api.tell(used(2_999), gift)
    await api.tell(used(4), at=before)  # of before the gift, recorded after it
    await api.tell(used(5_100))
    await visit.open()

    shown = await visit.activity.get_by_role("table").evaluate(DATES)
    assert shown == sorted(shown, reverse=True)
    await expect(visit.entries.nth(4)).to_contain_text(re.compile(r"happened \w{3} \d+, "))
    for row, words, red in ((1, "Credits that came later", False), (0, "Past zero", True)):
        await visit.entries.nth(row).get_by_role("button").click()
        chip = visit.activity.locator("tr.why:not([hidden]) .chip", has_text=words)
        await expect(chip).to_have_count(1)
        assert ("overdraft" in str(await chip.get_attribute("class"))) is red


async def test_plain_credits_that_were_captured_are_work_under_a_hold_among_features(visit: Visit) -> None:
    ends = datetime.now(UTC) + timedelta(hours=1)
    await visit.api.tell(used(), HoldPlaced(hold_id="h", credits=9 * MICRO, expires_at=ends))
    await visit.api.tell(HoldCaptured(hold_id="h", credits=9 * MICRO))

    await visit.open()

    await expect(visit.chart.locator(".legend li")).to_have_text(["Work under a hold", "AI image"])
    await visit.chart.get_by_text("By member", exact=True).click()
    await expect(visit.chart.locator(".legend li")).to_have_text(["No member", "Ada"])


async def test_a_purchase_says_its_price_and_its_number(visit: Visit) -> None:
    receipt = CreditsPurchased(
        credits=2_000 * MICRO, pack="mini", payment_intent_id="pi_2", charge_cents=2_000, currency="usd", member_id="mem_2"
    )  # fmt: skip
    (place,) = (await visit.api.tell(receipt)).places

    await visit.open()

    await expect(visit.entries.first).to_contain_text(f"$20.00 · payment #{place.position}")
