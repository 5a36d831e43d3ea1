"""What a pack was sold for: a fact, appended before Stripe is asked for the page.

The row of a page helps to find it and says how far it has come. What is asked for and what is credited is the fact's,
whatever the row says.
"""

from dataclasses import replace
from uuid import UUID

from schemas.facts import NewFact, PurchaseRequested
from services.money.checkout.rows import CheckoutRow
from services.money.stamps import PaymentRequest
from services.store.append import LockedHead, append
from services.store.connect import Connection
from services.store.identities import Identity, find

PURCHASES = "creditwell:purchases"


async def request_purchase(connection: Connection, record: CheckoutRow, head: LockedHead) -> None:
    """Append what is sold, unless the log has it; the caller has taken the head for this."""
    identity = identity_of(record.team_id, record.id)
    if await find(connection, [identity]):
        return
    assert record.charge_cents is not None
    fact = PurchaseRequested(
        purchase_id=str(record.id), pack=record.pack or "", credits=record.credits or 0,
        list_price_cents=record.charge_cents, currency=record.currency or "", taxed=record.taxed,
        keeps_card=record.keeps_card, requested_by=record.asked_by,
    )  # fmt: skip
    await append(connection, [NewFact(*identity, head.recorded_at, fact)], head)


async def true_to_log(connection: Connection, record: CheckoutRow) -> CheckoutRow:
    """A page with what the log says was sold on it; without anything, where the log has no such purchase."""
    identity = identity_of(record.team_id, record.id)
    stored = (await find(connection, [identity])).get(identity)
    if stored is None:
        return record if record.mode == "setup" else replace(record, pack=None, credits=None, charge_cents=None)
    fact = stored.fact()
    assert isinstance(fact, PurchaseRequested), f"{stored.place} is no purchase"
    return replace(
        record, mode="payment", pack=fact.pack, credits=fact.credits, charge_cents=fact.price_cents,
        currency=fact.currency, taxed=fact.taxed, keeps_card=fact.keeps_card,
        asked_by=fact.requested_by or record.asked_by,
    )  # fmt: skip


def identity_of(team_id: str, purchase_id: UUID) -> Identity:
    """The name of the fact that a purchase was asked for."""
    return Identity(team_id, PURCHASES, f"purchase:{purchase_id}")


def request_of(row: CheckoutRow) -> PaymentRequest:
    """What a purchase asks for, as it stands upon its page and its intent; `row` is true to the log."""
    assert row.charge_cents is not None, f"nothing was sold on {row.id}"
    return PaymentRequest(
        "purchase", row.team_id, str(row.id), row.credits or 0, row.charge_cents, row.currency or "",
        row.customer_id, pack=row.pack or "",
    )  # fmt: skip
