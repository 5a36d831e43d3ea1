"""Histories by chance: a team's facts in every order that the store allows, with a refill at each cycle's begin."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import strategies as st

from schemas.credits import MICRO
from schemas.facts import (
    BalanceRanOut,
    ChargeRefunded,
    CreditsAdjusted,
    HoldCaptured,
    HoldPlaced,
    Stored,
    TopUpSkipped,
    UsageRecorded,
)
from tests.unit.projections.history import MONTH, NOON, History

HOUR = timedelta(hours=1)

Step = tuple[str, int, int]  # what, whole credits, hours
WHATS = (
    "use", "use", "use", "late", "capture", "buy", "buy", "grant", "give for ever", "take", "take of a lot", "refund",
    "refund fails", "void", "void", "late void", "amend", "amend", "late skip", "seal", "wait",
)  # fmt: skip
MEMBERS: list[str | None] = [None, "mem_1", "mem_2"]
STEPS = st.lists(st.tuples(st.sampled_from(WHATS), st.integers(1, 150), st.integers(0, 60)), max_size=60)


@dataclass
class Payment:
    """What a purchase brought and what of it went back, in whole credits."""

    lot: int
    credits: int
    taken: int = 0
    reinstated: tuple[int, ...] = ()


@dataclass
class RandomHistory:
    """A story, told step by step."""

    told: History = field(default_factory=History)
    now: datetime = NOON
    cycle_ends: datetime = NOON
    usages: list[int] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._refill_if_due()

    def tell(self, step: Step) -> None:
        """One step further."""
        what, credits, hours = step
        self.now += MONTH * (hours / 40) if what == "wait" else HOUR * hours
        self._refill_if_due()
        match what:
            case "use":
                self._use(credits, self.now - HOUR / 60)
            case "late":
                self._use(credits, self.now - MONTH)
            case "capture":
                self.told.then(HoldCaptured(hold_id="h", credits=credits * MICRO), recorded=self.now)
                self.usages.append(len(self.told.stored))  # it is taken back as usage is
            case "void" | "late void" if self.usages:
                usage = self.usages.pop(credits % len(self.usages))
                self.told.voided(usage, recorded=self.now, occurred=self.now - MONTH * (what == "late void"))
            case "amend" if self.usages:
                self.usages.append(self._amend(self.usages.pop(hours % len(self.usages)), credits))
            case "late skip":
                fact = TopUpSkipped(ran_low_id="low", decision="d", reason="disabled")
                self.told.then(fact, recorded=self.now, occurred=self.now - MONTH)
            case "seal":
                self.told.sealed(ends=self.cycle_ends - MONTH, recorded=self.now)
            case "buy" | "refund" | "refund fails":
                self._pay(what, credits, hours)
            case _:
                self._give(what, credits, hours)

    def _refill_if_due(self) -> None:
        while self.cycle_ends <= self.now:
            starts, self.cycle_ends = self.cycle_ends, self.cycle_ends + MONTH
            self.told.refilled(100, starts=starts, ends=self.cycle_ends, recorded=self.now)

    def _use(self, credits: int, occurred: datetime) -> None:
        self.told.used(credits, recorded=self.now, occurred=occurred)
        self.usages.append(len(self.told.stored))

    def _amend(self, usage: int, credits: int) -> int:
        self.told.amended(usage, credits, recorded=self.now)
        return len(self.told.stored)

    def _give(self, what: str, credits: int, hours: int) -> None:
        match what:
            case "grant":
                self.told.granted(credits, recorded=self.now, expires=self.now + HOUR * (hours + 1))
            case "give for ever":
                self.told.granted(credits, recorded=self.now)
            case "take":
                self._adjust(-credits, None)
            case "take of a lot":
                lots = sorted(self.told.lots)
                self._adjust(-credits, lots[hours % len(lots)])

    def _adjust(self, credits: int, lot: int | None) -> None:
        self.told.then(CreditsAdjusted(credits=credits * MICRO, reason="test", burns_lot=lot), recorded=self.now)

    def _pay(self, what: str, credits: int, hours: int) -> None:
        if what == "buy":
            self.told.purchased(credits, recorded=self.now)
            self.payments.append(Payment(len(self.told.stored), credits))
            return
        if not self.payments:
            return
        payment = self.payments[hours % len(self.payments)]
        taken = min(credits, payment.credits - payment.taken) if what == "refund" else 0
        back = min(credits, payment.taken) if what == "refund fails" else 0
        fact = ChargeRefunded(
            payment_intent_id=f"pi_{payment.lot}", lot=payment.lot, refunded_cents=1, currency="usd",
            clawed_credits=taken * MICRO, reinstated_credits=back * MICRO or None,
            reinstated_lots=payment.reinstated or None,
        )  # fmt: skip
        self.told.then(fact, recorded=self.now)
        payment.taken += taken - back
        if back:
            payment.reinstated += (len(self.told.stored),)


def tell(steps: list[Step]) -> RandomHistory:
    """The whole story."""
    story = RandomHistory()
    for step in steps:
        story.tell(step)
    return story


def with_hold(stored: Stored) -> Stored:
    """A usage that names a hold; a gift becomes that hold."""
    match stored.fact():
        case UsageRecorded() as fact:
            body = UsageRecorded(
                feature=fact.feature, quantity="1", credits=fact.credits, rate_card=1, hold_id="h"
            ).body()
            return stored._replace(body=body)
        case _ if stored.type == "credits.granted.v1":
            held = HoldPlaced(hold_id="h", credits=MICRO, expires_at=stored.recorded_at + MONTH)
            return stored._replace(type=held.type, body=held.body())
        case _:
            return stored


def ran_out(stored: Stored) -> Stored:
    """The log says so at a place where a pack was bought."""
    if stored.type != "credits.purchased.v1":
        return stored
    return stored._replace(
        type=BalanceRanOut.type, body=BalanceRanOut(available_credits=0, crossed_at_position=1).body()
    )


def of_a_member(stored: Stored) -> Stored:
    """Usage of one member or another, of one feature or another, of one quantity or several, some of a tier."""
    fact = stored.fact()
    if not isinstance(fact, UsageRecorded) or fact.hold_id is not None:
        return stored
    several = {"input_token": "12", "output_token": "1"} if stored.position % 5 == 0 else None
    return stored._replace(body=UsageRecorded(
        feature=f"feature_{stored.position % 2}", quantity=None if several else "1", quantities=several, rate_card=1,
        credits=fact.credits, member_id=MEMBERS[stored.position % 3],
        attributes=None if stored.position % 4 == 0 else {"tier": f"tier_{stored.position % 7}"},
    ).body())  # fmt: skip
