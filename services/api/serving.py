"""The process: connections, keys and catalog, then the application until it is told to stop."""

import asyncio
from functools import partial

from prometheus_client import Counter

from services.api.app import create_app
from services.api.context import ApiContext
from services.api.lanes import Crowd, Lanes
from services.api.rate_cards import CurrentRateCards
from services.api.rate_limits import RateLimiter
from services.api.routes.webhook import WEBHOOK_LANES
from services.api.tokens import tokens_of
from services.api.usage_producer import UsageProducer
from services.api.watch import HeadWatch
from services.money.stripe_client import StripeMetrics, charges_of
from services.runtime.clock import Clock, pause, system_clock
from services.runtime.gc_tuning import look_for_garbage_in_passing
from services.runtime.health import Health
from services.runtime.http_protocol import Limits
from services.runtime.http_server import listen
from services.runtime.processes import PROCESSES
from services.runtime.settings import Settings
from services.runtime.settings_loading import catalog_of
from services.store.connect import AWAY, Pool, connect_pool, connect_when_there
from services.usage.metrics import dropped_attributes

CONNECTIONS = 10
LOOK_SECONDS = 2.0
# A download has begun to be answered, and has no other way to say "busy" than to break off.
DOWNLOAD_PATIENCE_SECONDS = 300

# Pages are read in the order of an index and end after some rows. Of a table that was never analysed PostgreSQL
# believes that it is cheaper to collect all of a team's million rows and to sort them, which takes half a second.
BY_INDEX = {"enable_bitmapscan": "off", "enable_sort": "off"}


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    health: Health,
    clock: Clock = system_clock,
    *,
    started: asyncio.Event | None = None,
) -> None:
    """Run until told to stop; requests that are under way are finished. Waits for a database that is away."""
    settings.require(*PROCESSES["api"].needed(settings))
    catalog, tokens = catalog_of(settings), tokens_of(settings, clock)
    pool = await _connect(settings, stop, health)
    if pool is None:
        return
    charges = charges_of(settings, StripeMetrics(health.registry)) if settings.stripe_key else None
    context = ApiContext(
        settings=settings, pool=pool, tokens=tokens, rate_limiter=RateLimiter(settings, health.registry), catalog=catalog,
        cards=CurrentRateCards(pool, catalog.usage.attributes), charges=charges, reports=UsageProducer(settings),
        watch=HeadWatch(pool, stop), dropped_attributes=dropped_attributes(health.registry), crowd=Crowd(), lanes=Lanes(),
        simulations=Lanes(1), downloads=Lanes(1, patience_seconds=DOWNLOAD_PATIENCE_SECONDS), past=Lanes(1),
        filtered=Lanes(), webhooks=Lanes(WEBHOOK_LANES), health=health, clock=clock,
        thin_events=_thin_events(health),
    )  # fmt: skip
    app = create_app(context)
    look_for_garbage_in_passing()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(context.watch.run())
            tasks.create_task(context.reports.run(stop))
            tasks.create_task(_look_at_database(context, stop))
            await listen(
                app, host=settings.api_host, port=settings.api_port, port_setting="api_port", stop=stop,
                started=started, proxies=settings.api_proxies, limits=Limits(connections=settings.api_connections),
            )  # fmt: skip
    finally:
        if charges is not None:
            await charges.close()
        await pool.close()


def _thin_events(health: Health) -> Counter:
    return Counter(
        "creditwell_stripe_thin_events", "Webhooks of Stripe's in their thin form: set up a destination with snapshots.",
        registry=health.registry,
    )  # fmt: skip


async def _connect(settings: Settings, stop: asyncio.Event, health: Health) -> Pool | None:
    """A pool as soon as the database answers; None if the process is told to stop before."""
    connect = partial(
        connect_pool, settings.needed("database"), process="api", size=CONNECTIONS, lease_seconds=settings.lease_seconds,
        statement_timeout_ms=10_000, settings=BY_INDEX, health=health,
    )  # fmt: skip
    return await connect_when_there(connect, stop, health)


async def _look_at_database(context: ApiContext, stop: asyncio.Event) -> None:
    """Ready while the database answers. Kafka may be away: balances are read without it."""
    while not stop.is_set():
        try:
            await context.pool.fetchval("SELECT 1")
        except AWAY as away:
            context.health.away("database", away)
        else:
            context.health.back("database")
            context.health.ready()
        await pause(stop, LOOK_SECONDS)
