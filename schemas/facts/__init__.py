"""What can have happened: every fact that the log may hold.

A fact is past tense, frozen and versioned (`usage.recorded.v1`). Its envelope (team, source, id, time) lives in
`Stored` and `NewFact`; the models here are what is particular to each. A fact is self-contained: whatever
a fold needs later (an allowance, a threshold) is written into it, so that a changed catalog never changes history.

Facts carry opaque ids only. Names of people live in the directory, which can be erased.
"""

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from ..credits import Credits, Gained

_NAMED = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[^\x00-\x1f\x7f]+$"}
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]

# Teams and members stand in addresses, keys and log lines. What can't stand there, or can't be seen there, is in no id that comes in;
# facts themselves are read as they were stored.
_IN_NO_ID = r"\x00-\x20\x7f-\xa0\xad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff/\\?#%*"
ID = rf"^[^.{_IN_NO_ID}][^{_IN_NO_ID}]*$"
ID_MAX = 128
NO_ID = (
    r"an id has 1 to 128 characters, no space, no control character, none of / \ ? # % *, and no dot at its beginning"
)
_LIKE_AN_ID = re.compile(ID).fullmatch


@lru_cache(maxsize=100_000)  # the same teams and members come with every usage
def is_id(text: str) -> bool:
    """True for what a team or a member may be called by programs."""
    return len(text) <= ID_MAX and _LIKE_AN_ID(text) is not None


def _only_an_id(text: str) -> str:
    if not is_id(text):
        raise PydanticCustomError("no_id", NO_ID)
    return text


Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=ID_MAX),
    AfterValidator(_only_an_id),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": ID_MAX, "pattern": ID}),
]
Text = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]
Attributes = Annotated[
    dict[Name, Name],
    WithJsonSchema({"type": "object", "propertyNames": _NAMED, "additionalProperties": _NAMED}),
]
Currency = Annotated[str, StringConstraints(pattern=r"^[a-z]{3}$")]
Cents = Annotated[int, Field(strict=True, ge=0, description="Minor units of the currency.")]

RATE_CARD_TEAM = "creditwell"  # rate cards belong to nobody's team; their subject is the product itself
OURS = "creditwell:"  # sources that begin so are written by Creditwell alone


class Fact(BaseModel):
    """Something that happened and stays so."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_timedelta="iso8601")
    type: ClassVar[str]

    def __init_subclass__(cls, *, type: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.type = type

    def body(self) -> bytes:
        """The bytes that the log keeps: JSON without spaces, fields in the order of the model, nulls left out."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)


class UsageRecorded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A feature did paid work for a team; priced once, at the door.

    The one fact that comes by the million, and so a struct: made, written and read in a fifth of the time.
    """

    type: ClassVar[str] = "usage.recorded.v1"
    feature: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    quantity: str
    credits: Annotated[int, msgspec.Meta(ge=0, description="Micro-credits, never negative.")]
    rate_card: int
    member_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    attributes: dict[str, str] | None = None
    hold_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None

    def body(self) -> bytes:
        """As `Fact.body`."""
        return _ENCODE(self)


_ENCODE = msgspec.json.Encoder().encode


class UsageVoided(Fact, type="usage.voided.v1"):
    """A usage was taken back by the service that reported it; its credits return to the lots that paid."""

    usage_source: str
    usage_id: str
    usage_position: int
    usage_occurred_at: AwareDatetime
    credits: Gained
    feature: Name
    reason: Text
    member_id: Name | None = None


class PlanAssigned(Fact, type="plan.assigned.v1"):
    """A team got a plan; its first one is how the team came to exist."""

    plan: Name
    anchor: AwareDatetime
    zone: Name
    allowance_credits: Gained
    notice_threshold_credits: Gained = 0
    assigned_by: Name | None = None


class CreditsRefilled(Fact, type="credits.refilled.v1"):
    """The included credits of a cycle, or what an upgrade adds to the running one."""

    credits: Gained
    plan: Name
    plan_assigned_id: str
    cycle: int
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    upgrade: Literal[True] | None = None


class CreditsPurchased(Fact, type="credits.purchased.v1"):
    """Somebody bought a pack; the credits never expire."""

    credits: Gained
    pack: Name
    payment_intent_id: Name
    charge_cents: Cents
    tax_cents: Cents | None = None
    currency: Currency
    member_id: Name | None = None
    charge_id: Name | None = None
    receipt_url: str | None = None


class CreditsToppedUp(Fact, type="credits.topped_up.v1"):
    """An automatic charge succeeded and was answered by credits; they never expire."""

    credits: Gained
    attempt_id: Name
    payment_intent_id: Name
    charge_cents: Cents
    currency: Currency
    charge_id: Name | None = None
    receipt_url: str | None = None


class CreditsGranted(Fact, type="credits.granted.v1"):
    """Promotional credits were given; they may expire."""

    credits: Gained
    reason: Text
    expires_at: AwareDatetime | None = None
    granted_by: Name | None = None


class CreditsAdjusted(Fact, type="credits.adjusted.v1"):
    """A person corrected the balance, with a reason and a reference."""

    credits: Credits
    reason: Text
    refers_to: str | None = None
    adjusted_by: Name | None = None
    approved_by: Name | None = None


class CreditsExpired(Fact, type="credits.expired.v1"):
    """A lot came to its end. What was left of it follows from the log, so the fact only names the lot."""

    lot: int
    ended_at: AwareDatetime


class BalanceRanLow(Fact, type="balance.ran_low.v1"):
    """The available credits fell below the threshold: a low episode begins."""

    available_credits: Credits
    threshold_credits: Gained
    crossed_at_position: int
    top_up_enabled: bool


class BalanceRecovered(Fact, type="balance.recovered.v1"):
    """The available credits are at least 1.1 times the threshold again: the low episode is over."""

    available_credits: Credits
    threshold_credits: Gained
    crossed_at_position: int


class BalanceRanOut(Fact, type="balance.ran_out.v1"):
    """Nothing is left to spend."""

    available_credits: Credits
    crossed_at_position: int


class PaymentMethodChanged(Fact, type="payment_method.changed.v1"):
    """The card that top-ups charge was set or removed."""

    customer_id: Name
    payment_method_id: Name | None = None
    brand: Name | None = None
    last4: Name | None = None
    fingerprint: Name | None = None
    changed_by: Name | None = None


class TopUpConfigured(Fact, type="top_up.configured.v1"):
    """An admin set how top-ups work; `credits` adds a fixed amount, `restore_to` fills up."""

    enabled: bool
    threshold_credits: Gained
    credits: Gained | None = None
    restore_to_credits: Gained | None = None
    monthly_cap_cents: Cents | None = None
    currency: Currency
    max_per_month: int | None = None
    cool_down_seconds: int = 300
    configured_by: Name | None = None


class TopUpRequested(Fact, type="top_up.requested.v1"):
    """A top-up was decided: the amounts are frozen and the caps reserved; nothing is charged yet."""

    attempt_id: Name
    ran_low_id: str
    attempt: int
    credits: Gained
    charge_cents: Cents
    currency: Currency
    customer_id: Name
    payment_method_id: Name


class TopUpIntentCreated(Fact, type="top_up.intent_created.v1"):
    """Stripe holds an unconfirmed payment intent for the attempt; it, and no other, will be confirmed."""

    attempt_id: Name
    payment_intent_id: Name


class TopUpFailed(Fact, type="top_up.failed.v1"):
    """An attempt ended without money; its intent can never be paid."""

    attempt_id: Name
    reason: Literal["declined_retry_later", "declined_needs_card", "declined_needs_authentication", "cancelled"]
    decline_code: Name | None = None
    message: Text | None = None
    payment_intent_id: Name | None = None
    next_try_at: AwareDatetime | None = None


class TopUpActionRequired(Fact, type="top_up.action_required.v1"):
    """The bank wants the admin to confirm the payment; the same intent waits."""

    attempt_id: Name
    payment_intent_id: Name
    action_url: str | None = None


class TopUpSkipped(Fact, type="top_up.skipped.v1"):
    """A decision not to charge, with its reason: nothing stops in silence."""

    ran_low_id: str
    decision: str
    reason: Literal[
        "disabled", "in_flight", "cooling_down", "cap_money", "cap_count", "suspended", "no_payment_method", "plan"
    ]
    detail: Text | None = None
    next_decision_at: AwareDatetime | None = None


class TopUpIntentCancelled(Fact, type="top_up.intent_cancelled.v1"):
    """An intent that will not be used was cancelled at Stripe."""

    attempt_id: Name
    payment_intent_id: Name


class TopUpSuspended(Fact, type="top_up.suspended.v1"):
    """Top-ups pause, after three declines, one for good, or a dispute, until the card changes or somebody pays.

    `cause` is for programs, `reason` for people. A pause for a dispute ends when it is won, too.
    """

    cause: Literal["declines", "dead_card", "dispute"]
    reason: Text
    declines: int
    fingerprint: Name | None = None


class TopUpResumed(Fact, type="top_up.resumed.v1"):
    """Top-ups go on."""

    reason: Text


class HoldPlaced(Fact, type="hold.placed.v1"):
    """Credits were set aside for work that runs."""

    hold_id: Name
    credits: Gained
    expires_at: AwareDatetime
    member_id: Name | None = None


class HoldExtended(Fact, type="hold.extended.v1"):
    """A hold lasts longer."""

    hold_id: Name
    expires_at: AwareDatetime


class HoldCaptured(Fact, type="hold.captured.v1"):
    """Work under a hold used credits. The rest of the hold is free again, unless `remaining_credits` stay set aside."""

    hold_id: Name
    credits: Gained
    feature: Name | None = None
    member_id: Name | None = None
    quantity: str | None = None
    attributes: Attributes | None = None
    rate_card: int | None = None
    remaining_credits: Gained | None = None


class HoldReleased(Fact, type="hold.released.v1"):
    """A hold was given up; nothing was used."""

    hold_id: Name


class HoldExpired(Fact, type="hold.expired.v1"):
    """A hold came to its end; nothing was used."""

    hold_id: Name


class ChargeRefunded(Fact, type="charge.refunded.v1"):
    """Stripe gave money back; `refunded_cents` is cumulative, `clawed_credits` is what this step takes.

    A refund that failed afterwards lowers `refunded_cents`, and this step gives credits back.
    """

    payment_intent_id: Name
    lot: int
    refunded_cents: Cents
    currency: Currency
    clawed_credits: Gained
    charge_cents: Cents | None = None
    reinstated_credits: Gained | None = None
    reinstated_lots: tuple[int, ...] | None = None


class ChargeDisputed(Fact, type="charge.disputed.v1"):
    """A charge is disputed: the credits of its lot are frozen."""

    payment_intent_id: Name
    dispute_id: Name
    lot: int
    disputed_cents: Cents
    currency: Currency
    frozen_credits: Gained
    charge_cents: Cents | None = None
    reason: Text | None = None
    reinstated_credits: Gained | None = None
    reinstated_lots: tuple[int, ...] | None = None


class DisputeClosed(Fact, type="dispute.closed.v1"):
    """A dispute ended: won reinstates the credits, lost takes them for good."""

    payment_intent_id: Name
    dispute_id: Name
    lot: int
    outcome: Literal["won", "lost"]
    reinstated_credits: Gained
    disputed_cents: Cents | None = None
    currency: Currency | None = None
    charge_cents: Cents | None = None


class MemberLimited(Fact, type="member.limited.v1"):
    """What a member may use per day or month was set."""

    member_id: Name
    daily_credits: Gained | None = None
    monthly_credits: Gained | None = None
    hard: bool = True
    limited_by: Name | None = None


class RateCardPublished(Fact, type="rate_card.published.v1"):
    """A new rate card: what features cost from an instant on. The card is validated by `schemas.rates`."""

    version: int
    effective_from: AwareDatetime
    card: dict[str, Any]
    published_by: Name | None = None


class PeriodSealed(Fact, type="period.sealed.v1"):
    """A cycle is final: what arrives for it from now on counts in the open cycle, marked late."""

    plan_assigned_id: str
    cycle: int
    starts_at: AwareDatetime
    ends_at: AwareDatetime


class MemberErased(Fact, type="member.erased.v1"):
    """What the directory knew of a member is gone; the opaque id stays."""

    member_id: Name


AnyFact = (
    UsageRecorded
    | UsageVoided
    | PlanAssigned
    | CreditsRefilled
    | CreditsPurchased
    | CreditsToppedUp
    | CreditsGranted
    | CreditsAdjusted
    | CreditsExpired
    | BalanceRanLow
    | BalanceRecovered
    | BalanceRanOut
    | PaymentMethodChanged
    | TopUpConfigured
    | TopUpRequested
    | TopUpIntentCreated
    | TopUpFailed
    | TopUpActionRequired
    | TopUpSkipped
    | TopUpIntentCancelled
    | TopUpSuspended
    | TopUpResumed
    | HoldPlaced
    | HoldExtended
    | HoldCaptured
    | HoldReleased
    | HoldExpired
    | ChargeRefunded
    | ChargeDisputed
    | DisputeClosed
    | MemberLimited
    | RateCardPublished
    | PeriodSealed
    | MemberErased
)

FACTS: dict[str, type[AnyFact]] = {fact.type: fact for fact in AnyFact.__args__}
DECODE: dict[str, Callable[[bytes], Any]] = {
    name: msgspec.json.Decoder(fact).decode
    if issubclass(fact, msgspec.Struct)
    else fact.__pydantic_validator__.validate_json
    for name, fact in FACTS.items()
}


class UnknownFact(Exception):
    """The log holds a fact that this version does not know: upgrade before reading on."""

    def __init__(self, type_name: str) -> None:
        super().__init__(f"unknown fact type {type_name!r}: it was written by a newer version; upgrade this one")
        self.type_name = type_name


def decode(type_name: str, body: bytes) -> AnyFact:
    """The fact whose bytes the log keeps.

    Raises:
        UnknownFact: the type is of a newer version.
        ValueError: the bytes are not what was written.
    """
    validate = DECODE.get(type_name)
    if validate is None:
        raise UnknownFact(type_name)
    fact: AnyFact = validate(body)
    return fact


class NewFact(NamedTuple):
    """A fact that is about to be stored. (team_id, source, id) identifies it, for ever."""

    team_id: str
    source: str
    id: str
    occurred_at: datetime
    fact: AnyFact


class Stored(NamedTuple):
    """A fact in its place: `position` counts from 1 without gaps within its shard."""

    shard: int
    position: int
    recorded_at: datetime
    occurred_at: datetime
    team_id: str
    source: str
    id: str
    type: str
    body: bytes

    def fact(self) -> AnyFact:
        """What happened. Raises as `decode` does."""
        return decode(self.type, self.body)

    @property
    def place(self) -> str:
        """The position as the outside knows it: `shard:position`."""
        return f"{self.shard}:{self.position}"
