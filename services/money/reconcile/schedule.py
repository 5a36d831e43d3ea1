"""Reconciliation that runs by itself: hourly over the last day, daily over five weeks; whoever is first does it.

It runs beside the top-up worker and heals what is safe to heal. What it leaves is a log line for each break and a gauge
by type, read from the last comparisons, so that every process shows the same whoever did the work. Cards can be
disputed for months: that is why refunds and disputes are listed by their own time, and undecided ones are asked about
however old their payment is.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from prometheus_client import Gauge

from schemas.catalog import Catalog
from services.money.reconcile.breaks import BreakKind
from services.money.reconcile.compare import reconcile
from services.money.reconcile.reads import claim, finish, forget_news, later, read_results
from services.money.stripe_client import Charges
from services.runtime.clock import pause, until_stopped
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Unavailable
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.store.connect import Pool
from services.store.halts import Halts

# What runs: how often, and over which time back.
RUNS: Mapping[str, tuple[timedelta, timedelta]] = {
    "hourly": (timedelta(hours=1), timedelta(days=1)), "daily": (timedelta(days=1), timedelta(days=35)),
}  # fmt: skip
AGAIN = timedelta(minutes=1)  # after Stripe did not answer
LOOK_SECONDS = 15.0


async def keep_reconciled(
    pool: Pool, charges: Charges, catalog: Catalog, stop: asyncio.Event, health: Health, *, news_kept: timedelta
) -> None:
    """Compare when it is due, until told to stop; once a day forget the news of Stripe's that were done so long ago.

    A comparison under way is given up then, and made by the next process.
    """
    gauge = Gauge(
        "creditwell_reconcile_breaks", "Where Stripe and the log differ, by the last comparisons.", ["type"],
        registry=health.registry,
    )  # fmt: skip
    try:
        halts = Halts("reconcile", health)
        async with pool.acquire() as connection:
            await halts.begin(connection)
        while await until_stopped(_look(pool, charges, catalog, gauge, halts, news_kept), stop):
            await pause(stop, LOOK_SECONDS)
    finally:
        health.registry.unregister(gauge)


async def _look(
    pool: Pool, charges: Charges, catalog: Catalog, gauge: Gauge, halts: Halts, news_kept: timedelta
) -> None:
    for name in RUNS:
        async with pool.acquire() as connection:
            began_at = await claim(connection, name)
        if began_at is not None:
            async with pool.acquire() as connection, halts.guard(connection, name):
                await _run(pool, charges, catalog, name, began_at)
                if name == "daily":
                    await forget_news(connection, news_kept)
    async with pool.acquire() as connection:
        last = await read_results(connection)
    for kind in BreakKind:
        gauge.labels(kind.value).set(max((breaks.get(kind.value, 0) for breaks in last.values()), default=0))


async def _run(pool: Pool, charges: Charges, catalog: Catalog, name: str, began_at: datetime) -> None:
    every, back = RUNS[name]
    log = get_log().bind(comparison=name)
    async with pool.acquire() as connection:
        try:
            report = await reconcile(connection, charges, since=began_at - back, heal=True, catalog=catalog)
        except Unavailable as away:
            await later(connection, name, AGAIN)
            log.warning("not reconciled: Stripe does not answer", why=repr(away))
            return
        crashpoint("reconcile:compared")
        await finish(
            connection, name, every, payments=report.payments, healed=len(report.healed), breaks=report.by_type
        )
    for one in report.breaks:
        log.error(
            "Stripe and the log differ", type=one.type.value, payment_intent_id=one.payment_intent_id, team_id=one.team_id,
            what=one.what, next_step=one.next_step,
        )  # fmt: skip
    log.info(
        "reconciled",
        payments=report.payments,
        credits=report.credits,
        healed=len(report.healed),
        left=len(report.breaks),
    )
