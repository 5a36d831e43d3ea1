"""Payments for tests of what becomes of them: charged at the stand-in, answered by credits in the log."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from schemas.credits import MICRO
from schemas.facts import CreditsPurchased, CreditsToppedUp, NewFact, PurchaseRequested, TopUpRequested
from services.money import reversals
from services.money.checkout.purchases import PURCHASES
from services.money.reconcile.compare import transactions_on
from services.money.reversals import ReversalOutcome
from services.money.stripe_client import Charges, Intent
from services.money.top_ups.log import STRIPE, TOP_UPS
from services.store.append import append
from services.store.connect import Connection
from services.store.identities import not_stored
from tests.support.desk import Desk
from tests.support.serving import plan, store

CENTS, CREDITS = 2_000, 1_000


@dataclass(frozen=True)
class Paid:
    """A charge that succeeded, and whose it is."""

    team: str
    intent: Intent

    @property
    def id(self) -> str:
        return self.intent.id


async def a_team(connection: Connection, *, credits: int = 0) -> str:
    """A team with so many included credits."""
    team = f"team_{uuid4().hex}"
    await store(connection, team, [plan(credits)])
    return team


async def charged(
    desk: Desk, team: str, *, cents: int = CENTS, metadata: dict[str, str] | None = None, attempt_id: UUID | None = None
) -> Paid:
    """Money at Stripe, and nothing in the log yet."""
    card = await desk.card(team, "pm_card_visa")
    attempt = attempt_id or uuid4()
    intent = await desk.charges.create_intent(
        attempt_id=attempt, team_id=team, customer_id=card.customer_id,
        payment_method_id=card.payment_method_id or "", charge_cents=cents, currency="usd", metadata=metadata,
    )  # fmt: skip
    return Paid(team, await desk.charges.confirm(intent.id, attempt_id=attempt, try_number=1))


async def by_hand(
    desk: Desk, *, cents: int = CENTS, confirm: bool = True, metadata: dict[str, str] | None = None
) -> str:
    """An intent that somebody made at Stripe without us; its id."""
    more = {f"metadata[{name}]": value for name, value in (metadata or {}).items()}
    made = await desk.http.post(
        "/v1/payment_intents",
        data={"amount": str(cents), "currency": "usd", "payment_method": "pm_card_visa",
              "confirm": str(confirm).lower(), **more},
    )  # fmt: skip
    assert made.is_success, made.text
    intent_id: str = made.json()["id"]
    return intent_id


def bought(paid: Paid, *, credits: int = CREDITS, **changes: Any) -> CreditsPurchased:
    """The fact that answers a payment."""
    usual = {
        "credits": credits * MICRO, "pack": "mini", "payment_intent_id": paid.id, "charge_cents": paid.intent.amount_cents,
        "currency": "usd", "purchase_id": str(uuid4()),
    }  # fmt: skip
    return CreditsPurchased.model_validate(usual | changes)


def topped_up(paid: Paid, *, credits: int = CREDITS) -> CreditsToppedUp:
    """The fact that answers an automatic charge."""
    return CreditsToppedUp(
        credits=credits * MICRO, attempt_id=paid.intent.metadata["attempt_id"], payment_intent_id=paid.id,
        charge_cents=paid.intent.amount_cents, currency="usd",
    )  # fmt: skip


def asked_for(paid: Paid, fact: CreditsPurchased | CreditsToppedUp, *, credits: int = CREDITS) -> NewFact:
    """The fact that asked for 1,000 credits and what was paid."""
    cents, now = paid.intent.amount_cents, datetime.now(UTC)
    if isinstance(fact, CreditsPurchased):
        sold = PurchaseRequested(
            purchase_id=fact.purchase_id or "", pack="mini", credits=credits * MICRO, list_price_cents=cents,
            currency="usd", taxed=False, keeps_card=False,
        )  # fmt: skip
        return NewFact(paid.team, PURCHASES, f"purchase:{fact.purchase_id}", now, sold)
    requested = TopUpRequested(
        attempt_id=fact.attempt_id, ran_low_id="low", attempt=0, credits=credits * MICRO, charge_cents=cents,
        currency="usd", customer_id="cus_1", payment_method_id="pm_1",
    )  # fmt: skip
    return NewFact(paid.team, TOP_UPS, f"requested:{fact.attempt_id}", now, requested)


async def credited(
    connection: Connection, paid: Paid, fact: CreditsPurchased | CreditsToppedUp, *, id: str | None = None
) -> None:
    """The payment's credits, under the name that whoever credits them uses, after what asked for them."""
    async with connection.transaction():
        asked = await not_stored(connection, [asked_for(paid, fact)])
        await append(connection, [*asked, NewFact(paid.team, STRIPE, id or paid.id, datetime.now(UTC), fact)])


async def a_payment(connection: Connection, desk: Desk, team: str | None = None, *, automatic: bool = False) -> Paid:
    """$20.00 charged, 1,000 credits gained."""
    paid = await charged(desk, team or await a_team(connection))
    await credited(connection, paid, topped_up(paid) if automatic else bought(paid))
    return paid


async def follow(connection: Connection, charges: Charges, payment_intent_id: str) -> ReversalOutcome:
    """What the worker does with news of a payment, on a connection of the test's."""
    return await reversals.follow(transactions_on(connection), charges, payment_intent_id)


async def refund(desk: Desk, paid: Paid | str, cents: int | None = None) -> str:
    """The seller gives money back; the refund's id."""
    intent_id = paid if isinstance(paid, str) else paid.id
    more = {} if cents is None else {"amount": str(cents)}
    made = await desk.http.post("/v1/refunds", data={"payment_intent": intent_id, **more})
    assert made.is_success, made.text
    refund_id: str = made.json()["id"]
    return refund_id


async def dispute(desk: Desk, paid: Paid, **order: Any) -> str:
    """The bank wants money back; the dispute's id."""
    opened = await desk.order("disputes", charge=paid.intent.charge_id, **order)
    dispute_id: str = opened["id"]
    return dispute_id


async def decide(desk: Desk, dispute_id: str, *, won: bool) -> None:
    """The bank has decided."""
    await desk.order(f"disputes/{dispute_id}/close", won=won)
