"""The Usage page for tests: somebody opens it in a browser of their own; whatever the browser complains of fails the test."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from playwright.async_api import Browser, BrowserContext, Locator, Page, ViewportSize, expect

from schemas.credits import MICRO
from schemas.facts import CreditsPurchased, PaymentMethodChanged, UsageRecorded
from tests.support.api import Api
from tests.support.desk import Desk
from tests.support.waiting import PATIENCE_SECONDS

# What the page shows is waited for as long as anything else: Playwright's own 5 s are a promise that a busy machine breaks.
PATIENCE_MS = PATIENCE_SECONDS * 1_000
expect.set_options(timeout=PATIENCE_MS)

Scheme = Literal["light", "dark"]

DESKTOP, TABLET, PHONE, SMALL = (
    ViewportSize(width=w, height=h) for w, h in ((1280, 900), (820, 1000), (390, 844), (320, 640))
)
BOUGHT = CreditsPurchased(
    credits=5_000 * MICRO,
    pack="standard",
    payment_intent_id="pi_1",
    charge_cents=4_800,
    currency="usd",
    member_id="mem_2",
)


@dataclass
class Visit:
    """Somebody looks at the page of a team of their own: Grace, an admin, or Ada, a member."""

    api: Api
    page: Page
    context: BrowserContext
    asked: list[str] = field(default_factory=list)  # addresses of all requests
    complaints: list[str] = field(default_factory=list)  # what the browser was unhappy with: errors, policy violations
    expected: list[str] = field(default_factory=list)  # words of complaints that the test brings about

    async def open(self, role: str = "admin") -> Page:
        """The page, with everything loaded and the stream connected."""
        await self.page.goto(self.link(role))
        await expect(self.page.get_by_text(re.compile("^Live · "))).to_be_visible()
        await expect(self.activity.get_by_role("row").nth(1)).to_be_visible()
        return self.page

    def link(self, role: str = "admin", *, lasts: timedelta = timedelta(hours=1)) -> str:
        """The address that a host product would send somebody to."""
        return f"{self.api.url}/usage#token={self.token(role, lasts=lasts)}"

    def token(self, role: str = "admin", *, lasts: timedelta = timedelta(hours=1)) -> str:
        """What the host product's server would hand out."""
        client = self.api.client(role, member="mem_2" if role == "admin" else "mem_1", lasts=lasts)
        return client.headers["authorization"].removeprefix("Bearer ")

    async def until(self, expression: str) -> None:
        """Until this is true in the page."""
        # A function is evaluated once. An expression would be at each look, and the page forbids all but the first.
        await self.page.wait_for_function(f"() => {expression}")

    def forget(self, *words: str) -> None:
        """What the browser had to complain of, because the test asked for it."""
        self.expected += words

    @property
    def unexpected(self) -> list[str]:
        """Complaints that nobody expected, also those that came late."""
        return [said for said in self.complaints if not any(word in said for word in self.expected)]

    @property
    def balance(self) -> Locator:
        """The balance card."""
        return self.page.get_by_role("region", name="Balance")

    @property
    def top_ups(self) -> Locator:
        """The card of automatic top-ups."""
        return self.page.get_by_role("region", name="Automatic top-ups")

    @property
    def chart(self) -> Locator:
        """The chart."""
        return self.page.get_by_role("region", name="Credits used", exact=True)

    @property
    def activity(self) -> Locator:
        """The credit activity."""
        return self.page.get_by_role("region", name="Credit activity")

    @property
    def entries(self) -> Locator:
        """The rows of the activity, without those that explain them."""
        return self.activity.locator("tr[data-id]")

    @property
    def dialog(self) -> Locator:
        """The dialog that is open."""
        return self.page.get_by_role("dialog")


@asynccontextmanager
async def visiting(
    api: Api, browser: Browser, scheme: Scheme = "light", size: ViewportSize = DESKTOP, **context: Any
) -> AsyncIterator[Visit]:
    """A fresh browser profile; whatever it complained of fails the test."""
    # A click gives the clipboard in a browser with windows; the one without asks nobody, and refuses.
    about = {"locale": "en-US", "timezone_id": "UTC", "permissions": ["clipboard-write"], **context}
    profile = await browser.new_context(color_scheme=scheme, viewport=size, **about)
    profile.set_default_timeout(PATIENCE_MS)
    page = await profile.new_page()
    visit = Visit(api, page, profile)
    page.on("request", lambda request: visit.asked.append(request.url))
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    page.on("console", lambda said: visit.complaints.append(said.text) if said.type in ("error", "warning") else None)
    try:
        yield visit
    finally:
        await profile.close()
    assert visit.unexpected == [], visit.unexpected


def used(credits: float = 4, *, member: str = "mem_1", feature: str = "ai_image.generate") -> UsageRecorded:
    """An image, or something else."""
    return UsageRecorded(
        feature=feature, quantity="1", credits=int(credits * MICRO), rate_card=1, member_id=member,
        attributes={"tier": "standard"} if feature == "ai_image.generate" else {},
    )  # fmt: skip


async def save_card(api: Api, desk: Desk, name: str = "pm_card_visa") -> PaymentMethodChanged:
    """A card that top-ups may charge, as if an admin had been to Stripe's page."""
    card = await desk.card(api.team_id, name)
    await api.tell(card)
    return card


async def pay(page: Page, button: Locator, *, press: str, card: str | None = None) -> None:
    """Go to Stripe in the tab that opens, press there, and come back."""
    async with page.expect_popup() as opening:
        await button.click()
    stripe = await opening.value
    if card is not None:
        await stripe.get_by_label(re.compile(card)).check()
    await stripe.get_by_role("button", name=re.compile(press)).click()
    if not stripe.is_closed():
        await stripe.wait_for_event("close")
