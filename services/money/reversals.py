"""Refunds and disputes: news of Stripe's about a payment becomes facts, and so debits or credits.

Called for every such webhook, and by whoever reconciles. The news only says which payment to look at: Stripe is asked how things
are now. What may have changed meanwhile is found out by the log itself: an answer counts only if the payment's account is
still what it was before the question, so of two answers the older one never overwrites the newer.
"""

from enum import StrEnum

from projections.reversals import Account, Disputed, Seen
from services.money.reversals_rows import Moved, append_reversals, read_account
from services.money.stripe_client import Charges, Dispute, Intent, Missing
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Unavailable
from services.runtime.logs import get_log
from services.store.connect import Transaction

ASKED_MAX = 10  # questions about one payment whose account moves all the time


class Followed(StrEnum):
    """What became of news about a payment."""

    NOT_OURS = "not_ours"  # not a payment for anybody's credits
    NOT_CREDITED = "not_credited"  # its credits are still on their way: come again
    NOTHING_NEW = "nothing_new"
    TOLD = "told"


async def follow(transaction: Transaction, charges: Charges, payment_intent_id: str) -> Followed:
    """Bring the log to what Stripe says of a payment now; safe to repeat, at any time, by anybody.

    No connection is held while Stripe is asked: it takes its time, and others need them.

    Raises:
        Unavailable: Stripe or the database does not answer, or the account moves too often. Call again later.
    """
    try:
        intent = await charges.retrieve(payment_intent_id)
    except Missing:
        return Followed.NOT_OURS
    team_id = intent.metadata.get("team_id")
    if team_id is None:
        return Followed.NOT_OURS
    for _ in range(ASKED_MAX):
        async with transaction() as connection:
            account = await read_account(connection, team_id, payment_intent_id)
        if account is None:
            return Followed.NOT_CREDITED if intent.state == "succeeded" else Followed.NOT_OURS
        seen = await ask(charges, account)
        try:
            async with transaction() as connection:
                told = await append_reversals(connection, team_id, account, seen)
        except Moved:
            continue
        crashpoint("reversals:told")
        for fact in told.facts:
            get_log().warning(
                "a payment went back", team_id=team_id, payment_intent_id=payment_intent_id, what=fact.type
            )
        return Followed.TOLD if told.facts else Followed.NOTHING_NEW
    raise Unavailable(f"the account of {payment_intent_id} moves while it is asked about")


async def ask(charges: Charges, account: Account) -> Seen:
    """What Stripe says went back of a payment, now."""
    intent = await charges.retrieve(account.payment_intent_id)
    disputes = await charges.disputes_of(intent.id) if intent.disputed else ()
    return seen_of(intent, disputes, account)


def seen_of(intent: Intent, disputes: tuple[Dispute, ...], account: Account) -> Seen:
    """Stripe's answers as an account understands them. A dispute in another currency counts for the whole charge."""
    return Seen(
        intent.refunded_cents,
        {
            dispute.id: Disputed(
                dispute.amount_cents if dispute.currency == account.currency else account.charge_cents,
                dispute.course,
                dispute.reason,
            )
            for dispute in disputes
            if dispute.course is not None
        },
    )
