"""Credit activity, read newest first, page by page, exact at the head of the log.

A page goes on before the entry where the last one ended, (position, part), never at a row number: whatever arrives
meanwhile, no entry is skipped and none comes twice.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import asyncpg

from projections.activity import RUN_COLUMNS, RUN_ENTRIES, RUN_SPAN_MAX, entries_between
from projections.balance.state import ActivityKind, BalanceEntry, LotKind, LotPayment
from projections.versions import live
from schemas.credits import MicroCredits
from schemas.facts import AnyFact, decode
from schemas.places import Place
from services.read_models.activity_rows import paid_of
from services.read_models.unfolded import Unfolded, read_unfolded
from services.runtime.errors import Unavailable
from services.store.protocols import Reads
from services.store.shards import shard_of

Before = tuple[int, int]  # position and part
NEWEST: Before = (2**63 - 1, 2**15 - 1)
CSV_PAGE = 100  # of a download; others wait for the API's core meanwhile, 2 or 3 ms


def _last_before(name: str, instant: str) -> str:
    """The position recorded last before an instant, found by halving the team's facts.

    It is `low` of the row of `name` with the narrowest span. Times never run backwards within a shard, so no index on
    time is needed.
    """
    return f"""{name} (low, high) AS (
        SELECT 0::bigint, max(position) + 1 FROM facts
        WHERE shard = $1 AND team_id = $2 AND {instant}::timestamptz IS NOT NULL
        UNION ALL
        SELECT CASE WHEN probe.recorded_at < {instant} THEN probe.position ELSE low END,
               CASE WHEN probe.recorded_at < {instant} THEN high ELSE (low + high) / 2 END
        FROM {name} LEFT JOIN LATERAL (
            SELECT position, recorded_at FROM facts
            WHERE shard = $1 AND team_id = $2 AND position >= (low + high) / 2 AND position < high
            ORDER BY position LIMIT 1
        ) AS probe ON true
        WHERE high - low > 1
    )"""


# Runs do not overlap: newest first by their first positions, and within each, is newest first.
PAGE = live(f"""
    WITH RECURSIVE {_last_before("halves", "$9")}, {_last_before("ends", "$10")}, bounds AS (
        SELECT greatest($3, (SELECT low FROM halves ORDER BY high - low LIMIT 1)) AS beyond,
               CASE WHEN $10::timestamptz IS NULL THEN {2**63 - 1}
                    ELSE (SELECT low FROM ends ORDER BY high - low LIMIT 1) END AS up_to
    )
    SELECT a.position, a.part, a.kind, a.recorded_at, a.occurred_at, a.member_id, a.feature, a.included, a.additional,
           a.balance_after, a.paid, a.late, f.type, f.body,
           (SELECT max(position) FROM checkpoints WHERE reader = 'projector_v0' AND shard = $1) AS folded
    FROM (
        SELECT * FROM (
            SELECT * FROM activity_rows_v0
            WHERE shard = $1 AND team_id = $2 AND (position, part) < ($4, $5)
              AND position > (SELECT beyond FROM bounds) AND position <= (SELECT up_to FROM bounds)
              AND ($6::text[] IS NULL OR kind = ANY ($6)) AND ($7::text IS NULL OR member_id = $7)
            ORDER BY position DESC, part DESC LIMIT $8
        ) AS alone
        UNION ALL
        SELECT * FROM (
            SELECT {RUN_COLUMNS} FROM activity_runs_v0 r CROSS JOIN LATERAL {RUN_ENTRIES}
            WHERE r.shard = $1 AND r.team_id = $2 AND r.first <= $4 AND r.first <= (SELECT up_to FROM bounds)
              AND r.first > (SELECT beyond - {RUN_SPAN_MAX} FROM bounds) AND r.last > (SELECT beyond FROM bounds)
              AND ($6::text[] IS NULL OR 'usage' = ANY ($6)) AND ($7::text IS NULL OR $7 = ANY (r.members))
              AND (e.position, 0) < ($4, $5)
              AND e.position > (SELECT beyond FROM bounds) AND e.position <= (SELECT up_to FROM bounds)
              AND ($7::text IS NULL OR r.members[e.member] = $7)
            ORDER BY r.first DESC, e.position DESC LIMIT $8
        ) AS in_runs
        ORDER BY position DESC, part DESC LIMIT $8
    ) AS a CROSS JOIN LATERAL (SELECT type, body FROM facts WHERE shard = $1 AND position = a.position OFFSET 0) AS f
    ORDER BY a.position DESC, a.part DESC
""")

ENTRIES_OF = live(f"""
    SELECT a.position, a.part, a.kind, a.recorded_at, a.occurred_at, a.member_id, a.feature, a.included, a.additional,
           a.balance_after, a.paid, a.late, f.type, f.body
    FROM ({entries_between("$1", "$2", "$3", "$3")}) AS a JOIN facts f ON f.shard = $1 AND f.position = a.position
    ORDER BY a.part
""")

# Lots that had ended by the time of a fact stand before it, among its entries: its own is the first after them.
OWN_ENTRIES = live("""
    SELECT position, min(part) AS part FROM activity_rows_v0
    WHERE shard = $1 AND team_id = $2 AND position = ANY ($3) AND kind <> 'expiry' GROUP BY position
""")

LOTS = live("""
    SELECT lot, kind, gained, starts_at, ends_at FROM lots_v0 WHERE shard = $1 AND team_id = $2 AND lot = ANY($3) ORDER BY lot
""")


class ActivityRow(NamedTuple):
    """An entry of the activity, with the fact that it comes from."""

    shard: int
    entry: BalanceEntry
    fact: AnyFact

    @property
    def id(self) -> str:
        """What names the entry outside: `shard:position:part`."""
        return f"{Place(self.shard, self.entry.position)}:{self.entry.part}"


class PaidLot(NamedTuple):
    """A lot that paid: lot 0 is debt."""

    lot: int
    kind: LotKind | None
    starts_at: datetime | None
    ends_at: datetime | None
    credits: MicroCredits


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are wanted, recorded from `since` on and before `until`; None means all."""

    since: datetime | None = None
    kinds: frozenset[ActivityKind] | None = None
    member_id: str | None = None
    until: datetime | None = None

    def wants(self, entry: BalanceEntry) -> bool:
        """True if the entry is among them."""
        return (
            (self.since is None or entry.recorded_at >= self.since)
            and (self.until is None or entry.recorded_at < self.until)
            and (self.kinds is None or entry.kind in self.kinds)
            and (self.member_id is None or entry.member_id == self.member_id)
        )


async def read_activity(
    connection: Reads, team_id: str, selection: Filter, *, before: Before = NEWEST, limit: int
) -> list[ActivityRow]:
    """The next entries before a place, newest first, at most `limit` of them.

    Raises:
        Unavailable: the projections are too far behind (`catching_up`).
    """
    if before != NEWEST and (further_back := await _all_projected(connection, team_id, selection, before, limit)):
        return further_back
    unfolded = await read_unfolded(connection, team_id)
    rows = [row for row in reversed(_rows(unfolded)) if row.entry[:2] < before and selection.wants(row.entry)][:limit]
    if len(rows) < limit:
        rows += await _projected(
            connection, team_id, selection, min(before, (unfolded.reached + 1, 0)), limit - len(rows)
        )
    return rows


async def _all_projected(
    connection: Reads, team_id: str, selection: Filter, before: Before, limit: int
) -> list[ActivityRow]:
    """The page where the projections had everything before its place when it was read, as nearly always.

    Else nothing.
    """
    rows = await _fetch_page(connection, team_id, selection, before, limit)
    return [_row(shard_of(team_id), row) for row in rows] if rows and rows[0]["folded"] >= before[0] else []


def _rows(unfolded: Unfolded) -> list[ActivityRow]:
    return [ActivityRow(unfolded.shard, entry.entry, entry.fact) for entry in unfolded.entries]


async def _projected(
    connection: Reads, team_id: str, selection: Filter, before: Before, limit: int
) -> list[ActivityRow]:
    return [_row(shard_of(team_id), row) for row in await _fetch_page(connection, team_id, selection, before, limit)]


async def _fetch_page(
    connection: Reads, team_id: str, selection: Filter, before: Before, limit: int
) -> list[asyncpg.Record]:
    shard, page = shard_of(team_id), page_statement(selection)
    kinds = None if selection.kinds is None else sorted(selection.kinds)
    return await connection.fetch(
        page, shard, team_id, 0, *before, kinds, selection.member_id, limit, selection.since, selection.until
    )


def page_statement(selection: Filter) -> str:
    """`PAGE`; what is rare, among a team's million usages, is found by an index of its own."""
    if selection.kinds is None or ActivityKind.USAGE in selection.kinds:
        return PAGE
    return PAGE.replace("AND ($6::text[] IS NULL OR kind", "AND kind <> 'usage' AND ($6::text[] IS NULL OR kind")


def _row(shard: int, row: asyncpg.Record) -> ActivityRow:
    entry = BalanceEntry(
        row["position"], row["part"], ActivityKind(row["kind"]), row["recorded_at"], row["occurred_at"], row["member_id"],
        row["feature"], row["included"], row["additional"], row["balance_after"], paid_of(row["paid"]), row["late"],
    )  # fmt: skip
    return ActivityRow(shard, entry, decode(row["type"], row["body"]))


async def read_all(connection: Reads, team_id: str, selection: Filter) -> AsyncGenerator[list[ActivityRow]]:
    """Every entry, newest first, some hundreds at a time.

    Not within a transaction: a slow reader must hold nothing open.

    What the projections do not have yet is read once. Below it rows are only read, so it does not matter what comes
    meanwhile.
    """
    unfolded = await read_unfolded(connection, team_id)
    if rows := [row for row in reversed(_rows(unfolded)) if selection.wants(row.entry)]:
        yield rows
    before = (unfolded.reached + 1, 0)
    while rows := await _projected(connection, team_id, selection, before, CSV_PAGE):
        yield rows
        before = rows[-1].entry[:2]


async def read_entries(connection: Reads, team_id: str, position: int) -> tuple[list[ActivityRow], Unfolded]:
    """The entries of one fact, in their order; and the unfolded facts, which say of lots that no row shows yet."""
    unfolded = await read_unfolded(connection, team_id)
    rows = [row for row in _rows(unfolded) if row.entry.position == position]
    if not rows and position <= unfolded.reached:
        rows = [
            _row(unfolded.shard, row) for row in await connection.fetch(ENTRIES_OF, unfolded.shard, team_id, position)
        ]
    return rows, unfolded


async def own_entry_ids(connection: Reads, team_id: str, positions: Sequence[int]) -> dict[int, str]:
    """What names the entry in which each of these facts shows itself: what expired right before it is not it.

    Raises:
        Unavailable: the projections are too far behind (`catching_up`).
    """
    if not positions:
        return {}
    shard, _, unfolded, _ = await read_unfolded(connection, team_id)
    parts = {row["position"]: row["part"] for row in await connection.fetch(OWN_ENTRIES, shard, team_id, positions)}
    for one in reversed(unfolded):
        if one.entry.kind is not ActivityKind.EXPIRY:
            parts[one.entry.position] = one.entry.part
    # Plain usage goes into runs only where it is the one entry of its fact.
    return {position: f"{Place(shard, position)}:{parts.get(position, 0)}" for position in positions}


async def own_entry_id(connection: Reads, team_id: str, place: Place) -> str:
    """What names the entry of a fact that a command has appended just now, as `own_entry_ids`.

    The command does not fail because nobody projects: where too much waits to be folded, it is the fact's first entry.
    """
    try:
        return (await own_entry_ids(connection, team_id, [place.position]))[place.position]
    except Unavailable:
        return f"{place}:0"


async def read_after(connection: Reads, team_id: str, position: int, limit: int) -> list[ActivityRow]:
    """The entries after a position, newest first; `limit` of them mean that there may be more."""
    unfolded = await read_unfolded(connection, team_id)
    rows = [row for row in reversed(_rows(unfolded)) if row.entry.position > position][:limit]
    if position < unfolded.reached and len(rows) < limit:
        shard, before = unfolded.shard, (unfolded.reached + 1, 0)
        rows_before = await connection.fetch(
            PAGE, shard, team_id, position, *before, None, None, limit - len(rows), None, None
        )
        rows += [_row(shard, row) for row in rows_before]
    return rows


async def who_paid(connection: Reads, team_id: str, paid: Sequence[LotPayment], unfolded: Unfolded) -> list[PaidLot]:
    """The lots behind what an entry says it was paid by."""
    lots_by_number = {
        row["lot"]: row for row in await connection.fetch(LOTS, unfolded.shard, team_id, [part.lot for part in paid])
    }
    fresh = unfolded.team.changed
    lots = []
    for part in paid:
        row, lot = lots_by_number.get(part.lot), fresh.get(part.lot)
        if row is not None:
            lots.append(PaidLot(part.lot, LotKind(row["kind"]), row["starts_at"], row["ends_at"], part.credits))
        elif lot is not None:
            lots.append(PaidLot(part.lot, lot.kind, lot.starts_at, lot.ends_at, part.credits))
        else:
            lots.append(PaidLot(part.lot, None, None, None, part.credits))
    return lots
