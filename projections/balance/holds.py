"""Holds in a balance: they set an amount aside, not lots, and only a capture burns."""

from datetime import datetime
from typing import assert_never

from projections.balance.lots import burn, enter
from projections.balance.state import ActivityKind, BalanceEntry, OpenHold, TeamBalance
from schemas.facts import (
    AnyHoldFact,
    HoldCaptured,
    HoldExpired,
    HoldExtended,
    HoldPlaced,
    HoldReleased,
    Stored,
)


def set_aside(team: TeamBalance, stored: Stored, fact: AnyHoldFact, entries: list[BalanceEntry]) -> None:
    """Set an amount aside, or let go of it; only a capture burns."""
    hold = team.holds.get(fact.hold_id)
    match fact:
        case HoldPlaced():
            team.holds[fact.hold_id] = OpenHold(fact.credits, fact.expires_at)
        case HoldExtended():
            if hold is not None:
                team.holds[fact.hold_id] = hold._replace(expires_at=fact.expires_at)
        case HoldCaptured():
            burned = burn(team, fact.credits, stored.recorded_at)
            if fact.remaining_credits is None:
                team.holds.pop(fact.hold_id, None)
            elif hold is not None:
                team.holds[fact.hold_id] = hold._replace(credits=fact.remaining_credits)
            enter(
                team, stored, entries, ActivityKind.USAGE, -burned.included, -burned.additional, fact.member_id, fact.feature,
                burned.paid,
            )  # fmt: skip
        case HoldReleased() | HoldExpired():
            team.holds.pop(fact.hold_id, None)
        case _:
            assert_never(fact)


def settle_hold(team: TeamBalance, hold_id: str, at: datetime) -> None:
    """Usage settles a hold that is there; where its time is over or it has ended, it is plain usage."""
    hold = team.holds.get(hold_id)
    if hold is None:
        return
    if hold.expires_at > at:
        del team.holds[hold_id]
    else:
        team.true_from = max(team.true_from, hold.expires_at)
