"""An amendment: a void and, right behind it, the usage as it really was. Only what lies between the two moves.

The void shows that the old usage is taken back, and moves no lot. The new usage is paid by those who paid the old one,
the first of them first. What it costs less returns to the last of them, as after a void. What it costs more is burned
like any usage of that time. So an amendment to the same amount leaves total, parts, lots and debt as they were.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from projections.balance.debt import lot_numbered
from projections.balance.lots import burn, enter, has_ended, restore
from projections.balance.state import (
    BALANCE_MAX,
    DEBT,
    ActivityKind,
    BalanceEntry,
    BurnResult,
    Lot,
    LotKind,
    LotPayment,
    TeamBalance,
)
from schemas.credits import MicroCredits
from schemas.facts import AnyFact, Stored, UsageRecorded, UsageVoided

Paid = tuple[LotPayment, ...]


def earlier_usage(fact: AnyFact) -> int | None:
    """The position of the usage that a fact takes back or replaces: who paid that, `evolve` must be told."""
    match fact:
        case UsageVoided():
            return fact.usage_position
        case UsageRecorded():
            return fact.corrects
        case _:
            return None


def show_return(
    team: TeamBalance,
    stored: Stored,
    fact: UsageVoided,
    entries: list[BalanceEntry],
    paid: Paid,
    settled: Mapping[int, Lot],
) -> None:
    """Book the void of an amendment: as if everything came back, though the usage behind it moves the difference."""
    included = _included_of(team, stored, paid, settled)
    enter(
        team, stored, entries, ActivityKind.USAGE_VOIDED, included, _sum(paid) - included, fact.member_id, fact.feature, paid,
    )  # fmt: skip


def burn_instead(
    team: TeamBalance, stored: Stored, credits: MicroCredits, at: datetime, paid: Paid, settled: Mapping[int, Lot]
) -> BurnResult:
    """Take for a usage what the one that it replaces has not paid already, or give back what that one paid more.

    What comes back of lots that have ended since stands in a lot from the time of the work on, and pays for it first
    where the usage is amended again: never what has ended already, so that amendments bring nobody credits.

    Returns:
        All that paid for the usage; its amounts are those that its void has shown, less what really came back.
    """
    total, included = _sum(paid), _included_of(team, stored, paid, settled)
    # Lots and debt stand as before the void. So must the sums, for as long as something is taken or returned by them.
    team.included, team.additional = team.included - included, team.additional - total + included
    room = max(0, BALANCE_MAX - team.total)
    kept, back = _split(paid, max(credits, total - room))
    since = min(stored.occurred_at, stored.recorded_at)
    returned = restore(team, stored, back, settled, since)[0] if back else 0
    burned = burn(team, max(0, credits - _sum(kept)), at, _open_included(team))
    team.included, team.additional = team.included + included, team.additional + total - included
    return burned._replace(
        paid=_together((*kept, *burned.paid)),
        included=included - returned + burned.included,
        additional=total - included - (_sum(back) - returned) + burned.additional,
    )


def _included_of(team: TeamBalance, stored: Stored, paid: Paid, settled: Mapping[int, Lot]) -> MicroCredits:
    """How much of what comes back is included then: what a lot has paid that has ended comes back as that."""
    lots = [(lot_numbered(team, number, settled), credits) for number, credits in paid if number != DEBT]
    return sum(credits for lot, credits in lots if lot.kind is LotKind.INCLUDED or has_ended(lot, stored.recorded_at))


def _open_included(team: TeamBalance) -> list[int]:
    """The included lots that have not ended. Those that hold the time of old work are what amendments gave back."""
    return [lot.lot for lot in team.lots if lot.kind is LotKind.INCLUDED and not lot.ended]


def _split(paid: Paid, credits: MicroCredits) -> tuple[Paid, Paid]:
    """The first of them, up to so many credits, and the rest."""
    first, rest = [], []
    for number, had_paid in paid:
        take = min(had_paid, credits)
        credits -= take
        if take:
            first.append(LotPayment(number, take))
        if take < had_paid:
            rest.append(LotPayment(number, had_paid - take))
    return tuple(first), tuple(rest)


def _together(paid: Iterable[LotPayment]) -> Paid:
    """In their order, which says who gets back first; neighbours as one."""
    parts: list[LotPayment] = []
    for part in paid:
        if parts and parts[-1].lot == part.lot:
            parts[-1] = LotPayment(part.lot, parts[-1].credits + part.credits)
        else:
            parts.append(part)
    return tuple(parts)


def _sum(paid: Paid) -> MicroCredits:
    return sum(part.credits for part in paid)
