"""Usage that one open lot pays, which nearly all is: what `evolve` does to it, to much of it at once.

`evolve` stays the definition: replay and audit run it alone, and a test tells random histories both ways. Whatever is
not plain is left to it untouched: debt, holds, amendments, more than one lot, late usage, lots that end or become
empty, and the fact that takes a snapshot.
"""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate, groupby
from operator import sub
from typing import NamedTuple

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.snapshots import CADENCE, Cadence, takes_one
from projections.balance.state import Lot, LotKind, TeamBalance
from schemas.credits import MicroCredits
from schemas.facts import AnyFact, Stored, UsageRecorded

NO_SNAPSHOTS = Cadence(every=2**62)


class Usages(NamedTuple):
    """Usages of a team that name no hold and correct nothing, in order, with no other fact of the team between them.

    Attributes:
        credits: what each costs.
        earliest: when the first of the work was done.
        latest: when the last of it was.
        position: of the last fact.
        recorded_at: of the last fact.
    """

    credits: Sequence[MicroCredits]
    earliest: datetime
    latest: datetime
    position: int
    recorded_at: datetime


class PlainPayment(NamedTuple):
    """The lot that paid all of it, and the balance after each usage."""

    lot: int
    is_included: bool
    balances: list[MicroCredits]


def use_plainly(team: TeamBalance, usages: Usages, cadence: Cadence = CADENCE) -> PlainPayment | None:
    """Take `team` past usages; None, and nothing is changed, where there is more to any of them."""
    credits, stretch = usages.credits, team.stretch
    if team.debt or team.next_end <= usages.recorded_at or takes_one(stretch, len(credits), cadence):
        return None
    if usages.earliest < team.sealed_until or usages.earliest < stretch.late_before:
        return None
    lot, total = _payer(team, usages), sum(credits)
    if lot is None or min(credits) <= 0 or total >= lot.remaining:
        return None
    balances = list(accumulate(credits, sub, initial=team.total))[1:]
    is_included = lot.kind is LotKind.INCLUDED
    lot.remaining -= total
    team.changed[lot.lot] = lot
    if is_included:
        team.included -= total
    else:
        team.additional -= total
    team.position, team.as_of = usages.position, usages.recorded_at
    team.true_from = max(team.true_from, usages.latest)
    stretch.facts += len(credits)
    return PlainPayment(lot.lot, is_included, balances)


def plain_at_first(team: TeamBalance, usages: Usages, cadence: Cadence = CADENCE) -> int:
    """How many of them, from the first on, can be plain at most: what the lot can pay, and before the next snapshot.

    It is where to cut what `use_plainly` did not take. Where it is all of them, something else is in the way.
    """
    most = min(len(usages.credits), cadence.every - 1 - team.stretch.facts)
    lot = _payer(team, usages)
    return most if lot is None else min(most, bisect_left(list(accumulate(usages.credits)), lot.remaining))


def pass_over(team: TeamBalance, newer: Sequence[Stored]) -> bool:
    """Take `team` over facts of which only the balance after them is asked, what is plain at once.

    Returns:
        False, and nothing is changed, where one of them takes back or replaces usage: they do not tell who paid that.
    """
    facts = [stored.fact() for stored in newer]
    if any(earlier_usage(fact) is not None for fact in facts):
        return False
    for is_usage, group in groupby(zip(newer, facts, strict=True), key=_is_usage):
        together = list(group)
        if not (is_usage and _use_at_once(team, together)):
            for stored, fact in together:
                evolve(team, stored, fact)
    return True


def _is_usage(one: tuple[Stored, AnyFact]) -> bool:
    """Usage that settles no hold."""
    return isinstance(one[1], UsageRecorded) and one[1].hold_id is None


def _use_at_once(team: TeamBalance, together: Sequence[tuple[Stored, AnyFact]]) -> bool:
    """True where all of them were plain."""
    times, last = [stored.occurred_at for stored, _ in together], together[-1][0]
    credits = [fact.credits for _, fact in together if isinstance(fact, UsageRecorded)]
    usages = Usages(credits, min(times), max(times), last.position, last.recorded_at)
    return use_plainly(team, usages, NO_SNAPSHOTS) is not None


def _payer(team: TeamBalance, usages: Usages) -> Lot | None:
    """The open lot that is the first to pay for each of these times; none where they differ in that."""
    for lot in team.lots:
        if not lot.remaining or lot.ends_at <= usages.earliest or usages.latest < lot.starts_at:
            continue
        if lot.ended or usages.earliest < lot.starts_at or lot.ends_at <= usages.latest:
            return None
        return lot
    return None
