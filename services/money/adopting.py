"""A payment of ours that the log has lost, or asked for otherwise, and the credits that it is owed.

What we wrote upon the intent says what it was for (`stamps`). It is believed where its MAC fits, where the amount that was paid is
the amount that it names, and where the catalog asks that for these credits, or the team's log has done so before. Everything else is
for a person: nothing is minted from words that anybody could have written at Stripe.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from schemas.catalog import Catalog
from schemas.facts import CreditsPurchased, NewFact, TopUpIntentCreated, TopUpRequested
from schemas.money import format_money
from services.money.stamps import Asked, Stamps, has_stamp, kind_of
from services.money.stripe_client import Checkout, Intent
from services.money.top_ups.attempts import STRIPE, TOP_UPS, append_top_up, read_top_ups
from services.money.top_ups.crediting import answer_of, credit_top_up, read_request
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
class Payment:
    """An intent that has succeeded, and the page on which it was paid, if there was one."""

    intent: Intent
    page: Checkout | None = None


async def believe(
    connection: Connection, stamps: Stamps, catalog: Catalog, team_id: str, payment: Payment
) -> Asked | str:
    """What a payment is owed, by its stamp; or why a person has to settle it."""
    intent, money = payment.intent, format_money(payment.intent.amount_cents, payment.intent.currency)
    asked = stamps.read(intent)
    if asked is None or asked.team_id != team_id:
        why = "its metadata are not what we wrote" if has_stamp(intent) else "its metadata do not say for how many"
        return f"{money} were paid, and {why}"
    over = intent.amount_cents - asked.amount_cents
    tax = payment.page.tax_cents if payment.page is not None else 0
    if over not in (0, tax):
        return f"{money} were paid, and we had asked for {format_money(asked.amount_cents, intent.currency)}"
    if not _is_price(catalog, asked) and not await connection.fetchval(
        ASKED_BEFORE, shard_of(team_id), team_id, asked.credits, asked.amount_cents, asked.currency
    ):
        return f"{money} were paid, which is not what the catalog asks for so many credits"
    return asked


def _is_price(catalog: Catalog, asked: Asked) -> bool:
    if asked.kind == "top-up":
        priced = (catalog.top_up_charge_cents(asked.credits), catalog.top_up.currency)
        return priced == (asked.amount_cents, asked.currency)
    return any(
        (pack.credits, pack.prices.get(asked.currency)) == (asked.credits, asked.amount_cents)
        for pack in catalog.packs.values()
    )


async def adopt(
    connection: Connection, stamps: Stamps, catalog: Catalog, team_id: str, payment: Payment
) -> str | None:
    """Give a payment its credits, in the caller's transaction: None when it has them now, else why it can't be done.

    An attempt that the log does not know is requested, created and credited at once. Whoever comes second changes nothing.
    """
    intent = payment.intent
    assert intent.state == "succeeded", f"{intent.id} is {intent.state}: that is no money"
    now = await lock_shard(connection, team_id)
    if await find(connection, [Identity(team_id, STRIPE, intent.id)]):
        return None
    if await connection.fetchval(SETTLED, shard_of(team_id), team_id, intent.id):
        return "somebody has settled it by an adjustment"
    if kind_of(intent) == "purchase":
        return await _adopt_purchase(connection, stamps, catalog, team_id, payment, now)
    attempt_id = _uuid(intent.metadata["attempt_id"])
    if attempt_id is None:
        return "the attempt that it names is none of ours"
    if (answered := await answer_of(connection, team_id, attempt_id)) is not None:
        return f"attempt {attempt_id} was paid by {answered} already"
    requested = await read_request(connection, team_id, attempt_id)
    if requested is not None and (requested.charge_cents, requested.currency) == (intent.amount_cents, intent.currency):
        await credit_top_up(connection, team_id, attempt_id, intent)
        return None
    asked = await believe(connection, stamps, catalog, team_id, payment)
    if isinstance(asked, str):
        return asked
    if requested is None:
        await _request(connection, asked, intent, now)
    await credit_top_up(connection, team_id, attempt_id, intent, credits=asked.credits)
    return None


async def _request(connection: Connection, asked: Asked, intent: Intent, now: datetime) -> None:
    """What another life of the log had decided."""
    requested = TopUpRequested(
        attempt_id=asked.id, ran_low_id=asked.episode, attempt=asked.number, credits=asked.credits,
        charge_cents=asked.amount_cents, currency=asked.currency, customer_id=asked.customer_id,
        payment_method_id=intent.payment_method_id or "unknown",
    )  # fmt: skip
    created = TopUpIntentCreated(attempt_id=asked.id, payment_intent_id=intent.id)
    state = await read_top_ups(connection, asked.team_id)
    await append_top_up(connection, state, [
        NewFact(asked.team_id, TOP_UPS, f"requested:{asked.id}", now, requested),
        NewFact(asked.team_id, TOP_UPS, f"intent:{asked.id}", now, created),
    ])  # fmt: skip


async def _adopt_purchase(
    connection: Connection, stamps: Stamps, catalog: Catalog, team_id: str, payment: Payment, now: datetime
) -> str | None:
    asked = await believe(connection, stamps, catalog, team_id, payment)
    if isinstance(asked, str):
        return asked
    intent, page = payment.intent, payment.page
    fact = CreditsPurchased(
        credits=asked.credits, pack=asked.pack, payment_intent_id=intent.id, charge_cents=intent.amount_cents,
        tax_cents=(page.tax_cents or None) if page is not None else None, currency=intent.currency,
        charge_id=intent.charge_id, receipt_url=intent.receipt_url,
    )  # fmt: skip
    await append(connection, [NewFact(team_id, STRIPE, intent.id, now, fact)])
    return None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
