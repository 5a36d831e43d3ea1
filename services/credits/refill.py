"""The refill worker: what the calendar brings.

Included credits for a new cycle, the end of lots and holds, sealed cycles.

It is a convenience, not a condition: whoever appends a fact of a team brings the team's due refills along, and balances
are read as of an instant. The worker does the same for teams that nobody touches, so that they too see their credits
and that low balances are noticed. Everything it appends has one possible identity and is decided under the shard's
lock, so it may run twice, late, after a week down, or beside others of its kind.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from time import monotonic

from projections.balance.state import ALWAYS
from schemas.cycles import UnknownZone
from schemas.facts import CreditsExpired, NewFact
from services.credits.holds import EXPIRY, expire_holds
from services.credits.sealing import passed_at, seal, teams_to_seal
from services.read_models.balances import read_balance
from services.read_models.rebuild import live_versions
from services.runtime.clock import Clock, pause, system_clock
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Unavailable
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.runtime.retry import keep_going
from services.runtime.settings import Settings
from services.store.append import AlreadyStored, append, lock_shard
from services.store.connect import RETRYABLE, Connection, connect_pool
from services.store.identities import not_stored
from services.store.refills import append_refills_due

TEAMS_MAX = 500  # of one look
TOGETHER = 100  # teams of one shard in one transaction: some milliseconds under its lock
LOOK_SECONDS = 1.0
SEAL_SECONDS = 20.0

# By statement_timestamp(), as everywhere that an index finds what is due: clock_timestamp() differs from row to row, so
# no index serves a comparison with it, and each look would read every row.
DUE = "SELECT shard, team_id FROM teams WHERE cycle_ends_at <= statement_timestamp() ORDER BY cycle_ends_at LIMIT $1"

ENDED = "SELECT team_id FROM balance WHERE next_end <= statement_timestamp() LIMIT $1"

HOLDS_ENDED = """
    SELECT DISTINCT team_id FROM (
        SELECT team_id FROM holds WHERE state = 'open' AND expires_at <= statement_timestamp() ORDER BY expires_at LIMIT $1
    ) AS ended
"""


async def serve(settings: Settings, stop: asyncio.Event, health: Health, clock: Clock = system_clock) -> None:
    """Do what is due until told to stop; it goes by the database's clock."""
    del clock
    grace = timedelta(seconds=settings.seal_grace_seconds)

    async def work() -> None:
        pool = await connect_pool(
            settings.needed("database"), process="refill", lease_seconds=settings.lease_seconds, size=1
        )
        async with pool, pool.acquire() as connection:
            if "balance" not in await live_versions(connection):
                raise Unavailable("the projector has not made its tables yet")
            health.back("the database")
            health.ready()
            await _work(connection, grace, stop, health)

    await keep_going("the database", work, stop, health, away=RETRYABLE)


async def _work(connection: Connection, grace: timedelta, stop: asyncio.Event, health: Health) -> None:
    sealed = float("-inf")
    while not stop.is_set():
        busy = await refill_due(connection) + await expire_due(connection) + await expire_holds_due(connection)
        if monotonic() - sealed >= SEAL_SECONDS:
            sealed = monotonic()
            busy += await seal_due(connection, grace)
        health.lag("refill", busy)
        health.beat("refill")
        if not busy:
            await pause(stop, LOOK_SECONDS)


async def refill_due(connection: Connection) -> int:
    """Append the refills of cycles that have begun, of some teams; how many."""
    due = await connection.fetch(DUE, TEAMS_MAX)
    count = 0
    for teams in _together((row["shard"], row["team_id"]) for row in due):
        with _of_one_team(teams):
            async with connection.transaction():
                now = await lock_shard(connection, teams[0])
                count += await append_refills_due(connection, teams, now)
                crashpoint("refill:refilled")
    return count


async def expire_due(connection: Connection) -> int:
    """Write down the end of lots of some teams; how many facts that took."""
    count = 0
    for row in await connection.fetch(ENDED, TEAMS_MAX):
        try:
            with _of_one_team([row["team_id"]]):
                async with connection.transaction():
                    count += await expire(connection, row["team_id"])
                    crashpoint("refill:expired")
        except Unavailable as behind:  # the others need not wait for this one
            get_log().warning("can't yet tell what has ended", team_id=row["team_id"], why=str(behind))
    return count


async def expire(connection: Connection, team_id: str) -> int:
    """Append which lots of a team have ended and are not written down, in the caller's transaction; how many facts."""
    now = await lock_shard(connection, team_id)
    await append_refills_due(connection, [team_id], now)
    balance = await read_balance(
        connection, team_id, ALWAYS
    )  # as the log has it: without the ends that it does not know of
    if balance is None:
        return 0
    facts = [
        NewFact(team_id, EXPIRY, f"lot:{lot.lot}", lot.ends_at, CreditsExpired(lot=lot.lot, ended_at=lot.ends_at))
        for lot in balance.team.lots
        if not lot.ended and lot.ends_at <= now
    ]
    # A row that was set back says that lots have not ended whose end is in the log.
    missing = await not_stored(connection, facts)
    if missing:
        await append(connection, missing)
    return len(missing)


async def expire_holds_due(connection: Connection) -> int:
    """Write down the end of holds of some teams; how many. A read counts none of them any more, written down or not."""
    count = 0
    for row in await connection.fetch(HOLDS_ENDED, TEAMS_MAX):
        with _of_one_team([row["team_id"]]):
            async with connection.transaction():
                count += await expire_holds(connection, row["team_id"], TOGETHER)
                crashpoint("refill:holds_expired")
    return count


async def seal_due(connection: Connection, grace: timedelta) -> int:
    """Seal every cycle that is final; how many."""
    passed = await passed_at(connection)
    if passed is None:
        return 0
    count, after = 0, (-1, "")
    while page := await teams_to_seal(connection, after, TEAMS_MAX):
        for teams in _together(page):
            with _of_one_team(teams):
                async with connection.transaction():
                    count += await seal(connection, teams, passed, grace)
        after = page[-1]
    return count


@contextmanager
def _of_one_team(team_ids: Sequence[str]) -> Iterator[None]:
    """What is wrong with these teams is said, and the others need not wait for it."""
    try:
        yield
    except (AlreadyStored, UnknownZone) as wrong:
        get_log().error("what the calendar brings waits", team_ids=team_ids[:10], why=repr(wrong))


def _together(teams: Iterator[tuple[int, str]] | Sequence[tuple[int, str]]) -> Iterator[list[str]]:
    """Teams of one shard, some at a time."""
    for _, group in groupby(sorted(teams), key=itemgetter(0)):
        ids = [team_id for _, team_id in group]
        for start in range(0, len(ids), TOGETHER):
            yield ids[start : start + TOGETHER]
