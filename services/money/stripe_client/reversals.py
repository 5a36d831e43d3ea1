"""Money that goes back: refunds and disputes."""

from collections.abc import AsyncIterator
from datetime import datetime

from services.money.stripe_client.answers import Dispute
from services.money.stripe_client.asking import PAGE_SIZE, Asking, seconds_between
from services.money.stripe_client.reading import dispute_of, id_of


class Reversals(Asking):
    """What a charge lost again."""

    async def disputes_of(self, intent_id: str) -> tuple[Dispute, ...]:
        """Every dispute over what this intent charged."""
        page = await self.ask(self.api.disputes.list_async({"payment_intent": intent_id, "limit": PAGE_SIZE}))
        return tuple(dispute_of(dispute.to_dict()) for dispute in page.data)

    async def list_refunded(
        self, *, created_after: datetime, created_before: datetime | None = None
    ) -> AsyncIterator[str]:
        """The intents of which something was refunded then, newest refund first; one may come several times."""
        created = seconds_between(created_after, created_before)
        async for refund in self.each(self.api.refunds.list_async, {"created": created}):
            if (intent_id := id_of(refund.get("payment_intent"))) is not None:
                yield intent_id

    async def list_disputed(
        self, *, created_after: datetime, created_before: datetime | None = None
    ) -> AsyncIterator[str]:
        """The intents that were disputed then, newest dispute first; one may come several times."""
        created = seconds_between(created_after, created_before)
        async for dispute in self.each(self.api.disputes.list_async, {"created": created}):
            if (intent_id := id_of(dispute.get("payment_intent"))) is not None:
                yield intent_id
