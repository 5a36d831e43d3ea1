"""Commands about holds in two round trips: one reads what is decided on, without a lock, the other one writes.

The second is one SQL function and its own transaction. It claims the command's key, locks the head of the shard, looks
whether the decision still holds, and writes fact, row and answer. On a machine that is busy storing usage each round
trip waits twice for a core, and others wait for the head meanwhile: here it is locked within one statement.

A decision holds from when it was made until something ends by the clock, and for `FRESH` at most, because a hold's time
runs from then. What it rests on:

* placing: all facts of the team. Work that came since takes at most its credits from what is available, so it does no
  harm where the hold still fits; whatever else came decides anew. For a member with a limit that is any newer fact.
* moving: the hold's row.

Whatever does not fit here gives None, with nothing written: then `placing` or `moving` decides under the lock, which is
the definition. A command that is refused writes nothing, and was refused by what stood in the log when it was read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar

import asyncpg

from projections.entitlement import Permission
from projections.usage import day_of
from schemas.facts import AnyHoldFact
from schemas.places import Place
from services.credits.holds.hold import (
    HOLDS,
    CurrentHold,
    Decide,
    HoldState,
    check_lasts,
    fact_of,
    open_hold,
    placed_as,
)
from services.credits.holds.placing import OPEN_MAX, HoldRequest, open_holds, permitted
from services.credits.limits import read_spending
from services.read_models.balances import EXACT, TAIL_MAX, advance, as_of_now, exact_of
from services.runtime.crashpoints import crashpoint
from services.runtime.tracing.context import current_trail
from services.store.connect import Pool
from services.store.protocols import Reads
from services.store.sessions.bell import note_append
from services.store.teams import unknown_team

FRESH = timedelta(seconds=1)
OF_ITS_TIME = 10  # a hold that lasts a second may not have lost more than a tenth of it by the time it is written
NEWER_MAX = 500  # facts of work: each is read under the lock, some microseconds of it

KEPT = """
    k.body_sha256, k.status, k.answer
    FROM shard_heads AS h
    LEFT JOIN command_answers AS k
    ON k.shard = $1 AND k.team_id = $2 AND k.sub = $4 AND k.route = $5 AND k.key = $6
       AND k.answered_at >= clock_timestamp() - interval '30 days'
"""
TO_PLACE = f"""
    SELECT exact.*, greatest(h.recorded_at, clock_timestamp()) AS now, {KEPT}
    CROSS JOIN ({EXACT}) AS exact WHERE h.shard = $1
"""
TO_MOVE = f"""
    SELECT o.hold_id, o.member_id, o.credits, o.placed_at, o.expires_at, o.state,
           greatest(h.recorded_at, clock_timestamp()) AS now, {KEPT}
    LEFT JOIN holds AS o ON o.shard = $1 AND o.team_id = $2 AND o.hold_id = $3
    WHERE h.shard = $1
"""
HOLD_COLUMNS = 6  # of `TO_MOVE`, in the order of `CurrentHold`

PLACE = f"SELECT * FROM place_hold({', '.join(f'${number}' for number in range(1, 25))})"
MOVE = f"SELECT * FROM move_hold({', '.join(f'${number}' for number in range(1, 24))})"


class CommandKey(NamedTuple):
    """What names a command, as the table of answers has it, and SHA-256 of what it says."""

    shard: int
    team_id: str
    sub: str
    route: str
    key: str
    body_sha256: bytes


class KeptAnswer(NamedTuple):
    """What a command was answered before."""

    body_sha256: bytes
    status: int
    answer: bytes


class AnswerParts(NamedTuple):
    """An answer to be kept: what stands before the position of its fact, and what behind."""

    status: int
    before: bytes
    behind: bytes


Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class AtOnce(Generic[Answer]):
    """A command, where it reads and where it writes, and how the caller's answer is kept.

    `in_parts` is given an answer that says position 0.
    """

    reads: Reads
    pool: Pool
    key: CommandKey
    in_parts: Callable[[Answer], AnswerParts]


async def place_at_once(
    command: AtOnce[Answer],
    hold_id: str,
    request: HoldRequest,
    answered: Callable[[CurrentHold, Permission, Place], Answer],
) -> Answer | KeptAnswer | None:
    """Place a hold, or say what the same command was answered; None where it is to be decided under the lock.

    Raises:
        As `place`, but for AlreadyStored.
    """
    check_lasts(request.lasts)
    key, reads = command.key, command.reads
    row = await _read(command, TO_PLACE, TAIL_MAX + 1)
    if (kept := _kept(row)) is not None:
        return kept
    exact, now = exact_of(row, key.team_id), row["now"]
    if exact.cycle is not None and exact.cycle.ends_at <= now:
        return None  # its refill goes first
    await advance(reads, exact.team, exact.newer)
    balance = as_of_now(exact, now)
    if balance is None:
        raise unknown_team(key.team_id)
    zone = balance.team.zone
    spending = await read_spending(reads, key.team_id, request.members, zone, now) if exact.limited else {}
    permission = permitted(request, balance, spending)
    true_until = min(balance.team.next_end, now + min(FRESH, request.lasts / OF_ITS_TIME))
    if spending and day_of(zone, true_until) != day_of(zone, now):
        return None
    hold = CurrentHold(hold_id, request.member_id, permission.credits, now, now + request.lasts, HoldState.OPEN)
    spare = None if spending else balance.available - permission.credits
    newer_max = min(NEWER_MAX, OPEN_MAX - 1 - open_holds(balance))
    place = await _write(
        command, PLACE, answered(hold, permission, Place(key.shard, 0)), placed_as(hold_id), fact_of(hold),
        exact.position, now, true_until, spare, newer_max, hold_id, hold.member_id, hold.credits, hold.expires_at,
    )  # fmt: skip
    return None if place is None else answered(hold, permission, place)


async def move_at_once(
    command: AtOnce[Answer], hold_id: str, decide: Decide, answered: Callable[[CurrentHold, Place], Answer]
) -> Answer | KeptAnswer | None:
    """Move a hold by one fact, or say what the same command was answered.

    None where it is to be decided under the lock.

    Raises:
        As `move`.
    """
    row = await _read(command, TO_MOVE, hold_id)
    if (kept := _kept(row)) is not None:
        return kept
    now: datetime = row["now"]
    hold = open_hold(hold_id, row[:HOLD_COLUMNS], now)
    moved, ((id_, fact),) = decide(hold, now)
    place = await _write(
        command, MOVE, answered(moved, Place(command.key.shard, 0)), id_, fact,
        hold_id, hold.credits, hold.expires_at, now, now + FRESH, moved.credits, moved.expires_at, moved.state.value,
    )  # fmt: skip
    return None if place is None else answered(moved, place)


async def _read(command: AtOnce[Any], statement: str, third: object) -> asyncpg.Record:
    key = command.key
    row = await command.reads.fetchrow(statement, key.shard, key.team_id, third, key.sub, key.route, key.key)
    assert row is not None, f"there is no shard {key.shard}"
    return row


def _kept(row: asyncpg.Record) -> KeptAnswer | None:
    return None if row["body_sha256"] is None else KeptAnswer(row["body_sha256"], row["status"], row["answer"])


async def _write(
    command: AtOnce[Answer], statement: str, answer: Answer, id_: str, fact: AnyHoldFact, *decided: object
) -> Place | None:
    """Write what was decided; where its fact stands, or None where the decision does not hold any more."""
    parts = command.in_parts(answer)
    crashpoint("hold:decided")
    async with command.pool.acquire() as connection:
        try:
            row = await connection.fetchrow(
                statement, *command.key, *decided, HOLDS, id_, fact.type, fact.body(), *current_trail(), *parts
            )
        except asyncpg.UniqueViolationError:
            return None  # a fact of this name is in the log: the definition says what that means
        if row is None:
            return None
        note_append(connection)
    crashpoint("hold:written")
    return Place(command.key.shard, row["position"])
