"""Facts about what operators and admins decide: limits, rate cards, erasure."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ..credits import SignedMicroCredits, UnsignedMicroCredits
from .names import Fact, Name, Quantities, Text


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
    many of the facts that came back nobody but the topic knew of. `lost_notes` are the first and the last signed
    checkpoint that were lost with the store: anchors alone have them.
    """

    life: int
    came_back: tuple[ResumedShard, ...] = ()
    given_up: tuple[ResumedShard, ...] = ()
    accepted: int = 0
    why: Text
    resumed_by: Name
    lost_notes: tuple[int, int] | None = None


class AdjustmentRequested(AdminFact, type="adjustment.requested.v1"):
    """Somebody asked for more than one person may move alone: it waits for another one, and moves no credits yet.

    `credits` is by how much the balance would change. `approval_above_credits` is the limit of that day. A correction
    names the usage that it takes back, and what was used in truth, if anything was.
    """

    kind: Literal["grant", "adjustment", "correction"]
    credits: SignedMicroCredits
    reason: Text
    requested_by: Name
    approval_above_credits: UnsignedMicroCredits
    waits_until: AwareDatetime
    refers_to: str | None = None
    expires_at: AwareDatetime | None = None
    usage_position: int | None = None
    quantity: str | None = None
    quantities: Quantities | None = None


class AdjustmentRejected(AdminFact, type="adjustment.rejected.v1"):
    """Another person rejected what somebody had asked for; no credits moved."""

    request: Name
    rejected_by: Name
    reason: Text | None = None


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


AnyAdminFact = (
    MemberLimited | MemberErased | RateCardPublished | StoreResumed | AdjustmentRequested | AdjustmentRejected
)
