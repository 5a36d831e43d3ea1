"""Receipts: what became of a usage that a feature service reported, by its source and id."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import asyncpg

from projections.balance.state import ActivityKind
from schemas.credits import MicroCredits
from schemas.facts import Stored, UsageRecorded, UsageVoided
from schemas.places import Place
from services.read_models.activity import read_entries
from services.store.connect import Connection
from services.store.identities import Identity, find
from services.store.shards import shard_of

REPEATS = """
    SELECT duplicates, conflicts FROM repeats WHERE shard = $1 AND team_id = $2 AND source = $3 AND id = $4
"""

# Of several refusals the last says most: it may have been tried again. Its sentence goes with its bytes.
REFUSED = """
    SELECT r.reason, b.detail, r.refused_at FROM refused r LEFT JOIN refused_bytes b USING (topic, partition, "offset")
    WHERE r.team_id = $1 AND r.source = $2 AND r.event_id = $3 ORDER BY r.refused_at DESC LIMIT 1
"""


class Status(StrEnum):
    """What became of a usage; `late`: it counts in the open cycle because its own was sealed."""

    PENDING = "pending"
    APPLIED = "applied"
    LATE = "late"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class UsageReceipt:
    """What became of the first; `duplicates` and `conflicts` count those that came after it."""

    status: Status
    place: str | None = None
    recorded_at: datetime | None = None
    credits: MicroCredits | None = None
    reason: str | None = None
    detail: str | None = None
    duplicates: int = 0
    conflicts: int = 0
    corrects: str | None = None


async def read_receipt(connection: Connection, team_id: str, source: str, event_id: str) -> UsageReceipt:
    """What became of a usage; pending as long as it has not been seen."""
    identity = Identity(team_id, source, event_id)
    stored = (await find(connection, [identity])).get(identity)
    repeats = await connection.fetchrow(REPEATS, shard_of(team_id), team_id, source, event_id)
    duplicates, conflicts = (0, 0) if repeats is None else (repeats["duplicates"], repeats["conflicts"])
    if stored is None:
        refused = await connection.fetchrow(REFUSED, team_id, source, event_id)
        if refused is not None:
            return _refused(refused)
        # A void of what another void had taken back: it came to pass, and there is nothing of its own to show.
        return UsageReceipt(Status.APPLIED if duplicates else Status.PENDING, duplicates=duplicates)
    status = Status.LATE if await _is_late(connection, stored) else Status.APPLIED
    return UsageReceipt(
        status, stored.place, stored.recorded_at, _credits(stored), duplicates=duplicates, conflicts=conflicts,
        corrects=_corrects(stored),
    )  # fmt: skip


def _refused(row: asyncpg.Record) -> UsageReceipt:
    return UsageReceipt(Status.REFUSED, recorded_at=row["refused_at"], reason=row["reason"], detail=row["detail"])


async def _is_late(connection: Connection, stored: Stored) -> bool:
    rows, _ = await read_entries(connection, stored.team_id, stored.position)
    return any(row.entry.late for row in rows if row.entry.kind is ActivityKind.USAGE)


def _corrects(stored: Stored) -> str | None:
    fact = stored.fact()
    if not isinstance(fact, UsageRecorded) or fact.corrects is None:
        return None
    return str(Place(stored.shard, fact.corrects))


def _credits(stored: Stored) -> int | None:
    """What the balance changed by: a usage takes credits, its void returns them."""
    match stored.fact():
        case UsageRecorded(credits=used):
            return -used
        case UsageVoided(credits=returned):
            return returned
        case _:
            return None
