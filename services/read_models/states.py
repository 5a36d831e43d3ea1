"""States of teams in PostgreSQL: rows of `balance` and `lots`, and of `usage` for each day of a member.

The projector loads and saves them with its checkpoint.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import asyncpg
import msgspec

from projections.activity import entries_between
from projections.balance.lots import is_settled
from projections.balance.state import DEBT, Lot, LotKind, LotPayment, OpenHold, Stretch, TeamBalance, TopUpSettings
from projections.usage import Cells, FeatureUse, TeamDay
from projections.versions import at_version
from schemas.places import Place
from services.read_models.activity_rows import paid_of
from services.store.claims import IS_OURS, Part, columns
from services.store.connect import Connection
from services.store.protocols import Reads

LOAD = """
    SELECT b.shard, b.team_id, b.position, b.as_of, b.included, b.additional, b.debt, b.next_end, b.plan, b.zone,
           b.allowance, b.cycle_ends_at, b.sealed_until, b.notice_threshold, b.top_up_enabled, b.top_up_threshold,
           b.low, b."out", b.holds, b.debt_payers, b.plan_position, b.true_from, b.stretch
    FROM unnest($1::smallint[], $2::text[]) AS wanted (shard, team_id) JOIN balance_v0 b USING (shard, team_id)
"""

LOAD_LOTS = """
    SELECT l.shard, l.team_id, l.lot, l.kind, l.gained, l.remaining, l.starts_at, l.ends_at, l.ended
    FROM unnest($1::smallint[], $2::text[]) AS wanted (shard, team_id)
    JOIN lots_v0 l ON l.shard = wanted.shard AND l.team_id = wanted.team_id AND NOT l.settled
"""

SAVE = f"""
    INSERT INTO balance_v0 (shard, team_id, position, as_of, included, additional, debt, next_end, plan, zone, allowance,
                            cycle_ends_at, sealed_until, notice_threshold, top_up_enabled, top_up_threshold, low, "out",
                            alarm, holds, debt_payers, plan_position, true_from, stretch)
    SELECT * FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::bigint[],
                         $7::bigint[], $8::timestamptz[], $9::text[], $10::text[], $11::bigint[], $12::timestamptz[],
                         $13::timestamptz[], $14::bigint[], $15::boolean[], $16::bigint[], $17::boolean[], $18::boolean[],
                         $19::boolean[], $20::jsonb[], $21::jsonb[], $22::bigint[], $23::timestamptz[], $24::jsonb[])
    WHERE {IS_OURS}
    ON CONFLICT (shard, team_id) DO UPDATE
    SET position = excluded.position, as_of = excluded.as_of, included = excluded.included,
        additional = excluded.additional, debt = excluded.debt, next_end = excluded.next_end, plan = excluded.plan,
        zone = excluded.zone, allowance = excluded.allowance, cycle_ends_at = excluded.cycle_ends_at,
        sealed_until = excluded.sealed_until, notice_threshold = excluded.notice_threshold,
        top_up_enabled = excluded.top_up_enabled, top_up_threshold = excluded.top_up_threshold, low = excluded.low,
        "out" = excluded."out", alarm = excluded.alarm, holds = excluded.holds,
        debt_payers = excluded.debt_payers, plan_position = excluded.plan_position, true_from = excluded.true_from, stretch = excluded.stretch
"""

SAVE_LOTS = f"""
    INSERT INTO lots_v0 (shard, team_id, lot, kind, gained, remaining, starts_at, ends_at, ended, settled)
    SELECT * FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[],
                         $7::timestamptz[], $8::timestamptz[], $9::boolean[], $10::boolean[])
    WHERE {IS_OURS}
    ON CONFLICT (shard, team_id, lot) DO UPDATE
    SET remaining = excluded.remaining, ended = excluded.ended, settled = excluded.settled
"""

# Of a team whose facts were all plain usage, in a batch: nothing else of it has changed, and its rows are there.
SAVE_PLAIN = f"""
    UPDATE balance_v0 b
    SET position = s.position, as_of = s.as_of, included = s.included, additional = s.additional, alarm = s.alarm,
        true_from = s.true_from, stretch = s.stretch
    FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::boolean[],
                $8::timestamptz[], $9::jsonb[])
        AS s (shard, team_id, position, as_of, included, additional, alarm, true_from, stretch)
    WHERE b.shard = s.shard AND b.team_id = s.team_id AND {IS_OURS}
"""

SAVE_PLAIN_LOTS = f"""
    UPDATE lots_v0 l SET remaining = s.remaining
    FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::bigint[]) AS s (shard, team_id, lot, remaining)
    WHERE l.shard = s.shard AND l.team_id = s.team_id AND l.lot = s.lot AND {IS_OURS}
"""

SAVE_COLUMNS, LOT_COLUMNS, PLAIN_COLUMNS, PLAIN_LOT_COLUMNS = 24, 10, 9, 4

PAID = f"SELECT paid FROM ({entries_between('$1', '$2', '$3', '$3')}) AS a WHERE kind = 'usage'"

PAID_LOTS = """
    SELECT lot, kind, gained, remaining, starts_at, ends_at, ended
    FROM lots_v0 WHERE shard = $1 AND team_id = $2 AND lot = ANY($3)
"""

LOAD_DAYS = """
    SELECT u.shard, u.team_id, u.day, u.member_id, u.features
    FROM unnest($1::smallint[], $2::text[], $3::date[], $4::text[]) AS wanted (shard, team_id, day, member_id)
    JOIN usage_v0 u USING (shard, team_id, day, member_id)
"""

SAVE_DAYS = f"""
    INSERT INTO usage_v0 (shard, team_id, day, member_id, features)
    SELECT u.shard, u.team_id, u.day, m.key, m.value
    FROM unnest($1::smallint[], $2::text[], $3::date[], $4::jsonb[]) AS u (shard, team_id, day, members)
    CROSS JOIN LATERAL jsonb_each(u.members) AS m
    WHERE {IS_OURS}
    ON CONFLICT (shard, team_id, day, member_id) DO UPDATE SET features = excluded.features
"""

MEMBER_DAY_COLUMNS, TEAM_DAY_COLUMNS = 4, 4

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, FeatureUse]).decode

LIVE: Mapping[str, int] = {}  # no versions named: the views


async def load(connection: Connection, teams: Sequence[tuple[int, str]], version: int) -> dict[str, TeamBalance]:
    """The states of these (shard, team); a fresh one for a team that has no row."""
    shards, ids = [shard for shard, _ in teams], [team_id for _, team_id in teams]
    states = {row["team_id"]: _loaded(row) for row in await connection.fetch(at_version(LOAD, version), shards, ids)}
    for row in await connection.fetch(at_version(LOAD_LOTS, version), shards, ids):
        states[row["team_id"]].lots.append(lot_of(row))
    for team in states.values():
        team.lots.sort()
    return {team_id: states.get(team_id) or TeamBalance(team_id) for team_id in ids}


def _loaded(row: asyncpg.Record) -> TeamBalance:
    """With what only the projector needs, beside what every read does."""
    team = team_of(row)
    team.plan_position, team.true_from = row["plan_position"], row["true_from"]
    team.stretch = msgspec.json.decode(row["stretch"], type=Stretch)
    return team


def team_of(row: asyncpg.Record) -> TeamBalance:
    """A team's state from a row that has its columns, without its lots."""
    return TeamBalance(
        team_id=row["team_id"], position=row["position"], as_of=row["as_of"], included=row["included"],
        additional=row["additional"], debt=row["debt"], next_end=row["next_end"], plan=row["plan"], zone=row["zone"],
        allowance=row["allowance"], cycle_ends_at=row["cycle_ends_at"], sealed_until=row["sealed_until"],
        notice_threshold=row["notice_threshold"],
        top_up=TopUpSettings(row["top_up_enabled"], row["top_up_threshold"]), low=row["low"], out=row["out"],
        holds={
            hold_id: OpenHold(credits, datetime.fromisoformat(until))
            for hold_id, (credits, until) in json.loads(row["holds"]).items()
        },
        debt_payers=[LotPayment(lot, credits) for lot, credits in json.loads(row["debt_payers"])],
    )  # fmt: skip


def lot_of(row: asyncpg.Record) -> Lot:
    """A lot from its row."""
    return Lot(
        row["lot"],
        LotKind(row["kind"]),
        row["gained"],
        row["remaining"],
        row["starts_at"],
        row["ends_at"],
        row["ended"],
    )


def saved(teams: Iterable[tuple[int, TeamBalance]], version: int) -> list[Part]:
    """What writes states and changed lots, in the statement that moves the checkpoint."""
    states = list(teams)
    rows = [
        (shard, *balance_row(team), team.plan_position, team.true_from, _encode(team.stretch).decode())
        for shard, team in states
    ]
    lots = [(shard, *lot_row(team, lot)) for shard, team in states for lot in team.changed.values()]
    return [
        Part(at_version(SAVE, version), columns(rows, SAVE_COLUMNS)),
        Part(at_version(SAVE_LOTS, version), columns(lots, LOT_COLUMNS)),
    ]


def saved_plainly(teams: Iterable[tuple[int, TeamBalance]], version: int) -> list[Part]:
    """The same for teams that `use_plainly` alone has changed since they were loaded or saved."""
    states = list(teams)
    rows = [
        (
            shard, team.team_id, team.position, team.as_of, team.included, team.additional, team.alarm(), team.true_from,
            _encode(team.stretch).decode(),
        )
        for shard, team in states
    ]  # fmt: skip
    lots = [(shard, team.team_id, lot.lot, lot.remaining) for shard, team in states for lot in team.changed.values()]
    return [
        Part(at_version(SAVE_PLAIN, version), columns(rows, PLAIN_COLUMNS)),
        Part(at_version(SAVE_PLAIN_LOTS, version), columns(lots, PLAIN_LOT_COLUMNS)),
    ]


def balance_row(team: TeamBalance) -> tuple[object, ...]:
    """A team's row of `balance` from `team_id` to `debt_payers`: what replay compares."""
    return (
        team.team_id, team.position, team.as_of, team.included, team.additional, team.debt, team.next_end, team.plan,
        team.zone, team.allowance, team.cycle_ends_at, team.sealed_until, team.notice_threshold, team.top_up.enabled,
        team.top_up.threshold, team.low, team.out, team.alarm(), _holds(team),
        json.dumps(team.debt_payers),
    )  # fmt: skip


def lot_row(team: TeamBalance, lot: Lot) -> tuple[object, ...]:
    """A lot's row of `lots`, without its shard."""
    return (
        team.team_id, lot.lot, lot.kind, lot.gained, lot.remaining, lot.starts_at, lot.ends_at, lot.ended,
        is_settled(lot, team.sealed_until),
    )  # fmt: skip


def _holds(team: TeamBalance) -> str:
    """The column `holds`: credits and end of each, by id."""
    if not team.holds:
        return "{}"
    return json.dumps({key: (hold.credits, hold.expires_at.isoformat()) for key, hold in sorted(team.holds.items())})


async def paid_for(
    connection: Reads, shard: int, team_id: str, usage_position: int, versions: Mapping[str, int] = LIVE
) -> tuple[LotPayment, ...]:
    """Who paid a usage, by the activity. Each projection has a version of its own: one may have been switched alone."""
    row = await connection.fetchrow(at_version(PAID, versions.get("activity")), shard, team_id, usage_position)
    assert row is not None, f"usage {Place(shard, usage_position)} has no activity row"
    return paid_of(row["paid"])


async def settled_lots(
    connection: Reads, shard: int, team: TeamBalance, paid: Iterable[LotPayment], versions: Mapping[str, int] = LIVE
) -> Mapping[int, Lot]:
    """The settled lots that the void of a usage may touch, as a void finds them: with nothing left.

    They are those that paid the usage, and where it was debt, those that paid debt since.

    The rows may be newer than the state that the void is folded into. A settled lot that has not ended has nothing
    left, and one that has ended is told by its time. So `remaining` and `ended` are not taken from them.
    """
    numbers = {part.lot for part in paid}
    if DEBT in numbers:
        numbers |= {payer.lot for payer in team.debt_payers}
    numbers -= {DEBT, *team.changed, *(lot.lot for lot in team.lots)}
    if not numbers:
        return team.changed
    rows = await connection.fetch(at_version(PAID_LOTS, versions.get("balance")), shard, team.team_id, sorted(numbers))
    return {**{row["lot"]: replace(lot_of(row), remaining=0, ended=False) for row in rows}, **team.changed}


async def load_days(connection: Connection, days: Mapping[TeamDay, Collection[str]], version: int) -> Cells:
    """What is saved of these members on these days; who used nothing that day has no row."""
    keys = [(*team_day, member_id) for team_day, members in days.items() for member_id in members]
    cells: Cells = {}
    for shard, team_id, day, member_id, features in await connection.fetch(
        at_version(LOAD_DAYS, version), *columns(keys, MEMBER_DAY_COLUMNS)
    ):
        cells.setdefault((shard, team_id, day), {})[member_id] = _decode(features)
    return cells


def saved_days(cells: Cells, days: Mapping[TeamDay, Collection[str]], version: int) -> Part:
    """What writes the days of these members whole, in the statement that moves the checkpoint."""
    rows = []
    for team_day in sorted(days):  # the order of the primary key: two writers never wait for each other in a circle
        members, counted = cells[team_day], days[team_day]
        if len(counted) < len(members):
            members = {member_id: members[member_id] for member_id in counted}
        rows.append((*team_day, _encode(members).decode()))
    return Part(at_version(SAVE_DAYS, version), columns(rows, TEAM_DAY_COLUMNS))
