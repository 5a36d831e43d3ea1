"""Stripe's news, stored by the webhook before anybody works on it: each event once, however often it comes.

An event is taken for a while by looking later at it again, so whoever dies over one is followed by somebody else: later each time,
so that one that kills does not keep the others waiting. It is done in the transaction that does what follows from it.
"""

from dataclasses import dataclass
from datetime import datetime

from services.store.connect import Connection

TAKEN_SECONDS = 30  # more than two of the longest requests
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 1, 3_600

KEEP = """
    INSERT INTO stripe_inbox (
        event_id, type, object_kind, object_id, intent_id, charge_id, customer_id, attempt_id, checkout_id, created_at
    )
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (event_id) DO UPDATE SET deliveries = stripe_inbox.deliveries + 1
"""

TAKE = """
    UPDATE stripe_inbox
    SET look_at = clock_timestamp() + make_interval(secs => least($3, $1 * 2 ^ least(tries, 20))), tries = tries + 1
    WHERE event_id IN (
        SELECT event_id FROM stripe_inbox WHERE done_at IS NULL AND look_at <= statement_timestamp()
        ORDER BY look_at, received_at LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    RETURNING event_id, type, object_kind, object_id, intent_id, charge_id, customer_id, attempt_id, checkout_id, tries
"""

LATER = """
    UPDATE stripe_inbox
    SET look_at = clock_timestamp() + make_interval(secs => least($3, $2 * 2 ^ least(tries, 20))), outcome = $4
    WHERE event_id = $1 AND done_at IS NULL
"""

DONE = "UPDATE stripe_inbox SET done_at = clock_timestamp(), outcome = $2 WHERE event_id = $1 AND done_at IS NULL"


@dataclass(frozen=True, slots=True)
class News:
    """What Stripe says has happened, and to what. Whoever acts on it asks Stripe how things are now."""

    event_id: str
    type: str
    object_kind: str
    object_id: str
    intent_id: str | None
    charge_id: str | None
    customer_id: str | None
    attempt_id: str | None
    checkout_id: str | None
    tries: int = 0


async def keep(connection: Connection, news: News, created_at: datetime) -> None:
    """Store news once, and count how often they came."""
    await connection.execute(
        KEEP, news.event_id, news.type, news.object_kind, news.object_id, news.intent_id, news.charge_id, news.customer_id,
        news.attempt_id, news.checkout_id, created_at,
    )  # fmt: skip


async def take(connection: Connection, limit: int) -> list[News]:
    """News that nobody works on, the oldest first; nobody else gets them for a while."""
    return [News(*row) for row in await connection.fetch(TAKE, TAKEN_SECONDS, limit, LAST_LOOK_SECONDS)]


async def later(connection: Connection, news: News, why: str) -> None:
    """Stripe does not answer: come back to it, later each time."""
    await connection.execute(LATER, news.event_id, FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS, why)


async def done(connection: Connection, news: News, outcome: str) -> None:
    """Nothing is left to do about it; in the transaction that did it."""
    await connection.execute(DONE, news.event_id, outcome)
