"""Pages of Stripe's on which an admin buys a pack or saves a card: what each was opened for, and what came of it.

A row is written before Stripe is asked for the page, and holds everything that the request says, so that a repeated
request says the same again. What is credited in the end are the credits of the row. Rows change under the lock of the
team's shard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self
from uuid import UUID

import asyncpg

from schemas.credits import MicroCredits
from services.store.connect import Connection
from services.store.shards import shard_of

CheckoutMode = Literal["payment", "setup"]
CheckoutState = Literal["open", "processing", "credited", "saved", "superseded", "expired", "failed", "differs"]
CardState = Literal["saved", "superseded", "none"]

FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 30, 3_600
ENDS_AFTER = timedelta(days=30)  # a page can be paid for a day, and a card's payment is decided within some more

WHOLE = """
    team_id, id, mode, customer_id, asked_by, return_url, pack, name, credits, charge_cents, currency, keeps_card, taxed,
    create_try, session_id, url, expires_at, state, detail, payment_intent_id, receipt_url, card_state, brand, last4, position
"""

BEGIN = f"""
    INSERT INTO checkouts (
        shard, team_id, id, mode, customer_id, asked_by, return_url, pack, name, credits, charge_cents, currency, keeps_card, taxed
    )
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
    ON CONFLICT DO NOTHING RETURNING {WHOLE}
"""

READ = f"SELECT {WHOLE} FROM checkouts WHERE shard = $1 AND team_id = $2 AND id = $3"
LOCK = READ + " FOR UPDATE"
FIND = f"SELECT {WHOLE} FROM checkouts WHERE id = $1"

# Two requests with the same key may both have asked Stripe: the first page that is written down is the one that is
# shown.
OPENED = f"""
    UPDATE checkouts
    SET session_id = coalesce(session_id, $4), url = CASE WHEN session_id IS NULL THEN $5 ELSE url END,
        expires_at = coalesce(expires_at, $6), look_at = coalesce(look_at, clock_timestamp() + make_interval(secs => $7))
    WHERE shard = $1 AND team_id = $2 AND id = $3
    RETURNING {WHOLE}
"""

NEXT_TRY = """
    UPDATE checkouts SET create_try = $4 + 1 WHERE shard = $1 AND team_id = $2 AND id = $3 AND create_try = $4
"""
OTHER_CUSTOMER = """
    UPDATE checkouts SET customer_id = $4, create_try = create_try + 1
    WHERE shard = $1 AND team_id = $2 AND id = $3 AND session_id IS NULL
"""

MOVE = """
    UPDATE checkouts
    SET state = $4, detail = $5, payment_intent_id = $6, receipt_url = $7, card_state = $8, brand = $9, last4 = $10, position = $11,
        look_at = CASE WHEN $12 THEN
            clock_timestamp()
            + make_interval(secs => least($14, greatest($13, extract(epoch FROM clock_timestamp() - asked_at) / 2)))
        END
    WHERE shard = $1 AND team_id = $2 AND id = $3
"""

# Taken by looking later at it again: whoever dies over one is followed by somebody else.
DUE = f"""
    UPDATE checkouts SET look_at = clock_timestamp() + make_interval(secs => $1)
    WHERE (shard, team_id, id) IN (
        SELECT shard, team_id, id FROM checkouts WHERE look_at <= statement_timestamp()
        ORDER BY look_at LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    RETURNING {WHOLE}
"""

TOO_OLD = (
    "SELECT asked_at < clock_timestamp() - $4::interval FROM checkouts WHERE shard = $1 AND team_id = $2 AND id = $3"
)

UNFINISHED = f"""
    SELECT {WHOLE} FROM checkouts
    WHERE shard = $1 AND team_id = $2 AND look_at IS NOT NULL AND keeps_card AND session_id IS NOT NULL
    ORDER BY asked_at DESC LIMIT 10
"""


@dataclass(frozen=True, slots=True)
class CheckoutRow:
    """A page and what it was opened for.

    Attributes:
        team_id: who pays.
        id: the id that we gave the page.
        mode: a payment, or a card that is saved.
        customer_id: the team, as Stripe knows it.
        asked_by: the admin who opened the page.
        return_url: where the browser goes afterwards.
        pack: what is bought; it and the next four are None where a card is saved.
        name: of the pack, as the page shows it.
        credits: that the pack brings.
        charge_cents: its price.
        currency: of the price.
        keeps_card: the card is kept for top-ups.
        taxed: Stripe works out the tax.
        create_try: counts the requests for a page at Stripe; each has an idempotency key of its own.
        session_id: the page's name at Stripe, once it is open.
        url: the page's address.
        expires_at: when the page closes.
        state: how far it is.
        detail: why it is in that state.
        payment_intent_id: the payment.
        receipt_url: Stripe's receipt.
        card_state: what became of the card.
        brand: of the card.
        last4: of the card's number.
        position: of the credits, or of the card where there are none.
    """

    team_id: str
    id: UUID
    mode: CheckoutMode
    customer_id: str
    asked_by: str
    return_url: str
    pack: str | None
    name: str | None
    credits: MicroCredits | None
    charge_cents: int | None
    currency: str | None
    keeps_card: bool
    taxed: bool
    create_try: int = 1
    session_id: str | None = None
    url: str | None = None
    expires_at: datetime | None = None
    state: CheckoutState = "open"
    detail: str | None = None
    payment_intent_id: str | None = None
    receipt_url: str | None = None
    card_state: CardState | None = None
    brand: str | None = None
    last4: str | None = None
    position: int | None = None

    @property
    def waits(self) -> bool:
        """Something may still come of it without anybody telling us."""
        if self.state in ("open", "processing"):
            return True
        return self.state == "credited" and self.keeps_card and self.card_state is None

    def asks_the_same(self, other: Self) -> bool:
        """True if both requests mean the same; prices may have changed in between."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("mode", "return_url", "pack", "currency", "keeps_card")
        )


async def begin(connection: Connection, page: CheckoutRow) -> tuple[CheckoutRow, bool]:
    """Write down what a page is to be opened for; the row that is there, and whether it is new."""
    row = await connection.fetchrow(
        BEGIN, shard_of(page.team_id), page.team_id, page.id, page.mode, page.customer_id, page.asked_by,
        page.return_url, page.pack, page.name, page.credits, page.charge_cents, page.currency, page.keeps_card,
        page.taxed,
    )  # fmt: skip
    if row is not None:
        return _record(row), True
    stored = await read(connection, page.team_id, page.id)
    assert stored is not None, "whoever holds the id has committed"
    return stored, False


async def read(connection: Connection, team_id: str, checkout_id: UUID) -> CheckoutRow | None:
    """A team's page."""
    row = await connection.fetchrow(READ, shard_of(team_id), team_id, checkout_id)
    return None if row is None else _record(row)


async def lock(connection: Connection, checkout: CheckoutRow) -> CheckoutRow:
    """The row as it is now, until COMMIT. The caller holds the head of the team's shard."""
    row = await connection.fetchrow(LOCK, shard_of(checkout.team_id), checkout.team_id, checkout.id)
    assert row is not None, "rows are never deleted"
    return _record(row)


async def find(connection: Connection, checkout_id: UUID) -> CheckoutRow | None:
    """A page of whichever team; for processes that see all of them."""
    row = await connection.fetchrow(FIND, checkout_id)
    return None if row is None else _record(row)


async def opened(
    connection: Connection, checkout: CheckoutRow, session_id: str, url: str, expires_at: datetime
) -> CheckoutRow:
    """Stripe has made the page; the one that counts."""
    row = await connection.fetchrow(
        OPENED,
        shard_of(checkout.team_id),
        checkout.team_id,
        checkout.id,
        session_id,
        url,
        expires_at,
        FIRST_LOOK_SECONDS,
    )
    assert row is not None, "rows are never deleted"
    return _record(row)


async def next_try(connection: Connection, checkout: CheckoutRow) -> None:
    """Stripe would only repeat its failure to this key: ask with another one."""
    await connection.execute(NEXT_TRY, shard_of(checkout.team_id), checkout.team_id, checkout.id, checkout.create_try)


async def change_customer(connection: Connection, checkout: CheckoutRow, customer_id: str) -> CheckoutRow:
    """Stripe has deleted the customer: ask for the page with another one."""
    await connection.execute(OTHER_CUSTOMER, shard_of(checkout.team_id), checkout.team_id, checkout.id, customer_id)
    return await lock(connection, checkout)


async def move(connection: Connection, checkout: CheckoutRow) -> None:
    """Write down how far a page has come, and when to look again: less often as time goes by, or never."""
    await connection.execute(
        MOVE, shard_of(checkout.team_id), checkout.team_id, checkout.id, checkout.state, checkout.detail, checkout.payment_intent_id,
        checkout.receipt_url, checkout.card_state, checkout.brand, checkout.last4, checkout.position, checkout.waits, FIRST_LOOK_SECONDS,
        LAST_LOOK_SECONDS,
    )  # fmt: skip


async def is_too_old(connection: Connection, record: CheckoutRow) -> bool:
    """True for a page that nobody need look at any more, whatever may still become of it."""
    old: bool = await connection.fetchval(TOO_OLD, shard_of(record.team_id), record.team_id, record.id, ENDS_AFTER)
    return old


async def take_due(connection: Connection, limit: int) -> list[CheckoutRow]:
    """Pages that nobody has told us of for a while, to look at now; nobody else gets them for the moment."""
    return _records(await connection.fetch(DUE, FIRST_LOOK_SECONDS, limit))


async def unfinished_cards(connection: Connection, team_id: str) -> list[CheckoutRow]:
    """Pages on which a card may have been saved that we have not heard of yet; the newest first."""
    return _records(await connection.fetch(UNFINISHED, shard_of(team_id), team_id))


def _records(rows: Sequence[asyncpg.Record]) -> list[CheckoutRow]:
    return [_record(row) for row in rows]


def _record(row: asyncpg.Record) -> CheckoutRow:
    return CheckoutRow(**dict(row))
