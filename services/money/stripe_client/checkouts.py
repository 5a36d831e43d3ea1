"""Checkouts: Stripe's own pages, on which a person pays for a pack or saves a card."""

from collections.abc import Mapping
from typing import Literal

from stripe.params.checkout import SessionCreateParams
from stripe.params.checkout import SessionCreateParamsLineItemPriceData as PriceData

from services.money.stripe_client.answers import Checkout
from services.money.stripe_client.asking import Asking, key_of
from services.money.stripe_client.errors import Missing, WrongRequest
from services.money.stripe_client.reading import checkout_of


def _page(
    mode: Literal["payment", "setup"],
    team_id: str,
    customer_id: str,
    metadata: dict[str, str],
    success_url: str,
    cancel_url: str,
) -> SessionCreateParams:
    """What every page of ours is opened with."""
    return {
        "mode": mode, "customer": customer_id, "client_reference_id": team_id, "allowed_payment_method_types": ["card"],
        "metadata": metadata, "success_url": success_url, "cancel_url": cancel_url,
    }  # fmt: skip


class Checkouts(Asking):
    """The pages that we send people to."""

    async def create_checkout(
        self,
        *,
        purchase_id: str,
        team_id: str,
        customer_id: str,
        name: str,
        amount_cents: int,
        currency: str,
        success_url: str,
        cancel_url: str,
        save_card: bool = False,
        automatic_tax: bool = False,
        metadata: Mapping[str, str] | None = None,
        try_number: int = 1,
    ) -> Checkout:
        """A page to pay for one pack on. `{CHECKOUT_SESSION_ID}` in `success_url` becomes the Checkout's id.

        The next `try_number` is for a key that is spent: nobody has seen the page that the earlier one may have made.
        """
        all_metadata = {"team_id": team_id, "purchase_id": purchase_id, **(metadata or {})}
        params = _page("payment", team_id, customer_id, all_metadata, success_url, cancel_url)
        price: PriceData = {"currency": currency, "unit_amount": amount_cents, "product_data": {"name": name}}
        params["line_items"] = [{"quantity": 1, "price_data": price}]
        params["payment_intent_data"] = {"metadata": all_metadata}
        # The catalog has a price for each currency that we sell in; the account's own setting would change it.
        params["adaptive_pricing"] = {"enabled": False}
        if save_card:
            params["payment_intent_data"]["setup_future_usage"] = "off_session"
        if automatic_tax:
            params["automatic_tax"] = {"enabled": True}
            params["customer_update"] = {"address": "auto"}  # without it Stripe has no address to tax by
        return await self._open_checkout(params, key_of(f"purchase:{purchase_id}:checkout", try_number))

    async def create_card_checkout(
        self,
        *,
        change_id: str,
        team_id: str,
        customer_id: str,
        success_url: str,
        cancel_url: str,
        try_number: int = 1,
    ) -> Checkout:
        """A page to save a card on; nothing is charged."""
        metadata = {"team_id": team_id, "change_id": change_id}
        params = _page("setup", team_id, customer_id, metadata, success_url, cancel_url)
        params["setup_intent_data"] = {"metadata": metadata}
        return await self._open_checkout(params, key_of(f"card:{change_id}:checkout", try_number))

    async def retrieve_checkout(self, checkout_id: str) -> Checkout:
        """How far the person has come, with the intent that was paid and the card that was used or saved."""
        parts = ["payment_intent.payment_method", "payment_intent.latest_charge", "setup_intent.payment_method"]
        session = await self.ask(self.api.checkout.sessions.retrieve_async(checkout_id, {"expand": parts}))
        return checkout_of(session.to_dict())

    async def find_checkout(self, intent_id: str) -> Checkout | None:
        """The page that an intent belongs to; None for an intent that was made without one."""
        page = await self.ask(self.api.checkout.sessions.list_async({"payment_intent": intent_id, "limit": 1}))
        return checkout_of(page.data[0].to_dict()) if page.data else None

    async def expire_checkout(self, checkout_id: str) -> Checkout:
        """Nobody can pay on this page any more; one that is paid or over already comes back as it is."""
        try:
            return checkout_of((await self.ask(self.api.checkout.sessions.expire_async(checkout_id))).to_dict())
        except Missing:
            raise
        except WrongRequest:
            return await self.retrieve_checkout(checkout_id)

    async def _open_checkout(self, params: SessionCreateParams, key: str) -> Checkout:
        opened = await self.ask(self.api.checkout.sessions.create_async(params, {"idempotency_key": key}))
        return checkout_of(opened.to_dict())
