"""Facts about usage."""

from typing import Annotated, ClassVar

import msgspec
from pydantic import AwareDatetime

from ..credits import MicroCredits, UnsignedMicroCredits
from .names import Fact, Name, Text


# No search for garbage looks at it: nothing in it leads back to it.
class UsageRecorded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A feature did paid work for a team; priced once, at the door.

    The one fact that comes by the million, and so a struct: made, written and read in a fifth of the time.
    """

    type: ClassVar[str] = "usage.recorded.v1"
    feature: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    quantity: Annotated[str | None, msgspec.Meta(description="Absent where there are quantities.")] = None
    credits: Annotated[MicroCredits, msgspec.Meta(ge=0, description="Micro-credits, never negative.")]
    rate_card: int
    member_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    attributes: dict[str, str] | None = None
    hold_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    quantities: Annotated[
        dict[str, str] | None, msgspec.Meta(description="What one use took of several things, in place of a quantity.")
    ] = None
    # A usage that corrects another one is recorded right behind the void that takes that one back.
    corrects: Annotated[int | None, msgspec.Meta(description="Position of the usage that this one replaces.")] = None
    corrects_id: Annotated[str | None, msgspec.Meta(description="Its id; the source is the same.")] = None
    reason: Annotated[str | None, msgspec.Meta(description="Why it was corrected.")] = None
    # Attributes that nobody listed are not stored. What arrived with them decides whether a usage comes again.
    arrived_sha256: Annotated[
        str | None,
        msgspec.Meta(description="Where attributes were left out: SHA-256 over the report as it arrived, in hex."),
    ] = None

    def body(self) -> bytes:
        """As `Fact.body`."""
        return _ENCODE(self)


_ENCODE = msgspec.json.Encoder().encode


class UsageVoided(Fact, type="usage.voided.v1"):
    """A usage was taken back; its credits return to the lots that paid.

    By the service that reported it, or by an operator who corrects it: alone within `approval_above_credits` a day, or
    by a `request` that another person approved. Of a capture of plain credits there is no feature.
    """

    usage_source: str
    usage_id: str
    usage_position: int
    usage_occurred_at: AwareDatetime
    credits: UnsignedMicroCredits
    feature: Name | None = None
    reason: Text
    member_id: Name | None = None
    corrected_by: Name | None = None
    approval_above_credits: UnsignedMicroCredits | None = None
    request: Name | None = None
    approved_by: Name | None = None


AnyUsageFact = UsageRecorded | UsageVoided
