"""Whoever compares Stripe with the log dies when it has healed, before it says so."""

import asyncio
from datetime import timedelta
from typing import NoReturn

import pytest
from prometheus_client import generate_latest

from schemas.catalog import load_catalog
from services.money.reconcile.schedule import keep_reconciled
from services.runtime.crashpoints import arm, disarm
from services.runtime.health import Health
from services.store.connect import Connection, connect_pool
from tests.faults.money import Killed
from tests.integration.money.test_reconcile import paid_for_attempt
from tests.support.desk import Desk, available
from tests.support.payments import CREDITS
from tests.support.serving import as_role
from tests.support.waiting import until

DUE = "UPDATE reconciliations SET due_at = clock_timestamp()"


async def test_who_dies_after_healing_is_followed_by_one_that_finds_nothing_left_to_heal(
    database: str, connection: Connection, desk: Desk
) -> None:
    attempt = await paid_for_attempt(connection, desk)
    stop, health = asyncio.Event(), Health("topup")

    def die() -> NoReturn:
        raise Killed

    async with await connect_pool(as_role(database, "worker"), process="test", size=2) as pool:

        def keep() -> asyncio.Task[None]:
            work = keep_reconciled(pool, desk.charges, load_catalog(), stop, health, news_kept=timedelta(days=60))
            return asyncio.create_task(work)

        await connection.execute(DUE)
        arm("reconcile:compared", 1, die)
        try:
            with pytest.raises(Killed):
                await keep()
        finally:
            disarm()
        assert await available(connection, attempt.team) == CREDITS
        await connection.execute(DUE)
        keeping = keep()

        async def is_told() -> bool:
            if keeping.done():
                keeping.result()
            return b'creditwell_reconcile_breaks{type="paid_not_credited"} 0.0' in generate_latest(health.registry)

        await until(is_told, what="both comparisons are made")
        stop.set()
        await keeping

    assert await available(connection, attempt.team) == CREDITS
    assert await connection.fetchval("SELECT sum(healed) FROM reconciliations") == 0
