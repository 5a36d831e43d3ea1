"""The low-balance reader: tells the log when a balance runs low, runs out or recovers, once per crossing.

The projection only marks, by `alarm`, the teams whose balance and log may disagree. What is appended is
decided on the exact balance at the head of the log, with the shard's head locked to COMMIT. The log itself remembers
what was said: a fold of `balance.ran_low.v1` is what makes a team low. So nothing depends on how far the projector is,
on which version of it is read, or on who else looks at the same time. A replay or a rebuild can set alarms. It appends
nothing, let alone charges.

This is why the reader has no checkpoint, although the first design gave it one: a checkpoint says which facts were
looked at, and whoever loses or rewinds it looks again and would say it again. Here the state decides, not the place.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from projections.balance.crossings import crossings
from projections.balance.state import TeamBalance
from projections.versions import live
from schemas.facts import BalanceRanLow, BalanceRanOut, BalanceRecovered, NewFact
from services.read_models.balances import read_balance
from services.read_models.low_cause import LowWalk, begin_walk, go_on, low_name
from services.read_models.versions import ensure_projections
from services.runtime.clock import Clock, pause, system_clock
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Unavailable
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.runtime.retry import keep_going
from services.runtime.tracing.context import NO_TRAIL, carrying
from services.store.append import append, lock_shard
from services.store.beside.traces import trail_at
from services.store.connect import RETRYABLE, Connection, Pool
from services.store.halts import Halts
from services.store.identities import Identity, find
from services.store.refills import append_refills_due
from services.store.schema_check import check_shape
from services.store.sessions.bell import Bell, IdleWait

LOW_BALANCE = "creditwell:low_balance"
Crossing = BalanceRanLow | BalanceRecovered | BalanceRanOut
NAMES = {BalanceRanLow: "low", BalanceRanOut: "out", BalanceRecovered: "recovered"}
CATCHING_UP_SECONDS = 0.25
TEAMS_MAX = 200  # of one look
JUDGED_MAX = 10_000

# Teams whose alarm was judged at this position or later are waiting for the projector, or for nothing.
ALARMS = live("""
    SELECT b.team_id FROM balance_v0 b
    WHERE b.alarm AND b.team_id <> ALL($4) AND NOT EXISTS (
        SELECT FROM unnest($1::text[], $2::bigint[]) AS judged (team_id, position)
        WHERE judged.team_id = b.team_id AND judged.position >= b.position
    )
    LIMIT $3
""")


async def watch_low(
    pool: Pool, stop: asyncio.Event, health: Health, clock: Clock = system_clock, *, alarmed: Bell
) -> None:
    """Judge every alarm until told to stop; it goes by the database's clock.

    `alarmed` rings when there are new ones.
    """
    del clock

    async def watch() -> None:
        async with pool.acquire() as connection:
            await ensure_projections(connection)
            await check_shape(connection)  # before ours are live, the projector of the build before judges by its own
            health.back("low balances")
            await _watch(pool, connection, stop, health, IdleWait(alarmed, stop))

    await keep_going("low balances", watch, stop, health, away=RETRYABLE)


async def _watch(pool: Pool, connection: Connection, stop: asyncio.Event, health: Health, idle: IdleWait) -> None:
    judged: dict[str, int] = {}
    halts = Halts("low balances", health)
    await halts.begin(connection)
    while not stop.is_set():
        alarms = await connection.fetch(ALARMS, list(judged), list(judged.values()), TEAMS_MAX, halts.waiting())
        health.lag("low balances", len(alarms))
        wait_seconds = 0.0
        for alarm in alarms:
            try:
                async with halts.guard(connection, alarm["team_id"]):
                    judged[alarm["team_id"]] = await judge(connection, alarm["team_id"])
            except Unavailable:  # too far behind to be exact about this team; the others need not wait
                wait_seconds = CATCHING_UP_SECONDS
            else:
                health.beat("low balances")
        pool.tell(connection)
        await halts.settle(connection, [alarm["team_id"] for alarm in alarms])
        if len(judged) > JUDGED_MAX:
            judged.clear()  # it only saves looking twice
        if alarms:
            idle.work_came()
            await pause(stop, wait_seconds)
        else:
            await idle.wait()


async def judge(connection: Connection, team_id: str) -> int:
    """Append what the log has yet to say about a team's balance; the position up to which everything is said.

    Raises:
        Unavailable: the projector is too far behind to know the balance exactly.
    """
    walk: LowWalk | None = None
    while True:
        async with connection.transaction():
            now = await lock_shard(connection, team_id)
            await append_refills_due(connection, [team_id], now)
            balance = await read_balance(connection, team_id, now)
            if balance is None:
                return 0
            due = crossings(balance.team, now)
            if walk is not None or not any(isinstance(fact, BalanceRanLow) for fact in due):
                return await _say(connection, balance.team, due, walk, now)
        # Nothing was said yet: what made it low is looked for without keeping anybody waiting.
        walk = await begin_walk(connection, team_id, now)


async def _say(
    connection: Connection, team: TeamBalance, due: Sequence[Crossing], walk: LowWalk | None, now: datetime
) -> int:
    new = [NewFact(team.team_id, LOW_BALANCE, f"{NAMES[type(fact)]}:{team.position}", now, fact) for fact in due]
    if walk is not None:
        await go_on(connection, walk)
        new = [await _named(connection, one, walk) if isinstance(one.fact, BalanceRanLow) else one for one in new]
    if not new:
        return team.position
    cause = walk.cause if walk is not None else None
    with carrying(await trail_at(connection, cause.shard, cause.position) if cause is not None else NO_TRAIL):
        appended = await append(connection, new)
        get_log().info("balance", team_id=team.team_id, became=[NAMES[type(fact)] for fact in due])
    crashpoint("low:appended")
    return appended.places[-1].position


async def _named(connection: Connection, new: NewFact, walk: LowWalk) -> NewFact:
    """A low episode by what made it low; by its position where that began one before, as no balance should."""
    cause = walk.cause
    assert cause is not None, "a balance that is low has facts"
    name = low_name(cause)
    if await find(connection, [Identity(new.team_id, new.source, name)]):
        return new
    assert isinstance(new.fact, BalanceRanLow)
    return new._replace(id=name, fact=new.fact.model_copy(update={"crossed_at_position": cause.position}))
