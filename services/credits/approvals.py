"""What one person may not move alone waits as a request, until another one approves or rejects it.

Everything is decided from facts, under the lock of the team's shard. A request ends once: what approves it and what
rejects it share the identity `end:{request_id}`. After 14 days it has expired, and no fact says so: nothing happens.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import asyncpg

from projections.approvals import WAITS, moved
from projections.usage import day_of
from schemas.credits import MicroCredits
from schemas.facts import (
    AdjustmentRejected,
    AdjustmentRequested,
    CreditsAdjusted,
    CreditsGranted,
    NewFact,
    UsageVoided,
    decode,
)
from schemas.places import Place
from services.credits.grants import GIFTS, adjust, check_adjustment, check_grant, grant
from services.runtime.errors import Refused
from services.store.append import append
from services.store.connect import Connection
from services.store.identities import Identity, find
from services.store.protocols import Reads
from services.store.shards import shard_of
from services.store.teams import lock_known_team, lock_team, unknown_team

CORRECTIONS = "creditwell:corrections"  # of what an operator corrected alone
REQUESTS = "creditwell:requests"  # of requests, and of what ended them

DAY_MAX = timedelta(hours=48)  # no day in any zone lasts longer
# What people have moved alone lately. Right before a usage that replaces another one stands who did it.
MOVED = """
    SELECT f.recorded_at, f.type, f.body, taken.body AS taken_back
    FROM facts f LEFT JOIN facts taken
      ON f.type = 'usage.recorded.v1' AND taken.shard = f.shard AND taken.position = f.position - 1
    WHERE f.shard = $1 AND f.team_id = $2 AND f.source = ANY($3) AND f.recorded_at >= $4
"""

REQUESTED = f"""
    WITH requests AS (
        SELECT r.id, r.position, r.recorded_at, r.body, e.position AS ended_position, e.recorded_at AS ended_at,
               e.type AS ended_type, e.body AS ended_body, taken.body AS taken_back,
               CASE WHEN e.type = '{AdjustmentRejected.type}' THEN 'rejected' WHEN e.type IS NOT NULL THEN 'approved'
                    WHEN (convert_from(r.body, 'UTF8')::jsonb ->> 'waits_until')::timestamptz > $3 THEN 'waiting'
                    ELSE 'expired' END AS state
        FROM facts r
        LEFT JOIN facts e ON e.shard = r.shard AND e.team_id = r.team_id AND e.source = r.source AND e.id = 'end:' || r.id
        LEFT JOIN facts taken
          ON e.type = 'usage.recorded.v1' AND taken.shard = e.shard AND taken.position = e.position - 1
        WHERE r.shard = $1 AND r.team_id = $2 AND r.source = '{REQUESTS}' AND r.type = '{AdjustmentRequested.type}'
          AND r.position < $4
    )
    SELECT * FROM requests WHERE $5::text IS NULL OR state = $5 ORDER BY position DESC LIMIT $6
"""


class RequestState(StrEnum):
    """What became of a request. All but `waiting` are final."""

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"


class WaitingRequest(NamedTuple):
    """A request that was just made; nothing moves before another person approves it."""

    request_id: str
    request: AdjustmentRequested
    place: Place


class LockedRequest(NamedTuple):
    """A request of another person's that waits and may be decided now: nothing about the team changes until COMMIT."""

    now: datetime
    request_id: str
    request: AdjustmentRequested

    @property
    def end(self) -> str:
        """The identity of what ends it, of the source `REQUESTS`."""
        return end_of(self.request_id)


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request as it stands; `ended` is where the fact stands that approved or rejected it."""

    request_id: str
    place: Place
    requested_at: datetime
    request: AdjustmentRequested
    state: RequestState
    ended: Place | None
    ended_at: datetime | None
    ended_by: str | None


class Approval(NamedTuple):
    """Who approved which request."""

    request_id: str
    approved_by: str


async def give_or_ask(
    connection: Connection, team_id: str, command_id: str, request: AdjustmentRequested
) -> Place | WaitingRequest:
    """Grant or adjust what somebody asks for, if they may alone; otherwise keep the request.

    Raises:
        Refused: unknown_team, invalid_credits or invalid_expiry.
        AlreadyStored: this command was carried out.
    """
    now, zone = await lock_zone(connection, team_id)
    gift = _gift_of(request, None)
    if isinstance(gift, CreditsGranted):
        check_grant(gift, now)
    else:
        check_adjustment(gift)
    if not await may_alone(connection, team_id, request, now, zone):
        return await ask(connection, team_id, command_id, request, now)
    return await _give(connection, team_id, f"{request.kind}:{command_id}", gift, GIFTS)


async def lock_zone(connection: Connection, team_id: str) -> tuple[datetime, str]:
    """As `lock_known_team`, with the zone in which the team's days begin. Raises as it does."""
    now, team = await lock_team(connection, team_id)
    if team is None:
        raise unknown_team(team_id)
    return now, team.zone


async def may_alone(
    connection: Connection, team_id: str, request: AdjustmentRequested, now: datetime, zone: str
) -> bool:
    """True where this, and what the person has moved today of this team, is within the limit; under the lock.

    Raises:
        UnknownZone: this build can't tell when the team's day began.
    """
    limit, credits = request.approval_above_credits, abs(request.credits)
    if not limit or credits > limit:
        return False
    rows = await connection.fetch(MOVED, shard_of(team_id), team_id, [GIFTS, CORRECTIONS], now - DAY_MAX)
    today = day_of(zone, now)
    before = sum(_moved_by(row, request.requested_by) for row in rows if day_of(zone, row["recorded_at"]) == today)
    return before + credits <= limit


def _moved_by(row: asyncpg.Record, person: str) -> MicroCredits:
    """The credits that a row of `MOVED` has moved, if this person has moved them."""
    taken_back = None if row["taken_back"] is None else decode(UsageVoided.type, row["taken_back"])
    what = moved(decode(row["type"], row["body"]), taken_back if isinstance(taken_back, UsageVoided) else None)
    return what.credits if what is not None and what.by == person else 0


async def ask(
    connection: Connection, team_id: str, request_id: str, request: AdjustmentRequested, now: datetime
) -> WaitingRequest:
    """Keep a request for another person, under the lock. Raises AlreadyStored."""
    request = request.model_copy(update={"waits_until": now + WAITS})
    appended = await append(connection, [NewFact(team_id, REQUESTS, request_id, now, request)])
    return WaitingRequest(request_id, request, appended.places[0])


async def lock_request(connection: Connection, team_id: str, request_id: str, person: str) -> LockedRequest:
    """A request that this person may decide, under the lock of the shard.

    Raises:
        Refused: unknown_team, unknown_request, own_approval, request_approved, request_rejected or request_expired.
    """
    now = await lock_known_team(connection, team_id)
    named, end = Identity(team_id, REQUESTS, request_id), Identity(team_id, REQUESTS, end_of(request_id))
    stored = await find(connection, [named, end])
    request = stored[named].fact() if named in stored else None
    if not isinstance(request, AdjustmentRequested):
        raise Refused("unknown_request", f"there is no request {request_id!r:.140} of this team")
    if request.requested_by == person:
        raise Refused(
            "own_approval", "who asks for it can't decide it, whichever token they use; have somebody else do so"
        )
    if end in stored:
        state = "rejected" if stored[end].type == AdjustmentRejected.type else "approved"
        raise Refused(f"request_{state}", f"the request was {state} already")
    if request.waits_until <= now:
        raise Refused("request_expired", f"the request has waited until {request.waits_until.isoformat()}; ask again")
    return LockedRequest(now, request_id, request)


async def approve_gift(connection: Connection, team_id: str, locked: LockedRequest, approval: Approval) -> Place:
    """Grant or adjust what another person has asked for.

    Raises:
        Refused: invalid_expiry, where what was asked for has ended before it came.
    """
    gift = _gift_of(locked.request, approval)
    return await _give(connection, team_id, locked.end, gift, REQUESTS)


async def reject(
    connection: Connection, team_id: str, locked: LockedRequest, rejected_by: str, reason: str | None
) -> Place:
    """Let nothing come of a request."""
    rejected = AdjustmentRejected(request=locked.request_id, rejected_by=rejected_by, reason=reason)
    appended = await append(connection, [NewFact(team_id, REQUESTS, locked.end, locked.now, rejected)])
    return appended.places[0]


async def read_requests(
    connection: Reads, team_id: str, state: RequestState | None, *, before: int, limit: int, now: datetime
) -> list[RequestRow]:
    """A team's requests before a position, newest first; those in this state alone, if one is named."""
    shard = shard_of(team_id)
    rows = await connection.fetch(REQUESTED, shard, team_id, now, before, state and state.value, limit)
    return [_request_row(shard, row) for row in rows]


def _request_row(shard: int, row: asyncpg.Record) -> RequestRow:
    request = decode(AdjustmentRequested.type, row["body"])
    assert isinstance(request, AdjustmentRequested)
    ended = None if row["ended_position"] is None else Place(shard, row["ended_position"])
    return RequestRow(
        row["id"], Place(shard, row["position"]), row["recorded_at"], request, RequestState(row["state"]),
        ended, row["ended_at"], None if ended is None else _decided_by(row),
    )  # fmt: skip


def _decided_by(row: asyncpg.Record) -> str | None:
    """Who approved or rejected a request; of a usage that replaces another one, what stands before it tells."""
    is_pair = row["taken_back"] is not None
    fact = decode(UsageVoided.type, row["taken_back"]) if is_pair else decode(row["ended_type"], row["ended_body"])
    if isinstance(fact, AdjustmentRejected):
        return fact.rejected_by
    return fact.approved_by if isinstance(fact, CreditsGranted | CreditsAdjusted | UsageVoided) else None


def _gift_of(request: AdjustmentRequested, approval: Approval | None) -> CreditsGranted | CreditsAdjusted:
    """What comes of a request: by one person alone, within the limit, or by an approval."""
    alone = approval is None
    decided = {
        "approval_above_credits": request.approval_above_credits if alone else None,
        "request": None if approval is None else approval.request_id,
        "approved_by": None if approval is None else approval.approved_by,
    }
    if request.kind == "grant":
        return CreditsGranted(
            credits=request.credits, reason=request.reason, expires_at=request.expires_at,
            granted_by=request.requested_by, **decided,
        )  # fmt: skip
    return CreditsAdjusted(
        credits=request.credits, reason=request.reason, refers_to=request.refers_to,
        adjusted_by=request.requested_by, **decided,
    )  # fmt: skip


async def _give(
    connection: Connection, team_id: str, gift_id: str, gift: CreditsGranted | CreditsAdjusted, source: str
) -> Place:
    if isinstance(gift, CreditsGranted):
        return await grant(connection, team_id, gift_id, gift, source=source)
    return await adjust(connection, team_id, gift_id, gift, source=source)


def end_of(request_id: str) -> str:
    """The one identity of what ends a request."""
    return f"end:{request_id}"
