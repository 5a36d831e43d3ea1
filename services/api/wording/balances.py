"""A balance as everybody reads it: the API, the stream, the command line."""

from projections.balance.state import NEVER, LotKind
from schemas.credits import format_credits
from schemas.instants import instant
from schemas.places import Place
from services.api.wording.values import Json
from services.read_models.balances import ExactBalance


def balance_body(exact: ExactBalance, position: int) -> Json:
    """What a team has; `low_below` is 0 where nothing says when that is little.

    A plan of other credits counts from the next cycle: `allowance` is what this one was given.
    """
    team, available = exact.team, exact.team.available(exact.at)
    refilled = team.allowance and team.cycle_ends_at != NEVER
    allowance = sum(
        lot.gained for lot in team.lots if lot.kind is LotKind.INCLUDED and lot.starts_at <= exact.at < lot.ends_at
    )
    return {
        "total": format_credits(team.total), "included": format_credits(team.included),
        "additional": format_credits(team.additional), "held": format_credits(team.held(exact.at)),
        "available": format_credits(available), "low": available < team.threshold,
        "low_below": format_credits(team.threshold), "allowance": format_credits(allowance),
        "next_refill_at": instant(team.cycle_ends_at) if refilled else None,
        "next_allowance": format_credits(team.allowance), "plan": team.plan,
        "top_up_enabled": team.top_up.enabled, "position": str(Place(exact.shard, position)), "as_of": instant(exact.at),
    }  # fmt: skip
