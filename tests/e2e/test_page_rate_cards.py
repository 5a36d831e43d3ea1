"""Rate cards of other times on the page: what was paid before, what will be paid, and which card priced an entry."""

import copy
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, expect

from deploy.local.stack import Stack
from schemas.facts import RATE_CARD_TEAM, NewFact, RateCardPublished
from schemas.rates import parse_rate_card
from services.credits.rate_cards import CARDS
from services.store.append import append
from services.store.numbered import numbered
from tests.conftest import a_database
from tests.e2e.test_page_for_everybody import findings
from tests.support.api import Api, an_api
from tests.support.page import PHONE, Scheme, Visit, used, visiting

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
async def running(stack: Stack, template: str) -> AsyncIterator[Api]:
    """An API of its own, where card 2 made HD export dearer a month ago, and card 3 will make images dearer in a month."""
    async with a_database(stack, template) as database, an_api(stack, database) as api:
        await api.begin()
        first = (await api.member.get("/v1/rate-card")).json()
        second = changed(first, "video_export.render", "0.15")
        third = changed(second, "ai_image.generate", "1.5")
        now = datetime.now(UTC)
        await publish(api, second, now - 30 * DAY)
        answer = await api.operator.post(
            "/v1/rate-cards", json=third | {"effective_from": (now + 30 * DAY).isoformat()}
        )
        assert answer.status_code == 201, answer.text
        yield api


def changed(card: dict[str, Any], feature: str, credits: str) -> dict[str, Any]:
    """The next card: the same, but that one feature's first rate is another."""
    following = copy.deepcopy(card) | {"version": card["version"] + 1}
    features = [known for category in following["categories"] for known in category["features"]]
    next(known for known in features if known["feature"] == feature)["rates"][0]["credits"] = credits
    return following


async def publish(api: Api, card: dict[str, Any], since: datetime) -> None:
    """A card of the past; the API lets nobody publish one."""
    parsed = parse_rate_card(card | {"effective_from": since.isoformat()})
    fact = RateCardPublished(version=parsed.version, effective_from=since, card=parsed.model_dump(mode="json"))
    async with api.connection.transaction():
        await append(api.connection, [NewFact(RATE_CARD_TEAM, CARDS, numbered("card", parsed.version), since, fact)])


async def the_card(visit: Visit) -> Locator:
    """The rate card, opened at the bottom of the page."""
    page = await visit.open()
    await page.get_by_role("button", name="See rate card").click()
    card = page.get_by_role("region", name="Rate card")
    await expect(card).to_contain_text("Card 2, in force since")
    return card


def row(card: Locator, name: str) -> Locator:
    """A rate's row."""
    return card.get_by_role("row").filter(has_text=name).first


async def test_the_card_in_force_says_which_one_takes_its_place_and_when(visit: Visit) -> None:
    card = await the_card(visit)

    await expect(card).to_contain_text(re.compile(r"From \w{3} \d+, \d{4}, card 3 takes its place\."))
    await expect(card.get_by_text("What would this cost?")).to_be_visible()
    await expect(card).not_to_contain_text("today")
    await card.get_by_role("button", name="card 3").click()

    await expect(card).to_contain_text(re.compile(r"Card 3, announced: in force from \w{3} \d+, \d{4}\."))
    await expect(row(card, "AI image · Low")).to_contain_text(re.compile(r"today 1\s*per image\s*1\.5"))
    await expect(card.get_by_text("today")).to_have_count(1)
    await expect(card.get_by_text("What would this cost?")).to_have_count(0)  # it answers for today


async def test_an_earlier_card_can_be_looked_at_beside_what_is_paid_today(visit: Visit) -> None:
    card = await the_card(visit)
    which = card.get_by_label("Which rate card")
    names = await which.locator("option").all_inner_texts()

    await which.select_option(label=names[-1])

    assert [name.partition(",")[0] for name in names] == ["Card 3", "Card 2", "Card 1"]
    assert (names[1], names[2].startswith("Card 1, until ")) == ("Card 2, in force", True)
    await expect(card).to_contain_text("Card 1, in force from Jan 1, 2025 until ")
    await expect(row(card, "Video export · 720p")).to_contain_text(re.compile(r"today 0\.15\s*per second\s*0\.1"))
    await which.select_option(label="Card 2, in force")
    await expect(card).to_contain_text("Card 2, in force since")
    await expect(row(card, "Video export · 720p")).not_to_contain_text("today")


async def test_an_entry_leads_to_the_rate_card_that_priced_it_and_back_to_its_place(visit: Visit) -> None:
    await visit.api.tell(used(), at=datetime.now(UTC) - 40 * DAY)
    page = await visit.open()
    await visit.entries.first.get_by_role("button").click()
    await visit.activity.get_by_role("button", name="rate card 1").click()

    await expect(visit.dialog.get_by_role("heading", name="Rate card 1")).to_be_visible()
    await expect(visit.dialog).to_contain_text("Card 1, in force from Jan 1, 2025 until ")
    await page.keyboard.press("Escape")
    await expect(visit.dialog).to_have_count(0)
    await expect(visit.activity.get_by_role("button", name="rate card 1")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_against_cards_of_other_times(running: Api, browser: Browser, scheme: Scheme) -> None:
    await running.begin()
    async with visiting(running, browser, scheme, PHONE, bypass_csp=True, reduced_motion="reduce") as visit:
        card = await the_card(visit)
        await card.get_by_role("button", name="card 3").click()
        await expect(card).to_contain_text("announced")

        assert await findings(visit.page) == []
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
