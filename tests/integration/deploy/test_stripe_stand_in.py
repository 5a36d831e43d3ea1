"""Our charges against the stand-in for Stripe, over real HTTP: money moves once, whatever breaks on the way."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import httpx2
import psutil
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.local.stripe import create_app, running
from services.money.stripe_client import (
    Busy,
    Charges,
    Checkout,
    Declined,
    Intent,
    Missing,
    Remedy,
    StripeCard,
    Unknown,
    WebhookEvent,
    WrongRequest,
    read_signature,
    verify_webhook,
)
from tests.support.desk import AT_ONCE, KEY

SECRET = "whsec_stand_in"
START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
PATIENCE_SECONDS = 1.0  # how long these tests wait for an answer that does not come
ANSWER_SECONDS = 60.0  # and for one that does
ATTEMPTS = UUID("0198c1f2-0000-7000-8000-000000000000")
CREATE, CONFIRM = "POST /v1/payment_intents", "POST /v1/payment_intents/{id}/confirm"
DAY = timedelta(days=1)

Json = dict[str, Any]


@dataclass(frozen=True)
class Desk:
    """A stand-in that runs, our charges as its client, and a script's hands on its `/_control`."""

    url: str
    http: httpx2.AsyncClient
    charges: Charges
    customers: dict[str, str] = field(default_factory=dict)  # as whoever made them remembers them

    async def customer(self, team_id: str = "team_42") -> str:
        """The team's customer, made with its first use."""
        if team_id not in self.customers:
            self.customers[team_id] = await self.charges.ensure_customer(team_id)
        return self.customers[team_id]

    async def order(self, path: str, **body: Any) -> Any:
        response = await self.http.post(f"/_control/{path}", json=body)
        assert response.status_code == httpx2.codes.OK, response.text
        return response.json()

    async def see(self, path: str) -> Any:
        response = await self.http.get(f"/_control/{path}")
        assert response.status_code == httpx2.codes.OK, response.text
        return response.json()

    async def spoil(self, route: str, do: str, **rule: float) -> None:
        await self.order("faults", route=route, do=do, **rule)

    async def advance(self, by: timedelta) -> None:
        await self.order("clock", advance_seconds=int(by.total_seconds()))

    async def charged_cents(self) -> int:
        """What the stand-in's own books say was taken, over all charges."""
        totals = (await self.see("books"))["totals"]
        return int(totals.get("usd", {"charged": 0})["charged"])

    async def card_on_file(self, name: str = "pm_card_visa", *, team_id: str = "team_42") -> tuple[str, str]:
        """A customer, and the card of this name on its file."""
        customer_id = await self.customer(team_id)
        attached = await self.http.post(f"/v1/payment_methods/{name}/attach", data={"customer": customer_id})
        assert attached.status_code == httpx2.codes.OK, attached.text
        return customer_id, attached.json()["id"]

    async def intent(self, card: str = "pm_card_visa", *, number: int = 1, charge_cents: int = 2_000) -> Intent:
        """Attempt `number` of a team with this card, created and not yet confirmed."""
        customer_id, method_id = await self.card_on_file(card)
        return await self.charges.create_intent(
            attempt_id=attempt(number),
            team_id="team_42",
            customer_id=customer_id,
            payment_method_id=method_id,
            charge_cents=charge_cents,
            currency="usd",
        )

    async def confirm(self, intent: Intent, try_number: int = 1) -> Intent:
        return await self.charges.confirm(intent.id, attempt_id=attempt(1), try_number=try_number)

    async def checkout(self, *, save_card: bool = False) -> Checkout:
        return await self.charges.create_checkout(
            purchase_id="purchase_1",
            team_id="team_42",
            customer_id=await self.customer(),
            name="Standard, 5,000 credits",
            amount_cents=5_000,
            currency="usd",
            success_url="https://host.example/usage?checkout={CHECKOUT_SESSION_ID}",
            cancel_url="https://host.example/usage",
            save_card=save_card,
        )

    async def press(self, url: str, button: str, **choices: str) -> httpx2.Response:
        """Opens a page and presses a button that is really on it, as a person would."""
        page = Page()
        page.feed((await self.http.get(url)).text)
        name, value = page.buttons[button]
        for field_name, choice in choices.items():
            assert choice in page.choices[field_name]
        return await self.http.post(url, data={**choices, name: value})


class Page(HTMLParser):
    """The buttons of a page by what they say, and the choices of its form by name."""

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[str, tuple[str, str]] = {}
        self.choices: dict[str, list[str]] = {}
        self._button: tuple[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "button":
            self._button = (found["name"] or "", found["value"] or "")
        if tag == "input":
            self.choices.setdefault(found["name"] or "", []).append(found["value"] or "")

    def handle_data(self, data: str) -> None:
        if self._button is not None:
            self.buttons[data] = self._button
            self._button = None


@dataclass
class Inbox:
    """Where webhooks arrive, and what it answers them."""

    url: str = ""
    answer: int = 200
    received: list[tuple[bytes, str]] = field(default_factory=list)

    def events(self) -> list[WebhookEvent]:
        """All that came, each with its signature verified."""
        return [
            verify_webhook(body, read_signature(header, datetime.now(UTC)), [SECRET]) for body, header in self.received
        ]

    def types(self) -> list[str]:
        return [event.type for event in self.events()]


def attempt(number: int) -> UUID:
    return uuid5(ATTEMPTS, str(number))


@asynccontextmanager
async def desk_of(app: Starlette) -> AsyncIterator[Desk]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        running(app) as url,
        Charges(KEY, api_base=url, per_second=AT_ONCE, timeout_seconds=ANSWER_SECONDS) as charges,
        httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=ANSWER_SECONDS) as http,
    ):
        yield Desk(url, http, charges)


@pytest.fixture(scope="module")
async def shared_desk() -> AsyncIterator[Desk]:
    async with desk_of(create_app(secret_key=KEY, frozen_at=int(START.timestamp()))) as desk:
        yield desk


@pytest.fixture
async def desk(shared_desk: Desk) -> Desk:
    await shared_desk.order("reset")
    shared_desk.customers.clear()
    return shared_desk


@pytest.fixture
async def impatient(desk: Desk) -> AsyncIterator[Charges]:
    """Charges that do not wait long, for the questions that nobody answers."""
    async with Charges(KEY, api_base=desk.url, timeout_seconds=PATIENCE_SECONDS) as charges:
        yield charges


@pytest.fixture
async def inbox(desk: Desk) -> AsyncIterator[Inbox]:
    inbox = Inbox()

    async def take(request: Request) -> Response:
        inbox.received.append((await request.body(), request.headers["stripe-signature"]))
        return Response(status_code=inbox.answer)

    async with running(Starlette(routes=[Route("/hook", take, methods=["POST"])])) as url:
        await desk.order("webhooks/address", url=f"{url}/hook", secret=SECRET)
        yield inbox


async def test_an_unconfirmed_intent_moves_no_money(desk: Desk) -> None:
    intent = await desk.intent()

    assert intent.state == "requires_confirmation"
    assert await desk.charged_cents() == 0


async def test_a_confirmed_top_up_is_charged_and_has_a_receipt(desk: Desk) -> None:
    paid = await desk.confirm(await desk.intent(charge_cents=2_350))

    assert (paid.state, paid.amount_cents, paid.currency) == ("succeeded", 2_350, "usd")
    assert paid.metadata["attempt_id"] == str(attempt(1))
    assert paid.card is not None
    assert (paid.card.brand, paid.card.last4) == ("visa", "4242")
    assert paid.receipt_url is not None
    assert "$23.50" in (await desk.http.get(paid.receipt_url)).text
    assert await desk.charged_cents() == 2_350


async def test_an_intent_is_paid_once_however_often_and_late_it_is_confirmed(desk: Desk) -> None:
    intent = await desk.intent()

    for days in (0, 0, 1, 8):
        await desk.advance(days * DAY)
        for try_number in (1, 2):
            assert (await desk.confirm(intent, try_number)).state == "succeeded"

    assert await desk.charged_cents() == 2_000


async def test_workers_that_confirm_at_the_same_moment_charge_once(desk: Desk) -> None:
    intent = await desk.intent()

    answers = await asyncio.gather(*(desk.confirm(intent, try_number) for try_number in range(1, 6)))

    assert {answer.state for answer in answers} == {"succeeded"}
    assert await desk.charged_cents() == 2_000


async def test_an_attempt_that_is_created_twice_within_a_day_is_one_intent(desk: Desk) -> None:
    customer_id, method_id = await desk.card_on_file()
    asked: Json = {
        "attempt_id": attempt(1),
        "team_id": "team_42",
        "customer_id": customer_id,
        "payment_method_id": method_id,
        "charge_cents": 2_000,
        "currency": "usd",
    }

    first = await desk.charges.create_intent(**asked)
    await desk.advance(DAY - timedelta(seconds=1))
    again = await desk.charges.create_intent(**asked)
    await desk.advance(timedelta(seconds=1))
    forgotten = await desk.charges.create_intent(**asked)

    assert again.id == first.id
    assert forgotten.id != first.id


async def test_after_stripe_has_forgotten_the_key_the_attempt_is_found_by_listing(desk: Desk) -> None:
    customer_id, _ = await desk.card_on_file()
    await desk.intent(number=7)
    intent = await desk.intent(number=8)
    await desk.intent(number=9)
    await desk.advance(timedelta(days=8))

    found = await desk.charges.find_intents(attempt(8), customer_id=customer_id, created_after=START)
    missing = await desk.charges.find_intents(attempt(10), customer_id=customer_id, created_after=START)

    assert found == [intent]
    assert missing == []


async def test_of_two_intents_of_one_attempt_the_paid_one_is_found_first(desk: Desk) -> None:
    first = await desk.intent()
    await desk.advance(DAY)
    second = await desk.intent()
    before = await desk.charges.find_intents(attempt(1), customer_id=first.customer_id or "", created_after=START)
    await desk.confirm(second, try_number=2)
    after = await desk.charges.find_intents(attempt(1), customer_id=first.customer_id or "", created_after=START)

    assert [intent.id for intent in before] == [first.id, second.id]
    assert [intent.id for intent in after] == [second.id, first.id]


async def test_silence_after_the_charge_is_unknown_and_asking_shows_the_truth(desk: Desk, impatient: Charges) -> None:
    intent = await desk.intent()
    await desk.spoil(CONFIRM, "silence_after")

    with pytest.raises(Unknown) as unknown:
        await impatient.confirm(intent.id, attempt_id=attempt(1), try_number=1)

    assert (unknown.value.reason, unknown.value.key_is_spent) == ("no_answer", False)
    assert (await desk.charges.retrieve(intent.id)).state == "succeeded"
    assert (await desk.confirm(intent)).state == "succeeded"
    assert await desk.charged_cents() == 2_000


@pytest.mark.parametrize("fault", ["reset_before", "silence_before", "gateway_before"])
async def test_what_breaks_before_the_charge_leaves_it_to_be_done(desk: Desk, impatient: Charges, fault: str) -> None:
    intent = await desk.intent()
    await desk.spoil(CONFIRM, fault)

    with pytest.raises(Unknown):
        await impatient.confirm(intent.id, attempt_id=attempt(1), try_number=1)

    assert (await desk.charges.retrieve(intent.id)).state == "requires_confirmation"
    assert (await desk.confirm(intent)).state == "succeeded"
    assert await desk.charged_cents() == 2_000


@pytest.mark.parametrize("fault", ["reset_after", "gateway_after"])
async def test_what_breaks_after_the_charge_leaves_nothing_to_be_done(
    desk: Desk, impatient: Charges, fault: str
) -> None:
    intent = await desk.intent()
    await desk.spoil(CONFIRM, fault)

    with pytest.raises(Unknown):
        await impatient.confirm(intent.id, attempt_id=attempt(1), try_number=1)

    assert (await desk.charges.retrieve(intent.id)).state == "succeeded"
    assert await desk.charged_cents() == 2_000


async def test_an_answer_that_drips_in_does_not_outlast_our_patience(desk: Desk, impatient: Charges) -> None:
    intent = await desk.intent()
    await desk.spoil(CONFIRM, "drip", seconds=PATIENCE_SECONDS / 10)

    with pytest.raises(Unknown, match="no_answer"):
        await impatient.confirm(intent.id, attempt_id=attempt(1), try_number=1)

    assert (await desk.charges.retrieve(intent.id)).state == "succeeded"


async def test_a_remembered_500_is_passed_by_with_the_next_key_and_charges_once(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.spoil(CONFIRM, "error_before")

    spent = []
    for _ in range(2):
        with pytest.raises(Unknown) as unknown:
            await desk.confirm(intent)
        spent.append((unknown.value.reason, unknown.value.key_is_spent))

    assert spent == [("server_error", False), ("server_error", True)]
    assert (await desk.charges.retrieve(intent.id)).state == "requires_confirmation"
    assert (await desk.confirm(intent, try_number=2)).state == "succeeded"
    assert await desk.charged_cents() == 2_000


async def test_a_500_that_hides_a_charge_never_leads_to_a_second(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.spoil(CONFIRM, "error_after")

    with pytest.raises(Unknown):
        await desk.confirm(intent)

    assert (await desk.confirm(intent, try_number=2)).state == "succeeded"
    assert await desk.charged_cents() == 2_000


async def test_a_created_intent_whose_answer_was_lost_is_found_and_not_made_again(desk: Desk) -> None:
    customer_id, _ = await desk.card_on_file()
    await desk.spoil(CREATE, "error_after")

    with pytest.raises(Unknown):
        await desk.intent()
    (found,) = await desk.charges.find_intents(attempt(1), customer_id=customer_id, created_after=START)

    assert found.state == "requires_confirmation"
    assert len((await desk.see("books"))["payment_intents"]) == 1


async def test_the_same_request_sent_while_it_is_worked_on_is_in_flight(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.spoil(CONFIRM, "hold_before")

    first = asyncio.create_task(desk.confirm(intent))
    await desk.see("held")
    with pytest.raises(Unknown) as unknown:
        await desk.confirm(intent)
    await desk.order("release")

    assert (unknown.value.reason, unknown.value.key_is_spent) == ("in_flight", False)
    assert (await first).state == "succeeded"
    assert await desk.charged_cents() == 2_000


async def test_a_conflict_that_stripe_reports_is_unknown_too(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.spoil(CONFIRM, "conflict")

    with pytest.raises(Unknown, match="in_flight"):
        await desk.confirm(intent)


async def test_a_busy_stripe_says_when_to_come_back_and_has_done_nothing(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.spoil(CONFIRM, "busy", seconds=2)

    with pytest.raises(Busy) as busy:
        await desk.confirm(intent)

    assert busy.value.retry_after_seconds == 2
    assert (await desk.confirm(intent)).state == "succeeded"


async def test_a_key_that_another_release_used_for_another_body_is_unknown_not_a_crash(desk: Desk) -> None:
    await desk.intent(charge_cents=2_000)

    with pytest.raises(Unknown) as unknown:
        await desk.intent(charge_cents=2_500)

    assert unknown.value.key_is_spent


@pytest.mark.parametrize(
    ("outcome", "remedy"),
    [
        ("insufficient_funds", "retry_later"),
        ("generic_decline", "retry_later"),
        ("processing_error", "retry_later"),
        ("lost_card", "needs_card"),
        ("expired_card", "needs_card"),
        ("fraudulent", "needs_card"),
        ("authentication_required", "needs_authentication"),
    ],
)
async def test_a_decline_says_what_would_help_and_moves_no_money(desk: Desk, outcome: str, remedy: Remedy) -> None:
    intent = await desk.intent()
    await desk.order("outcomes", outcome=outcome, customer=intent.customer_id)

    with pytest.raises(Declined) as declined:
        await desk.confirm(intent)

    left = declined.value.intent
    assert declined.value.remedy == remedy
    assert left is not None
    assert (left.state, left.payable, left.decline) == ("requires_payment_method", True, declined.value.decline)
    assert left.card == intent.card
    assert await desk.charges.retrieve(intent.id) == left
    assert await desk.charged_cents() == 0


async def test_a_card_that_declines_only_once_it_is_on_file_is_declined_off_session(desk: Desk) -> None:
    with pytest.raises(Declined, match="Your card was declined"):
        await desk.confirm(await desk.intent("pm_card_chargeCustomerFail"))


async def test_the_same_try_is_declined_again_without_asking_the_bank(desk: Desk) -> None:
    intent = await desk.intent("pm_card_chargeCustomerFail")

    for _ in range(3):
        with pytest.raises(Declined):
            await desk.confirm(intent)

    assert (await desk.see("books"))["payment_intents"][0]["confirmations"] == 1


async def test_a_declined_intent_is_paid_with_another_card(desk: Desk) -> None:
    intent = await desk.intent("pm_card_chargeCustomerFail")
    with pytest.raises(Declined):
        await desk.confirm(intent)
    _, other = await desk.card_on_file("pm_card_mastercard")

    paid = await desk.charges.confirm(intent.id, attempt_id=attempt(1), try_number=2, payment_method_id=other)

    assert (paid.state, paid.payment_method_id) == ("succeeded", other)


@pytest.mark.parametrize(
    ("button", "state"),
    [("Complete authentication", "succeeded"), ("Fail authentication", "requires_payment_method")],
)
async def test_a_card_that_wants_its_owner_is_confirmed_by_the_admin_on_the_banks_page(
    desk: Desk, button: str, state: str
) -> None:
    intent = await desk.intent("pm_card_authenticationRequired")
    with pytest.raises(Declined) as declined:
        await desk.confirm(intent)

    waiting = await desk.charges.confirm(
        intent.id,
        attempt_id=attempt(1),
        try_number=2,
        off_session=False,
        payment_method_id=intent.payment_method_id,
        return_url="https://host.example/usage?from=bank",
    )
    back = await desk.press(waiting.action_url or "", button)

    assert declined.value.remedy == "needs_authentication"
    assert waiting.state == "requires_action"
    assert back.headers["location"].startswith("https://host.example/usage?from=bank&payment_intent=pi_")
    assert (await desk.charges.retrieve(intent.id)).state == state
    assert await desk.charged_cents() == (2_000 if state == "succeeded" else 0)


@pytest.mark.parametrize(("outcome", "charged_cents"), [("succeeded", 2_000), ("insufficient_funds", 0)])
async def test_processing_is_not_money_until_it_has_succeeded(desk: Desk, outcome: str, charged_cents: int) -> None:
    intent = await desk.intent()
    await desk.order("outcomes", outcome="processing")

    waiting = await desk.confirm(intent)
    still = await desk.confirm(intent, try_number=2)
    before = await desk.charged_cents()
    await desk.order(f"payment_intents/{intent.id}/settle", outcome=outcome)

    assert (waiting.state, still.state, before) == ("processing", "processing", 0)
    assert await desk.charged_cents() == charged_cents


async def test_a_cancelled_intent_is_never_paid(desk: Desk) -> None:
    intent = await desk.intent()

    assert (await desk.charges.cancel(intent.id)).state == "cancelled"
    assert (await desk.confirm(intent)).state == "cancelled"
    assert (await desk.charges.cancel(intent.id, try_number=2)).state == "cancelled"
    assert await desk.charged_cents() == 0


async def test_who_cancels_too_late_is_told_that_it_is_paid(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.confirm(intent)

    assert (await desk.charges.cancel(intent.id)).state == "succeeded"


async def test_an_intent_that_stripe_does_not_know_is_missing(desk: Desk) -> None:
    with pytest.raises(Missing):
        await desk.charges.retrieve("pi_never")


async def test_listing_reads_through_all_pages_and_keeps_to_its_bounds(desk: Desk) -> None:
    customer_id, method_id = await desk.card_on_file()
    made = []
    for number in range(230):
        intent = await desk.charges.create_intent(
            attempt_id=attempt(number),
            team_id="team_42",
            customer_id=customer_id,
            payment_method_id=method_id,
            charge_cents=2_000,
            currency="usd",
        )
        made.append(intent.id)
        await desk.advance(timedelta(seconds=1))

    first, last = START + timedelta(seconds=10), START + timedelta(seconds=225)
    whole = [found.id async for found in desk.charges.list_intents(created_after=START)]
    part = [found.id async for found in desk.charges.list_intents(created_after=first, created_before=last)]
    customer_id = await desk.charges.ensure_customer("team_without_payments")
    nobody = [found.id async for found in desk.charges.list_intents(created_after=START, customer_id=customer_id)]
    with pytest.raises(Missing):
        [found.id async for found in desk.charges.list_intents(created_after=START, customer_id="cus_else")]

    assert whole == made[::-1]
    assert part == made[10:225][::-1]
    assert nobody == []


async def test_refunds_add_up_on_the_charge(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.confirm(intent)

    refunded = []
    for amount in (500, 700):
        response = await desk.http.post("/v1/refunds", data={"payment_intent": intent.id, "amount": amount})
        assert response.json()["amount"] == amount
        refunded.append((await desk.charges.retrieve(intent.id)).refunded_cents)
    too_much = await desk.http.post("/v1/refunds", data={"payment_intent": intent.id, "amount": 801})

    assert refunded == [500, 1_200]
    assert too_much.json()["error"]["message"] == (
        "Refund amount (801) is greater than unrefunded amount on charge (800)"
    )


@pytest.mark.parametrize("won", [True, False])
async def test_a_dispute_takes_the_money_away_until_it_is_won(desk: Desk, *, won: bool) -> None:
    intent = await desk.confirm(await desk.intent())
    opened = await desk.order("disputes", charge=intent.charge_id)
    (during,) = await desk.charges.disputes_of(intent.id)
    await desk.order(f"disputes/{opened['id']}/close", won=won)
    (after,) = await desk.charges.disputes_of(intent.id)

    assert (await desk.charges.retrieve(intent.id)).disputed
    assert (during.status, during.course, during.amount_cents) == ("needs_response", "open", 2_000)
    assert (after.status, after.course) == (("won", "won") if won else ("lost", "lost"))


async def test_an_inquiry_takes_no_money_away(desk: Desk) -> None:
    intent = await desk.confirm(await desk.intent("pm_card_createDisputeInquiry"))

    (inquiry,) = await desk.charges.disputes_of(intent.id)

    assert (inquiry.status, inquiry.course) == ("warning_needs_response", None)


async def test_a_team_has_one_customer_even_when_the_answer_was_lost(desk: Desk) -> None:
    await desk.spoil("POST /v1/customers", "gateway_after")
    with pytest.raises(Unknown):
        await desk.charges.ensure_customer("team_1")

    found = await desk.charges.ensure_customer("team_1")
    other = await desk.charges.ensure_customer("team_2")
    after = await desk.charges.ensure_customer("team_1", attempt="after")
    foreign = [await desk.charges.ensure_customer("équipe_团队") for _ in range(2)]

    customers = (await desk.see("books"))["customers"]
    assert foreign[0] == foreign[1]
    assert [customer["id"] for customer in customers] == [found, other, after, foreign[0]]


async def test_the_same_card_saved_twice_has_one_fingerprint_and_another_card_another(desk: Desk) -> None:
    cards: list[StripeCard] = []
    for name in ("pm_card_visa", "pm_card_visa", "pm_card_mastercard"):
        customer_id, method_id = await desk.card_on_file(name)
        await desk.charges.use_card(customer_id, method_id)
        found = await desk.charges.card_of(customer_id)
        assert found is not None
        cards.append(found)

    assert cards[0].fingerprint == cards[1].fingerprint != cards[2].fingerprint
    assert cards[0].payment_method_id != cards[1].payment_method_id
    assert cards[2].brand == "mastercard"


async def test_a_customer_without_a_default_card_has_none(desk: Desk) -> None:
    customer_id, _ = await desk.card_on_file()

    assert await desk.charges.card_of(customer_id) is None


async def test_a_pack_is_paid_on_the_checkout_page_and_the_card_is_kept_when_agreed(desk: Desk) -> None:
    opened = await desk.checkout(save_card=True)
    back = await desk.press(opened.url or "", "Pay $50.00", card="pm_card_visa")
    done = await desk.charges.retrieve_checkout(opened.id)

    assert (opened.state, opened.paid, opened.intent) == ("open", False, None)
    assert back.headers["location"] == f"https://host.example/usage?checkout={opened.id}"
    assert (done.state, done.paid, done.amount_cents) == ("complete", True, 5_000)
    assert done.metadata == {"team_id": "team_42", "purchase_id": "purchase_1"}
    assert done.intent is not None
    assert done.intent.metadata == done.metadata
    assert done.card is not None
    await desk.charges.use_card(done.customer_id or "", done.card.payment_method_id)
    assert await desk.charges.card_of(done.customer_id or "") == done.card
    assert await desk.charged_cents() == 5_000


async def test_a_declined_card_leaves_the_checkout_open_and_unpaid_and_another_pays_it(desk: Desk) -> None:
    opened = await desk.checkout()
    url = opened.url or ""

    refused = await desk.press(url, "Pay $50.00", card="pm_card_visa_chargeDeclinedInsufficientFunds")
    between = await desk.charges.retrieve_checkout(opened.id)
    await desk.press(url, "Pay $50.00", card="pm_card_mastercard")
    done = await desk.charges.retrieve_checkout(opened.id)

    assert 'role="alert">Your card has insufficient funds.' in refused.text
    assert (between.state, between.paid) == ("open", False)
    assert (done.state, done.paid) == ("complete", True)
    assert await desk.charged_cents() == 5_000


async def test_a_cancelled_checkout_goes_back_and_grants_nothing(desk: Desk) -> None:
    opened = await desk.checkout()

    back = await desk.press(opened.url or "", "Cancel")

    assert back.headers["location"] == "https://host.example/usage"
    assert (await desk.charges.retrieve_checkout(opened.id)).paid is False


@pytest.mark.parametrize(("button", "paid"), [("Complete authentication", True), ("Fail authentication", False)])
async def test_the_bank_may_ask_the_buyer_on_a_page_of_its_own(desk: Desk, button: str, *, paid: bool) -> None:
    opened = await desk.checkout()

    to_bank = await desk.press(opened.url or "", "Pay $50.00", card="pm_card_threeDSecure2Required")
    await desk.press(to_bank.headers["location"], button)

    assert (await desk.charges.retrieve_checkout(opened.id)).paid is paid
    assert await desk.charged_cents() == (5_000 if paid else 0)


async def test_a_checkout_that_nobody_paid_expires_after_a_day(desk: Desk) -> None:
    opened = await desk.checkout()
    await desk.advance(DAY)

    assert (await desk.charges.retrieve_checkout(opened.id)).state == "expired"
    assert (await desk.http.get(opened.url or "")).status_code == httpx2.codes.GONE


async def test_a_pack_that_is_still_processing_is_not_paid(desk: Desk) -> None:
    opened = await desk.checkout()
    await desk.order("outcomes", outcome="processing")
    await desk.press(opened.url or "", "Pay $50.00", card="pm_card_visa")
    waiting = await desk.charges.retrieve_checkout(opened.id)
    assert waiting.intent is not None
    await desk.order(f"payment_intents/{waiting.intent.id}/settle", outcome="succeeded")

    assert (waiting.state, waiting.paid) == ("complete", False)
    assert (await desk.charges.retrieve_checkout(opened.id)).paid is True


@pytest.mark.parametrize("card", ["pm_card_visa", "pm_card_authenticationRequiredOnSetup"])
async def test_a_card_is_saved_without_a_charge_and_pays_top_ups_afterwards(desk: Desk, card: str) -> None:
    customer_id = await desk.charges.ensure_customer("team_42")
    opened = await desk.charges.create_card_checkout(
        change_id="change_1",
        team_id="team_42",
        customer_id=customer_id,
        success_url="https://host.example/usage",
        cancel_url="https://host.example/usage",
    )
    answer = await desk.press(opened.url or "", "Save card", card=card)
    if "authenticate" in answer.headers["location"]:
        await desk.press(answer.headers["location"], "Complete authentication")
    saved = await desk.charges.retrieve_checkout(opened.id)
    assert saved.card is not None
    intent = await desk.charges.create_intent(
        attempt_id=attempt(1),
        team_id="team_42",
        customer_id=customer_id,
        payment_method_id=saved.card.payment_method_id,
        charge_cents=2_000,
        currency="usd",
    )

    assert (saved.mode, saved.state, saved.paid) == ("setup", "complete", False)
    assert (await desk.confirm(intent)).state == "succeeded"


async def test_every_page_can_be_used_by_keyboard_and_screen_reader(desk: Desk) -> None:
    text = (await desk.http.get((await desk.checkout()).url or "")).text

    assert '<html lang="en">' in text
    assert len(re.findall(r'<label><input type="radio"', text)) == len(re.findall("<input", text))
    assert "<legend>Card</legend>" in text
    assert "<script" not in text


@pytest.mark.parametrize(
    ("headers", "words"), [({}, "did not provide"), ({"Authorization": "Bearer sk_test_x"}, "sk_")]
)
async def test_a_wrong_key_opens_nothing_and_our_client_stops(desk: Desk, headers: dict[str, str], words: str) -> None:
    async with httpx2.AsyncClient(base_url=desk.url, headers=headers, timeout=ANSWER_SECONDS) as stranger:
        response = await stranger.get("/v1/customers")

    assert response.status_code == httpx2.codes.UNAUTHORIZED
    assert words in response.json()["error"]["message"]
    async with Charges("sk_test_other", api_base=desk.url) as charges:
        with pytest.raises(WrongRequest, match="Invalid API Key"):
            await charges.retrieve("pi_1")


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ({"amount": "500", "currency": "usd", "colour": "red"}, "parameter_unknown", "colour"),
        ({"amount": "500", "currency": "usd", "payment_method_types[]": "card"}, "parameter_unknown", None),
        ({"amount": "500", "currency": "usd", "automatic_payment_methods[x]": "1"}, "parameter_unknown", None),
        ({"currency": "usd"}, "parameter_missing", "amount"),
        ({"amount": "5.00", "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": "0", "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": "49", "currency": "usd"}, "amount_too_small", "amount"),
        ({"amount": "500", "currency": ""}, "parameter_invalid_empty", "currency"),
        ({"amount": "500", "currency": "usd", "customer": "cus_none"}, "resource_missing", "customer"),
        ({"amount": "500", "currency": "usd", "payment_method": "pm_none"}, "resource_missing", "payment_method"),
    ],
)
async def test_the_stand_in_refuses_what_stripe_refuses(
    desk: Desk, form: dict[str, str], code: str, param: str | None
) -> None:
    response = await desk.http.post("/v1/payment_intents", data=form)

    assert response.status_code == httpx2.codes.BAD_REQUEST
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert param in {None, error["param"]}


async def test_an_address_that_is_no_part_of_the_api_is_not_found(desk: Desk) -> None:
    response = await desk.http.get("/v1/subscriptions")

    assert response.status_code == httpx2.codes.NOT_FOUND
    assert "Unrecognized request URL" in response.json()["error"]["message"]


async def test_a_key_replays_its_first_answer_and_takes_no_other_request(desk: Desk) -> None:
    async def ask(path: str, amount: int) -> httpx2.Response:
        form = {"amount": amount, "currency": "usd"}
        return await desk.http.post(path, data=form, headers={"Idempotency-Key": "key_1"})

    first, again = await ask("/v1/payment_intents", 500), await ask("/v1/payment_intents", 500)
    other_body, other_path = await ask("/v1/payment_intents", 501), await ask("/v1/refunds", 500)

    assert first.json() == again.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["original-request"] == first.headers["request-id"] != again.headers["request-id"]
    for refused in (other_body, other_path):
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "idempotency_error")


@pytest.mark.parametrize(("fault", "form"), [("busy", {}), ("gateway_before", {}), (None, {"colour": "red"})])
async def test_what_was_refused_at_the_door_does_not_spend_the_key(
    desk: Desk, fault: str | None, form: dict[str, str]
) -> None:
    if fault is not None:
        await desk.spoil(CREATE, fault)
    headers = {"Idempotency-Key": "key_1"}
    good = {"amount": "500", "currency": "usd"}

    refused = await desk.http.post("/v1/payment_intents", data={**good, **form}, headers=headers)
    accepted = await desk.http.post("/v1/payment_intents", data=good, headers=headers)

    assert refused.status_code >= httpx2.codes.BAD_REQUEST
    assert accepted.status_code == httpx2.codes.OK


async def test_cards_that_decline_at_once_are_not_put_on_file(desk: Desk) -> None:
    customer_id = await desk.charges.ensure_customer("team_42")

    response = await desk.http.post(
        "/v1/payment_methods/pm_card_visa_chargeDeclined/attach", data={"customer": customer_id}
    )

    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (402, "card_error", "card_declined")


async def test_another_customers_card_can_t_be_charged(desk: Desk) -> None:
    _, method_id = await desk.card_on_file(team_id="team_1")
    customer_id = await desk.charges.ensure_customer("team_2")

    with pytest.raises(WrongRequest, match="belongs to a different Customer"):
        await desk.charges.create_intent(
            attempt_id=attempt(1),
            team_id="team_2",
            customer_id=customer_id,
            payment_method_id=method_id,
            charge_cents=2_000,
            currency="usd",
        )


async def test_every_step_of_a_payment_is_an_event_and_arrives_signed(desk: Desk, inbox: Inbox) -> None:
    intent = await desk.confirm(await desk.intent())
    await desk.see("webhooks/settled")

    listed = (await desk.http.get("/v1/events", params={"types[]": "charge.succeeded"})).json()["data"]

    assert inbox.types() == [
        "customer.created",
        "payment_method.attached",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]
    assert {event.intent_id for event in inbox.events()[-2:]} == {intent.id}
    assert [event["id"] for event in listed] == [inbox.events()[3].id]


async def test_webhooks_are_lost_doubled_delayed_and_reordered_on_demand(desk: Desk, inbox: Inbox) -> None:
    for rule in (
        {"do": "lose", "types": ["customer.created"]},
        {"do": "double", "types": ["payment_method.attached"], "copies": 3},
        {"do": "hold", "types": ["payment_intent.created", "charge.succeeded"]},
        {"do": "delay", "types": ["payment_intent.succeeded"], "seconds": 259_200},
    ):
        await desk.order("webhooks", **rule)
    await desk.confirm(await desk.intent())
    await desk.see("webhooks/settled")
    at_once = inbox.types()
    await desk.order("webhooks/release", order="reversed")
    await desk.see("webhooks/settled")
    released = inbox.types()[len(at_once) :]
    await desk.advance(timedelta(days=3))
    await desk.see("webhooks/settled")

    assert at_once == ["payment_method.attached"] * 3
    assert released == ["charge.succeeded", "payment_intent.created"]
    assert inbox.types()[-1] == "payment_intent.succeeded"


async def test_a_webhook_that_is_not_taken_comes_again_later(desk: Desk, inbox: Inbox) -> None:
    inbox.answer = 500
    await desk.charges.ensure_customer("team_42")
    await desk.see("webhooks/settled")
    await desk.advance(timedelta(seconds=5))
    await desk.see("webhooks/settled")
    inbox.answer = 200
    await desk.advance(timedelta(minutes=5))
    await desk.see("webhooks/settled")
    await desk.advance(timedelta(days=3))
    await desk.see("webhooks/settled")

    assert len(inbox.received) == 3
    (delivery,) = await desk.see("webhooks")
    assert (delivery["state"], delivery["attempts"]) == ("delivered", [500, 500, 200])


async def test_the_webhook_may_come_before_the_answer(desk: Desk, inbox: Inbox) -> None:
    intent = await desk.intent()
    await desk.spoil(CONFIRM, "hold_after")

    asked: Awaitable[Intent] = asyncio.create_task(desk.confirm(intent))
    await desk.see("held")
    await desk.see("webhooks/settled")
    told = inbox.types()[-1]
    await desk.order("release")

    assert told == "payment_intent.succeeded"
    assert (await asked).state == "succeeded"


async def test_faults_drawn_from_a_seed_are_the_same_every_time() -> None:
    runs = []
    for _ in range(2):
        async with desk_of(create_app(secret_key=KEY, seed=7, frozen_at=int(START.timestamp()))) as desk:
            await desk.order("faults", route="*", do=["busy", "conflict"], one_in=3, seed=11, times=1_000)
            for _ in range(40):
                await desk.http.post("/v1/customers", data={"name": "a"})
            log = [(one["route"], one["status"], one["request_id"]) for one in await desk.see("requests")]
            runs.append((log, await desk.see("books")))

    assert runs[0] == runs[1]
    assert {status for _, status, _ in runs[0][0]} == {200, 409, 429}


@asynccontextmanager
async def process(state: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The stand-in as a program of its own, and its address."""
    command = [sys.executable, "-m", "deploy.local.stripe", "--port", "0", "--key", KEY, "--state", str(state)]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    try:
        line = (await asyncio.wait_for(child.stdout.readline(), ANSWER_SECONDS)).decode()
        yield child, line.split()[-1]
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
        await child.wait()


async def test_a_stand_in_that_is_killed_remembers_its_books_and_its_keys(tmp_path: Path) -> None:
    form, headers = {"amount": "500", "currency": "usd"}, {"Authorization": f"Bearer {KEY}", "Idempotency-Key": "key_1"}
    answers, books = [], []
    for _ in range(2):
        async with (
            process(tmp_path / "books.sqlite") as (child, url),
            httpx2.AsyncClient(base_url=url, timeout=ANSWER_SECONDS) as http,
        ):
            answers.append((await http.post("/v1/payment_intents", data=form, headers=headers)).json())
            await http.post("/_control/clock", json={"advance_seconds": 3_600})
            books.append((await http.get("/_control/books")).json())
            os.kill(child.pid, signal.SIGKILL)

    assert answers[0] == answers[1]
    assert books[0]["payment_intents"] == books[1]["payment_intents"]
    assert books[1]["now"] - books[0]["now"] >= 3_600


async def test_the_stand_in_listens_on_the_loopback_only_and_ends_when_told(tmp_path: Path) -> None:
    async with process(tmp_path / "books.sqlite") as (child, _):
        listening = psutil.Process(child.pid).net_connections()
        addresses = {connection.laddr.ip for connection in listening if connection.status == psutil.CONN_LISTEN}

    assert addresses == {"127.0.0.1"}
    assert child.returncode == -signal.SIGTERM


async def test_the_stand_in_takes_no_live_key() -> None:
    with pytest.raises(ValueError, match="test keys only"):
        create_app(secret_key="sk_live_1")


async def test_the_balance_has_what_each_charge_refund_dispute_and_payout_did_to_it(desk: Desk) -> None:
    first, second = [await desk.confirm(await desk.intent(number=number), number) for number in (1, 2)]
    begin = first.created_at
    refund_id = (await desk.http.post("/v1/refunds", data={"charge": first.charge_id, "amount": "500"})).json()["id"]
    await desk.order(f"refunds/{refund_id}/fail")
    dispute = await desk.order("disputes", charge=second.charge_id)
    payout = await desk.order("payouts", currency="usd")
    await desk.order(f"disputes/{dispute['id']}/close", won=True)

    moves = [move async for move in desk.charges.list_moves(created_after=begin)]

    assert [(move.category, move.gross_cents, move.fee_cents, move.payment_intent_id) for move in moves] == [
        ("dispute_reversal", 2_000, 0, second.id), ("payout", -324, 0, None), ("dispute", -2_000, 1_500, second.id),
        ("refund_failure", 500, 0, first.id), ("refund", -500, 0, first.id), ("charge", 2_000, 88, second.id),
        ("charge", 2_000, 88, first.id),
    ]  # fmt: skip
    of_first, of_second = [await desk.charges.moves_of(paid.id) for paid in (first, second)]
    assert sorted(of_first + of_second, key=lambda move: move.id) == sorted(
        (move for move in moves if move.payment_intent_id), key=lambda move: move.id
    )
    paid_out = {"payout": payout["id"], "limit": "2"}
    page = (await desk.http.get("/v1/balance_transactions", params=paid_out)).json()
    rest = await desk.http.get(
        "/v1/balance_transactions", params=paid_out | {"limit": "100", "starting_after": page["data"][-1]["id"]}
    )
    assert (len(page["data"]), page["has_more"], len(rest.json()["data"])) == (2, True, 4)
    assert {one["status"] for one in page["data"]} == {"available", "pending"}
    by_hand = await desk.order("payouts", currency="usd", amount=100)
    refused = await desk.http.get("/v1/balance_transactions", params={"payout": by_hand["id"]})
    assert (by_hand["reconciliation_status"], refused.status_code) == ("not_applicable", 400)
    assert "only be filtered on automatic transfers" in refused.json()["error"]["message"]
