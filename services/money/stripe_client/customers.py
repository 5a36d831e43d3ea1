"""Customers and their cards."""

from typing import Final
from uuid import UUID, uuid5

from services.money.stripe_client.answers import StripeCard
from services.money.stripe_client.asking import Asking
from services.money.stripe_client.errors import Missing
from services.money.stripe_client.reading import card_of, id_of

TEAMS: Final = UUID("0c9f3a52-8d0e-5b6b-9a53-6f7f0a4f4c1e")  # the namespace of teams in keys; never change it


class Customers(Asking):
    """Who pays, and with which card."""

    async def ensure_customer(self, team_id: str, *, attempt: str | None = None) -> str:
        """A customer for the team, the same one whenever it is asked for within a day; keep the id.

        A customer whose id was lost has no card and does no harm; to find it, all customers would have to be read
        through. `attempt` names another one: after somebody has deleted the first at Stripe, or for a key that is
        spent.
        """
        name = uuid5(TEAMS, team_id)  # a key may hold fewer letters than a team's id
        key = f"customer:{name}" if attempt is None else f"customer:{name}:{attempt}"
        made = await self.ask(
            self.api.customers.create_async({"metadata": {"team_id": team_id}}, {"idempotency_key": key})
        )
        return made.id

    async def card_of(self, customer_id: str, *, team_id: str | None = None) -> StripeCard | None:
        """The card that top-ups are charged to: the customer's default; None as well when the customer was deleted.

        Raises:
            Missing: there is no such customer; with `team_id`, none that was made for this team.
        """
        customer = (await self.ask(self.api.customers.retrieve_async(customer_id))).to_dict()
        if (
            team_id is not None
            and not customer.get("deleted")
            and customer.get("metadata", {}).get("team_id") != team_id
        ):
            raise Missing(
                f"customer {customer_id} was not made for {team_id}", status=None, code=None, param="customer"
            )
        method_id = id_of((customer.get("invoice_settings") or {}).get("default_payment_method"))
        if method_id is None:
            return None
        method = await self.ask(self.api.payment_methods.retrieve_async(method_id))
        return card_of(method.to_dict())

    async def saved_card(self, payment_method_id: str) -> StripeCard | None:
        """A card by its own id, whosever it is; None for what is no card. Raises Missing: there is none."""
        method = await self.ask(self.api.payment_methods.retrieve_async(payment_method_id))
        return card_of(method.to_dict())

    async def has_card(self, customer_id: str, payment_method_id: str) -> bool:
        """False when the card was removed, or its customer deleted.

        Refusals do not say reliably what they are about: this asks for what is so.

        Raises:
            Missing: the account never had this customer.
        """
        customer = await self.ask(self.api.customers.retrieve_async(customer_id))
        if customer.to_dict().get("deleted"):
            return False
        try:
            method = await self.ask(self.api.payment_methods.retrieve_async(payment_method_id))
        except Missing:
            return False
        return id_of(method.to_dict().get("customer")) == customer_id

    async def use_card(self, customer_id: str, payment_method_id: str) -> None:
        """Makes a saved card the one that top-ups are charged to.

        To say so twice is to say so once, so it needs no key, under which Stripe would keep a failure for a day.
        """
        await self.ask(
            self.api.customers.update_async(
                customer_id, {"invoice_settings": {"default_payment_method": payment_method_id}}
            )
        )
