"""Reversals in a balance: what a refund or a dispute takes of a payment's credits, and what comes back of it.

How much that is, `projections.reversals` says: one account for each payment.
"""

from typing import assert_never

from projections.balance.debt import cover, forget_payers
from projections.balance.lots import enter, gain, settle_lots
from projections.balance.state import ActivityKind, BalanceEntry, LotKind, LotPayment, TeamBalance
from schemas.credits import MicroCredits
from schemas.facts import AnyReversalFact, ChargeDisputed, ChargeRefunded, DisputeClosed, Stored


def reverse(team: TeamBalance, stored: Stored, fact: AnyReversalFact, entries: list[BalanceEntry]) -> None:
    """What went back of a payment, and what of it came back since."""
    match fact:
        case ChargeRefunded():
            clawed, back = fact.clawed_credits, fact.reinstated_credits or 0
            _claw_back(
                team, stored, entries, ActivityKind.REFUND, (fact.lot, *(fact.reinstated_lots or ())), clawed, back
            )
        case ChargeDisputed():
            frozen, back = fact.frozen_credits, fact.reinstated_credits or 0
            _claw_back(
                team, stored, entries, ActivityKind.DISPUTE, (fact.lot, *(fact.reinstated_lots or ())), frozen, back
            )
        case DisputeClosed():
            _claw_back(team, stored, entries, ActivityKind.DISPUTE, (), 0, fact.reinstated_credits)
        case _:
            assert_never(fact)


def _claw_back(
    team: TeamBalance,
    stored: Stored,
    entries: list[BalanceEntry],
    kind: ActivityKind,
    lots: tuple[int, ...],
    clawed: MicroCredits,
    back: MicroCredits,
) -> None:
    """Take credits of a payment back, or give them back as a lot of their own.

    What is taken comes from the unspent part of the payment's own lots first. What was spent already, be it for a debt,
    is a need like any other: never-ending lots pay it, and the rest is debt.
    """
    paid: list[LotPayment] = []
    remaining = clawed
    for number in lots:
        lot = next((lot for lot in team.lots if lot.lot == number), None)
        unspent = min(lot.remaining, remaining) if lot is not None else 0
        if lot is not None and unspent:
            remaining -= unspent
            lot.remaining -= unspent
            team.changed[number] = lot
            paid.append(LotPayment(number, unspent))
    if remaining:
        clawed -= remaining - cover(team, remaining, paid)
    forget_payers(team, lots)
    if back:
        back, paid_debt = gain(team, stored, LotKind.REINSTATED, back, stored.occurred_at)
        paid += paid_debt
    settle_lots(team)
    enter(team, stored, entries, kind, 0, back - clawed, paid=tuple(paid))
