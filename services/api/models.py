"""The shapes of requests and answers. Requests are validated by them; answers are built directly, and tests hold them to this."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from projections.balance import Kind
from schemas.credits import DECIMAL_CREDITS
from schemas.facts import Attributes, Cents, Currency, Name, Text
from schemas.rates import Per
from schemas.usage import QUANTITY, Source
from services.store.receipts import Status

ITEMS_MAX = 100

CreditsText = Annotated[
    str,
    StringConstraints(max_length=24, pattern=f"^{DECIMAL_CREDITS.pattern}$"),
    Field(description="Credits as a decimal string.", examples=["1234.5"]),
]
Position = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}:[0-9]{1,19}$"), Field(examples=["31:20418"])]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY), Field(examples=["12.5"])]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-23T10:15:30.123456Z"])]
Reason = Literal["unknown_feature", "plan_required", "top_ups_required", "member_limit", "exhausted"]
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
    """Credits that can be bought once."""

    pack: str
    name: str
    credits: CreditsText
    amount: Cents
    currency: Currency


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


class Quote(BaseModel):
    """Price and permission. `affordable` is about the balance alone, `allowed` about everything."""

    credits: CreditsText
    affordable: bool
    allowed: bool
    reason: Reason | None
    items: list[QuoteItem]
    position: Position


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
    """What the next top-up would add and charge; `now` if saving these settings triggers it at once."""

    credits: CreditsText
    amount: Cents
    currency: Currency
    now: bool


class TopUp(BaseModel):
    """How top-ups work."""

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
    position: Position | None


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
    "4XX": {"description": "The request can't be carried out; `code` says why.", **PROBLEM},
    "5XX": {"description": "Not now; `code` says why.", **PROBLEM},
}
