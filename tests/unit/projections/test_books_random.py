"""Random histories of payments, work, refunds and disputes: every cent of every payment stands in one place."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from projections.books.accounts import BookAccount
from projections.books.month import month_of
from projections.books.tables import figures_of, is_right
from projections.reversals import Account as PaymentAccount
from projections.reversals import Disputed, PaymentAtStripe, evolve, fact_due, open_account
from schemas.credits import MICRO
from schemas.facts import CreditsAdjusted, CreditsGranted, CreditsPurchased
from tests.support.bookkeeping import Ledger

BEGAN = datetime(2026, 10, 1, tzinfo=UTC)
MONTHS = [month_of(f"2026-{number}", "UTC") for number in (10, 11, 12)]
WHATS = (
    "use", "use", "use", "use late", "take back", "buy", "buy", "grant", "take", "take of a lot", "refund",
    "a refund fails", "dispute", "win", "win", "lose", "reopen", "wait",
)  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(WHATS), st.integers(1, 3_000), st.integers(0, 50)), max_size=50)


@dataclass
class Story:
    """A team, its payments, and a bank that does what it likes. Credits come in thirds of one, cents in odd numbers."""

    ledger: Ledger = field(default_factory=Ledger)
    now: datetime = BEGAN
    cycle_ends: datetime = BEGAN
    usages: list[int] = field(default_factory=list)
    accounts: list[PaymentAccount] = field(default_factory=list)
    banks: list[PaymentAtStripe] = field(default_factory=list)

    def tell(self, what: str, amount: int, which: int) -> None:
        self.now += timedelta(days=20) if what == "wait" else timedelta(hours=which % 30)
        while self.cycle_ends <= self.now:
            starts, self.cycle_ends = self.cycle_ends, self.cycle_ends + timedelta(days=30)
            self.ledger.refilled(100, starts, self.cycle_ends)
        credits = amount * MICRO // 3
        match what:
            case "use" | "use late":
                occurred = self.now - timedelta(days=25) * (what == "use late")
                self.usages.append(self.ledger.used(credits, self.now, occurred=occurred))
            case "take back" if self.usages:
                self.ledger.voided(self.usages.pop(which % len(self.usages)), self.now)
            case "grant":
                ends = self.now + timedelta(days=which) if which % 2 else None
                self.ledger.then(CreditsGranted(credits=credits, reason="test", expires_at=ends), self.now)
            case "take" | "take of a lot":
                lot = 1 + which % len(self.ledger.facts) if what != "take" else None
                self.ledger.then(CreditsAdjusted(credits=-credits, reason="test", burns_lot=lot), self.now)
            case "buy":
                self._buy(credits, amount, which)
            case _ if self.banks:
                number = which % len(self.banks)
                self.banks[number] = change(self.banks[number], self.accounts[number].charge_cents, what, amount, which)
                self._news(number)

    def _buy(self, credits: int, cents: int, which: int) -> None:
        fact = CreditsPurchased(
            credits=credits, pack="mini", payment_intent_id=f"pi_{len(self.banks)}", charge_cents=cents,
            tax_cents=cents * (which % 20) // 100 or None, currency=("usd", "jpy")[which % 7 == 0],
        )  # fmt: skip
        self.ledger.then(fact, self.now)
        self.accounts.append(open_account(self.ledger.facts[-1], fact))
        self.banks.append(PaymentAtStripe())

    def _news(self, number: int) -> None:
        """What Stripe says now becomes facts, as the product has it."""
        while (fact := fact_due(self.accounts[number], self.banks[number])) is not None:
            self.ledger.then(fact, self.now)
            self.accounts[number] = evolve(self.accounts[number], self.ledger.facts[-1], fact)


def change(bank: PaymentAtStripe, charged: int, what: str, amount: int, which: int) -> PaymentAtStripe:
    name = f"dp_{which % 2}"
    dispute = bank.disputes.get(name)
    match what:
        case "refund":
            return bank._replace(refunded_cents=min(charged, bank.refunded_cents + amount))
        case "a refund fails":
            return bank._replace(refunded_cents=max(0, bank.refunded_cents - amount))
        case "dispute" if dispute is None:
            return bank._replace(disputes={**bank.disputes, name: Disputed(min(amount, charged), "open")})
        case "win" | "lose" | "reopen" if dispute is not None:
            course = {"win": "won", "lose": "lost", "reopen": "open"}[what]
            return bank._replace(disputes={**bank.disputes, name: dispute._replace(course=course)})  # type: ignore[arg-type]
        case _:
            return bank


def told(steps: list[tuple[str, int, int]]) -> Ledger:
    story = Story()
    for step in steps:
        story.tell(*step)
    return story.ledger


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_every_cent_is_in_one_place_and_each_month_begins_where_the_last_one_ended(
    steps: list[tuple[str, int, int]],
) -> None:
    ledger = told(steps)
    closing: dict[str, int] = {}
    for month in MONTHS:
        books = ledger.month(month)

        assert books.wrong == []
        assert is_right(books)
        for currency, balances in books.by_currency().items():
            figures = figures_of(balances)
            assert figures["opening"] == closing.get(currency, 0)
            closing[currency] = figures["closing"]
            out = ("recognised", "refunded_unspent", "breakage", "adjusted", "frozen")
            assert figures["closing"] == figures["opening"] + figures["received"] - sum(figures[name] for name in out)
            assert figures["cash"] == figures["charged"] - figures["refunded"] - figures["disputed"] + figures["won"]


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_what_is_deferred_is_the_value_of_the_credits_that_are_left_by_a_reckoning_of_its_own(
    steps: list[tuple[str, int, int]],
) -> None:
    ledger = told(steps)

    sums = Ledger.sums(ledger.bookings)

    left = sum(
        int((Decimal(lot.net) * lot.lot.remaining / lot.lot.gained).quantize(Decimal(1), ROUND_HALF_UP))
        for lot in ledger.books.valued_lots.values()
        if lot.lot.gained
    )
    assert -sums[BookAccount.DEFERRED] == left
    assert sum(sums.values()) == 0


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_when_the_last_credit_goes_nothing_is_left_over(steps: list[tuple[str, int, int]]) -> None:
    ledger = told([*steps, ("wait", 1, 0)])
    after = max(stored.recorded_at for stored in ledger.facts)

    ledger.used(10**12, after)

    sums = Ledger.sums(ledger.bookings)
    assert sums[BookAccount.DEFERRED] == 0
    payments = ledger.books.payments.values()
    if not any(payment.disputes for payment in payments):
        assert sums[BookAccount.FROZEN] == sums[BookAccount.HELD] == sums[BookAccount.LOSSES] == 0


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_with_no_dispute_open_nothing_is_frozen(steps: list[tuple[str, int, int]]) -> None:
    ledger = told(steps)

    courses = [dispute.course for one in ledger.books.payments.values() for dispute in one.disputes.values()]
    if "open" not in courses:
        assert Ledger.sums(ledger.bookings)[BookAccount.FROZEN] == 0
