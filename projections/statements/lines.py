"""What a statement lists beside its sums: work by feature and member, payments, late entries, corrections."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from projections.balance.state import ActivityKind, BalanceEntry
from schemas.credits import MicroCredits
from schemas.facts import (
    AnyFact,
    ChargeDisputed,
    ChargeRefunded,
    CreditsAdjusted,
    CreditsPurchased,
    CreditsToppedUp,
    DisputeClosed,
    HoldCaptured,
    Stored,
    UsageRecorded,
    UsageVoided,
)

CycleOf = Callable[[datetime], int]


@dataclass(slots=True)
class WorkSum:
    """Work of one feature, or of one member: what was used, and what was taken back of it or of earlier work."""

    uses: int = 0
    quantity: Decimal = Decimal(0)
    quantities: dict[str, Decimal] = field(default_factory=dict)
    used: MicroCredits = 0
    taken_back: MicroCredits = 0


@dataclass(slots=True)
class PaymentLine:
    """A payment, and what of it went back or came back in the cycle; all in minor units.

    `paid` is false where it was paid in an earlier cycle.
    """

    payment_intent_id: str
    currency: str
    position: int
    at: datetime
    gross: int
    tax: int
    credits: MicroCredits
    paid: bool = False
    refunded: int = 0
    disputed: int = 0
    won: int = 0


@dataclass(slots=True)
class LateSum:
    """Entries of an earlier cycle that came after its seal, and count here."""

    entries: int = 0
    credits: MicroCredits = 0


class Correction(NamedTuple):
    """A correction by a person. Who and why stand at its entry, where they can be erased.

    Of usage that a person took back, `usage_position` says of which; what was used in truth is usage like any other.
    """

    position: int
    at: datetime
    credits: MicroCredits
    refers_to: str | None
    usage_position: int | None = None


@dataclass(slots=True)
class StatementLines:
    """The lines of one cycle. Payments are by their lot; of those no money of the cycle is about, nothing is shown."""

    by_feature: dict[str, WorkSum] = field(default_factory=dict)
    by_member: dict[str, WorkSum] = field(default_factory=dict)
    payments: dict[int, PaymentLine] = field(default_factory=dict)
    refunded: dict[int, int] = field(default_factory=dict)
    disputed: dict[tuple[int, str], int] = field(default_factory=dict)
    late: dict[int, LateSum] = field(default_factory=dict)
    corrections: list[Correction] = field(default_factory=list)
    rate_cards: set[int] = field(default_factory=set)

    def add(self, entry: BalanceEntry, fact: AnyFact, cycle_of: CycleOf) -> None:
        """Count an entry of the cycle in."""
        if entry.kind is ActivityKind.USAGE:
            self._use(entry, fact)
        elif entry.kind is ActivityKind.USAGE_VOIDED:
            for work in self._work(entry.feature, entry.member_id):
                work.taken_back += entry.credits
            if isinstance(fact, UsageVoided) and fact.corrected_by is not None:
                usage = fact.usage_position
                self.corrections.append(Correction(entry.position, entry.occurred_at, entry.credits, None, usage))
        elif isinstance(fact, CreditsAdjusted) and entry.kind is ActivityKind.ADJUSTMENT:
            self.corrections.append(Correction(entry.position, entry.occurred_at, entry.credits, fact.refers_to))
        if entry.late:
            happened = fact.usage_occurred_at if isinstance(fact, UsageVoided) else entry.occurred_at
            late = self.late.setdefault(cycle_of(min(happened, entry.occurred_at)), LateSum())
            late.entries, late.credits = late.entries + 1, late.credits + entry.credits

    def use_plainly(self, facts: Sequence[UsageRecorded]) -> None:
        """Count usages of the cycle in, none of them late: as `add` does with the entry of each."""
        for fact in facts:
            quantity = Decimal(fact.quantity or 0)
            for work in self._work(fact.feature, fact.member_id):
                work.uses += 1
                work.quantity += quantity
                work.used += fact.credits
                if fact.quantities:
                    _add_quantities(work, fact.quantities)
        self.rate_cards.update({fact.rate_card for fact in facts})

    def _use(self, entry: BalanceEntry, fact: AnyFact) -> None:
        used = fact if isinstance(fact, UsageRecorded | HoldCaptured) else None
        quantity, several = (used.quantity, used.quantities or {}) if used else (None, {})
        for work in self._work(entry.feature, entry.member_id):
            work.uses += 1
            work.quantity += Decimal(quantity or 0)
            _add_quantities(work, several)
            work.used -= entry.credits
        if used and used.rate_card is not None:
            self.rate_cards.add(used.rate_card)

    def _work(self, feature: str | None, member_id: str | None) -> tuple[WorkSum, WorkSum]:
        return _sum_of(self.by_feature, feature or ""), _sum_of(self.by_member, member_id or "")

    def pay(self, stored: Stored, fact: AnyFact, *, counts: bool) -> None:
        """Follow a payment; `counts` where the fact belongs to the cycle and not to one before."""
        match fact:
            case CreditsPurchased() | CreditsToppedUp():
                self.payments[stored.position] = PaymentLine(
                    fact.payment_intent_id, fact.currency, stored.position, fact.paid_at or stored.occurred_at,
                    fact.charge_cents, fact.tax_cents or 0, fact.credits, counts,
                )  # fmt: skip
            case ChargeRefunded():
                before = self.refunded.get(fact.lot, 0)
                self.refunded[fact.lot] = fact.refunded_cents
                if counts:
                    self.payments[fact.lot].refunded += fact.refunded_cents - before
            case ChargeDisputed():
                before = self.disputed.get((fact.lot, fact.dispute_id), 0)
                self.disputed[fact.lot, fact.dispute_id] = fact.disputed_cents
                if counts:
                    self.payments[fact.lot].disputed += fact.disputed_cents - before
            case DisputeClosed(outcome="won"):
                cents = self.disputed.pop((fact.lot, fact.dispute_id), 0)
                if counts:
                    self.payments[fact.lot].won += cents
            case _:
                pass  # no money moves

    def shown_payments(self) -> list[PaymentLine]:
        """Payments of the cycle, and those of which money moved in it, by their place."""
        return [
            line for _, line in sorted(self.payments.items())
            if line.paid or line.refunded or line.disputed or line.won
        ]  # fmt: skip


def _sum_of(sums: dict[str, WorkSum], name: str) -> WorkSum:
    if name not in sums:
        sums[name] = WorkSum()
    return sums[name]


def _add_quantities(work: WorkSum, quantities: Mapping[str, str]) -> None:
    for name, each in quantities.items():
        work.quantities[name] = work.quantities.get(name, Decimal(0)) + Decimal(each)
