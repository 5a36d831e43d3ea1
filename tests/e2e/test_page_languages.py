"""The page in another language, and with a host's own texts: every word of it, and nothing of another."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from deploy.docs.page_texts import english
from tests.support.api import Api
from tests.support.page import BOUGHT, SMALL, Visit, used, visiting

DOCS = (Path(__file__).parents[2] / "docs" / "page.md").read_text("utf-8")
# Of the English texts those that could be nothing else, as long as nothing is filled in.
WORDS = {text for forms in english().values() for text in forms if "{" not in text and (" " in text or len(text) > 8)}
SAID = """() => {
    const said = [];
    const walk = (root) => {
        for (const element of root.querySelectorAll("*")) {
            for (const node of element.childNodes) if (node.nodeType === Node.TEXT_NODE) said.push(node.data.trim());
            said.push(element.ariaLabel ?? "", element.getAttribute("placeholder") ?? "");
            if (element.shadowRoot) walk(element.shadowRoot);
        }
    };
    walk(document);
    return said;
}"""
TOLD = """names => {
    window.told = [];
    for (const name of names)
        document.addEventListener(name, ({ type, detail }) => told.push([type, detail.code ?? detail.threshold]), true);
}"""


async def english_on(page: Page) -> set[str]:
    """What of the page is English, as it is now."""
    said: list[str] = await page.evaluate(SAID)
    assert len(said) > 100
    return set(said) & WORDS


async def test_every_word_of_the_page_is_german_where_the_reader_is(running: Api, browser: Browser) -> None:
    await running.begin()
    await running.tell(used(1), BOUGHT, used(2_999.5))
    async with visiting(running, browser, size=SMALL, locale="de-DE") as visit:
        page = await german(visit)
        await expect(page.locator("credit-balance")).to_contain_text("4.999,5")
        await expect(page.locator("tr[data-id]").nth(1)).to_contain_text("Kauf · Paket Standard")
        await page.locator("tr[data-id] button").first.click()
        await expect(page.locator(".explanation")).to_contain_text("1 image × 4 = 4 Credits")
        await expect(page.locator("tr[data-id]").first).to_contain_text("Preisliste 1")
        await page.get_by_role("button", name="Preisliste ansehen").click()
        await expect(page.get_by_role("region", name="Preisliste")).to_contain_text("pro GB und Tag")
        await page.get_by_role("button", name="Credits kaufen").click()
        await expect(visit.dialog).to_contain_text("48,00\u00a0$ mit Stripe bezahlen")
        assert await english_on(page) == set()
        assert await page.evaluate("document.documentElement.scrollWidth") <= SMALL["width"]

        await page.keyboard.press("Escape")
        await page.locator("top-up-settings").get_by_role("button", name="Aufladen einschalten").click()
        await expect(visit.dialog).to_contain_text("Gespeichert wird: Unter 500 Credits werden 2.000 Credits für")
        await visit.dialog.get_by_label("Schwelle").fill("1.5.0")
        await expect(visit.dialog).to_contain_text("Schwelle: Geben Sie eine Zahl ein, etwa 1.234,5.")
        assert await english_on(page) == set()
        assert await page.evaluate("document.documentElement.lang + document.title") == "deNutzung"


async def german(visit: Visit) -> Page:
    """The page with everything drawn."""
    await visit.page.goto(visit.link())
    await expect(visit.page.locator("credit-balance").get_by_text(re.compile("^Live · Stand"))).to_be_visible()
    await expect(visit.page.locator("tr[data-id]").first).to_be_visible()
    await expect(visit.page.locator("usage-chart").get_by_role("img")).to_be_visible()
    return visit.page


async def test_what_keeps_the_page_away_is_said_in_german_too(running: Api, browser: Browser) -> None:
    await running.begin()
    async with visiting(running, browser, locale="de-DE") as visit:
        visit.forget("ERR_FAILED")
        await visit.page.route("**/v1/**", lambda route: route.abort())
        await visit.page.goto(visit.link())
        await expect(visit.page.locator("credit-activity")).to_contain_text("Der Server hat nicht geantwortet.")
        await expect(visit.page.locator("credit-balance")).to_contain_text("Das Guthaben konnte nicht geladen werden.")
        await expect(visit.page.locator("usage-chart")).to_contain_text("Das Diagramm konnte nicht geladen werden.")
        assert await english_on(visit.page) == set()

        await visit.page.goto("about:blank")
        await visit.page.goto(f"{running.url}/usage#lang=de")
        await expect(visit.page.get_by_role("alert")).to_contain_text("Diese Seite kann nicht angezeigt werden.")


@pytest.mark.parametrize("lang", ["ja-JP", "en_US", "xx"])
async def test_where_there_is_no_translation_words_are_english(running: Api, browser: Browser, lang: str) -> None:
    await running.begin()
    async with visiting(running, browser) as visit:
        await visit.page.goto(f"{visit.link()}&lang={lang}")
        await expect(visit.balance).to_contain_text("3,000")
        assert await visit.page.evaluate("document.documentElement.lang") == "en"


async def test_a_host_gives_texts_of_its_own_and_hears_what_happens(running: Api, browser: Browser) -> None:
    """The block of docs/page.md, in a page of another language than its element."""
    (block,) = re.findall(r"```js\n(const usage = .*?)```", DOCS, re.DOTALL)
    await running.begin()
    async with visiting(running, browser) as visit:
        page = visit.page
        await page.goto(f"{running.url}/usage")
        await page.evaluate(TOLD, ["creditwell-top-up", "creditwell-error"])
        await page.evaluate(
            f"""token => {{
                document.body.replaceChildren(document.createElement("credits-usage"));
                {block}
                usage.lang = "de";
                usage.getToken = () => token;
            }}""",
            visit.token(),
        )
        await expect(page.get_by_role("heading", name="Tokens")).to_be_visible()
        await expect(page.locator("credit-balance")).to_contain_text("Enthalten")

        await page.locator("top-up-settings").get_by_role("button", name="Aufladen einschalten").click()
        await visit.dialog.get_by_role("button", name="Speichern").click()
        await expect(visit.dialog).to_have_count(0)
        await expect(page.locator("top-up-settings .rule")).to_contain_text("werden 2.000 tokens")
        assert await page.evaluate("told") == [["creditwell-top-up", "500"]]

        visit.forget("401")
        await page.locator("credits-usage").evaluate(
            "(usage, token) => { usage.getToken = () => token; }", visit.token(lasts=timedelta(hours=-1))
        )
        await visit.until("told.some(([name, code]) => name === 'creditwell-error' && code === 'unauthenticated')")
