"""How lots gain, burn, end and settle; each step changes a team's state in place."""

from bisect import insort
from collections.abc import Mapping
from datetime import datetime

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
    Stored,
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
) -> MicroCredits:
    """Have a lot more; returns how many credits it has.

    They are fewer than asked for where the balance would pass `BALANCE_MAX`.
    """
    credits = max(0, min(credits, BALANCE_MAX - team.total))
    lot = Lot(stored.position, kind, credits, credits, starts_at, ends_at)
    insort(team.lots, lot)
    team.changed[lot.lot] = lot
    team.next_end = min(team.next_end, ends_at)
    team.true_from = max(team.true_from, starts_at)
    return credits


def burn(team: TeamBalance, credits: MicroCredits, at: datetime) -> BurnResult:
    """Take credits from the lots whose interval holds `at`, in burn order.

    What no lot pays becomes debt, up to `BALANCE_MAX`.
    """
    for lot in team.lots:
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
    emptied = False
    for lot in team.lots:
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
            emptied = emptied or not lot.remaining
            back_additional += take if lot.ended else 0
    if remaining:
        credits -= remaining - owe(team, remaining, parts)
    if emptied:
        settle_lots(team)
    return BurnResult(tuple(parts), included, credits - included, back_included, back_additional)


def owe(team: TeamBalance, credits: MicroCredits, paid: list[LotPayment]) -> MicroCredits:
    """Owe more; how many credits, which is fewer than asked where the debt would pass `BALANCE_MAX`."""
    owed = max(0, min(credits, BALANCE_MAX - team.debt))
    if owed:
        team.debt += owed
        paid.append(LotPayment(DEBT, owed))
    return owed


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
    team: TeamBalance, stored: Stored, paid: tuple[LotPayment, ...], settled: Mapping[int, Lot]
) -> MicroCredits:
    """Return a usage's credits to the lots that paid; how many of them are included now.

    Where such a lot has ended, its part returns as a lot that ends with the open cycle.
    """
    lots = {lot.lot: lot for lot in team.lots}
    included = homeless = 0
    for number, credits in paid:
        if number == DEBT:
            team.debt -= credits
            continue
        lot = lots.get(number) or settled[number]
        if lot.ended or lot.ends_at <= stored.recorded_at:
            homeless += credits
            continue
        lot.remaining += credits
        team.changed[number] = lot
        included += credits if lot.kind is LotKind.INCLUDED else 0
        if number not in lots:
            insort(team.lots, lot)
            team.next_end = min(team.next_end, lot.ends_at)
    if homeless:
        included += gain(team, stored, LotKind.INCLUDED, homeless, stored.recorded_at, team.cycle_ends_at)
    return included


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
    *,
    late: bool = False,
) -> None:
    """Book what a fact did, as the next of its entries."""
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
