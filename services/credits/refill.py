"""The refill worker: what the calendar brings.

Included credits for a new cycle, the end of lots and holds, sealed cycles; and usage by day, counted for analysts.

It is a convenience, not a condition: whoever appends a fact of a team brings the team's due refills along, and balances
are read as of an instant. The worker does the same for teams that nobody touches, so that they too see their credits
and that low balances are noticed. Everything it appends has one possible identity and is decided under the shard's
lock, so it may run twice, late, after a week down, or beside others of its kind.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import NamedTuple

from projections.balance.state import ALWAYS, NEVER
from projections.versions import live
from schemas.facts import CreditsExpired, NewFact
from services.credits.holds.settlement import expire_holds
from services.credits.sealing import passed_at, seal, teams_to_seal
from services.credits.store_watch import StoreWatch
from services.read_models.balances import read_balance
from services.read_models.days import DaysDue
from services.read_models.versions import live_versions
from services.runtime.clock import Clock, pause, system_clock
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Unavailable
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.runtime.retry import keep_going
from services.runtime.settings import Settings
from services.store.append import append, lock_shard
from services.store.connect import RETRYABLE, Connection, connect_pool
from services.store.halts import EVERYBODYS, Halts
from services.store.identities import not_stored
from services.store.refills import append_refills_due

EXPIRY = "creditwell:expiry"
TEAMS_MAX = 500  # of one look
TOGETHER = 100  # teams of one shard in one transaction: some milliseconds under its lock
LOOK_SECONDS = 1.0
SEAL_SECONDS = 20.0

# By statement_timestamp(), as everywhere that an index finds what is due: clock_timestamp() differs from row to row, so
# no index serves a comparison with it, and each look would read every row.
DUE = """
    SELECT shard, team_id FROM teams WHERE cycle_ends_at <= statement_timestamp() AND team_id <> ALL($2)
    ORDER BY cycle_ends_at LIMIT $1
"""

# A row that somebody put there, of no plan in the log, is never refilled: it would be found again each time, before all
# others. It rests until its first plan.
REST = """
    UPDATE teams SET cycle_ends_at = $3
    FROM unnest($1::smallint[], $2::text[]) AS looked_at (shard, team_id)
    WHERE teams.shard = looked_at.shard AND teams.team_id = looked_at.team_id
      AND cycle_ends_at <= statement_timestamp() AND NOT EXISTS (
          SELECT FROM facts f
          WHERE f.shard = teams.shard AND f.team_id = teams.team_id
            AND f.type IN ('plan.assigned.v1', 'credits.refilled.v1') AND f.type = 'plan.assigned.v1'
      )
    RETURNING teams.team_id
"""

ENDED = live("SELECT team_id FROM balance_v0 WHERE next_end <= statement_timestamp() AND team_id <> ALL($2) LIMIT $1")

HOLDS_ENDED = """
    SELECT DISTINCT team_id FROM (
        SELECT team_id FROM holds
        WHERE state = 'open' AND expires_at <= statement_timestamp() AND team_id <> ALL($2) ORDER BY expires_at LIMIT $1
    ) AS ended
"""


class Halted(NamedTuple):
    """The teams for which one of the works is halted."""

    refill: Halts
    expiry: Halts
    holds: Halts
    sealing: Halts
    days: Halts


async def serve(settings: Settings, stop: asyncio.Event, health: Health, clock: Clock = system_clock) -> None:
    """Do what is due until told to stop; it goes by the database's clock."""
    del clock
    grace = timedelta(seconds=settings.seal_grace_seconds)

    watch = StoreWatch(health.registry)

    async def work() -> None:
        pool = await connect_pool(
            settings.needed("database"), process="refill", lease_seconds=settings.lease_seconds, size=1,
            health=health,
        )  # fmt: skip
        async with pool, pool.acquire() as connection:
            if "balance" not in await live_versions(connection):
                raise Unavailable("the projector has not made its tables yet")
            health.back("the database")
            health.ready()
            await _work(connection, grace, stop, health, watch)

    await keep_going("the database", work, stop, health, away=RETRYABLE)


async def _work(
    connection: Connection, grace: timedelta, stop: asyncio.Event, health: Health, watch: StoreWatch
) -> None:
    sealed = float("-inf")
    halted = Halted(*(Halts(work, health) for work in Halted._fields))
    for halts in halted:
        await halts.begin(connection)
    days = DaysDue(halted.days)
    while not stop.is_set():
        await watch.look_when_due(connection)
        busy = await refill_due(connection, halted.refill)
        busy += await expire_due(connection, halted.expiry) + await expire_holds_due(connection, halted.holds)
        if monotonic() - sealed >= SEAL_SECONDS:
            sealed = monotonic()
            busy += await seal_due(connection, grace, halted.sealing)
        await days.count_when_due(connection)
        health.lag("refill", busy)
        health.beat("refill")
        if not busy:
            await pause(stop, LOOK_SECONDS)


async def refill_due(connection: Connection, halts: Halts | None = None) -> int:
    """Append the refills of cycles that have begun, of some teams; how many."""
    halts = halts or _nobody("refill")

    async def refill(teams: list[str]) -> int:
        async with connection.transaction():
            now = await lock_shard(connection, teams[0])
            count = await append_refills_due(connection, teams, now)
            crashpoint("refill:refilled")
        return count

    due = await connection.fetch(DUE, TEAMS_MAX, halts.waiting())
    count = await _each_or_alone(connection, halts, ((row["shard"], row["team_id"]) for row in due), refill)
    shards, team_ids = [row["shard"] for row in due], [row["team_id"] for row in due]
    await halts.settle(connection, team_ids)
    if due and (strays := await connection.fetch(REST, shards, team_ids, NEVER)):
        some = [row["team_id"] for row in strays[:10]]
        get_log().error("rows of teams that have no plan in the log", count=len(strays), team_ids=some)
    return count


def _nobody(work: str) -> Halts:
    """For whoever works once: nobody is halted yet."""
    return Halts(work, Health("refill"))


async def _each_or_alone(
    connection: Connection,
    halts: Halts,
    teams: Iterable[tuple[int, str]],
    work: Callable[[list[str]], Awaitable[int]],
) -> int:
    """Work for teams of one shard together; where that goes wrong, for each alone. How much was done."""
    count = 0
    for together in _together(teams):
        try:
            count += await work(together)
        except EVERYBODYS:
            raise
        except Exception:  # noqa: BLE001 - which of them it is will be found out
            for team_id in together:
                async with halts.guard(connection, team_id):
                    count += await work([team_id])
        else:
            await halts.go_on(connection, together)
    return count


async def expire_due(connection: Connection, halts: Halts | None = None) -> int:
    """Write down the end of lots of some teams; how many facts that took."""
    halts = halts or _nobody("expiry")
    count = 0
    due = [row["team_id"] for row in await connection.fetch(ENDED, TEAMS_MAX, halts.waiting())]
    for team_id in due:
        try:
            async with halts.guard(connection, team_id), connection.transaction():
                count += await expire(connection, team_id)
                crashpoint("refill:expired")
        except Unavailable as behind:  # the others need not wait for this one
            get_log().warning("can't yet tell what has ended", team_id=team_id, why=str(behind))
    await halts.settle(connection, due)
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


async def expire_holds_due(connection: Connection, halts: Halts | None = None) -> int:
    """Write down the end of holds of some teams; how many. A read counts none of them any more, written down or not."""
    halts = halts or _nobody("holds")
    count = 0
    due = [row["team_id"] for row in await connection.fetch(HOLDS_ENDED, TEAMS_MAX, halts.waiting())]
    for team_id in due:
        async with halts.guard(connection, team_id), connection.transaction():
            count += await expire_holds(connection, team_id, TOGETHER)
            crashpoint("refill:holds_expired")
    await halts.settle(connection, due)
    return count


async def seal_due(connection: Connection, grace: timedelta, halts: Halts | None = None) -> int:
    """Seal every cycle that is final; how many."""
    halts = halts or _nobody("sealing")
    passed = await passed_at(connection)
    if passed is None:
        return 0

    async def seal_all(teams: list[str]) -> int:
        async with connection.transaction():
            return await seal(connection, teams, passed, grace)

    count, after, looked_at = 0, (-1, ""), list[str]()
    waiting = set(halts.waiting())
    while page := await teams_to_seal(connection, after, TEAMS_MAX):
        due = [(shard, team_id) for shard, team_id in page if team_id not in waiting]
        count += await _each_or_alone(connection, halts, due, seal_all)
        looked_at += [team_id for _, team_id in due]
        after = page[-1]
    await halts.settle(connection, looked_at)
    return count


def _together(teams: Iterable[tuple[int, str]]) -> Iterator[list[str]]:
    """Teams of one shard, some at a time."""
    for _, group in groupby(sorted(teams), key=itemgetter(0)):
        ids = [team_id for _, team_id in group]
        for start in range(0, len(ids), TOGETHER):
            yield ids[start : start + TOGETHER]
