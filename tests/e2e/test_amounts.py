"""Amounts that people type: read as their language writes them, refused otherwise, and read back before anything is saved."""

import re
from itertools import product
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.support.api import Api
from tests.support.desk import Desk
from tests.support.page import pay, save_card, visiting

LOCALES = (
    "en-US", "de-DE", "ja-JP", "fr-FR", "de-CH", "de-AT", "es-ES", "pl-PL", "sv-SE", "en-IN", "hi-IN", "en-ZA", "pt-PT",
    "ar-EG", "fa-IR", "bn-BD",
)  # fmt: skip
WRITTEN = ("0", "5", "1234", "12345.678", "123456.5", "1234567", "999999999999.123456")
CREDITS: tuple[tuple[str, str, str | None], ...] = (
    ("en-US", "19,99", None), ("en-US", "1,999", "1999"), ("en-US", "1,999.5", "1999.5"), ("en-US", "1,2345", None),
    ("en-US", "1 000", "1000"), ("en-US", "1 9", None), ("en-US", "0,500", None), ("en-US", ".5", "0.5"), ("en-US", "5.", None),
    ("en-US", "1,000 000", None), ("en-US", "5\u00b2", None), ("en-US", "-5", None), ("en-US", "$5", None), ("en-US", "007", "7"),
    ("en-US", "1234567890123", None), ("en-US", "1.1234567", None), ("en-US", "", None), ("en-US", "\u096a", None),
    ("de-DE", "1,5", "1.5"), ("de-DE", "200.00", None), ("de-DE", "1.999,99", "1999.99"), ("de-DE", "1.500", "1500"),
    ("ja-JP", "1,5", None), ("ja-JP", "\uff11\uff0c\uff15\uff10\uff10\uff0e\uff15", "1500.5"), ("fr-FR", "1 234,5", "1234.5"), ("fr-FR", "1.234", None),
    ("de-CH", "1'234.5", "1234.5"), ("en-IN", "12,34,567", "1234567"), ("en-IN", "1,234,567", "1234567"), ("en-IN", "1,23", None),
    ("ar-EG", "19.99", None), ("es-ES", "1234,5", "1234.5"),
)  # fmt: skip
MONEY: tuple[tuple[str, str, str, int | None], ...] = (
    ("en-US", "usd", "19.99", 1_999), ("en-US", "usd", "19,99", None), ("en-US", "usd", "19.999", None), ("en-US", "usd", "$20", 2_000),
    ("en-US", "usd", "20 USD", 2_000), ("en-US", "usd", "\u20ac20", None), ("en-US", "usd", "2$0", None), ("en-US", "usd", "$20$", None),
    ("de-DE", "eur", "200.00", None), ("de-DE", "eur", "200,00 \u20ac", 20_000), ("de-DE", "kwd", "1,234", 1_234),
    ("ja-JP", "jpy", "\uffe51,500", 1_500), ("ja-JP", "jpy", "500.5", None), ("ja-JP", "usd", "19,99", None), ("en-CA", "usd", "US$5", 500),
)  # fmt: skip
READ = """async ({ locales, written, credits, money, texts }) => {
    const { reading } = await import("/usage/amounts.js");
    const write = (locale, number) => new Intl.NumberFormat(locale, { maximumFractionDigits: 6 }).format(number);
    return {
        own: locales.map((locale) => written.map((number) => reading(locale).typed(write(locale, number)))),
        credits: credits.map(([locale, text]) => reading(locale).typed(text)),
        money: money.map(([locale, currency, text]) => reading(locale).typedMoney(text, currency)),
        every: ["en-US", "de-DE"].map(reading).map(({ typed }) => texts.map((text) => typed(text))),
    };
}"""
SHORT = tuple("".join(signs) for length in range(1, 8) for signs in product("01,.", repeat=length))


async def test_an_amount_is_what_the_language_writes_or_none(running: Api, browser: Browser) -> None:
    given = {"locales": LOCALES, "written": WRITTEN, "credits": CREDITS, "money": MONEY, "texts": SHORT}
    async with visiting(running, browser) as visit:
        await visit.page.goto(f"{running.url}/usage")
        read: dict[str, Any] = await visit.page.evaluate(READ, given)

    assert dict(zip(LOCALES, read["own"], strict=True)) == {locale: list(WRITTEN) for locale in LOCALES}
    assert [(*case[:-1], amount) for case, amount in zip(CREDITS, read["credits"], strict=True)] == list(CREDITS)
    assert [(*case[:-1], amount) for case, amount in zip(MONEY, read["money"], strict=True)] == list(MONEY)
    for (group, point), amounts in zip(((",", "."), (".", ",")), read["every"], strict=True):
        expected = [as_the_rule_says(text, group, point) for text in SHORT]
        assert [case for case in zip(SHORT, amounts, expected, strict=True) if case[1] != case[2]] == []


def as_the_rule_says(text: str, group: str, point: str) -> str | None:
    """The rule once more: at most one decimal sign, group signs before three digits each and after one to three."""
    whole, sign, part = text.partition(point)
    first, *others = whole.split(group)
    if (sign and not part.isdigit()) or len(part) > 6:
        return None
    if others and (not 1 <= len(first) <= 3 or first.startswith("0") or any(len(other) != 3 for other in others)):
        return None
    digits = first + "".join(others)
    if not (digits + part).isdigit() or (digits and not digits.isdigit()):
        return None
    plain = digits.lstrip("0") or "0"
    return f"{plain}.{part}" if part else plain


@pytest.mark.parametrize(
    ("locale", "typed", "echoed", "otherwise", "pack", "seconds"),
    [
        ("en-US", "1,999.50", "$1,999.50", "19,99", "$48.00", "1.5"),
        ("da-DK", "1.999,50", "1.999,50\u00a0US$", "200.00", "48,00\u00a0US$", "1,5"),
        ("ja-JP", "\uff11,\uff19\uff19\uff19.5", "$1,999.50", "19,99", "$48.00", "1.5"),
    ],
    ids=["en-US", "da-DK", "ja-JP"],  # Danish numbers are as German ones, and its words are English
)
async def test_a_reader_buys_caps_and_calculates_with_the_signs_of_their_own_language(
    running: Api, desk: Desk, browser: Browser, locale: str, typed: str, echoed: str, otherwise: str, pack: str, seconds: str
) -> None:  # fmt: skip
    await running.begin()
    await save_card(running, desk)
    admin = running.client("admin", member="mem_2")
    before = {"enabled": False, "threshold": "500", "credits": "2000", "cool_down_seconds": 90}
    assert (await admin.put(f"{running.path}/top-up", json=before)).is_success
    async with visiting(running, browser, locale=locale) as visit:
        page = await visit.open()
        await visit.top_ups.get_by_role("button", name="Enable top-ups").click()
        cap, save = (
            visit.dialog.get_by_label("Most to charge in a month"),
            visit.dialog.get_by_role("button", name="Save"),
        )
        await cap.fill(otherwise)
        await expect(visit.dialog.get_by_role("alert")).to_contain_text(
            "Most to charge in a month: write an amount of money"
        )
        await expect(cap).to_have_attribute("aria-invalid", "true")
        await expect(save).to_be_disabled()
        await cap.fill(typed)
        await expect(visit.dialog).to_contain_text(f"at most {echoed} a\u00a0month")
        await expect(save).to_be_enabled()
        await cap.evaluate("field => (field.value = '5')")  # behind the reader's back: what was read back is saved
        await save.click()
        await expect(visit.top_ups).to_contain_text(f"at most {echoed} a\u00a0month")
        kept = (await admin.get(f"{running.path}/top-up")).json()
        assert kept["monthly_cap"] == {"amount": 199_950, "currency": "usd"}
        assert kept["cool_down_seconds"] == 90, "what nobody touched stays, also where it is shown rounded"

        await page.get_by_role("button", name="Buy credits").click()
        await pay(page, visit.dialog.get_by_role("button", name=f"Pay {pack} with Stripe"), press=r"^Pay ")
        await expect(visit.dialog).to_contain_text(re.compile(r"5[,.]000 credits were added"))
        await visit.dialog.get_by_role("button", name="Close").click()

        await page.get_by_role("button", name="See rate card").click()
        card = page.get_by_role("region", name="Rate card")
        await card.get_by_label("Feature").select_option(label="AI video clip \u00b7 High")
        await card.get_by_label("How many").fill("1,5" if seconds == "1.5" else "1.5")
        await expect(card.get_by_role("status")).to_have_text(f"How many: write a number above 0, such as {seconds}.")
        await card.get_by_label("How many").fill(seconds)
        await expect(card.get_by_role("status")).to_contain_text(
            re.compile(rf"^{re.escape(seconds)} seconds = 37[,.]5 credits")
        )
