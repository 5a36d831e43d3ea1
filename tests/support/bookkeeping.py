"""Telling a team's history to the books, for tests of what its credits are worth."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from projections.balance.amending import earlier_usage
from projections.balance.state import ActivityKind, LotPayment, TeamBalance
from projections.books.accounts import BookAccount, Booking
from projections.books.fold import TeamBooks, book
from projections.books.month import Month, MonthBooks
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    ChargeDisputed,
    ChargeRefunded,
    CreditsGranted,
    CreditsPurchased,
    CreditsRefilled,
    CreditsToppedUp,
    DisputeClosed,
    PlanAssigned,
    Stored,
    UsageRecorded,
    UsageVoided,
)


@dataclass
class Ledger:
    """One team's facts and what they moved."""

    books: TeamBooks = field(default_factory=lambda: TeamBooks(TeamBalance("team_42")))
    facts: list[Stored] = field(default_factory=list)
    bookings: list[Booking] = field(default_factory=list)
    paid: dict[int, tuple[LotPayment, ...]] = field(default_factory=dict)

    def then(self, fact: AnyFact, at: datetime, *, occurred: datetime | None = None) -> int:
        """Record a fact; its position."""
        position = len(self.facts) + 1
        self.tell(Stored(7, position, at, occurred or at, "team_42", "test", str(position), fact.type, fact.body()))
        return position

    def tell(self, stored: Stored) -> list[Booking]:
        """Take a stored fact; what it moved."""
        fact = stored.fact()
        earlier = earlier_usage(fact)
        paid = () if earlier is None else self.paid[earlier]
        entries, bookings = book(self.books, stored, fact, paid)
        self.paid.update((entry.position, entry.paid) for entry in entries if entry.kind is ActivityKind.USAGE)
        self.facts.append(stored)
        self.bookings += bookings
        return bookings

    def used(self, credits: int, at: datetime, *, occurred: datetime | None = None) -> int:
        """A usage, in micro-credits; its position."""
        fact = UsageRecorded(feature="ai_video.generate", quantity="1", credits=credits, rate_card=1)
        return self.then(fact, at, occurred=occurred)

    def voided(self, position: int, at: datetime) -> int:
        """A usage is taken back."""
        usage = self.facts[position - 1]
        fact = usage.fact()
        assert isinstance(fact, UsageRecorded)
        taken_back = UsageVoided(
            usage_source=usage.source, usage_id=usage.id, usage_position=position, usage_occurred_at=usage.occurred_at,
            credits=fact.credits, feature=fact.feature, reason="the job failed",
        )  # fmt: skip
        return self.then(taken_back, at)

    def refilled(self, credits: int, starts: datetime, ends: datetime) -> int:
        """Included credits for a cycle."""
        fact = CreditsRefilled(
            credits=credits * MICRO, plan="pro", plan_assigned_id="plan", cycle=0, starts_at=starts, ends_at=ends
        )
        return self.then(fact, starts)

    def month(self, month: Month) -> MonthBooks:
        """The books of a month, with everything that was recorded before its end."""
        told = Ledger()
        for stored in self.facts:
            if stored.recorded_at < month.ends_at:
                told.tell(stored)
        books = MonthBooks(month)
        books.add(told.bookings)
        books.close(told.books)
        return books

    @staticmethod
    def sums(bookings: Iterable[Booking]) -> Counter[BookAccount]:
        """What each account gained, on the debit side; accounts that gained nothing are left out."""
        sums: Counter[BookAccount] = Counter()
        for booking in bookings:
            for debit, credit, cents, _ in booking.moves:
                sums[debit] += cents
                sums[credit] -= cents
        return Counter({account: cents for account, cents in sums.items() if cents})


def example(year: int = 2026) -> Ledger:
    """The worked example of docs/revenue.md: one team, USD, 300 included credits a month."""
    ledger = Ledger()

    def on(month: int, day: int, hour: int = 12) -> datetime:
        return datetime(year, month, day, hour, tzinfo=UTC)

    plan = PlanAssigned(plan="pro", anchor=on(10, 1, 0), zone="UTC", allowance_credits=300 * MICRO)
    ledger.then(plan, on(10, 1, 0))
    ledger.refilled(300, on(10, 1, 0), on(11, 1, 0))
    a = ledger.then(bought(2_000, 2_380, tax=380), on(10, 2))
    usage = ledger.used(800 * MICRO, on(10, 6))
    ledger.then(CreditsGranted(credits=100 * MICRO, reason="welcome", expires_at=on(10, 20)), on(10, 10))
    ledger.used(433_333_333, on(10, 13))
    ledger.voided(usage, on(10, 15))
    ledger.then(topped_up(1_500, 1_500), on(10, 21))
    ledger.refilled(300, on(11, 1, 0), on(12, 1, 0))
    ledger.used(2_500 * MICRO, on(11, 3))
    half = ChargeRefunded(
        payment_intent_id="pi_2000", lot=a, refunded_cents=1_190, currency="usd", clawed_credits=1_000 * MICRO,
        charge_cents=2_380,
    )  # fmt: skip
    ledger.then(half, on(11, 6))
    ledger.used(900 * MICRO, on(11, 10))
    c = ledger.then(bought(5_000, 4_800), on(11, 14))
    ledger.then(disputed(c, 4_800, 5_000), on(11, 17))
    ledger.then(won(c, 4_800, 5_000), on(11, 28))
    return ledger


def bought(credits: int, cents: int, *, tax: int | None = None) -> CreditsPurchased:
    return CreditsPurchased(
        credits=credits * MICRO, pack="mini", payment_intent_id=f"pi_{credits}", charge_cents=cents, tax_cents=tax,
        currency="usd",
    )  # fmt: skip


def topped_up(credits: int, cents: int) -> CreditsToppedUp:
    return CreditsToppedUp(
        credits=credits * MICRO, attempt_id="a", payment_intent_id=f"pi_{credits}", charge_cents=cents, currency="usd"
    )


def disputed(lot: int, cents: int, credits: int) -> ChargeDisputed:
    return ChargeDisputed(
        payment_intent_id="pi", dispute_id="dp", lot=lot, disputed_cents=cents, currency="usd",
        frozen_credits=credits * MICRO, charge_cents=cents,
    )  # fmt: skip


def won(lot: int, cents: int, credits: int) -> DisputeClosed:
    return DisputeClosed(
        payment_intent_id="pi", dispute_id="dp", lot=lot, outcome="won", reinstated_credits=credits * MICRO,
        disputed_cents=cents, currency="usd", charge_cents=cents,
    )  # fmt: skip
