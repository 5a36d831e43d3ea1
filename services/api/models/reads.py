"""What is read of a team: its people, its balance, what happened and why."""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    Field,
)

from projections.balance.state import ActivityKind, LotKind
from schemas.facts import Cents, Currency
from schemas.rates import Per
from services.api.models import examples
from services.api.models.parts import Admin, CreditsText, Day, Instant, Position, like


class MemberAnswer(BaseModel):
    """A person in a team."""

    id: str
    name: str
    role: Literal["member", "admin"]


class TeamAnswer(BaseModel):
    """A team as people know it."""

    model_config = like(examples.TEAM)

    id: str
    name: str
    zone: str
    plan: str
    plan_name: str
    members: list[MemberAnswer]
    admins: list[Admin]
    erased: list[str] = Field(description="Ids of members whose names were erased.")


class ListedTeam(BaseModel):
    """A team in the list of all."""

    id: str
    name: str
    plan: str
    zone: str


class TeamList(BaseModel):
    """A page of the teams that there are, in an order that stays."""

    model_config = like({"items": [examples.LISTED_TEAM], "next_cursor": "NDB8dGVhbV80Mg"})

    items: list[ListedTeam]
    next_cursor: str | None


class Balance(BaseModel):
    """What a team has: total = included + additional, available = total - held.

    `low`: fewer are available than `low_below`, the threshold of top-ups or, where they are off, the plan's.
    `allowance`: the included credits that the open cycle was given, by its refill, an upgrade, or what came back of a
    cycle that is over: at least what is `included`. `next_allowance`: those that the next refill brings.
    """

    model_config = like(examples.BALANCE)

    total: CreditsText
    included: CreditsText
    additional: CreditsText
    held: CreditsText
    available: CreditsText
    low: bool
    low_below: CreditsText
    allowance: CreditsText
    next_refill_at: Instant | None
    next_allowance: CreditsText
    plan: str
    top_up_enabled: bool
    position: Position
    as_of: Instant


class ActivityItem(BaseModel):
    """One entry of the credit activity."""

    model_config = like(examples.ITEM)

    at: Instant
    recorded_at: Instant
    type: ActivityKind
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
    """What was used, and how it falls to features, to members and to values of the attribute that was asked for.

    "" is nobody, and usage that does not name the attribute. Where none was asked for, `values` is empty.
    """

    credits: CreditsText
    uses: int
    features: dict[str, CreditsText]
    members: dict[str, CreditsText]
    values: dict[str, CreditsText]


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


class UsedOfValue(Used):
    """What was used with a value of the attribute; null is usage that does not name it."""

    value: str | None


class Usage(BaseModel):
    """What was used, added up. `attributes` are those that may be asked for: the catalog's `count_by`."""

    model_config = like(examples.USED)

    by: Literal["feature", "member", "day", "attribute"]
    attribute: str | None
    attributes: list[str]
    days: int
    since: Day
    items: list[UsedOfFeature] | list[UsedByMember] | list[UsedOnDay] | list[UsedOfValue]
    position: Position


class PaidBy(BaseModel):
    """A lot that paid, and how much of it. Without a lot, it is how far the balance went below zero.

    Of credits that came, it is the part that paid off the negative balance. Of credits that were given back, it is to
    whom they went.
    """

    lot: Position | None
    kind: LotKind | Literal["overdraft"]
    name: str
    gained_at: Instant | None
    ends_at: Instant | None
    credits: CreditsText


class PriceComponent(BaseModel):
    """One of several quantities of a use, with its part of the price: exact, and so with any number of places.

    The sum of these parts is rounded once, to the credits of the entry.
    """

    quantity: str
    used: str
    rate: str
    credits: str
    formula: str


class Price(BaseModel):
    """How a price came about. A use of several quantities has no `quantity` and no `rate`, but `components`.

    `for_units` says for how many units each rate is.
    """

    rate_card: int
    in_force_since: Instant
    feature: str
    name: str
    per: Per
    unit: str | None
    quantity: str | None
    attributes: dict[str, str]
    rate_attributes: dict[str, str]
    rate: str | None
    for_units: int
    formula: str
    components: list[PriceComponent]


class ChargeAnswer(BaseModel):
    """The money behind an entry. What names it at Stripe is for admins and finance alone."""

    amount: Cents
    currency: Currency
    payment_intent_id: str | None = None
    charge_id: str | None = None
    receipt_url: str | None = None


class ProvedFact(BaseModel):
    """The fact, column by column: its leaf is made of exactly these."""

    shard: int
    position: int
    recorded_at: Instant
    occurred_at: Instant
    team_id: str
    source: str
    id: str
    type: str
    body: str = Field(description="The JSON text as it is stored, to the byte.")


class ProvedBlock(BaseModel):
    """The block of the fact, and the path of its leaf to the block's root."""

    first: int
    last: int
    before: str = Field(description="Hash of the block before, in base64.")
    path: str = Field(description="Hashes one after another, in base64.")


class ProvedShard(BaseModel):
    """The line of the shard in the note: the block is `index` of `size` since the note before."""

    last: int
    head: str
    index: int
    size: int
    blocks: str = Field(description="Path of the block to the root over these.")
    path: str = Field(description="Path of the line to the root over all shards.")


class ProvedNote(BaseModel):
    """The leaf of the note that first covers the fact, its path, and the signed note to which that leads."""

    number: int
    time: Instant
    unpublished: bool
    path: str
    text: str


class EntryProof(BaseModel):
    """Everything that proves one fact: docs/log-format.md says how it is checked."""

    model_config = like(examples.PROOF)

    format: Literal["creditwell proof 1"]
    fact: ProvedFact
    block: ProvedBlock
    shard: ProvedShard
    note: ProvedNote


class EntryAnswer(ActivityItem):
    """An entry with everything that it follows from."""

    model_config = like(examples.ENTRY)

    position: Position
    price: Price | None
    paid_by: list[PaidBy]
    charge: ChargeAnswer | None
    reason: str | None
    corrects: str | None = Field(description="The entry of the usage that this one takes back, or replaces.")
    taken_back_by: str | None = Field(description="The entry that took this usage back.")
