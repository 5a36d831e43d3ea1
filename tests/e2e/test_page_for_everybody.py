"""The page for whoever uses it: by keyboard alone, by screen reader, magnified, on a phone, on a slow line, inside another product."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from gzip import compress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, Route, expect

from deploy.local.demo.host import create_app
from deploy.local.stripe import running as serving
from schemas.facts import PlanAssigned
from services.api.tokens import TokenRole
from tests.support.api import Api
from tests.support.page import BOUGHT, PHONE, Scheme, Visit, used, visiting

AXE = Path(__file__).with_name("axe") / "axe.min.js"
SCRIPTS_MAX_BYTES = 40_000
LISTEN = """element => {
    window.heard = [];
    element.addEventListener("creditwell-balance", ({ detail }) => heard.push(["balance", detail.available]));
}"""
CHART = {"/usage/elements/usage-chart.js", "/usage/stacks.js", "/usage/texts/en-later.js"}


async def findings(page: Page) -> list[str]:
    """What axe-core has to say against the page as it is now: rules of WCAG 2.2 A and AA, and best practices."""
    await page.evaluate(AXE.read_text("utf-8"))
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:160]} {one['nodes'][0]['failureSummary'][:200]}"
        for one in found["violations"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_in_either_theme(running: Api, browser: Browser, scheme: Scheme) -> None:
    await running.begin()
    await running.tell(used(), BOUGHT, used(9, feature="ai_audio.music"))
    async with visiting(running, browser, scheme, bypass_csp=True, reduced_motion="reduce") as visit:
        page = await visit.open()
        await visit.entries.first.get_by_role("button").click()
        await expect(visit.activity.locator(".explanation")).to_be_visible()
        await expect(visit.chart.locator("svg[role=img]")).to_be_visible()
        await page.get_by_role("button", name="See rate card").click()
        await expect(page.get_by_role("region", name="Rate card")).to_contain_text("Storage")
        assert await findings(page) == []

        await visit.chart.get_by_text("Table", exact=True).click()
        await page.get_by_role("button", name="Buy credits").click()
        await expect(visit.dialog.get_by_role("radio").first).to_be_visible()
        assert await findings(page) == []

        await page.keyboard.press("Escape")
        await visit.top_ups.get_by_role("button", name="Enable top-ups").click()
        await expect(visit.dialog).to_contain_text("Saving")
        assert await findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_where_there_is_nothing_or_nothing_may_be_shown(
    running: Api, browser: Browser, scheme: Scheme
) -> None:
    await running.begin()
    async with visiting(running, browser, scheme, PHONE, bypass_csp=True, reduced_motion="reduce") as visit:
        page = await visit.open("member")
        await visit.activity.get_by_label("Event type").select_option(label="Refunds")
        await expect(visit.activity).to_contain_text("Nothing matches")
        await page.get_by_role("button", name="Buy credits").click()
        await expect(visit.dialog).to_contain_text("Your admin: Grace.")
        assert await findings(page) == []

        await page.route("**/v1/**", lambda route: route.abort())
        await page.goto("about:blank")
        await page.goto(visit.link())
        await expect(visit.activity).to_contain_text("The activity did not load.")
        assert await findings(page) == []
        visit.forget("ERR_FAILED")


async def test_keyboard_alone_suffices(visit: Visit) -> None:
    await visit.api.tell(used())
    page = await visit.open()
    press = page.keyboard.press

    async def tab_to(name: str) -> None:
        for _ in range(40):
            await press("Tab")
            if name in await focused(page):
                return
        raise AssertionError(f"no way to {name!r}")

    await tab_to("Buy credits")
    await press("Enter")
    await expect(visit.dialog).to_contain_text("New balance 7,996")
    assert "standard" in await focused(page)
    await press("ArrowDown")
    await expect(visit.dialog.get_by_role("button", name="Pay $92.00 with Stripe")).to_be_enabled()
    await press("Escape")
    await expect(visit.dialog).to_have_count(0)
    assert "Buy credits" in await focused(page)  # back where it was

    await tab_to("feature")
    await press("ArrowRight")
    await expect(visit.chart).to_contain_text("Ada")
    await tab_to("AI image")
    await press("Space")
    await expect(visit.activity.locator(".explanation")).to_contain_text("1 image × 4 = 4 credits")
    await tab_to("See rate card")
    await press("Enter")
    await expect(page.get_by_role("heading", name="Rate card")).to_be_focused()


async def focused(page: Page) -> str:
    """The text or value of what has the focus, however deep inside."""
    said: str = await page.evaluate(
        "() => { let e = document.activeElement; while (e?.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;"
        " return `${e?.textContent ?? ''} ${e?.value ?? ''}`; }"
    )
    return said


async def test_magnified_to_200_percent_nothing_is_lost_and_nothing_scrolls_sideways(
    running: Api, browser: Browser
) -> None:
    await running.begin()
    await running.tell(used(), BOUGHT)
    # A window of 1280 pixels at 200 % has 640.
    async with visiting(running, browser, size={"width": 640, "height": 450}) as visit:
        page = await visit.open()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 640
        await expect(visit.entries.first).to_contain_text("Grace")
        await page.get_by_role("button", name="Buy credits").click()
        pay = visit.dialog.get_by_role("button", name="Pay $48.00 with Stripe")
        await pay.scroll_into_view_if_needed()
        await expect(pay).to_be_in_viewport()


async def test_where_the_system_chooses_the_colours_those_that_mean_something_stay(
    running: Api, browser: Browser
) -> None:
    await running.begin()
    await running.tell(used(), BOUGHT)
    async with visiting(running, browser, forced_colors="active") as visit:
        await visit.open()
        await expect(visit.chart.locator(".legend")).to_be_visible()
        bar = visit.balance.locator(".bar .additional")
        assert await bar.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(15, 148, 134)"
        key = "e => getComputedStyle(e, '::before').backgroundColor"
        assert await visit.chart.locator(".legend li").first.evaluate(key) == "rgb(31, 127, 191)"
        chosen = visit.chart.locator("label:has(:checked)").first
        assert await chosen.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"


async def test_the_same_filter_drives_chart_table_activity_and_download(visit: Visit) -> None:
    await visit.api.tell(
        used(10, member="mem_1"), used(20, member="mem_2"), used(5, member="mem_2", feature="ai_audio.music")
    )
    page = await visit.open()
    await expect(visit.chart).to_contain_text("Credits used: 35")
    await expect(visit.chart.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("35 credits used in 7 days")
    )
    await expect(visit.chart.locator(".legend li")).to_have_text(["AI image", "Music"])

    seen = asyncio.Event()

    async def answer(route: Route) -> None:
        await seen.wait()
        await route.continue_()

    await page.route(re.compile(r"/usage\?"), answer)
    await visit.activity.get_by_label("Team member").select_option(label="Grace")
    await expect(visit.chart.locator(".stale")).to_have_css("opacity", "0.5")  # it still shows everybody
    seen.set()

    await expect(visit.chart).to_contain_text("Credits used by Grace: 25")
    await expect(visit.chart.locator(".stale")).to_have_count(0)
    await expect(visit.chart).to_contain_text(f"Days in {visit.api.zone}")
    await visit.chart.get_by_text("Table", exact=True).click()
    table = visit.chart.get_by_role("table")
    assert await table.get_by_role("columnheader").all_inner_texts() == ["Day", "AI image", "Music", "All"]
    assert (await table.get_by_role("row").last.inner_text()).split() == ["All", "20", "5", "25"]
    await visit.chart.get_by_text("1 day", exact=True).click()
    await expect(visit.activity.get_by_role("radio", name="1 day")).to_be_checked()
    await expect(visit.chart).to_contain_text("Credits used today by Grace: 25")
    await expect(visit.chart).to_contain_text(f"Today in {visit.api.zone}")
    await expect(visit.entries).to_have_count(2)
    async with page.expect_download() as downloading:
        await visit.activity.get_by_role("button", name="Download CSV").click()
    download = await downloading.value
    today = datetime.now(UTC).date()
    names = {
        f"credit-activity-{visit.api.team_id}-{day - timedelta(1)}-to-{day}.csv"
        for day in (today, today - timedelta(1))
    }
    assert download.suggested_filename in names
    assert len((await download.path()).read_text("utf-8").splitlines()) == 3


async def test_the_table_of_the_chart_stays_where_it_was_scrolled_to(visit: Visit) -> None:
    await visit.api.tell(used())
    page = await visit.open()
    await visit.chart.get_by_text("30 days", exact=True).click()
    await visit.chart.get_by_text("Table", exact=True).click()
    table = visit.chart.get_by_role("region", name="Credits used per day")
    await expect(table.get_by_role("row")).to_have_count(32)
    await table.focus()
    await table.evaluate("e => e.scrollTo(0, 200)")

    await page.set_viewport_size({"width": 900, "height": 900})  # it is drawn anew, as when usage streams in
    await page.wait_for_timeout(100)

    assert await table.evaluate("e => e.scrollTop") == 200
    await expect(table).to_be_focused()


async def test_how_long_credits_last_is_a_range_and_is_not_said_with_too_little_data(visit: Visit) -> None:
    page = await visit.open()
    await expect(visit.balance).not_to_contain_text("Lasts")

    said = await page.evaluate(
        """async () => {
            const { forecast } = await import("/usage/forecast.js");
            const balance = { available: "1000", included: "0", next_refill_at: null, next_allowance: "0" };
            const known = forecast(Array(29).fill(100), balance);
            const soon = new Date(Date.now() + 4 * 86_400_000).toISOString();
            const refilled = forecast(Array(29).fill(200), { ...balance, next_allowance: "2400", next_refill_at: soon });
            return [forecast([100, 100, 100, 100], balance), forecast(Array(29).fill(0), balance), known.least, known.most,
                refilled.least];
        }"""
    )

    # A fifth slower and faster than the pace; the refill of the fourth day counts: 4 days of 240 from the 1,000, then 10 more.
    assert said == [None, None, pytest.approx(1000 / 120), pytest.approx(1000 / 80), pytest.approx(14 + 40 / 240)]


async def test_amounts_stay_exact_and_are_written_and_read_as_the_readers_language_does(
    running: Api, browser: Browser
) -> None:
    await running.begin()
    await running.tell(used(0.5), BOUGHT)
    async with visiting(running, browser, locale="da-DK") as visit:
        page = await visit.open()
        await expect(visit.balance).to_contain_text("7.999,5")

        said = await page.evaluate(
            """async () => {
                const { plus } = await import("/usage/formats.js");
                const { wordsIn } = await import("/usage/language.js");
                const { credits, inOwnNumbers, money } = await wordsIn("de-DE");
                const { typed, typedMoney } = (await import("/usage/amounts.js")).reading("de-DE");
                return [plus("9007199254740993", "0.000001"), plus("-1.5", "0.25"), typed("1.234,5"), typed("12 Äpfel"),
                    typedMoney("19,99", "usd"), typedMoney("19,999", "usd"), typedMoney("500", "jpy"),
                    credits("9007199254740993.000001"), money({ amount: 123456, currency: "eur" }),
                    inOwnNumbers("1234.5 seconds × 0.015"), inOwnNumbers("1,234.50 EUR of 500 JPY refunded so far")];
            }"""
        )

        assert said[:7] == ["9007199254740993.000001", "-1.25", "1234.5", None, 1999, None, 500]
        assert said[7:9] == ["9.007.199.254.740.993,000001", "1.234,56\u00a0€"]
        assert said[9:] == ["1.234,5 seconds × 0,015", "1.234,50\u00a0€ of 500\u00a0¥ refunded so far"]


async def test_what_is_shipped_before_the_chart_is_small(visit: Visit) -> None:
    await visit.open()

    scripts = {urlsplit(url).path for url in visit.asked if url.endswith(".js")} - CHART
    sizes = {}
    for path in scripts:
        answer = await visit.api.member.get(path)
        assert answer.headers["content-encoding"] == "gzip"
        sizes[path] = len(compress(answer.content))
    assert "/usage/elements/credits-usage.js" in sizes
    assert sum(sizes.values()) <= SCRIPTS_MAX_BYTES, sizes


@pytest.fixture
async def site(running: Api) -> AsyncIterator[str]:
    """A host product's site for a new team, on another origin, which the API lets in."""
    await running.begin()
    (origin,) = running.settings.cors_origins
    people = {"mem_emil": TokenRole.MEMBER, "mem_dana": TokenRole.ADMIN}
    async with serving(create_app(running.url, running.team_id, people), urlsplit(origin).port or 0):
        yield origin


async def test_a_host_product_on_another_origin_embeds_the_elements_in_its_own_colours(
    running: Api, site: str, browser: Browser
) -> None:
    await running.tell(used(100, member="mem_2"))
    async with visiting(running, browser) as visit:
        await visit.page.goto(site)

        await expect(visit.balance.first).to_contain_text("2,900")
        accent = "e => getComputedStyle(e.shadowRoot.querySelector('.bar .included')).backgroundColor"
        assert await visit.page.locator("main > credit-balance").evaluate(accent) == "rgb(163, 25, 91)"
        await visit.page.locator("main > credit-balance").evaluate(LISTEN)
        await running.tell(used(50))
        await expect(visit.balance.first).to_contain_text("2,850")
        await visit.until("heard.some(([name, available]) => name === 'balance' && available === '2850')")
        await visit.page.get_by_text("Credits and usage").click()
        await expect(visit.entries.first).to_contain_text("AI image")


async def test_you_can_switch_between_tiers_in_the_image_generation_prompt(
    running: Api, site: str, browser: Browser
) -> None:
    async with visiting(running, browser) as visit:
        page = visit.page
        await page.goto(site)
        quote, generate = page.locator("#quote"), page.get_by_role("button", name="Generate")

        for tier, words in (("Low", "1 credit"), ("Standard", "4 credits")):
            await page.get_by_role("radio", name=re.compile(tier)).check()
            await expect(quote).to_have_text(words)
            await expect(generate).to_be_enabled()
        await page.get_by_role("radio", name="High").check()
        await expect(quote).to_have_text(re.compile("15 credits: this needs automatic top-ups to be enabled"))
        await expect(generate).to_be_disabled()
        await running.tell(PlanAssigned.model_validate({**free_plan(), "anchor": "2026-01-01T00:00:00Z"}))
        await expect(quote).to_have_text(re.compile("15 credits: this needs the plan Pro"))


async def test_a_host_product_sends_its_own_tab_to_stripe_and_greets_who_comes_back(
    running: Api, site: str, browser: Browser
) -> None:
    async with visiting(running, browser) as visit:
        page = visit.page
        await page.goto(site)
        await page.get_by_label("Signed in as").select_option("mem_dana")
        await page.get_by_text("Credits and usage").click()
        await page.get_by_role("button", name="Buy credits").click()
        await visit.dialog.get_by_role("button", name="Pay $48.00 with Stripe").click()
        await page.get_by_role("button", name="Pay $48.00").click()

        await expect(visit.dialog).to_contain_text("5,000 credits were added")
        assert "purchase" not in page.url


def free_plan() -> dict[str, object]:
    """What a team on the free plan has."""
    return {"plan": "free", "zone": "UTC", "allowance_credits": 0, "notice_threshold_credits": 0}
