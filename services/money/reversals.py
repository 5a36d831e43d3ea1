"""Refunds and disputes: news of Stripe's about a payment becomes facts, and so debits or credits.

Called for every such webhook, and by whoever reconciles. The news only says which payment to look at: Stripe is asked
how things are now. The log itself tells what may have changed meanwhile. An answer counts only if the payment's account
is still what it was before the question. So of two answers the older one never overwrites the newer.

A payment's credits are one fact, unique by its intent; what went back of it are facts of a source of its own, numbered.
So an account is read by the index that keeps identities apart, and two who append the same at once meet.

A dispute also pauses automatic top-ups, in the same transaction: credits that are frozen would otherwise be answered at
once by another charge of the very card whose owner has just complained. A dispute that is won ends the pause if no
other is open, and so does what ends any.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from projections.reversals import Account, Disputed, PaymentAtStripe, evolve, fact_due, open_account
from schemas.facts import (
    AnyFact,
    ChargeDisputed,
    CreditsPurchased,
    CreditsToppedUp,
    DisputeClosed,
    NewFact,
    Stored,
    TopUpResumed,
    TopUpSuspended,
)
from services.money.stripe_client import Charges, Dispute, Intent, Missing
from services.money.top_ups.log import STRIPE, TOP_UPS, append_top_up, fold_top_ups
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Unavailable
from services.runtime.logs import get_log
from services.store.append import append, lock_shard
from services.store.connect import Connection, Transaction
from services.store.identities import Identity, find
from services.store.numbered import all_of, numbered
from services.store.read import FACT_COLUMNS, stored_of
from services.store.shards import shard_of

# The condition on types is also the index's own.
DISPUTES = f"""
    SELECT {FACT_COLUMNS} FROM facts
    WHERE shard = $1 AND team_id = $2 AND type IN ('charge.disputed.v1', 'dispute.closed.v1')
      AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
    ORDER BY position
"""

REVERSALS = "creditwell:reversals"


class AccountMoved(Exception):
    """Somebody told the log of this payment since Stripe was asked: what was heard may be old. Ask again."""


class StoredReversal(NamedTuple):
    """The account afterwards, and what was appended for it."""

    account: Account
    facts: tuple[AnyFact, ...]


ASKED_MAX = 10  # questions about one payment whose account moves all the time


class ReversalOutcome(StrEnum):
    """What became of news about a payment."""

    NOT_OURS = "not_ours"  # not a payment for anybody's credits
    NOT_CREDITED = "not_credited"  # its credits are still on their way: come again
    NOTHING_NEW = "nothing_new"
    APPENDED = "told"


async def follow(transaction: Transaction, charges: Charges, payment_intent_id: str) -> ReversalOutcome:
    """Bring the log to what Stripe says of a payment now; safe to repeat, at any time, by anybody.

    No connection is held while Stripe is asked: it takes its time, and others need them.

    Raises:
        Unavailable: Stripe or the database does not answer, or the account moves too often. Call again later.
    """
    try:
        intent = await charges.retrieve(payment_intent_id)
    except Missing:
        return ReversalOutcome.NOT_OURS
    team_id = intent.metadata.get("team_id")
    if team_id is None:
        return ReversalOutcome.NOT_OURS
    for _ in range(ASKED_MAX):
        async with transaction() as connection:
            account = await read_account(connection, team_id, payment_intent_id)
        if account is None:
            return ReversalOutcome.NOT_CREDITED if intent.state == "succeeded" else ReversalOutcome.NOT_OURS
        at_stripe = await ask(charges, account)
        try:
            async with transaction() as connection:
                stored = await append_reversals(connection, team_id, account, at_stripe)
        except AccountMoved:
            continue
        crashpoint("reversals:told")
        for fact in stored.facts:
            get_log().warning(
                "a payment went back", team_id=team_id, payment_intent_id=payment_intent_id, what=fact.type
            )
        return ReversalOutcome.APPENDED if stored.facts else ReversalOutcome.NOTHING_NEW
    raise Unavailable(f"the account of {payment_intent_id} moves while it is asked about")


async def ask(charges: Charges, account: Account) -> PaymentAtStripe:
    """What Stripe says went back of a payment, now."""
    intent = await charges.retrieve(account.payment_intent_id)
    disputes = await charges.disputes_of(intent.id) if intent.disputed else ()
    return seen_of(intent, disputes, account)


def seen_of(intent: Intent, disputes: tuple[Dispute, ...], account: Account | None) -> PaymentAtStripe:
    """Stripe's answers as an account understands them. A dispute in another currency counts for the whole charge.

    Without an account, where nothing was credited yet, the charge is the intent's.
    """
    currency = account.currency if account is not None else intent.currency
    charge_cents = account.charge_cents if account is not None else intent.amount_cents
    return PaymentAtStripe(
        intent.refunded_cents,
        {
            dispute.id: Disputed(
                dispute.amount_cents if dispute.currency == currency else charge_cents,
                dispute.course,
                dispute.reason,
            )
            for dispute in disputes
            if dispute.course is not None
        },
    )


async def read_account(connection: Connection, team_id: str, payment_intent_id: str) -> Account | None:
    """A payment's account as the log has it; None where it has brought no credits yet."""
    identity = Identity(team_id, STRIPE, payment_intent_id)
    stored = (await find(connection, [identity])).get(identity)
    if stored is None:
        return None
    fact = stored.fact()
    assert isinstance(fact, CreditsPurchased | CreditsToppedUp), f"{stored.place} is not what a payment brings"
    account = open_account(stored, fact)
    for reversal in await all_of(connection, team_id, source_of(payment_intent_id)):
        account = evolve(account, reversal, reversal.fact())
    return account


async def append_reversals(
    connection: Connection, team_id: str, account_before: Account, at_stripe: PaymentAtStripe
) -> StoredReversal:
    """Append what Stripe says of a payment and the log does not, in the caller's transaction.

    Args:
        connection: in a transaction of the caller.
        team_id: whose payment it is.
        account_before: the account as it was read *before* Stripe was asked.
        at_stripe: what Stripe said.

    Raises:
        AccountMoved: the account is not what it was: of two answers, nobody knows which is the newer.
    """
    now = await lock_shard(connection, team_id)
    account = await read_account(connection, team_id, account_before.payment_intent_id)
    if account is None or account.reversals != account_before.reversals:
        raise AccountMoved
    appended: list[AnyFact] = []
    while (fact := fact_due(account, at_stripe)) is not None:
        account = evolve(account, await _append(connection, team_id, account, now, fact), fact)
        appended.append(fact)
        assert len(appended) <= 2 * len(at_stripe.disputes) + 1, (
            f"the account of {account_before.payment_intent_id} never says what Stripe says"
        )
    await _pause_top_ups(connection, team_id, account, appended, now)
    return StoredReversal(account, tuple(appended))


async def _pause_top_ups(
    connection: Connection, team_id: str, account: Account, appended: Sequence[AnyFact], now: datetime
) -> None:
    opened = any(isinstance(fact, ChargeDisputed) for fact in appended)
    if not opened and not any(isinstance(fact, DisputeClosed) for fact in appended):
        return
    state = await fold_top_ups(connection, team_id)
    name = f"{account.payment_intent_id}:{account.reversals}"
    if opened and state.enabled and state.suspension is None:
        fingerprint = state.card.fingerprint if state.card is not None else None
        suspended = TopUpSuspended(
            cause="dispute", reason="a payment is disputed with the bank", declines=state.declines,
            fingerprint=fingerprint,
        )  # fmt: skip
        await append_top_up(connection, state, [NewFact(team_id, TOP_UPS, f"suspended:{name}", now, suspended)])
    elif (
        state.suspension is not None
        and state.suspension.cause == "dispute"
        and await _may_resume(connection, account, team_id)
    ):
        resumed = TopUpResumed(reason="the dispute was won")
        await append_top_up(connection, state, [NewFact(team_id, TOP_UPS, f"resumed:{name}", now, resumed)])


async def _may_resume(connection: Connection, account: Account, team_id: str) -> bool:
    """True when all disputes of this payment are won, and none of another one is open."""
    facts = [stored_of(row).fact() for row in await connection.fetch(DISPUTES, shard_of(team_id), team_id)]
    last = {fact.dispute_id: fact for fact in facts if isinstance(fact, ChargeDisputed | DisputeClosed)}
    none_open = all(isinstance(fact, DisputeClosed) for fact in last.values())
    return none_open and all(dispute.course == "won" for dispute in account.disputes.values())


async def _append(connection: Connection, team_id: str, account: Account, now: datetime, fact: AnyFact) -> Stored:
    source, name = source_of(account.payment_intent_id), numbered("reversal", account.reversals + 1)
    appended = await append(connection, [NewFact(team_id, source, name, now, fact)])
    place = appended.places[0]
    return Stored(place.shard, place.position, appended.recorded_at, now, team_id, source, name, fact.type, fact.body())


def source_of(payment_intent_id: str) -> str:
    """Under which the facts about one payment stand."""
    return f"{REVERSALS}:{payment_intent_id}"
