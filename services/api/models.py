"""The shapes of requests and answers. Requests are validated by them; answers are built directly, and tests hold them to this."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from projections.balance import Kind, LotKind
from projections.entitlement import Reason, Warn
from schemas.credits import DECIMAL_CREDITS
from schemas.facts import Attributes, Cents, Currency, Name, Text
from schemas.rates import Per
from schemas.usage import QUANTITY, Source
from services.api import examples
from services.store.holds import LASTS_MAX, HoldState
from services.store.receipts import Status

ITEMS_MAX = 100
CENTS_MAX = 10**12
SECOND = timedelta(seconds=1)


def whole(number: object) -> object:
    """18.0 as 18: to JSON Schema, and to some who write JSON, they are the same number."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


CreditsText = Annotated[
    str,
    StringConstraints(max_length=24, pattern=f"^{DECIMAL_CREDITS.pattern}$"),
    Field(description="Credits as a decimal string.", examples=["1234.5"]),
]
Position = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}:[0-9]{1,19}$"), Field(examples=["31:20418"])]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY), Field(examples=["12.5"])]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-23T10:15:30.123456Z"])]
Day = Annotated[str, Field(json_schema_extra={"format": "date"}, examples=["2026-11-23"])]
WHOLE = BeforeValidator(whole)
Said = Annotated[Text, StringConstraints(min_length=1)]


def like(*shown: dict[str, Any]) -> ConfigDict:
    """A model that the OpenAPI document shows with these examples."""
    return ConfigDict(json_schema_extra={"examples": [*shown]})


class Body(BaseModel):
    """What somebody sends. A misspelt member is refused rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Admin(BaseModel):
    """Whom to ask."""

    id: str
    name: str


class Wrong(BaseModel):
    """One thing that is wrong with a request."""

    where: str
    problem: str


class Problem(BaseModel):
    """What went wrong (RFC 9457). `code` is stable; `detail` says what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str | None = None
    errors: list[Wrong] | None = Field(None, description="What is wrong with the request, and where.")
    problems: list[str] | None = Field(None, description="A sentence for each thing to change.")
    admins: list[Admin] | None = Field(None, description="Whom to ask.")
    items: list["QuoteItem"] | None = Field(None, description="The answer for each item of a hold.")


class Money(Body):
    """Minor units with their currency."""

    amount: Annotated[int, Field(strict=True, ge=0, le=CENTS_MAX), WHOLE]
    currency: Currency


class Moved(BaseModel):
    """A change was made, and stands at this position."""

    model_config = like({"position": examples.POSITION})

    position: Position


class Member(BaseModel):
    """A person in a team."""

    id: str
    name: str
    role: Literal["member", "admin"]


class Team(BaseModel):
    """A team as people know it."""

    model_config = like(examples.TEAM)

    id: str
    name: str
    zone: str
    plan: str
    plan_name: str
    members: list[Member]
    admins: list[Admin]


class Balance(BaseModel):
    """What a team has: total = included + additional, available = total - held."""

    model_config = like(examples.BALANCE)

    total: CreditsText
    included: CreditsText
    additional: CreditsText
    held: CreditsText
    available: CreditsText
    allowance: CreditsText
    next_refill_at: Instant | None
    plan: str
    top_up_enabled: bool
    position: Position
    as_of: Instant


class ActivityItem(BaseModel):
    """One entry of the credit activity."""

    model_config = like(examples.ITEM)

    at: Instant
    recorded_at: Instant
    type: Kind
    description: str
    detail: str | None
    member_id: str | None
    feature: str | None
    credits: CreditsText
    included: CreditsText
    additional: CreditsText
    balance_after: CreditsText
    late: bool
    id: Annotated[str, Field(examples=["31:20418:0"])]


class Activity(BaseModel):
    """A page of the credit activity, newest position first."""

    model_config = like({"items": [examples.ITEM], "next_cursor": "MjA0MTguMA"})

    items: list[ActivityItem]
    next_cursor: str | None


class Used(BaseModel):
    """What was used, and how it falls to features and to members; "" is nobody."""

    credits: CreditsText
    uses: int
    features: dict[str, CreditsText]
    members: dict[str, CreditsText]


class UsedOfFeature(Used):
    """What was used of a feature."""

    feature: str
    name: str


class UsedByMember(Used):
    """What a member used; null is nobody."""

    member_id: str | None


class UsedOnDay(Used):
    """What was used on a day of the team's own."""

    day: Day


class Usage(BaseModel):
    """What was used, added up."""

    model_config = like(examples.USED)

    by: Literal["feature", "member", "day"]
    days: int
    since: Day
    items: list[UsedOfFeature] | list[UsedByMember] | list[UsedOnDay]
    position: Position


class PaidBy(BaseModel):
    """A lot that paid, and how much of it. Without a lot, it is what the balance went past zero by."""

    lot: Position | None
    kind: LotKind | Literal["overdraft"]
    name: str
    gained_at: Instant | None
    ends_at: Instant | None
    credits: CreditsText


class Price(BaseModel):
    """How a price came about."""

    rate_card: int
    in_force_since: Instant
    feature: str
    name: str
    per: Per
    unit: str | None
    quantity: str
    attributes: dict[str, str]
    rate_attributes: dict[str, str]
    rate: str
    formula: str


class Charge(BaseModel):
    """The money behind an entry. What names it at Stripe is for admins and finance alone."""

    amount: Cents
    currency: Currency
    payment_intent_id: str | None = None
    charge_id: str | None = None
    receipt_url: str | None = None


class Entry(ActivityItem):
    """An entry with everything that it follows from."""

    model_config = like(examples.ENTRY)

    position: Position
    price: Price | None
    paid_by: list[PaidBy]
    charge: Charge | None
    reason: str | None


class Pack(BaseModel):
    """Credits that can be bought once; `prices` has the price in each currency."""

    model_config = like(examples.PACK)

    pack: str
    name: str
    credits: CreditsText
    amount: Cents
    currency: Currency
    prices: dict[Currency, Cents]


class Item(Body):
    """Work that is about to be done."""

    feature: Name
    quantity: Quantity
    attributes: Attributes = Field(default_factory=dict)
    member_id: Name | None = None


class QuoteBody(Body):
    """What would it cost, and may we?"""

    model_config = like({"items": [examples.IMAGES]})

    items: Annotated[list[Item], Field(min_length=1, max_length=ITEMS_MAX)]


class QuoteItem(BaseModel):
    """The answer for one item; `credits` is null where there is no price."""

    credits: CreditsText | None
    allowed: bool
    reason: Reason | None
    detail: str | None
    warning: Warn | None


class Quote(BaseModel):
    """Price and permission. `affordable` is about the balance alone, `allowed` about everything.

    `warning` says that a member's soft limit is reached, which forbids nothing.
    """

    model_config = like(examples.QUOTE)

    credits: CreditsText
    affordable: bool
    allowed: bool
    reason: Reason | None
    warning: Warn | None
    items: list[QuoteItem]
    position: Position


class AmountBody(Body):
    """Either credits, or work that has a price on the rate card."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The rule that `_one_of_both` holds, for those who read the schema."""
        schema = handler(core)
        given = [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in ("credits", "items")]
        handler.resolve_ref_schema(schema)["oneOf"] = given
        return schema

    credits: CreditsText | None = None
    items: Annotated[list[Item], Field(min_length=1, max_length=ITEMS_MAX)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.credits is None) == (self.items is None):
            raise ValueError("write either credits or items")
        return self


class HoldBody(AmountBody):
    """Credits to set aside for work that runs, and for how long; for one member where `member_id` says so."""

    model_config = like(
        {"items": [examples.IMAGES], "ttl_seconds": 600, "member_id": "mem_7"}, {"credits": "250", "ttl_seconds": 3600}
    )

    ttl_seconds: Annotated[int, Field(strict=True, ge=1, le=LASTS_MAX // SECOND), WHOLE] = 900
    member_id: Name | None = None


class ExtendBody(Body):
    """How much longer a hold shall last, from now on; no longer than 24 hours since it was placed."""

    model_config = like({"ttl_seconds": 600})

    ttl_seconds: Annotated[int, Field(strict=True, ge=1, le=LASTS_MAX // SECOND), WHOLE]


class CaptureBody(AmountBody):
    """What was used; it may be more than was held. With `final: false` the rest stays set aside for what is still to come."""

    model_config = like({"items": [{**examples.IMAGES, "quantity": "3"}]}, {"credits": "120.5", "final": False})

    final: bool = True


class Hold(Moved):
    """A hold. `credits` are what is set aside, or what was when it ended."""

    model_config = like(examples.HOLD)

    id: str
    credits: CreditsText
    state: HoldState
    expires_at: Instant
    member_id: str | None


class Placed(Hold):
    """A hold that was placed; `warning` says that a member's soft limit is reached."""

    model_config = like({**examples.HOLD, "warning": None})

    warning: Warn | None


class Captured(Hold):
    """A hold after a capture; `captured` is what this one took."""

    model_config = like({**examples.HOLD, "state": "settled", "captured": "45"})

    captured: CreditsText


class LimitBody(Body):
    """What a member may use per day and per month of the team's zone. null is no limit, "0" is nothing.

    A hard limit refuses quotes and holds, a soft one only marks them; usage that is reported is never refused.
    """

    model_config = like(examples.LIMIT)

    daily: CreditsText | None = None
    monthly: CreditsText | None = None
    hard: Annotated[bool, Field(strict=True)] = True


class MemberLimit(Moved):
    """A member's limit."""

    model_config = like(examples.MEMBER_LIMIT)

    member_id: str
    daily: CreditsText | None
    monthly: CreditsText | None
    hard: bool


class MemberSpending(MemberLimit):
    """A member's limit and what counts against it: what was used today and this month, and what open holds set aside."""

    model_config = like({**examples.MEMBER_LIMIT, "used_today": "60", "used_this_month": "60", "held": "0"})

    used_today: CreditsText
    used_this_month: CreditsText
    held: CreditsText


class Receipt(BaseModel):
    """What became of a usage."""

    model_config = like(examples.RECEIPT)

    status: Status
    position: Position | None
    recorded_at: Instant | None
    credits: CreditsText | None
    reason: str | None
    detail: str | None
    duplicates: int
    conflicts: int


class SentReceipt(Receipt):
    """The receipt of a usage that Kafka has acknowledged; what becomes of it, `href` will tell."""

    model_config = like(examples.PENDING)

    source: str
    id: str
    href: str


class Sent(BaseModel):
    """A receipt for each event, in their order."""

    model_config = like({"receipts": [examples.PENDING]})

    receipts: list[SentReceipt]


class TeamBody(Body):
    """What a team is called."""

    model_config = like({"name": examples.TEAM["name"]})

    name: Name


class MemberBody(Body):
    """What a member is called, and whether they may spend."""

    model_config = like({"name": "Ada Lindqvist", "role": "admin"})

    name: Name
    role: Literal["member", "admin"] = "member"


class PlanBody(Body):
    """A plan. Anchor and zone are for the first one; they stay for ever."""

    model_config = like(examples.PLAN)

    plan: Name
    anchor: AwareDatetime | None = None
    zone: Name | None = None


class PlanAnswer(Moved):
    """The plan of a team."""

    model_config = like({**examples.PLAN, "position": examples.POSITION})

    plan: str
    anchor: Instant
    zone: str


class GrantBody(Body):
    """Promotional credits."""

    model_config = like(examples.GRANT)

    credits: CreditsText
    reason: Said
    expires_at: AwareDatetime | None = None


class AdjustmentBody(Body):
    """A correction of the balance, up or down."""

    model_config = like(examples.ADJUSTMENT)

    credits: CreditsText
    reason: Said
    refers_to: Text | None = None
    approved_by: Name | None = None


class GiftAnswer(Moved):
    """Credits were given or corrected."""

    model_config = like({"id": f"{examples.POSITION}:0", "credits": "250", "position": examples.POSITION})

    id: str
    credits: CreditsText


class RateCardDate(BaseModel):
    """A rate card, and since when or from when it is in force."""

    model_config = like({"version": 2, "effective_from": examples.REFILL})

    version: int
    effective_from: Instant


class RateCardAnswer(Moved):
    """A rate card was published."""

    model_config = like({"version": 2, "effective_from": examples.REFILL, "position": "7:2"})

    version: int
    effective_from: Instant


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
    """What the next top-up adds and charges; `now` if the balance is low already: at once, unless `not_now` says what is in the way."""

    credits: CreditsText
    amount: Cents
    currency: Currency
    now: bool
    not_now: str | None


class TopUpPrice(BaseModel):
    """What credits of a top-up cost, in minor units and decimals of them; an amount is a multiple of `step`."""

    unit_price: str
    currency: Currency
    min_credits: CreditsText
    step: CreditsText


class ChargedThisMonth(BaseModel):
    """What counts towards this month's caps: top-ups that were made, and one that is under way."""

    amount: Cents
    currency: Currency
    count: int


class TopUpConfirmation(BaseModel):
    """`url` is the bank's page, while the payment still has to be confirmed there; `state` is how far the payment is."""

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
    card: "Card | None"
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


class CloudEvent(BaseModel):
    """A CloudEvents 1.0 event in structured JSON; the recorder judges its data."""

    model_config = like(examples.EVENT) | ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    type: Literal["usage.reported.v1", "usage.voided.v1"]
    source: Source
    id: Name
    subject: Name


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


class Card(BaseModel):
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
    card: Card | None
    position: Position


class PaymentMethod(BaseModel):
    """The card that top-ups are charged to, if there is one."""

    model_config = like(examples.PAYMENT_METHOD)

    card: Card | None
    changed_at: Instant | None
    changed_by: str | None
    position: Position
