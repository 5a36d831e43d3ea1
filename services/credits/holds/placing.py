"""Is a hold permitted? Then its fact and its row are written, under the lock of the team's shard.

This is how a hold is placed by definition; `at_once` comes to the same without waiting for the lock first.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from projections.entitlement import Amount, Permission, PlannedWork, Spending, permit
from schemas.catalog import Catalog
from schemas.facts import NewFact
from schemas.places import Place
from schemas.pricing import CompiledCard
from services.credits.deciding import lock_to_decide
from services.credits.holds.hold import HOLDS, CurrentHold, HoldState, check_lasts, fact_of, placed_as
from services.read_models.balances import ExactBalance
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Refused
from services.store.append import Beside, append
from services.store.connect import Connection
from services.store.shards import shard_of
from services.store.teams import unknown_team

OPEN_MAX = 10_000  # of one team: every one of them is read when the next is placed

PLACE = """
    INSERT INTO holds (shard, team_id, hold_id, member_id, credits, placed_at, expires_at)
    SELECT $1::smallint, $2::text, $3::text, $4::text, $5::bigint, $6::timestamptz, $7::timestamptz FROM appended
"""


class HoldRequest(NamedTuple):
    """What a hold is asked for, how long it lasts, whose it is, and what prices and permits the work."""

    works: Sequence[PlannedWork | Amount]
    lasts: timedelta
    member_id: str | None
    card: CompiledCard
    catalog: Catalog

    @property
    def members(self) -> set[str]:
        """Whose limits the decision must know."""
        return {work.member_id for work in self.works if work.member_id is not None}


class NotPermitted(Refused):
    """A hold may not be placed; `permission` has the answer for each piece of work."""

    def __init__(self, permission: Permission) -> None:
        super().__init__(permission.reason or "", permission.detail or "")
        self.permission = permission


async def place(
    connection: Connection,
    team_id: str,
    hold_id: str,
    request: HoldRequest,
    *,
    keep: Callable[[CurrentHold, Permission, Place], Beside] | None = None,
) -> tuple[CurrentHold, Permission, Place]:
    """Set credits aside if the team may do this work and can afford it, in the caller's transaction.

    Raises:
        Refused: unknown_team, too_many_holds, invalid_ttl, or as `NotPermitted` one of the five answers.
        NotPriced: too_large.
        Unavailable: catching_up, the balance can't be told exactly yet.
        AlreadyStored: this hold was placed.
    """
    check_lasts(request.lasts)
    state = await lock_to_decide(connection, team_id, request.members)
    if state is None:
        raise unknown_team(team_id)
    head, balance, spending = state
    permission = permitted(request, balance, spending)
    now = head.recorded_at
    hold = CurrentHold(hold_id, request.member_id, permission.credits, now, now + request.lasts, HoldState.OPEN)
    row = Beside(
        PLACE, (shard_of(team_id), team_id, hold_id, hold.member_id, hold.credits, hold.placed_at, hold.expires_at)
    )
    new = NewFact(team_id, HOLDS, placed_as(hold_id), now, fact_of(hold))
    appended = await append(
        connection, [new], head,
        lambda places: (row,) if keep is None else (row, keep(hold, permission, places[0])),
    )  # fmt: skip
    crashpoint("hold:placed")
    return hold, permission, appended.places[0]


def open_holds(balance: ExactBalance) -> int:
    """How many holds of the team are open."""
    return sum(hold.expires_at > balance.at for hold in balance.team.holds.values())


def permitted(request: HoldRequest, balance: ExactBalance, spending: Mapping[str, Spending]) -> Permission:
    """The permission to set credits aside.

    Raises:
        Refused: too_many_holds, or as `NotPermitted` one of the five answers.
        NotPriced: too_large.
    """
    if open_holds(balance) >= OPEN_MAX:
        raise Refused("too_many_holds", f"{OPEN_MAX} holds are open; settle or release some first")
    permission = permit(request.works, balance.team, balance.available, spending, request.card, request.catalog)
    if permission.reason is not None:
        raise NotPermitted(permission)
    return permission
