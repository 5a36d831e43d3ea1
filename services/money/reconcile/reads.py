"""What reconciliation asks of the store.

Which payments brought credits, which were meant to, and when to compare again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from projections.balance.state import ALWAYS, NEVER
from projections.sold import purchase_differs, top_up_differs
from schemas.catalog import Catalog
from schemas.credits import MicroCredits, format_credits
from schemas.facts import (
    ChargeDisputed,
    ChargeRefunded,
    CreditsAdjusted,
    CreditsPurchased,
    CreditsToppedUp,
    DisputeClosed,
    PurchaseRequested,
    Stored,
    TopUpRequested,
)
from services.money.adopting import is_price
from services.money.checkout import purchases
from services.money.checkout import rows as checkouts
from services.money.checkout.purchases import PURCHASES, true_to_log
from services.money.checkout.rows import CheckoutRow
from services.money.stamps import Kind, PaymentRequest
from services.money.top_ups.crediting import answer_of, read_request, request_of
from services.money.top_ups.log import STRIPE, TOP_UPS, read_top_ups
from services.store.connect import Connection
from services.store.identities import Identity, find
from services.store.read import FACT_COLUMNS, stored_of
from services.store.shards import shard_of

GAINS = ("credits.purchased.v1", "credits.topped_up.v1")
REVERSALS = ("charge.refunded.v1", "charge.disputed.v1", "dispute.closed.v1")
LEASE = timedelta(minutes=15)
JUDGED_TOGETHER = 1_000  # payments whose requests are read at once

# The condition on types is that of the index `facts_of_money`: nothing else of the log is read.
OF_MONEY = (*GAINS, *REVERSALS, "credits.adjusted.v1")
OF_TYPES = f"""
    SELECT {FACT_COLUMNS} FROM facts
    WHERE type IN {OF_MONEY} AND type = ANY($1) AND recorded_at >= $2 AND recorded_at < $3
    ORDER BY shard, position
"""
COUNT = f"""
    SELECT count(*) FROM facts
    WHERE type IN {OF_MONEY} AND type = ANY($1) AND recorded_at >= $2 AND recorded_at < $3
"""
OF_TEAM = f"""
    SELECT {FACT_COLUMNS} FROM facts
    WHERE shard = $1 AND team_id = $2 AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%' AND type = ANY($3)
    ORDER BY position
"""

CLAIM = """
    UPDATE reconciliations SET due_at = clock_timestamp() + $2::interval, began_at = clock_timestamp()
    WHERE name = $1 AND due_at <= clock_timestamp() RETURNING began_at
"""
FINISH = """
    UPDATE reconciliations
    SET due_at = began_at + $2::interval, ended_at = clock_timestamp(), payments = $3, healed = $4, breaks = $5
    WHERE name = $1
"""
# Stripe sends an event again for three days, and forgets it after thirty.
FORGET_NEWS = "DELETE FROM stripe_inbox WHERE done_at < clock_timestamp() - $1::interval"
LATER = "UPDATE reconciliations SET due_at = clock_timestamp() + $2::interval WHERE name = $1"
READ_RESULTS = "SELECT name, breaks, ended_at FROM reconciliations ORDER BY name"


class Credit(NamedTuple):
    """Credits that a payment brought, by the log. `fault`: how they are others than were sold for the money."""

    team_id: str
    place: str
    kind: Kind
    payment_intent_id: str
    credits: MicroCredits
    charge_cents: int
    currency: str
    recorded_at: datetime
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class IntendedPayment:
    """What we had meant to be paid, written down before anybody was asked for money.

    `answered_by`: whose credits are there. `fault`: what was found wrong when the payment was to be credited.
    `request`: as it was to stand upon the payment; None where the log does not say that it was asked for.
    """

    kind: Kind
    id: UUID
    team_id: str
    credits: MicroCredits
    charge_cents: int
    currency: str
    payment_intent_id: str | None
    answered_by: str | None
    open: bool
    taxed: bool = False
    fault: str | None = None
    request: PaymentRequest | None = None


async def credits_between(connection: Connection, catalog: Catalog, since: datetime, until: datetime) -> list[Credit]:
    """All credits that payments brought from `since` until before `until`; about 300 bytes of memory for each."""
    rows = await connection.fetch(OF_TYPES, GAINS, since, until)
    credits: list[Credit] = []
    for begin in range(0, len(rows), JUDGED_TOGETHER):
        credits += await _judged(connection, catalog, [stored_of(row) for row in rows[begin : begin + JUDGED_TOGETHER]])
    return credits


async def count_credits(connection: Connection, since: datetime, until: datetime) -> int:
    """How many payments brought credits then: about as many as Stripe will list."""
    count: int = await connection.fetchval(COUNT, GAINS, since, until)
    return count


async def reversed_by_log(connection: Connection, since: datetime, until: datetime) -> set[str]:
    """The payments of which, by the log, something went back then, or that were disputed and undecided."""
    recent: set[str] = set()
    undecided: dict[str, str] = {}
    for row in await connection.fetch(OF_TYPES, REVERSALS, ALWAYS, until):
        fact = stored_of(row).fact()
        assert isinstance(fact, ChargeRefunded | ChargeDisputed | DisputeClosed)
        if row["recorded_at"] >= since:
            recent.add(fact.payment_intent_id)
        if isinstance(fact, ChargeDisputed):
            undecided[fact.dispute_id] = fact.payment_intent_id
        elif isinstance(fact, DisputeClosed):
            undecided.pop(fact.dispute_id, None)
    return recent | set(undecided.values())


async def settled_by_hand(connection: Connection) -> set[str]:
    """What adjustments refer to: a payment that a person has dealt with, among others."""
    facts = [stored_of(row).fact() for row in await connection.fetch(OF_TYPES, (CreditsAdjusted.type,), ALWAYS, NEVER)]
    return {fact.refers_to for fact in facts if isinstance(fact, CreditsAdjusted) and fact.refers_to is not None}


async def credits_of(
    connection: Connection, catalog: Catalog, team_ids: Sequence[str], payment_intent_id: str
) -> tuple[Credit, ...]:
    """The credits that one payment brought to these teams, under whatever name."""
    facts = [
        stored_of(row)
        for team_id in team_ids
        for row in await connection.fetch(OF_TEAM, shard_of(team_id), team_id, GAINS)
    ]
    mine = [stored for stored in facts if _gain(stored).payment_intent_id == payment_intent_id]
    return tuple(await _judged(connection, catalog, mine))


async def _judged(connection: Connection, catalog: Catalog, gains: Sequence[Stored]) -> list[Credit]:
    """Each with how it differs from what was sold: by the fact that asked for it, or else by the catalog."""
    requests = await find(connection, [_asked_by(stored) for stored in gains])
    return [_credit_of(stored, requests.get(_asked_by(stored)), catalog) for stored in gains]


def _gain(stored: Stored) -> CreditsPurchased | CreditsToppedUp:
    fact = stored.fact()
    assert isinstance(fact, CreditsPurchased | CreditsToppedUp), "by its type"
    return fact


def _asked_by(stored: Stored) -> Identity:
    """The name of the fact by which the credits were asked for."""
    match _gain(stored):
        case CreditsPurchased(purchase_id=purchase_id):
            return Identity(stored.team_id, PURCHASES, f"purchase:{purchase_id}")
        case CreditsToppedUp(attempt_id=attempt_id):
            return Identity(stored.team_id, TOP_UPS, f"requested:{attempt_id}")


def _credit_of(stored: Stored, request_of: Stored | None, catalog: Catalog) -> Credit:
    fact, request = _gain(stored), request_of.fact() if request_of is not None else None
    kind: Kind = "purchase" if isinstance(fact, CreditsPurchased) else "top-up"
    fault = None
    if isinstance(fact, CreditsPurchased) and isinstance(request, PurchaseRequested):
        fault = next(purchase_differs(fact, request), None)
    elif isinstance(fact, CreditsToppedUp) and isinstance(request, TopUpRequested):
        fault = next(top_up_differs(fact, request), None)
    elif not is_price(catalog, kind, fact.credits, fact.charge_cents - _tax(fact), fact.currency):
        fault = f"nobody asked for them, and the catalog has another price for {format_credits(fact.credits)} credits"
    return Credit(
        stored.team_id, stored.place, kind, fact.payment_intent_id, fact.credits, fact.charge_cents, fact.currency,
        stored.recorded_at, fault,
    )  # fmt: skip


def _tax(fact: CreditsPurchased | CreditsToppedUp) -> int:
    return (fact.tax_cents or 0) if isinstance(fact, CreditsPurchased) else 0


async def wanted_by(connection: Connection, metadata: Mapping[str, str]) -> IntendedPayment | None:
    """The attempt or the purchase that an intent names; None for one of which we know nothing."""
    try:
        if "attempt_id" in metadata:
            return await _attempt(connection, metadata.get("team_id", ""), UUID(metadata["attempt_id"]))
        return await _purchase(connection, UUID(metadata["purchase_id"])) if "purchase_id" in metadata else None
    except ValueError:  # somebody else's metadata
        return None


async def _attempt(connection: Connection, team_id: str, attempt_id: UUID) -> IntendedPayment | None:
    requested = await read_request(connection, team_id, attempt_id)
    if requested is None:
        return None
    state = await read_top_ups(connection, team_id)
    under_way = state.open if state.open is not None and state.open.attempt_id == str(attempt_id) else None
    return IntendedPayment(
        "top-up", attempt_id, team_id, requested.credits, requested.charge_cents, requested.currency,
        under_way.payment_intent_id if under_way is not None else None,
        await answer_of(connection, team_id, attempt_id), open=under_way is not None,
        request=request_of(team_id, requested),
    )  # fmt: skip


async def _purchase(connection: Connection, purchase_id: UUID) -> IntendedPayment | None:
    record = await checkouts.find(connection, purchase_id)
    record = await true_to_log(connection, record) if record is not None else None
    if record is None or record.mode != "payment":
        return None
    unsold = "the log does not say that this was sold" if record.credits is None else None
    return IntendedPayment(
        "purchase", record.id, record.team_id, record.credits or 0, record.charge_cents or 0, record.currency or "",
        record.payment_intent_id, await _paid_by(connection, record),
        open=record.state in ("open", "processing"), taxed=record.taxed,
        fault=record.detail if record.state == "differs" else unsold,
        request=None if record.credits is None else purchases.request_of(record),
    )  # fmt: skip


async def _paid_by(connection: Connection, record: CheckoutRow) -> str | None:
    """The payment that has brought a purchase's credits, by the log."""
    if record.payment_intent_id is None:
        return None
    credited = await find(connection, [Identity(record.team_id, STRIPE, record.payment_intent_id)])
    return record.payment_intent_id if credited else None


async def claim(connection: Connection, name: str) -> datetime | None:
    """When this comparison began, if it is due and nobody else works on it."""
    began_at: datetime | None = await connection.fetchval(CLAIM, name, LEASE)
    return began_at


async def finish(
    connection: Connection, name: str, every: timedelta, *, payments: int, healed: int, breaks: Mapping[str, int]
) -> None:
    """Write down what a comparison found, and when the next one is due."""
    await connection.execute(FINISH, name, every, payments, healed, json.dumps(dict(breaks)))


async def forget_news(connection: Connection, kept: timedelta) -> None:
    """Delete news of Stripe's that was done with so long ago; what came of it stands in the log."""
    await connection.execute(FORGET_NEWS, kept)


async def later(connection: Connection, name: str, wait: timedelta) -> None:
    """Stripe does not answer: compare again soon."""
    await connection.execute(LATER, name, wait)


async def read_results(connection: Connection) -> dict[str, dict[str, int]]:
    """What the last comparisons left, by their names and by type."""
    return {row["name"]: json.loads(row["breaks"]) for row in await connection.fetch(READ_RESULTS)}
