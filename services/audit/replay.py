"""Replay: the log folded anew, in memory, and compared with what the live projections say.

Shard by shard, in one snapshot each, up to the position where the live projections stand: a difference is a difference,
however busy the system is. It runs the one fold that everything else runs, from nothing, and trusts no saved state.
Activity is compared page by page; balances, lots and usage when a shard's log has been read. What is counted is what
was there at one moment, when the replay began: newer facts are compared, too. `replays` does it on all cores.
"""

from collections.abc import AsyncIterator, Callable

import asyncpg

from projections import usage_by_attribute
from projections.versions import live
from schemas.facts import RATE_CARD_TEAM, Stored
from schemas.pricing import RateCards
from services.audit.days import compare_days
from services.audit.derived import UNFOLDABLE, AuditFinding, examine_shard
from services.audit.fence import PIN
from services.audit.replays.comparing import compare_activity, compare_rows_of_teams, compare_sums
from services.audit.replays.fold import FoldedShard, entries_in_window, take
from services.audit.replays.outcome import ReplayDifference, Replayed
from services.audit.replays.scope import EVERYTHING, LATEST
from services.audit.replays.scope import ReplayScope as ReplayScope  # noqa: PLC0414 - what `replay` is given
from services.audit.verify import DAMAGED, UNREADABLE
from services.credits.rate_cards import load_rate_cards
from services.read_models.balances import PROJECTOR
from services.read_models.rebuild import live_positions
from services.runtime.errors import LogChanged, Unavailable
from services.store.connect import AWAY, Connection
from services.store.read import follow, read_team
from services.store.shards import shard_of

PAGE = 5_000

FOLDED = "SELECT coalesce(max(position), 0) FROM checkpoints WHERE reader = $1 AND shard = $2"
VOIDED = "SELECT team_id, usage_position FROM voided_usages WHERE shard = $1 AND ($2::text IS NULL OR team_id = $2)"

# Of all shards alike: the database is away, another one, or not ours to read.
NOT_THE_SHARDS = (*AWAY, asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError)

OnFacts = Callable[[int], None]


async def replay(
    connection: Connection,
    scope: ReplayScope = EVERYTHING,
    on_facts: OnFacts = lambda _: None,
) -> Replayed:
    """Fold the log anew and compare, on one connection; `on_facts` is told how many more facts were folded.

    Balances, lots and usage are compared where the whole log is folded: not with `until`, which stops before.
    """
    await connection.execute(PIN)  # before anything is read
    replayed, stops = Replayed(), await live_positions(connection)
    for shard in scope.shards:
        of_shard = await replay_shard(connection, shard, stops[shard], scope)
        replayed.add(of_shard)
        on_facts(of_shard.facts)
    return replayed


async def replay_shard(connection: Connection, shard: int, stop: int, scope: ReplayScope) -> Replayed:
    """One shard, in a snapshot of its own; what is recorded after `stop` is compared and not counted.

    What keeps it from being read to its end is a finding, too. Raises what is no shard's: `NOT_THE_SHARDS`.
    """
    replayed = Replayed()
    await connection.execute(PIN)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await _replay_shard(connection, shard, stop, scope, replayed)
            if scope.until == LATEST:
                await examine_shard(
                    connection, shard, scope.team_id,
                    cards=await _rate_cards(connection, replayed) if scope.audit else None, audit=scope.audit,
                    differs=lambda *difference: replayed.differs(ReplayDifference(*difference)), finds=replayed.finds,
                )  # fmt: skip
                await compare_days(
                    connection, shard, scope.team_id,
                    lambda *difference: replayed.differs(ReplayDifference(*difference)),
                )  # fmt: skip
    except DAMAGED as damaged:
        replayed.finds(AuditFinding("", f"shard {shard}", f"{UNREADABLE} PostgreSQL says: {damaged}"))
    except NOT_THE_SHARDS:
        raise
    except (LogChanged, asyncpg.PostgresError, *UNFOLDABLE) as wrong:
        replayed.finds(AuditFinding("", f"shard {shard}", f"it can't be compared to its end: {wrong}"[:500]))
    return replayed


async def _rate_cards(connection: Connection, replayed: Replayed) -> RateCards | None:
    """Of the shard's own snapshot: a card is there before the first fact that names it."""
    try:
        return await load_rate_cards(connection)
    except (Unavailable, *UNFOLDABLE) as wrong:
        replayed.finds(
            AuditFinding(RATE_CARD_TEAM, f"shard {shard_of(RATE_CARD_TEAM)}", f"no rate cards: {wrong}"[:500])
        )
        return None


async def _replay_shard(connection: Connection, shard: int, stop: int, scope: ReplayScope, replayed: Replayed) -> None:
    voided = frozenset(
        (row["team_id"], row["usage_position"]) for row in await connection.fetch(VOIDED, shard, scope.team_id)
    )
    fold = FoldedShard(shard, stop, voided, await connection.fetchval(live(usage_by_attribute.COUNTED)))
    async for facts in _facts(connection, fold, scope):
        entries = [entry for stored in facts for entry in await take(connection, fold, stored, replayed)]
        expected = entries_in_window(fold, entries, scope, replayed)
        await compare_activity(connection, fold, facts, expected, scope, replayed)
        replayed.facts += sum(stored.position <= stop for stored in facts)
    replayed.teams = fold.teams_counted
    await compare_rows_of_teams(connection, fold, scope, replayed)
    if scope.until == LATEST:
        await compare_sums(connection, fold, scope, replayed)


async def _facts(connection: Connection, fold: FoldedShard, scope: ReplayScope) -> AsyncIterator[list[Stored]]:
    """The facts that the live projections have folded, and that were recorded before `until`.

    Raises:
        LogChanged: they have folded fewer than when the replay began; or as `read_after`.
    """
    folded = await connection.fetchval(FOLDED, PROJECTOR, fold.shard)
    if folded < fold.stop:
        message = f"its projections went back from position {fold.stop} to {folded} while this ran"
        raise LogChanged(message)
    async for page in _pages(connection, fold.shard, scope):
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
