"""The pictures of the README: the real page of a team that has worked for a month. `--screenshots` writes them into docs/."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from operator import itemgetter
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, expect

from deploy.local.demo.host import create_app
from deploy.local.demo.stage import IMAGES, IMAGES_SOURCE
from deploy.local.stripe import running as serving
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import CreditsPurchased, HoldPlaced, UsageRecorded
from schemas.pricing import CompiledCard
from services.api.tokens import TokenRole, mint
from services.credits.directory import DirectoryMember, name_team, put_member
from tests.support.api import Api
from tests.support.desk import Desk
from tests.support.node import need_node, serving_node
from tests.support.page import DESKTOP, PHONE, Scheme, Visit, save_card, visiting
from tests.support.waiting import until

DOCS = Path(__file__).parents[2] / "docs"
PICTURE_MAX_BYTES = 200_000
DAYS = 26
GAINED, HELD, THRESHOLD = (
    5_000,
    60,
    2_500,
)  # the plan's credits and a pack; for work that runs; below it a top-up is made
QUIET_DAYS = (2, 3)  # of each seven before now
PROJECTED = "SELECT position = (SELECT max(position) FROM facts WHERE team_id = $1) FROM balance WHERE team_id = $1"
# Not all of it within this test; only a superuser who switches the trigger off can.
RECORDED_THEN = """
    UPDATE facts SET recorded_at = CASE type WHEN 'usage.recorded.v1' THEN occurred_at ELSE $2 END WHERE team_id = $1
"""
CARD = CompiledCard(load_catalog().rate_card)
WORK: tuple[tuple[str, dict[str, str], int, int], ...] = (
    ("ai_video.generate", {"tier": "standard"}, 4, 9), ("ai_image.generate", {"tier": "high"}, 1, 2),
    ("ai_audio.voiceover", {}, 600, 1_800), ("video_export.render", {"resolution": "1080p"}, 40, 140),
    ("ai_image.generate", {"tier": "standard"}, 1, 4), ("ai_audio.music", {}, 20, 90), ("ai_effects.lip_sync", {}, 3, 9),
    ("ai_effects.upscale_image", {"scale": "4x"}, 1, 2), ("ai_audio.transcribe", {}, 200, 900),
)  # fmt: skip


async def a_month_of_work(api: Api, desk: Desk) -> None:
    """A team in the middle of things: it has bought a pack, and its first top-up has just been made."""
    now, random = datetime.now(UTC), Random(11)
    api.teams += 1
    api.team_id = f"team_{api.teams}"
    await api.team(anchor=now - timedelta(days=DAYS))
    async with api.connection.transaction():
        await name_team(api.connection, api.team_id, "Papercut Films")
        for number, name in enumerate(("Emil Sørensen", "Dana Whitfield", "Fay Adeyemi"), start=1):
            role = "admin" if number == 2 else "member"
            await put_member(api.connection, api.team_id, DirectoryMember(f"mem_{number}", name, role))
    bought = CreditsPurchased(
        credits=2_000 * MICRO, pack="mini", payment_intent_id="pi_1", charge_cents=2_000, currency="usd", member_id="mem_2"
    )  # fmt: skip
    await api.tell(bought, at=now - timedelta(days=DAYS - 1))
    done = sorted(work(random, now), key=itemgetter(0))
    assert GAINED * MICRO - sum(usage.credits for _, usage in done) - HELD * MICRO < THRESHOLD * MICRO
    for at, usage in done:
        await api.tell(usage, at=at)
    await until(partial(api.connection.fetchval, PROJECTED, api.team_id), what="the activity is there")
    async with api.connection.transaction():
        await api.connection.execute("ALTER TABLE facts DISABLE TRIGGER facts_append_only")
        await api.connection.execute(RECORDED_THEN, api.team_id, now - timedelta(days=DAYS))
        await api.connection.execute("ALTER TABLE facts ENABLE ALWAYS TRIGGER facts_append_only")
    await api.tell(HoldPlaced(hold_id="h", credits=HELD * MICRO, expires_at=now + timedelta(hours=1)))
    await save_card(api, desk)
    settings = {
        "enabled": True,
        "threshold": str(THRESHOLD),
        "credits": "2000",
        "monthly_cap": {"amount": 20_000, "currency": "usd"},
    }
    answer = await api.client("admin", member="mem_2").put(f"{api.path}/top-up", json=settings)
    assert answer.is_success, answer.text


def work(random: Random, now: datetime) -> Iterator[tuple[datetime, UsageRecorded]]:
    """What the members made, day by day, less on two days of each week: the same things, whatever weekday today is."""
    for day in range(DAYS):
        at = now - timedelta(days=day, minutes=random.randint(5, 300))
        steps = random.randint(1, 3) if day % 7 in QUIET_DAYS else random.randint(5, 9)
        for feature, attributes, least, most in random.sample(WORK, steps):
            quantity = Decimal(random.randint(least, most))
            usage = UsageRecorded(
                feature=feature, quantity=str(quantity), attributes=attributes, rate_card=1,
                credits=CARD.price(feature, quantity, attributes), member_id=f"mem_{random.choice((1, 1, 2, 3))}",
            )  # fmt: skip
            yield at + timedelta(minutes=random.randint(0, 4)), usage


@asynccontextmanager
async def page_of(api: Api, browser: Browser, scheme: Scheme) -> AsyncIterator[Visit]:
    """The page of an admin, wide and with everything drawn."""
    async with visiting(api, browser, scheme, DESKTOP, reduced_motion="reduce") as visit:
        await visit.open()
        await expect(visit.chart.get_by_role("img")).to_be_visible()
        yield visit


async def take(page: Page, path: Path, *, high: int | None = None) -> None:
    """A picture of what is seen, or of the page's upper part."""
    size = page.viewport_size or DESKTOP
    if high is not None:
        await page.set_viewport_size({"width": size["width"], "height": high})
    await page.evaluate("scrollTo(0, 0); document.querySelector('.insecure')?.remove()")  # as in production
    await page.mouse.move(0, 0)  # or the chart explains the day that lies under the pointer
    await page.screenshot(path=path)
    await page.set_viewport_size(size)


async def a_picture_of_the_product(visit: Visit, origin: str, folder: Path) -> None:
    await visit.page.goto(origin)
    for number, tier in enumerate(("Low", "Standard"), 1):
        await visit.page.get_by_role("radio", name=tier).check()
        await visit.page.get_by_role("button", name="Generate").click()
        await expect(visit.page.locator("#gallery li")).to_have_count(number)
    await visit.page.get_by_role("radio", name="High").check()
    await expect(visit.page.locator("#quote")).to_have_text("15 credits")
    await take(visit.page, folder / "usage-embedded.png", high=620)


async def test_the_pictures_of_the_readme_can_be_taken_anew(
    running: Api, desk: Desk, browser: Browser, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    need_node()
    folder = DOCS if request.config.getoption("--screenshots", default=False) else tmp_path
    await a_month_of_work(running, desk)

    async with page_of(running, browser, "light") as visit:
        await expect(visit.activity).to_contain_text("Automatic top-up")
        await expect(visit.top_ups.locator(".chip")).to_have_text("On")
        await visit.activity.get_by_text("30 days", exact=True).click()
        await expect(visit.chart.get_by_role("img")).to_have_attribute("aria-label", re.compile("used in 30 days"))
        await visit.entries.nth(1).get_by_role("button").click()
        await expect(visit.activity.locator(".explanation")).to_contain_text("Paid by")
        await take(visit.page, folder / "usage.png", high=1_420)
        await visit.page.get_by_role("button", name="Buy credits").click()
        await expect(visit.dialog).to_contain_text("New balance")
        await take(visit.page, folder / "usage-buy.png")
        await visit.page.keyboard.press("Escape")
        await visit.top_ups.get_by_role("button", name="Configure top-ups").click()
        await expect(visit.dialog).to_contain_text(re.compile("In the last 30 days this would have charged"))
        await take(visit.page, folder / "usage-top-ups.png")
    async with page_of(running, browser, "dark") as visit:
        await take(visit.page, folder / "usage-dark.png", high=1_000)
    async with visiting(running, browser, "light", PHONE, reduced_motion="reduce") as visit:
        await visit.open()
        await expect(visit.chart.get_by_role("img")).to_be_visible()
        await take(visit.page, folder / "usage-phone.png", high=1_900)

    (origin,) = running.settings.cors_origins
    people = {"mem_emil": TokenRole.MEMBER, "mem_dana": TokenRole.ADMIN}
    token = mint(
        running.settings, team=running.team_id, member="host", role=TokenRole.SERVICE, sources=(IMAGES_SOURCE,)
    )
    with serving_node(IMAGES, "0", running.url, running.team_id, IMAGES_SOURCE, token=token) as images:
        product = create_app(running.url, running.team_id, people, images)
        async with serving(product, urlsplit(origin).port or 0), visiting(running, browser) as visit:
            await a_picture_of_the_product(visit, origin, folder)

    pictures = sorted(folder.glob("usage*.png"))
    assert len(pictures) >= 6
    assert {
        picture.name: picture.stat().st_size for picture in pictures if picture.stat().st_size > PICTURE_MAX_BYTES
    } == {}
