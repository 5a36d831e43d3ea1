"""What no lot of its time could pay: never-ending credits pay it, at once or as soon as they come.

- A need that the lots of its time can't pay is paid by never-ending lots, the oldest first. Only the rest is debt.
- A never-ending lot that comes pays debt first. No total moves by that: `additional` counts lots less debt.
- The state remembers who paid. Where a usage that was debt is voided, debt is lowered first; the rest returns to those
  who paid debt, the newest first.

So no team has debt and an unspent never-ending lot. Included and ending credits never pay a debt: it would change what
is left of them at their end, and with it what the customer has.
"""

from bisect import insort
from collections.abc import Collection, Mapping

from projections.balance.state import BALANCE_MAX, DEBT, DEBT_PAYERS_MAX, Lot, LotPayment, TeamBalance
from schemas.credits import MicroCredits


def cover(team: TeamBalance, credits: MicroCredits, paid: list[LotPayment]) -> MicroCredits:
    """Pay what the lots of its time could not: from never-ending lots that have begun, then by debt.

    Returns:
        How many credits, which is fewer than asked where the debt would pass `BALANCE_MAX`.
    """
    remaining = credits
    for lot in team.lots:  # never-ending ones stand in it from the oldest to the newest
        if not (remaining and lot.remaining and lot.is_never_ending and lot.starts_at <= team.as_of):
            continue
        take = min(lot.remaining, remaining)
        remaining -= take
        lot.remaining -= take
        team.changed[lot.lot] = lot
        paid.append(LotPayment(lot.lot, take))
    owed = max(0, min(remaining, BALANCE_MAX - team.debt))
    if owed:
        team.debt += owed
        paid.append(LotPayment(DEBT, owed))
    return credits - remaining + owed


def pay_debt(team: TeamBalance, lot: Lot) -> tuple[LotPayment, ...]:
    """Have a never-ending lot pay the debt with what it has; what it paid."""
    credits = min(team.debt, lot.remaining) if lot.is_never_ending else 0
    if not credits:
        return ()
    team.debt -= credits
    lot.remaining -= credits
    team.changed[lot.lot] = lot
    payment = LotPayment(lot.lot, credits)
    team.debt_payers = [*team.debt_payers, payment][-DEBT_PAYERS_MAX:]
    return (payment,)


def put_back(team: TeamBalance, lot: Lot, credits: MicroCredits) -> None:
    """Return credits to a lot that has not ended; a never-ending one pays debt with them first."""
    lot.remaining += credits
    team.changed[lot.lot] = lot
    if lot not in team.lots:  # it was spent, and settled
        insort(team.lots, lot)
        team.next_end = min(team.next_end, lot.ends_at)
    pay_debt(team, lot)


def return_debt(
    team: TeamBalance, credits: MicroCredits, settled: Mapping[int, Lot]
) -> tuple[list[LotPayment], MicroCredits]:
    """Return what was debt once: to the debt that is left, then to the lots that have paid debt, the newest first.

    `settled` has those of these lots that are not in `team.lots`.

    Returns:
        Where it went, and what of it nobody is remembered for.
    """
    lowered = min(team.debt, credits)
    team.debt -= lowered
    parts = [LotPayment(DEBT, lowered)] if lowered else []
    rest = credits - lowered
    while rest and team.debt_payers:
        number, had_paid = team.debt_payers.pop()
        back = min(had_paid, rest)
        rest -= back
        if back < had_paid:
            team.debt_payers.append(LotPayment(number, had_paid - back))
        put_back(team, lot_numbered(team, number, settled), back)
        parts.append(LotPayment(number, back))
    return parts, rest


def forget_payers(team: TeamBalance, lots: Collection[int]) -> None:
    """What these lots paid of a debt is spent for good: their payment was taken back."""
    if any(payment.lot in lots for payment in team.debt_payers):
        team.debt_payers = [payment for payment in team.debt_payers if payment.lot not in lots]


def lot_numbered(team: TeamBalance, number: int, settled: Mapping[int, Lot]) -> Lot:
    """A lot of the team, in the state or settled. Raises KeyError where the caller did not load it."""
    return next((lot for lot in team.lots if lot.lot == number), None) or settled[number]
