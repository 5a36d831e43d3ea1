"""What customers read about refunds and disputes."""

from datetime import UTC, datetime

import pytest

from projections.balance.state import DEBT, ActivityKind, BalanceEntry, LotPayment
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import ChargeDisputed, ChargeRefunded, CreditsPurchased, DisputeClosed
from schemas.money import format_money
from schemas.pricing import RateCards
from services.api.wording.entries import charge, describe, detail, payment_of
from services.api.wording.reversals import Reversal

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CATALOG = load_catalog()
CARDS = RateCards([CATALOG.rate_card])


def refunded(cents: int = 500, **changes: int) -> ChargeRefunded:
    return ChargeRefunded.model_validate(
        {"payment_intent_id": "pi", "lot": 1, "refunded_cents": cents, "currency": "usd", "clawed_credits": 250 * MICRO,
         "charge_cents": 2_000, **changes}
    )  # fmt: skip


def disputed() -> ChargeDisputed:
    return ChargeDisputed(
        payment_intent_id="pi", dispute_id="dp", lot=1, disputed_cents=2_000, currency="usd",
        frozen_credits=1_000 * MICRO, charge_cents=2_000, reason="fraudulent",
    )  # fmt: skip


def closed(outcome: str, reinstated: int = 0) -> DisputeClosed:
    return DisputeClosed.model_validate(
        {"payment_intent_id": "pi", "dispute_id": "dp", "lot": 1, "outcome": outcome, "reinstated_credits": reinstated}
    )


def told(fact: Reversal, *paid: LotPayment) -> tuple[str, str | None]:
    kind = ActivityKind.REFUND if isinstance(fact, ChargeRefunded) else ActivityKind.DISPUTE
    entry = BalanceEntry(7, 0, kind, NOW, NOW, None, None, 0, 0, 0, paid)
    return describe(entry, fact, CARDS, CATALOG), detail(entry, fact, CARDS)


def test_a_refund_says_how_much_of_the_payment_was_given_back() -> None:
    assert told(refunded(), LotPayment(1, 250 * MICRO)) == (
        "Refund",
        "5.00 USD of 20.00 USD refunded so far · payment #1",
    )


def test_credits_that_were_spent_already_are_named() -> None:
    assert told(refunded(), LotPayment(1, 50 * MICRO), LotPayment(DEBT, 200 * MICRO)) == (
        "Refund",
        "5.00 USD of 20.00 USD refunded so far; 200 of the credits were spent already and count below zero · payment #1",
    )


@pytest.mark.parametrize(
    ("paid", "words"),
    [
        ([(1, 50), (9, 200)], "; 200 of the credits were spent already and were taken of other credits"),
        (
            [(1, 50), (9, 120), (DEBT, 80)],
            "; 200 of the credits were spent already: 120 were taken of other credits, 80 count below zero",
        ),
    ],
)
def test_other_credits_that_were_taken_for_those_that_were_spent_are_named(
    paid: list[tuple[int, int]], words: str
) -> None:
    _, detail = told(refunded(), *(LotPayment(lot, credits * MICRO) for lot, credits in paid))
    assert detail == f"5.00 USD of 20.00 USD refunded so far{words} · payment #1"


def test_a_refund_that_failed_says_so() -> None:
    fact = refunded(0, clawed_credits=0, reinstated_credits=MICRO)
    assert told(fact) == ("Refund did not go through", "0.00 USD of 20.00 USD refunded so far · payment #1")


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (disputed(), ("Payment disputed", "20.00 USD disputed with the bank: the credits are frozen until it decides")),
        (closed("won", MICRO), ("Dispute won", "The credits are back")),
        (closed("won"), ("Dispute won", "There was nothing to give back")),
        (closed("lost"), ("Dispute lost", "The bank decided against the payment: its credits are gone for good")),
    ],
)
def test_every_turn_of_a_dispute_has_its_words(fact: Reversal, words: tuple[str, str]) -> None:
    assert told(fact) == (words[0], f"{words[1]} · payment #1")


def test_what_went_back_has_the_number_of_the_payment_that_it_was() -> None:
    bought = CreditsPurchased(
        credits=MICRO, pack="mini", payment_intent_id="pi", charge_cents=2_000, currency="usd", charge_id="ch_1"
    )
    entry = BalanceEntry(1, 0, ActivityKind.PURCHASE, NOW, NOW, None, None, 0, MICRO, MICRO, ())

    assert detail(entry, bought, CARDS) == "20.00 USD · payment #1"
    assert payment_of(entry, bought) == payment_of(entry, refunded()) == payment_of(entry, disputed()) == 1


def test_the_charge_behind_a_refund_is_shown_and_its_id_to_those_alone_who_see_receipts() -> None:
    assert charge(refunded(), sees_receipts=False) == {"amount": 2_000, "currency": "usd"}
    shown = charge(disputed(), sees_receipts=True)
    assert shown is not None
    assert shown["payment_intent_id"] == "pi"


@pytest.mark.parametrize(
    ("cents", "currency", "words"),
    [
        (4_800, "usd", "48.00 USD"),
        (5, "eur", "0.05 EUR"),
        (1_234, "jpy", "1,234 JPY"),
        (1_234_567, "kwd", "1,234.567 KWD"),
    ],
)
def test_money_is_written_in_the_units_of_its_currency(cents: int, currency: str, words: str) -> None:
    assert format_money(cents, currency) == words
