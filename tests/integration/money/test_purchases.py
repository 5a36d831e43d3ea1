"""Packs and cards bought and saved on Stripe's pages: by the real API, the real worker, and a stand-in that a person clicks through.

Whoever tells us first, the browser or a webhook, once or often, late or never: what was paid is credited once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx2
import pytest

from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import CreditsPurchased, PaymentMethodChanged, PurchaseRequested, TopUpResumed, TopUpSuspended
from services.money.checkout import rows as checkouts
from services.money.checkout.flow import follow
from services.money.inbox import InboxWorker, work_on
from services.money.inbox_rows import InboxEvent
from services.money.payment_details import read_details
from services.money.reconcile.compare import transactions_on
from services.runtime.crashpoints import arm
from services.runtime.errors import Unavailable
from services.store.connect import connect_pool
from tests.conftest import a_database
from tests.support.api import Api, an_api, key
from tests.support.desk import KEY, Desk, a_desk, facts, of_type, settings, working
from tests.support.serving import as_role, used
from tests.support.waiting import until

SECRET = "whsec_stand_in"
HOST = "https://host.example"
PACKS = {"mini": (2_000, 2_000), "standard": (5_000, 4_800), "large": (10_000, 9_200), "bulk": (25_000, 22_000)}


@dataclass(frozen=True)
class Shop:
    """An API, the worker that hears Stripe, and Stripe itself."""

    api: Api
    desk: Desk

    async def begin(self, **about: Any) -> httpx2.Response:
        """The admin asks to buy a pack; a Standard one, unless told."""
        name = about.pop("key", uuid4().hex)
        wanted = {"pack": "standard", "return_url": f"{HOST}/billing", **about}
        return await self.api.admin.post(f"{self.api.path}/purchases", json=wanted, headers=key(name))

    async def bought(self, **about: Any) -> dict[str, Any]:
        """A purchase that is about to be paid."""
        answer = await self.begin(**about)
        assert answer.status_code == 201, answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def saving(self) -> dict[str, Any]:
        """A page on which a card is about to be saved."""
        answer = await self.api.admin.post(f"{self.api.path}/payment-method")
        assert answer.status_code == 201, answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def press(self, page: dict[str, Any], card: str = "pm_card_visa", action: str = "pay") -> httpx2.Response:
        """A person on Stripe's page."""
        return await self.desk.http.post(page["checkout_url"], data={"action": action, "card": card})

    async def back(self, page: dict[str, Any], what: str = "purchases") -> dict[str, Any]:
        """What the browser is told when it is back."""
        answer = await self.api.admin.get(f"{self.api.path}/{what}/{page['id']}")
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def additional(self) -> str:
        """The credits that do not end with a cycle."""
        balance: dict[str, str] = (await self.api.member.get(f"{self.api.path}/balance")).json()
        return balance["additional"]

    async def told(self, kind: type) -> list[Any]:
        """What the team's log says of this type."""
        return await of_type(self.api.connection, self.api.team_id, kind)

    async def brands(self) -> list[str | None]:
        """Of the cards that the log says were saved or removed, in their order: these stand beside it."""
        cards = [fact.payment_method_id for fact in await self.told(PaymentMethodChanged)]
        details = await read_details(self.api.connection, self.api.team_id, [card for card in cards if card])
        return [details[card].brand if card else None for card in cards]

    async def told_times(self, kind: type, count: int) -> list[Any]:
        """The facts of a kind, once there are so many."""

        async def enough() -> list[Any]:
            told = await self.told(kind)
            return told if len(told) >= count else []

        return await until(enough)

    async def hears(self) -> None:
        """Every event that Stripe has sent is worked on."""
        await self.desk.http.get("/_control/webhooks/settled")

        async def all_done() -> bool:
            count = await self.api.connection.fetchval("SELECT count(*) FROM stripe_inbox WHERE done_at IS NULL")
            return bool(count == 0)

        await until(all_done)

    async def nobody_tells(self) -> None:
        """From now on, every webhook is lost."""
        await self.desk.order("webhooks", do="lose")

    async def looks_again(self) -> None:
        """The time for the next look has come."""
        await self.api.connection.execute("UPDATE checkouts SET look_at = '-infinity' WHERE look_at IS NOT NULL")


@pytest.fixture(scope="module")
async def open_shop(stack: Stack, template: str) -> AsyncIterator[Shop]:
    """One for all of the tests here: each has a team of its own."""
    async with (
        a_desk() as desk,
        a_database(stack, template) as database,
        an_api(
            stack, database, stripe_key=KEY, stripe_webhook_secret=SECRET, stripe_api=desk.url, stripe_tax=True,
            cors_origins=HOST,
        ) as api,
        working(stack, database, desk),
    ):  # fmt: skip
        yield Shop(api, desk)


@pytest.fixture
async def shop(open_shop: Shop) -> AsyncIterator[Shop]:
    await open_shop.api.begin()
    await open_shop.desk.order("webhooks/address", url=f"{open_shop.api.url}/v1/stripe/webhook", secret=SECRET)
    yield open_shop
    await open_shop.desk.http.delete("/_control/webhooks")
    await open_shop.desk.http.delete("/_control/faults")
    await open_shop.desk.order("tax", percent=0)


async def assert_credited_once(shop: Shop, page: dict[str, Any], *, charged: int = 4_800) -> None:
    """Money and credits agree: one charge, one fact named after its intent, and the pack's credits in the balance."""
    books = await shop.desk.books()
    intents = [one for one in books["payment_intents"] if one["metadata"].get("purchase_id") == page["id"]]
    log = await facts(shop.api.connection, shop.api.team_id)
    credited = [stored for stored in log if stored.type == "credits.purchased.v1"]

    assert [(stored.source, stored.id) for stored in credited] == [("creditwell:stripe", intents[0]["id"])]
    (fact,) = [stored.fact() for stored in credited]
    assert isinstance(fact, CreditsPurchased)
    assert (fact.charge_cents, intents[0]["amount"], intents[0]["status"]) == (charged, charged, "succeeded")
    assert (fact.credits, fact.pack, fact.member_id) == (5_000 * MICRO, "standard", "mem_1")
    assert await shop.additional() == "5000"


async def test_credits_are_there_when_the_browser_returns_even_if_no_webhook_ever_comes(shop: Shop) -> None:
    await shop.nobody_tells()
    page = await shop.bought()
    assert (page["state"], page["credits"], page["amount"], page["currency"]) == ("open", "5000", 4_800, "usd")

    paid = await shop.press(page)
    assert paid.headers["location"] == f"{HOST}/billing?purchase={page['id']}"
    said = await shop.back(page)

    assert (said["state"], said["checkout_url"]) == ("credited", None)
    balance = (await shop.api.member.get(f"{shop.api.path}/balance?at_least={said['position']}")).json()
    assert balance["additional"] == "5000"
    assert await shop.back(page) == said
    await assert_credited_once(shop, page)
    (item,) = (await shop.api.admin.get(f"{shop.api.path}/activity?days=1&type=purchase")).json()["items"]
    assert (item["credits"], item["member_id"], item["description"]) == ("5000", "mem_1", "Purchase · Standard pack")


async def test_credits_are_there_by_webhook_even_if_the_browser_never_returns(shop: Shop) -> None:
    await shop.desk.order("webhooks", do="double", copies=5)
    page = await shop.bought()
    await shop.press(page)

    await until(lambda: shop.told(CreditsPurchased))
    await shop.hears()

    await assert_credited_once(shop, page)
    assert (await shop.back(page))["state"] == "credited"


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
async def test_browser_and_webhooks_at_once_in_any_order_credit_once(shop: Shop, order: str) -> None:
    await shop.desk.order("webhooks", do="hold")
    page = await shop.bought()
    await shop.press(page)

    released = shop.desk.order("webhooks/release", order=order, seed=7)
    answers = await asyncio.gather(*(shop.back(page) for _ in range(8)), released, *(shop.back(page) for _ in range(8)))
    await shop.hears()

    assert {answer.get("state", "credited") for answer in answers} == {"credited"}
    await assert_credited_once(shop, page)


async def test_what_was_paid_is_found_though_neither_browser_nor_webhook_comes(shop: Shop) -> None:
    await shop.nobody_tells()
    page = await shop.bought()
    await shop.press(page)
    await shop.looks_again()

    await until(lambda: shop.told(CreditsPurchased))

    await assert_credited_once(shop, page)
    waiting = await shop.api.connection.fetchval("SELECT look_at FROM checkouts WHERE id = $1", page["id"])
    assert waiting is None


async def test_a_payment_that_takes_days_is_credited_when_it_succeeds_and_not_before(shop: Shop) -> None:
    page = await shop.bought()
    await shop.desk.order("outcomes", outcome="processing")
    await shop.press(page)
    await shop.hears()
    assert ((await shop.back(page))["state"], await shop.additional()) == ("processing", "0")

    intent = (await shop.desk.books())["payment_intents"][-1]["id"]
    await shop.desk.order(f"payment_intents/{intent}/settle", outcome="succeeded")

    await until(lambda: shop.told(CreditsPurchased))
    await assert_credited_once(shop, page)


async def test_a_payment_that_fails_after_days_grants_nothing_and_says_why(shop: Shop) -> None:
    page = await shop.bought()
    await shop.desk.order("outcomes", outcome="processing")
    await shop.press(page)
    intent = (await shop.desk.books())["payment_intents"][-1]["id"]
    await shop.desk.order(f"payment_intents/{intent}/settle", outcome="insufficient_funds")
    await shop.hears()

    said = await shop.back(page)

    assert (said["state"], said["detail"]) == ("failed", "Your card has insufficient funds.")
    assert (await shop.additional(), await shop.told(CreditsPurchased)) == ("0", [])


async def test_a_page_that_nobody_pays_on_grants_nothing_and_expires(shop: Shop) -> None:
    page = await shop.bought()
    declined = await shop.press(page, card="pm_card_visa_chargeDeclinedInsufficientFunds")
    assert declined.status_code == 402
    cancelled = await shop.press(page, action="cancel")
    assert parse_qs(urlsplit(cancelled.headers["location"]).query) == {"purchase": [page["id"]], "cancelled": ["1"]}
    waiting = await shop.back(page)
    assert (waiting["state"], waiting["detail"]) == ("open", "Your card has insufficient funds.")
    assert waiting["checkout_url"] == page["checkout_url"]

    await shop.desk.order("clock", advance_seconds=25 * 3_600)
    said = await shop.back(page)
    await shop.press(page)

    assert (said["state"], said["checkout_url"]) == ("expired", None)
    assert (await shop.additional(), await shop.told(CreditsPurchased)) == ("0", [])


@pytest.mark.parametrize(
    "edited",
    [
        "credits = 2_000_000_000_000_000",
        "charge_cents = 1, credits = 2_000_000_000_000_000",
        "currency = 'eur', taxed = true",
        "pack = NULL, name = NULL, credits = NULL, charge_cents = NULL, currency = NULL, mode = 'setup'",
        "state = 'credited', payment_intent_id = 'pi_other'",
    ],
)
async def test_whoever_edits_the_row_of_a_page_changes_nothing_about_what_was_sold(shop: Shop, edited: str) -> None:
    page = await shop.bought()
    await shop.api.connection.execute(f"UPDATE checkouts SET {edited} WHERE id = $1", page["id"])

    await shop.press(page)
    await shop.hears()

    (bought,) = await of_type(shop.api.connection, shop.api.team_id, CreditsPurchased)
    assert (bought.credits, bought.charge_cents, bought.pack, bought.purchase_id) == (
        5_000 * MICRO, 4_800, "standard", page["id"],
    )  # fmt: skip


async def another_team(shop: Shop) -> Shop:
    """Another team at the same shop."""
    other = Shop(replace(shop.api, team_id=f"{shop.api.team_id}_other"), shop.desk)
    await other.api.team()
    return other


async def swap_pages(shop: Shop, of: dict[str, Any], to: dict[str, Any]) -> None:
    """Somebody edits the table: the page of one request becomes another one's."""
    session = await shop.api.connection.fetchval(
        "UPDATE checkouts SET look_at = NULL WHERE id = $1 RETURNING session_id", of["id"]
    )
    await shop.api.connection.execute("UPDATE checkouts SET session_id = 'gone:' || id WHERE id = $1", of["id"])
    await shop.api.connection.execute("UPDATE checkouts SET session_id = $2 WHERE id = $1", to["id"], session)


async def test_the_page_of_another_teams_purchase_brings_nobody_else_credits(shop: Shop) -> None:
    other = await another_team(shop)
    page, not_paid = await shop.bought(), await other.bought()
    await shop.press(page)
    assert (await shop.back(page))["state"] == "credited"
    await swap_pages(shop, page, not_paid)

    said = await other.back(not_paid)

    assert (said["state"], await other.told(CreditsPurchased)) == ("differs", [])
    assert len(await shop.told(CreditsPurchased)) == 1


async def test_the_card_of_another_team_is_never_charged_whatever_the_tables_say(shop: Shop) -> None:
    other = await another_team(shop)
    page, not_saved, bought = await shop.saving(), await other.saving(), await other.bought()
    await shop.press(page)
    assert (await shop.back(page, "payment-method"))["state"] == "saved"
    (saved,) = await shop.told(PaymentMethodChanged)
    await shop.hears()

    await swap_pages(shop, page, not_saved)
    said = await other.back(not_saved, "payment-method")
    # As if the customer were the other team's. Stripe tells of it.
    await shop.api.connection.execute("DELETE FROM stripe_customers WHERE team_id = $1", shop.api.team_id)
    await shop.api.connection.execute(
        "UPDATE stripe_customers SET customer_id = $2 WHERE team_id = $1", other.api.team_id, saved.customer_id
    )
    await shop.desk.http.post(f"/v1/customers/{saved.customer_id}", data={"metadata[seen]": "yes"})
    await shop.hears()

    assert (said["state"], bought["state"]) == ("failed", "open")
    assert await other.told(PaymentMethodChanged) == []


async def test_whose_card_it_is_the_log_says_and_not_the_table(shop: Shop) -> None:
    page = await shop.saving()
    await shop.press(page)
    await shop.back(page, "payment-method")
    (saved,) = await shop.told(PaymentMethodChanged)
    await shop.api.connection.execute(
        "UPDATE stripe_customers SET customer_id = 'cus_other' WHERE team_id = $1", shop.api.team_id
    )

    bought = await shop.bought()

    customer = await shop.api.connection.fetchval("SELECT customer_id FROM checkouts WHERE id = $1", bought["id"])
    assert customer == saved.customer_id


async def test_a_page_that_the_log_does_not_know_brings_no_credits(shop: Shop) -> None:
    page = await shop.bought()
    other_id = uuid4()
    await shop.api.connection.execute("UPDATE checkouts SET id = $2 WHERE id = $1", page["id"], other_id)
    record = await checkouts.find(shop.api.connection, other_id)
    assert record is not None

    await shop.press(page)
    after = await follow(shop.desk.charges, transactions_on(shop.api.connection), record)

    assert (after.state, after.detail) == ("differs", "the log does not say that this was sold")
    assert await of_type(shop.api.connection, shop.api.team_id, CreditsPurchased) == []


@pytest.mark.parametrize(("sold", "spoiled"), [(":4800,", ":4799,"), ('"usd"', '"eur"')])
async def test_what_was_paid_other_than_we_had_asked_for_is_not_credited_but_kept_for_finance(
    shop: Shop, sold: str, spoiled: str
) -> None:
    page = await shop.bought()
    async with shop.api.connection.transaction():
        await shop.api.connection.execute("ALTER TABLE facts DISABLE TRIGGER ALL")
        await shop.api.connection.execute(
            "UPDATE facts SET body = replace(convert_from(body, 'UTF8'), $1, $2)::bytea "
            "WHERE type = $3 AND team_id = $4",
            sold, spoiled, PurchaseRequested.type, shop.api.team_id,
        )  # fmt: skip
        await shop.api.connection.execute("ALTER TABLE facts ENABLE ALWAYS TRIGGER facts_append_only")

    await shop.press(page)
    await shop.hears()
    said = await shop.back(page)

    assert (said["state"], "4800 usd" in said["detail"]) == ("differs", True)
    assert (await shop.additional(), await shop.told(CreditsPurchased)) == ("0", [])
    outcomes = await shop.api.connection.fetch("SELECT outcome FROM stripe_inbox WHERE checkout_id = $1", page["id"])
    assert any(row["outcome"].startswith("differs: we had asked for") for row in outcomes)


async def test_tax_comes_on_top_and_the_credits_are_those_of_the_pack(shop: Shop) -> None:
    await shop.desk.order("tax", percent=19)
    page = await shop.bought()
    await shop.press(page)

    assert (await shop.back(page))["state"] == "credited"

    await assert_credited_once(shop, page, charged=5_712)
    (fact,) = await shop.told(CreditsPurchased)
    assert fact.tax_cents == 912
    assert fact.paid_at == (await shop.desk.charges.retrieve(fact.payment_intent_id)).paid_at is not None


async def test_every_pack_of_the_catalog_is_sold_for_its_price_in_each_of_its_currencies(shop: Shop) -> None:
    pages = {pack: await shop.bought(pack=pack) for pack in PACKS}
    in_euro = await shop.bought(pack="mini", currency="eur")
    mini, *_ = (await shop.api.member.get("/v1/packs")).json()

    assert {pack: (int(page["credits"]), page["amount"]) for pack, page in pages.items()} == PACKS
    assert mini["prices"] == {"usd": pages["mini"]["amount"], "eur": in_euro["amount"]}
    shown = (await shop.desk.http.get(in_euro["checkout_url"])).text
    assert "€19.00" in shown
    assert "Mini: 2,000 credits" in shown


async def test_the_same_key_is_the_same_page_and_another_wish_needs_another_key(shop: Shop) -> None:
    first, *others = await asyncio.gather(*(shop.begin(key="one") for _ in range(4)))
    again = await shop.begin(key="one")

    assert again.headers["idempotency-replayed"] == "true"
    said = {one.text for one in (first, *others, again) if one.status_code == 201}
    assert said == {again.text}
    assert {one.status_code for one in others} <= {201, 503}  # Stripe is asked once at a time for a key
    sessions = (await shop.desk.books())["checkout_sessions"]
    assert len([one for one in sessions if one["client_reference_id"] == shop.api.team_id]) == 1
    other = await shop.begin(key="one", pack="mini")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("fault", ["reset_after", "gateway_after", "error_before", "error_after", "busy"])
@pytest.mark.parametrize("what", ["checkout/sessions", "customers"])
async def test_a_page_whose_answer_was_lost_is_asked_for_again_with_the_same_key(
    shop: Shop, what: str, fault: str
) -> None:
    await shop.desk.order("faults", route=f"POST /v1/{what}", do=[fault], times=1)
    lost = await shop.begin(key="mine")
    assert (lost.status_code, lost.json()["code"]) == (503, "stripe_away")

    answer = await shop.begin(key="mine")
    if answer.status_code == 503:  # Stripe keeps a 500 under its key; the next time another one is used
        answer = await shop.begin(key="mine")
    page = answer.json()
    await shop.press(page)

    assert (await shop.back(page))["state"] == "credited"
    await assert_credited_once(shop, page)


@pytest.mark.parametrize("step", ["checkout:begun", "checkout:made", "checkout:credited"])
async def test_a_purchase_survives_a_death_at_each_of_its_steps(shop: Shop, step: str) -> None:
    await shop.nobody_tells()
    deaths: list[str] = []

    def die() -> None:
        deaths.append(step)
        raise Unavailable(step)  # nothing after this is done, and the transaction is gone

    arm(step, 1, die)
    begun = await shop.begin(key="mine")
    if deaths:
        assert begun.status_code == 503
        begun = await shop.begin(key="mine")
    page = begun.json()
    await shop.press(page)
    said = await shop.api.admin.get(f"{shop.api.path}/purchases/{page['id']}")

    assert deaths == [step]
    assert said.status_code == (503 if step == "checkout:credited" else 200)
    assert (await shop.back(page))["state"] == "credited"
    await assert_credited_once(shop, page)
    sessions = (await shop.desk.books())["checkout_sessions"]
    assert len([one for one in sessions if one["client_reference_id"] == shop.api.team_id]) == 1


async def test_while_stripe_does_not_answer_the_browser_is_told_to_ask_again(shop: Shop) -> None:
    await shop.nobody_tells()
    page = await shop.bought()
    await shop.press(page)
    # As often as anybody asks: the worker may do so first.
    await shop.desk.order("faults", route="GET /v1/checkout/sessions/{id}", do=["reset_before"], times=100)

    away = await shop.api.admin.get(f"{shop.api.path}/purchases/{page['id']}")

    assert (away.status_code, away.json()["code"], "retry-after" in away.headers) == (503, "stripe_away", True)
    assert "Stripe does not answer" in away.json()["detail"]
    await shop.desk.forget("faults")
    assert (await shop.back(page))["state"] == "credited"


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"pack": "gigantic"}, "unknown_pack"),
        ({"currency": "jpy"}, "unknown_currency"),
        ({"return_url": "https://elsewhere.example/"}, "invalid_return_url"),
        ({"return_url": "https://host.example@elsewhere.example/"}, "invalid_return_url"),
        ({"return_url": "https://host.example.elsewhere.example/"}, "invalid_return_url"),
        ({"return_url": "https://host.example\\@elsewhere.example/"}, "invalid_return_url"),
        ({"return_url": "javascript:alert(1)"}, "invalid_return_url"),
        ({"return_url": "https://[host.example/"}, "invalid_return_url"),
        ({"return_url": "https://host.example\x00/"}, "invalid_return_url"),
        ({"return_url": "//host.example/"}, "invalid_return_url"),
        ({"return_url": "http://host.example/"}, "invalid_return_url"),
        ({"return_url": "https://host.example/#token"}, "invalid_return_url"),
        ({"pack": "mini", "amount": 1}, "invalid_request"),
    ],
)
async def test_what_can_not_be_bought_is_refused_before_stripe_hears_of_it(
    shop: Shop, wish: dict[str, Any], code: str
) -> None:
    answer = await shop.begin(**wish)

    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_a_purchase_needs_a_key_and_an_admin_and_is_nobody_elses(shop: Shop) -> None:
    page = await shop.bought(return_url=None)
    assert (await shop.press(page)).headers["location"] == f"{shop.api.url}/usage?purchase={page['id']}"

    nameless = await shop.api.admin.post(f"{shop.api.path}/purchases", json={"pack": "mini"})
    member = await shop.api.member.post(f"{shop.api.path}/purchases", json={"pack": "mini"}, headers=key())
    await shop.api.team("team_of_others")
    others = await shop.api.client("admin", "team_of_others").get(f"/v1/teams/team_of_others/purchases/{page['id']}")

    assert (nameless.status_code, nameless.json()["code"]) == (400, "idempotency_key_required")
    assert (member.status_code, member.json()["code"]) == (403, "ask_your_admin")
    assert [admin["name"] for admin in member.json()["admins"]] == ["Grace"]
    assert (others.status_code, others.json()["code"]) == (404, "unknown_purchase")


async def test_the_card_of_a_purchase_is_kept_for_top_ups_when_the_admin_agrees_and_not_otherwise(shop: Shop) -> None:
    refused, agreed = await shop.bought(), await shop.bought(save_card=True)
    assert "The card is kept" not in (await shop.desk.http.get(refused["checkout_url"])).text
    assert "The card is kept" in (await shop.desk.http.get(agreed["checkout_url"])).text
    await shop.press(refused)
    assert (await shop.back(refused))["state"] == "credited"
    assert await shop.told(PaymentMethodChanged) == []

    await shop.press(agreed, card="pm_card_mastercard")
    await asyncio.gather(shop.back(agreed), shop.back(agreed))
    await shop.hears()

    (fact,) = await shop.told(PaymentMethodChanged)
    assert (fact.brand, fact.last4, fact.changed_by) == (None, None, "mem_1"), "digits are no part of the log"
    at_stripe = await shop.desk.charges.card_of(fact.customer_id)
    assert at_stripe is not None
    mark = sha256(f"{fact.customer_id}\0{at_stripe.fingerprint}".encode()).hexdigest()
    assert (at_stripe.payment_method_id, mark) == (fact.payment_method_id, fact.fingerprint)
    shown = (await shop.api.admin.get(f"{shop.api.path}/payment-method")).json()
    assert (shown["card"], shown["changed_by"]) == ({"brand": "mastercard", "last4": "4444"}, "mem_1")
    assert (await shop.api.member.get(f"{shop.api.path}/payment-method")).status_code == 403
    assert (await shop.api.operator.get(f"{shop.api.path}/payment-method")).json()["card"] is None
    paid = f"{shop.api.path}/purchases/{agreed['id']}"
    assert (await shop.api.admin.get(paid)).json()["receipt_url"]
    assert (await shop.api.operator.get(paid)).json()["receipt_url"] is None


async def test_a_receipt_and_the_digits_of_a_card_stand_beside_the_log_and_are_asked_of_stripe_again(
    shop: Shop,
) -> None:
    page = await shop.bought(save_card=True)
    await shop.press(page, card="pm_card_mastercard")
    await shop.back(page)
    await shop.hears()
    (fact,) = await shop.told(CreditsPurchased)
    (activity,) = (await shop.api.admin.get(f"{shop.api.path}/activity?days=1&type=purchase")).json()["items"]
    entry, card = f"{shop.api.path}/entries/{activity['id']}", f"{shop.api.path}/payment-method"
    kept = "SELECT count(*) FROM payment_details WHERE team_id = $1"

    async def shown() -> tuple[str, object, object]:
        charge = (await shop.api.admin.get(entry)).json()["charge"]
        top_up = (await shop.api.admin.get(f"{shop.api.path}/top-up")).json()
        return charge["receipt_url"], (await shop.api.admin.get(card)).json()["card"], top_up["card"]

    assert fact.receipt_url is None
    before = await shown()
    assert before[0].startswith("http")
    assert before[1:] == ({"brand": "mastercard", "last4": "4444"},) * 2
    await shop.api.connection.execute("DELETE FROM payment_details WHERE team_id = $1", shop.api.team_id)

    assert (await shop.api.operator.get(entry)).json()["charge"].get("receipt_url") is None
    assert await shop.api.connection.fetchval(kept, shop.api.team_id) == 0, "nobody is asked for whom may not see it"
    await shop.desk.order("faults", route="GET /v1/payment_intents/{id}", do=["error_before"], times=1)
    assert (await shop.api.admin.get(entry)).json()["charge"]["receipt_url"] is None, "Stripe is away, the entry is not"
    assert await shown() == before
    assert await shop.api.connection.fetchval(kept, shop.api.team_id) == 2


async def test_credits_do_not_wait_for_the_card_that_comes_with_them(shop: Shop) -> None:
    await shop.nobody_tells()
    page = await shop.bought(save_card=True)
    await shop.press(page)
    await shop.desk.order("faults", route="POST /v1/customers/{id}", do=["error_before"], times=1)

    assert (await shop.back(page))["state"] == "credited"
    assert await shop.told(PaymentMethodChanged) == []

    await shop.looks_again()
    await until(lambda: shop.told(PaymentMethodChanged))


@pytest.mark.parametrize("first", ["browser", "webhook"])
async def test_a_card_that_was_saved_is_a_fact_once_whoever_tells_first(shop: Shop, first: str) -> None:
    if first == "browser":
        await shop.nobody_tells()
    page = await shop.saving()
    assert (page["state"], page["card"]) == ("open", None)

    saved = await shop.press(page, card="pm_card_amex")
    assert saved.headers["location"] == f"{shop.api.url}/usage?payment_method={page['id']}"
    if first == "webhook":
        await until(lambda: shop.told(PaymentMethodChanged))
        await shop.hears()
    said = await shop.back(page, "payment-method")

    assert (said["state"], said["card"]) == ("saved", {"brand": "amex", "last4": "0005"})
    (fact,) = await shop.told(PaymentMethodChanged)
    assert (await shop.brands(), fact.changed_by) == (["amex"], "mem_1")
    assert (await shop.desk.books())["charges"][-1:] == [] or await shop.told(CreditsPurchased) == []


async def test_news_of_an_older_card_do_not_replace_a_newer_one(shop: Shop) -> None:
    await shop.nobody_tells()
    older = await shop.saving()
    await shop.press(older, card="pm_card_visa")
    await shop.desk.order("clock", advance_seconds=60)
    newer = await shop.saving()
    await shop.press(newer, card="pm_card_mastercard")

    assert (await shop.back(newer, "payment-method"))["state"] == "saved"
    assert (await shop.back(older, "payment-method"))["state"] == "superseded"

    assert await shop.brands() == ["mastercard"]


async def test_a_card_that_is_removed_or_replaced_at_stripe_is_a_fact_as_well(shop: Shop) -> None:
    page = await shop.saving()
    await shop.press(page)
    await shop.back(page, "payment-method")
    (saved,) = await shop.told(PaymentMethodChanged)
    await shop.hears()  # the page's own news would make its card the default once more
    customer, stripe = saved.customer_id, shop.desk.http

    other = (await stripe.post("/v1/payment_methods/pm_card_mastercard/attach", data={"customer": customer})).json()
    default = {"invoice_settings[default_payment_method]": other["id"]}
    await stripe.post(f"/v1/customers/{customer}", data=default)
    await stripe.post(f"/v1/payment_methods/{saved.payment_method_id}/detach")  # no longer the one in use
    await shop.told_times(PaymentMethodChanged, 2)
    await stripe.post(f"/v1/payment_methods/{other['id']}/detach")

    changes = await shop.told_times(PaymentMethodChanged, 3)
    assert list(zip(await shop.brands(), (fact.changed_by for fact in changes), strict=True)) == [
        ("visa", "mem_1"),
        ("mastercard", None),
        (None, None),
    ]
    assert (await shop.api.admin.get(f"{shop.api.path}/payment-method")).json()["card"] is None


async def test_an_old_answer_about_a_card_never_overwrites_a_newer_one(shop: Shop) -> None:
    await shop.nobody_tells()
    page = await shop.saving()
    await shop.press(page)
    await shop.back(page, "payment-method")
    (saved,) = await shop.told(PaymentMethodChanged)
    customer, stripe = saved.customer_id, shop.desk.http

    async def use(card: str) -> None:
        method = (await stripe.post(f"/v1/payment_methods/{card}/attach", data={"customer": customer})).json()
        default = {"invoice_settings[default_payment_method]": method["id"]}
        await stripe.post(f"/v1/customers/{customer}", data=default)

    slow, quick = (
        InboxEvent(f"evt_{name}", "customer.updated", "customer", customer, None, None, customer, None, None, 1)
        for name in ("slow", "quick")
    )
    database = shop.api.settings.needed("database").partition("?")[0]
    async with await connect_pool(as_role(database, "worker"), process="test", size=4) as pool:
        hands = InboxWorker(pool, shop.desk.charges)
        await use("pm_card_mastercard")
        await shop.desk.order("faults", route="GET /v1/customers/{id}", do="hold_after")
        stuck = asyncio.create_task(work_on(hands, slow))
        await stripe.get("/_control/held")  # it has heard of this card, and is slow to say so

        await use("pm_card_amex")
        await work_on(hands, quick)
        await shop.desk.order("release")
        await stuck

    assert await shop.brands() == ["visa", "amex"]


async def test_a_team_whose_customer_was_deleted_at_stripe_buys_with_another(shop: Shop) -> None:
    page = await shop.bought(save_card=True)
    await shop.press(page)
    await shop.back(page)
    (saved,) = await shop.told(PaymentMethodChanged)

    await shop.desk.http.delete(f"/v1/customers/{saved.customer_id}")
    await shop.hears()
    again = await shop.bought()
    await shop.press(again)

    assert (await shop.back(again))["state"] == "credited"
    assert [fact.payment_method_id for fact in await shop.told(PaymentMethodChanged)] == [saved.payment_method_id, None]
    assert await shop.additional() == "10000"


async def test_a_page_that_stripe_does_not_know_any_more_is_given_up(shop: Shop) -> None:
    page, saving = await shop.bought(), await shop.saving()
    for one in (page, saving):
        await shop.api.connection.execute("UPDATE checkouts SET session_id = 'cs_' || id WHERE id = $1", one["id"])

    async def given_up() -> bool:
        await shop.looks_again()  # news of a page that are worked on just now put its next look off
        waiting = "SELECT count(*) FROM checkouts WHERE team_id = $1 AND look_at IS NOT NULL"
        return bool(await shop.api.connection.fetchval(waiting, shop.api.team_id) == 0)

    await until(given_up)

    said = await shop.back(page)
    assert (said["state"], said["detail"]) == ("expired", "Stripe does not know this page any more")


@pytest.mark.parametrize("way_out", ["another card", "a purchase"])
async def test_top_ups_that_are_paused_go_on_with_another_card_or_after_a_purchase(shop: Shop, way_out: str) -> None:
    page = await shop.saving()
    await shop.press(page)
    await shop.back(page, "payment-method")
    (card,) = await shop.told(PaymentMethodChanged)
    await shop.desk.order("outcomes", outcome="lost_card", times=3, payment_method=card.payment_method_id)
    await shop.api.tell(settings(), used(2_500))  # 500 of 3,000 are left, below 1,000
    await until(lambda: shop.told(TopUpSuspended))

    if way_out == "a purchase":
        page = await shop.bought()
        await shop.press(page)
        await shop.back(page)
    else:
        page = await shop.saving()
        await shop.press(page, card="pm_card_mastercard")
        await shop.back(page, "payment-method")

    await until(lambda: shop.told(TopUpResumed))


@asynccontextmanager
async def an_event(shop: Shop, **about: Any) -> AsyncIterator[Any]:
    """An event in the inbox, as the webhook keeps it; afterwards, its row."""
    row = {
        "event_id": f"evt_{uuid4().hex}",
        "type": "x.happened",
        "object_kind": "invoice",
        "object_id": "in_1",
        **about,
    }
    names, places = ", ".join(row), ", ".join(f"${n + 1}" for n in range(len(row)))
    await shop.api.connection.execute(
        f"INSERT INTO stripe_inbox ({names}, created_at) VALUES ({places}, now())", *row.values()
    )
    yield row["event_id"]


@pytest.mark.parametrize(
    ("about", "outcome"),
    [
        ({}, "nothing here follows from a invoice"),
        ({"object_kind": "payment_intent", "object_id": "pi_strange"}, "no payment of ours"),
        ({"object_kind": "checkout.session", "checkout_id": "not-a-uuid"}, "no page of ours"),
        ({"object_kind": "customer", "object_id": "cus_strange"}, "no customer of ours"),
    ],
)
async def test_an_event_that_is_not_about_us_is_done_with_a_reason(
    shop: Shop, about: dict[str, str], outcome: str
) -> None:
    async with an_event(shop, **about) as event_id:
        row = await until(
            lambda: shop.api.connection.fetchrow(
                "SELECT outcome FROM stripe_inbox WHERE event_id = $1 AND done_at IS NOT NULL", event_id
            )
        )

    assert row is not None
    assert row["outcome"].startswith(outcome)


async def test_an_event_comes_again_until_stripe_answers(shop: Shop) -> None:
    await shop.desk.order("faults", route="GET /v1/checkout/sessions/{id}", do=["gateway_before"], times=4)
    page = await shop.bought()
    await shop.press(page)

    await until(lambda: shop.told(CreditsPurchased))
    await shop.hears()

    await assert_credited_once(shop, page)
    tries = await shop.api.connection.fetchval("SELECT max(tries) FROM stripe_inbox WHERE checkout_id = $1", page["id"])
    assert tries >= 2


OF_PURCHASE = """
    SELECT request_id FROM facts LEFT JOIN traces USING (shard, position)
    WHERE team_id = $1 AND type IN ('purchase.requested.v1', 'credits.purchased.v1') ORDER BY position
"""


@pytest.mark.parametrize("first", ["the browser", "a webhook"])
async def test_credits_are_of_the_request_that_began_the_purchase_whoever_sees_the_payment_first(
    shop: Shop, first: str
) -> None:
    shop.api.admin.headers["x-request-id"] = "buys"
    page = await shop.bought()
    shop.api.admin.headers["x-request-id"] = "is-back"
    if first == "the browser":
        await shop.nobody_tells()
    await shop.press(page)
    if first == "the browser":
        assert (await shop.back(page))["state"] == "credited"
    else:
        await shop.hears()

    found = await shop.api.connection.fetch(OF_PURCHASE, shop.api.team_id)
    assert [row["request_id"] for row in found] == ["buys", "buys"]
