"""Low, out, recovered: what the log has to say about a balance, once per crossing however long it lasts."""

from datetime import datetime

from projections.balance.state import TeamBalance, recovered
from schemas.facts import BalanceRanLow, BalanceRanOut, BalanceRecovered


def crossings(team: TeamBalance, at: datetime) -> list[BalanceRanLow | BalanceRecovered | BalanceRanOut]:
    """The facts that are due, given everything the log says up to `team.position`."""
    available, threshold = team.available(at), team.threshold
    due: list[BalanceRanLow | BalanceRecovered | BalanceRanOut] = []
    if team.low and recovered(available, threshold):
        due.append(
            BalanceRecovered(
                available_credits=available, threshold_credits=threshold, crossed_at_position=team.position
            )
        )
    if not team.low and available < threshold:
        due.append(
            BalanceRanLow(
                available_credits=available,
                threshold_credits=threshold,
                crossed_at_position=team.position,
                top_up_enabled=team.top_up.enabled,
            )
        )
    if not team.out and available <= 0:
        due.append(BalanceRanOut(available_credits=available, crossed_at_position=team.position))
    return due
