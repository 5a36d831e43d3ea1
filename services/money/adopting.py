"""A payment of ours that the log has lost, or asked for otherwise, and the credits that it is owed.

What we wrote upon the intent says what it was for (`stamps`). It is believed where its MAC fits, where the amount
that was paid is the amount that it names, and where the catalog asks that for these credits, or the team's log has
done so before. Everything else is for a person: nothing is minted from words that anybody could have written at
Stripe.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from schemas.catalog import Catalog
from schemas.credits import MicroCredits
from schemas.facts import CreditsPurchased, NewFact, PurchaseRequested, TopUpIntentCreated, TopUpRequested
from schemas.money import format_money
from services.money.checkout.purchases import identity_of
from services.money.payment_details import keep_receipt
from services.money.reversals import append_reversals, read_account, seen_of
from services.money.stamps import Kind, PaymentRequest, Stamps, has_stamp, is_for, kind_of
from services.money.stripe_client import Checkout, Dispute, Intent
from services.money.top_ups.attempts import REOPEN
from services.money.top_ups.crediting import answer_of, credit_top_up, read_request, request_of
from services.money.top_ups.log import STRIPE, TOP_UPS, append_top_up, fold_top_ups
from services.store.append import append, lock_shard
from services.store.connect import Connection
from services.store.identities import Identity, find
from services.store.shards import shard_of

ASKED_BEFORE = """
    SELECT true FROM facts
    WHERE shard = $1 AND team_id = $2 AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
      AND type = ANY('{top_up.requested.v1,credits.topped_up.v1,credits.purchased.v1}')
      AND (convert_from(body, 'UTF8')::json ->> 'credits')::bigint = $3
      AND (convert_from(body, 'UTF8')::json ->> 'charge_cents')::bigint = $4
      AND convert_from(body, 'UTF8')::json ->> 'currency' = $5
    LIMIT 1
"""


SETTLED = """
    SELECT true FROM facts
    WHERE shard = $1 AND team_id = $2 AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
      AND type = 'credits.adjusted.v1' AND convert_from(body, 'UTF8')::json ->> 'refers_to' = $3
    LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class PaidIntent:
    """An intent that has succeeded, its disputes, and the page on which it was paid, if there was one."""

    intent: Intent
    page: Checkout | None = None
    disputes: tuple[Dispute, ...] = ()


class Doubt(NamedTuple):
    """Why a person has to settle a payment.

    `differs`: what stands upon it is not what we wrote, or not what is sold.
    """

    why: str
    differs: bool


async def believe(
    connection: Connection, stamps: Stamps, catalog: Catalog, team_id: str, payment: PaidIntent
) -> PaymentRequest | Doubt:
    """What a payment is owed, by its stamp; or why a person has to settle it."""
    intent, money = payment.intent, format_money(payment.intent.amount_cents, payment.intent.currency)
    if not has_stamp(intent):
        return Doubt(f"{money} were paid, and its metadata do not say for how many credits", differs=False)
    if stamps.key is None:
        return Doubt(f"{money} were paid, and only the worker's role can prove for how many credits", differs=False)
    request = stamps.read(intent)
    if request is None or request.team_id != team_id:
        return Doubt(f"{money} were paid, and its metadata are not what we wrote", differs=True)
    over = intent.amount_cents - request.amount_cents
    tax = payment.page.tax_cents if payment.page is not None else 0
    if over not in (0, tax):
        expected = format_money(request.amount_cents, intent.currency)
        return Doubt(f"{money} were paid, and we had asked for {expected}", differs=True)
    priced = is_price(catalog, request.kind, request.credits, request.amount_cents, request.currency)
    if not priced and not await connection.fetchval(
        ASKED_BEFORE, shard_of(team_id), team_id, request.credits, request.amount_cents, request.currency
    ):
        return Doubt(f"{money} were paid, which is not what the catalog asks for so many credits", differs=True)
    return request


def is_price(catalog: Catalog, kind: Kind, credits: MicroCredits, amount_cents: int, currency: str) -> bool:
    """True if the catalog asks this for so many credits now."""
    if kind == "top-up":
        return (catalog.top_up_charge_cents(credits), catalog.top_up.currency) == (amount_cents, currency)
    return any((pack.credits, pack.prices.get(currency)) == (credits, amount_cents) for pack in catalog.packs.values())


@dataclass(frozen=True, slots=True)
class Owed:
    """What a payment is owed.

    `requested`: the log knows the attempt. `request`: None where the log's own word is enough.
    """

    payment: PaidIntent
    attempt_id: UUID | None
    requested: bool
    request: PaymentRequest | None


async def owed(
    connection: Connection, stamps: Stamps, catalog: Catalog, team_id: str, payment: PaidIntent
) -> Owed | Doubt | None:
    """What a payment that has succeeded is owed: None when it has its credits, or why a person has to settle it."""
    intent = payment.intent
    assert intent.state == "succeeded", f"{intent.id} is {intent.state}: that is no money"
    if await find(connection, [Identity(team_id, STRIPE, intent.id)]):
        return None
    fault, attempt_id, requested = await _by_log(connection, team_id, intent)
    if fault is not None:
        return Doubt(fault, differs=True)
    if requested is not None and is_for(intent, request_of(team_id, requested)):
        return Owed(payment, attempt_id, requested=True, request=None)
    request = await believe(connection, stamps, catalog, team_id, payment)
    return request if isinstance(request, Doubt) else Owed(payment, attempt_id, requested is not None, request)


async def give(connection: Connection, team_id: str, due: Owed) -> None:
    """Give a payment its credits, in the caller's transaction, under the lock under which it was found to be owed them.

    An attempt that the log does not know is requested, created and credited at once. What of the money went back
    meanwhile takes its part of the credits back in the same transaction.
    """
    now, intent, request = await lock_shard(connection, team_id), due.payment.intent, due.request
    if due.attempt_id is None:
        assert request is not None, "a purchase that the log knows is followed by its page"
        await _give_purchase(connection, request, due.payment, now)
    else:
        if not due.requested and request is not None:
            await _request(connection, request, intent, now)
        credits = request.credits if request is not None else None
        await credit_top_up(connection, team_id, due.attempt_id, intent, credits=credits)
    if intent.refunded_cents or due.payment.disputes:
        account = await read_account(connection, team_id, intent.id)
        assert account is not None, f"{intent.id} has brought credits a moment ago"
        await append_reversals(connection, team_id, account, seen_of(intent, due.payment.disputes, account))


async def adopt(connection: Connection, stamps: Stamps, catalog: Catalog, team_id: str, payment: PaidIntent) -> bool:
    """Give a payment what it is owed, in the caller's transaction; False where that is for a person, or done."""
    await lock_shard(connection, team_id)
    due = await owed(connection, stamps, catalog, team_id, payment)
    if not isinstance(due, Owed):
        return False
    # Another attempt is open: whoever charges looks before it is confirmed, ends it, and answers both.
    if due.attempt_id is not None and not due.requested and (await fold_top_ups(connection, team_id)).open is not None:
        return False
    await give(connection, team_id, due)
    return True


async def _by_log(
    connection: Connection, team_id: str, intent: Intent
) -> tuple[str | None, UUID | None, TopUpRequested | None]:
    """Why it is owed nothing, its attempt, and what the log knows of that."""
    if await connection.fetchval(SETTLED, shard_of(team_id), team_id, intent.id):
        return "somebody has settled it by an adjustment", None, None
    if kind_of(intent) == "purchase":
        return None, None, None
    try:
        attempt_id = UUID(intent.metadata["attempt_id"])
    except ValueError:
        return "the attempt that it names is none of ours", None, None
    if (answered := await answer_of(connection, team_id, attempt_id)) is not None:
        return f"attempt {attempt_id} was paid by {answered} already", None, None
    return None, attempt_id, await read_request(connection, team_id, attempt_id)


async def _request(connection: Connection, request: PaymentRequest, intent: Intent, now: datetime) -> None:
    """What another life of the log had decided."""
    requested = TopUpRequested(
        attempt_id=request.id, ran_low_id=request.episode, attempt=request.number, credits=request.credits,
        charge_cents=request.amount_cents, currency=request.currency, customer_id=request.customer_id,
        payment_method_id=intent.payment_method_id or "unknown", found_payment=intent.id,
    )  # fmt: skip
    created = TopUpIntentCreated(attempt_id=request.id, payment_intent_id=intent.id)
    state = await fold_top_ups(connection, request.team_id)
    await connection.execute(REOPEN, shard_of(request.team_id), request.team_id, UUID(request.id), intent.id, now)
    await append_top_up(connection, state, [
        NewFact(request.team_id, TOP_UPS, f"requested:{request.id}", now, requested),
        NewFact(request.team_id, TOP_UPS, f"intent:{request.id}", now, created),
    ])  # fmt: skip


async def _give_purchase(connection: Connection, request: PaymentRequest, payment: PaidIntent, now: datetime) -> None:
    intent, page = payment.intent, payment.page
    tax_cents = page.tax_cents if page is not None else 0
    fact = CreditsPurchased(
        credits=request.credits, pack=request.pack, payment_intent_id=intent.id, charge_cents=intent.amount_cents,
        tax_cents=tax_cents or intent.tax_cents or None, currency=intent.currency, charge_id=intent.charge_id,
        purchase_id=request.id, paid_at=intent.paid_at,
    )  # fmt: skip
    new = [NewFact(request.team_id, STRIPE, intent.id, now, fact)]
    identity = identity_of(request.team_id, UUID(request.id))
    if not await find(connection, [identity]):
        sold = PurchaseRequested(
            purchase_id=request.id, pack=request.pack or "", credits=request.credits,
            list_price_cents=request.amount_cents, currency=request.currency, taxed=tax_cents > 0, keeps_card=False,
            found_payment=intent.id,
        )  # fmt: skip
        new.insert(0, NewFact(*identity, now, sold))
    await keep_receipt(connection, request.team_id, intent)
    await append(connection, new)
