"""The card that top-ups charge: what the log says of it, after a page of ours or without us."""

from datetime import datetime

from projections.top_ups.state import TopUps
from schemas.facts import NewFact, PaymentMethodChanged
from services.money.checkout import customers
from services.money.checkout.customers import CardChange
from services.money.payment_details import card_mark, keep_card
from services.money.stripe_client import StripeCard
from services.money.top_ups.log import read_top_ups
from services.runtime.errors import Unavailable
from services.store.append import append, lock_shard
from services.store.connect import Connection

CARDS = "creditwell:cards"


async def change_card(
    connection: Connection,
    top_ups: TopUps,
    customer_id: str,
    card: StripeCard | None,
    now: datetime,
    *,
    fact_id: str,
    changed_by: str | None = None,
) -> int:
    """Append that this is the card now, or that there is none, unless the log says so already.

    Returns the position of the log then.

    `top_ups` are the team's at the head of the log, under the lock of its shard.
    """
    team_id, payment_method_id = top_ups.team_id, card.payment_method_id if card is not None else None
    await customers.keep_customer(connection, team_id, customer_id)
    await customers.use_card(
        connection, team_id, customer_id, payment_method_id, card.created_at if card is not None else None
    )
    if payment_method_id == (top_ups.card.payment_method_id if top_ups.card is not None else None):
        return top_ups.position
    fact = PaymentMethodChanged(
        customer_id=customer_id, payment_method_id=payment_method_id,
        fingerprint=card_mark(customer_id, card) if card else None, changed_by=changed_by,
    )  # fmt: skip
    if card is not None:
        await keep_card(connection, team_id, card)
    appended = await append(connection, [NewFact(team_id, CARDS, fact_id, now, fact)])
    return appended.places[0].position


async def notice_card(
    connection: Connection,
    team_id: str,
    customer_id: str,
    card: StripeCard | None,
    change: CardChange | None,
    *,
    news_id: str,
) -> str:
    """What changed at Stripe without us, as a fact: a card that was removed, or another default. What came of it.

    `change` is what the log said before Stripe was asked. Raises Unavailable if it says something newer: ask again.
    """
    now = await lock_shard(connection, team_id)
    if await customers.last_card_change(connection, team_id) != change:
        raise Unavailable("the card was changed while Stripe was asked for it")
    customer, top_ups = await customers.read_customer(connection, team_id), await read_top_ups(connection, team_id)
    if customer is None or customer.customer_id != customer_id:
        return "not the customer of today"
    ours = top_ups.card is not None and top_ups.card.payment_method_id == customer.payment_method_id
    if card is None and not ours:
        return "no card, as before"  # ours is the default by our own doing; another one may never have been
    before = top_ups.position
    after = await change_card(connection, top_ups, customer_id, card, now, fact_id=f"card:{news_id}")
    return "the card, as before" if after == before else "the card was changed" if card else "the card was removed"
