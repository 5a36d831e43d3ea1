"""Money at Stripe, payment by payment: what the books say moved, and what lies between two months."""

from collections import Counter
from datetime import UTC, datetime

from projections.books.cash import CashKey, CashKind, CashMove, crossing, differing, sums
from projections.books.month import month_of
from tests.support.bookkeeping import example

END = datetime(2026, 11, 1, tzinfo=UTC)
KEY = CashKey("pi_1", CashKind.CHARGED, "usd")


def at(day: int, cents: int = 2_000) -> CashMove:
    """Money that moved on a day of October or, after the 31st, of November."""
    month, day = (10, day) if day <= 31 else (11, day - 31)
    return CashMove(KEY, cents, datetime(2026, month, day, tzinfo=UTC))


def test_the_books_say_what_moved_at_stripe_in_the_month() -> None:
    october, november = (
        example().month(month_of(name, "UTC")).cash for name in ("2026-10", "2026-11")
    )  # fmt: skip

    assert [(move.key.payment, move.key.kind.value, move.cents) for move in october] == [
        ("pi_2000", "charged", 2_380), ("pi_1500", "charged", 1_500),
    ]  # fmt: skip
    assert [(move.key.kind.value, move.cents) for move in november] == [
        ("refunded", -1_190), ("charged", 4_800), ("disputed", -4_800), ("disputed", 4_800),
    ]  # fmt: skip
    assert sums(november)[CashKey("pi_5000", CashKind.DISPUTED, "usd")] == 0
    assert {move.team_id for move in october} == {"team_42"}


def test_where_both_sides_say_the_same_nothing_differs() -> None:
    other = CashKey("pi_2", CashKind.REFUNDED, "usd")

    assert differing(Counter({KEY: 2_000}), Counter({KEY: 2_000, other: 0})) == []
    assert differing(Counter({KEY: 2_000}), Counter({other: 5})) == [KEY, other]


def test_what_one_side_has_before_a_months_end_and_the_other_after_it_crosses_it() -> None:
    stripe_first, log_first = (
        crossing(END, at_stripe, in_log) for at_stripe, in_log in (([at(31)], [at(32)]), ([at(32)], [at(31)]))
    )  # fmt: skip

    assert stripe_first is not None
    assert (stripe_first.cents, stripe_first.at_stripe, stripe_first.in_log) == (2_000, at(31).at, END)
    assert log_first is not None
    assert (log_first.cents, log_first.at_stripe, log_first.in_log) == (-2_000, END, at(31).at)
    assert crossing(END, [at(30)], [at(31)]) is None
    assert crossing(END, [at(32)], [at(33)]) is None
