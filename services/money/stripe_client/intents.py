"""Payment intents: made without moving money, confirmed, cancelled, found again."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import stripe
from stripe.params import PaymentIntentConfirmParams

from services.money.stripe_client.answers import Intent
from services.money.stripe_client.asking import Asking, key_of, seconds_between
from services.money.stripe_client.errors import WrongRequest
from services.money.stripe_client.reading import Json, intent_of

WHOLE_INTENT: Final = ["payment_method", "latest_charge"]


class Intents(Asking):
    """What is to be paid, and how far it has come."""

    async def create_intent(
        self,
        *,
        attempt_id: UUID,
        team_id: str,
        customer_id: str,
        payment_method_id: str,
        charge_cents: int,
        currency: str,
        metadata: Mapping[str, str] | None = None,
        try_number: int = 1,
    ) -> Intent:
        """An intent that moves no money until it is confirmed.

        The body follows from the arguments alone, so that the same attempt says the same again. After `Unknown`, look
        with `find_intents` first; the next `try_number` is for a key that is spent and an intent that is not there.
        """
        created = await self.ask(
            self.api.payment_intents.create_async(
                {
                    "amount": charge_cents,
                    "currency": currency,
                    "customer": customer_id,
                    "payment_method": payment_method_id,
                    "allowed_payment_method_types": ["card"],
                    "description": "Automatic top-up",
                    "metadata": {**(metadata or {}), "team_id": team_id, "attempt_id": str(attempt_id)},
                    "expand": WHOLE_INTENT,
                },
                {"idempotency_key": key_of(f"top_up:{attempt_id}:create", try_number)},
            )
        )
        return intent_of(created.to_dict())

    async def confirm(
        self,
        intent_id: str,
        *,
        attempt_id: UUID,
        try_number: int,
        off_session: bool = True,
        payment_method_id: str | None = None,
        return_url: str | None = None,
    ) -> Intent:
        """Asks the bank for the money; raises Declined, Unknown or Busy.

        With `off_session`, a bank that wants its owner's confirmation declines (`needs_authentication`). Without,
        the intent comes back as `requires_action`, and `action_url` is where the admin confirms. An intent that can't
        be confirmed any more comes back as it is: look at its `state`, whatever was asked.
        """
        params: PaymentIntentConfirmParams = {"expand": WHOLE_INTENT}
        if off_session:
            params |= {"off_session": True, "error_on_requires_action": True}
        if payment_method_id is not None:
            params["payment_method"] = payment_method_id
        if return_url is not None:
            params["return_url"] = return_url
        key = f"top_up:{attempt_id}:confirm:{try_number}"
        request = self.api.payment_intents.confirm_async(intent_id, params, {"idempotency_key": key})
        return await self._moved(intent_id, request)

    async def cancel(self, intent_id: str, *, try_number: int = 1) -> Intent:
        """Makes sure that the intent is never paid. The one that comes back may have succeeded meanwhile: look."""
        request = self.api.payment_intents.cancel_async(
            intent_id,
            {"cancellation_reason": "abandoned", "expand": WHOLE_INTENT},
            {"idempotency_key": key_of(f"intent:{intent_id}:cancel", try_number)},
        )
        return await self._moved(intent_id, request)

    async def retrieve(self, intent_id: str) -> Intent:
        """The truth about one intent; raises Missing when Stripe has none of this id."""
        intent = await self.ask(self.api.payment_intents.retrieve_async(intent_id, {"expand": WHOLE_INTENT}))
        return intent_of(intent.to_dict())

    async def list_intents(
        self,
        *,
        created_after: datetime,
        created_before: datetime | None = None,
        customer_id: str | None = None,
        whole: bool = True,
        after_page: Callable[[], Awaitable[None]] | None = None,
    ) -> AsyncIterator[Intent]:
        """All intents made from `created_after` until before `created_before`, newest first.

        By listing, which sees what was written a moment ago; Stripe's search may lag by an hour.
        Not `whole`: without cards, charges, refunds and receipts, which Stripe would have to look up one by one.
        """
        params: Json = {"created": seconds_between(created_after, created_before)}
        if whole:
            params["expand"] = [f"data.{part}" for part in WHOLE_INTENT]
        if customer_id is not None:
            params["customer"] = customer_id
        async for intent in self.each(self.api.payment_intents.list_async, params, after_page=after_page):
            yield intent_of(intent)

    async def find_intents(self, attempt_id: UUID, *, customer_id: str, created_after: datetime) -> list[Intent]:
        """All of the attempt's intents, by listing: paid before payable before cancelled, the oldest first."""
        intents = [
            intent
            async for intent in self.list_intents(created_after=created_after, customer_id=customer_id)
            if intent.metadata.get("attempt_id") == str(attempt_id)
        ]
        intents.reverse()  # Stripe lists the newest first
        rank = {"succeeded": 0, "processing": 1, "cancelled": 3}
        return sorted(intents, key=lambda intent: rank.get(intent.state, 2))

    async def _moved(self, intent_id: str, request: Coroutine[Any, Any, stripe.PaymentIntent]) -> Intent:
        """The intent after a step, or as it is when it was beyond that step already."""
        try:
            return intent_of((await self.ask(request)).to_dict())
        except WrongRequest as refusal:
            if refusal.code != "payment_intent_unexpected_state":
                raise
        return await self.retrieve(intent_id)
