"""Balances in PostgreSQL: saved by the projector, read exactly by everyone.

A projection is a cache. An exact read takes the checkpoint, the team's row, its lots and the facts after that checkpoint in one
statement, and folds them: one snapshot, and one round trip. On a machine that is busy storing usage, each round trip
waits twice for a core, which is nearly all the time that a read takes.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg
import msgspec

from projections.activity import paid_of
from projections.balance import (
    Entry,
    Hold,
    Kind,
    Lot,
    LotKind,
    Paid,
    Stretch,
    TeamBalance,
    TopUpSettings,
    end_lots,
    evolve,
    is_settled,
)
from projections.versions import at_version
from schemas.facts import AnyFact, NewFact, Stored, UsageVoided
from services.errors import Unavailable
from services.store.connect import Connection, Reads
from services.store.cycles import OpenCycle, refills_of
from services.store.shards import shard_of

PROJECTOR = "projector"  # the reader whose checkpoints the live projections stand at
NOT_YET = 2**62  # positions of refills that the log does not have yet lie beyond all others
TAIL_MAX = 5_000  # facts of one team that a read folds by itself; beyond, waiting is better than guessing

LOAD = """
    SELECT b.shard, b.team_id, b.position, b.as_of, b.included, b.additional, b.debt, b.next_end, b.plan, b.zone,
           b.allowance, b.cycle_ends_at, b.sealed_until, b.notice_threshold, b.top_up_enabled, b.top_up_threshold,
           b.low, b."out", b.holds, b.plan_position, b.true_from, b.stretch
    FROM unnest($1::smallint[], $2::text[]) AS wanted (shard, team_id) JOIN balance_v0 b USING (shard, team_id)
"""

LOAD_LOTS = """
    SELECT l.shard, l.team_id, l.lot, l.kind, l.gained, l.remaining, l.starts_at, l.ends_at, l.ended
    FROM unnest($1::smallint[], $2::text[]) AS wanted (shard, team_id)
    JOIN lots_v0 l ON l.shard = wanted.shard AND l.team_id = wanted.team_id AND NOT l.settled
"""

EXACT = """
    SELECT c.folded, b.shard, b.team_id, b.position, b.as_of, b.included, b.additional, b.debt, b.next_end, b.plan, b.zone,
           b.allowance, b.cycle_ends_at, b.sealed_until, b.notice_threshold, b.top_up_enabled, b.top_up_threshold, b.low,
           b."out", b.holds,
           (SELECT jsonb_agg(jsonb_build_array(
                l.lot, l.kind, l.gained, l.remaining, l.starts_at AT TIME ZONE 'UTC', l.ends_at AT TIME ZONE 'UTC', l.ended))
            FROM lots l WHERE l.shard = $1 AND l.team_id = $2 AND NOT l.settled) AS lots,
           t.plan AS plan_now, t.plan_assigned_id, t.anchor, t.zone AS zone_now, t.allowance_credits, t.cycle,
           t.cycle_ends_at AS open_until,
           EXISTS (SELECT FROM member_limits m WHERE m.shard = $1 AND m.team_id = $2) AS limited,
           newer.positions, newer.recorded, newer.occurred, newer.sources, newer.ids, newer.types, newer.bodies
    FROM (SELECT coalesce(max(position), 0) AS folded FROM checkpoints WHERE reader = 'projector' AND shard = $1) AS c
    LEFT JOIN balance b ON b.shard = $1 AND b.team_id = $2
    LEFT JOIN teams t ON t.shard = $1 AND t.team_id = $2
    CROSS JOIN LATERAL (
        SELECT array_agg(position) AS positions, array_agg(f.recorded_at) AS recorded,
               array_agg(f.occurred_at) AS occurred, array_agg(source) AS sources, array_agg(id) AS ids,
               array_agg(type) AS types, array_agg(body) AS bodies
        FROM (
            SELECT position, recorded_at, occurred_at, source, id, type, body FROM facts
            WHERE shard = $1 AND team_id = $2 AND position > c.folded ORDER BY position LIMIT $3
        ) AS f
    ) AS newer
"""

SAVE = """
    INSERT INTO balance_v0 (shard, team_id, position, as_of, included, additional, debt, next_end, plan, zone, allowance,
                            cycle_ends_at, sealed_until, notice_threshold, top_up_enabled, top_up_threshold, low, "out",
                            alarm, holds, plan_position, true_from, stretch)
    SELECT * FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::bigint[],
                         $7::bigint[], $8::timestamptz[], $9::text[], $10::text[], $11::bigint[], $12::timestamptz[],
                         $13::timestamptz[], $14::bigint[], $15::boolean[], $16::bigint[], $17::boolean[], $18::boolean[],
                         $19::boolean[], $20::jsonb[], $21::bigint[], $22::timestamptz[], $23::jsonb[])
    ON CONFLICT (shard, team_id) DO UPDATE
    SET position = excluded.position, as_of = excluded.as_of, included = excluded.included,
        additional = excluded.additional, debt = excluded.debt, next_end = excluded.next_end, plan = excluded.plan,
        zone = excluded.zone, allowance = excluded.allowance, cycle_ends_at = excluded.cycle_ends_at,
        sealed_until = excluded.sealed_until, notice_threshold = excluded.notice_threshold,
        top_up_enabled = excluded.top_up_enabled, top_up_threshold = excluded.top_up_threshold, low = excluded.low,
        "out" = excluded."out", alarm = excluded.alarm, holds = excluded.holds,
        plan_position = excluded.plan_position, true_from = excluded.true_from, stretch = excluded.stretch
"""

SAVE_LOTS = """
    INSERT INTO lots_v0 (shard, team_id, lot, kind, gained, remaining, starts_at, ends_at, ended, settled)
    SELECT * FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[],
                         $7::timestamptz[], $8::timestamptz[], $9::boolean[], $10::boolean[])
    ON CONFLICT (shard, team_id, lot) DO UPDATE
    SET remaining = excluded.remaining, ended = excluded.ended, settled = excluded.settled
"""

PAID = """
    SELECT a.team_id, a.position, a.paid
    FROM unnest($1::smallint[], $2::text[], $3::bigint[]) AS wanted (shard, team_id, position)
    JOIN activity_v0 a USING (shard, team_id, position) WHERE a.kind = 'usage'
"""

PAID_LOTS = """
    SELECT lot, kind, gained, remaining, starts_at, ends_at, ended
    FROM lots_v0 WHERE shard = $1 AND team_id = $2 AND lot = ANY($3)
"""


async def load(connection: Connection, teams: Sequence[tuple[int, str]], version: int) -> dict[str, TeamBalance]:
    """The states of these (shard, team); a fresh one for a team that has no row."""
    shards, ids = [shard for shard, _ in teams], [team_id for _, team_id in teams]
    found = {row["team_id"]: _loaded(row) for row in await connection.fetch(at_version(LOAD, version), shards, ids)}
    for row in await connection.fetch(at_version(LOAD_LOTS, version), shards, ids):
        found[row["team_id"]].lots.append(_lot(row))
    for team in found.values():
        team.lots.sort()
    return {team_id: found.get(team_id) or TeamBalance(team_id) for team_id in ids}


def _loaded(row: asyncpg.Record) -> TeamBalance:
    """With what only the projector needs, beside what every read does."""
    team = _team(row)
    team.plan_position, team.true_from = row["plan_position"], row["true_from"]
    team.stretch = msgspec.json.decode(row["stretch"], type=Stretch)
    return team


def _team(row: asyncpg.Record) -> TeamBalance:
    return TeamBalance(
        team_id=row["team_id"], position=row["position"], as_of=row["as_of"], included=row["included"],
        additional=row["additional"], debt=row["debt"], next_end=row["next_end"], plan=row["plan"], zone=row["zone"],
        allowance=row["allowance"], cycle_ends_at=row["cycle_ends_at"], sealed_until=row["sealed_until"],
        notice_threshold=row["notice_threshold"],
        top_up=TopUpSettings(row["top_up_enabled"], row["top_up_threshold"]), low=row["low"], out=row["out"],
        holds={
            hold_id: Hold(credits, datetime.fromisoformat(until))
            for hold_id, (credits, until) in json.loads(row["holds"]).items()
        },
    )  # fmt: skip


def _lot(row: asyncpg.Record) -> Lot:
    return Lot(
        row["lot"],
        LotKind(row["kind"]),
        row["gained"],
        row["remaining"],
        row["starts_at"],
        row["ends_at"],
        row["ended"],
    )


async def save(connection: Connection, teams: Iterable[tuple[int, TeamBalance]], version: int) -> None:
    """Write states and changed lots, within the transaction that moves the checkpoint."""
    states = list(teams)
    rows = [
        (
            shard, team.team_id, team.position, team.as_of, team.included, team.additional, team.debt, team.next_end,
            team.plan, team.zone, team.allowance, team.cycle_ends_at, team.sealed_until, team.notice_threshold,
            team.top_up.enabled, team.top_up.threshold, team.low, team.out, team.alarm(), _holds(team),
            team.plan_position, team.true_from, msgspec.json.encode(team.stretch).decode(),
        )
        for shard, team in states
    ]  # fmt: skip
    await connection.execute(at_version(SAVE, version), *map(list, zip(*rows, strict=True)))
    lots = [
        (
            shard, team.team_id, lot.lot, lot.kind, lot.gained, lot.remaining, lot.starts_at, lot.ends_at, lot.ended,
            is_settled(lot, team.sealed_until),
        )
        for shard, team in states
        for lot in team.changed.values()
    ]  # fmt: skip
    if lots:
        await connection.execute(at_version(SAVE_LOTS, version), *map(list, zip(*lots, strict=True)))


def _holds(team: TeamBalance) -> str:
    if not team.holds:
        return "{}"
    return json.dumps({key: (hold.credits, hold.expires_at.isoformat()) for key, hold in sorted(team.holds.items())})


async def paid_for(
    connection: Reads, shard: int, team_id: str, usage_position: int, version: int | None
) -> tuple[tuple[Paid, ...], dict[int, Lot]]:
    """Who paid a usage, and those lots as a void finds them once they are settled: with nothing left.

    The rows may be newer than the state that the void is folded into: a settled lot that has not ended has nothing left, and one
    that has ended is told by its time, so `remaining` and `ended` are not taken from them.
    """
    row = await connection.fetchrow(at_version(PAID, version), [shard], [team_id], [usage_position])
    assert row is not None, f"usage {shard}:{usage_position} has no activity row"
    paid = paid_of(row["paid"])
    lots = await connection.fetch(at_version(PAID_LOTS, version), shard, team_id, [part.lot for part in paid])
    return paid, {lot["lot"]: replace(_lot(lot), remaining=0, ended=False) for lot in lots}


@dataclass(frozen=True, slots=True)
class ExactBalance:
    """A balance as of `at`, with every fact up to `position` in it; `limited` tells whether any member has a limit."""

    team: TeamBalance
    shard: int
    position: int
    at: datetime
    limited: bool = False

    @property
    def available(self) -> int:
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


class Told(NamedTuple):
    """An entry with the fact that it comes from."""

    stored: Stored
    fact: AnyFact
    entry: Entry


async def read_balance(connection: Reads, team_id: str, at: datetime) -> ExactBalance | None:
    """The balance at the head of the log; None for a team that does not exist.

    Called under the shard's lock it is what decisions rest on; without it, it was exact when it was read.

    Raises:
        Unavailable: more facts wait to be folded than a read may fold (`catching_up`).
    """
    exact = await read_exact(connection, team_id)
    await fold(connection, exact.team, exact.newer)
    return as_of_now(exact, at)


def as_of_now(exact: Exact, now: datetime) -> ExactBalance | None:
    """What a team whose newer facts are folded has now: refills that nobody has appended count, lots that have ended do not."""
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
    shard = shard_of(team_id)
    row = await connection.fetchrow(EXACT, shard, team_id, TAIL_MAX + 1)
    assert row is not None, "a statement whose first table is a row of its own"
    newer = newer_facts(row, shard, team_id)
    return Exact(_team_with_lots(row, team_id), row["folded"], newer, open_cycle(row), row["limited"])


def newer_facts(row: asyncpg.Record, shard: int, team_id: str) -> list[Stored]:
    """The facts in the arrays of a row.

    Raises:
        Unavailable: there are more than a read may fold (`catching_up`).
    """
    columns = ("positions", "recorded", "occurred", "sources", "ids", "types", "bodies")
    if len(row["positions"] or ()) > TAIL_MAX:
        raise Unavailable(f"catching_up: more than {TAIL_MAX} facts of {team_id} wait to be folded")
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
    team = _team(row)
    team.lots = sorted(
        Lot(lot, LotKind(kind), gained, remaining, _utc(starts_at), _utc(ends_at), ended)
        for lot, kind, gained, remaining, starts_at, ends_at, ended in json.loads(row["lots"] or "[]")
    )
    return team


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def fold(connection: Reads, team: TeamBalance, newer: Sequence[Stored]) -> list[Told]:
    """Take a saved state over the facts that came after it, keeping what each did."""
    told: list[Told] = []
    paid_here: dict[int, tuple[Paid, ...]] = {}
    for stored in newer:
        fact = stored.fact()
        if not isinstance(fact, UsageVoided):
            entries = evolve(team, stored, fact)
        elif fact.usage_position in paid_here:
            entries = evolve(team, stored, fact, paid_here[fact.usage_position], team.changed)
        else:
            paid, lots = await paid_for(connection, stored.shard, team.team_id, fact.usage_position, None)
            entries = evolve(team, stored, fact, paid, {**lots, **team.changed})
        for entry in entries:
            told.append(Told(stored, fact, entry))
            if entry.kind is Kind.USAGE:
                paid_here[entry.position] = entry.paid
    return told


def fold_due(team: TeamBalance, shard: int, refills: Sequence[NewFact], at: datetime) -> None:
    """Refills that are due and that nobody has appended yet count already; the team's position stays where it was."""
    position = team.position
    for number, new in enumerate(refills):
        due = Stored(shard, NOT_YET + number, at, new.occurred_at, team.team_id, new.source, new.id, new.fact.type, b"")
        evolve(team, due, new.fact)
    team.position = position
