"""What becomes of a page of Stripe's: only what was paid as we had asked for it is credited. No sockets."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from services.money.checkout.outcome import judge
from services.money.checkout.purchases import request_of
from services.money.checkout.rows import CheckoutRow
from services.money.stamps import words_of
from services.money.stripe_client import Checkout, Decline, Intent, StripeCard

NOW = datetime(2026, 11, 23, 10, 15, 30, tzinfo=UTC)
CARD = StripeCard("pm_1", "visa", "4242", "fingerprint", NOW)
BUYING = CheckoutRow(
    team_id="team_42", id=UUID(int=1), mode="payment", customer_id="cus_1", asked_by="mem_7", return_url="https://host.example",
    pack="standard", name="Standard: 5,000 credits", credits=5_000_000_000, charge_cents=4_800, currency="usd",
    keeps_card=False, taxed=False,
)  # fmt: skip
SAVING = replace(
    BUYING, mode="setup", pack=None, name=None, credits=None, charge_cents=None, currency=None, keeps_card=True
)
INTENT = Intent(
    id="pi_1", state="succeeded", amount_cents=4_800, currency="usd", customer_id="cus_1", payment_method_id="pm_1",
    card=CARD, decline=None, charge_id="ch_1", receipt_url=None, refunded_cents=0, disputed=False, action_url=None,
    metadata=words_of(request_of(BUYING)), created_at=NOW,
)  # fmt: skip
PAID = Checkout(
    id="cs_1", mode="payment", state="complete", paid=True, url=None, amount_cents=4_800, subtotal_cents=4_800, tax_cents=0,
    currency="usd", customer_id="cus_1", intent=INTENT, card=CARD, metadata=INTENT.metadata, created_at=NOW, expires_at=NOW,
)  # fmt: skip
SAVED = replace(
    PAID, mode="setup", paid=False, amount_cents=None, subtotal_cents=None, currency=None, intent=None,
    metadata={"team_id": SAVING.team_id, "change_id": str(SAVING.id)},
)  # fmt: skip
DECLINED = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.")


def seen(*, intent: dict[str, Any] | None = None, **changes: Any) -> Checkout:
    """The page of a Standard pack that was paid, but for what is changed."""
    return replace(PAID, intent=replace(INTENT, **(intent or {})), **changes)


def taxed(*, total: int, tax: int) -> Checkout:
    return seen(intent={"amount_cents": total}, amount_cents=total, tax_cents=tax)


def test_what_was_paid_as_we_had_asked_for_is_credited() -> None:
    assert judge(BUYING, PAID) == ("credited", None)


@pytest.mark.parametrize("checkout", [taxed(total=5_712, tax=912), taxed(total=4_800, tax=766)])
def test_tax_may_come_on_top_of_a_price_or_lie_in_it(checkout: Checkout) -> None:
    assert judge(replace(BUYING, taxed=True), checkout) == ("credited", None)


@pytest.mark.parametrize(
    "checkout",
    [
        seen(subtotal_cents=4_799),
        seen(currency="eur"),
        seen(intent={"amount_cents": 1}),
        seen(intent={"currency": "eur"}),
        seen(amount_cents=4_799, intent={"amount_cents": 4_799}),
        taxed(total=5_712, tax=912),
        taxed(total=4_000, tax=-800),
        seen(metadata={}),
        seen(intent={"metadata": {**INTENT.metadata, "team_id": "team_43"}}),
    ],
)
def test_what_was_paid_otherwise_is_not_credited_and_says_how(checkout: Checkout) -> None:
    state, why = judge(BUYING, checkout)

    assert state == "differs"
    assert why


@pytest.mark.parametrize(
    ("checkout", "state"),
    [
        (replace(PAID, state="open", paid=False, intent=None), "open"),
        (seen(state="open", paid=False, intent={"state": "requires_payment_method", "decline": DECLINED}), "open"),
        (seen(state="open", paid=False, intent={"state": "requires_action"}), "open"),
        (seen(paid=False, intent={"state": "processing"}), "processing"),
        (seen(paid=False, intent={"state": "requires_payment_method", "decline": DECLINED}), "failed"),
        (seen(paid=False, intent={"state": "cancelled"}), "failed"),
        (replace(PAID, state="expired", paid=False, intent=None), "expired"),
        (seen(state="expired", paid=False, intent={"state": "cancelled"}), "expired"),
        (replace(PAID, paid=True, intent=None), "failed"),
    ],
)
def test_nothing_but_an_intent_that_has_succeeded_is_money(checkout: Checkout, state: str) -> None:
    assert judge(BUYING, checkout)[0] == state


def test_who_was_declined_reads_why() -> None:
    declined = {"state": "requires_payment_method", "decline": DECLINED}

    assert judge(BUYING, seen(state="open", intent=declined)) == ("open", "Your card has insufficient funds.")


@pytest.mark.parametrize("state", ["open", "expired"])
def test_money_counts_whatever_stripe_calls_the_page_itself(state: Any) -> None:
    assert judge(BUYING, seen(state=state, paid=False)) == ("credited", None)


@pytest.mark.parametrize("state", ["credited", "saved", "superseded"])
def test_what_is_done_stays_done_whatever_stripe_says_later(state: Any) -> None:
    later = seen(state="expired", paid=False, intent={"state": "cancelled"})

    assert judge(replace(BUYING, state=state), later) == (state, None)


@pytest.mark.parametrize(
    ("checkout", "state"),
    [
        (SAVED, "saved"),
        (replace(SAVED, state="open", card=None), "open"),
        (replace(SAVED, state="open"), "open"),
        (replace(SAVED, card=None), "failed"),
        (replace(SAVED, state="expired", card=None), "expired"),
        (replace(SAVED, metadata={"team_id": "team_43", "change_id": str(SAVING.id)}), "failed"),
    ],
)
def test_a_card_is_saved_when_its_page_is_complete(checkout: Checkout, state: str) -> None:
    assert judge(SAVING, checkout)[0] == state


@pytest.mark.parametrize(
    ("state", "card_state", "keeps_card", "waits"),
    [
        ("open", None, False, True),
        ("processing", None, False, True),
        ("credited", None, False, False),
        ("credited", None, True, True),
        ("credited", "saved", True, False),
        ("expired", None, True, False),
        ("differs", None, True, False),
    ],
)
def test_a_page_is_looked_at_again_until_nothing_is_left_to_do(
    state: Any, card_state: Any, keeps_card: bool, waits: bool
) -> None:
    assert replace(BUYING, state=state, card_state=card_state, keeps_card=keeps_card).waits is waits
