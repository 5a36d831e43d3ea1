"""What refunds and disputes take of a payment's credits, and what they give back."""

from dataclasses import dataclass, field

import pytest

from projections.balance.state import DEBT, ActivityKind, LotKind, LotPayment
from projections.reversals import Account, Disputed, PaymentAtStripe, evolve, fact_due, open_account
from schemas.credits import MICRO
from schemas.facts import AnyFact, ChargeDisputed, ChargeRefunded, CreditsPurchased, DisputeClosed
from tests.unit.projections.history import History, at

CREDITS, CENTS = 1_000, 2_000
LOT = 1


@dataclass
class Payment:
    """1,000 credits bought for $20.00, and what Stripe says of them."""

    told: History = field(default_factory=History)
    account: Account | None = None

    def bought(self, credits_micro: int = CREDITS * MICRO, cents: int = CENTS) -> "Payment":
        fact = CreditsPurchased(
            credits=credits_micro, pack="mini", payment_intent_id="pi_1", charge_cents=cents, currency="usd"
        )
        self.told.then(fact, recorded=at(0))
        self.account = open_account(self.told.stored[-1], fact)
        return self

    def says(self, refunded_cents: int = 0, **disputes: Disputed) -> list[AnyFact]:
        """Stripe says so now; the facts that follow."""
        facts: list[AnyFact] = []
        assert self.account is not None
        while (fact := fact_due(self.account, PaymentAtStripe(refunded_cents, disputes))) is not None:
            assert len(facts) < 10, "it never says what Stripe says"
            self.told.then(fact, recorded=at(len(self.told.stored)))
            self.account = evolve(self.account, self.told.stored[-1], fact)
            facts.append(fact)
        return facts

    def used(self, credits: int) -> None:
        self.told.used(credits, recorded=at(len(self.told.stored)))

    @property
    def additional(self) -> float:
        return self.told.balance()[1]


@pytest.fixture
def payment() -> Payment:
    return Payment().bought()


def opened(cents: int = CENTS) -> Disputed:
    return Disputed(cents, "open", "fraudulent")


def test_a_refund_takes_back_the_same_part_of_the_credits(payment: Payment) -> None:
    (fact,) = payment.says(500)

    assert isinstance(fact, ChargeRefunded)
    assert (fact.refunded_cents, fact.charge_cents, fact.clawed_credits) == (500, CENTS, 250 * MICRO)
    assert payment.additional == 750


def test_refund_amounts_are_cumulative(payment: Payment) -> None:
    payment.says(500)
    (fact,) = payment.says(800)

    assert isinstance(fact, ChargeRefunded)
    assert fact.clawed_credits == 150 * MICRO
    assert payment.additional == 600


def test_the_same_news_again_changes_nothing(payment: Payment) -> None:
    payment.says(500, dp_1=opened(700))

    assert payment.says(500, dp_1=opened(700)) == []


def test_the_unspent_part_of_the_same_lot_goes_first_and_what_was_spent_becomes_debt(payment: Payment) -> None:
    payment.told.granted(100, recorded=at(1), expires=at(1_000))  # pays first, since it ends first
    payment.used(700)
    payment.says(CENTS)

    entry = payment.told.entries[-1]
    assert entry.kind is ActivityKind.REFUND
    assert entry.paid == (LotPayment(LOT, 400 * MICRO), LotPayment(DEBT, 600 * MICRO))
    assert payment.additional == -600


def test_what_was_spent_of_a_refunded_payment_other_credits_pay_before_it_is_debt(payment: Payment) -> None:
    payment.used(1_000)
    payment.told.purchased(300, recorded=at(3))
    payment.says(CENTS)

    assert payment.told.entries[-1].paid == (LotPayment(3, 300 * MICRO), LotPayment(DEBT, 700 * MICRO))
    assert payment.told.team.lots == []
    assert payment.additional == -700


def test_credits_that_end_pay_for_no_refund(payment: Payment) -> None:
    payment.used(1_000)
    payment.told.granted(300, recorded=at(5), expires=at(90))
    payment.says(CENTS)

    assert [(lot.lot, lot.remaining) for lot in payment.told.team.lots] == [(3, 300 * MICRO)]
    assert payment.told.team.debt == 1_000 * MICRO


def test_an_opened_dispute_freezes_the_credits(payment: Payment) -> None:
    (fact,) = payment.says(dp_1=opened())

    assert isinstance(fact, ChargeDisputed)
    assert (fact.dispute_id, fact.frozen_credits, fact.reason) == ("dp_1", 1_000 * MICRO, "fraudulent")
    assert payment.additional == 0


def test_a_won_dispute_gives_the_credits_back_once(payment: Payment) -> None:
    payment.says(dp_1=opened())
    (fact,) = payment.says(dp_1=Disputed(CENTS, "won"))

    assert isinstance(fact, DisputeClosed)
    assert (fact.outcome, fact.reinstated_credits) == ("won", 1_000 * MICRO)
    assert payment.says(dp_1=Disputed(CENTS, "won")) == []
    assert payment.additional == 1_000
    assert [lot.kind for lot in payment.told.team.lots] == [LotKind.REINSTATED]


def test_a_lost_dispute_keeps_the_credits_that_were_frozen(payment: Payment) -> None:
    payment.says(dp_1=opened())
    (fact,) = payment.says(dp_1=Disputed(CENTS, "lost"))

    assert isinstance(fact, DisputeClosed)
    assert (fact.outcome, fact.reinstated_credits) == ("lost", 0)
    assert payment.additional == 0


def test_a_dispute_of_which_nobody_heard_before_it_was_lost_takes_the_credits_all_the_same(payment: Payment) -> None:
    assert [fact.type for fact in payment.says(dp_1=Disputed(CENTS, "lost"))] == [
        "charge.disputed.v1",
        "dispute.closed.v1",
    ]
    assert payment.additional == 0


def test_a_dispute_of_which_nobody_heard_before_it_was_won_takes_nothing(payment: Payment) -> None:
    (fact,) = payment.says(dp_1=Disputed(CENTS, "won"))

    assert isinstance(fact, DisputeClosed)
    assert payment.additional == 1_000


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [("won", "lost", 0), ("lost", "won", 1_000), ("won", "open", 0)],
)
def test_a_bank_may_change_its_mind(payment: Payment, before: str, after: str, left: int) -> None:
    payment.says(dp_1=opened())
    payment.says(dp_1=Disputed(CENTS, before))  # type: ignore[arg-type]
    payment.says(dp_1=Disputed(CENTS, after))  # type: ignore[arg-type]

    assert payment.additional == left


def test_refund_and_dispute_of_one_payment_never_take_more_than_it_brought(payment: Payment) -> None:
    payment.says(1_500)
    payment.says(1_500, dp_1=opened())

    assert payment.additional == 0
    assert payment.account is not None
    assert payment.account.clawed == payment.account.granted


def test_what_was_refunded_stays_taken_when_the_dispute_over_it_is_won(payment: Payment) -> None:
    payment.says(1_500, dp_1=opened())
    payment.says(1_500, dp_1=Disputed(CENTS, "won"))

    assert payment.additional == 250


def test_a_refund_that_failed_afterwards_gives_the_credits_back(payment: Payment) -> None:
    payment.says(1_500)
    (fact,) = payment.says(0)

    assert isinstance(fact, ChargeRefunded)
    assert (fact.refunded_cents, fact.clawed_credits, fact.reinstated_credits) == (0, 0, 750 * MICRO)
    assert payment.additional == 1_000


def test_credits_that_came_back_are_taken_first_when_the_payment_is_refunded_after_all(payment: Payment) -> None:
    payment.says(dp_1=opened())
    payment.says(dp_1=Disputed(CENTS, "won"))
    payment.says(CENTS, dp_1=Disputed(CENTS, "won"))

    assert payment.told.entries[-1].paid == (LotPayment(3, 1_000 * MICRO),)
    assert payment.told.team.debt == 0
    assert payment.additional == 0


def test_parts_are_rounded_down_and_add_up_to_the_whole() -> None:
    payment = Payment().bought(credits_micro=100, cents=3)
    taken = []
    for cents in (1, 2, 3):
        (fact,) = payment.says(cents)
        assert isinstance(fact, ChargeRefunded)
        taken.append(fact.clawed_credits)

    assert taken == [33, 33, 34]


def test_a_usage_that_is_taken_back_after_the_refund_leaves_what_the_team_paid_for(payment: Payment) -> None:
    payment.used(600)
    payment.says(CENTS)
    payment.told.voided(2, recorded=at(9))

    assert payment.additional == 0
