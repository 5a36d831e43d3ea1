"""Receipts, and the digits of cards: what people like to see of a payment, kept beside the log.

A receipt shows who paid, and so do the digits of a card; facts are for ever. Nothing is decided by either, `replay`
leaves this table out, and what is missing in it is asked of Stripe again. Facts of earlier builds have them still, and
are read as they are.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from typing import NamedTuple

from projections.top_ups.state import ChargedCard
from schemas.facts import AnyFact, CreditsPurchased, CreditsToppedUp
from services.money.stripe_client import Charges, Intent, StripeCard, WrongRequest
from services.read_models.activity import ActivityRow
from services.runtime.errors import Unavailable
from services.store.connect import Connection
from services.store.protocols import Reads
from services.store.shards import shard_of

ASKED_MAX = 5  # of Stripe while somebody waits; the rest another time

KEEP = """
    INSERT INTO payment_details AS known (shard, team_id, stripe_id, receipt_url, brand, last4)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (shard, team_id, stripe_id) DO UPDATE
    SET receipt_url = excluded.receipt_url, brand = excluded.brand, last4 = excluded.last4
    WHERE (known.receipt_url, known.brand, known.last4) IS DISTINCT FROM (excluded.receipt_url, excluded.brand, excluded.last4)
"""
READ = """
    SELECT stripe_id, receipt_url, brand, last4 FROM payment_details
    WHERE shard = $1 AND team_id = $2 AND stripe_id = ANY($3::text[])
"""

Transaction = Callable[[], AbstractAsyncContextManager[Connection]]


class PaymentDetail(NamedTuple):
    """What is known of a payment (its receipt), or of a card."""

    receipt_url: str | None = None
    brand: str | None = None
    last4: str | None = None


def card_mark(customer_id: str, card: StripeCard) -> str | None:
    """What tells one card of a customer from another in the log: the same card saved twice has one.

    Stripe's fingerprint is of the card's number and the same for each of its customers; this is of one customer alone.
    """
    return sha256(f"{customer_id}\0{card.fingerprint}".encode()).hexdigest() if card.fingerprint else None


async def keep_receipt(connection: Connection, team_id: str, intent: Intent) -> None:
    """Keep where the receipt of a payment is, in the caller's transaction."""
    await connection.execute(KEEP, shard_of(team_id), team_id, intent.id, intent.receipt_url, None, None)


async def keep_card(connection: Connection, team_id: str, card: StripeCard) -> None:
    """Keep what people know a card by, in the caller's transaction."""
    key = shard_of(team_id), team_id, card.payment_method_id
    await connection.execute(KEEP, *key, None, card.brand, card.last4)


async def read_details(reads: Reads, team_id: str, stripe_ids: Collection[str]) -> dict[str, PaymentDetail]:
    """What is kept of these."""
    if not stripe_ids:
        return {}
    rows = await reads.fetch(READ, shard_of(team_id), team_id, sorted(stripe_ids))
    return {row["stripe_id"]: PaymentDetail(row["receipt_url"], row["brand"], row["last4"]) for row in rows}


def payment_without_receipt(fact: AnyFact) -> str | None:
    """The payment whose receipt its fact does not have; None for every other fact."""
    if not isinstance(fact, CreditsPurchased | CreditsToppedUp) or fact.receipt_url is not None:
        return None
    return fact.payment_intent_id


async def with_receipts(reads: Reads, team_id: str, rows: Sequence[ActivityRow]) -> list[ActivityRow]:
    """Entries whose facts say where their receipts are, where that is kept."""
    payments = {payment for row in rows if (payment := payment_without_receipt(row.fact)) is not None}
    details = await read_details(reads, team_id, payments)
    return [_with_receipt(row, details.get(payment_without_receipt(row.fact) or "")) for row in rows]


def _with_receipt(row: ActivityRow, detail: PaymentDetail | None) -> ActivityRow:
    if detail is None or not isinstance(row.fact, CreditsPurchased | CreditsToppedUp):
        return row
    return row._replace(fact=row.fact.model_copy(update={"receipt_url": detail.receipt_url}))


def with_digits(card: ChargedCard, details: dict[str, PaymentDetail]) -> ChargedCard:
    """A card that says what people know it by, where that is kept."""
    detail = details.get(card.payment_method_id)
    if detail is None or card.last4 is not None:
        return card
    return card.model_copy(update={"brand": detail.brand, "last4": detail.last4})


async def ask_receipts(
    charges: Charges | None, reads: Reads, transaction: Transaction, team_id: str, payments: Collection[str]
) -> None:
    """Ask Stripe for the receipts that are not kept, a few at once. Where it does not answer, none is shown."""
    missing = sorted({*payments} - (await read_details(reads, team_id, payments)).keys())
    if charges is None:
        return
    try:
        for payment in missing[:ASKED_MAX]:
            intent = await charges.retrieve(payment)
            async with transaction() as connection:
                await keep_receipt(connection, team_id, intent)
    except (Unavailable, WrongRequest):
        return


async def ask_card(
    charges: Charges | None, reads: Reads, transaction: Transaction, team_id: str, payment_method_id: str
) -> None:
    """Ask Stripe for the brand and digits of a card that are not kept. Where it does not answer, none are shown."""
    if charges is None or await read_details(reads, team_id, [payment_method_id]):
        return
    try:
        card = await charges.saved_card(payment_method_id)
    except (Unavailable, WrongRequest):
        return
    if card is not None:
        async with transaction() as connection:
            await keep_card(connection, team_id, card)
