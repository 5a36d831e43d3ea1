"""How lots gain, burn, end and settle; each step changes a team's state in place."""

from bisect import insort
from collections.abc import Collection, Mapping
from datetime import datetime

from projections.balance.debt import cover, lot_numbered, pay_debt, put_back, return_debt
from projections.balance.state import (
    BALANCE_MAX,
    DEBT,
    NEVER,
    ActivityKind,
    BalanceEntry,
    BurnResult,
    Lot,
    LotKind,
    LotPayment,
    TeamBalance,
)
from schemas.credits import MicroCredits
from schemas.facts import (
    AnyFact,
    ChargeDisputed,
    ChargeRefunded,
    CreditsAdjusted,
    CreditsGranted,
    CreditsPurchased,
    CreditsRefilled,
    CreditsToppedUp,
    DisputeClosed,
    Stored,
    UsageRecorded,
    UsageVoided,
)


def end_lots(team: TeamBalance, at: datetime, entries: list[BalanceEntry]) -> None:
    """Book the end of every lot whose interval is over, in burn order.

    Reads call it too, for the time since the last fact.
    """
    for lot in team.lots:
        if lot.ended or lot.ends_at > at:
            continue
        lot.ended = True
        team.changed[lot.lot] = lot
        team.true_from = max(team.true_from, lot.ends_at)
        if lot.remaining:
            ended = (-lot.remaining, 0) if lot.kind is LotKind.INCLUDED else (0, -lot.remaining)
            enter_expiry(team, entries, at, lot.ends_at, *ended)
    team.next_end = min((lot.ends_at for lot in team.lots if not lot.ended), default=NEVER)
    settle_lots(team)


def gain(
    team: TeamBalance,
    stored: Stored,
    kind: LotKind,
    credits: MicroCredits,
    starts_at: datetime,
    ends_at: datetime = NEVER,
    number: int | None = None,
) -> tuple[MicroCredits, tuple[LotPayment, ...]]:
    """Have a lot more, named after its fact unless by a `number` of its own. One that never ends pays debt at once.

    Returns:
        How many credits came, fewer than asked for where the balance would pass `BALANCE_MAX`; and what paid debt.
    """
    credits = max(0, min(credits, BALANCE_MAX - team.total))
    lot = Lot(stored.position if number is None else number, kind, credits, credits, starts_at, ends_at)
    insort(team.lots, lot)
    team.changed[lot.lot] = lot
    team.next_end = min(team.next_end, ends_at)
    team.true_from = max(team.true_from, starts_at)
    paid = pay_debt(team, lot)
    if paid and not lot.remaining:
        settle_lots(team)
    return credits, paid


def may_bring_lot(fact: AnyFact) -> bool:
    """True for a fact whose position may be the number of a lot.

    A void's and an amended usage's, too: what a lot has paid that has ended comes back as another one.
    """
    match fact:
        case CreditsRefilled() | CreditsPurchased() | CreditsToppedUp() | CreditsGranted() | UsageVoided():
            return True
        case UsageRecorded():
            return fact.corrects is not None
        case CreditsAdjusted():
            return fact.credits >= 0
        case ChargeRefunded() | ChargeDisputed() | DisputeClosed():
            return bool(fact.reinstated_credits)
        case _:
            return False


def burn(team: TeamBalance, credits: MicroCredits, at: datetime, first: Collection[int] = ()) -> BurnResult:
    """Take credits from the lots whose interval holds `at`, in burn order; from those in `first` before all others.

    What they can't pay is covered by never-ending lots, or becomes debt, up to `BALANCE_MAX`.
    """
    lots = sorted(team.lots, key=lambda lot: lot.lot not in first) if first else team.lots
    for lot in lots:
        if lot.remaining and lot.starts_at <= at < lot.ends_at:
            if not 0 < credits < lot.remaining or lot.ended:
                break
            # Nearly always one open lot pays everything and is not empty afterwards.
            lot.remaining -= credits
            team.changed[lot.lot] = lot
            included = credits if lot.kind is LotKind.INCLUDED else 0
            return BurnResult((LotPayment(lot.lot, credits),), included, credits - included)
    remaining = credits
    included = back_included = back_additional = 0
    parts: list[LotPayment] = []
    for lot in lots:
        if not remaining:
            break
        if not lot.remaining or lot.starts_at > at or lot.ends_at <= at:
            continue
        take = min(lot.remaining, remaining)
        remaining -= take
        lot.remaining -= take
        team.changed[lot.lot] = lot
        parts.append(LotPayment(lot.lot, take))
        if lot.kind is LotKind.INCLUDED:
            included += take
            back_included += take if lot.ended else 0
        else:
            back_additional += take if lot.ended else 0
    if remaining:
        credits -= remaining - cover(team, remaining, parts)
    if parts and parts[0].lot != DEBT:
        settle_lots(team)
    return BurnResult(tuple(parts), included, credits - included, back_included, back_additional)


def what_fits(team: TeamBalance, paid: tuple[LotPayment, ...]) -> tuple[LotPayment, ...]:
    """What comes back to those who paid: everything, or fewer credits where the balance would pass `BALANCE_MAX`."""
    room = max(0, BALANCE_MAX - team.total)
    if sum(part.credits for part in paid) <= room:
        return paid
    back: list[LotPayment] = []
    for number, credits in paid:
        fits = min(credits, room)
        room -= fits
        if fits:
            back.append(LotPayment(number, fits))
    return tuple(back)


def restore(
    team: TeamBalance, stored: Stored, paid: tuple[LotPayment, ...], settled: Mapping[int, Lot], since: datetime
) -> tuple[MicroCredits, tuple[LotPayment, ...]]:
    """Return a usage's credits to those who paid.

    Where such a lot has ended, its part returns as a lot from `since` to the end of the open cycle. What nobody is
    remembered to have paid of a debt returns as a lot that never ends.

    Returns:
        How many of the credits are included now, and to whom they went.
    """
    included = homeless = ownerless = 0
    returned: list[LotPayment] = []
    for number, credits in paid:
        if number == DEBT:
            parts, rest = return_debt(team, credits, settled)
            returned += parts
            ownerless += rest
            continue
        lot = lot_numbered(team, number, settled)
        returned.append(LotPayment(number, credits))
        if has_ended(lot, stored.recorded_at):
            homeless += credits
            continue
        put_back(team, lot, credits)
        included += credits if lot.kind is LotKind.INCLUDED else 0
    if homeless:
        included += gain(team, stored, LotKind.INCLUDED, homeless, since, team.cycle_ends_at)[0]
    if ownerless:
        number = -stored.position if homeless else stored.position
        gain(team, stored, LotKind.ADJUSTED, ownerless, since, number=number)
        returned.append(LotPayment(number, ownerless))
    settle_lots(team)
    return included, tuple(returned)


def has_ended(lot: Lot, at: datetime) -> bool:
    """By its time as well: a settled lot may be loaded as it was before its end was booked."""
    return lot.ended or lot.ends_at <= at


def settle_lots(team: TeamBalance) -> None:
    """Forget the lots that nothing can touch any more, so that a state stays small however old the team is."""
    settled = [lot for lot in team.lots if is_settled(lot, team.sealed_until)]
    team.changed.update((lot.lot, lot) for lot in settled)
    team.lots = [lot for lot in team.lots if lot not in settled]


def is_settled(lot: Lot, sealed_until: datetime) -> bool:
    """True when only a void can still change the lot."""
    if lot.ended:
        return lot.ends_at <= sealed_until
    return not lot.remaining and lot.kind is not LotKind.INCLUDED


def enter(
    team: TeamBalance,
    stored: Stored,
    entries: list[BalanceEntry],
    kind: ActivityKind,
    included: MicroCredits,
    additional: MicroCredits,
    member_id: str | None = None,
    feature: str | None = None,
    paid: tuple[LotPayment, ...] = (),
) -> None:
    """Book what a fact did, as the next of its entries: late where its own time is sealed. Refills keep their cycle."""
    late = stored.occurred_at < team.sealed_until and kind is not ActivityKind.REFILL
    team.included += included
    team.additional += additional
    entries.append(
        BalanceEntry(
            stored.position,
            len(entries),
            kind,
            stored.recorded_at,
            stored.occurred_at,
            member_id,
            feature,
            included,
            additional,
            team.included + team.additional,
            paid,
            late,
        )
    )


def enter_expiry(
    team: TeamBalance,
    entries: list[BalanceEntry],
    recorded_at: datetime,
    ended_at: datetime,
    included: MicroCredits,
    additional: MicroCredits,
) -> None:
    """Book the end of a lot, or what late usage gives back of it (then the amounts are positive)."""
    team.included += included
    team.additional += additional
    entries.append(
        BalanceEntry(
            team.position,
            len(entries),
            ActivityKind.EXPIRY,
            recorded_at,
            ended_at,
            None,
            None,
            included,
            additional,
            team.included + team.additional,
        )
    )
