"""Snapshots in PostgreSQL: saved by the projector, read by reads of the past.

`projections/balance/snapshots.py` says what they are.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from projections.balance.fold import FOLD
from projections.balance.snapshots import Snapshot, decode
from projections.balance.state import TeamBalance
from projections.versions import at_version, live
from schemas.facts import Stored
from services.store.claims import IS_OURS, Part, columns, in_braces
from services.store.protocols import Reads
from services.store.read import FACT_COLUMNS, stored_of

END = 2**63 - 1

SAVE = f"""
    INSERT INTO balance_snapshots_v0
        (shard, team_id, position, recorded_at, true_from, after, late_before, late_positions, late_times, state, fold)
    SELECT shard, team_id, position, recorded_at, true_from, after, late_before, late_positions::bigint[],
           late_times::timestamptz[], state, fold
    FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::bigint[],
                $7::timestamptz[], $8::text[], $9::text[], $10::jsonb[], $11::smallint[])
        AS s (shard, team_id, position, recorded_at, true_from, after, late_before, late_positions, late_times, state, fold)
    WHERE {IS_OURS}
"""

NEWEST = live("""
    SELECT state FROM balance_snapshots_v0
    WHERE shard = $1 AND team_id = $2 AND recorded_at <= $3 AND true_from <= $4 AND fold = $5
    ORDER BY position DESC LIMIT 1
""")

STRETCHES = live("""
    SELECT after, position, late_before > $4 AS listed, recorded_at > $5 AS ends, ARRAY(
        SELECT late.position FROM unnest(late_positions, late_times) AS late (position, occurred_at)
        WHERE late.occurred_at <= $4 ORDER BY late.position
    ) AS late
    FROM balance_snapshots_v0 WHERE shard = $1 AND team_id = $2 AND position > $3 ORDER BY position
""")

FACTS = f"""
    SELECT f.* FROM unnest($3::bigint[], $4::bigint[]) AS among (after, until)
    CROSS JOIN LATERAL (
        SELECT {FACT_COLUMNS} FROM facts
        WHERE shard = $1 AND team_id = $2 AND position > among.after AND position <= among.until AND occurred_at <= $5
        ORDER BY position LIMIT $6
    ) AS f
    LIMIT $6
"""


class Span(NamedTuple):
    """Positions of the log: those after `after`, up to `until`."""

    after: int
    until: int


def saved_snapshots(snapshots: Sequence[Snapshot], version: int) -> Part:
    """What writes them, in the statement that moves the checkpoint."""
    rows = [
        one._replace(late_positions=in_braces(one.late_positions), late_times=in_braces(map(str, one.late_times)))  # type: ignore[arg-type]
        for one in snapshots
    ]
    return Part(at_version(SAVE, version), columns(rows, len(Snapshot._fields)))


async def newest_snapshot(
    connection: Reads, shard: int, team_id: str, *, at: datetime, known_at: datetime
) -> TeamBalance:
    """The state that a fold as of an instant comes to after the longest run of facts for which it was saved.

    A fresh one where nothing was saved.
    """
    row = await connection.fetchrow(NEWEST, shard, team_id, known_at, at, FOLD)
    return TeamBalance(team_id) if row is None else decode(row["state"])


async def spans_to_read(
    connection: Reads, shard: int, team_id: str, after: int, *, at: datetime, known_at: datetime
) -> list[Span]:
    """Where in the log facts may be that had occurred by `at` and were known at `known_at`, in order."""
    spans, reached = [], after
    for stretch in await connection.fetch(STRETCHES, shard, team_id, after, at, known_at):
        if stretch["listed"]:
            spans.append(Span(reached, stretch["after"]))
            spans += [Span(position - 1, position) for position in stretch["late"]]
            reached = stretch["position"]
        if stretch["ends"]:
            spans.append(Span(reached, stretch["position"]))
            break
    else:
        spans.append(Span(reached, END))
    return [span for span in spans if span.after < span.until]


async def facts_within(
    connection: Reads, shard: int, team_id: str, spans: Sequence[Span], *, at: datetime, limit: int
) -> list[Stored]:
    """The first facts within these spans that had occurred by `at`."""
    rows = await connection.fetch(FACTS, shard, team_id, *map(list, zip(*spans, strict=True)), at, limit)
    return [stored_of(row) for row in rows]


def rest_of(spans: Sequence[Span], reached: int) -> list[Span]:
    """What is left of the spans after a position."""
    return [Span(max(after, reached), until) for after, until in spans if until > reached]
