"""What can have happened: every fact that the log may hold.

A fact is past tense, frozen and versioned (`usage.recorded.v1`). Its envelope (team, source, id, time) lives in
`Stored` and `NewFact`; the models are what is particular to each. A fact is self-contained: whatever
a fold needs later (an allowance, a threshold) is written into it, so that a changed catalog never changes history.

Facts come in families (`HoldFact`, `TopUpFact` …). A fold names the facts that concern it one by one and the rest by
their family, and closes its match with `assert_never`: a new fact in no family that it names is a type error.

    usage      work that was done, and what was taken back of it
    credits    cycles, credits that come and end, crossings of a balance
    holds      credits set aside
    money      cards, top-ups, refunds, disputes
    admin      limits of members, rate cards, erasure, what waits for another person
    names      what their fields are made of

Facts carry opaque ids only. Names of people live in the directory, which can be erased.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from ..places import Place
from .admin import (
    AdjustmentRejected,
    AdjustmentRequested,
    AdminFact,
    AnyAdminFact,
    MemberErased,
    MemberLimited,
    RateCardPublished,
    ResumedShard,
    StoreResumed,
)
from .credits import (
    AnyCreditsFact,
    AnyCrossingFact,
    AnyCycleFact,
    BalanceRanLow,
    BalanceRanOut,
    BalanceRecovered,
    CreditsAdjusted,
    CreditsExpired,
    CreditsFact,
    CreditsGranted,
    CreditsPurchased,
    CreditsRefilled,
    CreditsToppedUp,
    CrossingFact,
    CycleFact,
    PeriodSealed,
    PlanAssigned,
)
from .holds import AnyHoldFact, HoldCaptured, HoldExpired, HoldExtended, HoldFact, HoldPlaced, HoldReleased
from .money import (
    AnyReversalFact,
    AnyTopUpFact,
    ChargeDisputed,
    ChargeRefunded,
    DisputeClosed,
    PaymentMethodChanged,
    PurchaseRequested,
    ReversalFact,
    TopUpActionRequired,
    TopUpConfigured,
    TopUpFact,
    TopUpFailed,
    TopUpIntentCancelled,
    TopUpIntentCreated,
    TopUpRequested,
    TopUpResumed,
    TopUpSkipped,
    TopUpSuspended,
)
from .names import (
    AMENDMENTS,
    ID,
    ID_MAX,
    NO_ID,
    OURS,
    QUANTITIES_MAX,
    RATE_CARD_TEAM,
    Attributes,
    Cents,
    Currency,
    Fact,
    Id,
    Name,
    Quantities,
    QuantityName,
    Text,
    is_id,
)
from .usage import AnyUsageFact, UsageRecorded, UsageVoided

__all__ = [
    "AMENDMENTS",
    "DECODE",
    "FACTS",
    "ID",
    "ID_MAX",
    "NO_ID",
    "OURS",
    "QUANTITIES_MAX",
    "RATE_CARD_TEAM",
    "AdjustmentRejected",
    "AdjustmentRequested",
    "AdminFact",
    "AnyAdminFact",
    "AnyCreditsFact",
    "AnyCrossingFact",
    "AnyCycleFact",
    "AnyFact",
    "AnyHoldFact",
    "AnyReversalFact",
    "AnyTopUpFact",
    "AnyUsageFact",
    "Attributes",
    "BalanceRanLow",
    "BalanceRanOut",
    "BalanceRecovered",
    "Cents",
    "ChargeDisputed",
    "ChargeRefunded",
    "CreditsAdjusted",
    "CreditsExpired",
    "CreditsFact",
    "CreditsGranted",
    "CreditsPurchased",
    "CreditsRefilled",
    "CreditsToppedUp",
    "CrossingFact",
    "Currency",
    "CycleFact",
    "DisputeClosed",
    "Fact",
    "HoldCaptured",
    "HoldExpired",
    "HoldExtended",
    "HoldFact",
    "HoldPlaced",
    "HoldReleased",
    "Id",
    "MemberErased",
    "MemberLimited",
    "Name",
    "NewFact",
    "PaymentMethodChanged",
    "PeriodSealed",
    "PlanAssigned",
    "PurchaseRequested",
    "Quantities",
    "QuantityName",
    "RateCardPublished",
    "ResumedShard",
    "ReversalFact",
    "StoreResumed",
    "Stored",
    "Text",
    "TopUpActionRequired",
    "TopUpConfigured",
    "TopUpFact",
    "TopUpFailed",
    "TopUpIntentCancelled",
    "TopUpIntentCreated",
    "TopUpRequested",
    "TopUpResumed",
    "TopUpSkipped",
    "TopUpSuspended",
    "UnknownFact",
    "UsageRecorded",
    "UsageVoided",
    "decode",
    "is_id",
]

AnyFact = (
    AnyUsageFact
    | AnyCycleFact
    | AnyCreditsFact
    | AnyCrossingFact
    | AnyHoldFact
    | AnyTopUpFact
    | PaymentMethodChanged
    | PurchaseRequested
    | AnyReversalFact
    | AnyAdminFact
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
        """As the outside knows it: `shard:position`."""
        return str(Place(self.shard, self.position))
