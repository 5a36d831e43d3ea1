"""Holds: credits set aside for work that runs, until it is done, given up, or out of time.

A hold lowers what is available and nothing else. It ends once: settled by a capture or by usage that names it,
released, or expired. A capture that settles, a release and an expiry share one identity, `end:{hold_id}`, so that the
log takes one of them, whatever a row says; usage has its producer's. Each hold has a row, which moves with the fact
that moves the hold, under the lock of the team's shard. Whoever races (a capture, the clock, two usages on two
recorders) meets the row as the winner left it. An open hold past its end has ended, whether or not `hold.expired` is in
the log yet.

Stated policy: what is captured was used, so it is recorded in full: it may exceed the hold, and the balance too.
Permission was asked when the hold was placed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from projections.entitlement import Amount, Permission, PlannedWork, permit
from schemas.catalog import Catalog
from schemas.credits import MicroCredits
from schemas.facts import HoldCaptured, HoldExtended, HoldPlaced, HoldReleased, NewFact, Quantities
from schemas.places import Place
from schemas.pricing import CompiledCard
from services.credits.deciding import lock_to_decide
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Refused
from services.store.append import AlreadyStored, Appended, Beside, LockedHead, WriteBeside, append
from services.store.connect import Connection
from services.store.protocols import Reads
from services.store.shards import shard_of
from services.store.teams import unknown_team

HOLDS = "creditwell:holds"
LASTS_MAX = timedelta(hours=24)
OPEN_MAX = 10_000  # of one team: every one of them is read when the next is placed

READ = """
    SELECT hold_id, member_id, credits, placed_at, expires_at, state FROM holds
    WHERE shard = $1 AND team_id = $2 AND hold_id = $3
"""

LOCK = "SELECT * FROM lock_hold($1, $2, $3)"

PLACE = """
    INSERT INTO holds (shard, team_id, hold_id, member_id, credits, placed_at, expires_at)
    SELECT $1::smallint, $2::text, $3::text, $4::text, $5::bigint, $6::timestamptz, $7::timestamptz FROM appended
"""

MOVE = """
    UPDATE holds SET credits = $4, expires_at = $5, state = $6 FROM appended
    WHERE shard = $1 AND team_id = $2 AND hold_id = $3
"""


class HoldKey(NamedTuple):
    """What names a hold; one team can't name another's."""

    team_id: str
    hold_id: str


class HoldState(StrEnum):
    """What became of a hold. All but `open` are final."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class CurrentHold:
    """A hold as it stands; `credits` is what is set aside, or was when the hold ended."""

    hold_id: str
    member_id: str | None
    credits: MicroCredits
    placed_at: datetime
    expires_at: datetime
    state: HoldState


# What the caller has to remember of a command, written with its fact, in the same statement.
Keep = Callable[[CurrentHold, Place], Beside]


class CapturedPart(NamedTuple):
    """What a capture says was used: priced work, or just micro-credits."""

    credits: MicroCredits
    feature: str | None = None
    quantity: str | None = None
    attributes: dict[str, str] | None = None
    rate_card: int | None = None
    member_id: str | None = None
    quantities: Quantities | None = None


class NotPermitted(Refused):
    """A hold may not be placed; `permission` has the answer for each piece of work."""

    def __init__(self, permission: Permission) -> None:
        super().__init__(permission.reason or "", permission.detail or "")
        self.permission = permission


async def read_hold(connection: Reads, team_id: str, hold_id: str, now: datetime) -> CurrentHold | None:
    """A hold as it is at an instant."""
    row = await connection.fetchrow(READ, shard_of(team_id), team_id, hold_id)
    return None if row is None else _as_of(CurrentHold(*row), now)


def _as_of(hold: CurrentHold, now: datetime) -> CurrentHold:
    ended = hold.state == HoldState.OPEN and hold.expires_at <= now
    return replace(hold, state=HoldState.EXPIRED if ended else HoldState(hold.state))


async def place(
    connection: Connection,
    team_id: str,
    hold_id: str,
    requests: Sequence[PlannedWork | Amount],
    *,
    lasts: timedelta,
    member_id: str | None,
    card: CompiledCard,
    catalog: Catalog,
    keep: Callable[[CurrentHold, Permission, Place], Beside] | None = None,
) -> tuple[CurrentHold, Permission, Place]:
    """Set credits aside if the team may do this work and can afford it, in the caller's transaction.

    Raises:
        Refused: unknown_team, too_many_holds, invalid_ttl, or as `NotPermitted` one of the five answers.
        NotPriced: too_large.
        Unavailable: catching_up, the balance can't be told exactly yet.
        AlreadyStored: this hold was placed.
    """
    check_lasts(lasts)
    state = await lock_to_decide(
        connection, team_id, {work.member_id for work in requests if work.member_id is not None}
    )
    if state is None:
        raise unknown_team(team_id)
    head, balance, spending = state
    if sum(hold.expires_at > head.recorded_at for hold in balance.team.holds.values()) >= OPEN_MAX:
        raise Refused("too_many_holds", f"{OPEN_MAX} holds are open; settle or release some first")
    permission = permit(requests, balance.team, balance.available, spending, card, catalog)
    if permission.reason is not None:
        raise NotPermitted(permission)
    now = head.recorded_at
    hold = CurrentHold(hold_id, member_id, permission.credits, now, now + lasts, HoldState.OPEN)
    fact = HoldPlaced(hold_id=hold_id, credits=hold.credits, expires_at=hold.expires_at, member_id=member_id)
    row = (shard_of(team_id), team_id, hold_id, member_id, hold.credits, hold.placed_at, hold.expires_at)
    new = NewFact(team_id, HOLDS, f"hold:{hold_id}", now, fact)
    appended = await append(connection, [new], head, _beside(Beside(PLACE, row), keep, hold, permission))
    crashpoint("hold:placed")
    return hold, permission, appended.places[0]


def check_lasts(lasts: timedelta) -> None:
    """Raises Refused: invalid_ttl."""
    if not timedelta() < lasts <= LASTS_MAX:
        raise Refused(
            "invalid_ttl", f"a hold lasts more than 0 seconds and at most {LASTS_MAX // timedelta(seconds=1)}"
        )


async def extend(
    connection: Connection, team_id: str, hold_id: str, fact_id: str, lasts: timedelta, *, keep: Keep | None = None
) -> tuple[CurrentHold, Place]:
    """Let a hold end so much later than now.

    Never later than 24 hours after it was placed, and never earlier than before.

    Raises:
        Refused: unknown_hold, hold_settled, hold_released, hold_expired or invalid_ttl.
    """
    check_lasts(lasts)
    head, hold = await _lock_open(connection, team_id, hold_id)
    now = head.recorded_at
    longer = replace(hold, expires_at=max(hold.expires_at, now + lasts))
    if longer.expires_at > hold.placed_at + LASTS_MAX:
        raise Refused("invalid_ttl", f"a hold ends at most {LASTS_MAX // timedelta(hours=1)} hours after it was placed")
    fact = HoldExtended(hold_id=hold_id, expires_at=longer.expires_at)
    new = NewFact(team_id, HOLDS, f"extend:{fact_id}", now, fact)
    appended = await append(connection, [new], head, _moved(team_id, longer, keep))
    return longer, appended.places[0]


async def capture(
    connection: Connection,
    team_id: str,
    hold_id: str,
    fact_id: str,
    parts: Sequence[CapturedPart],
    *,
    final: bool,
    keep: Keep | None = None,
) -> tuple[CurrentHold, Place]:
    """Record what the work used.

    The rest of the hold is free again, or stays set aside where this is not the `final` capture.

    Raises:
        Refused: unknown_hold, hold_settled, hold_released or hold_expired.
    """
    head, hold = await _lock_open(connection, team_id, hold_id)
    now = head.recorded_at
    facts, remaining = [], hold.credits
    for number, part in enumerate(parts, 1):
        remaining = max(0, remaining - part.credits)
        settles = final and number == len(parts)
        fact = HoldCaptured(
            hold_id=hold_id, credits=part.credits, feature=part.feature, member_id=part.member_id or hold.member_id,
            quantity=part.quantity, quantities=part.quantities, attributes=part.attributes, rate_card=part.rate_card,
            remaining_credits=None if settles else remaining,
        )  # fmt: skip
        facts.append(NewFact(team_id, HOLDS, end_of(hold_id) if settles else f"capture:{fact_id}:{number}", now, fact))
    captured = replace(hold, state=HoldState.SETTLED) if final else replace(hold, credits=remaining)
    appended = await _append_end(connection, captured, facts, head, keep)
    crashpoint("hold:captured")
    return captured, appended.places[-1]


async def release(
    connection: Connection, team_id: str, hold_id: str, *, keep: Keep | None = None
) -> tuple[CurrentHold, Place]:
    """Give a hold up; nothing was used.

    Raises:
        Refused: unknown_hold, hold_settled, hold_released or hold_expired.
    """
    head, hold = await _lock_open(connection, team_id, hold_id)
    now = head.recorded_at
    released = replace(hold, state=HoldState.RELEASED)
    fact = NewFact(team_id, HOLDS, end_of(hold_id), now, HoldReleased(hold_id=hold_id))
    appended = await _append_end(connection, released, [fact], head, keep)
    return released, appended.places[0]


def end_of(hold_id: str) -> str:
    """The one identity of a hold's end."""
    return f"end:{hold_id}"


async def _append_end(
    connection: Connection, hold: CurrentHold, facts: Sequence[NewFact], head: LockedHead, keep: Keep | None
) -> Appended:
    """Raises Refused: hold_settled, where the log says that it has ended, whatever its row says."""
    try:
        return await append(connection, facts, head, _moved(facts[0].team_id, hold, keep))
    except AlreadyStored as ended:
        if facts[-1].id != end_of(hold.hold_id):
            raise
        raise Refused("hold_settled", f"hold {hold.hold_id!r:.140} has ended already") from ended


async def _lock_open(connection: Connection, team_id: str, hold_id: str) -> tuple[LockedHead, CurrentHold]:
    """The head of the team's shard, locked until COMMIT, and the hold, which is open."""
    row = await connection.fetchrow(LOCK, shard_of(team_id), team_id, hold_id)
    assert row is not None, "a function that answers with one row"
    head, columns = LockedHead(*row[:6]), row[6:]
    if columns[0] is None:
        raise unknown_hold(hold_id)
    hold = _as_of(CurrentHold(*columns), head.recorded_at)
    if hold.state is not HoldState.OPEN:
        raise Refused(f"hold_{hold.state}", f"hold {hold_id!r:.140} is {hold.state} already")
    return head, hold


def unknown_hold(hold_id: str) -> Refused:
    """Nobody placed it, or another team did."""
    return Refused("unknown_hold", f"there is no hold {hold_id!r:.140} of this team")


def _moved(team_id: str, hold: CurrentHold, keep: Keep | None) -> WriteBeside:
    """What moves a hold's row with its fact."""
    row = (shard_of(team_id), team_id, hold.hold_id, hold.credits, hold.expires_at, hold.state.value)
    return _beside(Beside(MOVE, row), keep, hold)


def _beside(row: Beside, keep: Callable[..., Beside] | None, *about: object) -> WriteBeside:
    return lambda places: (row,) if keep is None else (row, keep(*about, places[-1]))
