"""Where the cents of payments are: the worked example of docs/revenue.md, to the cent, and what else moves money."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from projections.books.accounts import BookAccount
from projections.books.ageing import bucket
from projections.books.journal import journal
from projections.books.month import month_of
from projections.books.tables import ageing_document, csv_of, document, figures_of, is_right
from schemas.credits import MICRO
from schemas.facts import ChargeRefunded, CreditsAdjusted
from tests.support.bookkeeping import Ledger, bought, disputed, example, won

GOLDEN = Path(__file__).parent / "golden"
OCTOBER, NOVEMBER = month_of("2026-10", "UTC"), month_of("2026-11", "UTC")


def test_the_worked_example_comes_to_what_the_page_says() -> None:
    ledger = example()

    october, november = (figures_of(ledger.month(one).by_currency()["usd"]) for one in (OCTOBER, NOVEMBER))

    rows = ("opening", "received", "recognised", "closing", "revenue", "cash", "tax_closing")
    assert [october[row] for row in rows] == [0, 3_500, 333, 3_167, 333, 3_880, 380]
    assert [november[row] for row in rows] == [3_167, 4_800, 4_063, 3_904, 3_063, 3_610, 190]
    assert [november[row] for row in ("refunded_unspent", "breakage", "adjusted", "frozen")] == [0, 0, 0, 0]
    to_date = ("cash_to_date", "revenue_to_date", "closing", "frozen_closing", "tax_closing")
    assert [november[row] for row in to_date] == [7_490, 3_396, 3_904, 0, 190]


def test_each_event_of_the_worked_example_moves_what_the_page_says() -> None:
    moved = [(booking.recorded_at.strftime("%d %b"), dict(Ledger.sums([booking]))) for booking in example().bookings]

    recognised = [(day, -sums[BookAccount.RECOGNISED]) for day, sums in moved if sums.get(BookAccount.RECOGNISED)]
    assert recognised == [
        ("06 Oct", 500), ("13 Oct", 333), ("15 Oct", -500), ("03 Nov", 2_200), ("06 Nov", 967), ("14 Nov", 896),
    ]  # fmt: skip
    assert moved[-4][1] == {BookAccount.STRIPE: -1_190, BookAccount.TAX: 190, BookAccount.REVERSED: 1_000, BookAccount.DEFERRED: 967,
                            BookAccount.RECOGNISED: -967}  # fmt: skip
    assert moved[-2][1] == {BookAccount.STRIPE: -4_800, BookAccount.HELD: 4_800, BookAccount.DEFERRED: 3_904,
                            BookAccount.FROZEN: -3_904}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["2026-10.json", "2026-11.json", "2026-11.csv", "2026-10.beancount", "2026-11.beancount"]
)
def test_the_golden_files_are_what_the_worked_example_writes(name: str) -> None:
    month, _, kind = name.partition(".")
    books = example().month(month_of(month, "UTC"))
    written = {
        "json": lambda: json.dumps(document(books, open_=False), indent=2, ensure_ascii=False) + "\n",
        "csv": lambda: csv_of(books, "team"), "beancount": lambda: journal(books),
    }[kind]()  # fmt: skip

    assert written == (GOLDEN / name).read_text("utf-8")


def at(day: float) -> datetime:
    return datetime(2026, 10, 1, tzinfo=UTC) + timedelta(days=day)


def spent(ledger: Ledger, credits: int, cents: int) -> int:
    """A pack, and half of it used; its lot."""
    lot = ledger.then(bought(credits, cents), at(1))
    ledger.used(credits // 2 * MICRO, at(2))
    return lot


def test_a_lost_dispute_is_a_loss_of_what_had_been_earned() -> None:
    ledger = Ledger()
    lot = spent(ledger, 1_000, 1_000)
    ledger.then(disputed(lot, 1_000, 1_000), at(3))
    assert Ledger.sums(ledger.bookings) == {
        BookAccount.HELD: 1_000,
        BookAccount.FROZEN: -500,
        BookAccount.RECOGNISED: -500,
    }

    ledger.then(won(lot, 1_000, 0).model_copy(update={"outcome": "lost"}), at(4))

    assert Ledger.sums(ledger.bookings) == {BookAccount.RECOGNISED: -500, BookAccount.LOSSES: 500}


def test_what_a_refund_froze_already_is_not_given_back_twice() -> None:
    ledger = Ledger()
    lot = spent(ledger, 1_000, 1_000)
    ledger.then(disputed(lot, 1_000, 1_000), at(3))
    ledger.then(refunded(lot, 1_000, clawed=0), at(4))

    ledger.then(won(lot, 1_000, 0), at(5))

    assert Ledger.sums(ledger.bookings) == {BookAccount.RECOGNISED: -500, BookAccount.REVERSED: 500}


def refunded(lot: int, cents: int, *, clawed: int, back: int = 0) -> ChargeRefunded:
    return ChargeRefunded(
        payment_intent_id="pi", lot=lot, refunded_cents=cents, currency="usd", clawed_credits=clawed * MICRO,
        reinstated_credits=back * MICRO or None,
    )  # fmt: skip


def test_a_refund_that_fails_brings_its_money_and_its_tax_back() -> None:
    ledger = Ledger()
    lot = ledger.then(bought(1_000, 1_190, tax=190), at(1))
    ledger.then(refunded(lot, 595, clawed=500), at(2))
    assert Ledger.sums(ledger.bookings) == {BookAccount.STRIPE: 595, BookAccount.TAX: -95, BookAccount.DEFERRED: -500}

    ledger.then(refunded(lot, 0, clawed=0, back=500), at(3))

    assert Ledger.sums(ledger.bookings) == {
        BookAccount.STRIPE: 1_190,
        BookAccount.TAX: -190,
        BookAccount.DEFERRED: -1_000,
    }


def test_a_correction_takes_value_that_nobody_has_earned() -> None:
    ledger = Ledger()
    spent(ledger, 1_000, 1_000)

    ledger.then(CreditsAdjusted(credits=-100 * MICRO, reason="test"), at(3))

    assert Ledger.sums(ledger.bookings)[BookAccount.ADJUSTED] == -100
    assert is_right(ledger.month(OCTOBER))


def test_what_is_left_of_a_paid_lot_that_ends_is_breakage_until_late_use_burns_it() -> None:
    ledger = Ledger()
    ledger.refilled(1, at(0), at(5.5))
    lot = ledger.then(bought(1_000, 1_000), at(1))
    ledger.books.lots[lot].ends_at = ledger.books.team.next_end = at(5)  # as a catalog may have it one day

    ledger.refilled(1, at(6), at(36))
    assert Ledger.sums(ledger.bookings) == {BookAccount.STRIPE: 1_000, BookAccount.BREAKAGE: -1_000}
    ledger.used(251 * MICRO, at(7), occurred=at(4))

    assert Ledger.sums(ledger.bookings) == {
        BookAccount.STRIPE: 1_000,
        BookAccount.BREAKAGE: -750,
        BookAccount.RECOGNISED: -250,
    }
    assert is_right(ledger.month(OCTOBER))


def test_work_of_an_earlier_month_is_told_apart() -> None:
    ledger = Ledger()
    ledger.then(bought(1_000, 1_000), at(1))
    ledger.used(100 * MICRO, at(33), occurred=at(20))
    ledger.used(100 * MICRO, at(33))

    assert document(ledger.month(NOVEMBER), open_=False)["cut_off"] == [
        {"currency": "usd", "month": "2026-10", "recognised": "1.00"}
    ]


def test_a_month_is_one_of_the_zone_of_the_books() -> None:
    auckland = month_of("2026-10", "Pacific/Auckland")

    assert auckland.starts_at == datetime(2026, 9, 30, 11, tzinfo=UTC)
    assert auckland.ends_at == datetime(2026, 10, 31, 11, tzinfo=UTC)
    assert month_of("2026-12", "UTC").ends_at == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026", "2026-13", "2026-1", "october", "2026-10-01", "0001-01", "", "-2026-10"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"month|time data|unconverted"):
        month_of(text, "UTC")


def test_a_book_that_does_not_tie_says_where() -> None:
    ledger = Ledger()
    lot = spent(ledger, 1_000, 1_000)
    books = ledger.month(OCTOBER)
    ledger.books.payments[lot].gross += 1
    ledger.books.valued_lots[lot].lot.remaining -= 100 * MICRO

    books.close(ledger.books)

    assert books.wrong == [
        "team_42: stripe should be 10.01 USD and is 10.00 USD", "team_42: deferred should be -4.00 USD and is -5.00 USD",
    ]  # fmt: skip
    assert not is_right(books)


def test_deferred_money_is_told_by_its_age_and_by_the_time_since_the_last_use() -> None:
    ledger = Ledger()
    spent(ledger, 1_000, 1_000)
    ledger.then(bought(500, 700), at(25))
    books = ledger.month(month_of("2027-03", "UTC"))

    aged = ageing_document(books)

    assert aged["sums"] == [
        {"currency": "usd", "age": "180 to 365 days", "unused": "180 to 365 days", "lots": 1, "deferred": "5.00"},
        {"currency": "usd", "age": "90 to 180 days", "unused": "180 to 365 days", "lots": 1, "deferred": "7.00"},
    ]
    assert [lot["deferred"] for lot in aged["lots"]] == ["5.00", "7.00"]
    assert bucket(timedelta(days=30)) == "30 to 90 days"


def test_a_team_named_like_a_formula_stays_text_and_money_stays_a_number() -> None:
    ledger = Ledger()
    ledger.books.team.team_id = "=1+1"
    ledger.then(bought(1_000, 1_000), at(1))
    books = ledger.month(OCTOBER)
    balances = books.balances.pop(("team_42", "usd"))
    balances.flows[BookAccount.STRIPE, BookAccount.HELD, None] = -1
    books.balances["=1+1", "usd"] = balances

    line = csv_of(books, "team").splitlines()[1]

    assert line.startswith("usd,'=1+1,0.00,10.00,")
    assert ",-0.01," in line


def test_amounts_of_a_currency_without_decimals_are_whole() -> None:
    ledger = Ledger()
    ledger.then(bought(1_000, 1_000).model_copy(update={"currency": "jpy"}), at(1))

    assert "Assets:Stripe  1000 JPY" in journal(ledger.month(OCTOBER))
