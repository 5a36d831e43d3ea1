"""Credits for a top-up that was paid: one function, whoever sees the money first.

The worker sees it, woken by Stripe's news or by itself, and so does reconciliation. They may come at the same moment,
and what is in the log afterwards is the same, whoever wins:

- the credits are those that were frozen when the charge was decided, and the charge is what Stripe took;
- a payment is credited once, by its id, and an attempt is answered once. A second payment for the same attempt brings
  nothing: a person refunds it;
- money that came for an attempt which was taken for failed is credited all the same, for it had been asked for;
- an intent that is not what the attempt asked for, by its money, its customer or a word upon it, brings nothing by what
  the attempt says. What it is owed is for `services.money.adopting`, or for a person.
"""

from uuid import UUID

from projections.top_ups.state import Attempt
from schemas.facts import CreditsToppedUp, NewFact, Stored, TopUpRequested
from services.money.payment_details import keep_receipt
from services.money.stamps import PaymentRequest, is_for
from services.money.stripe_client import Intent
from services.money.top_ups.attempts import ended
from services.money.top_ups.log import STRIPE, TOP_UPS, append_top_up, lock_top_ups
from services.runtime.tracing.context import carrying
from services.store.beside.traces import trail_of_fact
from services.store.connect import Connection
from services.store.identities import Identity, find
from services.store.read import FACT_COLUMNS, stored_of
from services.store.shards import shard_of

# The condition on types is also the index's own.
ANSWERS = f"""
    SELECT {FACT_COLUMNS} FROM facts
    WHERE shard = $1 AND team_id = $2 AND type = 'credits.topped_up.v1'
      AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
    ORDER BY position
"""


async def credit_top_up(
    connection: Connection, team_id: str, attempt_id: UUID, intent: Intent, *, credits: int | None = None
) -> CreditsToppedUp | None:
    """Answer an attempt's payment by its credits and end the attempt, in the caller's transaction.

    Args:
        connection: in a transaction of the caller.
        team_id: whose attempt it is.
        attempt_id: one that was requested.
        intent: as Stripe has it now; it has succeeded.
        credits: the intent's own, where it is not what the request asked for (`services.money.adopting`).

    Returns:
        The credits; None where this payment is credited already, another one has answered the attempt, or, without
        `credits`, the attempt had asked for something else.
    """
    assert intent.state == "succeeded", f"{intent.id} is {intent.state}: that is no money"
    state, head = await lock_top_ups(connection, team_id)
    payment, request = Identity(team_id, STRIPE, intent.id), _name_of_request(team_id, attempt_id)
    stored = await find(connection, [payment, request])
    if payment in stored:
        return None
    is_open = state.open is not None and state.open.attempt_id == str(attempt_id)
    if not is_open and await answer_of(connection, team_id, attempt_id) is not None:
        return None
    requested = _requested(stored.get(request))
    assert requested is not None, f"nobody asked for {attempt_id}"
    if credits is None and not is_for(intent, request_of(team_id, requested)):
        return None
    fact = _credits_for(intent, requested, credits)
    await keep_receipt(connection, team_id, intent)
    new = NewFact(*payment, head.recorded_at, fact)
    # Of whoever asked for it, whoever sees the money.
    with carrying(await trail_of_fact(connection, request)):
        await append_top_up(connection, state, [new], head, [ended(team_id, attempt_id)])
    return fact


def _credits_for(intent: Intent, requested: TopUpRequested, credits: int | None) -> CreditsToppedUp:
    """What a payment brings: as was asked for, or these `credits` of its own, which it says."""
    brings = requested.credits if credits is None else credits
    as_asked = credits is None or (credits, intent.amount_cents) == (requested.credits, requested.charge_cents)
    return CreditsToppedUp(
        credits=brings, attempt_id=requested.attempt_id, payment_intent_id=intent.id, charge_cents=intent.amount_cents,
        tax_cents=intent.tax_cents or None, currency=intent.currency, charge_id=intent.charge_id,
        paid_at=intent.paid_at, found_payment=None if as_asked else True,
    )  # fmt: skip


def _name_of_request(team_id: str, attempt_id: UUID) -> Identity:
    return Identity(team_id, TOP_UPS, f"requested:{attempt_id}")


async def read_request(connection: Connection, team_id: str, attempt_id: UUID) -> TopUpRequested | None:
    """What was decided and frozen for an attempt; None where nobody asked for it."""
    identity = _name_of_request(team_id, attempt_id)
    return _requested((await find(connection, [identity])).get(identity))


def _requested(stored: Stored | None) -> TopUpRequested | None:
    if stored is None:
        return None
    fact = stored.fact()
    assert isinstance(fact, TopUpRequested), f"{stored.place} is no request"
    return fact


def request_of(team_id: str, attempt: Attempt | TopUpRequested) -> PaymentRequest:
    """What an attempt asks for, as it stands upon its intent."""
    number = attempt.number if isinstance(attempt, Attempt) else attempt.attempt
    return PaymentRequest(
        "top-up", team_id, attempt.attempt_id, attempt.credits, attempt.charge_cents, attempt.currency, attempt.customer_id,
        episode=attempt.ran_low_id, number=number,
    )  # fmt: skip


async def answer_of(connection: Connection, team_id: str, attempt_id: UUID) -> str | None:
    """The payment whose credits have answered an attempt; None where it brought none yet."""
    for row in await connection.fetch(ANSWERS, shard_of(team_id), team_id):
        fact = stored_of(row).fact()
        if isinstance(fact, CreditsToppedUp) and fact.attempt_id == str(attempt_id):
            return fact.payment_intent_id
    return None
