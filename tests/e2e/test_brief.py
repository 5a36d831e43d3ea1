"""An admin and a member walk through what customers are told, from top to bottom, in a real browser before the real stack.

Each test's name is the sentence that it proves. Stripe is played by the stand-in, whose pages are clicked through as a person would.
"""

import re

import pytest
from playwright.async_api import Browser, Page, expect

from schemas.credits import MICRO
from schemas.facts import CreditsGranted, TopUpSuspended
from tests.support.api import Api
from tests.support.desk import Desk
from tests.support.page import Visit, pay, save_card, used, visiting
from tests.support.usage import reported

PACKS = (("Mini", "2,000", "$20.00"), ("Standard", "5,000", "$48.00"), ("Large", "10,000", "$92.00"), ("Bulk", "25,000", "$220.00"))  # fmt: skip
HEARD = "heard = []; document.addEventListener('creditwell-purchase', ({ detail }) => heard.push(detail.state), true)"
SETTINGS = {
    "enabled": True,
    "threshold": "1000",
    "credits": "2000",
    "monthly_cap": {"amount": 20_000, "currency": "usd"},
}


async def test_your_included_credits_are_used_first_once_they_run_out_your_additional_credits_are_used(
    visit: Visit,
) -> None:
    await visit.api.tell(CreditsGranted(credits=500 * MICRO, reason="welcome"), used(2_990), used(30))
    await visit.open()

    await expect(visit.balance).to_contain_text(re.compile(r"Included\s*0\s*of 3,000"))
    await expect(visit.balance).to_contain_text(re.compile(r"Additional\s*480"))
    await visit.entries.first.get_by_role("button").click()
    paid = visit.activity.locator(".explanation .paid")
    await expect(paid.nth(0)).to_contain_text(re.compile(r"Included credits.* 10"))
    await expect(paid.nth(1)).to_contain_text(re.compile(r"Promotional credits.* 20"))


async def test_choose_from_one_of_the_available_packs_payment_is_processed_through_stripe_and_the_credits_are_added(
    visit: Visit,
) -> None:
    page = await visit.open()
    await page.evaluate(HEARD)
    had = 3_000
    for name, credits, price in PACKS:
        await page.get_by_role("button", name="Buy credits").click()
        pack = visit.dialog.locator("label", has_text=name)
        await expect(pack).to_contain_text(f"{credits} credits")
        await expect(pack).to_contain_text(price)
        await pack.click()
        had += int(credits.replace(",", ""))
        await expect(visit.dialog).to_contain_text(f"New balance {had:,}")

        await pay(page, visit.dialog.get_by_role("button", name=f"Pay {price} with Stripe"), press=r"^Pay ")

        await expect(visit.dialog).to_contain_text(f"{credits} credits were added")
        await visit.dialog.get_by_role("button", name="Close").click()
        await expect(visit.balance).to_contain_text(f"{had:,}")
        await expect(visit.entries.first).to_contain_text(f"Purchase · {name} pack")
        await expect(visit.entries.first).to_contain_text("Grace")
    assert await page.evaluate("heard") == ["credited"] * len(PACKS), "what a host product hears of it"


async def test_who_leaves_stripe_without_paying_has_bought_nothing(visit: Visit) -> None:
    page = await visit.open()
    await page.get_by_role("button", name="Buy credits").click()

    await pay(page, visit.dialog.get_by_role("button", name="Pay $48.00 with Stripe"), press="Cancel")

    await expect(visit.dialog).to_contain_text("This page updates when you have paid")
    await pay(page, visit.dialog.get_by_role("button", name="Open the payment page again"), press="Cancel")
    await visit.dialog.get_by_role("button", name="Close").click()
    await expect(visit.balance).to_contain_text("3,000")


async def test_if_you_are_not_a_team_admin_you_will_see_a_message_to_contact_your_admin(visit: Visit) -> None:
    page = await visit.open("member")

    await page.get_by_role("button", name="Buy credits").click()

    await expect(visit.dialog).to_contain_text("Only team admins can buy credits.")
    await expect(visit.dialog).to_contain_text("Your admin: Grace.")
    await expect(visit.dialog.get_by_role("radio")).to_have_count(0)
    await visit.dialog.get_by_role("button", name="Copy a request for them").click()
    await expect(visit.dialog.get_by_role("button", name="Copied")).to_be_visible()

    await page.keyboard.press("Escape")
    await page.route(f"**{visit.api.path}", lambda route: route.abort())
    await page.evaluate("document.querySelector('credits-usage').session.renew('')")
    await page.get_by_role("button", name="Buy credits").click()
    await expect(visit.dialog).to_contain_text("The names of your admins did not load.")
    visit.forget("ERR_FAILED")


async def test_other_team_members_will_be_asked_to_contact_their_admin_about_top_ups(visit: Visit) -> None:
    page = await visit.open("member")

    for place in (page.get_by_role("status").filter(has_text="Automatic top-ups are off"), visit.top_ups):
        await place.get_by_role("button", name="Enable top-ups").click()
        await expect(visit.dialog).to_contain_text("Only team admins can enable or change automatic top-ups.")
        await expect(visit.dialog).to_contain_text("Grace")
        await page.keyboard.press("Escape")
        await expect(visit.dialog).to_have_count(0)


async def test_to_set_up_top_ups_click_enable_top_ups_in_the_banner_and_choose_how_many_credits_to_add_each_time(
    visit: Visit, desk: Desk
) -> None:
    await save_card(visit.api, desk)
    page = await visit.open()

    await page.get_by_role("status").get_by_role("button", name="Enable top-ups").click()
    await visit.dialog.get_by_label("Threshold").fill("1,000")
    await visit.dialog.get_by_label("Credits to add").fill("5,000")
    await visit.dialog.get_by_label("Most to charge in a month").fill("200")
    await expect(visit.dialog).to_contain_text(re.compile(r"credits for\s*\$50\.00"))
    await expect(visit.dialog).to_contain_text("After a big drop, one charge adds that amount as often as needed")
    await expect(visit.dialog).to_contain_text("In the last 30 days this would have charged nothing.")
    await expect(visit.dialog).to_contain_text("Saving charges nothing now.")
    await visit.dialog.get_by_role("button", name="Save").click()

    rule = (
        "When available credits drop below 1,000, add 5,000 credits for $50.00, at most $200.00 a month. "
        "After a big drop, one charge adds that amount as often as needed to get back to 1,000."
    )
    await expect(visit.top_ups).to_contain_text(rule)
    await expect(visit.top_ups).to_contain_text("Visa ···· 4242")
    await expect(page.get_by_role("status").get_by_role("button", name="Enable top-ups")).to_have_count(0)
    assert await charged(desk, visit.api.team_id) == []


async def charged(desk: Desk, team_id: str) -> list[int]:
    """What Stripe took from a team, in cents."""
    customer = await desk.charges.ensure_customer(team_id)
    answer = await desk.http.get("/v1/charges", params={"customer": customer})
    return [charge["amount"] for charge in answer.json()["data"] if charge["status"] == "succeeded"]


async def test_you_can_change_the_amount_or_turn_off_top_ups_at_any_time(visit: Visit) -> None:
    page = await enabled(visit)

    await visit.top_ups.get_by_role("button", name="Configure top-ups").click()
    await expect(visit.dialog).to_contain_text(re.compile(r"credits for\s*\$20\.00"))
    busy = {"code": "catching_up", "detail": "the balance is catching up; try again in a moment"}
    await page.route("**/top-up/simulate", lambda route: route.fulfill(status=503, json=busy))
    await visit.dialog.get_by_label("Credits to add").fill("5,000")
    await expect(visit.dialog.get_by_role("alert")).to_contain_text("catching up")
    await expect(visit.dialog.get_by_role("button", name="Save")).to_be_disabled()
    await expect(visit.dialog).not_to_contain_text("$20.00")
    await page.unroute("**/top-up/simulate")
    await visit.dialog.get_by_role("button", name="Try now").click()
    await expect(visit.dialog).to_contain_text(re.compile(r"credits for\s*\$50\.00"))

    await visit.dialog.get_by_text("Fill up", exact=True).click()
    await visit.dialog.get_by_label("Fill up to").fill("100")
    await expect(visit.dialog.get_by_role("alert")).to_contain_text(
        "Fill up to at least 500 credits above the threshold."
    )
    await expect(visit.dialog.get_by_role("button", name="Save")).to_be_disabled()
    visit.forget("422", "503")
    await visit.dialog.get_by_label("Fill up to").fill("8,000")
    await visit.dialog.get_by_role("button", name="Save").click()
    await expect(visit.top_ups).to_contain_text("fill it up to 8,000 credits")

    await visit.top_ups.get_by_role("button", name="Configure top-ups").click()
    await visit.dialog.get_by_role("switch").click()
    await expect(visit.dialog).to_contain_text("Top-ups are off. Nothing is charged")
    await visit.dialog.get_by_role("button", name="Save").click()
    await expect(visit.top_ups.get_by_role("button", name="Enable top-ups")).to_be_visible()
    await page.get_by_role("status").get_by_role("button", name="Enable top-ups").click()
    await expect(visit.dialog.get_by_role("switch")).to_be_checked()


async def enabled(visit: Visit) -> Page:
    """The page of a team with top-ups."""
    answer = await visit.api.client("admin", member="mem_2").put(f"{visit.api.path}/top-up", json=SETTINGS)
    assert answer.is_success, answer.text
    return await visit.open()


async def test_who_changes_settings_that_somebody_else_has_changed_meanwhile_is_told(visit: Visit) -> None:
    await enabled(visit)
    await visit.top_ups.get_by_role("button", name="Configure top-ups").click()
    await expect(visit.dialog.get_by_label("Threshold")).to_have_value("1,000")
    admin = visit.api.client("admin", member="mem_2")
    await admin.put(f"{visit.api.path}/top-up", json={"enabled": True, "threshold": "700", "credits": "2000"})

    await visit.dialog.get_by_role("button", name="Save").click()

    await expect(visit.dialog.get_by_role("alert")).to_contain_text("Somebody else changed the settings")
    await expect(visit.top_ups).to_contain_text("below 700")
    await expect(visit.dialog.get_by_label("Threshold")).to_have_value("700")
    await visit.dialog.get_by_role("button", name="Save").click()
    await expect(visit.dialog).to_have_count(0)
    visit.forget("412")


async def test_automatic_top_ups_add_credits_to_your_balance_whenever_it_drops_below_a_threshold(
    visit: Visit, desk: Desk
) -> None:
    await save_card(visit.api, desk)
    page = await enabled(visit)
    address = page.url

    event = reported(visit.api.team_id, "much", source="/features/images", quantity="2100")
    assert (await visit.api.service.post("/v1/usage", json=event)).status_code == 202

    # The page stays open: usage, the charge and its credits appear on it by themselves.
    await expect(visit.activity).to_contain_text("Automatic top-up")
    await expect(visit.balance).to_contain_text("2,900")
    assert page.url == address
    assert await charged(desk, visit.api.team_id) == [2_000]
    await visit.activity.get_by_role("button", name="Automatic top-up").click()
    await expect(visit.activity.locator(".explanation")).to_contain_text(re.compile(r"Charge\s*\$20\.00 · ch_\w+"))
    await expect(visit.activity.get_by_role("link", name="Open the receipt")).to_have_attribute(
        "href", re.compile("http")
    )
    simulated = await visit.api.client("admin", member="mem_2").post(f"{visit.api.path}/top-up/simulate", json=SETTINGS)
    assert [charge["amount"] for charge in simulated.json()["charges"]] == [2_000]  # as it was


async def test_a_bank_that_wants_to_see_an_admin_is_said_in_the_banner_and_the_same_payment_is_confirmed(
    visit: Visit, desk: Desk
) -> None:
    await save_card(visit.api, desk, "pm_card_authenticationRequired")
    await visit.api.tell(used(2_100))
    page = await enabled(visit)
    banner = page.get_by_role("status").filter(has_text="Confirm your payment.")

    await expect(banner).to_contain_text("Your bank needs an admin to confirm this payment.")
    await pay(page, banner.get_by_role("button", name="Confirm payment"), press="Complete authentication")

    await expect(visit.balance).to_contain_text("2,900")
    await expect(banner).to_have_count(0)
    assert await charged(desk, visit.api.team_id) == [2_000]


async def test_top_ups_that_a_card_has_stopped_say_so_with_the_reason_and_the_way_out(visit: Visit, desk: Desk) -> None:
    card = await save_card(visit.api, desk)
    suspended = TopUpSuspended(
        cause="declines", reason="the card was declined three times", declines=3, fingerprint=card.fingerprint
    )
    await visit.api.tell(suspended, used(2_100))
    page = await enabled(visit)
    banner = page.get_by_role("status").filter(has_text="Top-ups are paused.")

    await expect(banner).to_contain_text(
        "The card was declined three times; another card, or a purchase, ends the pause."
    )
    await expect(visit.activity).to_contain_text("Top-up not made")
    await pay(page, banner.get_by_role("button", name="Change card"), press="Save card", card="Mastercard")

    # The new card ends the pause, and the top-up that was due is made.
    await expect(visit.balance).to_contain_text("2,900")
    await expect(banner).to_have_count(0)


async def test_saving_while_the_balance_is_low_says_first_what_will_be_charged(visit: Visit, desk: Desk) -> None:
    await save_card(visit.api, desk)
    await visit.api.tell(used(2_800))
    page = await visit.open()

    await page.get_by_role("status").get_by_role("button", name="Enable top-ups").click()
    await expect(visit.dialog).to_contain_text("saving now will charge $20.00 to Visa ···· 4242")
    await visit.dialog.get_by_role("button", name="Save").click()

    await expect(visit.balance).to_contain_text("2,200")


async def test_top_ups_without_a_card_say_so_and_lead_to_stripe(visit: Visit) -> None:
    page = await enabled(visit)
    await expect(visit.top_ups).to_contain_text("No card yet.")
    await page.route("**/top-up-form.js", lambda route: route.abort())
    await visit.top_ups.get_by_role("button", name="Configure top-ups").click()
    await expect(visit.top_ups.get_by_role("alert")).to_contain_text("The settings did not open.")
    visit.forget("ERR_FAILED")

    await pay(page, visit.top_ups.get_by_role("button", name="Add a card"), press="Save card")

    await expect(visit.top_ups).to_contain_text("Visa ···· 4242")


async def test_some_features_require_top_ups_to_be_enabled_and_high_quality_requires_a_pro_plan(visit: Visit) -> None:
    page = await visit.open()
    await page.get_by_role("button", name="See rate card").click()
    card = page.get_by_role("region", name="Rate card")

    for feature in (
        "AI video clip · Low",
        "AI image · High",
        "Video background removal",
        "Website scan",
        "Flexible storage",
    ):
        await expect(card.get_by_role("row").filter(has_text=feature)).to_contain_text("Top-ups")
    await expect(card.get_by_role("row").filter(has_text="AI image · High")).to_contain_text("Pro")
    await card.get_by_label("Feature").select_option(label="AI image · High")
    await card.get_by_label("How many").fill("4")
    await expect(card.get_by_role("status")).to_contain_text("4 images = 60 credits, but this needs automatic top-ups")
    await card.get_by_label("Feature").select_option(label="AI image · Low")
    await expect(card.get_by_role("status")).to_have_text("4 images = 4 credits")


async def test_every_team_member_draws_from_the_same_credit_balance(running: Api, browser: Browser) -> None:
    await running.begin()
    async with visiting(running, browser) as admin, visiting(running, browser) as member:
        await admin.open()
        await member.open("member")

        await running.tell(used(250, member="mem_1"), used(50, member="mem_2"))

        for visit in (admin, member):
            await expect(visit.balance).to_contain_text("2,700")
            await expect(visit.entries).to_have_count(3)
            await expect(visit.entries.nth(0)).to_contain_text("Grace")
            await expect(visit.entries.nth(1)).to_contain_text("Ada")


@pytest.mark.parametrize("role", ["admin", "member"])
async def test_receipts_and_cards_are_for_admins_alone(running: Api, browser: Browser, role: str) -> None:
    await running.begin()
    await running.tell(used())
    async with visiting(running, browser) as visit:
        await visit.open(role)

        shown = visit.top_ups.get_by_text("No card yet.")
        await expect(shown).to_have_count(1 if role == "admin" else 0)
