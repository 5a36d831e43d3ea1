"""The balance at Stripe: what each transaction did to it, gross, with its fee, and net."""

from collections.abc import AsyncIterator
from datetime import datetime

from services.money.stripe_client.answers import BalanceMove
from services.money.stripe_client.asking import Asking, seconds_between
from services.money.stripe_client.reading import Json, move_of

# A refund that failed has a second transaction, which gives the money back to us.
OF_REFUND = ("balance_transaction", "failure_balance_transaction")


class StripeBalance(Asking):
    """What came to our balance, what left it, and what Stripe kept."""

    async def list_moves(
        self, *, created_after: datetime, created_before: datetime | None = None, payout: str | None = None
    ) -> AsyncIterator[BalanceMove]:
        """All that moved the balance then, newest first; Stripe says whole seconds, so some may lie just outside.

        Of an automatic `payout`: what it held, and its own transaction. For one by hand Stripe refuses (WrongRequest).
        """
        params: Json = {"created": seconds_between(created_after, created_before), "expand": ["data.source"]}
        if payout is not None:
            params["payout"] = payout
        async for row in self.each(self.api.balance_transactions.list_async, params):
            yield move_of(row, row.get("source"))

    async def moves_of(self, payment_intent_id: str) -> list[BalanceMove]:
        """All that one payment ever did to the balance, oldest first."""
        about = {"payment_intent": payment_intent_id}
        moves = []
        charges = self.each(self.api.charges.list_async, about | {"expand": ["data.balance_transaction"]})
        async for charge in charges:
            moves += _moves(charge, charge.get("balance_transaction"))
        refunds = self.each(self.api.refunds.list_async, about | {"expand": [f"data.{one}" for one in OF_REFUND]})
        async for refund in refunds:
            moves += _moves(refund, *(refund.get(name) for name in OF_REFUND))
        async for dispute in self.each(self.api.disputes.list_async, about):
            moves += _moves(dispute, *(dispute.get("balance_transactions") or ()))
        return sorted(moves, key=lambda move: (move.created_at, move.id))


def _moves(source: Json, *transactions: Json | None) -> list[BalanceMove]:
    """The transactions of a charge, a refund or a dispute; one that did not move the balance has none."""
    return [move_of(body, source) for body in transactions if body is not None]
