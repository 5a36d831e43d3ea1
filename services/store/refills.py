"""Refills before decisions: whoever decides about a team must not overlook the cycle that began a moment ago.

An append brings the refills that are due along and puts them first. A decision that is read from the balance comes
before its append, so it needs them a step earlier. Otherwise a team whose included credits ended at midnight would be
charged for being low, in the moment in which its new credits came.
"""

from collections.abc import Collection
from datetime import datetime

from services.store.append import append
from services.store.connect import Connection
from services.store.cycles import move_cycles, refills_due


async def append_refills_due(connection: Connection, team_ids: Collection[str], now: datetime) -> int:
    """Append the refills that are due for these teams; how many. The caller holds the heads of their shards."""
    due = await refills_due(connection, team_ids, now)
    if due:
        await move_cycles(connection, due)  # first, or `append` would find them due as well
        await append(connection, due)
    return len(due)
