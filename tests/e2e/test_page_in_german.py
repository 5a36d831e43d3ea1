"""Every state of the page in German: axe finds nothing, nothing is wider than the screen or cut off, and no word is English."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from schemas.credits import MICRO
from schemas.facts import CreditsGranted, HoldPlaced, TopUpSuspended
from tests.e2e.test_page_for_everybody import findings
from tests.e2e.test_page_languages import english_on, german
from tests.e2e.test_page_states import set_top_ups
from tests.support.api import Api
from tests.support.desk import Desk
from tests.support.page import BOUGHT, DESKTOP, PHONE, Scheme, Visit, save_card, used, visiting

SCREENS: list[tuple[ViewportSize, Scheme]] = [(DESKTOP, "light"), (PHONE, "dark")]
ON_EACH_SCREEN = pytest.mark.parametrize(("size", "scheme"), SCREENS, ids=["desktop", "phone"])
# Text that does not fit into what it is in: buttons, headings, cells, whatever deep inside. What may scroll does so by intent.
CUT_OFF = """() => {
    const cut = [];
    const walk = (root) => {
        for (const element of root.querySelectorAll("*")) {
            if (element.shadowRoot) walk(element.shadowRoot);
            const { overflowX, clipPath, position } = getComputedStyle(element);
            const hides = overflowX === "hidden" || overflowX === "clip";
            const isText = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
            if (isText && hides && clipPath === "none" && position !== "absolute" && element.scrollWidth > element.clientWidth + 1)
                cut.push(element.textContent.trim().slice(0, 60));
        }
    };
    walk(document);
    return cut;
}"""


async def looked_at(page: Page, state: str) -> None:
    """As it is now, in every respect."""
    size = page.viewport_size
    assert size is not None
    assert await findings(page) == [], state
    assert await english_on(page) == set(), state
    assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"], state
    assert await page.evaluate(CUT_OFF) == [], state


@asynccontextmanager
async def a_german(api: Api, browser: Browser, size: ViewportSize, scheme: Scheme) -> AsyncIterator[Visit]:
    async with visiting(api, browser, scheme, size, locale="de-DE", bypass_csp=True, reduced_motion="reduce") as visit:
        yield visit


@ON_EACH_SCREEN
async def test_what_an_admin_of_a_team_at_work_sees(
    running: Api, browser: Browser, size: ViewportSize, scheme: Scheme
) -> None:
    await running.begin()
    gift = CreditsGranted(credits=5_000 * MICRO, reason="ein Test", expires_at=datetime.now(UTC) + timedelta(days=7))
    await running.tell(used(), BOUGHT, gift, used(9, feature="ai_audio.music"), used(12, member="mem_2"))
    await running.tell(HoldPlaced(hold_id="h", credits=9 * MICRO, expires_at=datetime.now(UTC) + timedelta(hours=1)))
    async with a_german(running, browser, size, scheme) as visit:
        page = await german(visit)
        await expect(page.locator("credit-balance")).to_contain_text("Reserviert")
        await page.locator("tr[data-id] button").first.click()
        await expect(page.locator(".explanation")).to_contain_text("Bezahlt aus")
        await looked_at(page, "an entry explained")

        await page.get_by_role("button", name="Preisliste ansehen").click()
        await expect(page.get_by_role("region", name="Preisliste")).to_contain_text("pro GB und Tag")
        await page.locator("usage-chart").get_by_text("Tabelle", exact=True).click()
        await expect(page.locator("usage-chart").get_by_role("table")).to_contain_text("Alle")
        await looked_at(page, "rate card and table")

        await page.locator("usage-chart").get_by_text("Diagramm", exact=True).click()
        await page.locator("usage-chart").get_by_text("Nach Mitglied", exact=True).click()
        await expect(page.locator("usage-chart .legend li")).to_have_count(2)
        await looked_at(page, "by member")

        await page.get_by_role("button", name="Credits kaufen").click()
        await expect(visit.dialog.get_by_role("radio").first).to_be_visible()
        await looked_at(page, "packs")


@ON_EACH_SCREEN
async def test_the_form_of_top_ups_and_what_is_wrong_in_it(
    running: Api, browser: Browser, size: ViewportSize, scheme: Scheme
) -> None:
    await running.begin()
    await running.tell(used())
    async with a_german(running, browser, size, scheme) as visit:
        visit.forget("422")  # what such settings would have charged is not asked of them
        page = await german(visit)
        await page.locator("top-up-settings").get_by_role("button", name="Aufladen einschalten").click()
        await expect(visit.dialog).to_contain_text("Gespeichert wird:")
        await visit.dialog.get_by_text("Weitere Grenzen").click()
        await looked_at(page, "settings")

        await visit.dialog.get_by_label("Schwelle").fill("1.5.0")
        await expect(visit.dialog).to_contain_text("Geben Sie eine Zahl ein")
        await looked_at(page, "a number that is none")

        await visit.dialog.get_by_label("Schwelle").fill("500")
        await visit.dialog.get_by_text("Auffüllen", exact=True).click()
        await visit.dialog.get_by_label("Auffüllen auf").fill("501")
        await expect(visit.dialog).to_contain_text("aufgefüllt wird mindestens bis", ignore_case=True)
        await looked_at(page, "settings that can't be")


@ON_EACH_SCREEN
async def test_a_team_whose_credits_and_top_ups_have_stopped(
    running: Api, browser: Browser, size: ViewportSize, scheme: Scheme
) -> None:
    await running.begin()
    await set_top_ups(running)
    stopped = TopUpSuspended(cause="declines", reason="the card was declined three times", declines=3, fingerprint="f")
    await running.tell(stopped, used(6_000))
    async with a_german(running, browser, size, scheme) as visit:
        page = await german(visit)
        await expect(page.get_by_text("Ihr Team hat keine Credits mehr.")).to_be_visible()
        await expect(page.get_by_role("status").filter(has_text="Die Karte wurde dreimal abgelehnt")).to_be_visible()
        await looked_at(page, "paused and past zero")


@ON_EACH_SCREEN
async def test_a_cap_that_is_too_small_is_said_in_one_language(
    running: Api, browser: Browser, desk: Desk, size: ViewportSize, scheme: Scheme
) -> None:
    await running.begin()
    await save_card(running, desk)
    await set_top_ups(running)
    await running.tell(used(6_000))
    async with a_german(running, browser, size, scheme) as visit:
        page = await german(visit)
        banner = page.get_by_role("status").filter(has_text="Ihr Team hat keine Credits mehr.")
        await expect(banner).to_contain_text(
            "4.000 Credits kosten 40,00\u00a0$, und von 20,00\u00a0$ dieses Monats sind 0,00\u00a0$ abgebucht oder unterwegs"
        )
        await looked_at(page, "past zero, and the cap is too small")


@ON_EACH_SCREEN
async def test_what_a_member_sees_who_may_not_pay(
    running: Api, browser: Browser, size: ViewportSize, scheme: Scheme
) -> None:
    await running.begin()
    await running.tell(used(2_960))
    async with a_german(running, browser, size, scheme) as visit:
        page = visit.page
        await page.goto(visit.link("member"))
        await expect(page.locator("tr[data-id]").first).to_be_visible()
        await expect(page.get_by_text("Das Guthaben ist niedrig.")).to_be_visible()
        await page.locator("credit-activity").get_by_label("Art des Eintrags").select_option(label="Erstattungen")
        await expect(page.locator("credit-activity")).to_contain_text("Keine passenden Einträge")
        await looked_at(page, "low, and nothing matches")

        await page.get_by_role("button", name="Credits kaufen").first.click()
        await expect(visit.dialog).to_contain_text("Ihr Admin: Grace.")
        await looked_at(page, "asking an admin")


@ON_EACH_SCREEN
async def test_a_page_that_cannot_be_shown(running: Api, browser: Browser, size: ViewportSize, scheme: Scheme) -> None:
    await running.begin()
    async with a_german(running, browser, size, scheme) as visit:
        visit.forget("ERR_FAILED", "401")
        await visit.page.route("**/v1/**", lambda route: route.abort())
        await visit.page.goto(visit.link())
        await expect(visit.page.locator("credit-activity")).to_contain_text("Der Verlauf konnte nicht geladen werden.")
        await expect(visit.page.locator("usage-chart")).to_contain_text("Das Diagramm konnte nicht geladen werden.")
        await expect(visit.page.locator("h1")).to_be_visible()  # until then the page waits for answers, unseen
        await looked_at(visit.page, "nothing answers")

        await visit.page.unroute("**/v1/**")
        await visit.page.goto("about:blank")
        await visit.page.goto(visit.link(lasts=timedelta(hours=-1)))
        await expect(visit.page.get_by_role("alert")).to_contain_text("Diese Seite kann nicht angezeigt werden.")
        assert await findings(visit.page) == []
