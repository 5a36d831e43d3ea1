"""What has to do with money: packs, purchases, cards, automatic top-ups, and what Stripe says."""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
)

from schemas.facts import Cents, Currency, Name
from services.api.models import examples
from services.api.models.parts import WHOLE, Body, CreditsText, Instant, Money, Position, like


class Pack(BaseModel):
    """Credits that can be bought once; `prices` has the price in each currency."""

    model_config = like(examples.PACK)

    pack: str
    name: str
    credits: CreditsText
    amount: Cents
    currency: Currency
    prices: dict[Currency, Cents]


class TopUpBody(Body):
    """How top-ups shall work: `credits` adds a fixed amount, `restore_to` fills up."""

    model_config = like(examples.TOP_UP_BODY)

    enabled: bool
    threshold: CreditsText | None = None
    credits: CreditsText | None = None
    restore_to: CreditsText | None = None
    monthly_cap: Money | None = None
    max_per_month: Annotated[int, Field(strict=True, ge=1, le=1000), WHOLE] | None = None
    cool_down_seconds: Annotated[int, Field(strict=True, ge=60, le=86_400), WHOLE] | None = None


class ChargePreview(BaseModel):
    """What the next top-up adds and charges.

    `now` if the balance is low already: at once, unless `not_now` says what is in the way. A cap that is too small for
    the next one, or a plan without top-ups, is said before the balance is low.
    """

    credits: CreditsText
    amount: Cents
    currency: Currency
    now: bool
    not_now: str | None


class TopUpPrice(BaseModel):
    """What credits of a top-up cost, in minor units and decimals of them; an amount is a multiple of `step`.

    `max_charge`: no top-up charges more at once. `monthly_cap`: what a month may charge where the team's settings do
    not say.
    """

    unit_price: str
    currency: Currency
    max_charge: Cents
    monthly_cap: Cents
    min_credits: CreditsText
    step: CreditsText


class ChargedThisMonth(BaseModel):
    """What counts towards this month's caps: top-ups that were made, and one that is under way."""

    amount: Cents
    currency: Currency
    count: int
    month: Annotated[str, Field(description="Which month that is by the team's own clock.", examples=["2026-11"])]


class TopUpConfirmation(BaseModel):
    """`url` is the bank's page, while the payment still has to be confirmed there.

    `state` is how far the payment is.
    """

    model_config = like(examples.CONFIRMATION)

    url: str | None
    state: Literal["confirm", "processing", "paid", "declined", "cancelled"]
    position: Position


class TopUp(BaseModel):
    """How top-ups work, and where they stand. The card is shown to admins and finance."""

    model_config = like(examples.TOP_UP)

    enabled: bool
    threshold: CreditsText | None
    credits: CreditsText | None
    restore_to: CreditsText | None
    monthly_cap: Money | None
    max_per_month: int | None
    cool_down_seconds: int | None
    state: Literal["off", "on", "charging", "action_required", "suspended"]
    reason: str | None
    next_charge_preview: ChargePreview | None
    price: TopUpPrice
    charged_this_month: ChargedThisMonth
    card: "CardAnswer | None"
    cool_until: Instant | None
    position: Position | None


class TopUpCost(BaseModel):
    """Credits, and the money for them."""

    credits: CreditsText
    amount: Cents
    currency: Currency


class SimulatedCharge(TopUpCost):
    """A top-up that would have been made."""

    at: Instant


class Simulation(BaseModel):
    """What settings would have charged in the last days; `each` is one top-up as a rule, the preview the next one."""

    model_config = like(examples.SIMULATION)

    days: int
    charges: list[SimulatedCharge] | None
    total: Money | None
    each: TopUpCost | None
    next_charge_preview: ChargePreview | None


class StripeObject(BaseModel):
    """What a webhook of Stripe's is about; its amounts and states are never believed."""

    model_config = ConfigDict(extra="allow")

    object: str
    id: str | None = Field(None, description="A balance has none.")


class StripeData(BaseModel):
    """Where Stripe puts it."""

    model_config = ConfigDict(extra="allow")

    object: StripeObject


class StripeReceived(BaseModel):
    """The event that was stored, now or before."""

    model_config = like({"received": examples.STRIPE_EVENT["id"]})

    received: str


class StripeEvent(BaseModel):
    """A webhook of Stripe's, as far as it is read."""

    model_config = like(examples.STRIPE_EVENT) | ConfigDict(extra="allow")

    id: str
    type: str
    created: int
    livemode: bool
    data: StripeData


ReturnUrl = Annotated[
    str,
    StringConstraints(max_length=1000),
    Field(
        description="Where the browser comes back to, of a configured origin; our own page where it is left out.",
        examples=["https://app.example.com/billing"],
    ),
]


class PurchaseBody(Body):
    """What an admin wants to buy; `save_card`: top-ups may use the card as well."""

    model_config = like({"pack": "standard", "save_card": True, "return_url": examples.HOST})

    pack: Annotated[Name, Field(examples=["standard"])]
    currency: Currency | None = None
    save_card: bool = False
    return_url: ReturnUrl | None = None


class Purchase(BaseModel):
    """A pack that somebody is buying or has bought. `position` is that of the credits once they are there."""

    model_config = like(examples.PURCHASE)

    id: str
    state: Literal["open", "processing", "credited", "expired", "failed", "differs"]
    detail: str | None
    checkout_url: Annotated[str | None, Field(description="Stripe's page, while nobody has paid on it.")]
    expires_at: Instant | None
    pack: str
    credits: CreditsText
    amount: Cents
    currency: Currency
    save_card: bool
    receipt_url: str | None
    position: Position


class CardPageBody(Body):
    """Where to go when the card is saved."""

    model_config = like({"return_url": examples.HOST})

    return_url: ReturnUrl | None = None


class TopUpConfirmBody(Body):
    """Where to go when the payment is confirmed."""

    model_config = like({"return_url": examples.HOST})

    return_url: ReturnUrl | None = None


class CardAnswer(BaseModel):
    """A card, as its owner recognises it."""

    brand: str | None
    last4: str | None


class CardPage(BaseModel):
    """A page on which an admin saves a card, and what came of it."""

    model_config = like(examples.CARD_PAGE)

    id: str
    state: Literal["open", "saved", "superseded", "expired", "failed"]
    detail: str | None
    checkout_url: Annotated[str | None, Field(description="Stripe's page, while no card is saved.")]
    expires_at: Instant | None
    card: CardAnswer | None
    position: Position


class PaymentMethod(BaseModel):
    """The card that top-ups are charged to, if there is one."""

    model_config = like(examples.PAYMENT_METHOD)

    card: CardAnswer | None
    changed_at: Instant | None
    changed_by: str | None
    position: Position
