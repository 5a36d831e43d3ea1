"""What the API answers, from its OpenAPI document: `make docs` writes this file anew."""

from typing import Literal, NotRequired, TypedDict

HoldState = Literal['open', 'settled', 'released', 'expired']
Kind = Literal['usage', 'usage_voided', 'purchase', 'top_up', 'refill', 'grant', 'adjustment', 'expiry', 'refund', 'dispute', 'top_up_failed', 'top_up_skipped']
LotKind = Literal['included', 'purchased', 'topped_up', 'promotional', 'adjusted', 'reinstated']
Status = Literal['pending', 'applied', 'late', 'refused']


class Activity(TypedDict):
    """A page of the credit activity, newest position first."""

    items: list["ActivityItem"]
    next_cursor: str | None


class ActivityItem(TypedDict):
    """One entry of the credit activity."""

    at: str
    recorded_at: str
    type: "Kind"
    description: str
    detail: str | None
    member_id: str | None
    feature: str | None
    credits: str
    included: str
    additional: str
    balance_after: str
    late: bool
    id: str


class Balance(TypedDict):
    """What a team has."""

    total: str
    included: str
    additional: str
    held: str
    available: str
    low: bool
    low_below: str
    allowance: str
    next_refill_at: str | None
    next_allowance: str
    plan: str
    top_up_enabled: bool
    position: str
    as_of: str


class Captured(TypedDict):
    """A hold after a capture."""

    position: str
    id: str
    credits: str
    state: "HoldState"
    expires_at: str
    member_id: str | None
    captured: str


class Card(TypedDict):
    """A card, as its owner recognises it."""

    brand: str | None
    last4: str | None


class Charge(TypedDict):
    """The money behind an entry."""

    amount: int
    currency: str
    payment_intent_id: NotRequired[str | None]
    charge_id: NotRequired[str | None]
    receipt_url: NotRequired[str | None]


class ChargePreview(TypedDict):
    """What the next top-up adds and charges."""

    credits: str
    amount: int
    currency: str
    now: bool
    not_now: str | None


class ChargedThisMonth(TypedDict):
    """What counts towards this month's caps."""

    amount: int
    currency: str
    count: int
    month: str


class Entry(TypedDict):
    """An entry with everything that it follows from."""

    at: str
    recorded_at: str
    type: "Kind"
    description: str
    detail: str | None
    member_id: str | None
    feature: str | None
    credits: str
    included: str
    additional: str
    balance_after: str
    late: bool
    id: str
    position: str
    price: "Price | None"
    paid_by: list["PaidBy"]
    charge: "Charge | None"
    reason: str | None
    corrects: str | None
    taken_back_by: str | None


class Hold(TypedDict):
    """A hold."""

    position: str
    id: str
    credits: str
    state: "HoldState"
    expires_at: str
    member_id: str | None


class Money(TypedDict):
    """Minor units with their currency."""

    amount: int
    currency: str


class PaidBy(TypedDict):
    """A lot that paid, and how much of it."""

    lot: str | None
    kind: "LotKind | Literal['overdraft']"
    name: str
    gained_at: str | None
    ends_at: str | None
    credits: str


class Placed(TypedDict):
    """A hold that was placed."""

    position: str
    id: str
    credits: str
    state: "HoldState"
    expires_at: str
    member_id: str | None
    warning: Literal['member_limit'] | None


class Price(TypedDict):
    """How a price came about."""

    rate_card: int
    in_force_since: str
    feature: str
    name: str
    per: Literal['use', 'second', 'character', 'token', 'gb_day']
    unit: str | None
    quantity: str | None
    attributes: dict[str, str]
    rate_attributes: dict[str, str]
    rate: str | None
    for_units: int
    formula: str
    components: list["PriceComponent"]


class PriceComponent(TypedDict):
    """One of several quantities of a use, with its part of the price."""

    quantity: str
    used: str
    rate: str
    credits: str
    formula: str


class Quote(TypedDict):
    """Price and permission."""

    credits: str
    affordable: bool
    allowed: bool
    reason: Literal['unknown_feature', 'plan_required', 'top_ups_required', 'member_limit', 'exhausted'] | None
    warning: Literal['member_limit'] | None
    items: list["QuoteItem"]
    position: str


class QuoteItem(TypedDict):
    """The answer for one item."""

    credits: str | None
    allowed: bool
    reason: Literal['unknown_feature', 'plan_required', 'top_ups_required', 'member_limit', 'exhausted'] | None
    detail: str | None
    warning: Literal['member_limit'] | None


class Receipt(TypedDict):
    """What became of a usage."""

    status: "Status"
    position: str | None
    recorded_at: str | None
    credits: str | None
    reason: str | None
    detail: str | None
    duplicates: int
    conflicts: int
    corrects: str | None


class TopUp(TypedDict):
    """How top-ups work, and where they stand."""

    enabled: bool
    threshold: str | None
    credits: str | None
    restore_to: str | None
    monthly_cap: "Money | None"
    max_per_month: int | None
    cool_down_seconds: int | None
    state: Literal['off', 'on', 'charging', 'action_required', 'suspended']
    reason: str | None
    next_charge_preview: "ChargePreview | None"
    price: "TopUpPrice"
    charged_this_month: "ChargedThisMonth"
    card: "Card | None"
    cool_until: str | None
    position: str | None


class TopUpPrice(TypedDict):
    """What credits of a top-up cost, in minor units and decimals of them."""

    unit_price: str
    currency: str
    max_charge: int
    monthly_cap: int
    min_credits: str
    step: str


class Usage(TypedDict):
    """What was used, added up."""

    by: Literal['feature', 'member', 'day', 'attribute']
    attribute: str | None
    attributes: list[str]
    days: int
    since: str
    items: "list[UsedOfFeature] | list[UsedByMember] | list[UsedOnDay] | list[UsedOfValue]"
    position: str


class UsedByMember(TypedDict):
    """What a member used."""

    credits: str
    uses: int
    features: dict[str, str]
    members: dict[str, str]
    values: dict[str, str]
    member_id: str | None


class UsedOfFeature(TypedDict):
    """What was used of a feature."""

    credits: str
    uses: int
    features: dict[str, str]
    members: dict[str, str]
    values: dict[str, str]
    feature: str
    name: str


class UsedOfValue(TypedDict):
    """What was used with a value of the attribute."""

    credits: str
    uses: int
    features: dict[str, str]
    members: dict[str, str]
    values: dict[str, str]
    value: str | None


class UsedOnDay(TypedDict):
    """What was used on a day of the team's own."""

    credits: str
    uses: int
    features: dict[str, str]
    members: dict[str, str]
    values: dict[str, str]
    day: str
