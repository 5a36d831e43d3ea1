"""The shapes of requests and answers. Requests are validated by them; answers are built directly, and tests hold them to this."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from projections.balance import Kind
from projections.entitlement import Reason, Warn
from schemas.credits import DECIMAL_CREDITS
from schemas.facts import Attributes, Cents, Currency, Name, Text
from schemas.rates import Per
from schemas.usage import QUANTITY, Source
from services.store.holds import LASTS_MAX, HoldState
from services.store.receipts import Status

ITEMS_MAX = 100
SECOND = timedelta(seconds=1)

CreditsText = Annotated[
    str,
    StringConstraints(max_length=24, pattern=f"^{DECIMAL_CREDITS.pattern}$"),
    Field(description="Credits as a decimal string.", examples=["1234.5"]),
]
Position = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}:[0-9]{1,19}$"), Field(examples=["31:20418"])]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY), Field(examples=["12.5"])]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-23T10:15:30.123456Z"])]
Said = Annotated[Text, StringConstraints(min_length=1)]


class Body(BaseModel):
    """What somebody sends. A misspelt member is refused rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(BaseModel):
    """What went wrong (RFC 9457). `code` is stable; `detail` says what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str | None = None


class Money(Body):
    """Minor units with their currency."""

    amount: Cents
    currency: Currency


class Moved(BaseModel):
    """A change was made, and stands at this position."""

    position: Position


class Member(BaseModel):
    """A person in a team."""

    id: str
    name: str
    role: Literal["member", "admin"]


class Admin(BaseModel):
    """Whom to ask."""

    id: str
    name: str


class Team(BaseModel):
    """A team as people know it."""

    id: str
    name: str
    zone: str
    plan: str
    plan_name: str
    members: list[Member]
    admins: list[Admin]


class Balance(BaseModel):
    """What a team has: total = included + additional, available = total - held."""

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

    items: list[ActivityItem]
    next_cursor: str | None


class UsageItem(BaseModel):
    """What was used of a feature, by a member, or on a day."""

    feature: str | None = None
    name: str | None = None
    member_id: str | None = None
    day: str | None = None
    credits: CreditsText
    uses: int
    features: dict[str, CreditsText]
    members: dict[str, CreditsText]


class Usage(BaseModel):
    """What was used, added up. `day` is the team's own."""

    by: Literal["feature", "member", "day"]
    days: int
    since: str
    items: list[UsageItem]
    position: Position


class PaidBy(BaseModel):
    """A lot that paid, and how much of it. Without a lot, it is what the balance went past zero by."""

    lot: Position | None
    kind: str
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


class Entry(ActivityItem):
    """An entry with everything that it follows from."""

    position: Position
    price: Price | None
    paid_by: list[PaidBy]
    charge: dict[str, Any] | None
    reason: str | None


class Pack(BaseModel):
    """Credits that can be bought once; `prices` has the price in each currency."""

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

    items: Annotated[list[Item], Field(min_length=1, max_length=ITEMS_MAX)]


class QuoteItem(BaseModel):
    """The answer for one item; `credits` is null where there is no price."""

    credits: CreditsText | None
    allowed: bool
    reason: Reason | None
    detail: str | None = None
    warning: Warn | None = None


class Quote(BaseModel):
    """Price and permission. `affordable` is about the balance alone, `allowed` about everything.

    `warning` says that a member's soft limit is reached, which forbids nothing.
    """

    credits: CreditsText
    affordable: bool
    allowed: bool
    reason: Reason | None
    warning: Warn | None = None
    items: list[QuoteItem]
    position: Position


IMAGES: dict[str, Any] = {"feature": "ai_image.generate", "quantity": "4", "attributes": {"tier": "high"}}


class AmountBody(Body):
    """Either credits, or work that has a price on the rate card."""

    credits: CreditsText | None = None
    items: Annotated[list[Item], Field(min_length=1, max_length=ITEMS_MAX)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.credits is None) == (self.items is None):
            raise ValueError("write either credits or items")
        return self


class HoldBody(AmountBody):
    """Credits to set aside for work that runs, and for how long; for one member where `member_id` says so."""

    model_config = ConfigDict(json_schema_extra={
        "examples": [{"items": [IMAGES], "ttl_seconds": 600, "member_id": "mem_7"}, {"credits": "250", "ttl_seconds": 3600}]
    })  # fmt: skip
    ttl_seconds: Annotated[int, Field(strict=True, ge=1, le=LASTS_MAX // SECOND)] = 900
    member_id: Name | None = None


class ExtendBody(Body):
    """How much longer a hold shall last, from now on; no longer than 24 hours since it was placed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ttl_seconds": 600}]})
    ttl_seconds: Annotated[int, Field(strict=True, ge=1, le=LASTS_MAX // SECOND)]


class CaptureBody(AmountBody):
    """What was used; it may be more than was held. With `final: false` the rest stays set aside for what is still to come."""

    model_config = ConfigDict(json_schema_extra={
        "examples": [{"items": [{**IMAGES, "quantity": "3"}]}, {"credits": "120.5", "final": False}]
    })  # fmt: skip
    final: bool = True


class Hold(Moved):
    """A hold. `credits` are what is set aside, or what was when it ended."""

    model_config = ConfigDict(json_schema_extra={"examples": [{
        "id": "5e0c6b5e-2f0a-5a61-9d0a-0f6f3c0d9a11", "credits": "60", "state": "open",
        "expires_at": "2026-11-23T10:25:30.123456Z", "member_id": "mem_7", "warning": None, "position": "31:20418",
    }]})  # fmt: skip
    id: str
    credits: CreditsText
    state: HoldState
    expires_at: Instant
    member_id: str | None
    warning: Warn | None = None


class Captured(Hold):
    """A hold after a capture; `captured` is what this one took."""

    captured: CreditsText


class LimitBody(Body):
    """What a member may use per day and per month of the team's zone. null is no limit, "0" is nothing.

    A hard limit refuses quotes and holds, a soft one only marks them; usage that is reported is never refused.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"daily": "500", "monthly": "5000", "hard": True}]})
    daily: CreditsText | None = None
    monthly: CreditsText | None = None
    hard: Annotated[bool, Field(strict=True)] = True


class MemberLimit(Moved):
    """A member's limit."""

    member_id: str
    daily: CreditsText | None
    monthly: CreditsText | None
    hard: bool


class MemberSpending(MemberLimit):
    """A member's limit and what counts against it: what was used today and this month, and what open holds set aside."""

    used_today: CreditsText
    used_this_month: CreditsText
    held: CreditsText


class Receipt(BaseModel):
    """What became of a usage."""

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

    source: str
    id: str
    href: str


class Sent(BaseModel):
    """A receipt for each event, in their order."""

    receipts: list[SentReceipt]


class TeamBody(Body):
    """What a team is called."""

    name: Name


class MemberBody(Body):
    """What a member is called, and whether they may spend."""

    name: Name
    role: Literal["member", "admin"] = "member"


class PlanBody(Body):
    """A plan. Anchor and zone are for the first one; they stay for ever."""

    plan: Name
    anchor: AwareDatetime | None = None
    zone: Name | None = None


class PlanAnswer(Moved):
    """The plan of a team."""

    plan: str
    anchor: Instant
    zone: str


class GrantBody(Body):
    """Promotional credits."""

    credits: CreditsText
    reason: Said
    expires_at: AwareDatetime | None = None


class AdjustmentBody(Body):
    """A correction of the balance, up or down."""

    credits: CreditsText
    reason: Said
    refers_to: Text | None = None
    approved_by: Name | None = None


class GiftAnswer(Moved):
    """Credits were given or corrected."""

    id: str
    credits: CreditsText


class RateCardDate(BaseModel):
    """A rate card, and since when or from when it is in force."""

    version: int
    effective_from: Instant


class RateCardAnswer(Moved):
    """A rate card was published."""

    version: int
    effective_from: Instant


class TopUpBody(Body):
    """How top-ups shall work: `credits` adds a fixed amount, `restore_to` fills up."""

    enabled: bool
    threshold: CreditsText | None = None
    credits: CreditsText | None = None
    restore_to: CreditsText | None = None
    monthly_cap: Money | None = None
    max_per_month: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    cool_down_seconds: Annotated[int, Field(strict=True, ge=60, le=86_400)] | None = None


class ChargePreview(BaseModel):
    """What the next top-up adds and charges; `now` if the balance is low already: at once, unless `not_now` says what is in the way."""

    credits: CreditsText
    amount: Cents
    currency: Currency
    now: bool
    not_now: str | None = None


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

    url: str | None
    state: Literal["confirm", "processing", "paid", "declined", "cancelled"]
    position: Position


class TopUp(BaseModel):
    """How top-ups work, and where they stand. The card is shown to admins and finance."""

    enabled: bool
    threshold: CreditsText | None
    credits: CreditsText | None
    restore_to: CreditsText | None
    monthly_cap: Money | None
    max_per_month: int | None
    cool_down_seconds: int | None
    state: str
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

    days: int
    charges: list[SimulatedCharge] | None
    total: Money | None
    each: TopUpCost | None
    next_charge_preview: ChargePreview | None


class CloudEvent(BaseModel):
    """A CloudEvents 1.0 event in structured JSON; the recorder judges its data."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    type: Literal["usage.reported.v1", "usage.voided.v1"]
    source: Source
    id: Name
    subject: Name


PROBLEM = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
ERRORS: dict[int | str, dict[str, Any]] = {
    429: {
        "description": "Too many requests, or streams, of this caller; `code` is `too_many_requests`.",
        "headers": {
            "Retry-After": {
                "description": "In how many seconds to ask again.",
                "required": True,
                "schema": {"type": "integer", "minimum": 1},
            }
        },
        **PROBLEM,
    },
    "4XX": {"description": "The request can't be carried out; `code` says why.", **PROBLEM},
    "5XX": {"description": "Not now; `code` says why.", **PROBLEM},
}


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

    pack: Annotated[Name, Field(examples=["standard"])]
    currency: Currency | None = None
    save_card: bool = False
    return_url: ReturnUrl | None = None


class Purchase(BaseModel):
    """A pack that somebody is buying or has bought. `position` is that of the credits once they are there."""

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

    return_url: ReturnUrl | None = None


class TopUpConfirmBody(Body):
    """Where to go when the payment is confirmed."""

    return_url: ReturnUrl | None = None


class Card(BaseModel):
    """A card, as its owner recognises it."""

    brand: str | None
    last4: str | None


class CardPage(BaseModel):
    """A page on which an admin saves a card, and what came of it."""

    id: str
    state: Literal["open", "saved", "superseded", "expired", "failed"]
    detail: str | None
    checkout_url: Annotated[str | None, Field(description="Stripe's page, while no card is saved.")]
    expires_at: Instant | None
    card: Card | None
    position: Position


class PaymentMethod(BaseModel):
    """The card that top-ups are charged to, if there is one."""

    card: Card | None
    changed_at: Instant | None
    changed_by: str | None
    position: Position
