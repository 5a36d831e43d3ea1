"""What reconciliation asks of the store.

Which payments brought credits, which were meant to, and when to compare again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from projections.balance.state import ALWAYS
from schemas.credits import MicroCredits
from schemas.facts import (
    ChargeDisputed,
    ChargeRefunded,
    CreditsAdjusted,
    CreditsPurchased,
    CreditsToppedUp,
    DisputeClosed,
    Stored,
)
from services.money.checkout import rows as checkouts
from services.money.checkout.purchases import true_to_log
from services.money.checkout.rows import CheckoutRow
from services.money.top_ups import attempts
from services.money.top_ups.crediting import answer_of, read_request
from services.store.connect import Connection
from services.store.identities import Identity, find
from services.store.read import FACT_COLUMNS, stored_of
from services.store.shards import shard_of

GAINS = ("credits.purchased.v1", "credits.topped_up.v1")
REVERSALS = ("charge.refunded.v1", "charge.disputed.v1", "dispute.closed.v1")
LEASE = timedelta(minutes=15)

# The condition on types is that of the index `facts_but_work`: usage, nearly all of the log, is not read.
OF_TYPES = f"""
    SELECT {FACT_COLUMNS} FROM facts
    WHERE type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%' AND type = ANY($1) AND recorded_at >= $2
    ORDER BY shard, position
"""
COUNT = """
    SELECT count(*) FROM facts
    WHERE type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%' AND type = ANY($1) AND recorded_at >= $2
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
LATER = "UPDATE reconciliations SET due_at = clock_timestamp() + $2::interval WHERE name = $1"
READ_RESULTS = "SELECT name, breaks, ended_at FROM reconciliations ORDER BY name"


class Credit(NamedTuple):
    """Credits that a payment brought, by the log."""

    team_id: str
    place: str
    kind: Literal["purchase", "top-up"]
    payment_intent_id: str
    credits: MicroCredits
    charge_cents: int
    currency: str


@dataclass(frozen=True, slots=True)
class IntendedPayment:
    """What we had meant to be paid, written down before anybody was asked for money.

    `answered_by`: whose credits are there. `fault`: what was found wrong when the payment was to be credited.
    """

    kind: Literal["purchase", "top-up"]
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


async def credits_since(connection: Connection, since: datetime) -> list[Credit]:
    """All credits that payments brought since; about 300 bytes of memory for each."""
    return [credit_of(stored_of(row)) for row in await connection.fetch(OF_TYPES, GAINS, since)]


async def count_credits(connection: Connection, since: datetime) -> int:
    """How many payments brought credits since: about as many as Stripe will list."""
    count: int = await connection.fetchval(COUNT, GAINS, since)
    return count


async def reversed_by_log(connection: Connection, since: datetime) -> set[str]:
    """The payments of which, by the log, something went back since, or that are disputed and undecided."""
    recent: set[str] = set()
    undecided: dict[str, str] = {}
    for row in await connection.fetch(OF_TYPES, REVERSALS, ALWAYS):
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
    facts = [stored_of(row).fact() for row in await connection.fetch(OF_TYPES, (CreditsAdjusted.type,), ALWAYS)]
    return {fact.refers_to for fact in facts if isinstance(fact, CreditsAdjusted) and fact.refers_to is not None}


async def credits_of(connection: Connection, team_ids: Sequence[str], payment_intent_id: str) -> tuple[Credit, ...]:
    """The credits that one payment brought to these teams, under whatever name."""
    credits = [
        credit_of(stored_of(row))
        for team_id in team_ids
        for row in await connection.fetch(OF_TEAM, shard_of(team_id), team_id, GAINS)
    ]
    return tuple(credit for credit in credits if credit.payment_intent_id == payment_intent_id)


def credit_of(stored: Stored) -> Credit:
    """What a fact says that a payment brought."""
    fact = stored.fact()
    assert isinstance(fact, CreditsPurchased | CreditsToppedUp)
    kind: Literal["purchase", "top-up"] = "purchase" if isinstance(fact, CreditsPurchased) else "top-up"
    return Credit(
        stored.team_id, stored.place, kind, fact.payment_intent_id, fact.credits, fact.charge_cents, fact.currency
    )


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
    state = await attempts.read_top_ups(connection, team_id)
    under_way = state.open if state.open is not None and state.open.attempt_id == str(attempt_id) else None
    return IntendedPayment(
        "top-up", attempt_id, team_id, requested.credits, requested.charge_cents, requested.currency,
        under_way.payment_intent_id if under_way is not None else None,
        await answer_of(connection, team_id, attempt_id), open=under_way is not None,
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
    )  # fmt: skip


async def _paid_by(connection: Connection, record: CheckoutRow) -> str | None:
    """The payment that has brought a purchase's credits, by the log."""
    if record.payment_intent_id is None:
        return None
    credited = await find(connection, [Identity(record.team_id, attempts.STRIPE, record.payment_intent_id)])
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


async def later(connection: Connection, name: str, wait: timedelta) -> None:
    """Stripe does not answer: compare again soon."""
    await connection.execute(LATER, name, wait)


async def read_results(connection: Connection) -> dict[str, dict[str, int]]:
    """What the last comparisons left, by their names and by type."""
    return {row["name"]: json.loads(row["breaks"]) for row in await connection.fetch(READ_RESULTS)}
