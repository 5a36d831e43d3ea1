"""Usage that one open lot pays, which nearly all is: what `evolve` does to it, without an object for each step.

`evolve` stays the definition: replay and audit run it alone, and a test tells random histories both ways. Whatever is
not plain is left to it untouched: debt, holds, amendments, more than one lot, late usage, lots that end or become empty.
"""

from projections.balance.state import ActivityKind, BalanceEntry, LotKind, LotPayment, TeamBalance
from schemas.facts import Stored, UsageRecorded


def use_plainly(team: TeamBalance, stored: Stored, fact: UsageRecorded) -> BalanceEntry | None:
    """Take `team` past a usage; None, and nothing is changed, where there is more to it."""
    occurred_at, credits = stored.occurred_at, fact.credits
    if fact.hold_id is not None or fact.corrects is not None or team.debt:
        return None
    if occurred_at < team.sealed_until or team.next_end <= stored.recorded_at:
        return None
    for lot in team.lots:
        if lot.remaining and lot.starts_at <= occurred_at < lot.ends_at:
            break
    else:
        return None
    if lot.ended or not 0 < credits < lot.remaining:
        return None
    lot.remaining -= credits
    team.changed[lot.lot] = lot
    team.position, team.as_of = stored.position, stored.recorded_at
    team.true_from = max(team.true_from, occurred_at)
    if lot.kind is LotKind.INCLUDED:
        included, additional = -credits, 0
        team.included -= credits
    else:
        included, additional = 0, -credits
        team.additional -= credits
    return BalanceEntry(
        stored.position, 0, ActivityKind.USAGE, stored.recorded_at, occurred_at, fact.member_id, fact.feature, included,
        additional, team.included + team.additional, (LotPayment(lot.lot, credits),),
    )  # fmt: skip
