"""Facts about what operators and admins decide: limits, rate cards, erasure."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ..credits import UnsignedMicroCredits
from .names import Fact, Name, Text


class AdminFact(Fact):
    """What operators and admins decide; it changes no balance."""


class MemberLimited(AdminFact, type="member.limited.v1"):
    """What a member may use per day or month was set."""

    member_id: Name
    daily_credits: UnsignedMicroCredits | None = None
    monthly_credits: UnsignedMicroCredits | None = None
    hard: bool = True
    limited_by: Name | None = None


class ResumedShard(BaseModel):
    """A shard of a store that went back: its facts from `first` to `last` came back, or are given up."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    shard: int
    first: int
    last: int
    head: Name


class StoreResumed(AdminFact, type="store.resumed.v1"):
    """The store had gone back in time, and goes on: what was published came back at its positions, or was given up.

    `head` is the hash of the last block then, in hex; of what is given up, that of the log as it is. `accepted` is how
    many of the facts that came back nobody but the topic knew of.
    """

    life: int
    came_back: tuple[ResumedShard, ...] = ()
    given_up: tuple[ResumedShard, ...] = ()
    accepted: int = 0
    why: Text
    resumed_by: Name


class MemberErased(AdminFact, type="member.erased.v1"):
    """What the directory knew of a member is gone; the opaque id stays.

    With `wholly`, their limits ended, too, and answers to commands that named them are gone.
    """

    member_id: Name
    wholly: bool | None = None


class RateCardPublished(AdminFact, type="rate_card.published.v1"):
    """A new rate card: what features cost from an instant on. The card is validated by `schemas.rates`."""

    version: int
    effective_from: AwareDatetime
    card: dict[str, Any]
    published_by: Name | None = None


AnyAdminFact = MemberLimited | MemberErased | RateCardPublished | StoreResumed
