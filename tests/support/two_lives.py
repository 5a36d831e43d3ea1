"""A store that goes back in time: a copy that was taken before anything was charged, and is the store from then on.

The copy is a real database of PostgreSQL with the same log, name and keys. Stripe forgets nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from deploy.local.stack import Stack
from services.money.checkout import flow as pages
from services.money.checkout.rows import CheckoutRow
from services.money.reconcile.compare import transactions_on
from services.money.topup import Worker
from services.read_models.low_balance import judge
from services.runtime.crashpoints import arm
from services.store.connect import Connection, connect_pool
from tests.conftest import a_database
from tests.faults.rush import a_worker
from tests.support.desk import Desk, of_type
from tests.support.serving import as_role, connected, store, used


@dataclass(frozen=True)
class Life:
    """A store, a worker that charges for it, and Stripe."""

    database: str
    connection: Connection
    worker: Worker
    desk: Desk

    async def runs_low(self, team: str, *usages: int, source: str = "test") -> None:
        """Usage is recorded, and the watch says that the balance is low."""
        for credits in usages or (300,):
            await store(self.connection, team, [used(credits)], source=source)
        await judge(self.connection, team)

    async def is_charged(self, team: str, *usages: int) -> None:
        """It runs low, and the worker does what follows."""
        await self.runs_low(team, *usages)
        await self.worker.look_at(team)

    async def dies_at(self, team: str, point: str) -> None:
        """The worker looks, and dies."""
        arm(point, 1, die)
        try:
            await self.worker.look_at(team)
        except Died:
            return
        raise AssertionError(f"{point} was not reached")

    async def buys(self, record: CheckoutRow) -> CheckoutRow:
        """An admin is sent to Stripe's page."""
        opened, _ = await pages.open_page(self.desk.charges, transactions_on(self.connection), record)
        return opened

    async def of_type(self, team: str, kind: type) -> list:  # type: ignore[type-arg]  # facts of that kind
        """What of this kind is in a team's log."""
        return await of_type(self.connection, team, kind)


class Died(Exception):
    """A worker's death at a crash point, where it need not be a process's."""


def die() -> None:
    """Arm a crash point with this."""
    raise Died


@asynccontextmanager
async def a_life(database: str, desk: Desk) -> AsyncIterator[Life]:
    """Work on a store, until the block ends; nobody is connected to it afterwards."""
    pool = await connect_pool(as_role(database, "worker"), process="test", size=4)
    async with connected(database) as connection, pool:
        yield Life(database, connection, a_worker(pool, desk), desk)


@asynccontextmanager
async def a_copy(stack: Stack, database: str) -> AsyncIterator[str]:
    """The store as it is now, for later. Nobody may be connected to it at this moment."""
    async with a_database(stack, database.rpartition("/")[2], same_log=True) as copy:
        yield copy
