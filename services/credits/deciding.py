"""Deciding on what a team has: read first, then lock, then take in what came between.

While the head of a shard is locked everybody else who writes to it waits, the recorder with a whole batch. So what
takes long is done before: the balance is read and folded. Under the lock remains one question, which takes it and tells
what came since. The decision rests on all of it. Limits of members, which few teams have, are looked up under the lock.
"""

from collections.abc import Collection
from typing import NamedTuple

from projections.entitlement import Spending
from schemas.facts import UsageVoided
from services.credits.limits import read_spending
from services.read_models.balances import (
    TAIL_MAX,
    Exact,
    ExactBalance,
    advance,
    as_of_now,
    newer_facts,
    open_cycle,
    read_exact,
)
from services.store.append import LockedHead
from services.store.connect import Connection
from services.store.shards import shard_of

LOCK = "SELECT * FROM lock_team($1, $2, $3, $4)"


class DecisionState(NamedTuple):
    """What a decision rests on: nothing about the team changes until COMMIT.

    `spending` has the members with a limit.
    """

    head: LockedHead
    balance: ExactBalance
    spending: dict[str, Spending]


async def lock_to_decide(connection: Connection, team_id: str, members: Collection[str]) -> DecisionState | None:
    """The state for a decision that concerns these members, under the lock of the shard.

    None if there is no such team.

    Raises:
        Unavailable: more facts wait to be folded than a read may fold (`catching_up`).
    """
    exact = await read_exact(connection, team_id)
    await advance(connection, exact.team, exact.newer)
    head, exact = await _lock_and_catch_up(connection, exact)
    balance = as_of_now(exact, head.recorded_at)
    if balance is None:
        return None
    spending = (
        await read_spending(connection, team_id, members, balance.team.zone, head.recorded_at) if exact.limited else {}
    )
    return DecisionState(head, balance, spending)


async def _lock_and_catch_up(connection: Connection, exact: Exact) -> tuple[LockedHead, Exact]:
    team_id = exact.team.team_id
    row = await connection.fetchrow(LOCK, shard_of(team_id), team_id, exact.position, TAIL_MAX + 1)
    assert row is not None, "a function that answers with one row"
    newer = newer_facts(row, row["shard"], team_id)
    if any(stored.type == UsageVoided.type for stored in newer):
        # It may take back a usage that no projection has yet, and who paid that was known to the first fold alone.
        exact = await read_exact(connection, team_id)
        newer = exact.newer
    await advance(connection, exact.team, newer)
    return LockedHead(*row[:6]), exact._replace(newer=newer, cycle=open_cycle(row), limited=row["limited"])
