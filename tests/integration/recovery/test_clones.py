"""A clone of production's disk, with production's keys and topics: what it can do, and what ends it.

On the same timeline it looks like a restart. So its own log goes on, and what it shares with production waits for its
relay's look at what was published: usage in Kafka, money at Stripe, and what the host product is told.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.receiver import Receiver
from deploy.local.stripe import running
from schemas.credits import MICRO
from schemas.facts import BalanceRanLow, CreditsToppedUp
from services.audit.signer import Signing
from services.money import topup
from services.publishing import notice_rows
from services.publishing.looking import StoreLook
from services.publishing.notices import notify
from services.read_models.low_balance import judge
from services.runtime.clock import system_clock
from services.runtime.errors import Unavailable
from services.runtime.health import Health
from services.runtime.settings import Settings
from services.store.connect import Connection, connect_pool
from services.store.lives import Life, StoreUnchecked, note_look, read_standing
from services.usage import consuming
from tests.support.desk import KEY, Desk, has, new_team
from tests.support.honest import project
from tests.support.lives import begin_to_publish, gone_back, publish, record_usage, settings_of
from tests.support.serving import as_role, connected, store, used
from tests.support.waiting import until
from tests.support.world import ServiceWorld

TEAM = "team_1"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOW = BalanceRanLow(
    available_credits=40 * MICRO, threshold_credits=50 * MICRO, crossed_at_position=1, top_up_enabled=False
)

# What a clone of the disk is: all is as it was, but for the start of its server.
CLONED = """
    UPDATE store_lives SET database = (SELECT oid FROM pg_database WHERE datname = current_database()),
                           started_at = started_at - interval '1 hour'
"""


Serve = Callable[[Settings, asyncio.Event, Health], Coroutine[Any, Any, None]]


@asynccontextmanager
async def cloned(world: ServiceWorld) -> AsyncIterator[tuple[Connection, StoreLook]]:
    """A clone of a store that has published, and its relay's look at the topic; production goes on."""
    await world.team(TEAM)
    await record_usage(world, TEAM, "u1")
    await publish(world.stack, world.connection)
    await begin_to_publish(world)
    await world.connection.close()
    async with gone_back(world.stack, world.database, life=CLONED) as copy:
        await world.reconnect()
        async with connected(copy) as connection:
            yield connection, StoreLook(settings_of(world.stack, copy), Health("relay"))


@asynccontextmanager
async def serving(serve: Serve, settings: Settings) -> AsyncIterator[Health]:
    """One of the clone's processes, in this event loop."""
    stop, health = asyncio.Event(), Health("clone")
    running = asyncio.create_task(serve(settings, stop, health))

    async def is_told() -> bool:
        if running.done():
            running.result()
        return any("store_unchecked" in why for why in health.absent.values())

    try:
        await until(is_told, what="it says that it waits for the relay's look")
        yield health
    finally:
        stop.set()
        await running


async def look(clone: Connection) -> None:
    """What a relay writes down that has found nothing missing."""
    await note_look(clone, await read_standing(clone), None)


async def test_a_clone_whose_relay_looks_after_production_has_published_goes_on_no_more(world: ServiceWorld) -> None:
    async with cloned(world) as (clone, looking):
        await record_usage(world, TEAM, "u2")
        await publish(world.stack, world.connection)

        with pytest.raises(Unavailable, match="store_went_back"):
            await looking.until_sure(clone)

        with pytest.raises(StoreUnchecked):
            await store(clone, TEAM, [used(1)])
        assert (await read_standing(clone)).life is Life.WENT_BACK
        await store(world.connection, TEAM, [used(1)])  # production never hears of it


async def test_a_clone_without_a_relay_appends_to_its_own_log_and_is_never_looked_at(world: ServiceWorld) -> None:
    async with cloned(world) as (clone, _):
        await record_usage(world, TEAM, "u2")
        await publish(world.stack, world.connection)

        await store(clone, TEAM, [used(1)])

        stands = await read_standing(clone)
        assert (stands.life, stands.looked, stands.went_back) == (Life.SAME, False, None)


async def test_a_clone_without_a_relay_takes_no_partition_from_production(world: ServiceWorld) -> None:
    claimed = "SELECT count(*) FROM kafka_cursors WHERE owner LIKE 'recorder-%'"
    async with cloned(world) as (clone, looking):
        recorder = settings_of(world.stack, as_role(looking.settings.needed("database"), "recorder"))
        async with serving(consuming.serve, recorder):
            assert await clone.fetchval(claimed) == 0

            await look(clone)

            await until(lambda: clone.fetchval(claimed), what="the recorder works once somebody has looked")


async def test_a_clone_without_a_relay_asks_nothing_of_stripe(world: ServiceWorld, desk: Desk) -> None:
    team = await new_team(world.connection, desk)
    async with cloned(world) as (clone, looking):
        await store(clone, team, [used(300)])
        await judge(clone, team)
        await project(clone)
        asked = len((await desk.http.get("/_control/requests")).json())
        database = as_role(looking.settings.needed("database"), "worker")
        async with serving(topup.serve, settings_of(world.stack, database, stripe_key=KEY, stripe_api=desk.url)):
            assert len((await desk.http.get("/_control/requests")).json()) == asked

            await look(clone)

            await until(lambda: has(clone, team, CreditsToppedUp), what="it is charged once somebody has looked")


async def test_a_clone_tells_the_host_product_nothing(world: ServiceWorld) -> None:
    receiver = Receiver(SECRET)
    async with cloned(world) as (clone, looking), running(receiver.app()) as host:
        await notice_rows.begin(clone)
        await store(clone, TEAM, [LOW])
        database = as_role(looking.settings.needed("database"), "worker")
        settings = settings_of(world.stack, database, notice_url=f"{host}/notices", notice_secret=SECRET)
        async with serving(notify, settings):
            assert not receiver.notices

            await look(clone)

            async def told() -> bool:
                return bool(receiver.notices)

            await until(told, what="the host is told once somebody has looked")


async def test_a_clone_does_not_sign_where_production_has_signed(world: ServiceWorld, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()

    async def sign(database: str) -> Signing:
        signing = Signing(key, system_clock, tmp_path, timedelta(0), Health("signer"))
        async with await connect_pool(as_role(database, "signer"), process="signer", size=1, projections=False) as pool:
            await signing.round_or_refusal(pool)
        return signing

    async with cloned(world) as (clone, looking):
        await record_usage(world, TEAM, "u2")
        await publish(world.stack, world.connection)
        assert (await sign(world.database)).refused is None

        await store(clone, TEAM, [used(1)])
        await publish(world.stack, clone)

        assert (await sign(looking.settings.needed("database"))).refused is not None
