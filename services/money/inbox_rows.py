"""Rows of Stripe's inbox: news that are kept once, taken for a while, put off, and done.

The webhook stores news before anybody works on them: each event once, however often it comes. An event is taken for a
while by looking later at it again, so whoever dies over one is followed by somebody else: later each time, so that one
that kills does not keep the others waiting.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.runtime.logs import get_log
from services.store.connect import Connection

TAKEN_SECONDS = 30  # more than two of the longest requests
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 1, 3_600
ENDS_AFTER = timedelta(days=30)

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

# Stripe itself forgets an event after 30 days; what it was about is found by reconciliation.
LATER = """
    UPDATE stripe_inbox
    SET look_at = clock_timestamp() + make_interval(secs => least($3, $2 * 2 ^ least(tries, 20))),
        outcome = CASE WHEN received_at < clock_timestamp() - $5::interval THEN 'given up: ' ELSE '' END || $4,
        done_at = CASE WHEN received_at < clock_timestamp() - $5::interval THEN clock_timestamp() END
    WHERE event_id = $1 AND done_at IS NULL
    RETURNING done_at IS NOT NULL
"""

DONE = "UPDATE stripe_inbox SET done_at = clock_timestamp(), outcome = $2 WHERE event_id = $1 AND done_at IS NULL"


@dataclass(frozen=True, slots=True)
class InboxEvent:
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


async def keep_news(connection: Connection, event: InboxEvent, created_at: datetime) -> None:
    """Store news once, and count how often they came."""
    await connection.execute(
        KEEP, event.event_id, event.type, event.object_kind, event.object_id, event.intent_id, event.charge_id, event.customer_id,
        event.attempt_id, event.checkout_id, created_at,
    )  # fmt: skip


async def take_news(connection: Connection, limit: int) -> list[InboxEvent]:
    """News that nobody works on, the oldest first; nobody else gets them for a while."""
    return [InboxEvent(*row) for row in await connection.fetch(TAKE, TAKEN_SECONDS, limit, LAST_LOOK_SECONDS)]


async def look_later(connection: Connection, event: InboxEvent, why: str) -> None:
    """Stripe does not answer: come back to it, later each time, and in the end no more."""
    given_up = await connection.fetchval(LATER, event.event_id, FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS, why, ENDS_AFTER)
    if given_up:
        get_log().error("an event of Stripe's is given up", event_id=event.event_id, event_type=event.type, why=why)


async def mark_done(connection: Connection, event: InboxEvent, outcome: str) -> None:
    """Nothing is left to do about it; in the transaction that did it."""
    await connection.execute(DONE, event.event_id, outcome)
