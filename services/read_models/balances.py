"""Balances, read exactly by everyone (`states` has how the projector saves them).

A projection is a cache. An exact read takes the checkpoint, the team's row, its lots and the facts after that
checkpoint in one statement, and folds them: one snapshot, and one round trip. On a machine that is busy storing usage,
each round trip waits twice for a core, which is nearly all the time that a read takes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.lots import end_lots
from projections.balance.plain import pass_over
from projections.balance.state import ActivityKind, BalanceEntry, Lot, LotKind, LotPayment, TeamBalance
from projections.versions import live
from schemas.credits import MicroCredits
from schemas.facts import AnyFact, NewFact, Stored
from services.read_models.states import paid_for, settled_lots, team_of
from services.runtime.errors import Unavailable
from services.store.cycles import OpenCycle, refills_of
from services.store.protocols import Reads
from services.store.shards import shard_of

# The reader whose checkpoints the projections of this build stand at: another build has another one, and tables of its
# own. So neither can write into what is the other's.
PROJECTOR = live("projector_v0")
NOT_YET = 2**62  # positions of refills that the log does not have yet lie beyond all others
TAIL_MAX = 5_000  # facts of one team that a read folds by itself; beyond, waiting is better than guessing

# What `newer_facts` reads, of facts `f`.
NEWER = """
    array_agg(f.position) AS positions, array_agg(f.recorded_at) AS recorded, array_agg(f.occurred_at) AS occurred,
    array_agg(f.source) AS sources, array_agg(f.id) AS ids, array_agg(f.type) AS types, array_agg(f.body) AS bodies
"""

EXACT = live(f"""
    SELECT c.folded, b.shard, b.team_id, b.position, b.as_of, b.included, b.additional, b.debt, b.next_end, b.plan, b.zone,
           b.allowance, b.cycle_ends_at, b.sealed_until, b.notice_threshold, b.top_up_enabled, b.top_up_threshold, b.low,
           b."out", b.holds, b.debt_payers,
           (SELECT jsonb_agg(jsonb_build_array(
                l.lot, l.kind, l.gained, l.remaining, l.starts_at AT TIME ZONE 'UTC', l.ends_at AT TIME ZONE 'UTC', l.ended))
            FROM lots_v0 l WHERE l.shard = $1 AND l.team_id = $2 AND NOT l.settled) AS lots,
           t.plan AS plan_now, t.plan_assigned_id, t.anchor, t.zone AS zone_now, t.allowance_credits, t.cycle,
           t.cycle_ends_at AS open_until,
           EXISTS (SELECT FROM member_limits m WHERE m.shard = $1 AND m.team_id = $2) AS limited,
           newer.positions, newer.recorded, newer.occurred, newer.sources, newer.ids, newer.types, newer.bodies
    FROM (SELECT coalesce(max(position), 0) AS folded FROM checkpoints WHERE reader = 'projector_v0' AND shard = $1) AS c
    LEFT JOIN balance_v0 b ON b.shard = $1 AND b.team_id = $2
    LEFT JOIN teams t ON t.shard = $1 AND t.team_id = $2
    CROSS JOIN LATERAL (
        SELECT {NEWER} FROM (
            SELECT * FROM facts WHERE shard = $1 AND team_id = $2 AND position > c.folded ORDER BY position LIMIT $3
        ) AS f
    ) AS newer
""")


@dataclass(frozen=True, slots=True)
class ExactBalance:
    """A balance as of `at`, with every fact up to `position` in it; `limited` tells whether any member has a limit."""

    team: TeamBalance
    shard: int
    position: int
    at: datetime
    limited: bool = False

    @property
    def available(self) -> MicroCredits:
        """What may be promised to new work, in micro-credits."""
        return self.team.available(self.at)


class Exact(NamedTuple):
    """One snapshot: the state that is saved up to `folded`, the team's facts after it, and its row of `teams`.

    `limited` tells whether any of its members has a limit.
    """

    team: TeamBalance
    folded: int
    newer: list[Stored]
    cycle: OpenCycle | None
    limited: bool

    @property
    def position(self) -> int:
        """Once `newer` is folded, all of the team's facts up to here are in `team`."""
        return max(self.folded, self.team.position)


class StoredEntry(NamedTuple):
    """An entry with the fact that it comes from."""

    stored: Stored
    fact: AnyFact
    entry: BalanceEntry


async def read_balance(connection: Reads, team_id: str, at: datetime) -> ExactBalance | None:
    """The balance at the head of the log; None for a team that does not exist.

    Called under the shard's lock it is what decisions rest on; without it, it was exact when it was read.

    Raises:
        Unavailable: more facts wait to be folded than a read may fold (`catching_up`).
    """
    exact = await read_exact(connection, team_id)
    await advance(connection, exact.team, exact.newer)
    return as_of_now(exact, at)


def as_of_now(exact: Exact, now: datetime) -> ExactBalance | None:
    """What a team whose newer facts are folded has now.

    Refills that nobody has appended count. Lots that have ended do not.
    """
    team, shard = exact.team, shard_of(exact.team.team_id)
    if not team.position:
        return None
    position = exact.position
    if exact.cycle is not None:
        fold_due(team, shard, refills_of(team.team_id, exact.cycle, now), now)
    end_lots(team, now, [])
    return ExactBalance(team, shard, position, now, exact.limited)


async def read_exact(connection: Reads, team_id: str) -> Exact:
    """What a fold to the head of the log begins with: one statement, so one snapshot and one round trip.

    Raises:
        Unavailable: more facts wait to be folded than a read may fold (`catching_up`).
    """
    row = await connection.fetchrow(EXACT, shard_of(team_id), team_id, TAIL_MAX + 1)
    assert row is not None, "a statement whose first table is a row of its own"
    return exact_of(row, team_id)


def exact_of(row: asyncpg.Record, team_id: str) -> Exact:
    """What a row of `EXACT` says.

    Raises:
        Unavailable: as `read_exact`.
    """
    newer = newer_facts(row, shard_of(team_id), team_id)
    return Exact(_team_with_lots(row, team_id), row["folded"], newer, open_cycle(row), row["limited"])


def newer_facts(row: asyncpg.Record, shard: int, team_id: str) -> list[Stored]:
    """The facts in the arrays of a row.

    Raises:
        Unavailable: there are more than a read may fold (`catching_up`).
    """
    columns = ("positions", "recorded", "occurred", "sources", "ids", "types", "bodies")
    if len(row["positions"] or ()) > TAIL_MAX:
        raise Unavailable(f"more than {TAIL_MAX} facts of {team_id} wait to be folded", code="catching_up")
    return [
        Stored(shard, position, recorded_at, occurred_at, team_id, source, id_, type_, body)
        for position, recorded_at, occurred_at, source, id_, type_, body in zip(
            *(row[column] or () for column in columns), strict=True
        )
    ]


def open_cycle(row: asyncpg.Record) -> OpenCycle | None:
    """The cycle in a row; None for a team that does not exist."""
    if row["plan_now"] is None:
        return None
    return OpenCycle(
        row["plan_now"], row["plan_assigned_id"], row["anchor"], row["zone_now"], row["allowance_credits"], row["cycle"],
        row["open_until"],
    )  # fmt: skip


def _team_with_lots(row: asyncpg.Record, team_id: str) -> TeamBalance:
    if row["team_id"] is None:
        return TeamBalance(team_id)
    team = team_of(row)
    team.lots = sorted(
        Lot(lot, LotKind(kind), gained, remaining, _utc(starts_at), _utc(ends_at), ended)
        for lot, kind, gained, remaining, starts_at, ends_at, ended in json.loads(row["lots"] or "[]")
    )
    return team


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def fold(connection: Reads, team: TeamBalance, newer: Sequence[Stored]) -> list[StoredEntry]:
    """Take a saved state over the facts that came after it, keeping what each did."""
    new_entries: list[StoredEntry] = []
    paid_here: dict[int, tuple[LotPayment, ...]] = {}
    for stored in newer:
        fact = stored.fact()
        if (earlier := earlier_usage(fact)) is None:
            entries = evolve(team, stored, fact)
        else:
            paid = paid_here.get(earlier)
            if paid is None:
                paid = await paid_for(connection, stored.shard, team.team_id, earlier)
            settled = await settled_lots(connection, stored.shard, team, paid)
            entries = evolve(team, stored, fact, paid, settled)
        for entry in entries:
            new_entries.append(StoredEntry(stored, fact, entry))
            if entry.kind is ActivityKind.USAGE:
                paid_here[entry.position] = entry.paid
    return new_entries


async def advance(connection: Reads, team: TeamBalance, newer: Sequence[Stored]) -> None:
    """The same, where nobody asks what each did.

    The further the projector is behind, the more facts a read takes up by itself: done one by one, reads would take the
    processor that the projector needs to catch up.
    """
    if not pass_over(team, newer):
        await fold(connection, team, newer)


def fold_due(team: TeamBalance, shard: int, refills: Sequence[NewFact], at: datetime) -> None:
    """Refills that are due and that nobody has appended yet count already; the team's position stays where it was."""
    position = team.position
    for number, new in enumerate(refills):
        due = Stored(shard, NOT_YET + number, at, new.occurred_at, team.team_id, new.source, new.id, new.fact.type, b"")
        evolve(team, due, new.fact)
    team.position = position
