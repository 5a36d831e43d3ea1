"""The books of a month: the log from its beginning up to the month's end, folded shard by shard.

It asks nobody but the log. A month is that of `recorded_at`, which nothing moves later, so a past month is the same for
ever.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime

from projections.balance.amending import earlier_usage
from projections.balance.state import ActivityKind, LotPayment, TeamBalance
from projections.books.accounts import Booking
from projections.books.fold import TeamBooks, book
from projections.books.month import Month, MonthBooks
from schemas.facts import RATE_CARD_TEAM, Stored, UnknownFact
from services.runtime.errors import LogChanged
from services.store.connect import Connection
from services.store.read import follow
from services.store.shards import SHARDS

VOIDED = "SELECT team_id, usage_position FROM voided_usages WHERE shard = $1"
SIZE = "SELECT coalesce(sum(next - 1), 0)::bigint FROM shard_heads"


@dataclass(slots=True)
class ShardBooks:
    """The teams of a shard, and who paid the usages that are taken back at some time."""

    voided: frozenset[tuple[str, int]]
    teams: dict[str, TeamBooks] = field(default_factory=dict)
    paid: dict[tuple[str, int], tuple[LotPayment, ...]] = field(default_factory=dict)


async def size_of_log(connection: Connection) -> int:
    """How many facts there are."""
    size: int = await connection.fetchval(SIZE)
    return size


async def fold_month(
    connection: Connection, month: Month, on_facts: Callable[[int], None] = lambda _: None
) -> MonthBooks:
    """The books of a month; `on_facts` is told how many more facts were folded.

    Raises:
        LogChanged: a fact is missing, can't be read, or speaks of one that is not there.
    """
    books = MonthBooks(month)
    for shard in range(SHARDS):
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await connection.fetch(VOIDED, shard)
            folded = ShardBooks(frozenset((row["team_id"], row["usage_position"]) for row in rows))
            async for facts in facts_before(connection, shard, month.ends_at):
                for stored in facts:
                    books.add(take(folded, stored))
                on_facts(len(facts))
        for _, team in sorted(folded.teams.items()):
            books.close(team)
    return books


async def facts_before(connection: Connection, shard: int, ends_at: datetime) -> AsyncIterator[list[Stored]]:
    """A shard's facts that were recorded before an instant; their order is that of `recorded_at`."""
    async for page in follow(connection, shard):
        facts = [stored for stored in page if stored.recorded_at < ends_at]
        if facts:
            yield facts
        if len(facts) < len(page):
            return


def take(shard: ShardBooks, stored: Stored) -> list[Booking]:
    """Fold one fact. Raises LogChanged."""
    if stored.team_id == RATE_CARD_TEAM:
        return []
    team = shard.teams.get(stored.team_id)
    if team is None:
        team = shard.teams[stored.team_id] = TeamBooks(TeamBalance(stored.team_id))
    try:
        fact = stored.fact()
        earlier = earlier_usage(fact)
        paid = () if earlier is None else shard.paid[stored.team_id, earlier]
        entries, bookings = book(team, stored, fact, paid)
    except (UnknownFact, ValueError, KeyError) as error:
        message = f"the fact at {stored.place} can't be booked ({error!r}); run `creditwell replay --audit`"
        raise LogChanged(message) from error
    for entry in entries:
        if entry.kind is ActivityKind.USAGE and (stored.team_id, entry.position) in shard.voided:
            shard.paid[stored.team_id, entry.position] = entry.paid
    return bookings
