"""Refills before decisions: whoever decides about a team must not overlook the cycle that began a moment ago.

An append brings the refills that are due along and puts them first. A decision that is read from the balance comes before
its append, so it needs them a step earlier: otherwise a team whose included credits ended at midnight would be charged for being
low, in the same moment in which its new credits came.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from schemas.facts import NewFact
from services.store.append import COPY_FROM, append
from services.store.connect import Connection
from services.store.cycles import move_cycles, refills_due


async def append_refills_due(connection: Connection, team_ids: Collection[str], now: datetime) -> int:
    """Append the refills that are due for these teams; how many. The caller holds the heads of their shards."""
    due = await refills_due(connection, team_ids, now)
    if due:
        await move_cycles(connection, due)  # first, or `append` would find them due as well
        await append_some_at_a_time(connection, due)
    return len(due)


async def append_some_at_a_time(connection: Connection, facts: Sequence[NewFact]) -> None:
    """Append many facts in the caller's transaction, so few at once that it needs no COPY, which workers may not use."""
    most = COPY_FROM - 1
    for start in range(0, len(facts), most):
        await append(connection, facts[start : start + most])
