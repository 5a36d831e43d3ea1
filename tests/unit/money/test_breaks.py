"""Where Stripe and the log differ: every seeded difference is found by its type, and payments that agree have none."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.reversals import Account, Course, Disputed, PaymentAtStripe, evolve, fact_due
from schemas.credits import MICRO
from schemas.facts import Stored
from services.money.reconcile.breaks import BreakKind, Payment, breaks_of, is_quiet
from services.money.reconcile.reads import Credit, IntendedPayment
from services.money.stripe_client import Dispute, Intent

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CENTS = 2_000
STATUSES = ["needs_response", "under_review", "won", "lost", "prevented", "warning_closed", "warning_needs_response"]


def paid(*, refunded: int = 0, disputed: bool = False) -> Intent:
    return Intent(
        id="pi_1", state="succeeded", amount_cents=CENTS, currency="usd", customer_id=None, payment_method_id=None, card=None,
        decline=None, charge_id="ch_1", receipt_url=None, refunded_cents=refunded, disputed=disputed, action_url=None,
        metadata={"team_id": "team_42"}, created_at=NOW,
    )  # fmt: skip


def credit(**changes: object) -> Credit:
    usual = Credit("team_42", "7:1", "purchase", "pi_1", 1_000 * MICRO, CENTS, "usd", NOW)
    return usual._replace(**changes)  # type: ignore[arg-type]


def dispute(number: int, status: str, cents: int) -> Dispute:
    return Dispute(f"dp_{number}", "ch_1", cents, "usd", status, "fraudulent", NOW)


def told(seen: PaymentAtStripe) -> Account:
    """The account of a log that has heard everything."""
    account = Account("pi_1", 1, 1_000 * MICRO, CENTS, "usd")
    while (fact := fact_due(account, seen)) is not None:
        position = account.reversals + 2
        account = evolve(account, Stored(7, position, NOW, NOW, "team_42", "test", "1", fact.type, fact.body()), fact)
    return account


@st.composite
def agreeing(draw: st.DrawFn) -> Payment:
    """A payment of which both sides say the same, however much of it went back."""
    refunded = draw(st.integers(0, CENTS))
    disputes = tuple(
        dispute(number, status, draw(st.integers(1, CENTS)))
        for number, status in enumerate(draw(st.lists(st.sampled_from(STATUSES), max_size=3)))
    )
    courses: dict[str, Course] = {
        "needs_response": "open", "under_review": "open", "won": "won", "lost": "lost", "prevented": "lost",
    }  # fmt: skip
    heard = {
        one.id: Disputed(one.amount_cents, courses[one.status], one.reason) for one in disputes if one.status in courses
    }
    seen = PaymentAtStripe(refunded, heard)
    return Payment("pi_1", paid(refunded=refunded, disputed=bool(disputes)), disputes, (credit(),), told(seen))


@given(agreeing())
def test_payments_that_agree_have_no_break(payment: Payment) -> None:
    assert breaks_of(payment) == []


@given(agreeing(), st.integers(1, CENTS))
def test_a_refund_that_the_log_has_not_heard_of_is_one_break(payment: Payment, more: int) -> None:
    assert payment.intent is not None
    later = replace(payment.intent, refunded_cents=payment.intent.refunded_cents + more)

    assert [one.type for one in breaks_of(payment._replace(intent=later))] == [BreakKind.REFUND_NOT_CLAWED]


@given(agreeing(), st.sampled_from(["needs_response", "lost", "won", "of_the_future"]))
def test_a_dispute_that_the_log_has_not_heard_of_is_one_break(payment: Payment, status: str) -> None:
    more = (*payment.disputes, dispute(9, status, 100))

    assert [one.type for one in breaks_of(payment._replace(disputes=more))] == [BreakKind.DISPUTE_UNHANDLED]


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"charge_cents": CENTS - 1}, BreakKind.AMOUNT_MISMATCH),
        ({"currency": "eur"}, BreakKind.AMOUNT_MISMATCH),
        ({"team_id": "team_7"}, BreakKind.CREDITED_NOT_PAID),
    ],
)
def test_what_the_log_says_otherwise_is_found_at_the_first_look(changed: dict[str, object], kind: BreakKind) -> None:
    other = (credit(**changed),)

    assert not is_quiet(paid(), other, set())
    assert [one.type for one in breaks_of(Payment("pi_1", paid(), credits=other))] == [kind]


def test_a_payment_that_agrees_needs_one_look_and_one_of_which_something_went_back_a_second() -> None:
    assert is_quiet(paid(), [credit()], set())
    assert not is_quiet(paid(), [credit()], {"pi_1"})
    assert not is_quiet(paid(refunded=1), [credit()], set())
    assert not is_quiet(paid(disputed=True), [credit()], set())
    assert not is_quiet(paid(), [credit(), credit()], set())


def test_a_purchase_that_was_found_to_differ_is_a_mismatch_whatever_its_tax_and_nobody_is_told_to_heal_it() -> None:
    fault = "we had asked for 1900 usd, and 2000 were paid with 19 of tax"
    wanted = IntendedPayment(
        "purchase",
        UUID(int=1),
        "team_42",
        1_000 * MICRO,
        CENTS - 100,
        "usd",
        "pi_1",
        None,
        open=False,
        taxed=True,
        fault=fault,
    )

    (found,) = breaks_of(Payment("pi_1", paid(), intended=wanted))

    assert (found.type, found.what) == (BreakKind.AMOUNT_MISMATCH, f"{fault}; no credits were given")
    assert "--heal" not in found.next_step
