"""Holds in a few words, for tests of the store; the HTTP tests place theirs as a feature service would."""

from datetime import UTC, datetime, timedelta

from projections.entitlement import Amount
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.pricing import RateCards
from services.credits.holds.hold import CurrentHold, HoldState, read_hold
from services.credits.holds.placing import HoldRequest, place
from services.store.connect import Connection
from tests.support.waiting import until

CATALOG = load_catalog()
CARDS = RateCards([CATALOG.rate_card])

WAITING = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"


async def held(
    connection: Connection,
    hold_id: str,
    credits: int,
    *,
    team_id: str = "team_1",
    member_id: str | None = None,
    lasts: timedelta = timedelta(hours=1),
) -> CurrentHold:
    """Whole credits set aside, in a transaction of its own."""
    async with connection.transaction():
        hold, _, _ = await place(connection, team_id, hold_id, request_for(credits, lasts, member_id))
    return hold


def request_for(credits: int, lasts: timedelta = timedelta(hours=1), member_id: str | None = None) -> HoldRequest:
    """Whole credits are asked for."""
    card = CARDS.in_force(datetime.now(UTC))
    return HoldRequest([Amount(credits * MICRO, member_id)], lasts, member_id, card, CATALOG)


async def state_of(connection: Connection, hold_id: str, team_id: str = "team_1") -> HoldState:
    """What became of a hold."""
    hold = await read_hold(connection, team_id, hold_id, datetime.now(UTC))
    assert hold is not None
    return hold.state


async def wait_for_locks(connection: Connection, count: int) -> None:
    """So many others have come to where this connection holds what they want."""

    async def all_wait() -> bool:
        return bool(await connection.fetchval(WAITING) >= count)

    await until(all_wait, what=f"{count} wait for a lock")
