"""The rows of the live projections, against those of a fold."""

import json
from collections.abc import Iterable, Mapping, Sequence

from projections import usage, usage_by_attribute
from projections.activity import RUN_COLUMNS, RUN_ENTRIES, RUN_SPAN_MAX
from projections.versions import live
from schemas.facts import Stored
from schemas.places import Place
from services.audit.derived import in_order
from services.audit.replays.fold import EntryKey, FoldedShard, ProjectionRow
from services.audit.replays.outcome import ReplayDifference, Replayed
from services.audit.replays.scope import ReplayScope
from services.read_models.states import balance_row, lot_row
from services.store.connect import Connection

PAGE = 5_000

ENTRY_COLUMNS = """team_id, position, part, kind, recorded_at, occurred_at, member_id, feature, included, additional,
           balance_after, paid, late"""
ACTIVITY = live(f"""
    SELECT {ENTRY_COLUMNS} FROM (
        SELECT * FROM activity_rows_v0 WHERE shard = $1 AND team_id = ANY($2) AND position BETWEEN $3 AND $4
        UNION ALL
        SELECT {RUN_COLUMNS} FROM activity_runs_v0 r CROSS JOIN LATERAL {RUN_ENTRIES}
        WHERE r.shard = $1 AND r.team_id = ANY($2) AND r.first > $3 - {RUN_SPAN_MAX} AND r.first <= $4 AND r.last >= $3
          AND e.position BETWEEN $3 AND $4
    ) AS entries
    WHERE recorded_at >= $5 AND recorded_at < $6
""")
ROWS_OF_TEAMS = live("""
    SELECT team_id, count(*) FROM activity_v0
    WHERE shard = $1 AND ($2::text IS NULL OR team_id = $2) AND recorded_at >= $3 AND recorded_at < $4 GROUP BY team_id
""")
BALANCE = live("""
    SELECT team_id, position, as_of, included, additional, debt, next_end, plan, zone, allowance, cycle_ends_at, sealed_until,
           notice_threshold, top_up_enabled, top_up_threshold, low, "out", alarm, holds,
           debt_payers
    FROM balance_v0 WHERE shard = $1 AND ($2::text IS NULL OR team_id = $2)
""")
LOTS = live("""
    SELECT team_id, lot, kind, gained, remaining, starts_at, ends_at, ended, settled
    FROM lots_v0 WHERE shard = $1 AND ($2::text IS NULL OR team_id = $2)
""")
USAGE = live("""
    SELECT team_id, day, feature, member_id, credits, uses
    FROM usage_v0 WHERE shard = $1 AND ($2::text IS NULL OR team_id = $2)
""")
USAGE_BY_ATTRIBUTE = live(f"""
    SELECT team_id, day, member_id, name, value, feature, credits, uses
    FROM ({usage_by_attribute.ROWS}) AS u WHERE shard = $1 AND ($2::text IS NULL OR team_id = $2)
""")
SNAPSHOTS = live("""
    SELECT team_id, position, recorded_at, true_from, after, late_before, late_positions, late_times, state::text, fold
    FROM balance_snapshots_v0 WHERE shard = $1 AND ($2::text IS NULL OR team_id = $2)
""")


async def compare_sums(connection: Connection, fold: FoldedShard, scope: ReplayScope, replayed: Replayed) -> None:
    """Balances, lots, usage and snapshots, after the last fact."""
    shard, team_id = fold.shard, scope.team_id
    balances = map(balance_row, fold.teams.values())
    await _compare(connection, "balance", BALANCE, 1, shard, team_id, balances, replayed)
    lots = (lot_row(team, lot) for team in fold.teams.values() for lot in team.changed.values())
    await _compare(connection, "lots", LOTS, 2, shard, team_id, lots, replayed)
    used = (row[1:] for row in usage.rows(fold.cells))
    await _compare(connection, "usage", USAGE, 4, shard, team_id, used, replayed)
    attributed = (row[1:] for row in usage_by_attribute.rows(fold.attributed))
    await _compare(connection, "usage_attributes", USAGE_BY_ATTRIBUTE, 6, shard, team_id, attributed, replayed)
    await _compare_snapshots(connection, fold, scope, replayed)


async def compare_activity(
    connection: Connection,
    fold: FoldedShard,
    facts: Sequence[Stored],
    expected: Mapping[EntryKey, ProjectionRow],
    scope: ReplayScope,
    replayed: Replayed,
) -> None:
    """The activity of a page of facts."""
    teams = list({stored.team_id for stored in facts})
    rows = await connection.fetch(
        ACTIVITY, fold.shard, teams, facts[0].position, facts[-1].position, scope.since, scope.until
    )
    live_rows: dict[EntryKey, ProjectionRow] = {
        (row["team_id"], row["position"], row["part"]): tuple(row) for row in rows
    }
    if live_rows == expected:
        return
    columns = tuple(rows[0].keys()) if rows else ()
    for key in sorted(live_rows.keys() | expected.keys()):
        team_id, position, part = key
        name = f"{Place(fold.shard, position)} part {part}"
        _compare_row("activity", team_id, name, columns, expected.get(key), live_rows.get(key), replayed)


async def compare_rows_of_teams(
    connection: Connection, fold: FoldedShard, scope: ReplayScope, replayed: Replayed
) -> None:
    """Rows that stand where no fact is: they have no page of their own."""
    rows = await connection.fetch(ROWS_OF_TEAMS, fold.shard, scope.team_id, scope.since, scope.until)
    counts = {row["team_id"]: row["count"] for row in rows}
    for team_id in sorted(counts.keys() | fold.rows.keys()):
        if counts.get(team_id, 0) != fold.rows[team_id] and not any(d.team_id == team_id for d in replayed.differences):
            difference = ReplayDifference(team_id, "activity", "", "rows", fold.rows[team_id], counts.get(team_id, 0))
            replayed.differs(difference)


async def _compare_snapshots(connection: Connection, fold: FoldedShard, scope: ReplayScope, replayed: Replayed) -> None:
    """Those that are there: any of them may be missing, which costs a read of the past some time."""
    columns: Sequence[str] = ()
    async for record in connection.cursor(in_order(SNAPSHOTS, 2), fold.shard, scope.team_id, prefetch=PAGE):
        columns, row = columns or tuple(record.keys()), tuple(record.values())
        expected = fold.snapshots.get(row[:2])
        if expected != row:
            name = str(Place(fold.shard, row[1]))
            _compare_row("balance_snapshots", row[0], name, columns, expected, row, replayed)


async def _compare(
    connection: Connection,
    table: str,
    sql: str,
    key_columns: int,
    shard: int,
    team_id: str | None,
    rows: Iterable[ProjectionRow],
    replayed: Replayed,
) -> None:
    """Compare a table whose rows begin with their key."""
    expected = {row[:key_columns]: row for row in rows}
    columns: Sequence[str] = ()
    async for record in connection.cursor(in_order(sql, key_columns), shard, team_id, prefetch=PAGE):
        columns = columns or tuple(record.keys())
        live_row = tuple(record.values())
        expected_row = expected.pop(live_row[:key_columns], None)
        if expected_row != live_row:
            _compare_row(
                table,
                str(live_row[0]),
                _name(columns, live_row, key_columns),
                columns,
                expected_row,
                live_row,
                replayed,
            )
    for key, row in sorted(expected.items(), key=str):  # a member or a value may be None
        _compare_row(table, str(key[0]), " ".join(map(str, key[1:])), columns, row, None, replayed)


def _name(columns: Sequence[str], row: ProjectionRow, key_columns: int) -> str:
    return " ".join(
        f"{column} {value}" for column, value in zip(columns[1:key_columns], row[1:key_columns], strict=True)
    )


def _compare_row(
    table: str,
    team_id: str,
    name: str,
    columns: Sequence[str],
    expected: ProjectionRow | None,
    row: ProjectionRow | None,
    replayed: Replayed,
) -> None:
    if expected is None or row is None:
        fields = ("nothing", "a row") if expected is None else ("a row", "missing")
        replayed.differs(ReplayDifference(team_id, table, name, "the row", *fields))
        return
    for column, should, says in zip(columns, expected, row, strict=True):
        if _comparable(column, should) != _comparable(column, says):
            replayed.differs(ReplayDifference(team_id, table, name, column, should, says))


def _comparable(column: str, value: object) -> object:
    if column in {"holds", "debt_payers", "state"} and isinstance(value, str):
        return json.loads(value)  # jsonb writes it in a way of its own
    return value
