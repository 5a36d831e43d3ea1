"""Partial refunds and disputes in all orders and repetitions, against an obvious model; and every identity of a balance."""

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve as fold_balance
from projections.balance.state import DEBT, ActivityKind, LotPayment, TeamBalance
from projections.reversals import Account, Disputed, PaymentAtStripe, evolve, fact_due, open_account
from schemas.credits import MICRO
from schemas.facts import CreditsPurchased, CreditsToppedUp
from tests.unit.projections.history import MONTH, NOON, History, at

CENTS_MAX = 40


@dataclass
class Bank:
    """Stripe's side of one payment: money only, no credits."""

    cents: int
    rate: int  # micro-credits for a cent
    refunds: list[int] = field(default_factory=list)
    failed_refunds: list[int] = field(default_factory=list)
    disputes: dict[str, Disputed] = field(default_factory=dict)

    def says(self) -> PaymentAtStripe:
        return PaymentAtStripe(min(self.cents, sum(self.refunds)), dict(self.disputes))

    @property
    def clawed(self) -> int:
        """The rule of the design, word for word, in micro-credits."""
        reversed_cents = min(self.cents, sum(self.refunds)) + sum(one.cents for one in self.disputes.values())
        reinstated_cents = sum(one.cents for one in self.disputes.values() if one.course == "won")
        return min((reversed_cents - reinstated_cents) * self.rate, self.cents * self.rate)


class Payments(RuleBasedStateMachine):
    """Two payments of one team, a bank that does what it likes, and news that come when they come."""

    @initialize(included=st.integers(0, 100))
    def begin(self, included: int) -> None:
        self.told = History()
        self.banks: list[Bank] = []
        self.accounts: list[Account] = []
        self.usages: list[int] = []
        self.gained = included
        self.used = 0
        if included:
            self.told.refilled(included, starts=NOON, ends=NOON + MONTH)

    @property
    def now(self) -> int:
        return len(self.told.stored) + 1

    @precondition(lambda self: len(self.banks) < 2)
    @rule(cents=st.integers(1, CENTS_MAX), rate=st.integers(1, 30), topped_up=st.booleans())
    def pay(self, cents: int, rate: int, topped_up: bool) -> None:
        common = {"credits": cents * rate * MICRO, "payment_intent_id": f"pi_{len(self.banks)}", "charge_cents": cents}
        bought: CreditsPurchased | CreditsToppedUp = (
            CreditsToppedUp.model_validate({**common, "attempt_id": "a", "currency": "usd"})
            if topped_up
            else CreditsPurchased.model_validate({**common, "pack": "mini", "currency": "usd"})
        )
        self.told.then(bought, recorded=at(self.now))
        self.accounts.append(open_account(self.told.stored[-1], bought))
        self.banks.append(Bank(cents, rate * MICRO))
        self.gained += cents * rate

    @rule(credits=st.integers(1, 500))
    def use(self, credits: int) -> None:
        self.told.used(credits, recorded=at(self.now))
        self.usages.append(len(self.told.stored))
        self.used += credits

    @precondition(lambda self: self.usages)
    @rule(which=st.integers(0, 1_000))
    def take_a_usage_back(self, which: int) -> None:
        position = self.usages.pop(which % len(self.usages))
        self.used += self.told.voided(position, recorded=at(self.now))[-1].credits // -MICRO

    @precondition(lambda self: self.banks)
    @rule(which=st.integers(0, 1), cents=st.integers(1, CENTS_MAX))
    def refund(self, which: int, cents: int) -> None:
        self._bank(which).refunds.append(cents)

    @precondition(lambda self: self.banks)
    @rule(which=st.integers(0, 1))
    def a_refund_fails(self, which: int) -> None:
        if refunds := self._bank(which).refunds:
            refunds.pop()

    @precondition(lambda self: self.banks)
    @rule(which=st.integers(0, 1), cents=st.integers(1, CENTS_MAX))
    def dispute(self, which: int, cents: int) -> None:
        bank = self._bank(which)
        if len(bank.disputes) < 3:
            bank.disputes[f"dp_{len(bank.disputes)}"] = Disputed(min(cents, bank.cents), "open")

    @precondition(lambda self: self.banks)
    @rule(which=st.integers(0, 1), dispute=st.integers(0, 2), course=st.sampled_from(["won", "won", "lost", "open"]))
    def the_bank_decides(self, which: int, dispute: int, course: str) -> None:
        disputes = self._bank(which).disputes
        if f"dp_{dispute}" in disputes:
            disputes[f"dp_{dispute}"] = disputes[f"dp_{dispute}"]._replace(course=course)  # type: ignore[arg-type]

    @precondition(lambda self: self.banks)
    @rule(which=st.integers(0, 1), times=st.integers(1, 3))
    def news_come(self, which: int, times: int) -> None:
        number = which % len(self.banks)
        for _ in range(times):
            while (fact := fact_due(self.accounts[number], self.banks[number].says())) is not None:
                assert len(self.told.stored) < 2_000, "it never says what Stripe says"
                entries = self.told.then(fact, recorded=at(self.now))
                own = {self.accounts[number].lot, *self.accounts[number].reinstated_lots}
                self._unspent_first(own, entries[-1].paid)
                self.accounts[number] = evolve(self.accounts[number], self.told.stored[-1], fact)
        assert self.accounts[number].clawed == self.banks[number].clawed

    def _unspent_first(self, own: set[int], paid: tuple[LotPayment, ...]) -> None:
        """Taken from the payment's own lots, then from others, and turned into debt only when nothing is left."""
        left = {lot.lot for lot in self.told.team.lots if lot.is_never_ending and lot.remaining}
        if {part.lot for part in paid} - own - {self.told.stored[-1].position}:
            assert not left & own
        if DEBT in {part.lot for part in paid}:
            assert not left

    def _bank(self, which: int) -> Bank:
        return self.banks[which % len(self.banks)]

    @invariant()
    def never_more_is_taken_than_was_granted_and_never_less_than_nothing(self) -> None:
        for account in getattr(self, "accounts", []):
            assert 0 <= account.clawed <= account.granted

    @invariant()
    def the_total_is_what_was_gained_less_what_was_used_and_taken_back(self) -> None:
        if not hasattr(self, "told"):
            return
        team = self.told.team
        clawed = sum(account.clawed for account in self.accounts)
        assert team.total == team.included + team.additional
        assert team.total == (self.gained - self.used) * MICRO - clawed
        assert team.total == sum(lot.remaining for lot in team.lots) - team.debt
        assert team.total == sum(entry.credits for entry in self.told.entries)
        assert all(lot.remaining >= 0 for lot in team.lots)

    def teardown(self) -> None:
        if not hasattr(self, "told"):
            return
        again = replay(self.told)
        assert (again.included, again.additional, again.debt) == (
            self.told.team.included, self.told.team.additional, self.told.team.debt,
        )  # fmt: skip
        for number, account in enumerate(self.accounts):
            facts = [(stored, stored.fact()) for stored in self.told.stored]
            gain = next(fact for stored, fact in facts if stored.position == account.lot)
            assert isinstance(gain, CreditsPurchased | CreditsToppedUp)
            folded = open_account(self.told.stored[account.lot - 1], gain)
            for stored, fact in facts:
                if getattr(fact, "payment_intent_id", None) == f"pi_{number}" and stored.position > account.lot:
                    folded = evolve(folded, stored, fact)
            assert replace(folded, disputes=dict(folded.disputes)) == account


def replay(told: History) -> TeamBalance:
    """The same facts once more, from nothing."""
    again = History()
    for stored in told.stored:
        fact = stored.fact()
        earlier = earlier_usage(fact)
        paid = () if earlier is None else again.paid[earlier]
        entries = fold_balance(again.team, stored, fact, paid, again.lots)
        again.lots.update(again.team.changed)
        again.paid.update((entry.position, entry.paid) for entry in entries if entry.kind is ActivityKind.USAGE)
    return again.team


TestPaymentsInAnyOrder = Payments.TestCase
TestPaymentsInAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
