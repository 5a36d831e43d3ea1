"""Limits of members: what each may use per day and per month of the team's zone, exactly.

What counts against a limit is what the member has used and what open holds set aside for them. The projected usage, its
checkpoint, the holds and the facts after that checkpoint are read in one statement. Under the shard's lock that is all
there is. So a hundred who spend at once stop at the limit and not beyond. Usage that is reported counts and is never
refused. A usage counts on the day when the work was done, and a void takes it off that day.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime
from typing import NamedTuple

from projections.entitlement import Limit, Spending
from projections.usage import day_of
from projections.versions import live
from schemas.credits import ENTRY_MAX, MicroCredits, format_credits
from schemas.facts import HoldCaptured, MemberLimited, NewFact, Stored, UsageRecorded, UsageVoided
from schemas.places import Place
from services.read_models.balances import NEWER, TAIL_MAX, newer_facts
from services.runtime.errors import Refused
from services.store.append import append
from services.store.connect import Connection
from services.store.numbered import number_of, numbered
from services.store.protocols import Reads
from services.store.read import FACT_COLUMNS, stored_of
from services.store.shards import shard_of
from services.store.teams import lock_known_team

LIMITS = "creditwell:limits"

# By the log, not by the row, which somebody may have taken out. Ids sort as their numbers do.
LAST_LIMIT = f"""
    SELECT {FACT_COLUMNS} FROM facts
    WHERE shard = $1 AND team_id = $2 AND source = '{LIMITS}' AND left(id, -7) = $3 ORDER BY id DESC LIMIT 1
"""
# Where a member was erased wholly: the limits before that have ended.
ENDED = "SELECT wholly_at FROM erased_members WHERE shard = $1 AND team_id = $2 AND member_id = $3"

SET = """
    INSERT INTO member_limits (shard, team_id, member_id, number, position, daily, monthly, hard)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (shard, team_id, member_id) DO UPDATE
    SET number = greatest(excluded.number, member_limits.number + 1), position = excluded.position,
        daily = excluded.daily, monthly = excluded.monthly, hard = excluded.hard
    WHERE (member_limits.position, member_limits.daily, member_limits.monthly, member_limits.hard)
          IS DISTINCT FROM (excluded.position, excluded.daily, excluded.monthly, excluded.hard)
"""

# One statement is one snapshot: the usage is that of the checkpoint, the facts are those after it, and a capture among
# them has left the holds, whatever happens meanwhile. Nothing is read where nobody asked about has a limit.
SPENDING = live(f"""
    SELECT m.members, newer.*
    FROM (SELECT coalesce(max(position), 0) AS folded FROM checkpoints WHERE reader = 'projector_v0' AND shard = $1) AS c
    CROSS JOIN (
        SELECT jsonb_agg(jsonb_build_array(
            asked.member_id, l.daily, l.monthly, l.hard,
            (SELECT coalesce(sum(u.credits), 0)::bigint FROM usage_v0 u
             WHERE u.shard = $1 AND u.team_id = $2 AND u.day = $5 AND u.member_id = asked.member_id),
            (SELECT coalesce(sum(u.credits), 0)::bigint FROM usage_v0 u
             WHERE u.shard = $1 AND u.team_id = $2 AND u.day BETWEEN $4 AND $5 AND u.member_id = asked.member_id),
            (SELECT coalesce(sum(h.credits), 0)::bigint FROM holds h
             WHERE h.shard = $1 AND h.team_id = $2 AND h.member_id = asked.member_id
               AND h.state = 'open' AND h.expires_at > $6)
        )) AS members
        FROM unnest($3::text[]) AS asked (member_id)
        LEFT JOIN member_limits l ON l.shard = $1 AND l.team_id = $2 AND l.member_id = asked.member_id
        WHERE $7 OR l.daily IS NOT NULL OR l.monthly IS NOT NULL
        HAVING count(*) > 0
    ) AS m
    CROSS JOIN LATERAL (
        SELECT {NEWER} FROM (
            SELECT * FROM facts
            WHERE shard = $1 AND team_id = $2 AND position > c.folded
              AND type IN ('usage.recorded.v1', 'usage.voided.v1', 'hold.captured.v1')
            ORDER BY position LIMIT $8
        ) AS f
    ) AS newer
""")


class _Standing(NamedTuple):
    """A member in `SPENDING`: the limit, and what was used up to the checkpoint and is held."""

    member_id: str
    daily: MicroCredits | None
    monthly: MicroCredits | None
    hard: bool | None
    today: MicroCredits
    month: MicroCredits
    held: MicroCredits


async def set_limit(
    connection: Connection, team_id: str, member_id: str, limit: Limit, *, limited_by: str | None
) -> Place:
    """Limit what a member may use, in the caller's transaction; the same limit again changes nothing.

    Raises:
        Refused: unknown_team or invalid_limit.
    """
    for most in (limit.daily, limit.monthly):
        if most is not None and not 0 <= most <= ENTRY_MAX:
            raise Refused("invalid_limit", f"a limit is 0 or more and at most {format_credits(ENTRY_MAX)} credits")
    now = await lock_known_team(connection, team_id)
    shard = shard_of(team_id)
    number, row = 1, await connection.fetchrow(LAST_LIMIT, shard, team_id, member_id)
    if row is not None:
        last = stored_of(row)
        number, place = number_of(last.id), Place(shard, last.position)
        ended: int = await connection.fetchval(ENDED, shard, team_id, member_id) or 0
        if _limit_of(last) == limit and last.position > ended:
            await connection.execute(SET, shard, team_id, member_id, number, place.position, *limit)
            return place
        number += 1
    fact = MemberLimited(
        member_id=member_id, daily_credits=limit.daily, monthly_credits=limit.monthly, hard=limit.hard,
        limited_by=limited_by,
    )  # fmt: skip
    appended = await append(connection, [NewFact(team_id, LIMITS, numbered(member_id, number), now, fact)])
    place = appended.places[0]
    await connection.execute(SET, shard, team_id, member_id, number, place.position, *limit)
    return place


def _limit_of(stored: Stored) -> Limit:
    fact = stored.fact()
    assert isinstance(fact, MemberLimited), f"{stored.place} is no limit"
    return Limit(fact.daily_credits, fact.monthly_credits, fact.hard)


async def read_spending(
    connection: Reads,
    team_id: str,
    members: Collection[str],
    zone: str,
    now: datetime,
    *,
    without_limit: bool = False,
) -> dict[str, Spending]:
    """What counts against the limits of these members now; of those without a limit only if asked for.

    Called under the shard's lock it is what decisions rest on; without it, it was exact when it was read.

    Raises:
        Unavailable: more facts wait to be folded than a read may fold (`catching_up`).
    """
    if not members:
        return {}
    shard, today = shard_of(team_id), day_of(zone, now)
    row = await connection.fetchrow(
        SPENDING, shard, team_id, sorted(members), today.replace(day=1), today, now, without_limit, TAIL_MAX + 1
    )
    if row is None:
        return {}
    used = _used(newer_facts(row, shard, team_id), zone)
    standings = [_Standing(*columns) for columns in json.loads(row["members"])]
    return {standing.member_id: _spending(standing, used, today) for standing in standings}


def _spending(standing: _Standing, used: Mapping[tuple[str | None, date], MicroCredits], today: date) -> Spending:
    """What `SPENDING` says of a member, and what was used since."""
    member_id, first = standing.member_id, today.replace(day=1)
    since = sum(credits for (member, day), credits in used.items() if member == member_id and first <= day <= today)
    limit = Limit(standing.daily, standing.monthly, True if standing.hard is None else standing.hard)
    return Spending(limit, standing.today + used.get((member_id, today), 0), standing.month + since, standing.held)


def _used(facts: Iterable[Stored], zone: str) -> Mapping[tuple[str | None, date], int]:
    """What was used by whom on which day, by facts that no projection has yet."""
    used: Counter[tuple[str | None, date]] = Counter()
    for stored in facts:
        match stored.fact():
            case (
                UsageRecorded(member_id=member_id, credits=credits) | HoldCaptured(member_id=member_id, credits=credits)
            ):
                used[member_id, day_of(zone, stored.occurred_at)] += credits
            case UsageVoided(member_id=member_id, credits=credits, usage_occurred_at=done_at):
                used[member_id, day_of(zone, done_at)] -= credits
            case _:
                continue
    return used
