"""The Usage page in a real browser, before a real API, Kafka, PostgreSQL, recorder and projector.

Test names are sentences of the page that the product's customers read, or what they may expect beyond it.
"""

import asyncio
import re
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest
from playwright.async_api import Browser, Page, Response, Route, ViewportSize, expect

from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import ChargeRefunded, CreditsGranted, HoldPlaced, UsageVoided
from services.runtime.clock import system_clock
from tests.conftest import a_database
from tests.support.api import Api, an_api
from tests.support.desk import Desk
from tests.support.limits import limits_clock
from tests.support.page import BOUGHT, DESKTOP, PHONE, SMALL, Scheme, Visit, save_card, used, visiting
from tests.support.usage import reported
from tests.support.waiting import until

WATCH_WHAT_MOVES = """
    window.moved = 0;
    const add = (list) => list.getEntries().forEach(({ value }) => (window.moved += value));
    new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
"""
MORE = "new CustomEvent('activity', { detail: { items: [], more: true } })"  # as after a stream that missed much


async def test_the_balance_card_shows_your_total_credits_along_with_a_breakdown_of_included_and_additional(
    visit: Visit,
) -> None:
    await visit.api.tell(BOUGHT, used(519.5))

    await visit.open()

    await expect(visit.balance).to_contain_text("7,480.5")
    await expect(visit.balance).to_contain_text(re.compile(r"Included\s*2,480\.5\s*of 3,000"))
    await expect(visit.balance).to_contain_text(re.compile(r"Additional\s*5,000"))


async def test_if_you_have_a_next_refill_date_it_appears_below_the_breakdown(visit: Visit) -> None:
    await visit.open()

    await expect(visit.balance).to_contain_text(re.compile(r"Next refill \w{3} \d+, in \d+ days"))


async def test_held_credits_are_shown_when_there_are_any(visit: Visit) -> None:
    await visit.open()
    await expect(visit.balance).not_to_contain_text("Held")

    ends = system_clock() + timedelta(hours=1)
    await visit.api.tell(HoldPlaced(hold_id="h", credits=240 * MICRO, expires_at=ends))

    await expect(visit.balance).to_contain_text(re.compile(r"Held for running work\s*240"))


async def test_each_entry_shows_the_date_event_type_the_team_member_who_used_it_and_the_credit_amount(
    visit: Visit,
) -> None:
    await visit.api.tell(used(), BOUGHT)

    await visit.open()

    headings = await visit.activity.get_by_role("columnheader").all_inner_texts()
    first, second = [await visit.activity.get_by_role("row").nth(n).inner_text() for n in (1, 2)]
    assert headings == ["Date", "Event", "Team member", "Credits"]
    assert re.search(r"\w{3} \d+, .*Purchase · Standard pack.*Grace.*\+5,000", first, re.DOTALL)
    assert re.search(r"\w{3} \d+, .*AI image.*Feature usage · 1 image × 4 · rate card 1.*Ada.*−4", second, re.DOTALL)


async def test_you_can_filter_activity_by_time_range_and_page_through_the_results(visit: Visit) -> None:
    await visit.api.tell(*(used() for _ in range(60)))
    page = await visit.open()
    pages = [await entries(visit)]

    for _ in range(2):
        await visit.activity.get_by_role("button", name="Older").click()
        await expect(visit.activity.get_by_text(f"{25 * len(pages) + 1}–")).to_be_visible()
        pages.append(await entries(visit))
    await expect(visit.activity.get_by_role("button", name="Older")).to_be_disabled()
    await visit.activity.get_by_role("button", name="Newer").click()
    await expect(visit.activity.get_by_text("26–50")).to_be_visible()

    assert [len(shown) for shown in pages] == [25, 25, 11]
    assert len({entry for shown in pages for entry in shown}) == 61
    assert await entries(visit) == pages[1]
    for days in ("1 day", "30 days"):
        async with page.expect_response(lambda answer: "/activity?" in answer.url) as asked:
            await visit.activity.get_by_role("radio", name=days, exact=True).locator("..").click()
        assert f"days={days.split()[0]}" in (await asked.value).url
        await expect(visit.activity.get_by_text("1–25")).to_be_visible()


async def entries(visit: Visit) -> list[str]:
    """The ids of the entries on the page."""
    rows = visit.entries
    return [await row.get_attribute("data-id") or "" for row in await rows.all()]


async def test_who_pages_by_keyboard_keeps_the_place_and_a_single_page_has_nothing_to_turn(visit: Visit) -> None:
    page = await visit.open()
    older = visit.activity.get_by_role("button", name="Older")
    await expect(older).to_have_count(0)
    await visit.api.tell(*(used() for _ in range(60)))
    await page.reload()
    await visit.open()

    await older.focus()
    for shown in ("26–50", "51–61"):
        await page.keyboard.press("Enter")
        await expect(visit.activity.get_by_text(shown)).to_be_visible()
        await expect(visit.activity.get_by_role("heading")).to_be_in_viewport()  # one reads on from the top
        if shown == "26–50":
            await expect(older).to_be_focused()


async def test_the_log_can_be_narrowed_to_one_type_and_one_member(visit: Visit) -> None:
    await visit.api.tell(used(member="mem_1"), used(member="mem_2"), BOUGHT)
    await visit.open()

    await visit.activity.get_by_label("Event type").select_option(label="Feature usage")
    await expect(visit.entries).to_have_count(2)
    await visit.activity.get_by_label("Team member").select_option(label="Ada")
    await expect(visit.entries).to_have_count(1)
    await expect(visit.entries).to_contain_text("Ada")

    await visit.activity.get_by_label("Event type").select_option(label="Refunds")
    await expect(visit.activity).to_contain_text("Nothing matches in the last 7 days")


async def test_whoever_was_erased_is_called_so(visit: Visit) -> None:
    await visit.api.tell(used())
    await visit.api.operator.delete(f"{visit.api.path}/members/mem_1?erase=true")

    await visit.open()

    await expect(visit.entries.first).to_contain_text("Erased member")
    await expect(visit.activity).not_to_contain_text("mem_1")


async def test_the_download_holds_what_the_filter_shows(visit: Visit) -> None:
    await visit.api.tell(used(), BOUGHT)
    page = await visit.open()
    await visit.activity.get_by_label("Event type").select_option(label="Feature usage")

    async with page.expect_download() as downloading:
        await visit.activity.get_by_role("button", name="Download CSV").click()
    download = await downloading.value

    lines = (await download.path()).read_text("utf-8").splitlines()
    assert re.fullmatch(rf"credit-activity-{visit.api.team_id}-[\d-]+-to-[\d-]+\.csv", download.suggested_filename)
    assert len(lines) == 2
    assert "usage,AI image,mem_1,ai_image.generate,-4" in lines[1]


async def test_an_entry_says_why_it_is_what_it_is_also_to_the_keyboard_alone(visit: Visit) -> None:
    await visit.api.tell(used())
    page = await visit.open()

    await visit.activity.get_by_role("button", name="AI image").focus()
    await page.keyboard.press("Enter")

    why = visit.activity.locator(".explanation")
    await expect(why).to_contain_text(
        "AI image, standard · 4 credits per image · rate card 1, in force since Jan 1, 2025"
    )
    await expect(why).to_contain_text("1 image × 4 = 4 credits")
    await expect(why).to_contain_text(re.compile(r"Included credits.* 4"))
    await expect(why).to_contain_text(re.compile(r"Balance after\s*2,996$"))
    await expect(why.locator("dt")).to_have_text(["When", "Rate", "Formula", "Paid by", "Balance after"])  # no charge
    await page.keyboard.press("Enter")
    await expect(why).to_be_hidden()


async def test_an_entry_says_whose_credits_it_took_or_gave_back_and_names_the_charge_behind_it(
    running: Api, browser: Browser
) -> None:
    await running.begin()
    (usage,) = (await running.tell(used())).places
    taken_back = UsageVoided(
        usage_source="/features/test", usage_id=f"fact_{running.told}", usage_position=usage.position,
        usage_occurred_at=system_clock(), credits=4 * MICRO, feature="ai_image.generate", reason="it was never delivered",
    )  # fmt: skip
    (bought,) = (await running.tell(BOUGHT)).places
    refunded = ChargeRefunded(
        payment_intent_id="pi_1", lot=bought.position, refunded_cents=2_400, currency="usd", clawed_credits=2_500 * MICRO,
        charge_cents=4_800,
    )  # fmt: skip
    await running.tell(taken_back, refunded)

    for role, names_it in (("admin", 1), ("member", 0)):
        async with visiting(running, browser) as visit:
            await visit.open(role)
            for name, detail, said in (
                (
                    "Refund",
                    f"$24.00 of $48.00 refunded so far · payment #{bought.position}",
                    r"Taken from\s*Purchased credits",
                ),
                ("AI image, taken back", "It was never delivered", r"Given back to\s*Included credits"),
                ("Purchase · Standard pack", f"$48.00 · payment #{bought.position}", r"Charge\s*\$48\.00"),
            ):
                await expect(visit.entries.filter(has_text=name)).to_contain_text(detail)
                await visit.activity.get_by_role("button", name=name).click()
                why = visit.activity.locator(f"tr[data-id]:has-text('{name}') + tr")
                await expect(why).to_contain_text(re.compile(said))
            await expect(visit.activity.get_by_text("pi_1")).to_have_count(2 * names_it)


async def test_you_can_find_the_rate_card_by_clicking_see_rate_card_at_the_bottom_of_the_usage_tab(
    visit: Visit,
) -> None:
    page = await visit.open()

    await page.get_by_role("button", name="See rate card").click()
    card = page.get_by_role("region", name="Rate card")

    names = ["Video export", "AI video generation", "AI image generation", "AI audio", "AI effects", "Storage"]
    await expect(card.locator("caption")).to_have_text(names)
    for words in (
        "per use",
        "per image",
        "per second",
        "per character",
        "per GB/day",
        "Card 1, in force since Jan 1, 2025",
    ):
        await expect(card.get_by_text(words).first).to_be_visible()
    high = card.get_by_role("row").filter(has_text="AI image · High")
    assert re.search(r"Pro\s*Top-ups.*15", await high.inner_text(), re.DOTALL)


async def test_usage_appears_on_the_open_page_without_a_reload(visit: Visit) -> None:
    await visit.open()

    event = reported(visit.api.team_id, "now", source="/features/images", quantity="2")
    assert (await visit.api.service.post("/v1/usage", json=event)).status_code == 202

    await expect(visit.entries.first).to_contain_text("AI image")
    await expect(visit.balance).to_contain_text("2,998")


async def test_who_reads_an_older_page_is_told_of_new_activity_and_not_moved(visit: Visit) -> None:
    await visit.api.tell(*(used() for _ in range(30)))
    await visit.open()
    await visit.activity.get_by_role("button", name="Older").click()
    await expect(visit.activity.get_by_text("26–31")).to_be_visible()
    before = await entries(visit)

    await visit.api.tell(CreditsGranted(credits=MICRO, reason="welcome"))

    await expect(visit.activity.get_by_role("button", name="New activity")).to_be_visible()
    assert await entries(visit) == before
    await visit.activity.get_by_role("button", name="New activity").click()
    await expect(visit.entries.first).to_contain_text("Promotional credits")


async def test_a_dropped_stream_says_so_reconnects_and_shows_what_was_missed(running: Api, browser: Browser) -> None:
    await running.begin()
    async with visiting(running, browser) as visit:
        await visit.open()
        await visit.context.set_offline(True)
        await expect(visit.balance.get_by_text("Offline, trying again").first).to_be_visible()
        await visit.api.tell(CreditsGranted(credits=7 * MICRO, reason="meanwhile"))

        await visit.context.set_offline(False)

        await expect(visit.balance).to_contain_text("3,007")
        await expect(visit.entries.first).to_contain_text("Promotional credits")
        visit.forget("ERR_INTERNET_DISCONNECTED")


async def test_what_is_recorded_while_the_log_loads_is_in_it(visit: Visit) -> None:
    page = visit.page

    async def connect_late(route: Route) -> None:
        await expect(visit.entries).to_have_count(1)
        await visit.api.tell(CreditsGranted(credits=MICRO, reason="before the stream began"))
        await route.continue_()

    async def answer_with_what_was(route: Route) -> None:
        answer = await route.fetch()
        await visit.api.tell(CreditsGranted(credits=MICRO, reason="after the page was read"))
        await expect(visit.balance).to_contain_text("3,002")
        await route.fulfill(response=answer)

    await page.route("**/stream", connect_late, times=1)
    await visit.open()
    await expect(visit.entries.first).to_contain_text("Before the stream began")
    await page.route("**/activity?*", answer_with_what_was, times=1)
    await visit.activity.get_by_role("radio", name="30 days").locator("..").click()
    await expect(visit.entries).to_have_count(3)
    await expect(visit.entries.first).to_contain_text("After the page was read")


async def test_an_open_explanation_stays_open_when_the_log_is_asked_for_anew(visit: Visit) -> None:
    page = await visit.open()
    await page.route("**/stream", lambda route: route.abort())
    toggle = visit.entries.first.get_by_role("button")
    await toggle.press("Enter")
    await expect(visit.activity.locator(".explanation")).to_be_visible()

    async with page.expect_response("**/activity?*"):
        await page.evaluate("() => document.querySelector('credits-usage').session.dispatchEvent(" + MORE + ")")

    await expect(visit.activity.locator(".explanation")).to_be_visible()
    await expect(toggle).to_be_focused()
    visit.forget("ERR_FAILED")


async def test_an_element_that_is_taken_from_the_page_asks_nothing_more_and_begins_again_when_it_is_back(
    visit: Visit,
) -> None:
    page = await visit.open()
    await page.evaluate("() => { window.usage = document.querySelector('credits-usage'); usage.remove(); }")
    asked = len(visit.asked)

    await page.evaluate("() => usage.session.dispatchEvent(" + MORE + ")")
    await page.wait_for_timeout(200)
    assert visit.asked[asked:] == []
    await page.evaluate("() => document.querySelector('main').append(usage)")

    await visit.api.tell(CreditsGranted(credits=MICRO, reason="welcome"))
    await expect(visit.balance).to_contain_text("3,001")
    await expect(visit.entries.first).to_contain_text("Promotional credits")


async def test_elements_share_a_stream_by_way_to_tokens_and_team(visit: Visit) -> None:
    page = await visit.open()

    shared = await page.evaluate(
        """() => {
            const getToken = () => "";
            const [one, same, other] = ["team_1", "team_1", "team_2"].map((team) => {
                const element = document.createElement("credit-balance");
                element.setAttribute("team", team);
                element.getToken = getToken;
                return element.session;
            });
            return [one === same, one === other, other.team];
        }"""
    )

    assert shared == [True, False, "team_2"]


async def test_a_part_whose_code_does_not_come_says_so(visit: Visit) -> None:
    await visit.api.tell(used())
    page = await visit.open()
    await page.route("**/rate-card.js", lambda route: route.abort())

    await page.get_by_role("button", name="See rate card").click()
    await expect(page.get_by_text("The rate card did not load.")).to_be_visible()
    await visit.entries.first.get_by_role("button").press("Enter")
    await visit.activity.get_by_role("button", name="rate card 1").click()
    await expect(visit.dialog).to_contain_text("The rate card did not load.")
    visit.forget("ERR_FAILED")


async def test_what_does_not_load_says_so_tries_again_and_can_be_hurried(running: Api, browser: Browser) -> None:
    await running.begin()
    async with visiting(running, browser) as visit:
        await visit.page.route("**/v1/**", lambda route: route.abort())
        await visit.page.goto(visit.link())
        await expect(visit.activity).to_contain_text("The activity did not load.")
        await expect(visit.activity).to_contain_text(re.compile(r"It tries again in \d+ s\."))

        await visit.page.unroute("**/v1/**")
        hurry = visit.activity.get_by_role("button", name="Try now")
        await hurry.focus()
        await expect(visit.activity).to_contain_text("The server did not answer.")
        await expect(visit.activity.get_by_role("alert")).not_to_contain_text("again")  # or it is read out each second
        await asyncio.sleep(1.1)
        await expect(hurry).to_be_focused()
        await visit.page.keyboard.press("Enter")

        await expect(visit.activity.get_by_text("Included credits refilled").first).to_be_visible()
        visit.forget("ERR_FAILED")


async def test_who_asked_too_often_waits_as_long_as_the_api_says_and_goes_on(
    stack: Stack, template: str, browser: Browser
) -> None:
    with limits_clock() as clock:
        async with (
            a_database(stack, template) as database,
            an_api(stack, database, api_person_requests_per_minute=20) as api,
        ):
            await api.begin()
            async with visiting(api, browser) as visit:
                admin = api.client("admin", member="mem_2")
                while (await admin.get("/v1/packs")).status_code != 429:
                    pass
                asked, told = when_streams_are_asked_for(visit.page)

                await visit.page.goto(visit.link())

                await expect(visit.activity).to_contain_text(re.compile("One person may ask 20 times a minute"))
                await expect(visit.activity).to_contain_text(re.compile(r"It tries again in \d+ s\."))
                await until(partial(is_not_empty, told), what="the stream is refused")
                clock.pass_by(60)
                await expect(visit.page.get_by_text("Live · as of")).to_be_visible(timeout=90_000)
                assert told[0] > 2, "by itself, the page would try again after half a second"
                assert len(asked) > 1
                for wait, (before, after) in zip(told, pairwise(asked), strict=False):
                    assert after - before >= wait
                visit.forget("429")


async def is_not_empty(told: list[float]) -> bool:
    return bool(told)


def when_streams_are_asked_for(page: Page) -> tuple[list[float], list[float]]:
    """The moments of the requests by the browser's clock, and for how long the answers say to wait; both grow with time."""
    asked: list[float] = []
    told: list[float] = []

    def note_answer(answer: Response) -> None:
        if answer.url.endswith("/stream"):
            asked.append(answer.request.timing["startTime"] / 1_000)
            told.append(float(answer.headers.get("retry-after", 0)))

    page.on("response", note_answer)
    return asked, told


async def test_the_token_leaves_the_address_at_once_and_is_kept_nowhere(visit: Visit) -> None:
    page = await visit.open()
    token = visit.link().partition("#token=")[2]

    assert page.url == f"{visit.api.url}/usage"
    assert not [url for url in visit.asked if token[:20] in url.partition("#")[0]]
    assert await page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


async def test_without_a_sign_in_or_after_its_end_the_page_says_what_to_do(running: Api, browser: Browser) -> None:
    await running.begin()
    async with visiting(running, browser) as visit:
        for link in (
            f"{running.url}/usage",
            f"{running.url}/usage#token=nonsense",
            visit.link("member", lasts=timedelta(seconds=-5)),
        ):
            await visit.page.goto("about:blank")
            await visit.page.goto(link)
            await expect(visit.page.get_by_text("Open Usage from your product again.")).to_be_visible()
        visit.forget("401")


async def test_a_sign_in_that_ends_while_the_page_is_open_says_so(running: Api, browser: Browser) -> None:
    await running.begin()
    async with visiting(running, browser) as visit:
        await visit.page.goto(visit.link("member", lasts=timedelta(hours=1)))
        await expect(visit.page.get_by_text("Live · as of")).to_be_visible()

        with running.clock.later(timedelta(hours=1)):
            await running.tell(used())  # or the stream would look at the clock in a while
            await expect(visit.page.get_by_text("Your sign-in has ended")).to_be_visible()
        visit.forget("401")


async def test_a_balance_past_zero_is_stated(visit: Visit) -> None:
    await visit.api.tell(used(3_100.5))

    page = await visit.open()

    await expect(page.get_by_text("Your team has run out of credits.")).to_be_visible()
    await expect(visit.balance).to_contain_text("−100.5")
    await expect(visit.balance).to_contain_text("used beyond your balance")


async def test_insecure_development_says_so_on_the_page(visit: Visit) -> None:
    page = await visit.open()

    await expect(
        page.get_by_text("Insecure development: tokens are signed by a key that everybody knows.")
    ).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, SMALL])
async def test_a_phone_keeps_date_and_member_and_scrolls_one_way_only(
    running: Api, browser: Browser, scheme: Scheme, size: ViewportSize
) -> None:
    await running.begin()
    await running.tell(used(), BOUGHT)
    async with visiting(running, browser, scheme, size) as visit:
        page = await visit.open()

        row = visit.entries.filter(has_text="AI image")
        await expect(row.get_by_text(re.compile(r"\w{3} \d+, .* · Ada"))).to_be_visible()
        await page.get_by_role("button", name="See rate card").click()
        await expect(page.get_by_role("region", name="Rate card").get_by_text("Storage", exact=True)).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"]


async def test_nothing_on_the_page_is_inline_or_from_elsewhere_and_its_policy_says_so(visit: Visit) -> None:
    page = await visit.page.goto(visit.link())
    assert page is not None
    policy, shell = page.headers["content-security-policy"], await page.text()

    assert "script-src 'self'; style-src 'self'; connect-src 'self'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", shell)
    await visit.open()
    assert all(url.startswith((visit.api.url, "blob:", "data:")) for url in visit.asked)


async def test_nothing_jumps_while_the_page_loads(running: Api, desk: Desk, browser: Browser) -> None:
    await running.begin()
    await save_card(running, desk)
    await running.tell(*(used(member=f"mem_{n % 2 + 1}") for n in range(30)))
    settings = {"enabled": True, "threshold": "100", "credits": "2000"}
    assert (await running.client("admin", member="mem_2").put(f"{running.path}/top-up", json=settings)).is_success
    for size in (DESKTOP, PHONE):
        async with visiting(running, browser, size=size) as visit:
            await visit.page.add_init_script(WATCH_WHAT_MOVES)
            await visit.page.route(re.compile("/(balance|activity|usage|stream)"), answer_late)
            await visit.open()
            await expect(visit.chart).to_contain_text("Credits used: 120")
            assert (
                await visit.page.evaluate("moved") < 0.25
            )  # more is what Web Vitals call poor; a quiet machine has 0.05


async def answer_late(route: Route) -> None:
    """As over a slow line, so that the page shows for a while that it loads."""
    if "/v1/" in route.request.url:
        await asyncio.sleep(0.7)
    await route.continue_()
