"""Replay: the log folded anew, in memory, and compared with what the live projections say.

Shard by shard, in one snapshot each, up to the position where the live projections stand: a difference is a difference,
however busy the system is. It runs the one fold that everything else runs, from nothing, and trusts no saved state.
Activity is compared page by page; balances, lots and usage when a shard's log has been read.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from projections import usage, usage_by_attribute
from projections.activity import RUN_COLUMNS, RUN_ENTRIES, RUN_SPAN_MAX
from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.snapshots import note
from projections.balance.state import ActivityKind, BalanceEntry, LotPayment, TeamBalance
from projections.versions import live
from schemas.credits import MicroCredits
from schemas.facts import RATE_CARD_TEAM, Stored, UnknownFact, UsageVoided
from schemas.places import Place
from schemas.pricing import RateCards
from services.audit.days import compare_days
from services.audit.derived import AuditFinding, examine_shard, readable
from services.audit.fence import PIN
from services.credits.rate_cards import load_rate_cards
from services.read_models.activity_rows import row_of
from services.read_models.attributes import attributes_of
from services.read_models.balances import PROJECTOR
from services.read_models.states import balance_row, lot_row, paid_for
from services.runtime.errors import Unavailable
from services.store.connect import Connection
from services.store.read import follow, read_team
from services.store.shards import SHARDS, shard_of

PAGE = 5_000
DIFFERENCES_MAX = 100  # the rest is counted
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

FOLDED = "SELECT coalesce(max(position), 0) FROM checkpoints WHERE reader = $1 AND shard = $2"
SIZE = "SELECT coalesce(sum(position), 0)::bigint FROM checkpoints WHERE reader = $1"
VOIDED = "SELECT team_id, usage_position FROM voided_usages WHERE shard = $1 AND ($2::text IS NULL OR team_id = $2)"
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

ProjectionRow = tuple[object, ...]
EntryKey = tuple[str, int, int]  # team, position, part
OnFacts = Callable[[int], None]


class ReplayDifference(NamedTuple):
    """Where a live projection says something else than the log."""

    team_id: str
    table: str
    row: str
    column: str
    expected: object
    live: object

    def __str__(self) -> str:
        """A sentence that names the place."""
        where = f"{self.table} of {self.team_id}{f', {self.row}' if self.row else ''}"
        return f"{where}: {self.column} should be {self.expected} and is {self.live}"


@dataclass(slots=True)
class Totals:
    """The entries of one kind, in micro-credits."""

    entries: int = 0
    included: MicroCredits = 0
    additional: MicroCredits = 0


@dataclass(slots=True)
class Replayed:
    """What was folded, and where the live projections differ. `more` counts differences that are not listed."""

    facts: int = 0
    teams: int = 0
    totals: dict[ActivityKind, Totals] = field(default_factory=dict)
    differences: list[ReplayDifference] = field(default_factory=list)
    more: int = 0
    findings: list[AuditFinding] = field(default_factory=list)
    more_findings: int = 0

    def differs(self, difference: ReplayDifference) -> None:
        """Keep the first ones."""
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(difference)
        else:
            self.more += 1

    def finds(self, finding: AuditFinding) -> None:
        """Keep the first ones; what can't be read is met by more than one fold, and told once."""
        if finding in self.findings:
            return
        if len(self.findings) < DIFFERENCES_MAX:
            self.findings.append(finding)
        else:
            self.more_findings += 1


@dataclass(frozen=True, slots=True)
class ReplayScope:
    """What is compared: one team or all, and the activity recorded from `since` on and before `until`.

    `audit`: do facts follow from facts, too? `shard`: only this one. `archived`: the facts of a shard that archives
    hold, page by page, from the first one on; the database's follow.
    """

    team_id: str | None = None
    since: datetime = EARLIEST
    until: datetime = LATEST
    audit: bool = False
    shard: int | None = None
    archived: Callable[[int], Iterable[list[Stored]]] = lambda _: ()

    @property
    def shards(self) -> Sequence[int]:
        """Those in question."""
        one = self.shard if self.team_id is None else shard_of(self.team_id)
        return range(SHARDS) if one is None else [one]


@dataclass(slots=True)
class _Shard:
    """The fold over one shard."""

    shard: int
    voided: frozenset[tuple[str, int]]
    names: Sequence[str]  # of attributes that the live projections count usage by
    teams: dict[str, TeamBalance] = field(default_factory=dict)
    cells: usage.Cells = field(default_factory=dict)
    attributed: usage_by_attribute.AttributeCells = field(default_factory=dict)
    paid: dict[tuple[str, int], tuple[LotPayment, ...]] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)
    snapshots: dict[tuple[str, int], ProjectionRow] = field(default_factory=dict)


async def size_of_replay(connection: Connection) -> int:
    """How many facts the live projections have in them."""
    size: int = await connection.fetchval(SIZE, PROJECTOR)
    return size


async def replay(
    connection: Connection,
    scope: ReplayScope = ReplayScope(),
    on_facts: OnFacts = lambda _: None,
) -> Replayed:
    """Fold the log anew and compare; `on_facts` is told how many more facts were folded.

    Balances, lots and usage are compared where the whole log is folded: not with `until`, which stops before.
    """
    replayed = Replayed()
    await connection.execute(PIN)
    cards = await _rate_cards(connection, replayed) if scope.audit else None
    for shard in scope.shards:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await _replay_shard(connection, shard, scope, replayed, on_facts)
            if scope.until == LATEST:
                await examine_shard(
                    connection, shard, scope.team_id, cards=cards, audit=scope.audit,
                    differs=lambda *difference: replayed.differs(ReplayDifference(*difference)), finds=replayed.finds,
                )  # fmt: skip
                await compare_days(
                    connection, shard, scope.team_id,
                    lambda *difference: replayed.differs(ReplayDifference(*difference)),
                )  # fmt: skip
    return replayed


async def _rate_cards(connection: Connection, replayed: Replayed) -> RateCards | None:
    try:
        return await load_rate_cards(connection)
    except (Unavailable, UnknownFact, ValueError, TypeError, AssertionError) as wrong:
        replayed.finds(
            AuditFinding(RATE_CARD_TEAM, f"shard {shard_of(RATE_CARD_TEAM)}", f"no rate cards: {wrong}"[:500])
        )
        return None


async def _replay_shard(
    connection: Connection, shard: int, scope: ReplayScope, replayed: Replayed, on_facts: OnFacts
) -> None:
    voided = frozenset(
        (row["team_id"], row["usage_position"]) for row in await connection.fetch(VOIDED, shard, scope.team_id)
    )
    fold = _Shard(shard, voided, await connection.fetchval(live(usage_by_attribute.COUNTED)))
    async for facts in _facts(connection, shard, scope):
        entries = [entry for stored in facts for entry in await _take(connection, fold, stored, replayed)]
        expected = _in_window(fold, entries, scope, replayed)
        await _compare_activity(connection, fold, facts, expected, scope, replayed)
        replayed.facts += len(facts)
        on_facts(len(facts))
    replayed.teams += len(fold.teams)
    await _compare_rows_of_teams(connection, fold, scope, replayed)
    if scope.until == LATEST:
        balances = map(balance_row, fold.teams.values())
        await _compare(connection, "balance", BALANCE, 1, shard, scope.team_id, balances, replayed)
        lots = (lot_row(team, lot) for team in fold.teams.values() for lot in team.changed.values())
        await _compare(connection, "lots", LOTS, 2, shard, scope.team_id, lots, replayed)
        used = (row[1:] for row in usage.rows(fold.cells))
        await _compare(connection, "usage", USAGE, 4, shard, scope.team_id, used, replayed)
        attributed = (row[1:] for row in usage_by_attribute.rows(fold.attributed))
        await _compare(
            connection, "usage_attributes", USAGE_BY_ATTRIBUTE, 6, shard, scope.team_id, attributed, replayed
        )
        await _compare_snapshots(connection, fold, scope, replayed)


async def _facts(connection: Connection, shard: int, scope: ReplayScope) -> AsyncIterator[list[Stored]]:
    """The facts that the live projections have folded, and that were recorded before `until`."""
    folded = await connection.fetchval(FOLDED, PROJECTOR, shard)
    async for page in _pages(connection, shard, scope):
        facts = [stored for stored in page if stored.position <= folded and stored.recorded_at < scope.until]
        if facts:
            yield facts
        if len(facts) < len(page):
            return


async def _pages(connection: Connection, shard: int, scope: ReplayScope) -> AsyncIterator[list[Stored]]:
    """Those of the archives, and then those of the database."""
    after = 0
    for archived in scope.archived(shard):
        after = archived[-1].position if archived else after
        page = [stored for stored in archived if scope.team_id in {None, stored.team_id}]
        if page:
            yield page
    newer = (
        follow(connection, shard, after=after, page=PAGE)
        if scope.team_id is None
        else _team(connection, shard, scope.team_id, after)
    )
    async for page in newer:
        yield page


async def _team(connection: Connection, shard: int, team_id: str, after: int) -> AsyncIterator[list[Stored]]:
    while facts := await read_team(connection, shard, team_id, after, PAGE):
        yield facts
        after = facts[-1].position


async def _take(
    connection: Connection, fold: _Shard, stored: Stored, replayed: Replayed
) -> Sequence[tuple[str, BalanceEntry]]:
    """Fold one fact; its entries, with the team."""
    fact = readable(stored, replayed.finds)
    if fact is None or stored.team_id == RATE_CARD_TEAM:
        return ()
    team = fold.teams.get(stored.team_id)
    if team is None:
        team = fold.teams[stored.team_id] = TeamBalance(stored.team_id)
    happened_at = stored.occurred_at
    paid: tuple[LotPayment, ...] = ()
    if isinstance(fact, UsageVoided):
        happened_at = fact.usage_occurred_at
    if (earlier := earlier_usage(fact)) is not None:
        try:
            paid = await _paid(connection, fold, stored, earlier)
        except AssertionError:  # no row of the activity has it
            unknown = f"there is no usage at {earlier} before this"
            replayed.finds(AuditFinding(stored.team_id, stored.place, unknown))
            return ()
    entries = evolve(team, stored, fact, paid, team.changed)  # every lot there ever was: nothing is saved in between
    if (snapshot := note(team, stored)) is not None:
        fold.snapshots[stored.team_id, stored.position] = snapshot[1:]
    attributes = await attributes_of(connection, stored.shard, fact) if fold.names else None
    for entry in entries:
        if entry.kind in (ActivityKind.USAGE, ActivityKind.USAGE_VOIDED):
            _count(fold, team, entry, happened_at, attributes)
    return [(stored.team_id, entry) for entry in entries]


def _count(
    fold: _Shard, team: TeamBalance, entry: BalanceEntry, happened_at: datetime, attributes: Mapping[str, str] | None
) -> None:
    """Add a usage, or what takes one back, to its day; what will be taken back is remembered with its payers."""
    team_key = fold.shard, team.team_id
    usage.add(fold.cells, *team_key, team.zone, entry, happened_at)
    if fold.names:
        usage_by_attribute.add(fold.attributed, fold.names, team_key, team.zone, entry, happened_at, attributes)
    if (team.team_id, entry.position) in fold.voided:
        fold.paid[team.team_id, entry.position] = entry.paid


async def _paid(connection: Connection, fold: _Shard, stored: Stored, earlier: int) -> tuple[LotPayment, ...]:
    """Who paid the usage that is taken back or replaced.

    As this fold saw it, or as the activity says, which was compared by then.
    """
    payments = fold.paid.get((stored.team_id, earlier))
    if payments is not None:
        return payments
    return await paid_for(connection, stored.shard, stored.team_id, earlier)


def _in_window(
    fold: _Shard, entries: Iterable[tuple[str, BalanceEntry]], scope: ReplayScope, replayed: Replayed
) -> dict[EntryKey, ProjectionRow]:
    """The rows that the activity must have, by team, position and part; counted."""
    expected: dict[EntryKey, ProjectionRow] = {}
    for team_id, entry in entries:
        if entry.recorded_at < scope.since:
            continue
        expected[team_id, entry.position, entry.part] = row_of(team_id, entry)
        fold.rows[team_id] += 1
        totals = replayed.totals.setdefault(entry.kind, Totals())
        totals.entries += 1
        totals.included += entry.included
        totals.additional += entry.additional
    return expected


async def _compare_activity(
    connection: Connection,
    fold: _Shard,
    facts: Sequence[Stored],
    expected: Mapping[EntryKey, ProjectionRow],
    scope: ReplayScope,
    replayed: Replayed,
) -> None:
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


async def _compare_rows_of_teams(connection: Connection, fold: _Shard, scope: ReplayScope, replayed: Replayed) -> None:
    """Rows that stand where no fact is: they have no page of their own."""
    rows = await connection.fetch(ROWS_OF_TEAMS, fold.shard, scope.team_id, scope.since, scope.until)
    counts = {row["team_id"]: row["count"] for row in rows}
    for team_id in sorted(counts.keys() | fold.rows.keys()):
        if counts.get(team_id, 0) != fold.rows[team_id] and not any(d.team_id == team_id for d in replayed.differences):
            difference = ReplayDifference(team_id, "activity", "", "rows", fold.rows[team_id], counts.get(team_id, 0))
            replayed.differs(difference)


async def _compare_snapshots(connection: Connection, fold: _Shard, scope: ReplayScope, replayed: Replayed) -> None:
    """Those that are there: any of them may be missing, which costs a read of the past some time."""
    columns: Sequence[str] = ()
    async for record in connection.cursor(SNAPSHOTS, fold.shard, scope.team_id, prefetch=PAGE):
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
    async for record in connection.cursor(sql, shard, team_id, prefetch=PAGE):
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
    for key, row in sorted(expected.items()):
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
