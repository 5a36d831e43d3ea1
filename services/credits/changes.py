"""What people changed, of every team: who decided what, and when. For those who see every team."""

from datetime import datetime
from typing import NamedTuple

from schemas.facts import (
    AdjustmentRejected,
    AdjustmentRequested,
    AnyFact,
    CreditsAdjusted,
    CreditsGranted,
    MemberErased,
    MemberLimited,
    PlanAssigned,
    RateCardPublished,
    StoreResumed,
    TopUpConfigured,
    UsageVoided,
    decode,
)
from schemas.places import Place
from services.store.protocols import Reads

CHANGES: tuple[type[AnyFact], ...] = (
    PlanAssigned, RateCardPublished, MemberLimited, MemberErased, TopUpConfigured, CreditsGranted, CreditsAdjusted,
    AdjustmentRequested, AdjustmentRejected, StoreResumed,
)  # fmt: skip
# So many facts are looked at for a page: most of those that are no work are somebody's decision, or follow from one.
LOOKED_AT_MAX = 2_000

AFTER = """
    SELECT shard, team_id, position, recorded_at, type, body, taken_back FROM changes_after($1::smallint, $2, $3, $4, $5)
"""


class ChangePlace(NamedTuple):
    """Where a page of changes ended: they stand by shard, team and position."""

    shard: int
    team_id: str
    position: int


BEGINNING = ChangePlace(-1, "", 0)


class Change(NamedTuple):
    """What somebody decided, and where it stands.

    `taken_back` is what stands before a usage that replaces another one, and says who corrected it.
    """

    team_id: str
    place: Place
    recorded_at: datetime
    fact: AnyFact
    taken_back: UsageVoided | None = None


async def read_changes(
    connection: Reads, after: ChangePlace, since: datetime, until: datetime, limit: int
) -> tuple[list[Change], ChangePlace | None]:
    """Changes after a place that were recorded between two instants, and where to go on, if there may be more.

    None for a session that does not speak for every team. A page may be empty and yet not be the last one.

    Raises:
        UnknownFact, ValueError: a fact can't be read by this build.
    """
    types = [fact.type for fact in CHANGES]
    rows = await connection.fetch(AFTER, *after, types, LOOKED_AT_MAX)
    changes: list[Change] = []
    for row in rows:
        if row["body"] is None or not since <= row["recorded_at"] < until:
            continue
        if len(changes) == limit:
            last = changes[-1]
            return changes, ChangePlace(last.place.shard, last.team_id, last.place.position)
        place = Place(row["shard"], row["position"])
        before = None if row["taken_back"] is None else decode(UsageVoided.type, row["taken_back"])
        fact, taken_back = decode(row["type"], row["body"]), before if isinstance(before, UsageVoided) else None
        changes.append(Change(row["team_id"], place, row["recorded_at"], fact, taken_back))
    if len(rows) < LOOKED_AT_MAX:
        return changes, None
    return changes, ChangePlace(rows[-1]["shard"], rows[-1]["team_id"], rows[-1]["position"])
